"""MATLAB files: the variables of a ``.mat`` file of version 5 to 7.3.

Both families of the format are presented alike: a mapping from the names of
variables to arrays, lists (cells), mappings (structs), lists of mappings (arrays of
structs) and text. A variable is read when it is asked for, so that the spikes of a
session are not held up by its local field potential.

Up to 7.2 a file is a row of elements, tag by tag, which SciPy reads. It trusts the
tags, so they are walked first: each must fit into what encloses it, no array may
announce more elements than it has bytes, and what was compressed is paid for from
the file's `Budget`. From 7.3 on a file is HDF5, in which cells are references.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neuromod.io.files import Budget, malformed, parsing
from neuromod.io.hdf5 import Hdf5, is_hdf5, open_hdf5

WHAT = "a MATLAB file of version 5 to 7.3"
_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _SPARSE, _NUMBERS, _OPAQUE = 1, 2, 3, 5, 15, 17
_DEEPEST = 16


def read_mat(path: Path) -> Mapping[str, Any]:
    """Return the variables of a MATLAB file by name."""
    return _Mat73(path) if is_hdf5(path) else _Mat5(path)


class _Element(NamedTuple):
    kind: int
    body: memoryview
    end: int


class _Mat5(Mapping[str, Any]):
    """The variables of a file of version 5 to 7.2."""

    def __init__(self, path: Path):
        self.path = path
        self._budget = Budget(path)
        with parsing(path, WHAT):
            self._header, self._order = self._read_header()
            self._places = dict(self._scan())

    @property
    def nested(self) -> list[str]:
        """Names of the variables that are cells or structs."""
        return [k for k, v in self._places.items() if v[1] in (_CELL, _STRUCT, _OBJECT)]

    def __getitem__(self, name: str) -> Any:
        from scipy.io import loadmat

        (kind, offset, size), _ = self._places[name]
        with parsing(f"{self.path}[{name!r}]", WHAT):
            with open(self.path, "rb") as stream:
                stream.seek(offset)
                stored = stream.read(size)
            body = (
                self._inflated(stored)
                if kind == _COMPRESSED
                else (struct.pack(self._order + "II", kind, size) + stored)
            )
            self._walk(memoryview(body), 0)
            found = loadmat(io.BytesIO(self._header + body))
            return _simple(found[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _read_header(self) -> tuple[bytes, str]:
        with open(self.path, "rb") as stream:
            header = stream.read(_HEADER_BYTES)
        orders = {b"IM": "<", b"MI": ">"}
        if len(header) < _HEADER_BYTES or header[126:128] not in orders:
            raise malformed(
                self.path,
                "no MATLAB header",
                WHAT,
                "Save it again in MATLAB with save(..., '-v7').",
            )
        return header, orders[header[126:128]]

    def _scan(self) -> Iterator[tuple[str, Any]]:
        """Yield name, place and class of each variable, reading only its head."""
        length = self.path.stat().st_size
        with open(self.path, "rb") as stream:
            offset = _HEADER_BYTES
            while offset < length:
                stream.seek(offset)
                kind, size = struct.unpack(self._order + "II", stream.read(8))
                if offset + 8 + size > length:
                    raise malformed(self.path, "an element cut off at the end", WHAT)
                head = stream.read(min(size, 4096))
                if kind == _COMPRESSED:
                    head = zlib.decompressobj().decompress(head, 4096)[8:]
                if kind in (_COMPRESSED, _MATRIX):
                    name, array_class = self._head(memoryview(head))
                    if name and array_class != _OPAQUE:
                        yield name, ((kind, offset + 8, size), array_class)
                offset += 8 + size

    def _inflated(self, stored: bytes) -> bytes:
        stream = zlib.decompressobj()
        body = stream.decompress(stored, self._budget.left + 1)
        self._budget.spend(len(body), "a variable")
        return body

    def _element(self, data: memoryview, offset: int) -> _Element:
        if offset + 8 > len(data):
            raise malformed(self.path, "a tag cut off", WHAT)
        kind, size = struct.unpack_from(self._order + "II", data, offset)
        begin = offset + 8
        if kind >> 16:  # up to four bytes are stored within the tag
            kind, size, begin = kind & 0xFFFF, kind >> 16, offset + 4
            end = offset + 8
        else:
            end = begin + size + -size % 8
        if begin + size > len(data) or (end == offset + 8 and size > 4):
            raise malformed(self.path, "an element larger than its place", WHAT)
        return _Element(kind, data[begin : begin + size], end)

    def _head(self, data: memoryview) -> tuple[str, int]:
        flags = self._element(data, 0)
        dims = self._element(data, flags.end)
        name = self._element(data, dims.end)
        (bits,) = struct.unpack_from(self._order + "I", flags.body)
        return bytes(name.body).decode("latin1"), bits & 0xFF

    def _walk(self, data: memoryview, depth: int) -> None:
        """Look at every tag below, and that no array is larger than its bytes."""
        if depth > _DEEPEST:
            raise malformed(self.path, f"{depth} nested cells", f"at most {_DEEPEST}")
        offset = 0
        while offset < len(data):
            element = self._element(data, offset)
            if element.kind == _MATRIX and len(element.body):
                self._require_room(element.body)
                self._walk(element.body, depth + 1)
            offset = element.end

    def _require_room(self, body: memoryview) -> None:
        flags = self._element(body, 0)
        (bits,) = struct.unpack_from(self._order + "I", flags.body)
        array_class = bits & 0xFF
        if array_class == _SPARSE or not _CELL <= array_class <= _NUMBERS:
            return
        dims = self._element(body, flags.end)
        shape = np.frombuffer(dims.body, self._order + "i4").astype(float)
        n_elements = np.prod(shape)
        if array_class == _STRUCT:
            name = self._element(body, dims.end)
            width = self._element(body, name.end)
            fields = self._element(body, width.end)
            (n_characters,) = struct.unpack_from(self._order + "i", width.body)
            n_elements *= max(len(fields.body) / n_characters, 1)
        if (shape < 0).any() or n_elements > len(body):
            raise malformed(
                self.path,
                f"an array of {n_elements:.3g} elements in {len(body)} bytes",
                "arrays that are there",
            )


def _simple(value: Any) -> Any:
    """Turn SciPy's arrays of objects and records into lists and dicts."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.names is not None:
        names = value.dtype.names
        structs = [{n: _simple(record[n]) for n in names} for record in value.flat]
        return structs[0] if len(structs) == 1 else structs
    if value.dtype == object:
        return [_simple(cell) for cell in value.flat]
    if value.dtype.kind == "U" and value.size == 1:
        return str(value.flat[0])
    return value


class _Mat73(Mapping[str, Any]):
    """The variables of a file of version 7.3, which is HDF5."""

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

    if depth > _DEEPEST:
        raise malformed(file.path, f"{depth} nested cells", f"at most {_DEEPEST}")
    if isinstance(node, h5py.Group):
        return _struct(file, node, depth)
    if node.attrs.get("MATLAB_empty", 0):
        return np.zeros((0, 0))
    array = file.read(node, node.name)
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
