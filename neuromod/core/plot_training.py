"""How training went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuromod.core.errors import invalid
from neuromod.core.style import new_axes, state_colours, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from neuromod.core.result import Result

N_WINDOWS = 100


@styled
def plot_loss(network: Result, *, ax: Axes | None = None) -> Axes:
    """Draw the loss of every step of training, and its running mean.

    Parameters
    ----------
    network
        What a ``train`` returned, of one seed or of several.
    ax
        Where to draw; a new figure if omitted.

    Returns
    -------
    Axes
        A line for each seed over that of every single step, on a logarithmic scale if
        no loss is negative.

    Raises
    ------
    InvalidInputError
        If it is no result of training.
    """
    if "history" not in network.data.children or "loss" not in network.data["history"]:
        raise invalid("network", "a result without a loss", "what `train` returned")
    loss = network.data["history"].to_dataset()["loss"]
    rows = np.atleast_2d(loss.values)
    labels = loss["seed"].values if "seed" in loss.dims else [None]
    window = max(1, rows.shape[1] // N_WINDOWS)
    ax = new_axes(ax, (4.2, 2.8))
    for row, label, colour in zip(rows, labels, state_colours(len(rows)), strict=True):
        mean = np.convolve(row, np.full(window, 1 / window), "valid")
        ax.plot(
            np.arange(1, len(row) + 1), row, color=colour, alpha=0.25, linewidth=0.5
        )
        told = None if label is None else f"seed {label}"
        ax.plot(np.arange(window, len(row) + 1), mean, color=colour, label=told)
    ax.set(
        xlabel="Step of training",
        ylabel=str(loss.attrs.get("long_name", "loss")).capitalize(),
        yscale="log" if rows.min() > 0 else "linear",
        xlim=(0, rows.shape[1]),
    )
    if len(rows) > 1:
        ax.legend()
    return ax
