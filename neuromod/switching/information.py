r"""The Fisher information of the GLMs: how much the bins tell of their coefficients.

A step needs it, and so do standard errors. Its cost grows with the square of the
number of coefficients, so a step takes it from a sample of the bins, which tells it
well enough: where steps lead is decided by the gradient, which is exact.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
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
from neuromod.switching.observations import LINKS, OBSERVATIONS, Values

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

    rows: Int[np.ndarray, "draw state"]
    stands_for: Float[np.ndarray, "draw state"]


@jax.jit
def inform(
    model: SwitchingGLM,
    rows: Rows,
    chosen: Int[Values, "draw state"],
    counted: Float[Values, "draw state"],
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


def choose(weights: Float[Values, "row state"], n_draws: int) -> Chosen:
    """Choose rows that follow the weights.

    They stand at equal steps of the cumulative weight of each state: no random
    numbers are needed. No fewer rows than there are means all of them.
    """
    weights = np.asarray(weights)
    n_rows = len(weights)
    if n_draws >= n_rows:
        every = np.broadcast_to(np.arange(n_rows)[:, None], weights.shape)
        return Chosen(every, np.ones_like(weights))
    step = (np.arange(n_draws) + 0.5) / n_draws

    def of_state(column):
        reached = np.cumsum(column, dtype=float)
        found = np.searchsorted(reached, step * reached[-1], side="left")
        return np.minimum(found, n_rows - 1), reached[-1] / n_draws

    # State by state: beside the weights of a long recording nothing as large is held.
    chosen = [of_state(column) for column in weights.T]
    rows = np.stack([found for found, _ in chosen], axis=1)
    each = np.array([share for _, share in chosen])
    own = np.take_along_axis(weights, rows, axis=0)
    stands_for = np.where(own > 0, each / np.where(own > 0, own, 1), 0)
    return Chosen(rows, stands_for.astype(weights.dtype))


def count(
    chosen: Chosen, weights: Float[Values, "row state"]
) -> Float[np.ndarray, "draw state"]:
    """Return how much each chosen row counts for under these weights."""
    own = np.take_along_axis(np.asarray(weights), chosen.rows, axis=0)
    return chosen.stands_for * own


def effective_share(counted: Float[np.ndarray, "draw state"]) -> float:
    """Return which share of the rows does the work, in the state where it is least.

    One while all count alike; it falls as the weights move away from those by which
    the rows were chosen.
    """
    squares = (counted**2).sum(0)
    alike = counted.sum(0) ** 2 / np.where(squares > 0, squares, 1)
    # A state that is never visited has no rows to wear out.
    return float(np.where(squares > 0, alike / len(counted), 1).min())


def standard_errors(
    information: Float[np.ndarray, "state group coefficient other"],
) -> Float[np.ndarray, "state group coefficient"]:
    """Invert the information; infinite where the data do not tell a coefficient."""
    diagonal = np.diagonal(information, axis1=-2, axis2=-1)
    # Scaled, so that what can be told does not hang on the units of the inputs.
    size = np.sqrt(np.where(diagonal > 0, diagonal, 1))
    scaled = information / (size[..., :, None] * size[..., None, :])
    values, vectors = np.linalg.eigh(scaled)
    rounding = len(size.T) * np.finfo(information.dtype).eps
    told = values > rounding * values[..., -1:]
    inverse = np.where(told, 1 / np.where(told, values, 1.0), 0.0)
    variance = (vectors**2 * inverse[..., None, :]).sum(-1) / size**2
    untold = (vectors**2 * ~told[..., None, :]).sum(-1) > 1e-6
    return np.sqrt(np.where(untold, np.inf, variance))


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
