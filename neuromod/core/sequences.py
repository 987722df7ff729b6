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
from neuromod.core.labels import join_entries, require_labelled_alike, shared_coords
from neuromod.core.slabs import Slabs, is_on_disk

BOUNDARIES = ("session", "trial")


@dataclass(frozen=True)
class Sequences:
    """Padded arrays of one or more sequences, and how to undo the padding.

    Parameters
    ----------
    values : (session, time, ...)
        The data; 0 where missing or past the end. Of data in dask chunks, how to read
        them.
    observed : (session, time)
        False where a bin is missing (any NaN in it) or past the end.
    lengths : (session,)
        Number of bins of each sequence.
    labels
        One label per sequence.
    axes
        The coordinates along time of each sequence: the time (s) and whatever else
        labels the bins, such as blocks of behaviour.
    form
        How the data came: "single", "list", "tree" or "long".
    coords
        The labels of the dimensions that the sequences share.
    attrs
        The attributes of the first sequence.
    recorded : (session, entry)
        False where a sequence lacks an entry of the joined dimension; None if all
        have all.
    numbered
        The dimensions that came without labels, and were numbered.
    """

    values: np.ndarray | Slabs
    observed: np.ndarray
    lengths: np.ndarray
    labels: tuple[str, ...]
    axes: tuple[xr.Dataset, ...]
    form: str
    coords: Mapping[str, Any] = field(default_factory=dict)
    attrs: Mapping[Any, Any] = field(default_factory=dict)
    recorded: np.ndarray | None = None
    numbered: tuple[str, ...] = ()

    @property
    def times(self) -> tuple[np.ndarray, ...]:
        """The time (s) of the bins of each sequence."""
        return tuple(axis["time"].values for axis in self.axes)

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
        name: str = "values",
        attrs: Mapping[str, Any] | None = None,
    ) -> xr.DataArray:
        """Join per-bin results of shape (session, time, ...) into one long array.

        Parameters
        ----------
        padded : (session, time, ...)
            What was found for every bin.
        dims
            The names of the dimensions after time.
        coords
            Their labels.
        name, attrs
            Of the arrays that are returned.
        """
        parts = self._parts(padded, dims, coords, name, attrs)
        if self.form == "single":
            return parts[0]
        long = xr.concat(parts, dim="time")
        if self.form == "long":
            return long
        labels = np.repeat(np.array(self.labels), self.lengths)
        return long.assign_coords(session=("time", labels))

    def restore(
        self,
        padded: np.ndarray,
        dims: Sequence[str] = (),
        coords: Mapping[str, Any] | None = None,
        name: str = "values",
        attrs: Mapping[str, Any] | None = None,
    ) -> xr.DataArray | list[xr.DataArray] | xr.DataTree:
        """Give per-bin results back in the form in which the data came.

        Parameters are those of `concatenate`.
        """
        if self.form not in ("list", "tree"):
            return self.concatenate(padded, dims, coords, name, attrs)
        parts = self._parts(padded, dims, coords, name, attrs)
        if self.form == "list":
            return parts
        children = zip(self.labels, parts, strict=True)
        return xr.DataTree.from_dict({k: v.to_dataset() for k, v in children})

    def _parts(self, padded, dims, coords, name, attrs) -> list[xr.DataArray]:
        return [
            xr.DataArray(
                np.asarray(values[:length]),
                dims=("time", *dims),
                coords={**axis.coords, **(coords or {})},
                name=name,
                attrs=attrs,
            )
            for values, length, axis in zip(
                padded, self.lengths, self.axes, strict=True
            )
        ]


def gather(
    data: xr.DataArray | xr.DataTree | Sequence[xr.DataArray],
    argument: str,
    dims: Sequence[str] = ("time",),
    variable: str | None = None,
    join: str | None = None,
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
    join
        The last dimension, if its labels may differ between sequences: all that
        occur are kept, in the order of their first appearance. An entry that is NaN
        throughout a sequence in which others are not is one that the sequence lacks.
        Sequences in dask chunks must have the same entries.

    Returns
    -------
    Sequences
        Padded values with mask, lengths and labels.

    Raises
    ------
    ShapeError
        If a part has other dimensions, or the parts differ in a labelled dimension.
    InvalidInputError
        If there is nothing in it, its values are no real numbers, or a time axis does
        not ascend.
    """
    form, labels, parts = _split(data, argument, dims, variable)
    names = [f"{argument}[{label!r}]" for label in labels]
    if form == "single":
        names = [argument]
    parts = [
        dimensions.require_dims(part, dims, name)
        for part, name in zip(parts, names, strict=True)
    ]
    for part, name in zip(parts, names, strict=True):
        dimensions.require_real(part.dtype, name)
        dimensions.require_time(part, name)
        if part.sizes["time"] == 0:
            raise invalid(name, "0 bins", "at least one bin", kind=ShapeError)
    for dim in dims[1:]:
        require_labelled_alike(parts, names, dim)
    numbered = tuple(dim for dim in dims[1:] if dim not in parts[0].coords)
    axes = tuple(_axis(part) for part in parts)
    attrs, recorded = parts[0].attrs, None
    lengths = np.array([part.sizes["time"] for part in parts])
    if any(is_on_disk(part) for part in parts):
        slabs = Slabs(tuple(part.chunk() for part in parts))
        coords = shared_coords(parts, names, dims)
        observed = slabs.observed()
        told = (lengths, labels, axes, form, coords, attrs)
        return Sequences(slabs, observed, *told, numbered=numbered)
    if join is not None:
        parts, recorded = join_entries(parts, names, join)
    coords = shared_coords(parts, names, dims)
    values, observed = _pad([part.values for part in parts], lengths, recorded)
    told = (lengths, labels, axes, form, coords, attrs)
    return Sequences(values, observed, *told, recorded, numbered)


def stretches(
    data: xr.DataArray | xr.Dataset, argument: str
) -> dict[str, slice] | None:
    """Find the sequences of one long array, each with its label.

    A sequence ends where the ``session`` or the ``trial`` changes; where both are
    given, the label is "session/trial".

    Returns
    -------
    dict or None
        The bins of every sequence; None if nothing marks a boundary.

    Raises
    ------
    InvalidInputError
        If a label marks two separate stretches.
    """
    names = [
        name
        for name in BOUNDARIES
        if name in data.coords and data[name].dims == ("time",)
    ]
    if not names:
        return None
    marks = [data[name].values.astype(str) for name in names]
    labels = np.array(["/".join(pair) for pair in zip(*marks, strict=True)], dtype=str)
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]][: len(labels)])
    stops = [*starts[1:].tolist(), len(labels)]
    once, counts = np.unique(labels[starts], return_counts=True)
    if len(once) < len(starts):
        raise invalid(
            f"{argument}.{'/'.join(names)}",
            f"the label {str(once[counts.argmax()])!r} twice, in separate stretches",
            "each in one stretch",
            f"Bring its bins together with .sortby({[*names, 'time']}), or give the "
            "stretches labels of their own.",
        )
    return {
        str(labels[a]): slice(a, b)
        for a, b in zip(starts.tolist(), stops[: len(starts)], strict=True)
    }


def _split(data, argument, dims, variable):
    if isinstance(data, xr.DataTree):
        if "recording" in data.children:
            raise invalid(
                argument,
                "a whole data set",
                "the recording in it",
                f"Pass data['recording'][{variable or 'name of the variable'!r}].",
                ShapeError,
            )
        children = {
            name: _variable(child, argument, variable)
            for name, child in data.children.items()
        }
        return "tree", tuple(children), list(_some(children, argument).values())
    if isinstance(data, list | tuple):
        labels = tuple(str(i) for i in range(len(data)))
        return "list", labels, list(_some(data, argument))
    array = dimensions.require_dims(data, dims, argument)
    found = stretches(array, argument)
    if not found:
        return "single", ("0",), [array]
    return "long", tuple(found), [array.isel(time=bins) for bins in found.values()]


def _axis(part: xr.DataArray) -> xr.Dataset:
    """Return the coordinates along time alone."""
    along = {k: v for k, v in part.coords.items() if v.dims == ("time",)}
    axis = xr.Dataset(coords=along)
    return axis.assign_coords(time=axis["time"].astype(float, keep_attrs=True))


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


def _pad(
    arrays: Sequence[np.ndarray],
    lengths: np.ndarray,
    recorded: np.ndarray | None = None,
):
    shape = (len(arrays), int(lengths.max()), *arrays[0].shape[1:])
    values = np.zeros(shape, dtype=np.result_type(*arrays))
    observed = np.zeros(shape[:2], dtype=bool)
    for i, array in enumerate(arrays):
        present = np.ones(len(array), dtype=bool)
        if array.dtype.kind == "f":
            missing = np.isnan(array)
            if recorded is not None:
                missing &= recorded[i]
            present = ~missing.reshape(len(array), -1).any(axis=1)
            array = np.where(missing, 0, array)
        values[i, : len(array)] = array
        observed[i, : len(array)] = present
    return values, observed
