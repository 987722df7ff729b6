"""The loop over time, against a loop in Python."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from neuromod.kernels import make_stepper, scan

N_STEPS = 7


def step(carry, inputs):
    """A small network: state and clock in, state out; nothing in it is symmetric."""
    state, clock = carry["state"], carry["clock"]
    state = jnp.tanh(0.9 * state + inputs["x"] + 0.1 * clock.astype(state.dtype))
    outputs = {"state": 2.0 * state, "clock": clock}
    return {"state": state, "clock": clock + inputs["tick"]}, outputs


def example(n_steps=N_STEPS, seed=0):
    rng = np.random.default_rng(seed)
    carry = {
        "state": jnp.asarray(rng.normal(size=3), jnp.float32),
        "clock": jnp.int32(3),
    }
    inputs = {
        "x": jnp.asarray(rng.normal(size=(n_steps, 3)), jnp.float32),
        "tick": jnp.asarray(rng.integers(0, 3, n_steps), jnp.int32),
    }
    return carry, inputs


def at(tree, t):
    """Return the slice of every array at a time."""
    return jax.tree.map(lambda x: x[t], tree)


def stack(rows):
    return jax.tree.map(lambda *x: jnp.stack(x), *rows)


def by_python(step, carry, inputs, mask, reset, initial=None, reverse=False):
    """Run only the valid steps; return what `scan` promises."""
    initial = carry if initial is None else initial
    nothing = jax.tree.map(jnp.zeros_like, step(carry, at(inputs, 0))[1])
    outputs = [nothing] * len(mask)
    for t in reversed(range(len(mask))) if reverse else range(len(mask)):
        carry = initial if reset[t] else carry
        if mask[t]:
            carry, outputs[t] = step(carry, at(inputs, t))
    return carry, stack(outputs)


def assert_same(got, want):
    close = functools.partial(np.testing.assert_allclose, atol=1e-6, rtol=1e-6)
    jax.tree.map(close, got, want)


@functools.partial(jax.jit, static_argnames=("reverse", "checkpoint"))
def run(carry, inputs, **options):
    return scan(step, carry, inputs, **options)[:2]


flags = st.lists(st.booleans(), min_size=N_STEPS, max_size=N_STEPS).map(np.array)


@settings(max_examples=60, deadline=None)
@given(flags, flags, st.integers(0, N_STEPS), st.booleans(), st.sampled_from([None, 3]))
def test_masks_resets_lengths(mask, reset, length, reverse, checkpoint):
    carry, inputs = example()
    initial = jax.tree.map(lambda x: -x, carry)
    valid = mask & (np.arange(N_STEPS) < length)
    got = run(
        carry,
        inputs,
        mask=jnp.asarray(mask),
        reset=jnp.asarray(reset),
        length=length,
        initial=initial,
        reverse=reverse,
        checkpoint=checkpoint,
    )
    assert_same(got, by_python(step, carry, inputs, valid, reset, initial, reverse))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("checkpoint", [None, 1, 2, 3, 7, 100, "auto"])
def test_chunks_change_nothing(checkpoint, reverse):
    """Whatever the chunks, and with padding where they do not fit."""
    carry, inputs = example()
    everything, never = np.ones(N_STEPS, bool), np.zeros(N_STEPS, bool)
    got = run(carry, inputs, reverse=reverse, checkpoint=checkpoint)
    want = by_python(step, carry, inputs, everything, never, reverse=reverse)
    assert_same(got, want)


def loss(state, x, tick, **options):
    carry = {"state": state, "clock": jnp.int32(3)}
    carry, outputs = run(carry, {"x": x, "tick": tick}, **options)
    return jnp.sum(outputs["state"] ** 2) + jnp.sum(carry["state"])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients(reverse):
    """Of the plain and the chunked loop: equal, and against differences."""
    rng = np.random.default_rng(1)
    state, x = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(size=(7, 3)))
    options = {
        "tick": jnp.ones(7, jnp.int32),
        "length": 6,
        "reset": jnp.arange(7) == 2,
        "reverse": reverse,
    }
    plain, chunked = (
        functools.partial(loss, **options, checkpoint=checkpoint)
        for checkpoint in (None, 3)
    )
    check_grads(chunked, (state, x), order=1, modes=("fwd", "rev"), rtol=1e-7)
    one, other = (jax.grad(f, (0, 1))(state, x) for f in (plain, chunked))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), one, other)
    assert np.abs(one[0]).sum() > 0


@pytest.mark.parametrize("checkpoint", [None, 2])
def test_what_is_masked_never_reaches_the_gradient(checkpoint):
    """NaN and the edge of a logarithm, in padding, at gaps, or everywhere."""

    def risky(carry, x):
        return carry + jnp.log(x), jnp.sqrt(x)

    x = jnp.array([2.0, jnp.nan, 3.0, 0.0, -1.0])
    mask = jnp.array([True, False, True, False, False])

    def total(x, mask):
        options = {"mask": mask, "checkpoint": checkpoint}
        carry, outputs, _ = scan(risky, jnp.float32(0.0), x, **options)
        return carry + jnp.sum(outputs)

    value, slope = jax.value_and_grad(total)(x, mask)
    valid = np.array([2.0, 3.0])
    np.testing.assert_allclose(value, (np.log(valid) + np.sqrt(valid)).sum(), rtol=1e-6)
    np.testing.assert_allclose(slope[mask], 1 / valid + 0.5 / np.sqrt(valid), rtol=1e-6)
    np.testing.assert_array_equal(slope[~mask], 0)
    assert total(x * jnp.nan, jnp.zeros(5, bool)) == 0


@pytest.mark.parametrize("checkpoint", [None, 4])
def test_a_stream_gives_the_whole(checkpoint):
    carry, inputs = example(30)
    reset = jnp.arange(30) % 11 == 5
    whole = run(carry, inputs, reset=reset, checkpoint=checkpoint)
    going, parts = carry, []
    for start in (0, 10, 20):
        cut = slice(start, start + 10)
        going, outputs = run(
            going,
            at(inputs, cut),
            reset=reset[cut],
            initial=carry,
            checkpoint=checkpoint,
        )
        parts.append(outputs)
    assert_same((going, jax.tree.map(lambda *x: jnp.concatenate(x), *parts)), whole)


def test_the_stepper_runs_the_same_step(compilations):
    carry, inputs = example(20)
    whole = run(carry, inputs)
    stepper = make_stepper(step)
    going, rows = jax.tree.map(jnp.copy, carry), []
    compiled = compilations()
    for t in range(20):
        before = going
        going, outputs = stepper(before, at(jax.tree.map(np.asarray, inputs), t))
        assert before["state"].is_deleted()
        rows.append(outputs)
    assert compilations() == compiled + 1
    assert_same((going, stack(rows)), whole)


def cumulate(carry, x):
    return jnp.tanh(carry + x), carry


def stored_bytes(n_steps, width, checkpoint):
    """Return the temporary memory of the compiled gradient."""
    x = jnp.zeros((n_steps, width))

    def total(x):
        return jnp.sum(scan(cumulate, jnp.zeros(width), x, checkpoint=checkpoint)[0])

    compiled = jax.jit(jax.grad(total)).lower(x).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_auto_stores_little_where_much_would_be_stored():
    small, large = (100, 16), (20_000, 512)
    assert stored_bytes(*small, "auto") == stored_bytes(*small, None)
    assert stored_bytes(*large, "auto") < 0.3 * stored_bytes(*large, None)


def test_auto_counts_what_every_step_shares_once():
    """A weight matrix of 1 MB is no reason to cut 100 steps into chunks."""
    weights = jnp.zeros((512, 512))

    def program(checkpoint):
        def total(x):
            return scan(
                lambda carry, x: (jnp.tanh(weights @ carry + x), None),
                jnp.zeros(512),
                x,
                checkpoint=checkpoint,
            )[0]

        return str(jax.make_jaxpr(total)(jnp.zeros((100, 512))))

    assert program("auto") == program(None)
    assert program("auto") != program(10)


def test_steps_without_inputs():
    carry, outputs, _ = scan(lambda c, _: (2 * c, c), jnp.int32(1), n_steps=5)
    assert carry == 32
    np.testing.assert_array_equal(outputs, [1, 2, 4, 8, 16])
    carry, outputs, _ = scan(
        lambda c, _: (2 * c, None), jnp.int32(1), n_steps=5, length=2, checkpoint=2
    )
    assert (carry, outputs) == (4, None)


def test_random_keys_as_inputs():
    keys = jax.random.split(jax.random.key(0), 5)
    options = {"length": 4, "checkpoint": 2}
    draw = lambda carry, key: (carry, jax.random.uniform(key))  # noqa: E731
    _, drawn, _ = scan(draw, jnp.float32(0), keys, **options)
    want = jax.vmap(jax.random.uniform)(keys).at[4].set(0.0)
    np.testing.assert_array_equal(drawn, want)


def test_numpy_inputs_and_forward_mode():
    x = np.arange(5, dtype=np.float32)
    mask = np.array([True, True, False, True, True])
    out, slope = jax.jvp(
        lambda x: scan(cumulate, jnp.float32(0), x, mask=mask, checkpoint=2)[0],
        (x,),
        (np.ones_like(x),),
    )
    other = jax.grad(lambda x: scan(cumulate, jnp.float32(0), x, mask=mask)[0])(x)
    np.testing.assert_allclose(slope, other.sum(), rtol=1e-6)
    assert np.isfinite(out)


def test_vmap_over_lengths():
    carry, inputs = example()
    lanes = jax.vmap(lambda length: run(carry, inputs, length=length))
    batch = lanes(jnp.arange(N_STEPS + 1))
    for length in range(N_STEPS + 1):
        assert_same(at(batch, length), run(carry, inputs, length=length))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": None}, "got arrays of no steps, .* give n_steps"),
        ({"n_steps": 4}, r"got arrays of \[4, 7\] steps"),
        ({"reset": jnp.zeros(3, bool)}, r"got arrays of \[3, 7\] steps"),
        ({"inputs": jnp.float32(1)}, r"got arrays of \[-1\] steps"),
        ({"checkpoint": 0}, "checkpoint: got 0, expected a number of steps >= 1"),
        ({"checkpoint": -2}, "checkpoint: got -2"),
    ],
)
def test_what_cannot_be_run(options, message):
    arguments = {"inputs": jnp.zeros((7, 2))} | options
    with pytest.raises(ValueError, match=message):
        scan(lambda carry, x: (carry, x), jnp.float32(0), **arguments)
