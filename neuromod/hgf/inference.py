r"""A network run over a series: beliefs, errors and how surprising the data were.

One step is a prediction (`neuromod.hgf.prediction`) and an update
(`neuromod.hgf.posterior`). The loop over time returns the beliefs alone; predictions
and errors follow from them afterwards, for all steps at once.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from neuromod import kernels
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput, ContinuousState
from neuromod.hgf.posterior import Datum, update
from neuromod.hgf.prediction import (
    Belief,
    Prediction,
    belief_of,
    outcome_of,
    predict,
)
from neuromod.kernels.elementary import log

Values = Array | np.ndarray

LOG_2_PI = 1.8378770664093453


class Series(NamedTuple):
    """What came in at the inputs of a network.

    Parameters
    ----------
    values : one (time,) per input
        What was observed; anything where nothing was.
    observed : one (time,) per input
        Where there was an observation; None where always.
    intervals : (time,)
        Time since the step before; None for one unit each.
    """

    values: tuple[Float[Values, " time"], ...]
    observed: tuple[Bool[Values, " time"] | None, ...]
    intervals: Float[Values, " time"] | None


class Trajectories(NamedTuple):
    """What was believed and expected of every node; each entry (time,).

    Parameters
    ----------
    beliefs
        Of the states, after each step.
    predictions
        Of all nodes but constants, before each step's data.
    """

    beliefs: dict[str, Belief]
    predictions: dict[str, Prediction]


class Errors(NamedTuple):
    """Prediction errors of a node; each (time,).

    Parameters
    ----------
    value
        Posterior minus predicted mean; of a binary input divided by its variance.
    volatility
        Squared error and posterior variance relative to what was predicted, minus 1.
    effective_precision
        Weight of the volatility error: volatility times predicted precision.
    """

    value: Float[Array, " time"]
    volatility: Float[Array, " time"]
    effective_precision: Float[Array, " time"]


def start(network: Network) -> dict[str, Belief]:
    """Return the beliefs before the first step."""
    states = [node for node in network.nodes if isinstance(node, ContinuousState)]
    return {
        s.name: belief_of(jnp.asarray(s.mean), jnp.asarray(s.precision)) for s in states
    }


def step(
    network: Network,
    beliefs: dict[str, Belief],
    data: dict[str, Datum],
    interval: Float[Array, ""] | None = None,
) -> tuple[dict[str, Belief], dict[str, Prediction]]:
    """Predict, and take in what came: the filter for one step.

    Parameters
    ----------
    network
        The network.
    beliefs
        The states' beliefs before the step (`start` before the first).
    data
        What came in at every input.
    interval : ()
        Time since the step before; None for one unit.
    """
    predicted = predict(network, beliefs, interval)
    return update(network, beliefs, predicted, data, interval), predicted


def run(
    network: Network,
    series: Series,
    *,
    mask: Bool[Values, " time"] | None = None,
    reset: Bool[Values, " time"] | None = None,
) -> Trajectories:
    """Run a network over a series.

    Parameters
    ----------
    network
        The network.
    series
        What came in at its inputs.
    mask : (time,)
        False where nothing happens: padding, which only a reset may end.
    reset : (time,)
        True where the beliefs begin anew.
    """
    first = start(network)

    def advance(carry, now):
        values, observed, interval = now
        data = {
            name: Datum(value, known)
            for name, value, known in zip(network.inputs, values, observed, strict=True)
        }
        beliefs, _ = step(network, carry, data, interval)
        return beliefs, {n: (b.mean, b.precision) for n, b in beliefs.items()}

    found = kernels.scan(
        advance,
        first,
        series,
        mask=mask,
        reset=reset,
        initial=first if reset is not None else None,
        checkpoint=None,
    )
    beliefs = {name: belief_of(*both) for name, both in found.outputs.items()}
    before = _before(first, beliefs, mask, reset)
    intervals = series.intervals
    if intervals is not None:
        intervals = jnp.asarray(intervals)
    predictions = jax.vmap(predict, (None, 0, 0))(network, before, intervals)
    constants = set(network.names) - set(network.inputs) - set(network.states)
    kept = {n: p for n, p in predictions.items() if n not in constants}
    return Trajectories(beliefs, kept)


def _before(
    first: dict[str, Belief],
    after: dict[str, Belief],
    mask: Bool[Values, " time"] | None,
    reset: Bool[Values, " time"] | None,
) -> dict[str, Belief]:
    """Return the beliefs before each step: those after the step before."""

    def shifted(start, values):
        held = jnp.concatenate([jnp.reshape(start, 1), values[:-1]])
        if reset is not None:
            held = jnp.where(reset, start, held)
        return held if mask is None else jnp.where(mask, held, start)

    return jax.tree.map(shifted, first, after)


def errors(network: Network, series: Series, found: Trajectories) -> dict[str, Errors]:
    """Return the prediction errors of every node."""
    result = {}
    data = zip(network.inputs, series.values, series.observed, strict=True)
    for name, value, observed in data:
        predicted, node = found.predictions[name], network[name]
        if observed is not None:
            value = jnp.where(observed, value, predicted.mean)
        if isinstance(node, BinaryInput):
            value = outcome_of(node, value, predicted.log_odds)
        deviation = value - predicted.mean
        if observed is not None:
            deviation = jnp.where(observed, deviation, 0.0)
        if isinstance(node, BinaryInput):
            nothing = jnp.zeros_like(deviation)
            result[name] = Errors(deviation / predicted.precision, nothing, nothing)
        else:
            result[name] = _errors(network, name, predicted, deviation, node.precision)
    for name in network.states:
        belief, predicted = found.beliefs[name], found.predictions[name]
        deviation = belief.mean - predicted.mean
        result[name] = _errors(network, name, predicted, deviation, belief.precision)
    return result


def _errors(
    network: Network, name: str, predicted: Prediction, deviation: Any, precision: Any
) -> Errors:
    expected = predicted.precision
    volatility = expected / precision + expected * deviation**2 - 1
    n_parents = len(network.family.volatility_parents[name])
    if "error_shared" in network.quirks and n_parents > 1:
        volatility = volatility / n_parents
    return Errors(deviation, volatility, predicted.volatility * expected)


def surprise(
    network: Network, series: Series, found: Trajectories
) -> dict[str, Float[Array, " time"]]:
    """Return the negative log density of the data under what was expected (nats).

    Of a state, the data are its own posterior mean. Where an input was not observed
    it is 0.
    """
    result = {}
    data = zip(network.inputs, series.values, series.observed, strict=True)
    for name, value, observed in data:
        predicted, node = found.predictions[name], network[name]
        if observed is not None:
            value = jnp.where(observed, value, predicted.mean)
        if isinstance(node, BinaryInput) and node.is_exact:
            nats = binary_surprise(value, predicted.mean)
        elif isinstance(node, BinaryInput):
            variance = jnp.asarray(node.noise_variance)
            nats = noisy_binary_surprise(value, predicted.mean, variance)
        else:
            nats = gaussian_surprise(value, predicted.mean, predicted.precision)
        result[name] = nats if observed is None else jnp.where(observed, nats, 0.0)
    for name in network.states:
        predicted = found.predictions[name]
        result[name] = gaussian_surprise(
            found.beliefs[name].mean, predicted.mean, predicted.precision
        )
    return result


def binary_surprise(
    value: Float[Values, "..."], mean: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Return -log of the probability of a 0 or 1 (nats)."""
    return -log(jnp.where(value > 0.5, mean, 1 - mean))


def noisy_binary_surprise(
    value: Float[Values, "..."],
    mean: Float[Array, "..."],
    variance: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Return -log of the density of a 0 or 1 that is seen through noise (nats)."""
    if_one = log(mean) - (value - 1) ** 2 / (2 * variance)
    if_zero = log(1 - mean) - value**2 / (2 * variance)
    return (LOG_2_PI + log(variance)) / 2 - jnp.logaddexp(if_one, if_zero)


def gaussian_surprise(
    value: Float[Values, "..."],
    mean: Float[Array, "..."],
    precision: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Return -log of the density of a normal distribution (nats)."""
    return (LOG_2_PI - log(precision) + precision * (value - mean) ** 2) / 2
