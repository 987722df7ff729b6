"""Newton's method for few parameters: it ends where the gradient is zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core import newton
from neuromod.core.precision import precision_context


def derivatives_of(function):
    return lambda at: (
        function(at),
        jax.grad(function)(at),
        jax.hessian(function)(at),
    )


@pytest.fixture(autouse=True)
def double_precision():
    with precision_context("float64"):
        yield


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def test_it_finds_the_end_of_a_curved_valley():
    found = newton.minimise(derivatives_of(rosenbrock), jnp.array([-1.2, 1.0]))
    assert bool(found.converged)
    np.testing.assert_allclose(found.at, [1.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(found.gradient, 0, atol=1e-6)
    np.testing.assert_allclose(found.curvature, [[802, -400], [-400, 200]], rtol=1e-4)


def test_a_saddle_is_left_downwards():
    def saddle(x):
        return x[0] ** 2 - x[1] ** 2 + x[1] ** 4

    found = newton.minimise(derivatives_of(saddle), jnp.array([0.5, 1e-3]))
    np.testing.assert_allclose(found.at, [0.0, np.sqrt(0.5)], atol=1e-6)


def test_what_is_no_number_is_avoided():
    def with_a_wall(x):
        return -jnp.log(x[0]) + x[0]  # NaN below zero, which a long step reaches

    found = newton.minimise(derivatives_of(with_a_wall), jnp.array([2.9]))
    assert float(found.at[0]) == pytest.approx(1.0, abs=1e-5)


def test_a_start_that_is_no_number_is_told():
    def nowhere(x):
        return jnp.log(-jnp.sum(x**2))

    found = newton.minimise(derivatives_of(nowhere), jnp.array([1.0]))
    assert not np.isfinite(found.value)


def test_the_limit_of_steps_holds_and_is_told():
    start = jnp.array([-1.2, 1.0])
    found = newton.minimise(derivatives_of(rosenbrock), start, max_iterations=3)
    assert int(found.n_iterations) == 3
    assert not bool(found.converged)


def test_lanes_end_where_each_would_alone():
    starts = jnp.array([[-1.2, 1.0], [0.3, 0.1], [2.0, -1.0]])
    down = derivatives_of(rosenbrock)
    together = jax.vmap(lambda start: newton.minimise(down, start))(starts)
    for i, start in enumerate(starts):
        alone = newton.minimise(down, start)
        np.testing.assert_allclose(together.at[i], alone.at, rtol=1e-9)
        assert int(together.n_iterations[i]) == int(alone.n_iterations)
