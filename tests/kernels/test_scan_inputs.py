"""Noise, generated inputs and events: what the steps read and nobody stores."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.kernels import Events, LeakyRNN, make_stepper, scan

N_STEPS, N_HIDDEN = 24, 3
KEY = jax.random.key(5)


def leaky(carry, x):
    carry = 0.5 * carry + x
    return carry, carry


@functools.cache
def network():
    return LeakyRNN.random(KEY, 2, N_HIDDEN, leak=0.3, noise_scale=0.5)


def noisy(carry, inputs, **options):
    return jax.jit(lambda c, x: scan(network(), c, x, **options)[:2])(carry, inputs)


def test_a_key_draws_the_noise_that_the_steps_are_given():
    """Step t sees the normal numbers of fold_in(key, t), whatever the loop."""
    x = jax.random.normal(KEY, (N_STEPS, 2))
    noise = jnp.stack(
        [jax.random.normal(jax.random.fold_in(KEY, t), (N_HIDDEN,)) for t in range(24)]
    )
    carry = network().initial()
    _, drawn = noisy(carry, x, noise=KEY)
    _, given = noisy(carry, x, noise=noise)
    np.testing.assert_allclose(drawn, given, atol=1e-6)
    _, silent = noisy(carry, x)
    assert np.abs(drawn - silent).max() > 0.1


def test_the_same_noise_in_chunks_streams_lanes_and_steppers():
    x = jax.random.normal(KEY, (N_STEPS, 2))
    carry = network().initial()
    _, whole = noisy(carry, x, noise=KEY)
    _, chunked = noisy(carry, x, noise=KEY, checkpoint=5)
    np.testing.assert_allclose(chunked, whole, atol=1e-6)

    going, parts = carry, []
    for start in (0, 8, 16):
        part = x[start : start + 8]
        going, outputs = noisy(going, part, noise=KEY, first_step=start)
        parts.append(outputs)
    np.testing.assert_allclose(jnp.concatenate(parts), whole, atol=1e-6)

    stepper, going = make_stepper(network(), noise=KEY), jnp.copy(carry)
    for t in range(N_STEPS):
        going, output = stepper(going, x[t], t)
        np.testing.assert_allclose(output, whole[t], atol=1e-6)

    keys = jax.random.split(KEY, 2)
    lanes = jax.vmap(lambda k: scan(network(), carry, x, noise=k).outputs)(keys)
    both = jnp.stack([x, x], axis=1)
    batch = scan(network(), network().initial((2,)), both, noise=keys).outputs
    np.testing.assert_allclose(batch, jnp.swapaxes(lanes, 0, 1), atol=1e-6)
    assert np.abs(lanes[0] - lanes[1]).max() > 0.1


def test_a_function_gets_the_key_of_its_step():
    draw = lambda carry, x, key: (carry, x + jax.random.uniform(key))  # noqa: E731
    _, drawn, _ = scan(draw, jnp.float32(0), jnp.zeros(4), noise=KEY, first_step=7)
    keys = [jax.random.fold_in(KEY, 7 + t) for t in range(4)]
    np.testing.assert_array_equal(drawn, [jax.random.uniform(key) for key in keys])


@pytest.mark.parametrize("checkpoint", [None, 5])
def test_inputs_from_a_function(checkpoint):
    """Of the number of the step, for functions and cells, with gradients."""
    options = {"n_steps": N_STEPS, "first_step": 3, "checkpoint": checkpoint}
    wave = lambda t, scale: scale * jnp.sin(0.5 * t.astype(float)) * jnp.ones(2)  # noqa: E731
    stored = jax.vmap(functools.partial(wave, scale=2.0))(jnp.arange(3, 27))
    carry = network().initial()

    @jax.jit
    def total(scale):
        ours = scan(network(), carry, lambda t: wave(t, scale), **options).outputs
        plain = scan(leaky, jnp.zeros(2), lambda t: wave(t, scale), **options).outputs
        return jnp.sum(ours**2) + jnp.sum(plain**2)

    value, slope = jax.value_and_grad(total)(2.0)
    want = jnp.sum(noisy(carry, stored)[1] ** 2)
    want += jnp.sum(scan(leaky, jnp.zeros(2), stored).outputs ** 2)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    step = 1e-2
    np.testing.assert_allclose(
        slope, (total(2 + step) - total(2 - step)) / (2 * step), rtol=1e-3
    )


def dense(events):
    laid_out = np.zeros((N_STEPS, 2), np.float32)
    np.add.at(laid_out, events.step, events.value)
    return laid_out


@pytest.mark.parametrize("checkpoint", [None, 5])
def test_events_are_the_array_that_they_stand_for(checkpoint):
    rng = np.random.default_rng(0)
    step = rng.integers(0, N_STEPS, 15)
    events = Events(step, jnp.asarray(rng.normal(size=(15, 2)), jnp.float32))
    assert len(np.unique(step)) < 15
    options = {"n_steps": N_STEPS, "checkpoint": checkpoint}

    @jax.jit
    def run(value, array):
        return [every_way(events._replace(value=value)), every_way(array)]

    def every_way(inputs):
        ways = ({}, {"mask": np.arange(N_STEPS) % 7 != 3}, {"reverse": True})
        start = network().initial()
        return [
            *(scan(leaky, jnp.zeros(2), inputs, **options, **way)[1] for way in ways),
            scan(network(), start, inputs, **options).outputs,
        ]

    got, want = run(events.value, jnp.asarray(dense(events)))
    close = functools.partial(np.testing.assert_allclose, atol=1e-6)
    jax.tree.map(close, got, want)


def test_a_stream_of_events():
    """Each part takes the events of its own steps; none is no event."""
    events = Events(np.array([1, 3, 3, 30]), jnp.ones(4))
    whole = scan(leaky, jnp.float32(0), events, n_steps=24).outputs
    carry, first, _ = scan(leaky, jnp.float32(0), events, n_steps=10)
    _, second, _ = scan(leaky, carry, events, n_steps=14, first_step=10)
    np.testing.assert_allclose(jnp.concatenate([first, second]), whole, atol=1e-7)
    silence = Events(np.array([], int), jnp.ones(0))
    assert not scan(leaky, jnp.float32(0), silence, n_steps=24).outputs.any()


def test_events_have_gradients():
    step = np.array([2, 5, 5])

    def total(value):
        options = {"n_steps": 8, "checkpoint": 3}
        return jnp.sum(scan(leaky, jnp.float32(0), Events(step, value), **options)[1])

    # An event at step t is seen with weights 1, 1/2, ... until the end.
    want = [2 - 0.5 ** (7 - t) for t in step]
    np.testing.assert_allclose(jax.grad(total)(jnp.ones(3)), want, rtol=1e-6)


def test_events_must_be_known():
    with pytest.raises(ValueError, match="steps that are traced, expected NumPy"):
        jax.jit(
            lambda step: scan(leaky, 0.0, Events(step, jnp.ones(2)), n_steps=4).carry
        )(jnp.array([1, 2]))
    with pytest.raises(ValueError, match=r"got arrays of no steps.*give n_steps"):
        scan(leaky, jnp.float32(0), Events(np.array([1]), jnp.ones(1)))


def test_steps_without_inputs_are_counted_by_their_number():
    inputs = {"a": None, "b": ()}
    found = scan(lambda c, x: (c + 1, c), jnp.int32(0), inputs, n_steps=4)
    assert found.outputs.tolist() == [0, 1, 2, 3]
