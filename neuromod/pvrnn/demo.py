"""PV-RNN in the demo: does a network learn what is chance?"""

import time
from typing import Any

import xarray as xr

from neuromod.core.report import Number, Picture, Section
from neuromod.core.style import context
from neuromod.pvrnn import measures
from neuromod.pvrnn.error_regression import ErrorRegression
from neuromod.pvrnn.following import follow
from neuromod.pvrnn.heads import tanh_head
from neuromod.pvrnn.machine import Machine
from neuromod.pvrnn.model import hierarchy
from neuromod.pvrnn.plot_regression import plot_regression
from neuromod.pvrnn.plot_sweep import plot_sweep
from neuromod.pvrnn.prediction import prediction_error
from neuromod.pvrnn.running import generate
from neuromod.pvrnn.train import sweep
from neuromod.pvrnn.training_results import objective_of

CODE = """\
import neuromod as nm

data = nm.datasets.simulate_symbols(seed=0, n_trials=10, n_steps=24)


def build(key):
    return nm.pvrnn.hierarchy(key, [10], [1], [2], [nm.pvrnn.tanh_head(1)])


results = nm.pvrnn.sweep(
    data["training"]["value"], build, [1.0, 0.03, 1e-4], seed=0, n_steps=9000
)
nm.pvrnn.plot_sweep(results)
best = results[0.03]
made_up = nm.pvrnn.generate(best, 120, seed=0, n_trials=100)
regression = nm.pvrnn.ErrorRegression(
    best.model, nm.pvrnn.objective_of(best), seed=0, n_predicted=3
)
followed = nm.pvrnn.follow(regression, data["unseen"]["value"][:2])
nm.pvrnn.plot_regression(followed)
"""
STUDY = "a study of the published equations at this size"
META_PRIORS = HIGH, BEST, LOW = (1.0, 0.03, 1e-4)
N_STEPS = 9000


def build(key: Any) -> Any:
    """Return a network with random weights."""
    return hierarchy(key, [10], [1], [2], [tanh_head(1)])


def section(tree: xr.DataTree, *, seed: int) -> Section:
    """Train networks of three meta-priors, let them make up data, and predict.

    Parameters
    ----------
    tree
        Sequences with their truth, as `neuromod.datasets.simulate_symbols` makes them.
    seed
        Seed of the networks and their noise.

    Returns
    -------
    Section
        Its part of the report.
    """
    started = time.process_time()
    truth = tree["truth"].to_dataset()
    machine = Machine(truth["symbol"].values, truth["transition_matrix"].values)
    data = tree["training"].to_dataset()["value"]
    results = sweep(
        data, build, META_PRIORS, seed=seed, n_steps=N_STEPS, progress=False
    )
    made = {
        w: generate(result, 120, seed=seed, n_trials=100)["channel_value"]
        for w, result in results.items()
    }
    legal = {
        w: measures.legal_fraction(v, machine, burn_in=10) for w, v in made.items()
    }
    unseen = tree["unseen"].to_dataset()["value"][:4]
    best = results[BEST]
    regression = ErrorRegression(
        best.model, objective_of(best), seed=seed, n_predicted=3
    )
    followed = follow(regression, unseen, progress=False)
    mean = prediction_error(followed).sel(lag=1).mean("trial")
    with context():
        shown = xr.DataArray(list(legal.values()), dims="parameter")
        swept = plot_sweep(results, {"Legal cycles made up": shown})[0].figure
        predicted = plot_regression(followed)[0].figure
    chance = float(measures.transition_matrix(made[BEST], machine, burn_in=10)[0, 1])
    return Section(
        title="PV-RNN: networks that learn what is chance",
        question=(
            "A cycle of three symbols branches by chance. A network is to make up such "
            "sequences by itself, and to predict new ones. How much must it trust its "
            "own prior (the meta-prior w)?"
        ),
        answer=(
            f"Trusting it too much (w = {HIGH:g}) it learns the mean of both branches "
            f"and no chance at all; too little (w = {LOW:g}) it learns every sequence "
            f"by heart and makes up {legal[LOW]:.0%} legal cycles. In between "
            f"(w = {BEST:g}) it makes up {legal[BEST]:.1%}, and takes the rare branch "
            f"with a chance of {chance:.2f} (truth 0.3).\n\n"
            "Along sequences that it has not seen, error regression finds the latents "
            "that explain the last steps, and from there the prior predicts."
        ),
        pictures=[
            Picture(
                swept,
                "Reconstruction, divergence from the prior, and the share of legal "
                "cycles in what is made up, for each meta-prior.",
                "Three panels with lines over the meta-prior.",
            ),
            Picture(
                predicted,
                "A new sequence and what was predicted of it one step before; the "
                "posterior of the latent; the free energy.",
                "Lines over the steps of a sequence.",
            ),
        ],
        numbers=_numbers(results, legal, chance, mean),
        code=CODE,
        results={"network": best},
        seconds=time.process_time() - started,
    )


def _numbers(
    results: Any, legal: dict[float, float], chance: float, error: xr.Dataset
) -> list[Number]:
    history = results[HIGH].data["history"].to_dataset()["divergence"]
    nats = float(history.isel(step=slice(-100, None)).mean()) / (10 * 24)
    ours = float(error["error_regression"])
    others = min(float(error[name]) for name in ("last_value", "channel_mean"))
    return [
        Number(
            f"Legal cycles made up at w = {BEST:g}",
            round(legal[BEST], 3),
            "at least 0.97",
            STUDY,
            met=legal[BEST] >= 0.97,
        ),
        Number(
            f"Legal cycles made up at w = {LOW:g}",
            round(legal[LOW], 3),
            "less than 0.8",
            STUDY,
            met=legal[LOW] < 0.8,
        ),
        Number(
            f"Divergence per step at w = {HIGH:g}",
            round(nats, 5),
            "less than 0.01: it has collapsed",
            STUDY,
            "nats",
            met=nats < 0.01,
        ),
        Number(
            f"Chance of the rare branch at w = {BEST:g}",
            round(chance, 3),
            "0.15 to 0.45 (truth 0.3, from 80 examples)",
            "the simulation",
            met=0.15 <= chance <= 0.45,
        ),
        Number(
            "Error one step ahead on new sequences",
            round(ours, 4),
            f"below that of the last value and of the mean, {others:.3f}",
            STUDY,
            met=ours < others,
        ),
    ]
