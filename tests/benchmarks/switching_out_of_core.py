"""One exact iteration of EM on a recording that is not read into memory.

    python tests/benchmarks/switching_out_of_core.py --store FOLDER \\
        --out docs/benchmarks/switching_out_of_core.json

writes the spikes of 100 simulated neurons to FOLDER as zarr, once, and continues a fit
of five states on the first 200,000 and on all 1,000,000 bins of them, each in a
process of its own. Time per iteration is the difference between fits of one and of
three iterations after one that compiled; memory is the most that the process ever
held, of which what the fit returns grows with the bins.
"""

import argparse
import gc
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import neuromod as nm

N_NEURONS, N_STATES = 100, 5
N_BINS = (200_000, 1_000_000)
N_START = 20_000
CHUNK = 20_000
SETTINGS: dict[str, Any] = {"seed": 0, "link": "sigmoid", "progress": False}


def main() -> None:
    """Measure every length in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--precision", default="float64")
    parser.add_argument("--n-bins", type=int, help="Measure this length, here.")
    arguments = parser.parse_args()
    if arguments.n_bins:
        found = measure(arguments.store, arguments.n_bins, arguments.precision)
        print(json.dumps(found))
        return
    prepare(arguments.store)
    rows = [
        apart(arguments.store, n_bins, precision)
        for precision in ("float64", "float32")
        for n_bins in N_BINS
    ]
    report = {"rows": rows, "environment": nm.info().to_dict()}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def apart(store: Path, n_bins: int, precision: str) -> dict:
    """Measure one length in a new process."""
    command = [sys.executable, __file__, "--store", str(store)]
    command += ["--n-bins", str(n_bins), "--precision", precision]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(row), flush=True)
    return row


def prepare(store: Path) -> None:
    """Write spikes and a first fit, unless they are there."""
    store.mkdir(parents=True, exist_ok=True)
    if not (store / "spikes.zarr").exists():
        tree: Any = nm.datasets.simulate_switching(
            seed=0,
            n_states=N_STATES,
            n_neurons=N_NEURONS,
            n_sessions=1,
            n_steps=max(N_BINS),
            connection_probability=0.05,
        )
        spikes = tree["recording"]["spikes"].astype("uint8").chunk(time=CHUNK)
        spikes.to_dataset(name="spikes").to_zarr(
            store / "spikes.zarr", consolidated=False
        )
    if not (store / "start.nc").exists():
        first = opened(store, N_START).load()
        fit = nm.switching.fit(
            first, N_STATES, n_restarts=1, max_iterations=5, **SETTINGS
        )
        fit.save(store / "start.nc")


def opened(store: Path, n_bins: int) -> xr.DataArray:
    """Open the spikes without reading them."""
    return xr.open_zarr(store / "spikes.zarr", consolidated=False)["spikes"][:n_bins]


def measure(store: Path, n_bins: int, precision: Any) -> dict:
    """Continue the fit, and tell what an iteration takes."""
    spikes = opened(store, n_bins)
    start: Any = nm.load(store / "start.nc")
    seconds = {}
    for n_iterations in (1, 1, 3):
        began = time.process_time(), time.perf_counter()
        fit = nm.switching.fit(
            spikes,
            N_STATES,
            init=start,
            max_iterations=n_iterations,
            precision=precision,
            **SETTINGS,
        )
        spent = time.process_time() - began[0], time.perf_counter() - began[1]
        seconds[n_iterations] = np.array(spent)
        per_bin = fit.data.attrs["log_likelihood_per_bin"]
        # The next fit is not to stand beside what this one returned.
        del fit
        gc.collect()
    cpu, wall = (seconds[3] - seconds[1]) / 2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "n_bins": n_bins,
        "precision": precision,
        "cpu_seconds_per_iteration": round(float(cpu), 2),
        "wall_seconds_per_iteration": round(float(wall), 2),
        "peak_memory_gib": round(peak, 3),
        "log_likelihood_per_bin": per_bin,
    }


if __name__ == "__main__":
    main()
