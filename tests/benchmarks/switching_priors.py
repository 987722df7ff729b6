"""When does the one-hot prior pay? A re-analysis on simulated populations.

    python tests/benchmarks/switching_priors.py --store FOLDER \\
        --out docs/benchmarks/switching_priors.json

fits the same recordings with every prior: pooled maximum likelihood, a lasso whose
strength is chosen by held-out likelihood, a Gaussian around means that the states
share, and the one-hot prior; from 1, 2, 4, 8 and 30 sessions, for ten populations.
Every fit is scored on 20 sessions that none has seen, and against the parameters that
made them. Finished fits are kept in FOLDER: an interrupted run goes on where it was.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import neuromod as nm
from neuromod.core import cohort

PRIORS = ("none", "lasso", "gaussian", "one_hot")
N_SESSIONS = (1, 2, 4, 8, 30)
N_SEEDS = 10
FIRST_TEST = 30
STRENGTHS = (1.0, 3.0, 10.0, 30.0)
N_STATES = 5
HELD_OUT = 0.2
COMPARED = ("macro_f1", "best_macro_f1", "weight_rmse", "log_likelihood_per_bin")
SETTINGS: dict[str, Any] = {"link": "sigmoid", "progress": False}


def main() -> None:
    """Fit what is not in the store yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--sessions", type=int, nargs="+", default=list(N_SESSIONS))
    parser.add_argument("--workers", type=int)
    arguments = parser.parse_args()
    items = {
        f"{prior}-{n_sessions}-{seed}": (prior, n_sessions, seed)
        for seed in range(arguments.seeds)
        for n_sessions in arguments.sessions
        for prior in PRIORS
    }
    found = cohort.map(study, items, store=arguments.store, n_workers=arguments.workers)
    for label, failure in found.failed.items():
        print(f"{label}: {failure}")
    rows = [
        {"prior": prior, "n_sessions": n, "seed": seed, **told(found[label])}
        for label, (prior, n, seed) in items.items()
        if label not in found.failed
    ]
    report: dict[str, Any] = {"rows": rows, "intervals": intervals(rows)}
    report["environment"] = nm.info().to_dict()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    for line in report["intervals"]:
        print(json.dumps(line))


def told(scores: dict[str, float]) -> dict[str, float]:
    """Leave out what does not apply, which JSON has no word for."""
    return {name: score for name, score in scores.items() if np.isfinite(score)}


def study(item: tuple[str, int, int]) -> dict[str, float]:
    """Simulate one population, fit some of its sessions with one prior, and score."""
    prior, n_sessions, seed = item
    tree: Any = nm.datasets.simulate_switching(seed=seed)
    spikes = tree["recording"]["spikes"]
    session = spikes["session"].astype(int)
    train = spikes[(session < n_sessions).values]
    test = spikes[(session >= FIRST_TEST).values]
    if prior == "lasso":
        strength = choose_strength(train, seed)
        chosen: Any = nm.switching.Lasso(strength)
    else:
        strength, chosen = np.nan, prior
    fit = nm.switching.fit(train, N_STATES, seed=seed, prior=chosen, **SETTINGS)
    scores = against_truth(fit, tree, train, test)
    return {**scores, "strength": strength}


def choose_strength(train: xr.DataArray, seed: int) -> float:
    """Return the lasso's strength that tells the last fifth of the bins best."""
    n_bins = train.sizes["time"]
    cut = int(n_bins * (1 - HELD_OUT))
    scores = []
    for strength in STRENGTHS:
        fit = nm.switching.fit(
            train[:cut],
            N_STATES,
            seed=seed,
            prior=nm.switching.Lasso(strength),
            **SETTINGS,
        )
        scores.append(float(nm.switching.score(fit, train[cut:])["log_likelihood"]))
    return STRENGTHS[int(np.argmax(scores))]


def against_truth(fit: nm.Result, tree: Any, train: Any, test: Any) -> dict[str, float]:
    """Score a fit by held-out spikes and by the parameters that made them."""
    truth = tree["truth"].to_dataset()
    states = truth["state_sequence"].values
    session = tree["recording"]["spikes"]["session"].values
    known = np.isin(session, np.unique(train["session"].values))
    seen = np.isin(session, np.unique(test["session"].values))
    order = nm.switching.match_states(
        nm.switching.decode(fit, train).values, states[known]
    )
    matched = np.array([order[state] for state in range(N_STATES)])
    found = nm.switching.smooth(fit, test).values.argmax(1)
    weight = np.asarray(fit.model.weight)[..., 0]
    kinds = kinds_of(fit)
    true_weight, true_kinds = truth["weight"].values[..., 0], truth["adjacency"].values
    error = weight - true_weight[matched]
    score = nm.switching.score(fit, test)
    return {
        "state_accuracy": float((matched[found] == states[seen]).mean()),
        "log_likelihood_per_bin": float(score["log_likelihood_per_bin"]),
        "weight_rmse": float(np.sqrt((error**2).mean())),
        "adjacency": float((kinds == true_kinds[matched]).mean()),
        "macro_f1": macro_f1(kinds, true_kinds[matched]),
        "best_macro_f1": best_macro_f1(weight, true_kinds[matched]),
    }


def kinds_of(fit: nm.Result) -> np.ndarray:
    """Return the kind of every connection as the fit itself tells it.

    The posterior of the one-hot prior, the zeros of the lasso, and tests at a rate of
    false discoveries of 5 % elsewhere.
    """
    parameters: Any = fit.data["parameters"].to_dataset()
    if "connection_probability" in parameters:
        return parameters["connection_probability"].values.argmax(-1) - 1
    if fit.config["prior"]["name"] == "Lasso":
        return np.sign(np.asarray(fit.model.weight)[..., 0]).astype(int)
    found = nm.switching.connections(fit)
    return np.where(found["is_connected"], found["sign"], 0)


def macro_f1(found: np.ndarray, true: np.ndarray) -> float:
    """Return the mean over kinds of the harmonic mean of precision and recall."""
    scores = []
    for kind in (-1, 0, 1):
        both = ((found == kind) & (true == kind)).sum()
        either = (found == kind).sum() + (true == kind).sum()
        scores.append(2 * both / either if either else 1.0)
    return float(np.mean(scores))


def best_macro_f1(weight: np.ndarray, true: np.ndarray) -> float:
    """Return the macro-F1 of the best threshold on the weights, chosen with the truth.

    No user can have it: it tells what one threshold could have made of the weights.
    """
    thresholds = np.quantile(np.abs(weight), np.linspace(0, 0.99, 100))
    return max(
        macro_f1(np.sign(weight) * (np.abs(weight) > threshold), true)
        for threshold in thresholds
    )


def intervals(rows: list[dict]) -> list[dict]:
    """Return the one-hot prior's paired advantage over each other, with 95 % limits."""
    from scipy.stats import t

    by_key = {(r["prior"], r["n_sessions"], r["seed"]): r for r in rows}
    lines = []
    for n_sessions in sorted({r["n_sessions"] for r in rows}):
        seeds = sorted({r["seed"] for r in rows if r["n_sessions"] == n_sessions})
        for other in PRIORS[:-1]:
            for name in COMPARED:
                pairs = [
                    (by_key[key][name], by_key[(other, n_sessions, seed)][name])
                    for seed in seeds
                    if (key := ("one_hot", n_sessions, seed)) in by_key
                    and (other, n_sessions, seed) in by_key
                ]
                gain = np.diff(np.array(pairs)[:, ::-1], axis=1)[:, 0]
                half = np.nan
                if len(gain) > 1:
                    quantile = t.ppf(0.975, len(gain) - 1)
                    half = quantile * gain.std(ddof=1) / np.sqrt(len(gain))
                lines.append(
                    {
                        "n_sessions": n_sessions,
                        "score": name,
                        "one_hot_minus": other,
                        "mean": round(float(gain.mean()), 5),
                        "low": round(float(gain.mean() - half), 5),
                        "high": round(float(gain.mean() + half), 5),
                        "n": len(gain),
                    }
                )
    return lines


if __name__ == "__main__":
    main()
