"""HDF5 files behind a guard: NWB and MATLAB 7.3 are read through this.

HDF5 lets a file point to other files, and lets a dataset announce any shape without
storing it. A recording needs neither: links and data outside the file are refused,
and every dataset is paid for from the file's `Budget` before it is read. The name of
a node is never asked for: HDF5 finds it by a search, which in a damaged file can turn
in a circle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromod.io.files import Budget, malformed, parsing

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"
NODE_BYTES = 4096


def is_hdf5(path: Path) -> bool:
    """Tell whether the HDF5 signature stands at one of its places in the file."""
    with open(path, "rb") as stream:
        for offset in (0, 512, 1024, 2048):
            stream.seek(offset)
            if stream.read(len(MAGIC)) == MAGIC:
                return True
    return False


class Hdf5:
    """An open file of which only what lies in it can be read."""

    def __init__(self, root: h5py.File, path: Path):
        self.root = root
        self.path = path
        self._budget = Budget(path)

    def child(self, parent: Any, name: str) -> Any:
        """Return what is linked below a group, or None; never from another file."""
        import h5py

        node = parent
        for part in name.split("/"):
            if not isinstance(node, h5py.Group) or part not in node:
                return None
            link = node.get(part, getlink=True)
            hard = isinstance(link, h5py.HardLink)
            node = node[part] if hard else self._target(node, link)
        self._budget.spend(NODE_BYTES, "a part")
        return node

    def children(self, parent: Any) -> Iterator[tuple[str, Any]]:
        """Yield the names below a group and what is linked there."""
        for name in parent:
            node = self.child(parent, name)
            if node is not None:
                yield str(name), node

    def read(self, dataset: Any, what: str) -> np.ndarray:
        """Read a dataset of numbers, text or references."""
        import h5py

        if not isinstance(dataset, h5py.Dataset):
            raise malformed(self.path, f"no array at {what}", "a dataset")
        if dataset.external or dataset.is_virtual:
            raise self._elsewhere(f"data of {what}")
        if dataset.shape is None:
            return np.zeros(0)
        n_bytes = math.prod(dataset.shape) * dataset.dtype.itemsize
        self._budget.spend(NODE_BYTES + n_bytes, what)
        if h5py.check_string_dtype(dataset.dtype) is not None:
            return np.asarray(dataset.asstr(errors="replace")[()])
        if h5py.check_vlen_dtype(dataset.dtype) is not None:
            raise malformed(self.path, f"ragged values in {what}", "numbers or text")
        return np.asarray(dataset[()])

    def dereference(self, reference: Any) -> Any:
        """Return what an object reference in this file points to."""
        self._budget.spend(NODE_BYTES, "a reference")
        return self.root[reference]

    def _target(self, group: Any, link: Any) -> Any:
        """Follow a soft link to something that is hard-linked in this file."""
        import h5py

        if not isinstance(link, h5py.SoftLink):
            raise self._elsewhere("a link")
        node: Any = self.root if link.path.startswith("/") else group
        for part in link.path.strip("/").split("/"):
            following = node.get(part, getlink=True)
            if not isinstance(following, h5py.HardLink):
                raise self._elsewhere(f"a link to {link.path}")
            node = node[part]
        return node

    def _elsewhere(self, what: str) -> Exception:
        return malformed(
            self.path,
            f"{what} that leads to another file or link",
            "a file that holds its own data",
            "Copy it into one file with h5repack, or export it again.",
        )


@contextmanager
def open_hdf5(path: Path, what: str) -> Iterator[Hdf5]:
    """Open a file for reading; every complaint of HDF5 is a `DataFormatError`."""
    import h5py

    with parsing(path, what):
        if not is_hdf5(path):
            raise malformed(path, "no HDF5 signature", what, "Is the suffix right?")
        with h5py.File(path, "r") as root:
            yield Hdf5(root, path)
