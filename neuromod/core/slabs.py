"""Recordings larger than memory, read a slab of bins at a time.

A DataArray whose values lie in dask chunks, as ``xarray.open_zarr`` returns it, is
never read as a whole: whoever works on `Slabs` sees some thousand bins of one sequence
after another.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

# What a slab holds, in values; as float64 that is 2 MB.
SLAB_VALUES = 250_000


class Slab(NamedTuple):
    """Some bins of one sequence.

    Parameters
    ----------
    sequence
        The number of the sequence.
    bins
        Which of its bins.
    before : (lag, ...)
        The bins before them; fewer than asked for at the start of a sequence.
    values : (time, ...)
        The values; 0 where missing.
    """

    sequence: int
    bins: slice
    before: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Slabs:
    """The values of sequences that lie on disk.

    Parameters
    ----------
    parts : one (time, ...) per sequence
        Arrays whose dimension ``time`` comes first.
    """

    parts: tuple[xr.DataArray, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the values would have, padded to one length."""
        longest = max(len(part) for part in self.parts)
        return (len(self.parts), longest, *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """The type that holds all values."""
        return np.result_type(*(part.dtype for part in self.parts))

    @property
    def n_bins(self) -> int:
        """Most bins of a slab: some chunks, or an even share of one."""
        n_shares = -(-self._n_read // self._n_wanted)
        return min(-(-self._n_read // n_shares), self.shape[1])

    @property
    def _n_wanted(self) -> int:
        width = max(int(np.prod(self.shape[2:])), 1)
        return max(SLAB_VALUES // width, 1)

    @property
    def _n_read(self) -> int:
        """Bins that are read at once: whole chunks, so that none is read twice."""
        chunk = max(part.chunksizes["time"][0] for part in self.parts)
        return max(self._n_wanted // chunk, 1) * chunk

    def read(self, n_before: int = 0) -> Iterator[Slab]:
        """Read all slabs, one after another.

        Parameters
        ----------
        n_before
            How many bins before those of the slab are wanted.
        """
        before = np.zeros((0, *self.shape[2:]), self.dtype)
        for number, bins, raw in self._raw():
            values = raw if raw.dtype.kind != "f" else np.where(np.isnan(raw), 0, raw)
            values = values.astype(self.dtype, copy=False)
            before = before if bins.start else before[:0]
            yield Slab(number, bins, before, values)
            seen = np.concatenate([before, values])
            before = seen[max(len(seen) - n_before, 0) :]

    def observed(self) -> np.ndarray:
        """Return which bins have no NaN: (sequence, time), False past an end."""
        found = np.zeros(self.shape[:2], bool)
        for number, bins, raw in self._raw():
            missing = np.isnan(raw) if raw.dtype.kind == "f" else np.zeros(raw.shape)
            found[number, bins] = ~missing.reshape(len(raw), -1).any(axis=1)
        return found

    def _raw(self) -> Iterator[tuple[int, slice, np.ndarray]]:
        for number, part in enumerate(self.parts):
            for start in range(0, len(part), self._n_read):
                read = np.asarray(part[start : start + self._n_read].data)
                for offset in range(0, len(read), self.n_bins):
                    raw = read[offset : offset + self.n_bins]
                    first = start + offset
                    yield number, slice(first, first + len(raw)), raw

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read everything, for those who need it all."""
        values = np.zeros(self.shape, self.dtype if dtype is None else dtype)
        for slab in self.read():
            values[slab.sequence, slab.bins] = slab.values
        return values


def read(values: Any, lengths: np.ndarray) -> Iterator[Slab]:
    """Read padded values, which in memory are one slab per sequence.

    Parameters
    ----------
    values : (sequence, time, ...)
        What to read.
    lengths : (sequence,)
        Number of bins of each sequence.
    """
    if isinstance(values, Slabs):
        yield from values.read()
        return
    for number, length in enumerate(lengths.tolist()):
        part = np.asarray(values[number])[:length]
        yield Slab(number, slice(0, length), part[:0], part)


def with_neighbours(
    slabs: Iterable[Slab], n_bins: int
) -> Iterator[tuple[Slab, np.ndarray, np.ndarray]]:
    """Give each slab with the bins before and after it, for a moving window.

    Parameters
    ----------
    slabs
        Slabs in the order of time.
    n_bins
        How many bins on either side; fewer at the ends of a sequence.
    """
    for _, group in itertools.groupby(slabs, key=lambda slab: slab.sequence):
        waiting: list[Slab] = []
        before = None
        for slab in itertools.chain(group, [None]):
            waiting += [] if slab is None else [slab]
            while waiting:
                after = np.concatenate([s.values for s in waiting[1:]] or [[]])
                if slab is not None and len(after) < n_bins:
                    break
                now = waiting.pop(0)
                before = now.values[:0] if before is None else before
                yield now, before, after.reshape(-1, *now.values.shape[1:])[:n_bins]
                seen = np.concatenate([before, now.values])
                before = seen[max(len(seen) - n_bins, 0) :]


def is_on_disk(array: xr.DataArray) -> bool:
    """Tell whether the values lie in dask chunks."""
    return array.chunks is not None
