"""The network that draws latents against its equations, and its derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.kernels import LatentMTRNN, scan

T, B, N_IN, H, Z = 7, 2, 3, 5, 2
MASK = np.array([1, 1, 0, 1, 1, 1, 1], bool)
CONSTANTS = np.array([1.0, 2.0, 5.0, 5.0, 40.0])


@pytest.fixture
def everything():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        cell = LatentMTRNN.random(jax.random.key(0), N_IN, H, Z, time_constant=1.0)
        cell = jax.tree.map(
            lambda x: jnp.asarray(0.5 * rng.normal(size=np.shape(x))), cell
        )
        fields = {k: getattr(cell, k) for k in vars(cell)} | {
            "time_constant": jnp.asarray(CONSTANTS)
        }
        carry = jax.tree.map(
            lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape)), cell.initial((B,))
        )
        inputs = jnp.asarray(rng.normal(size=(T, B, N_IN)))
        yield (
            LatentMTRNN(**fields),
            carry,
            inputs,
            jnp.asarray(rng.normal(size=(T, B, Z))),
        )


def by_numpy(cell, carry, inputs, noise):
    u, y = carry
    rows = []
    for t in range(T):
        if MASK[t]:
            g = (
                y @ cell.recurrent_weight.T
                + inputs[t] @ cell.input_weight.T
                + cell.bias
            )
            mean, deviation = np.tanh(g[:, H : H + Z]), np.exp(g[:, H + Z :])
            z = mean + deviation * noise[t]
            drive = g[:, :H] + z @ cell.latent_weight.T
            u = (1 - 1 / CONSTANTS) * u + drive / CONSTANTS
            y = np.tanh(u)
            rows.append((y, mean, deviation))
        else:
            rows.append(tuple(np.zeros((B, n)) for n in (H, Z, Z)))
    return [np.stack(part) for part in zip(*rows, strict=True)]


def loss(everything, plain):
    cell, carry, inputs, noise = everything
    step = (lambda *given: cell(*given)) if plain else cell
    end, outputs, _ = scan(step, carry, inputs, noise=noise, mask=MASK)
    return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves((end, outputs)))


def test_it_is_the_loop_of_its_equations(everything):
    cell, carry, inputs, noise = everything
    found = scan(cell, carry, inputs, noise=noise, mask=MASK).outputs
    expected = by_numpy(*jax.tree.map(np.asarray, everything))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


def test_its_derivative_is_that_of_the_loop(everything):
    hand, auto = (
        jax.jit(jax.grad(loss), static_argnums=1)(everything, p) for p in (0, 1)
    )
    for one, other in zip(*map(jax.tree.leaves, (hand, auto)), strict=True):
        assert np.abs(other).sum() > 0
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    change = jax.tree.map(jnp.cos, everything)
    _, forward = jax.jvp(lambda e: loss(e, False), (everything,), (change,))
    dots = jax.tree.leaves(jax.tree.map(jnp.vdot, hand, change))
    np.testing.assert_allclose(forward, sum(dots), rtol=1e-11)


def test_without_noise_the_latents_are_their_means(everything):
    cell, carry, inputs, noise = everything
    silent = scan(cell, carry, inputs).outputs
    zero = scan(cell, carry, inputs, noise=0 * noise).outputs
    np.testing.assert_array_equal(silent.activity, zero.activity)


def test_noise_may_come_from_a_key(everything):
    cell, carry, inputs, _ = everything
    key = jax.random.key(3)
    whole = scan(cell, carry, inputs, noise=key)
    first = scan(cell, carry, inputs[:3], noise=key)
    rest = scan(cell, first.carry, inputs[3:], noise=key, first_step=3)
    np.testing.assert_array_equal(whole.outputs.activity[3:], rest.outputs.activity)
    still = scan(cell, carry, inputs).outputs
    assert np.abs(whole.outputs.activity - still.activity).max() > 0.01
