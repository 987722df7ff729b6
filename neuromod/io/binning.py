"""From spike times to counts in bins, on the clock of the recording.

A bin is a whole (or rational) number of clock ticks, and the bin of a spike is an
integer division: 0.02 s at 30 kHz is 600 ticks, and a spike on tick 1800 belongs to
the fourth bin, always. In floating point 0.06 // 0.02 is 2, not 3, and one spike in
600 is such a case. Bins are half-open, [start, stop); the last incomplete bin is
dropped, and the attributes of the result say how much was.

Where the source states when the recording began and ended, bins begin there. Where
it does not, the edges are whole multiples of the bin size on the source's clock and
run from the bin of the first spike to that of the last: two probes of one session,
read from two files, then share their bins. Where the source states several observed
intervals, each is binned on its own, as a session: a pause is no silence.

Counts need one pass over the spikes and no memory beside the result.
"""

import math
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_positive
from neuromod.core.errors import choice, invalid
from neuromod.io.counts import TYPES, described
from neuromod.io.objects import trains_from
from neuromod.io.reading import Reading
from neuromod.io.spike_trains import SpikeTrains
from neuromod.io.stretches import Stretch, chosen, in_words, recorded

MAXIMUM_CELLS = 2**33
_CHUNK = 2**20
_LARGEST_DENOMINATOR = 10**4


class Grid(NamedTuple):
    """The bins of one stretch, in ticks of the clock (which may be fractions)."""

    label: str
    first: Fraction
    size: Fraction
    n_bins: int
    remainder: Fraction

    @property
    def stop(self) -> Fraction:
        """The right edge of the last bin."""
        return self.first + self.n_bins * self.size

    def centres(self, rate: float) -> np.ndarray:
        """Return the centre of each bin (s)."""
        halves = 2 * np.arange(self.n_bins) + 1
        return _seconds(self.first, rate) + halves * (float(self.size) / (2 * rate))

    def bins(self, ticks: np.ndarray) -> np.ndarray:
        """Return the bin of each tick; exact, whatever the fractions."""
        origin = math.floor(self.first)
        common = math.lcm(self.first.denominator, self.size.denominator)
        size = int(self.size * common)
        elapsed = ticks - origin
        if common == 1:
            return elapsed // size
        # elapsed * common could overflow: take whole multiples of size out first.
        multiples, rest = np.divmod(elapsed, size)
        offset = int((self.first - origin) * common)
        return multiples * common + (rest * common - offset) // size


def bin_spikes(
    spike_times: object,
    bin_size: float,
    *,
    start: float | None = None,
    stop: float | None = None,
    epochs: object = None,
    boundary: Literal["session", "trial"] = "session",
    sample_rate: float | None = None,
    time_unit: Literal["s", "ms", "us"] | None = None,
    sort: bool = False,
) -> xr.DataArray:
    """Count the spikes of each unit in bins of equal size.

    Parameters
    ----------
    spike_times
        `SpikeTrains`; or the times of each unit in a dict by label or in a list; or
        any object that `read_spike_trains` understands, such as a pynapple TsGroup.
    bin_size
        Width of a bin (s).
    start, stop
        Limits (s) within which to count; those of the recording by default.
    epochs
        Stretches to bin one by one, each from its own start: a list of (start, stop)
        in s, a dict of them by label, or an object with ``start`` and ``end`` such as
        a pynapple IntervalSet. The result is one long array with their labels in a
        coordinate, at which models restart.

    Other Parameters
    ----------------
    boundary
        Name of that coordinate: "session" or "trial".
    sample_rate, time_unit, sort
        What the times mean, as in `read_spikes`.

    Returns
    -------
    xarray.DataArray (time, neuron)
        Counts, in the smallest of uint8, uint16 and int32 that holds them. ``time``
        is the centre of each bin (s) on the clock of the recording. The attributes
        say what was done: ``bin_size`` (s), ``start`` and ``stop`` of the bins (s),
        ``clock_rate`` (Hz), ``limits`` (where they come from), ``n_spikes_outside``
        (spikes of these units in no bin), ``dropped_duration`` (s in no full bin).

    Raises
    ------
    InvalidInputError
        If ``bin_size`` is not positive, longer than the recording or shorter than a
        tick of its clock; if epochs overlap or leave the recording; if the times are
        bad.

    Examples
    --------
    >>> counts = bin_spikes({"a": [0.01, 0.06], "b": []}, 0.02, start=0, stop=0.1)
    >>> counts.sel(neuron="a").values
    array([1, 0, 0, 1, 0], dtype=uint8)
    >>> counts.time.values
    array([0.01, 0.03, 0.05, 0.07, 0.09])
    """
    choice("boundary", boundary, ("session", "trial"))
    require_positive(bin_size, "bin_size", "s")
    reading = Reading(sample_rate, time_unit, start, stop, sort)
    trains = trains_from(spike_times, reading)
    size = _ticks_per_bin(float(bin_size), trains.rate)
    stretches = chosen(epochs, trains) if epochs is not None else recorded(trains)
    grids = [_grid(stretch, size, trains) for stretch in stretches]
    full = [grid for grid in grids if grid.n_bins > 0]
    if not full or (epochs is not None and len(full) < len(grids)):
        raise _too_long(min(grids, key=lambda grid: grid.n_bins), trains.rate)
    counts = _count(trains, full)
    array = xr.DataArray(
        counts,
        dims=("time", "neuron"),
        coords=_coords(trains, full, boundary if epochs is not None else None),
        name="spikes",
    )
    in_bins = int(counts.sum(dtype=np.int64))
    dropped = sum((grid.remainder for grid in grids), Fraction(0))
    return described(array, _seconds(size, trains.rate), trains.source).assign_attrs(
        start=_seconds(full[0].first, trains.rate),
        stop=_seconds(full[-1].stop, trains.rate),
        limits=in_words(trains) if epochs is None else "epochs",
        clock_rate=trains.rate,
        n_spikes_outside=int(trains.n_outside.sum()) + len(trains.ticks) - in_bins,
        dropped_duration=_seconds(dropped, trains.rate),
        **trains.notes,
    )


def _seconds(ticks: Fraction, rate: float) -> float:
    return float(ticks / Fraction(rate))


def _ticks_per_bin(bin_size: float, rate: float) -> Fraction:
    ticks = Fraction(bin_size * rate).limit_denominator(_LARGEST_DENOMINATOR)
    if ticks < 1:
        raise invalid(
            "bin_size", f"{bin_size} s", f"at least a tick of the clock, {1 / rate:g} s"
        )
    return ticks


def _grid(stretch: Stretch, size: Fraction, trains: SpikeTrains) -> Grid:
    """Lay bins over a stretch; where a limit is unknown, the spikes set it."""
    rate, ticks = trains.rate, trains.ticks
    if not len(ticks) and (stretch.start is None or stretch.stop is None):
        raise invalid(
            "spike_times",
            "no spike and no limits of the recording",
            "limits (s) within which there was silence",
            "Say start= and stop=.",
        )
    if stretch.start is None:
        first = Fraction(int(ticks[0]) // size) * size
    else:
        first = Fraction(round(stretch.start * rate))
    if stretch.stop is None:
        n_bins = int((int(ticks[-1]) - first) // size) + 1
        return Grid(stretch.label, first, size, n_bins, Fraction(0))
    length = round(stretch.stop * rate) - first
    n_bins = max(int(length // size), 0)
    return Grid(stretch.label, first, size, n_bins, length - n_bins * size)


def _too_long(grid: Grid, rate: float):
    return invalid(
        "bin_size",
        f"{_seconds(grid.size, rate):g} s for a stretch of "
        f"{_seconds(grid.remainder, rate):.6g} s",
        "bins no longer than each stretch of the recording",
        "Take smaller bins. Is bin_size in seconds?",
    )


def _count(trains: SpikeTrains, grids: list[Grid]) -> np.ndarray:
    """Count in the smallest type; a type that is too small shows in the sum."""
    shape = (sum(grid.n_bins for grid in grids), trains.n_neurons)
    if math.prod(shape) > MAXIMUM_CELLS:
        raise invalid(
            "bin_size",
            f"{float(grids[0].size) / trains.rate:g} s, which makes {shape[0]} bins of "
            f"{shape[1]} units",
            f"at most {MAXIMUM_CELLS} cells",
            "Take larger bins, or read parts of the recording with start= and stop=.",
        )
    for dtype in TYPES:
        counts = np.zeros(shape, dtype)
        if _fill(counts, trains, grids) == counts.sum(dtype=np.int64):
            return counts
    raise invalid("spike_times", "more than 2**31 spikes in a bin", "fewer")


def _fill(counts: np.ndarray, trains: SpikeTrains, grids: list[Grid]) -> int:
    """Count every spike once; return how many fell into bins."""
    cells, row, n_in_bins = counts.reshape(-1), 0, 0
    one = counts.dtype.type(1)  # of the same type: ten times as fast as a plain 1
    for grid in grids:
        edges = [math.ceil(grid.first), math.ceil(grid.stop)]
        low, high = np.searchsorted(trains.ticks, edges)
        for begin in range(low, high, _CHUNK):
            chunk = slice(begin, min(begin + _CHUNK, high))
            rows = grid.bins(trains.ticks[chunk]) + row
            np.add.at(cells, rows * trains.n_neurons + trains.neurons[chunk], one)
        row += grid.n_bins
        n_in_bins += int(high - low)
    return n_in_bins


def _coords(trains: SpikeTrains, grids: list[Grid], boundary: str | None) -> dict:
    time = np.concatenate([grid.centres(trains.rate) for grid in grids])
    coords = {"time": ("time", time), "neuron": ("neuron", trains.labels)}
    if boundary is not None or len(grids) > 1:
        labels = np.array([grid.label for grid in grids])
        repeats = [grid.n_bins for grid in grids]
        coords[boundary or "session"] = ("time", np.repeat(labels, repeats))
    annotations = {
        name: ("neuron", values)
        for name, values in trains.annotations.items()
        if values.ndim == 1 and name not in coords
    }
    return annotations | coords
