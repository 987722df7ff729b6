"""Where an animal was: in centimetres, along a track, and how fast.

A camera counts pixels. How many of them are a centimetre only the experimenter knows,
so that the scale is always given and never guessed; without it positions stay in the
unit in which they came, and whatever is made of them is named after it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from neuromod.core import dimensions
from neuromod.core.errors import ShapeError, invalid

AXES = ("x", "y", "z")


def centimetres(position: xr.DataArray, scale: float) -> xr.DataArray:
    """Turn pixels into centimetres.

    Parameters
    ----------
    position : (time, space) or (time,)
        Positions in pixels.
    scale
        Length of a pixel in cm.

    Raises
    ------
    InvalidInputError
        If the scale is not positive, or positions are in another unit than pixels.

    Examples
    --------
    >>> pixels = xr.DataArray([0.0, 300.0], dims="time", attrs={"units": "px"})
    >>> centimetres(pixels, 0.5).values
    array([  0., 150.])
    """
    scale = dimensions.require_positive(scale, "scale", "cm per pixel")
    unit = unit_of(position)
    if unit not in ("px", "unknown unit"):
        raise invalid("scale", scale, f"None for positions in {unit}")
    return (position.astype(float) * scale).assign_attrs(
        {**position.attrs, "units": "cm", "scale": scale}
    )


def unit_of(position: xr.DataArray) -> str:
    """Return the unit of positions as they state it."""
    return str(position.attrs.get("units", "unknown unit"))


def linearise(
    position: xr.DataArray,
    track: Any,
    *,
    gap: float = 0.0,
    max_distance: float | None = None,
) -> xr.DataArray:
    """Project positions onto a track: the distance run along it from its start.

    Parameters
    ----------
    position : (time, space)
        Where the animal was.
    track : (point, space) or list of them
        The corners of the track, in the unit of the positions; the branches of a maze
        one by one, which are laid end to end.

    Other Parameters
    ----------------
    gap
        What is put between branches, so that maps are not smoothed across.
    max_distance
        Positions farther from the track than this are missing (NaN).

    Returns
    -------
    DataArray (time,)
        Distance along the track, in the unit of the positions.

    Raises
    ------
    ShapeError
        If a branch is no list of at least two corners.
    InvalidInputError
        If corners are not finite, or two that follow one another are the same.

    Examples
    --------
    >>> walk = xr.DataArray([[0.0, 1.0], [9.0, 4.0]], dims=("time", "space"))
    >>> linearise(walk, [[0, 0], [10, 0], [10, 10]]).values
    array([ 0., 14.])
    """
    position = dimensions.require_dims(position, ("time", "space"), "position")
    dimensions.require_non_negative(gap, "gap")
    values = position.values.astype(float)
    along, distance = _nearest(values, _branches(track, values.shape[1]), gap)
    if max_distance is not None:
        limit = dimensions.require_positive(max_distance, "max_distance")
        along = np.where(distance <= limit, along, np.nan)
    along = np.where(np.isfinite(distance), along, np.nan)
    coords = {k: v for k, v in position.coords.items() if v.dims == ("time",)}
    attrs = {**position.attrs, "long_name": "distance along the track"}
    return xr.DataArray(along, coords, ("time",), "position", attrs)


def _branches(track: Any, n_space: int) -> list[np.ndarray]:
    several = isinstance(track, Sequence) and np.ndim(track[0]) == 2
    branches = [np.asarray(branch, float) for branch in (track if several else [track])]
    for branch in branches:
        if branch.ndim != 2 or len(branch) < 2 or branch.shape[1] != n_space:
            raise invalid(
                "track",
                f"a branch of shape {branch.shape}",
                f"at least two corners (point, {n_space})",
                kind=ShapeError,
            )
        dimensions.require_finite(branch, "track")
        if (np.diff(branch, axis=0) == 0).all(axis=1).any():
            raise invalid("track", "the same corner twice in a row", "different ones")
    return branches


def _nearest(
    values: np.ndarray, branches: list[np.ndarray], gap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far along, and how far away, the nearest point of the track is."""
    along = np.full(len(values), np.nan)
    distance = np.full(len(values), np.inf)
    before = 0.0
    for branch in branches:
        for start, stop in pairwise(branch):
            side = stop - start
            length = np.linalg.norm(side)
            part = np.clip((values - start) @ side / length**2, 0.0, 1.0)
            away = np.linalg.norm(values - start - part[:, None] * side, axis=1)
            nearer = away < distance
            along = np.where(nearer, before + part * length, along)
            distance = np.where(nearer, away, distance)
            before += length
        before += gap
    return along, distance


def velocity(position: xr.DataArray, *, smoothing: float = 0.25) -> xr.DataArray:
    """Return how fast the animal moved, along each axis.

    Parameters
    ----------
    position : (time, space) or (time,)
        Where the animal was; NaN where it was not seen.
    smoothing
        Standard deviation (s) of the Gaussian by which positions are smoothed first:
        cameras flicker by a pixel, and a pixel in a frame is fast.

    Returns
    -------
    DataArray, as the positions
        Velocity per second; NaN where no position is near.

    Examples
    --------
    >>> time = np.arange(100) * 0.1
    >>> walk = xr.DataArray(3.0 * time, {"time": time}, "time")
    >>> round(float(velocity(walk)[50]), 6)
    3.0
    """
    time = dimensions.require_time(position, "position")
    dimensions.require_positive(smoothing, "smoothing", "s")
    if len(time) < 3:
        raise invalid("position", f"{len(time)} samples", "at least three")
    position = position.transpose("time", ...)
    width = smoothing / float(np.median(np.diff(time)))
    values = position.values.astype(float)
    seen = np.isfinite(values).astype(float)
    total, weight = (
        gaussian_filter1d(array, width, axis=0, mode="constant")
        for array in (np.where(seen > 0, values, 0.0), seen)
    )
    # Far from every sample the mean of what is left would be noise: a gap stays one.
    smooth = np.where(weight > 0.1, total / np.maximum(weight, 0.1), np.nan)
    slope = np.gradient(smooth, time, axis=0)
    attrs = {"units": f"{unit_of(position)}/s", "long_name": "velocity"}
    return position.copy(data=slope).rename("velocity").assign_attrs(attrs)


def speed(position: xr.DataArray, *, smoothing: float = 0.25) -> xr.DataArray:
    """Return how fast the animal moved, whatever the direction: see `velocity`."""
    moved = velocity(position, smoothing=smoothing)
    if "space" in moved.dims:
        moved = (moved**2).sum("space", skipna=False) ** 0.5
    attrs = {"units": f"{unit_of(position)}/s", "long_name": "speed"}
    return abs(moved).rename("speed").assign_attrs(attrs)
