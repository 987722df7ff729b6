"""The labels beside time: whether sequences have the same ones, and what if not.

Entries of different sequences are the same one where their labels are. Without labels
only their place can tell, so that labels never stand beside none.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import ShapeError, invalid


def require_labelled_alike(
    parts: Sequence[xr.DataArray], names: Sequence[str], dim: str
) -> None:
    """Raise where labels stand beside none, or names beside numbers.

    Parameters
    ----------
    parts : one (time, ...) per sequence
        What the user passed.
    names
        What to call each in an error.
    dim
        The dimension whose labels are meant.
    """
    kinds = [_kind_of_labels(part, dim) for part in parts]
    for kind, name in zip(kinds, names, strict=True):
        if kind != kinds[0]:
            raise invalid(
                name,
                f"{kind} along `{dim}`",
                f"{kinds[0]} as in {names[0]}",
                f"Label all alike, with .assign_coords({dim}=...).",
                ShapeError,
            )


def _kind_of_labels(part: xr.DataArray, dim: str) -> str:
    if dim not in part.coords:
        # Only their place tells which is which.
        return f"{part.sizes[dim]} entries without labels"
    named = all(isinstance(label, str) for label in part[dim].values.tolist())
    return "names" if named else "numbers"


def shared_coords(
    parts: Sequence[xr.DataArray], names: Sequence[str], dims: Sequence[str]
) -> dict[str, Any]:
    """Return the labels of the dimensions that all sequences must share, or raise.

    Parameters
    ----------
    parts, names
        As in `require_labelled_alike`.
    dims
        The dimensions, ``time`` first.
    """
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
        # `coords.get` would make labels up.
        if dim not in parts[0].coords:
            coords[dim] = np.arange(sizes[0])
            continue
        first = parts[0][dim]
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


def join_entries(
    parts: Sequence[xr.DataArray], names: Sequence[str], dim: str
) -> tuple[list[xr.DataArray], np.ndarray | None]:
    """Give every part all entries; tell which of them it has, or None if all.

    Parameters
    ----------
    parts, names, dim
        As in `require_labelled_alike`; the dimension is the last one.
    """
    labels = [
        part[dim].values if dim in part.coords else np.arange(part.sizes[dim])
        for part in parts
    ]
    for name, own in zip(names, labels, strict=True):
        dimensions.require_unique(own, f"{name}.{dim}")
    every = list(dict.fromkeys(label for own in labels for label in own.tolist()))
    recorded = np.zeros((len(parts), len(every)), dtype=bool)
    found = []
    for row, part, own in zip(recorded, parts, labels, strict=True):
        column = [every.index(label) for label in own.tolist()]
        present = np.ones(len(own), bool)
        if part.dtype.kind == "f" and not np.isnan(part.values).all():
            present = ~np.isnan(part.values).all(axis=0)
        row[column] = present
        values = np.zeros((part.sizes["time"], len(every)), part.dtype)
        values[:, column] = np.where(present, part.values, 0)
        found.append(
            xr.DataArray(
                values, dims=part.dims, coords={dim: every, "time": part["time"]}
            )
        )
    return found, None if recorded.all() else recorded
