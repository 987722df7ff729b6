import numpy as np
import pytest
import xarray as xr

from neuromod import errors
from neuromod.core import dimensions


def axis(time):
    return xr.DataArray(np.zeros(len(time)), dims="time", coords={"time": time})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, -2.0], "negative count -2.0.*Pass the raw counts"),
        ([1.0, 0.25], r"fractional count 0.25.*neuromod\.io\.bin_spikes"),
        ([1.0, np.inf], "infinite count"),
        (["a"], "type <U1, expected real numbers"),
    ],
)
def test_what_is_no_count_is_refused(values, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        dimensions.require_counts(np.array(values), "spikes")


@pytest.mark.parametrize("values", [[0, 3], [2.0, np.nan], [True, False], []])
def test_counts_and_missing_ones_pass(values):
    dimensions.require_counts(np.array(values), "spikes")


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2", None])
def test_whole_numbers(value):
    with pytest.raises(errors.InvalidInputError, match=r"n_states: got .* >= 1"):
        dimensions.require_integer(value, "n_states")


def test_numpy_integers_are_whole_numbers():
    assert dimensions.require_integer(np.int16(3), "n") == 3


NO_NUMBERS = [np.nan, np.inf, "2", None, True, 1j, [1.0, 2.0], [1, [2]], np.ones(1)]


@pytest.mark.parametrize("value", [0, -1.0, *NO_NUMBERS])
def test_positive_numbers(value):
    with pytest.raises(errors.InvalidInputError, match=r"bin_size: .*a number > 0 s"):
        dimensions.require_positive(value, "bin_size", "s")


@pytest.mark.parametrize("value", [-1e-9, *NO_NUMBERS])
def test_numbers_that_are_not_negative(value):
    with pytest.raises(errors.InvalidInputError, match=r"gap: .*a number >= 0 s"):
        dimensions.require_non_negative(value, "gap", "s")


def test_zero_and_numpy_numbers_are_not_negative():
    assert dimensions.require_non_negative(0, "gap") == 0.0
    assert dimensions.require_positive(np.asarray(2, dtype=np.float32), "gap") == 2.0


@pytest.mark.parametrize("dtype", ["U1", object, complex, "M8[s]"])
def test_what_is_no_real_number_is_refused(dtype):
    with pytest.raises(
        errors.InvalidInputError, match=r"u: got values .*astype\(float"
    ):
        dimensions.require_finite(np.zeros(2, dtype), "u")


def test_a_column_that_drowns_the_others_is_refused():
    values = np.ones((4, 2))
    values[0, 1] = 1000.0  # its root mean square is 500
    dimensions.require_scale(values, "u", 501.0)
    dimensions.require_scale(values[:, :0], "u", 501.0)
    with pytest.raises(errors.InvalidInputError, match=r"up to 1e\+03.* at most 499"):
        dimensions.require_scale(values, "u", 499.0)
    with pytest.raises(errors.InvalidInputError, match="Standardise them"):
        dimensions.require_scale(1e200 * values, "u", 499.0)


def test_time_must_exist_and_ascend():
    assert dimensions.require_time(axis([0, 1, 2]), "x").dtype == float
    with pytest.raises(errors.InvalidInputError, match="no time coordinate"):
        dimensions.require_time(xr.DataArray([0.0], dims="time"), "x")
    with pytest.raises(errors.InvalidInputError, match=r"2.0 s followed by 1.0 s"):
        dimensions.require_time(axis([0.0, 2.0, 1.0]), "x")
    with pytest.raises(errors.InvalidInputError, match="not finite"):
        dimensions.require_time(axis([0.0, np.nan]), "x")
    stamps = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[ns]")
    with pytest.raises(errors.InvalidInputError, match="seconds as numbers"):
        dimensions.require_time(axis(stamps), "x")


def test_bin_size_is_the_spacing_of_a_regular_axis():
    assert dimensions.bin_size(np.arange(5) * 0.02, "x") == pytest.approx(0.02)
    assert np.isnan(dimensions.bin_size(np.array([3.0]), "x"))
    with pytest.raises(errors.InvalidInputError, match="Two clocks, or a gap"):
        dimensions.bin_size(np.array([0.0, 0.1, 0.2, 0.5, 0.6]), "x")


def test_the_nearest_dimension_is_named():
    array = xr.DataArray(np.zeros((2, 2)), dims=("time", "neurons"))
    with pytest.raises(errors.ShapeError, match="Did you mean 'neuron'"):
        dimensions.require_dims(array, ("time", "neuron"), "spikes")


def test_every_error_is_ours_and_what_python_expects():
    assert issubclass(errors.InvalidInputError, ValueError)
    assert issubclass(errors.NotFittedError, (ValueError, AttributeError))
    named = [e for e in vars(errors).values() if isinstance(e, type)]
    for kind in named:
        if issubclass(kind, Exception) and not issubclass(kind, Warning):
            assert issubclass(kind, errors.NeuromodError)


def test_unknown_names_list_what_is_known():
    assert errors.did_you_mean("zzz", ["a", "b"]) == "Known names: 'a', 'b'."
    with pytest.raises(errors.InvalidInputError, match=r"link: got 'ex'.*'exp'"):
        errors.choice("link", "ex", ["exp", "sigmoid"])
