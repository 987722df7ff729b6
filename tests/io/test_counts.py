"""Counts that were binned elsewhere are held to the same rules."""

import numpy as np
import pytest
import xarray as xr

from neuromod import io
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.io.counts import as_counts


def ready(n_bins: int = 7, **attrs) -> xr.DataArray:
    values = np.arange(2 * n_bins).reshape(n_bins, 2)
    time = 10.05 + 0.1 * np.arange(n_bins)
    return xr.DataArray(
        values, {"time": time, "neuron": ["a", "b"]}, ("time", "neuron"), attrs=attrs
    )


def test_counts_pass_through_with_their_coordinates_and_attributes():
    given = ready(origin="elsewhere").assign_coords(depth=("neuron", [1.0, 2.0]))
    counts = io.read_spikes(given.transpose("neuron", "time"))
    assert counts.dims == ("time", "neuron")
    assert counts.dtype == np.uint8
    np.testing.assert_array_equal(counts.values, given.values)
    assert counts.depth.values.tolist() == [1.0, 2.0]
    assert counts.attrs["origin"] == "elsewhere"
    assert counts.attrs["bin_size"] == pytest.approx(0.1)


def test_wider_bins_are_sums_within_sessions():
    given = ready().assign_coords(session=("time", list("xxxxyyy")))
    wide = io.read_spikes(given, 0.3)
    assert wide.values.tolist() == [[6, 9], [30, 33]]
    np.testing.assert_allclose(wide.time, [10.15, 10.55])
    assert wide.session.values.tolist() == ["x", "y"]
    assert wide.attrs["n_spikes_outside"] == 13
    assert wide.attrs["bin_size"] == 0.3


def test_sums_outgrow_their_type():
    given = xr.DataArray(
        np.full((4, 1), 200, np.uint8), dims=("time", "neuron"), attrs={"bin_size": 1.0}
    )
    wide = io.read_spikes(given, 2.0)
    assert wide.dtype == np.uint16
    assert wide.values.ravel().tolist() == [400, 400]


@pytest.mark.parametrize(
    ("bin_size", "message"),
    [
        (0.25, r"whole multiple of 0.1 s.*read_spike_trains\(...\).bin"),
        (0.05, "whole multiple of 0.1 s"),
        (5.0, "less than the recording is long"),
        (-0.1, "a number > 0 s"),
    ],
)
def test_other_bins_are_refused(bin_size, message):
    with pytest.raises(InvalidInputError, match=message):
        io.read_spikes(ready(), bin_size)


@pytest.mark.parametrize(
    ("keywords", "kind", "message"),
    [
        ({"values": np.ones(3)}, ShapeError, r"\(time, neuron\)"),
        ({"values": np.array([["a"]])}, InvalidInputError, "spike counts"),
        ({"labels": ["a", "a"]}, InvalidInputError, "'a' twice"),
        ({"labels": ["a"]}, ShapeError, "1 labels for 2 neurons"),
        ({"time": [0.0, 0.1]}, ShapeError, "2 times for 3 bins"),
        ({"time": [0.0, 0.1, 0.5]}, InvalidInputError, "expected a regular grid"),
        ({"time": [0.0, 0.2, 0.1]}, InvalidInputError, "times that ascend"),
        ({"time": [0.0, 0.2, 0.4]}, InvalidInputError, "the bin size of 0.1 s"),
        ({"bin_size": None}, InvalidInputError, "the width of the bins"),
        ({"bin_size": 0}, InvalidInputError, "a number > 0 s"),
        ({"boundaries": {"session": np.zeros(2)}}, ShapeError, "2 labels for 3 bins"),
    ],
)
def test_what_is_no_count_is_refused(keywords, kind, message):
    sound = {"values": np.ones((3, 2)), "bin_size": 0.1}
    with pytest.raises(kind, match=message):
        as_counts(**{**sound, **keywords})


def test_a_single_bin_needs_its_width():
    with pytest.raises(InvalidInputError, match=r"a single bin.*Say bin_size="):
        as_counts(np.ones((1, 2)), time=[0.5])
    assert as_counts(np.ones((1, 2)), time=[0.5], bin_size=0.1).sizes["time"] == 1


def test_the_given_bin_size_serves_where_the_source_states_none(tmp_path):
    array = xr.DataArray(np.ones((4, 2), int), dims=("time", "neuron"))
    np.savez(tmp_path / "x.npz", counts=array.values)
    for source in (array, tmp_path / "x.npz"):
        counts = io.read_spikes(source, 0.02)
        assert counts.attrs["bin_size"] == 0.02
        np.testing.assert_allclose(counts.time, [0.01, 0.03, 0.05, 0.07])
    assert io.read_spikes(ready(), 0.2).sizes["time"] == 3  # its time states 0.1 s
    with pytest.raises(InvalidInputError, match="got none, expected the width"):
        io.read_spikes(array)


def test_limits_are_those_of_the_bins_that_are_left():
    counts = io.read_spikes({"a": np.arange(0.5, 100)}, 1.0, start=0, stop=100.5)
    part = io.read_spikes(counts, start=10, stop=20)
    assert (part.attrs["start"], part.attrs["stop"]) == (10.0, 20.0)
    assert part.attrs["n_spikes_outside"] == 90
    wide = io.read_spikes(counts.assign_attrs(n_spikes_outside=5), 3.0)
    assert (wide.attrs["start"], wide.attrs["stop"]) == (0.0, 99.0)
    assert wide.attrs["n_spikes_outside"] == 6
    assert wide.attrs["dropped_duration"] == pytest.approx(1.5)
    stale = io.read_spikes(counts.sel(time=slice(30, 40)))
    assert (stale.attrs["start"], stale.attrs["stop"]) == (30.0, 40.0)
