"""Figures of replay in recordings. Each takes ``ax=None`` and returns what it drew on.

Figures of several panels put them in the place of the axes that they are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_dims
from neuromod.core.errors import choice, invalid
from neuromod.core.style import PALETTE, new_axes, state_colours, styled
from neuromod.reactivation.replay import maps
from neuromod.reactivation.replay.decoding import probability_of_places
from neuromod.reactivation.replay.tuning import read_counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = PALETTE[1]
LOWEST_PEAK = 1.0  # Hz: a silent neuron is drawn as silent


@styled
def plot_tuning(tuning: xr.DataArray, *, ax: Axes | None = None) -> Axes:
    """Draw the place maps of all neurons along a track, in the order of their peaks.

    Parameters
    ----------
    tuning : (neuron, position)
        What `tuning_curves` returns.

    Other Parameters
    ----------------
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        One row per neuron, each relative to its highest rate (or to 1 Hz, if that is
        lower); maps of two directions of running stand side by side.
    """
    from matplotlib.ticker import MaxNLocator

    known = _along_track(tuning)
    ax = new_axes(ax, (5.6, 3.2))
    rates = known.rates / known.rates.max(axis=1, keepdims=True, initial=LOWEST_PEAK)
    ways = np.unique(known.direction)[::-1]
    order = peak_order(tuning)
    ticks, labels = [], []
    offset = 0.0
    for way in ways:
        part = known.direction == way
        place = known.centres[part, 0]
        half = np.min(np.diff(place)) / 2
        shift = offset - place[0] + half
        mesh = ax.pcolormesh(
            place + shift,
            np.arange(len(rates)),
            rates[order][:, part],
            vmin=0,
            vmax=1,
            shading="nearest",
            rasterized=True,
        )
        ends = np.array([place[0] - half, place[-1] + half])
        if way:
            told = "Runs up →" if way > 0 else "Runs down ←"
            above = ax.get_xaxis_transform()
            ax.text(ends.mean() + shift, 1.02, told, transform=above, ha="center")
        for tick in MaxNLocator(2, steps=[1, 2, 5, 10]).tick_values(*ends):
            if ends[0] <= tick <= ends[1]:
                ticks.append(tick + shift)
                labels.append(f"{tick:g}")
        offset += 1.15 * np.ptp(ends)
    ax.set_xticks(ticks, labels)
    neurons = tuning["neuron"].values[order]
    rows = np.arange(0, len(neurons), -(-len(neurons) // 10))
    ax.set_yticks(rows, [str(neurons[row]) for row in rows])
    ax.invert_yaxis()
    ax.spines["bottom"].set_visible(False)
    ax.set(xlabel=f"Position ({known.unit})", ylabel="Neuron")
    ax.figure.colorbar(mesh, ax=ax, label="Rate / peak", ticks=[0, 0.5, 1])
    return ax


def peak_order(tuning: xr.DataArray) -> np.ndarray:
    """Return neurons in the order of where they fire most, whichever way.

    Parameters
    ----------
    tuning : (neuron, position)
        Maps along a track.
    """
    known = _along_track(tuning)
    peak = known.centres[known.rates.argmax(axis=1), 0]
    return np.argsort(peak, kind="stable")


def _along_track(tuning: xr.DataArray) -> maps.Maps:
    known = maps.read(tuning)
    if not known.is_linear:
        raise invalid(
            "tuning",
            "maps of two dimensions",
            "maps along a track",
            "Images are made by tuning.set_index(position=['x', 'y']).unstack().",
        )
    return known


@styled
def plot_event(
    posterior: xr.DataArray,
    event: int,
    spikes: xr.DataArray,
    tuning: xr.DataArray,
    *,
    scored: xr.Dataset | None = None,
    ax: Axes | None = None,
) -> tuple[Axes, Axes]:
    """Draw where an event goes, and below it the spikes that say so.

    Parameters
    ----------
    posterior : (time, position)
        Of `decode` or `decode_dynamics`, with the number of the ``event`` along time.
    event
        Which one.
    spikes : (time, neuron)
        Spike counts in fine bins.
    tuning : (neuron, position)
        The maps along a track, by whose peaks neurons are sorted.

    Other Parameters
    ----------------
    scored
        What `score_events` returned, for the best line.
    ax
        Axes whose place the two panels take; a new figure if omitted.

    Returns
    -------
    (Axes, Axes)
        The probability of each place over time with the line, and the raster.
    """
    part = _of_event(posterior, event)
    order = peak_order(tuning)
    ax = new_axes(ax, (2.4, 3.2))
    above, below = divided(ax, 2, 1, height_ratios=(1.6, 1))[:, 0]
    chance = probability_of_places(part)
    time = chance["time"].values
    width = float(np.median(np.diff(time)))
    start = time[0] - width / 2
    time = 1e3 * (time - start)
    places = maps.centres_of(chance)[:, 0]
    above.pcolormesh(
        time,
        places,
        chance.values.T,
        cmap="Greys",
        vmin=0,
        vmax=max(0.3, float(np.quantile(chance, 0.99))),
        shading="nearest",
        rasterized=True,
    )
    if scored is not None:
        one = scored.sel(event=event).isel(space=0)
        ends = [float(one[name]) for name in ("line_start", "line_stop")]
        above.plot(time[[0, -1]], ends, color=LINE)
    unit = posterior.attrs.get("position_units", "unknown unit")
    above.set(ylabel=f"Position ({unit})", title=f"Event {event}")
    above.set_xlim(0, 1e3 * len(time) * width)
    above.tick_params(labelbottom=False)
    counts, _ = read_counts(spikes)
    counts = counts.sel(neuron=tuning["neuron"].values[order])
    inside = counts.sel(time=slice(start, start + len(time) * width))
    bins, rows = np.nonzero(inside.values)
    fired = 1e3 * (inside["time"].values[bins] - start)
    below.scatter(fired, rows, marker="|", s=20, linewidths=0.9, color=PALETTE[0])
    below.set(
        xlabel="Time (ms)",
        ylabel="Neuron, by field",
        ylim=(-1, len(order)),
        xlim=(0, 1e3 * len(time) * width),
    )
    return above, below


def _of_event(posterior: xr.DataArray, event: int) -> xr.DataArray:
    if "event" not in posterior.coords:
        raise invalid(
            "posterior",
            "no coordinate `event` along time",
            "what was decoded of event_counts(spikes, events, bin_size)",
        )
    part = posterior.isel(time=np.flatnonzero(posterior["event"].values == event))
    if not part.sizes["time"]:
        last = int(posterior["event"].max())
        raise invalid("event", event, f"one of 0 to {last}")
    return part


def divided(ax: Axes, n_rows: int, n_columns: int, **kwargs: Any) -> np.ndarray:
    """Put a grid of axes in the place of one, and return them (row, column).

    Parameters
    ----------
    ax
        Axes of a grid, as those of ``figure.subplots()``.
    n_rows, n_columns
        How many.
    **kwargs
        Passed to ``SubplotSpec.subgridspec``.

    Raises
    ------
    InvalidInputError
        If the axes were put anywhere by hand.
    """
    place = ax.get_subplotspec()
    if place is None:
        raise invalid("ax", "axes outside of a grid", "axes of figure.subplots()")
    grid = place.subgridspec(n_rows, n_columns, **kwargs)
    ax.remove()
    return grid.subplots(squeeze=False)


@styled
def plot_dynamics(
    posterior: xr.DataArray, event: int, *, ax: Axes | None = None
) -> Axes:
    """Draw how the place moves in an event: whether it stays, moves or jumps.

    Parameters
    ----------
    posterior : (time, state) or (time, state, position)
        Of `decode_dynamics`, with the number of the ``event`` along time.
    event
        Which one.

    Other Parameters
    ----------------
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        A line per kind of dynamics: its probability over time.
    """
    if "position" in posterior.dims:
        posterior = posterior.sum("position")
    posterior = require_dims(posterior, ("time", "state"), "posterior")
    part = _of_event(posterior, event)
    ax = new_axes(ax, (2.6, 1.8))
    time = part["time"].values
    width = float(np.median(np.diff(time)))
    elapsed = 1e3 * (time - time[0] + width / 2)
    colours = state_colours(part.sizes["state"])
    for values, name, colour in zip(
        part.values.T, part["state"].values, colours, strict=True
    ):
        ax.plot(elapsed, values, "o-", color=colour, label=str(name))
    ax.set(
        xlabel="Time (ms)",
        ylabel="Probability",
        xlim=(0, 1e3 * len(time) * width),
        ylim=(-0.02, 1.02),
    )
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, handlelength=1)
    return ax


@styled
def plot_scores(
    scored: xr.Dataset, statistic: str = "line", *, ax: Axes | None = None
) -> Axes:
    """Draw a session's mean score among those of shuffled sessions.

    Parameters
    ----------
    scored
        What `score_events` returned.
    statistic
        Which score.

    Other Parameters
    ----------------
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        A histogram per shuffle, with its p value; the line is the session itself.
    """
    choice("statistic", statistic, scored["statistic"].values.tolist())
    chosen = scored.sel(statistic=statistic)
    shuffles = [str(name) for name in scored["shuffle"].values]
    ax = new_axes(ax, (3.6, 0.7 + 0.6 * len(shuffles)))
    observed = float(chosen["session_score"])
    tested = np.isfinite(chosen["session_p_value"].values)
    null = chosen["session_null"].values
    drawn = np.append(null[tested].reshape(-1), observed)
    edges = np.linspace(drawn.min(), drawn.max() + 1e-9, 41)
    rows = np.arange(len(shuffles))[::-1]  # the first at the top
    for row, mine, testable, p_value in zip(
        rows, null, tested, chosen["session_p_value"].values, strict=True
    ):
        told = "leaves it as it is"
        if testable:
            height, _ = np.histogram(mine, edges)
            ax.stairs(
                row + 0.75 * height / max(height.max(), 1),
                edges,
                baseline=row,
                fill=True,
                color="0.75",
            )
            told = f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"
        ax.text(1.02, row + 0.25, told, transform=ax.get_yaxis_transform())
    ax.axvline(observed, color=LINE)
    ax.set_yticks(rows + 0.25, [name.replace("_", " ") for name in shuffles])
    ax.set(
        xlabel=f"Mean score of events: {statistic.replace('_', ' ')}",
        ylim=(-0.1, len(shuffles) - 0.1),
    )
    ax.tick_params(axis="y", length=0)
    return ax
