"""The published search is the shared reconstruction of it, and each setting counts."""

from functools import partial
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from neuromod.stimulation import bif
from neuromod.stimulation.bif import NEURAL, ONE_WAY, Published
from neuromod.stimulation.bif_fit import NOISE_FLOOR
from neuromod.stimulation.hierarchy_problems import (
    scores,
)
from neuromod.stimulation.parts import Observed, arrays, parts_of
from tests.benchmarks.stimulation_hierarchy import paired, sites_of_baselines
from tests.shared import shared

N_QUERIES = 25
START = np.log(2)  # the softplus of zero


# Within optax, which promotes.
@pytest.fixture(autouse=True)
def loose(strict_jax):
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def baselines():
    with np.load(shared("data/neurostim") / "baselines_hierarchical.npz") as stored:
        return {key: stored[key].astype(float) for key in stored if "paired" in key}


@pytest.fixture(scope="module")
def pair_map():
    shared("data/neurostim")
    return paired()


@pytest.fixture(scope="module")
def learn(pair_map):
    """Return what learns of pairs, compiled once for all tests."""
    parts = pair_map.parts

    @jax.jit
    def learn(state, candidate, response):
        return bif.learn(NEURAL, arrays(parts), state, candidate, response)

    return learn


promise = jax.jit(bif.promise, static_argnums=0)
choose = jax.jit(bif.choose, static_argnums=0)


def started(problem, sites, variation=(1.0, 1.0)):
    observed = tuple(
        Observed(jnp.asarray([site]), jnp.asarray(truth[[site]] * factor))
        for site, truth, factor in zip(sites, problem.children, variation, strict=True)
    )
    return bif.begin(NEURAL, arrays(problem.parts), observed, N_QUERIES + 1)


def test_the_first_queries_are_those_of_the_reconstruction(pair_map, learn, baselines):
    """Responses are taken to be their means, and the first of equals is chosen.

    Both hardly matter in the beginning: after two trials, standardised responses are
    what they are for any two numbers.
    """
    problem = pair_map
    height = (problem.mean - problem.mean.min()) / np.ptp(problem.mean)
    n_right = np.zeros(3)
    begun = sites_of_baselines(problem)[..., 0].tolist()
    for given, both in zip(baselines["paired/bif"][:, :3, 1], begun, strict=True):
        want = np.abs(height[:, None] - given[None, :]).argmin(axis=0)
        right = []
        for sites in set(permutations(both)):
            state = started(problem, sites)
            queries = []
            for _ in range(4):
                query = jnp.argmax(promise(NEURAL, state))
                queries.append(int(query))
                response = jnp.asarray(problem.mean[int(query)])
                state = learn(state, query, response)
            right.append(np.cumprod(queries[1:] == want))
        n_right += max(right, key=sum)
    assert (n_right >= [8, 7, 5]).all(), n_right


def run(problem, learn, seed, sites):
    """Return the scores (query, score) of a session, and what is known at its end."""
    rng = np.random.default_rng(seed)
    trial = partial(rng.gamma, 1 / 0.3**2, 0.3**2)
    state = started(problem, sites, variation=trial(size=2))
    told = []
    for key in jax.random.split(jax.random.key(seed), N_QUERIES + 1):
        query = choose(NEURAL, key, state, np.ones(len(state.mean), bool))
        response = problem.mean[int(query)] * trial()
        state = learn(state, query, jnp.asarray(response))
        found = scores(problem, bif.believe(state), query)
        told.append([found[name] for name in NAMES])
    return np.array(told[1:]), state


NAMES = ("recommended", "exploitation", "parent_r2", "child_r2")


def test_pairs_are_found_as_well_as_by_the_reconstruction(pair_map, learn, baselines):
    """Scores on average over 25 queries lie within two standard errors.

    Sessions begin with the sites that those of the baseline began with: much depends
    on them, and its ten happened to be good.
    """
    problem = pair_map
    begun = sites_of_baselines(problem)[..., 0].tolist()
    found = np.stack(
        [run(problem, learn, k, sites)[0].mean(axis=0) for k, sites in enumerate(begun)]
    )
    want = baselines["paired/bif"][:, :N_QUERIES].mean(axis=1)
    error = np.sqrt((found.var(axis=0, ddof=1) + want.var(axis=0, ddof=1)) / len(want))
    apart = (found.mean(axis=0) - want.mean(axis=0)) / error
    assert (np.abs(apart) < 2).all(), dict(zip(NAMES, apart, strict=True))
    assert learn._cache_size() == 1


def matern(sites, length, n):
    apart = np.linalg.norm(sites[:, None] - sites[None, :], axis=-1) / length
    if n == 1:
        return np.exp(-apart)
    r = np.sqrt(5) * apart
    return (1 + r + r**2 / 3) * np.exp(-r)


def test_parent_and_children_are_exact_regressions(pair_map, learn):
    """With the parameters that steps led to, after a whole session, densely."""
    problem = pair_map
    _, state = run(problem, learn, 0, (0, 4))
    n = int(state.trials.n_seen)
    assert n == N_QUERIES + 1
    visited = np.bincount(np.asarray(state.chosen), minlength=len(problem.mean))
    np.testing.assert_array_equal(state.n_visits, visited + 1)
    # Children: the first response was of the parent alone.
    promised = []
    for k, child in enumerate(state.children):
        sites = problem.parts.sites[k]
        known = np.asarray(child.trials.response)[:n, 0]
        shares = (known[1:] - known[1:].min()) / np.ptp(known[1:])
        y = np.concatenate([[1.0], shares])
        offset, length, variance, noise = np.asarray(child.raw)
        length, variance, noise = np.logaddexp(0, [length, variance, noise])
        where = [
            sites.tolist().index(row.tolist()) for row in child.trials.points.at[:n]
        ]
        np.testing.assert_array_equal(
            where[1:], problem.parts.site_of[k][np.asarray(state.chosen)[1:n]]
        )
        prior = variance * matern(sites, length, 1)
        noise = noise + NOISE_FLOOR
        gram = prior[np.ix_(where, where)] + noise * np.eye(n)
        gain = np.linalg.solve(gram, prior[where]).T
        mean = offset + gain @ (y - offset)
        np.testing.assert_allclose(child.mean, mean, rtol=1e-8)
        left = variance - np.einsum("ij,ji->i", gain, prior[where]) + noise
        n_visits = 1 + np.bincount(where[1:], minlength=len(sites))
        np.testing.assert_array_equal(child.n_visits, n_visits)
        promised.append(mean + 4 * np.sqrt(left / n_visits))
        np.testing.assert_allclose(child.promise, promised[-1], rtol=1e-8)
    # The parent: what children promise is its mean.
    expected = sum(promised[k][problem.parts.site_of[k]] for k in range(2)) / 2
    expected = expected / np.abs(expected.max())
    np.testing.assert_allclose(state.expected, expected, rtol=1e-8)
    lengths, noise = np.logaddexp(0, state.raw[:2]), np.logaddexp(0, state.raw[2])
    at, chosen = problem.parts.at, np.asarray(state.chosen)[:n]
    prior = sum(matern(at[:, 2 * k : 2 * k + 2], lengths[k], 5) for k in range(2))
    noise = noise + NOISE_FLOOR
    response = np.asarray(state.trials.response)[:n, 0]
    z = (response - response.mean()) / response.std(ddof=1)
    gram = prior[np.ix_(chosen, chosen)] + noise * np.eye(n)
    gain = np.linalg.solve(gram, prior[chosen]).T
    mean = expected + gain @ (z - expected[chosen])
    np.testing.assert_allclose(state.mean, mean, rtol=1e-7, atol=1e-9)
    left = 2 - np.einsum("ij,ji->i", gain, prior[chosen]) + noise
    np.testing.assert_allclose(state.deviation, np.sqrt(left), rtol=1e-7)
    bound = mean + 8 * np.sqrt(left / (visited + 1))
    np.testing.assert_allclose(promise(NEURAL, state), bound, rtol=1e-7, atol=1e-9)


def triple():
    """Return candidates of three parts, one of them of two dimensions."""
    rng = np.random.default_rng(0)
    axes = np.stack(np.meshgrid(*[np.arange(3.0)] * 4, indexing="ij"), -1)
    return parts_of(axes.reshape(-1, 4)[rng.random(81) < 0.8], ((0,), (2, 1), (3,)))


def three_observed(seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        Observed(jnp.asarray([0, 2, 1]), jnp.asarray(rng.normal(size=3)))
        for _ in range(3)
    )


@pytest.mark.parametrize(("family", "smoothness"), [("matern12", 0.5), ("rbf", None)])
def test_children_begin_as_a_peer_would_have_them(family, smoothness):
    """The regression of scikit-learn, with the parameters that fits start from."""
    settings = Published(child_family=family, child_weight=3.0)
    parts, observed = triple(), three_observed()
    state = bif.begin(settings, arrays(parts), observed, 4)
    nu = np.inf if smoothness is None else smoothness
    noise = START + NOISE_FLOOR
    kernel = ConstantKernel(START) * Matern(START, nu=nu) + WhiteKernel(noise)
    for child, sites, seen in zip(state.children, parts.sites, observed, strict=True):
        peer = GaussianProcessRegressor(kernel, optimizer=None, alpha=0.0)
        y = np.asarray(seen.response)
        peer.fit(sites[np.asarray(seen.site)], (y - y.min()) / np.ptp(y))
        mean, deviation = peer.predict(sites, return_std=True)
        np.testing.assert_allclose(child.mean, mean, rtol=1e-9)
        np.testing.assert_allclose(child.promise, mean + 3 * deviation, rtol=1e-9)


def test_settings_change_what_is_promised():
    parts, observed = arrays(triple()), three_observed()
    state = bif.begin(Published(), parts, observed, 4)
    np.testing.assert_allclose(state.expected.max(), 1)
    np.testing.assert_array_equal(bif.promise(Published(), state), state.expected)
    assert (bif.promise(ONE_WAY, state) == 0).all()
    blind = bif.begin(Published(child_prior=False), parts, observed, 4)
    assert (blind.expected == 0).all()
    n = len(parts.at)
    visits = jnp.arange(1, n + 1)
    later = state._replace(
        trials=state.trials._replace(n_seen=jnp.asarray(1)),
        mean=jnp.linspace(0, 1, n),
        deviation=jnp.linspace(2, 1, n),
        n_visits=visits,
    )
    settings = Published(parent_weight=3.0)
    want = later.mean + 3 * later.deviation / jnp.sqrt(visits)
    np.testing.assert_allclose(bif.promise(settings, later), want)
    want = later.mean + 3 * later.deviation
    freely = settings._replace(by_visits=False)
    np.testing.assert_allclose(bif.promise(freely, later), want)


def test_parts_share_a_response_by_what_they_promise():
    """Shares sum to one; of two that promise, each has at least .27 of it."""
    parts, observed = arrays(triple()), three_observed()
    children = bif.begin(Published(), parts, observed, 4).children
    for candidate in range(0, len(parts.at), 7):
        sites = parts.site_of[:, candidate]
        found = bif.shares(children, sites)
        assert float(found.sum()) == pytest.approx(1)
        promised = [
            float(c.promise[s] / c.promise.max())
            for c, s in zip(children, sites, strict=True)
        ]
        np.testing.assert_allclose(found, np.exp(promised) / np.exp(promised).sum())
        two = bif.shares(children[:2], sites[:2])
        assert (two > 0.268).all()
    # Where nothing is promised the order turns over.
    least = [c._replace(promise=-c.promise) for c in children[:2]]
    turned = bif.shares(tuple(least), jnp.asarray([0, 0]))
    ratio = [float(c.promise[0] / c.promise.min()) for c in children[:2]]
    np.testing.assert_allclose(turned, np.exp(ratio) / np.exp(ratio).sum())


def test_without_the_way_down_children_stay_and_the_parent_takes_its_steps():
    """One step of Adam is of the size of its rate, up the marginal likelihood."""
    parts, observed = arrays(triple()), three_observed()
    settings = ONE_WAY._replace(n_steps=1, parent_rate=0.02)
    state = bif.begin(settings, parts, observed, 4)
    learn = jax.jit(partial(bif.learn, settings, parts))
    response = [0.3, 1.4, 0.9]
    for candidate, r in zip((3, 40, 12), response, strict=True):
        before = state
        state = learn(state, jnp.asarray(candidate), jnp.asarray(r))
    for one, other in zip(state.children, before.children, strict=True):
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), one, other))
    # Length scales start anew from those of children, the noise goes on.
    first = np.append(np.zeros(3), before.raw[-1])
    at = np.asarray(parts.at)[[3, 40, 12]]
    z = (np.array(response) - np.mean(response)) / np.std(response, ddof=1)
    residual = z - np.asarray(state.expected)[[3, 40, 12]]

    def log_density(raw):
        value = np.logaddexp(0, raw)
        gram = (value[3] + NOISE_FLOOR) * np.eye(3) + sum(
            matern(at[:, list(seen)], value[k], 5)
            for k, seen in enumerate(parts.dimensions)
        )
        return -residual @ np.linalg.solve(gram, residual) / 2 - (
            np.linalg.slogdet(gram)[1] / 2
        )

    slope = [
        log_density(first + 1e-5 * e) - log_density(first - 1e-5 * e) for e in np.eye(4)
    ]
    np.testing.assert_allclose(state.raw - first, 0.02 * np.sign(slope), rtol=1e-4)
