"""Does a default fit find the parameters that made the spikes?

    python tests/benchmarks/switching_recovery.py SIMULATION.npz \\
        --out docs/benchmarks/switching_recovery.json

Five populations of 20 neurons and five states: the simulation in SIMULATION.npz, and
the four that `neuromod.datasets.simulate_switching` draws from the seeds 1 to 4. Each
is fitted to its first 30 sessions by one call with default settings (the link is the
simulation's own) and judged on the other 20:

- states and held-out likelihood beside those of the true parameters;
- weights and kinds of connections beside a fit that started at the truth. Its errors
  are those of the data, so what exceeds them is the fault of the search.

Nothing is tuned on the truth: kinds are what the one-hot posterior holds most probable.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

import neuromod as nm

SEEDS = (1, 2, 3, 4)
N_TRAIN = 30
BIN_SIZE = 0.02
SETTINGS: dict[str, Any] = {"link": "sigmoid", "seed": 0, "progress": False}
# How far a fit may stay behind: of the truth, and of a fit that started there.
BARS = {
    "state_accuracy": 0.003,
    "log_likelihood_per_bin": 0.02,
    "weight_rmse": 0.01,
    "adjacency": 0.005,
}


class Population(NamedTuple):
    """Spikes to fit and to judge by, and what made them."""

    train: xr.DataArray
    test: xr.DataArray
    train_states: np.ndarray
    test_states: np.ndarray
    adjacency: np.ndarray
    model: nm.switching.SwitchingGLM


def main() -> None:
    """Fit all five and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("simulation", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = []
    for name in (arguments.simulation.stem, *SEEDS):
        population = simulated(name) if name in SEEDS else stored(arguments.simulation)
        rows.append({"population": name, **study(population)})
        print(json.dumps(rows[-1]), flush=True)
    report = {"bars": BARS, "rows": rows, "environment": nm.info().to_dict()}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def stored(path: Path) -> Population:
    """Read a simulation from a file of plain arrays."""
    with np.load(path) as arrays:
        spikes, states, n_train = (
            arrays[name] for name in ("spikes", "states_true", "n_train")
        )
        n_states = len(arrays["weight"])
        matrix = arrays["transition_matrix"].astype(float)
        model = nm.switching.SwitchingGLM(
            initial=np.full(n_states, 1 / n_states),
            transition_matrix=matrix / matrix.sum(1, keepdims=True),
            bias=np.tile(arrays["bias"].astype(float), (n_states, 1)),
            weight=arrays["weight"].astype(float)[..., None],
            basis=arrays["basis_recent_first"].astype(float)[None],
            observation="poisson",
            link="sigmoid",
        )
        adjacency = arrays["adjacency"]
    n_sessions, n_steps, n_neurons = spikes.shape
    session = np.repeat(np.arange(n_sessions), n_steps)
    array = xr.DataArray(
        spikes.reshape(-1, n_neurons).astype(int),
        dims=("time", "neuron"),
        coords={
            "time": np.tile((np.arange(n_steps) + 0.5) * BIN_SIZE, n_sessions),
            "session": ("time", session.astype(str)),
        },
    )
    return divided(array, states.ravel(), session < int(n_train), adjacency, model)


def simulated(seed: int) -> Population:
    """Draw a fresh population."""
    tree: Any = nm.datasets.simulate_switching(seed=seed, bin_size=BIN_SIZE)
    spikes, truth = tree["recording"]["spikes"], tree["truth"].to_dataset()
    model = nm.switching.SwitchingGLM(
        **{
            name: truth[name].values
            for name in ("initial", "transition_matrix", "bias", "weight")
        },
        basis=truth["basis_function"].values,
        observation="poisson",
        link="sigmoid",
    )
    known = spikes["session"].values.astype(int) < N_TRAIN
    states, adjacency = truth["state_sequence"].values, truth["adjacency"].values
    return divided(spikes, states, known, adjacency, model)


def divided(
    spikes: xr.DataArray,
    states: np.ndarray,
    known: np.ndarray,
    adjacency: np.ndarray,
    model: nm.switching.SwitchingGLM,
) -> Population:
    """Divide bins into those to fit and those to judge by."""
    train, test = spikes[known], spikes[~known]
    return Population(train, test, states[known], states[~known], adjacency, model)


def study(population: Population) -> dict[str, Any]:
    """Fit from the data alone, and again from the truth; tell which bars are met."""
    n_states = len(population.adjacency)
    started = time.process_time()
    fit = nm.switching.fit(population.train, n_states, **SETTINGS)
    cpu_seconds = time.process_time() - started
    truth = replace(fit, model=population.model)
    from_truth = nm.switching.fit(population.train, n_states, init=truth, **SETTINGS)
    found = scores(fit, population)
    best = scores(truth, population, has_kinds=False) | {
        name: scores(from_truth, population)[name]
        for name in ("weight_rmse", "adjacency")
    }
    behind = {name: best[name] - found[name] for name in BARS}
    behind["weight_rmse"] *= -1  # of an error, less is better
    return {
        "fit": found,
        "beside": best,
        "behind": {name: round(value, 5) + 0.0 for name, value in behind.items()},
        "met": {name: bool(behind[name] <= bar) for name, bar in BARS.items()},
        "converged": bool(fit.data["history"].attrs["converged"]),
        "cpu_seconds_with_compilation": round(cpu_seconds, 1),
    }


def scores(fit: nm.Result, population: Population, *, has_kinds: bool = True) -> dict:
    """Score states, held-out spikes, weights and kinds of connections."""
    # States carry no names; they are matched on the sessions of the fit alone.
    path = nm.switching.decode(fit, population.train).values
    order = nm.switching.match_states(path, population.train_states)
    matched = np.array([order[state] for state in range(len(order))])
    found = nm.switching.smooth(fit, population.test).values.argmax(1)
    error = np.asarray(fit.model.weight) - population.model.weight[matched]
    score = nm.switching.score(fit, population.test)
    numbers = {
        "state_accuracy": (matched[found] == population.test_states).mean(),
        "log_likelihood_per_bin": score["log_likelihood_per_bin"],
        "weight_rmse": np.sqrt((error**2).mean()),
    }
    if has_kinds:
        parameters: Any = fit.data["parameters"].to_dataset()
        kinds = parameters["connection_probability"].values.argmax(-1) - 1
        numbers["adjacency"] = (kinds == population.adjacency[matched]).mean()
    return {name: round(float(value), 5) for name, value in numbers.items()}


if __name__ == "__main__":
    main()
