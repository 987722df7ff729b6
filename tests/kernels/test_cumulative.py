"""Running summaries, against loops in Python."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromod.kernels.cumulative import (
    cumulative_max,
    cumulative_sum,
    exponential_average,
    time_since,
)

N_STEPS = 6


def by_hand(step, start, inputs, mask, reset, reverse):
    """Run ``state, output = step(state, *inputs)``; return outputs and last state."""
    state, outputs = start, np.zeros(N_STEPS)
    for t in reversed(range(N_STEPS)) if reverse else range(N_STEPS):
        state = start if reset[t] else state
        if mask[t]:
            state, outputs[t] = step(state, *(x[t] for x in inputs))
    return outputs, state


def add(total, value, decay):
    total = decay * total + value
    return total, total


def average(sums, value, decay):
    total, weight = decay * sums[0] + value, decay * sums[1] + 1
    return (total, weight), total / weight


def keep_larger(best, value):
    return max(best, value), max(best, value)


def count_up(since, event, elapsed):
    since = 0.0 if event else since + elapsed
    return since, since


@functools.partial(jax.jit, static_argnames=("reverse", "method"))
def run_all(values, decay, events, elapsed, **options):
    return (
        cumulative_sum(values, decay=decay, **options),
        exponential_average(values, decay, **options),
        cumulative_max(values, **options),
        time_since(events, elapsed, **options),
    )


close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, N_STEPS),
    st.sampled_from([(True, "sequential"), (False, "associative")]),
)
def test_masks_resets_lengths(seed, length, how):
    reverse, method = how
    rng = np.random.default_rng(seed)
    values, decay, elapsed = rng.normal(size=N_STEPS), *rng.random((2, N_STEPS))
    events, mask, reset = rng.random((3, N_STEPS)) < [[0.3], [0.7], [0.2]]
    valid = mask & (np.arange(N_STEPS) < length)
    runs = [
        (add, 0.0, (values, decay)),
        (average, (0.0, 0.0), (values, decay)),
        (keep_larger, -math.inf, (values,)),
        (count_up, math.inf, (events, elapsed)),
    ]
    with jax.enable_x64(True):
        arguments = [jnp.asarray(x) for x in (values, decay, events, elapsed)]
        flags = {"mask": jnp.asarray(mask), "reset": jnp.asarray(reset)}
        options = {"length": length, "reverse": reverse, "method": method}
        results = run_all(*arguments, **flags, **options)
    for got, (step, start, inputs) in zip(results, runs, strict=True):
        outputs, last = by_hand(step, start, inputs, valid, reset, reverse)
        close(got.values, outputs)
        jax.tree.map(close, got.last, last)


@pytest.mark.usefixtures("float64")
def test_a_stream_gives_the_whole():
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.normal(size=(20, 3)))
    events = jnp.asarray(rng.random((20, 3)) < 0.1)
    in_pairs = functools.partial(cumulative_max, method="associative")
    reset = jnp.array([t in (4, 10) for t in range(20)])
    runs = [
        (functools.partial(cumulative_sum, decay=0.9), values),
        (lambda x, *last, **flags: exponential_average(x, 0.9, *last, **flags), values),
        (cumulative_max, values),
        (in_pairs, values),
        (lambda x, *last, **flags: time_since(x, None, *last, **flags), events),
    ]
    for run, signal in runs:
        whole, parts, last = run(signal, reset=reset), [], ()
        for cut in (slice(10), slice(10, 20)):
            part, *last = run(signal[cut], *last, reset=reset[cut])
            parts.append(part)
        close(jnp.concatenate(parts), whole.values)
        jax.tree.map(close, last[0], whole.last)


def test_counts_stay_whole_numbers():
    """Where a float32 would have stopped counting."""
    many = jnp.array([2**24, 1, 1])
    assert cumulative_sum(many).values.dtype == jnp.int32
    np.testing.assert_array_equal(cumulative_sum(many).last, 2**24 + 2)
    flags = jnp.array([True, False, True])
    np.testing.assert_array_equal(cumulative_sum(flags).values, [1, 1, 2])
    falling = jnp.array([-5, -7, -1])
    np.testing.assert_array_equal(cumulative_max(falling).values, [-5, -5, -1])


def test_no_step_and_no_valid_step():
    nothing = jnp.zeros((0, 2))
    for result in (cumulative_sum(nothing), cumulative_max(nothing)):
        assert result.values.shape == (0, 2)
    np.testing.assert_array_equal(cumulative_max(nothing).last, -np.inf)
    np.testing.assert_array_equal(time_since(nothing > 0).last, np.inf)
    unseen = exponential_average(jnp.ones(3), 0.5, mask=jnp.zeros(3, bool))
    np.testing.assert_array_equal(unseen.values, 0)


def test_what_elapsed_before_the_first_event_is_not_read():
    """The first sample has none before it, and its difference is unknown."""
    events = jnp.array([False, True, False, False, False, True])
    elapsed = jnp.array([jnp.nan, 1.0, 2.0, jnp.nan, 3.0, 4.0])
    got = time_since(events, elapsed, reset=jnp.arange(6) == 3).values
    np.testing.assert_array_equal(got, [np.inf, 0, 2, np.inf, np.inf, 0])


@pytest.mark.usefixtures("float64")
def test_an_average_of_a_constant_is_that_constant():
    """From the first sample on, whatever the sampling, and after every reset."""
    decays = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.99, size=50))
    reset = jnp.arange(50) % 13 == 0
    averages = exponential_average(jnp.full(50, 3.0), decays, reset=reset).values
    np.testing.assert_allclose(averages, 3.0, rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_gradients():
    """Of the discounted future, the average, the maximum and the time since."""
    values = jnp.array([3.0, 1.0, 2.0, 5.0])
    events = jnp.array([False, True, False, False])

    def pick(t, run):
        return jax.grad(lambda x: run(x).values[t])(values)

    future = functools.partial(cumulative_sum, decay=0.5, reverse=True)
    close(pick(1, future), [0, 1, 0.5, 0.25])
    weights = np.array([0.25, 0.5, 1.0, 0.0])
    average = pick(2, lambda x: exponential_average(x, 0.5))
    close(average, weights / weights.sum())
    for method in ("sequential", "associative"):
        close(pick(2, functools.partial(cumulative_max, method=method)), [1, 0, 0, 0])
    close(pick(3, lambda x: time_since(events, x)), [0, 0, 1, 1])
    close(pick(0, lambda x: time_since(events, x)), [0, 0, 0, 0])


@pytest.mark.usefixtures("own_errors_only")
def test_what_does_not_fit():
    with pytest.raises(ValueError, match="method: got 'blocked', expected 'auto' or"):
        cumulative_max(jnp.ones(3), method="blocked")
    with pytest.raises(ValueError, match=r"reset: got shape \(2,\), expected \(3,\)"):
        cumulative_max(jnp.ones(3), reset=jnp.ones(2, bool))
    with pytest.raises(ValueError, match=r"elapsed: got shape \(2,\), expected \(3,\)"):
        time_since(jnp.ones(3, bool), jnp.ones(2))
    with pytest.raises(ValueError, match=r"initial: got shape \(2,\), expected \(\)"):
        cumulative_max(jnp.ones(3), jnp.ones(2))
