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
VALUES, LOOSE, ARRAY = "value", "arrays", "the array"


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
    packed, tree = _take_apart(value)
    return storage.write(folder / f"{key}{VALUE}", tree, {VALUES: packed})


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
    tree, notes = storage.read(path)
    try:
        return _rebuild(notes[VALUES], tree)
    except Exception as error:
        raise storage.contradiction(path, error) from error


def _take_apart(value: Any) -> tuple[Any, xr.DataTree]:
    """Return the plain skeleton of a value, and the arrays that belong into it."""
    loose: dict[str, xr.Variable] = {}
    groups: dict[str, xr.DataTree] = {}

    def special(part: Any, where: str) -> Any:
        if isinstance(part, np.ndarray | jax.Array):
            name = f"array{len(loose)}"
            loose[name] = _variable(name, part)
            return {"$loose": name}
        tree = _as_tree(part)
        if tree is None:
            return None
        name = f"part{len(groups)}"
        groups[name] = tree
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
    return packed, xr.DataTree.from_dict({LOOSE: xr.Dataset(loose), **groups})


def _variable(name: str, array: np.ndarray | jax.Array) -> xr.Variable:
    values = np.asarray(array)
    return xr.Variable([f"{name}_axis{i}" for i in range(values.ndim)], values)


def _as_tree(part: Any) -> xr.DataTree | None:
    if isinstance(part, xr.DataTree):
        return part
    if isinstance(part, xr.DataArray):
        return xr.DataTree(part.rename(ARRAY).to_dataset())
    return xr.DataTree(part) if isinstance(part, xr.Dataset) else None


def _rebuild(packed: Any, tree: xr.DataTree) -> Any:
    def subtree(name: str) -> xr.DataTree:
        return xr.DataTree.from_dict(
            {p: n.to_dataset(inherit=False) for p, n in tree[name].subtree_with_keys}
        )

    tags: plain.Tags = {
        "$loose": lambda name: tree[LOOSE][name].values,
        "$dataset": lambda name: tree[name].to_dataset(),
        "$dataarray": lambda it: tree[it[0]].to_dataset()[ARRAY].rename(it[1]),
        "$tree": subtree,
    }
    return plain.unpack(packed, tags)
