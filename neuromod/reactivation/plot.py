"""Figures of where a network believes to be, awake and asleep.

Each takes ``axes=None``, one axes per panel, and returns what it has drawn on. Others
are in `plot_states` (the network's states), `plot_controls` (its measures beside those
of its controls) and `animation` (a night as a film).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.result import Result
from neuromod.core.style import PALETTE, panels, state_colours, styled_panels
from neuromod.reactivation.measures.density import histogram
from neuromod.reactivation.navigator import Navigator, navigator_of
from neuromod.reactivation.plot_arena import (
    MARGIN,
    SEQUENTIAL,
    angle_ticks,
    arena_of,
    draw_arena,
    place_label,
    require_run,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AWAKE, TRUE = "0.62", "0.15"


@styled_panels
def plot_trajectories(
    network: Navigator | Result,
    *runs: xr.Dataset,
    n_trials: int = 4,
    titles: Sequence[str] | None = None,
    axes: Any = None,
) -> np.ndarray:
    """Draw decoded paths, awake and asleep, side by side.

    Parameters
    ----------
    network
        What `train` returned (of one seed), or a `Navigator`.
    *runs
        What `wake` and `sleep` returned, as many as wanted: those with a
        ``true_position`` are awake.

    Other Parameters
    ----------------
    n_trials
        The first so many trials of each are drawn.
    titles
        One per run; what is seen if omitted.
    axes
        One axes per run; those of a new figure if omitted.

    Returns
    -------
    array of Axes
        One per run. In an arena: paths awake in grey with the true ones dashed, asleep
        coloured by time; dots are the centres of place cells, a circle is where a path
        begins. On a circle or a track: positions over time, a colour for each trial,
        cut where angles go round.

    Raises
    ------
    InvalidInputError
        If a run is no output of `wake` or `sleep`, or positions are not finite.
    ShapeError
        If positions are not in the network's arena, or axes or titles not one per run.

    Examples
    --------
    >>> from neuromod.reactivation import untrained, wake
    >>> network = untrained("demo", 0)
    >>> awake = wake(network, seed=0, n_trials=2, n_steps=5)
    >>> (ax,) = plot_trajectories(network, awake)
    >>> ax.get_title(loc="left")
    'Awake (2 trials; dashed: true)'
    """
    navigator = navigator_of(network)
    n_trials = require_integer(n_trials, "n_trials")
    if not runs:
        raise invalid("runs", "none", "at least one that wake or sleep returned")
    told = [require_run(run, f"runs[{i}]", navigator) for i, run in enumerate(runs)]
    told = [run.isel(trial=slice(n_trials)) for run in told]
    titles = [_title(run) for run in told] if titles is None else list(titles)
    if len(titles) != len(told):
        got, expected = f"{len(titles)} titles", f"{len(told)}, one per run"
        raise invalid("titles", got, expected, kind=ShapeError)
    plane = arena_of(navigator) == "plane"
    size = (3.2, 3.0) if plane else (3.6, 2.4)
    shared = {"layout": "compressed"} if plane else {"sharey": True}
    new, axes = axes is None, panels(axes, len(told), size, 3, **shared)
    if plane:
        _draw_in_plane(axes, navigator, told)
    else:
        for ax, run in zip(axes, told, strict=True):
            _draw_over_time(ax, navigator, run)
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left")
        if new:
            ax.label_outer()
    return axes


def _title(run: xr.Dataset) -> str:
    n = run.sizes["trial"]
    trials = f"{n} trial{'s' * (n > 1)}"
    if "true_position" in run:
        return f"Awake ({trials}; dashed: true)"
    return f"Asleep ({trials})"


def _draw_in_plane(
    axes: np.ndarray, navigator: Navigator, runs: Sequence[xr.Dataset]
) -> None:
    asleep = [run["time"].values for run in runs if "true_position" not in run]
    scale = (min(t[0] for t in asleep), max(t[-1] for t in asleep)) if asleep else None
    lines = None
    for ax, run in zip(axes, runs, strict=True):
        draw_arena(ax, navigator)
        paths = run["position"].values
        if "true_position" in run:
            for path, true in zip(paths, run["true_position"].values, strict=True):
                ax.plot(*path.T, color=AWAKE, linewidth=1.0)
                ax.plot(*true.T, "--", color=TRUE, linewidth=0.8, dashes=(3, 2))
        else:
            lines = _coloured(ax, paths, run["time"].values, scale)
        look: dict[str, Any] = {"facecolors": "white", "edgecolors": TRUE, "zorder": 3}
        ax.scatter(*paths[:, 0].T, 12, linewidths=0.8, **look)
    if lines is not None:
        bar = axes[0].figure.colorbar(lines, ax=list(axes), shrink=0.8, aspect=25)
        bar.set_label("Time asleep (s)")
        bar.outline.set_visible(False)


def _coloured(ax: Axes, paths: np.ndarray, time: np.ndarray, scale: Any) -> Any:
    """Draw each path (trial, time, space) as pieces coloured by time."""
    from matplotlib.collections import LineCollection

    pieces = np.stack([paths[:, :-1], paths[:, 1:]], axis=2)
    lines = LineCollection(list(pieces.reshape(-1, 2, 2)), cmap=SEQUENTIAL)
    lines.set(array=np.tile(time[1:], len(paths)), clim=scale, linewidth=1.0)
    ax.add_collection(lines)
    return lines


def _draw_over_time(ax: Axes, navigator: Navigator, run: xr.Dataset) -> None:
    time, periodic = run["time"].values, arena_of(navigator) == "circle"
    colours = state_colours(run.sizes["trial"])
    for colour, one in zip(colours, run["position"].values, strict=True):
        ax.plot(*_cut(time, one[:, 0], periodic), color=colour, linewidth=1.0)
    if "true_position" in run:
        for colour, one in zip(colours, run["true_position"].values, strict=True):
            look = {"color": colour, "linewidth": 1.0, "dashes": (2, 1.5)}
            ax.plot(*_cut(time, one[:, 0], periodic), "--", **look)
    low, high = np.asarray(navigator.task.bounds, float)[0]
    margin = MARGIN * (high - low)
    label = place_label(navigator)
    ax.set(xlabel="Time (s)", ylabel=label, ylim=(low - margin, high + margin))
    ax.margins(x=0.01)
    if periodic:
        angle_ticks(ax.yaxis)


def _cut(
    time: np.ndarray, path: np.ndarray, periodic: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return times and positions, with a gap wherever an angle goes round."""
    if not periodic:
        return time, path
    where = np.nonzero(np.abs(np.diff(path)) > np.pi)[0] + 1
    return np.insert(time, where, time[where]), np.insert(path, where, np.nan)


@styled_panels
def plot_occupancy(
    network: Navigator | Result,
    *,
    n_bins: int = 11,
    axes: Any = None,
    **datasets: xr.Dataset,
) -> np.ndarray:
    """Draw how often a network believes to be where, awake and asleep.

    Parameters
    ----------
    network
        What `train` returned (of one seed), or a `Navigator`.
    **datasets
        What `wake` and `sleep` returned, by the names that the figure tells:
        ``awake=wake(...), asleep=sleep(...)``.

    Other Parameters
    ----------------
    n_bins
        Bins along each coordinate; as many as `measure` takes if omitted.
    axes
        In an arena one axes per dataset, else one; those of a new figure if omitted.

    Returns
    -------
    array of Axes
        In an arena a map per dataset, all on one colour scale. On a circle or a track
        one axes with a line per dataset; the dotted one is where all bins are equal.

    Raises
    ------
    InvalidInputError
        If a dataset is no output of `wake` or `sleep`, or more than 5 % of its
        positions lie outside the arena.
    ShapeError
        If positions are not in the network's arena, or there are too few axes.

    Examples
    --------
    >>> from neuromod.reactivation import untrained, wake
    >>> network = untrained("demo", 0)
    >>> (ax,) = plot_occupancy(network, day=wake(network, seed=0, n_trials=2))
    >>> ax.get_title(loc="left")
    'Day'
    """
    navigator = navigator_of(network)
    if not datasets:
        raise invalid("datasets", "none", "at least one, such as asleep=sleep(...)")
    bounds = np.asarray(navigator.task.bounds, float)
    shares = {
        name.replace("_", " "): histogram(
            require_run(run, name, navigator)["position"].values,
            bounds,
            n_bins=n_bins,
            argument=name,
        )
        for name, run in datasets.items()
    }
    if arena_of(navigator) != "plane":
        (ax,) = axes = panels(axes, 1, (4.6, 2.6))
        _draw_lines(ax, navigator, shares)
        return axes
    packed = {"layout": "compressed"}
    new, axes = axes is None, panels(axes, len(shares), (2.7, 2.7), 3, **packed)
    highest = max(share.max() for share in shares.values())
    look: dict[str, Any] = {"cmap": SEQUENTIAL, "vmin": 0, "vmax": highest}
    edges = [np.linspace(low, high, n_bins + 1) for low, high in bounds]
    for ax, (name, share) in zip(axes, shares.items(), strict=True):
        mesh = ax.pcolormesh(*edges, share.T, **look)
        ax.set(aspect="equal", xlabel="x (m)", ylabel="y (m)")
        ax.locator_params(nbins=5)
        ax.set_title(name.capitalize(), loc="left")
        if new:
            ax.label_outer()
    bar = axes[0].figure.colorbar(mesh, ax=list(axes), shrink=0.8, aspect=25)
    bar.set_label("Probability per bin")
    bar.outline.set_visible(False)
    return axes


def _draw_lines(ax: Axes, navigator: Navigator, shares: dict[str, np.ndarray]) -> None:
    low, high = np.asarray(navigator.task.bounds, float)[0]
    colours = (AWAKE, *PALETTE) if "awake" in shares else PALETTE
    for i, (name, share) in enumerate(shares.items()):
        edges = np.linspace(low, high, len(share) + 1)
        look = {"color": colours[i % len(colours)], "label": name, "lw": 1.4}
        ax.stairs(share, edges, baseline=None, **look)
    chance: dict[str, Any] = {"color": "0.3", "linewidth": 0.8, "linestyle": ":"}
    ax.axhline(1 / len(share), **chance, label="uniform")
    ax.set(xlabel=place_label(navigator), ylabel="Probability per bin", ylim=(0, None))
    ax.set_xlim(low, high)
    if arena_of(navigator) == "circle":
        angle_ticks(ax.xaxis)
    above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
    ax.legend(**above, ncols=4, frameon=False, borderaxespad=0.1)
