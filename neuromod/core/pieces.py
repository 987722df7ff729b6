"""Ragged data as what it consists of: sequences, and contiguous pieces of them.

Where `sequences.gather` pads for the kernels, `split` keeps the labelled arrays, and
whole Datasets, as they are: to cut them up before anything is fitted.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from neuromod.core.errors import ShapeError, invalid
from neuromod.core.sequences import stretches

Labelled = xr.DataArray | xr.Dataset
Data = Labelled | xr.DataTree | Sequence[Labelled]


def split(data: object, argument: str) -> tuple[tuple[str, ...], list[Labelled]]:
    """Split a recording, in any ragged form, into its sequences and their labels.

    Raises
    ------
    ShapeError
        If there is nothing in it, or no labelled data along ``time``.
    InvalidInputError
        If a label marks two separate stretches.
    """
    if isinstance(data, xr.DataTree):
        parts = {str(name): _content(child) for name, child in data.children.items()}
    elif isinstance(data, list | tuple):
        parts = {str(i): part for i, part in enumerate(data)}
    else:
        parts = _split_long(_require_labelled(data, argument), argument)
    if not parts:
        raise invalid(argument, "no sequence at all", "at least one", kind=ShapeError)
    for label, part in parts.items():
        name = f"{argument}[{label!r}]"
        if _require_labelled(part, name).sizes["time"] == 0:
            raise invalid(name, "0 bins", "at least one bin", kind=ShapeError)
    return tuple(parts), list(parts.values())


def cut(parts: Sequence[Labelled], masks: Sequence[np.ndarray]) -> list[Labelled]:
    """Cut out the contiguous stretches that are marked, in order."""
    return [
        part.isel(time=run)
        for part, mask in zip(parts, masks, strict=True)
        for run in _runs(mask)
        if mask[run.start]
    ]


def _content(child: xr.DataTree) -> Labelled:
    """Return the only variable of a node, or all of them."""
    dataset = child.to_dataset()
    names = list(dataset.data_vars)
    return dataset[names[0]] if len(names) == 1 else dataset


def _require_labelled(part: object, argument: str) -> Labelled:
    if isinstance(part, xr.DataArray | xr.Dataset) and "time" in part.dims:
        return part
    got = type(part).__name__
    if isinstance(part, xr.DataArray | xr.Dataset):
        got = "dimensions (" + ", ".join(map(str, part.dims)) + ")"
    raise invalid(
        argument,
        got,
        "a DataArray or Dataset with a dimension `time`",
        "Wrap it: xarray.DataArray(values, dims=['time', ...], coords={'time': t}).",
        ShapeError,
    )


def _split_long(data: Labelled, argument: str) -> dict[str, Labelled]:
    found = stretches(data, argument) or {"0": slice(None)}
    return {label: data.isel(time=bins) for label, bins in found.items()}


def _runs(values: np.ndarray) -> Iterator[slice]:
    """Yield the stretches along which a value stays the same."""
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    for start, stop in zip([0, *edges], [*edges, len(values)], strict=True):
        yield slice(int(start), int(stop))
