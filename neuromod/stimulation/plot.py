"""Figures of a session: what is believed of every site, and how the search went.

What is drawn of a space depends on its axes. One axis of electrodes is the array that
they form, two (a first and a second electrode) are a matrix, one axis without
electrodes is a line with its band, and more of them are a matrix of the first two. Of
all candidates that share a place in the picture, the one that is expected to do most is
shown; their trials are counted together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.errors import choice
from neuromod.core.style import PALETTE, new_axes, panels, styled, styled_panels
from neuromod.stimulation.axes import is_electrode
from neuromod.stimulation.plot_sites import (
    BEST,
    FAILED,
    MOST_TICKS,
    WHAT,
    Shown,
    Sites,
    axis_label,
    draw_sites,
    grid_of,
    mark_rings,
    mark_trials,
    name_axes,
    response_label,
    sites_of,
    values_of,
    whole_numbers,
)
from neuromod.stimulation.space import WHOLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def plot_map(
    session: Shown,
    *,
    what: str = "expected",
    output: str | None = None,
    level: str = WHOLE,
    ax: Axes | None = None,
) -> Axes:
    """Draw what is believed of every site, or how often it was tried.

    Parameters
    ----------
    session
        A session, open or only read.

    Other Parameters
    ----------------
    what
        "expected" response; its "uncertainty", half the width of its 95 % interval;
        "visits", the number of valid trials; or "promise", by which the next site is
        chosen.
    output
        Of which output; the target of the session if omitted.
    level
        The whole, or the name of a part.
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        Sites that were tried have a dot, or their number. The best one and those that
        wait for their response are ringed; a cross is a trial that failed.

    Raises
    ------
    InvalidInputError
        If there is nothing of that name.
    """
    choice("what", what, WHAT)
    found = session.map(level=level)
    output = output or session.settings.aim.target
    choice("output", output, found["output"].values.tolist())
    found = found.sel(output=output)
    sites = sites_of(session.settings.space, found)
    values, label = values_of(found, sites, what)
    grid = grid_of(session.settings.space, sites)
    if grid is None:
        return _line(new_axes(ax, (5.2, 3.0)), session, found, sites, what, label)
    ax = new_axes(ax, (4.4, 4.2))
    draw_sites(ax, grid, values, what, label)
    mark_trials(ax, grid, sites, what, values)
    mark_rings(ax, session, grid, sites, level)
    name_axes(ax, session.settings.space, sites, grid)
    return ax


@styled
def plot_convergence(
    session: Shown, *, output: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw all responses, and what was expected of the best site after each.

    Parameters
    ----------
    session
        A session, open or only read.

    Other Parameters
    ----------------
    output
        Whose responses; the target of the session, for which alone the best site is
        known, if omitted.
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        A step of the line is what was known at the time, a circle on it a trial after
        which another site was best.
    """
    history, target = session.history(), session.settings.aim.target
    output = output or target
    choice("output", output, history["output"].values.tolist())
    ax = new_axes(ax, (5.6, 3.0))
    query, fate = history["query"].values, history["fate"].values
    response = history["response"].sel(output=output).values
    valid = fate == "valid"
    size = float(np.clip(1500 / max(len(query), 1), 6, 20))
    if valid.any():
        at = query[valid], response[valid]
        ax.scatter(*at, size, "0.55", linewidths=0, zorder=3, label="valid trial")
    low = np.nanmin(response, initial=0.0, where=valid)
    failed = np.isin(fate, ("excluded", "rejected"))
    if failed.any():
        ax.scatter(
            query[failed],
            np.full(failed.sum(), low),
            22,
            FAILED,
            marker="x",
            linewidths=1.3,
            zorder=4,
            clip_on=False,
            label="failed trial",
        )
    if output == target and valid.any():
        expected, best = history["best_expected"].values, history["best"].values
        label = "expected at the best site"
        ax.step(query, expected, where="post", color=BEST, label=label, zorder=5)
        changed = np.flatnonzero(best[1:] != best[:-1]) + 1
        changed = changed[best[changed - 1] != ""]
        if changed.size:
            ax.plot(
                query[changed],
                expected[changed],
                "o",
                color=BEST,
                markerfacecolor="white",
                markersize=4.5,
                zorder=6,
                label="another site is best",
            )
    ax.set(xlabel="Trial", ylabel=response_label(history["response"], output))
    ax.set_xlim(0.5, max(len(query), 5) + 0.5)
    whole_numbers(ax.xaxis)
    if ax.get_legend_handles_labels()[0]:
        where: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
        ax.legend(ncols=2, borderaxespad=0.2, columnspacing=1.2, **where)
    return ax


@styled_panels
def plot_session(
    session: Shown, *, output: str | None = None, level: str = WHOLE, axes: Any = None
) -> np.ndarray:
    """Draw a whole session: its map, the uncertainty, the visits and the course.

    Parameters
    ----------
    session
        A session, open or only read.

    Other Parameters
    ----------------
    output
        Of which output; the target of the session if omitted.
    level
        The whole, or the name of a part.
    axes
        Four axes; those of a new figure if omitted.

    Returns
    -------
    array of Axes
        Expected response, uncertainty, visits, convergence.
    """
    new = axes is None
    axes = panels(axes, 4, (3.7, 3.3), n_columns=2)
    for ax, what in zip(axes[:3], WHAT, strict=False):
        plot_map(session, what=what, output=output, level=level, ax=ax)
    plot_convergence(session, output=output, ax=axes[3])
    for ax, letter in zip(axes, "abcd", strict=True):
        if new and (legend := ax.get_legend()) is not None:
            legend.remove()
        ax.set_title(letter, loc="left", fontweight="bold")
    if new:
        _legend_below(axes)
    return axes


def _legend_below(axes: np.ndarray) -> None:
    """Explain below the figure, once, what all of its panels show."""
    told: dict[str, Any] = {}
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        told = dict(zip(labels, handles, strict=True)) | told
    if told:
        where: dict[str, Any] = {"loc": "outside lower center", "ncols": 4}
        axes[0].figure.legend(told.values(), told.keys(), **where)


def _line(
    ax: Axes, session: Shown, found: xr.Dataset, sites: Sites, what: str, label: str
) -> Axes:
    """Draw sites along a line, with the band of what is expected and the trials."""
    (name,) = sites.axes
    keys = [key[0] for key in sites.keys]
    named = is_electrode(name)
    x = np.arange(len(keys), dtype=float) if named else np.array(keys, float)
    order = np.argsort(x)
    values, _ = values_of(found, sites, what)
    colour = PALETTE[0]
    if what == "visits":
        apart = np.diff(x[order])
        ax.bar(x, values, 0.8 * apart.min() if apart.size else 0.8, color=colour)
        whole_numbers(ax.yaxis)
    else:
        marker = "" if len(keys) > 40 else "o"
        ax.plot(x[order], values[order], color=colour, marker=marker, label="expected")
    if what == "expected":
        low, high = found["low"].values[sites.at], found["high"].values[sites.at]
        ax.fill_between(
            x[order],
            low[order],
            high[order],
            color=colour,
            alpha=0.25,
            linewidth=0,
            label="95 % interval",
        )
        _line_trials(ax, session, str(found["output"].values), name, keys, x)
        ax.legend(ncols=2)
    ax.set(xlabel=axis_label(name), ylabel=label)
    if named:
        at = np.arange(0, len(keys), -(-len(keys) // MOST_TICKS))
        ax.set_xticks(at, [str(keys[k]) for k in at])
    return ax


def _line_trials(
    ax: Axes, session: Shown, output: str, name: str, keys: list[Any], x: np.ndarray
) -> None:
    history = session.history()
    history = history.sel(query=history["fate"] == "valid")
    if not history.sizes["query"]:
        return
    place: dict[Any, Any] = dict(zip(keys, x.tolist(), strict=True))
    tried = history[name].values.tolist()
    at = [place.get(value, value) for value in tried]
    response = history["response"].sel(output=output).values
    ax.scatter(at, response, 10, "0.45", linewidths=0, zorder=3, label="valid trial")
    best = session.best()[name]
    where = place.get(best, best)
    ax.axvline(where, color=BEST, linewidth=1, linestyle="--", label="best")
