"""Linear recurrences: leaky integrators, state-space layers, linear dynamics.

A state h is kept in part and driven by an input::

    h_t = a_t h_{t-1} + b_t      a: decay (time, ...)              `affine_scan`
    h_t = A_t h_{t-1} + b_t      A: dynamics (time, state, state)  `matrix_affine_scan`
                                 b: drive (time, ...)  h: states (time, ...)

In the first form every entry has its own decay: a membrane or a synapse with a time
constant tau has ``a = exp(-dt / tau)``, a bank of oscillators has complex decays
``exp((-1 / tau + i omega) dt)``, and samples at irregular times have another dt and so
another decay at every step. In the second form a matrix mixes the entries. The numbers
are real or complex; gradients of complex ones follow JAX's convention, and parameters
are best their real and imaginary parts.

The arguments around the numbers are the same everywhere:

- ``decay`` and ``dynamics`` have the axes of one step, or a time axis in front.
- ``mask`` (time) and ``length``: at a masked step, and from ``length`` on, nothing
  happens. The state stays, the output is 0.
- ``reset`` (time): the state before such a step is 0 (also before a masked one), so
  that many sequences can lie in one array.
- ``reverse``: time runs from the last step to the first, and the state "before" a step
  is that of the step after it: discounted sums of the future, backward messages.
- ``last`` of one call is ``initial`` of the next: a stream gives what the whole gives.

What is not used is never read: NaN at masked steps, or in the decay of a step whose
state starts at 0, reaches neither results nor gradients.

One step needs the one before it, but a recurrence can still be computed in parallel
over time (`neuromod.kernels.affine_methods`). ``method`` chooses:

- "sequential": step by step. The fastest on a CPU.
- "associative": in log2(time) rounds over all steps. For accelerators, on which a
  step costs some ten microseconds however small it is.
- "blocked": ``n_blocks`` blocks of time side by side. For arrays that are sharded
  along time over several devices: with one or more blocks per shard, only the first
  and last states of blocks travel between them.
- "auto": sequential on a CPU; on an accelerator associative from 2000 steps on, for
  matrices of up to 16 states from 10000 steps on.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from neuromod.kernels import affine_methods as methods
from neuromod.kernels.affine_methods import Marks, Method, Plan
from neuromod.kernels.loop import Count, Flags
from neuromod.kernels.methods import choose

# On an accelerator the associative method takes n**3 multiplications per step for n
# states, the sequential one n**2: for more states or fewer steps it does not pay.
ASSOCIATIVE_STATES = 16
ASSOCIATIVE_STEPS_DENSE = 10_000

Numbers = Num[Array, "..."] | Num[np.ndarray, "..."] | int | float | complex


class AffineScan(NamedTuple):
    """The ``states`` (time, ...) after each step, and the ``last`` one (...)."""

    states: Array
    last: Array


@functools.partial(jax.jit, static_argnames=("reverse", "method", "n_blocks"))
def affine_scan(
    decay: Numbers,
    drive: Num[Array, "time *feature"],
    initial: Num[Array, "*feature"] | None = None,
    *,
    mask: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    reverse: bool = False,
    method: Method = "auto",
    n_blocks: int | None = None,
) -> AffineScan:
    """Compute ``h_t = decay_t * h_{t-1} + drive_t``, entry by entry.

    Parameters
    ----------
    decay : (time, ...) or (...)
        One for each step and entry; without the time axis, the same at every step.
        Axes of length 1 are stretched, and one number serves all.
    drive : (time, ...)
        The input; any number of axes after time, or none.
    initial : (...)
        The state before the first step; 0 if omitted.

    Other parameters
    ----------------
    mask : (time,)
        False where nothing happens: the state stays, the output is 0.
    reset : (time,)
        True where the state before the step is 0.
    length
        Number of valid steps; the later ones are padding. May be traced.
    reverse
        Run from the last step to the first.
    method
        "sequential", "associative", "blocked", or "auto"; see the module.
    n_blocks
        Number of blocks of the method "blocked"; that of the devices if omitted.

    Returns
    -------
    AffineScan
        The states, and the last of them with which the next chunk goes on.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or there is no such method.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import affine_scan
    >>> drive = jnp.array([4.0, 4.0, 4.0])
    >>> print(affine_scan(0.5, drive).states)
    [4. 6. 7.]
    >>> print(affine_scan(0.5, drive, reset=jnp.array([False, False, True])).states)
    [4. 6. 4.]
    >>> print(affine_scan(jnp.array([0.5, 0.25, 0.5]), drive, jnp.array(8.0)).states)
    [8. 6. 7.]
    """
    decay, drive, initial = _unify(decay, drive, initial)
    decay, varying = _read_decay(decay, drive)
    marks = methods.read_marks(len(drive), mask, reset, length)
    method = choose(method, methods.KNOWN, len(drive), methods.ASSOCIATIVE_STEPS)
    plan = Plan(methods.DIAGONAL, varying, reverse, method, _count_blocks(n_blocks))
    return _run(plan, decay, drive, initial, marks)


@functools.partial(jax.jit, static_argnames=("reverse", "method", "n_blocks"))
def matrix_affine_scan(
    dynamics: Num[Array, "state state"] | Num[Array, "time state state"],
    drive: Num[Array, "time state"],
    initial: Num[Array, " state"] | None = None,
    *,
    mask: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    reverse: bool = False,
    method: Method = "auto",
    n_blocks: int | None = None,
) -> AffineScan:
    """Compute ``h_t = dynamics_t @ h_{t-1} + drive_t``.

    Parameters
    ----------
    dynamics : (state, state) or (time, state, state)
        The matrix that takes the state to the next step, or one for each step.
    drive : (time, state)
        The input; ``jax.vmap`` for several sequences.
    initial : (state,)
        The state before the first step; 0 if omitted.

    Other parameters
    ----------------
    mask, reset, length, reverse, method, n_blocks
        As in `affine_scan`.

    Returns
    -------
    AffineScan
        The states, and the last of them with which the next chunk goes on.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or there is no such method.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import matrix_affine_scan
    >>> turn = jnp.array([[0.0, -1.0], [1.0, 0.0]])
    >>> print(matrix_affine_scan(turn, jnp.zeros((3, 2)), jnp.array([1.0, 0.0])).states)
    [[ 0.  1.]
     [-1.  0.]
     [ 0. -1.]]
    """
    dynamics, drive, initial = _unify(dynamics, drive, initial)
    varying = _read_dynamics(dynamics, drive)
    marks = methods.read_marks(len(drive), mask, reset, length)
    small = drive.shape[1] <= ASSOCIATIVE_STATES
    enough = ASSOCIATIVE_STEPS_DENSE if small else None
    method = choose(method, methods.KNOWN, len(drive), enough)
    plan = Plan(methods.DENSE, varying, reverse, method, _count_blocks(n_blocks))
    return _run(plan, dynamics, drive, initial, marks)


def _unify(
    factor: Numbers, drive: Array, initial: Array | None
) -> tuple[Array, Array, Array]:
    """Give all numbers the same type, and a state to start from."""
    if drive.ndim == 0:
        raise ValueError("drive: got a single number, expected (time, ...).")
    methods.check_shape("initial", initial, drive.shape[1:], "one step of drive")
    given = (factor, drive) if initial is None else (factor, drive, initial)
    dtype = jnp.result_type(*given)
    if initial is None:
        initial = jnp.zeros(drive.shape[1:], dtype)
    factor, drive, initial = (jnp.asarray(x, dtype) for x in (factor, drive, initial))
    return factor, drive, initial


def _read_decay(decay: Array, drive: Array) -> tuple[Array, bool]:
    """Give a single number the axes of a step; tell whether there is a time axis."""
    if decay.ndim == 0:
        decay = decay.reshape((1,) * (drive.ndim - 1))
    varying = decay.ndim == drive.ndim
    own = decay.shape[1:] if varying else decay.shape
    fits = len(own) == drive.ndim - 1 and all(
        n in (1, wide) for n, wide in zip(own, drive.shape[1:], strict=True)
    )
    if not fits or (varying and len(decay) != len(drive)):
        raise ValueError(
            f"decay: got shape {decay.shape}, expected that of drive, {drive.shape}, "
            "with or without the time axis. Give axes that are missing the length 1."
        )
    return decay, varying


def _read_dynamics(dynamics: Array, drive: Array) -> bool:
    """Tell whether there is one matrix for each step."""
    constant = 2 * drive.shape[1:]
    varying = (len(drive), *constant)
    if drive.ndim != 2 or dynamics.shape not in (constant, varying):
        raise ValueError(
            f"dynamics: got shape {dynamics.shape}, expected (state, state) or (time, "
            f"state, state) with drive (time, state) of shape {drive.shape}. Use "
            "jax.vmap for several sequences."
        )
    return dynamics.ndim == 3


def _count_blocks(n_blocks: int | None) -> int:
    if n_blocks is None:
        return jax.device_count()
    if n_blocks < 1:
        raise ValueError(f"n_blocks: got {n_blocks}, expected a number >= 1.")
    return n_blocks


def _run(
    plan: Plan, factor: Array, drive: Array, initial: Array, marks: Marks
) -> AffineScan:
    """Compute the states from numbers that are all read, and clear the masked ones."""
    if not len(drive):
        return AffineScan(drive, initial)
    drive = methods.clear(drive, marks.valid)
    if plan.varying:
        factor = methods.clear(factor, marks.valid)
        if marks.restart is not None:
            factor = methods.clear(factor, ~marks.restart)
    states = methods.run(plan, factor, drive, initial, marks)
    return AffineScan(
        methods.clear(states, marks.valid), states[0 if plan.reverse else -1]
    )
