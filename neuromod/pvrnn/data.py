"""Recordings as arrays: trials side by side, padded, with a mask of what is known."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_dims, require_real, require_time
from neuromod.core.errors import ShapeError, invalid

DIMS = ("trial", "time", "channel")


class Trials(NamedTuple):
    """Trials of a recording.

    Parameters
    ----------
    values : (time, trial, channel)
        0 where nothing is known.
    observed : (time, trial, channel)
        What is known.
    valid : (time, trial)
        Which steps a trial has.
    labels : (trial,)
        Of the trials.
    time : (time,)
        Of the longest trial (s).
    channels : (channel,)
        Their names.
    """

    values: np.ndarray
    observed: np.ndarray
    valid: np.ndarray
    labels: np.ndarray
    time: np.ndarray
    channels: np.ndarray


def read(data: Any, argument: str = "data") -> Trials:
    """Return trials of equal or unequal length, padded.

    Parameters
    ----------
    data
        A DataArray (trial, time, channel) or (time, channel), or one (time, channel)
        for each trial: a list, or a DataTree whose children are the trials. NaN is
        missing.
    argument
        What it is called, for errors.

    Raises
    ------
    ShapeError
        If dimensions are other ones, or channels differ between trials.
    InvalidInputError
        If a number is infinite, or all of a trial is missing.
    """
    labels, parts = _parts(data, argument)
    channels = _labels(parts[0], "channel")
    for label, part in zip(labels, parts, strict=True):
        if not np.array_equal(_labels(part, "channel"), channels):
            got = f"the channels {list(_labels(part, 'channel'))} in trial {label!r}"
            expected = f"{list(channels)}, as in the first"
            raise invalid(argument, got, expected, kind=ShapeError)
    longest = max(parts, key=lambda part: part.sizes["time"])
    n_steps = longest.sizes["time"]
    values = np.full((n_steps, len(parts), len(channels)), np.nan)
    valid = np.zeros((n_steps, len(parts)), bool)
    for k, part in enumerate(parts):
        values[: part.sizes["time"], k] = part.values
        valid[: part.sizes["time"], k] = True
    if np.isinf(values).any():
        raise invalid(
            argument, "an infinite value", "finite ones, or NaN where missing"
        )
    observed = np.isfinite(values)
    empty = ~observed.any(axis=(0, 2))
    if empty.any():
        which = labels[int(np.argmax(empty))]
        raise invalid(argument, f"nothing but NaN in trial {which!r}", "some value")
    return Trials(
        np.where(observed, values, 0),
        observed,
        valid,
        np.asarray(labels),
        require_time(longest, argument)
        if "time" in longest.coords
        else np.arange(n_steps, dtype=float),
        channels,
    )


def recorded(data: Any) -> xr.DataArray:
    """Return a recording as one array (trial, time, channel), NaN where missing.

    Parameters
    ----------
    data
        As `neuromod.pvrnn.train` takes it.
    """
    trials = read(data)
    values = np.where(trials.observed, trials.values, np.nan)
    coords = {"trial": trials.labels, "time": trials.time, "channel": trials.channels}
    return xr.DataArray(np.swapaxes(values, 0, 1), coords, DIMS)


def _parts(data: Any, argument: str) -> tuple[list[Any], list[xr.DataArray]]:
    if isinstance(data, xr.DataTree):
        given: Sequence[Any] = [
            next(iter(child.to_dataset().data_vars.values()))
            for child in data.children.values()
        ]
        labels: list[Any] = list(data.children)
    elif isinstance(data, xr.DataArray) and "trial" in data.dims:
        whole = require_dims(data, DIMS, argument)
        given, labels = list(whole), _labels(whole, "trial").tolist()
    elif isinstance(data, list | tuple):
        given, labels = data, list(range(len(data)))
    else:
        given, labels = [data], [0]
    if not given:
        raise invalid(argument, "no trial", "at least one")
    parts = [require_dims(part, DIMS[1:], argument) for part in given]
    for part in parts:
        require_real(part.dtype, argument)
        if not part.size:
            raise invalid(
                argument, f"shape {part.shape}", "at least one step and channel"
            )
    return labels, parts


def _labels(array: xr.DataArray, dim: str) -> np.ndarray:
    if dim in array.coords:
        return array[dim].values
    return np.arange(array.sizes[dim])
