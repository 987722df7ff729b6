"""Hierarchical searches on published problems, beside the shared baselines.

::

    python tests/benchmarks/stimulation_hierarchy.py --store FOLDER --out FILE.json

Every method searches every problem that a baseline of the same name stands for (10
sessions each, in the shared folder), in 30 sessions. At some queries, and on average
over all, the report tells the means of the four published scores, their standard
errors, and how far apart the two are, in standard errors of the difference. Methods
without a baseline are told alone. `joint` and `flat` are the search of a session, with
its regression fitted after every trial and the bound of the baselines. Each session's
scores are kept in the folder: a second call goes on.

On the paired map sessions begin with those sites of each part that the sessions of the
baseline began with, which their scores tell: these were better than most, and much
depends on them. Where several candidates promise the same the baseline took the first,
and not one at random as the published code: its very first queries there are others.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # idle ones spin

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.stimulation import bif, one_way
from neuromod.stimulation.bif import NEURAL, ONE_WAY, Published
from neuromod.stimulation.ground import Ground
from neuromod.stimulation.hierarchy_problems import (
    Problem,
    draw_sites,
    pairs,
    problem,
    scores,
    simulate,
    try_sites,
)
from neuromod.stimulation.layout import Block, flat
from neuromod.stimulation.one_way import OneWay
from neuromod.stimulation.parts import Belief, Method, Parts
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.search import Search
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
SEARCH = Rule(  # the regression of the baselines, and their weak priors
    family="matern52",
    noise=0.05,
    interaction=1 / 6,
    trend=0.0,
    scale=1.0,
    n_prior=0.5,
    logarithm=False,
    by_candidates=False,
    with_noise=True,
    by_visits=True,
    refit=1,
    length_freedom=1.0,
    variance_freedom=1.5,
)
LENGTH = 0.25  # in units of what a coordinate spans
# Name: whether parts are known, the weight (that of the problem's settings if none),
# and the baseline.
SEARCHES: dict[str, tuple[bool, float | None, str]] = {
    "joint": (True, None, "joint_8"),
    "joint_2": (True, 2.0, "joint_2"),
    "flat": (False, None, "vanilla"),
}
WITHOUT_BASELINE = {"one_way_2020", "joint", "flat"}


def one_sided(settings: Published) -> Published:
    """Return the same settings without what flows down."""
    return settings._replace(
        top_down=ONE_WAY.top_down, first_at_random=ONE_WAY.first_at_random
    )


def baseline_of(method: str) -> str:
    """Return the name of a method's baseline."""
    return SEARCHES[method][2] if method in SEARCHES else method


def cells(baselines: Any) -> list[tuple[str, str]]:
    """Return what is run: each method on each problem with a baseline, or on all."""
    return [
        (name, method)
        for name in PROBLEMS
        for method in (*METHODS, *SEARCHES)
        if f"{name}/{baseline_of(method)}" in baselines or method in WITHOUT_BASELINE
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


def searched(name: str, method: str) -> np.ndarray:
    """Return the scores (session, query, score) of a search as sessions have it."""
    build, n_queries, n_initial, settings = PROBLEMS[name]
    has_parts, weight, _ = SEARCHES[method]
    found = build()
    weight = weight or settings.parent_weight
    span = float(np.ptp(found.parts.at, axis=0).max())
    length = 1.5 if name == "paired" else LENGTH * span
    rule = SEARCH._replace(length_scale=length, first_weight=weight, last_weight=weight)
    search = Search(ground_of(found, has_parts=has_parts), rule, n_queries)
    return np.stack(
        [
            searched_once(search, found, n_queries, n_initial, seed)
            for seed in range(SEED, SEED + N_SESSIONS)
        ]
    )


def ground_of(found: Problem, *, has_parts: bool) -> Ground:
    """Return the candidates of a problem, and the sites of its parts after them."""
    whole = np.asarray(found.parts.at)
    if not has_parts:
        return Ground(whole, np.zeros(len(whole), int), flat(whole.shape[1]))
    rows, levels, blocks = [whole], [np.zeros(len(whole), int)], []
    both = zip(found.parts.sites, found.parts.dimensions, strict=True)
    for k, (sites, seen) in enumerate(both, start=1):
        at = np.zeros((len(sites), whole.shape[1]))
        at[:, seen] = sites
        rows.append(at)
        levels.append(np.full(len(sites), k))
        blocks.append(Block(f"part {k}", seen))
    block = Block("whole", tuple(range(whole.shape[1])), tuple(blocks))
    return Ground(np.concatenate(rows), np.concatenate(levels), block)


def searched_once(
    search: Search, found: Problem, n_queries: int, n_initial: int, seed: int
) -> np.ndarray:
    """Return the scores (query, score) of one session."""
    rng = np.random.default_rng(seed)
    whole = search.ground.level == 0
    search.forget()
    with jax.enable_x64(True):
        one, other = jax.random.split(jax.random.key(seed))
        sites = draw_sites(one, found, n_initial)
        seen = try_sites(other, found, sites, noisy=True)
    if len(whole) > whole.sum():
        for k, observed in enumerate(seen, start=1):
            first = int(np.flatnonzero(search.ground.level == k)[0])
            for site, response in zip(observed.site, observed.response, strict=True):
                search.learn(search.place(first + int(site)), np.asarray([response]))
    told = []
    for query in range(n_queries + 1):  # the first has no score
        chosen = search.choose(seed, query, whole)
        mean = found.mean[chosen]
        response = (
            mean * rng.gamma(1 / found.noise**2, found.noise**2)
            if found.proportional
            else mean + found.noise * rng.normal()
        )
        search.learn(search.place(chosen), np.array([response]))
        fitted = search.refit()
        search.adopt(fitted.parameters, fitted.n_trials, fitted.rebuilt)
        told.append(score_row(search, found, chosen))
    return np.array(told[1:])


def score_row(search: Search, found: Problem, chosen: int) -> list[float]:
    """Return the scores of what a search knows."""
    known, levels = search.belief(), search.ground.level
    with jax.enable_x64(True):
        mean, deviation = known.mean[:, 0], known.deviation[:, 0]
        parts = tuple(mean[levels == k] for k in range(1, int(levels.max()) + 1))
        believed = Belief(mean[levels == 0], deviation[levels == 0], parts)
        row = scores(found, believed, jnp.asarray(chosen))
    return [float(row[score]) if score in row else np.nan for score in SCORES]


def row(found: np.ndarray, baseline: np.ndarray | None) -> dict[str, Any]:
    """Return means and standard errors, and how far the baseline is from them."""
    told = {"mean": found.mean(axis=0), "error": _error(found)}
    if baseline is not None:
        apart = told["mean"] - baseline.mean(axis=0)
        total = np.hypot(told["error"], _error(baseline))
        told["baseline"] = baseline.mean(axis=0)
        told["apart"] = apart / np.maximum(total, 1e-6)
    return {
        key: [round(float(x), 3) if np.isfinite(x) else None for x in value]
        for key, value in told.items()
    }


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


def within(report: dict[str, Any], methods: Iterable[str]) -> dict[str, int]:
    """Return how many numbers of some methods are near those of their baselines."""
    apart = [
        abs(x)
        for key, rows in report.items()
        for told in rows.values()
        for x in told.get("apart", [])
        if key.split("/")[1] in methods and x is not None
    ]
    return {
        "compared": len(apart),
        "within 2 errors": sum(x < 2 for x in apart),
        "within 3 errors": sum(x < 3 for x in apart),
    }


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
            run = searched if method in SEARCHES else scored
            np.save(path, run(name, method))
        key = f"{name}/{method}"
        theirs = baselines.get(f"{name}/{baseline_of(method)}")
        report[key] = compare(np.load(path), theirs)
        print(key, json.dumps(report[key]["average"]), flush=True)
    summary = {
        "published": within(report, METHODS),
        "search of a session": within(report, SEARCHES),
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
