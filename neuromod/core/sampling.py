"""Draws from any log density by the no-U-turn sampler (`neuromod.core.no_u_turn`).

Chains run side by side in one program, in pieces of about a second: between two of them
progress is told, and what was drawn is kept in a checkpoint.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core import storage
from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.no_u_turn import Point, Settings, begin, compiled
from neuromod.core.progress import progress_bar
from neuromod.core.provenance import checksum

VERSION = 1  # in checkpoints: a sampler of another version would draw other bits
SECONDS_PER_PIECE = 1.0
SECONDS_PER_SAVE = 30.0


class Draws(NamedTuple):
    """What a sampler drew.

    Parameters
    ----------
    positions
        A pytree like a starting point; each array has leading axes (chain, draw).
    stats
        Of each draw (chain, draw), by ArviZ's names: ``diverging``; ``energy`` and
        ``lp`` (log density) in nats; ``n_steps`` (leapfrogs) and ``tree_depth`` of its
        trajectory; ``acceptance_rate``; ``step_size``.
    """

    positions: Any
    stats: dict[str, np.ndarray]


def nuts(
    log_density: Callable[..., Any],
    start: Any,
    *,
    seed: int,
    arguments: tuple = (),
    n_draws: int = 1000,
    n_warmup: int = 1000,
    target_accept: float = 0.8,
    max_tree_depth: int = 10,
    dense_mass: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Draws:
    """Draw from a log density by the no-U-turn sampler, all chains in one program.

    Parameters
    ----------
    log_density
        A pure JAX function from a position to the log of its density, a scalar in nats
        up to a constant. Positions are unconstrained.
    start
        The pytree of starting points: each array has a leading axis (chain). Choose
        them further apart than the draws will be, or R-hat cannot tell that chains
        are stuck.
    seed
        Of the draws.

    Other Parameters
    ----------------
    arguments
        Further arguments of ``log_density``, pytrees of arrays such as the data of a
        subject: another call with the same function and shapes compiles nothing.
    n_draws, n_warmup
        Draws that each chain keeps, and trajectories before, which adapt its step.
    target_accept
        Mean acceptance that the step is adapted to; higher takes shorter steps.
    max_tree_depth
        A trajectory has at most ``2**max_tree_depth - 1`` steps.
    dense_mass
        Whether to learn correlations of the parameters as well as their scales.
    checkpoint
        A file where the chains are kept, every half minute and when interrupted. A
        second call with the same arguments goes on from there, to the same bits.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Draws
        ``positions`` and ``stats``. Floats are those of the precision context.

    Raises
    ------
    InvalidInputError
        If the log density or its gradient is not finite at a starting point, or the
        checkpoint is of other arguments.
    ShapeError
        If ``start`` has no chain axis.

    Examples
    --------
    >>> start = {"x": np.array([-2.0, 2.0])}
    >>> draws = nuts(lambda at: -(at["x"] ** 2) / 2, start, seed=0, progress=False)
    >>> draws.positions["x"].shape, bool(abs(draws.positions["x"].mean()) < 0.2)
    ((2, 1000), True)
    """
    seed = require_integer(seed, "seed", minimum=0)
    n_draws = require_integer(n_draws, "n_draws")
    if not 0 < target_accept < 1:
        raise invalid("target_accept", target_accept, "a number between 0 and 1")
    settings = Settings(
        require_integer(n_warmup, "n_warmup", minimum=0),
        require_integer(max_tree_depth, "max_tree_depth"),
        bool(dense_mass),
    )
    flat, unravel = _flat(start)
    advance = compiled(_hashable(log_density), unravel, settings)
    # The first step of each chain evaluates the density where it starts.
    state = begin(flat, seed, n_draws, float(target_accept), settings)
    state = advance(*state, jnp.int32(1), arguments)
    first = jax.tree.map(np.asarray, state[0].tree.proposal)
    _require_finite(first)
    saved = None
    if checkpoint is not None:
        asked = {**settings._asdict(), "n_draws": n_draws, "seed": seed}
        asked |= {"start": checksum(np.asarray(flat)), "version": VERSION}
        asked["target_accept"] = float(target_accept)
        saved = _Checkpoint(Path(checkpoint), asked, first.log_density)
        state = saved.read(state)
    n = n_warmup + n_draws
    with progress_bar(n, "sampling.nuts", "draw", shown=progress) as bar:
        _, kept = _run(advance, state, arguments, saved, bar)
    stats = {name: np.asarray(values) for name, values in kept.items()}
    return Draws(unravel(stats.pop("position")), stats)


def _flat(start: Any) -> tuple[np.ndarray, "_Unravel"]:
    """Return starting points as (chain, parameter), and the way back for one."""
    given, structure = jax.tree.flatten(start)
    leaves = [np.asarray(leaf, jnp.result_type(float)) for leaf in given]
    shapes = tuple(leaf.shape for leaf in leaves)
    if () in shapes or len({s[0] for s in shapes}) != 1 or 0 in map(np.size, leaves):
        expected = "arrays that share a leading axis (chain)"
        remedy = "One chain from x is start=x[None]."
        raise invalid("start", f"shapes {shapes}", expected, remedy, ShapeError)
    flat = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
    return flat, _Unravel(structure, tuple(shape[1:] for shape in shapes))


class _Unravel(NamedTuple):
    """From (..., parameter) to a pytree; one program serves all of equal shapes."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    def __call__(self, flat: Any) -> Any:
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])
        begins = [0, *ends[:-1]]
        shaped = [
            flat[..., begin:end].reshape(*flat.shape[:-1], *shape)
            for begin, end, shape in zip(begins, ends, self.shapes, strict=True)
        ]
        return jax.tree.unflatten(self.structure, shaped)


def _hashable(function: Callable[..., Any]) -> Callable[..., Any]:
    try:
        hash(function)
    except TypeError:  # a module that holds arrays: its program serves only this call
        return lambda *arguments: function(*arguments)
    return function


def _require_finite(points: Point) -> None:
    good = np.isfinite(points.log_density) & np.isfinite(points.gradient).all(axis=1)
    if not good.all():
        chain = int(np.argmin(good))
        raise invalid(
            "start",
            f"a log density of {float(points.log_density[chain])} with the gradient "
            f"{np.asarray(points.gradient[chain])} at the start of chain {chain}",
            "finite numbers",
            "Start where the model is defined and jax.grad(log_density) is finite.",
        )


def _run(advance: Any, state: Any, arguments: tuple, saved: Any, bar: Any) -> Any:
    """Go on to the last draw, in pieces of about a second each."""
    n_steps, saved_at = 64, time.monotonic()
    try:
        while (done := int(state[0].n_finished.min())) < bar.total:
            bar.update(done - bar.n)
            began = time.monotonic()
            state = advance(*state, jnp.int32(n_steps), arguments)
            jax.block_until_ready(state)
            pace = SECONDS_PER_PIECE / max(time.monotonic() - began, 1e-3)
            n_steps = max(1, int(n_steps * min(pace, 8.0)))
            if saved and time.monotonic() - saved_at >= SECONDS_PER_SAVE:
                saved.write(state)
                saved_at = time.monotonic()
        bar.update(bar.total - bar.n)
    finally:
        if saved:
            saved.write(state)
    return state


class _Checkpoint(NamedTuple):
    """A file of all chains and draws, for one set of arguments."""

    path: Path
    asked: dict[str, Any]
    nats: np.ndarray
    """The log density of each start, by which another function is told."""

    def write(self, state: Any) -> None:
        arrays = {f"leaf{i}": a for i, a in enumerate(jax.tree.leaves(state))}
        variables = {
            name: ([f"{name}_axis{i}" for i in range(a.ndim)], np.asarray(a))
            for name, a in {**arrays, "nats": self.nats}.items()
        }
        groups = {"/": xr.Dataset(), "/chains": xr.Dataset(variables)}
        storage.write(self.path, groups, {"sampler": self.asked})

    def read(self, state: Any) -> Any:
        """Return what was saved, or what is given if nothing was."""
        if not self.path.exists():
            return state
        groups, notes = storage.read(self.path)
        found = notes.get("sampler", {})
        other = [k for k, v in self.asked.items() if found.get(k) != v]
        if not other and not np.allclose(groups["/chains"]["nats"], self.nats, 1e-6):
            other = ["log_density"]
        if other:
            raise invalid(
                "checkpoint",
                f"a file {str(self.path)!r} of another {', '.join(other)}",
                "one written with the same arguments",
                "Give those of then, or another path.",
            )
        structure, dataset = jax.tree.structure(state), groups["/chains"]
        leaves = [dataset[f"leaf{i}"].values for i in range(structure.num_leaves)]
        return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in leaves])
