r"""The Fisher information of the GLMs: how much the bins tell of their coefficients.

A step needs it, and so do standard errors. Its cost grows with the square of the
number of coefficients, so a step takes it from a sample of the bins, which tells it
well enough: where steps lead is decided by the gradient, which is exact.
"""

import functools

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

# A sample holds this many rows of each state.
SAMPLE_ROWS = 1024


@functools.partial(jax.jit, static_argnames="exactly")
def inform(
    model: SwitchingGLM,
    rows: Rows,
    weights: Float[Array, "row state"],
    exactly: bool = False,
) -> Float[Array, "state group coefficient other"]:
    """Sum the Fisher information of every GLM over all rows, or estimate it.

    Parameters
    ----------
    model, rows, weights
        As in `differentiate`.
    exactly
        Whether to visit every row, however many there are.
    """
    if exactly:
        chosen, counted = _all(weights)
    else:
        chosen, counted = choose(weights)
    return inform_chosen(model, rows, chosen, counted)


@jax.jit
def inform_chosen(
    model: SwitchingGLM,
    rows: Rows,
    chosen: Int[Array, "draw state"],
    counted: Float[Array, "draw state"],
) -> Float[Array, "state group coefficient other"]:
    """Sum the Fisher information over some rows of every state.

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
    return jnp.where((free[:, :, None] & free[:, None, :])[None], information, 0)


def _all(weights: Array) -> tuple[Array, Array]:
    rows = jnp.arange(weights.shape[0])
    return jnp.broadcast_to(rows[:, None], weights.shape), weights


@jax.jit
def choose(
    weights: Float[Array, "row state"],
) -> tuple[Int[Array, "draw state"], Float[Array, "draw state"]]:
    """Choose rows that follow the weights, and tell what each counts for.

    They stand at equal steps of the cumulative weight of each state: no random
    numbers are needed. Few rows are all chosen.
    """
    if weights.shape[0] <= SAMPLE_ROWS:
        return _all(weights)
    total = weights.sum(0)
    step = (jnp.arange(SAMPLE_ROWS, dtype=weights.dtype) + 0.5) / SAMPLE_ROWS

    def of_state(column, total):
        reached = jnp.cumsum(column)
        found = jnp.searchsorted(reached, step * reached[-1], side="left")
        return jnp.minimum(found, len(column) - 1)

    chosen = jax.vmap(of_state, in_axes=(1, 0), out_axes=1)(weights, total)
    return chosen, jnp.broadcast_to(total / SAMPLE_ROWS, chosen.shape)


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
