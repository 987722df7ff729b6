r"""The GLMs of all states and neurons at once: likelihood, gradient, information.

Given how likely each bin is in each state, $\gamma_{t,s}$, the GLMs separate: each
state and neuron has its own objective $\sum_t \gamma_{t,s} \log p(x_{t,n} \mid s)$.
`evaluate` returns it, with how well every state explains every bin, and
`differentiate` its gradient.

Rows are the bins of all sessions one after another. Nothing of shape (time, state,
neuron) is ever stored: rows are visited in chunks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from neuromod.switching.features import Features
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import LINKS, OBSERVATIONS, Values

# Bounds the temporaries of one chunk of rows to about 1 MB in float64, which the
# processor's cache holds.
CHUNK_ENTRIES = 100_000
FEWEST_ROWS = 128


class Rows(NamedTuple):
    """Some bins: what the GLMs regress on, and what they explain.

    Parameters
    ----------
    features
        Regressors.
    values : (row, neuron)
        Counts or choices; anything where not observed.
    base : (row,)
        What of the log-probability depends on the values alone.
    recorded : (row, neuron)
        False where the session lacks the neuron; None if all are always there.
    """

    features: Features
    values: Any
    base: Float[Array, " row"]
    recorded: Bool[Array, "row neuron"] | None


class Evaluation(NamedTuple):
    """What `evaluate` finds.

    Parameters
    ----------
    evidence : (row, state)
        Log-probability of each bin in each state, summed over neurons (nats).
    objective : (state, neuron)
        Expected log-likelihood of every GLM under the weights, without the base.
    """

    evidence: Float[Values, "row state"]
    objective: Float[Array, "state neuron"]


class Statistics(NamedTuple):
    """Derivatives of every GLM's objective.

    A *group* is a neuron, or all options of a categorical choice, whose coefficients
    belong together.

    Parameters
    ----------
    gradient : (state, group, coefficient)
        First derivatives.
    dispersion_gradient, dispersion_curvature : (state, neuron)
        First and negative second derivative by the logarithm of the dispersion.
    """

    gradient: Float[Array, "state group coefficient"]
    dispersion_gradient: Float[Array, "state neuron"]
    dispersion_curvature: Float[Array, "state neuron"]


def is_joint(model: SwitchingGLM) -> bool:
    """Tell whether the linear predictors belong to one observation."""
    return model.observation == "categorical"


def coefficients(model: SwitchingGLM) -> Float[Array, "state neuron coefficient"]:
    """Join bias and weights into one vector per state and neuron."""
    bias, weight = jnp.asarray(model.bias), jnp.asarray(model.weight)
    weight = jnp.where(is_coupled(model)[None, ..., None], weight, 0)
    couplings = jnp.reshape(weight, (*bias.shape, -1))
    parts = [bias[..., None], model.input_weight, model.self_weight, couplings]
    return jnp.concatenate([jnp.asarray(part, bias.dtype) for part in parts], axis=-1)


def with_coefficients(
    model: SwitchingGLM, values: Float[Array, "state neuron coefficient"]
) -> SwitchingGLM:
    """Return the model with other biases and weights."""
    layout = model.layout
    inputs, own = 1 + layout.n_inputs, layout.n_dense
    return eqx.tree_at(
        lambda m: (m.bias, m.input_weight, m.self_weight, m.weight),
        model,
        (
            values[..., 0],
            values[..., 1:inputs],
            values[..., inputs:own],
            jnp.reshape(values[..., own:], model.weight.shape),
        ),
    )


def grouped(
    model: SwitchingGLM, values: Float[Array, "state neuron coefficient"]
) -> Float[Array, "state group grouped"]:
    """Join the coefficients of each group."""
    if is_joint(model):
        return jnp.reshape(values, (values.shape[0], 1, -1))
    return values


def ungrouped(
    model: SwitchingGLM, values: Float[Array, "state group grouped"]
) -> Float[Array, "state neuron coefficient"]:
    """Take the coefficients of each group apart."""
    return jnp.reshape(values, (*model.bias.shape, model.layout.n_coefficients))


def is_free(model: SwitchingGLM) -> Bool[np.ndarray, "state group coefficient"]:
    """Tell which coefficients there are.

    A filter of its own replaces a self-weight, and a lapse state has a bias alone.
    """
    layout, n_neurons = model.layout, model.n_neurons
    dense = np.ones((n_neurons, layout.n_dense), bool)
    edges = np.repeat(is_coupled(model), layout.n_basis, axis=1)
    free = np.concatenate([dense, edges[:, : layout.n_edges]], axis=1)
    free = np.repeat(free[None], model.n_states, axis=0)
    free[model.n_states - model.n_lapse_states :, :, 1:] = False
    return free.reshape(model.n_states, 1, -1) if is_joint(model) else free


def is_coupled(model: SwitchingGLM) -> Bool[np.ndarray, "neuron source_neuron"]:
    """Tell which pairs have a coupling: all, but a neuron with its own filter."""
    own = np.eye(model.n_neurons, dtype=bool)
    return ~own if model.layout.n_own else np.ones_like(own)


@jax.jit
def evaluate(
    model: SwitchingGLM, rows: Rows, weights: Float[Values, "row state"]
) -> Evaluation:
    """Return how well every state explains every bin, and every GLM its share."""
    link, observation = LINKS[model.link], OBSERVATIONS[model.observation]
    split = split_coefficients(model, coefficients(model))
    dispersion = jnp.asarray(model.dispersion)

    def of_chunk(part: tuple[Rows, Array]):
        rows, weights = part
        values = jnp.asarray(rows.values, dispersion.dtype)
        rate = link.rate(_predict_all(split, rows.features))
        terms = observation.log_probability(values[:, None], rate, dispersion[None])
        if rows.recorded is not None:
            terms = jnp.where(rows.recorded[:, None], terms, 0)
        evidence = terms.sum(-1) + rows.base[:, None]
        return evidence, jnp.einsum("rs,rsn->sn", weights, terms)

    n_rows = weights.shape[0]
    chunk = _rows_per_chunk(n_rows, model.n_states * model.n_neurons)
    parts = _chunked((rows, weights), n_rows, chunk)
    evidence, objectives = jax.lax.map(of_chunk, parts)
    flat = jnp.reshape(evidence, (-1, model.n_states))[:n_rows]
    return Evaluation(flat, objectives.sum(0))


@jax.jit
def expect(
    model: SwitchingGLM, rows: Rows, weights: Float[Values, "row state"]
) -> Float[Array, "row neuron"]:
    """Return the expected value of every bin, averaged over states by the weights."""
    split, link = split_coefficients(model, coefficients(model)), LINKS[model.link]

    def of_chunk(part: tuple[Rows, Array]):
        rows, weights = part
        rate = link.rate(_predict_all(split, rows.features))
        return jnp.einsum("rs,rsn->rn", weights, rate)

    n_rows = weights.shape[0]
    chunk = _rows_per_chunk(n_rows, model.n_states * model.n_neurons)
    parts = _chunked((rows, weights), n_rows, chunk)
    found = jax.lax.map(of_chunk, parts)
    return jnp.reshape(found, (-1, model.n_neurons))[:n_rows]


@jax.jit
def differentiate(
    model: SwitchingGLM, rows: Rows, weights: Float[Values, "row state"]
) -> Statistics:
    """Sum the derivatives of every GLM's objective over rows.

    Parameters
    ----------
    model
        Parameters at which to differentiate.
    rows
        The bins.
    weights : (row, state)
        Posterior probabilities; 0 where a bin does not count.
    """
    link, observation = LINKS[model.link], OBSERVATIONS[model.observation]
    split = split_coefficients(model, coefficients(model))
    dispersion = jnp.asarray(model.dispersion)[None]

    def of_chunk(rows: Rows, weights: Array):
        features = rows.features
        values = jnp.asarray(rows.values, weights.dtype)[:, None]
        eta = _predict_all(split, features)
        rate = link.rate(eta)
        counted = _count(weights, rows)
        slope = link.slope(eta, rate) * observation.score(values, rate, dispersion)
        score = jnp.where(counted > 0, counted * slope, 0)
        first = second = jnp.zeros(rate.shape[1:], rate.dtype)
        if observation.dispersed:
            found = _dispersion_derivatives(observation, values, rate, dispersion)
            first, second = ((counted * part).sum(0) for part in found)
        flat = jnp.reshape(score, (score.shape[0], -1))
        return (
            jnp.reshape(flat.T @ features.common, split.common.shape),
            jnp.einsum("rsn,rnb->snb", score, features.own),
            first,
            -second,
        )

    width = model.n_states * model.n_neurons
    common, own, first, second = sum_over_chunks(of_chunk, (rows, weights), width)
    gradient = jnp.concatenate([common, own], axis=-1)[..., feature_order(model)]
    free = jnp.asarray(is_free(model))
    gradient = jnp.where(free, grouped(model, gradient), 0)
    return Statistics(gradient, first, second)


def _count(weights: Array, rows: Rows) -> Float[Array, "row state neuron"]:
    """Return what each row counts for in every state and neuron."""
    if rows.recorded is None:
        return jnp.broadcast_to(
            weights[:, :, None], (*weights.shape, rows.values.shape[-1])
        )
    return jnp.where(rows.recorded[:, None], weights[:, :, None], 0)


def feature_order(model: SwitchingGLM) -> np.ndarray:
    """Return where the common features, then the own ones, stand in the layout."""
    layout = model.layout
    inputs, n_common = 1 + layout.n_inputs, 1 + layout.n_inputs + layout.n_edges
    own = np.arange(n_common, n_common + layout.n_own)
    return np.r_[0:inputs, own, inputs:n_common].astype(int)


class Split(NamedTuple):
    """Coefficients of the common features, and of a neuron's own history."""

    common: Float[Array, "state neuron common"]
    own: Float[Array, "state neuron self_basis"]


def split_coefficients(model: SwitchingGLM, values: Array) -> Split:
    """Take what weighs the common features apart from what weighs the own ones."""
    layout = model.layout
    inputs, own = 1 + layout.n_inputs, layout.n_dense
    common = jnp.concatenate([values[..., :inputs], values[..., own:]], axis=-1)
    return Split(common, values[..., inputs:own])


def _predict_all(split: Split, features: Features) -> Float[Array, "row state neuron"]:
    n_states, n_neurons, n_common = split.common.shape
    flat = jnp.reshape(split.common, (n_states * n_neurons, n_common))
    eta = jnp.reshape(features.common @ flat.T, (-1, n_states, n_neurons))
    if split.own.shape[-1]:
        eta = eta + jnp.einsum("rnb,snb->rsn", features.own, split.own)
    # Else a single row's product is computed anew wherever it is used.
    return jax.lax.optimization_barrier(eta)


def _dispersion_derivatives(observation, values, rate, dispersion):
    def terms(log_dispersion):
        return observation.log_probability(values, rate, jnp.exp(log_dispersion))

    def first(log_dispersion):
        return jax.jvp(terms, (log_dispersion,), (jnp.ones_like(rate),))[1]

    at = jnp.broadcast_to(jnp.log(dispersion), rate.shape)
    return jax.jvp(first, (at,), (jnp.ones_like(rate),))


def _rows_per_chunk(n_rows: int, width: int) -> int:
    rows = max(CHUNK_ENTRIES // max(width, 1), FEWEST_ROWS)
    return max(min(n_rows, rows), 1)


def _chunked(rows: Any, n_rows: int, chunk: int) -> Any:
    """Reshape every (row, ...) array to (chunk index, row in chunk, ...)."""
    n_chunks = -(-n_rows // chunk)
    pad = n_chunks * chunk - n_rows

    def split(array):
        padded = jnp.pad(array, ((0, pad), *((0, 0),) * (array.ndim - 1)))
        return jnp.reshape(padded, (n_chunks, chunk, *array.shape[1:]))

    return jax.tree.map(split, rows)


def sum_over_chunks(function: Callable, rows: tuple, width: int) -> Any:
    """Sum a function's result over chunks of rows that hold ``width`` entries each."""
    n_rows = jax.tree.leaves(rows)[0].shape[0]
    chunk = _rows_per_chunk(n_rows, width)
    parts = _chunked(rows, n_rows, chunk)
    shapes = jax.eval_shape(function, *jax.tree.map(lambda part: part[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(*part)), None

    return jax.lax.scan(add, zeros, parts)[0]
