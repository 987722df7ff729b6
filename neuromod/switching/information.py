r"""The Fisher information of the GLMs: how much the bins tell of their coefficients.

A step needs it, and so do standard errors. Its cost grows with the square of the
number of coefficients, so a step takes it from a sample of the bins, which tells it
well enough: where steps lead is decided by the gradient, which is exact.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from neuromod.switching.glm import (
    Rows,
    coefficients,
    feature_order,
    is_free,
    is_joint,
    split_coefficients,
    sum_over_chunks,
)
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import LINKS, OBSERVATIONS

# Rows of each state that tell a step how the objective curves.
ROWS_OF_A_STEP = 1024
# The same where the curvature is part of the objective.
ROWS_OF_A_BOUND = 4096
# Rows of each state that standard errors come from: right to a percent.
ROWS_OF_ERRORS = 16384


class Chosen(NamedTuple):
    """Some rows of each state that stand for all.

    Parameters
    ----------
    rows : (draw, state)
        Which.
    stands_for : (draw, state)
        By how much the weight of each is multiplied to count for the others too.
    """

    rows: Int[Array, "draw state"]
    stands_for: Float[Array, "draw state"]


@jax.jit
def inform(
    model: SwitchingGLM,
    rows: Rows,
    chosen: Int[Array, "draw state"],
    counted: Float[Array, "draw state"],
) -> Float[Array, "state group coefficient other"]:
    """Sum the Fisher information of every GLM over some rows of its state.

    Parameters
    ----------
    model, rows
        As in `differentiate`.
    chosen : (draw, state)
        Which rows.
    counted : (draw, state)
        How much each counts for.
    """

    def of_state(state):
        seen, weight = chosen[:, state], counted[:, state]
        return _inform_state(model, rows, seen, weight, state)

    common, mixed, own = jax.lax.map(of_state, jnp.arange(model.n_states))
    if is_joint(model):
        n_states, n_neurons = model.bias.shape
        shape = (n_states, n_neurons, n_neurons, *common.shape[-2:])
        square = jnp.moveaxis(jnp.reshape(common, shape), 2, 3)
        side = n_neurons * common.shape[-1]
        information = jnp.reshape(square, (n_states, 1, side, side))
    else:
        upper = jnp.concatenate([common, jnp.moveaxis(mixed, 2, 3)], axis=-1)
        lower = jnp.concatenate([mixed, own], axis=-1)
        information = jnp.concatenate([upper, lower], axis=-2)
        order = feature_order(model)
        information = information[..., order, :][..., order]
    free = jnp.asarray(is_free(model))
    return jnp.where(free[..., :, None] & free[..., None, :], information, 0)


@functools.partial(jax.jit, static_argnums=1)
def choose(weights: Float[Array, "row state"], n_draws: int) -> Chosen:
    """Choose rows that follow the weights.

    They stand at equal steps of the cumulative weight of each state: no random
    numbers are needed. No fewer rows than there are means all of them.
    """
    n_rows = weights.shape[0]
    if n_draws >= n_rows:
        every = jnp.broadcast_to(jnp.arange(n_rows)[:, None], weights.shape)
        return Chosen(every, jnp.ones_like(weights))
    step = (jnp.arange(n_draws, dtype=weights.dtype) + 0.5) / n_draws

    def of_state(column):
        reached = jnp.cumsum(column)
        found = jnp.searchsorted(reached, step * reached[-1], side="left")
        return jnp.minimum(found, len(column) - 1)

    rows = jax.vmap(of_state, in_axes=1, out_axes=1)(weights)
    own = jnp.take_along_axis(weights, rows, axis=0)
    each = jnp.broadcast_to(weights.sum(0) / n_draws, own.shape)
    return Chosen(rows, jnp.where(own > 0, each / jnp.where(own > 0, own, 1), 0))


@jax.jit
def count(
    chosen: Chosen, weights: Float[Array, "row state"]
) -> Float[Array, "draw state"]:
    """Return how much each chosen row counts for under these weights."""
    return chosen.stands_for * jnp.take_along_axis(weights, chosen.rows, axis=0)


@jax.jit
def effective_share(counted: Float[Array, "draw state"]) -> Float[Array, ""]:
    """Return which share of the rows does the work, in the state where it is least.

    One while all count alike; it falls as the weights move away from those by which
    the rows were chosen.
    """
    squares = (counted**2).sum(0)
    alike = counted.sum(0) ** 2 / jnp.where(squares > 0, squares, 1)
    # A state that is never visited has no rows to wear out.
    return jnp.where(squares > 0, alike / len(counted), 1).min()


def _inform_state(model, rows, chosen, weights, state):
    """Sum the products of features of one state's GLMs, weighted by their curvature."""
    link, observation = LINKS[model.link], OBSERVATIONS[model.observation]
    split = split_coefficients(model, coefficients(model))
    dispersion = jnp.asarray(model.dispersion)[state]
    n_own = split.own.shape[-1]

    def of_chunk(chosen, weights):
        part = jax.tree.map(lambda array: array[chosen], rows)
        features = part.features
        eta = features.common @ split.common[state].T
        if n_own:
            eta = eta + jnp.einsum("rnb,nb->rn", features.own, split.own[state])
        rate = link.rate(eta)
        slope = link.slope(eta, rate)
        variance = jnp.maximum(observation.variance(rate, dispersion[None]), 1e-30)
        counted = jnp.broadcast_to(weights[:, None], eta.shape)
        if part.recorded is not None:
            counted = jnp.where(part.recorded, counted, 0)
        curvature = counted * slope**2 / variance
        if is_joint(model):
            eye = jnp.eye(rate.shape[-1], dtype=rate.dtype)
            pairs = rate[:, :, None] * (eye[None] - rate[:, None, :])
            curvature = jnp.reshape(counted[:, :, None] * pairs, (len(chosen), -1))
        seen = curvature[:, : rate.shape[-1], None] * features.own
        return (
            _sum_products(curvature, features.common),
            jnp.einsum("rnb,rf->nbf", seen, features.common),
            jnp.einsum("rnb,rnc->nbc", seen, features.own),
        )

    width = max(model.n_neurons * (1 + n_own), split.common.shape[-1] ** 2)
    return sum_over_chunks(of_chunk, (chosen, weights), width)


def _sum_products(weights: Array, features: Array) -> Array:
    """Return the weighted sums of all products of two features."""
    n_rows, n_features = features.shape
    products = features[:, :, None] * features[:, None, :]
    flat = weights.T @ jnp.reshape(products, (n_rows, -1))
    return jnp.reshape(flat, (-1, n_features, n_features))
