"""Long recordings in single precision, singular covariances, and many latents."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.kernels.kalman import kalman_filter, kalman_smoother
from neuromod.kernels.kalman_likelihood import kalman_log_likelihood
from neuromod.kernels.kalman_model import KalmanModel
from tests.kernels.folded import assert_each_loop_is_one_kernel
from tests.kernels.kalman_dense import condition_jointly, random_model

METHODS = ("sequential", "associative")


def to_jax(arrays, dtype=np.float64):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), arrays)


def slow_rotation(n_bins, initial_variance):
    """Two slow oscillations seen by two precise channels that mix them."""
    rng = np.random.default_rng(0)
    turn = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    model = KalmanModel(
        initial_mean=np.zeros(4),
        initial_covariance=initial_variance * np.eye(4),
        transition=0.9999 * np.kron(np.eye(2), turn),
        transition_covariance=1e-3 * np.eye(4),
        observation=np.array([[1.0, 0.0, 0.5, 0.0], [0.5, 0.0, 1.0, 0.3]]),
        observation_covariance=1e-4 * np.eye(2),
    )
    return model, np.cumsum(rng.normal(size=(n_bins, 2)), axis=0) * 0.1


@pytest.mark.parametrize(("initial_variance", "forgotten"), [(1.0, 0), (1e8, 100)])
def test_float32_stays_positive_and_near_float64(initial_variance, forgotten):
    """Even from a start 1e12 times as uncertain as an observation, once forgotten."""
    model, observations = slow_rotation(10_000, initial_variance)
    observed = np.random.default_rng(1).random(10_000) < 0.7
    observed[3000:4000] = False
    with jax.enable_x64(True):
        arrays = to_jax((model, observations))
        want = kalman_smoother(*arrays, observed=observed)
        want = jax.tree.map(np.asarray, want)
    arrays = to_jax((model, observations), np.float32)
    got = kalman_smoother(*arrays, observed=observed)
    np.testing.assert_allclose(got.log_likelihood, want.log_likelihood, rtol=1e-4)
    for name in ("filtered", "smoothed"):
        covariances = np.asarray(getattr(got, f"{name}_covariances"), np.float64)
        assert np.linalg.eigvalsh(covariances).min() > 0
        np.testing.assert_array_equal(covariances, covariances.swapaxes(1, 2))
        exact = getattr(want, f"{name}_covariances")
        spread = np.sqrt(np.einsum("tii->ti", exact))
        error = np.abs(covariances - exact) / spread[:, :, None] / spread[:, None]
        assert error[forgotten:].max() < 5e-3
        distance = getattr(got, f"{name}_means") - getattr(want, f"{name}_means")
        assert np.abs(distance / spread)[forgotten:].max() < 1e-2


@pytest.mark.usefixtures("float64")
def test_a_state_that_is_known_and_moves_without_noise():
    model, observations = random_model(0, 6, 2, 1, offsets=False)
    nothing = np.zeros((2, 2))
    model = model._replace(initial_covariance=nothing, transition_covariance=nothing)
    got = kalman_smoother(*to_jax((model, observations)), cross_covariances=True)
    path = [model.initial_mean]
    for _ in range(5):
        path.append(model.transition @ path[-1])
    np.testing.assert_allclose(got.smoothed_means, path, rtol=1e-12)
    np.testing.assert_allclose(got.smoothed_covariances, 0, atol=1e-14)
    np.testing.assert_allclose(got.cross_covariances, 0, atol=1e-14)
    np.testing.assert_allclose(
        got.log_likelihood, condition_jointly(model, observations).log_likelihood
    )


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_an_autoregression_observed_without_noise(precision):
    """Its transition noise is singular, and so is every filtered covariance."""
    rng = np.random.default_rng(0)
    model = KalmanModel(
        initial_mean=np.zeros(2),
        initial_covariance=np.eye(2),
        transition=np.array([[1.5, -0.7], [1.0, 0.0]]),
        transition_covariance=np.diag([1.0, 0.0]),
        observation=np.array([[1.0, 0.0]]),
        observation_covariance=np.zeros((1, 1)),
    )
    observations = rng.normal(size=(50, 1))
    observed = rng.random(50) < 0.8
    want = condition_jointly(model, observations, observed)
    with jax.enable_x64(precision == "float64"):
        arrays = to_jax((model, observations), precision)
        got = kalman_smoother(*arrays, observed=observed)
        tolerance = 5e-5 if precision == "float32" else 1e-12
        close = functools.partial(np.testing.assert_allclose, atol=tolerance)
        close(got.smoothed_means, want.smoothed_means)
        close(got.smoothed_covariances, want.smoothed_covariances)
        close(got.log_likelihood, want.log_likelihood, rtol=tolerance)
        close(got.smoothed_means[observed, 0], observations[observed, 0])


@pytest.mark.parametrize("method", METHODS)
def test_channels_without_any_variance_stay_finite(method):
    """Two channels that tell the same of a known state have no density."""
    one, nothing = jnp.ones((2, 1)), jnp.zeros((1, 1))
    known = KalmanModel(jnp.zeros(1), nothing, nothing, nothing, one, jnp.zeros((2, 2)))
    both = functools.partial(kalman_smoother, cross_covariances=True, method=method)
    got = both(known, jnp.array([[0.0, 0.0], [1.0, 0.0]]))
    assert all(np.isfinite(x).all() for x in got)
    np.testing.assert_array_equal(got.smoothed_means, 0)
    slope = jax.grad(kalman_log_likelihood)(known, jnp.zeros((2, 2)))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slope))


@pytest.mark.usefixtures("float64")
def test_more_than_is_written_out():
    """Twelve latents, ten channels: factorised by LAPACK."""
    model, observations = random_model(0, 4, 12, 10)
    observed = np.random.default_rng(0).random((4, 10)) < 0.7
    want = condition_jointly(model, observations, observed)
    arrays = to_jax((model, observations))
    got = kalman_smoother(*arrays, observed=observed)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
    close(got.log_likelihood, want.log_likelihood)
    close(got.smoothed_means, want.smoothed_means)
    close(got.smoothed_covariances, want.smoothed_covariances)


FOLDED = {
    "filter": (kalman_filter, 1),
    "smoother": (kalman_smoother, 2),
    "gradient": (jax.grad(kalman_log_likelihood, (0, 1)), 2),
}


@pytest.mark.parametrize("name", FOLDED)
def test_each_loop_is_one_kernel(name):
    """What makes it fast on a CPU: XLA compiles the whole loop, masks included."""
    function, n_loops = FOLDED[name]
    arrays = to_jax(random_model(0, 500, 4, 2), np.float32)
    options = {"reset": jnp.zeros(500, bool), "length": 400}
    assert_each_loop_is_one_kernel(function, n_loops, *arrays, **options)
