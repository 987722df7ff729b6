"""A folder of finished results, each in one file under the key of its computation.

What comes back is what was put in: a `Result`, labelled data, or arrays and plain
values in lists, tuples and dicts. Files are written atomically and carry a checksum;
a damaged one counts as absent and is computed again. Nothing read from a store can
run code.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from neuromod.core import plain, storage
from neuromod.core.envelope import read_sealed
from neuromod.core.errors import DataFormatError, InvalidInputError, invalid
from neuromod.core.result import Result, load

RESULT, VALUE = ".result.nc", ".value.nc"
VALUES, LOOSE, ARRAY = "value", "/arrays", "the array"
SMALL_BYTES = 1024
"""Arrays up to this size lie among the plain values: that takes less time."""


def folder(path: str | os.PathLike[str]) -> Path:
    """Return the folder of a store, made if it is not there.

    Raises
    ------
    InvalidInputError
        If there is a file of that name.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise invalid("store", f"the file {str(path)!r}", "a folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def find(folder: Path, key: str) -> Path | None:
    """Return the undamaged file under a key, or None."""
    for suffix in (RESULT, VALUE):
        path = folder / f"{key}{suffix}"
        if path.is_file():
            try:
                read_sealed(path)
            except DataFormatError:
                continue
            return path
    return None


def write(folder: Path, key: str, value: Any) -> Path:
    """Write a value under its key.

    Raises
    ------
    InvalidInputError
        If it, or something in it, cannot be stored; names it.
    """
    if isinstance(value, Result):
        return value.save(folder / f"{key}{RESULT}")
    packed, groups = _take_apart(value)
    return storage.write(folder / f"{key}{VALUE}", groups, {VALUES: packed})


def read(path: Path, classes: Mapping[str, type] | None = None) -> Any:
    """Read what `write` has written.

    Parameters
    ----------
    path
        The file.
    classes
        The user's own model classes by name, as `neuromod.load` takes them.

    Raises
    ------
    ChecksumError, DataFormatError
        As `neuromod.load`.
    """
    if path.name.endswith(RESULT):
        return load(path, classes)
    groups, notes = storage.read(path)
    try:
        return _rebuild(notes[VALUES], groups)
    except Exception as error:
        raise storage.contradiction(path, error) from error


def _take_apart(value: Any) -> tuple[Any, dict[str, xr.Dataset]]:
    """Return the plain skeleton of a value, and the arrays that belong into it."""
    loose: dict[str, xr.Variable] = {}
    parts: dict[str, Any] = {}

    def special(part: Any, where: str) -> Any:
        if isinstance(part, np.ndarray | jax.Array):
            array = np.asarray(part)
            if array.nbytes <= SMALL_BYTES:
                return plain.pack(array, where)
            name = f"array{len(loose)}"
            dims = [f"{name}_axis{i}" for i in range(array.ndim)]
            loose[name] = xr.Variable(dims, array)
            return {"$loose": name}
        if not isinstance(part, xr.DataArray | xr.Dataset | xr.DataTree):
            return None
        name = f"/part{len(parts)}"
        parts[name] = part
        if isinstance(part, xr.DataArray):
            return {"$dataarray": [name, part.name]}
        return {"$tree" if isinstance(part, xr.DataTree) else "$dataset": name}

    try:
        packed = plain.pack(value, "the returned value", special)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{error} A function whose results are stored returns a Result, xarray "
            "objects, arrays, plain values, or lists, tuples and dicts of these."
        ) from error
    groups = {"/": xr.Dataset(), LOOSE: xr.Dataset(loose)}
    for name, part in parts.items():
        groups |= _groups(name, part)
    return packed, groups


def _groups(
    name: str, part: xr.DataArray | xr.Dataset | xr.DataTree
) -> dict[str, xr.Dataset]:
    """Return labelled data as Datasets, by the path of their group."""
    if isinstance(part, xr.Dataset):
        return {name: part}
    if isinstance(part, xr.DataArray):
        return {name: part.rename(ARRAY).to_dataset()}
    return {
        f"{name}/{path}".removesuffix("/."): node.to_dataset(inherit=False)
        for path, node in part.subtree_with_keys
    }


def _rebuild(packed: Any, groups: Mapping[str, xr.Dataset]) -> Any:
    def tree(name: str) -> xr.DataTree:
        paths = [p for p in groups if p == name or p.startswith(f"{name}/")]
        return xr.DataTree.from_dict({p[len(name) :] or "/": groups[p] for p in paths})

    tags: plain.Tags = {
        "$loose": lambda name: groups[LOOSE][name].values,
        "$dataset": lambda name: groups[name],
        "$dataarray": lambda it: groups[it[0]][ARRAY].rename(it[1]),
        "$tree": tree,
    }
    return plain.unpack(packed, tags)
