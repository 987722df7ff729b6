"""Spikes that are already in memory: pynapple, neo, pandas, dicts and lists.

Objects of other libraries are known by what they offer and not by their class, so
that none of those libraries has to be installed to look at an object of another.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core.errors import invalid
from neuromod.io import schemas, tables
from neuromod.io.counts import as_counts, checked
from neuromod.io.reading import Reading
from neuromod.io.schemas import Spikes
from neuromod.io.spike_trains import SpikeTrains
from neuromod.io.variables import Variables, plain


def trains_from(source: object, reading: Reading) -> SpikeTrains:
    """Return the spike trains in an object, or raise if it holds only counts."""
    spikes = spikes_from(source, reading)
    if isinstance(spikes, SpikeTrains):
        return spikes
    raise invalid(
        "spike_times",
        "counts in bins",
        "spike times",
        "neuromod.io.read_spikes takes counts as they are, or sums them into wider "
        "bins.",
    )


def spikes_from(source: Any, reading: Reading) -> Spikes:
    """Return the spike trains in an object, or its counts if it was binned."""
    if isinstance(source, SpikeTrains):
        return _cropped(source, reading)
    if isinstance(source, xr.DataArray):
        return checked(source, reading.bin_size, "DataArray")
    kind = type(source).__name__
    for knows, read in _KINDS:
        if knows(source):
            return read(source, reading, kind)
    raise invalid(
        "spike_times",
        kind,
        "a path, SpikeTrains, a DataArray of counts, a pynapple or neo object, a "
        "table, or the times of each unit in a dict or list",
    )


def is_pynapple(source: object) -> bool:
    """Tell a pynapple object by its time support."""
    return hasattr(source, "time_support")


def is_table(source: object) -> bool:
    """Tell a table (pandas or alike) by its columns."""
    return hasattr(source, "columns") and hasattr(source, "to_numpy")


def _cropped(trains: SpikeTrains, reading: Reading) -> SpikeTrains:
    if reading.start is None and reading.stop is None:
        return trains
    return trains.crop(reading.start, reading.stop)


def _pynapple(source: Any, reading: Reading, kind: str) -> Spikes:
    support = np.stack(
        [np.asarray(source.time_support.start), np.asarray(source.time_support.end)], 1
    )
    if hasattr(source, "d"):
        return _pynapple_counts(source, support, reading, kind)
    grouped = hasattr(source, "keys")
    if grouped:
        units = {label: source[label].t for label in source.keys()}
    else:
        units = {0: source.t}
    return SpikeTrains.from_units(
        units,
        reading=reading.in_seconds("pynapple objects"),
        observed=(support,) * len(units),
        annotations=_pynapple_metadata(source) if grouped else {},
        source=f"pynapple {kind}",
    )


def _pynapple_metadata(source: Any) -> dict[str, np.ndarray]:
    metadata = getattr(source, "metadata", None)
    if metadata is None:
        return {}
    return {
        str(name): plain(np.asarray(metadata[name]))
        for name in metadata.columns
        if name != "rate"
    }


def _pynapple_counts(
    source: Any, support: np.ndarray, reading: Reading, kind: str
) -> xr.DataArray:
    values = np.asarray(source.d)
    time = np.asarray(source.t)
    session = np.searchsorted(support[:, 0], time, side="right") - 1
    return as_counts(
        values.reshape(len(time), -1),
        time=time,
        labels=getattr(source, "columns", None),
        default_bin_size=reading.bin_size,
        boundaries={"session": session.astype(str)} if len(support) > 1 else None,
        source=f"pynapple {kind}",
    )


def _is_neo(source: object) -> bool:
    some = source[0] if isinstance(source, list | tuple) and source else source
    train = hasattr(some, "rescale") and hasattr(some, "t_stop")
    return train or hasattr(some, "spiketrains") or hasattr(some, "segments")


def _neo_trains(source: Any) -> list[Any]:
    """Return the spike trains in what neo reads: blocks, of segments, of trains."""
    if hasattr(source, "rescale"):
        return [source]
    parts = list(getattr(source, "segments", getattr(source, "spiketrains", source)))
    if parts and all(hasattr(part, "rescale") for part in parts):
        return parts
    if len(parts) == 1:
        return _neo_trains(parts[0])
    kind = type(parts[0]).__name__ if parts else "SpikeTrain"
    raise invalid(
        "spike_times",
        f"a neo {type(source).__name__} of {len(parts)} {kind}s",
        "the spike trains of one segment",
        "Pass one of them, as in block.segments[0].",
    )


def _neo(source: Any, reading: Reading, kind: str) -> SpikeTrains:
    trains = _neo_trains(source)
    names = [train.name for train in trains]
    distinct = all(names) and len(set(names)) == len(names)
    # Never without rescale: neo keeps times in ms as readily as in s.
    return SpikeTrains.from_units(
        [train.rescale("s").magnitude for train in trains],
        labels=names if distinct else None,
        observed=tuple(
            np.array([[train.t_start.rescale("s"), train.t_stop.rescale("s")]])
            for train in trains
        ),
        reading=reading.in_seconds("neo objects"),
        source="neo SpikeTrain",
    )


def _table(source: Any, reading: Reading, kind: str) -> Spikes:
    return tables.spikes_from_table(source, f"{kind} in memory", reading)


def _mapping(source: Mapping[Any, Any], reading: Reading, kind: str) -> Spikes:
    known = Variables(source).name(schemas.KNOWN) is not None
    if reading.variable is not None or known:
        return schemas.spikes_from_variables(source, f"{kind} in memory", reading)
    return _units(source, reading, kind)


def _units(source: Any, reading: Reading, kind: str) -> SpikeTrains:
    return SpikeTrains.from_units(source, reading=reading, source=f"{kind} in memory")


def _array(source: np.ndarray, reading: Reading, kind: str) -> SpikeTrains:
    array = np.squeeze(source)
    if source.dtype == object:
        return _units(list(array.reshape(-1)), reading, "object array")
    if array.ndim > 1:
        raise invalid(
            "spike_times",
            f"an array of shape {source.shape}",
            "the times of each unit in a list or dict",
            "If these are counts, name their dimensions: xarray.DataArray(values, "
            'dims=("time", "neuron"), attrs={"bin_size": 0.02}).',
        )
    return _units([array.reshape(-1)], reading, "array")


def _list(source: Any, reading: Reading, kind: str) -> SpikeTrains:
    if source and all(np.isscalar(value) for value in source):
        source = [np.asarray(source)]  # the times of a single unit
    return _units(source, reading, kind)


_KINDS = (
    (is_pynapple, _pynapple),
    (_is_neo, _neo),
    (is_table, _table),
    (lambda source: isinstance(source, Mapping), _mapping),
    (lambda source: isinstance(source, np.ndarray), _array),
    (lambda source: isinstance(source, list | tuple), _list),
)
