"""Predictive accuracy against a normal model whose leave-one-out is known."""

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.core.evidence import compare, loo, waic
from neuromod.core.importance import pareto_smooth

PRIOR_VARIANCE = 9.0


def posterior(observations) -> tuple[float, float]:
    """Return mean and variance for unit noise and a prior N(0, 9)."""
    variance = 1 / (1 / PRIOR_VARIANCE + len(observations))
    return variance * np.sum(observations), variance


def observations(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, size=n)


def exact_loo(values) -> np.ndarray:
    """Return log p(y_i | the others) of each."""
    found = []
    for i, value in enumerate(values):
        mean, variance = posterior(np.delete(values, i))
        found.append(norm.logpdf(value, mean, np.sqrt(1 + variance)))
    return np.array(found)


def log_likelihood(values, standard, mean_shift=0.0) -> xr.DataArray:
    """Return that under draws of the posterior, from standard normal ones."""
    mean, variance = posterior(values)
    draws = mean + mean_shift + np.sqrt(variance) * standard
    array = norm.logpdf(values, draws.reshape(4, -1, 1))
    labels = [f"t{i}" for i in range(len(values))]
    return xr.DataArray(array, {"trial": labels}, ("chain", "draw", "trial"))


def evenly(n_draws: int = 4000) -> np.ndarray:
    """Return quantiles of the standard normal: draws without Monte Carlo error."""
    return norm.ppf((np.arange(n_draws) + 0.5) / n_draws)


def at_random(n_draws: int = 4000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(100 + seed).normal(size=n_draws)


def assert_same(found: xr.Dataset, expected: xr.Dataset) -> None:
    xr.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


# Against what is known ----------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 40])
def test_loo_of_a_normal_model_is_the_exact_one(n):
    values = observations(n)
    found = loo(log_likelihood(values, evenly()))
    expected = exact_loo(values)
    np.testing.assert_allclose(found["elpd_pointwise"], expected, rtol=0, atol=2e-3)
    np.testing.assert_allclose(found["elpd"], expected.sum(), rtol=0, atol=5e-3)
    error = np.sqrt(n * expected.var(ddof=1))
    np.testing.assert_allclose(found["standard_error"], error, rtol=5e-3)
    mean, variance = posterior(values)
    seen = norm.logpdf(values, mean, np.sqrt(1 + variance))
    np.testing.assert_allclose(
        found["p_effective"], (seen - expected).sum(), rtol=0, atol=5e-3
    )


def test_loo_from_random_draws_is_exact_up_to_the_error_of_sampling():
    """The relative error of a mean of ratios is their deviation over the root of S."""
    scaled = []
    for seed in range(40):
        values = observations(10, seed)
        array = log_likelihood(values, at_random(1000, seed))
        ratios = np.exp(-array.values.reshape(1000, -1))
        error = (ratios / ratios.mean(axis=0)).sum(axis=1).std() / np.sqrt(1000)
        assert error < 0.1
        scaled.append((loo(array)["elpd"].item() - exact_loo(values).sum()) / error)
    assert abs(np.mean(scaled)) < 3 / np.sqrt(40)
    assert 0.75 < np.std(scaled) < 1.25
    assert np.abs(scaled).max() < 4


def test_waic_of_a_normal_model_is_the_analytic_one():
    values = observations(40)
    found = waic(log_likelihood(values, evenly()))
    mean, variance = posterior(values)
    seen = norm.logpdf(values, mean, np.sqrt(1 + variance))
    # Of -(d + e)^2 / 2 with e ~ N(0, v).
    penalty = variance**2 / 2 + variance * (values - mean) ** 2
    atol = 1e-4
    np.testing.assert_allclose(found["p_effective_pointwise"], penalty, atol=atol)
    np.testing.assert_allclose(found["elpd_pointwise"], seen - penalty, atol=atol)
    np.testing.assert_allclose(found["elpd"], (seen - penalty).sum(), atol=40 * atol)
    assert found.attrs["method"] == "waic"
    # It approximates what was left out.
    assert abs(found["elpd"].item() - exact_loo(values).sum()) < 0.05


def test_loo_is_the_weighted_mean_of_its_definition():
    array = log_likelihood(observations(6), at_random(400))
    found = loo(array, relative_efficiency=0.5)
    for trial in range(6):
        values = array.values.reshape(400, 6)[:, trial]
        log_weights, shape = pareto_smooth(-values, relative_efficiency=0.5)
        expected = np.log(np.sum(np.exp(log_weights) * np.exp(values)))
        assert found["elpd_pointwise"].values[trial] == pytest.approx(expected)
        assert found["pareto_k"].values[trial] == pytest.approx(shape)
    assert not np.allclose(loo(array)["pareto_k"], found["pareto_k"], atol=1e-4)


def test_waic_is_the_mean_less_the_variance_of_its_definition():
    array = log_likelihood(observations(6), 0.3 * at_random(28))
    found, values = waic(array), array.values.reshape(28, 6)
    for trial, of_draws in enumerate(values.T):
        variance = np.sum((of_draws - of_draws.mean()) ** 2) / 27
        expected = np.log(np.mean(np.exp(of_draws))) - variance
        assert found["p_effective_pointwise"].values[trial] == pytest.approx(variance)
        assert found["elpd_pointwise"].values[trial] == pytest.approx(expected)


def test_the_standard_error_is_that_of_a_sum_over_points():
    """Twice the same observations: twice the sum, about the root of two in error."""
    once = log_likelihood(observations(50), at_random(400))
    twice = xr.concat([once, once], "session")
    found, doubled = loo(once), loo(twice)
    assert doubled["elpd"].item() == pytest.approx(2 * found["elpd"].item())
    ratio = (doubled["standard_error"] / found["standard_error"]).item()
    assert ratio == pytest.approx(np.sqrt(2) * np.sqrt(98 / 99), rel=1e-9)


# An observation that surprises --------------------------------------------------------


def test_an_outlier_is_named_with_the_number_of_such_points():
    values = observations(10)
    values[[3, 7]] = 14.0, 9.0
    array = log_likelihood(values, at_random())
    with pytest.warns(UserWarning, match=r"loo: (\d+) of 10 points .* trial t3") as log:
        found = loo(array)
    unreliable = int((found["pareto_k"] > 0.7).sum())
    assert found["n_unreliable"].item() == unreliable >= 1
    assert str(log[0].message).startswith(f"loo: {unreliable} of 10 points")
    assert "above 0.7" in str(log[0].message)
    assert log[0].filename == __file__
    assert found["pareto_k"].values.argmax() == 3
    with pytest.warns(UserWarning, match=r"waic: \d+ of 10 .* above 0.4 .* Use loo"):
        penalised = waic(array)
    above = penalised["p_effective_pointwise"] > 0.4
    assert penalised["n_unreliable"].item() == int(above.sum()) >= 1


def test_fewer_draws_lower_the_threshold():
    array = log_likelihood(np.zeros(3), evenly(100))
    assert loo(array).attrs["pareto_k_threshold"] == pytest.approx(0.5)
    assert loo(array).attrs["n_draws"] == 100
    more = log_likelihood(np.zeros(3), evenly(4000))
    assert loo(more).attrs["pareto_k_threshold"] == 0.7


# Which points -------------------------------------------------------------------------


def test_what_was_not_observed_is_left_out():
    array = log_likelihood(observations(12), at_random(400))
    masked = array.where(~array["trial"].isin(["t2", "t9"]))
    for verb in (loo, waic):
        found, expected = verb(masked), verb(array.drop_sel(trial=["t2", "t9"]))
        missing = found["elpd_pointwise"].isnull()
        assert missing["trial"][missing.values].values.tolist() == ["t2", "t9"]
        assert_same(found.drop_sel(trial=["t2", "t9"]), expected)


def test_points_may_have_any_dimensions_in_any_order():
    array = log_likelihood(observations(12), at_random(400))
    grid = array.values.reshape(4, 100, 3, 4)
    dims = ("chain", "draw", "subject", "trial")
    square = xr.DataArray(grid, {"subject": list("abc")}, dims)
    square = square.assign_coords(
        age=("subject", [3, 4, 5]), accepted=("draw", np.ones(100))
    )
    found = loo(square.transpose("trial", "draw", "subject", "chain"))
    assert found["elpd_pointwise"].transpose("subject", "trial").shape == (3, 4)
    assert found["age"].values.tolist() == [3, 4, 5]
    assert set(found.coords) == {"subject", "age"}
    for name in ("elpd", "standard_error", "p_effective"):
        np.testing.assert_allclose(found[name], loo(array)[name])
    # Whole subjects left out.
    by_subject = loo(square.sum("trial"))
    assert by_subject["elpd_pointwise"].dims == ("subject",)
    assert by_subject["elpd"] != found["elpd"]


def test_draws_may_come_in_any_chains_and_precision():
    array = log_likelihood(observations(6), at_random(400))
    one = xr.DataArray(array.values.reshape(1, 400, 6), array.coords, array.dims)
    assert_same(loo(one), loo(array))
    single = loo(array.astype("float32"))
    assert single["elpd_pointwise"].dtype == float
    np.testing.assert_allclose(single["elpd"], loo(array)["elpd"], rtol=1e-6)


def test_a_point_that_tells_nothing_of_the_parameters_is_exact():
    array = log_likelihood(observations(6), at_random(400))
    array[:, :, 2] = -1.25
    found = loo(array).isel(trial=2)
    assert found["elpd_pointwise"].item() == pytest.approx(-1.25)
    assert found["p_effective_pointwise"].item() == pytest.approx(0, abs=1e-12)
    assert found["pareto_k"].item() == -np.inf


# Comparison ---------------------------------------------------------------------------


@pytest.fixture
def fits() -> dict[str, xr.Dataset]:
    values = observations(30)
    arrays = {
        shift: log_likelihood(values, at_random(400), shift) for shift in (0, 0.5, -2)
    }
    names = {"far": -2, "true": 0, "near": 0.5}
    return {name: loo(arrays[shift]) for name, shift in names.items()}


def test_models_are_compared_on_the_same_points(fits):
    table = compare(fits)
    assert table.index.tolist() == ["true", "near", "far"]
    assert table.index.name == "model"
    for name, found in fits.items():
        row = table.loc[name]
        difference = (found["elpd_pointwise"] - fits["true"]["elpd_pointwise"]).values
        error = np.sqrt(30 * difference.var(ddof=1))
        assert row["difference"] == pytest.approx(difference.sum())
        assert row["difference_standard_error"] == pytest.approx(error)
        for column in ("elpd", "standard_error", "p_effective", "n_unreliable"):
            assert row[column] == pytest.approx(found[column].item())
    assert table["n_points"].tolist() == [30, 30, 30]
    # Pairing takes out what is hard to predict for all.
    near = table.loc["near"]
    assert near["difference_standard_error"] < near["standard_error"]


def test_differences_are_from_the_reference(fits):
    table = compare(fits, reference="far")
    assert table.index.tolist() == ["true", "near", "far"]
    assert table.loc["far", "difference"] == 0
    expected = fits["true"]["elpd"].item() - fits["far"]["elpd"].item()
    assert table.loc["true", "difference"] == pytest.approx(expected)
    with pytest.raises(InvalidInputError, match="Did you mean 'near'"):
        compare(fits, reference="naer")


def test_order_of_dimensions_and_further_labels_make_no_difference():
    grid = log_likelihood(observations(12), at_random(400)).values.reshape(4, 100, 3, 4)
    square = xr.DataArray(grid, dims=("chain", "draw", "subject", "trial"))
    turned = loo(square.transpose("trial", "subject", ...).assign_coords(model="b"))
    table = compare({"a": loo(square), "b": turned})
    np.testing.assert_allclose(table["difference"], 0, atol=1e-9)
    np.testing.assert_allclose(table["difference_standard_error"], 0, atol=1e-9)


def test_other_points_are_refused(fits):
    array = log_likelihood(observations(30), at_random(400))
    others = {
        "fewer": array[..., :-1],
        "unobserved": array.where(array["trial"] != "t4"),
        "labels": array.assign_coords(trial=np.arange(30)),
        "dimension": array.rename(trial="time"),
    }
    for name, other in others.items():
        with pytest.raises(InvalidInputError, match=f"other points for '{name}' than"):
            compare({"true": fits["true"], name: loo(other)})
    with pytest.raises(InvalidInputError, match="loo of 'true' beside waic of 'w'"):
        compare({"true": fits["true"], "w": waic(array)})
    with pytest.raises(InvalidInputError, match="got nothing"):
        compare({})


# Refused ------------------------------------------------------------------------------


def changed(where, value) -> xr.DataArray:
    array = log_likelihood(observations(6), at_random(400))
    array[where] = value
    return array


@pytest.mark.parametrize("verb", [loo, waic])
@pytest.mark.parametrize(
    ("array", "kind", "text"),
    [
        (np.zeros((4, 100, 6)), ShapeError, "got ndarray"),
        (changed(0, 0)[0], ShapeError, r"expand_dims\('chain'\)"),
        (changed(0, 0)[:, :6], InvalidInputError, "24 draws, expected at least 25"),
        (changed(0, 0)[..., :1], InvalidInputError, r"1 observed point\(s\)"),
        (changed(..., np.nan), InvalidInputError, r"0 observed point\(s\)"),
        (changed((2, 7, 3), np.nan), InvalidInputError, r"nan in 1 .* trial t3\)"),
        (changed((2, 7, 3), -np.inf), InvalidInputError, r"-inf in 1 .* trial t3\)"),
        (changed((0, 0), np.inf), InvalidInputError, r"inf in 6 .* trial t0\)"),
        (changed((2, 7, 3), np.nan).drop_vars("trial"), InvalidInputError, "trial 3"),
        (changed(0, 0).astype(str), InvalidInputError, "real numbers"),
    ],
)
def test_draws_that_cannot_be_used_are_refused(verb, array, kind, text):
    with pytest.raises(kind, match=text):
        verb(array)


@pytest.mark.parametrize("value", [0, -1, np.nan, "all"])
def test_a_relative_efficiency_is_positive(value):
    with pytest.raises(InvalidInputError, match="relative_efficiency"):
        loo(changed(0, 0), relative_efficiency=value)


def test_twenty_five_draws_are_enough():
    array = log_likelihood(observations(40), at_random(400))[:, :7]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert np.isfinite(loo(array)["elpd"])
