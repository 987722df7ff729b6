"""The derivative of the likelihood: against differences and autodiff of the loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from neuromod.kernels.kalman import kalman_filter
from neuromod.kernels.kalman_likelihood import kalman_log_likelihood
from tests.kernels.kalman_dense import condition_jointly, random_model

N_BINS = 5
FLAGS = {
    "observed": jnp.ones((N_BINS, 2), bool).at[1, 0].set(False).at[3].set(False),
    "reset": jnp.arange(N_BINS) == 2,
    "length": N_BINS - 1,
}

pytestmark = pytest.mark.usefixtures("float64")


def to_jax(arrays, dtype=np.float64):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), arrays)


def by_the_loop(*arrays, **options):
    """The same number, differentiated by JAX through the filter's loop."""
    return kalman_filter(*arrays, **options).log_likelihood


ARRAYS = random_model(0, N_BINS, 2, 2)
UNFLATTEN = ravel_pytree(ARRAYS)[1]


def of_numbers(numbers):
    """Return the likelihood as a function of all parameters and observations."""
    return kalman_log_likelihood(*UNFLATTEN(numbers), **FLAGS)


slopes = jax.jit(jax.vmap(jax.value_and_grad(of_numbers)))
bends = jax.jit(jax.jacrev(jax.grad(of_numbers)))


@pytest.mark.parametrize("kind", ["free", "singular"])
def test_first_and_second_order_differences(kind):
    """Of any model, and of one that is known at first and moves without noise."""
    model, observations = ARRAYS
    if kind == "singular":
        nothing = np.zeros((2, 2))
        model = model._replace(
            initial_covariance=nothing, transition_covariance=nothing
        )
    numbers, _ = ravel_pytree(to_jax((model, observations)))
    step = 1e-5
    moves = jnp.concatenate([jnp.zeros((1, len(numbers))), jnp.eye(len(numbers))])
    (more, more_slope), (less, less_slope) = (
        slopes(numbers[None] + sign * step * moves) for sign in (1, -1)
    )
    slope = slopes(numbers[None] + 0 * moves)[1][0]
    difference = (more - less)[1:] / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-7, atol=1e-8)
    bend = (more_slope - less_slope)[1:] / (2 * step)
    np.testing.assert_allclose(bends(numbers), bend, rtol=1e-6, atol=1e-6)


def test_equals_the_derivative_of_the_loop():
    """Forward and in reverse, by both methods, with all parts changing in time."""
    arrays = to_jax(random_model(1, N_BINS, 2, 2, varying=1))
    change = to_jax(random_model(2, N_BINS, 2, 2, varying=1))

    @jax.jit
    def compute(*arrays):
        gradient = jax.grad(kalman_log_likelihood, (0, 1))
        function = functools.partial(kalman_log_likelihood, **FLAGS)
        return (
            jax.grad(by_the_loop, (0, 1))(*arrays, **FLAGS),
            gradient(*arrays, **FLAGS),
            gradient(*arrays, **FLAGS, method="associative"),
            jax.jvp(function, arrays, change)[1],
        )

    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-11)
    loop, one, other, forward = compute(*arrays)
    jax.tree.map(close, one, loop)
    jax.tree.map(close, other, loop)
    close(forward, jnp.vdot(ravel_pytree(loop)[0], ravel_pytree(change)[0]))


def test_second_derivative_by_the_associative_method():
    model, observations = to_jax(random_model(2, N_BINS, 2, 1))

    def slope(observations, method):
        gradient = jax.grad(kalman_log_likelihood, 1)
        return gradient(model, observations, method=method)

    @functools.partial(jax.jit, static_argnames="method")
    def bend(observations, method):
        function = functools.partial(slope, method=method)
        return jax.jvp(function, (observations,), (jnp.cos(observations),))

    for one, other in zip(
        bend(observations, "sequential"),
        bend(observations, "associative"),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-10)


def test_float32_and_vmap():
    arrays = [random_model(seed, 200, 2, 2) for seed in range(3)]
    gradient = jax.jit(jax.vmap(jax.grad(kalman_log_likelihood, (0, 1))))
    stacked = jax.tree.map(lambda *x: np.stack(x), *arrays)
    single = gradient(*to_jax(stacked, np.float32))
    double = gradient(*to_jax(stacked))
    for one, other in zip(
        jax.tree.leaves(single), jax.tree.leaves(double), strict=True
    ):
        assert one.dtype == np.float32
        scale = np.abs(other).max()
        np.testing.assert_allclose(one, other, atol=2e-4 * scale)


def test_gradient_ascent_recovers_what_made_the_data():
    """The use in a fit: log variances and a decay are free, a path is observed."""
    rng = np.random.default_rng(0)
    latent, path = 0.0, []
    for _ in range(1000):
        latent = 0.9 * latent + 0.5 * rng.normal()
        path.append(latent + 0.3 * rng.normal())
    observations = jnp.asarray(path)[:, None]
    one = jnp.eye(1)
    start, _ = random_model(0, 1, 1, 1, offsets=False)

    @jax.jit
    @jax.value_and_grad
    def loss(parameters):
        decay, log_moving, log_seeing = parameters
        model = to_jax(start)._replace(
            transition=decay * one,
            transition_covariance=jnp.exp(2 * log_moving) * one,
            observation=one,
            observation_covariance=jnp.exp(2 * log_seeing) * one,
        )
        return -kalman_log_likelihood(model, observations) / len(observations)

    parameters = jnp.array([0.5, 0.0, 0.0])
    for _ in range(400):
        value, gradient = loss(parameters)
        parameters = parameters - 0.3 * gradient
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    found = [parameters[0], *jnp.exp(parameters[1:])]
    np.testing.assert_allclose(found, [0.9, 0.5, 0.3], atol=0.06)
    assert value < loss(jnp.array([0.5, 0.0, 0.0]))[0]


def test_is_the_density_of_the_observations():
    arrays = random_model(3, N_BINS, 2, 2)
    want = condition_jointly(*arrays, **FLAGS).log_likelihood
    got = kalman_log_likelihood(*to_jax(arrays), **FLAGS)
    np.testing.assert_allclose(got, want, rtol=1e-12)
