"""What figures of this family share: arenas, and checks of what is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_dims, require_finite, require_time
from neuromod.core.errors import ShapeError, invalid
from neuromod.reactivation.navigator import Navigator
from neuromod.reactivation.telling import DIMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEQUENTIAL = "viridis"
MARGIN = 0.04  # around an arena, as a share of its size
KEEPING = {"state": "states=True", "output": "outputs=True"}


def require_run(
    given: Any, argument: str, navigator: Navigator, *also: str
) -> xr.Dataset:
    """Return what a network told, awake or asleep, in our order of dimensions.

    Parameters
    ----------
    given
        What `wake` or `sleep` returned.
    argument
        Its name, for the error.
    navigator
        Whose arena the positions are in.
    *also
        Variables that are needed besides ``position``.

    Raises
    ------
    InvalidInputError
        If it is no such Dataset, lacks a variable, or has numbers that are not finite.
    ShapeError
        If dimensions are others, or positions lie in another space.
    """
    expected = "a Dataset that wake or sleep returned"
    if not isinstance(given, xr.Dataset) or "position" not in given:
        raise invalid(argument, f"a {type(given).__name__}", expected)
    if "seed" in given.dims:
        seed = given["seed"].values[0]
        remedy = f"Choose one: {argument}.sel(seed={seed})."
        got = "networks of several seeds"
        raise invalid(argument, got, "one network", remedy, ShapeError)
    for name in also:
        if name not in given:
            remedy = f"Keep it: wake(..., {KEEPING[name]}), and so for sleep."
            raise invalid(argument, f"no {name!r}", f"{expected} with it", remedy)
    found = {}
    for name in given.data_vars:
        if name in DIMS:
            dims = ("trial", "time", DIMS[str(name)])
            found[name] = require_dims(given[name], dims, f"{argument}.{name}")
            require_finite(found[name].values, f"{argument}.{name}")
    require_time(found["position"], argument)
    n_axes, expected = found["position"].sizes["space"], len(navigator.task.bounds)
    if n_axes != expected:
        got = f"positions with {n_axes} coordinates"
        expected = f"{expected}, as the arena of the network has"
        raise invalid(argument, got, expected, kind=ShapeError)
    return xr.Dataset(found)


def centres_of(navigator: Navigator) -> np.ndarray:
    """Return where each cell is most active: (cell, space)."""
    code = navigator.task.code
    if code.periodic:
        return np.asarray(code.preferred)[:, None]
    return np.asarray(code.centres)


def arena_of(navigator: Navigator) -> str:
    """Return what positions lie in: a "plane", a "circle" or a "track"."""
    if len(navigator.task.bounds) == 2:
        return "plane"
    return "circle" if navigator.task.code.periodic else "track"


def draw_arena(ax: Axes, navigator: Navigator, *, cells: bool = True) -> None:
    """Draw the walls of a plane at their true shape, and where its cells stand."""
    from matplotlib.patches import Rectangle

    low, high = np.asarray(navigator.task.bounds, float).T
    if cells:
        x, y = centres_of(navigator).T
        ax.scatter(x, y, 5, "0.85", linewidths=0, zorder=0, label="place cells")
    wall = {"facecolor": "none", "edgecolor": "0.3", "linewidth": 0.8}
    ax.add_patch(Rectangle(tuple(low), *(high - low), **wall, zorder=1, clip_on=False))
    margin = MARGIN * (high - low).max()
    ax.set(
        xlim=(low[0] - margin, high[0] + margin),
        ylim=(low[1] - margin, high[1] + margin),
        aspect="equal",
    )
    ax.locator_params(nbins=4)
    ax.tick_params(length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.set(xlabel="x (m)", ylabel="y (m)")


def place_label(navigator: Navigator) -> str:
    """Return the name of the one coordinate of a circle or a track."""
    return "Heading (rad)" if arena_of(navigator) == "circle" else "Position (m)"


def angle_ticks(axis: Any) -> None:
    """Tick an axis of angles at quarters of the circle."""
    ticks = np.pi * np.array([-1, -0.5, 0, 0.5, 1])
    axis.set_ticks(ticks, ["−π", "−π/2", "0", "π/2", "π"])
