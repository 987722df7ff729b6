"""Figures of when states come and go: how long they last, and what they follow.

Each takes ``ax=None`` and returns the axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neuromod.core.result import Result
from neuromod.core.sequences import gather
from neuromod.core.style import new_axes, state_colours, styled
from neuromod.switching.metrics import dwell_times
from neuromod.switching.peri_event import Events, peri_event
from neuromod.switching.plot import unit_of
from neuromod.switching.predict import decode, smooth

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def plot_dwell_times(
    fit: Result,
    spikes: Any,
    *,
    inputs: Any = None,
    transition_inputs: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how long visits to each state last, along the most probable path.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        Spike counts of the fit's neurons, in any form that `fit` takes.

    Other Parameters
    ----------------
    inputs, transition_inputs : (time, input)
        Inputs, if the fit had them.
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        Per state the fraction of visits that last longer than a duration; the
        dashed line is the geometric law of the fitted chain.
    """
    ax = new_axes(ax, (4.6, 2.8))
    size = fit.config["bin_size"]
    path = decode(fit, spikes, inputs=inputs, transition_inputs=transition_inputs)
    told = gather(path, "path", ("time",), "state_sequence")
    durations = dwell_times(path, size)
    stay = np.diag(fit.model.transition_matrix)
    for state, colour in enumerate(state_colours(fit.model.n_states)):
        lengths = np.sort(durations.get(state, np.array([])))
        if len(lengths) == 0:
            continue
        longer = 1 - np.arange(1, len(lengths) + 1) / len(lengths)
        ax.step(lengths, longer, where="post", color=colour, label=f"state {state}")
        grid = np.arange(1, round(lengths[-1] / size) + 1)
        law = stay[state] ** grid
        ax.step(grid * size, law, "--", where="post", color=colour, linewidth=0.8)
    ax.set(
        xlabel=f"Duration ({unit_of(told.axes[0]['time'])})",
        ylabel="Fraction of visits that last longer",
        xscale="log",
        ylim=(0, 1.02),
    )
    ax.legend(frameon=False)
    return ax


@styled
def plot_peri_event(
    fit: Result,
    spikes: Any,
    events: Events,
    *,
    window: tuple[float, float] = (-2.0, 5.0),
    inputs: Any = None,
    transition_inputs: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the probability of each state around events.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        Spike counts of the fit's neurons, in any form that `fit` takes.
    events : (event,)
        Times of the events (s), or times for each session, as in `peri_event`.

    Other Parameters
    ----------------
    window
        How long before (negative) and after an event to look (s).
    inputs, transition_inputs : (time, input)
        Inputs, if the fit had them.
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        Mean over events with a band of one standard error on either side. The title
        says how many events there are, and how many were left out because the window
        reaches beyond their session.

    Raises
    ------
    InvalidInputError
        As `peri_event`.
    """
    probability = smooth(
        fit, spikes, inputs=inputs, transition_inputs=transition_inputs
    )
    found = peri_event(probability, events, window=window)
    told = gather(probability, "probability", ("time", "state"), "state_probability")
    ax = new_axes(ax, (4.6, 2.8))
    time = found["time"].values
    for state, colour in enumerate(state_colours(found.sizes["state"])):
        one = found.isel(state=state)
        mean, error = one["state_probability"].values, one["standard_error"].values
        ax.fill_between(
            time, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0
        )
        ax.plot(time, mean, color=colour, label=f"state {state}")
    ax.axvline(0, color="0.5", linewidth=0.6, zorder=0)
    left_out = int(found["n_left_out"])
    beyond = f", {left_out} left out at the edges" if left_out else ""
    ax.set(
        xlabel=f"Time from event ({unit_of(told.axes[0]['time'])})",
        ylabel="Probability of the state",
        ylim=(0, 1),
        title=f"{int(found['n_events'])} events{beyond}",
    )
    ax.margins(x=0)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
