"""One call for every source of spikes.

A file is known by its suffix or its content, an object by what it offers; each
format's module reads it into `SpikeTrains` (or into counts, if that is all there
is). What comes after is the same for all of them: choose the units, set the limits,
bin, and say in the attributes what was done.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from neuromod.core.errors import InvalidInputError, invalid
from neuromod.io import formats, nwb, objects, phy, schemas, tables
from neuromod.io.binning import bin_spikes
from neuromod.io.counts import rebinned, restated
from neuromod.io.files import existing
from neuromod.io.matlab import read_mat
from neuromod.io.npy import Archive, read_npy
from neuromod.io.reading import Reading, named, positions, several
from neuromod.io.schemas import Spikes
from neuromod.io.spike_trains import SpikeTrains

Labels = str | int | float | Iterable[str | int | float]


def read_spikes(
    source: object,
    bin_size: float | None = None,
    *,
    include: Labels | None = None,
    exclude: Labels | None = None,
    quality: str | Iterable[str] | None = None,
    start: float | None = None,
    stop: float | None = None,
    epochs: object = None,
    boundary: Literal["session", "trial"] = "session",
    sample_rate: float | None = None,
    time_unit: Literal["s", "ms", "us"] | None = None,
    sort: bool = False,
    variable: str | None = None,
) -> xr.DataArray:
    """Read a recording and count its spikes in bins.

    Parameters
    ----------
    source
        The path of an NWB file, a folder of phy or Kilosort, a ``.mat``, ``.npz`` or
        ``.npy`` file, a CSV, TSV or Parquet table; or an object in memory: pynapple,
        neo, a DataFrame, `SpikeTrains`, a DataArray of counts, the times of each unit
        in a dict or list.
    bin_size
        Width of a bin (s). May be omitted if the source holds counts and states it.
    include, exclude
        Labels of the units to keep (in this order) and to leave out; 19, 19.0 and
        "19" are the same unit.
    quality
        Which judgements of the spike sorter, or of the person who curated it, to
        keep: "good", ("good", "mua"), or "all". Only "good" units by default in a
        folder of phy or Kilosort, all units elsewhere.

    Other Parameters
    ----------------
    start, stop
        Limits (s) in place of those that the source states.
    epochs, boundary
        Stretches to bin one by one, as in `bin_spikes`.
    sample_rate
        Rate (Hz) of the clock, if the times are samples of it and the source does not
        say so.
    time_unit
        Unit of the times, if the source does not say it: "s", "ms" or "us".
    sort
        Sort times that do not ascend within a unit; they are refused otherwise,
        because they may be two sessions put after one another.
    variable
        The variable of a ``.mat`` or ``.npz`` file that holds the spikes, if several
        could; "a.b" for a field of a struct.

    Returns
    -------
    xarray.DataArray (time, neuron)
        Counts; ``time`` is the centre of each bin (s) on the recording's own clock,
        ``neuron`` the source's own labels. The attributes say what was done; see
        `bin_spikes`.

    Raises
    ------
    DataFormatError
        If a file is damaged, empty, or of an unknown format.
    InvalidInputError
        If an argument or the data are bad, or an optional package is missing.

    Examples
    --------
    >>> read_spikes({"a": [0.1, 0.25], "b": [0.3]}, 0.1).values.tolist()
    [[1, 0], [1, 0], [0, 1]]
    """
    reading = Reading(
        sample_rate, time_unit, start, stop, sort, variable, bin_size=bin_size
    )
    spikes = _read(source, reading)
    if isinstance(spikes, SpikeTrains):
        if bin_size is None:
            raise invalid(
                "bin_size",
                "none",
                "the width of the bins (s), for spike times",
                "Say bin_size=0.02, or take the times with read_spike_trains.",
            )
        trains = _chosen(spikes, source, include, exclude, quality)
        return bin_spikes(trains, bin_size, epochs=epochs, boundary=boundary)
    for name, value in (("epochs", epochs), ("quality", quality)):
        if value is not None:
            raise invalid(
                name, repr(value), "None, since the source holds counts, no spike times"
            )
    return rebinned(_some_counts(spikes, reading, include, exclude), bin_size)


def read_spike_trains(
    source: object,
    *,
    include: Labels | None = None,
    exclude: Labels | None = None,
    quality: str | Iterable[str] | None = None,
    start: float | None = None,
    stop: float | None = None,
    sample_rate: float | None = None,
    time_unit: Literal["s", "ms", "us"] | None = None,
    sort: bool = False,
    variable: str | None = None,
) -> SpikeTrains:
    """Read the spike times of a recording, on its own clock.

    Parameters
    ----------
    source, include, exclude, quality
        As in `read_spikes`.

    Other Parameters
    ----------------
    start, stop, sample_rate, time_unit, sort, variable
        As in `read_spikes`.

    Raises
    ------
    DataFormatError
        If a file is damaged, empty, of an unknown format, or holds only counts.
    InvalidInputError
        If an argument or the data are bad, or an optional package is missing.

    Examples
    --------
    >>> read_spike_trains({"a": [0.1, 0.25], "b": [0.3]}, exclude="b")
    <SpikeTrains: 1 units, 2 spikes, 0.1 to 0.25 s, clock 1e+09 Hz>
    """
    reading = Reading(sample_rate, time_unit, start, stop, sort, variable, counts=False)
    spikes = _read(source, reading)
    if not isinstance(spikes, SpikeTrains):
        raise invalid(
            "source",
            f"only counts in bins, in {spikes.attrs['source']}",
            "spike times",
            "Take the counts with read_spikes.",
        )
    return _chosen(spikes, source, include, exclude, quality)


def _read(source: object, reading: Reading) -> Spikes:
    if isinstance(source, str | os.PathLike):
        path = existing(source)
        return _READERS[formats.format_of(path)](path, reading)
    return objects.spikes_from(source, reading)


def _archive(path: Path, reading: Reading) -> Spikes:
    return schemas.spikes_from_variables(Archive(path), str(path), reading)


def _matlab(path: Path, reading: Reading) -> Spikes:
    return schemas.spikes_from_variables(read_mat(path), str(path), reading)


def _table(path: Path, reading: Reading) -> Spikes:
    return tables.spikes_from_table(tables.read_table(path), str(path), reading)


def _array(path: Path, reading: Reading) -> Spikes:
    spikes = objects.spikes_from(read_npy(path), reading)
    assert isinstance(spikes, SpikeTrains)
    return replace(spikes, source=str(path))


_READERS: dict[formats.Format, Callable[[Path, Reading], Spikes]] = {
    formats.NWB: nwb.read_spikes,
    formats.MATLAB: _matlab,
    formats.ARCHIVE: _archive,
    formats.ARRAY: _array,
    formats.TABLE: _table,
    formats.PHY: phy.read_spikes,
}


def _chosen(
    trains: SpikeTrains, source: object, include: Any, exclude: Any, quality: Any
) -> SpikeTrains:
    n_before = trains.n_neurons
    is_path = isinstance(source, str | os.PathLike)
    if quality is None and is_path and Path(source).is_dir():
        quality = "good"
        trains = phy.require_curated(trains)
    elif quality is not None and quality != "all":
        trains = trains.select(quality=quality)
    if trains.n_neurons < n_before:
        kept = ", ".join(map(named, several(quality)))
        note = f"{kept}: {trains.n_neurons} of {n_before} units"
        trains = replace(trains, notes={**trains.notes, "quality": note})
    if include is not None:
        trains = trains.select(include)
    return trains.exclude(exclude)


def _some_counts(
    counts: xr.DataArray, reading: Reading, include: Any, exclude: Any
) -> xr.DataArray:
    """Choose units and bins of ready counts."""
    labels = counts["neuron"].values
    kept = np.arange(len(labels))
    if include is not None:
        kept = positions(include, labels, "include")
    left_out = positions(exclude, labels[kept], "exclude")
    kept = np.delete(kept, left_out)
    half = counts.attrs["bin_size"] / 2 * (1 - 1e-6)
    time = counts["time"].values
    first = -np.inf if reading.start is None else reading.start
    last = np.inf if reading.stop is None else reading.stop
    inside = (time - half >= first) & (time + half <= last)
    if not len(kept) or not inside.any():
        raise InvalidInputError(
            f"include, exclude, start, stop: got {len(kept)} units and "
            f"{int(inside.sum())} bins that are left, expected at least one of each."
        )
    if len(left_out):
        names = ", ".join(map(named, several(exclude)))
        counts = counts.assign_attrs(excluded=names)
    counts = counts.isel(neuron=kept)
    return restated(counts.isel(time=inside), counts)
