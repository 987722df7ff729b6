"""The default search and the published rules on recorded maps, beside the baselines.

::

    python tests/benchmarks/stimulation_maps.py --store FOLDER --out FILE.json

Maps of a capuchin (single trials), a macaque and a rat (means, trials drawn around
them) are searched by the published rules, with fixed and with fitted length scales, and
by the default rule, which was tuned on other maps (``stimulation_tuning.py``). The
scores are those of the baselines in the shared folder, at some queries and on average
over all: the mean over muscles, with its standard error over sessions (muscles as they
are) and over muscles. How far a rule is from a baseline is told in standard errors of
the difference over sessions. Each animal's sessions are kept in the folder: a second
call goes on.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from neuromod.stimulation.presets import preset
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.simulate import World, noisy_world, recorded_world, simulate
from tests.benchmarks._measure import keep_to, machine

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "neurostim"
VARIATION = 0.3  # of single trials around a mean, as in the baselines
N_SESSIONS = {"fixed": 50, "fitted": 50, "default": 200}
SCORES = {"exploration": "explore", "exploitation": "exploit"}  # ours: theirs
# Name: the file, the array of the published rules, queries, and those that are told.
ANIMALS: dict[str, tuple[str, str, int, tuple[int, ...]]] = {
    "cebus1": ("nhp_cebus1_m1_trials.npz", "primate", 96, (10, 24, 30, 48, 96)),
    "macaque2": ("nhp_macaque2_m1_digitised.npz", "primate", 96, (10, 24, 30, 48, 96)),
    "rat2": ("rat2_m1_means.npz", "rat", 32, (10, 20, 32)),
}


def worlds(name: str) -> tuple[np.ndarray, list[World]]:
    """Return positions of electrodes, and a world of each muscle."""
    with np.load(SHARED / ANIMALS[name][0]) as stored:
        at, mean = stored["ch2xy"].astype(float), stored["mean"].astype(float)
        if "resp" in stored.files:
            trials = np.where(stored["valid"], stored["resp"], np.nan).astype(float)
            return at, [recorded_world(one) for one in trials.swapaxes(0, 1)]
    return at, [noisy_world(one, VARIATION, seed=k) for k, one in enumerate(mean.T)]


def rule_of(variant: str, array: str) -> Rule:
    """Return the rule of a row of the table."""
    if variant == "default":
        return Rule()
    return preset(f"bonizzato_{array}" + "_fitted" * (variant == "fitted"))


def searched(name: str, variant: str) -> np.ndarray:
    """Return the scores (score, muscle, session, query) of a rule on an animal."""
    _, array, n_queries, _ = ANIMALS[name]
    at, muscles = worlds(name)
    rule = rule_of(variant, array)
    runs = [
        simulate(world, at, rule, n_queries, seed=k, n_sessions=N_SESSIONS[variant])
        for k, world in enumerate(muscles)
    ]
    return np.array([[run[score].values for run in runs] for score in SCORES])


def baseline(stored: Any, name: str, variant: str) -> np.ndarray:
    """Return the same of a baseline."""
    keys = [f"{name}/{variant}/{theirs}" for theirs in SCORES.values()]
    return np.array([stored[key].astype(float) for key in keys])


def summed(scores: np.ndarray, queries: tuple[int, ...]) -> dict[str, Any]:
    """Return means and standard errors of what was scored (score, muscle, ...)."""
    told: dict[str, Any] = {}
    for score, found in zip(SCORES, scores, strict=True):
        columns = {str(q): found[..., q - 1] for q in queries}
        columns["average"] = found.mean(axis=-1)
        told[score] = {q: _mean_and_errors(column) for q, column in columns.items()}
    return told


def _mean_and_errors(column: np.ndarray) -> dict[str, float]:
    n_muscles, n_sessions = column.shape
    of_muscle = column.mean(axis=1)
    between = column.var(axis=1, ddof=1) / n_sessions
    return {
        "mean": float(of_muscle.mean()),
        "error_over_sessions": float(np.sqrt(between.sum()) / n_muscles),
        "error_over_muscles": float(of_muscle.std(ddof=1) / np.sqrt(n_muscles)),
    }


def apart(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Return how much more ours is, and in standard errors over sessions."""
    told: dict[str, Any] = {}
    for score, columns in ours.items():
        for q, column in columns.items():
            other = theirs[score][q]
            name = "error_over_sessions"
            error = float(np.hypot(column[name], other[name]))
            gain = column["mean"] - other["mean"]
            told.setdefault(score, {})[q] = {"gain": gain, "in_errors": gain / error}
    return told


def main() -> None:
    """Search what was not searched yet, and write down how it compares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=list(N_SESSIONS), nargs="*")
    options = parser.parse_args()
    options.store.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {}
    with np.load(SHARED / "baselines_gpbo.npz") as stored:
        for name, (_, _, _, queries) in ANIMALS.items():
            bars = {
                variant: summed(baseline(stored, name, variant), queries)
                for variant in ("fixed", "fitted")
            }
            report[name] = {"baselines": bars}
            for variant in options.only or N_SESSIONS:
                path = options.store / f"{name}_{variant}.npy"
                if not path.exists():
                    np.save(path, searched(name, variant))
                scores = np.load(path)
                found = summed(scores, queries)
                row: dict[str, Any] = {"scores": found}
                for bar, theirs in bars.items():
                    if variant in ("default", bar):
                        row[f"beside {bar}"] = apart(found, theirs)
                if variant == "default":
                    row["first_query_at_.9"] = _first(scores[0], 0.9)
                report[name][variant] = row
                print(name, variant, _line(row), flush=True)
    if options.out:
        told = {
            "machine": machine(),
            "rule": Rule()._asdict(),
            "sessions": N_SESSIONS,
            "animals": _rounded(report),
        }
        options.out.write_text(json.dumps(told, indent=1) + "\n")


def _first(exploration: np.ndarray, level: float) -> int | None:
    """Return the first query from which on the mean exploration is at a level."""
    low = np.flatnonzero(exploration.mean(axis=(0, 1)) < level)
    last = int(low[-1]) + 2 if len(low) else 1
    return last if last <= exploration.shape[-1] else None


def _line(row: dict[str, Any]) -> str:
    means = {
        score: round(columns["average"]["mean"], 4)
        for score, columns in row["scores"].items()
    }
    besides = {
        f"{bar} {score}": round(columns["average"]["in_errors"], 2)
        for bar, scores in row.items()
        if bar.startswith("beside")
        for score, columns in scores.items()
    }
    return json.dumps(means | besides)


def _rounded(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _rounded(value) for key, value in tree.items()}
    return round(tree, 4) if isinstance(tree, float) else tree


if __name__ == "__main__":
    keep_to(1)
    main()
