"""From what users have to the series that a network runs over.

One number per trial and input: a list, an array, a DataArray, or one of these for each
input by its name. NaN is a missing observation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray as xr

from neuromod.core.errors import ShapeError, did_you_mean, invalid
from neuromod.hgf.inference import Series
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput


@dataclass(frozen=True)
class Trials:
    """A checked series, and how its trials are called.

    Parameters
    ----------
    series
        What the network runs over, as numpy arrays.
    dimension, coordinate
        Name and labels of the trials.
    """

    series: Series
    dimension: str
    coordinate: np.ndarray

    def first(self, n_trials: int) -> "Trials":
        """Return the first trials."""
        series = jax.tree.map(lambda values: values[:n_trials], self.series)
        return Trials(series, self.dimension, self.coordinate[:n_trials])

    def named(self, values: Any, **attributes: str) -> xr.DataArray:
        """Return one number per trial as a DataArray."""
        coords = {self.dimension: self.coordinate}
        values = np.asarray(values)
        return xr.DataArray(
            values, dims=self.dimension, coords=coords, attrs=attributes
        )


def prepare(
    network: Network, data: Any, observed: Any = None, time_steps: Any = None
) -> Trials:
    """Check data, and bring them into the form that a network runs over.

    Parameters
    ----------
    network
        Names the inputs.
    data : (trial,) or (trial, input)
        What was observed, or a mapping from the names of inputs to (trial,). NaN is
        missing.
    observed
        In the same form: False where an observation does not count.
    time_steps : (trial,)
        Time since the trial before; one unit each if omitted.

    Raises
    ------
    InvalidInputError
        If an exact binary input has other values than 0, 1, NaN, one is infinite, or
        a time is negative.
    ShapeError
        If there is not one column for each input, or their lengths differ.
    """
    columns = _columns(network, data, "data")
    values = [_numbers(column, "data") for column in columns.values()]
    n_trials = len(values[0])
    for name, column in zip(columns, values, strict=True):
        if len(column) != n_trials:
            raise invalid(
                "data",
                f"{len(column)} trials of {name!r}",
                f"{n_trials}, as of {next(iter(columns))!r}",
                "Fill up with NaN, which is missing.",
                ShapeError,
            )
    known = [~np.isnan(column) for column in values]
    if observed is not None:
        marked = _columns(network, observed, "observed")
        for i, column in enumerate(marked.values()):
            known[i] = known[i] & _flags(column, n_trials)
    for name, column, seen in zip(columns, values, known, strict=True):
        _require_values(network, name, column, seen)
    intervals = None
    if time_steps is not None:
        intervals = _intervals(time_steps, n_trials)
    series = Series(
        tuple(np.where(seen, v, 0.0) for v, seen in zip(values, known, strict=True)),
        tuple(None if seen.all() else seen for seen in known),
        intervals,
    )
    return Trials(series, *_labels(data, n_trials))


def _columns(network: Network, data: Any, argument: str) -> dict[str, Any]:
    names = network.inputs
    if isinstance(data, xr.Dataset):
        data = {str(name): data[name] for name in data.data_vars}
    elif hasattr(data, "columns"):
        data = {str(name): data[name] for name in data.columns}
    if isinstance(data, Mapping):
        for name in data:
            if name not in names:
                raise invalid(
                    argument,
                    f"the input {name!r}",
                    "names among " + ", ".join(map(repr, names)),
                    did_you_mean(str(name), names),
                )
        for name in names:
            if name not in data:
                raise invalid(argument, f"nothing for the input {name!r}", "a series")
        return {name: data[name] for name in names}
    values: Any
    try:
        values = np.asarray(data)
    except ValueError:
        values = np.zeros(())
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != len(names):
        raise invalid(
            argument,
            f"shape {np.shape(values)}",
            f"(trial,) or (trial, input) with a column for each of {len(names)}: "
            + ", ".join(map(repr, names)),
            kind=ShapeError,
        )
    return {name: values[:, i] for i, name in enumerate(names)}


def _numbers(column: Any, argument: str) -> np.ndarray:
    try:
        values = np.asarray(column, float)
    except (TypeError, ValueError):
        raise invalid(argument, f"{type(column).__name__}", "numbers") from None
    if values.ndim != 1 or not len(values):
        raise invalid(
            argument,
            f"a series of shape {values.shape}",
            "(trial,) with at least one trial",
            kind=ShapeError,
        )
    return values


def _flags(column: Any, n_trials: int) -> np.ndarray:
    flags = np.asarray(column)
    if flags.shape != (n_trials,) or not np.isin(flags, (0, 1)).all():
        raise invalid(
            "observed",
            f"shape {flags.shape}, type {flags.dtype}",
            f"({n_trials},) of True and False for each input",
            kind=ShapeError,
        )
    return flags.astype(bool)


def _require_values(network: Network, name: str, column: Any, seen: Any) -> None:
    wrong = seen & ~np.isfinite(column)
    expected = "finite numbers, or NaN where missing"
    node = network[name]
    if isinstance(node, BinaryInput) and node.is_exact:
        wrong = seen & ~np.isin(column, (0, 1))
        expected = "0 or 1, or NaN where missing"
    if wrong.any():
        trial = int(np.argmax(wrong))
        raise invalid(
            "data", f"{column[trial]} at trial {trial} of the input {name!r}", expected
        )


def _intervals(time_steps: Any, n_trials: int) -> np.ndarray:
    values = _numbers(time_steps, "time_steps")
    if len(values) != n_trials:
        raise invalid(
            "time_steps", f"{len(values)} times", f"{n_trials}", kind=ShapeError
        )
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        trial = int(np.argmax(wrong))
        raise invalid(
            "time_steps",
            f"{values[trial]} at trial {trial}",
            "the time since the trial before, 0 or more",
            "Pass numpy.diff of the times of the trials.",
        )
    return values


def resets(sessions: Any, n_trials: int) -> np.ndarray | None:
    """Return where a session begins, from the labels of the trials' sessions."""
    if sessions is None:
        return None
    labels = np.asarray(sessions)
    if labels.shape != (n_trials,):
        raise invalid(
            "sessions",
            f"shape {labels.shape}",
            f"({n_trials},), the label of each trial's session",
            kind=ShapeError,
        )
    changes = np.concatenate([[False], labels[1:] != labels[:-1]])
    return changes if changes.any() else None


def _labels(data: Any, n_trials: int) -> tuple[str, np.ndarray]:
    first = data
    if isinstance(data, Mapping) or isinstance(data, xr.Dataset):
        first = next(iter(data.values()))
    if isinstance(first, xr.DataArray):
        name = str(first.dims[0])
        return name, np.asarray(first[name])
    return "trial", np.arange(n_trials)
