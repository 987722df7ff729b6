r"""The world that a network believes in, run forward.

Before the first trial a state is drawn from the belief about it. Then, from parents to
children and with the interval $t$ since the trial before,

$$
x_a^{(k)} = \lambda_a^{t} x_a^{(k-1)}
  + t\,\big(\rho_a + \sum_b \alpha_{ba}\, g_{ba}(x_b^{(k)})\big)
  + \sqrt{t}\,\exp\Big(\tfrac12 \big(\omega_a + \sum_c \kappa_{ca}\, x_c^{(k)}\big)\Big)
  \,\varepsilon_a^{(k)}
$$

$$
u^{(k)} = \sum_b \alpha_b\, g_b(x_b^{(k)})
  + \sqrt{1/\pi_u + \exp\big(\sum_c \kappa_c x_c^{(k)}\big)}\;\varepsilon_u^{(k)}
\qquad\text{or}\qquad
u^{(k)} = 1 \text{ where } \sum_b \alpha_b\, g_b(x_b^{(k)}) + \eta_u^{(k)} > 0 .
$$

Every state and every input has noise of its own: $\varepsilon$ is standard normal, and
$\eta$ standard logistic, which makes a binary input 1 with the probability
$s(\sum_b \alpha_b g_b(x_b))$; one that is seen through noise adds
$\sqrt{a}\,\varepsilon$ to that 0 or 1. Symbols are those of `neuromod.hgf.nodes` (Weber
et al., eLife 2024). How the network would update its beliefs plays no part.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod import kernels
from neuromod.core.dimensions import require_integer
from neuromod.core.errors import DivergedError, choice
from neuromod.core.precision import Precision, in_precision, precision_context
from neuromod.hgf import couplings
from neuromod.hgf.data import prepare
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput, Constant, ContinuousInput, ContinuousState
from neuromod.hgf.prediction import per_interval

Scalar = Float[Array, ""]
Trials = Float[Array, " time"]

STARTS = ("belief", "mean")


class Generated(NamedTuple):
    """What a network generated, by the names of nodes; each (time,).

    Parameters
    ----------
    states
        Values of the hidden states.
    inputs
        What is observed at the inputs.
    """

    states: dict[str, Trials]
    inputs: dict[str, Trials]


def generate(
    network: Network,
    n_trials: int,
    key: PRNGKeyArray,
    intervals: Float[Array | np.ndarray, " time"] | None = None,
    *,
    start: str = "belief",
) -> Generated:
    """Draw hidden states and inputs.

    Parameters
    ----------
    network
        The network.
    n_trials
        Number of steps.
    key
        Random key.
    intervals : (time,)
        Time since the step before; None for one unit each.
    start
        "belief" draws what the states are before the first step from the beliefs
        then, "mean" takes the means.
    """
    # One number more than there are trials, for the start.
    shape, keys = (len(network.names), n_trials + 1), jax.random.split(key)
    normal = _rows(network, jax.random.normal(keys[0], shape))
    logistic = _rows(network, jax.random.logistic(keys[1], shape))
    first = {name: normal[name][0] for name in network.states}
    first = _first(network, first, choice("start", start, STARTS))

    def advance(states, now):
        found = _step(network, states, *now)
        return {name: found[name] for name in network.states}, found

    binary = [node.name for node in network.nodes if isinstance(node, BinaryInput)]
    noise = {
        name: (logistic if name in binary else normal)[name][1:]
        for name in (*network.inputs, *network.states)
    }
    found = kernels.scan(advance, first, (noise, intervals), checkpoint=None).outputs
    inputs = {name: found[name] for name in network.inputs}
    for name in binary:
        node = network[name]
        if not node.is_exact:
            width = jnp.sqrt(jnp.asarray(node.noise_variance))
            inputs[name] = inputs[name] + width * normal[name][1:]
    return Generated({name: found[name] for name in network.states}, inputs)


def _rows(network: Network, table: Float[Array, "node time"]) -> dict[str, Trials]:
    return dict(zip(network.names, table, strict=True))


def _first(network: Network, noise: dict[str, Scalar], start: str) -> dict[str, Scalar]:
    """Return the states before the first step."""
    found = {}
    for name, deviate in noise.items():
        state = network[name]
        mean, precision = jnp.asarray(state.mean), jnp.asarray(state.precision)
        deviation = deviate / jnp.sqrt(precision)
        found[name] = mean + (deviation if start == "belief" else 0.0)
    return found


def _step(
    network: Network,
    before: dict[str, Scalar],
    noise: dict[str, Scalar],
    interval: Scalar | None,
) -> dict[str, Scalar]:
    """Return the value of every node, but constants, after a step."""
    found: dict[str, Any] = {
        node.name: jnp.ones(()) for node in network.nodes if isinstance(node, Constant)
    }
    for name in network.family.downwards:
        node = network[name]
        if isinstance(node, ContinuousState):
            moved = _moved(network, node, before[name], found, interval)
            width = jnp.exp(_log_variance(network, node, found) / 2)
            if interval is not None:
                width = jnp.sqrt(interval) * width
            found[name] = moved + width * noise[name]
        elif isinstance(node, ContinuousInput):
            variance = 1 / jnp.asarray(node.precision)
            if network.family.volatility_parents[name]:
                variance = variance + jnp.exp(_log_variance(network, node, found))
            drive = _drive(network, name, found)
            found[name] = drive + jnp.sqrt(variance) * noise[name]
        elif isinstance(node, BinaryInput):
            found[name] = _one_if(_drive(network, name, found) + noise[name] > 0)
    return {name: found[name] for name in noise}


def _one_if(condition: Array) -> Scalar:
    return jnp.where(condition, 1.0, 0.0)


def _moved(network, node, before, found, interval) -> Any:
    """Return where a state would be without noise."""
    kept = before
    if node.autoconnection is not None:
        left = jnp.asarray(node.autoconnection)
        kept = (left if interval is None else left**interval) * before
    drift = _drive(network, node.name, found)
    if node.tonic_drift is not None:
        drift = drift + node.tonic_drift
    return kept + per_interval(drift, interval)


def _drive(network: Network, name: str, found: dict[str, Any]) -> Any:
    """Sum what the value parents give to a node."""
    total = 0.0
    for number in network.family.value_parents[name]:
        edge = network.edges[number]
        total = total + edge.strength * couplings.value(
            edge.coupling, found[edge.parent]
        )
    return total


def _log_variance(network: Network, node: Any, found: dict[str, Any]) -> Any:
    """Return the log of the variance that a node gains per unit of time."""
    total = node.tonic_volatility if isinstance(node, ContinuousState) else 0.0
    for number in network.family.volatility_parents[node.name]:
        edge = network.edges[number]
        total = total + edge.strength * found[edge.parent]
    return total


def simulate(
    network: Network,
    n_trials: int,
    *,
    seed: int,
    time_steps: Any = None,
    n_draws: int | None = None,
    start: str = "belief",
    precision: Precision = "float64",
) -> xr.Dataset:
    """Draw hidden states, and what is observed of them, from a network.

    Parameters
    ----------
    network
        The network.
    n_trials
        Number of trials.
    seed
        Seed of the random numbers; the same seed gives the same data.

    Other Parameters
    ----------------
    time_steps : (trial,)
        Time since the trial before; one unit each if omitted, 0 for none.
    n_draws
        Draw so many times, along a dimension ``draw``.
    start
        "belief" draws what the states are before the first trial from the beliefs
        then, "mean" takes the means.
    precision
        "float64" or "float32".

    Returns
    -------
    Dataset
        ``states`` (trial, node), the truth, and ``inputs`` (trial, input), which
        `neuromod.hgf.filter` takes as data.

    Raises
    ------
    InvalidInputError
        If a number is not as described.
    DivergedError
        If a state grew beyond all numbers; the message names it.

    Examples
    --------
    >>> from neuromod import hgf
    >>> drawn = simulate(hgf.binary_three_level(), 100, seed=0)
    >>> drawn["states"].sizes, drawn["inputs"].sizes
    (Frozen({'trial': 100, 'node': 2}), Frozen({'trial': 100, 'input': 1}))
    >>> beliefs = hgf.filter(hgf.binary_three_level(), drawn["inputs"])
    """
    n_trials = require_integer(n_trials, "n_trials")
    seed = require_integer(seed, "seed", minimum=0)
    count = 1 if n_draws is None else require_integer(n_draws, "n_draws")
    choice("start", start, STARTS)
    nothing = np.full((n_trials, len(network.inputs)), np.nan)
    intervals = prepare(network, nothing, time_steps=time_steps).series.intervals
    with precision_context(precision):
        model, intervals = in_precision((network, intervals), precision)
        keys = jax.random.split(jax.random.key(seed), count)
        found = _draws(model, n_trials, keys, intervals, start=start)
        states = _table(found.states, network.states)
        inputs = _table(found.inputs, network.inputs)
    _require_finite(network, states)
    dims: tuple[str, ...] = ("draw", "trial")
    coords: dict[str, Any] = {"draw": np.arange(count)}
    if n_draws is None:
        states, inputs, dims, coords = states[0], inputs[0], dims[1:], {}
    coords["trial"] = np.arange(n_trials)
    coords |= {"node": list(network.states), "input": list(network.inputs)}
    variables = {
        "states": ((*dims, "node"), states, {"long_name": "hidden states"}),
        "inputs": ((*dims, "input"), inputs, {"long_name": "what is observed"}),
    }
    return xr.Dataset(variables, coords, {"seed": seed, "start": start})


@functools.partial(jax.jit, static_argnames=("n_trials", "start"))
def _draws(network, n_trials, keys, intervals, *, start) -> Generated:
    def once(key):
        return generate(network, n_trials, key, intervals, start=start)

    return jax.vmap(once)(keys)


def _table(columns: dict[str, Array], names: tuple[str, ...]) -> np.ndarray:
    return np.stack([np.asarray(columns[name]) for name in names], axis=-1)


def _require_finite(network: Network, states: np.ndarray) -> None:
    wrong = ~np.isfinite(states)
    if wrong.any():
        _, trial, node = np.argwhere(wrong)[0]
        raise DivergedError(
            f"hgf.simulate: {network.states[node]!r} grew beyond all numbers at trial "
            f"{trial}. Lower the tonic volatilities, or hold the states that set a "
            "volatility by an autoconnection below 1."
        )
