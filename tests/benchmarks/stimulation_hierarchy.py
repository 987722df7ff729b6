"""Hierarchical searches on published problems, beside the shared baselines.

::

    python tests/benchmarks/stimulation_hierarchy.py --store FOLDER --out FILE.json

Every method searches every problem that a baseline of the same name stands for (10
sessions each, in the shared folder), in 30 sessions. At some queries, and on average
over all, the report tells the means of the four published scores, their standard
errors, and how far apart the two are, in standard errors of the difference. Methods
without a baseline are told alone. Each session's scores are kept in the folder: a
second call goes on.

On the paired map sessions begin with those sites of each part that the sessions of the
baseline began with, which their scores tell: these were better than most, and much
depends on them. Where several candidates promise the same the baseline took the first,
and not one at random as the published code: its very first queries there are others.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # idle ones spin

import numpy as np

from neuromod.stimulation import bif, one_way
from neuromod.stimulation.bif import NEURAL, ONE_WAY, Published
from neuromod.stimulation.hierarchy_problems import Problem, pairs, problem, simulate
from neuromod.stimulation.one_way import OneWay
from neuromod.stimulation.parts import Method, Parts
from tests.benchmarks._measure import keep_to, machine

N_SESSIONS, SEED = 30, 0
SCORES = {  # ours: theirs
    "recommended": "RO",
    "exploitation": "exploit",
    "parent_r2": "parent_r2",
    "child_r2": "child_r2",
}
QUERIES = (5, 10, 25, 40, 60, 100)
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "neurostim"


def paired() -> Problem:
    """Return the map of pairs of electrodes."""
    with np.load(SHARED / "nhp_paired_emg4_dt60.npz") as stored:
        table = np.where(stored["known"], stored["map"], np.nan)
        return pairs(table, stored["xy"].astype(float))


def sites_of_baselines(found: Problem) -> np.ndarray:
    """Return which site of each part (session, part, trial) was tried alone.

    Which was of which part is not known. A child that has seen one trial is a bump
    around it, so the score of one that learns no more tells where it was.
    """
    sites, truth = found.parts.sites[0], found.children[0]
    known = np.isfinite(truth)
    apart = np.linalg.norm(sites[:, None] - sites[None, :], axis=-1)
    bumps = np.exp(-apart / np.log(2))  # the length scale that fits start from
    score = [np.corrcoef(bump[known], truth[known])[0, 1] ** 2 for bump in bumps]
    with np.load(SHARED / "baselines_hierarchical.npz") as stored:
        given = stored["paired/laferriere"][:, 0, 3]
    wrong = np.abs(np.add.outer(score, score)[None] / 2 - given[:, None, None])
    if wrong.min(axis=(1, 2)).max() > 1e-4:
        raise RuntimeError("the baselines began in another way")
    both = [np.unravel_index(np.argmin(w), w.shape) for w in wrong]
    return np.array(both)[..., None]


# Name: the problem, queries, trials of each part alone, settings of the published code.
PROBLEMS: dict[str, tuple[Callable[[], Problem], int, int, Published]] = {
    "synthetic3": (lambda: problem("synthetic3"), 100, 3, Published()),
    "synthetic_tests": (lambda: problem("synthetic_tests"), 60, 3, Published()),
    "mult1": (lambda: problem("product", strength=1.0), 60, 3, Published()),
    "paired": (paired, 60, 1, NEURAL),
}
# Name: the method, of the problem's settings and parts. Baselines have these names.
METHODS: dict[str, Callable[[Published, Parts], Method]] = {
    "bif": bif.method,
    "bif_2": lambda s, parts: bif.method(s._replace(parent_weight=2.0), parts),
    "bif_nodown": lambda s, parts: bif.method(s._replace(top_down=False), parts),
    "bif_noprior": lambda s, parts: bif.method(s._replace(child_prior=False), parts),
    "laferriere": lambda s, parts: bif.method(one_sided(s), parts),
    "laferriere_2": lambda s, parts: bif.method(
        one_sided(s)._replace(parent_weight=2.0), parts
    ),
    "one_way_2020": lambda _, parts: one_way.method(OneWay(), parts),
}
EXACT_PARTS = {"laferriere", "laferriere_2"}  # see their parts without noise
WITHOUT_BASELINE = {"one_way_2020"}


def one_sided(settings: Published) -> Published:
    """Return the same settings without what flows down."""
    return settings._replace(
        top_down=ONE_WAY.top_down, first_at_random=ONE_WAY.first_at_random
    )


def cells(baselines: Any) -> list[tuple[str, str]]:
    """Return what is run: each method on each problem with a baseline, or on all."""
    return [
        (name, method)
        for name in PROBLEMS
        for method in METHODS
        if f"{name}/{method}" in baselines or method in WITHOUT_BASELINE
    ]


def scored(name: str, method: str) -> np.ndarray:
    """Return the scores (session, query, score) of a method on a problem."""
    build, n_queries, n_initial, settings = PROBLEMS[name]
    found = build()
    sites = None
    if name == "paired":
        both = sites_of_baselines(found)
        sites = np.resize(np.concatenate([both, both[:, ::-1]]), (N_SESSIONS, 2, 1))
    run = simulate(
        METHODS[method](settings, found.parts),
        found,
        n_queries,
        seed=SEED,
        n_initial=n_initial,
        n_sessions=N_SESSIONS,
        exact_parts=method in EXACT_PARTS,
        sites=sites,
    )
    return np.stack([run[score].values for score in SCORES], axis=-1)


def row(found: np.ndarray, baseline: np.ndarray | None) -> dict[str, Any]:
    """Return means and standard errors, and how far the baseline is from them."""
    told = {"mean": found.mean(axis=0), "error": _error(found)}
    if baseline is not None:
        apart = told["mean"] - baseline.mean(axis=0)
        total = np.hypot(told["error"], _error(baseline))
        told["baseline"] = baseline.mean(axis=0)
        told["apart"] = apart / np.maximum(total, 1e-6)
    return {key: np.round(value, 3).tolist() for key, value in told.items()}


def _error(scores: np.ndarray) -> np.ndarray:
    return scores.std(axis=0, ddof=1) / np.sqrt(len(scores))


def compare(found: np.ndarray, baseline: np.ndarray | None) -> dict[str, Any]:
    """Return the rows of some queries, and of the average over queries."""
    rows = {
        str(q): row(found[:, q - 1], None if baseline is None else baseline[:, q - 1])
        for q in QUERIES
        if q <= found.shape[1]
    }
    over_all = None if baseline is None else baseline.mean(axis=1)
    return rows | {"average": row(found.mean(axis=1), over_all)}


def main() -> None:
    """Run what is not there yet, and write down how it compares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.store.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {}
    with np.load(SHARED / "baselines_hierarchical.npz") as stored:
        baselines = {key: stored[key].astype(float) for key in stored if "/" in key}
    for name, method in cells(baselines):
        path = options.store / f"{name}_{method}.npy"
        if not path.exists():
            np.save(path, scored(name, method))
        key = f"{name}/{method}"
        report[key] = compare(np.load(path), baselines.get(key))
        print(key, json.dumps(report[key]["average"]), flush=True)
    apart = np.array(
        [
            told["apart"]
            for rows in report.values()
            for told in rows.values()
            if "apart" in told
        ]
    )
    summary = {
        "compared": int(apart.size),
        "within_2": int((np.abs(apart) < 2).sum()),
        "within_3": int((np.abs(apart) < 3).sum()),
    }
    print(json.dumps(summary))
    if options.out:
        told = {
            "machine": machine(),
            "sessions": N_SESSIONS,
            "scores": list(SCORES),
            "summary": summary,
            "rows": report,
        }
        options.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    keep_to(1)
    main()
