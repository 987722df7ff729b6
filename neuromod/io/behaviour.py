"""Behaviour: what the animal did, on the clock of the recording.

Samples become variables along ``time`` (s), what happened once per trial becomes
variables along ``trial``. Names that end in a unit give it away: ``speed_cm_s`` is
read as ``speed`` in cm/s, ``pos_x_px`` and ``pos_y_px`` as ``position`` (time,
space) in px. Two signals on different clocks are never joined here: choose one with
``names=`` and bring it onto the other's time with `neuromod.io.align`.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_finite
from neuromod.core.errors import did_you_mean, invalid
from neuromod.io import counts, formats, nwb, tables
from neuromod.io.files import existing, malformed
from neuromod.io.matlab import read_mat
from neuromod.io.npy import Archive
from neuromod.io.objects import is_pynapple, is_table
from neuromod.io.reading import Reading, numbers, several
from neuromod.io.signals import Signals, signals_from, trial_table
from neuromod.io.spike_trains import SpikeTrains


def read_behaviour(
    source: object,
    names: str | Iterable[str] | None = None,
    *,
    crop: object = False,
    intervals: str | None = "trials",
    sample_rate: float | None = None,
    time_unit: Literal["s", "ms", "us"] | None = None,
) -> xr.Dataset:
    """Read behaviour from a file or an object.

    Parameters
    ----------
    source
        The path of an NWB, ``.npz``, ``.mat``, CSV, TSV or Parquet file; or a
        pynapple Tsd or TsdFrame, a DataFrame, a dict of arrays.
    names
        Names of the variables to read; all by default.
    crop
        True to keep what lies within the limits of the recording that the source
        states; or (start, stop) in s; or the counts or `SpikeTrains` of the
        recording, whose limits are taken.

    Other Parameters
    ----------------
    intervals
        The table of an NWB file that becomes variables along ``trial``; None for
        none.
    sample_rate, time_unit
        What the times mean if the source does not say it, as in `read_spikes`.

    Returns
    -------
    xarray.Dataset
        Variables (time) or (time, space), and variables (trial). Units are in their
        ``attrs``. A time that occurs twice keeps its first sample; the attribute
        ``n_repeated_times`` counts the others. ``left_out`` names what in the source
        is neither along time nor along trials.

    Raises
    ------
    DataFormatError
        If a file is damaged or of an unknown format.
    InvalidInputError
        If times are NaN or descend, variables have different clocks, or a name does
        not exist.

    Examples
    --------
    >>> behaviour = read_behaviour({"time": [0.0, 0.1], "speed_cm_s": [2.0, 3.0]})
    >>> behaviour.speed.attrs["units"], behaviour.speed.values
    ('cm/s', array([2., 3.]))
    """
    reading = Reading(sample_rate=sample_rate, time_unit=time_unit)
    series, trials, attrs, limits = _read(source, intervals, reading)
    known = {**series, **trials}
    wanted = list(known) if names is None else several(names)
    for name in wanted:
        if name not in known:
            raise invalid(
                "names", repr(name), "a variable of the source",
                did_you_mean(str(name), known),
            )  # fmt: skip
    if not wanted:
        raise invalid(
            "source",
            f"nothing along time or trials in {attrs['source']}",
            "a column or array `time` with signals of its length, or a table of trials",
        )
    chosen = {name: series[name] for name in wanted if name in series}
    _require_one_clock(chosen)
    dataset = xr.Dataset({name: known[name] for name in wanted}, attrs=attrs)
    if "time" not in dataset.dims:
        return dataset
    return _cropped(_ascending(dataset), crop, limits)


def _read(source: Any, intervals: str | None, reading: Reading) -> Signals:
    if isinstance(source, str | os.PathLike):
        path = existing(source)
        kind = formats.format_of(path)
        if kind == formats.NWB:
            series = nwb.read_series(path)
            columns = {} if intervals is None else nwb.read_intervals(path, intervals)
            return Signals(series, trial_table(columns, series), {"source": str(path)})
        readers = {
            formats.ARCHIVE: Archive,
            formats.MATLAB: read_mat,
            formats.TABLE: lambda path: _columns(tables.read_table(path)),
        }
        if kind not in readers:
            raise malformed(path, f"a {kind.name}", "a file that can hold behaviour")
        return signals_from(readers[kind](path), str(path), reading)
    kind = f"{type(source).__name__} in memory"
    if is_pynapple(source):
        return signals_from(_pynapple(source), kind, reading)
    if is_table(source):
        return signals_from(_columns(source), kind, reading)
    if isinstance(source, Mapping):
        return signals_from(source, kind, reading)
    raise invalid(
        "source",
        type(source).__name__,
        "a path, a pynapple Tsd or TsdFrame, a table, or a dict of arrays",
    )


def _columns(table: Any) -> dict[str, Any]:
    tables.require_distinct(table.columns, "the table")
    return {str(name): np.asarray(table[name]) for name in table.columns}


def _pynapple(source: Any) -> dict[str, Any]:
    values = np.asarray(source.d) if hasattr(source, "d") else None
    if values is None or values.ndim > 2:
        raise invalid("source", type(source).__name__, "a pynapple Tsd or TsdFrame")
    if values.ndim == 1:
        return {"time": source.t, "value": values}
    return {"time": source.t} | {
        str(name): values[:, i] for i, name in enumerate(source.columns)
    }


def _require_one_clock(series: Mapping[str, xr.DataArray]) -> None:
    clocks: dict[bytes, list[str]] = {}
    for name, array in series.items():
        clocks.setdefault(array["time"].values.tobytes(), []).append(name)
    if len(clocks) > 1:
        groups = " | ".join(", ".join(names) for names in clocks.values())
        first = next(iter(clocks.values()))
        raise invalid(
            "names",
            f"signals on {len(clocks)} different clocks ({groups})",
            "signals that share their times",
            f"Read them one clock at a time, as in names={first!r}, and join them "
            "with neuromod.io.align.",
        )


def _ascending(dataset: xr.Dataset) -> xr.Dataset:
    """Refuse times that descend; of a time that repeats keep the first sample."""
    time = dataset["time"].values.astype(float)
    require_finite(time, "time")
    steps = np.diff(time)
    if (steps < 0).any():
        where = int(np.argmax(steps < 0))
        raise invalid(
            "time",
            f"{time[where]:.6g} s followed by {time[where + 1]:.6g} s",
            "times that ascend",
            "If two sessions were put after one another, read them one by one; if the "
            "rows are merely unsorted, sort them by time first.",
        )
    dataset["time"].attrs.update(units="s", long_name="time")
    if (steps == 0).any():
        dataset = dataset.isel(time=np.r_[True, steps > 0])
        dataset.attrs["n_repeated_times"] = int((steps == 0).sum())
    return dataset


def _cropped(dataset: xr.Dataset, crop: Any, limits) -> xr.Dataset:
    if crop is False:
        return dataset
    start, stop = _limits(crop, limits)
    inside = (dataset["time"].values >= start) & (dataset["time"].values <= stop)
    if not inside.any():
        time = dataset["time"].values
        raise invalid(
            "crop",
            f"{start:.6g} to {stop:.6g} s, in which there is no sample",
            f"limits that overlap the behaviour's {time[0]:.6g} to {time[-1]:.6g} s",
            "Are they on two clocks? Shift one: assign_coords(time=time + offset).",
        )
    cropped = dataset.isel(time=inside)
    return cropped.assign_attrs(cropped=f"{start!r} to {stop!r} s")


def _limits(crop: Any, stated: Any) -> tuple[float, float]:
    if isinstance(crop, SpikeTrains):
        return crop.limits
    if isinstance(crop, xr.DataArray) and "bin_size" in crop.attrs:
        return counts.limits(crop)
    if crop is True:
        if stated is None or None in stated:
            raise invalid(
                "crop",
                "True, for a source that states no limits of the recording",
                "limits",
                "Say crop=(start, stop) in seconds, or pass the counts: crop=spikes.",
            )
        return stated[0], stated[1]
    limits = numbers(crop, "crop").astype(float)
    if len(limits) != 2 or not limits[0] < limits[1]:
        raise invalid("crop", repr(crop), "True, (start, stop) in s, or counts")
    return float(limits[0]), float(limits[1])
