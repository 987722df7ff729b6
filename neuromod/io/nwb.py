"""Neurodata Without Borders: spikes, behaviour and trials of an NWB file.

NWB 2 is HDF5 with agreed names, and h5py is all it takes to read what is needed
here: the columns of the ``units`` table (spike times lie in one flat column, cut by
an index), time series below ``processing/behavior``, and tables of intervals. pynwb,
which writes them, is needed for writing only.

The clock on which spike times were sampled is an attribute of their column,
``resolution``. Where it is stated the times become whole ticks of it again.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core.errors import did_you_mean, invalid
from neuromod.core.sequences import BOUNDARIES
from neuromod.io.counts import as_counts
from neuromod.io.files import malformed
from neuromod.io.hdf5 import Hdf5, open_hdf5
from neuromod.io.reading import Reading
from neuromod.io.schemas import Spikes
from neuromod.io.spike_trains import SpikeTrains
from neuromod.io.variables import plain

WHAT = "an NWB file (HDF5)"
COUNTS = "processing/ecephys/spike_counts"
LIMITS = "processing/ecephys/limits"
# Raw voltages and films are time series as well, too large to be read unasked.
SERIES = ("TimeSeries", "SpatialSeries", "IntervalSeries")
_DEEPEST = 4


def read_spikes(path: Path, reading: Reading) -> Spikes:
    """Read the units table; or the counts, if the file was written from counts."""
    with open_hdf5(path, WHAT) as file:
        _require_nwb(file)
        units = file.child(file.root, "units")
        if units is not None and file.child(units, "spike_times") is not None:
            return _read_units(file, units, reading)
        counts = file.child(file.root, COUNTS)
        if counts is not None:
            return _read_counts(file, counts)
    raise malformed(
        path,
        "neither a units table with spike times nor spike counts",
        "an NWB file of sorted spikes",
        "Has it been spike-sorted? neuromod.io.read_behaviour reads the rest.",
    )


def read_series(path: Path) -> dict[str, xr.DataArray]:
    """Read the time series of the behaviour module (else of acquisition), by name."""
    with open_hdf5(path, WHAT) as file:
        _require_nwb(file)
        for place in ("processing/behavior", "processing/behaviour", "acquisition"):
            group = file.child(file.root, place)
            series = {} if group is None else dict(_series(file, group, 0))
            if series:
                return series
        return {}


def read_intervals(path: Path, table: str) -> dict[str, np.ndarray]:
    """Read the columns of a table of intervals, such as "trials"; {} if none is."""
    with open_hdf5(path, WHAT) as file:
        _require_nwb(file)
        intervals = file.child(file.root, "intervals")
        known = [] if intervals is None else [str(name) for name in intervals]
        if table not in known:
            if table == "trials":
                return {}
            raise invalid(
                "intervals", repr(table), "a table in the file",
                did_you_mean(table, known),
            )  # fmt: skip
        return _columns(file, file.child(intervals, table))


def _require_nwb(file: Hdf5) -> None:
    version = str(file.root.attrs.get("nwb_version", ""))
    if not version.startswith("2"):
        raise malformed(
            file.path,
            f"the NWB version {version!r}" if version else "HDF5 that is no NWB file",
            "NWB version 2",
        )


def _read_units(file: Hdf5, units: Any, reading: Reading) -> SpikeTrains:
    in_seconds = reading.in_seconds("an NWB file")
    times, counts = _ragged(file, units, "spike_times")
    columns = _columns(file, units)
    identifiers = columns.pop("id", np.arange(len(counts)))
    names = columns.get("unit_name")
    named = names is not None and len(set(names)) == len(names)
    labels = columns.pop("unit_name") if named else identifiers
    rate = _clock_rate(file.child(units, "spike_times"), times)
    limits: dict[str, Any] = {}
    if file.child(units, "obs_intervals") is not None:
        intervals, n_intervals = _ragged(file, units, "obs_intervals")
        limits["observed"] = tuple(np.split(intervals, np.cumsum(n_intervals)[:-1]))
    stated = file.child(file.root, LIMITS)
    if stated is not None:
        columns_of_limits = _columns(file, stated)
        limits |= {
            name: float(columns_of_limits[name][0])
            for name in ("start", "stop")
            if len(columns_of_limits.get(name, ()))
        }
    return SpikeTrains.from_events(
        times if rate is None else np.rint(times * rate),
        np.repeat(np.arange(len(counts)), counts),
        labels=labels,
        sample_rate=rate,
        annotations=columns,
        source=str(file.path),
        reading=in_seconds if rate is None else reading,
        **limits,
    )


def _clock_rate(times: Any, values: np.ndarray) -> float | None:
    """Return the rate (Hz) of the clock if the times do lie on its ticks."""
    resolution = float(times.attrs.get("resolution", 0.0))
    if not 1e-9 < resolution < 1.0:
        return None
    rate = 1.0 / resolution
    rate = float(round(rate)) if abs(rate - round(rate)) < 1e-6 * rate else rate
    ticks = values * rate
    return rate if np.abs(ticks - np.rint(ticks)).max(initial=0.0) < 1e-3 else None


def _ragged(file: Hdf5, table: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a ragged column, flat, and how many of its entries each row has."""
    values = file.read(file.child(table, name), f"units/{name}")
    ends = file.read(file.child(table, f"{name}_index"), f"units/{name}_index")
    if ends.dtype.kind not in "iu" or ends.ndim != 1:
        raise malformed(
            file.path, f"an index of {name} of {ends.dtype}", "whole numbers"
        )
    edges = np.concatenate([[0], ends.astype(np.int64)])
    if (np.diff(edges) < 0).any() or edges[-1] != len(values):
        raise malformed(
            file.path,
            f"an index of {name} that does not cut its {len(values)} entries",
            "ends that ascend to the last entry",
        )
    return values, np.diff(edges)


def _columns(file: Hdf5, table: Any) -> dict[str, np.ndarray]:
    """Read the columns with one number or text a row."""
    nodes = dict(file.children(table))
    identifiers = nodes.get("id")
    n_rows = len(identifiers) if identifiers is not None else None
    columns = {}
    for name, node in nodes.items():
        simple = getattr(node, "ndim", 0) == 1 and node.dtype.names is None
        if simple and len(node) == n_rows and f"{name}_index" not in nodes:
            values = file.read(node, name)
            if not name.endswith("_index") and not _is_references(values):
                columns[name] = plain(values)
    return columns


def _is_references(values: np.ndarray) -> bool:
    return values.dtype == object and not all(isinstance(v, str) for v in values)


def _series(file: Hdf5, group: Any, depth: int) -> Iterator[tuple[str, xr.DataArray]]:
    for name, node in file.children(group) if depth < _DEEPEST else ():
        kind = node.attrs.get("neurodata_type", SERIES[0])
        if file.child(node, "data") is not None and kind in SERIES:
            array = _time_series(file, node, name)
            if array is not None:
                yield name, array
        elif hasattr(node, "keys"):
            yield from _series(file, node, depth + 1)


def _time_series(file: Hdf5, node: Any, name: str) -> xr.DataArray | None:
    data = file.child(node, "data")
    values = file.read(data, name)
    if values.ndim not in (1, 2) or values.dtype.kind not in "biuf":
        return None
    time = _timestamps(file, node, len(values), name)
    conversion = float(data.attrs.get("conversion", 1.0))
    offset = float(data.attrs.get("offset", 0.0))
    if (conversion, offset) != (1.0, 0.0):
        values = values * conversion + offset
    if values.shape[1:] == (1,):
        values = values[:, 0]
    dims = ("time", "space" if values.shape[1:] <= (3,) else "channel")[: values.ndim]
    axes = {"space": list("xyz")[: values.shape[1]]} if "space" in dims else {}
    attrs = {"units": str(data.attrs.get("unit", "")), "long_name": name}
    return xr.DataArray(values, {"time": time, **axes}, dims, name, attrs)


def _timestamps(file: Hdf5, node: Any, n_samples: int, name: str) -> np.ndarray:
    timestamps = file.child(node, "timestamps")
    if timestamps is not None:
        return file.read(timestamps, f"{name}/timestamps")
    start = file.child(node, "starting_time")
    if start is None:
        raise malformed(file.path, f"no clock in {name}", "timestamps or starting_time")
    rate = float(start.attrs.get("rate", 0.0))
    if not 0 < rate < np.inf:
        raise malformed(file.path, f"a rate of {rate} Hz in {name}", "a rate > 0")
    return float(file.read(start, name)) + np.arange(n_samples) / rate


def _read_counts(file: Hdf5, node: Any) -> xr.DataArray:
    """Read counts as `write_nwb` stores them: a series, and tables beside it."""
    values = file.read(file.child(node, "data"), COUNTS)
    module = file.child(file.root, COUNTS.rpartition("/")[0])
    boundaries = {}
    for boundary in BOUNDARIES:
        table = file.child(module, f"{boundary}s")
        if table is not None:
            columns = _columns(file, table)
            labels, repeats = columns["label"].astype(str), columns["n_bins"]
            if len(labels) and int(repeats.sum()) == len(values):
                boundaries[boundary] = np.repeat(labels, repeats)
    return as_counts(
        values,
        time=_timestamps(file, node, len(values), COUNTS),
        labels=_columns(file, file.child(module, "neurons"))["label"],
        bin_size=float(json.loads(str(node.attrs["comments"]))["bin_size"]),
        boundaries=boundaries,
        source=str(file.path),
    )
