"""NWB: what is written comes back equal, and what others write is understood."""

from datetime import UTC, datetime

import h5py
import numpy as np
import pytest
import xarray as xr

from neuromod import io
from neuromod.core.errors import DataFormatError, InvalidInputError
from neuromod.io import SpikeTrains
from tests.io.written import SESSION, small
from tests.shared import shared

pynwb = pytest.importorskip("pynwb")


def test_trains_come_back_equal_on_their_own_clock(tmp_path):
    trains = small()
    path = io.write_nwb(tmp_path / "a.nwb", trains, **SESSION)
    back = io.read_spike_trains(path)
    assert back.equals(trains)
    assert back.rate == 1000.0
    assert back.annotations["quality"].tolist() == ["good", "good", "mua", "good"]
    assert back.source == str(path)


@pytest.mark.parametrize("recording", ["wmaze", "linear_track"])
def test_a_shared_recording_comes_back_equal(recording, tmp_path):
    source = shared(f"data/spikes/rat_ca1_{recording}_run_rest.npz")
    trains = io.read_spike_trains(source)
    if recording == "wmaze":
        trains = trains.exclude(19)
    behaviour = io.read_behaviour(source)
    path = tmp_path / "a.nwb"
    io.write_nwb(path, trains, behaviour=behaviour, **SESSION)
    back = io.read_spike_trains(path)
    assert back.equals(trains)
    xr.testing.assert_equal(
        back.bin(0.02).drop_vars("tetrode"), trains.bin(0.02).drop_vars("tetrode")
    )
    again = io.read_behaviour(path)
    np.testing.assert_array_equal(again.position, behaviour.position)
    np.testing.assert_array_equal(again.time, behaviour.time)
    assert again.position.attrs["units"] == "px"


def test_names_and_seconds_come_back_equal(tmp_path):
    trains = SpikeTrains.from_units({"CA1-1": [0.1234567891], "CA1-2": []})
    io.write_nwb(tmp_path / "a.nwb", trains, **SESSION)
    assert io.read_spike_trains(tmp_path / "a.nwb").equals(trains)


def test_counts_come_back_equal(tmp_path):
    epochs = {"run": (0.3, 1.2), "rest": (1.5, 3.0)}
    counts = small().bin(0.3, epochs=epochs)
    io.write_nwb(tmp_path / "a.nwb", counts, **SESSION)
    back = io.read_spikes(tmp_path / "a.nwb")
    xr.testing.assert_equal(back, counts.drop_vars("quality"))
    assert back.dtype == counts.dtype
    assert back.attrs["bin_size"] == 0.3


def test_behaviour_and_trials_come_back_equal(tmp_path):
    time = np.array([0.0, 0.1, 0.25])
    behaviour = xr.Dataset(
        {
            "position": (("time", "space"), np.arange(6.0).reshape(3, 2)),
            "licking": ("time", np.array([True, False, True])),
            "speed": ("time", np.array([1.0, np.nan, 2.0]), {"units": "cm/s"}),
            "start_time": ("trial", [0.0, 0.1]),
            "stop_time": ("trial", [0.1, 0.2]),
            "choice": ("trial", ["left", "right"]),
            "reward": ("trial", [0.0, 1.5]),
        },
        {"time": time, "space": ["x", "y"], "trial": [0, 1]},
    )
    io.write_nwb(tmp_path / "a.nwb", behaviour=behaviour, **SESSION)
    back = io.read_behaviour(tmp_path / "a.nwb")
    xr.testing.assert_equal(back[list(behaviour.data_vars)], behaviour)
    assert back.speed.attrs["units"] == "cm/s"
    only = io.read_behaviour(tmp_path / "a.nwb", "speed", intervals=None)
    assert list(only.data_vars) == ["speed"]
    with pytest.raises(InvalidInputError, match="Did you mean 'speed'"):
        io.read_behaviour(tmp_path / "a.nwb", "sped")
    with pytest.raises(InvalidInputError, match="Did you mean 'trials'"):
        io.read_behaviour(tmp_path / "a.nwb", intervals="trial")


def foreign(path):
    """A file as a laboratory would write it, with all that we do not need."""
    from pynwb.behavior import Position

    file = pynwb.NWBFile(
        session_description="foreign",
        identifier="f",
        session_start_time=datetime(2020, 1, 1, tzinfo=UTC),
    )
    device = file.create_device("probe")
    group = file.create_electrode_group("shank", "d", "CA1", device)
    for _ in range(2):
        file.add_electrode(location="CA1", group=group)
    file.add_unit_column("unit_name", "not unique")
    file.add_unit_column("quality", "q")
    file.add_unit_column("spike_amplitudes", "ragged", index=True)
    for i, times in enumerate(([0.5, 1.5, 4.5], [0.25], [])):
        file.add_unit(
            id=10 + i,
            spike_times=np.array(times),
            obs_intervals=np.array([[0.0, 2.0], [4.0, 5.0 + i]]),
            unit_name="same",
            quality="good" if i else "noise",
            spike_amplitudes=[1.0] * (i + 1),
            electrodes=[0, 1],
            electrode_group=group,
            waveform_mean=np.zeros((4, 2)),
        )
    module = file.create_processing_module("behavior", "b")
    position = Position()
    position.create_spatial_series(
        name="head",
        data=np.array([[0, 1], [2, 3], [4, 5]]),
        timestamps=np.array([0.0, 0.5, 1.0]),
        reference_frame="corner",
        conversion=0.01,
        unit="meters",
    )
    module.add(position)
    module.add(
        pynwb.TimeSeries(
            name="pupil", data=np.arange(4.0), rate=10.0, starting_time=0.05, unit="px"
        )
    )
    module.add(
        pynwb.TimeSeries(
            name="pupil_again",
            data=np.arange(3.0),
            timestamps=position.spatial_series["head"],
            unit="px",
        )
    )
    file.add_trial_column("choice", "c")
    file.add_trial(start_time=0.0, stop_time=1.0, choice="left")
    file.add_epoch(0.0, 2.0, tags=["run"])
    with pynwb.NWBHDF5IO(path, "w") as writer:
        writer.write(file)
    return path


def test_a_file_of_others_is_understood(tmp_path):
    path = foreign(tmp_path / "a.nwb")
    trains = io.read_spike_trains(path)
    assert trains.labels.tolist() == [10, 11, 12]
    assert set(trains.annotations) == {"unit_name", "quality"}
    assert trains.intervals.tolist() == [[0, 2], [4, 5]]
    counts = io.read_spikes(path, 0.5, quality="good")
    assert counts.neuron.values.tolist() == [11, 12]
    counts = io.read_spikes(path, 0.5)
    assert counts.session.values.tolist() == ["0"] * 4 + ["1"] * 2
    assert counts.sel(neuron=10).values.tolist() == [0, 1, 0, 1, 0, 1]
    assert io.read_spikes(path, 0.5, include=12).sizes["time"] == 10


def test_behaviour_of_others_is_read_one_clock_at_a_time(tmp_path):
    path = foreign(tmp_path / "a.nwb")
    with pytest.raises(InvalidInputError, match=r"2 different clocks.*align") as caught:
        io.read_behaviour(path)
    assert "names=['head', 'pupil_again']" in str(caught.value)
    behaviour = io.read_behaviour(path, ["head", "pupil_again", "choice"])
    np.testing.assert_allclose(
        behaviour["head"], [[0, 0.01], [0.02, 0.03], [0.04, 0.05]]
    )
    assert behaviour["head"].dims == ("time", "space")
    assert behaviour.choice.values.tolist() == ["left"]
    pupil = io.read_behaviour(path, "pupil").pupil
    np.testing.assert_allclose(pupil.time, [0.05, 0.15, 0.25, 0.35])
    epochs = io.read_behaviour(path, ["start_time", "stop_time"], intervals="epochs")
    assert epochs.stop_time.values.tolist() == [2.0]


def test_acquired_signals_are_read_where_there_is_no_behaviour_but_no_voltages(
    tmp_path,
):
    file = pynwb.NWBFile(**SESSION)
    device = file.create_device("probe")
    group = file.create_electrode_group("shank", "d", "CA1", device)
    file.add_electrode(location="CA1", group=group)
    region = file.create_electrode_table_region([0], "all")
    raw = {"data": np.ones((5, 1)), "rate": 10.0, "starting_time": 0.0}
    file.add_acquisition(
        pynwb.ecephys.ElectricalSeries(name="raw", electrodes=region, **raw)
    )
    file.add_acquisition(pynwb.TimeSeries(name="lever", unit="V", **raw))
    with pynwb.NWBHDF5IO(tmp_path / "a.nwb", "w") as writer:
        writer.write(file)
    behaviour = io.read_behaviour(tmp_path / "a.nwb")
    assert list(behaviour.data_vars) == ["lever"]
    assert behaviour.lever.dims == ("time",)


def test_what_is_no_nwb_file_is_told_apart(tmp_path):
    with h5py.File(tmp_path / "a.nwb", "w") as file:
        file["x"] = 1
    with pytest.raises(DataFormatError, match="HDF5 that is no NWB file"):
        io.read_spikes(tmp_path / "a.nwb", 0.1)
    (tmp_path / "b.nwb").write_bytes(b"not at all")
    with pytest.raises(DataFormatError, match="no HDF5 signature"):
        io.read_spikes(tmp_path / "b.nwb", 0.1)
    with h5py.File(tmp_path / "c.nwb", "w") as file:
        file.attrs["nwb_version"] = "NWB-1.0.6"
    with pytest.raises(DataFormatError, match=r"the NWB version 'NWB-1.0.6'"):
        io.read_spikes(tmp_path / "c.nwb", 0.1)
    with h5py.File(tmp_path / "d.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.5.0"
    with pytest.raises(DataFormatError, match=r"Has it been spike-sorted\?"):
        io.read_spikes(tmp_path / "d.nwb", 0.1)


def test_seconds_are_seconds(tmp_path):
    io.write_nwb(tmp_path / "a.nwb", small(), **SESSION)
    with pytest.raises(InvalidInputError, match="the times in an NWB file are in sec"):
        io.read_spikes(tmp_path / "a.nwb", 0.1, time_unit="ms")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u: u["spike_times_index"].write_direct(np.array([5, 4, 9, 9], "u1")),
         "does not cut its 9 entries"),
        (lambda u: u["spike_times_index"].write_direct(np.array([4, 6, 6, 8], "u1")),
         "does not cut its 9 entries"),
        (lambda u: u.__delitem__("spike_times_index"), "no array at units/spike_time"),
    ],
)  # fmt: skip
def test_an_index_that_does_not_fit_is_told(change, message, tmp_path):
    io.write_nwb(tmp_path / "a.nwb", small(), **SESSION)
    with h5py.File(tmp_path / "a.nwb", "a") as file:
        change(file["units"])
    with pytest.raises(DataFormatError, match=message):
        io.read_spikes(tmp_path / "a.nwb", 0.1)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"path": "a.h5"}, r"a file name that ends in .nwb"),
        ({"spikes": None}, "something to write"),
        ({"path": "none/a.nwb"}, r"Create it first"),
        ({"behaviour": xr.Dataset({"a": ("level", [1])})}, "neither time nor trial"),
        ({"behaviour": xr.Dataset({"a": ("trial", [1])})}, "trials without start_time"),
        (
            {"behaviour": xr.Dataset({"a": ("time", ["x"])}, {"time": [0.0]})},
            "Give each category a number",
        ),
        (
            {
                "spikes": SpikeTrains.from_units(
                    [[0.1]], annotations={"electrodes": np.ones(1)}
                )
            },
            "under a name that NWB leaves free",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(keywords, message, tmp_path):
    arguments = {"path": "a.nwb", "spikes": small(), **keywords}
    path = tmp_path / arguments.pop("path")
    with pytest.raises(InvalidInputError, match=message):
        io.write_nwb(path, **arguments, **SESSION)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = io.write_nwb(tmp_path / "a.nwb", small(), **SESSION)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("shutil.copyfileobj", fail)
    with pytest.raises(OSError, match="disk full"):
        io.write_nwb(path, small().exclude(4), **SESSION)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_date_without_a_zone_is_universal(tmp_path):
    session = {**SESSION, "session_start_time": datetime(2026, 1, 2)}
    path = io.write_nwb(tmp_path / "a.nwb", small(), **session)
    with pynwb.NWBHDF5IO(path, "r") as file:
        assert file.read().session_start_time == datetime(2026, 1, 2, tzinfo=UTC)


def test_pynwb_reads_what_we_write(tmp_path):
    path = io.write_nwb(tmp_path / "a.nwb", small(), **SESSION)
    assert pynwb.validate(path=str(path)) == []
    with pynwb.NWBHDF5IO(path, "r") as file:
        units = file.read().units.to_dataframe()
        assert units.index.tolist() == [4, 7, 9, 12]
        assert units.spike_times[7].tolist() == [0.6, 1.799]


def test_limits_and_observed_intervals_come_back_as_their_intersection(tmp_path):
    times = np.arange(0.5, 100)
    observed = (np.array([[0.0, 100.0]]), np.array([[0.0, 12.0], [15.0, 100.0]]))
    trains = SpikeTrains.from_units([times, []], observed=observed).crop(10.0, 20.0)
    io.write_nwb(tmp_path / "a.nwb", trains, **SESSION)
    back = io.read_spike_trains(tmp_path / "a.nwb")
    assert back.intervals.tolist() == [[10.0, 12.0], [15.0, 20.0]]
    assert back.observed[0].tolist() == [[10.0, 20.0]]


@pytest.mark.parametrize("limits", [{"start": 0.0}, {"stop": 9.0}])
def test_a_single_limit_comes_back(limits, tmp_path):
    trains = SpikeTrains.from_units([[2.5, 3.0]], **limits)
    io.write_nwb(tmp_path / "a.nwb", trains, **SESSION)
    back = io.read_spike_trains(tmp_path / "a.nwb")
    assert back.equals(trains)
    assert (back.start, back.stop) == (trains.start, trains.stop)
