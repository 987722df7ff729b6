"""Quadratics that priors step on, for their tests."""

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.switching.priors import Quadratic


def quadratic_of(model, seed=0, size=6.0, correlation=0.3):
    """Random quadratics of all GLMs."""
    generator = np.random.default_rng(seed)
    n = model.layout.n_coefficients
    shape = (*model.bias.shape, n)
    root = generator.normal(size=(*shape, 3 * n)) * np.sqrt(size / n)
    information = root @ np.swapaxes(root, -1, -2) / 3
    # The histories of different neurons are only weakly correlated.
    information = np.where(
        np.eye(n, dtype=bool), information, correlation * information
    )
    return Quadratic(
        jnp.asarray(generator.normal(size=shape) * 0.3),
        jnp.asarray(generator.normal(size=shape) * size),
        jnp.asarray(information),
    )


@jax.jit
def sweep(prior, state, quadratic):
    """Step; tests that share shapes share the program."""
    return prior.step(state, quadratic)


def at(quadratic, values):
    """The same quadratic, seen from other coefficients."""
    moved = values - quadratic.values
    gradient = quadratic.gradient - jnp.einsum(
        "sgcd,sgd->sgc", quadratic.information, moved
    )
    return Quadratic(values, gradient, quadratic.information)
