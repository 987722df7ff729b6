import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import wrightomega

from neuromod.hgf import unbounded


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_lambert_of_exp_everywhere():
    z = np.concatenate([np.linspace(-600, 600, 241), np.linspace(-5, 5, 101), [1e5]])
    found = jax.vmap(unbounded.lambert_of_exp)(jnp.asarray(z))
    np.testing.assert_allclose(found, wrightomega(z), rtol=1e-13)
    slope = jax.vmap(jax.grad(unbounded.lambert_of_exp))(jnp.asarray(z))
    w = wrightomega(z)
    np.testing.assert_allclose(slope, w / (1 + w), rtol=1e-12)


def step_of(surprise):
    return unbounded.Step(*map(jnp.asarray, (0.5, surprise, 1.2, -1.0, 1.0)))


@pytest.mark.parametrize("surprise", [0.01, 0.5, 3.0, 40.0, 1e4])
def test_precision_is_positive_and_the_mean_near_the_mode(surprise):
    mean, precision = unbounded.update(
        jnp.asarray(0.2), jnp.asarray(1.0), step_of(surprise), bounded_lambert=False
    )
    assert float(precision) > 0

    def energy(x):
        total = 0.5 + np.exp(x - 1.0)
        return (np.log(total) + surprise / total + (x - 0.2) ** 2) / 2

    mode = minimize_scalar(energy, bounds=(-20, 20), method="bounded").x
    assert abs(float(mean) - mode) < 0.5


def test_nothing_overflows():
    far = unbounded.Step(*map(jnp.asarray, (1e-8, 1e12, 10.0, 300.0, 1.0)))

    def mean(x):
        return unbounded.update(x, jnp.asarray(1e-6), far, bounded_lambert=False)[0]

    value, slope = jax.value_and_grad(mean)(jnp.asarray(500.0))
    assert np.isfinite(value)
    assert np.isfinite(slope)
