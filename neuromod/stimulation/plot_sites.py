"""The sites of a session on paper: where they lie, their colours and their marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import xarray as xr

from neuromod.core.style import PALETTE
from neuromod.stimulation.axes import Interval, is_electrode
from neuromod.stimulation.settings import Settings
from neuromod.stimulation.space import WHOLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WHAT = ("expected", "uncertainty", "visits", "promise")
COLOUR_MAPS: dict[str, str] = {
    "expected": "viridis",
    "uncertainty": "cividis",
    "visits": "Blues",
    "promise": "cividis",
}
UNITS = {
    "amplitude": "µA",
    "second_amplitude": "µA",
    "pulse_width": "µs",
    "second_pulse_width": "µs",
    "frequency": "Hz",
}
BEST, FAILED, WAITING = PALETTE[1], PALETTE[3], PALETTE[4]
FILL = 0.86  # of a pitch that a site takes up
MOST_NUMBERS = 150  # sites that are large enough to hold a number
MOST_TICKS = 10


class Shown(Protocol):
    """What a figure needs of a session."""

    @property
    def settings(self) -> Settings:
        """What the session began with."""
        ...

    def map(self, *, level: str = WHOLE) -> xr.Dataset:
        """Return what is believed of every candidate."""
        ...

    def history(self) -> xr.Dataset:
        """Return all trials in their order."""
        ...

    def best(self, *, level: str = WHOLE) -> dict[str, Any]:
        """Return the tested point with the largest expected response."""
        ...


class Sites(NamedTuple):
    """Places in a picture, and what is there.

    Parameters
    ----------
    axes
        Names of the axes that are drawn, one or two.
    keys
        Values of these axes, a tuple for each site.
    at : (site,)
        The candidate of the site that is expected to do most.
    n_visits : (site,)
        Trials of all candidates of the site.
    """

    axes: tuple[str, ...]
    keys: list[tuple]
    at: np.ndarray
    n_visits: np.ndarray


class Grid(NamedTuple):
    """Where sites lie on the paper.

    Parameters
    ----------
    places : (site, space)
        x and y.
    pitch
        Between neighbours, along x and y.
    is_array
        Whether they are electrodes that lie there: then they are round.
    """

    places: np.ndarray
    pitch: tuple[float, float]
    is_array: bool


def sites_of(space: Any, found: xr.Dataset) -> Sites:
    """Put candidates together that share a place in the picture."""
    axes = [name for name in space.axes if name in found.coords]
    electrodes = [name for name in axes if is_electrode(name)]
    axes = tuple((electrodes or axes)[:2])
    columns = [found[name].values.tolist() for name in axes]
    rows = list(zip(*columns, strict=True))
    keys = list(dict.fromkeys(rows))
    numbers = {key: k for k, key in enumerate(keys)}
    group = np.array([numbers[row] for row in rows])
    order = np.lexsort((found["expected"].values, group))
    last = np.flatnonzero(np.diff(group[order], append=-1))
    visits = np.bincount(group, found["n_visits"].values).astype(int)
    return Sites(axes, keys, order[last], visits)


def values_of(found: xr.Dataset, sites: Sites, what: str) -> tuple[np.ndarray, str]:
    """Return what is drawn of each site (site,), and its name with the unit."""
    output = str(found["output"].values)
    if what == "visits":
        return sites.n_visits.astype(float), "Valid trials"
    if what == "promise":
        return found["promise"].values[sites.at], "Promise"
    name = response_label(found["expected"], output)
    if what == "expected":
        return found["expected"].values[sites.at], f"Expected {_small(name)}"
    half = (found["high"] - found["low"]).values[sites.at] / 2
    return half, f"Uncertainty (±, 95 %) of {_small(name)}"


def grid_of(space: Any, sites: Sites) -> Grid | None:
    """Return where sites lie, or None if they are a line."""
    if len(sites.axes) == 2:
        columns = [
            _along(space.axes[name], [key[j] for key in sites.keys])
            for j, name in enumerate(sites.axes)
        ]
        # The first axis goes down, as the rows of a matrix do.
        places = np.stack([columns[1][0], columns[0][0]], axis=1)
        return Grid(places, (columns[1][1], columns[0][1]), False)
    if not is_electrode(sites.axes[0]):
        return None
    at = np.array([space.positions[str(key[0])] for key in sites.keys], float)
    if at.shape[1] > 2:
        return None
    places = at[:, ::-1] if at.shape[1] == 2 else np.c_[at[:, 0], np.zeros(len(at))]
    pitch = _pitch(places)
    return Grid(places, (pitch, pitch), True)


def _along(axis: Any, values: list[Any]) -> tuple[np.ndarray, float]:
    """Return where values of an axis are drawn, and the distance of neighbours."""
    if isinstance(axis, Interval):
        return np.asarray(values, float), (axis.high - axis.low) / 20
    return np.array([axis.index(value) for value in values], float), 1.0


def _pitch(places: np.ndarray) -> float:
    """Return the smallest distance between two sites."""
    if len(places) == 1:
        return 1.0
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    return float(apart[~np.eye(len(places), dtype=bool)].min())


def draw_sites(ax: Axes, grid: Grid, values: np.ndarray, what: str, label: str) -> None:
    """Draw a coloured shape for each site."""
    from matplotlib import colormaps
    from matplotlib.collections import PatchCollection

    sites = PatchCollection(
        [_shape(grid, place, FILL if grid.is_array else 1.0) for place in grid.places],
        cmap=colormaps[COLOUR_MAPS[what]].with_extremes(bad="0.9"),
        edgecolors="0.75" if what == "visits" else "none",
        linewidths=0.5,
    )
    sites.set_array(np.ma.masked_invalid(values))
    low, high, extend = _scale(values, what)
    sites.set_clim(low, high)
    ax.add_collection(sites)
    margin = 0.6 * np.array(grid.pitch)
    (left, top), (right, bottom) = grid.places.min(0), grid.places.max(0)
    ax.set_xlim(left - margin[0], right + margin[0])
    ax.set_ylim(bottom + margin[1], top - margin[1])
    ax.set_aspect("equal" if grid.pitch[0] == grid.pitch[1] else "auto")
    bar = ax.figure.colorbar(
        sites, ax=ax, label=label, shrink=0.8, pad=0.03, extend=extend
    )
    bar.outline.set_visible(False)
    if what == "visits":
        whole_numbers(bar.ax.yaxis)


def _scale(values: np.ndarray, what: str) -> tuple[float, float, str]:
    """Return the ends of the colour scale, and whether something lies beyond."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0, "neither"
    low, high = float(finite.min()), float(finite.max())
    if what == "visits":
        return 0.0, max(high, 1.0), "neither"
    if what == "uncertainty":
        # Of a map of logarithms, few sites far away would take all the colours.
        most = float(np.quantile(finite, 0.95))
        return 0.0, most or 1.0, "max" if high > most > 0 else "neither"
    return (0.0 if 0 < low < high / 2 else low), high, "neither"


def _shape(grid: Grid, place: np.ndarray, fill: float) -> Any:
    from matplotlib.patches import Ellipse, Rectangle

    width, height = fill * grid.pitch[0], fill * grid.pitch[1]
    if grid.is_array:
        return Ellipse(tuple(place), width, height)
    corner = place[0] - width / 2, place[1] - height / 2
    return Rectangle(corner, width, height)


def mark_trials(
    ax: Axes, grid: Grid, sites: Sites, what: str, values: np.ndarray
) -> None:
    """Mark what was tried: with numbers where these are the point, else with dots."""
    tried = np.flatnonzero(sites.n_visits)
    if not tried.size:
        return
    if what == "visits" and len(sites.keys) <= MOST_NUMBERS:
        span = max(np.ptp(grid.places, axis=0) / grid.pitch) + 1
        size = float(np.clip(75 / span, 4.5, 9))
        for k in tried:
            x, y = grid.places[k]
            dark = values[k] > 0.55 * values.max()
            ax.text(
                x,
                y,
                str(sites.n_visits[k]),
                fontsize=size,
                color="white" if dark else "#222222",
                ha="center",
                va="center_baseline",
            )
        return
    ax.scatter(
        *grid.places[tried].T,
        s=7,
        c="white",
        edgecolors="#222222",
        linewidths=0.6,
        zorder=3,
        label="tried",
    )


def mark_rings(ax: Axes, session: Shown, grid: Grid, sites: Sites, level: str) -> None:
    """Ring the best site and those that wait; cross those where a trial failed."""
    history = session.history()
    history = history.sel(query=history["level"] == level)
    if not history.sizes["query"]:
        return
    trials = list(zip(*(history[n].values.tolist() for n in sites.axes), strict=True))
    numbers = {key: k for k, key in enumerate(sites.keys)}
    fate = history["fate"].values

    def of(*fates: str) -> list[int]:
        chosen = [key for key, one in zip(trials, fate, strict=True) if one in fates]
        return list(dict.fromkeys(numbers[key] for key in chosen if key in numbers))

    failed = of("excluded", "rejected")
    if failed:
        look: dict[str, Any] = {"marker": "x", "s": 20, "linewidths": 1.4}
        # Beside the middle, where a dot or a number may be.
        at = grid.places[failed] + 0.3 * np.array([1, -1]) * grid.pitch
        ax.scatter(*at.T, c=FAILED, zorder=6, label="failed trial", **look)
    _ring(ax, grid, of("pending", "unresolved"), WAITING, "waits for its response")
    if "valid" in fate:
        best = session.best(level=level)
        key = tuple(best[name] for name in sites.axes)
        _ring(ax, grid, [numbers[key]] if key in numbers else [], BEST, "best site")
    if ax.get_legend_handles_labels()[0]:
        where: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
        ax.legend(ncols=2, borderaxespad=0.2, columnspacing=1.2, **where)


def _ring(ax: Axes, grid: Grid, chosen: list[int], colour: str, label: str) -> None:
    for k in chosen:
        ring = _shape(grid, grid.places[k], 1.04 * FILL if grid.is_array else 0.96)
        ring.set(fill=False, edgecolor=colour, linewidth=2.2, zorder=5, clip_on=False)
        ax.add_patch(ring)
    if chosen:
        # A patch would be explained by a bar, whatever its shape.
        look: dict[str, Any] = {"color": colour, "markerfacecolor": "none"}
        marker = "o" if grid.is_array else "s"
        look |= {"marker": marker, "markersize": 8, "markeredgewidth": 2}
        ax.plot([], [], linestyle="", label=label, **look)


def name_axes(ax: Axes, space: Any, sites: Sites, grid: Grid) -> None:
    """Label both sides of the picture."""
    if grid.is_array:
        two = np.ptp(grid.places[:, 1]) > 0
        ax.set_xlabel("Column (pitches)" if two else "Position (pitches)")
        ax.set_ylabel("Row (pitches)" if two else "")
        ax.tick_params(left=two, labelleft=two)
        for axis in (ax.xaxis, ax.yaxis):
            whole_numbers(axis)
        ax.spines[["left", "bottom"]].set_visible(False)
        return
    for name, axis in zip(sites.axes, (ax.yaxis, ax.xaxis), strict=True):
        axis.set_label_text(axis_label(name))
        values = space.axes[name]
        if not isinstance(values, Interval):
            every = -(-len(values) // MOST_TICKS)
            at = np.arange(0, len(values), every)
            axis.set_ticks(at, [_written(values[k]) for k in at])


def axis_label(name: str) -> str:
    """Return the name of an axis of the space with its unit, if it has one."""
    spoken = name.replace("_", " ").capitalize()
    return f"{spoken} ({UNITS[name]})" if name in UNITS else spoken


def response_label(variable: xr.DataArray, output: str) -> str:
    """Return the name of an output with its unit, if it has one."""
    name = "Response" if output == "response" else f"Response of {output}"
    unit = variable.attrs.get("units", "")
    return f"{name} ({unit})" if unit else name


def _small(name: str) -> str:
    return name[0].lower() + name[1:]


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def whole_numbers(axis: Any) -> None:
    """Put ticks at whole numbers only."""
    axis.get_major_locator().set_params(integer=True)
