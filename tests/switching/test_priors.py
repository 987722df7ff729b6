"""Priors on the couplings, against closed forms and optimality conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.switching import inference
from neuromod.switching.lasso import Lasso
from neuromod.switching.priors import Gaussian, Quadratic, Ridge
from tests.switching.models import random_model
from tests.switching.quadratics import at, quadratic_of, sweep


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_ridge_goes_to_the_top():
    model, prior = random_model(), Ridge(jnp.asarray(0.7))
    quadratic = quadratic_of(model)
    state = inference.start_prior(prior, model, np.full(3, -0.4))
    step = sweep(prior, state, quadratic)
    there = at(quadratic, step.values)
    centre = jnp.zeros_like(step.values).at[..., 0].set(-0.4)
    np.testing.assert_allclose(there.gradient, 0.7 * (step.values - centre), atol=1e-6)


@pytest.mark.parametrize("group", ["connection", "pair"])
def test_lasso_meets_its_optimality_conditions(group):
    """Zero where the slope is below the penalty, balanced by it elsewhere."""
    model = random_model(n_neurons=4, n_states=3, n_basis=2)
    prior = Lasso(jnp.asarray(4.0), group=group)
    quadratic = quadratic_of(model)
    state = inference.start_prior(prior, model, np.zeros(4))
    for _ in range(30):
        step = sweep(prior, state, quadratic)
        quadratic = at(quadratic, step.values)
    slope = np.asarray(quadratic.gradient)
    np.testing.assert_allclose(slope[..., 0], step.values[..., 0], atol=1e-6)
    shape = (3, 4, 4, 2)
    slope = slope[..., 1:].reshape(shape)
    weight = np.asarray(step.values)[..., 1:].reshape(shape)
    axes = (3,) if group == "connection" else (0, 3)
    size = np.sqrt(np.prod([shape[a] for a in axes]))
    length = np.sqrt((weight**2).sum(axes, keepdims=True))
    absent = length == 0
    assert 0.1 < absent.mean() < 0.95
    steepness = np.sqrt((slope**2).sum(axes, keepdims=True))
    assert (steepness[absent] <= 4.0 * size * (1 + 1e-6)).all()
    balanced = 4.0 * size * weight / np.where(absent, 1, length)
    there = np.broadcast_to(~absent, shape)
    np.testing.assert_allclose(slope[there], balanced[there], atol=1e-4)


def test_a_stronger_lasso_keeps_fewer_weights():
    model = random_model(n_neurons=4, n_states=3, n_basis=2)
    quadratic = quadratic_of(model)
    kept = []
    for strength in (0.0, 2.0, 8.0):
        prior = Lasso(jnp.asarray(strength))
        state = inference.start_prior(prior, model, np.zeros(4))
        values = sweep(prior, state, quadratic).values
        kept.append(int((np.asarray(values)[..., 1:] != 0).sum()))
    assert kept[0] == 3 * 4 * 8
    assert kept[0] > kept[1] > kept[2]


@jax.jit
def learn(prior, state, quadratic):
    return prior.learn(state, quadratic)


def settle(prior, model, quadratic, n_steps=200):
    state = inference.start_prior(prior, model, np.zeros(model.n_neurons))
    for _ in range(n_steps):
        step = sweep(prior, state, quadratic)
        quadratic = at(quadratic, step.values)
        state = learn(prior, step.state, quadratic)
    return state, step.values


def test_the_tied_gaussian_learns_both_widths():
    """Weights drawn around shared means, seen with known precision."""
    generator = np.random.default_rng(0)
    model = random_model(n_neurons=14, n_states=4)
    mean = generator.normal(0, 0.8, size=(14, 14))
    truth = mean + generator.normal(0, 0.25, size=(4, 14, 14))
    values = np.zeros((4, 14, 15))
    values[..., 1:] = truth + generator.normal(0, 0.1, size=truth.shape)
    information = np.broadcast_to(100.0 * np.eye(15), (4, 14, 15, 15))
    quadratic = Quadratic(
        jnp.asarray(values), jnp.zeros_like(values), jnp.asarray(information)
    )
    prior = Gaussian()
    state, found = settle(prior, model, quadratic)
    assert float(state.variance) ** 0.5 == pytest.approx(0.25, rel=0.1)
    assert float(state.mean_variance) ** 0.5 == pytest.approx(0.8, rel=0.1)
    error = np.sqrt(((np.asarray(found)[..., 1:] - truth) ** 2).mean())
    raw = np.sqrt(((values[..., 1:] - truth) ** 2).mean())
    assert error < 0.97 * raw


def test_a_narrow_tied_gaussian_makes_the_states_alike():
    model = random_model(n_neurons=4, n_states=3, n_basis=2)
    quadratic = quadratic_of(model)
    spread = []
    for width in (0.05, 0.5, 5.0):
        prior = Gaussian(standard_deviation=jnp.asarray(width))
        _, values = settle(prior, model, quadratic, 40)
        spread.append(float(np.asarray(values)[..., 1:].std(0).mean()))
    assert spread[0] < 0.3 * spread[1] < 0.5 * spread[2]
