"""Tune the default search on simulated maps, beside the published rules.

::

    python tests/benchmarks/stimulation_tuning.py --store FOLDER --out tuning.json

Every rule of a grid searches the same simulated maps of a primate's array (96 sites
and queries) and of a rat's (32), and so do the published rules, with fixed and with
fitted length scales. What counts is the smallest gain over these, in exploration and in
exploitation, of both arrays. Recorded maps take no part. Each rule's scores are kept in
the folder: a second call goes on.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from neuromod.stimulation.covariance import Family
from neuromod.stimulation.maps import array_of, simulate_world
from neuromod.stimulation.presets import preset
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.simulate import simulate
from tests.benchmarks._measure import keep_to, machine

ARRAYS = {
    "primate": (array_of(10, 10, corners=False), 96, (0.0, 0.2)),
    "rat": (array_of(8, 4), 32, (0.2, 0.5)),
}
FIRST_MAP, N_MAPS, N_SESSIONS = 10_000, 200, 1  # the first thousand are for looking
LENGTHS: dict[Family, tuple[float, ...]] = {
    "matern12": (2.0, 3.5),
    "matern32": (1.4, 1.8, 2.4),
    "matern52": (1.2, 1.6, 2.2),
}
NOISES = (0.15, 0.3)
WEIGHTS = tuple((first, last) for first in (1.1, 1.3, 1.5) for last in (0.3, 0.45, 0.6))
PUBLISHED = ("fixed", "fitted")


def rules() -> list[Rule]:
    """Return the grid."""
    return [
        Rule(
            family=family,
            length_scale=length,
            noise=noise,
            first_weight=first,
            last_weight=last,
        )
        for family, lengths in LENGTHS.items()
        for length in lengths
        for noise in NOISES
        for first, last in WEIGHTS
    ]


def published(name: str, variant: str) -> Rule:
    """Return the published rule of an array."""
    return preset(f"bonizzato_{name}" + "_fitted" * (variant == "fitted"))


def scores(name: str, rule: Rule, worlds: list[Any]) -> dict[str, float]:
    """Return the mean scores of a rule on all maps of an array."""
    positions, n_queries, _ = ARRAYS[name]
    found = [
        simulate(world, positions, rule, n_queries, seed=k, n_sessions=N_SESSIONS)
        for k, world in enumerate(worlds)
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
    options.store.mkdir(parents=True, exist_ok=True)
    path = options.store / "scores.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    worlds = {
        name: [
            simulate_world(array, seed=FIRST_MAP + k, floor=floor)
            for k in range(N_MAPS)
        ]
        for name, (array, _, floor) in ARRAYS.items()
    }
    for key in [*PUBLISHED, *(json.dumps(rule._asdict()) for rule in rules())]:
        if key not in known:
            known[key] = {
                name: scores(
                    name,
                    published(name, key)
                    if key in PUBLISHED
                    else Rule(**json.loads(key)),
                    worlds[name],
                )
                for name in ARRAYS
            }
            path.write_text(json.dumps(known))
    baselines = {key: known.pop(key) for key in PUBLISHED}
    rows = sorted((gains(*item, baselines) for item in known.items()), key=rank)
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
