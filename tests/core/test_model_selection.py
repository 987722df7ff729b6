"""Random-effects model selection: the posterior on a grid, identities, limits."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy.special import betaln, digamma, logsumexp, softmax
from scipy.stats import beta, dirichlet

from neuromod.core import model_selection
from neuromod.core.errors import ConvergenceWarning, InvalidInputError, ShapeError
from neuromod.core.model_selection import (
    exceedance_probability,
    group_bayes_factors,
    select_models,
)

GRID = (np.arange(2_000) + 0.5) / 2_000


def table(values) -> xr.DataArray:
    values = np.asarray(values, float)
    coords = {
        "subject": [f"s{n}" for n in range(values.shape[0])],
        "model": list("abcdef"[: values.shape[1]]),
    }
    return xr.DataArray(values, coords, ("subject", "model"))


def drawn(n_subjects, n_models, seed, spread=2.0) -> xr.DataArray:
    generator = np.random.default_rng(seed)
    return table(-100 + spread * generator.normal(size=(n_subjects, n_models)))


def on_grid(log_evidence) -> tuple[float, float, float]:
    """Return log evidence, mean and deviation of the first of two frequencies."""
    first, second = np.exp(log_evidence.values - log_evidence.values.max()).T
    each = np.outer(GRID, first) + np.outer(1 - GRID, second)
    log_joint = np.log(each).sum(axis=1) + first.size * log_evidence.values.max()
    total = logsumexp(log_joint) - np.log(GRID.size)
    posterior = np.exp(log_joint - log_joint.max())
    posterior /= posterior.sum()
    mean = posterior @ GRID
    return total, mean, np.sqrt(posterior @ (GRID - mean) ** 2)


def assert_same(found: xr.Dataset, expected: xr.Dataset, tolerance=1e-8) -> None:
    xr.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


# Against the posterior on a grid ------------------------------------------------------


@pytest.mark.parametrize(
    ("spread", "frequency_error"), [(1.0, 0.06), (3.0, 0.025), (10.0, 0.005)]
)
def test_frequencies_are_near_those_of_the_posterior_on_a_grid(spread, frequency_error):
    """Mean field is approximate; the more decisive the evidence, the less so."""
    for seed in range(20):
        log_evidence = drawn(8, 2, seed, spread)
        found = select_models(log_evidence)
        _, mean, _ = on_grid(log_evidence)
        assert abs(found["expected_frequency"].values[0] - mean) < frequency_error


def test_the_free_energy_is_below_the_log_evidence_by_less_than_a_nat():
    for seed, spread in itertools.product(range(10), (0.3, 2.0, 10.0)):
        log_evidence = drawn(8, 2, seed, spread)
        gap = on_grid(log_evidence)[0] - select_models(log_evidence)["free_energy"]
        assert 0 < gap < 1


def test_weak_evidence_makes_the_approximation_too_narrow_as_documented():
    errors, ratios = [], []
    for seed in range(20):
        log_evidence = drawn(16, 2, seed, 1 / np.sqrt(2))
        found = select_models(log_evidence).sel(model="a")
        _, mean, deviation = on_grid(log_evidence)
        errors.append(abs(found["expected_frequency"].item() - mean))
        ratios.append(found["frequency_standard_deviation"].item() / deviation)
    assert max(errors) < 0.1
    assert 0.4 < np.mean(ratios) < 0.6


def test_decisive_evidence_leaves_the_dirichlet_of_the_counts():
    """Known attributions make the posterior exact: a Beta with the counts added."""
    counts, least = (7, 3), -500.0
    values = np.full((10, 2), least)
    values[:7, 0] = values[7:, 1] = 0
    found = select_models(table(values))
    a, b = counts[0] + 1, counts[1] + 1
    np.testing.assert_allclose(found["concentration"], [a, b], rtol=1e-12)
    np.testing.assert_allclose(
        found["frequency_standard_deviation"], beta.std(a, b), rtol=1e-12
    )
    np.testing.assert_allclose(
        found["exceedance_probability"], [beta.sf(0.5, a, b), beta.cdf(0.5, a, b)]
    )
    expected = np.repeat(np.eye(2), counts, axis=0)
    np.testing.assert_allclose(found["attribution"], expected, atol=1e-200)
    # The evidence of a series with these counts in this order.
    np.testing.assert_allclose(found["free_energy"], betaln(a, b), rtol=1e-12)
    np.testing.assert_allclose(found["null_log_evidence"], 10 * np.log(0.5))
    bayes_factor = np.exp(betaln(a, b)) / 0.5**10
    np.testing.assert_allclose(found["omnibus_risk"], 1 / (1 + bayes_factor))


# What defines the solution ------------------------------------------------------------


def test_attributions_and_concentrations_agree_with_each_other():
    log_evidence = drawn(12, 4, 0)
    found = select_models(log_evidence)
    alpha = found["concentration"].values
    attribution = softmax(log_evidence.values + digamma(alpha), axis=1)
    np.testing.assert_allclose(found["attribution"], attribution, atol=1e-9)
    np.testing.assert_allclose(alpha, 1 + attribution.sum(axis=0), atol=1e-8)


def test_the_free_energy_is_that_of_its_definition():
    """The mean over q of log p(y, m, r) - log q(m, r), the same for every r there."""
    log_evidence = drawn(5, 3, 1)
    found = select_models(log_evidence)
    alpha, attribution = found["concentration"].values, found["attribution"].values
    for frequency in np.random.default_rng(0).dirichlet(alpha, size=5):
        of_models = np.log(frequency) + log_evidence.values - np.log(attribution)
        expected = dirichlet.logpdf(frequency, np.ones(3))
        expected -= dirichlet.logpdf(frequency, alpha)
        expected += (attribution * of_models).sum()
        np.testing.assert_allclose(found["free_energy"], expected, rtol=0, atol=1e-8)


def test_the_free_energy_is_the_largest_at_the_solution():
    log_evidence = drawn(6, 3, 2).values
    alpha, attribution = model_selection._fit(log_evidence)
    best = model_selection._free_energy(log_evidence, alpha, attribution)
    generator = np.random.default_rng(0)
    for _ in range(20):
        other = alpha * np.exp(0.1 * generator.normal(size=3))
        assert model_selection._free_energy(log_evidence, other, attribution) < best
        moved = attribution * np.exp(0.1 * generator.normal(size=attribution.shape))
        moved /= moved.sum(axis=1, keepdims=True)
        assert model_selection._free_energy(log_evidence, alpha, moved) < best


def test_a_constant_per_subject_changes_nothing_but_the_log_evidences():
    log_evidence = drawn(9, 3, 3)
    shift = xr.DataArray(np.linspace(-50, 80, 9), dims="subject")
    found, moved = select_models(log_evidence), select_models(log_evidence + shift)
    for name in ("free_energy", "null_log_evidence"):
        np.testing.assert_allclose(moved[name] - found[name], shift.sum())
    logs = ["free_energy", "null_log_evidence"]
    assert_same(moved.drop_vars(logs), found.drop_vars(logs))


def test_models_and_subjects_may_come_in_any_order():
    log_evidence = drawn(7, 4, 4)
    found = select_models(log_evidence)
    order = {"model": list("cadb"), "subject": found["subject"].values[::-1]}
    assert_same(select_models(log_evidence.sel(order)), found.sel(order))
    assert_same(select_models(log_evidence.transpose()), found)


def test_equal_evidences_leave_all_models_equal():
    """Indifferent evidence has a posterior odds of one; mean field loses some."""
    found = select_models(table(np.zeros((20, 3))))
    for name in (
        "expected_frequency",
        "exceedance_probability",
        "protected_exceedance_probability",
        "attribution",
    ):
        np.testing.assert_allclose(found[name], 1 / 3, atol=1e-12)
    np.testing.assert_allclose(found["concentration"], 1 + 20 / 3)
    assert 0.5 < found["omnibus_risk"] < 1
    more = select_models(table(np.zeros((200, 3))))
    assert more["omnibus_risk"] > max(found["omnibus_risk"], 0.98)


def test_protection_draws_towards_equality_by_the_omnibus_risk():
    found = select_models(drawn(6, 3, 5))
    risk = found["omnibus_risk"].item()
    assert 0.05 < risk < 0.95
    np.testing.assert_allclose(
        found["protected_exceedance_probability"],
        (1 - risk) * found["exceedance_probability"] + risk / 3,
    )
    difference = (found["free_energy"] - found["null_log_evidence"]).item()
    np.testing.assert_allclose(risk / (1 - risk), np.exp(-difference))


def test_one_outlier_decides_for_all_with_fixed_effects_only():
    values = np.zeros((10, 2))
    values[:, 0] = 2
    values[9] = 0, 100
    fixed, random = group_bayes_factors(table(values)), select_models(table(values))
    assert fixed["log_group_bayes_factor"].values.tolist() == [-82, 82]
    assert random["expected_frequency"].values[0] > 0.7
    assert random["attribution"].values[9, 1] > 0.999


def test_evidences_of_any_size_stay_finite():
    values = drawn(5, 3, 6).values * 1e6
    found = select_models(table(values))
    assert all(np.isfinite(v).all() for v in found.data_vars.values())
    single = select_models(table(values[:1].astype("float32")))
    assert single["concentration"].values.sum() == pytest.approx(4)
    assert single["concentration"].dtype == float


def test_labels_are_kept_and_may_be_missing():
    log_evidence = drawn(4, 2, 7)
    log_evidence = log_evidence.assign_coords(group=("subject", list("xxyy")))
    found = select_models(log_evidence)
    assert found["attribution"].dims == ("subject", "model")
    assert found["group"].values.tolist() == list("xxyy")
    assert found["model"].values.tolist() == ["a", "b"]
    bare = select_models(xr.DataArray(log_evidence.values, dims=log_evidence.dims))
    assert not bare.coords
    np.testing.assert_array_equal(bare["attribution"], found["attribution"])


def test_a_fit_that_has_not_settled_says_so(monkeypatch):
    monkeypatch.setattr(model_selection, "MAX_ITERATIONS", 2)
    with pytest.warns(ConvergenceWarning, match="not settled after 2 iterations"):
        select_models(drawn(6, 3, 8))


# Exceedance ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, 1), (1, 2), (3, 7.5), (0.3, 0.2), (1, 1000), (100, 110), (1e4, 1e4)],
)
def test_exceedance_of_two_is_the_tail_of_a_beta(a, b):
    expected = [beta.sf(0.5, a, b), beta.cdf(0.5, a, b)]
    found = exceedance_probability(np.array([a, b], float))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "alpha", [(1.0, 2.0, 3.0), (5.5, 6.0, 2.0, 1.0), (30.0, 31.0, 29.0, 28.0, 10.0)]
)
def test_exceedance_is_how_often_a_draw_is_the_largest(alpha):
    n_draws = 400_000
    draws = np.random.default_rng(0).dirichlet(alpha, size=n_draws)
    counted = np.bincount(draws.argmax(axis=1), minlength=len(alpha)) / n_draws
    found = exceedance_probability(np.array(alpha))
    error = np.sqrt(found * (1 - found) / n_draws)
    assert (np.abs(found - counted) < 4 * error).all()
    assert found.sum() == pytest.approx(1, abs=1e-10)


def test_exceedance_of_many_equal_ones_is_shared():
    found = exceedance_probability(np.full(30, 1.7))
    np.testing.assert_allclose(found, 1 / 30, rtol=0, atol=1e-11)


def test_exceedance_by_hand():
    """Of Gamma variables of shapes 1, 1, 2 the last is largest with 11/18."""
    np.testing.assert_allclose(
        exceedance_probability(np.array([1, 1, 2])), [7 / 36, 7 / 36, 11 / 18]
    )


# Fixed effects ------------------------------------------------------------------------


def test_group_bayes_factors_are_against_the_best_of_the_others():
    found = group_bayes_factors(table([[1, 2, 3], [4, 6, 7.5]]))
    assert found["log_group_evidence"].values.tolist() == [5, 8, 10.5]
    assert found["log_group_bayes_factor"].values.tolist() == [-5.5, -2.5, 2.5]
    weights = np.exp([5, 8, 10.5])
    np.testing.assert_allclose(
        found["posterior_probability"], weights / weights.sum(), rtol=1e-12
    )
    assert found["model"].values.tolist() == ["a", "b", "c"]
    tie = group_bayes_factors(table([[1, 1, 0]]))
    assert tie["log_group_bayes_factor"].values.tolist() == [0, 0, -1]


# Refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [select_models, group_bayes_factors])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_evidence_that_is_not_finite_is_refused_by_name(verb, value):
    log_evidence = drawn(4, 3, 0)
    log_evidence[2, 1] = value
    with pytest.raises(InvalidInputError, match=r"subject 's2'\s+and model 'b'"):
        verb(log_evidence)
    with pytest.raises(InvalidInputError, match="subject 2 and model 1"):
        verb(xr.DataArray(log_evidence.values, dims=log_evidence.dims))


@pytest.mark.parametrize(
    ("log_evidence", "kind", "text"),
    [
        (np.zeros((3, 2)), ShapeError, r"\(subject, model\)"),
        (drawn(3, 2, 0).rename(model="modell"), ShapeError, "Did you mean 'model'"),
        (drawn(3, 1, 0), InvalidInputError, r"1 model\(s\), expected at least 2"),
        (drawn(3, 2, 0)[:0], InvalidInputError, r"0 subject\(s\), expected at least 1"),
        (drawn(2, 2, 0).assign_coords(model=["a", "a"]), InvalidInputError, "twice"),
        (drawn(2, 2, 0).astype(str), InvalidInputError, "real numbers"),
        (drawn(2, 2, 0) + 1j, InvalidInputError, "real numbers"),
    ],
)
def test_other_input_is_refused(log_evidence, kind, text):
    with pytest.raises(kind, match=text):
        select_models(log_evidence)
