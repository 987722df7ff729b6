import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod import errors
from neuromod.switching import (
    SwitchingGLM,
    b_spline_basis,
    exponential_basis,
    raised_cosine_basis,
)
from neuromod.switching.basis import resolve
from neuromod.switching.features import history
from neuromod.switching.observations import LINKS, OBSERVATIONS
from tests.switching.models import random_counts, random_model


def test_history_sees_only_the_past():
    counts = random_counts(n_steps=12, n_neurons=2)[0]
    basis = np.array([[0.6, 0.3, 0.1], [0.0, 0.0, 1.0]])
    with jax.enable_x64(True):
        past = np.asarray(history(counts, basis))
    for t in range(12):
        for k in range(2):
            lagged = [counts[t - 1 - i] if t - 1 - i >= 0 else 0 for i in range(3)]
            expected = sum(basis[k, i] * lagged[i] for i in range(3))
            np.testing.assert_allclose(past[t, :, k], expected, atol=1e-15)


def test_history_does_not_depend_on_the_present_or_future():
    counts = random_counts(n_steps=10)[0]
    changed = counts.copy()
    changed[5:] += 3
    with jax.enable_x64(True):
        before = np.asarray(history(counts, exponential_basis(3)))[:6]
        after = np.asarray(history(changed, exponential_basis(3)))[:6]
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", LINKS)
def test_links_have_their_inverse_and_slope(name):
    with jax.enable_x64(True):
        link = LINKS[name]
        rate = jnp.array([[0.01], [0.2], [0.7]])
        eta = link.inverse(rate)
        np.testing.assert_allclose(link.rate(eta), rate, rtol=1e-6)
        step = 1e-6
        slope = (link.rate(eta + step) - link.rate(eta - step)) / (2 * step)
        np.testing.assert_allclose(link.slope(eta, rate), slope, rtol=1e-6)


def values_of(name):
    """What an observation may say, fine enough to sum over."""
    if name in ("bernoulli", "categorical"):
        return np.arange(2.0)
    return np.arange(60.0) if name != "gaussian" else np.linspace(-8, 9, 4001)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observations_are_distributions(name):
    """Probabilities sum to one; mean, variance and score are theirs."""
    observation, values = OBSERVATIONS[name], values_of(name)[:, None]
    width = values[1, 0] - values[0, 0] if name == "gaussian" else 1.0

    def log_probability(rate):
        found = observation.log_probability(values, rate, dispersion)
        return found + observation.log_base(values)

    with jax.enable_x64(True):
        values = jnp.asarray(values)
        rate, dispersion = jnp.full_like(values, 0.8), jnp.full_like(values, 0.6)
        probability = np.exp(log_probability(rate)) * width
        slope = jax.jvp(log_probability, (rate,), (jnp.ones_like(rate),))[1]
        score = observation.score(values, rate, dispersion)
        variance = float(observation.variance(rate, dispersion)[0, 0])
        mean = (probability * values).sum()
        spread = (probability * (values - mean) ** 2).sum()
    assert probability.sum() == pytest.approx(1, abs=1e-6)
    assert mean == pytest.approx(0.8, rel=1e-5)
    assert spread == pytest.approx(variance, rel=1e-4)
    np.testing.assert_allclose(score, slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_draws_have_the_stated_mean_and_variance(name):
    observation = OBSERVATIONS[name]
    rate, dispersion = np.full((20_000, 1), 0.3), np.full((20_000, 1), 0.7)
    drawn = observation.draw(np.random.default_rng(0), rate, dispersion)
    variance = float(observation.variance(rate, dispersion)[0, 0])
    assert drawn.mean() == pytest.approx(0.3, abs=4 * np.sqrt(variance / 20_000))
    assert drawn.var() == pytest.approx(variance, rel=0.1)


def _fields(**changes):
    model = random_model()
    fields = {name: getattr(model, name) for name in model.__dataclass_fields__}
    return fields | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"link": "sofplus"}, "Did you mean 'softplus'"),
        ({"observation": "gauss"}, "observation: got 'gauss'"),
        ({"observation": "bernoulli"}, "'sigmoid' for bernoulli observations"),
        (
            {"observation": "gaussian", "link": None, "dispersion": np.zeros((2, 3))},
            "dispersion: got 0, expected numbers > 0",
        ),
        ({"input_weight": np.zeros((2, 4, 1))}, r"input_weight: got shape \(2, 4, 1\)"),
        ({"weight": np.zeros((2, 3, 2, 1))}, r"weight: got shape \(2, 3, 2, 1\)"),
        ({"initial": np.array([0.9, 0.3])}, "initial: .*sum to 1"),
        ({"transition_matrix": np.array([[1.5, -0.5], [0.5, 0.5]])}, "probabilities"),
    ],
)
def test_bad_parameters_are_refused(changes, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        SwitchingGLM(**_fields(**changes))


def test_bases_sum_to_one_and_start_one_bin_back():
    for basis in (exponential_basis(5), raised_cosine_basis(3, 10), b_spline_basis()):
        np.testing.assert_allclose(basis.sum(1), 1)
        assert basis[0].argmax() == 0
    expected = [0.636, 0.234, 0.086, 0.032, 0.012]
    np.testing.assert_allclose(exponential_basis(5)[0], expected, atol=5e-4)


@pytest.mark.parametrize(
    ("basis", "message"),
    [
        (np.ones(4), "has shape"),
        (np.ones((0, 4)), "shape"),
        ("exponental", "Did you mean 'exponential'"),
        (np.array([[np.nan]]), "finite"),
    ],
)
def test_bad_bases_are_refused(basis, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        resolve(basis)


def test_no_basis_means_no_couplings():
    assert resolve(None).shape == (0, 0)
