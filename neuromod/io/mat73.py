"""MATLAB files of version 7.3: HDF5, in which cells and structs are references."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuromod.io.files import malformed
from neuromod.io.hdf5 import Hdf5, open_hdf5
from neuromod.io.mat5 import DEEPEST, WHAT


class Mat73(Mapping[str, Any]):
    """The variables of a file, each read when it is asked for."""

    def __init__(self, path: Path):
        self.path = path
        with open_hdf5(path, WHAT) as file:
            nodes = {name: node for name, node in file.children(file.root)}
            self._nested = {k: _is_nested(v) for k, v in nodes.items() if k[0] != "#"}

    @property
    def nested(self) -> list[str]:
        """Names of the variables that are cells or structs."""
        return [name for name, nested in self._nested.items() if nested]

    def __getitem__(self, name: str) -> Any:
        if name not in self._nested:
            raise KeyError(name)
        with open_hdf5(self.path, WHAT) as file:
            return _value(file, file.child(file.root, name), 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nested)

    def __len__(self) -> int:
        return len(self._nested)


def _is_nested(node: Any) -> bool:
    import h5py

    return isinstance(node, h5py.Group) or node.dtype.kind == "O"


def _value(file: Hdf5, node: Any, depth: int) -> Any:
    import h5py

    if depth > DEEPEST:
        raise malformed(file.path, "cells within cells", f"at most {DEEPEST} levels")
    if isinstance(node, h5py.Group):
        return _struct(file, node, depth)
    if node.attrs.get("MATLAB_empty", 0):
        return np.zeros((0, 0))
    array = file.read(node, "a variable")
    if array.dtype == object:
        cells = array.T.reshape(-1)
        return [_value(file, file.dereference(cell), depth + 1) for cell in cells]
    if node.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, array.T.reshape(-1).tolist()))
    return array.T


def _struct(file: Hdf5, group: Any, depth: int) -> Any:
    nodes = dict(file.children(group))
    # Fields of an array of structs are references, like cells but without a class.
    is_array = nodes and all(
        _is_nested(node) and "MATLAB_class" not in node.attrs for node in nodes.values()
    )
    fields = {name: _value(file, node, depth + 1) for name, node in nodes.items()}
    if not is_array:
        return fields
    rows = zip(*fields.values(), strict=True)
    return [dict(zip(fields, row, strict=True)) for row in rows]
