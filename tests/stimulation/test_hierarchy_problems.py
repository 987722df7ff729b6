"""Published problems are what they were, and scores are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError
from neuromod.stimulation.hierarchy_problems import (
    PUBLISHED,
    correlation,
    draw_sites,
    pairs,
    problem,
    scores,
    simulate,
    try_sites,
)
from neuromod.stimulation.parts import Belief, Method, parts_of
from tests.benchmarks.stimulation_hierarchy import paired
from tests.shared import shared


def additive_share(name, **settings):
    """Return the share of a map's variance that is a sum over its coordinates."""
    n = 32
    table = problem(name, **settings).mean.reshape(n, n)
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    total = rows[:, None] + columns[None, :] - table.mean()
    return total.var() / table.var()


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("synthetic3", 0.885),
        ("synthetic_tests", 0.884),
        ("modular_2d", 0.962),
        ("product", 0.984),
    ],
)
def test_maps_are_as_additive_as_published(name, share):
    assert additive_share(name) == pytest.approx(share, abs=6e-4)


def test_every_stimulus_of_the_shared_baselines_is_on_its_map():
    """The score of a stimulus tells which it was."""
    names = {
        "synthetic3": problem("synthetic3"),
        "synthetic_tests": problem("synthetic_tests"),
        "mult1": problem("product", strength=1.0),
        "paired": paired(),
    }
    with np.load(shared("data/neurostim") / "baselines_hierarchical.npz") as stored:
        for name, found in names.items():
            height = np.sort((found.mean - found.mean.min()) / np.ptp(found.mean))
            given = stored[f"{name}/bif"][..., 1].ravel().astype(float)
            after = np.clip(np.searchsorted(height, given), 1, len(height) - 1)
            apart = np.minimum(
                np.abs(height[after] - given), np.abs(height[after - 1] - given)
            )
            assert apart.max() < 1e-6, name


def by_hand(name, f, x, y):
    e, p, b1, b2 = 0.7, 3.0, 0.4, 1.5
    return {
        "synthetic3": (f[0] + f[1]) / ((x - y) ** 2 + 2),
        "synthetic_tests": (f[0] + f[1]) / ((x - y) ** 2 + 1.5),
        "modular_2d": (f[0] + f[1]) / ((x - y) ** 2 + 5),
        "power": ((f[0] + f[1]) / 2) ** p,
        "half_power": (f[0] ** p + f[1]) / 2,
        "product": f[0] + f[1] + e * f[0] * f[1],
        "weighted": b1 * f[0] + b2 * f[1],
    }[name]


SETTINGS = {
    "power": {"exponent": 3.0},
    "half_power": {"exponent": 3.0},
    "product": {"strength": 0.7},
    "weighted": {"first": 0.4, "second": 1.5},
}


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "three"])
def test_a_parent_is_made_of_its_children(name):
    found = problem(name, **SETTINGS.get(name, {}))
    f = [found.children[k][found.parts.site_of[k]] for k in range(2)]
    x, y = found.parts.at.T
    np.testing.assert_allclose(found.mean, by_hand(name, f, x, y), rtol=1e-12)


def test_the_waves_have_their_limits():
    """The quotient is undefined at its centre: 2 pi more than 2 there."""
    first, second = problem("synthetic3").children
    x = np.linspace(0, 2, 32)
    np.testing.assert_allclose(first, np.sin(2 * np.pi * x) / (x - 1) + 2)
    inside = x < 2
    want = np.sin(2 * np.pi * x[inside]) / (x[inside] - 2) + 2
    np.testing.assert_allclose(second[inside], want)
    np.testing.assert_allclose(second[-1], 2 * np.pi + 2)


def test_three_parts_have_a_site_each():
    found = problem("three")
    assert found.parts.site_of.shape == (3, 1000)
    f = [found.children[k][found.parts.site_of[k]] for k in range(3)]
    np.testing.assert_allclose(found.mean, sum(f) ** 2 + 2)


def test_pairs_that_cannot_be_had_are_no_candidates():
    table = np.array([[1.0, np.nan, 3.0], [4.0, np.nan, 6.0], [7.0, 8.0, 9.0]])
    positions = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    found = pairs(table, positions)
    assert len(found.mean) == 7
    # The order of sites is that of their positions, and not of the table.
    first, second = (
        [
            positions.tolist().index(row.tolist())
            for row in found.parts.sites[k][found.parts.site_of[k]]
        ]
        for k in range(2)
    )
    np.testing.assert_array_equal(table[first, second], found.mean)
    np.testing.assert_array_equal(found.children[0], [np.nan, 9.0, 1.0])


def test_scores_of_beliefs_that_are_known():
    """Of the truth, of its negative, of a scaled one, and of one that is constant."""
    found = problem("synthetic_tests")
    truth = jnp.asarray(found.mean)
    children = tuple(jnp.asarray(child) for child in found.children)

    def of(mean, parts):
        told = scores(found, Belief(mean, jnp.ones_like(mean), parts), jnp.asarray(5))
        return {name: float(value) for name, value in told.items()}

    right = of(truth, children)
    names = ("recommended", "parent_r2", "parent_upright_r2", "parent_raw_r2")
    assert [right[n] for n in names] == pytest.approx([1, 1, 1, 1])
    assert right["child_r2"] == right["child_upright_r2"] == pytest.approx(1)
    height = (found.mean[5] - found.mean.min()) / np.ptp(found.mean)
    assert right["exploitation"] == pytest.approx(height)
    turned = of(-truth, (children[0], -children[1]))
    assert [turned[n] for n in names] == pytest.approx(
        [0, 1, 0, 1 - 4 * np.square(found.mean).sum() / found.mean.var() / 1024]
    )
    assert turned["child_r2"] == pytest.approx(1)
    assert turned["child_upright_r2"] == pytest.approx(0.5)
    scaled = of(3 * truth + 1, ())
    assert [scaled[n] for n in names[:3]] == pytest.approx([1, 1, 1])
    assert scaled["parent_raw_r2"] < 0
    assert "child_r2" not in scaled
    assert of(jnp.zeros_like(truth), ())["parent_r2"] == 0


def test_a_correlation_is_that_of_numpy():
    one, other = np.random.default_rng(0).normal(size=(2, 20))
    found = correlation(jnp.asarray(one), jnp.asarray(other))
    np.testing.assert_allclose(found, np.corrcoef(one, other)[0, 1])


def test_sites_that_are_given_are_tried():
    """A method that tells what it saw of its parts alone."""
    found = problem("product")
    told = Method(
        lambda observed, n_trials: jnp.stack([one.response for one in observed]),
        lambda key, state, allowed: jnp.asarray(0),
        lambda state, chosen, response: state,
        lambda state: Belief(jnp.full(1024, state.sum()), jnp.ones(1024)),
    )
    sites = np.array([[[3, 4], [5, 6]], [[30, 0], [1, 2]]])
    run = simulate(told, found, 1, seed=0, n_sessions=2, exact_parts=True, sites=sites)
    for score, (one, other) in zip(run["parent_raw_r2"].values, sites, strict=True):
        total = found.children[0][one].sum() + found.children[1][other].sum()
        apart = np.square(total - found.mean).mean()
        assert score.item() == pytest.approx(1 - apart / found.mean.var())


def test_parts_alone_are_seen_where_they_are_known():
    found = paired()
    for seed in range(4):
        key = jax.random.key(seed)
        sites = draw_sites(key, found, 4)
        exact = try_sites(key, found, sites, noisy=False)
        noisy = try_sites(key, found, sites, noisy=True)
        for truth, one, other in zip(found.children, exact, noisy, strict=True):
            assert len(set(one.site.tolist())) == 4
            np.testing.assert_array_equal(one.response, truth[one.site])
            assert np.isfinite(one.response).all()
            assert (one.response != other.response).all()


def always(candidate, n_candidates):
    """Return a method that knows nothing but the last response."""
    return Method(
        lambda observed, n_trials: jnp.zeros(()),
        lambda key, state, allowed: jnp.asarray(candidate),
        lambda state, chosen, response: response,
        lambda state: Belief(jnp.full(n_candidates, state), jnp.ones(n_candidates)),
    )


def test_trials_vary_by_their_noise():
    """Around the mean by the deviation, or by a share of the mean."""
    plain, proportional = problem("synthetic3", noise=0.3), paired()
    for found, spread in ((plain, 0.3), (proportional, 0.3 * proportional.mean[7])):
        run = simulate(always(7, len(found.mean)), found, 2000, seed=0)
        assert run.sizes == {"session": 1, "query": 2000}
        # The raw score is quadratic in the constant that is believed.
        squared = (1 - run["parent_raw_r2"]) * found.mean.var() - found.mean.var()
        apart = np.sqrt(np.maximum(squared, 0))
        # What is believed is the response, of which the map's mean is taken here.
        centre = found.mean[7] - found.mean.mean()
        second = np.mean(np.square(apart))
        assert second == pytest.approx(centre**2 + spread**2, rel=0.1)


def test_bad_problems_are_told():
    with pytest.raises(InvalidInputError, match="Did you mean 'synthetic3'"):
        problem("synthetic33")
    with pytest.raises(InvalidInputError, match="Did you mean 'strength'"):
        problem("product", strenght=1.0)
    with pytest.raises(InvalidInputError, match="in one part"):
        parts_of(np.zeros((3, 2)), ((0,), (0, 1)))
    with pytest.raises(InvalidInputError, match="finite coordinates"):
        parts_of([[np.nan]], ((0,),))
    with pytest.raises(InvalidInputError, match="of the 2 positions"):
        pairs(np.ones((3, 3)), np.zeros((2, 2)))
    found = problem("synthetic3")
    with pytest.raises(InvalidInputError, match="seed"):
        simulate(always(0, 1024), found, 2, seed=-1)
