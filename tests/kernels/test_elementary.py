"""Exponentials and logarithms beside the same in extended precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from neuromod.kernels import elementary

FUNCTIONS = ["exp", "log", "sigmoid", "log_sigmoid", "softplus", "reciprocal"]
ANY = np.concatenate([np.linspace(-700, 700, 20_001), np.linspace(-3, 3, 20_001)])
POSITIVE = np.concatenate([np.exp(ANY), np.linspace(0.5, 2, 20_001)])


def extended(name, values):
    x = values.astype(np.longdouble)
    small = np.exp(-np.abs(x)) if name in ("sigmoid", "log_sigmoid", "softplus") else x
    return {
        "exp": lambda: np.exp(x),
        "log": lambda: np.log(x),
        "reciprocal": lambda: 1 / x,
        "sigmoid": lambda: np.where(x >= 0, 1, small) / (1 + small),
        "log_sigmoid": lambda: np.minimum(x, 0) - np.log1p(small),
        "softplus": lambda: np.maximum(x, 0) + np.log1p(small),
    }[name]().astype(float)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_are_right_to_the_last_places(name, dtype):
    values = POSITIVE if name in ("log", "reciprocal") else ANY
    if dtype == "float32":
        values = values[(np.abs(values) < 80) & (np.abs(values) > 1e-30)]
    values = values.astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        found = np.asarray(jax.jit(getattr(elementary, name))(jnp.asarray(values)))
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found, extended(name, values), rtol=4 * np.finfo(dtype).eps, atol=1e-300
    )


def test_the_ends_of_the_line():
    ends = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300, -0.0])
    with jax.enable_x64(True):
        given = jnp.asarray(ends)
        found = {n: np.asarray(getattr(elementary, n)(given)) for n in FUNCTIONS}
        denormal = float(elementary.log(jnp.asarray(5e-324)))
    nan, inf = np.nan, np.inf
    expected = {
        "exp": [nan, inf, 0, inf, 0, 1],
        "log": [nan, inf, nan, np.log(1e300), nan, -inf],
        "sigmoid": [nan, 1, 0, 1, 0, 0.5],
        "log_sigmoid": [nan, 0, -inf, 0, -1e300, -np.log(2)],
        "softplus": [nan, inf, 0, 1e300, 0, np.log(2)],
        "reciprocal": [nan, 0, 0, 1e-300, -1e-300, -inf],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-15, err_msg=name)
    assert denormal == -inf


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_are_those_of_differences(name):
    with jax.enable_x64(True):
        for at in (0.3, 2.0):
            check_grads(
                getattr(elementary, name), (jnp.asarray(at),), 2, ["fwd", "rev"]
            )


def test_what_is_no_number_stays_none_when_it_is_clipped():
    found = elementary.clip(jnp.array([np.nan, -2.0, 0.5, np.inf]), -1.0, 1.0)
    np.testing.assert_array_equal(found, [np.nan, -1, 0.5, 1])
