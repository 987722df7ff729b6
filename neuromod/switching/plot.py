"""Figures of a fitted switching GLM. Each takes ``ax=None`` and returns the axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import invalid
from neuromod.core.result import Result
from neuromod.core.sequences import gather
from neuromod.core.style import DIVERGING, new_axes, state_colours, styled
from neuromod.switching.data import group
from neuromod.switching.predict import smooth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Past this many spikes a raster of marks is slower to draw than an image.
MOST_MARKS = 20_000


@styled
def plot_states(
    fit: Result,
    spikes: Any,
    *,
    start: float | None = None,
    stop: float | None = None,
    session: str | None = None,
    inputs: Any = None,
    transition_inputs: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the spikes over time, on a ground coloured by the most probable state.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        Spike counts of the fit's neurons, in any form that `fit` takes.

    Other Parameters
    ----------------
    start, stop
        Stretch to draw, in seconds; the whole session if omitted.
    session
        Label of the session to draw; the first if omitted.
    inputs, transition_inputs : (time, input)
        Inputs, if the fit had them.
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        One row per neuron; opacity of the ground is the state's probability.
    """
    smoothed = smooth(fit, spikes, inputs=inputs, transition_inputs=transition_inputs)
    counts, probability = _one_session(spikes, smoothed, session)
    window = slice(start, stop)
    counts, probability = counts.sel(time=window), probability.sel(time=window)
    if counts.sizes["time"] == 0:
        raise invalid("start, stop", (start, stop), "a stretch with at least one bin")
    ax = new_axes(ax, (7.2, 3.2))
    _draw_ground(ax, probability, fit.config["bin_size"], counts.sizes["neuron"])
    _draw_spikes(ax, counts)
    ax.set(
        xlabel=f"Time ({unit_of(counts['time'])})",
        ylabel="Neuron",
        ylim=(-0.5, counts.sizes["neuron"] - 0.5),
    )
    _state_legend(ax, fit.model.n_states)
    return ax


def _one_session(spikes: Any, smoothed: Any, session: str | None):
    """Return counts and probabilities of one session; missing bins as silent."""
    data = gather(spikes, "spikes", ("time", "neuron"), "spikes", join="neuron")
    label = data.labels[0] if session is None else str(session)
    if label not in data.labels:
        raise invalid("session", repr(label), f"one of {list(data.labels)}")
    index = data.labels.index(label)
    axes = {"time": data.axes[index]["time"], "neuron": data.coords["neuron"]}
    counts = xr.DataArray(np.asarray(data.values)[index, : data.lengths[index]], axes)
    found = gather(smoothed, "smoothed", ("time", "state"), "state_probability")
    axes = {"time": data.times[index], "state": found.coords["state"]}
    return counts, xr.DataArray(
        np.asarray(found.values)[index, : found.lengths[index]], axes
    )


def unit_of(time: xr.DataArray) -> str:
    """Return the unit of a time axis: seconds, unless it says that it counts trials."""
    return time.attrs.get("units", "s")


def _draw_ground(ax: Axes, probability: xr.DataArray, width: float, n_rows: int):
    """Colour each bin by its likeliest state, as opaque as that is certain."""
    from matplotlib.colors import to_rgb

    palette = np.array([to_rgb(c) for c in state_colours(probability.sizes["state"])])
    likeliest = probability.values.argmax(1)
    certainty = probability.values.max(1)
    image = np.concatenate([palette[likeliest], 0.45 * certainty[:, None]], axis=1)[
        None
    ]
    time = probability["time"].values
    ax.imshow(
        image,
        aspect="auto",
        interpolation="nearest",
        extent=(time[0] - width / 2, time[-1] + width / 2, -0.5, n_rows - 0.5),
        zorder=0,
    )


def _draw_spikes(ax: Axes, counts: xr.DataArray) -> None:
    bins, neurons = np.nonzero(counts.values)
    n_neurons = counts.sizes["neuron"]
    height = max(160 / n_neurons, 0.8) * min(1.0, MOST_MARKS / max(len(bins), 1))
    ax.scatter(
        counts["time"].values[bins],
        neurons,
        marker="|",
        s=max(height, 0.5),
        linewidths=0.6,
        color="black",
        rasterized=True,
        zorder=2,
    )
    labels = counts["neuron"].values
    rows = np.arange(0, n_neurons, -(-n_neurons // 12))
    ax.set_yticks(rows, [str(labels[row]) for row in rows])


def _state_legend(ax: Axes, n_states: int) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=colour, alpha=0.45, label=f"state {state}")
        for state, colour in enumerate(state_colours(n_states))
    ]
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=min(n_states, 6),
        frameon=False,
        borderaxespad=0.2,
    )


@styled
def plot_connectivity(fit: Result, *, state: int = 0, ax: Axes | None = None) -> Axes:
    """Draw who excites and inhibits whom in one state, summed over the basis.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.

    Other Parameters
    ----------------
    state
        Which state.
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        Sources along x, targets along y; red excites, blue inhibits. The colour
        scale is the same for all states of the fit.
    """
    state = require_state(fit, state)
    weight = group(fit.data, "parameters")["weight"].sum("basis")
    _require_couplings(fit)
    limit = float(np.quantile(np.abs(weight), 0.99)) or 1.0
    ax = new_axes(ax, (4.0, 3.4))
    image = ax.imshow(
        weight.sel(state=state).transpose("neuron", "source_neuron").values,
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
    )
    ax.figure.colorbar(image, ax=ax, label="Weight", shrink=0.85)
    ax.set(xlabel="Source neuron", ylabel="Neuron", title=f"State {state}")
    neuron_ticks(ax, weight["neuron"].values)
    return ax


def neuron_ticks(ax: Axes, labels: np.ndarray) -> None:
    """Name some of the neurons along both sides of a matrix."""
    every = max(1, len(labels) // 6)
    positions = np.arange(0, len(labels), every)
    names = [str(labels[i]) for i in positions]
    ax.set_xticks(positions, names)
    ax.set_yticks(positions, names)


@styled
def plot_rates(fit: Result, *, ax: Axes | None = None) -> Axes:
    """Draw what each neuron does in each state when no one has fired before.

    Counts are drawn as rates (Hz), choices as probabilities, other values as they are.
    """
    from neuromod.switching.observations import LINKS

    ax = new_axes(ax, (5.6, 2.6))
    is_count = fit.model.observation in ("poisson", "negative_binomial")
    rates = np.asarray(LINKS[fit.model.link].rate(np.asarray(fit.model.bias)))
    rates = rates / fit.config["bin_size"] if is_count else rates
    for state, colour in enumerate(state_colours(fit.model.n_states)):
        ax.plot(rates[state], "o", color=colour, label=f"state {state}")
    labels = group(fit.data, "parameters")["neuron"].values
    every = max(1, len(labels) // 24)
    positions = np.arange(0, len(labels), every)
    ax.set_xticks(positions, [str(labels[i]) for i in positions])
    ax.set(xlabel="Neuron", ylabel="Baseline expectation")
    if is_count:
        ax.set(ylabel="Baseline rate (Hz)", yscale="log")
    ax.legend(frameon=False, ncols=min(fit.model.n_states, 6))
    return ax


@styled
def plot_filters(
    fit: Result, neuron: Any, *, state: int = 0, ax: Axes | None = None
) -> Axes:
    """Draw how the spikes of every source act on one neuron over time.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    neuron
        Label of the neuron acted upon.

    Other Parameters
    ----------------
    state
        Which state.
    ax
        Axes to draw on; a new figure if omitted.
    """
    _require_couplings(fit)
    state = require_state(fit, state)
    values = group(fit.data, "parameters")
    labels = [str(label) for label in values["neuron"].values]
    if str(neuron) not in labels:
        raise invalid("neuron", repr(neuron), f"one of {', '.join(labels)}")
    weight = values["weight"].isel(state=state, neuron=labels.index(str(neuron)))
    filters = xr.dot(weight, values["basis_function"], dim="basis")
    size = np.abs(filters.values).max(axis=1, initial=0)
    sources = filters["source_neuron"].values.tolist()
    named = {sources[i] for i in np.argsort(-size)[:4]}
    ax = new_axes(ax, (4.6, 2.8))
    for source in sources:
        line = filters.sel(source_neuron=source)
        label = f"from {source}" if source in named else None
        colour = None if source in named else "0.8"
        order = 2 if source in named else 1
        ax.plot(1e3 * line["lag"], line, label=label, color=colour, zorder=order)
    ax.axhline(0, color="0.5", linewidth=0.6)
    ax.set(
        xlabel="Lag (ms)",
        ylabel="Effect of a spike",
        title=f"Filters onto neuron {neuron}, state {state}",
    )
    ax.legend(frameon=False)
    return ax


@styled
def plot_transitions(fit: Result, *, ax: Axes | None = None) -> Axes:
    """Draw the transition matrix with its probabilities written in."""
    matrix = np.asarray(fit.model.transition_matrix)
    ax = new_axes(ax, (3.2, 3.0))
    ax.imshow(matrix, cmap="Greys", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(matrix):
        colour = "white" if value > 0.5 else "black"
        ax.text(column, row, f"{value:.3f}", ha="center", va="center", color=colour)
    ticks = range(len(matrix))
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    ax.set(xlabel="To state", ylabel="From state")
    return ax


@styled
def plot_convergence(fit: Result, *, ax: Axes | None = None) -> Axes:
    """Draw how the objective of every restart climbed, in nats per observed bin.

    Restarts race with a ridge; a line marks where the fit's own prior took over for the
    one that was kept. The two objectives are not the same, so their curves do not meet.
    """
    history = group(fit.data, "history")["objective"]
    n_bins = fit.data.attrs["n_bins"] - fit.data.attrs["n_missing_bins"]
    best = group(fit.data, "history").attrs["restart_kept"]
    taken_over = group(fit.data, "history").attrs["prior_from_iteration"]
    ax = new_axes(ax, (4.6, 2.8))
    for restart in history["restart"].values.tolist():
        line = history.sel(restart=restart) / n_bins
        kept = restart == best
        look = {
            "marker": ".",
            "color": state_colours(1)[0] if kept else "0.7",
            "zorder": 2 if kept else 1,
        }
        label = f"restart {restart} (kept)" if kept else None
        first = taken_over if kept else 0
        ax.plot(line["iteration"][:first], line[:first], **look)
        ax.plot(line["iteration"][first:], line[first:], **look, label=label)
    if taken_over:
        look = {"color": "0.6", "linewidth": 0.6}
        ax.axvline(taken_over - 0.5, **look, label="from here with its own prior")
    ax.set(xlabel="Iteration", ylabel="Objective (nats per bin)")
    ax.legend(frameon=False, loc="lower right")
    return ax


def _require_couplings(fit: Result) -> None:
    if len(fit.model.basis) == 0:
        raise invalid(
            "fit",
            "a hidden Markov model without couplings",
            "a fit with couplings",
            "Fit with a basis, for example basis='exponential'.",
        )


def require_state(fit: Result, state: object) -> int:
    """Return the number of a state of the fit, or raise."""
    state = require_integer(state, "state", minimum=0)
    if state >= fit.model.n_states:
        raise invalid("state", state, f"a state from 0 to {fit.model.n_states - 1}")
    return state
