"""Time what happens between two stimuli, beside BoTorch.

::

    python3.11 -m venv peer && peer/bin/pip install torch botorch
    python tests/benchmarks/stimulation.py --peer-python peer/bin/python \
        --out docs/benchmarks/stimulation.json

A decision is to take in a response, to weigh all candidates and to name the best: on an
array of 10 x 10 electrodes, and on 8^5 candidates of five dimensions. The first table
has it after 20, 100 and 200 trials at different candidates, beside BoTorch 's refit and
`condition_on_observations`. The second has all 500 decisions of a session, by the room
that its regression had: their median, and the 99th percentile over it. Each library has
one core and one thread; figures are CPU time of the process, compilation apart.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from neuromod.stimulation import programs, steady
from neuromod.stimulation.ground import ground
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.search import Search
from tests.benchmarks._measure import keep_to, machine

GRIDS = {"10 x 10": (10, 10), "8^5": (8,) * 5}
GATES = {"10 x 10": 5e-3, "8^5": 50e-3}
N_TRIALS, N_DECISIONS, N_SESSION = (20, 100, 200), 15, 500
RATIO, LATE = 50.0, 3.0
PEER = Path(__file__).with_name("_stimulation_botorch.py")


def coordinates(shape: tuple[int, ...]) -> np.ndarray:
    """Return all points of a grid (candidate, dimension)."""
    axes = [np.arange(n, dtype=float) for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))


def responses(at: np.ndarray, seed: int) -> np.ndarray:
    """Return noisy responses of a hill (candidate,)."""
    rng = np.random.default_rng(seed)
    summit = at.max(axis=0) * 0.6
    hill = 0.1 + np.exp(-np.square((at - summit) / 3).sum(axis=1))
    return hill * rng.gamma(10.0, 0.1, len(at))


def decide(search: Search, candidate: int, response: float) -> tuple[int, float]:
    """Return the next candidate, and the CPU time that it took."""
    allowed = np.ones(len(search.n_visits), bool)
    start = time.process_time()
    search.learn(search.place(candidate), np.array([response]))
    chosen = search.choose(0, len(search.rows), allowed)
    return chosen, time.process_time() - start


def after(at: np.ndarray, n_trials: int) -> float:
    """Return the median time of decisions after trials at different candidates."""
    rng = np.random.default_rng(0)
    search = Search(ground(at), Rule(), N_SESSION)
    search.prepare(n_trials + N_DECISIONS + 1)
    y = responses(at, 0)
    sites = rng.permutation(len(at))
    sites = np.resize(sites, n_trials + N_DECISIONS)
    times = [decide(search, int(site), y[site])[1] for site in sites]
    return median(times[n_trials:])


def session(at: np.ndarray) -> list[dict[str, Any]]:
    """Return the times of all decisions of a session, by room."""
    search = Search(ground(at), Rule(), N_SESSION)
    search.prepare(N_SESSION)
    steady.begin()  # as a session does
    kinds: tuple[Any, ...] = (
        programs.append_row,
        programs.most_promising,
        programs.widen_room,
    )
    n_programs = [kind._cache_size() for kind in kinds]
    rng = np.random.default_rng(1)
    chosen, by_room = int(rng.integers(len(at))), {}
    for n in range(N_SESSION):
        response = responses(at[[chosen]], n)[0]
        chosen, seconds = decide(search, chosen, response)
        by_room.setdefault(len(search.known.trials.noise), []).append(seconds)
    steady.end()
    assert [kind._cache_size() for kind in kinds] == n_programs, "something compiled"
    return [
        {
            "room": room,
            "decisions": len(times),
            "median": median(times),
            "late": float(np.quantile(times, 0.99)) / median(times),
        }
        for room, times in by_room.items()
    ]


def peer(python: str, at: np.ndarray, n_trials: int) -> dict[str, Any]:
    """Return the times of BoTorch after as many trials."""
    sites = np.resize(np.random.default_rng(0).permutation(len(at)), n_trials)
    y = np.log(responses(at, 0) + 0.01)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trials.npz"
        np.savez(path, grid=at, x=at[sites], y=y[sites, None])
        command = [python, str(PEER), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Time both grids, print the tables, and judge them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", help="a Python with botorch")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows, sessions, versions = [], {}, {}
    for name, shape in GRIDS.items():
        at = coordinates(shape)
        for n_trials in N_TRIALS:
            row = {"grid": name, "trials": n_trials, "neuromod": after(at, n_trials)}
            if options.peer_python:
                theirs = peer(options.peer_python, at, n_trials)
                versions = theirs.pop("versions")
                row |= theirs
            rows.append(row)
            print(json.dumps(row), flush=True)
        sessions[name] = session(at)
        for line in sessions[name]:
            print(json.dumps({"grid": name} | line), flush=True)
    judged = verdicts(rows, sessions)
    print(json.dumps(judged))
    if options.out:
        report = {"machine": machine(), "peer": versions, "decisions": rows}
        report |= {"sessions": sessions, "verdicts": judged}
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def verdicts(rows: list[dict[str, Any]], sessions: dict[str, Any]) -> dict[str, bool]:
    """Return which gates are met."""
    last = [row for row in rows if row["trials"] == N_TRIALS[-1]]
    found = {
        f"{row['grid']}: a decision at {row['trials']} trials": row["neuromod"]
        <= GATES[row["grid"]]
        for row in last
    }
    for row in last:
        if "refit" in row:
            ratio = row["refit"] / row["neuromod"]
            found[f"{row['grid']}: {ratio:.0f} times a refit of BoTorch"] = (
                ratio >= RATIO
            )
    for name, lines in sessions.items():
        worst = max(line["late"] for line in lines)
        found[f"{name}: 99th percentile {worst:.2f} medians"] = worst <= LATE
    return found


if __name__ == "__main__":
    keep_to(1)
    main()
