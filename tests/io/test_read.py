"""Every format gives the same recording; every mistake gives its remedy."""

import numpy as np
import pytest
import xarray as xr

from neuromod import io
from neuromod.core.errors import DataFormatError, InvalidInputError
from tests.io import written
from tests.shared import shared

RECORDINGS = {
    "wmaze": "data/spikes/rat_ca1_wmaze_run_rest.npz",
    "linear": "data/spikes/rat_ca1_linear_track_run_rest.npz",
}
# Labels that the format renames (u4 instead of 4).
RENAMED = (written.mat_struct_array,)


def same_counts(read: xr.DataArray, expected: xr.DataArray, write) -> None:
    if write in written.FORGETFUL:
        expected = expected.isel(neuron=expected.any("time").values)
    labels = expected.neuron.values
    if write in RENAMED:
        labels = np.array([f"u{label}" for label in labels])
    np.testing.assert_array_equal(read.neuron.values, labels)
    np.testing.assert_array_equal(read.values, expected.values)
    np.testing.assert_allclose(read.time.values, expected.time.values, atol=2e-9)
    assert read.dtype == expected.dtype
    assert read.attrs["bin_size"] == expected.attrs["bin_size"]


@pytest.mark.parametrize("write", written.FORMATS, ids=lambda w: w.__name__)
def test_every_format_gives_the_same_counts(write, tmp_path):
    trains = written.small()
    source, keywords = write(tmp_path, trains)
    expected = trains.bin(0.3)
    assert expected.values.tolist() == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [1, 0, 0, 0],
        [1, 0, 0, 1],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 1],
    ]
    same_counts(io.read_spikes(source, 0.3, **keywords), expected, write)


@pytest.mark.parametrize("write", written.FORMATS, ids=lambda w: w.__name__)
@pytest.mark.parametrize("recording", RECORDINGS)
def test_every_format_gives_the_shared_recordings(recording, write, tmp_path):
    trains = io.read_spike_trains(shared(RECORDINGS[recording]))
    if recording == "wmaze":
        trains = trains.exclude(19)
    source, keywords = write(tmp_path, trains)
    counts = io.read_spikes(source, 0.02, **keywords)
    same_counts(counts, trains.bin(0.02), write)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_shared_recording_loses_only_spikes_outside_full_bins(recording):
    path = shared(RECORDINGS[recording])
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    ticks = arrays["spike_tick"].astype(np.int64)
    start, stop = (int(arrays[f"record_{k}_tick"]) for k in ("start", "stop"))
    n_bins = (stop - start) // 15_000
    last = start + n_bins * 15_000
    inside = ticks < last
    expected = np.bincount(
        arrays["spike_unit"][inside], minlength=len(arrays["unit_n_spikes"])
    )
    counts = io.read_spikes(path, 0.5)
    np.testing.assert_array_equal(counts.sum("time"), expected)
    assert counts.sizes["time"] == n_bins
    assert counts.attrs["n_spikes_outside"] == int((~inside).sum())
    assert counts.attrs["dropped_duration"] == pytest.approx((stop - last) / 30_000)
    assert counts.attrs["start"] == start / 30_000
    np.testing.assert_array_equal(counts.tetrode, arrays["unit_tetrode"])
    # An independent rule for one bin in the middle.
    k = n_bins // 2
    there = (ticks >= start + k * 15_000) & (ticks < start + (k + 1) * 15_000)
    np.testing.assert_array_equal(
        counts[k], np.bincount(arrays["spike_unit"][there], minlength=len(expected))
    )


@pytest.mark.parametrize("label", [19, "19", 19.0, [19], np.int8(19), np.array(19)])
def test_exclude_matches_numbers_and_text(label):
    counts = io.read_spikes(shared(RECORDINGS["wmaze"]), 1.0, exclude=label)
    assert 19 not in counts.neuron.values
    assert counts.sizes["neuron"] == 24
    assert counts.attrs["excluded"] == "19"


def test_decoding_set_is_read_as_the_counts_it_holds():
    path = shared("data/decoding/ca1_wmaze_250ms.npz")
    counts = io.read_spikes(path)
    with np.load(path) as file:
        np.testing.assert_array_equal(counts.values, file["counts"])
        np.testing.assert_array_equal(counts.neuron, file["source_unit"])
        np.testing.assert_allclose(counts.time, file["bin_end_s"] - 0.125)
    assert counts.attrs["bin_size"] == 0.25
    assert set(counts.session.values) == {"0", "1"}
    wide = io.read_spikes(path, 1.0)
    first = counts.isel(time=counts.session == "0")
    n_bins = first.sizes["time"] // 4
    summed = first.values[: 4 * n_bins].reshape(n_bins, 4, -1).sum(1)
    np.testing.assert_array_equal(wide.values[:n_bins], summed)
    assert io.read_spike_trains(path).n_spikes.sum() == 35808


def test_the_small_sessions_of_the_decoding_set_agree_with_its_spike_times():
    path = shared("data/decoding/ca1_linear_250ms.npz")
    ready = io.read_spikes(path)
    binned = io.read_spike_trains(path).bin(0.25, start=9.0, stop=979.0)
    np.testing.assert_array_equal(ready.values, binned.values)
    np.testing.assert_allclose(ready.time, binned.time)


def test_include_keeps_the_given_order():
    counts = io.read_spikes(written.small(), 0.3, include=["12", 4])
    assert counts.neuron.values.tolist() == [12, 4]
    assert counts.sum("time").values.tolist() == [2, 4]


def test_start_and_stop_crop_and_count_what_is_outside():
    counts = io.read_spikes(written.small(), 0.3, start=0.6, stop=1.5)
    assert counts.values.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1]]
    assert counts.attrs["n_spikes_outside"] == 5
    assert counts.attrs["start"] == 0.6


def test_the_limits_of_the_user_win_over_those_of_the_source():
    late = {"spike_times": [0.1, 5.0], "spike_units": [0, 0], "record_stop": 1.0}
    with pytest.raises(InvalidInputError, match=r"Two clocks.*start= and stop="):
        io.read_spikes(late, 0.1)
    counts = io.read_spikes(late, 0.1, start=0.0, stop=1.0)
    assert counts.attrs["n_spikes_outside"] == 1


def test_counts_can_be_chosen_from_and_cropped():
    ready = io.read_spikes(written.small(), 0.3)
    chosen = io.read_spikes(ready, exclude="9", start=0.6, stop=1.5)
    assert chosen.neuron.values.tolist() == [4, 7, 12]
    assert chosen.values.tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 1]]
    with pytest.raises(InvalidInputError, match="bins that are left"):
        io.read_spikes(ready, start=100.0)
    with pytest.raises(InvalidInputError, match=r"epochs: got .* no spike times"):
        io.read_spikes(ready, epochs=[(0, 1)])


def test_quality_selects():
    counts = io.read_spikes(written.small(), 0.3, quality="good")
    assert counts.neuron.values.tolist() == [4, 7, 12]
    assert counts.attrs["quality"] == "good: 3 of 4 units"
    assert io.read_spikes(written.small(), 0.3, quality="all").sizes["neuron"] == 4
    with pytest.raises(InvalidInputError, match="There are: 'good', 'mua'"):
        io.read_spikes(written.small(), 0.3, quality="noise")


def test_time_unit_scales():
    in_ms = {"a": [100.0, 250.0]}
    counts = io.read_spikes(in_ms, 0.1, time_unit="ms", start=0.0, stop=0.3)
    assert counts.values.ravel().tolist() == [0, 1, 1]
    whole = {"a": np.array([100_000, 250_000], dtype=np.uint32)}
    exact = io.read_spike_trains(whole, time_unit="us")
    assert exact.ticks.tolist() == [100_000_000, 250_000_000]
    assert exact.times.tolist() == [0.1, 0.25]


MISTAKES = {
    "no bin size": (
        lambda: io.read_spikes(written.small()),
        InvalidInputError,
        "bin_size: got none.*Say bin_size=0.02",
    ),
    "bin size 0": (
        lambda: io.read_spikes(written.small(), 0.0),
        InvalidInputError,
        "bin_size: got 0.0, expected a number > 0 s",
    ),
    "bin size < 0": (
        lambda: io.read_spikes(written.small(), -1),
        InvalidInputError,
        "bin_size: got -1, expected a number > 0 s",
    ),
    "bin size > recording": (
        lambda: io.read_spikes(written.small(), 20.0),
        InvalidInputError,
        r"got 20 s for a stretch of 2.75 s.*Is bin_size in seconds\?",
    ),
    "bin size < tick": (
        lambda: io.read_spikes(written.small(), 1e-6),
        InvalidInputError,
        "at least a tick of the clock, 0.001 s",
    ),
    "too many bins": (
        lambda: io.read_spikes({"a": [0.0, 1e6]}, 1e-5),
        InvalidInputError,
        "Take larger bins",
    ),
    "unknown unit": (
        lambda: io.read_spikes({"CA1-1": [0.1], "CA3-2": [0.2]}, 0.1, exclude="CA11"),
        InvalidInputError,
        "exclude: got the unit 'CA11', which does not exist.*Did you mean 'CA1-1'",
    ),
    "unknown number": (
        lambda: io.read_spikes(written.small(), 0.1, include=99),
        InvalidInputError,
        "include: got the unit '99', which does not exist.*Did you mean '9'",
    ),
    "all left out": (
        lambda: io.read_spikes({"a": [0.1]}, 0.1, exclude="a"),
        InvalidInputError,
        "exclude: got every unit",
    ),
    "NaN time": (
        lambda: io.read_spikes({"a": [0.1, np.nan]}, 0.1),
        InvalidInputError,
        "spike times of 'a': got 1 values that are not finite.*Drop them",
    ),
    "unsorted": (
        lambda: io.read_spikes({"a": [1.0, 2.0, 0.5]}, 0.1),
        InvalidInputError,
        "2 s followed by 0.5 s in unit 'a'.*several sessions.*sort=True",
    ),
    "duplicated": (
        lambda: io.read_spikes({"1": [0.1], 1: [0.2]}, 0.1),
        InvalidInputError,
        "the label.s. '1' twice.*Rename them",
    ),
    "negative counts": (
        lambda: io.read_spikes(counts([[-1, 0]])),
        InvalidInputError,
        "negative count -1.*Pass the raw counts",
    ),
    "fractional counts": (
        lambda: io.read_spikes(counts([[0.5, 0]])),
        InvalidInputError,
        "fractional count 0.5.*bin_spikes",
    ),
    "NaN counts": (
        lambda: io.read_spikes(counts([[np.nan, 0]])),
        InvalidInputError,
        "1 values that are not finite",
    ),
    "whole seconds or samples": (
        lambda: io.read_spikes({"a": np.array([1, 2])}, 0.1),
        InvalidInputError,
        "may be samples or seconds.*Say sample_rate=30000",
    ),
    "samples kept as doubles": (
        lambda: io.read_spikes({"a": np.arange(20.0) * 30}, 0.1),
        InvalidInputError,
        "may be samples or seconds",
    ),
    "fractional samples": (
        lambda: io.read_spikes({"a": [0.5]}, 0.1, sample_rate=10.0),
        InvalidInputError,
        "the fraction 0.5.*Leave out sample_rate",
    ),
    "two units of time": (
        lambda: io.read_spikes({"a": [1]}, 0.1, sample_rate=10.0, time_unit="s"),
        InvalidInputError,
        "one of the two",
    ),
    "too large": (
        lambda: io.read_spikes({"a": [1e12]}, 0.1),
        InvalidInputError,
        "In which unit are they",
    ),
    "nothing in it": (
        lambda: io.read_spikes({"a": []}, 0.1),
        InvalidInputError,
        "no spike and no limits.*Say start= and stop=",
    ),
    "no units": (
        lambda: io.read_spikes({}, 0.1),
        InvalidInputError,
        "no spike and no limits",
    ),
    "what is this": (
        lambda: io.read_spikes(3.0, 0.1),
        InvalidInputError,
        "spike_times: got float, expected a path",
    ),
    "array of rank 2": (
        lambda: io.read_spikes(np.ones((3, 2)), 0.1),
        InvalidInputError,
        "If these are counts, name their dimensions",
    ),
}


def counts(values) -> xr.DataArray:
    return xr.DataArray(values, dims=("time", "neuron"), attrs={"bin_size": 0.1})


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_remedy(mistake):
    call, kind, message = MISTAKES[mistake]
    with pytest.raises(kind, match=message):
        call()


def test_a_missing_file_is_named_with_the_nearest_there_is(tmp_path):
    (tmp_path / "session.npz").write_bytes(b"x")
    with pytest.raises(InvalidInputError, match=r"sesion.npz'.*Did you mean 'session"):
        io.read_spikes(tmp_path / "sesion.npz", 0.1)
    with pytest.raises(InvalidInputError, match=r"The folder '.*none' does not exist"):
        io.read_spikes(tmp_path / "none" / "a.npz", 0.1)
    with pytest.raises(InvalidInputError, match="does not exist"):
        io.read_spikes("a\0b.npz", 0.1)


def test_an_empty_file_is_called_empty(tmp_path):
    for suffix in (".npz", ".nwb", ".csv", ".mat", ".parquet", ".npy"):
        path = tmp_path / f"empty{suffix}"
        path.touch()
        with pytest.raises(DataFormatError, match=r"empty file.*copied or written"):
            io.read_spikes(path, 0.1)


def test_an_unknown_suffix_gets_the_nearest(tmp_path):
    path = tmp_path / "spikes.cvs"
    path.write_text("time,unit\n0.1,1\n")
    with pytest.raises(DataFormatError, match=r"unknown suffix '.cvs'.*'.csv'"):
        io.read_spikes(path, 0.1)


def test_an_unknown_suffix_is_forgiven_if_the_content_is_known(tmp_path):
    for write in (written.npz_seconds, written.nwb, written.mat_cells):
        path, keywords = write(tmp_path, written.small())
        other = path.rename(path.with_suffix(".backup"))
        counts = io.read_spikes(other, 0.3, **keywords)
        assert int(counts.sum()) == 8


def test_a_wrong_folder_is_told_what_lies_in_it(tmp_path):
    with pytest.raises(InvalidInputError, match=r"without spike_times.npy.*Pass the"):
        io.read_spikes(tmp_path, 0.1)
    written.phy(tmp_path, written.small())
    written.csv(tmp_path, written.small())
    with pytest.raises(InvalidInputError, match=r"long.csv', '.*phy': pass that path"):
        io.read_spikes(tmp_path, 0.1)


def test_only_counts_are_no_spike_trains():
    with pytest.raises(InvalidInputError, match=r"only counts.*read_spikes"):
        io.read_spike_trains(counts([[1, 0]]))


def test_npy_of_one_unit(tmp_path):
    np.save(tmp_path / "unit.npy", [0.1, 0.35])
    trains = io.read_spike_trains(tmp_path / "unit.npy")
    assert trains.times.tolist() == [0.1, 0.35]
    assert trains.source.endswith("unit.npy")


@pytest.mark.parametrize("start", ["5", float("inf"), [1.0, 2.0], True])
def test_limits_are_numbers(start):
    with pytest.raises(InvalidInputError, match=r"start: got .*expected a time in sec"):
        io.read_spikes({"a": [0.1, 0.25]}, 0.1, start=start)
