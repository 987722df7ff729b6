"""MATLAB files of version 5 to 7.2: a row of elements, each with a tag before it.

A tag tells the type and the number of bytes that follow; a matrix is an element of
elements (flags, dimensions, name, then what it holds), and a cell or struct holds
matrices again. From version 7 on each variable is compressed. Here every tag is held
against the bytes that are really there, so that no array can be larger than what
encloses it, and a variable is only inflated and parsed when it is asked for.

Numbers keep the type in which they are stored: MATLAB stores doubles that are all
whole as integers. Sparse matrices, objects and function handles read as None.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neuromod.io.files import Budget, malformed, parsing

WHAT = "a MATLAB file of version 5 to 7.3"
HEADER_BYTES = 128
DEEPEST = 16
MOST_CELLS = 2**20
_HEAD_BYTES = 4096
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _FIRST_NUMBER, _LAST_NUMBER, _OPAQUE = 1, 2, 4, 6, 15, 17
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8",
    12: "i8", 13: "u8",
}  # fmt: skip
_TEXTS = {2: "latin1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


class Element(NamedTuple):
    """The type and the bytes of an element, and where the next one begins."""

    kind: int
    body: memoryview
    end: int


class Head(NamedTuple):
    """What a matrix says of itself before its content."""

    array_class: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    end: int


class Mat5(Mapping[str, Any]):
    """The variables of a file, each read when it is asked for."""

    def __init__(self, path: Path):
        self.path = path
        self._budget = Budget(path)
        with parsing(path, WHAT):
            self._order = self._byte_order()
            self._places = dict(self._scan())

    @property
    def nested(self) -> list[str]:
        """Names of the variables that are cells or structs."""
        return [k for k, v in self._places.items() if v[3] in (_CELL, _STRUCT)]

    def __getitem__(self, name: str) -> Any:
        kind, offset, size, _ = self._places[name]
        with parsing(f"{self.path}[{name!r}]", WHAT):
            with open(self.path, "rb") as stream:
                stream.seek(offset)
                stored = stream.read(size)
            if kind == _COMPRESSED:
                stored = zlib.decompressobj().decompress(stored, self._budget.left + 1)
            self._budget.spend(len(stored), "a variable")
            parser = Parser(self._order)
            body = memoryview(stored)
            return parser.matrix(parser.element(body, 0).body if kind == 15 else body)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _byte_order(self) -> str:
        with open(self.path, "rb") as stream:
            mark = stream.read(HEADER_BYTES)[126:]
        orders = {b"IM": "<", b"MI": ">"}
        if mark not in orders:
            raise malformed(
                self.path,
                "no MATLAB header",
                WHAT,
                "Save it again in MATLAB with save(..., '-v7').",
            )
        return orders[mark]

    def _scan(self) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
        """Yield name, type, place, size and class of each variable from its head."""
        parser, length = Parser(self._order), self.path.stat().st_size
        offset = HEADER_BYTES
        with open(self.path, "rb") as stream:
            while offset < length:
                stream.seek(offset)
                kind, size = struct.unpack(self._order + "II", stream.read(8))
                if offset + 8 + size > length:
                    raise malformed(self.path, "a variable cut off at the end", WHAT)
                head = stream.read(min(size, _HEAD_BYTES))
                if kind == _COMPRESSED:
                    head = zlib.decompressobj().decompress(head, _HEAD_BYTES)[8:]
                if kind in (_COMPRESSED, _MATRIX):
                    found = parser.head(memoryview(head))
                    if found.name and found.array_class != _OPAQUE:
                        yield found.name, (kind, offset + 8, size, found.array_class)
                offset += 8 + size


class Parser:
    """Reads elements of one byte order; raises ValueError over what cannot be."""

    def __init__(self, order: str):
        self.order = order
        self.n_cells = 0

    def element(self, data: memoryview, offset: int) -> Element:
        """Read the element that begins at an offset."""
        kind, size = struct.unpack_from(self.order + "II", data, offset)
        begin = offset + 8
        end = begin + size + (-size % 8 if kind != _COMPRESSED else 0)
        if kind >> 16:  # up to four bytes are stored within the tag
            kind, size = kind & 0xFFFF, kind >> 16
            begin, end = offset + 4, offset + 8
        if begin + size > min(len(data), max(end, begin)):
            raise ValueError(f"an element of {size} bytes in a place of {len(data)}")
        return Element(kind, data[begin : begin + size], end)

    def head(self, body: memoryview) -> Head:
        """Read class, shape and name of a matrix."""
        flags = self.element(body, 0)
        (bits,) = struct.unpack_from(self.order + "I", flags.body)
        dims = self.element(body, flags.end)
        name = self.element(body, dims.end)
        shape = ()
        if bits & 0xFF != _OPAQUE:  # objects of MATLAB's classes have no shape here
            shape = tuple(np.frombuffer(dims.body, self.order + "i4").tolist())
        if min(shape, default=0) < 0 or len(shape) > 32:
            raise ValueError(f"the shape {shape}")
        text = bytes(name.body).decode("latin1")
        return Head(bits & 0xFF, bool(bits & 0x0800), shape, text, name.end)

    def matrix(self, body: memoryview, depth: int = 0) -> Any:
        """Read a matrix: an array, a text, a list (cell) or a dict (struct)."""
        self.n_cells += 1
        if depth > DEEPEST or self.n_cells > MOST_CELLS:
            raise ValueError(f"more than {DEEPEST} levels or {MOST_CELLS} cells")
        if not len(body):
            return np.zeros((0, 0))
        head = self.head(body)
        if head.array_class == _CELL:
            return list(self._matrices(body, head.end, math.prod(head.shape), depth))
        if head.array_class == _STRUCT:
            return self._struct(body, head, depth)
        if head.array_class == _CHAR:
            return self._text(body, head)
        if _FIRST_NUMBER <= head.array_class <= _LAST_NUMBER and not head.is_complex:
            return self._numbers(body, head)
        return None

    def _matrices(
        self, body: memoryview, offset: int, n_matrices: int, depth: int
    ) -> Iterator[Any]:
        if n_matrices > len(body) // 8:
            raise ValueError(f"{n_matrices} cells in {len(body)} bytes")
        for _ in range(n_matrices):
            element = self.element(body, offset)
            if element.kind != _MATRIX:
                raise ValueError(f"an element of type {element.kind} for a cell")
            yield self.matrix(element.body, depth + 1)
            offset = element.end

    def _struct(self, body: memoryview, head: Head, depth: int) -> Any:
        width = self.element(body, head.end)
        (n_characters,) = struct.unpack_from(self.order + "i", width.body)
        packed = self.element(body, width.end)
        if n_characters < 1:
            raise ValueError(f"names of {n_characters} characters")
        names = [
            bytes(packed.body[i : i + n_characters])
            .partition(b"\0")[0]
            .decode("latin1")
            for i in range(0, len(packed.body), n_characters)
        ]
        n_structs = math.prod(head.shape)
        if not names:
            return {}
        values = self._matrices(body, packed.end, n_structs * len(names), depth)
        flat = list(values)
        structs = [
            dict(zip(names, flat[i : i + len(names)], strict=True))
            for i in range(0, len(flat), len(names))
        ]
        return structs[0] if n_structs == 1 else structs

    def _numbers(self, body: memoryview, head: Head) -> np.ndarray:
        element = self.element(body, head.end)
        if not math.prod(head.shape):
            return np.zeros(head.shape)
        dtype = np.dtype(self.order + _TYPES[element.kind])
        return np.frombuffer(element.body, dtype).reshape(head.shape, order="F")

    def _text(self, body: memoryview, head: Head) -> Any:
        element = self.element(body, head.end)
        encoding = _TEXTS[element.kind]
        if encoding != "utf-8" and encoding != "latin1":
            encoding += "-le" if self.order == "<" else "-be"
        text = bytes(element.body).decode(encoding, "replace")
        n_rows = head.shape[0] if head.shape else 1
        if n_rows <= 1:
            return text
        # Rows of equal length, stored column by column.
        return np.array(
            [text[i::n_rows].rstrip() for i in range(min(n_rows, len(text)))]
        )
