"""Behaviour from every source, on its own clock."""

import numpy as np
import pandas
import pytest
from scipy.io import savemat

from neuromod import io
from neuromod.core.errors import DataFormatError, InvalidInputError
from tests.io.written import small
from tests.shared import shared

SAMPLES = {
    "time": np.array([0.0, 0.04, 0.08, 0.12]),
    "pos_x_px": np.array([1.0, 2.0, 3.0, 4.0]),
    "pos_y_px": np.array([5.0, 6.0, 7.0, np.nan]),
    "speed_cm_s": np.array([0.5, 1.5, 2.5, 3.5]),
    "phase": np.array(["run", "run", "rest", "rest"]),
}


def as_csv(folder):
    pandas.DataFrame(SAMPLES).to_csv(folder / "a.csv", index=False)
    return folder / "a.csv"


def as_parquet(folder):
    pandas.DataFrame(SAMPLES).to_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def as_npz(folder):
    np.savez(folder / "a.npz", **SAMPLES)
    return folder / "a.npz"


def as_mat(folder):
    savemat(folder / "a.mat", SAMPLES, oned_as="column")
    return folder / "a.mat"


def as_dict(folder):
    return {name: values.tolist() for name, values in SAMPLES.items()}


def as_frame(folder):
    return pandas.DataFrame(SAMPLES)


@pytest.mark.parametrize(
    "write", [as_csv, as_parquet, as_npz, as_mat, as_dict, as_frame]
)
def test_every_source_gives_the_same_behaviour(write, tmp_path):
    behaviour = io.read_behaviour(write(tmp_path))
    assert set(behaviour.data_vars) == {"position", "speed", "phase"}
    assert behaviour.position.dims == ("time", "space")
    assert behaviour.space.values.tolist() == ["x", "y"]
    assert behaviour.position.attrs["units"] == "px"
    assert behaviour.speed.attrs["units"] == "cm/s"
    np.testing.assert_array_equal(behaviour.time, SAMPLES["time"])
    np.testing.assert_array_equal(behaviour.position[:, 1], SAMPLES["pos_y_px"])
    np.testing.assert_array_equal(behaviour.speed, SAMPLES["speed_cm_s"])
    assert behaviour.phase.values.tolist() == ["run", "run", "rest", "rest"]
    assert behaviour.time.attrs["units"] == "s"


@pytest.mark.parametrize(
    ("recording", "before", "after"),
    [("wmaze", 59.0, 0.0), ("linear_track", 0.0, 14.0)],
)
def test_shared_position_is_cropped_to_the_recording(recording, before, after):
    path = shared(f"data/spikes/rat_ca1_{recording}_run_rest.npz")
    with np.load(path) as file:
        ticks = file["pos_tick"].astype(np.int64)
        x = file["pos_x_px"]
        start, stop = int(file["record_start_tick"]), int(file["record_stop_tick"])
    everything = io.read_behaviour(path)
    np.testing.assert_array_equal(everything.time, ticks / 30_000)
    np.testing.assert_array_equal(everything.position.sel(space="x"), x)
    inside = (ticks >= start) & (ticks <= stop)
    assert (start - ticks[0]) / 30_000 == pytest.approx(before, abs=0.5)
    assert (ticks[-1] - stop) / 30_000 == pytest.approx(after, abs=0.5)
    cropped = io.read_behaviour(path, crop=True)
    assert cropped.sizes["time"] == int(inside.sum())
    assert "spike_tick" in cropped.attrs["left_out"]
    trains = io.read_spike_trains(path)
    assert cropped.equals(io.read_behaviour(path, crop=trains))
    counts = io.read_spikes(path, 0.02, exclude=23)
    by_counts = io.read_behaviour(path, crop=counts)
    assert by_counts.time.max() <= counts.attrs["stop"]


def test_decoding_set_keeps_its_clock_at_the_ends_of_bins():
    path = shared("data/decoding/ca1_linear_250ms.npz")
    behaviour = io.read_behaviour(path, ["position", "speed", "moving"])
    with np.load(path) as file:
        np.testing.assert_array_equal(behaviour.time, file["bin_end_s"])
        np.testing.assert_array_equal(behaviour.position, file["position_px"])
        np.testing.assert_array_equal(behaviour.moving, file["moving"])
    assert behaviour.speed.attrs["units"] == "px/s"


def test_trials_are_tables_of_their_own(tmp_path):
    table = pandas.DataFrame(
        {"trial": [1, 2], "start_time": [0.5, 2.5], "choice": ["left", "right"]}
    )
    table.to_csv(tmp_path / "trials.csv", index=False)
    trials = io.read_behaviour(tmp_path / "trials.csv")
    assert trials.sizes == {"trial": 2}
    assert trials.trial.values.tolist() == [1, 2]
    assert trials.choice.values.tolist() == ["left", "right"]
    assert trials.start_time.attrs["units"] == "s"


def test_pynapple_signals_are_read():
    nap = pytest.importorskip("pynapple")
    time = np.array([0.0, 0.1, 0.2])
    frame = nap.TsdFrame(t=time, d=np.arange(6.0).reshape(3, 2), columns=["x", "y"])
    behaviour = io.read_behaviour(frame)
    assert behaviour.position.values.tolist() == [[0, 1], [2, 3], [4, 5]]
    single = io.read_behaviour(nap.Tsd(t=time, d=time + 1.5))
    assert single["value"].values.tolist() == [1.5, 1.6, 1.7]
    with pytest.raises(InvalidInputError, match="a pynapple Tsd or TsdFrame"):
        io.read_behaviour(nap.Ts(t=time))


def test_repeated_times_keep_their_first_sample():
    behaviour = io.read_behaviour({"time": [0.0, 0.5, 0.5, 1.0], "x": [1, 2, 3, 4]})
    assert behaviour.position.values.ravel().tolist() == [1, 2, 4]
    assert behaviour.attrs["n_repeated_times"] == 1


def test_samples_of_a_clock_are_scaled():
    ticks = np.array([30_000, 60_000], dtype=np.uint32)
    for source, keywords in (
        ({"pos_tick": ticks, "tick_rate_hz": 30_000, "x": [1, 2]}, {}),
        ({"time": ticks, "x": [1, 2]}, {"sample_rate": 30_000}),
        ({"time": ticks / 30, "x": [1, 2]}, {"time_unit": "ms"}),
    ):
        behaviour = io.read_behaviour(source, **keywords)
        assert behaviour.time.values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("source", "keywords", "message"),
    [
        ({"time": [0.0, 1.0, 0.5], "x": [1, 2, 3]}, {}, r"1 s followed by 0.5 s.*sort"),
        ({"time": [0.0, np.nan], "x": [1, 2]}, {}, "not finite"),
        ({"time": np.array([1, 2]), "x": [1, 2]}, {}, "samples or seconds"),
        ({"speed": [1.0, 2.0]}, {}, "nothing along time or trials"),
        ({"time": [0.1, 0.2]}, {}, "nothing along time or trials"),
        ({"time": [0.1], "a": [1]}, {"names": "b"}, "Known names: 'a'"),
        ({"time": [0.1], "a": [1]}, {"crop": True}, r"Say crop=\(start, stop\)"),
        ({"time": [0.1], "a": [1]}, {"crop": (5, 6)}, r"Are they on two clocks\?"),
        ({"time": [0.1], "a": [1]}, {"crop": (6, 5)}, r"True, \(start, stop\) in s"),
        (3.0, {}, "a path, a pynapple Tsd"),
    ],
)
def test_mistakes_are_told(source, keywords, message):
    with pytest.raises(InvalidInputError, match=message):
        io.read_behaviour(source, **keywords)


def test_crop_takes_limits():
    source = {"time": [0.0, 0.5, 1.0, 5.0], "x": [1, 2, 3, 4]}
    assert io.read_behaviour(source, crop=(0.2, 1.0)).sizes["time"] == 2
    assert io.read_behaviour(source, crop=small()).sizes["time"] == 2


def test_formats_without_behaviour_say_so(tmp_path):
    np.save(tmp_path / "a.npy", [1.0])
    with pytest.raises(DataFormatError, match="a file that can hold behaviour"):
        io.read_behaviour(tmp_path / "a.npy")


def test_arrays_of_channels_and_left_out():
    behaviour = io.read_behaviour(
        {"time": [0.1, 0.2], "gyro": np.ones((2, 3)), "xy": np.ones((2, 2)), "n": 3}
    )
    assert behaviour.gyro.dims == ("time", "channel")
    assert behaviour.xy.dims == ("time", "space")
    assert behaviour.attrs["left_out"] == "n"


def test_crop_takes_the_limits_of_the_bins_that_are_left():
    counts = io.read_spikes({"a": np.arange(0.5, 100)}, 1.0, start=0, stop=100)
    behaviour = {"time": np.arange(0.25, 100, 0.5), "x": np.arange(200.0)}
    cropped = io.read_behaviour(behaviour, crop=counts.sel(time=slice(10, 20)))
    assert cropped.time.values[[0, -1]].tolist() == [10.25, 19.75]
