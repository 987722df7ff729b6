"""The regression is that of scikit-learn, of dense formulas, and of any order."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

from neuromod.stimulation.covariance import (
    FAMILIES,
    Component,
    GaussianProcess,
    Points,
    covariance,
    of_component,
)
from neuromod.stimulation.gaussian_process import (
    Trials,
    append,
    empty,
    log_marginal_likelihood,
    posterior,
)

SMOOTHNESS = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}
CAPACITY, N_TRIALS, N_CANDIDATES = 24, 15, 30


def one_function(family="matern52", noise=0.05):
    component = Component(
        jnp.asarray(1.7), jnp.asarray([0.6, 1.9]), (0, 1), family=family
    )
    return GaussianProcess(
        (component,), jnp.ones((1, 1)), jnp.asarray([0.4]), jnp.asarray([noise])
    )


def two_levels():
    """Return two electrodes and both together, and trials of each alone."""
    parts = [
        Component(jnp.asarray(1.2), jnp.asarray([0.8]), (0,), "matern52"),
        Component(jnp.asarray(0.7), jnp.asarray([1.1]), (1,), "matern32"),
        Component(jnp.asarray(0.3), jnp.asarray([0.5, 0.9]), (0, 1), "matern52"),
    ]
    gain = jnp.asarray([[1.0, 1.0, 1.0], [0.6, 0.0, 0.0], [0.0, 1.4, 0.0]])
    return GaussianProcess(
        tuple(parts), gain, jnp.asarray([0.1, -0.2, 0.3]), jnp.asarray([0.1, 0.2, 0.05])
    )


def drawn(n_trials=N_TRIALS, n_levels=1, n_outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    room = empty(CAPACITY, 2, n_outputs)
    at, response, noise = room.points.at, room.response, room.noise
    level = room.points.level
    at[:n_trials] = rng.uniform(0, 2, (n_trials, 2))
    level[:n_trials] = rng.integers(n_levels, size=n_trials)
    response[:n_trials] = rng.normal(size=(n_trials, n_outputs))
    noise[:n_trials] = rng.uniform(0.2, 1.0, n_trials)
    # Where there is no trial yet, anything may stand.
    at[n_trials:], response[n_trials:] = 9.0, 1e3
    trials = Trials(Points(at, level), response, noise, np.asarray(n_trials))
    candidates = Points(
        rng.uniform(0, 2, (N_CANDIDATES, 2)),
        rng.integers(n_levels, size=N_CANDIDATES),
    )
    return jax.tree.map(jnp.asarray, (trials, candidates))


def no_mean(trials, candidates):
    n_outputs = trials.response.shape[1]
    return jnp.zeros_like(trials.response), jnp.zeros((len(candidates.at), n_outputs))


def oracle(process, trials, family):
    part = process.components[0]
    shape = (
        RBF(part.length_scale)
        if family == "rbf"
        else Matern(part.length_scale, nu=SMOOTHNESS[family])
    )
    n = int(trials.n_seen)
    noise = np.asarray(process.noise[0] * trials.noise[:n])
    kernel = ConstantKernel(float(part.variance)) * shape
    regressor = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None)
    residual = np.asarray(trials.response[:n]) - float(process.offset[0])
    return regressor.fit(np.asarray(trials.points.at[:n]), residual)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_that_of_scikit_learn(family):
    process = one_function(family)
    trials, candidates = drawn()
    found = posterior(process, trials, candidates, no_mean(trials, candidates))
    regressor = oracle(process, trials, family)
    told: Any = regressor.predict(np.asarray(candidates.at), return_std=True)
    mean, deviation = told
    np.testing.assert_allclose(found.mean[:, 0], mean.ravel() + 0.4, atol=1e-8)
    np.testing.assert_allclose(found.variance, deviation**2, atol=1e-8)
    ours = log_marginal_likelihood(process, trials, no_mean(trials, candidates)[0])
    assert float(ours) == pytest.approx(regressor.log_marginal_likelihood(), abs=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_slopes_of_the_likelihood_are_those_of_scikit_learn(family):
    trials, _ = drawn()
    trials = trials._replace(noise=jnp.ones(CAPACITY))
    n = int(trials.n_seen)

    def of(logarithms):
        s, a, b, noise = jnp.exp(logarithms)
        part = Component(s, jnp.stack([a, b]), (0, 1), family)
        process = GaussianProcess((part,), jnp.ones((1, 1)), jnp.zeros(1), noise[None])
        return log_marginal_likelihood(process, trials, jnp.zeros((CAPACITY, 1)))

    at = jnp.log(jnp.asarray([1.7, 0.6, 1.9, 0.05]))
    lengths = np.exp(at[1:3])
    shape = RBF(lengths) if family == "rbf" else Matern(lengths, nu=SMOOTHNESS[family])
    kernel = ConstantKernel(1.7) * shape + WhiteKernel(0.05)
    regressor = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None)
    regressor.fit(np.asarray(trials.points.at[:n]), np.asarray(trials.response[:n]))
    told: Any = regressor.log_marginal_likelihood(
        regressor.kernel_.theta, eval_gradient=True
    )
    value, slope = told
    ours, ours_slope = jax.value_and_grad(of)(at)
    np.testing.assert_allclose(ours, value, atol=1e-8)
    np.testing.assert_allclose(ours_slope, slope, atol=1e-7)


def test_levels_share_functions_as_the_dense_formula_says():
    process = two_levels()
    trials, candidates = drawn(n_levels=3, n_outputs=2)
    n = int(trials.n_seen)
    known = Points(trials.points.at[:n], trials.points.level[:n])
    gain = np.asarray(process.gain)
    between = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            for c, part in enumerate(process.components):
                shared = gain[known.level[i], c] * gain[known.level[j], c]
                pair = of_component(part, known.at[i : i + 1], known.at[j : j + 1])
                between[i, j] += shared * float(pair[0, 0])
    np.testing.assert_allclose(covariance(process, known, known), between, atol=1e-13)
    noise = np.asarray(process.noise[known.level] * trials.noise[:n])
    cross = np.asarray(covariance(process, known, candidates))
    solved = np.linalg.solve(between + np.diag(noise), cross)
    residual = trials.response[:n] - process.offset[known.level][:, None]
    mean = solved.T @ np.asarray(residual)
    mean = mean + np.asarray(process.offset[candidates.level])[:, None]
    found = posterior(process, trials, candidates, no_mean(trials, candidates))
    np.testing.assert_allclose(found.mean, mean, atol=1e-10)
    own = np.diag(covariance(process, candidates, candidates))
    left = own - (cross * solved).sum(axis=0)
    np.testing.assert_allclose(found.variance, left, atol=1e-10)


def test_trials_one_by_one_are_trials_at_once():
    process = two_levels()
    trials, candidates = drawn(n_levels=3, n_outputs=2)
    means = tuple(
        jnp.asarray(np.random.default_rng(1).normal(size=m.shape))
        for m in no_mean(trials, candidates)
    )
    room = jax.tree.map(jnp.asarray, empty(CAPACITY, 2, 2))
    found = posterior(process, room, candidates, means)

    @jax.jit
    def step(*given):
        return append(*given)

    for i in range(N_TRIALS):
        rows = trials.points.at[i], trials.points.level[i]
        trial = *rows, trials.response[i], trials.noise[i]
        found = step(process, found, candidates, trial, means[0][i])
    assert step._cache_size() == 1
    whole = posterior(process, trials, candidates, means)
    np.testing.assert_allclose(found.mean, whole.mean, atol=1e-10)
    np.testing.assert_allclose(found.variance, whole.variance, atol=1e-10)
    np.testing.assert_allclose(found.factor, whole.factor, atol=1e-10)


def test_the_mean_of_three_trials_tells_as_much_as_the_three():
    process = one_function()
    trials, candidates = drawn(3)
    at = trials.points.at.at[:3].set(trials.points.at[0])
    trials = trials._replace(
        points=Points(at, trials.points.level), noise=jnp.ones(CAPACITY)
    )
    mean = trials.response[:3].mean(axis=0)
    merged = trials._replace(
        response=trials.response.at[0].set(mean),
        noise=trials.noise.at[0].set(1 / 3),
        n_seen=jnp.asarray(1),
    )
    one, other = (
        posterior(process, t, candidates, no_mean(t, candidates))
        for t in (trials, merged)
    )
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-10)
    np.testing.assert_allclose(one.variance, other.variance, atol=1e-10)


def test_a_capacity_of_any_size_gives_the_same():
    process = one_function()
    trials, candidates = drawn()
    n = int(trials.n_seen)
    tight = Trials(
        Points(trials.points.at[:n], trials.points.level[:n]),
        trials.response[:n],
        trials.noise[:n],
        trials.n_seen,
    )
    one, other = (
        posterior(process, t, candidates, no_mean(t, candidates))
        for t in (trials, tight)
    )
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-12)
    likelihoods = [
        float(log_marginal_likelihood(process, t, no_mean(t, candidates)[0]))
        for t in (trials, tight)
    ]
    assert likelihoods[0] == pytest.approx(likelihoods[1], abs=1e-10)
