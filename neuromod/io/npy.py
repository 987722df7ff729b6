"""NumPy's own files, read without trust: ``.npy`` arrays and ``.npz`` archives.

``np.load`` allocates what a header declares before it looks whether the file holds
it. Here the declared shape and the stored bytes must agree first. Pickled objects
are never loaded.
"""

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from neuromod.io.files import Budget, malformed, parsing

_HEAD_BYTES = 16384
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(path: Path) -> np.ndarray:
    """Read one ``.npy`` file."""
    with parsing(path, "a NumPy array file (.npy)"), open(path, "rb") as stream:
        return _read(stream, path.stat().st_size, str(path), Budget(path))


class Archive(Mapping[str, np.ndarray]):
    """The arrays of an ``.npz`` file by name, each read when it is asked for."""

    def __init__(self, path: Path):
        self.path = path
        self._budget = Budget(path)
        with parsing(path, "a NumPy archive (.npz)"), zipfile.ZipFile(path) as archive:
            self._members = {
                member.filename.removesuffix(".npy"): member
                for member in archive.infolist()
                if member.filename.endswith(".npy")
            }

    def __getitem__(self, name: str) -> np.ndarray:
        member = self._members[name]
        what = f"{self.path}[{name!r}]"
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise malformed(what, "an unusual compression", "an archive by numpy.savez")
        with parsing(what, "an array in a NumPy archive"):
            with zipfile.ZipFile(self.path) as archive, archive.open(member) as stream:
                return _read(stream, member.file_size, what, self._budget)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _read(stream: IO[bytes], stored: int, what: str, budget: Budget) -> np.ndarray:
    # Only the head is handed to NumPy: a header may declare its own length, too.
    head = io.BytesIO(stream.read(_HEAD_BYTES))
    version = np.lib.format.read_magic(head)
    if version not in _HEADERS:
        raise malformed(what, f"version {version} of the npy format", "version 1 or 2")
    shape, fortran_order, dtype = _HEADERS[version](head)
    if dtype.hasobject:
        raise malformed(
            what,
            "pickled Python objects",
            "plain numbers or strings",
            "A pickle can run code and is never loaded. Save the spike times as one "
            "flat array `spike_times` with an array `spike_units` beside it.",
        )
    n_bytes = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or n_bytes != stored - head.tell():
        raise malformed(
            what,
            f"{stored - head.tell()} bytes of data",
            f"{n_bytes} bytes for the shape {shape} of {dtype}",
            "The file is damaged or was not written to the end.",
        )
    budget.spend(n_bytes, "an array")
    stream.seek(head.tell())
    flat = np.frombuffer(stream.read(n_bytes), dtype=dtype)
    return flat.reshape(shape, order="F" if fortran_order else "C")
