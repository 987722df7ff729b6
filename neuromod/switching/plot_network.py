"""Figures of what a one-hot prior found: which connections there are, and likely are.

Each takes ``ax=None`` and returns the axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromod.core.errors import invalid
from neuromod.core.result import Result
from neuromod.core.style import DIVERGING, new_axes, styled
from neuromod.switching.data import group, require_fit
from neuromod.switching.plot import neuron_ticks, require_state

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def plot_edges(fit: Result, *, state: int = 0, ax: Axes | None = None) -> Axes:
    """Draw how sure each connection of one state is, and of which sign.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit` with the one-hot prior.

    Other Parameters
    ----------------
    state
        Which state.
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        Sources along x, targets along y. The depth of the colour is the posterior
        probability that there is a connection; red where it rather excites, blue
        where it rather inhibits.

    Raises
    ------
    InvalidInputError
        If the fit has no connections of a kind, or no such state.
    """
    kinds = _of_kinds(fit, "connection_probability")
    state = require_state(fit, state)
    kinds = kinds.sel(state=state).transpose("connection", "neuron", "source_neuron")
    inhibitory, absent, excitatory = kinds.values
    ax = new_axes(ax, (4.0, 3.4))
    image = ax.imshow(
        np.where(excitatory >= inhibitory, 1, -1) * (1 - absent),
        cmap=DIVERGING,
        vmin=-1,
        vmax=1,
    )
    bar = ax.figure.colorbar(
        image, ax=ax, label="Probability of a connection", shrink=0.85
    )
    bar.set_ticks(
        [-1, -0.5, 0, 0.5, 1], labels=["1 inhibits", "½", "0", "½", "1 excites"]
    )
    ax.set(xlabel="Source neuron", ylabel="Neuron", title=f"State {state}")
    neuron_ticks(ax, kinds["neuron"].values)
    return ax


@styled
def plot_preferences(fit: Result, *, ax: Axes | None = None) -> Axes:
    """Draw what all states share: how likely a connection of each kind is in any.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit` with the one-hot prior.

    Other Parameters
    ----------------
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        Three matrices side by side, one per kind: sources along x, targets along y,
        the darker, the likelier.

    Raises
    ------
    InvalidInputError
        If the fit has no connections of a kind.
    """
    kinds = _of_kinds(fit, "connection_preference")
    kinds = kinds.transpose("connection", "neuron", "source_neuron")
    n_neurons = kinds.sizes["neuron"]
    gap = max(1, round(n_neurons / 12))
    between = np.full((n_neurons, gap), np.nan)
    names = kinds["connection"].values.tolist()
    columns = [part for kind in kinds.values for part in (kind, between)][:-1]
    ax = new_axes(ax, (7.2, 2.6))
    image = ax.imshow(np.concatenate(columns, axis=1), cmap="Greys", vmin=0)
    ax.figure.colorbar(image, ax=ax, label="Prior probability", shrink=0.85)
    _three_axes(ax, names, kinds["neuron"].values, n_neurons + gap)
    return ax


def _three_axes(ax: Axes, names: list[str], labels: np.ndarray, step: int) -> None:
    """Tick and name each of the matrices that stand side by side."""
    from matplotlib.patches import Rectangle

    n_neurons = len(labels)
    every = max(1, n_neurons // 4)
    positions = np.arange(0, n_neurons, every)
    told = [str(labels[i]) for i in positions]
    ax.set_xticks(
        np.concatenate([positions + i * step for i in range(len(names))]),
        told * len(names),
    )
    ax.set_yticks(positions, told)
    for i, name in enumerate(names):
        left = i * step - 0.5
        ax.text(left, -0.9, name.capitalize(), ha="left", va="bottom")
        frame = Rectangle((left, -0.5), n_neurons, n_neurons, fill=False)
        frame.set(edgecolor="0.3", linewidth=0.8, clip_on=False)
        ax.add_patch(frame)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set(xlabel="Source neuron", ylabel="Neuron")


def _of_kinds(fit: Result, name: str) -> xr.DataArray:
    require_fit(fit)
    found = group(fit.data, "parameters")
    if name not in found:
        raise invalid(
            "fit",
            f"a fit with the prior {fit.config['prior']['name']}, which knows no kinds "
            "of connections",
            "a fit with the one-hot prior and couplings",
            "Fit with prior='one_hot' and a basis.",
        )
    return found[name]
