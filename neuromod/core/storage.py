"""One safe file for labelled arrays and the plain values that belong to them.

The file is netCDF, which every tool of the field opens, between a header and a
description::

    512 bytes    header: schema version, lengths, SHA-256 of all that follows
    netCDF       the arrays, as bare numbers, one group per node of the tree;
                 one attribute of the root holds the description, for other readers
    JSON         the description: which array has which name, dimensions, type and
                 attributes, at which byte its numbers start; and the plain values

To HDF5 the header is a user block, so ``xarray.open_datatree(path,
engine="h5netcdf")`` opens the file by its path.

*Damage* is found before anything else is read: the header has only one possible
spelling for its content, and the checksum covers the rest, so that a change of any
single bit is an error. *Malice* is another matter: whoever makes a file can make its
checksum, and the libraries that parse HDF5 crash and hang on crafted bytes. So `read`
never shows them the bytes: as no array is compressed or cut into pieces, its numbers
lie in one stretch, and reading it takes nothing but its position. A hostile file can
therefore hold wrong numbers, but it cannot do anything here. (Other programs do parse
it: open by its path only what you would trust as any HDF5 file.)
"""

import io
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from neuromod.core import arrays, plain
from neuromod.core.envelope import read_sealed, write_sealed
from neuromod.core.errors import DataFormatError, ShapeError, invalid

MAX_GROUPS = 1_000
MAX_ARRAYS = 10_000
# Copying a tree of many levels takes xarray a time that doubles with each of them.
MAX_LEVELS = 6
ATTRIBUTE = "neuromod"


Groups = Mapping[str, xr.Dataset]
"""Datasets by the path of their node: "/" is the root, "/latent" below it."""


def write(
    path: str | os.PathLike[str], groups: Groups, notes: Mapping[str, Any]
) -> Path:
    """Write groups of arrays and packed plain values to one file, atomically.

    Parameters
    ----------
    path
        The file to write; one that is there is replaced.
    groups
        The arrays; the root has attributes at most.
    notes
        Values packed by `plain.pack`.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    InvalidInputError
        If something in the groups cannot be stored exactly; names it.
    """
    entries, numbers = _encode(groups)
    description = {**notes, "groups": entries}
    netcdf = _netcdf(entries, numbers, plain.dumps(description))
    _locate(netcdf, entries, numbers)
    return write_sealed(path, netcdf, plain.dumps(description).encode("ascii"))


def read(
    path: str | os.PathLike[str],
) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """Read the groups of arrays and the packed plain values of a file.

    Raises
    ------
    InvalidInputError
        If there is no such file.
    ChecksumError
        If the file is damaged.
    DataFormatError
        If it is no such file, is of a later version, or contradicts itself.
    """
    netcdf, text = read_sealed(path)
    try:
        notes = plain.loads(bytes(text))
        return _decode(notes.pop("groups"), netcdf), notes
    # Whatever goes wrong in here, the description does not fit its arrays.
    except Exception as error:
        raise contradiction(path, error) from error


def contradiction(path: str | os.PathLike[str], error: Exception) -> DataFormatError:
    """Build the error for an undamaged file whose content makes no sense."""
    return DataFormatError(
        f"{os.fspath(path)}: the file contradicts itself "
        f"({type(error).__name__}: {error!s:.200}). It was not written by neuromod: do "
        "not trust where it comes from."
    )


def _encode(groups: Groups) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description of all groups, and the bare numbers of their arrays."""
    entries: dict[str, Any] = {}
    numbers: dict[str, dict[str, np.ndarray]] = {}
    for path, dataset in groups.items():
        if path == "/":
            require_empty(dataset)
        else:
            _require_group_name(path.removeprefix("/"))
        where = "data" if path == "/" else f"data[{path.removeprefix('/')!r}]"
        entries[path], numbers[path] = _encode_group(dataset, where)
    _require_few(entries)
    return entries, numbers


def _encode_group(
    dataset: xr.Dataset, where: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    _require_single_labels(dataset, where)
    entries, numbers = {}, {}
    for key, variable in dataset.variables.items():
        name = _require_name(key, f"a variable of {where}")
        numbers[name], entry = _encode_variable(variable, f"{where}[{name!r}]")
        entries[name] = {**entry, "coordinate": key in dataset.coords}
    attributes = plain.pack(dict(dataset.attrs), f"{where}.attrs")
    return {"variables": entries, "attrs": attributes}, numbers


def _encode_variable(
    variable: xr.Variable, where: str
) -> tuple[np.ndarray, dict[str, Any]]:
    if not isinstance(variable.dtype, np.dtype):
        raise invalid(
            where,
            f"the pandas type {variable.dtype}",
            "a NumPy array",
            "Convert it, for instance with .astype(str).",
        )
    if len(set(variable.dims)) < variable.ndim:
        raise invalid(
            where,
            f"dimensions {variable.dims}",
            "a name of its own for each dimension",
            "Rename one, as in (state, state_to).",
            ShapeError,
        )
    for dim in variable.dims:
        _require_name(dim, f"a dimension of {where}")
    bare, entry = arrays.encode(variable.values, where)
    attributes = plain.pack(dict(variable.attrs), f"{where}.attrs")
    return bare, {**entry, "dims": list(variable.dims), "attrs": attributes}


def require_empty(root: xr.Dataset) -> None:
    """Raise unless the root of a tree holds no arrays: they belong into groups."""
    if root.variables:
        raise invalid(
            "data",
            f"{', '.join(map(repr, root.variables))} at the root of the tree",
            "arrays in groups",
            "Name the group: xarray.DataTree.from_dict({'latent': dataset}).",
            ShapeError,
        )


def _require_group_name(path: str) -> None:
    for name in path.split("/"):
        _require_name(name, "a group of data")
        if "." in name:
            raise invalid("a group of data", repr(name), "a name without '.'")
    if path.count("/") >= MAX_LEVELS:
        raise invalid("data", f"{path.count('/')} levels", f"at most {MAX_LEVELS}")


def _require_name(name: Hashable, where: str) -> str:
    good = isinstance(name, str) and name and name == name.strip()
    if not good or not str(name).isprintable() or "/" in str(name):
        raise invalid(where, f"the name {name!r}", "printable text without '/'")
    return str(name)


def _require_single_labels(dataset: xr.Dataset, where: str) -> None:
    for name, index in dataset.indexes.items():
        if index.nlevels > 1:
            raise invalid(
                f"{where}[{name!r}]",
                "a MultiIndex",
                "a coordinate of single labels",
                f"Split it into its levels: .reset_index({name!r}).",
            )


def _require_few(groups: Mapping[str, Any]) -> None:
    n_arrays = sum(len(group["variables"]) for group in groups.values())
    if len(groups) > MAX_GROUPS or n_arrays > MAX_ARRAYS:
        raise invalid(
            "data",
            f"{len(groups)} groups with {n_arrays} arrays",
            f"at most {MAX_GROUPS} groups and {MAX_ARRAYS} arrays",
            "Stack arrays of one kind along a dimension.",
        )


def _netcdf(
    groups: Mapping[str, Any], numbers: Mapping[str, Any], description: str
) -> memoryview:
    """Write the bare numbers as netCDF; empty arrays have none."""
    datasets = {}
    for path, group in groups.items():
        coordinates, others = {}, {}
        for name, entry in group["variables"].items():
            if numbers[path][name].size:
                variable = _netcdf_variable(name, entry, numbers[path][name])
                (coordinates if entry["coordinate"] else others)[name] = variable
        coords = xr.Coordinates(coordinates, indexes={})
        datasets[path] = xr.Dataset(others, coords)
    tree = xr.DataTree.from_dict(datasets)
    tree.attrs[ATTRIBUTE] = description
    return memoryview(tree.to_netcdf(None, engine="h5netcdf"))


def _netcdf_variable(
    name: str, entry: Mapping[str, Any], numbers: np.ndarray
) -> xr.Variable:
    attributes = arrays.netcdf_attributes(entry)
    encoding = {"_FillValue": attributes.pop("_FillValue", None)}
    if numbers.dtype.kind == "S":
        encoding["char_dim_name"] = f"{name}:{numbers.dtype.itemsize}"
    dims = list(entry["dims"])
    if numbers.ndim > len(dims):
        dims.append(f"{name}:complex")
    return xr.Variable(dims, numbers, attributes, encoding)


def _locate(
    netcdf: memoryview, groups: Mapping[str, Any], numbers: Mapping[str, Any]
) -> None:
    """Note in the description at which byte of the netCDF each array starts."""
    with h5py.File(io.BytesIO(netcdf), "r") as file:
        for path, group in groups.items():
            for name, entry in group["variables"].items():
                if numbers[path][name].size:
                    offset = _offset(file[path], name)
                    _require_same(netcdf, offset, numbers[path][name], name)
                    entry["offset"] = offset


def _offset(group: Any, name: str) -> int:
    # Another name is used for an array that is named like a dimension of others.
    hidden = f"_nc4_non_coord_{name}"
    offset = group[hidden if hidden in group else name].id.get_offset()
    return offset or 0  # none if it lies in pieces, which the check finds out


def _require_same(
    netcdf: memoryview, offset: int, numbers: np.ndarray, name: str
) -> None:
    """Check that reading will find what was given; libraries change."""
    stored = np.frombuffer(netcdf, "u1", numbers.nbytes, offset)
    if not np.array_equal(stored, numbers.reshape(-1).view("u1")):
        raise DataFormatError(f"the netCDF library changed the array {name!r}")


def _decode(groups: Mapping[str, Any], netcdf: memoryview) -> dict[str, xr.Dataset]:
    _require_few(groups)
    if any(path.count("/") > MAX_LEVELS for path in groups):
        raise ValueError(f"groups nested deeper than {MAX_LEVELS} levels")
    entries = [e for group in groups.values() for e in group["variables"].values()]
    # Arrays that share bytes could claim far more memory than the file is long.
    if sum(map(arrays.n_bytes, entries)) > len(netcdf):
        raise ValueError("the arrays claim more bytes than there are")
    return {path: _decode_group(group, netcdf) for path, group in groups.items()}


def _decode_group(group: Mapping[str, Any], netcdf: memoryview) -> xr.Dataset:
    coordinates, others = {}, {}
    for name, entry in group["variables"].items():
        values = arrays.decode(netcdf, entry, entry.get("offset", 0))
        variable = xr.Variable(entry["dims"], values, plain.unpack(entry["attrs"]))
        (coordinates if entry["coordinate"] else others)[name] = variable
    return xr.Dataset(others, coordinates, plain.unpack(group["attrs"]))
