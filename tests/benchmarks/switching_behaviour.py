"""Do hidden states of the hippocampus tell running from resting?

    python tests/benchmarks/switching_behaviour.py DATA \\
        --out docs/benchmarks/switching_behaviour.json

DATA is the folder with the recordings that `neuromod.datasets` calls "rat_ca1_wmaze"
(run, rest, run, rest) and "rat_ca1_linear_track" (run, rest). Two to six states are
fitted to the spikes alone, in bins of 250 ms, with default settings and with a ridge.

- Two states are matched to the two behaviours (Hungarian assignment) over all labelled
  bins, and compared with circular shifts that are matched anew.
- Of more states, each is given the behaviour in which it was seen most in the first
  pair of blocks, and the behaviour so told is scored in the second pair. The linear
  track has one pair alone: the first half of each block teaches there, the second is
  scored. The null shifts the labels within what is scored; nothing is matched.

Shifts by less than a minute are left out. Behaviour changes once or three times in a
recording: to lie above the shifts is little evidence then, since a population that
merely drifts fits a single change best where it is.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import neuromod as nm
from neuromod.switching.metrics import confusion

RECORDINGS = ("rat_ca1_wmaze", "rat_ca1_linear_track")
PRIORS = ("one_hot", "ridge")
N_STATES = (2, 3, 4, 5, 6)
BIN_SIZE = 0.25
SHORTEST_SHIFT = 60.0
# The agreement, that of every shift, and whether the animal ran in the scored bins.
Judged = tuple[float, np.ndarray, np.ndarray]


def main() -> None:
    """Fit both recordings with every number of states and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    os.environ["NEUROMOD_DATA"] = str(arguments.data)
    rows = []
    for name in RECORDINGS:
        tree = nm.datasets.load(name, bin_size=BIN_SIZE, behaviour=None)
        recording = tree.children["recording"].to_dataset()
        for prior in PRIORS:
            for n_states in N_STATES:
                told = study(recording, n_states, prior)
                rows.append({"recording": name, "prior": prior, **told})
                print(json.dumps(rows[-1]), flush=True)
    report = {"bin_size_s": BIN_SIZE, "shortest_shift_s": SHORTEST_SHIFT, "rows": rows}
    report["environment"] = nm.info().to_dict()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def study(recording, n_states: int, prior: str) -> dict[str, Any]:
    """Fit the spikes alone, then hold the states against behaviour."""
    spikes, block = recording["spikes"], recording["block"].values
    started = time.process_time()
    fit = nm.switching.fit(spikes, n_states, seed=0, prior=prior, progress=False)
    cpu_seconds = time.process_time() - started
    states = nm.switching.decode(fit, spikes).values
    judge = matched if n_states == 2 else taught
    agreement, null, labels = judge(states, block)
    percentile = float(np.quantile(null, 0.99))
    stays = np.diag(np.asarray(fit.model.transition_matrix))
    return {
        "n_states": n_states,
        "rule": judge.__name__,
        "agreement": round(agreement, 4),
        "shifts_99th_percentile": round(percentile, 4),
        "shifts_median": round(float(np.median(null)), 4),
        "above": agreement > percentile,
        "p_value": round((1 + int((null >= agreement).sum())) / (1 + len(null)), 5),
        "larger_block": round(float(max(labels.mean(), 1 - labels.mean())), 4),
        "n_scored_bins": len(labels),
        "mean_dwell_s": (BIN_SIZE / (1 - stays)).round(2).tolist(),
        "converged": bool(fit.data["history"].attrs["converged"]),
        "cpu_seconds_with_compilation": round(cpu_seconds, 1),
    }


def matched(states: np.ndarray, block: np.ndarray) -> Judged:
    """Match two states to two behaviours, here and at every shift."""
    labelled = block != "unlabelled"
    labels = (block == "run")[labelled]
    found = nm.switching.circular_shift_test(
        states[labelled],
        labels.astype(int),
        minimum_shift=int(SHORTEST_SHIFT / BIN_SIZE),
    )
    return found.agreement, found.null, labels


def taught(states: np.ndarray, block: np.ndarray) -> Judged:
    """Learn which behaviour each state means, then score what has not been seen."""
    teaching, scored = halves(block)
    running = block == "run"
    counts = confusion(states[teaching], running[teaching].astype(int))
    # A state that was never seen means the behaviour that was seen more.
    means_run = np.full(states.max() + 1, running[teaching].mean() > 0.5)
    seen = counts.sum(axis=1) > 0
    means_run[: len(counts)][seen] = (counts[:, 1] > counts[:, 0])[seen]
    told, labels = means_run[states[scored]], running[scored]
    shortest = int(SHORTEST_SHIFT / BIN_SIZE)
    shifts = range(shortest, len(labels) - shortest + 1)
    null = np.array([(told == np.roll(labels, shift)).mean() for shift in shifts])
    return float((told == labels).mean()), null, labels


def halves(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide labelled bins into those that teach and those that are scored.

    The first run and rest teach and the second are scored; where there is one of each,
    its first half teaches.
    """
    edges = np.flatnonzero(block[1:] != block[:-1]) + 1
    parts = np.split(np.arange(len(block)), edges)
    parts = [part for part in parts if block[part[0]] != "unlabelled"]
    if len(parts) >= 4:
        first, second = parts[:2], parts[2:4]
    else:
        first = [part[: len(part) // 2] for part in parts]
        second = [part[len(part) // 2 :] for part in parts]
    return np.concatenate(first), np.concatenate(second)


if __name__ == "__main__":
    main()
