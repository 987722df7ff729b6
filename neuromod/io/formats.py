"""Which format a path has: by its suffix, else by the bytes with which it begins."""

from pathlib import Path
from typing import NamedTuple

from neuromod.core.errors import DataFormatError, did_you_mean, invalid
from neuromod.io import phy
from neuromod.io.files import existing_file, parsing
from neuromod.io.hdf5 import MAGIC


class Format(NamedTuple):
    """One kind of file and how it is known."""

    name: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...] = ()


NWB = Format("NWB", (".nwb",), (MAGIC,))
MATLAB = Format("MATLAB", (".mat",), (b"MATLAB 5.0", b"MATLAB 7.3"))
ARCHIVE = Format("NumPy archive", (".npz",), (b"PK\x03\x04",))
ARRAY = Format("NumPy array", (".npy",), (b"\x93NUMPY",))
TABLE = Format("table", (".csv", ".tsv", ".txt", ".parquet", ".pq"), (b"PAR1",))
PHY = Format("Phy or Kilosort folder", ())
FORMATS = (NWB, MATLAB, ARCHIVE, ARRAY, TABLE, PHY)
SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)


def format_of(path: Path) -> Format:
    """Return the format of a file or folder that exists.

    Raises
    ------
    DataFormatError
        If the file is empty, or neither suffix nor content are known.
    InvalidInputError
        If the path is a folder that no spike sorter wrote.
    """
    if path.is_dir():
        if phy.is_phy(path):
            return PHY
        raise _wrong_folder(path)
    suffix = existing_file(path).suffix.lower()
    for known in FORMATS:
        if suffix in known.suffixes:
            return known
    with parsing(path, "a readable file"), open(path, "rb") as stream:
        head = stream.read(16)
    for known in FORMATS:
        if head.startswith(known.magic):
            return known
    raise DataFormatError(
        f"{path}: got the unknown suffix {suffix!r}, expected one of "
        f"{', '.join(SUFFIXES)}, or a folder of phy or Kilosort. "
        + did_you_mean(suffix, SUFFIXES)
    )


def _wrong_folder(folder: Path) -> Exception:
    with parsing(folder, "a folder"):
        entries = sorted(folder.iterdir())[:1000]
    readable = [
        entry
        for entry in entries
        if entry.suffix.lower() in SUFFIXES or (entry.is_dir() and phy.is_phy(entry))
    ]
    remedy = "Pass the path of the recording itself."
    if readable:
        names = ", ".join(repr(str(entry)) for entry in readable[:5])
        remedy = f"In it there is {names}: pass that path."
    return invalid(
        "path",
        f"the folder {str(folder)!r} without {phy.TIMES}",
        "a file, or a folder as phy or Kilosort write it",
        remedy,
    )
