"""What named arrays mean: the signals and trials in a container of any format.

One array is the clock (``time``, ``timestamps``, ``pos_tick`` ...); every array of its
length is a signal. Without a clock, columns of one length beside a column ``trial``,
or ``start_time`` and ``stop_time``, are a table of trials.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from neuromod.io.reading import Reading
from neuromod.io.schemas import COUNTS, RATES, stated_limits
from neuromod.io.variables import Variables, is_nested, plain, spelt, split_unit

TICKS = ("postick", "positiontick", "frametick", "tick")
CLOCKS = (
    "time", "times", "timestamps", "timestamp", "t", "postime", "frametimes",
    "bincentre", "binends", "binend", "binstarts", "binstart",
)  # fmt: skip
TRIALS = ("trial", "trials", "trialid", "id")
UNITS = {
    "px_s": "px/s", "cm_s": "cm/s", "mm_s": "mm/s", "m_s": "m/s", "deg_s": "deg/s",
    "rad_s": "rad/s", "px": "px", "cm": "cm", "mm": "mm", "m": "m", "deg": "deg",
    "rad": "rad", "s": "s", "ms": "ms", "hz": "Hz",
}  # fmt: skip
_POSITION = re.compile(r"(?:pos|position)?_?([xyz])", re.IGNORECASE)
_UNIT = re.compile(r"(.+?)_(" + "|".join(UNITS) + ")", re.IGNORECASE)


class Signals(NamedTuple):
    """What a source tells about behaviour.

    ``series`` are DataArrays along time and ``trials`` along trials, by name;
    ``limits`` (s) those of the recording, where they are stated.
    """

    series: Mapping[str, xr.DataArray]
    trials: Mapping[str, xr.DataArray]
    attrs: dict[str, Any]
    limits: tuple[float | None, float | None] = (None, None)


def signals_from(values: Mapping[str, Any], source: str, reading: Reading) -> Signals:
    """Sort named arrays into what is along time, along trials, and neither."""
    variables = Variables(values)
    rate = variables.number(RATES)
    start, stop = stated_limits(variables, rate)
    names = [n for n in variables if spelt(n) not in (*RATES, *COUNTS)]
    arrays = {name: _array(variables[name]) for name in names}
    present = {name: array for name, array in arrays.items() if array is not None}
    clock = next((n for n in present if _stem(n) in (*TICKS, *CLOCKS)), None)
    if clock is None:
        trials = trial_table(present, ())
        return Signals({}, trials, {"source": source}, (start, stop))
    times = present.pop(clock)
    sampled = times.dtype.kind in "iu" or _stem(clock) in TICKS
    reading = reading.in_unit(split_unit(clock)[1])
    ticks, clock_rate = reading.ticks(times, clock, rate if sampled else None)
    along = {name: array for name, array in present.items() if len(array) == len(ticks)}
    attrs = {"source": source}
    left_out = [name for name in variables if name not in along and name != clock]
    if left_out:
        attrs["left_out"] = ", ".join(left_out)
    time = xr.DataArray(ticks / clock_rate, dims="time")
    return Signals(_series(along, time), {}, attrs, (start, stop))


def trial_table(
    columns: Mapping[str, np.ndarray], taken: Iterable[str]
) -> dict[str, xr.DataArray]:
    """Make variables along trials from columns; ``taken`` names get a prefix."""
    label = next((name for name in columns if spelt(name) in TRIALS), None)
    limits = [n for n in columns if spelt(n) in ("starttime", "stoptime")]
    if label is None and not limits:
        return {}
    length = len(columns[label or limits[0]])
    trial = np.arange(length) if label is None else columns[label]
    table = {}
    for name, values in columns.items():
        if name != label and values.shape == (length,):
            key = f"trial_{name}" if name in taken else name
            attrs = {"units": "s"} if name in limits else {}
            table[key] = xr.DataArray(values, {"trial": trial}, "trial", key, attrs)
    return table


def _array(value: Any) -> np.ndarray | None:
    """Return an array of one or two dimensions, or None for anything else."""
    if is_nested(value) or isinstance(value, Mapping):
        return None
    array = np.asarray(value)
    if array.ndim == 2 and min(array.shape) == 1:  # MATLAB's rows and columns
        array = array.reshape(-1)
    if array.ndim not in (1, 2) or not array.size:
        return None
    return plain(array) if array.ndim == 1 else array


def _series(
    arrays: Mapping[str, np.ndarray], time: xr.DataArray
) -> dict[str, xr.DataArray]:
    """Give the arrays their dimensions; gather x, y and z into a position."""
    series: dict[str, xr.DataArray] = {}
    axes: dict[str, tuple[str, np.ndarray]] = {}
    for name, array in arrays.items():
        stem, unit = _split_unit(name)
        axis = _POSITION.fullmatch(stem)
        if axis is not None and array.ndim == 1 and array.dtype.kind in "iuf":
            axes[axis[1].lower()] = (unit, array)
        else:
            stem = name if stem in series else stem
            series[stem] = _variable(stem, array, unit, time)
    if axes:
        order = sorted(axes)
        values = np.stack([axes[axis][1] for axis in order], axis=1)
        unit = axes[order[0]][0]
        series["position"] = _variable("position", values, unit, time, order)
    return series


def _stem(name: str) -> str:
    return spelt(split_unit(name)[0])


def _split_unit(name: str) -> tuple[str, str]:
    found = _UNIT.fullmatch(name)
    return (found[1], UNITS[found[2].lower()]) if found else (name, "")


def _variable(
    name: str,
    values: np.ndarray,
    unit: str,
    time: xr.DataArray,
    axes: Iterable[str] = (),
) -> xr.DataArray:
    coords: dict[str, Any] = {"time": time}
    dims = ("time",)
    if values.ndim == 2:
        is_position = bool(axes) or spelt(name) in ("position", "pos", "xy")
        dims = ("time", "space" if is_position and values.shape[1] <= 3 else "channel")
        if dims[1] == "space":
            coords["space"] = list(axes) or list("xyz")[: values.shape[1]]
    return xr.DataArray(values, coords, dims, name, {"units": unit, "long_name": name})
