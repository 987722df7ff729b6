"""HGF in the demo: what did participants believe, and how fast did they learn?"""

import time

import numpy as np
import xarray as xr

from neuromod.core.report import Number, Picture, Section
from neuromod.core.result import Result
from neuromod.core.style import context
from neuromod.hgf.builders import binary_three_level
from neuromod.hgf.filter import filter as run_filter
from neuromod.hgf.fit import fit
from neuromod.hgf.plot import plot_trajectories
from neuromod.hgf.plot_checks import plot_recovery
from neuromod.hgf.responses import unit_square_sigmoid
from neuromod.hgf.results import agent_of

CODE = """\
import neuromod as nm

truth = nm.datasets.simulate_beliefs(seed=0, n_subjects=24, n_trials=320)
fit = nm.hgf.fit(
    nm.hgf.binary_three_level(),
    truth["recording"],
    response=nm.hgf.responses.unit_square_sigmoid(),
    n_restarts=4,
    seed=0,
)
print(fit.data["identifiability"].attrs["report"])
one = truth["recording"]["0"]
network = nm.hgf.agent_of(fit, subject="0").network
beliefs = nm.hgf.filter(network, one["outcome"])
nm.hgf.plot_trajectories(beliefs, responses=one["response"], network=network)
"""
LEARNING = "x2.tonic_volatility"
UPPER = "x3.tonic_volatility"
TEMPERATURE = "response.inverse_temperature"
# Two-sided 95 % of a normal distribution, for Fisher's z of a correlation.
BOUND = 1.959963984540054


def section(tree: xr.DataTree, *, seed: int) -> Section:
    """Fit simulated participants and hold the fits against their truth.

    Parameters
    ----------
    tree
        Behaviour with its truth, as `neuromod.datasets.simulate_beliefs` makes it.
    seed
        Seed of the fit's starting points.

    Returns
    -------
    Section
        Its part of the report.
    """
    started = time.process_time()
    result = fit(
        binary_three_level(),
        tree["recording"],
        response=unit_square_sigmoid(),
        n_restarts=4,
        seed=seed,
    )
    recovered = _compared(result, tree["truth"].to_dataset())
    agreement = _agreement(result, tree)
    known = result.data["identifiability"].to_dataset()["identified"]
    told = known.sel(parameter=UPPER)
    n_told, n_subjects = int(told.sum()), told.size
    with context():
        pictures = _pictures(result, tree, recovered)
    r = _correlation(recovered, LEARNING)
    return Section(
        title="Hierarchical Gaussian Filter: beliefs from choices",
        question=(
            "Participants predict an outcome in a world that is stable first and then "
            "reverses again and again. What did they believe, and how fast did each "
            "of them learn?"
        ),
        answer=(
            "The choices tell both: how fast each participant learnt (estimates "
            f"correlate with the truth at {r:.2f}), and what each believed on every "
            f"trial (at {agreement:.2f} or better). They do not tell how fast the "
            "volatility itself is thought to change: the estimate of that is its "
            "prior, and the fit says so."
        ),
        pictures=pictures,
        numbers=[
            _recovery(recovered, LEARNING, "tonic volatility"),
            _recovery(recovered, TEMPERATURE, "inverse temperature (logarithm)"),
            Number(
                "Correlation of inferred and true beliefs, of the worst participant",
                round(agreement, 3),
                "more than 0.95",
                "ground truth",
                met=agreement > 0.95,
            ),
            Number(
                "Participants whose choices tell the third level's volatility",
                f"{n_told} of {n_subjects}",
                "at most a tenth: its posterior is its prior",
                "fits of 320 choices by NUTS, where it was unidentified too",
                met=n_told <= n_subjects / 10,
            ),
        ],
        code=CODE,
        results={"fit": result},
        seconds=time.process_time() - started,
    )


def _compared(result: Result, truth: xr.Dataset) -> xr.Dataset:
    """Return true and estimated parameters on the native scale, as `recover` does."""
    names = [LEARNING, TEMPERATURE]
    moments = result.data["uncertainty"].to_dataset().sel(parameter=names)
    covariance = moments["native_covariance"].sel(parameter_to=names).values
    true = np.stack([truth[LEARNING].values, np.log(truth[TEMPERATURE].values)])
    dims = ("parameter", "subject")
    return xr.Dataset(
        {
            "true": (dims, true),
            "estimate": (dims, moments["native_mean"].transpose(*dims).values),
            "standard_error": (
                dims,
                np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).T,
            ),
        },
        {"parameter": names, "subject": truth["subject"].values},
    )


def _correlation(recovered: xr.Dataset, name: str) -> float:
    one = recovered.sel(parameter=name)
    return float(np.corrcoef(one["true"], one["estimate"])[0, 1])


def _recovery(recovered: xr.Dataset, name: str, words: str) -> Number:
    """Judge a correlation by what noise of the fits' own standard errors leaves."""
    one = recovered.sel(parameter=name)
    noise = float((one["standard_error"] ** 2).mean() / one["true"].var(ddof=1))
    expected = (1 + noise) ** -0.5
    lowest = np.tanh(np.arctanh(expected) - BOUND / np.sqrt(one.sizes["subject"] - 3))
    found = _correlation(recovered, name)
    return Number(
        f"Correlation of estimated and true {words}",
        round(found, 3),
        f"{expected:.3f}, in a sample at least {lowest:.3f}",
        "ground truth, and the standard errors of the fits",
        met=bool(found > lowest),
    )


def _beliefs(result: Result, tree: xr.DataTree, subject: str) -> xr.Dataset:
    network = agent_of(result, subject=subject).network
    return run_filter(network, tree["recording"][subject]["outcome"])


def _agreement(result: Result, tree: xr.DataTree) -> float:
    """Return the correlation of beliefs with the truth where it is lowest."""
    truth = tree["truth"].to_dataset()
    true = truth["expected_mean"].sel(node="outcome")
    return min(
        float(
            np.corrcoef(
                _beliefs(result, tree, subject)["expected_mean"].sel(node="outcome"),
                true.sel(subject=subject),
            )[0, 1]
        )
        for subject in true["subject"].values.tolist()
    )


def _pictures(
    result: Result, tree: xr.DataTree, recovered: xr.Dataset
) -> list[Picture]:
    subject = str(recovered["subject"].values[0])
    trajectories = plot_trajectories(
        _beliefs(result, tree, subject),
        responses=tree["recording"][subject]["response"],
        network=agent_of(result, subject=subject).network,
    )
    probability = tree["truth"]["probability"].values
    trajectories[-1].plot(probability, color="0.6", linewidth=1.0, zorder=1)
    return [
        Picture(
            trajectories[0].figure,
            "What one participant believed, as its choices tell: the log-volatility "
            "(top), the log-odds of the outcome (middle), and the probability of "
            "outcome 1 (bottom; grey: the true one), with outcomes (dots) and choices "
            "(ticks).",
            "Three curves over trials; the lowest follows a true probability that is "
            "constant in the first half and reverses every 30 trials in the second.",
        ),
        Picture(
            plot_recovery(recovered)[0].figure,
            "Estimated parameters of every participant against those that made its "
            "choices, with standard errors: the tonic volatility, which sets how fast "
            "it learns, and the logarithm of the inverse temperature, which sets how "
            "closely its choices follow its beliefs.",
            "Two scatters of estimated against true values, along the diagonal.",
        ),
    ]
