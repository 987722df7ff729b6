"""Columns do what their equations say: fixed points, bifurcations, every parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from neuromod.core.errors import ShapeError
from neuromod.plants import JansenRit, State, solve

STANDARD = {
    "input_rate": 220.0,
    "stimulation_gain": 1.0,
    "n_synapses": 135.0,
    "excitatory_gain": 3.25,
    "inhibitory_gain": 22.0,
    "excitatory_rate": 100.0,
    "inhibitory_rate": 50.0,
    "largest_rate": 5.0,
    "half_potential": 6.0,
    "steepness": 0.56,
}
CONNECTIVITY = np.array([[0.0, 8.0, 0.0], [3.0, 0.0, 5.0], [0.0, -4.0, 0.0]])


def by_hand(y, current, connectivity, given):
    """Return the derivatives of Jansen and Rit's six states, one by one."""
    p, gain, c, a_, b_, a, b, top, v0, r = given.values()

    def rate(v):
        return top / (1 + np.exp(r * (v0 - v)))

    y0, y1, y2, y3, y4, y5 = y
    outside = p + gain * current + connectivity @ rate(y1 - y2)
    return np.stack(
        [
            y3,
            y4,
            y5,
            a_ * a * rate(y1 - y2) - 2 * a * y3 - a**2 * y0,
            a_ * a * (outside + 0.8 * c * rate(c * y0)) - 2 * a * y4 - a**2 * y1,
            b_ * b * 0.25 * c * rate(0.25 * c * y0) - 2 * b * y5 - b**2 * y2,
        ]
    )


def reference(times, connectivity, given):
    """Return the six states (state, region, time) by another solver."""
    n_regions = len(connectivity)

    def drift(_, y):
        y = y.reshape(6, n_regions)
        return by_hand(y, np.zeros(n_regions), connectivity, given).ravel()

    ends, start, error = (times[0], times[-1]), np.zeros(6 * n_regions), 1e-11
    options = {"method": "DOP853", "t_eval": times, "rtol": error, "atol": error}
    return solve_ivp(drift, ends, start, **options).y.reshape(6, n_regions, -1)


def resting_potential(input_rate):
    """Return the potentials at which a column alone stands still; of several, the
    ones with the largest pyramidal potential."""

    def rate(v):
        return 5.0 / (1 + np.exp(0.56 * (6 - v)))

    def parts(v):
        y0 = 3.25 / 100 * rate(v)
        y1 = 3.25 / 100 * (input_rate + 108 * rate(135 * y0))
        y2 = 22 / 50 * 33.75 * rate(33.75 * y0)
        return y0, y1, y2

    def excess(v):
        _, y1, y2 = parts(v)
        return y1 - y2 - v

    return np.array(parts(brentq(excess, 5.0, 30.0)))


def growth(input_rate):
    """Return the largest real part of an eigenvalue where a column stands still."""
    column = JansenRit(input_rate=input_rate)
    potential = jnp.asarray(resting_potential(input_rate))[:, None]
    at = State(potential, jnp.zeros((3, 1)))
    still = jnp.zeros(1)
    assert max(abs(x).max() for x in column.drift(at, still)) < 1e-6
    flat, back = jax.flatten_util.ravel_pytree(at)

    def drift(x):
        return jax.flatten_util.ravel_pytree(column.drift(back(x), still))[0]

    return np.linalg.eigvals(np.asarray(jax.jacobian(drift)(flat))).real.max()


def test_the_drift_is_that_of_the_six_equations():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(6, 3)) * [[0.1], [10], [10], [1], [50], [50]]
    current = jnp.asarray(rng.uniform(0, 50, 3))
    given = {k: v * rng.uniform(0.8, 1.2, 3) for k, v in STANDARD.items()}
    plant = JansenRit(CONNECTIVITY, **given)
    found = plant.drift(State(jnp.asarray(y[:3]), jnp.asarray(y[3:])), current)
    expected = by_hand(y, current, CONNECTIVITY, given)
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-12)


@pytest.mark.parametrize("name", STANDARD)
def test_every_parameter_is_in_the_equations(name):
    rng = np.random.default_rng(1)
    y = rng.uniform(0.05, 0.2, size=(6, 1)) * [[1], [50], [20], [1], [1], [1]]
    given = STANDARD | {name: 1.3 * STANDARD[name]}
    at = State(jnp.asarray(y[:3]), jnp.asarray(y[3:]))
    current = jnp.full(1, 20.0)
    expected = by_hand(y, np.full(1, 20.0), np.zeros((1, 1)), given)
    found = np.concatenate(JansenRit(**{name: given[name]}).drift(at, current))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert abs(found - np.concatenate(JansenRit().drift(at, current))).max() > 1e-3


def test_the_alpha_rhythm_is_born_and_dies_where_it_is_known_to():
    # Grimbert & Faugeras 2006: Hopf bifurcations at p of 89.83 and 315.70.
    assert brentq(growth, 300.0, 330.0, xtol=1e-3) == pytest.approx(315.70, abs=0.01)
    assert brentq(growth, 80.0, 100.0, xtol=1e-3) == pytest.approx(89.83, abs=0.01)


def solution(plant, end):
    """Return the six states at 51 times."""
    times = jnp.linspace(0.0, end, 51)
    states = solve(plant, plant.silence(), times, tolerance=jnp.asarray(1e-9))
    return np.moveaxis(np.concatenate(states, axis=1), 0, -1)


def test_a_column_that_is_driven_too_hard_comes_to_rest():
    found = solution(JansenRit(np.zeros((3, 3)), input_rate=450.0), 9.0)[:3, 0, -1]
    np.testing.assert_allclose(found, resting_potential(450.0), rtol=1e-6)


def test_the_path_is_that_of_an_independent_solver():
    rates = np.array([150.0, 220.0, 300.0])
    found = solution(JansenRit(CONNECTIVITY, input_rate=rates), 0.5)
    given = STANDARD | {"input_rate": rates}
    expected = reference(np.linspace(0, 0.5, 51), CONNECTIVITY, given)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_rates_of_many_times_are_those_of_each():
    plant = JansenRit(CONNECTIVITY, half_potential=np.array([5.0, 6.0, 7.0]))
    states = State(*(jax.random.normal(jax.random.key(k), (4, 3, 3)) for k in (0, 1)))
    together = plant.firing_rate(states)
    one = plant.firing_rate(State(states.potential[2], states.slope[2]))
    np.testing.assert_allclose(together[2], one)
    assert together.shape == (4, 3)


def test_noise_enters_the_excitation_alone():
    plant = JansenRit(CONNECTIVITY, input_noise=np.array([1.0, 2.0, 0.0]))
    found = plant.diffusion(jnp.asarray([1.0, 1.0, 1.0]))
    assert not found.potential.any()
    np.testing.assert_allclose(found.slope[1], [325.0, 650.0, 0.0])
    assert not found.slope[jnp.asarray([0, 2])].any()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"connectivity": np.zeros((2, 3))}, "connectivity"),
        ({"connectivity": np.zeros(3)}, "connectivity"),
        ({"connectivity": np.zeros((2, 2)), "input_rate": np.ones(3)}, "input_rate"),
    ],
)
def test_shapes_that_do_not_fit_are_told(given, told):
    with pytest.raises(ShapeError, match=told):
        JansenRit(**given)
