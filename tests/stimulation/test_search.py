"""A search knows what dense formulas say, and every setting does what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.stimulation import programs
from neuromod.stimulation.covariance import Points, covariance
from neuromod.stimulation.decide import Objective
from neuromod.stimulation.ground import Ground, ground
from neuromod.stimulation.layout import Block
from neuromod.stimulation.rule import Rule, build, free_parameters
from neuromod.stimulation.search import Search

GRID = np.stack(np.meshgrid(range(4), range(5), indexing="ij"), -1).reshape(-1, 2)
EVERY = np.ones(20, bool)
PLAIN = Rule(
    logarithm=False, length_scale=1.5, noise=0.2, by_candidates=False, first_weight=3.0
)


# Within optax, whose line search promotes.
@pytest.fixture(autouse=True)
def loose(strict_jax):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def searching(rule=PLAIN, sites=(), n_outputs=1, over=None, **options):
    """Return a search after trials, and their responses."""
    rng = np.random.default_rng(0)
    search = Search(over or ground(GRID), rule, 60, n_outputs, **options)
    responses = rng.normal(2.0, 1.0, (len(sites), n_outputs))
    for site, response in zip(sites, responses, strict=True):
        search.learn(search.place(site), response)
    return search, responses


def dense(rule, block, at, level, responses, candidates, noise=None):
    """Return the mean at candidates with an offset for each level, by inverses."""
    process = build(jnp.asarray(free_parameters(rule, block).start), rule, block)
    points = Points(jnp.asarray(at, float), jnp.asarray(level))
    multiplier = np.ones(len(at)) if noise is None else noise
    between = np.asarray(covariance(process, points, points))
    between = between + rule.noise * np.diag(multiplier)
    inverse = np.linalg.inv(between)
    kinds = np.unique(level)
    has = (np.asarray(level)[:, None] == kinds).astype(float)
    offsets = np.linalg.solve(has.T @ inverse @ has, has.T @ inverse @ responses)
    cross = np.asarray(covariance(process, candidates, points))
    mean = cross @ inverse @ (responses - has @ offsets)
    there = (np.asarray(candidates.level)[:, None] == kinds).astype(float)
    return mean + there @ offsets


def test_repeats_tell_of_the_noise_and_not_of_the_map():
    """Merged or not, the posterior, its scale and its size are the same."""
    rng = np.random.default_rng(1)
    sites = rng.integers(6, size=50)
    search, responses = searching(sites=sites)
    apart = np.asarray(search.belief().mean)
    search._take(search.parameters, search.rows)
    assert len(search.groups) == 6
    np.testing.assert_allclose(search.belief().mean, apart, rtol=1e-8)
    want = dense(
        PLAIN,
        search.ground.block,
        GRID[sites],
        np.zeros(50, int),
        responses,
        search.scene.candidates,
    )
    found = search.belief()
    np.testing.assert_allclose(found.mean, want, rtol=1e-8)
    between = np.asarray(
        covariance(
            search.scene.process,
            *[Points(jnp.asarray(GRID[sites], float), jnp.zeros(50, jnp.int64))] * 2,
        )
    ) + 0.2 * np.eye(50)
    inverse = np.linalg.inv(between)
    left = responses[:, 0] - (inverse.sum(0) @ responses[:, 0]) / inverse.sum()
    # What differs at one site is noise: the size of the map is told by means of sites.
    means = np.array([left[sites == site].mean() for site in range(6)])
    scatter = np.square(left - means[sites]).sum() / 0.2
    scale = (4 * 0.7**2 + left @ inverse @ left - scatter) / (4 + 6)
    assert float(found.covariance[0, 0]) == pytest.approx(scale, rel=1e-8)


def pair():
    """Return two electrodes of a row of four, together and alone."""
    both = np.stack(np.meshgrid(range(4), range(4), indexing="ij"), -1).reshape(-1, 2)
    alone = np.arange(4)
    nothing = np.zeros(4)
    coordinates = np.concatenate(
        [both, np.stack([alone, nothing], 1), np.stack([nothing, alone], 1)]
    ).astype(float)
    level = np.repeat([0, 1, 2], [16, 4, 4])
    block = Block("whole", (0, 1), (Block("first", (0,)), Block("second", (1,))))
    return Ground(coordinates, level, block)


def test_trials_of_parts_and_of_the_whole_tell_of_each_other():
    """One posterior of all of them, by the covariances of sums of functions."""
    over = pair()
    sites = np.array([0, 5, 10, 16, 17, 18, 20, 23, 3, 12])
    search, responses = searching(sites=sites, over=over)
    want = dense(
        PLAIN,
        over.block,
        over.coordinates[sites],
        over.level[sites],
        responses,
        search.scene.candidates,
    )
    np.testing.assert_allclose(search.belief().mean, want, rtol=1e-8)
    # Sums over parts: alike in one electrode, two pairs are alike.
    process = search.scene.process
    at = Points(jnp.asarray(over.coordinates), jnp.asarray(over.level))
    between = np.asarray(covariance(process, at, at))
    share = (1 - PLAIN.interaction) / 2
    assert between[0, 16] == pytest.approx(share)  # (0, 0) and first 0
    assert between[16, 20] == 0  # first 0 and second 0
    assert between[0, 0] == pytest.approx(1.0)


def test_without_interaction_the_parts_tell_all():
    over = pair()
    rule = PLAIN._replace(interaction=1e-9, noise=1e-6, length_scale=1.0)
    search = Search(over, rule, 60)
    first, second = np.array([0.0, 3.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0, 2.0])
    for k in range(4):
        search.learn(search.place(16 + k), first[k : k + 1])
        search.learn(search.place(20 + k), second[k : k + 1])
    mean = np.asarray(search.belief().mean)[:16, 0].reshape(4, 4)
    want = first[:, None] + second[None, :]
    np.testing.assert_allclose(mean - mean.mean(), want - want.mean(), atol=1e-2)


def test_no_program_is_compiled_while_a_session_runs():
    search = Search(ground(GRID), PLAIN._replace(acquisition="thompson"), 60)
    search.prepare(60)
    kinds = (programs.append_row, programs.most_promising, programs.widen_room)
    before = [kind._cache_size() for kind in kinds]
    for n in range(60):
        site = search.choose(0, n, EVERY)
        search.choose(0, n, EVERY, pending=[search.place(0), search.place(1)])
        search.learn(search.place(site), np.array([float(GRID[site].sum())]))
    assert [kind._cache_size() for kind in kinds] == before


def test_a_floor_that_moves_is_as_if_it_had_been_there_from_the_start():
    """Trials on rows of their own and trials that share one."""
    rng = np.random.default_rng(6)
    rule = Rule(length_scale=1.5)
    search = Search(ground(GRID), rule, 60, 2)
    responses = rng.uniform(0.0, 1.0, (20, 2)) * np.linspace(1, 30, 20)[:, None]
    sites = rng.integers(8, size=20)
    for n, (site, response) in enumerate(zip(sites, responses, strict=True)):
        search.learn(search.place(site), response)
        if n == 10:
            search._take(search.parameters, search.rows)
    assert len(search.groups) < 20
    assert (search.floor > 2 * 0.05 * responses[0]).all()
    found = search.belief()
    search._take(search.parameters, search.rows)
    for one, other in zip(found, search.belief(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)


def test_an_outlier_counts_for_less_with_few_degrees_of_freedom():
    means = []
    for freedom in (np.inf, 4.0):
        rule = PLAIN._replace(degrees_of_freedom=freedom)
        search = Search(ground(GRID), rule, 60)
        for n, site in enumerate([*range(20), 7]):
            value = 2.0 + 0.1 * np.cos(n) if n < 20 else 30.0
            search.learn(search.place(site), np.array([value]))
        means.append(float(search.belief().mean[7, 0]))
    assert means[0] > 4.0
    assert means[1] < 0.5 * means[0]
    # What one such response weighs: (freedom + z^2) / (freedom + 1).
    row = search.rows[-1]
    kept = Search(ground(GRID), rule, 60)
    for earlier in search.rows[:-1]:
        kept.rows.append(earlier)
    kept._take(kept.parameters, kept.rows)
    surprise = float(kept.surprise(kept.place(7), np.array([30.0]))[0])
    assert row.noise == pytest.approx((4 + surprise**2) / 5, rel=1e-6)


def test_proportional_noise_trusts_small_responses_more():
    rule = PLAIN._replace(proportional_noise=True)
    search = Search(ground(GRID), rule, 60)
    for site in [0, 19, 0, 19, 0, 19]:
        search.learn(search.place(site), np.array([10.0 if site else 1.0]))
    noise = {int(row.at.sum() > 0): row.noise for row in search.rows}
    assert noise[0] < 0.2 * noise[1] <= 0.2


def test_what_is_old_is_forgotten_over_the_time_constant():
    rule = PLAIN._replace(time_constant=100.0, offset="zero", noise=1e-6)
    search = Search(ground(GRID), rule, 60)
    search.surround(np.array([0.0]))
    search.learn(search.place(3), np.array([5.0]))
    for later in (0.0, 50.0, 300.0):
        search.surround(np.array([later]))
        mean = float(search.belief().mean[3, 0])
        assert mean == pytest.approx(5 * np.exp(-later / 100), rel=1e-4)
    assert float(search.belief().deviation[3, 0]) > 0.9 * float(
        search.belief().deviation[19, 0]
    )


def test_each_context_has_a_map_of_its_own_that_fades_into_the_next():
    rule = PLAIN._replace(context_scale=0.5, offset="zero", noise=1e-6)
    search = Search(ground(GRID), rule, 60, n_context=1)
    search.surround(np.array([0.0]))
    search.learn(search.place(3), np.array([5.0]))
    expected = []
    for state in (0.0, 0.5, 3.0):
        search.surround(np.array([state]))
        expected.append(float(search.belief().mean[3, 0]))
    np.testing.assert_allclose(expected, [5, 5 * np.exp(-0.5), 0], atol=1e-4)


def test_a_refit_finds_better_parameters_and_the_search_goes_on_with_them():
    rng = np.random.default_rng(3)
    rule = PLAIN._replace(length_scale=0.5, noise=1.0, n_iterations=30)
    sites = np.tile(np.arange(20), 2)
    smooth = np.sin(GRID[:, 0] / 2) + np.cos(GRID[:, 1] / 2)
    search = Search(ground(GRID), rule, 60)
    for site in sites:
        response = smooth[site] + 0.02 * rng.normal()
        search.learn(search.place(site), np.array([response]))
    found = search.refit()
    assert search.parameters is not found.parameters
    lengths, noise = np.exp(found.parameters[:2]), np.exp(found.parameters[2])
    assert (lengths > 1.0).all()
    assert noise < 0.1
    # Trials that came meanwhile are appended to what was rebuilt.
    search.learn(search.place(4), np.array([smooth[4]]))
    search.adopt(*found)
    appended = np.asarray(search.belief().mean)
    search._take(found.parameters, search.rows)
    np.testing.assert_allclose(appended, search.belief().mean, rtol=1e-8)


def test_selectivity_prefers_what_moves_one_muscle_and_not_the_other():
    one = np.exp(-((GRID - [1, 1]) ** 2).sum(1) / 3)
    other = np.exp(-((GRID - [1, 2]) ** 2).sum(1) / 3)
    search = Search(ground(GRID), PLAIN._replace(noise=1e-3), 60, 2)
    for site in range(20):
        search.learn(search.place(site), np.array([one[site], other[site]]))
    best = []
    for penalty in (0.0, 1.0):
        aim = Objective(jnp.asarray(0), jnp.asarray(penalty), jnp.array([False, True]))
        mean, _ = search.utility(aim)
        best.append(GRID[np.argmax(mean)].tolist())
        np.testing.assert_allclose(
            mean, one / one.max() - penalty * other / other.max(), atol=0.05
        )
    assert best[0] == [1, 1]
    assert best[1][1] < 1


def test_the_deviation_of_a_difference_is_that_of_the_outputs_together():
    """Muscles that go together are told apart with less doubt."""
    rng = np.random.default_rng(4)
    shared = rng.normal(size=20)
    doubts = []
    for sign in (1.0, -1.0):
        search = Search(ground(GRID), Rule(), 60, 2)
        for site in range(0, 20, 3):
            value = np.array([shared[site], sign * shared[site]])
            search.learn(search.place(site), value + 0.1 * rng.normal(size=2))
        aim = Objective(jnp.asarray(0), jnp.asarray(1.0), jnp.array([False, True]))
        doubts.append(search.utility(aim)[1].mean())
    assert doubts[0] < 0.5 * doubts[1]


def test_pending_points_are_not_asked_for_again():
    sites = [0, 4, 15, 19]
    search, _ = searching(sites=sites)
    asked = []
    for _ in range(5):
        pending = [search.place(site) for site in asked]
        asked.append(search.choose(0, 4 + len(asked), EVERY, pending=pending))
    assert len(set(asked)) == 5


def test_a_search_by_visits_leaves_what_it_knows_too_well():
    """Deviations that count for less where many trials were."""
    promises = []
    for by_visits in (False, True):
        rule = PLAIN._replace(by_visits=by_visits, with_noise=True)
        search, _ = searching(rule, sites=[7] * 15 + [12])
        promises.append(search.promise(0, 16))
    lost = promises[0] - promises[1]
    deviation = np.sqrt(np.asarray(search.known.variance) + 0.2) * np.sqrt(
        float(search.belief().covariance[0, 0])
    )
    course = (np.cos(np.pi * 16 / 60) + 1) / 2
    weight = PLAIN.last_weight + (PLAIN.first_weight - PLAIN.last_weight) * course
    # Responses are relative to the largest that is expected.
    size = np.asarray(search.belief().mean).max()
    want = weight * deviation / size * (1 - 1 / np.sqrt(1 + search.n_visits))
    np.testing.assert_allclose(lost, want, rtol=1e-6)


@pytest.mark.parametrize(
    "acquisition",
    [
        "upper_confidence_bound",
        "expected_improvement",
        "probability_of_improvement",
        "thompson",
    ],
)
def test_every_acquisition_finds_the_summit(acquisition):
    hill = np.exp(-((GRID - [2, 3]) ** 2).sum(1) / 4)
    # Improvement by nothing at all is found right beside the best.
    first = 2.0 if acquisition == "upper_confidence_bound" else 0.3
    rule = PLAIN._replace(
        acquisition=acquisition, noise=0.01, first_weight=first, last_weight=0.0
    )
    search = Search(ground(GRID), rule, 30)
    asked = []
    for n in range(30):
        asked.append(search.choose(0, n, EVERY))
        search.learn(search.place(asked[-1]), hill[asked[-1]][None])
    assert GRID[np.argmax(search.belief().mean[:, 0])].tolist() == [2, 3]
    assert len(set(asked)) > 3


def test_more_must_be_gained_where_a_margin_is_asked_for():
    promises = []
    for margin in (0.0, 1.0):
        rule = PLAIN._replace(
            acquisition="expected_improvement", first_weight=margin, last_weight=margin
        )
        search, _ = searching(rule, sites=[0, 4, 15, 19])
        promises.append(search.promise(0, 4))
    assert (promises[1] < promises[0]).all()
