"""Programs that compile sooner compute the same, alone and within others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core import programs

X = np.linspace(-2.0, 2.0, 7, dtype=np.float32)


@programs.jit_many_kernels
def bell(x):
    return jnp.exp(-(x**2)) + jnp.sin(x)


def test_the_same_numbers():
    np.testing.assert_allclose(bell(X), np.exp(-(X**2)) + np.sin(X), rtol=1e-6)
    assert bell.__name__ == "bell"


@pytest.mark.parametrize("outer", [jax.jit, jax.vmap])
def test_it_can_be_part_of_another_program(outer):
    np.testing.assert_allclose(outer(bell)(X), bell(X), rtol=1e-6)


def test_it_has_gradients():
    slope = jax.jit(jax.grad(lambda x: bell(x).sum()))(X)
    np.testing.assert_allclose(slope, -2 * X * np.exp(-(X**2)) + np.cos(X), atol=1e-6)


def test_static_arguments_stay_static():
    power = functools.partial(programs.jit_many_kernels, static_argnums=0)(
        lambda n, x: x**n if n > 1 else x
    )
    np.testing.assert_allclose(power(2, X), X**2, rtol=1e-6)
    np.testing.assert_array_equal(power(1, X), X)
