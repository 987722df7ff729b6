"""Agents in a task, where what happens depends on what they do.

On every trial an agent predicts, acts on the prediction, sees what came of it, and
updates (`play`)::

    predict -> response.simulate -> action -> environment -> outcome -> update
       ^                                                                   |
       +-------------------------------------------------------------------+

An *environment* is a pure function of a random key, the action and the number of the
trial. It returns one value for each input, NaN for what is not seen::

    def three_doors(key, action, trial):
        won = jax.random.bernoulli(key, jnp.array([0.2, 0.5, 0.8])).astype(float)
        return jnp.where(jnp.arange(3) == action, won, jnp.nan)
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from neuromod import kernels
from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.precision import Precision, in_precision, precision_context
from neuromod.hgf import inference
from neuromod.hgf.agent import Agent
from neuromod.hgf.data import prepare
from neuromod.hgf.filter import filter as run_filter
from neuromod.hgf.inference import Series, Trajectories
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput
from neuromod.hgf.posterior import Datum, update
from neuromod.hgf.prediction import Prediction, predict
from neuromod.hgf.regressors import tower
from neuromod.hgf.responding import require_covariates
from neuromod.hgf.responses.response import Seen

Scalar = Float[Array, ""]
Values = Array | np.ndarray
Environment = Callable[..., Any]


class BernoulliBandit(eqx.Module):
    """An environment of arms that win or not; only the one that is chosen is seen.

    Parameters
    ----------
    probability : (trial, arm)
        With which each arm wins.

    Examples
    --------
    >>> environment = BernoulliBandit(np.full((100, 2), 0.5))
    >>> print(environment(jax.random.key(0), jnp.array(1.0), 0)[0])
    nan
    """

    probability: Any

    def __call__(
        self, key: PRNGKeyArray, action: Scalar, trial: Int[Values, ""] | int
    ) -> Float[Array, " arm"]:
        """Return 0 or 1 for the arm that was chosen, NaN for the others."""
        chances = jnp.asarray(self.probability)[trial]
        won = jnp.where(jax.random.bernoulli(key, chances), 1.0, 0.0)
        chosen = jnp.arange(len(chances)) == jnp.asarray(action).astype(int)
        return jnp.where(chosen, won, jnp.nan)


class Interaction(NamedTuple):
    """What an agent did, saw and believed.

    Parameters
    ----------
    actions : (time,)
        What it did; of a joint response model a dict of such columns.
    series
        What came in at the inputs.
    found
        What it believed, as `neuromod.hgf.inference.run` finds it from the series.
    """

    actions: Any
    series: Series
    found: Trajectories


def interact(
    agent: Agent,
    environment: Environment,
    n_trials: int,
    key: PRNGKeyArray,
    intervals: Float[Values, " time"] | None = None,
    covariates: Mapping[str, Float[Values, " time"]] | None = None,
) -> Interaction:
    """Let an agent act in an environment.

    Parameters
    ----------
    agent
        A `Network` and a response model that reads predictions.
    environment
        ``environment(key, action, trial)``, which returns one value for each input.
    n_trials
        Number of trials.
    key
        Random key.
    intervals : (time,)
        Time since the trial before; None for one unit each.
    covariates
        What else the response model reads, by name; each (time,).
    """
    network = agent.network

    def advance(beliefs, now, key):
        trial, interval, beside = now
        acting, world = jax.random.split(key)
        predicted = predict(network, beliefs, interval)
        action = _act(agent, predicted, beside, acting)
        data = _outcome(network, environment(world, action, trial))
        after = update(network, beliefs, predicted, data, interval)
        known = {name: predicted[name] for name in (*network.inputs, *network.states)}
        return after, (action, data, Trajectories(after, known))

    trials = jnp.arange(n_trials), intervals, dict(covariates or {})
    start = inference.start(network)
    actions, data, found = kernels.scan(
        advance, start, trials, noise=key, checkpoint=None
    ).outputs
    values = tuple(data[name].value for name in network.inputs)
    observed = tuple(data[name].observed for name in network.inputs)
    return Interaction(actions, Series(values, observed, intervals), found)


class _Unknown(dict):
    """What an agent cannot know when it acts."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def __missing__(self, name: str) -> Any:
        raise invalid(
            "response",
            f"a response model that looks at the {self.what} of {name!r}",
            "one that acts on what is expected before the outcome",
            "Read expected_mean and expected_precision, or use hgf.respond, which "
            "draws responses to outcomes that are known.",
        )


def _act(
    agent: Agent,
    predicted: dict[str, Prediction],
    covariates: dict[str, Scalar],
    key: PRNGKeyArray,
) -> Any:
    """Draw what the agent does on what it expects."""
    network = agent.network
    names = (*network.inputs, *network.states)
    binary = tuple(n.name for n in network.nodes if isinstance(n, BinaryInput))
    seen = Seen(
        value=_Unknown("value"),
        observed=_Unknown("observation"),
        surprise=_Unknown("surprise"),
        expected_mean={n: jnp.reshape(predicted[n].mean, (1,)) for n in names},
        expected_precision={
            n: jnp.reshape(predicted[n].precision, (1,)) for n in names
        },
        mean=_Unknown("updated mean"),
        precision=_Unknown("updated precision"),
        covariates={name: value[None] for name, value in covariates.items()},
        levels=tower(network) if binary else (),
        options=binary,
    )
    drawn = agent.response.simulate(seen, key)
    return jax.tree.map(lambda values: values[0], drawn)


def _outcome(network: Network, returned: Any) -> dict[str, Datum]:
    """Return what came in at each input."""
    values = jnp.atleast_1d(jnp.asarray(returned))
    if values.shape != (len(network.inputs),):
        raise invalid(
            "environment",
            f"one that returns shape {values.shape}",
            f"one value, or NaN, for each of {', '.join(map(repr, network.inputs))}",
            kind=ShapeError,
        )
    values = values.astype(jnp.result_type(float))
    seen = ~jnp.isnan(values)
    kept = jnp.where(seen, values, 0.0)
    return {name: Datum(kept[i], seen[i]) for i, name in enumerate(network.inputs)}


def play(
    agent: Agent,
    environment: Environment,
    n_trials: int,
    *,
    seed: int,
    time_steps: Any = None,
    covariates: Mapping[str, Any] | None = None,
    precision: Precision = "float64",
) -> xr.Dataset:
    """Let an agent act in an environment, and watch it.

    Parameters
    ----------
    agent
        A `Network` and a response model that reads predictions.
    environment
        ``environment(key, action, trial)``, a pure function of JAX that returns one
        value for each input, NaN for what is not seen; such as `BernoulliBandit`.
    n_trials
        Number of trials.
    seed
        Seed of the random numbers; the same seed gives the same data.

    Other Parameters
    ----------------
    time_steps : (trial,)
        Time since the trial before; one unit each if omitted.
    covariates
        What else the response model reads, by name; each (trial,).
    precision
        "float64" or "float32".

    Returns
    -------
    Dataset
        ``actions`` (trial) and ``inputs`` (trial, input), NaN where unseen, with all
        that `neuromod.hgf.filter` finds in the inputs. What a joint response model
        draws is called by its own names instead of ``actions``.

    Raises
    ------
    InvalidInputError
        If the response model reads what cannot be known when it acts, or the
        environment returns what the inputs cannot take.
    DivergedError
        If a precision became negative.

    Examples
    --------
    >>> from neuromod import hgf
    >>> agent = Agent(hgf.binary_two_level(), hgf.responses.unit_square_sigmoid(2.0))
    >>> def coin(key, action, trial):
    ...     return jax.random.bernoulli(key, 0.8)
    >>> played = play(agent, coin, 50, seed=0)
    >>> played["actions"].sizes, played["inputs"].sizes
    (Frozen({'trial': 50}), Frozen({'trial': 50, 'input': 1}))
    """
    if not isinstance(agent.network, Network):
        raise invalid(
            "agent", f"one with a {type(agent.network).__name__}", "one with a Network"
        )
    network = agent.network
    n_trials = require_integer(n_trials, "n_trials")
    seed = require_integer(seed, "seed", minimum=0)
    beside = require_covariates(covariates, n_trials)
    nothing = np.full((n_trials, len(network.inputs)), np.nan)
    intervals = prepare(network, nothing, time_steps=time_steps).series.intervals
    with precision_context(precision):
        player, intervals, beside = in_precision((agent, intervals, beside), precision)
        key = jax.random.key(seed)
        found = _interact(player, environment, n_trials, key, intervals, beside)
        actions, series, _ = jax.tree.map(np.asarray, found)
    columns = zip(series.values, series.observed, strict=True)
    inputs = np.stack([np.where(seen, v, np.nan) for v, seen in columns], axis=1)
    dataset = run_filter(network, inputs, time_steps=time_steps, precision=precision)
    named = actions if isinstance(actions, Mapping) else {"actions": actions}
    for name, values in named.items():
        dataset[name] = ("trial", values, {"long_name": "what the agent did"})
    dataset["inputs"] = (("trial", "input"), inputs, {"long_name": "what it saw"})
    return dataset.assign_coords(input=list(network.inputs)).assign_attrs(seed=seed)


_interact = eqx.filter_jit(interact)
