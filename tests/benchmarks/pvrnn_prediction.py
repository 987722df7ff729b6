"""Predict movements that were never seen: error regression, its prior alone, a VRNN.

::

    python tests/benchmarks/pvrnn_prediction.py --data ../shared/data/pvrnn \\
        --store FOLDER --out docs/benchmarks/pvrnn_prediction.json

Five PV-RNNs and five VRNNs are trained on the training trials of the planar arm, and of
the reversal task. Then they predict, one and five steps ahead, trials that are unseen:
the eight new external ones of the arm, eight self-produced ones that the built-in arm
makes anew, and unseen trials of the reversal task, steady and reversed. ``prior_only``
is the mean of 200 draws from the PV-RNN's prior without error regression. Trainings are
kept in the folder: a second call goes on where one stopped.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])


import xarray as xr
from scipy import stats

import neuromod as nm
from neuromod import pvrnn
from tests.benchmarks._measure import keep_to, machine

SEEDS = [0, 1, 2, 3, 4]
N_PREDICTED = 5
N_UPDATES = {"pvrnn": 6000, "vrnn": 2000}
META_PRIOR = 0.003


def tasks() -> dict[str, dict[str, xr.DataArray]]:
    """Return for each task what is learned, and what is predicted."""
    arm = nm.datasets.load("planar_arm", download=False)
    anew = pvrnn.simulate_arm(8, 200, seed=100)
    task = nm.datasets.load("reversal_task", download=False)
    short = {"trial": slice(0, 30), "time": slice(0, 192)}
    few = {"trial": slice(0, 6), "time": slice(0, 192)}
    reversed_ = {"trial": slice(0, 6), "time": slice(160, 352)}
    return {
        "arm": {
            "training": arm["training"]["movement"],
            "external": arm["unseen"]["movement"],
            "self": anew,
        },
        "reversal": {
            "training": task["training"]["movement"].isel(short),
            "steady": task["unseen"]["movement"].isel(few),
            "reversed": task["unseen_reversed"]["movement"].isel(reversed_),
        },
    }


def build(n_channels: int) -> Any:
    """Return how to build a PV-RNN of two layers."""

    def of(key: Any) -> pvrnn.PVRNN:
        head = pvrnn.tanh_head(n_channels)
        return pvrnn.hierarchy(key, [40, 15], [6, 2], [2, 8], [head])

    return of


def learn(name: str, data: xr.DataArray, store: Path) -> dict[str, nm.Result]:
    """Return both kinds of networks, of all seeds, from the store if they are there."""
    found = {}
    for kind, n_steps in N_UPDATES.items():
        path = store / f"{name}-{kind}.nc"
        if not path.exists():
            settings = {"seed": SEEDS, "n_steps": n_steps, "progress": False}
            settings["checkpoint"] = path.with_suffix(".checkpoint")
            started = time.process_time()
            if kind == "pvrnn":
                result = pvrnn.train(
                    data,
                    build(data.sizes["channel"]),
                    objective=pvrnn.Objective(META_PRIOR),
                    learning_rate=2e-3,
                    **settings,
                )
            else:
                result = pvrnn.train_vrnn(data, learning_rate=2e-3, **settings)
            print(name, kind, f"{time.process_time() - started:.0f} s", flush=True)
            result.save(path)
        found[kind] = nm.load(path)
    return found


def errors(networks: dict[str, nm.Result], unseen: xr.DataArray) -> xr.Dataset:
    """Return mean squared errors (seed, lag) of every predictor."""
    rows = []
    for seed in SEEDS:
        network = networks["pvrnn"].sel(seed=seed)
        regression = pvrnn.ErrorRegression(
            network.model,
            pvrnn.objective_of(network),
            seed=seed,
            window=10,
            n_iterations=50,
            n_predicted=N_PREDICTED,
        )
        followed = pvrnn.follow(regression, unseen, progress=False)
        n_steps = unseen.sizes["time"]
        made_up = pvrnn.generate(network, n_steps, seed=seed, n_trials=200)
        others = {
            "prior_only": made_up["channel_value"].mean("trial"),
            "vrnn": pvrnn.predict_vrnn(
                networks["vrnn"].sel(seed=seed), unseen, N_PREDICTED, seed=seed
            ),
        }
        rows.append(pvrnn.prediction_error(followed, others).mean("trial"))
    return xr.concat(rows, dim=xr.Variable("seed", SEEDS))


def told(found: xr.Dataset) -> dict[str, Any]:
    """Return mean and 95 % interval over seeds of the first and the last lag."""
    table: dict[str, Any] = {}
    for lag in (1, N_PREDICTED):
        for name, values in found.sel(lag=lag).data_vars.items():
            mean = float(values.mean())
            half = (
                stats.t.ppf(0.975, len(SEEDS) - 1)
                * float(values.std(ddof=1))
                / len(SEEDS) ** 0.5
            )
            interval = [round(mean - half, 5), round(mean + half, 5)]
            row = {"mean": round(mean, 5), "interval": interval}
            table.setdefault(f"{lag} ahead", {})[name] = row
    return table


def main() -> None:
    """Train, predict and write it down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ["NEUROMOD_DATA"] = str(options.data)
    options.store.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": machine(), "seeds": SEEDS}
    for name, parts in tasks().items():
        networks = learn(name, parts["training"], options.store)
        for part, unseen in parts.items():
            if part == "training":
                continue
            report[f"{name}, {part}"] = told(errors(networks, unseen))
            print(f"{name}, {part}")
            for lag, rows in report[f"{name}, {part}"].items():
                for predictor, row in rows.items():
                    print(
                        f"  {lag}  {predictor:18s} {row['mean']:.5f} {row['interval']}"
                    )
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    keep_to(1)
    main()
