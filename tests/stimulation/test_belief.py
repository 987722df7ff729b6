"""Offset and scale are those of the dense formulas, and forget their prior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.stimulation.belief import (
    believe,
    constant,
    prior_of,
    with_map,
)
from neuromod.stimulation.covariance import (
    Component,
    GaussianProcess,
    Points,
    covariance,
)
from neuromod.stimulation.gaussian_process import append, empty, posterior

N_TRIALS, CAPACITY = 20, 32


def process(noise=0.3):
    part = Component(jnp.asarray(1.0), jnp.asarray([1.5, 2.0]), (0, 1))
    return GaussianProcess(
        (part,), jnp.ones((1, 1)), jnp.zeros(1), jnp.asarray([noise])
    )


def grid():
    rows = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0), indexing="ij"), -1)
    at = jnp.asarray(rows.reshape(-1, 2))
    return Points(at, jnp.zeros(len(at), jnp.int64))


def ones():
    return jax.tree.map(jnp.asarray, constant(np.zeros(20, int), 1))


def prior(scale, n_prior):
    scale = jnp.asarray(scale)
    one = jax.tree.map(jnp.asarray, prior_of(1.0, n_prior, len(scale)))
    return one._replace(scale=scale)


def known(sites, responses, basis=None):
    basis = ones() if basis is None else basis
    points, n_columns = grid(), responses.shape[1] + basis.at.shape[1]
    room = jax.tree.map(jnp.asarray, empty(CAPACITY, 2, n_columns))
    still = jnp.zeros((CAPACITY, n_columns)), jnp.zeros((len(points.at), n_columns))
    found = posterior(process(), room, points, still)
    step = jax.jit(append)
    for site, response in zip(sites, responses, strict=True):
        trial = (
            points.at[site],
            jnp.asarray(0),
            jnp.concatenate([jnp.asarray(response), basis.at[site]]),
            jnp.asarray(1.0),
        )
        found = step(process(), found, points, trial, jnp.zeros(n_columns))
    return found


def drawn(seed=0, n_outputs=3):
    rng = np.random.default_rng(seed)
    sites = rng.integers(20, size=N_TRIALS)
    return sites, rng.normal([5.0, -2.0, 1e3], [1.0, 0.1, 200.0], (N_TRIALS, n_outputs))


def test_offset_and_mean_are_those_of_generalised_least_squares():
    sites, responses = drawn()
    found = believe(known(sites, responses), ones(), prior(np.ones(3), 4.0))
    at = jax.tree.map(lambda x: x[sites], grid())
    between = np.asarray(covariance(process(), at, at)) + 0.3 * np.eye(N_TRIALS)
    inverse = np.linalg.inv(between)
    offset = inverse.sum(axis=0) @ responses / inverse.sum()
    np.testing.assert_allclose(found.coefficients[0], offset, rtol=1e-9)
    left = responses - offset
    scale = np.einsum("ik,ij,jk->k", left, inverse, left)
    np.testing.assert_allclose(
        variances(found), (4 + scale) / (4 + N_TRIALS), rtol=1e-9
    )
    cross = np.asarray(covariance(process(), grid(), at))
    np.testing.assert_allclose(found.mean, offset + cross @ inverse @ left, rtol=1e-8)


def variances(found):
    return np.diag(found.covariance)


def test_units_do_not_matter():
    """A map in other units has the same shape, where the prior is in them too."""
    sites, responses = drawn(n_outputs=3)
    one = believe(known(sites, responses), ones(), prior(np.ones(3), 4.0))
    other = believe(
        known(sites, 1e-4 * responses + 7), ones(), prior(1e-4 * np.ones(3), 4.0)
    )
    np.testing.assert_allclose(other.mean, 1e-4 * one.mean + 7, rtol=1e-9)
    np.testing.assert_allclose(other.deviation, 1e-4 * one.deviation, rtol=1e-6)


def test_before_the_first_trial_there_is_the_prior_alone():
    found = believe(known([], np.zeros((0, 2))), ones(), prior([0.5, 2.0], 4.0))
    np.testing.assert_array_equal(found.mean, 0)
    np.testing.assert_allclose(variances(found), [0.25, 4.0])
    np.testing.assert_allclose(found.deviation[3], [0.5, 2.0])


def test_a_known_scale_comes_back():
    rng = np.random.default_rng(2)
    between = np.asarray(covariance(process(), grid(), grid())) + 0.3 * np.eye(20)
    draws = np.linalg.cholesky(between) @ rng.normal(size=(20, 400))
    found = believe(
        known(np.arange(20), 3.0 * draws + 10), ones(), prior(np.ones(400), 1e-6)
    )
    # One degree of freedom goes to the offset.
    assert float(variances(found).mean()) == pytest.approx(9 * 19 / 20, rel=0.06)
    assert float(found.coefficients[0].mean()) == pytest.approx(10, abs=0.3)


def test_a_map_of_earlier_animals_helps_where_nothing_was_tried():
    """Its coefficient is learned: it comes back, and unseen sites follow the map."""
    rng = np.random.default_rng(3)
    earlier = rng.normal(size=20)
    basis = jax.tree.map(jnp.asarray, with_map(constant(np.zeros(20, int), 1), earlier))
    sites = np.arange(10)
    responses = (2.0 + 1.5 * earlier[sites])[:, None]
    found = believe(known(sites, responses, basis), basis, prior([1.0], 4.0))
    assert float(found.coefficients[1, 0]) == pytest.approx(1.5, abs=0.1)
    np.testing.assert_allclose(found.mean[10:, 0], 2 + 1.5 * earlier[10:], atol=0.3)
    before = believe(known([], np.zeros((0, 1)), basis), basis, prior([1.0], 4.0))
    np.testing.assert_allclose(before.mean[:, 0], earlier, atol=1e-6)


def test_coefficients_and_total_deviation_are_those_of_the_joint_posterior():
    """The same as a process with the known functions' covariance added to its own."""
    rng = np.random.default_rng(4)
    earlier = rng.normal(size=20)
    basis = jax.tree.map(jnp.asarray, with_map(constant(np.zeros(20, int), 1), earlier))
    basis = basis._replace(precision=jnp.asarray([0.1, 1.0]))
    sites = rng.integers(20, size=9)
    responses = rng.normal(size=(9, 1))
    found = believe(known(sites, responses, basis), basis, prior([1.0], 1e9))
    at = np.asarray(basis.at)
    more = at @ np.diag([10.0, 1.0]) @ at.T
    every = np.asarray(covariance(process(), grid(), grid())) + more
    seen = every[np.ix_(sites, sites)] + 0.3 * np.eye(9)
    gain = every[:, sites] @ np.linalg.inv(seen)
    mean = earlier + gain @ (responses[:, 0] - earlier[sites])
    np.testing.assert_allclose(found.mean[:, 0], mean, atol=1e-6)
    deviation = np.sqrt(np.diag(every - gain @ every[sites]))
    np.testing.assert_allclose(found.total_deviation[:, 0], deviation, rtol=1e-6)


def test_muscles_that_go_together_are_told_from_others():
    rng = np.random.default_rng(5)
    sites = np.tile(np.arange(20), 5)
    one = rng.normal(size=20)[sites] + 0.1 * rng.normal(size=100)
    other = rng.normal(size=20)[sites]
    responses = np.stack([one, 2 * one, other], axis=1)[:CAPACITY]
    found = believe(
        known(sites[:CAPACITY], responses), ones(), prior(np.ones(3), 1e-3)
    ).covariance
    assert float(found[0, 1] / jnp.sqrt(found[0, 0] * found[1, 1])) > 0.99
    assert abs(float(found[0, 2] / jnp.sqrt(found[0, 0] * found[2, 2]))) < 0.5
