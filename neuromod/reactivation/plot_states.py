"""Figures of the states of a network: the plane where it moves, and where it rests.

Each takes ``axes=None`` or ``ax=None`` and returns what it has drawn on. The plane is
that of the first two principal components of states awake: `measures.components`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.result import Result
from neuromod.core.style import PALETTE, new_axes, panels, styled, styled_panels
from neuromod.reactivation.measures.components import (
    Components,
    principal_components,
    project,
)
from neuromod.reactivation.measures.fixed_points import FixedPoints
from neuromod.reactivation.measures.tables import component_table
from neuromod.reactivation.navigator import Navigator, navigator_of
from neuromod.reactivation.plot_arena import (
    SEQUENTIAL,
    angle_ticks,
    arena_of,
    require_run,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DOTS = 3000  # of a cloud; more hide each other
DARKER = 0.85  # of a colour map whose ends are nearly white
SHARES = {  # of the table: label, colour, line
    "explained_variance_awake": ("awake, own", "0.45", "-"),
    "awake_in_quiescent": ("awake, of sleep", "0.45", "--"),
    "explained_variance_quiescent": ("asleep, own", PALETTE[0], "-"),
    "quiescent_in_awake": ("asleep, of waking", PALETTE[0], "--"),
}


class _Scale(NamedTuple):
    """How colour tells a place: its label, map and limits."""

    label: str
    cmap: Any
    limits: tuple[float, float]
    periodic: bool = False


@styled_panels
def plot_components(
    network: Navigator | Result,
    awake: xr.Dataset,
    asleep: xr.Dataset,
    *,
    n_components: int = 10,
    axes: Any = None,
) -> np.ndarray:
    """Draw states awake and asleep in one plane, and what share of each lies in it.

    Parameters
    ----------
    network
        What `train` returned (of one seed), or a `Navigator`.
    awake, asleep
        What `wake` and `sleep` returned with ``states=True``.

    Other Parameters
    ----------------
    n_components
        Principal components in the last panel.
    axes
        Three axes; those of a new figure if omitted.

    Returns
    -------
    array of Axes
        States awake and states asleep in the first two components of waking, coloured
        by what they are decoded as: the distance from the middle of an arena, the
        position along a track, or the heading. Then the share of variance within the
        first components: of each in its own, and in those of the other.

    Raises
    ------
    InvalidInputError
        If states were not kept, do not vary, or are not finite.
    ShapeError
        If they have other dimensions, or there are not three axes.

    Examples
    --------
    >>> from neuromod.reactivation import sleep, untrained, wake
    >>> network = untrained("demo", 0)
    >>> awake = wake(network, seed=0, n_trials=2, n_steps=9, states=True)
    >>> asleep = sleep(network, 0.2, seed=0, n_trials=2, states=True)
    >>> len(plot_components(network, awake, asleep))
    3
    """
    navigator = navigator_of(network)
    runs = {
        "Awake": require_run(awake, "awake", navigator, "state"),
        "Asleep": require_run(asleep, "asleep", navigator, "state"),
    }
    n_components = require_integer(n_components, "n_components")
    n_components = min(n_components, runs["Awake"].sizes["unit"])
    new, axes = axes is None, panels(axes, 3, (3.0, 2.8), 3, layout="compressed")
    components = principal_components(runs["Awake"]["state"].values)
    clouds = {name: _cloud(run, components) for name, run in runs.items()}
    scale = _scale(navigator, *(places for _, places in clouds.values()))
    limits = _limits(*(dots for dots, _ in clouds.values()))
    for ax, (name, (dots, places)) in zip(axes, clouds.items(), strict=False):
        look: dict[str, Any] = {"cmap": scale.cmap, "clim": scale.limits}
        shown = ax.scatter(*dots.T, s=4, c=_told(navigator, places), lw=0, **look)
        ax.set_title(f"{name}, in components of waking", loc="left")
        _label_plane(ax, components)
        ax.set(xlim=limits[0], ylim=limits[1], aspect="equal")
    _colour_bar(shown, axes[:2] if new else axes[1:2], scale)
    table = component_table(
        runs["Asleep"]["state"], runs["Awake"]["state"], n_components=n_components
    )
    _draw_shares(axes[2], table)
    return axes


def _cloud(run: xr.Dataset, components: Components) -> tuple[np.ndarray, np.ndarray]:
    """Return some states in the plane, and where they are decoded: (point, ...)."""
    states, places = (
        run[name].values.reshape(-1, run[name].shape[-1])
        for name in ("state", "position")
    )
    some = np.linspace(0, len(states) - 1, min(len(states), MOST_DOTS)).astype(int)
    return project(states[some], components, 2), places[some]


def _told(navigator: Navigator, places: np.ndarray) -> np.ndarray:
    """Return the number that colour tells of places (point, space)."""
    if arena_of(navigator) != "plane":
        return places[:, 0]
    middle = np.asarray(navigator.task.bounds, float).mean(axis=1)
    return np.linalg.norm(places - middle, axis=1)


def _scale(navigator: Navigator, *places: np.ndarray) -> _Scale:
    import matplotlib
    from matplotlib.colors import ListedColormap

    low, high = np.asarray(navigator.task.bounds, float)[0]
    if arena_of(navigator) == "circle":
        twilight = matplotlib.colormaps["twilight"](np.linspace(0, 1, 256))
        twilight[:, :3] *= DARKER
        label, cmap = "Decoded heading (rad)", ListedColormap(twilight)
        return _Scale(label, cmap, (low, high), periodic=True)
    if arena_of(navigator) == "track":
        return _Scale("Decoded position (m)", SEQUENTIAL, (low, high))
    farthest = max(float(_told(navigator, some).max()) for some in places)
    return _Scale("Decoded distance from\nthe middle (m)", SEQUENTIAL, (0.0, farthest))


def _limits(*clouds: np.ndarray) -> np.ndarray:
    """Return limits (2, 2) of a square in which all clouds lie."""
    dots = np.concatenate(clouds)
    low, high = dots.min(axis=0), dots.max(axis=0)
    half = 0.55 * (high - low).max()
    return (low + high)[:, None] / 2 + half * np.array([-1, 1])


def _label_plane(ax: Axes, components: Components) -> None:
    first, second = 100 * components.explained_variance_ratio[:2]
    ax.set_xlabel(f"Component 1 ({first:.0f} % of waking)")
    ax.set_ylabel(f"Component 2 ({second:.0f} %)")
    ax.locator_params(nbins=5)


def _colour_bar(shown: Any, axes: Any, scale: _Scale) -> None:
    bar = axes[0].figure.colorbar(shown, ax=list(axes), shrink=0.9, aspect=25)
    bar.set_label(scale.label)
    bar.outline.set_visible(False)
    if scale.periodic:
        angle_ticks(bar.ax.yaxis)


def _draw_shares(ax: Axes, table: xr.Dataset) -> None:
    number = table["latent"].values
    for name, (label, colour, line) in SHARES.items():
        share = table[name].values
        share = share.cumsum() if name.startswith("explained") else share
        ax.plot(number, share, line, marker="o", ms=3, color=colour, label=label)
    ax.set_box_aspect(1)  # as the planes beside it
    ax.set(xlabel="Number of components", ylabel="Share of variance", ylim=(0, 1.03))
    ax.locator_params(axis="x", integer=True)
    ax.set_title("Variance captured", loc="left")
    ax.legend(title="States, in components", loc="lower right", frameon=False)


@styled
def plot_fixed_points(
    network: Navigator | Result,
    awake: xr.Dataset,
    points: xr.Dataset | FixedPoints,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw where the dynamics rest, or nearly, in the plane where waking moves.

    Parameters
    ----------
    network
        What `train` returned (of one seed), or a `Navigator`.
    awake
        What `wake` returned with ``states=True``.
    points
        What `fixed_points` returned, or `measures.fixed_points`.

    Other Parameters
    ----------------
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        States awake in grey, in their first two components. Points are coloured by what
        they are decoded as: filled where the network rests and comes back to, crosses
        where it rests and is driven away, hollow where it is merely slow.

    Raises
    ------
    InvalidInputError
        If states were not kept or ``points`` are none.
    ShapeError
        If states and points are not of the same units.
    """
    navigator = navigator_of(network)
    run = require_run(awake, "awake", navigator, "state")
    states, fixed, stable = _points(points, run.sizes["unit"])
    components = principal_components(run["state"].values)
    cloud, _ = _cloud(run, components)
    places = navigator.task.code.decode(
        navigator.network.read_out(jnp.asarray(states, jnp.result_type(float)))
    )
    scale = _scale(navigator, np.asarray(places))
    ax = new_axes(ax, (4.4, 3.4))
    ax.scatter(*cloud.T, s=3, c="0.85", linewidths=0, label="awake", zorder=1)
    mapped = _mapped(scale)
    colours = mapped.to_rgba(_told(navigator, np.asarray(places)))
    dots = project(states, components, 2)
    looks: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "slow": (~fixed, {"marker": "o", "facecolors": "none", "linewidths": 1.1}),
        "fixed, stable": (fixed & stable, {"marker": "o", "linewidths": 0.6}),
        "fixed, unstable": (fixed & ~stable, {"marker": "X", "linewidths": 0.6}),
    }
    for label, (these, look) in looks.items():
        if these.any():
            edge = colours[these] if label == "slow" else "0.15"
            face = {"facecolors": colours[these], "edgecolors": edge} | look
            ax.scatter(*dots[these].T, s=30, zorder=3, label=label, **face)
    _label_plane(ax, components)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_title("Fixed and slow points, without input and noise", loc="left")
    ax.legend(handles=_handles(ax), loc="best", frameon=False)
    _colour_bar(mapped, [ax], scale)
    return ax


def _points(given: Any, n_units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the states of points, and which are fixed and stable."""
    if isinstance(given, FixedPoints):
        states, fixed, stable = given.states, given.fixed, given.stable
    elif isinstance(given, xr.Dataset) and {"state", "fixed", "stable"} <= set(given):
        states = given["state"].transpose("point", "unit").values
        fixed, stable = given["fixed"].values, given["stable"].values
    else:
        expected = "what fixed_points or measures.fixed_points returned"
        raise invalid("points", f"a {type(given).__name__}", expected)
    if states.shape[-1] != n_units:
        got, expected = f"states of {states.shape[-1]} units", f"{n_units}, as awake"
        raise invalid("points", got, expected, kind=ShapeError)
    return states, np.asarray(fixed, bool), np.asarray(stable, bool)


def _mapped(scale: _Scale) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(*scale.limits), scale.cmap)


def _handles(ax: Axes) -> list[Any]:
    """Return the marks of the legend in grey, for colour tells the place."""
    from matplotlib.lines import Line2D

    looks: dict[str, dict[str, Any]] = {
        "awake": {"marker": "o", "color": "0.85", "markersize": 3},
        "slow": {"marker": "o", "color": "0.4", "markerfacecolor": "none"},
        "fixed, stable": {"marker": "o", "color": "0.4"},
        "fixed, unstable": {"marker": "X", "color": "0.4"},
    }
    _, labels = ax.get_legend_handles_labels()
    return [
        Line2D([], [], linestyle="none", label=label, **looks[label])
        for label in labels
        if label in looks
    ]
