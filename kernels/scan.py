"""The loop over time that every recurrent model runs in.

A model is a *step*, ``carry, output = step(carry, input)``: the carry is all that
the past leaves behind, any pytree of arrays. `scan` runs it over a sequence::

    carry_t, output_t = step(carry_{t-1}, input_t)          t = 0 .. time - 1

and adds what recordings need to this bare recursion:

- ``mask`` and ``length``: at a masked step nothing happens. The carry stays, the
  output is 0, and the step is evaluated on the inputs of a valid step instead of its
  own, because NaN in padding would reach the gradient through ``where`` even though
  it never reaches the value.
- ``reset``: before such a step the carry returns to the initial one, so that one
  array holds many sequences.
- streaming: the carry that comes out goes into the next call, and the parts give
  what the whole gives. `make_stepper` compiles the same step for one input at a time.
- ``checkpoint``: two nested loops. The gradient of a plain loop stores what each step
  needs for its backward pass. Cut into chunks of K steps that are computed again when
  the backward pass reaches them, it stores time / K carries and the inside of one
  chunk: memory ~ sqrt(time) at K ~ sqrt(time) for one more forward pass (Griewank &
  Walther, "Revolve", ACM TOMS 2000, doi:10.1145/347837.347846). For cells that fill
  the cache it is also the faster way.

The loop is never unrolled: XLA's CPU backend compiles a small rolled loop into a
single kernel, and unrolling makes it several times slower.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int

Step = Callable[[Any, Any], tuple[Any, Any]]
Flags = Bool[Array, " time"] | Bool[np.ndarray, " time"]
Count = Int[Array, ""] | Int[np.ndarray, ""] | int | np.integer

# Storing less than this costs nothing worth a second forward pass.
STORED_BYTES = 8 * 2**20


def scan(
    step: Step,
    carry: Any,
    inputs: Any = None,
    *,
    n_steps: int | None = None,
    length: Count | None = None,
    mask: Flags | None = None,
    reset: Flags | None = None,
    initial: Any = None,
    reverse: bool = False,
    checkpoint: int | Literal["auto"] | None = "auto",
) -> tuple[Any, Any]:
    """Run ``step`` over a sequence and return the last carry and all outputs.

    Parameters
    ----------
    step
        ``step(carry, input) -> (carry, output)``, a pure function on pytrees.
    carry
        The carry before the first step.
    inputs : (time, ...)
        A pytree of arrays whose first axis is time; None if the step takes none.
    n_steps
        The number of steps; needed only where no array tells it.

    Other parameters
    ----------------
    length
        Number of valid steps; the later ones are padding (as in ``mask``). May be
        traced.
    mask : (time,)
        False where nothing happens: the carry stays, the output is 0.
    reset : (time,)
        True where the carry returns to the initial one before the step, also before
        a masked one.
    initial
        The carry to return to; the one passed in if omitted. A stream passes it,
        because the carry that enters a later part is not the initial one.
    reverse
        Run from the last step to the first.
    checkpoint
        Number of steps per chunk that the gradient computes again instead of storing;
        None stores everything. "auto" stores everything up to 8 MiB and then takes
        chunks of sqrt(time) steps; it looks at the step's derivative, so a step that
        has none (a host callback) needs None.

    Returns
    -------
    carry
        The carry after the last valid step.
    outputs : (time, ...)
        The outputs in the order of the inputs, also in reverse; 0 at masked steps.

    Raises
    ------
    ValueError
        If the number of steps is unknown, or differs between the arrays, or
        ``checkpoint`` is no positive number.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import scan
    >>> leaky_sum = lambda carry, x: (0.5 * carry + x, 0.5 * carry + x)
    >>> carry, outputs = scan(leaky_sum, jnp.array(0.0), jnp.array([4.0, 4.0, 4.0]))
    >>> print(carry, outputs)
    7.0 [4. 6. 7.]
    >>> print(scan(leaky_sum, jnp.array(0.0), jnp.array([4.0, 4.0, 4.0]), length=2))
    (Array(6., dtype=float32), Array([4., 6., 0.], dtype=float32))
    """
    inputs, mask, reset = jax.tree.map(jnp.asarray, (inputs, mask, reset))
    n_steps = _count_steps((inputs, mask, reset), n_steps)
    if length is not None:
        valid = jnp.arange(n_steps) < length
        mask = valid if mask is None else mask & valid
    initial = carry if initial is None else initial
    guarded = _guard(step, initial, _valid_input(inputs, mask))
    slices = (inputs, mask, reset)
    size = _chunk_size(checkpoint, guarded, carry, slices, n_steps)
    if size >= n_steps:
        return lax.scan(guarded, carry, slices, length=n_steps, reverse=reverse)
    return _scan_chunks(guarded, carry, slices, n_steps, size, reverse)


def make_stepper(step: Step) -> Step:
    """Compile a step for one input at a time, as a closed loop calls it.

    The carry is donated: its memory is used again for the next one, and the carry
    that was passed in must not be touched after the call.

    Parameters
    ----------
    step
        The same function that `scan` takes.

    Returns
    -------
    stepper
        ``stepper(carry, input) -> (carry, output)``, compiled at its first call.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import make_stepper
    >>> stepper = make_stepper(lambda carry, x: (0.5 * carry + x, carry))
    >>> carry, output = stepper(jnp.array(4.0), jnp.array(1.0))
    >>> print(carry, output)
    3.0 4.0
    """
    return jax.jit(step, donate_argnums=0)


def _count_steps(arrays: Any, n_steps: int | None) -> int:
    counts = {len(leaf) if leaf.ndim else 0 for leaf in jax.tree.leaves(arrays)}
    counts |= set() if n_steps is None else {n_steps}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"inputs: got arrays of {sorted(counts) or 'no'} steps, expected one "
            "number >= 1 of steps. The first axis of inputs, mask and reset is time; "
            "give n_steps where there is none of them."
        )
    return counts.pop()


def _valid_input(inputs: Any, mask: Flags | None) -> Any:
    """Return the input of the first valid step (zeros if there is none)."""
    if mask is None:
        return jax.tree.map(lambda x: x[0], inputs)
    first = jnp.argmax(mask)
    found = jax.tree.map(lambda x: x[first], inputs)
    return _select(mask[first], found, jax.tree.map(jnp.zeros_like, found))


def _guard(step: Step, initial: Any, valid_input: Any) -> Step:
    """Wrap a step so that it takes ``(input, valid, restart)``, None if not used."""

    def guarded(carry, slices):
        x, valid, restart = slices
        if restart is not None:
            carry = _select(restart, initial, carry)
        if valid is None:
            return step(carry, x)
        after, output = step(carry, _select(valid, x, valid_input))
        nothing = jax.tree.map(jnp.zeros_like, output)
        return _select(valid, after, carry), _select(valid, output, nothing)

    return guarded


def _select(condition: Array, chosen: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)


def _chunk_size(
    checkpoint: int | Literal["auto"] | None,
    step: Step,
    carry: Any,
    slices: Any,
    n_steps: int,
) -> int:
    """Return the number of steps that one chunk holds; all of them means one loop."""
    if checkpoint is None:
        return n_steps
    if checkpoint == "auto":
        stored = _stored_bytes(step, carry, slices, n_steps)
        return _root(n_steps) if stored > STORED_BYTES else n_steps
    if isinstance(checkpoint, bool) or not checkpoint >= 1:
        raise ValueError(
            f"checkpoint: got {checkpoint!r}, expected a number of steps >= 1, "
            "'auto' or None."
        )
    return int(checkpoint)


def _root(n_steps: int) -> int:
    """Return a chunk size near the square root that needs no padding, if there is one.

    Padding changes no result but copies the inputs.
    """
    root = math.isqrt(n_steps - 1) + 1
    return next((k for k in range(root, 2 * root) if n_steps % k == 0), root)


def _stored_bytes(step: Step, carry: Any, slices: Any, n_steps: int) -> int:
    """Return what reverse-mode differentiation of the plain loop keeps in memory."""

    def loop(carry, slices):
        return lax.scan(step, carry, slices, length=n_steps)

    kept = jax.eval_shape(lambda c, x: jax.vjp(loop, c, x)[1], carry, slices)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def _scan_chunks(
    step: Step, carry: Any, slices: Any, n_steps: int, size: int, reverse: bool
) -> tuple[Any, Any]:
    """Scan over chunks, each an inner scan that the gradient computes again."""
    n_chunks = -(-n_steps // size)
    size = -(-n_steps // n_chunks)  # the same number of chunks, the least padding
    padding = n_chunks * size - n_steps
    inputs, mask, reset = slices
    if padding and mask is None:
        mask = jnp.ones(n_steps, bool)

    def cut(x, fill):
        x = jnp.concatenate([x, jnp.broadcast_to(fill, (padding, *x.shape[1:]))])
        return x.reshape(n_chunks, size, *x.shape[1:])

    def join(y):
        return y.reshape(n_chunks * size, *y.shape[2:])[:n_steps]

    inputs = jax.tree.map(lambda x: cut(x, x[-1]), inputs)
    mask, reset = jax.tree.map(lambda x: cut(x, False), (mask, reset))

    def run_chunk(carry, chunk):
        return lax.scan(step, carry, chunk, length=size, reverse=reverse)

    # Inside a loop nothing can merge the two evaluations, so the barrier that would
    # prevent it is left out.
    run_chunk = jax.checkpoint(run_chunk, prevent_cse=False)
    chunks = (inputs, mask, reset)
    carry, outputs = lax.scan(run_chunk, carry, chunks, n_chunks, reverse=reverse)
    return carry, jax.tree.map(join, outputs)
