"""Figures that ask whether a model is the right one.

Each takes ``ax=None`` and returns the axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromod.core.errors import invalid
from neuromod.core.style import PALETTE, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def plot_selection(selection: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw how much better more states predict what was left out.

    Parameters
    ----------
    selection
        What `neuromod.switching.select` returned.

    Other Parameters
    ----------------
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        Log-likelihood per held-out bin over that of the fewest states in the same
        fold: a faint line per fold, their mean with its standard error, and the
        number that was chosen.

    Raises
    ------
    InvalidInputError
        If the Dataset is no selection.
    """
    _require(selection, "selection", "select", "log_likelihood_per_bin", "n_states")
    scores = selection["log_likelihood_per_bin"].transpose("n_states", "fold")
    gain = (scores - scores.isel(n_states=0)).values
    numbers = selection["n_states"].values
    chosen = selection.attrs["chosen"]
    ax = new_axes(ax, (4.2, 3.0))
    mean = gain.mean(1)
    error = gain.std(1, ddof=1) / np.sqrt(gain.shape[1])
    folds = ax.plot(numbers, gain, color="0.8", linewidth=0.8, zorder=1)
    folds[0].set_label("left-out part")
    ax.errorbar(
        numbers,
        mean,
        error,
        fmt="o-",
        color=PALETTE[0],
        capsize=2,
        label="mean ± standard error",
    )
    found = mean[numbers == chosen]
    label = f"chosen: {chosen}"
    ax.plot([chosen], found, "o", color=PALETTE[1], ms=7, zorder=3, label=label)
    unit = "state" if numbers[0] == 1 else "states"
    ax.set(
        xlabel="Number of states",
        ylabel=f"Held-out gain over {numbers[0]} {unit}\n(nats per bin)",
    )
    ax.set_xticks(numbers)
    ax.legend(frameon=False)
    return ax


@styled
def plot_time_rescaling(check: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw rescaled intervals against those of a right model, neuron by neuron.

    Parameters
    ----------
    check
        What `neuromod.switching.time_rescaling` returned.

    Other Parameters
    ----------------
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        A line per neuron, which follows the diagonal where the model is right. Those
        that leave their 95 % band of Kolmogorov and Smirnov are coloured; the dark
        band is that of the neuron with the most spikes, the light one that of the
        neuron with the fewest. Neurons without a spike are not drawn.

    Raises
    ------
    InvalidInputError
        If the Dataset is no such check, or no neuron fires.
    """
    _require(check, "check", "time_rescaling", "interval", "neuron")
    check = check.isel(neuron=check["n_intervals"].values > 0)
    if check.sizes["neuron"] == 0:
        raise invalid("check", "neurons without a spike", "at least one that fires")
    quantile, bound = check["quantile"].values, check["bound"].values
    ax = new_axes(ax, (3.6, 3.6))
    for width, grey in ((bound.max(), "0.93"), (bound.min(), "0.84")):
        ax.fill_between(
            quantile, quantile - width, quantile + width, color=grey, linewidth=0
        )
    outside = check["statistic"].values > bound
    for off, curve in zip(outside, check["interval"].values, strict=True):
        colour = PALETTE[1] if off else "0.35"
        ax.plot(quantile, curve, color=colour, linewidth=0.8, zorder=3 if off else 2)
    ax.plot([], [], color="0.35", label=f"within 95 % band ({(~outside).sum()})")
    ax.plot([], [], color=PALETTE[1], label=f"outside ({outside.sum()})")
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.6, zorder=1)
    ax.set(
        xlabel="Quantile of a right model",
        ylabel="Quantile of rescaled intervals",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    ax.legend(loc="upper left", frameon=False)
    return ax


def _require(given: object, argument: str, verb: str, variable: str, dim: str) -> None:
    """Raise unless a Dataset is what the verb returns."""
    if not (isinstance(given, xr.Dataset) and variable in given and dim in given.dims):
        raise invalid(
            argument,
            type(given).__name__,
            f"what neuromod.switching.{verb} returns",
            f"Pass neuromod.switching.{verb}(...).",
        )
