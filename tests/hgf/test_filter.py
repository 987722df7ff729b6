import jax
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neuromod import hgf
from neuromod.core.errors import DivergedError, InvalidInputError, ShapeError
from tests.hgf.test_inference import outcomes

TWO_INPUTS = hgf.Network(
    [
        hgf.BinaryInput("cue"),
        hgf.ContinuousInput("pain", precision=4.0),
        hgf.ContinuousState("x"),
    ],
    [hgf.probability("x", "cue"), hgf.observation("x", "pain")],
)


def test_every_form_of_data_gives_the_same_beliefs():
    network, values = hgf.binary_three_level(), outcomes(20)
    found = hgf.filter(network, values)
    for same in (
        values.tolist(),
        values.astype(bool),
        values[:, None],
        pd.Series(values),
        {"outcome": values},
        pd.DataFrame({"outcome": values}),
    ):
        xr.testing.assert_allclose(hgf.filter(network, same), found)


def test_labels_of_the_trials_come_back():
    times = np.array([0.5, 1.5, 4.0])
    data = xr.DataArray([1.0, 0.0, 1.0], dims="time", coords={"time": times})
    found = hgf.filter(hgf.binary_two_level(), data)
    np.testing.assert_array_equal(found["time"], times)
    assert list(found["node"].values) == ["outcome", "x2"]
    assert found.attrs["update"] == "ehgf"


def test_missing_is_nan_or_a_mask():
    values = outcomes(12)
    gap = values.copy()
    gap[4:6] = np.nan
    seen = ~np.isnan(gap)
    by_nan = hgf.filter(hgf.binary_three_level(), gap)
    by_mask = hgf.filter(hgf.binary_three_level(), values, observed=seen)
    xr.testing.assert_identical(by_nan, by_mask)
    assert np.isnan(by_nan["mean"].sel(node="outcome")[4])
    assert (by_nan["surprise"].sel(node="outcome")[4:6] == 0).all()
    assert np.isfinite(by_nan["mean"].sel(node="x2")).all()


def test_inputs_go_by_name_or_by_column():
    generator = np.random.default_rng(0)
    cue, pain = outcomes(10), generator.normal(size=10)
    by_name = hgf.filter(TWO_INPUTS, {"pain": pain, "cue": cue})
    by_column = hgf.filter(TWO_INPUTS, np.column_stack([cue, pain]))
    xr.testing.assert_identical(by_name, by_column)


def test_time_steps_age_the_beliefs():
    network, values = hgf.binary_two_level(), outcomes(10)
    often = hgf.filter(network, values, time_steps=np.full(10, 0.1))
    rarely = hgf.filter(network, values, time_steps=[10.0] * 10)
    last = [f["precision"].sel(node="x2").values[-1] for f in (often, rarely)]
    assert last[0] > 2 * last[1]


def test_precision_is_an_argument():
    network, values = hgf.binary_two_level(), outcomes(30)
    double = hgf.filter(network, values)
    single = hgf.filter(network, values, precision="float32")
    assert double["mean"].dtype == np.float64
    xr.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-5)
    assert jax.numpy.ones(1).dtype == np.float32


def test_divergence_is_told_by_trial_and_node():
    network = hgf.binary_three_level((1.5, 1.0), update="standard")
    values = outcomes(200)
    with pytest.raises(DivergedError, match=r"'x[23]' .* trial \d+ .*'standard'"):
        hgf.filter(network, values)
    found = hgf.filter(network, values, throw=False)
    trial = int(found.attrs["diverged"].split("trial ")[1].split()[0])
    x3 = found["precision"].sel(node=["x2", "x3"])
    assert np.isfinite(x3[:trial]).all()
    assert np.isnan(x3[trial]).any()


def test_runaway_is_told():
    network = hgf.binary_three_level((-2.0, 1.0), update="unbounded")
    with pytest.warns(RuntimeWarning, match="'outcome' is saturated"):
        hgf.filter(network, outcomes(300))


@pytest.mark.parametrize(
    ("data", "settings", "kind", "message"),
    [
        ([0.3, 1.0], {}, InvalidInputError, "0.3 at trial 0 .*'outcome'.*0 or 1"),
        ([0, 1, 2], {}, InvalidInputError, "2.0 at trial 2"),
        ([1, np.inf], {}, InvalidInputError, "inf at trial 1"),
        (["left", "right"], {}, InvalidInputError, "numbers"),
        ([], {}, ShapeError, "at least one trial"),
        (np.ones((3, 2)), {}, ShapeError, r"\(3, 2\).*'outcome'"),
        ([[1], [1, 0]], {}, ShapeError, "trial"),
        ({"outcom": [1]}, {}, InvalidInputError, "'outcom'.*'outcome'"),
        ({}, {}, InvalidInputError, "nothing for the input 'outcome'"),
        ([1, 0], {"time_steps": [1, -1]}, InvalidInputError, "-1.0 at trial 1"),
        ([1, 0], {"time_steps": [1, np.nan]}, InvalidInputError, "nan at trial 1"),
        ([1, 0], {"time_steps": [1]}, ShapeError, "1 times.*2"),
        ([1, 0], {"observed": [0.5, 1]}, ShapeError, "True and False"),
        ([1, 0], {"observed": [True]}, ShapeError, "True and False"),
        ([1, 0], {"precision": "half"}, InvalidInputError, "float32"),
    ],
)
def test_bad_input_is_refused_by_name(data, settings, kind, message):
    with pytest.raises(kind, match=message):
        hgf.filter(hgf.binary_two_level(), data, **settings)


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ShapeError, match="3 trials of 'pain', expected 2"):
        hgf.filter(TWO_INPUTS, {"cue": [1, 0], "pain": [0.1, 0.2, 0.3]})
