"""Simulated maps are what they say, and as hard as recorded ones."""

import numpy as np
import pytest

from neuromod.stimulation.maps import array_of, simulate_world
from neuromod.stimulation.presets import preset
from neuromod.stimulation.simulate import simulate

PRIMATE = array_of(10, 10, corners=False)


def test_arrays_have_their_shape():
    assert array_of(8, 4).tolist()[:5] == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]
    assert [0, 0] not in PRIMATE.tolist()
    assert len(PRIMATE) == 96


def test_maps_are_positive_and_trials_vary_around_them():
    for seed in range(5):
        world = simulate_world(PRIMATE, seed=seed)
        assert world.mean.max() == 1
        assert world.mean.min() > 0
        mean = world.trials.mean(axis=1)
        np.testing.assert_allclose(mean, world.mean, rtol=0.15)
        variation = (world.trials.std(axis=1) / world.mean).mean()
        assert 0.12 < variation < 0.49


def test_a_seed_is_a_map():
    one, same, other = (simulate_world(PRIMATE, seed=s).mean for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.1


def test_they_are_as_hard_as_those_of_a_capuchin():
    """The published rule has .822 and .543 on the recorded ones."""
    runs = [
        simulate(
            simulate_world(PRIMATE, seed=seed),
            PRIMATE,
            preset("bonizzato_primate"),
            96,
            seed=seed,
            n_sessions=3,
        )
        for seed in range(40)
    ]
    scores = {
        name: np.mean([run[name].values.mean() for run in runs])
        for name in ("exploration", "exploitation")
    }
    assert scores["exploration"] == pytest.approx(0.822, abs=0.04)
    assert scores["exploitation"] == pytest.approx(0.543, abs=0.06)
