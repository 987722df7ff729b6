"""What a switching GLM makes of two real recordings, and how fast it is fitted.

``python tests/benchmarks/switching.py DATA --out docs/benchmarks/switching.json``

DATA is the folder with the recordings that `neuromod.datasets` calls
"rat_ca1_wmaze" and "rat_ca1_linear_track". For each recording and for each basis, a
fit of two states is compared with whether the rat was running or resting, beside all
circular shifts, and scored on stretches that it was not fitted to.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import neuromod as nm

RECORDINGS = ("rat_ca1_wmaze", "rat_ca1_linear_track")
BASES = {"none": None, "exponential": "exponential"}
BIN_SIZE = 0.25
N_FOLDS = 5
GAP = 5.0
SHORTEST_SHIFT = 60.0


def main() -> None:
    """Fit both recordings and write what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    os.environ["NEUROMOD_DATA"] = str(arguments.data)
    rows = [study(recording, basis) for recording in RECORDINGS for basis in BASES]
    for row in rows:
        print(json.dumps(row))
    report = {"rows": rows, "environment": nm.info().to_dict()}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def study(recording: str, basis: str) -> dict:
    """Fit one recording with one basis and hold it against behaviour."""
    tree = nm.datasets.load(recording, bin_size=BIN_SIZE, behaviour=())
    recorded = tree.children["recording"].to_dataset()
    spikes = recorded["spikes"]
    settings: dict[str, Any] = {"seed": 0, "basis": BASES[basis], "prior": "ridge"}
    settings["progress"] = False
    fitted_at = time.process_time()
    fit = nm.switching.fit(spikes, 2, **settings)
    cpu_seconds = time.process_time() - fitted_at
    states = nm.switching.decode(fit, spikes).values
    block = recorded["block"].values
    labelled = block != "unlabelled"
    found = nm.switching.circular_shift_test(
        states[labelled],
        (block == "run")[labelled].astype(int),
        minimum_shift=int(SHORTEST_SHIFT / BIN_SIZE),
    )
    return {
        "recording": recording,
        "basis": basis,
        "bin_size_s": BIN_SIZE,
        "n_bins": spikes.sizes["time"],
        "n_neurons": spikes.sizes["neuron"],
        "cpu_seconds_with_compilation": round(cpu_seconds, 2),
        "converged": bool(fit.data["history"].attrs["converged"]),
        "run_rest_agreement": round(found.agreement, 4),
        "larger_block": round(_larger_share(block[labelled]), 4),
        "shifts_99th_percentile": round(found.percentile_99, 4),
        "shifts_median": round(float(np.median(found.null)), 4),
        "p_value": round(found.p_value, 5),
        "stay_probability": np.diag(fit.model.transition_matrix).round(4).tolist(),
        "held_out_bits_per_spike": _held_out(spikes, settings),
    }


def _larger_share(labels: np.ndarray) -> float:
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def _held_out(spikes, settings: dict) -> dict[str, list[float]]:
    """Return bits per spike of every fold, with two states and with one."""

    def fitter(n_states):
        def fit(train, *, seed):
            own = settings | {"seed": seed, "n_restarts": 2}
            return nm.switching.fit(train, n_states, **own)

        return fit

    scores = nm.core.validation.cross_validate(
        fitter(2),
        nm.switching.score,
        spikes,
        nm.core.validation.blocked_folds(spikes, N_FOLDS, gap=GAP),
        seed=0,
        nulls={"one state": fitter(1)},
        progress=False,
    )
    two, one = scores["bits_per_spike"].transpose("model", "fold").values.round(4)
    return {"2_states": two.tolist(), "1_state": one.tolist()}


if __name__ == "__main__":
    main()
