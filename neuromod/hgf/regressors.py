r"""Trajectories under the names of the toolbox, as regressors for EEG and fMRI.

A *tower* is an input, its parent, the parent that sets the volatility of that, and so
on up. Over a binary input, the input itself is level 1; over a continuous one, the
state that it observes.

| name | | |
|---|---|---|
| `u` | $u$ | what was observed; NaN where nothing was |
| `mu`, `sa` | $\mu_k$, $1/\pi_k$ | belief and its variance |
| `muhat`, `sahat` | $\hat\mu_k$, $1/\hat\pi_k$ | prediction and its variance |
| `v` | $\Omega_k$ | variance gained in the step |
| `w` | $\Omega_k \hat\pi_k$ | weight of the volatility error |
| `dau` | $\delta_u = u - \alpha\hat\mu_1$ | prediction error of a continuous input |
| `da` | $\delta_1$ (binary), $\Delta_k$ | prediction error that level k sends up |
| `ud` | $\mu_k - \hat\mu_k$ | update |
| `psi` | $\hat\pi_{k-1}/\pi_k$ | precision weight of the error from below |
| `epsi` | $\psi_k\, da_{k-1}$ | precision-weighted prediction error |
| `wt` | $\tfrac12 \kappa_{k-1} v_{k-1} \psi_k$ | learning rate |

The lowest weights are $\psi_2 = 1/\pi_2$ over a binary input and $\psi_1 =
\alpha\hat\pi_u/\pi_1$ over a continuous one, and are learning rates too; the rate of a
binary level 1 is the share of the error by which the probability moved. The belief
$\mu_1$ over a binary input is the outcome, or how probable a 1 is if it was seen
through noise. Where nothing was observed, the input's errors and their weights are 0,
and a binary level 1 stays at its prediction. (Mathys et al., Front. Hum. Neurosci.
2014.)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float

from neuromod.core.errors import DivergedError, invalid
from neuromod.core.precision import Precision, in_precision, precision_context
from neuromod.hgf.data import prepare, resets
from neuromod.hgf.filter import first_divergence
from neuromod.hgf.inference import Errors, Series, Trajectories, errors, run
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput, ContinuousState
from neuromod.hgf.prediction import outcome_of

Trials = Float[Array, " time"]
Values = Array | np.ndarray

LONG_NAMES = {
    "u": "what was observed",
    "mu": "belief",
    "sa": "variance of the belief",
    "muhat": "prediction",
    "sahat": "variance of the prediction",
    "v": "variance gained in the step",
    "w": "weight of the volatility prediction error",
    "dau": "prediction error of the input",
    "da": "prediction error",
    "ud": "update",
    "psi": "precision weight of the prediction error from below",
    "epsi": "precision-weighted prediction error from below",
    "wt": "learning rate",
}


def tapas_trajectories(
    network: Network,
    data: Any,
    *,
    observed: Any = None,
    time_steps: Any = None,
    sessions: Any = None,
    precision: Precision = "float64",
) -> xr.Dataset:
    """Return what a network believed under the names of the toolbox.

    Parameters
    ----------
    network
        The network; the trajectories are those of the tower over its first binary
        input, or over its first input if none is binary.
    data : (trial,) or (trial, input)
        What was observed (`neuromod.hgf.filter`). NaN is missing.
    observed
        In the same form: False where an observation does not count.
    time_steps : (trial,)
        Time since the trial before; one unit each if omitted, 0 for none.
    sessions : (trial,)
        Labels of sessions; where they change, beliefs begin anew.
    precision
        "float64" or "float32".

    Returns
    -------
    Dataset
        ``mu1``, ``muhat1`` ... ``epsi3``, ``wt3`` as far as there are levels, each
        (trial,); the attribute ``long_name`` says what each is.

    Raises
    ------
    InvalidInputError
        If the data do not fit the network.
    DivergedError
        If a precision became negative; the message names trial and node.

    Examples
    --------
    >>> from neuromod import hgf
    >>> found = tapas_trajectories(hgf.binary_three_level(), [1, 1, 0, 1])
    >>> found["epsi2"].round(2).values
    array([ 0.41,  0.28, -0.41,  0.24])
    >>> found["epsi3"].long_name
    'precision-weighted prediction error from below, level 3'
    """
    trials = prepare(network, data, observed, time_steps)
    with precision_context(precision):
        inputs = in_precision((network, trials.series), precision)
        reset = resets(sessions, len(trials.coordinate))
        found, columns = jax.tree.map(np.asarray, _regressors(*inputs, reset))
    diverged = first_divergence(network, (found,))
    if diverged:
        raise DivergedError(f"hgf.tapas_trajectories: {diverged}")
    named = {n: trials.named(c, long_name=_long_name(n)) for n, c in columns.items()}
    return xr.Dataset(named)


def _long_name(name: str) -> str:
    quantity = name.rstrip("0123456789")
    level = name[len(quantity) :]
    return LONG_NAMES[quantity] + (f", level {level}" if level else "")


@jax.jit
def _regressors(
    network: Network, series: Series, reset: Any
) -> tuple[Trajectories, dict[str, Trials]]:
    found = run(network, series, reset=reset)
    return found, regressors(network, series, found, reset)


def tower(network: Network, bottom: str | None = None) -> tuple[str, ...]:
    """Return the levels over an input, from the lowest up.

    Parameters
    ----------
    network
        The network.
    bottom
        An input; by default the first binary one, or else the first.

    Returns
    -------
    tuple
        A binary input, its parent, the parent that sets the volatility of that, and so
        on; without the input if it is continuous.

    Examples
    --------
    >>> from neuromod import hgf
    >>> tower(hgf.binary_three_level())
    ('outcome', 'x2', 'x3')
    >>> tower(hgf.continuous_two_level())
    ('x1', 'x2')
    """
    bottom = bottom or _bottom(network)
    binary = isinstance(network[bottom], BinaryInput)
    found, family = [bottom] if binary else [], network.family
    above = _parents(network, family.value_parents[bottom])
    while above:
        found.append(above[0])
        above = _parents(network, family.volatility_parents[above[0]])
    return tuple(found)


def _bottom(network: Network) -> str:
    binary = [node.name for node in network.nodes if isinstance(node, BinaryInput)]
    return binary[0] if binary else network.inputs[0]


def _parents(network: Network, numbers: tuple[int, ...]) -> list[str]:
    names = [network.edges[number].parent for number in numbers]
    return [name for name in names if isinstance(network[name], ContinuousState)]


class _Work(NamedTuple):
    """What the regressors of a tower are made of."""

    network: Network
    bottom: str
    levels: tuple[str, ...]
    value: Trials
    observed: Bool[Array, " time"]
    found: Trajectories
    errors: dict[str, Errors]
    reset: Any = None


def regressors(
    network: Network,
    series: Series,
    found: Trajectories,
    reset: Bool[Values, " time"] | None = None,
) -> dict[str, Trials]:
    """Return the trajectories of a tower under the names of the toolbox.

    Parameters
    ----------
    network
        A network; the tower is that over its first binary input, or over its first
        input if none is binary.
    series
        Its data.
    found
        What `neuromod.hgf.inference.run` returned.
    reset : (time,)
        Where that let beliefs begin anew.

    Returns
    -------
    dict
        Names such as ``muhat1`` and ``epsi3``; each (time,).

    Raises
    ------
    InvalidInputError
        If the input has no state as parent, or a nonlinear coupling to it.
    """
    bottom, levels = _bottom(network), tower(network)
    number = network.inputs.index(bottom)
    value, known = jnp.asarray(series.values[number]), series.observed[number]
    everywhere = jnp.ones(value.shape, bool)
    observed = everywhere if known is None else jnp.asarray(known)
    made = errors(network, series, found)
    work = _Work(network, bottom, levels, value, observed, found, made, reset)
    _require_linear(work)
    binary = isinstance(network[bottom], BinaryInput)
    result = {"u": jnp.where(observed, value, jnp.nan)}
    result |= _binary_bottom(work) if binary else _continuous_bottom(work)
    for k in range(3 if binary else 2, len(levels) + 1):
        result |= _state(work, k)
        result |= _weights_of_volatility(work, k, result)
    return result


def _require_linear(work: _Work) -> None:
    edge = _edge_below(work)
    if edge is None or edge.coupling != "linear":
        raise invalid(
            "network",
            f"the input {work.bottom!r} with "
            + ("no state as parent" if edge is None else f"{edge.coupling!r} coupling"),
            "a state that it observes linearly",
        )


def _edge_below(work: _Work) -> Any:
    """Return the edge from the lowest state to the input."""
    for number in work.network.family.value_parents[work.bottom]:
        if work.network.edges[number].parent in work.levels:
            return work.network.edges[number]
    return None


def _binary_bottom(work: _Work) -> dict[str, Trials]:
    """Return what is of level 1 and 2 over a binary input."""
    expected = work.found.predictions[work.bottom]
    outcome = outcome_of(work.network[work.bottom], work.value, expected.log_odds)
    belief = jnp.where(work.observed, outcome, expected.mean)
    error = belief - expected.mean
    result = {
        "mu1": belief,
        "sa1": belief * (1 - belief),
        "muhat1": expected.mean,
        "sahat1": expected.precision,
        "da1": error,
        "ud1": error,
        "wt1": _first_learning_rate(work, belief),
    }
    result |= _state(work, 2)
    psi = jnp.where(work.observed, result["sa2"], 0.0)
    return result | {"psi2": psi, "epsi2": psi * error, "wt2": psi}


def _first_learning_rate(work: _Work, outcome: Trials) -> Trials:
    """Return the share of the error by which the probability moved."""
    name = work.levels[1]
    first, belief = work.network[name].mean, work.found.beliefs[name].mean
    strength = _edge_below(work).strength
    held = jnp.concatenate([jnp.reshape(jnp.asarray(first, belief.dtype), 1), belief])
    before = held[:-1]
    if work.reset is not None:
        before = jnp.where(jnp.asarray(work.reset), held[0], before)
    old, new = jax.nn.sigmoid(strength * before), jax.nn.sigmoid(strength * belief)
    rest, moved = outcome - new, new - old
    counted = work.observed & (rest != 0)
    return jnp.where(counted, moved / jnp.where(counted, rest, 1.0), 0.0)


def _continuous_bottom(work: _Work) -> dict[str, Trials]:
    """Return what is of the input and of level 1 over a continuous input."""
    expected = work.found.predictions[work.bottom]
    error = jnp.where(work.observed, work.value - expected.mean, 0.0)
    result = {"dau": error} | _state(work, 1)
    psi = _edge_below(work).strength * expected.precision * result["sa1"]
    psi = jnp.where(work.observed, psi, 0.0)
    return result | {"psi1": psi, "epsi1": psi * error, "wt1": psi}


def _state(work: _Work, k: int) -> dict[str, Trials]:
    """Return belief, prediction and errors of the state at a level."""
    name = work.levels[k - 1]
    belief, predicted = work.found.beliefs[name], work.found.predictions[name]
    error = work.errors[name]
    result = {
        f"mu{k}": belief.mean,
        f"sa{k}": 1 / belief.precision,
        f"muhat{k}": predicted.mean,
        f"sahat{k}": 1 / predicted.precision,
        f"v{k}": predicted.volatility,
        f"da{k}": error.volatility,
        f"ud{k}": error.value,
    }
    if k < len(work.levels):
        result[f"w{k}"] = error.effective_precision
    return result


def _weights_of_volatility(
    work: _Work, k: int, result: dict[str, Trials]
) -> dict[str, Trials]:
    """Return precision weight, weighted error and learning rate of a level."""
    network, (below, name) = work.network, work.levels[k - 2 : k]
    numbers = network.family.volatility_parents[below]
    edge = next(e for e in map(network.edges.__getitem__, numbers) if e.parent == name)
    predicted = work.found.predictions[below]
    psi = predicted.precision * result[f"sa{k}"]
    return {
        f"psi{k}": psi,
        f"epsi{k}": psi * result[f"da{k - 1}"],
        f"wt{k}": edge.strength * predicted.volatility * psi / 2,
    }
