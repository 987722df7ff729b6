r"""The GLMs of one state each, for all states and neurons at once.

Per state and neuron a GLM regresses the counts on the history, weighted by the
posterior $\gamma_{t,s}$ of the state. It is climbed by Fisher scoring with step
halving, so that no step lowers the objective.

With ``ridge`` the GLMs carry a Gaussian prior of that precision: weights around
zero, biases around a baseline that the states share. Zero is maximum likelihood.

Rows are the bins of all sessions one after another. Nothing of shape (time, state,
neuron) is ever stored: rows are visited in chunks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from neuromod.switching.model import (
    LINKS,
    OBSERVATIONS,
    SwitchingGLM,
    Values,
    history,
)

# Bounds the temporaries of one chunk of rows to about 1 MB in float64, which the
# processor's cache holds.
CHUNK_ENTRIES = 100_000
MAX_HALVINGS = 12


class Prior(NamedTuple):
    """Gaussian prior on the coefficients of every GLM.

    Parameters
    ----------
    ridge : ()
        Precision (inverse variance); 0 is maximum likelihood.
    baseline : (neuron,)
        Mean of the biases.
    """

    ridge: Float[Values, ""]
    baseline: Float[Values, " neuron"]


def coefficients(model: SwitchingGLM) -> Float[Array, "state neuron feature"]:
    """Join bias and weights into one vector per state and neuron."""
    bias = jnp.asarray(model.bias)
    flat = jnp.reshape(jnp.asarray(model.weight), (*bias.shape, -1))
    return jnp.concatenate([bias[..., None], flat], axis=-1)


def with_coefficients(
    model: SwitchingGLM, values: Float[Array, "state neuron feature"]
) -> SwitchingGLM:
    """Return the model with other biases and weights."""
    weight = jnp.reshape(values[..., 1:], model.weight.shape)
    return eqx.tree_at(lambda m: (m.bias, m.weight), model, (values[..., 0], weight))


def features(
    counts: Float[Values, "session time neuron"], basis: Float[Values, "basis lag"]
) -> Float[Array, "session time feature"]:
    """Return what the GLMs regress on: a constant one, then the history."""
    past = jax.vmap(history, in_axes=(0, None))(counts, basis)
    flat = jnp.reshape(past, (*past.shape[:2], -1))
    ones = jnp.ones((*past.shape[:2], 1), flat.dtype)
    return jnp.concatenate([ones, flat], axis=-1)


def log_likelihoods(
    model: SwitchingGLM,
    feature_rows: Float[Array, "row feature"],
    count_rows: Float[Values, "row neuron"],
) -> Float[Array, "row state"]:
    """Return the log-probability of each bin's counts in each state (nats)."""
    values = coefficients(model)
    link, observation = LINKS[model.link], OBSERVATIONS[model.observation]

    def of_chunk(part):
        feature_part, count_part = part
        rate = link.rate(_linear_predictor(values, feature_part))
        return observation.log_probability(count_part[:, None, :], rate).sum(-1)

    n_rows = feature_rows.shape[0]
    width = model.n_states * model.n_neurons
    chunk = max(min(n_rows, CHUNK_ENTRIES // width), 1)
    parts = _chunked((feature_rows, jnp.asarray(count_rows)), n_rows, chunk)
    return jnp.reshape(jax.lax.map(of_chunk, parts), (-1, model.n_states))[:n_rows]


def log_prior(
    values: Float[Array, "state neuron feature"], prior: Prior
) -> Float[Array, "state neuron"]:
    """Return the Gaussian log prior of each GLM, up to a constant."""
    squares = (_deviation(values, prior) ** 2).sum(-1)
    return jnp.asarray(-0.5 * prior.ridge * squares)


def _deviation(values, prior):
    return values.at[..., 0].add(-prior.baseline[None, :])


class Statistics(NamedTuple):
    """Objective of every GLM with its gradient and Fisher information."""

    objective: Float[Array, "state neuron"]
    gradient: Float[Array, "state neuron feature"]
    information: Float[Array, "state neuron feature feature"]


def statistics(
    model: SwitchingGLM,
    values: Float[Array, "state neuron feature"],
    rows: tuple[Array, Array, Array],
    prior: Prior,
) -> Statistics:
    """Sum the expected log-likelihood of every GLM and its derivatives over rows.

    Parameters
    ----------
    model
        Names link and observation.
    values
        Coefficients at which to evaluate.
    rows
        Features (row, feature), counts (row, neuron) and posterior probabilities
        (row, state), zero where a bin does not count.
    prior
        Gaussian prior on the coefficients.
    """
    link, observation = LINKS[model.link], OBSERVATIONS[model.observation]
    n_states, n_neurons, n_features = values.shape
    # The information is symmetric: only the products of its upper half are summed.
    upper = np.triu_indices(n_features)

    def of_chunk(feature_rows, count_rows, weights):
        eta = _linear_predictor(values, feature_rows)
        rate, slope = jax.jvp(link.rate, (eta,), (jnp.ones_like(eta),))
        log_probability, score = jax.jvp(
            lambda e: observation.log_probability(count_rows[:, None, :], link.rate(e)),
            (eta,),
            (jnp.ones_like(eta),),
        )
        weights = weights[:, :, None]
        curvature = weights * slope**2 / jnp.maximum(observation.variance(rate), 1e-30)
        products = feature_rows[:, upper[0]] * feature_rows[:, upper[1]]
        return Statistics(
            (weights * log_probability).sum(0),
            _cross(weights * score, feature_rows),
            _cross(curvature, products),
        )

    def _cross(left, right):
        flat = jnp.reshape(left, (left.shape[0], -1))
        return jnp.reshape(flat.T @ right, (n_states, n_neurons, right.shape[1]))

    width = max(len(upper[0]), n_states * n_neurons)
    summed = _sum_over_chunks(of_chunk, rows, width)
    half = jnp.zeros((*values.shape, n_features), values.dtype)
    square = half.at[..., *upper].set(summed.information)
    square = square.at[..., upper[1], upper[0]].set(summed.information)
    return Statistics(
        summed.objective + log_prior(values, prior),
        summed.gradient - prior.ridge * _deviation(values, prior),
        square + prior.ridge * jnp.eye(n_features, dtype=values.dtype)[None, None],
    )


def objective(
    model: SwitchingGLM,
    values: Float[Array, "state neuron feature"],
    rows: tuple[Array, Array, Array],
    prior: Prior,
) -> Float[Array, "state neuron"]:
    """Return the objective of `statistics` alone."""
    link, observation = LINKS[model.link], OBSERVATIONS[model.observation]

    def of_chunk(feature_rows, count_rows, weights):
        rate = link.rate(_linear_predictor(values, feature_rows))
        log_probability = observation.log_probability(count_rows[:, None, :], rate)
        return (weights[:, :, None] * log_probability).sum(0)

    width = values.shape[0] * values.shape[1]
    return _sum_over_chunks(of_chunk, rows, width) + log_prior(values, prior)


class Maximisation(NamedTuple):
    """What the M-step finds.

    Parameters
    ----------
    model
        Parameters after the step.
    information : (state, neuron, feature, feature)
        Fisher information of every GLM at the parameters before the step.
    """

    model: SwitchingGLM
    information: Float[Array, "state neuron feature feature"]


def maximise(
    model: SwitchingGLM, rows: tuple[Array, Array, Array], prior: Prior
) -> Maximisation:
    """Take one Fisher-scoring step of every GLM that does not lower its objective.

    A step is halved, separately for every state and neuron, until the objective
    has not fallen; a GLM for which no step helps stays where it is.
    """
    values = coefficients(model)
    now = statistics(model, values, rows, prior)
    scale = jnp.trace(now.information, axis1=-2, axis2=-1)[..., None, None]
    eye = jnp.eye(values.shape[-1], dtype=values.dtype)[None, None]
    damped = now.information + (1e-9 * scale + 1e-9) * eye
    direction = jnp.linalg.solve(damped, now.gradient[..., None])[..., 0]

    def fell(value):
        return ~(value >= now.objective)

    def halve(state):
        n_halvings, step, _ = state
        step = jnp.where(fell(state[2]), step / 2, step)
        moved = values + step[..., None] * direction
        return n_halvings + 1, step, objective(model, moved, rows, prior)

    def unfinished(state):
        return (state[0] <= MAX_HALVINGS) & fell(state[2]).any()

    # The first pass halves a step of two, so that it tries the full step.
    start = (0, jnp.full_like(now.objective, 2.0), now.objective - jnp.inf)
    _, step, reached = jax.lax.while_loop(unfinished, halve, start)
    step = jnp.where(fell(reached), 0, step)
    moved = with_coefficients(model, values + step[..., None] * direction)
    return Maximisation(moved, now.information)


def _linear_predictor(values, feature_rows):
    n_states, n_neurons, n_features = values.shape
    flat = jnp.reshape(values, (n_states * n_neurons, n_features))
    return jnp.reshape(feature_rows @ flat.T, (-1, n_states, n_neurons))


def _chunked(rows: Any, n_rows: int, chunk: int) -> Any:
    """Reshape every (row, ...) array to (chunk index, row in chunk, ...)."""
    n_chunks = -(-n_rows // chunk)
    pad = n_chunks * chunk - n_rows

    def split(array):
        padded = jnp.pad(array, ((0, pad), *((0, 0),) * (array.ndim - 1)))
        return jnp.reshape(padded, (n_chunks, chunk, *array.shape[1:]))

    return jax.tree.map(split, rows)


def _sum_over_chunks(function: Callable, rows: tuple, width: int) -> Any:
    """Sum a function's result over chunks of rows that hold ``width`` entries each."""
    n_rows = rows[0].shape[0]
    chunk = max(min(n_rows, CHUNK_ENTRIES // max(width, 1)), 1)
    parts = _chunked(rows, n_rows, chunk)
    shapes = jax.eval_shape(function, *jax.tree.map(lambda part: part[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(*part)), None

    return jax.lax.scan(add, zeros, parts)[0]
