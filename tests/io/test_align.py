"""Alignment is by a rule and a tolerance, and says what it could not find."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from neuromod import io
from neuromod.core.errors import InvalidInputError
from tests.io.written import small
from tests.shared import shared


def signal(time, values) -> xr.DataArray:
    return xr.DataArray(values, {"time": time}, "time", "speed", {"units": "cm/s"})


RAMP = signal([0.0, 1.0, 2.0, 3.0], [0.0, 10.0, 20.0, 30.0])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("nearest", [0.0, 0.0, 10.0, 10.0, 20.0, 30.0]),
        ("linear", [0.0, 4.0, 6.0, 10.0, 19.0, 30.0]),
        ("previous", [0.0, 0.0, 0.0, 10.0, 10.0, 30.0]),
    ],
)
def test_methods_differ_as_they_say(method, expected):
    wanted = np.array([0.0, 0.4, 0.6, 1.0, 1.9, 3.0])
    aligned = io.align(RAMP, wanted, method)
    np.testing.assert_allclose(aligned, expected)
    assert aligned.attrs["units"] == "cm/s"
    assert aligned.attrs["align_method"] == method
    assert aligned.attrs["align_tolerance"] == 2.0
    assert aligned.attrs["n_without_partner"] == 0
    assert aligned.name == "speed"


def test_mean_is_over_the_bin():
    fine = signal(np.arange(8) / 8 + 0.01, np.arange(8.0))
    counts = xr.DataArray(
        np.zeros((2, 1)),
        {"time": [0.25, 0.75]},
        ("time", "neuron"),
        attrs={"bin_size": 0.5},
    )
    assert io.align(fine, counts, "mean").values.tolist() == [1.5, 5.5]
    assert io.align(fine, counts.time.values, "mean").values.tolist() == [1.5, 5.5]
    wider = io.align(fine, counts, "mean", tolerance=0.4)
    assert wider.values.tolist() == [2.5, 5.0]
    holes = fine.where(fine != 1.0)
    np.testing.assert_allclose(io.align(holes, counts, "mean"), [5 / 3, 5.5])


@pytest.mark.parametrize("method", ["nearest", "linear", "previous", "mean"])
def test_what_has_no_partner_is_missing_and_counted(method):
    gap = signal([0.0, 0.1, 0.2, 5.0, 5.1], np.arange(5.0))
    wanted = np.array([0.05, 0.1, 0.15, 2.5, 5.05])
    aligned = io.align(gap, wanted, method, tolerance=0.1)
    assert np.isnan(aligned.values).tolist() == [False, False, False, True, False]
    assert aligned.attrs["n_without_partner"] == 1
    assert aligned.dtype == float


def test_tolerance_decides_what_is_a_partner():
    wanted = np.array([0.0, 1.0, 3.6])
    assert io.align(RAMP, wanted, tolerance=0.5).isnull().sum() == 1
    assert io.align(RAMP, wanted, tolerance=0.7).isnull().sum() == 0


def test_nothing_is_invented_outside_the_signal():
    wanted = np.array([-0.5, 1.0, 3.5])
    linear = io.align(RAMP, wanted, "linear", min_overlap=0.0)
    assert np.isnan(linear.values).tolist() == [True, False, True]
    previous = io.align(RAMP, wanted, "previous")
    assert np.isnan(previous.values).tolist() == [True, False, False]


def test_missing_samples_stay_missing_and_do_not_spread():
    holes = signal([0.0, 1.0, 2.0], [0.0, 10.0, np.nan])
    linear = io.align(holes, np.array([0.5, 1.0, 1.5]), "linear")
    np.testing.assert_array_equal(linear, [5.0, 10.0, np.nan])


def test_two_clocks_are_refused_with_the_shift_between_them():
    late = RAMP.assign_coords(time=RAMP.time + 64.4)
    with pytest.raises(InvalidInputError, match="Two clocks") as caught:
        io.align(RAMP, late)
    assert "signal.assign_coords(time=signal.time + 64.4)" in str(caught.value)
    shifted = RAMP.assign_coords(time=RAMP.time + 64.4)
    assert io.align(shifted, late).equals(late)


def test_too_little_overlap_is_taken_for_two_clocks():
    wanted = np.arange(2.0, 22.0)
    with pytest.raises(InvalidInputError, match=r"20.0% have a sample.*min_overlap=0"):
        io.align(RAMP, wanted)
    assert io.align(RAMP, wanted, min_overlap=0.0).attrs["n_without_partner"] == 16


def test_datasets_and_sessions_keep_what_they_have():
    counts = small().bin(0.3, epochs={"run": (0.3, 1.2), "rest": (1.5, 3.0)})
    time = np.arange(0.0, 3.1, 0.04)
    position = xr.DataArray(
        np.stack([time, -time], 1),
        {"time": time, "space": ["x", "y"]},
        ("time", "space"),
    )
    dataset = xr.Dataset({"position": position, "moving": ("time", time > 1)})
    dataset["choice"] = ("trial", [1, 0])
    aligned = io.align(dataset, counts, "linear")
    np.testing.assert_allclose(aligned.position.sel(space="y"), -counts.time)
    assert aligned.session.values.tolist() == counts.session.values.tolist()
    assert aligned.choice.values.tolist() == [1, 0]
    transposed = io.align(position.transpose(), counts, "linear")
    xr.testing.assert_equal(transposed, aligned.position)


@given(st.lists(st.floats(0, 10), min_size=2, max_size=30, unique=True), st.data())
def test_nearest_is_nearest(own, data):
    own = np.sort(own)
    wanted = np.array(data.draw(st.lists(st.floats(0, 10), min_size=1, max_size=10)))
    aligned = io.align(
        signal(own, own), wanted, "nearest", tolerance=100.0, min_overlap=0.0
    )
    distances = np.abs(own[:, None] - wanted).min(axis=0)
    np.testing.assert_allclose(np.abs(aligned.values - wanted), distances)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((RAMP, np.array([1.0]), "spline"), "'nearest', 'linear', 'previous', 'mean'"),
        ((RAMP.drop_vars("time"), np.array([1.0])), "no time coordinate"),
        ((RAMP[[1, 0]], np.array([1.0])), "times that ascend"),
        ((signal([0.0], ["run"]), np.array([1.0])), "Give each category a number"),
        ((signal([0.0], [np.inf]), np.array([0.0])), "infinite values"),
        ((signal([0.0], [1.0]), np.array([0.0])), "none, for a single sample"),
        ((RAMP, np.array([np.nan])), "not finite"),
        ((RAMP, np.zeros(0)), "at least one"),
        ((RAMP, RAMP.drop_vars("time")), "a coordinate `time` in seconds"),
        ((RAMP, np.array(["a"])), "and type <U1, expected"),
        ((np.ones(3), np.array([1.0])), "a DataArray along `time`"),
    ],
)
def test_mistakes_are_told(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        io.align(*arguments)


@pytest.mark.parametrize("keywords", [{"tolerance": 0.0}, {"tolerance": -1.0}])
def test_tolerances_are_positive(keywords):
    with pytest.raises(InvalidInputError, match="tolerance: got"):
        io.align(RAMP, np.array([1.0]), **keywords)


def test_position_of_a_shared_recording_at_its_bins():
    path = shared("data/decoding/ca1_linear_250ms.npz")
    source = shared("data/spikes/rat_ca1_linear_track_run_rest.npz")
    with np.load(path) as file, np.load(source) as recording:
        ends = file["bin_end_s"] + recording["record_start_tick"] / 30_000
        expected = file["position_px"]
    position = io.read_behaviour(source).position
    aligned = io.align(position, ends, "linear", tolerance=1.0)
    np.testing.assert_allclose(aligned, expected, atol=1e-3)


@pytest.mark.parametrize("method", ["nearest", "linear", "previous", "mean"])
def test_missing_samples_are_counted_apart_from_missing_partners(method):
    values = io.align(
        signal([0.0, 1.0, 2.0, 3.0], [0.0, np.nan, 2.0, 3.0]),
        np.array([0.0, 1.0, 2.0, 3.0, 50.0]),
        method,
        tolerance=0.4,
    )
    assert np.isnan(values).values.tolist() == [False, True, False, False, True]
    assert values.attrs["n_missing"] == 1
    assert values.attrs["n_without_partner"] == 1
