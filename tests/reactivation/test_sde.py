import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.reactivation import inference, sde
from neuromod.reactivation.network import Layer, VanillaNetwork

N_STEPS, N_UNITS, FINE = 16, 8, 8


def small_network(**fields):
    generator = np.random.default_rng(0)
    sizes = [(N_UNITS, 5), (N_UNITS, 2), (N_UNITS, N_UNITS), (5, N_UNITS)]
    layers = [Layer(jnp.asarray(generator.normal(size=s) / 2)) for s in sizes]
    fields = {"recurrent_noise": jnp.asarray(0.1), "activation": "tanh"} | fields
    return VanillaNetwork(*layers, **fields)


def given():
    generator = np.random.default_rng(1)
    inputs, state = generator.normal(size=(N_STEPS, 2)), generator.normal(size=N_UNITS)
    return jnp.asarray(inputs), jnp.asarray(state)


@functools.cache
def brownian(seed):
    return sde.brownian_path(jax.random.key(seed), N_STEPS, N_UNITS, jnp.float64)


def continuous(n_substeps, solver, seed=0, noise=0.1):
    """A solution (time, unit) at a resolution."""
    network = small_network(recurrent_noise=jnp.asarray(noise))
    sizes = {"n_steps": N_STEPS, "n_substeps": jnp.asarray(n_substeps)}
    return sde.run(network, *given(), brownian(seed), solver=solver, **sizes)


@jax.jit
def increments(path):
    """What a path moves in each of the finest steps."""
    times = jnp.arange(N_STEPS * FINE + 1) / FINE
    return jax.lax.map(lambda pair: path.evaluate(*pair), (times[:-1], times[1:]))


@partial(jax.jit, static_argnums=1)
def discrete(moved, n_substeps):
    """The network itself with smaller steps, less leak and less noise in each."""
    network = small_network(
        time_step=0.02 / n_substeps, recurrent_noise=0.1 / n_substeps**0.5
    )
    inputs, state = given()
    parts = moved.reshape(N_STEPS * n_substeps, FINE // n_substeps, N_UNITS)
    run = inference.run(
        network,
        jnp.repeat(inputs, n_substeps, axis=0),
        inference.begin(state),
        noise=inference.Noise(recurrent=parts.sum(axis=1) * n_substeps**0.5),
    )
    return run.states[n_substeps - 1 :: n_substeps]


def test_the_network_is_the_euler_solution():
    with jax.enable_x64(True):
        moved = increments(brownian(0))
        for n_substeps in (1, 4):
            np.testing.assert_allclose(
                continuous(n_substeps, "euler"), discrete(moved, n_substeps), rtol=1e-9
            )


def test_the_network_converges_to_the_equation_with_strong_order_one():
    # The error in the mean square over paths halves with the step: the noise is
    # additive, so Euler-Maruyama is of order 1, not of order 1/2.
    sizes, squares = [1, 2, 4, 8], []
    with jax.enable_x64(True):
        for seed in range(10):
            truth = continuous(64, "heun", seed)[-1]
            moved = increments(brownian(seed))
            ends = jnp.stack([discrete(moved, n)[-1] for n in sizes])
            squares.append(np.mean((ends - truth[None]) ** 2, axis=1))
    errors = np.mean(squares, axis=0) ** 0.5
    order = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert 0.9 < order < 1.15, (order, errors)
    assert errors[0] > 0.01


def test_heun_is_of_order_two_where_there_is_no_noise():
    def errors(solver):
        truth = continuous(128, "heun", noise=0.0)[-1]
        found = [continuous(n, solver, noise=0.0)[-1] for n in (2, 4)]
        return [float(jnp.abs(f - truth).max()) for f in found]

    with jax.enable_x64(True):
        euler, heun = errors("euler"), errors("heun")
    assert euler[0] / euler[1] == pytest.approx(2, rel=0.2)
    assert heun[0] / heun[1] == pytest.approx(4, rel=0.2)
    assert heun[0] < euler[0] / 5


def solve(**options):
    inputs, state = given()
    options = {"seed": 0, "inputs": inputs, "initial": state} | options
    with jax.enable_x64(True):
        return sde.solve(small_network(), 0.32, **options)


def test_a_solution_says_state_and_output_at_the_steps_of_the_network():
    found = solve()
    assert found["state"].dims == ("time", "unit")
    np.testing.assert_allclose(found["time"], 0.02 * np.arange(1, N_STEPS + 1))
    weight = np.asarray(small_network().output_layer.weight)
    np.testing.assert_allclose(
        found["output"], found["state"].values @ weight.T, rtol=1e-5
    )
    np.testing.assert_array_equal(found["state"], solve()["state"])
    for other in ({"seed": 1}, {"inputs": -given()[0]}, {"initial": None}):
        assert not np.allclose(solve(**other)["state"], found["state"])


def test_the_same_seed_is_the_same_trajectory_at_every_resolution():
    coarse, fine, other = (
        solve(seed=seed, n_substeps=n)["state"].values[-1]
        for seed, n in ((0, 1), (0, 8), (1, 8))
    )
    assert np.abs(coarse - fine).max() < 0.2 * np.abs(other - fine).max()


def test_what_has_no_equation_is_refused():
    refused = {
        "uniform01": {"noise_law": "uniform01"},
        "inside the activation": {"noise_inside": True},
        "noise inside": {"input_noise": 0.1},
    }
    for text, fields in refused.items():
        with pytest.raises(InvalidInputError, match=text):
            sde.solve(small_network(**fields), 0.1, seed=0)
    with pytest.raises(InvalidInputError, match="at least one time step"):
        sde.solve(small_network(), 0.001, seed=0)
    with pytest.raises(InvalidInputError, match="Did you mean 'heun'"):
        sde.solve(small_network(), 0.1, seed=0, solver="huen")
    with pytest.raises(ShapeError, match=r"inputs: got shape \(3, 2\)"):
        sde.solve(small_network(), 0.1, seed=0, inputs=np.zeros((3, 2)))
    with pytest.raises(InvalidInputError, match="initial: got NaN"):
        sde.solve(small_network(), 0.1, seed=0, initial=np.full(N_UNITS, np.nan))
