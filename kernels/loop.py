"""Two nested loops over time, the core of `neuromod.kernels.scan`.

The outer loop runs over chunks of K steps, the inner one over the steps of a chunk.
What is needed for a whole chunk is made when the loop reaches it and forgotten
afterwards: its inputs where they come as events or from a function, their projection
onto the gates, and the outputs where only a part or a sum of them is asked for.

The gradient of a plain loop stores what each step needs for its backward pass. Chunks
that are computed again when the backward pass reaches them store time / K carries and
the inside of one chunk: memory ~ sqrt(time) at K ~ sqrt(time) for one more forward
pass (Griewank & Walther, "Revolve", ACM TOMS 2000, doi:10.1145/347837.347846). For
cells that fill the cache it is also the faster way.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int

Flags = Bool[Array, " time"] | Bool[np.ndarray, " time"]
Count = Int[Array, ""] | Int[np.ndarray, ""] | int | np.integer

# Storing less than this costs nothing worth a second forward pass; with a hand-written
# derivative, which stores little and in order, much more does not.
STORED_BYTES = 8 * 2**20
STORED_BYTES_GATED = 256 * 2**20
# But a call that takes more than this gets it from the system anew, page by page, and
# up to so many units a second forward pass is faster than that.
MAPPED_BYTES = 32 * 2**20
FEW_UNITS = 256
# What a chunk of a gated cell may store, so that its backward pass finds it in a cache.
CHUNK_BYTES = 2 * 2**20
# Each chunk adds once to the gradient of the weights, which should not cost much.
FEWEST_STEPS = 10


class Needs(NamedTuple):
    """What the gradient of an uncut loop takes (bytes).

    What it stores between its passes, its outputs, and one carry.
    """

    stored: int
    outputs: int
    carry: int


class Slices(NamedTuple):
    """What the steps read, each a pytree of arrays (time, ...) or None.

    ``index`` counts the steps of the whole stream, ``valid`` is the mask, and
    ``restart`` tells where the carry goes back to the initial one.
    """

    inputs: Any = None
    noise: Any = None
    index: Any = None
    valid: Any = None
    restart: Any = None


class Chunks(NamedTuple):
    """How time is cut: ``n_chunks`` of ``size`` steps, computed again or not."""

    n_steps: int
    size: int
    recomputed: bool

    @property
    def n_chunks(self) -> int:
        """Number of chunks."""
        return max(1, -(-self.n_steps // self.size))


def select(condition: Array, chosen: Any, other: Any) -> Any:
    """Choose between two pytrees by one flag."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)


def zeros_like(tree: Any) -> Any:
    """Return zeros of the shapes and types of a pytree."""
    return jax.tree.map(jnp.zeros_like, tree)


def guard(step: Callable, initial: Any) -> Callable:
    """Wrap ``step(carry, slices)`` so that it heeds ``valid`` and ``restart``."""

    def guarded(carry: Any, now: Slices) -> tuple[Any, Any]:
        if now.restart is not None:
            carry = select(now.restart, initial, carry)
        after, output = step(carry, now)
        if now.valid is None:
            return after, output
        return (
            select(now.valid, after, carry),
            select(now.valid, output, zeros_like(output)),
        )

    return guarded


def first_valid(tree: Any, valid: Array) -> Any:
    """Return the slice of the first valid step; zeros if there is none."""

    def of(x):
        first = jnp.argmax(valid)
        return jnp.where(valid[first], x[first], jnp.zeros_like(x[first]))

    return jax.tree.map(of, tree)


def replace_masked(tree: Any, valid: Array, safe: Any) -> Any:
    """Give masked steps the input of a valid one.

    What is computed at a masked step is thrown away, but NaN in padding would reach
    the gradient through ``where`` although it never reaches the value.
    """

    def mend(x, safe):
        flags = valid.reshape(-1, *(1,) * (x.ndim - 1))
        return jnp.where(flags, x, jnp.broadcast_to(safe, x.shape))

    return jax.tree.map(mend, tree, safe)


def root(n_steps: int) -> int:
    """Return a chunk size near the square root of the number of steps."""
    return without_padding(math.isqrt(max(n_steps - 1, 0)) + 1, n_steps)


def without_padding(size: int, n_steps: int) -> int:
    """Return a chunk size from this one on that divides the time, if one is near.

    Padding changes no result but copies the inputs.
    """
    sizes = range(size, min(2 * size, n_steps + 1))
    return next((k for k in sizes if n_steps % k == 0), size)


def size_for(
    needs: Needs, n_steps: int, several: bool, n_hidden: int | None
) -> tuple[int, bool]:
    """Return the size of a chunk, and whether its inside is computed again.

    ``n_hidden`` is the number of units of a cell with a hand-written derivative.
    """
    if n_hidden is None:
        recomputed = needs.stored > STORED_BYTES
        return root(n_steps) if recomputed or several else n_steps, recomputed
    # With the outputs come their gradient, and the states that multiply the weights.
    mapped = needs.stored + 3 * needs.outputs > MAPPED_BYTES
    recomputed = needs.stored > STORED_BYTES_GATED
    recomputed |= mapped and n_hidden <= FEW_UNITS
    if needs.stored <= CHUNK_BYTES:
        return root(n_steps) if several else n_steps, recomputed
    size = max(FEWEST_STEPS, round(n_steps * CHUNK_BYTES / needs.stored))
    if recomputed and n_steps * needs.carry > size * MAPPED_BYTES:
        size = max(size, root(n_steps))
    return without_padding(size, n_steps), recomputed


def stored_bytes(run: Callable, carry: Any, slices: Any) -> int:
    """Return what reverse-mode differentiation of ``run(carry, slices)`` keeps."""
    kept = jax.eval_shape(lambda c, x: jax.vjp(run, c, x)[1], carry, slices)
    return count_bytes(kept)


def count_bytes(tree: Any) -> int:
    """Return the size in memory of a pytree of arrays or their shapes."""
    leaves = jax.tree.leaves(tree)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def run_chunks(
    work: Callable,
    state: Any,
    slices: Slices,
    slots: Any,
    chunks: Chunks,
    reverse: bool,
    progress: Callable[[int], None] | None,
) -> tuple[Any, Any]:
    """Run ``work(state, (slices, slots))`` over the chunks.

    ``slots`` are (chunk, ...). Returns the last state and the rows that the chunks
    give, stacked: (chunk, ...).
    """
    n_chunks, size, n_steps = chunks.n_chunks, chunks.size, chunks.n_steps
    if n_chunks == 1 and progress is None and slots is None:
        state, rows = work(state, (slices, None))
        return state, jax.tree.map(lambda y: y[None], rows)
    slices = pad(slices, n_steps, n_chunks * size - n_steps)
    slices = jax.tree.map(lambda x: x.reshape(n_chunks, size, *x.shape[1:]), slices)
    # Inside a loop nothing can merge the two evaluations, so the barrier that would
    # prevent it is left out.
    again = jax.checkpoint(work, prevent_cse=False) if chunks.recomputed else work

    def run(state, chunk):
        number, slices, slots = chunk
        state, rows = again(state, (slices, slots))
        if progress is not None:
            done = n_chunks - number if reverse else number + 1
            jax.debug.callback(progress, jnp.minimum(done * size, n_steps))
        return state, rows

    each = (jnp.arange(n_chunks), slices, slots)
    return lax.scan(run, state, each, n_chunks, reverse=reverse)


def pad(slices: Slices, n_steps: int, padding: int) -> Slices:
    """Append masked steps."""
    if not padding:
        return slices

    def longer(x, fill):
        more = jnp.broadcast_to(fill, (padding, *x.shape[1:]))
        return jnp.concatenate([x, more])

    valid = jnp.ones(n_steps, bool) if slices.valid is None else slices.valid
    flags = jax.tree.map(lambda x: longer(x, False), (valid, slices.restart))
    arrays = (slices.inputs, slices.noise, slices.index)
    return Slices(*jax.tree.map(lambda x: longer(x, x[-1]), arrays), *flags)
