"""Running summaries of a signal, started anew at resets.

What a trial has added up so far, how strong a trace the past has left, how long ago the
last event was: each of these is one number per entry, kept from step to step. With a
decay d_t (1 forgets nothing; ``exp(-dt / tau)`` forgets with a time constant tau)::

    s_t = d_t s_{t-1} + x_t               sum, leaky sum           `cumulative_sum`
    m_t = s_t / w_t                       mean of the recent past  `exponential_average`
          w_t = d_t w_{t-1} + 1
    p_t = max(p_{t-1}, x_t)               running maximum          `cumulative_max`
    c_t = c_{t-1} + dt_t, 0 at events     time since an event      `time_since`

The arguments are those of `neuromod.kernels.affine_scan`, on which they are built: at a
masked step nothing happens and the output is 0, a reset starts anew, ``reverse`` runs
from the end (with a decay, `cumulative_sum` then is the discounted sum of the future),
and ``last`` is the ``initial`` of the next chunk.
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Num, Real, Shaped

from neuromod.kernels.affine import Numbers, affine_scan
from neuromod.kernels.affine_methods import (
    ASSOCIATIVE_STEPS,
    Method,
    check_shape,
    clear,
    read_marks,
)
from neuromod.kernels.loop import Count, Flags
from neuromod.kernels.methods import choose

_STATIC = ("reverse", "method")


class Cumulative(NamedTuple):
    """The ``values`` (time, ...) after each step; ``last`` goes on with the stream."""

    values: Array
    last: Any


@functools.partial(jax.jit, static_argnames=_STATIC)
def cumulative_sum(
    values: Shaped[Array, "time *feature"],
    initial: Num[Array, "*feature"] | None = None,
    *,
    decay: Numbers = 1,
    mask: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    reverse: bool = False,
    method: Method = "auto",
) -> Cumulative:
    """Add up a signal, forgetting it with ``decay``; integers stay integers.

    Parameters
    ----------
    values : (time, ...)
        The signal; flags are counted.
    initial : (...)
        The sum before the first step; 0 if omitted.

    Other parameters
    ----------------
    decay : (time, ...) or (...)
        What is left of the sum from one step to the next; one number, or as in
        `affine_scan`.
    mask, reset, length, reverse, method
        As in `affine_scan`.

    Returns
    -------
    Cumulative
        The sums (time, ...), and the last one.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import cumulative_sum
    >>> third = jnp.array([False, False, True, False])
    >>> print(cumulative_sum(jnp.array([1, 2, 3, 4]), reset=third).values)
    [1 3 3 7]
    >>> rewards = jnp.array([0.0, 0.0, 8.0])
    >>> print(cumulative_sum(rewards, decay=0.5, reverse=True).values)
    [2. 4. 8.]
    """
    values = values.astype(int) if values.dtype == bool else values
    return Cumulative(
        *affine_scan(
            decay,
            values,
            initial,
            mask=mask,
            reset=reset,
            length=length,
            reverse=reverse,
            method=method,
        )
    )


@functools.partial(jax.jit, static_argnames=_STATIC)
def exponential_average(
    values: Num[Array, "time *feature"],
    decay: Numbers,
    initial: tuple[Array, Array] | None = None,
    *,
    mask: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    reverse: bool = False,
    method: Method = "auto",
) -> Cumulative:
    """Average the past with weights that decay with its age.

    The weights are normalised, so that the average starts at the first value and not
    at 0, and is right for steps of unequal length.

    Parameters
    ----------
    values : (time, ...)
        The signal.
    decay : (time, ...) or (...)
        What is left of a weight from one step to the next, as in `affine_scan`.
    initial
        ``last`` of the chunk before.

    Other parameters
    ----------------
    mask, reset, length, reverse, method
        As in `affine_scan`.

    Returns
    -------
    Cumulative
        The averages (time, ...), and as ``last`` the sum and the weight behind them.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import exponential_average
    >>> print(exponential_average(jnp.array([4.0, 1.0, 5.0]), 0.5).values)
    [4. 2. 3.7142856]
    """
    total, weight = (None, None) if initial is None else initial
    options = {
        "mask": mask,
        "reset": reset,
        "length": length,
        "reverse": reverse,
        "method": method,
    }
    sums = affine_scan(decay, values, total, **options)
    weights = affine_scan(decay, jnp.ones_like(values), weight, **options)
    seen = weights.states != 0
    averages = sums.states / jnp.where(seen, weights.states, 1)
    return Cumulative(averages, (sums.last, weights.last))


@functools.partial(jax.jit, static_argnames=_STATIC)
def cumulative_max(
    values: Real[Array, "time *feature"],
    initial: Real[Array, "*feature"] | None = None,
    *,
    mask: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    reverse: bool = False,
    method: Literal["auto", "sequential", "associative"] = "auto",
) -> Cumulative:
    """Keep the largest value so far (of ``-values``: the smallest).

    Parameters
    ----------
    values : (time, ...)
        The signal.
    initial : (...)
        The maximum before the first step; -inf, or the smallest integer, if omitted.

    Other parameters
    ----------------
    mask, reset, length, reverse, method
        As in `affine_scan`.

    Returns
    -------
    Cumulative
        The maxima (time, ...), and the last one.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import cumulative_max
    >>> print(cumulative_max(jnp.array([1.0, 3.0, 2.0, 5.0])).values)
    [1. 3. 3. 5.]
    """
    check_shape("initial", initial, values.shape[1:], "one step of values")
    marks = read_marks(len(values), mask, reset, length)
    lowest = _lowest(values.dtype)
    if initial is None:
        initial = jnp.full(values.shape[1:], lowest, values.dtype)
    if not len(values):
        return Cumulative(values, initial)
    run = _METHODS[choose(method, _METHODS, len(values), ASSOCIATIVE_STEPS)]
    values = clear(values, marks.valid, lowest)
    maxima = run(values, initial, marks.restart, lowest, reverse)
    return Cumulative(clear(maxima, marks.valid), maxima[0 if reverse else -1])


@functools.partial(jax.jit, static_argnames=_STATIC)
def time_since(
    events: Bool[Array, "time *feature"],
    elapsed: Float[Array, " time"] | None = None,
    initial: Float[Array, "*feature"] | None = None,
    *,
    mask: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    reverse: bool = False,
    method: Method = "auto",
) -> Cumulative:
    """Tell how long ago the last event was; infinite before the first one.

    Parameters
    ----------
    events : (time, ...)
        True where something happened; the time since is 0 there.
    elapsed : (time,)
        Time between each step and the one before it (with ``reverse``, the one after
        it); 1 if omitted.
    initial : (...)
        The time since the last event at the step before the first; infinite if omitted.

    Other parameters
    ----------------
    mask, reset, length, reverse, method
        As in `affine_scan`; what happened before a reset is forgotten.

    Returns
    -------
    Cumulative
        The time since the last event (time, ...), and the last one.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import time_since
    >>> spikes = jnp.array([False, True, False, False, True])
    >>> print(time_since(spikes).values, time_since(spikes, reverse=True).values)
    [inf  0.  1.  2.  0.] [1. 0. 2. 1. 0.]
    """
    check_shape("elapsed", elapsed, events.shape[:1], "one time for each step")
    elapsed = jnp.ones(len(events)) if elapsed is None else elapsed
    if initial is None:
        initial = jnp.full(events.shape[1:], jnp.inf, elapsed.dtype)
    options = {
        "mask": mask,
        "reset": reset,
        "length": length,
        "reverse": reverse,
        "method": method,
    }
    known = jnp.isfinite(initial)
    count = cumulative_sum(events, known.astype(int), **options)
    # Where there was no event yet the state stays 0, and elapsed is not read.
    running = (count.values > 0) & ~events
    elapsed = elapsed.reshape(-1, *(1,) * (events.ndim - 1))
    drive = jnp.where(running, elapsed, jnp.zeros_like(elapsed))
    start = jnp.where(known, initial, jnp.zeros_like(initial))
    since = affine_scan(running.astype(drive.dtype), drive, start, **options)
    valid = read_marks(len(events), mask, reset, length).valid
    times = jnp.where(count.values > 0, since.states, jnp.inf)
    last = jnp.where(count.last > 0, since.last, jnp.inf)
    return Cumulative(clear(times, valid), last)


def _scan_max(
    values: Array, initial: Array, restart: Flags | None, lowest: Array, reverse: bool
) -> Array:
    def step(best, now):
        value, restart = now
        best = best if restart is None else jnp.where(restart, lowest, best)
        best = jnp.maximum(best, value)
        return best, best

    return lax.scan(step, initial, (values, restart), reverse=reverse)[1]


def _associative_max(
    values: Array, initial: Array, restart: Flags | None, lowest: Array, reverse: bool
) -> Array:
    if restart is None:
        restart = jnp.zeros(len(values), bool)
    first = -1 if reverse else 0
    values = values.at[first].max(jnp.where(restart[first], lowest, initial))

    @jax.vmap
    def combine(one, other):
        (restart, best), (later_restart, later_best) = one, other
        joined = jnp.maximum(best, later_best)
        best = jnp.where(later_restart, later_best, joined)
        return restart | later_restart, best

    return lax.associative_scan(combine, (restart, values), reverse=reverse)[1]


_METHODS = {"sequential": _scan_max, "associative": _associative_max}


def _lowest(dtype: jnp.dtype) -> Array:
    """Return the number that is the maximum of nothing."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return jnp.asarray(-jnp.inf, dtype)
    return jnp.asarray(jnp.iinfo(dtype).min, dtype)
