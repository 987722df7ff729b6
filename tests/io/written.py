"""One recording, written in every format that the readers know."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest
from scipy.io import savemat

from neuromod.io import SpikeTrains, write_nwb

TEXT_73 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"


def small() -> SpikeTrains:
    """A recording of four units, one of them silent, with spikes on bin edges."""
    return SpikeTrains.from_events(
        [300, 600, 900, 1200, 1200, 1799, 2400, 2999, 3000],
        [0, 1, 0, 0, 3, 1, 0, 3, 3],
        labels=[4, 7, 9, 12],
        sample_rate=1000.0,
        start=0.3,
        stop=3.05,
        annotations={"quality": np.array(["good", "good", "mua", "good"])},
        source="small",
    )


def limits(trains: SpikeTrains) -> dict[str, float]:
    start, stop = trains.limits
    return {"start": start, "stop": stop}


def npz_ticks(folder: Path, trains: SpikeTrains):
    path = folder / "ticks.npz"
    np.savez_compressed(
        path,
        spike_tick=trains.ticks.astype(np.uint32),
        spike_unit=trains.neurons.astype(np.int16),
        tick_rate_hz=np.int64(trains.rate),
        record_start_tick=np.int64(round(trains.limits[0] * trains.rate)),
        record_stop_tick=np.int64(round(trains.limits[1] * trains.rate)),
        unit_ids=trains.labels,
        unit_n_spikes=trains.n_spikes.values,
    )
    return path, {}


def npz_seconds(folder: Path, trains: SpikeTrains):
    path = folder / "seconds.npz"
    start, stop = trains.limits
    np.savez(
        path,
        spike_times=trains.times,
        spike_units=trains.neurons,
        unit_labels=trains.labels,
        record_start=start,
        record_stop=stop,
    )
    return path, {}


def mat_cells(folder: Path, trains: SpikeTrains):
    path = folder / "cells.mat"
    cells = np.empty((1, trains.n_neurons), dtype=object)
    cells[0] = [times.reshape(-1, 1) for times in trains.to_dict().values()]
    variables = {"spikes": cells, "unit_labels": trains.labels, "lfp": np.ones((9, 2))}
    savemat(path, variables, do_compression=True)
    return path, limits(trains)


def mat_struct(folder: Path, trains: SpikeTrains):
    path = folder / "session.spikes.cellinfo.mat"
    cells = np.empty(trains.n_neurons, dtype=object)
    cells[:] = list(trains.to_dict().values())
    savemat(path, {"spikes": {"times": cells, "UID": trains.labels}})
    return path, limits(trains)


def mat_struct_array(folder: Path, trains: SpikeTrains):
    path = folder / "struct_array.mat"
    units = np.zeros(trains.n_neurons, dtype=[("name", object), ("times", object)])
    for unit, (label, times) in zip(units, trains.to_dict().items(), strict=True):
        unit["name"], unit["times"] = f"u{label}", times
    savemat(path, {"neurons": units})
    return path, limits(trains)


def mat_flat(folder: Path, trains: SpikeTrains):
    path = folder / "flat.mat"
    variables = {
        "spike_times": trains.ticks.astype(float),  # MATLAB's numbers are doubles
        "spike_clusters": trains.labels[trains.neurons],
        "unit_ids": trains.labels,
    }
    savemat(path, variables)
    return path, {"sample_rate": trains.rate, **limits(trains)}


def mat_73(folder: Path, trains: SpikeTrains):
    path = folder / "v73.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        references = file.create_group("#refs#")
        cells = file.create_dataset("spikes", (trains.n_neurons, 1), h5py.ref_dtype)
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
        for i, times in enumerate(trains.to_dict().values()):
            shape = np.array([0, 0], dtype=np.uint64)
            node = references.create_dataset(
                str(i), data=times.reshape(1, -1) if len(times) else shape
            )
            node.attrs["MATLAB_class"] = np.bytes_("double")
            if not len(times):
                node.attrs["MATLAB_empty"] = np.uint8(1)
            cells[i, 0] = node.ref
        labels = trains.labels.astype(float).reshape(-1, 1)
        file.create_dataset("unit_labels", data=labels)
    with open(path, "r+b") as file:
        file.write(TEXT_73)
    return path, limits(trains)


def frame(trains: SpikeTrains) -> pandas.DataFrame:
    return pandas.DataFrame(
        {"time": trains.times, "unit": trains.labels[trains.neurons]}
    )


def csv(folder: Path, trains: SpikeTrains):
    path = folder / "long.csv"
    frame(trains).to_csv(path, index=False)
    return path, limits(trains)


def tsv_of_samples(folder: Path, trains: SpikeTrains):
    path = folder / "samples.tsv"
    table = {"sample": trains.ticks, "cluster_id": trains.labels[trains.neurons]}
    pandas.DataFrame(table).to_csv(path, index=False, sep="\t")
    return path, {"sample_rate": trains.rate, **limits(trains)}


def parquet(folder: Path, trains: SpikeTrains):
    path = folder / "long.parquet"
    frame(trains).to_parquet(path)
    return path, limits(trains)


def phy(folder: Path, trains: SpikeTrains):
    path = folder / "phy"
    path.mkdir()
    np.save(path / "spike_times.npy", trains.ticks.astype(np.uint64).reshape(-1, 1))
    np.save(path / "spike_clusters.npy", trains.labels[trains.neurons].astype("i4"))
    lines = [f"sample_rate = {trains.rate}", "n_channels_dat = 2", "dtype = 'int16'"]
    (path / "params.py").write_text("\n".join([r"dat_path = ['raw.dat']", *lines]))
    return path, limits(trains)


def nwb(folder: Path, trains: SpikeTrains):
    path = folder / "session.nwb"
    write_nwb(path, trains, **SESSION)
    return path, {}


SESSION: dict[str, Any] = {
    "session_description": "a test",
    "identifier": "test-1",
    "session_start_time": datetime(2026, 1, 2, tzinfo=UTC),
}


def mapping(folder: Path, trains: SpikeTrains):
    return trains.to_dict(), limits(trains)


def pynapple(folder: Path, trains: SpikeTrains):
    import pynapple as nap

    support = nap.IntervalSet(*trains.limits)
    units = {k: nap.Ts(t, time_support=support) for k, t in trains.to_dict().items()}
    return nap.TsGroup(units, time_support=support), {}


def pynapple_npz(folder: Path, trains: SpikeTrains):
    path = folder / "pynapple.npz"
    pynapple(folder, trains)[0].save(str(path))
    return path, {}


def neo(folder: Path, trains: SpikeTrains):
    neo = pytest.importorskip("neo")

    start, stop = trains.limits
    return [
        neo.SpikeTrain(
            times * 1e3, t_start=start * 1e3, t_stop=stop * 1e3, units="ms", name=str(k)
        )
        for k, times in trains.to_dict().items()
    ], {}


def table(folder: Path, trains: SpikeTrains):
    return frame(trains), limits(trains)


# Formats in which a silent unit leaves no trace.
FORGETFUL = (csv, tsv_of_samples, parquet, phy, table)
FILES = (
    npz_ticks, npz_seconds, mat_cells, mat_struct, mat_struct_array, mat_flat, mat_73,
    csv, tsv_of_samples, parquet, phy, nwb, pynapple_npz,
)  # fmt: skip
FORMATS = (*FILES, mapping, pynapple, neo, table)
