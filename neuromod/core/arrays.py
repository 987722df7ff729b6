"""Arrays as bare numbers, and back, exactly.

A file format is safe to read when it can hold nothing but numbers. So each array is
stored as integers, floats or fixed-width bytes, beside the name of its own type:
truth values as bytes, dates as counts of ticks, complex numbers as pairs, text as
UTF-8. No bit of a float changes. What has no exact counterpart is refused: objects
other than text, records, bfloat16.

Decoding trusts nothing that it reads: every size is compared with the bytes that are
there before an array of it is made. What does not fit raises ``ValueError``.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuromod.core.errors import InvalidInputError, invalid

Entry = Mapping[str, Any]
"""What is noted of an array: its ``dtype``, its ``shape`` and, for text, the
``width`` of one string in bytes."""

_DTYPE = re.compile(
    r"[<>|](b1|[iu][1248]|f[248]|c8|c16|[mM]8(\[[0-9]{0,9}[a-zA-Z]{1,2}\])?"
    r"|[SU][0-9]{1,9}|O)"
)
_TICKS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
_TICKS |= {"ns": "nanoseconds"}


def encode(array: np.ndarray, where: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Return an array as bare numbers, and what `decode` has to know of it.

    Parameters
    ----------
    array
        Any array; objects only if all of them are text.
    where
        What the array is, for the error.

    Raises
    ------
    InvalidInputError
        If the type has no exact counterpart.

    Examples
    --------
    >>> numbers, entry = encode(np.array([True, False]), "mask")
    >>> numbers, entry
    (array([1, 0], dtype=uint8), {'dtype': '|b1', 'shape': [2]})
    >>> decode(numbers.tobytes(), entry)
    array([ True, False])
    """
    array = np.asarray(array, order="C")
    entry = {"dtype": array.dtype.str, "shape": list(array.shape)}
    if array.dtype.kind in "UO":
        numbers = _encode_text(array, where)
        return numbers, {**entry, "width": numbers.dtype.itemsize}
    if not _DTYPE.fullmatch(array.dtype.str):
        raise _unknown_type(array, where)
    dtype, shape = _bare(array.dtype, array.shape)
    return array[..., np.newaxis].view(dtype).reshape(shape), entry


def decode(buffer: bytes | memoryview, entry: Entry, offset: int = 0) -> np.ndarray:
    """Rebuild an array from the bytes of its numbers, which start at ``offset``.

    Raises
    ------
    ValueError
        If the entry is impossible, or the buffer does not hold that much.
    """
    dtype, shape, width = _checked(entry)
    bare, bare_shape = _bare(dtype, shape, width)
    count = math.prod(bare_shape)
    if count == 0:
        return np.empty(shape, dtype)
    if not 0 <= offset <= len(buffer) - count * bare.itemsize:
        raise ValueError(f"{count} entries at byte {offset} reach beyond the end")
    numbers = np.frombuffer(buffer, bare, count, offset).reshape(bare_shape)
    if dtype.kind in "UO":
        return _decode_text(numbers).astype(dtype)
    if dtype.kind == "b":
        return numbers.astype(bool)
    return numbers.reshape(*shape, -1).view(dtype).reshape(shape).copy()


def n_bytes(entry: Entry) -> int:
    """Return how many bytes the numbers of an array take."""
    dtype, shape = _bare(*_checked(entry))
    return math.prod(shape) * dtype.itemsize


def netcdf_attributes(entry: Entry) -> dict[str, Any]:
    """Return what tells other readers of netCDF what the numbers mean."""
    dtype = np.dtype(entry["dtype"])
    if dtype.kind == "b":
        return {"dtype": "bool"}
    if dtype.kind in "UO":
        return {"_Encoding": "utf-8"}
    if dtype.kind in "mM" and np.datetime_data(dtype)[0] in _TICKS:
        unit, missing = np.datetime_data(dtype)[0], np.iinfo("i8").min
        since = {"units": f"{_TICKS[unit]} since 1970-01-01"}
        length = {"units": _TICKS[unit], "dtype": f"timedelta64[{unit}]"}
        return {**(since if dtype.kind == "M" else length), "_FillValue": missing}
    return {}


def _bare(
    dtype: np.dtype, shape: tuple[int, ...], width: int = 0
) -> tuple[np.dtype, tuple[int, ...]]:
    """Return the type and shape of the numbers that stand for an array."""
    order = dtype.byteorder
    match dtype.kind:
        case "b":
            return np.dtype("u1"), shape
        case "m" | "M":
            return np.dtype("i8").newbyteorder(order), shape
        case "c":
            real = np.dtype(f"f{dtype.itemsize // 2}")
            return real.newbyteorder(order), (*shape, 2)
        case "f" if dtype.itemsize == 2:  # netCDF has no half precision
            return np.dtype("u2").newbyteorder(order), shape
        case "U" | "O":
            return np.dtype(f"S{width}"), shape
        case _:
            return dtype, shape


def _checked(entry: Entry) -> tuple[np.dtype, tuple[int, ...], int]:
    text, shape, width = entry["dtype"], entry["shape"], entry.get("width", 0)
    if not _DTYPE.fullmatch(text):
        raise ValueError(f"unknown type {text!r}")
    if not all(type(n) is int and 0 <= n < 2**62 for n in (width, *shape)):
        raise ValueError(f"impossible shape {shape!r} or width {width!r}")
    dtype = np.dtype(text)
    # A character takes at least one byte of UTF-8: text cannot outgrow its bytes.
    n_characters = dtype.itemsize // 4 if dtype.kind == "U" else 0
    if dtype.kind in "UO" and width < max(1, n_characters):
        raise ValueError(f"text of type {text} in {width} bytes")
    return dtype, tuple(shape), width


def _encode_text(array: np.ndarray, where: str) -> np.ndarray:
    strings = array if array.dtype.kind == "U" else _strings(array, where)
    numbers = np.asarray(np.char.encode(strings, "utf-8", "surrogatepass"))
    width = max(numbers.dtype.itemsize, strings.dtype.itemsize // 4, 1)
    return numbers.astype(f"S{width}")


def _strings(array: np.ndarray, where: str) -> np.ndarray:
    for value in array.flat:
        if not isinstance(value, str):
            raise invalid(
                where,
                f"an array of objects with {value!r} among them",
                "numbers, truth values, dates or text",
                "Convert it, for instance with .astype(float) or .astype(str).",
            )
    strings = array.astype(str)
    if not np.array_equal(strings, array):
        raise invalid(where, "text that ends in a null character", "text without it")
    return strings


def _decode_text(numbers: np.ndarray) -> np.ndarray:
    decoded = np.char.decode(numbers, "utf-8", "surrogatepass")
    return np.asarray(decoded).reshape(numbers.shape)


def _unknown_type(array: np.ndarray, where: str) -> InvalidInputError:
    return invalid(
        where,
        f"an array of type {array.dtype}",
        "integers, floats of 16 to 64 bits, complex numbers, truth values, dates, text",
        "Convert it, for instance with .astype('float32').",
    )
