"""Movements by name, and their twin."""

import numpy as np
import pytest

import neuromod as nm
from neuromod.core.errors import DataFormatError, DatasetUnavailableError
from neuromod.pvrnn.arm import hand_of
from tests.shared import shared


@pytest.fixture
def published(monkeypatch):
    monkeypatch.setenv("NEUROMOD_DATA", str(shared("data/pvrnn")))


@pytest.mark.usefixtures("published")
def test_the_arm_has_eight_unseen_trials_that_are_all_external():
    arm = nm.datasets.load("planar_arm")
    training, unseen = (arm[name]["movement"] for name in ("training", "unseen"))
    assert training.shape == (48, 200, 5)
    assert unseen.shape == (8, 200, 5)
    assert set(unseen["context"].values) == {"external"}
    for part in (training, unseen):
        own = np.abs(hand_of(part[..., :3]) - part[..., 3:]).max(("time", "channel"))
        assert ((own < 1e-6) == (part["context"] == "self")).all()
    assert arm.attrs["licence"] == "Apache-2.0"


@pytest.mark.usefixtures("published")
def test_the_reversal_task_says_where_it_leads():
    task = nm.datasets.load("reversal_task")
    assert list(task.children) == [
        "training",
        "unseen",
        "training_reversed",
        "unseen_reversed",
    ]
    steady, reversed_ = (
        task[name]["probability_left"] for name in ("unseen", "unseen_reversed")
    )
    assert float(steady.std("time").max()) == pytest.approx(0, abs=1e-6)
    assert float(reversed_.std("time").min()) > 0.05
    # Left is at x = -0.4: how often it is gone to follows the probability.
    left = (task["unseen"]["movement"][..., 0] < -0.25).mean("time")
    assert np.corrcoef(left, steady.mean("time"))[0, 1] > 0.9


def test_the_twin_has_the_same_form_and_its_truth():
    arm = nm.datasets.simulate_arm(seed=0, n_trials=6, n_steps=40)
    for name in ("training", "unseen"):
        part = arm[name]["movement"]
        assert part.dims == ("trial", "time", "channel")
        own = np.abs(hand_of(part[..., :3]) - part[..., 3:]).max(("time", "channel"))
        assert ((own < 1e-9) == (part["context"] == "self")).all()
    first, other = (arm[name]["movement"].values for name in ("training", "unseen"))
    assert not np.allclose(first, other)


def test_a_missing_or_damaged_file_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("NEUROMOD_DATA", str(tmp_path))
    with pytest.raises(DatasetUnavailableError):
        nm.datasets.load("planar_arm", download=False)
    path = tmp_path / "sensory_attenuation_3link.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(DataFormatError):
        nm.datasets.load("planar_arm", download=False)
    n_bytes = nm.datasets.describe("planar_arm").bytes
    assert n_bytes is not None
    path.write_bytes(b"0" * n_bytes)
    with pytest.raises(DataFormatError, match=r"no \.npz"):
        nm.datasets.load("planar_arm", download=False)
