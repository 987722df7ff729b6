"""Simulated sessions: published baselines come back, scores are what they say."""

import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError
from neuromod.stimulation.presets import preset
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.simulate import noisy_world, recorded_world, simulate
from tests.shared import shared

BASELINES = {
    "cebus1": ("nhp_cebus1_m1_trials.npz", "bonizzato_primate", 96),
    "macaque2": ("nhp_macaque2_m1_digitised.npz", "bonizzato_primate", 96),
    "rat2": ("rat2_m1_means.npz", "bonizzato_rat", 32),
}


def worlds(name):
    """Return the coordinates of an animal's electrodes, and a world for each muscle."""
    with np.load(shared("data/neurostim") / BASELINES[name][0]) as stored:
        mean = stored["mean"].astype(float)
        found = (
            [recorded_world(t) for t in stored["resp"].swapaxes(0, 1)]
            if "resp" in stored
            else [noisy_world(m, 0.3, seed=k) for k, m in enumerate(mean.T)]
        )
        return stored["ch2xy"].astype(float), found


@pytest.mark.parametrize("name", BASELINES)
def test_the_published_rule_does_as_well_as_it_did(name):
    """Within two standard errors of the means over all sessions."""
    _, rule, n_queries = BASELINES[name]
    at, muscles = worlds(name)
    runs = [
        simulate(world, at, preset(rule), n_queries, seed=k, n_sessions=150)
        for k, world in enumerate(muscles)
    ]
    with np.load(shared("data/neurostim") / "baselines_gpbo.npz") as stored:
        for score, key in (("exploration", "explore"), ("exploitation", "exploit")):
            want = stored[f"{name}/fixed/{key}"].mean(axis=2)
            found = np.stack([run[score].mean("query").values for run in runs])
            error = np.sqrt((found.var(axis=1, ddof=1) + want.var(axis=1, ddof=1)) / 50)
            apart = (found.mean(axis=1) - want.mean(axis=1)) / error
            # Each muscle has an error of its own; their mean has a smaller one.
            total = (found.mean() - want.mean()) / (
                np.sqrt(np.square(error).sum()) / len(error)
            )
            assert abs(total) < 2, (score, total, apart)


def grid():
    return np.stack(np.meshgrid(range(5), range(5)), -1).reshape(-1, 2)


def test_scores_are_shares_of_the_largest_response():
    world = noisy_world(1.0 + grid().sum(axis=1), 1e-3, seed=0)
    found = simulate(
        world, grid(), Rule(length_scale=1.5, noise=0.01), 20, seed=0, n_sessions=8
    )
    mean = world.mean / world.mean.max()
    np.testing.assert_allclose(found["exploitation"], mean[found["candidate"]])
    best = np.maximum.accumulate(found["exploitation"].values, axis=1)
    # Without noise the best of those tested is known.
    np.testing.assert_allclose(found["exploration"], best)


def test_recorded_trials_are_drawn_and_no_others():
    trials = np.full((25, 3), np.nan)
    trials[:, 0] = np.arange(25) + 1.0
    trials[::2, 2] = trials[::2, 0]
    found = simulate(recorded_world(trials), grid(), Rule(), 25, seed=0, n_sessions=3)
    assert np.isfinite(found["exploitation"]).all()


def test_the_same_seed_gives_the_same_sessions():
    world = noisy_world(1.0 + grid().sum(axis=1), 0.3, seed=0)
    one, same, other = (
        simulate(world, grid(), Rule(), 12, seed=s, n_sessions=3) for s in (0, 0, 1)
    )
    assert one.identical(same)
    assert not one.identical(other)


def test_curiosity_that_falls_exploits_more_at_the_end():
    world = noisy_world(np.exp(-((grid() - 3) ** 2).sum(axis=1) / 4) + 0.1, 0.3, seed=0)
    ends = [
        float(
            simulate(
                world,
                grid(),
                Rule(first_weight=4.0, last_weight=last),
                40,
                seed=0,
                n_sessions=20,
            )["exploitation"][:, -8:].mean()
        )
        for last in (4.0, 0.5)
    ]
    assert ends[1] > ends[0] + 0.05


def test_bad_worlds_are_told():
    with pytest.raises(InvalidInputError, match="trial of each"):
        recorded_world(np.full((3, 2), np.nan))
    with pytest.raises(InvalidInputError, match="one for each"):
        simulate(noisy_world(np.ones(3), 0.1, seed=0), grid(), Rule(), 3, seed=0)


def test_a_map_of_earlier_animals_is_where_a_session_begins():
    height = -((grid() - 3) ** 2).sum(axis=1) / 4
    world = noisy_world(np.exp(height), 0.1, seed=0)
    given = {"seed": 0, "n_sessions": 5}
    without = simulate(world, grid(), Rule(), 8, **given)
    with_map = simulate(world, grid(), Rule(), 8, **given, earlier=height)
    assert (with_map["candidate"][:, 0] == height.argmax()).all()
    firsts = [float(run["exploration"][:, :4].mean()) for run in (without, with_map)]
    assert firsts[1] > firsts[0] + 0.1
