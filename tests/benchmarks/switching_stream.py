"""How long the streaming filter of 100 neurons takes for a bin.

    python tests/benchmarks/switching_stream.py \\
        --out docs/benchmarks/switching_stream.json

takes in 20,000 bins one after another, from plain arrays to plain arrays, on one
thread.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import neuromod as nm

N_NEURONS, N_STATES, N_BINS = 100, 5, 20_000


def main() -> None:
    """Measure both precisions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [measure(precision) for precision in ("float64", "float32")]
    for row in rows:
        print(json.dumps(row))
    report = {"rows": rows, "environment": nm.info().to_dict()}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def measure(precision: Any) -> dict:
    """Time every bin of a recording, and compare with the filter of the whole."""
    tree: Any = nm.datasets.simulate_switching(
        seed=0,
        n_states=N_STATES,
        n_neurons=N_NEURONS,
        n_sessions=1,
        n_steps=N_BINS,
        connection_probability=0.05,
    )
    spikes = tree["recording"]["spikes"]
    fit = nm.switching.fit(
        spikes[:2000],
        N_STATES,
        seed=0,
        prior="ridge",
        link="sigmoid",
        n_restarts=1,
        tolerance=1e-2,
        precision=precision,
        progress=False,
    )
    stepper = nm.switching.make_stepper(fit)
    state, seconds, found = stepper.start, [], []
    for counts in spikes.values:
        began = time.perf_counter()
        state, probability, _ = stepper.step(state, counts)
        seconds.append(time.perf_counter() - began)
        found.append(probability)
    whole = nm.switching.filter(fit, spikes).values
    median, high, most = np.percentile(seconds, [50, 99, 99.9]) * 1e6
    return {
        "precision": precision,
        "n_neurons": N_NEURONS,
        "n_states": N_STATES,
        "n_bins": N_BINS,
        "median_microseconds": round(float(median), 1),
        "percentile_99_microseconds": round(float(high), 1),
        "percentile_99_9_microseconds": round(float(most), 1),
        "largest_difference_from_filter": float(np.abs(found - whole).max()),
    }


if __name__ == "__main__":
    main()
