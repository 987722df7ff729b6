"""The generative model against its equations; and what the filter makes of it."""

import equinox as eqx
import jax
import numpy as np
import pytest
from scipy import integrate, stats

from neuromod import hgf
from neuromod.core.errors import DivergedError, InvalidInputError, ShapeError
from neuromod.hgf import responses
from neuromod.hgf.agent import Agent
from neuromod.hgf.likelihood import Behaviour, log_likelihood
from neuromod.hgf.simulate import generate, simulate
from tests.hgf.test_inference import outcomes, series_of

EVERY_KIND = hgf.Network(
    [
        hgf.ContinuousInput("u", precision=4.0),
        hgf.ContinuousInput("w", precision=4.0),
        hgf.BinaryInput("b"),
        hgf.BinaryInput("p", noise_variance=0.01),
        hgf.ContinuousState("x", mean=1.0, tonic_volatility=-1.0, tonic_drift=0.2),
        hgf.ContinuousState("pull", tonic_volatility=-2.0, autoconnection=0.9),
        hgf.ContinuousState("v", tonic_volatility=-3.0, autoconnection=0.7),
        hgf.ContinuousState("n", tonic_volatility=-2.0, autoconnection=0.5),
        hgf.Constant("one"),
    ],
    [
        hgf.observation("x", "u", 0.5),
        hgf.observation("x", "w", 0.5),
        hgf.observation("one", "w", 3.0),
        hgf.probability("pull", "b", 2.0),
        hgf.probability("pull", "p", 2.0),
        hgf.drift("pull", "x", 0.4, "tanh"),
        hgf.drift("one", "x", -0.3),
        hgf.volatility("v", "x", 1.3),
        hgf.noise("n", "u", 0.6),
    ],
)
N_TRIALS = 4000


def assert_standard_normal(deviates):
    assert abs(deviates.mean()) < 4 / np.sqrt(deviates.size)
    assert deviates.var() == pytest.approx(1, abs=4 * np.sqrt(2 / deviates.size))
    assert stats.kstest(deviates, "norm").pvalue > 1e-3


def test_what_is_drawn_follows_the_equations_with_noise_of_its_own_everywhere():
    t = np.random.default_rng(1).uniform(0, 2, N_TRIALS)
    t[100:110] = 0
    drawn = simulate(EVERY_KIND, N_TRIALS, seed=0, time_steps=t)
    x, pull, v, n = drawn["states"].sel(node=["x", "pull", "v", "n"]).values.T
    u, w, b, p = drawn["inputs"].values.T

    def noise(state, kept, driven, log_variance):
        left = state[1:] - kept ** t[1:] * state[:-1] - t[1:] * driven
        moved = t[1:] > 0
        np.testing.assert_allclose(left[~moved], 0, atol=1e-12)
        return left[moved] / np.sqrt(t[1:][moved] * np.exp(log_variance)[moved])

    still = np.zeros(N_TRIALS - 1)
    driven = 0.2 - 0.3 + 0.4 * np.tanh(pull[1:])
    deviates = [
        noise(x, 1.0, driven, -1.0 + 1.3 * v[1:]),
        noise(pull, 0.9, 0.0, still - 2),
        noise(v, 0.7, 0.0, still - 3),
        noise(n, 0.5, 0.0, still - 2),
        (u - 0.5 * x) / np.sqrt(1 / 4 + np.exp(0.6 * n)),
        (w - 0.5 * x - 3) * 2,
        (p - np.round(p)) / 0.1,
    ]
    for deviate in deviates:
        assert_standard_normal(deviate)
    length = min(map(len, deviates))
    correlation = np.corrcoef([d[-length:] for d in deviates])
    np.testing.assert_allclose(correlation, np.eye(7), atol=4 / np.sqrt(length))
    expected = 1 / (1 + np.exp(-2 * pull))
    outcomes_ = b, np.round(p)
    for outcome in outcomes_:
        assert set(outcome) == {0, 1}
        z = np.sum(outcome - expected) / np.sqrt(np.sum(expected * (1 - expected)))
        assert abs(z) < 3
        assert np.corrcoef(outcome, expected)[0, 1] > 0.3
    assert abs(np.corrcoef(*(o - expected for o in outcomes_))[0, 1]) < 4 / 60


WALKS = hgf.Network(
    [
        hgf.ContinuousInput("u", precision=25.0),
        hgf.BinaryInput("b"),
        hgf.ContinuousState(
            "walk", mean=2.0, precision=1.0, tonic_volatility=-1.0, tonic_drift=0.5
        ),
        hgf.ContinuousState("regress", tonic_volatility=-1.0, autoconnection=0.6),
        hgf.ContinuousState("odds", mean=0.7, precision=1e12, tonic_volatility=-80.0),
    ],
    [
        hgf.observation("walk", "u"),
        hgf.observation("regress", "u"),
        hgf.probability("odds", "b", 2.0),
    ],
)
N_DRAWS = 10_000


def moments_of(drawn):
    states = drawn["states"].sel(node=["walk", "regress"])
    return states.mean("draw").values.T, states.var("draw").values.T


def test_moments_are_those_of_theory():
    drawn = simulate(WALKS, 15, seed=3, n_draws=N_DRAWS)
    mean, variance = moments_of(drawn)
    error = 4 * np.sqrt(2 / N_DRAWS)
    elapsed = np.arange(1, 16)
    grown = 1 + elapsed * np.exp(-1)
    np.testing.assert_allclose(variance[0], grown, rtol=error)
    away = np.abs(mean[0] - 2 - 0.5 * elapsed)
    assert (away < 4 * np.sqrt(grown / N_DRAWS)).all()
    stationary = np.exp(-1) / (1 - 0.6**2)
    assert variance[1, -1] == pytest.approx(stationary, rel=error)
    rate = 1 / (1 + np.exp(-2 * 0.7))
    ones = drawn["inputs"].sel(input="b").values
    assert ones.mean() == pytest.approx(rate, abs=4 * 0.5 / np.sqrt(ones.size))


def test_the_interval_scales_variance_drift_and_memory_and_the_start_may_be_the_mean():
    t = np.full(15, 2.5)
    drawn = simulate(WALKS, 15, seed=3, n_draws=N_DRAWS, start="mean", time_steps=t)
    mean, variance = moments_of(drawn)
    error = 4 * np.sqrt(2 / N_DRAWS)
    assert variance[0, 3] == pytest.approx(10 * np.exp(-1), rel=error)
    assert mean[0, 9] == pytest.approx(2 + 12.5, abs=4 * np.sqrt(25 / N_DRAWS))
    stationary = 2.5 * np.exp(-1) / (1 - 0.6**5)
    assert variance[1, -1] == pytest.approx(stationary, rel=error)


LINEAR = hgf.Network(
    [
        hgf.ContinuousInput("u", precision=2.0),
        hgf.ContinuousState("x", mean=0.5, precision=3.0, tonic_volatility=-1.0),
    ],
    [hgf.observation("x", "u", 1.5)],
)


def test_the_filter_is_calibrated_where_it_is_exact():
    drawn = simulate(LINEAR, N_TRIALS, seed=2)
    found = hgf.filter(LINEAR, drawn["inputs"])
    u = found.sel(node="u")
    error = drawn["inputs"].values[:, 0] - u["expected_mean"]
    x = found.sel(node="x")
    # Doubt about the state and noise of the observation.
    variance = 1.5**2 / x["expected_precision"] + 1 / u["expected_precision"]
    deviates = (error / np.sqrt(variance)).values
    assert_standard_normal(deviates)
    lagged = np.corrcoef(deviates[1:], deviates[:-1])[0, 1]
    assert abs(lagged) < 4 / np.sqrt(N_TRIALS)
    miss = (drawn["states"].values[:, 0] - x["mean"]) * np.sqrt(x["precision"])
    assert miss.values.var() == pytest.approx(1, abs=0.1)


def test_the_same_seed_gives_the_same_bits():
    first, again, other = (
        simulate(WALKS, 15, seed=seed, n_draws=N_DRAWS) for seed in (7, 7, 8)
    )
    assert first.identical(again)
    assert (first["states"] != other["states"]).all()


def test_precision_is_an_argument():
    drawn = simulate(LINEAR, 15, seed=7, precision="float32")
    assert drawn["states"].dtype == drawn["inputs"].dtype == np.float32


def test_draws_have_slopes_with_respect_to_the_parameters():
    def last(tonic):
        network = hgf.binary_three_level((tonic, -2.0))
        found = generate(network, 5, jax.random.key(0), np.array([1.0, 0, 1, 2, 0]))
        return found.states["x2"][-1]

    with jax.enable_x64(True):
        both = jax.jit(jax.value_and_grad(last))
        slope = both(-1.0)[1]
        step = (both(-1.0 + 1e-5)[0] - both(-1.0 - 1e-5)[0]) / 2e-5
    np.testing.assert_allclose(slope, step, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"n_trials": 0}, InvalidInputError, "n_trials"),
        ({"seed": -1}, InvalidInputError, "seed"),
        ({"n_draws": 0}, InvalidInputError, "n_draws"),
        ({"start": "means"}, InvalidInputError, "'mean'"),
        ({"time_steps": [1.0]}, ShapeError, "time_steps"),
        ({"precision": "half"}, InvalidInputError, "float32"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, kind, message):
    with pytest.raises(kind, match=message):
        simulate(WALKS, **({"n_trials": 15, "seed": 0} | settings))


def test_a_state_beyond_all_numbers_is_named():
    network = eqx.tree_at(lambda n: n["walk"].tonic_volatility, WALKS, 1600.0)
    with pytest.raises(DivergedError, match=r"'walk' .* trial 0"):
        simulate(network, 15, seed=0, n_draws=N_DRAWS)


@pytest.mark.parametrize("precision", [0.3, 1.0, 4.0])
def test_defect_7_predictive_densities_integrate_to_one(precision):
    # The state neither moves nor learns: every trial is predicted alike.
    network = hgf.Network(
        [
            hgf.ContinuousInput("u", precision=precision),
            hgf.ContinuousState("x", precision=1e10, tonic_volatility=-80.0),
        ],
        [hgf.observation("x", "u")],
    )
    grid = np.linspace(-15, 15, 2001)
    nats = hgf.filter(network, grid)["surprise"].sel(node="u")
    total = integrate.trapezoid(np.exp(-nats), grid)
    assert total == pytest.approx(1, abs=1e-6)


def test_defect_14_masked_trials_leave_every_sum():
    network, values = hgf.binary_three_level(), outcomes(30)
    seen = np.ones(30, bool)
    seen[[3, 11, 12]] = False
    model = Agent(network, responses.unit_square_sigmoid(2.0))
    choices = outcomes(30, seed=1)
    choices[~seen] = np.nan
    found = []
    for flip in (False, True):
        changed = np.where(seen | (not flip), values, 1 - values)
        filtered = hgf.filter(network, changed, observed=seen)
        assert (filtered["surprise"].sel(node="outcome")[~seen] == 0).all()
        series = series_of(changed, observed=(seen,))
        score = jax.jit(log_likelihood)(model, Behaviour(series, choices, {}))
        np.testing.assert_array_equal(score[~seen], 0)
        found.append((filtered["surprise"].sum("trial"), score.sum()))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
