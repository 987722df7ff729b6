"""The array that models take: spike counts (time, neuron) with their bin size.

Files may hold counts instead of spike times. They are held to the same rules as
what `bin_spikes` makes: whole numbers, regular bins that are longer than nothing,
labels that are all different, ``time`` at the centre of the bin.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.sequences import BOUNDARIES
from neuromod.io.reading import labelled

TYPES = (np.uint8, np.uint16, np.int32)


def smallest(values: np.ndarray) -> np.ndarray:
    """Return whole numbers >= 0 in the smallest type that holds them."""
    largest = int(values.max()) if values.size else 0
    for dtype in TYPES:
        if largest <= np.iinfo(dtype).max:
            return values.astype(dtype, copy=False)
    raise invalid("counts", f"a count of {largest}", f"at most {np.iinfo('i4').max}")


def as_counts(
    values: object,
    *,
    time: object = None,
    labels: object = None,
    bin_size: float | None = None,
    default_bin_size: float | None = None,
    boundaries: Mapping[str, np.ndarray] | None = None,
    source: str = "",
) -> xr.DataArray:
    """Check counts that were binned elsewhere and give them their names.

    Parameters
    ----------
    values : (time, neuron)
        Spike counts.
    time : (time,)
        Centre of each bin (s); counted from 0 if omitted.
    labels : (neuron,)
        Labels of the units; 0, 1, ... if omitted.
    bin_size
        Width of a bin (s); may be omitted where ``time`` tells it.
    default_bin_size
        Width of a bin (s) where neither ``bin_size`` nor ``time`` tells it.
    boundaries
        Labels (time,) by ``session`` or ``trial``, where models restart, or
        ``block``, where they do not unless time pauses: blocks repeat (run, rest,
        run), and follow one another without a gap or with one.
    source
        Where the counts come from.

    Raises
    ------
    InvalidInputError
        If the counts are negative, fractional or NaN, the bins are irregular, or a
        label occurs twice.
    """
    counts = np.asarray(values)
    if counts.ndim != 2:
        raise invalid(
            "counts", f"shape {counts.shape}", "(time, neuron)", kind=ShapeError
        )
    if counts.dtype.kind not in "biuf":
        raise invalid("counts", f"values of type {counts.dtype}", "spike counts")
    dimensions.require_finite(counts, "counts")
    dimensions.require_counts(counts, "counts")
    for width in (bin_size, default_bin_size):
        if width is not None:
            dimensions.require_positive(width, "bin_size", "s")
    if time is None and bin_size is None:
        bin_size = default_bin_size
    if time is None and bin_size is None:
        raise invalid("bin_size", "none", "the width of the bins (s)")
    if time is None:
        time = (np.arange(len(counts)) + 0.5) * (bin_size or 1.0)
    labels = np.arange(counts.shape[1]) if labels is None else np.asarray(labels)
    time = np.asarray(time, dtype=float)
    _require_length("times", time, len(counts), "bins")
    _require_length("labels", labels, counts.shape[1], "neurons")
    boundaries = dict(boundaries or {})
    for values in boundaries.values():
        _require_length("labels", values, len(counts), "bins")
    if list(boundaries) == ["block"]:
        boundaries |= _sessions_between_pauses(time, boundaries["block"])
    array = xr.DataArray(
        smallest(counts),
        dims=("time", "neuron"),
        coords={
            "time": ("time", time),
            "neuron": ("neuron", labelled(labels, "neuron labels")),
            **{k: ("time", v) for k, v in boundaries.items()},
        },
        name="spikes",
    )
    width = _bin_size(array, bin_size, default_bin_size)
    return described(array, width, source)


def checked(array: xr.DataArray, bin_size: float | None, source: str) -> xr.DataArray:
    """Check a DataArray of counts, keeping its coordinates and attributes.

    ``bin_size`` (s) is taken where neither the attributes nor ``time`` state one.
    """
    array = dimensions.require_dims(array, ("time", "neuron"), "spikes")
    boundary = {k: array[k].values for k in BOUNDARIES if _along_time(array, k)}
    counts = as_counts(
        array.values,
        time=array["time"].values if "time" in array.coords else None,
        labels=array["neuron"].values if "neuron" in array.coords else None,
        bin_size=array.attrs.get("bin_size"),
        default_bin_size=bin_size,
        boundaries=boundary,
        source=source,
    )
    extra = {k: v for k, v in array.coords.items() if k not in counts.coords}
    counts = counts.assign_coords(extra).assign_attrs({**counts.attrs, **array.attrs})
    return counts.assign_attrs(zip(("start", "stop"), limits(counts), strict=True))


def rebinned(counts: xr.DataArray, bin_size: float | None) -> xr.DataArray:
    """Sum neighbouring bins into wider ones, within each session.

    ``bin_size`` (s) must be a whole multiple of the bins that are there. The last
    incomplete bin of each session is dropped.
    """
    present = counts.attrs["bin_size"]
    wanted = present if bin_size is None else bin_size
    dimensions.require_positive(wanted, "bin_size", "s")
    factor = round(wanted / present)
    if factor < 1 or abs(wanted / present - factor) > 1e-6 * factor:
        raise invalid(
            "bin_size",
            f"{wanted} s for counts that were binned at {present:g} s",
            f"a whole multiple of {present:g} s",
            "Finer bins need the spike times: if the source holds them, "
            "read_spike_trains(...).bin(...).",
        )
    if factor == 1:
        return counts
    parts = [_summed(part, factor) for part in _sessions(counts)]
    whole_bins = [part for part in parts if part.sizes["time"]]
    if not whole_bins:
        raise invalid("bin_size", f"{wanted} s", "less than the recording is long")
    result = xr.concat(whole_bins, dim="time", coords="minimal", compat="override")
    dropped = counts.sizes["time"] * present - result.sizes["time"] * wanted
    attrs = counts.attrs | {
        "bin_size": wanted,
        "dropped_duration": counts.attrs.get("dropped_duration", 0.0)
        + round(dropped, 9),
    }
    result = result.astype(smallest(result.values).dtype).assign_attrs(attrs)
    return restated(result, counts)


def limits(counts: xr.DataArray) -> tuple[float, float]:
    """Return the edges (s) of the first and the last bin.

    The attributes ``start`` and ``stop`` are exact, but stay as they were when xarray
    takes a part of the bins; they hold where they agree with ``time``.
    """
    half = counts.attrs["bin_size"] / 2
    time = counts["time"].values
    edges = {"start": float(time[0]) - half, "stop": float(time[-1]) + half}
    for name, edge in edges.items():
        stated = counts.attrs.get(name, edge)
        edges[name] = float(stated if abs(stated - edge) < 1e-6 * half else edge)
    return edges["start"], edges["stop"]


def restated(part: xr.DataArray, whole: xr.DataArray) -> xr.DataArray:
    """Say the limits of a part of some counts, and how many spikes it lacks."""
    start, stop = limits(part)
    lost = int(whole.sum(dtype=np.int64) - part.sum(dtype=np.int64))
    before = int(whole.attrs.get("n_spikes_outside", 0))
    return part.assign_attrs(start=start, stop=stop, n_spikes_outside=before + lost)


def described(array: xr.DataArray, bin_size: float, source: str) -> xr.DataArray:
    """Give an array of counts its units and names."""
    array["time"].attrs.update(units="s", long_name="bin centre")
    array["neuron"].attrs.update(long_name="unit")
    return array.assign_attrs(
        units="spikes", long_name="spike count", bin_size=bin_size, source=source
    )


def _require_length(what: str, values: np.ndarray, length: int, where: str) -> None:
    if values.shape != (length,):
        raise invalid(
            "counts",
            f"{len(values)} {what} for {length} {where}",
            "as many",
            "Counts are (time, neuron); transpose them if they are not.",
            ShapeError,
        )


def _along_time(array: xr.DataArray, name: str) -> bool:
    return name in array.coords and array[name].dims == ("time",)


def _sessions_between_pauses(
    time: np.ndarray, blocks: np.ndarray
) -> dict[str, np.ndarray]:
    """Number the sessions that begin where time pauses from one block to the next."""
    steps = np.diff(time)
    pauses = (blocks[1:] != blocks[:-1]) & (steps > 1.5 * np.median(steps))
    if not pauses.any():
        return {}
    return {"session": np.r_[0, np.cumsum(pauses)].astype(str)}


def _sessions(counts: xr.DataArray) -> list[xr.DataArray]:
    labels = [
        counts[k].values.astype(str) for k in BOUNDARIES if _along_time(counts, k)
    ]
    changes = np.zeros(max(counts.sizes["time"] - 1, 0), dtype=bool)
    for values in labels:
        changes |= values[1:] != values[:-1]
    edges = [0, *(np.flatnonzero(changes) + 1), counts.sizes["time"]]
    return [counts.isel(time=slice(a, b)) for a, b in pairwise(edges)]


def _bin_size(
    array: xr.DataArray, bin_size: float | None, default: float | None
) -> float:
    """Return the width of the bins, having looked that time agrees with it."""
    sizes = []
    for part in _sessions(array):
        time = dimensions.require_time(part, "spikes")
        sizes.append(dimensions.bin_size(time, "spikes"))
    spacing = next((size for size in sizes if np.isfinite(size)), default)
    width = spacing if bin_size is None else bin_size
    if width is None:
        raise invalid("bin_size", "a single bin", "its width (s)", "Say bin_size=.")
    for size in sizes:
        if np.isfinite(size) and abs(size - width) > 1e-3 * width:
            raise invalid(
                "time", f"steps of {size:.6g} s", f"the bin size of {width:.6g} s"
            )
    return float(width)


def _summed(part: xr.DataArray, factor: int) -> xr.DataArray:
    n_bins = part.sizes["time"] // factor
    if not n_bins:
        return part.isel(time=slice(0, 0))
    others = [k for k in part.coords if k != "time" and "time" in part[k].dims]
    wide: Any = part.drop_vars(others).astype(np.int64)
    summed = wide.coarsen(time=factor, boundary="trim").sum()
    first = part.isel(time=slice(0, n_bins * factor, factor))
    return summed.assign_coords({k: ("time", first[k].values) for k in others})
