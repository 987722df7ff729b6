from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from neuromod import datasets
from neuromod.core.errors import DataFormatError, InvalidInputError
from neuromod.datasets import registry
from tests.shared import shared

CA1 = ["rat_ca1_wmaze", "rat_ca1_linear_track"]


def load(name: str, **options: Any) -> Any:
    return datasets.load(name, **options)


@pytest.fixture
def recordings(monkeypatch):
    """Let the shared recordings stand in for downloads."""
    monkeypatch.setenv("NEUROMOD_DATA", str(shared("data/spikes")))


def write_nwb(path):
    """Write a recording as the sets from OSF hold it: two signals, two clocks."""
    from pynwb import NWBHDF5IO, NWBFile, TimeSeries
    from pynwb.behavior import CompassDirection, SpatialSeries

    nwb: Any = NWBFile(
        session_description="test",
        identifier="test",
        session_start_time=datetime(2020, 1, 1, tzinfo=UTC),
    )
    nwb.add_unit_column(name="location", description="where the unit is")
    nwb.add_unit(spike_times=[0.5, 1.25, 4.0], location="adn")
    nwb.add_unit(spike_times=[1.3, 9.5], location="thalamus")
    behaviour = nwb.create_processing_module(name="behavior", description="behaviour")
    time = np.arange(-1, 12, 0.1)
    for name in ("ry", "position"):
        series = SpatialSeries(
            name=name, data=time / 10, timestamps=time, unit="rad",
            reference_frame="room",
        )  # fmt: skip
        behaviour.add(CompassDirection(name=f"{name}_data", spatial_series=series))
    time = np.arange(50) / 5
    phase = TimeSeries(name="theta_phase", data=time, timestamps=time, unit="rad")
    behaviour.add(phase)
    with NWBHDF5IO(path=path, mode="w") as file:
        file.write(container=nwb)


@pytest.fixture
def nwb_recordings(tmp_path, monkeypatch):
    """Let small files of the same layout stand in for the sets from OSF."""
    known = {
        name: replace(entry, sha256="unverified", hash_source="")
        for name, entry in registry.entries().items()
        if entry.basename.endswith(".nwb")
    }
    monkeypatch.setattr(registry, "entries", lambda: known)
    monkeypatch.setenv("NEUROMOD_DATA", str(tmp_path))
    for entry in known.values():
        write_nwb(tmp_path / entry.basename)


def schema(tree):
    """Describe what a function of a recording relies on."""
    spikes = tree["recording"]["spikes"]
    return {
        "variables": [str(name) for name in tree["recording"].data_vars],
        "dims": spikes.dims,
        "whole": spikes.dtype.kind in "iu",
        "labelled": {"time", "neuron"} <= set(spikes.indexes),
        "units": spikes.attrs["units"],
        "time": tree["recording"]["time"].attrs,
        "bin_size": type(spikes.attrs["bin_size"]),
        "told": {"title", "source", "licence", "citation"} <= set(tree.attrs),
    }


@pytest.mark.parametrize("name", CA1)
def test_recording_has_the_schema_of_its_twin(recordings, small, name):
    assert schema(load(name)) == schema(small)


@pytest.mark.parametrize("name", ["mouse_head_direction", "rat_ca1_achilles"])
def test_nwb_recording_has_the_schema_of_its_twin(nwb_recordings, small, name):
    assert schema(load(name)) == schema(small)


def test_wmaze(recordings):
    data = load("rat_ca1_wmaze")
    spikes, position = data["recording"]["spikes"], data["behaviour"]["position"]
    assert spikes.sizes == {"time": 17227, "neuron": 24}
    assert spikes.attrs["bin_size"] == 0.25
    assert 19 not in spikes.neuron
    # Both on the clock of the recording, which starts at tick 1932092 of 30 kHz.
    start, stop = 1932092 / 30000, 131137032 / 30000
    assert spikes.time[0] == pytest.approx(start + 0.125)
    assert position.dims == ("time", "space")
    assert position.space.values.tolist() == ["x", "y"]
    assert position.attrs["units"] == "px"
    assert start <= position.time[0] < position.time[-1] <= stop
    assert position.diff("time").min() < 0  # no wrap-around of unsigned pixels
    assert data.attrs["licence"] == "MIT, (c) 2017 nelpy"
    assert "nelpy" in data.attrs["citation"]
    assert "unit 19 fires at 107 Hz" in data.attrs["quality"]


def test_excluded_unit_is_as_noisy_as_the_registry_says(recordings):
    everything = load("rat_ca1_wmaze", exclude=())["recording"]["spikes"]
    assert everything.sizes["neuron"] == 25
    assert everything.sel(neuron=19).mean() / 0.25 == pytest.approx(107, abs=1)
    quiet = load("rat_ca1_wmaze", exclude=np.array([19, 23]))["recording"]
    assert quiet.sizes["neuron"] == 23
    rates = quiet["spikes"].mean("time") / 0.25
    assert rates.max() < 3.2
    with pytest.raises(InvalidInputError, match="the unit '77', which does not exist"):
        load("rat_ca1_wmaze", exclude=["77"])


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("rat_ca1_wmaze", {"run": [7, 2153], "rest": [1101, 3349]}),
        ("rat_ca1_linear_track", {"run": [9], "rest": [979]}),
    ],
)
def test_blocks_of_behaviour(recordings, name, starts):
    recording = load(name, bin_size=0.5)["recording"]
    block, seconds = recording["block"].values, recording["time"].values
    seconds = seconds - recording["spikes"].attrs["start"]
    for label, expected in starts.items():
        begins = (block == label) & (np.append("", block[:-1]) != label)
        # The first bin whose centre lies in the block.
        assert seconds[begins].tolist() == pytest.approx([s + 0.25 for s in expected])
    assert set(block[seconds < min(starts["run"])]) == {"unlabelled"}
    assert block[-1] == "rest"


def test_animal_moves_more_in_run_than_in_rest(recordings):
    data = load("rat_ca1_linear_track")
    position, recording = data["behaviour"]["position"], data["recording"]
    moved = np.hypot(*position.diff("time").values.T)
    nearest = np.searchsorted(recording["time"].values, position["time"].values[1:])
    block = recording["block"].values[np.minimum(nearest, recording.sizes["time"] - 1)]
    assert moved[block == "run"].mean() > 5 * moved[block == "rest"].mean()


def test_options_have_their_effect(recordings):
    fine = load("rat_ca1_linear_track", bin_size=0.02)["recording"]["spikes"]
    assert fine.attrs["bin_size"] == pytest.approx(0.02)
    assert fine.sizes["time"] == 98413
    for none in ((), None):
        bare = load("rat_ca1_linear_track", behaviour=none)
        assert list(bare.children) == ["recording"]
    with pytest.raises(InvalidInputError, match="Did you mean 'position'"):
        load("rat_ca1_linear_track", behaviour=["positon"])
    with pytest.raises(InvalidInputError, match="bin_size"):
        load("rat_ca1_linear_track", bin_size=-1)


@pytest.mark.parametrize("name", ["theta_phase", ["theta_phase"]])
def test_a_signal_by_its_plain_name(nwb_recordings, name):
    data = load("mouse_head_direction", behaviour=name, bin_size=1.0)
    assert list(data["behaviour"].data_vars) == ["theta_phase"]


def test_no_signal_and_an_unknown_one(nwb_recordings):
    bare = load("mouse_head_direction", behaviour=None, bin_size=1.0)
    assert list(bare.children) == ["recording"]
    with pytest.raises(InvalidInputError, match="Did you mean 'theta_phase'"):
        load("mouse_head_direction", behaviour="theta_fase", bin_size=1.0)


@pytest.mark.parametrize(
    ("exclude", "kept"), [(1, [0]), ("1", [0]), (np.int64(1), [0]), (None, [0, 1])]
)
def test_a_unit_by_its_plain_label(nwb_recordings, exclude, kept):
    data = load("mouse_head_direction", exclude=exclude, bin_size=1.0)
    assert data["recording"]["neuron"].values.tolist() == kept


def test_nwb_recording(nwb_recordings):
    data = load("mouse_head_direction", bin_size=1.0)
    spikes = data["recording"]["spikes"]
    assert spikes["location"].values.tolist() == ["adn", "thalamus"]
    assert int(spikes.sum()) == 5
    assert "block" not in spikes.coords
    angle = data["behaviour"]["ry"]
    assert angle.dims == ("time",)
    assert angle.attrs["units"] == "rad"
    assert 0.5 <= angle.time[0] < angle.time[-1] <= 9.5  # cropped to the spikes
    assert data.attrs["licence"].startswith("CC-BY-4.0")
    other = load("rat_ca1_achilles", behaviour=["theta_phase"], bin_size=1.0)
    assert other["behaviour"].to_dataset().sizes["time"] == 45


def test_damaged_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "rat_ca1_linear_track_run_rest.npz"
    monkeypatch.setenv("NEUROMOD_DATA", str(tmp_path))
    path.write_bytes(bytes(331974))  # the right size, nothing of the right content
    with pytest.raises(DataFormatError):
        load("rat_ca1_linear_track")
    path.write_bytes(bytes(331973))
    with pytest.raises(DataFormatError, match="331973 bytes instead of 331974"):
        load("rat_ca1_linear_track")
