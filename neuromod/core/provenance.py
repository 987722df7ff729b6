"""Where a result comes from: what ran, on what, with which random seed, for how long.

A verb starts the clock when it is called and asks for the record when it is done::

    started = start()
    ...
    Result(..., provenance=provenance(seed=seed, started=started, inputs={...}))

The record holds plain values only and nothing of the user: no host, no folder.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from neuromod.core import arrays
from neuromod.core.errors import invalid
from neuromod.core.info import info
from neuromod.core.precision import Precision, dtype
from neuromod.core.slabs import Slabs

Input = Any
"""An array, a DataArray, Dataset or DataTree, a path, or a list or dict of these."""


class Start(NamedTuple):
    """The clocks at the moment when a computation started."""

    moment: datetime
    wall_seconds: float
    cpu_seconds: float


def start() -> Start:
    """Read the clocks."""
    return Start(datetime.now(UTC), time.perf_counter(), time.process_time())


def provenance(
    *,
    seed: int | Sequence[int] | None,
    precision: Precision,
    started: Start,
    inputs: Mapping[str, Input] | None = None,
) -> dict[str, Any]:
    """Record where a result comes from.

    Parameters
    ----------
    seed
        The random seed, or the seeds of a fit over many.
    precision
        "float32" or "float64".
    started
        The clocks at the start, from `start`.
    inputs
        What was fitted, by the names of the arguments; `checksum` takes it.

    Returns
    -------
    dict
        ``versions``, ``seed``, ``precision``, ``devices``, ``xla`` (state and value of
        the option that neuromod sets, all flags), ``machine``, ``started`` (UTC),
        ``wall_seconds``, ``cpu_seconds`` (of the whole process) and ``inputs`` (name:
        SHA-256).

    Examples
    --------
    >>> record = provenance(seed=0, precision="float32", started=start())
    >>> record["seed"], record["precision"], record["inputs"]
    (0, 'float32', {})
    """
    running = info()
    return {
        "versions": running.versions,
        "seed": np.asarray(seed).tolist(),
        "precision": str(dtype(precision)),
        "devices": running.devices,
        "xla": running.xla,
        "machine": running.machine,
        "started": started.moment.isoformat(timespec="seconds"),
        "wall_seconds": time.perf_counter() - started.wall_seconds,
        "cpu_seconds": time.process_time() - started.cpu_seconds,
        "inputs": {name: checksum(value) for name, value in (inputs or {}).items()},
    }


def checksum(value: Input) -> str:
    """Return the SHA-256 (hexadecimal) of an array, labelled or not, or of a file.

    It depends on values, types, shapes, names and labels, not on attributes, memory
    layout or byte order.

    Parameters
    ----------
    value
        An array, a DataArray, Dataset or DataTree, a path (the content of the file),
        or a list, tuple or dict of these.

    Raises
    ------
    InvalidInputError
        If an array holds objects.

    Examples
    --------
    >>> checksum(np.arange(3)) == checksum(np.arange(3.0))
    False
    """
    digest = hashlib.sha256()
    for part in _parts(value):
        long = part if isinstance(part, _Long) else _Long(len(part), [part])
        digest.update(long.n_bytes.to_bytes(8, "little"))
        for piece in long.pieces:
            digest.update(piece)
    return digest.hexdigest()


class _Long(NamedTuple):
    """Bytes that are not held at once."""

    n_bytes: int
    pieces: Iterable[bytes]


def _parts(value: Input) -> Iterator[bytes | _Long]:
    """Give what makes up a value, in an order that does not depend on chance."""
    match value:
        case str() | os.PathLike():
            yield _file_digest(Path(value))
        case xr.DataTree():
            for path, node in sorted(value.subtree_with_keys):
                yield path.encode()
                yield from _parts(node.to_dataset(inherit=False))
        case xr.Dataset():
            yield from _labelled_parts(value.variables)
        case xr.DataArray():
            yield from _labelled_parts({"": value.variable, **value.coords.variables})
        case Slabs():
            yield from _slab_parts(value)
        case Mapping():
            for key in sorted(value, key=str):
                yield str(key).encode()
                yield from _parts(value[key])
        case list() | tuple():
            yield str(len(value)).encode()
            for item in value:
                yield from _parts(item)
        case _:
            yield from _array_parts(np.asarray(value))


def _labelled_parts(
    variables: Mapping[Any, xr.Variable],
) -> Iterator[bytes | _Long]:
    for name in sorted(variables, key=str):
        yield f"{name}{variables[name].dims}".encode()
        yield from _array_parts(variables[name].values)


def _slab_parts(slabs: Slabs) -> Iterator[bytes | _Long]:
    """Give what `_array_parts` gives of the same values in memory."""
    little = slabs.dtype.newbyteorder("<")
    yield f"{little.kind}{little.itemsize}{slabs.shape}".encode()
    yield _Long(int(np.prod(slabs.shape)) * little.itemsize, _padded(slabs, little))


def _padded(slabs: Slabs, dtype: np.dtype) -> Iterator[bytes]:
    for slab in slabs.read():
        yield slab.values.astype(dtype, order="C").tobytes()
        length = len(slabs.parts[slab.sequence])
        if slab.bins.stop == length:
            yield np.zeros((slabs.shape[1] - length, *slabs.shape[2:]), dtype).tobytes()


def _array_parts(array: np.ndarray) -> Iterator[bytes]:
    if array.dtype.kind in "UO":
        numbers, _ = arrays.encode(array, "inputs")
        array = np.array(numbers.tolist(), dtype="S")  # as wide as the text needs
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    numbers, _ = arrays.encode(little, "inputs")
    yield f"{array.dtype.kind}{array.dtype.itemsize}{array.shape}".encode()
    yield numbers.tobytes()


def _file_digest(path: Path) -> bytes:
    if not path.is_file():
        raise invalid("inputs", repr(str(path)), "the path of a file that exists")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
