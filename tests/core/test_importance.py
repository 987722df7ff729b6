"""Smoothed importance weights: known tails, degenerate ones, what is left alone."""

import math

import numpy as np
import pytest
from scipy.stats import genpareto

from neuromod.core.importance import (
    fit_generalised_pareto,
    largest_shape,
    pareto_smooth,
)

SHAPES = (-0.5, -0.1, 0.0, 0.3, 0.7, 1.2)


def evenly(n: int) -> np.ndarray:
    return (np.arange(n) + 0.5) / n


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-9, 1.0, 300.0])
def test_the_fit_recovers_a_known_distribution(shape, scale):
    exceedances = genpareto.ppf(evenly(5000), shape, scale=scale)
    found = fit_generalised_pareto(exceedances)
    assert abs(found[0] - shape) < 0.01
    assert abs(found[1] / scale - 1) < 0.01


@pytest.mark.parametrize("shape", SHAPES[2:])
def test_the_fit_is_as_exact_as_the_most_likely_one(shape):
    """The standard error of the shape is (1 + k) / sqrt(n); the bias is smaller."""
    n, repeats = 200, 300
    ranks = np.random.default_rng(0).uniform(size=(repeats, n))
    draws = genpareto.ppf(ranks, shape)
    found = np.array([fit_generalised_pareto(np.sort(row))[0] for row in draws])
    expected = (1 + shape) / np.sqrt(n)
    assert abs(found.mean() - shape) < 0.25 * expected
    assert abs(found.std() / expected - 1) < 0.1


def slow_fit(exceedances) -> tuple[float, float]:
    """Zhang and Stephens (2009), a point of the grid at a time, with 30 + sqrt(n)."""
    n = len(exceedances)
    n_grid = 30 + math.floor(math.sqrt(n))
    quartile = exceedances[math.floor(n / 4 + 0.5) - 1]
    grid, profile = [], []
    for j in range(1, n_grid + 1):
        theta = 1 / exceedances[-1]
        theta += (1 - math.sqrt(n_grid / (j - 0.5))) / (3 * quartile)
        shape = sum(math.log(1 - theta * x) for x in exceedances) / n
        grid.append(theta)
        profile.append(n * (math.log(-theta / shape) - shape - 1))
    weights = [1 / sum(math.exp(other - own) for other in profile) for own in profile]
    theta = sum(w * t for w, t in zip(weights, grid, strict=True))
    shape = sum(math.log(1 - theta * x) for x in exceedances) / n
    return shape, -shape / theta


@pytest.mark.parametrize("n", [5, 20, 95])
def test_the_fit_is_that_of_the_paper(n):
    exceedances = np.sort(np.random.default_rng(n).exponential(size=n) ** 1.3)
    expected = slow_fit(exceedances.tolist())
    np.testing.assert_allclose(fit_generalised_pareto(exceedances), expected, 1e-10)


def test_a_short_tail_is_drawn_towards_one_half():
    ratios = np.sort(np.random.default_rng(5).uniform(size=100) ** -0.3)
    _, found = pareto_smooth(np.log(ratios))
    shape, _ = slow_fit((ratios[-20:] - ratios[-21]).tolist())
    assert found == pytest.approx((20 * shape + 10 * 0.5) / 30)


def test_exceedances_that_are_all_equal_have_a_shape():
    """For 100 of them the grid of -shape / scale holds a zero."""
    for n in (5, 100, 119, 200):
        shape, scale = fit_generalised_pareto(np.full(n, 2.0))
        assert np.isfinite(shape)
        assert scale > 0


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_the_shape_of_ratios_with_a_power_tail(shape):
    log_ratios = -shape * np.log(evenly(100_000)[::-1])
    _, found = pareto_smooth(np.random.default_rng(0).permutation(log_ratios))
    n_tail = int(np.ceil(3 * np.sqrt(100_000)))
    # Drawn towards 1/2 with the weight of ten draws.
    expected = (n_tail * shape + 5) / (n_tail + 10)
    assert abs(found - expected) < 0.01


def test_the_largest_weights_become_quantiles_and_the_others_stay():
    generator = np.random.default_rng(0)
    log_ratios = 0.6 * generator.exponential(size=1000)
    log_weights, _ = pareto_smooth(log_ratios)
    order = np.argsort(log_ratios)
    body, tail = order[:-95], order[-95:]
    assert np.exp(log_weights).sum() == pytest.approx(1)
    np.testing.assert_allclose(
        np.diff(log_weights[body] - log_ratios[body]), 0, atol=1e-12
    )
    assert (np.diff(log_weights[tail]) >= 0).all()
    assert log_weights[tail[0]] > log_weights[body[-1]]
    assert not np.allclose(np.diff((log_weights - log_ratios)[tail]), 0)


def test_no_weight_outgrows_the_largest_that_was_drawn():
    """The quantiles of bounded ratios would, since k is drawn towards 1/2."""
    log_ratios = np.log(np.linspace(0.5, 1, 1000))
    log_weights, shape = pareto_smooth(log_ratios)
    assert shape < -0.5
    rise = log_weights[-1] - log_weights[0]
    assert rise == pytest.approx(log_ratios[-1] - log_ratios[0], abs=1e-12)


def test_a_constant_changes_nothing_and_the_argument_stays():
    log_ratios = np.random.default_rng(1).normal(size=400)
    kept = log_ratios.copy()
    first, moved = pareto_smooth(log_ratios), pareto_smooth(log_ratios + 1e4)
    np.testing.assert_array_equal(log_ratios, kept)
    np.testing.assert_allclose(first[0], moved[0], atol=1e-9)
    assert first[1] == pytest.approx(moved[1], abs=1e-8)


def test_smoothing_makes_a_mean_of_heavy_ratios_steadier():
    """The mean of ratios with k = 0.7 (no variance) is known: 1 / (1 - k)."""
    generator, plain, smooth = np.random.default_rng(2), [], []
    for _ in range(300):
        ratios = generator.uniform(size=1000) ** -0.7
        log_weights, _ = pareto_smooth(np.log(ratios))
        # Their mean is that of the weights, in the unit of one in the body.
        body = ratios.argmin()
        plain.append(ratios.mean())
        smooth.append(ratios[body] / np.exp(log_weights[body]) / 1000)
    truth = 1 / 0.3
    error = {
        n: np.sqrt(np.mean((np.array(v) - truth) ** 2))
        for n, v in {"plain": plain, "smooth": smooth}.items()
    }
    assert error["smooth"] < 0.2 * error["plain"]


@pytest.mark.parametrize("efficiency", [0.1, 1.0])
def test_less_efficient_draws_have_a_longer_tail(efficiency):
    log_ratios = np.random.default_rng(3).exponential(size=4000) * 0.5
    log_weights, _ = pareto_smooth(log_ratios, relative_efficiency=efficiency)
    offset = (log_weights - log_ratios)[np.argsort(log_ratios)]
    first = int(np.argmax(np.abs(offset - offset[0]) > 1e-9))
    assert 4000 - first == int(np.ceil(min(4000 / 5, 3 * np.sqrt(4000 / efficiency))))


def test_ratios_without_a_tail_are_left_as_they_are():
    log_weights, shape = pareto_smooth(np.full(200, -3.0))
    np.testing.assert_allclose(log_weights, -np.log(200))
    assert shape == -np.inf
    # A third of the draws share the largest ratio.
    _, shape = pareto_smooth(np.repeat([0.0, 1.0, 2.0], 100))
    assert shape == -np.inf


@pytest.mark.parametrize("largest", [5.0, 800.0, 1e5])
def test_a_few_draws_above_all_others_are_no_tail_to_judge_by(largest):
    log_ratios = np.zeros(200)
    log_ratios[[3, 50]] = largest, largest - 1
    log_weights, shape = pareto_smooth(log_ratios)
    assert shape == np.inf
    assert log_weights[3] - log_weights[50] == pytest.approx(1)
    assert np.isfinite(log_weights).all()


def test_ratios_over_thousands_of_nats_stay_finite():
    log_ratios = np.linspace(0, 1e5, 1000)
    log_weights, shape = pareto_smooth(log_ratios)
    assert np.isfinite(log_weights).all()
    assert shape > 1


def test_the_largest_shape_grows_with_the_draws_up_to_a_bound():
    found = [largest_shape(n) for n in (25, 100, 2000, 10**4, 10**6)]
    np.testing.assert_allclose(found[1], 0.5)
    assert found[0] < found[1] < found[2] < found[3] == found[4] == 0.7
