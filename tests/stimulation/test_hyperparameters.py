"""What a model leaves open: known values come back, bounds hold, priors pull."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.stimulation.covariance import (
    Component,
    GaussianProcess,
    Points,
    covariance,
)
from neuromod.stimulation.gaussian_process import empty, log_marginal_likelihood
from neuromod.stimulation.hyperparameters import fit, free

CAPACITY, N_TRIALS = 80, 60


def build(parameters):
    variance, length, noise = jnp.exp(parameters)
    part = Component(variance, length[None], (0,))
    return GaussianProcess((part,), jnp.ones((1, 1)), jnp.zeros(1), noise[None])


def drawn(seed=0, n_outputs=8):
    """Return what a process of known parameters gives, of several outputs."""
    rng = np.random.default_rng(seed)
    process = build(jnp.log(jnp.asarray([2.0, 0.7, 0.05])))
    room = empty(CAPACITY, 1, n_outputs)
    room.points.at[:N_TRIALS] = rng.uniform(0, 8, (N_TRIALS, 1))
    at = Points(jnp.asarray(room.points.at[:N_TRIALS]), jnp.zeros(N_TRIALS, jnp.int64))
    between = np.asarray(covariance(process, at, at)) + 0.05 * np.eye(N_TRIALS)
    draws = np.linalg.cholesky(between) @ rng.normal(size=(N_TRIALS, n_outputs))
    room.response[:N_TRIALS] = draws
    return jax.tree.map(jnp.asarray, room._replace(n_seen=np.asarray(N_TRIALS)))


def fitted(trials, n_iterations=30, **changes):
    rows = {name: {"start": 0.0} for name in ("variance", "length", "noise")}
    rows = {name: row | changes.get(name, {}) for name, row in rows.items()}
    parameters = free(**rows)
    start = jnp.asarray(parameters.start)
    still = jnp.zeros_like(trials.response)

    def log_density(tried):
        return log_marginal_likelihood(build(tried), trials, still)

    return jax.jit(lambda: fit(log_density, parameters, start, n_iterations))()


# Within optax, whose line search promotes.
@pytest.fixture(autouse=True)
def loose(strict_jax):
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def test_known_parameters_come_back():
    found = np.exp(fitted(drawn()).parameters)
    np.testing.assert_allclose(found, [2.0, 0.7, 0.05], rtol=0.25)


def test_more_steps_climb_higher():
    trials = drawn()
    heights = [float(fitted(trials, n).log_posterior) for n in (1, 4, 30)]
    assert heights[0] < heights[1] < heights[2]


def test_bounds_hold():
    low, high = np.log(1.0), np.log(3.0)
    found = fitted(drawn(), length={"start": 0.5, "low": low, "high": high})
    assert low <= found.parameters[1] < low + 0.02


def test_a_prior_pulls_by_its_deviation():
    trials = drawn()
    at = np.log(0.2)
    lengths = [
        float(fitted(trials, length={"mean": at, "deviation": d}).parameters[1])
        for d in (np.inf, 0.1, 0.001)
    ]
    assert lengths[0] > lengths[1] > lengths[2]
    assert lengths[2] == pytest.approx(at, abs=0.02)
