"""Switching GLMs in the demo: are hidden states and their circuits found again?"""

import time
from dataclasses import replace

import numpy as np
import xarray as xr

from neuromod.core.report import Number, Picture, Section
from neuromod.core.style import context, figure
from neuromod.switching.data import group
from neuromod.switching.fit import fit
from neuromod.switching.metrics import match_states, state_accuracy
from neuromod.switching.plot import plot_connectivity, plot_convergence, plot_states
from neuromod.switching.predict import decode, score

CODE = """\
import neuromod as nm

truth = nm.datasets.simulate_switching(
    seed=0, n_states=3, n_neurons=12, n_sessions=8, n_steps=2000
)
spikes = truth["recording"]["spikes"]
held_out = spikes["session"].isin(["6", "7"])
fit = nm.switching.fit(spikes[~held_out], n_states=3, link="sigmoid", seed=0)
nm.switching.score(fit, spikes[held_out])
nm.switching.plot_states(fit, spikes[held_out], stop=12.0)
"""


def section(tree: xr.DataTree, *, seed: int) -> Section:
    """Fit a simulated recording and hold the fit against its truth.

    Parameters
    ----------
    tree
        A recording with its truth, as `neuromod.datasets.simulate_switching` makes
        it; the last quarter of its sessions is held out.
    seed
        Seed of the fit's starting points.

    Returns
    -------
    Section
        Its part of the report.
    """
    started = time.process_time()
    train, test, true_states = _split(tree)
    n_states = group(tree, "truth").sizes["state_to"]
    result = fit(train, n_states, seed=seed, link="sigmoid", progress=False)
    decoded = decode(result, test).values
    accuracy = state_accuracy(decoded, true_states)
    order = match_states(decoded, true_states)
    held_out = score(result, test)
    at_truth = _at_truth(result, tree)
    ceiling = score(at_truth, test)
    truth_accuracy = state_accuracy(decode(at_truth, test).values, true_states)
    found, true = _weights(result, tree, order)
    correlation = float(np.corrcoef(found.ravel(), true.ravel())[0, 1])
    gap = float(ceiling.log_likelihood_per_bin - held_out.log_likelihood_per_bin)
    bits, most_bits = float(held_out.bits_per_spike), float(ceiling.bits_per_spike)
    numbers = [
        Number(
            "Held-out bins whose state is right",
            round(accuracy, 3),
            f"{truth_accuracy:.3f} with the true parameters",
            "ground truth",
            met=truth_accuracy - accuracy < 0.02,
        ),
        Number(
            "Held-out log-likelihood below the true parameters'",
            round(gap, 3),
            "less than 0.1",
            "ground truth",
            unit="nats per bin",
            met=gap < 0.1,
        ),
        Number(
            "Held-out gain over independent neurons",
            round(bits, 3),
            f"{most_bits:.3f} with the true parameters",
            "ground truth",
            unit="bits per spike",
            met=bits > 0.5 * most_bits,
        ),
        Number(
            "Correlation of estimated and true weights",
            round(correlation, 3),
            "more than 0.9",
            "ground truth",
            met=correlation > 0.9,
        ),
    ]
    with context():
        pictures = _pictures(result, test, true, found)
    return Section(
        title="Switching GLMs: brain states from spike trains",
        question=(
            "A population of neurons switches between hidden states, each with its own "
            "circuit. Can states and circuits be read from the spikes alone?"
        ),
        answer=(
            f"Yes: on sessions that the fit has never seen, {100 * accuracy:.1f} % of "
            f"the bins get the right state ({100 * truth_accuracy:.1f} % is what the "
            "true parameters reach), and estimated weights correlate with the true "
            f"ones at {correlation:.2f}."
        ),
        pictures=pictures,
        numbers=numbers,
        code=CODE,
        results={"fit": result},
        seconds=time.process_time() - started,
    )


def _split(tree: xr.DataTree):
    """Hold out the last quarter of the sessions."""
    spikes = group(tree, "recording")["spikes"]
    sessions = spikes["session"].values
    names = list(dict.fromkeys(sessions))
    held_out = np.isin(sessions, names[-max(1, len(names) // 4) :])
    states = group(tree, "truth")["state_sequence"].values
    return (
        spikes.isel(time=~held_out),
        spikes.isel(time=held_out),
        states[held_out],
    )


def _at_truth(result, tree: xr.DataTree):
    """Return the fit with the true parameters in place of the estimated ones."""
    truth = group(tree, "truth")
    model = replace(
        result.model,
        initial=truth["initial"].values,
        transition_matrix=truth["transition_matrix"].values,
        bias=truth["bias"].values,
        weight=truth["weight"].values,
        basis=truth["basis_function"].values,
    )
    return replace(result, model=model)


def _weights(result, tree: xr.DataTree, order: dict[int, int]):
    """Return estimated and true weights (state, neuron, source), states matched."""
    states = sorted(order, key=lambda state: order[state])
    matched = [order[state] for state in states]
    found = np.asarray(result.model.weight)[states].sum(-1)
    true = group(tree, "truth")["weight"].values[matched].sum(-1)
    return found, true


def _pictures(result, test, true, found) -> list[Picture]:
    states, ax = figure(size=(7.2, 3.0))
    plot_states(result, test, stop=12.0, ax=ax)
    circuits, axes = figure(1, 3, size=(7.0, 2.5))
    plot_connectivity(result, state=0, ax=axes[0])
    axes[1].plot(true.ravel(), found.ravel(), ".", markersize=3, alpha=0.5)
    limit = 1.1 * np.abs(true).max()
    axes[1].plot([-limit, limit], [-limit, limit], color="0.6", linewidth=0.8)
    axes[1].set(xlabel="True weight", ylabel="Estimated weight")
    plot_convergence(result, ax=axes[2])
    axes[2].legend_ = None  # told in the caption
    return [
        Picture(
            states,
            "Spikes of a held-out session (one row per neuron) on a ground coloured "
            "by the most probable state; the paler, the less certain.",
            "Raster of spikes over twelve seconds with coloured blocks that mark the "
            "inferred hidden state.",
        ),
        Picture(
            circuits,
            "Left: estimated couplings in the most frequent state. Middle: every "
            "estimated weight against its true value. Right: the objective of each "
            "restart over EM iterations; beyond the line, that of the one-hot prior.",
            "A matrix of excitatory and inhibitory weights, a scatter of estimated "
            "against true weights along the diagonal, and rising curves that level "
            "off within a dozen iterations.",
        ),
    ]
