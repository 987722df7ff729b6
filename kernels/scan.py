"""The loop over time that every recurrent model runs in.

A model is a *step*, ``carry, output = step(carry, input)``: the carry is all that
the past leaves behind, any pytree of arrays. `scan` runs it over a sequence::

    carry_t, output_t = step(carry_{t-1}, input_t)          t = 0 .. time - 1

A step is any such function, or a `neuromod.kernels.Cell`: a step with parameters that
knows how to start, how its inputs are projected, which noise it takes, and, for the
cells of this package, how to differentiate itself. `scan` adds what recordings need:

- ``mask`` and ``length``: at a masked step nothing happens. The carry stays, the
  output is 0, and the step is evaluated on the inputs of a valid step instead of its
  own, so that NaN in padding reaches nothing.
- ``reset``: before such a step the carry returns to the initial one, so that one
  array holds many sequences.
- ``noise``: drawn inside the step, from the key and the number of the step. Whole,
  cut, streamed, vmapped and sharded runs therefore see the same noise, and none of it
  is ever stored.
- ``inputs`` that nobody has to store either: a function of the step number, or
  `Events` at irregular times.
- ``outputs``: all, the last, every k-th, or a sum over them (`Fold`).
- streaming: the carry that comes out goes into the next call, and the parts give
  what the whole gives. `make_stepper` compiles the same step for one input at a time.
- ``checkpoint``: memory for the gradient that grows with the square root of time
  (`neuromod.kernels.loop`).

The loop is never unrolled: XLA's CPU backend compiles a small rolled loop into a
single kernel, and unrolling makes it several times slower.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from neuromod.kernels import affine_cell, events, loop
from neuromod.kernels import outputs as outputs_
from neuromod.kernels.affine_cell import AffineCell
from neuromod.kernels.cell import Cell, draw, is_key
from neuromod.kernels.chunk import Work
from neuromod.kernels.events import Events
from neuromod.kernels.gated import GatedCell
from neuromod.kernels.loop import Chunks, Count, Flags, Needs, Slices
from neuromod.kernels.outputs import Outputs

Step = Callable[..., tuple[Any, Any]]
Method = Literal["auto", "sequential", "associative"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ScanInfo:
    """How a scan was run.

    Parameters
    ----------
    method
        "sequential" or "associative".
    n_chunks, chunk_size
        How time was cut.
    recomputed
        Whether the gradient computes the inside of a chunk again.
    projected
        Where the inputs are projected: for a whole "chunk" at once, in each "step", or
        None for a step that has no projection of its own.
    """

    method: str = dataclasses.field(metadata={"static": True})
    n_chunks: int = dataclasses.field(metadata={"static": True})
    chunk_size: int = dataclasses.field(metadata={"static": True})
    recomputed: bool = dataclasses.field(metadata={"static": True})
    projected: str | None = dataclasses.field(metadata={"static": True})


class Scan(NamedTuple):
    """The last ``carry``, the ``outputs`` and ``info``, how they were computed."""

    carry: Any
    outputs: Any
    info: ScanInfo


def scan(
    step: Step | Cell,
    carry: Any,
    inputs: Any = None,
    *,
    method: Method = "auto",
    n_steps: int | None = None,
    first_step: Count = 0,
    noise: Any = None,
    length: Count | None = None,
    mask: Flags | None = None,
    reset: Flags | None = None,
    initial: Any = None,
    reverse: bool = False,
    outputs: Outputs = "all",
    checkpoint: int | Literal["auto"] | None = "auto",
    project: Literal["auto", "chunk", "step"] = "auto",
    progress: Callable[[int], None] | None = None,
) -> Scan:
    """Run ``step`` over a sequence.

    Parameters
    ----------
    step
        ``step(carry, input) -> (carry, output)``, a pure function on pytrees, or a
        `Cell`. With ``noise`` it is called as ``step(carry, input, noise)``.
    carry
        The carry before the first step.
    inputs : (time, ...)
        A pytree of arrays whose first axis is time; or a function that gives the input
        of a step from its number; or `Events`; or None.
    n_steps
        The number of steps; needed only where no array tells it.

    Other parameters
    ----------------
    method
        "sequential" runs one step after another. "associative" combines the steps in
        pairs, which a cell that is affine in its carry allows (`AffineCell`). "auto" is
        sequential on a CPU, always for cells that are not affine; on a GPU associative
        for affine cells from 2000 steps on.
    first_step
        Number of the first step in the stream that these steps are a part of.
    noise
        A random key, from which each step draws its own noise: standard normal numbers
        of the shape that the cell asks for, or the key of the step if ``step`` is a
        function. Keys (lane,) draw for each lane of a batch by itself. Or a pytree of
        arrays (time, ...): the noise itself.
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
    outputs
        "all"; "last", of the last valid step; a number k, every k-th (those of the
        steps k - 1, 2k - 1, ...); or a `Fold` over all of them.
    checkpoint
        Number of steps per chunk that the gradient computes again instead of storing;
        None stores everything. "auto" stores everything up to 8 MiB and then takes
        chunks of about sqrt(time) steps; it looks at the step's derivative, so a step
        that has none (a host callback) needs None.
    project
        Whether a cell projects its inputs for a whole chunk at once or in each step.
        "auto" takes the chunk where that is small or its inputs are many.
    progress
        Called with the number of steps done whenever a chunk ends, on the host.

    Returns
    -------
    carry
        The carry after the last valid step.
    outputs : (time, ...)
        The outputs in the order of the inputs, also in reverse; 0 at masked steps.
        What ``outputs`` asks for if that is not "all".
    info
        How it was computed.

    Raises
    ------
    ValueError
        If the number of steps is unknown or differs between the arrays, or an option
        has no such value, or the method does not fit the step.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import scan
    >>> leaky_sum = lambda carry, x: (0.5 * carry + x, 0.5 * carry + x)
    >>> inputs = jnp.array([4.0, 4.0, 4.0])
    >>> carry, outputs, info = scan(leaky_sum, jnp.array(0.0), inputs)
    >>> print(carry, outputs, info.method)
    7.0 [4. 6. 7.] sequential
    >>> print(scan(leaky_sum, jnp.array(0.0), inputs, length=2, outputs="last").outputs)
    6.0
    """
    outputs_.check(outputs)
    _check_choices(method, project, step)
    sparse = inputs if isinstance(inputs, Events) else None
    generate = inputs if sparse is None and callable(inputs) else None
    dense = inputs if sparse is None and generate is None else None
    carry, slices = jax.tree.map(jnp.asarray, (carry, Slices(dense, noise)))
    slices = slices._replace(valid=_flags(mask), restart=_flags(reset))
    if isinstance(step, Cell):
        step = jax.tree.map(jnp.asarray, step)
    key = slices.noise if is_key(slices.noise) else None
    if key is not None:
        slices = slices._replace(noise=None)
    n_steps = _count_steps(slices, n_steps)
    slices = _restrict(slices, n_steps, length)
    if key is not None or not jax.tree.leaves(dense):
        slices = slices._replace(
            index=first_step + jnp.arange(n_steps, dtype=jnp.int32)
        )
    chosen = affine_cell.chosen(step, method, n_steps)
    work = Work(
        step=step,
        method=chosen,
        initial=carry if initial is None else jax.tree.map(jnp.asarray, initial),
        generate=generate,
        key=key,
        safe=_safe_inputs(slices, sparse),
        asked=outputs,
        reverse=reverse,
        project=project,
    )
    shapes = slices
    if sparse is not None:
        shapes = slices._replace(inputs=events.dense_shapes(sparse, n_steps))
    kept = outputs_.start(outputs, lambda: work.shapes(carry, shapes))
    several = progress is not None or sparse is not None
    chunks = _cut(work, (carry, kept), shapes, n_steps, checkpoint, several)
    slots = None
    if sparse is not None:
        slots = events.sort_into_chunks(sparse, first_step, chunks)
    (carry, kept), rows = loop.run_chunks(
        work, (carry, kept), slices, slots, chunks, reverse, progress
    )
    info = ScanInfo(
        method=chosen,
        n_chunks=chunks.n_chunks,
        chunk_size=chunks.size,
        recomputed=chunks.recomputed,
        projected=work.where_projected(shapes, chunks.size),
    )
    return Scan(carry, outputs_.join(outputs, kept, rows, n_steps), info)


def make_stepper(step: Step | Cell, *, noise: Any = None) -> Callable[..., Any]:
    """Compile a step for one input at a time, as a closed loop calls it.

    The carry is donated: its memory is used again for the next one, and the carry
    that was passed in must not be touched after the call.

    Parameters
    ----------
    step
        What `scan` takes.
    noise
        The random key that `scan` takes; a stepper then also wants the number of the
        step, and draws what `scan` draws at that step.

    Returns
    -------
    stepper
        ``stepper(carry, input) -> (carry, output)``, with a key
        ``stepper(carry, input, index)``; compiled at its first call.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import make_stepper
    >>> stepper = make_stepper(lambda carry, x: (0.5 * carry + x, carry))
    >>> carry, output = stepper(jnp.array(4.0), jnp.array(1.0))
    >>> print(carry, output)
    3.0 4.0
    """
    if noise is None:
        return jax.jit(lambda carry, x: step(carry, x), donate_argnums=0)

    def stepper(carry: Any, x: Any, index: Count) -> tuple[Any, Any]:
        return step(carry, x, draw(step, noise, index, carry))

    return jax.jit(stepper, donate_argnums=0)


def _check_choices(method: str, project: str, step: Any) -> None:
    if project not in ("auto", "chunk", "step"):
        raise ValueError(
            f"project: got {project!r}, expected 'auto', 'chunk' or 'step'."
        )
    if method not in ("auto", "sequential", "associative"):
        raise ValueError(
            f"method: got {method!r}, expected 'auto', 'sequential' or 'associative'."
        )
    if method == "associative" and not isinstance(step, AffineCell):
        raise ValueError(
            f"method: got 'associative' for {step!r}, expected a cell that is affine "
            "in its carry (AffineCell). Use 'sequential'."
        )


def _flags(flags: Any) -> Any:
    return None if flags is None else jnp.asarray(flags)


def _count_steps(slices: Slices, n_steps: int | None) -> int:
    counts = {len(leaf) if leaf.ndim else -1 for leaf in jax.tree.leaves(slices)}
    counts |= set() if n_steps is None else {n_steps}
    if len(counts) != 1 or min(counts) < 0:
        raise ValueError(
            f"inputs: got arrays of {sorted(counts) or 'no'} steps, expected one "
            "number of steps. The first axis of inputs, noise, mask and reset is time; "
            "give n_steps where there is none of them."
        )
    return counts.pop()


def _restrict(slices: Slices, n_steps: int, length: Count | None) -> Slices:
    """Mask what is past the length."""
    if length is None:
        return slices
    valid = jnp.arange(n_steps) < length
    return slices._replace(
        valid=valid if slices.valid is None else slices.valid & valid
    )


def _safe_inputs(slices: Slices, sparse: Events | None) -> tuple[Any, Any] | None:
    """Return input and noise for masked steps: those of the first valid one."""
    if slices.valid is None or not len(slices.valid):
        return None
    safe = loop.first_valid((slices.inputs, slices.noise), slices.valid)
    return safe if sparse is None else (events.no_input(sparse), safe[1])


def _cut(
    work: Work,
    state: Any,
    slices: Slices,
    n_steps: int,
    checkpoint: int | Literal["auto"] | None,
    several: bool,
) -> Chunks:
    """Choose the chunks, several where that is asked for."""
    several = several or outputs_.is_reduced(work.asked)
    if work.method == "associative":
        return Chunks(n_steps, max(1, n_steps), False)
    if checkpoint is None:
        size, recomputed = loop.root(n_steps) if several else n_steps, False
    elif checkpoint == "auto":
        n_hidden = work.step.n_hidden if isinstance(work.step, GatedCell) else None
        needs = _needs(work, state, slices) if n_steps else Needs(0, 0, 0)
        size, recomputed = loop.size_for(needs, n_steps, several, n_hidden)
    elif isinstance(checkpoint, bool) or not checkpoint >= 1:
        raise ValueError(
            f"checkpoint: got {checkpoint!r}, expected a number of steps >= 1, 'auto' "
            "or None."
        )
    else:
        size, recomputed = int(checkpoint), True
    every = work.asked if isinstance(work.asked, int) else 1
    size = max(1, -(-size // every)) * every
    return Chunks(n_steps, size, recomputed and size < n_steps)


def _needs(work: Work, state: Any, slices: Slices) -> Needs:
    _, rows = jax.eval_shape(work, state, (slices, None))
    return Needs(
        stored=loop.stored_bytes(work, state, (slices, None)),
        outputs=loop.count_bytes(rows),
        carry=loop.count_bytes(state),
    )
