"""Binary outcomes seen through noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from neuromod import hgf
from neuromod.core.errors import InvalidInputError
from neuromod.core.models import rebuild, take_apart
from neuromod.hgf import inference
from neuromod.hgf.prediction import outcome_of
from tests.hgf.test_inference import outcomes, series_of


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def network_of(variance, tonic=-2.0):
    return hgf.Network(
        [
            hgf.BinaryInput("u", noise_variance=variance),
            hgf.ContinuousState("x2", tonic_volatility=tonic),
        ],
        [hgf.probability("x2", "u")],
    )


@jax.jit
def everything(network, series):
    found = inference.run(network, series)
    return (
        found,
        inference.errors(network, series, found),
        inference.surprise(network, series, found)["u"],
    )


def seen_through_noise(variance, n_trials=60):
    noise = np.random.default_rng(2).normal(size=n_trials)
    return outcomes(n_trials) + np.sqrt(variance) * noise


def test_beliefs_follow_the_equations():
    variance, values = 0.3, seen_through_noise(0.3)
    found, errors, surprise = everything(network_of(variance), series_of(values))
    mean, precision, want = 0.0, 1.0, []
    for u in values:
        expected = 1 / (1 + np.exp(-mean))
        e0, e1 = (np.exp(-((u - eta) ** 2) / (2 * variance)) for eta in (0, 1))
        density = expected * e1 + (1 - expected) * e0
        outcome = expected * e1 / density
        precision = 1 / (1 / precision + np.exp(-2.0)) + expected * (1 - expected)
        mean = mean + (outcome - expected) / precision
        error = (outcome - expected) / (expected * (1 - expected))
        nats = -np.log(density / np.sqrt(2 * np.pi * variance))
        want.append((mean, precision, error, nats))
    belief = found.beliefs["x2"]
    got = np.stack([belief.mean, belief.precision, errors["u"].value, surprise], 1)
    np.testing.assert_allclose(got, want, rtol=1e-10)


@pytest.mark.parametrize("variance", [1e-3, 1e-12, 1e-100])
def test_without_noise_the_outcome_is_seen(variance):
    values = outcomes(60)
    noisy = everything(network_of(variance), series_of(values))
    exact = everything(network_of(None), series_of(values))
    for a, b in zip(
        jax.tree.leaves(noisy[:2]), jax.tree.leaves(exact[:2]), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    # A density is not a probability: that of 0 noise is 1 / sqrt(2 pi a) at its peak.
    peak = np.log(2 * np.pi * variance) / 2
    np.testing.assert_allclose(noisy[2] - peak, exact[2], rtol=1e-12, atol=1e-12)


def test_without_contrast_nothing_is_learned():
    found, errors, _ = everything(network_of(1e12), series_of(outcomes(60)))
    np.testing.assert_allclose(errors["u"].value, 0.0, atol=1e-10)
    np.testing.assert_allclose(found.beliefs["x2"].mean, 0.0, atol=1e-8)


def test_the_surprise_is_of_a_density():
    grid = np.linspace(-6, 7, 20001)
    nats = inference.noisy_binary_surprise(
        grid, jnp.full_like(grid, 0.8), jnp.asarray(0.5)
    )
    total = np.trapezoid(np.exp(-nats), grid)
    np.testing.assert_allclose(total, 1.0, rtol=1e-8)


@pytest.mark.parametrize("variance", [0.2, 1e-30])
def test_gradients_are_right_and_finite(variance):
    values = seen_through_noise(min(variance, 0.2))
    observed = np.arange(60) % 7 > 0
    values[~observed] = np.nan
    series = series_of(values, observed=(observed,))

    @jax.jit
    def total(tonic, log_ratio):
        network = network_of(variance * jnp.exp(log_ratio), tonic)
        found = inference.run(network, series)
        error = inference.errors(network, series, found)["u"].value
        nats = inference.surprise(network, series, found)["u"]
        return nats.sum() + (error**2).sum()

    slopes = jax.jit(jax.grad(total, (0, 1)))(-2.0, 0.0)
    for number, slope in enumerate(slopes):
        step = np.eye(2)[number] * 1e-6
        at = np.array([-2.0, 0.0])
        high, low = (total(*(at + sign * step)) for sign in (1, -1))
        np.testing.assert_allclose(slope, (high - low) / 2e-6, rtol=1e-6, atol=1e-6)


def test_a_missing_observation_says_nothing():
    values, observed = seen_through_noise(0.3), np.arange(60) != 5
    values[5] = np.nan
    found, errors, surprise = everything(
        network_of(0.3), series_of(values, observed=(observed,))
    )
    assert errors["u"].value[5] == 0
    assert surprise[5] == 0
    belief, predicted = found.beliefs["x2"], found.predictions["x2"]
    assert belief.mean[5] == predicted.mean[5]
    assert belief.precision[5] == predicted.precision[5]


def test_the_filter_tells_the_probability_of_the_outcome():
    values = seen_through_noise(0.3, 12)
    values[3] = np.nan
    beliefs = hgf.filter(network_of(0.3), values)
    column = beliefs.sel(node="u")
    expected = jnp.asarray(column["expected_mean"].values)
    want = outcome_of(network_of(0.3)["u"], values, jnp.log(expected / (1 - expected)))
    np.testing.assert_allclose(column["mean"], want, rtol=1e-12)
    assert np.isnan(column["mean"][3])
    exact = hgf.filter(network_of(None), outcomes(12))
    nearly = hgf.filter(network_of(1e-9), outcomes(12))
    xr.testing.assert_allclose(
        nearly.drop_vars("surprise"), exact.drop_vars("surprise"), rtol=1e-12
    )


def test_noise_is_what_lets_real_numbers_in():
    with pytest.raises(InvalidInputError, match=r"0\.4 at trial 1.*0 or 1"):
        hgf.filter(network_of(None), [1, 0.4])
    with pytest.raises(InvalidInputError, match=r"inf at trial 1.*finite"):
        hgf.filter(network_of(0.1), [1, np.inf])
    for wrong in (0.0, -1.0, np.nan, "much"):
        with pytest.raises(InvalidInputError, match="noise_variance"):
            hgf.BinaryInput("u", noise_variance=wrong)


def test_a_noisy_input_is_built_again_from_its_fields():
    packed, dataset = take_apart(network_of(0.3))
    again = rebuild(packed, dataset, {})
    assert float(again["u"].noise_variance) == 0.3
    assert rebuild(*take_apart(network_of(None)), {})["u"].is_exact
