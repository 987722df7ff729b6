"""Inputs that come at irregular times.

Spikes, licks and pulses of light are points in time; as an array (time, ...) they
would be nearly all zeros. `Events` are given to `neuromod.kernels.scan` as they are:
the input of a step is the sum of the events in it, and only one chunk of steps is ever
laid out.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int

from neuromod.kernels.loop import Chunks, Count


class Events(NamedTuple):
    """Inputs at some steps only.

    Parameters
    ----------
    step : (event,)
        The step in which each event falls, in the numbers of the stream. In any order;
        several may fall in one. A NumPy array: the layout of the loop depends on it.
    value : (event, ...)
        What each adds to the input of its step, a pytree of arrays.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> from neuromod.kernels import Events, scan
    >>> spikes = Events(np.array([1, 3, 3]), jnp.array([1.0, 1.0, 1.0]))
    >>> leaky = lambda trace, spike: (0.5 * trace + spike, 0.5 * trace + spike)
    >>> print(scan(leaky, jnp.array(0.0), spikes, n_steps=5).outputs)
    [0.    1.    0.5   2.25  1.125]
    """

    step: Int[np.ndarray, " event"]
    value: Any


class Slots(NamedTuple):
    """Events by chunk: the step in the chunk (chunk, slot), and values.

    Empty slots hold a step past the chunk's end.
    """

    step: Int[Array, "chunk slot"]
    value: Any


def sort_into_chunks(events: Events, first_step: Count, chunks: Chunks) -> Slots:
    """Sort the events of these steps by the chunk they fall in; leave out others."""
    step = _concrete(events.step) - _concrete(first_step)
    value = jax.tree.map(jnp.asarray, events.value)
    inside = np.flatnonzero((step >= 0) & (step < chunks.n_steps))
    chunk, within = np.divmod(step[inside], chunks.size)
    order = np.argsort(chunk, kind="stable")
    chunk, within, inside = chunk[order], within[order], inside[order]
    counts = np.bincount(chunk, minlength=chunks.n_chunks)
    rank = np.arange(len(chunk)) - np.repeat(np.cumsum(counts) - counts, counts)
    n_slots = int(counts.max(initial=0))
    steps = np.full((chunks.n_chunks, n_slots), chunks.size, np.int32)
    source = np.zeros((chunks.n_chunks, n_slots), np.int32)
    steps[chunk, rank], source[chunk, rank] = within, inside
    return Slots(jnp.asarray(steps), jax.tree.map(lambda v: v[source], value))


def of_chunk(slots: Slots, size: int) -> Any:
    """Lay out the events of one chunk as inputs (time, ...)."""

    def lay_out(value):
        empty = jnp.zeros((size, *value.shape[1:]), value.dtype)
        return empty.at[slots.step].add(value, mode="drop")

    return jax.tree.map(lay_out, slots.value)


def dense_shapes(events: Events, n_steps: int) -> Any:
    """Return the shapes of the inputs (time, ...) that the events stand for."""
    return jax.tree.map(
        lambda v: jax.ShapeDtypeStruct((n_steps, *v.shape[1:]), v.dtype), events.value
    )


def no_input(events: Events) -> Any:
    """Return the input of a step without events."""
    return jax.tree.map(lambda v: jnp.zeros(v.shape[1:], v.dtype), events.value)


def _concrete(step: Any) -> np.ndarray:
    if isinstance(step, Tracer):
        raise ValueError(
            "events: got steps that are traced, expected NumPy: the layout of the loop "
            "depends on them and on first_step. Do not pass them through jax.jit or "
            "jax.vmap."
        )
    return np.asarray(step)
