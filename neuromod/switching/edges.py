"""Couplings alone: the quadratic of a GLM with its dense coefficients eliminated.

Sparse priors visit one source neuron after another. What they need of the rest of a
GLM is the quadratic in its couplings after bias, inputs and own history have taken
their best values given those couplings (a Schur complement), so that a sweep over
sources does not creep along the ridge between a weight and the bias.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.switching.priors import Quadratic, as_diagonal, damping, solve_positive


class Edges(NamedTuple):
    """A quadratic in the couplings, sources leading, and the way back.

    Parameters
    ----------
    linear : (edge, state, group)
        Its slope at zero.
    information : (edge, state, group, other_edge)
        Its curvature.
    dense : (state, group, dense)
        Dense coefficients without couplings.
    response : (state, group, dense, edge)
        How much a coupling lowers each of them.
    """

    linear: Float[Array, "edge state group"]
    information: Float[Array, "edge state group other"]
    dense: Float[Array, "state group dense"]
    response: Float[Array, "state group dense edge"]

    def complete(
        self, weights: Float[Array, "edge state group"]
    ) -> Float[Array, "state group coefficient"]:
        """Return all coefficients, given the couplings."""
        edges = jnp.moveaxis(weights, 0, -1)
        dense = self.dense - (self.response @ edges[..., None])[..., 0]
        return jnp.concatenate([dense, edges], axis=-1)


def eliminate_dense(
    quadratic: Quadratic,
    mean: Float[Array, "state group dense"],
    precision: Float[Array, ""],
) -> Edges:
    """Give bias, inputs and own history their best values for any couplings.

    Parameters
    ----------
    quadratic
        All coefficients of every GLM.
    mean, precision
        Gaussian prior of the dense coefficients, which come first.
    """
    values, gradient, information = quadratic
    n_dense = mean.shape[-1]
    linear = gradient + (information @ values[..., None])[..., 0]
    square = information[..., :n_dense, :n_dense]
    held = damping(square)
    square = square + as_diagonal(precision + held)
    mixed = information[..., :n_dense, n_dense:]
    # What damps holds them where they are, and so does not move the top.
    wanted = linear[..., :n_dense] + precision * mean + held * values[..., :n_dense]
    solved = solve_positive(
        square, jnp.concatenate([wanted[..., None], mixed], axis=-1)
    )
    dense, response = solved[..., 0], solved[..., 1:]
    transposed = jnp.swapaxes(mixed, -1, -2)
    left = linear[..., n_dense:] - (transposed @ dense[..., None])[..., 0]
    rest = information[..., n_dense:, n_dense:] - transposed @ response
    return Edges(jnp.moveaxis(left, -1, 0), jnp.moveaxis(rest, -2, 0), dense, response)
