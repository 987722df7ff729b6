"""Recordings out, as Neurodata Without Borders files that other tools read.

Spike trains become the ``units`` table, with the clock's tick as the column's
``resolution``, so that they come back as the same ticks. Counts become a time series
in ``processing/ecephys`` with tables of their labels beside it. Behaviour becomes
``processing/behavior`` and ``intervals/trials``.
"""

import json
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core.atomic import write_atomically
from neuromod.core.errors import InvalidInputError, invalid
from neuromod.core.sequences import BOUNDARIES
from neuromod.io.counts import checked
from neuromod.io.events import intersection
from neuromod.io.spike_trains import SpikeTrains


def write_nwb(
    path: str | os.PathLike[str],
    spikes: SpikeTrains | xr.DataArray | None = None,
    *,
    behaviour: xr.Dataset | None = None,
    session_description: str,
    identifier: str,
    session_start_time: datetime,
) -> Path:
    """Write a recording to an NWB file, which is whole or not there.

    Parameters
    ----------
    path
        The file to write, ending in ``.nwb``.
    spikes
        `SpikeTrains`, or counts (time, neuron).
    behaviour
        Variables along ``time``, and along ``trial`` with ``start_time`` and
        ``stop_time`` among them.
    session_description
        What was recorded, in a sentence.
    identifier
        A name that is unique to the recording.
    session_start_time
        Date and time at 0 s of the recording's clock; in UTC if it has no zone.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    InvalidInputError
        If pynwb is not installed, there is nothing to write, or something cannot be
        stored.
    """
    pynwb = _pynwb()
    destination = Path(path)
    if destination.suffix != ".nwb":
        raise invalid("path", repr(str(path)), "a file name that ends in .nwb")
    if spikes is None and behaviour is None:
        raise invalid("spikes", "neither spikes nor behaviour", "something to write")
    if session_start_time.tzinfo is None:
        session_start_time = session_start_time.replace(tzinfo=UTC)
    content = pynwb.NWBFile(
        session_description=session_description,
        identifier=identifier,
        session_start_time=session_start_time,
    )
    if isinstance(spikes, SpikeTrains):
        _add_units(content, spikes)
    elif spikes is not None:
        _add_counts(content, spikes)
    if behaviour is not None:
        _add_behaviour(content, behaviour)
    with TemporaryDirectory(prefix="neuromod-") as folder:
        draft = Path(folder) / "draft.nwb"
        with pynwb.NWBHDF5IO(draft, "w") as file:
            file.write(content)
        with open(draft, "rb") as written:
            return write_atomically(
                destination, lambda stream: shutil.copyfileobj(written, stream)
            )


def _pynwb() -> Any:
    try:
        import pynwb
    except ImportError as error:
        raise InvalidInputError(
            "Writing NWB files needs pynwb, which is not installed: "
            "pip install 'neuromod[nwb]'. (Reading them does not.)"
        ) from error
    return pynwb


def _add_units(content: Any, trains: SpikeTrains) -> None:
    from pynwb.misc import Units

    reserved = {column["name"] for column in Units.__columns__} | {"id", "unit_name"}
    for name, values in trains.annotations.items():
        if name in reserved or values.ndim != 1:
            raise invalid(
                f"annotations[{name!r}]",
                f"values of shape {values.shape} under this name",
                "one value for each unit, under a name that NWB leaves free",
                "Rename or drop it.",
            )
        content.add_unit_column(name, f"{name} of the unit")
    if trains.labels.dtype.kind != "i":
        content.add_unit_column("unit_name", "name of the unit")
    intervals = _observed(trains)
    for i, (label, times) in enumerate(trains.to_dict().items()):
        fields = {name: values[i] for name, values in trains.annotations.items()}
        if trains.labels.dtype.kind == "i":
            fields["id"] = int(label)
        else:
            fields["unit_name"] = str(label)
        if intervals:
            fields["obs_intervals"] = intervals[i]
        content.add_unit(spike_times=times, **fields)
    content.units.resolution = 1.0 / trains.rate
    limits = {"start": trains.start, "stop": trains.stop}
    known = {k: [limit] for k, limit in limits.items() if limit is not None}
    if known and not intervals:  # an interval has two ends
        module = content.create_processing_module("ecephys", "Spike trains")
        _add_table(module, "limits", "the recording (s)", known)


def _observed(trains: SpikeTrains) -> list[np.ndarray]:
    """Return the intervals (s) of each unit within the limits; [] if unknown."""
    if trains.observed or (trains.start is not None and trains.stop is not None):
        start = -np.inf if trains.start is None else trains.start
        stop = np.inf if trains.stop is None else trains.stop
        sets = trains.observed or [np.array([[-np.inf, np.inf]])] * trains.n_neurons
        return [intersection([np.array([[start, stop]]), one]) for one in sets]
    return []


def _add_counts(content: Any, spikes: xr.DataArray) -> None:
    from pynwb import TimeSeries

    counts = checked(spikes, None, "spikes")
    module = content.create_processing_module("ecephys", "Spike counts in bins")
    module.add(
        TimeSeries(
            name="spike_counts",
            data=counts.values,
            timestamps=counts["time"].values,
            unit="spikes",
            description="Spike counts (time, neuron); timestamps are bin centres",
            comments=json.dumps({"bin_size": counts.attrs["bin_size"]}),
        )
    )
    tables = {"neurons": {"label": counts["neuron"].values}}
    for boundary in BOUNDARIES:
        if boundary in counts.coords:
            labels = counts[boundary].values.astype(str)
            starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
            n_bins = np.diff(np.r_[starts, len(labels)])
            tables[f"{boundary}s"] = {"label": labels[starts], "n_bins": n_bins}
    for name, columns in tables.items():
        _add_table(module, name, "the spike counts", columns)


def _add_table(
    module: Any, name: str, what: str, columns: Mapping[str, np.ndarray | list[float]]
) -> None:
    from pynwb.core import DynamicTable, VectorData

    module.add(
        DynamicTable(
            name=name,
            description=f"{name} of {what}",
            columns=[
                VectorData(name=column, description=column, data=list(values))
                for column, values in columns.items()
            ],
        )
    )


def _add_behaviour(content: Any, behaviour: xr.Dataset) -> None:
    along_time = {k: v for k, v in behaviour.data_vars.items() if "time" in v.dims}
    along_trial = {k: v for k, v in behaviour.data_vars.items() if v.dims == ("trial",)}
    others = set(behaviour.data_vars) - set(along_time) - set(along_trial)
    if others:
        raise invalid(
            "behaviour",
            "variables along neither time nor trial: " + ", ".join(map(str, others)),
            "variables along `time` or `trial`",
        )
    if along_time:
        _add_series(content, along_time)
    if along_trial:
        _add_trials(content, along_trial)


def _add_series(content: Any, series: Mapping[Any, xr.DataArray]) -> None:
    from pynwb import TimeSeries
    from pynwb.behavior import BehavioralTimeSeries, Position

    module = content.create_processing_module("behavior", "Behaviour")
    position: Any = Position()
    others: Any = BehavioralTimeSeries()
    for name, variable in series.items():
        if variable.dtype.kind not in "biuf":
            raise invalid(
                f"behaviour[{name!r}]",
                f"values of type {variable.dtype}",
                "numbers",
                "Give each category a number.",
            )
        fields = {
            "name": str(name),
            "data": variable.transpose("time", ...).values,
            "timestamps": variable["time"].values.astype(float),
            "unit": str(variable.attrs.get("units", "")) or "n.a.",
        }
        if "space" in variable.dims:
            fields["reference_frame"] = "not stated"
            position.create_spatial_series(**fields)
        else:
            others.add_timeseries(TimeSeries(**fields))
    for container, held in (
        (position, position.spatial_series),
        (others, others.time_series),
    ):
        if held:
            module.add(container)


def _add_trials(content: Any, columns: Mapping[Any, xr.DataArray]) -> None:
    missing = {"start_time", "stop_time"} - set(columns)
    if missing:
        raise invalid(
            "behaviour",
            "trials without " + " and ".join(sorted(missing)),
            "start_time and stop_time (s) of each trial",
        )
    others = [name for name in columns if name not in ("start_time", "stop_time")]
    for name in others:
        content.add_trial_column(str(name), str(name))
    for i in range(len(columns["start_time"])):
        content.add_trial(
            start_time=float(columns["start_time"][i]),
            stop_time=float(columns["stop_time"][i]),
            **{str(name): columns[name].values[i] for name in others},
        )
