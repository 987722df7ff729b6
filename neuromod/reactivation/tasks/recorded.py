"""Finding one's way along the paths of real animals."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr

from neuromod.core.dimensions import bin_size, require_integer, require_positive
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.sequences import Sequences, gather
from neuromod.core.slabs import Slabs
from neuromod.reactivation.codes import Code, PlaceCode
from neuromod.reactivation.motion import Bounds
from neuromod.reactivation.motion_recorded import Recording
from neuromod.reactivation.tasks.task import Task


class Recorded(Task):
    """Windows of recorded paths, told by place cells.

    Parameters
    ----------
    positions : (time, space)
        Positions (m) of an animal at regular times (s): a DataArray; or several
        recordings, as a list, a DataTree, or one array with a ``session`` coordinate
        along time. Frames of a camera are put on regular times by
        ``positions.interp(time=...)``.
    n_steps
        Steps of a trial; one of more steps than a recording has is not drawn from it.
    n_cells, cell_width
        Number and width (m) of place cells, with centres anywhere where the animal
        was.
    seed
        Of the centres.

    Other Parameters
    ----------------
    arena
        The lowest and highest position of each axis (m), ``((x, x), (y, y))``; those
        of the recording if omitted.
    motion, code
        Ready ones, in the place of those described.

    Raises
    ------
    ShapeError
        If the dimensions are others.
    InvalidInputError
        If a position is missing or outside the arena, the times are irregular or
        differ between recordings, or all recordings are shorter than a trial.

    Examples
    --------
    >>> time = np.arange(500) * 0.05
    >>> values = np.stack([np.cos(time), np.sin(time)], axis=1)
    >>> circle = xr.DataArray(values, dims=("time", "space"), coords={"time": time})
    >>> task = Recorded(circle, n_steps=20, n_cells=50)
    >>> import jax
    >>> task.draw(jax.random.key(0), n_trials=5).positions.shape
    (5, 20, 2)
    """

    motion: Recording
    code: Code
    n_steps: int = eqx.field(static=True)

    def __init__(
        self,
        positions: xr.DataArray | xr.DataTree | Sequence[xr.DataArray] | None = None,
        *,
        n_steps: int = 100,
        n_cells: int = 512,
        cell_width: float = 0.1,
        seed: int = 0,
        arena: Bounds | None = None,
        motion: Recording | None = None,
        code: Code | None = None,
    ) -> None:
        self.n_steps = require_integer(n_steps, "n_steps")
        self.motion = _recording(positions, arena) if motion is None else motion
        self.motion.count_windows(self.n_steps)
        self.code = code or _where_it_was(self.motion, seed, n_cells, cell_width)


def _recording(positions: Any, arena: Bounds | None) -> Recording:
    found = gather(positions, "positions", ("time", "space"))
    inside = np.arange(found.observed.shape[1]) < found.lengths[:, None]
    n_missing = int((inside & ~found.observed).sum())
    if n_missing:
        raise invalid(
            "positions",
            f"{n_missing} times at which the position is missing (NaN)",
            "a position at every time",
            "Fill short gaps, positions.interpolate_na('time'), and cut the recording "
            "at long ones: a list of recordings is taken too.",
        )
    values = np.concatenate(_parts(found))
    if arena is None:
        arena = tuple(zip(values.min(0).tolist(), values.max(0).tolist(), strict=True))
    lengths = tuple(int(length) for length in found.lengths)
    return Recording(
        positions=values, lengths=lengths, time_step=_time_step(found), arena=arena
    )


def _parts(found: Sequences) -> list[np.ndarray]:
    if isinstance(found.values, Slabs):
        return [part.values for part in found.values.parts]
    cut = zip(found.values, found.lengths, strict=True)
    return [values[:length] for values, length in cut]


def _time_step(found: Sequences) -> float:
    steps = [bin_size(time, "positions") for time in found.times]
    known = np.array([step for step in steps if np.isfinite(step)])
    if not known.size:
        raise invalid("positions", "a single time", "two or more", kind=ShapeError)
    if np.ptp(known) > 1e-3 * known[0]:
        raise invalid(
            "positions",
            f"recordings at steps of {known.min():.4g} s to {known.max():.4g} s",
            "one step for all",
            "Resample them, for example with .interp(time=...).",
        )
    return float(known[0])


def _where_it_was(motion: Recording, seed: int, n_cells: int, width: float) -> Code:
    """Place cells anywhere in the squares, of the size of a field, that were visited.

    Places count once, however long the animal sat there.
    """
    generator = np.random.default_rng(require_integer(seed, "seed", minimum=0))
    width = require_positive(width, "cell_width", "m")
    squares = np.unique(np.floor(np.asarray(motion.positions) / width), axis=0)
    chosen = generator.integers(len(squares), size=require_integer(n_cells, "n_cells"))
    within = generator.random((n_cells, squares.shape[1]))
    centres = (squares[chosen] + within) * width
    return PlaceCode(np.clip(centres, *np.transpose(motion.bounds)), width)
