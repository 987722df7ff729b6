"""Tune the default search on simulated maps, beside the published rules.

::

    python tests/benchmarks/stimulation_tuning.py --store FOLDER --out tuning.json

Every rule of a grid searches the same simulated maps of a primate's array (96 sites
and queries) and of a rat's (32), and averages over rats, which are above one of several
floors and have trials that vary by .3; and so do the published rules, with fixed and
with fitted length scales. What counts is the smallest gain over these, in exploration
and in exploitation, on any of the three. Maps of single animals take no part. Each
rule's scores are kept in the folder: a second call goes on.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from neuromod.datasets import load
from neuromod.stimulation.covariance import Family
from neuromod.stimulation.maps import array_of, simulate_world
from neuromod.stimulation.presets import preset
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.simulate import World, noisy_world, simulate
from tests.benchmarks._measure import keep_to, machine


class Kind(NamedTuple):
    """Maps of one kind: worlds on an array, and sessions of each."""

    array: str
    positions: np.ndarray
    n_queries: int
    worlds: list[World]
    n_sessions: int = 1


FIRST_MAP, N_MAPS = 10_000, 200  # the first thousand are for looking
FLOORS, VARIATION, N_SESSIONS = (0.1, 0.25, 0.4), 0.3, 40  # of averages over rats
LENGTHS: dict[Family, tuple[float, ...]] = {"matern32": (1.4, 1.8, 2.4)}
TRENDS, NOISES = (0.0, 0.5, 0.7), (0.1, 0.2)
WEIGHTS = tuple((first, last) for first in (1.3, 1.5, 1.8) for last in (0.35, 0.5))
PUBLISHED = ("fixed", "fitted")
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "neurostim"


def kinds() -> dict[str, Kind]:
    """Return what is searched."""
    primate, rat = array_of(10, 10, corners=False), array_of(8, 4)
    seeds = range(FIRST_MAP, FIRST_MAP + N_MAPS)
    of_primate = [simulate_world(primate, seed=k, floor=(0.0, 0.2)) for k in seeds]
    of_rat = [simulate_world(rat, seed=k, floor=(0.2, 0.5)) for k in seeds]
    maps = load("rat_population_maps")["maps"].to_dataset()
    averages = [
        noisy_world((1 - floor) * mean + floor, VARIATION, seed=k)
        for k, mean in enumerate(maps["mean"].values.T)
        for floor in FLOORS
    ]
    at = maps["position"].values
    return {
        "primate": Kind("primate", primate, 96, of_primate),
        "rat": Kind("rat", rat, 32, of_rat),
        "average rat": Kind("rat", at, 32, averages, N_SESSIONS),
    }


def rules() -> list[Rule]:
    """Return the grid."""
    return [
        Rule(
            family=family,
            length_scale=length,
            noise=noise,
            trend=trend,
            first_weight=first,
            last_weight=last,
        )
        for family, lengths in LENGTHS.items()
        for length in lengths
        for noise in NOISES
        for trend in TRENDS
        for first, last in WEIGHTS
    ]


def published(name: str, variant: str) -> Rule:
    """Return the published rule of an array."""
    return preset(f"bonizzato_{name}" + "_fitted" * (variant == "fitted"))


def scores(kind: Kind, rule: Rule) -> dict[str, float]:
    """Return the mean scores of a rule on all maps of a kind."""
    found = [
        simulate(
            world,
            kind.positions,
            rule,
            kind.n_queries,
            seed=k,
            n_sessions=kind.n_sessions,
        )
        for k, world in enumerate(kind.worlds)
    ]
    return {
        score: sum(float(run[score].mean()) for run in found) / len(found)
        for score in ("exploration", "exploitation")
    }


def main() -> None:
    """Score every rule, and write down the gains."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("NEUROMOD_DATA", str(SHARED))
    options.store.mkdir(parents=True, exist_ok=True)
    path = options.store / "scores.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    searched = kinds()
    grid = [json.dumps(rule._asdict()) for rule in rules()]
    for key in [*PUBLISHED, *grid]:
        if key not in known:
            known[key] = {
                name: scores(
                    kind,
                    published(kind.array, key)
                    if key in PUBLISHED
                    else Rule(**json.loads(key)),
                )
                for name, kind in searched.items()
            }
            path.write_text(json.dumps(known))
    baselines = {key: known[key] for key in PUBLISHED}
    rows = sorted((gains(key, known[key], baselines) for key in grid), key=rank)
    for row in rows[:10]:
        print(json.dumps(row))
    if options.out:
        report = {"machine": machine(), "published": baselines, "rules": rows}
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def gains(key: str, found: dict, baselines: dict[str, dict]) -> dict[str, Any]:
    """Return a rule and how much better it is than the better of the published ones."""
    gain = {
        f"{name} {score}": round(
            value - max(row[name][score] for row in baselines.values()), 4
        )
        for name, row in found.items()
        for score, value in row.items()
    }
    default = Rule()._asdict()
    changed = {k: v for k, v in json.loads(key).items() if v != default[k]}
    return {"rule": changed, "gain": gain}


def rank(row: dict[str, Any]) -> float:
    """Order rules by their smallest gain."""
    return -min(row["gain"].values())


if __name__ == "__main__":
    keep_to(1)
    main()
