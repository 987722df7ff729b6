"""Ragged data: sessions (or trials, or subjects) of unequal length.

They enter in exactly two forms, in every family:

- a list of DataArrays, or a DataTree with one child per session whose name is the
  label;
- one long DataArray with a ``session`` (or ``trial``) coordinate along ``time``.

`gather` turns both, and a plain single recording, into padded arrays with a mask;
chains and histories restart at each boundary. `Sequences.restore` gives results
back in the form in which the data came, with their labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import ShapeError, invalid

BOUNDARIES = ("session", "trial")


@dataclass(frozen=True)
class Sequences:
    """Padded arrays of one or more sequences, and how to undo the padding.

    Parameters
    ----------
    values : (session, time, ...)
        The data; 0 where missing or past the end.
    observed : (session, time)
        False where a bin is missing (any NaN in it) or past the end.
    lengths : (session,)
        Number of bins of each sequence.
    labels
        One label per sequence.
    times
        The time coordinate (s) of each sequence.
    form
        How the data came: "single", "list", "tree" or the name of the boundary
        coordinate of one long array.
    """

    values: np.ndarray
    observed: np.ndarray
    lengths: np.ndarray
    labels: tuple[str, ...]
    times: tuple[np.ndarray, ...]
    form: str
    coords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_bins(self) -> int:
        """Number of bins over all sequences, missing ones included."""
        return int(self.lengths.sum())

    @property
    def n_observed(self) -> int:
        """Number of bins that were observed."""
        return int(self.observed.sum())

    def concatenate(
        self,
        padded: np.ndarray,
        dims: Sequence[str] = (),
        coords: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> xr.DataArray:
        """Join per-bin results of shape (session, time, ...) into one long array."""
        parts = self._parts(padded, dims, coords, name)
        if self.form == "single":
            return parts[0]
        boundary = self.form if self.form in BOUNDARIES else "session"
        labels = np.repeat(np.array(self.labels), self.lengths)
        long = xr.concat(parts, dim="time")
        return long.assign_coords({boundary: ("time", labels)})

    def restore(
        self,
        padded: np.ndarray,
        dims: Sequence[str] = (),
        coords: Mapping[str, Any] | None = None,
        name: str = "values",
    ) -> xr.DataArray | list[xr.DataArray] | xr.DataTree:
        """Give per-bin results back in the form in which the data came."""
        if self.form == "list":
            return self._parts(padded, dims, coords, name)
        if self.form == "tree":
            parts = self._parts(padded, dims, coords, name)
            children = zip(self.labels, parts, strict=True)
            return xr.DataTree.from_dict({k: v.to_dataset() for k, v in children})
        return self.concatenate(padded, dims, coords, name)

    def _parts(self, padded, dims, coords, name) -> list[xr.DataArray]:
        return [
            xr.DataArray(
                np.asarray(values[:length]),
                dims=("time", *dims),
                coords={"time": time, **(coords or {})},
                name=name,
            )
            for values, length, time in zip(
                padded, self.lengths, self.times, strict=True
            )
        ]


def gather(
    data: xr.DataArray | xr.DataTree | Sequence[xr.DataArray],
    argument: str,
    dims: Sequence[str] = ("time",),
    variable: str | None = None,
) -> Sequences:
    """Read one recording or many, in either ragged form, into padded arrays.

    Parameters
    ----------
    data
        A DataArray (optionally with a ``session`` or ``trial`` coordinate along
        time), a list of DataArrays, or a DataTree with one child per session.
    argument
        The name of the argument, for errors.
    dims
        The dimensions of each sequence, ``time`` first.
    variable
        The variable to read from each child of a DataTree; may be omitted if every
        child has only one.

    Returns
    -------
    Sequences
        Padded values with mask, lengths and labels.

    Raises
    ------
    ShapeError
        If a part has other dimensions, or the parts differ in a labelled dimension.
    InvalidInputError
        If there is nothing in it, or a time axis does not ascend.
    """
    form, labels, parts = _split(data, argument, dims, variable)
    names = [f"{argument}[{label!r}]" for label in labels]
    if form == "single":
        names = [argument]
    parts = [
        dimensions.require_dims(part, dims, name)
        for part, name in zip(parts, names, strict=True)
    ]
    times = tuple(
        dimensions.require_time(part, name)
        for part, name in zip(parts, names, strict=True)
    )
    for part, name in zip(parts, names, strict=True):
        if part.sizes["time"] == 0:
            raise invalid(name, "0 bins", "at least one bin", kind=ShapeError)
    coords = _shared_coords(parts, names, dims)
    lengths = np.array([part.sizes["time"] for part in parts])
    values, observed = _pad([part.values for part in parts], lengths)
    return Sequences(values, observed, lengths, labels, times, form, coords)


def _split(data, argument, dims, variable):
    if isinstance(data, xr.DataTree):
        children = {
            name: _variable(child, argument, variable)
            for name, child in data.children.items()
        }
        return "tree", tuple(children), list(_some(children, argument).values())
    if isinstance(data, list | tuple):
        labels = tuple(str(i) for i in range(len(data)))
        return "list", labels, list(_some(data, argument))
    array = dimensions.require_dims(data, dims, argument)
    for boundary in BOUNDARIES:
        if boundary in array.coords and array[boundary].dims == ("time",):
            return (boundary, *_split_long(array, boundary, argument))
    return "single", ("0",), [array]


def _some(parts, argument):
    if not len(parts):
        raise invalid(argument, "no sequence at all", "at least one", kind=ShapeError)
    return parts


def _variable(node: xr.DataTree, argument: str, variable: str | None):
    names = [str(n) for n in node.data_vars]
    wanted = variable if variable in names or len(names) != 1 else names[0]
    if wanted not in names:
        raise invalid(
            f"{argument}[{node.name!r}]",
            f"the variables {names}",
            f"a variable {variable!r}" if variable else "exactly one variable",
            kind=ShapeError,
        )
    return node[wanted]


def _split_long(array: xr.DataArray, boundary: str, argument: str):
    """Cut where the label changes; a label may come only once."""
    labels = array[boundary].values.astype(str)
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    ends = np.r_[starts[1:], len(labels)]
    names = tuple(str(n) for n in labels[starts])
    dimensions.require_unique(np.array(names), f"{argument}.{boundary}")
    parts = [array.isel(time=slice(a, b)) for a, b in zip(starts, ends, strict=True)]
    return names, parts


def _shared_coords(parts, names, dims) -> dict[str, Any]:
    """Return the labels of the dimensions that all sequences must share."""
    coords: dict[str, Any] = {}
    for dim in dims[1:]:
        sizes = [part.sizes[dim] for part in parts]
        if len(set(sizes)) > 1:
            other = int(np.argmax(np.array(sizes) != sizes[0]))
            raise invalid(
                names[other],
                f"{sizes[other]} entries along `{dim}`",
                f"{sizes[0]} as in {names[0]}",
                f"Select the same {dim}s in every session.",
                ShapeError,
            )
        first = parts[0].coords.get(dim)
        if first is None:
            coords[dim] = np.arange(sizes[0])
            continue
        dimensions.require_unique(first.values, f"{names[0]}.{dim}")
        coords[dim] = first.values
        for part, name in zip(parts, names, strict=True):
            same = dim in part.coords and np.array_equal(part[dim].values, first.values)
            if not same:
                raise invalid(
                    name,
                    f"other labels along `{dim}` than {names[0]}",
                    "the same labels in the same order",
                    f"Select or reorder with .sel({dim}=...).",
                    ShapeError,
                )
    return coords


def _pad(arrays: Sequence[np.ndarray], lengths: np.ndarray):
    shape = (len(arrays), int(lengths.max()), *arrays[0].shape[1:])
    values = np.zeros(shape, dtype=np.result_type(*arrays))
    observed = np.zeros(shape[:2], dtype=bool)
    for i, array in enumerate(arrays):
        present = np.ones(len(array), dtype=bool)
        if array.dtype.kind == "f":
            missing = np.isnan(array)
            present = ~missing.reshape(len(array), -1).any(axis=1)
            array = np.where(missing, 0, array)
        values[i, : len(array)] = array
        observed[i, : len(array)] = present
    return values, observed
