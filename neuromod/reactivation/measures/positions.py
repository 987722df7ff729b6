r"""Positions over time: checks at the door, circles, and the grid of an arena.

Every measure of a decoded path takes ``positions``, an array (trial, time, space): in
metres in an arena, in radians on a circle. Angles are wrapped to $[-\pi, \pi)$; what
is meant by their difference is the shorter way round,

$$
\mathrm{wrap}(\theta) = (\theta + \pi) \bmod 2\pi - \pi ,
$$

and a path is unwrapped by adding up such differences from where it began.
"""

from typing import Any

import numpy as np

from neuromod.core.dimensions import require_finite, require_integer, require_real
from neuromod.core.errors import ShapeError, invalid

CIRCLE = np.array([[-np.pi, np.pi]])
"""The bounds (space, 2) of one angle."""

ROUNDING = 1e-7
MOST_OUTSIDE = 0.05
"""Share of samples that may lie outside the bounds of an arena: walks that turn round
at a wall step over it now and then."""


def require_positions(
    positions: Any, argument: str = "positions", *, n_steps: int = 1
) -> np.ndarray:
    """Return positions (trial, time, space) in float64, or raise.

    Parameters
    ----------
    positions : (trial, time, space)
        What was passed in.
    argument
        Its name, for the error.
    n_steps
        The fewest samples over time that are needed.

    Raises
    ------
    ShapeError
        If there are not three dimensions, or too few samples.
    InvalidInputError
        If a number is missing or not finite.
    """
    array = np.asarray(positions)
    require_real(array.dtype, argument)
    if array.ndim != 3 or 0 in array.shape or array.shape[1] < n_steps:
        raise invalid(
            argument,
            f"an array of shape {array.shape}",
            f"(trial, time, space) with at least {n_steps} samples over time",
            "A single path is positions[None]; a single coordinate positions[..., "
            "None].",
            ShapeError,
        )
    require_finite(array, argument)
    return array.astype(float)


def require_pair(
    quiescent: Any, awake: Any, *, n_steps: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions asleep and awake in the same space, or raise."""
    quiescent = require_positions(quiescent, "quiescent", n_steps=n_steps)
    awake = require_positions(awake, "awake", n_steps=n_steps)
    if quiescent.shape[-1] != awake.shape[-1]:
        raise invalid(
            "quiescent",
            f"{quiescent.shape[-1]} coordinates",
            f"{awake.shape[-1]}, as in awake",
            kind=ShapeError,
        )
    return quiescent, awake


def require_bounds(bounds: Any, n_dimensions: int) -> np.ndarray:
    """Return the lowest and highest coordinates (space, 2) of an arena, or raise."""
    array = np.asarray(bounds, dtype=float)
    if array.shape != (n_dimensions, 2):
        raise invalid(
            "bounds",
            f"an array of shape {array.shape}",
            f"a lowest and a highest value for each of {n_dimensions} coordinates",
            "For an arena of 2.2 m x 2.2 m: [[-1.1, 1.1], [-1.1, 1.1]]; for angles "
            "[[-numpy.pi, numpy.pi]].",
            ShapeError,
        )
    require_finite(array, "bounds")
    if (array[:, 0] >= array[:, 1]).any():
        raise invalid("bounds", array.tolist(), "lowest below highest")
    return array


def inside(positions: np.ndarray, bounds: np.ndarray, argument: str) -> np.ndarray:
    """Return pooled positions (point, space), the few outside moved to the wall.

    Raises
    ------
    InvalidInputError
        If more than `MOST_OUTSIDE` of them lie outside.
    """
    points = pooled(positions)
    low, high = bounds.T
    # The pi of float32 is more than that of float64.
    slack = ROUNDING * (high - low)
    outside = (points < low - slack) | (points > high + slack)
    share = float(outside.any(axis=1).mean())
    if share > MOST_OUTSIDE:
        raise invalid(
            argument,
            f"{share:.0%} of the positions outside the bounds {bounds.tolist()}",
            f"at most {MOST_OUTSIDE:.0%}",
            "Widen the bounds to the arena; wrap angles to [-pi, pi).",
        )
    return np.clip(points, low, high)


def pooled(array: np.ndarray) -> np.ndarray:
    """Return all samples of all trials as rows."""
    return array.reshape(-1, array.shape[-1])


def subsample(
    points: np.ndarray, max_points: int, generator: np.random.Generator
) -> np.ndarray:
    """Return at most ``max_points`` rows, drawn without replacement."""
    if len(points) <= max_points:
        return points
    return points[generator.choice(len(points), max_points, replace=False)]


def wrap(angle: np.ndarray) -> np.ndarray:
    """Return angles in [-pi, pi).

    Examples
    --------
    >>> wrap(np.array([0.0, np.pi, -3 * np.pi / 2])) / np.pi
    array([ 0. , -1. ,  0.5])
    """
    return (angle + np.pi) % (2 * np.pi) - np.pi


def steps_of(positions: np.ndarray, periodic: bool) -> np.ndarray:
    """Return what every step adds (trial, time - 1, space); of angles the short way."""
    change = np.diff(positions, axis=1)
    return wrap(change) if periodic else change


def unwrapped(positions: np.ndarray, periodic: bool) -> np.ndarray:
    """Return paths without jumps at the end of the circle."""
    return np.unwrap(positions, axis=1) if periodic else positions


def grid(bounds: Any, n_points: int, *, periodic: bool = False) -> np.ndarray:
    """Return a regular grid of positions.

    Parameters
    ----------
    bounds : (space, 2)
        Lowest and highest value of each coordinate.
    n_points
        Number of points along each.
    periodic
        Leave out the upper end, which is the lower one on a circle.

    Returns
    -------
    (point, space)

    Examples
    --------
    >>> grid([[0, 1], [0, 2]], 2).tolist()
    [[0.0, 0.0], [0.0, 2.0], [1.0, 0.0], [1.0, 2.0]]
    """
    bounds = require_bounds(bounds, len(np.atleast_2d(bounds)))
    n_points = require_integer(n_points, "n_points", minimum=2)
    axes = [np.linspace(a, b, n_points, endpoint=not periodic) for a, b in bounds]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
