"""A sealed file: a header that vouches for every bit of what follows.

The first 512 bytes name the version, the lengths of the two parts that follow and
the SHA-256 of both. For the same content there is only one header, byte for byte, so
that a change of any single bit of a file is found, wherever it is: in the parts by
the checksum, in the header because it is no longer what it would have to be.

The seal guards against damage, not against whoever made the file: anyone can compute
a checksum. To HDF5 the header is a user block: a file whose first part is HDF5 opens
by its path in programs that know nothing of the header.
"""

import hashlib
import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO

from neuromod.core.atomic import write_atomically
from neuromod.core.errors import ChecksumError, DataFormatError, invalid

SCHEMA = 1
HEADER_BYTES = 512

_MAGIC = b"neuromod result, schema "
_HEADER = """neuromod result, schema {schema}
{netcdf} bytes of netCDF, {description} bytes of description
SHA-256 {digest}
Open it with neuromod.load(path), or the arrays alone with
xarray.open_datatree(path, engine="h5netcdf").
"""
_FIELDS = re.compile(
    rb"neuromod result, schema (\d{1,9})\n"
    rb"(\d{1,18}) bytes of netCDF, (\d{1,18}) bytes of description\n"
    rb"SHA-256 ([0-9a-f]{64})\n.*",
    re.DOTALL,
)


def write_sealed(
    path: str | os.PathLike[str], netcdf: memoryview, description: bytes
) -> Path:
    """Write the two parts behind their header, atomically.

    Raises
    ------
    InvalidInputError
        If ``path`` is a folder, or its folder does not exist.
    """
    digest = hashlib.sha256(netcdf)
    digest.update(description)
    header = _header(SCHEMA, len(netcdf), len(description), digest.hexdigest())

    def content(file: BinaryIO) -> None:
        for part in (header, netcdf, description):
            file.write(part)

    return write_atomically(path, content)


def read_sealed(path: str | os.PathLike[str]) -> tuple[memoryview, memoryview]:
    """Return the netCDF and the description of an undamaged file.

    Raises
    ------
    InvalidInputError
        If there is no such file.
    ChecksumError
        If it is damaged.
    DataFormatError
        If it is another kind of file, or of another version.
    """
    name = os.fspath(path)
    if not os.path.isfile(path):
        remedy = "" if os.path.exists(path) else _nearest(Path(name))
        raise invalid("path", f"{name!r}", "a file that exists", remedy)
    with open(path, "rb") as file:
        netcdf, description, digest = _parse_header(file.read(HEADER_BYTES), name)
        missing = HEADER_BYTES + netcdf + description - os.fstat(file.fileno()).st_size
        if missing:
            what = "shorter" if missing > 0 else "longer"
            raise _damaged(name, f"it is {abs(missing)} bytes {what} than it should be")
        body = file.read()
    if hashlib.sha256(body).hexdigest() != digest:
        raise _damaged(name, "its content does not match its checksum")
    return memoryview(body)[:netcdf], memoryview(body)[netcdf:]


def _nearest(missing: Path) -> str:
    """Name what stands in the folder of a missing file under a similar name."""
    try:
        beside = os.listdir(missing.parent)
    except OSError:
        return f"The folder {str(missing.parent)!r} cannot be read."
    nearest = get_close_matches(missing.name, beside, n=1)
    return f"Did you mean {str(missing.parent / nearest[0])!r}?" if nearest else ""


def _header(schema: int, netcdf: int, description: int, digest: str) -> bytes:
    text = _HEADER.format(
        schema=schema, netcdf=netcdf, description=description, digest=digest
    )
    return text.encode("ascii").ljust(HEADER_BYTES, b"\n")


def _parse_header(header: bytes, name: str) -> tuple[int, int, str]:
    if not header.startswith(_MAGIC):
        raise _foreign(header, name)
    match = _FIELDS.fullmatch(header)
    if match is None:
        raise _damaged(name, "its header is incomplete")
    schema, netcdf, description = map(int, match.group(1, 2, 3))
    digest = match[4].decode()
    if header != _header(schema, netcdf, description, digest):
        raise _damaged(name, "its header was changed")
    if schema != SCHEMA:
        raise DataFormatError(
            f"{name}: written in schema {schema}, while this version of neuromod reads "
            f"schema {SCHEMA}. Update it: pip install --upgrade neuromod."
        )
    return netcdf, description, digest


def _damaged(name: str, how: str) -> ChecksumError:
    return ChecksumError(
        f"{name}: the file is damaged: {how}. Restore it from a copy, or fit again."
    )


def _foreign(header: bytes, name: str) -> DataFormatError:
    if _MAGIC.startswith(header):
        return _damaged(name, "it ends within its header")
    remedy = "Give a file that Result.save has written."
    if header.startswith((b"\x89HDF\r\n\x1a\n", b"CDF")):
        remedy = "It is netCDF or HDF5: open it with xarray.open_datatree."
    return DataFormatError(f"{name}: this is no result of neuromod. {remedy}")
