r"""Gradient descent on any loss: the one training loop of the library.

Parameters $\theta$ follow the gradient of a loss that may be drawn anew at every step,

$$
\theta_{s+1} = \theta_s + u\big(\nabla_\theta L(\theta_s, k_s, s)\big), \qquad
k_s = \text{fold\_in}(\text{key}(\text{seed}), s), \qquad s = 0, 1, \dots
$$

where the update $u$ is an optimiser of optax, with a memory of its own (Adam: Kingma &
Ba 2015). The key $k_s$ of a step depends on the seed and the number of the step alone.
So training may stop after any step and go on, in pieces of any length, in another
process, to the same bits.

Steps run in one compiled loop (`neuromod.core.training_loop`), in pieces of about a
second: between two of them progress is told, the callback is called, and what was
learnt is kept in a checkpoint. Several seeds run side by side in one program.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import DivergedError, ShapeError, invalid
from neuromod.core.progress import progress_bar
from neuromod.core.training_checkpoint import Checkpoint, digest, optimiser_digest
from neuromod.core.training_loop import Course, State, compiled, strong

SECONDS_PER_PIECE = 1.0
SECONDS_PER_SAVE = 30.0


class Trained(NamedTuple):
    """What training has led to.

    Parameters
    ----------
    parameters
        Like those at the start.
    optimiser_state
        What the optimiser remembers.
    history
        The ``loss``, and each metric by its name, of the steps 0, ``record_every``,
        2 ``record_every``, ...: (step, ...), or (seed, step, ...) of several seeds. The
        loss of a step is that of the parameters before their update.
    n_steps
        How many steps were done.
    """

    parameters: Any
    optimiser_state: Any
    history: dict[str, np.ndarray]
    n_steps: int


class TrainingDivergedError(DivergedError):
    """Training reached numbers that are not finite.

    Parameters
    ----------
    message
        What happened, and when.
    trained
        What there was before that step.
    """

    def __init__(self, message: str, trained: Trained | None = None) -> None:
        super().__init__(message)
        self.trained = trained


def fit_gradient(
    loss: Callable[..., Any],
    parameters: Any,
    *,
    seed: int | Sequence[int],
    n_steps: int,
    optimiser: optax.GradientTransformation | None = None,
    arguments: tuple = (),
    trainable: Callable[[Any], Any] | None = None,
    record_every: int = 1,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
    label: str = "training",
    callback: Callable[[int, dict[str, np.ndarray]], None] | None = None,
) -> Trained:
    """Follow the gradient of a loss from given parameters.

    Parameters
    ----------
    loss
        A pure JAX function ``loss(parameters, key, step, *arguments)`` that returns a
        scalar, or a scalar and a dict of metrics (arrays of any shape). Whatever is
        random in it, such as a batch of trials, is drawn from ``key``.
    parameters
        Where to start: a pytree, such as an Equinox module. Its floating-point arrays
        are trained, all else stays.
    seed
        Of the keys. A sequence trains once per seed, side by side: then each array of
        ``parameters`` has a leading axis (seed), as ``core.models.stack`` makes it. It
        may as well hold hyper-parameters that are not trained, one value per seed.
    n_steps
        Updates from the start, those of a checkpoint included.

    Other Parameters
    ----------------
    optimiser
        Any of optax; ``optax.adam(1e-3)`` if omitted.
    arguments
        Further arguments of ``loss``, such as data, the same for every seed. Another
        call with the same loss, optimiser (the objects) and shapes compiles nothing.
    trainable
        A function that gives for ``parameters`` a pytree of truth values: what to
        train.
    record_every
        Steps from one row of the history to the next.
    checkpoint
        A file where training is kept, every half minute and when interrupted; beside
        it, as PATH.previous, the one before. A second call with the same arguments goes
        on from there, to the same bits under the same versions of jax and optax;
        ``n_steps`` may have grown.
    progress, label
        Whether to show a progress bar, and what stands before it.
    callback
        Called about once a second with the number of steps done, and the loss and the
        metrics of the last one: arrays, with the axis (seed) of several.

    Returns
    -------
    Trained
        ``parameters``, ``optimiser_state``, ``history`` and ``n_steps``. Floats are
        those of the precision context.

    Raises
    ------
    DivergedError
        If the loss, its gradient or an update stopped being finite, for any seed. Its
        attribute ``trained`` is what there was before that step.
    InvalidInputError
        If that happens at the start, no array is to be trained, or the checkpoint is
        of other arguments.
    ShapeError
        If the loss is no scalar, or an array lacks the axis of several seeds.
    ChecksumError
        If the checkpoint is damaged and the one before is not there.

    Examples
    --------
    The mean of noisy data, from two seeds at once:

    >>> def loss(mean, key, step):
    ...     return jnp.mean((mean - 3 - jax.random.normal(key, (64,))) ** 2)
    >>> start = jnp.zeros(2)
    >>> found = fit_gradient(
    ...     loss, start, seed=[0, 1], n_steps=200, optimiser=optax.sgd(0.01),
    ...     progress=False,
    ... )
    >>> found.history["loss"].shape, bool(abs(found.parameters - 3).max() < 0.2)
    ((2, 200), True)
    """
    n_steps = require_integer(n_steps, "n_steps")
    every = require_integer(record_every, "record_every")
    several, seeds = np.ndim(seed) > 0, _seeds(seed)
    optimiser = _default_optimiser() if optimiser is None else optimiser
    trained, held = _split(parameters, trainable, len(seeds) if several else None)
    arrays, constants = eqx.partition((loss, held, arguments), _is_array)
    keys = jnp.stack([jax.random.key(s) for s in seeds])
    course = Course(
        compiled(optimiser, several, *_hashable(constants)),
        keys if several else keys[0],
        arrays,
        every,
    )
    with progress_bar(n_steps, label, "step", shown=progress) as bar:
        # The first step tells whether the start is good, and which loss this is.
        state = course.advance(course.begin(trained, n_steps), 1)
        if not state.finite.all():
            raise invalid("parameters", _trouble(state, seeds), "finite numbers there")
        saved = None
        if checkpoint is not None:
            asked = {
                "seed": seeds if several else seeds[0],
                "record_every": every,
                "optimiser": optimiser_digest(optimiser, trained),
                "start": [digest(trained), digest(arrays[1])],
                "loss": digest(arrays[0]),
                "arguments": digest(arrays[2]),
                "metrics": {
                    name: [str(value.dtype), *value.shape]
                    for name, value in state.metrics.items()
                },
            }
            saved = Checkpoint(Path(checkpoint), asked, state.metrics["loss"])
            found = saved.read(lambda n_done: course.shortened(state, n_done), n_steps)
            state = state if found is None else course.lengthened(found, n_steps)
        state = _run(course, state, n_steps, saved, bar, callback)
    history = course.shortened(state, int(state.n_done)).history
    result = Trained(
        eqx.combine(state.trained, held),
        state.optimiser_state,
        {name: _by_seed(rows, several) for name, rows in history.items()},
        int(state.n_done),
    )
    if not state.finite.all():
        raise TrainingDivergedError(
            f"training.fit_gradient: {_trouble(state, seeds)}. Lower the learning "
            "rate, or bound the gradients: optax.chain(optax.clip_by_global_norm(1.0), "
            "optimiser). The attribute `trained` of this error holds what there was "
            "before.",
            result,
        )
    return result


def _by_seed(rows: Array, several: bool) -> np.ndarray:
    return np.moveaxis(np.array(rows), 0, 1) if several else np.array(rows)


@cache
def _default_optimiser() -> optax.GradientTransformation:
    return optax.adam(1e-3)


def _seeds(seed: int | Sequence[int]) -> list[int]:
    seeds = [require_integer(s, "seed", minimum=0) for s in np.atleast_1d(seed)]
    if not seeds:
        raise invalid("seed", "none", "a whole number, or several")
    return seeds


def _split(
    parameters: Any, trainable: Callable[[Any], Any] | None, n_seeds: int | None
) -> tuple[Any, Any]:
    """Return what is trained and what is held, each with None in place of the other."""
    mask = True if trainable is None else trainable(parameters)
    try:
        chosen, others = eqx.partition(parameters, mask)
    except ValueError as error:
        expected = "a pytree of truth values, one for each leaf of parameters"
        raise invalid("trainable", f"{error!s:.300}", expected) from error
    trained, numbers = eqx.partition(chosen, _is_floating)
    held = eqx.combine(others, numbers)
    if not jax.tree.leaves(trained):
        expected = "at least one floating-point array to train"
        remedy = "Wrap numbers by jax.numpy.asarray, or let trainable choose some."
        raise invalid("parameters", "none", expected, remedy)
    for leaf in filter(_is_array, jax.tree.leaves((trained, held))):
        if n_seeds is not None and leaf.shape[:1] != (n_seeds,):
            raise invalid(
                "parameters",
                f"an array of shape {leaf.shape} for {n_seeds} seeds",
                f"a leading axis of {n_seeds} in every array",
                "Stack one start per seed: neuromod.core.models.stack([...]).",
                ShapeError,
            )
    return jax.tree.map(strong, trained), held


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def _is_floating(leaf: Any) -> bool:
    return _is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)


def _hashable(constants: Any) -> tuple[Any, tuple]:
    leaves, structure = jax.tree.flatten(constants)
    try:
        hash((structure, *leaves))
    except TypeError as error:
        raise invalid(
            "loss, parameters, arguments",
            f"something that is no array and cannot be hashed ({error})",
            "pytrees of arrays and of constants",
            "Give the arrays in it, or capture it in the loss.",
        ) from error
    return structure, tuple(leaves)


def _run(
    course: Course,
    state: State,
    n_steps: int,
    saved: Checkpoint | None,
    bar: Any,
    callback: Callable[[int, dict[str, np.ndarray]], None] | None,
) -> State:
    """Go on to the last step, in pieces of about a second each."""
    n, saved_at = 1, -np.inf
    # What a checkpoint has done does not count for the time that is left.
    bar.initial = bar.n = n_done = int(state.n_done)

    def save() -> None:
        # Counted anew: an interrupt may come before n_done follows the state.
        done = int(state.n_done)
        if saved is not None:
            saved.write(course.shortened(state, done), done)

    try:
        while state.finite.all():
            bar.set_postfix_str(f"loss {state.metrics['loss'].mean():.4g}")
            if time.monotonic() - saved_at >= SECONDS_PER_SAVE:
                save()
                saved_at = time.monotonic()
            if callback is not None:
                callback(n_done, jax.tree.map(np.array, state.metrics))
            if n_done == n_steps:
                break
            began = time.monotonic()
            state = course.advance(state, min(n, n_steps - n_done))
            bar.update(int(state.n_done) - n_done)
            n_done = int(state.n_done)
            pace = SECONDS_PER_PIECE / max(time.monotonic() - began, 1e-3)
            n = max(1, int(n * min(pace, 8.0)))
    finally:
        save()
    return state


def _trouble(state: State, seeds: list[int]) -> str:
    """Tell what is not finite, when and for which seed."""
    finite = np.atleast_2d(state.finite)
    lane = int(np.argmin(finite.all(axis=1)))
    value = np.atleast_1d(state.metrics["loss"])[lane]
    what = (
        f"a loss of {value}",
        f"a loss of {value} whose gradient is not finite",
        f"a loss of {value} with an update to what is not finite",
    )[int(np.argmin(finite[lane]))]
    return f"{what} in step {int(state.n_done)} of seed {seeds[lane]}"
