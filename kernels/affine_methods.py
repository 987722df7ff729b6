"""Linear recurrences: three ways to compute them, and the derivative they share.

The equations and the meaning of the marks stand in `neuromod.kernels.affine`. A step
is the map ``h -> A h + b`` (A h elementwise or a matrix product), and two steps in a
row are one such map again::

    (A_2, b_2) after (A_1, b_1)  =  (A_2 A_1,  A_2 b_1 + b_2)

- `sequential` applies one step after another: the least work, and the fastest on a CPU.
- `associative` combines neighbours, then pairs of neighbours: log2(time) rounds, each
  parallel over time (Blelloch, CMU-CS-90-190, 1990).
- `blocked` cuts time into blocks that run side by side. A first pass finds the one map
  that each block is, a scan over these few maps gives the state in which each block
  starts, and a second pass runs all blocks from there.

None of them divides by a product of decays, which underflows after a few hundred steps.

A small change of the numbers changes the states by a recurrence of the same kind, with
a drive that needs nothing but the states themselves::

    dh_t = A_t dh_{t-1} + (dA_t h_{t-1} + db_t)

It is written as a forward rule (``custom_jvp``), linear in the changes, that uses the
method of the states. JAX transposes it into one recurrence that runs backwards, and
nothing but the states is stored. All modes and orders of differentiation follow.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from neuromod.kernels.loop import Count, Flags

Method = Literal["auto", "sequential", "associative", "blocked"]

KNOWN = ("sequential", "associative", "blocked")
# From so many steps on the associative method wins on an accelerator.
ASSOCIATIVE_STEPS = 2_000


class Kind(NamedTuple):
    """How a factor multiplies a state (or another factor), and which one is neutral."""

    times: Callable[[Array, Array], Array]
    identity: Callable[[Array], Array]


class Marks(NamedTuple):
    """Which steps are ``valid`` and before which the state is 0: (time), or None."""

    valid: Flags | None = None
    restart: Flags | None = None


class Plan(NamedTuple):
    """How to compute: what is known before the arrays are."""

    kind: Kind
    varying: bool
    reverse: bool
    method: Method
    n_blocks: int


DIAGONAL = Kind(jnp.multiply, jnp.ones_like)
DENSE = Kind(
    functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST),
    lambda matrix: jnp.eye(len(matrix), dtype=matrix.dtype),
)


def check_shape(
    argument: str, array: Any, shape: tuple[int, ...], meaning: str
) -> None:
    """Raise ValueError unless an array that was given has this shape."""
    if array is not None and array.shape != shape:
        raise ValueError(
            f"{argument}: got shape {array.shape}, expected {shape}, {meaning}."
        )


def read_marks(
    n_steps: int, mask: Flags | None, reset: Flags | None, length: Count | None
) -> Marks:
    """Check the flags of each step; join mask and length."""
    check_shape("mask", mask, (n_steps,), "one flag for each step")
    check_shape("reset", reset, (n_steps,), "one flag for each step")
    if length is not None:
        within = jnp.arange(n_steps) < length
        mask = within if mask is None else mask & within
    return Marks(mask, reset)


def clear(numbers: Array, used: Flags | None, fill: Array | float = 0) -> Array:
    """Put ``fill`` where numbers (time, ...) are not used."""
    if used is None:
        return numbers
    used = used.reshape(-1, *(1,) * (numbers.ndim - 1))
    return jnp.where(used, numbers, jnp.asarray(fill, numbers.dtype))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def run(plan: Plan, factor: Array, drive: Array, initial: Array, marks: Marks) -> Array:
    """Return the states (time, ...) of a recurrence of at least one step.

    ``factor`` is A, with a time axis if ``plan.varying``. The drive of steps that are
    not valid has to be 0; their state is the one before.
    """
    return METHODS[plan.method](plan, factor, drive, initial, marks)


@functools.partial(run.defjvp, symbolic_zeros=True)
def _differentiate(plan: Plan, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    factor, drive, initial, marks = primals
    factor_change, *changes, _ = tangents
    states = run(plan, factor, drive, initial, marks)
    drive_change, initial_change = (
        jnp.zeros_like(primal) if isinstance(change, SymbolicZero) else change
        for primal, change in zip((drive, initial), changes, strict=True)
    )
    if not isinstance(factor_change, SymbolicZero):
        before = previous(states, initial, plan.reverse)
        keep = functools.partial(_keep_all, plan, marks=marks, states=before)
        drive_change += jax.jvp(keep, (factor,), (factor_change,))[1]
    return states, run(plan, factor, drive_change, initial_change, marks)


def previous(states: Array, initial: Array, reverse: bool) -> Array:
    """Return the state before each step.

    Not by joining slices: those of a sharded array would be gathered on all devices.
    """
    forth, first = (-1, -1) if reverse else (1, 0)
    return jnp.roll(states, forth, axis=0).at[first].set(initial)


def _keep(plan: Plan, factor: Array, marks: Marks, state: Array) -> Array:
    """Return what one step makes of the state before it, without its drive."""
    if marks.restart is not None:
        state = jnp.where(marks.restart, jnp.zeros_like(state), state)
    moved = plan.kind.times(factor, state)
    return moved if marks.valid is None else jnp.where(marks.valid, moved, state)


def _keep_all(plan: Plan, factor: Array, marks: Marks, states: Array) -> Array:
    return jax.vmap(functools.partial(_keep, plan), _axes(plan))(factor, marks, states)


def _axes(plan: Plan) -> tuple:
    """Return the axes of (factor, marks, drive) that a vmap over time runs along."""
    return (0 if plan.varying else None, 0, 0)


def _scan(plan: Plan, step: Callable, carry, factor: Array, marks: Marks, drive: Array):
    """Scan ``step(carry, factor, marks, drive)`` over time."""

    def one(carry, now):
        own, marks, drive = now
        return step(carry, factor if own is None else own, marks, drive)

    inputs = (factor if plan.varying else None, marks, drive)
    return lax.scan(one, carry, inputs, reverse=plan.reverse)


def sequential(
    plan: Plan, factor: Array, drive: Array, initial: Array, marks: Marks
) -> Array:
    """Apply one step after another."""

    def step(state, factor, marks, drive):
        state = _keep(plan, factor, marks, state) + drive
        return state, state

    return _scan(plan, step, initial, factor, marks, drive)[1]


def associative(
    plan: Plan, factor: Array, drive: Array, initial: Array, marks: Marks
) -> Array:
    """Combine neighbouring steps, in log2(time) rounds."""
    times = plan.kind.times
    factors = _factors(plan, factor, marks, len(drive))
    first = -1 if plan.reverse else 0
    marks_of_first = jax.tree.map(lambda flags: flags[first], marks)
    start = _keep(plan, factors[first], marks_of_first, initial)

    @jax.vmap
    def combine(one, other):
        (factor, drive, has_restart), (later_factor, later_drive, restart) = one, other
        kept = times(later_factor, drive)
        if restart is not None:
            # Not left to the factor of 0, for which the state may be too large.
            kept = jnp.where(restart, jnp.zeros_like(kept), kept)
            restart = has_restart | restart
        return times(later_factor, factor), kept + later_drive, restart

    steps = (factors, drive.at[first].add(start), marks.restart)
    return lax.associative_scan(combine, steps, reverse=plan.reverse)[1]


def _factors(plan: Plan, factor: Array, marks: Marks, n_steps: int) -> Array:
    """Return the factor of each step, with what the marks make of it."""

    def mark(factor, marks):
        if marks.valid is not None:
            factor = jnp.where(marks.valid, factor, plan.kind.identity(factor))
        if marks.restart is not None:
            factor = jnp.where(marks.restart, jnp.zeros_like(factor), factor)
        return factor

    if not plan.varying:
        factor = jnp.broadcast_to(factor, (n_steps, *factor.shape))
    return jax.vmap(mark)(factor, marks)


def blocked(
    plan: Plan, factor: Array, drive: Array, initial: Array, marks: Marks
) -> Array:
    """Run blocks of time side by side, each from the state that the others lead to."""
    n_steps = len(drive)
    factor, drive, marks = _cut(plan, factor, drive, marks)
    factors, drives = jax.vmap(functools.partial(_summarise, plan), _axes(plan))(
        factor, marks, drive
    )
    restarts = None if marks.restart is None else jnp.any(marks.restart, axis=1)
    among_blocks = plan._replace(varying=True)
    ends = associative(among_blocks, factors, drives, initial, Marks(None, restarts))
    starts = previous(ends, initial, plan.reverse)
    axes = (_axes(plan)[0], 0, 0, 0)
    states = jax.vmap(functools.partial(sequential, plan), axes)(
        factor, drive, starts, marks
    )
    return states.reshape(-1, *initial.shape)[:n_steps]


def _summarise(plan: Plan, factor: Array, marks: Marks, drive: Array):
    """Return the factor and the drive of the one step that many steps amount to."""

    def step(carry, factor, marks, drive):
        total, state = carry
        total = _keep(plan, factor, marks, total)
        state = _keep(plan, factor, marks, state) + drive
        return (total, state), None

    neutral = plan.kind.identity(factor[0] if plan.varying else factor)
    carry = (neutral, jnp.zeros_like(drive[0]))
    return _scan(plan, step, carry, factor, marks, drive)[0]


def _cut(plan: Plan, factor: Array, drive: Array, marks: Marks):
    """Reshape (time, ...) to (block, time, ...), with steps at the end that do nothing.

    Where the blocks fill the time, nothing is added, and an array that is sharded along
    time stays on its devices.
    """
    n_steps, n_blocks = len(drive), plan.n_blocks
    padding = -n_steps % n_blocks
    if padding and marks.valid is None:
        marks = marks._replace(valid=jnp.ones(n_steps, bool))

    def cut(x):
        x = jnp.pad(x, ((0, padding), *((0, 0),) * (x.ndim - 1))) if padding else x
        return x.reshape(n_blocks, -1, *x.shape[1:])

    return (cut(factor) if plan.varying else factor), *jax.tree.map(cut, (drive, marks))


METHODS = {
    "sequential": sequential,
    "associative": associative,
    "blocked": blocked,
}
