"""Parts inform the whole: weights come back, bounds hold, the best are tried first."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from neuromod.stimulation import one_way
from neuromod.stimulation.one_way import OneWay
from neuromod.stimulation.parts import Observed, arrays, parts_of

N_SITES, N_TRIALS = 8, 32
SETTINGS = OneWay(n_best=2, n_iterations=25)
EVERY = np.ones(N_SITES**2, bool)


# Within optax, whose line search promotes.
@pytest.fixture(autouse=True)
def loose(strict_jax):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def two_parts():
    axes = np.stack(np.meshgrid(range(N_SITES), range(N_SITES), indexing="ij"), -1)
    return parts_of(axes.reshape(-1, 2), ((0,), (1,)))


def curves():
    """Return what each part does alone, at its sites."""
    x = np.arange(N_SITES)
    return 5 * np.exp(-((x - 2) ** 2) / 2), 3 * np.exp(-((x - 5) ** 2) / 3) + 0.5


def alone(noise=0.2, seed=0):
    rng = np.random.default_rng(seed)
    site = jnp.arange(N_SITES)
    return tuple(
        Observed(site, jnp.asarray(curve + noise * rng.normal(size=N_SITES)))
        for curve in curves()
    )


@pytest.fixture(scope="module")
def session():
    """Return a session of a whole that is .9 of one part and .2 of the other."""
    parts = two_parts()
    first, second = curves()
    truth = (0.9 * first[:, None] + 0.2 * second[None, :]).reshape(-1)
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        learn = jax.jit(
            lambda state, c, r: one_way.learn(SETTINGS, arrays(parts), state, c, r)
        )
        states = [one_way.begin(SETTINGS, arrays(parts), alone(), N_TRIALS)]
        for key in jax.random.split(jax.random.key(0), N_TRIALS):
            chosen = one_way.choose(SETTINGS, key, states[-1], jnp.asarray(EVERY))
            response = truth[int(chosen)] + 0.05 * rng.normal()
            states.append(learn(states[-1], chosen, jnp.asarray(response)))
    assert learn._cache_size() == 1
    return states, truth


def matern52(x, length):
    r = np.sqrt(5) * np.abs(x[:, None] - x[None, :]) / length
    return (1 + r + r**2 / 3) * np.exp(-r)


# A parameter may end at its bound, which the peer warns of.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_level_one_is_the_fit_of_a_peer(session):
    """That of scikit-learn within the same bounds, which has many starts."""
    state = session[0][0]
    for mean, seen in zip(state.means, alone(), strict=True):
        kernel = ConstantKernel(1.0, one_way.FIRST_VARIANCE_BOUNDS) * Matern(
            1.0, SETTINGS.length_bounds, nu=2.5
        ) + WhiteKernel(0.01, SETTINGS.noise_bounds)
        peer = GaussianProcessRegressor(
            kernel, alpha=0.0, n_restarts_optimizer=3, random_state=0
        )
        x = np.arange(N_SITES)[:, None]
        peer.fit(x, np.asarray(seen.response / state.size))
        np.testing.assert_allclose(mean, peer.predict(x), atol=2e-3)
    assert float(state.size) == max(float(s.response.max()) for s in alone())


def test_weights_come_back_and_the_best_is_found(session):
    states, truth = session
    np.testing.assert_allclose(one_way.weights(states[0]), 0.5)
    np.testing.assert_allclose(one_way.weights(states[-1]), [0.9, 0.2], atol=0.06)
    believed = one_way.believe(states[-1])
    assert truth[int(jnp.argmax(believed.mean))] > 0.97 * truth.max()
    # In units of responses, of parts as of wholes.
    for mean, curve in zip(believed.parts, curves(), strict=True):
        np.testing.assert_allclose(mean, curve, atol=0.4)
    assert np.abs(believed.mean - truth).max() < 0.4


def test_the_best_of_each_part_are_tried_with_each_other_first(session):
    states, _ = session
    tried = np.asarray(states[-1].chosen)[: SETTINGS.n_best**2]
    best = [set(np.argsort(curve)[-SETTINGS.n_best :]) for curve in curves()]
    want = {N_SITES * i + j for i in best[0] for j in best[1]}
    assert set(tried.tolist()) == want
    assert not states[SETTINGS.n_best**2].waiting.any()
    assert int(states[0].waiting.sum()) == SETTINGS.n_best**2


def test_nothing_goes_back_to_the_parts(session):
    states, _ = session
    for one, other in zip(states[0].means, states[-1].means, strict=True):
        np.testing.assert_array_equal(one, other)


def test_parameters_stay_within_their_bounds(session):
    for state in session[0]:
        lengths, variances, noise = np.split(np.exp(state.parameters[:5]), [2, 4])
        for found, bounds in (
            (lengths, SETTINGS.length_bounds),
            (variances, SETTINGS.variance_bounds),
            (noise, SETTINGS.noise_bounds),
        ):
            assert (found >= bounds[0] * (1 - 1e-9)).all()
            assert (found <= bounds[1] * (1 + 1e-9)).all()


def test_level_two_is_an_exact_regression_around_the_sum_of_parts(session):
    state = session[0][-1]
    parts = two_parts()
    at, chosen = parts.at, np.asarray(state.chosen)
    lengths, variances, noise = np.split(np.exp(state.parameters[:5]), [2, 4])
    maps = np.stack([m[s] for m, s in zip(state.means, parts.site_of, strict=True)])
    expected = np.asarray(one_way.weights(state)) @ maps
    prior = sum(variances[k] * matern52(at[:, k], lengths[k]) for k in range(2))
    gram = prior[np.ix_(chosen, chosen)] + noise * np.eye(N_TRIALS)
    gain = np.linalg.solve(gram, prior[chosen]).T
    y = np.asarray(state.trials.response)[:, 0]
    mean = expected + gain @ (y - expected[chosen])
    np.testing.assert_allclose(state.mean, mean, rtol=1e-8)
    left = np.diag(prior) - np.einsum("ij,ji->i", gain, prior[chosen])
    np.testing.assert_allclose(state.deviation, np.sqrt(left), rtol=1e-6)


def test_candidates_are_drawn_by_their_promise(session):
    """Odds are those of the promise over the temperature."""
    state = session[0][-1]
    n = len(state.mean)
    odd = state._replace(
        mean=jnp.zeros(n).at[3].set(0.02).at[9].set(0.01),
        deviation=jnp.zeros(n).at[9].set(0.005),
    )

    def drawn(**settings):
        rule = SETTINGS._replace(**settings)
        keys = jax.random.split(jax.random.key(0), 4000)
        found = jax.vmap(
            partial(one_way.choose, rule, state=odd, allowed=jnp.asarray(EVERY))
        )(keys)
        return np.bincount(found, minlength=n) / len(keys)

    warm = drawn(temperature=0.01, weight=1.0)
    odds = np.exp([2.0, 1.5, 0.0])
    want = odds / (odds[0] + odds[1] + n - 2)
    np.testing.assert_allclose(warm[[3, 9, 0]], want, atol=0.012)
    assert drawn(weight=1.0)[3] > 0.98  # cold, as by default
    assert drawn(weight=3.0)[9] > 0.98  # curious
