"""How many strategies does a rat have? Choices predicted in sessions left out.

    python tests/benchmarks/switching_choices.py DATA \\
        --out docs/benchmarks/switching_choices.json

DATA is the folder with the recording that `neuromod.datasets` calls
"rat_delayed_comparison": 20,000 choices in 80 sessions. Bernoulli GLM-HMMs with 1 to 4
states are fitted to four fifths of the sessions and scored on the others by the
likelihood summed over all paths of states, in bits per trial above a coin with the bias
of the sessions that were fitted. Two settings are compared, neither of them tuned here:
the defaults, and those that Ashwood et al. (2022) published (weights of standard
deviation 2, two pseudo-jumps of every kind). The folds are those of `YARDSTICK`, the
same model fitted to the same sessions by another program.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import neuromod as nm

RECORDING = "rat_delayed_comparison"
N_FOLDS = 5
N_STATES = (1, 2, 3, 4)
COMMON: dict[str, Any] = {
    "observation": "bernoulli",
    "basis": None,
    "seed": 0,
    "progress": False,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "ashwood_2022": {"prior": nm.switching.Ridge(1 / 2**2), "concentration": 2.0},
}
# Bits per trial by number of states: plain EM in NumPy, 80 iterations, the best of four
# starts, with the priors of Ashwood et al.
YARDSTICK = {1: 0.0831, 2: 0.0994, 3: 0.1127, 4: 0.1142}


def main() -> None:
    """Fit every number of states with both settings and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    os.environ["NEUROMOD_DATA"] = str(arguments.data)
    recording = nm.datasets.load(RECORDING).children["recording"].to_dataset()
    rows = []
    for settings in SETTINGS:
        for n_states in N_STATES:
            rows.append(study(recording, n_states, settings))
            print(json.dumps(rows[-1]), flush=True)
    report = {"recording": RECORDING, "rows": rows}
    report["strategies"] = strategies(recording, 3, "ashwood_2022")
    report["environment"] = nm.info().to_dict()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def study(recording, n_states: int, settings: str) -> dict:
    """Score one model on all folds."""
    session = recording["session"].values.astype(int)
    fold = np.random.default_rng(0).permutation(session.max() + 1) % N_FOLDS
    started = time.process_time()
    found, converged = [], 0
    for held_out in range(N_FOLDS):
        tested = fold[session] == held_out
        fit = fitted(recording.isel(time=~tested), n_states, settings)
        found.append(scores(fit, recording.isel(time=tested)))
        converged += bool(fit.data["history"].attrs["converged"])
    n_trials, gained, told = np.array(found).T
    bits = gained.sum() / n_trials.sum() / np.log(2)
    return {
        "settings": settings,
        "n_states": n_states,
        "nats_per_trial": round(told.sum() / n_trials.sum(), 5),
        "bits_per_trial": round(bits, 4),
        "yardstick_bits_per_trial": YARDSTICK[n_states],
        "fold_bits_per_trial": (gained / n_trials / np.log(2)).round(4).tolist(),
        "n_folds_converged": converged,
        "cpu_seconds_with_compilation": round(time.process_time() - started, 1),
    }


def fitted(recording, n_states: int, settings: str) -> nm.Result:
    """Fit the choices of some sessions."""
    own = COMMON | SETTINGS[settings]
    choices, inputs = recording["choices"], recording["inputs"]
    return nm.switching.fit(choices, n_states, inputs=inputs, **own)


def scores(fit: nm.Result, recording) -> tuple[int, float, float]:
    """Return the number of trials, and nats above the coin and in all."""
    choices, inputs = recording["choices"], recording["inputs"]
    score = nm.switching.score(fit, choices, inputs=inputs)
    n_trials = choices.sizes["time"]
    total = float(score["log_likelihood"])
    return n_trials, total - n_trials * float(score["null_per_bin"]), total


def strategies(recording, n_states: int, settings: str) -> list[dict]:
    """Tell what the states weigh, of a fit to all sessions."""
    fit = fitted(recording, n_states, settings)
    parameters: Any = fit.data["parameters"].to_dataset()
    shares = nm.switching.occupancy(fit.data["latent"]["state_probability"]).values
    labels = parameters["input"].values.tolist()
    return [
        {
            "occupancy": round(float(shares[state]), 3),
            "stay_probability": round(
                float(fit.model.transition_matrix[state, state]), 3
            ),
            "bias": round(float(fit.model.bias[state, 0]), 2),
        }
        | dict(
            zip(labels, fit.model.input_weight[state, 0].round(2).tolist(), strict=True)
        )
        for state in range(n_states)
    ]


if __name__ == "__main__":
    main()
