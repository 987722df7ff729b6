"""The one-hot prior, against enumeration and quadrature."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from neuromod.switching import inference
from neuromod.switching.one_hot import OneHot
from neuromod.switching.preferences import log_preference
from neuromod.switching.strength import Strength
from tests.switching.models import random_model
from tests.switching.quadratics import at, quadratic_of, sweep


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("linear", [-40.0, -3.0, 0.0, 2.5, 30.0])
@pytest.mark.parametrize("precision", [0.3, 5.0])
def test_strengths_against_quadrature(linear, precision):
    def moment(power):
        def density(c):
            return c**power * np.exp(linear * c - 0.5 * precision * c**2 - top)

        return integrate.quad(density, 0, end, epsabs=0, epsrel=1e-12, limit=200)[0]

    mode = max(linear / precision, 0.0)
    top = linear * mode - 0.5 * precision * mode**2
    end = mode + min(15 / np.sqrt(precision), 40 / abs(min(linear, -1e-9)))
    found = Strength(jnp.asarray(linear), jnp.asarray(precision)).summary()
    area = moment(0)
    assert float(found.log_area) == pytest.approx(np.log(area) + top, rel=1e-9)
    assert float(found.mean) == pytest.approx(moment(1) / area, rel=3e-5)
    assert float(found.square) == pytest.approx(moment(2) / area, rel=3e-5)


def settle(prior, model, quadratic, n_steps=60):
    """Sweep until nothing moves, the preferences held."""
    state = inference.start_prior(prior, model, np.zeros(model.n_neurons))
    for _ in range(n_steps):
        step = sweep(prior, state, quadratic)
        quadratic = at(quadratic, step.values)
        state = step.state
    return state, step


def enumerated(model, quadratic, state, preference, source):
    """Exact kind and mean of the only coupling of each GLM, by quadrature."""
    values, gradient, information = (np.asarray(part) for part in quadratic)
    kinds = np.zeros((3, *model.bias.shape))
    means = np.zeros(model.bias.shape)
    for s, n in np.ndindex(model.bias.shape):
        slope = gradient[s, n] + information[s, n] @ values[s, n]
        square = information[s, n, 0, 0] + 1.0
        mixed = information[s, n, 0, 1] / square
        linear = slope[1] - mixed * slope[0]
        curve = information[s, n, 1, 1] - mixed * information[s, n, 0, 1]
        areas, firsts = [], []
        for k, sign in ((0, -1), (2, 1)):
            index = (0, k // 2)
            slab = [float(part[index]) for part in state.slab]

            def density(c, sign=sign, slab=slab, linear=linear, curve=curve, power=0):
                exponent = (sign * linear + slab[0]) * c
                return c**power * np.exp(exponent - 0.5 * (curve + slab[1]) * c**2)

            area = integrate.quad(density, 0, 12)[0]
            first = integrate.quad(lambda c, d=density: d(c, power=1), 0, 12)[0]
            norm = integrate.quad(
                lambda c, slab=slab: np.exp(slab[0] * c - 0.5 * slab[1] * c**2), 0, 40
            )[0]
            areas.append(area / norm)
            firsts.append(sign * first / area)
        prior = np.exp(np.asarray(preference)[source, :, 0, n])
        weight = prior * np.array([areas[0], 1.0, areas[1]])
        kinds[:, s, n] = weight / weight.sum()
        means[s, n] = kinds[0, s, n] * firsts[0] + kinds[2, s, n] * firsts[1]
    return kinds, means


def test_a_single_coupling_is_exact():
    """With one source nothing is approximated but the preferences."""
    model = random_model(n_neurons=1, n_states=3)
    quadratic = quadratic_of(model)
    prior = OneHot()
    state = inference.start_prior(prior, model, np.zeros(1))
    preference = log_preference(state.connections, "edge")
    step = sweep(prior, state, quadratic)
    kinds, means = enumerated(model, quadratic, state, preference, 0)
    np.testing.assert_allclose(step.state.connections.probability[0], kinds, rtol=1e-7)
    np.testing.assert_allclose(step.values[..., 1], means, rtol=1e-7)


def test_the_posterior_is_near_enumeration_of_all_kinds():
    """Four couplings of one neuron: all 81 patterns of kinds, strengths integrated."""
    model = random_model(n_neurons=2, n_states=1)
    quadratic = quadratic_of(model, seed=3, size=30.0)
    prior = OneHot()
    _, step = settle(prior, model, quadratic)
    start = inference.start_prior(prior, model, np.zeros(2))
    preference = np.asarray(log_preference(start.connections, "edge"))
    values, gradient, information = (np.asarray(part) for part in quadratic)
    grid = np.linspace(1e-3, 4.0, 160)
    width = grid[1] - grid[0]
    for n in range(2):
        slope = gradient[0, n] + information[0, n] @ values[0, n]
        square = information[0, n, :1, :1] + 1.0
        mixed = information[0, n, :1, 1:] / square
        linear = slope[1:] - mixed[0] * slope[0]
        curve = information[0, n, 1:, 1:] - mixed.T @ information[0, n, :1, 1:]
        weight = np.zeros((3, 3))
        for kinds in itertools.product(range(3), repeat=2):
            signs = np.array(kinds) - 1
            axes = [grid if sign else np.zeros(1) for sign in signs]
            w = np.stack(np.meshgrid(*axes, indexing="ij"), -1) * signs
            exponent = w @ linear - 0.5 * np.einsum("...i,ij,...j", w, curve, w)
            slab = sum(-0.5 * w[..., i] ** 2 for i in range(2) if signs[i])
            scale = (2 / np.sqrt(2 * np.pi) * width) ** np.abs(signs).sum()
            preferred = sum(preference[m, k, 0, n] for m, k in enumerate(kinds))
            weight[kinds] = (np.exp(exponent + slab)).sum() * scale * np.exp(preferred)
        weight /= weight.sum()
        exact = np.stack([weight.sum(1), weight.sum(0)])
        found = np.asarray(step.state.connections.probability)[:, :, 0, n]
        np.testing.assert_allclose(found, exact, atol=0.05)


@pytest.mark.parametrize("types", ["edge", "shared", "source"])
def test_sweeps_never_lower_the_bound(types):
    model = random_model(n_neurons=4, n_states=3, n_basis=2)
    prior, quadratic = OneHot(types=types), quadratic_of(model, seed=1)
    state = inference.start_prior(prior, model, np.zeros(4))
    state = sweep(prior, state, quadratic).state
    start = quadratic.values
    for _ in range(5):
        found = sweep(prior, state, quadratic)
        moved = found.values - quadratic.values
        lost = jnp.einsum("sgc,sgcd,sgd->sg", moved, quadratic.information, moved) / 2
        likelihood = (quadratic.gradient * moved).sum(-1) - lost
        if not np.array_equal(quadratic.values, start):
            assert float((likelihood + found.gain).sum()) >= -1e-9
        quadratic = at(quadratic, found.values)
        state = found.state


def test_shared_kinds_are_the_same_in_all_states():
    model = random_model(n_neurons=4, n_states=3, n_basis=2)
    state, _ = settle(OneHot(types="shared"), model, quadratic_of(model), 5)
    probability = np.asarray(state.connections.probability)
    np.testing.assert_allclose(probability, probability[:, :, :1] + 0 * probability)
    assert np.asarray(state.strength.linear).std(axis=3).min() > 0


def test_a_source_has_one_sign():
    model = random_model(n_neurons=4, n_states=3, n_basis=2)
    state, _ = settle(OneHot(types="source"), model, quadratic_of(model, 2, 60.0), 5)
    probability = np.asarray(state.connections.probability)
    away = ~np.eye(4, dtype=bool)
    for source in range(4):
        signs = probability[source][:, :, away[source]]
        strongest = signs.max((1, 2))
        assert min(strongest[0], strongest[2]) < 0.1
    free, _ = settle(OneHot(), model, quadratic_of(model, 2, 60.0), 5)
    mixed = np.asarray(free.connections.probability)[:, :, :, :]
    assert any(
        min(mixed[m][0][:, away[m]].max(), mixed[m][2][:, away[m]].max()) > 0.5
        for m in range(4)
    )


def test_what_is_no_coupling_has_no_kind():
    model = random_model(n_neurons=4, n_states=3, n_basis=2, n_own=2)
    quadratic = quadratic_of(model)
    state, step = settle(OneHot(), model, quadratic, 3)
    own = np.asarray(state.connections.probability)[range(4), :, :, range(4)]
    np.testing.assert_allclose(own, np.array([0.0, 1.0, 0.0])[None, :, None] + 0 * own)
    weight = np.asarray(step.values)[..., model.layout.n_dense :]
    weight = weight.reshape(model.weight.shape)
    assert (weight[:, range(4), range(4)] == 0).all()
    assert (weight[:, 0, 1] != 0).all()


def test_preferences_and_strengths_are_learned():
    """Posteriors drawn from known hyper-parameters give them back."""
    generator = np.random.default_rng(0)
    model = random_model(n_neurons=30, n_states=5, n_basis=1)
    prior = OneHot()
    state = inference.start_prior(prior, model, np.zeros(30))
    preference = generator.dirichlet([0.3, 1.4, 0.3], size=(30, 30))
    uniform = generator.random((30, 5, 30))
    below = preference.cumsum(-1)
    kinds = (uniform > below[:, None, :, 0]).astype(int)
    kinds += uniform > below[:, None, :, 1]
    probability = np.moveaxis(np.eye(3)[kinds], -1, 1)
    strength = np.abs(generator.normal(1.0, 0.3, size=(30, 1, 2, 5, 30)))
    certain = jnp.full(strength.shape, 1e6)
    state = state._replace(
        connections=state.connections._replace(probability=jnp.asarray(probability)),
        strength=Strength(jnp.asarray(strength) * certain, certain),
    )
    learn, quadratic = jax.jit(prior.learn), quadratic_of(model)
    for _ in range(20):
        state = learn(state, quadratic)
    np.testing.assert_allclose(
        state.connections.concentration, [0.3, 1.4, 0.3], rtol=0.2
    )
    location = state.slab.linear / state.slab.precision
    np.testing.assert_allclose(location, 1.0, atol=0.05)
    np.testing.assert_allclose(state.slab.precision**-0.5, 0.3, atol=0.03)
