"""When a climb came near the best, and a score that peers are compared by."""

import numpy as np
import pytest

from tests.benchmarks import switching_peers as peers


def test_who_came_near_and_when():
    curves = {
        "fast": (np.array([0.0, 1.0, 2.0]), np.array([-2.0, -1.0005, -1.0])),
        "slow": (np.array([0.0, 5.0, 9.0]), np.array([-2.0, -1.5, -1.0009])),
        "elsewhere": (np.array([0.0, 0.1]), np.array([-2.0, -1.2])),
    }
    found = peers.compare(curves)
    times = {name: each["cpu_s_to_near_the_best"] for name, each in found.items()}
    assert times == {"fast": 1.0, "slow": 9.0, "elsewhere": None}
    assert found["elsewhere"]["below_the_best"] == pytest.approx(0.2)
    summary = peers.summarise([{"task": "choices", "climbs": found}] * 2)
    assert summary["choices"]["slow"] == {
        "came_near": "2 of 2",
        "median_cpu_s_of_those": 9.0,
    }
    assert summary["choices"]["elsewhere"]["came_near"] == "0 of 2"
    assert summary["choices"]["elsewhere"]["median_cpu_s_of_those"] is None


def test_the_score_adds_up_over_states():
    """Without inputs, and jumps that forget, a chain is a mixture."""
    rng = np.random.default_rng(0)
    problem = {
        "values": (rng.random((7, 1)) < 0.5).astype(float),
        "inputs": np.zeros((7, 2)),
        "lengths": np.array([4, 3]),
        "counts": np.array(False),
        "n_states": np.array(2),
    }
    start = peers.start(problem, 0) | {"transition": np.full((2, 2), 0.5)}
    found = peers.score(problem, {name: array[None] for name, array in start.items()})
    chance = (1 / (1 + np.exp(-start["bias"][:, 0]))).mean()
    happened = problem["values"][:, 0]
    expected = np.log(np.where(happened == 1, chance, 1 - chance)).mean()
    assert found == pytest.approx(expected, abs=1e-6)
