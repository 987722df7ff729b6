"""What named arrays mean: the layouts in which spikes lie in .npz, .mat and dicts.

A container (an archive, a MATLAB file, a dict) is a mapping of names to arrays,
lists (MATLAB cells) and mappings (structs). Four layouts are understood; capitals
and underscores in names do not count:

flat
    ``spike_times`` (s) or ``spike_tick`` (samples, with ``tick_rate_hz`` or
    ``sample_rate``), and the unit of each spike: ``spike_clusters``, ``cluster_ids``
    or ``unit_ids`` (a label), or ``spike_unit`` (a label, or an index where arrays
    ``unit_*`` describe the units).
    Limits, if stated: ``record_start_tick``, ``record_stop_tick`` or
    ``record_start``, ``record_stop`` (s).
counts
    ``counts`` (time, neuron) with ``bin_size`` (s) or the bins' times: ``time``
    (centres), ``bin_start_s`` or ``bin_end_s``; along time ``session`` or ``trial``,
    at which models restart, or ``block``, at which they do not unless time
    pauses there.
per unit
    A cell array or list of the times of each unit, a struct with one such field
    ``times``, or an array of structs with a field ``times`` each.
pynapple
    A TsGroup saved by pynapple: ``t``, ``index``, ``keys``, ``start``, ``end``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core.errors import InvalidInputError, did_you_mean, invalid
from neuromod.io.counts import as_counts
from neuromod.io.files import malformed
from neuromod.io.reading import Reading, numbers, positions
from neuromod.io.spike_trains import SpikeTrains
from neuromod.io.variables import (
    ALONG_TIME,
    CLUSTERS,
    INDICES,
    LABELS,
    SPIKE_TICKS,
    SPIKE_TIMES,
    UNITS,
    Variables,
    in_seconds,
    is_nested,
    plain,
    spelt,
    split_unit,
)

Spikes = SpikeTrains | xr.DataArray

RATES = ("tickratehz", "samplerate", "samplingrate", "fs")
COUNTS = ("counts", "spikecounts")
BIN_SIZES = ("binsize", "binsizes", "binwidth", "binwidths")
TRAINS = ("spikes", "spiketimes", "times", "timestamps", "ts", "trains", "units")
FIELDS = ("times", "spiketimes", "timestamps", "ts")
FIELD_LABELS = ("labels", "label", "names", "name", "uid", "cluid", "ids", "id")
KNOWN = (*SPIKE_TIMES, *SPIKE_TICKS, *COUNTS, *FIELDS)
LAYOUTS = (
    "spike_times or spike_tick with spike_unit or spike_clusters; counts with "
    "bin_size; or the times of each unit in a cell array `spikes`"
)


def spikes_from_variables(
    values: Mapping[str, Any], source: str, reading: Reading
) -> Spikes:
    """Read spikes from named arrays, in whichever layout they lie."""
    chosen = _chosen(Variables(values), reading.variable)
    for variables in (chosen, _only_struct(chosen)):
        for layout in _layouts(reading):
            spikes = layout(variables, source, reading)
            if spikes is not None:
                return spikes
    names = ", ".join(list(chosen)[:20]) or "nothing"
    raise malformed(
        source,
        f"the variables {names}",
        LAYOUTS,
        "Choose one with variable=, or pass the times of each unit in a dict.",
    )


def _layouts(reading: Reading) -> list[Callable[..., Spikes | None]]:
    trains = [_flat, _saved_by_pynapple, _per_unit]
    return [_counts, *trains] if reading.counts else [*trains, _counts]


def _chosen(variables: Variables, name: str | None) -> Variables:
    """Go down to the variable that the user named, keeping the labels beside it."""
    if name is None:
        return variables
    inner: Any = variables
    for part in name.split("."):
        inner = Variables(inner) if isinstance(inner, Mapping) else {}
        if part not in inner and spelt(part) not in map(spelt, inner):
            raise invalid(
                "variable",
                repr(name),
                "a variable of the file",
                (did_you_mean(part, list(inner))),
            )
        inner = inner[part]
    if isinstance(inner, Mapping):
        return Variables(inner)
    labels = {k: variables[k] for k in variables if spelt(k) in LABELS}
    return Variables({"spikes": inner, **labels})


def _only_struct(variables: Variables) -> Variables:
    """Return what is in a file's only variable if that is a struct."""
    if len(variables) == 1:
        (value,) = variables.values()
        if isinstance(value, Mapping):
            return Variables(value)
    return Variables({})


def _flat(variables: Variables, source: str, reading: Reading) -> Spikes | None:
    ticks, name = variables.first(SPIKE_TICKS), variables.name(SPIKE_TIMES)
    events = variables.first(SPIKE_TIMES) if ticks is None else ticks
    if events is None or is_nested(events):
        return None
    indices = variables.first(INDICES)
    holder = variables.name((*INDICES, *CLUSTERS)) or _per_spike(variables, events)
    if holder is None:
        return None
    neurons = variables[holder]
    if ticks is None and name is not None:
        reading = reading.in_unit(split_unit(name)[1])
    rate = variables.number(RATES)
    if ticks is not None and rate is None and reading.sample_rate is None:
        raise invalid(
            f"{source}: tick_rate_hz",
            "none",
            "the rate (Hz) of the clock of spike_tick",
            "Say sample_rate=.",
        )
    # A rate beside times in seconds only says how they were sampled.
    if ticks is None and np.asarray(events).dtype.kind == "f":
        rate = None
    neurons = plain(neurons).reshape(-1)
    labels, annotations = _units(variables.without(holder))
    if labels is not None and indices is None:
        neurons = _places(neurons, labels)
    start, stop = stated_limits(variables, rate or reading.sample_rate)
    promised = annotations.pop("n_spikes", None)
    trains = SpikeTrains.from_events(
        events,
        neurons,
        labels=labels,
        sample_rate=rate,
        start=start,
        stop=stop,
        annotations=annotations,
        source=source,
        reading=reading,
    )
    counted = trains.n_spikes.values + trains.n_outside
    if promised is not None and not np.array_equal(promised, counted):
        raise malformed(
            source,
            "other numbers of spikes in unit_n_spikes than there are in the trains",
            "agreement",
            "Are the arrays of one recording? Then the file is damaged.",
        )
    return trains


def _per_spike(variables: Variables, events: Any) -> str | None:
    """Return the name of the array that may label each spike, if it is as long."""
    names = [variables.name([name]) for name in UNITS]
    n_spikes = np.size(events)
    return next((n for n in names if n and np.size(variables[n]) == n_spikes), None)


def _places(neurons: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the index into the labels for each spike's label."""
    present, inverse = np.unique(neurons, return_inverse=True)
    return positions(present, labels, "spike_clusters")[inverse]


def _units(variables: Variables):
    """Return the labels of all units and what ``unit_*`` arrays say about them."""
    described = {
        name[5:]: plain(variables[name]).reshape(-1)
        for name in variables
        if name.lower().startswith("unit_") and np.ndim(variables[name]) >= 1
    }
    labels = variables.first((*LABELS, "sourceunit"))
    if labels is None and not described:
        return None, {}
    lengths = {name: len(values) for name, values in described.items()}
    if labels is None:
        labels = np.arange(max(lengths.values()))
    labels = plain(labels).reshape(-1)
    if any(length != len(labels) for length in lengths.values()):
        raise invalid("unit_*", f"arrays of lengths {lengths}", f"{len(labels)} each")
    names = [name for name in described if spelt("unit" + name) in LABELS]
    return labels, {k: v for k, v in described.items() if k not in names}


def stated_limits(
    variables: Variables, rate: float | None
) -> tuple[float | None, float | None]:
    """Return the limits (s) of the recording that the variables state, or None."""
    limits: list[float | None] = []
    for name in ("recordstart", "recordstop"):
        tick = variables.number((f"{name}tick",))
        if tick is not None and rate is not None:
            limits.append(tick / rate)
        else:
            limits.append(variables.number((name, f"{name}s")))
    return limits[0], limits[1]


def _counts(variables: Variables, source: str, reading: Reading) -> Spikes | None:
    counts = variables.first(COUNTS)
    if counts is None:
        return None
    bin_size = variables.number(BIN_SIZES)
    name = variables.name(("time", "bincentre", "bincentres"))
    centres = None if name is None else _seconds(variables, name)
    for edge, shift in (("binend", -0.5), ("binstart", 0.5)):
        name = variables.name((edge, f"{edge}s"))
        if centres is None and name is not None:
            edges = _seconds(variables, name)
            width = bin_size or float(np.median(np.diff(edges)))
            centres = edges + shift * width
    labels = variables.first((*LABELS, "neuron", "sourceunit"))
    boundaries = {
        name: plain(variables[name]).reshape(-1).astype(str)
        for name in ALONG_TIME
        if variables.name([name]) is not None
    }
    return as_counts(
        counts,
        time=centres,
        labels=None if labels is None else plain(labels).reshape(-1),
        bin_size=bin_size,
        default_bin_size=reading.bin_size,
        boundaries=boundaries,
        source=source,
    )


def _seconds(variables: Variables, name: str) -> np.ndarray:
    return in_seconds(numbers(variables[name], name).astype(float), name)


def _saved_by_pynapple(
    variables: Variables, source: str, reading: Reading
) -> Spikes | None:
    if not {"t", "index", "keys", "start", "end"} <= set(variables):
        return None
    labels = plain(variables["keys"])
    support = np.stack([variables["start"], variables["end"]], axis=-1)
    return SpikeTrains.from_events(
        variables["t"],
        _places(plain(variables["index"]), labels),
        labels=labels,
        observed=(support,) * len(labels),
        source=source,
        reading=reading.in_seconds("a file of pynapple"),
    )


def _per_unit(variables: Variables, source: str, reading: Reading) -> Spikes | None:
    name = _variable_of_trains(variables)
    if name is None:
        return None
    units, labels = _trains(variables[name])
    if labels is None:
        labels = variables.first(LABELS)
    trains = [numbers(unit, f"spike times of unit {i}") for i, unit in enumerate(units)]
    sampled = any(train.dtype.kind in "iu" for train in trains if len(train))
    return SpikeTrains.from_units(
        trains,
        labels=None if labels is None else list(plain(labels).reshape(-1)),
        sample_rate=variables.number(RATES) if sampled else None,
        source=source,
        reading=reading,
    )


def _variable_of_trains(variables: Variables) -> str | None:
    found = [name for name in variables.nested if _is_trains(variables[name])]
    for name in TRAINS:
        usual = [candidate for candidate in found if spelt(candidate) == name]
        if usual:
            return usual[0]
    if len(found) > 1:
        raise invalid(
            "variable",
            "none, and several that could hold spike times: " + ", ".join(found[:10]),
            "one of them",
            f"Say variable={found[0]!r}.",
        )
    return found[0] if found else None


def _is_trains(value: Any) -> bool:
    if isinstance(value, Mapping):
        return isinstance(Variables(value).first(FIELDS), list)
    return isinstance(value, list)


def _trains(value: Any) -> tuple[list[Any], Any]:
    """Return the times of each unit, and their labels if they stand beside them."""
    if isinstance(value, Mapping):
        fields = Variables(value)
        return fields.first(FIELDS), fields.first(FIELD_LABELS)
    if not any(isinstance(unit, Mapping) for unit in value):
        return value, None
    units = [Variables(u if isinstance(u, Mapping) else {}) for u in value]
    times = [unit.first(FIELDS) for unit in units]
    if any(part is None for part in times):
        where = next(i for i, part in enumerate(times) if part is None)
        raise InvalidInputError(
            f"spike times of unit {where}: got a struct with the fields "
            f"{', '.join(units[where])}, expected a field `times`."
        )
    labels = [unit.first(FIELD_LABELS) for unit in units]
    return times, labels if all(label is not None for label in labels) else None
