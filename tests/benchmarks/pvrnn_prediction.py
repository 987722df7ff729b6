"""Predict movements that were never seen: error regression, its prior alone, a VRNN.

::

    python tests/benchmarks/pvrnn_prediction.py --data ../shared/data/pvrnn \\
        --store FOLDER --out docs/benchmarks/pvrnn_prediction.json

Five PV-RNNs and five VRNNs are trained on the training trials of the planar arm, and of
the reversal task. Then they predict, one and five steps ahead, trials that are unseen:
the eight new external ones of the arm, eight self-produced ones that the built-in arm
makes anew, and unseen trials of the reversal task, steady and reversed. The meta-prior
is the one that predicts best, one step ahead, a part of the training trials that
shorter trainings leave out. All predict the mean of 200 draws; those of ``prior_only``
are from the PV-RNN's prior without error regression. Trainings are kept in the folder:
a second call goes on where one stopped.
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


import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

import neuromod as nm
from neuromod import pvrnn
from tests.benchmarks._measure import keep_to, machine

SEEDS = [0, 1, 2, 3, 4]
N_PREDICTED = 5
N_DRAWS = 200  # whose mean is predicted: of fewer, their scatter would count
N_UPDATES = {"pvrnn": 6000, "vrnn": 2000}
META_PRIORS = [0.003, 0.01, 0.03, 0.1]
N_UPDATES_TO_CHOOSE, SEEDS_TO_CHOOSE = 3000, [0, 1]
LEFT_OUT = 6  # every so many trials of training; divides 24, after which joints repeat


def tasks() -> dict[str, dict[str, xr.DataArray]]:
    """Return for each task what is learned, and what is predicted."""
    arm = nm.datasets.load("planar_arm", download=False)
    anew = pvrnn.simulate_arm(8, 200, seed=100)
    task = nm.datasets.load("reversal_task", download=False)
    short = {"trial": slice(0, 30), "time": slice(0, 192)}
    few = {"trial": slice(0, 6), "time": slice(0, 192)}
    reversed_ = {"trial": slice(0, 6), "time": slice(160, 352)}

    def of(tree: xr.DataTree, part: str) -> xr.DataArray:
        return tree[part].to_dataset()["movement"]

    return {
        "arm": {
            "training": of(arm, "training"),
            "external": of(arm, "unseen"),
            "self": anew,
        },
        "reversal": {
            "training": of(task, "training").isel(short),
            "steady": of(task, "unseen").isel(few),
            "reversed": of(task, "unseen_reversed").isel(reversed_),
        },
    }


def build(n_channels: int) -> Any:
    """Return how to build a PV-RNN of two layers."""

    def of(key: Any) -> pvrnn.PVRNN:
        head = pvrnn.tanh_head(n_channels)
        return pvrnn.hierarchy(key, [40, 15], [6, 2], [2, 8], [head])

    return of


def choose(name: str, data: xr.DataArray, store: Path) -> dict[float, float]:
    """Return the error of every meta-prior on training trials that were left out."""
    path = store / f"{name}-errors.json"
    if not path.exists():
        out = np.arange(data.sizes["trial"]) % LEFT_OUT == 0
        results = pvrnn.sweep(
            data[~out],
            build(data.sizes["channel"]),
            META_PRIORS,
            seed=SEEDS_TO_CHOOSE,
            n_steps=N_UPDATES_TO_CHOOSE,
            learning_rate=2e-3,
            progress=False,
            checkpoint=path.with_suffix(".checkpoint"),
        )
        found = {w: _left_out(results[w], data[out]) for w in META_PRIORS}
        path.write_text(json.dumps(found))
    return {float(w): error for w, error in json.loads(path.read_text()).items()}


def _left_out(networks: nm.Result, data: xr.DataArray) -> float:
    rows = [regress(networks.sel(seed=s), s, data) for s in SEEDS_TO_CHOOSE]
    told = (pvrnn.prediction_error(row)["error_regression"] for row in rows)
    return float(np.mean([error.sel(lag=1).mean() for error in told]))


def regress(network: nm.Result, seed: int, data: xr.DataArray) -> xr.Dataset:
    """Follow trials by error regression."""
    regression = pvrnn.ErrorRegression(
        network.model,
        pvrnn.objective_of(network),
        seed=seed,
        window=10,
        n_iterations=50,
        n_predicted=N_PREDICTED,
        n_draws=N_DRAWS,
    )
    return pvrnn.follow(regression, data, progress=False)


def learn(
    name: str, data: xr.DataArray, meta_prior: float, store: Path
) -> dict[str, nm.Result]:
    """Return both kinds of networks, of all seeds, from the store if they are there."""
    found = {}
    for kind, n_steps in N_UPDATES.items():
        suffix = f"-{meta_prior:g}" if kind == "pvrnn" else ""
        path = store / f"{name}-{kind}{suffix}.nc"
        if not path.exists():
            settings = {"seed": SEEDS, "n_steps": n_steps, "progress": False}
            settings["checkpoint"] = path.with_suffix(".checkpoint")
            started = time.process_time()
            if kind == "pvrnn":
                result = pvrnn.train(
                    data,
                    build(data.sizes["channel"]),
                    objective=pvrnn.Objective(meta_prior),
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
    rows: list[xr.Dataset] = []
    for seed in SEEDS:
        network = networks["pvrnn"].sel(seed=seed)
        followed = regress(network, seed, unseen)
        n_steps = unseen.sizes["time"]
        made_up = pvrnn.generate(network, n_steps, seed=seed, n_trials=N_DRAWS)
        others = {
            "prior_only": made_up["channel_value"].mean("trial"),
            "vrnn": pvrnn.predict_vrnn(
                networks["vrnn"].sel(seed=seed),
                unseen,
                N_PREDICTED,
                seed=seed,
                n_samples=N_DRAWS,
            ),
        }
        error = pvrnn.prediction_error(followed, others)
        rows.append(error.mean("trial"))
    return xr.concat(rows, dim=pd.Index(SEEDS, name="seed"))


def told(found: xr.Dataset) -> dict[str, Any]:
    """Return mean and 95 % interval over seeds: first lag, last lag, mean of all."""
    table: dict[str, Any] = {}
    ours = found["error_regression"]
    for other in ("prior_only", "vrnn"):
        found[f"regression - {other}"] = ours - found[other]
    spans = {
        "1 ahead": found.sel(lag=1),
        f"{N_PREDICTED} ahead": found.sel(lag=N_PREDICTED),
        f"1 to {N_PREDICTED} ahead": found.mean("lag"),
    }
    for span, errors_within in spans.items():
        for name, values in errors_within.data_vars.items():
            mean = float(values.mean())
            error = float(values.std(ddof=1)) / len(SEEDS) ** 0.5
            half = stats.t.ppf(0.975, len(SEEDS) - 1) * error
            interval = [round(float(mean + side * half), 5) for side in (-1, 1)]
            row = {"mean": round(mean, 5), "interval": interval}
            table.setdefault(span, {})[name] = row
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
        tried = choose(name, parts["training"], options.store)
        meta_prior = min(tried, key=lambda w: tried[w])
        report[f"{name}, left out"] = tried
        print(f"{name}: left out {tried}", flush=True)
        networks = learn(name, parts["training"], meta_prior, options.store)
        for part, unseen in parts.items():
            if part == "training":
                continue
            report[f"{name}, {part}"] = told(errors(networks, unseen))
            print(f"{name}, {part}")
            for lag, rows in report[f"{name}, {part}"].items():
                for predictor, row in rows.items():
                    mean, interval = row["mean"], row["interval"]
                    print(f"  {lag}  {predictor:24s} {mean:.5f} {interval}")
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    keep_to(1)
    main()
