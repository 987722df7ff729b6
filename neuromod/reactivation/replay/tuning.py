r"""Place maps: how often each neuron fires at each place.

The map of a neuron is the number of its spikes in each bin of space over the time spent
there, both smoothed by the same Gaussian $G$, so that bins that were hardly visited
borrow from their neighbours:

$$
\lambda(x) = \frac{(G * n)(x)}{(G * T)(x)} ,
$$

counted only while the animal runs: at rest, and in the pauses at the ends of a track,
the hippocampus replays other places. How much one spike tells of the place is

$$
I = \sum_x p(x)\, \frac{\lambda(x)}{\bar\lambda} \log_2 \frac{\lambda(x)}{\bar\lambda} ,
\qquad p(x) = T(x) / \textstyle\sum T , \quad \bar\lambda = \sum_x p(x) \lambda(x)
$$

bits (Skaggs, McNaughton, Gothard & Markus, NIPS 1993).
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from neuromod.core import dimensions
from neuromod.core.errors import invalid
from neuromod.io import align
from neuromod.reactivation.replay.track import (
    AXES,
    centimetres,
    speed,
    unit_of,
    velocity,
)


def tuning_curves(
    spikes: xr.DataArray,
    position: xr.DataArray,
    position_bin_size: float,
    *,
    min_speed: float,
    smoothing: float | None = None,
    scale: float | None = None,
    direction: bool = False,
    min_occupancy: float = 0.1,
    min_rate: float = 0.05,
) -> xr.DataArray:
    """Estimate the firing rate of each neuron at each place.

    Parameters
    ----------
    spikes : (time, neuron)
        Spike counts; only their bins are used, so that a part of a recording is chosen
        by ``spikes.sel(time=slice(start, stop))``.
    position : (time, space) or (time,)
        Where the animal was, on a clock of its own; (time,) for a distance along a
        track (`linearise`). NaN where it was not seen.
    position_bin_size
        Side of a bin of space.
    min_speed
        Slower bins of time are left out (per second). Lengths are in the unit of the
        positions: in cm if there is a ``scale``.

    Other Parameters
    ----------------
    smoothing
        Standard deviation of the Gaussian; a bin of space by default, 0 for none.
    scale
        Length of a pixel in cm; without it positions stay in their unit.
    direction
        Whether to make a map for each direction of running; of a track only.
    min_occupancy
        Bins of space with less time (s) are left out.
    min_rate
        Lowest rate (Hz): a neuron that was silent somewhere may still fire there.

    Returns
    -------
    DataArray (neuron, position)
        Rates in Hz. Along ``position`` stand the centres of the bins (``x``, ``y``),
        the ``occupancy`` (s) and, if asked for, the ``direction`` of running (+1 or
        -1). ``tuning.set_index(position=["x", "y"]).unstack()`` makes images.

    Raises
    ------
    ShapeError
        If dimensions are not those above.
    InvalidInputError
        If a number is not positive, clocks do not overlap, or the animal never ran.

    Examples
    --------
    >>> time = np.arange(400) * 0.1
    >>> place = xr.DataArray(50 + 50 * np.sin(time / 3), {"time": time}, "time")
    >>> counts = xr.DataArray(
    ...     (place.values > 80).astype(int)[:, None],
    ...     {"time": time, "neuron": ["a"]},
    ...     ("time", "neuron"),
    ... )
    >>> tuning = tuning_curves(counts, place, 10.0, min_speed=1.0, smoothing=0.0)
    >>> print(tuning.sel(neuron="a").values.round(2))
    [ 0.05  0.05  0.05  0.05  0.05  0.05  0.05  0.05 10.   10.  ]
    """
    counts, bin_size = read_counts(spikes)
    place = read_position(position, scale)
    step = dimensions.require_positive(position_bin_size, "position_bin_size")
    width = step if smoothing is None else smoothing
    width = dimensions.require_non_negative(width, "smoothing") / step
    dimensions.require_positive(min_rate, "min_rate", "Hz")
    dimensions.require_positive(min_occupancy, "min_occupancy", "s")
    if direction and place.sizes["space"] > 1:
        raise invalid(
            "direction",
            "True for positions in two dimensions",
            "False, or a distance along a track",
            "linearise(position, track) makes one.",
        )
    moving = _moving(counts, place, min_speed)
    grid = _grid(moving.place, step)
    ways = np.unique(moving.sense) if direction else [0.0]
    parts = []
    for way in ways:
        chosen = moving.sense == way if direction else np.ones(len(moving.place), bool)
        parts.append(_map(moving, chosen, grid, bin_size, width, min_occupancy))
    rates = np.concatenate([part.rates for part in parts], axis=1)
    if rates.shape[1] == 0:
        raise invalid(
            "min_occupancy",
            f"{min_occupancy} s, which no bin of space has",
            "less time, or larger bins",
        )
    unit = unit_of(place)
    centres = np.concatenate([part.centres for part in parts])
    coords = {
        name: ("position", column, {"units": unit})
        for name, column in zip(AXES, centres.T, strict=False)
    }
    occupancy = np.concatenate([part.occupancy for part in parts])
    coords["occupancy"] = ("position", occupancy, {"units": "s"})
    if direction:
        sense = np.repeat(ways, [len(part.centres) for part in parts])
        coords["direction"] = ("position", sense, {"units": "1"})
    return xr.DataArray(
        np.maximum(rates, min_rate),
        {"neuron": counts["neuron"], **coords},
        ("neuron", "position"),
        "tuning",
        {
            "units": "Hz",
            "long_name": "firing rate",
            "position_units": unit,
            "position_bin_size": step,
            "run_speed": moving.speed,
        },
    )


def spatial_information(tuning: xr.DataArray) -> xr.DataArray:
    """Return how much a spike of each neuron tells of the place (bit/spike).

    Parameters
    ----------
    tuning : (neuron, position)
        What `tuning_curves` returns.

    Examples
    --------
    >>> tuning = xr.DataArray(
    ...     [[4.0, 4.0], [8.0, 1e-9]],
    ...     {"occupancy": ("position", [3.0, 3.0])},
    ...     ("neuron", "position"),
    ... )
    >>> print(spatial_information(tuning).values.round(3))
    [0. 1.]
    """
    tuning = dimensions.require_dims(tuning, ("neuron", "position"), "tuning")
    if "occupancy" not in tuning.coords:
        raise invalid("tuning", "no `occupancy`", "what tuning_curves returns")
    share = tuning["occupancy"] / tuning["occupancy"].sum()
    ratio = tuning / (share * tuning).sum("position")
    bits = (share * ratio * np.log2(ratio)).sum("position")
    attrs = {"units": "bit/spike", "long_name": "spatial information"}
    return bits.rename("spatial_information").assign_attrs(attrs)


def read_counts(spikes: xr.DataArray) -> tuple[xr.DataArray, float]:
    """Check spike counts (time, neuron), and return the width of their bins (s)."""
    counts = dimensions.require_dims(
        spikes,
        ("time", "neuron"),
        "spikes",
        remedy="Read them: neuromod.io.read_spikes(path, bin_size=0.005).",
    )
    time = dimensions.require_time(counts, "spikes")
    dimensions.require_counts(counts.values, "spikes")
    dimensions.require_finite(counts.values, "spikes")
    if "neuron" not in counts.coords:
        counts = counts.assign_coords(neuron=np.arange(counts.sizes["neuron"]))
    size = counts.attrs.get("bin_size")
    if size is None:
        if len(time) < 2:
            raise invalid("spikes", "one bin", "at least two, or a `bin_size` in attrs")
        size = float(np.median(np.diff(time)))
    return counts, dimensions.require_positive(size, "spikes.attrs['bin_size']", "s")


def read_position(position: xr.DataArray, scale: float | None) -> xr.DataArray:
    """Check positions, and return them as (time, space) in the unit that is wanted."""
    if isinstance(position, xr.DataArray) and "space" not in position.dims:
        position = dimensions.require_dims(position, ("time",), "position")
        position = position.expand_dims(space=["x"], axis=1)
    position = dimensions.require_dims(position, ("time", "space"), "position")
    dimensions.require_time(position, "position")
    dimensions.require_real(position.dtype, "position")
    n_axes = position.sizes["space"]
    if not 1 <= n_axes <= len(AXES):
        raise invalid("position", f"{n_axes} axes", f"one to {len(AXES)}")
    if np.isinf(position.values.astype(float)).any():
        raise invalid("position", "infinite values", "numbers, or NaN where unseen")
    position = position.assign_coords(space=list(AXES[:n_axes]))
    if scale is None:
        return position.astype(float)
    return centimetres(position, scale)


class _Moving(NamedTuple):
    """The bins of time in which the animal ran, and its mean speed."""

    counts: np.ndarray
    place: np.ndarray
    sense: np.ndarray
    speed: float


def _moving(counts: xr.DataArray, place: xr.DataArray, min_speed: float) -> _Moving:
    least = dimensions.require_non_negative(min_speed, "min_speed")
    where = align(place, counts, "linear").values
    fast = align(speed(place), counts, "linear").values
    moved = align(velocity(place), counts, "linear").values
    run = np.isfinite(where).all(axis=1) & (fast >= least)
    if not run.any():
        top = np.nanmax(fast) if np.isfinite(fast).any() else np.nan
        raise invalid(
            "min_speed",
            f"{least:g} {unit_of(place)}/s, and the animal was never faster than "
            f"{top:.3g}",
            "a speed at which it ran",
        )
    sense = np.where(moved[run, 0] >= 0, 1.0, -1.0)
    return _Moving(counts.values[run], where[run], sense, float(fast[run].mean()))


class _Grid(NamedTuple):
    """Bins of space: their shape, the bin of each sample and the centres of all."""

    shape: tuple[int, ...]
    bins: np.ndarray
    centres: np.ndarray


def _grid(place: np.ndarray, step: float) -> _Grid:
    first = np.floor(place.min(axis=0) / step)
    bins = (np.floor(place / step) - first).astype(int)
    shape = tuple(int(n) for n in bins.max(axis=0) + 1)
    if np.prod(shape) > 10**6:
        raise invalid("position_bin_size", step, f"larger bins than {shape} of them")
    flat = np.asarray(np.ravel_multi_index(tuple(bins.T), shape))
    indices = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1)
    return _Grid(shape, flat, (first + indices + 0.5) * step)


class _Map(NamedTuple):
    """Maps (neuron, position) of the bins that were visited."""

    rates: np.ndarray
    occupancy: np.ndarray
    centres: np.ndarray


def _map(
    moving: _Moving,
    chosen: np.ndarray,
    grid: _Grid,
    bin_size: float,
    width: float,
    min_occupancy: float,
) -> _Map:
    n_bins = int(np.prod(grid.shape))
    bins = grid.bins[chosen]

    def total(weights: np.ndarray | None) -> np.ndarray:
        return np.bincount(bins, weights, n_bins).astype(float)

    def smooth(values: np.ndarray) -> np.ndarray:
        if width == 0:
            return values
        image = gaussian_filter(values.reshape(grid.shape), width, mode="constant")
        return image.reshape(-1)

    occupancy = total(None) * bin_size
    visited = occupancy >= min_occupancy
    time = smooth(occupancy)[visited]
    spikes = [smooth(total(n))[visited] for n in moving.counts[chosen].T]
    return _Map(np.stack(spikes) / time, occupancy[visited], grid.centres[visited])
