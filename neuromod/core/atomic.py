"""Files that are either whole or not there, whatever happens while they are written.

A file is written under a temporary name beside its destination, forced to the disk
and only then renamed. A reader therefore sees the old file or the new one and never
a part; of two writers the later one wins. A writer that is killed leaves its
temporary file behind. It held a lock on that file, and the lock died with it: so the
next save can tell such leftovers, which it removes, from the files that another
process is still writing, which it leaves alone.
"""

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from neuromod.core.errors import invalid

try:
    import fcntl
except ImportError:  # Windows, where an open file can be neither removed nor renamed
    fcntl = None


def write_atomically(
    path: str | os.PathLike[str],
    content: bytes | Callable[[BinaryIO], object],
) -> Path:
    """Write a file that other processes see whole or not at all.

    Parameters
    ----------
    path
        The file to write, in a folder that exists. A file that is already there is
        replaced.
    content
        The bytes of the file, or a function that writes them into the open binary
        file it is given.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    InvalidInputError
        If ``path`` is a folder, or its folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "note.txt", b"whole").read_bytes()
    b'whole'
    """
    path = _destination(path)
    _remove_leftovers(path)
    file = _create_locked(path)
    try:
        with file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            # Renamed while it is locked: nobody can take it for a leftover.
            os.replace(file.name, path)
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)
    return path


def _destination(path: str | os.PathLike[str]) -> Path:
    destination = Path(path)
    if destination.is_dir():
        raise invalid("path", f"the folder {str(path)!r}", "a file", "Add a file name.")
    if not destination.parent.is_dir():
        raise invalid(
            "path",
            repr(str(path)),
            "a file in a folder that exists",
            f"Create it first: pathlib.Path({str(destination.parent)!r})"
            ".mkdir(parents=True).",
        )
    return destination


def _create_locked(path: Path) -> BinaryIO:
    while True:
        name = f".{path.name}.{secrets.token_hex(8)}.tmp"
        file = open(path.with_name(name), "xb")
        _lock(file, wait=True)
        # Another save may have taken it for a leftover before it was locked.
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def _remove_leftovers(path: Path) -> None:
    temporary = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{16}\.tmp")
    for name in os.listdir(path.parent):
        if temporary.fullmatch(name):
            _remove_if_abandoned(path.with_name(name))


def _remove_if_abandoned(leftover: Path) -> None:
    try:
        if fcntl is None:
            leftover.unlink()
            return
        with open(leftover, "rb") as file:
            if _lock(file, wait=False):
                leftover.unlink()
    except OSError:
        return  # gone already, still being written, or not ours to remove


def _lock(file: BinaryIO, wait: bool) -> bool:
    """Lock a file until it is closed; False if another process holds the lock."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # held, or a file system without locks: then leave it alone
        return False
    return True


def _flush_folder(folder: Path) -> None:
    """Force the renaming itself to the disk; Windows cannot and need not."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
