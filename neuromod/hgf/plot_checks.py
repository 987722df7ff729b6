"""Figures that ask whether a model, its parameters and its scheme can be trusted.

Figures of one panel take ``ax=None``, those of several ``axes=None``; each returns what
it has drawn on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.errors import invalid
from neuromod.core.style import (
    DIVERGING,
    PALETTE,
    new_axes,
    panels,
    styled,
    styled_panels,
)
from neuromod.hgf.plot import legend_below, require_dataset

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RUNAWAY = 2.0  # times chance: where the surprise is larger, beliefs ran away
VOLATILITIES = ("tonic_volatility_2", "tonic_volatility_3")


@styled_panels
def plot_recovery(recovered: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw parameters that were estimated against those that made the data.

    Parameters
    ----------
    recovered : (parameter, subject)
        With ``true``, ``estimate`` and ``standard_error``, as `neuromod.hgf.recover`
        returns them: on the native scale of each parameter. Subjects whose estimate is
        not finite are left out, and counted in the title.

    Other Parameters
    ----------------
    axes
        One axes per parameter; those of a new figure if omitted.

    Returns
    -------
    array of Axes
        One per parameter: estimates with their standard errors and the identity line;
        in the title the correlation of Pearson and the root mean squared error.

    Raises
    ------
    InvalidInputError
        If the Dataset does not have these variables.
    ShapeError
        If there is not one axes per parameter.
    """
    variables = ("true", "estimate", "standard_error")
    dims = ("parameter", "subject")
    recovered = require_dataset(recovered, "recovered", variables, dims)
    names = [str(name) for name in recovered["parameter"].values]
    axes = panels(axes, len(names), (2.5, 2.9), 3)
    for ax, name in zip(axes, names, strict=True):
        one = recovered.sel(parameter=name)
        _draw_recovery(ax, *(one[variable].values for variable in variables))
        title = f"{name}\n{_agreement(one['true'].values, one['estimate'].values)}"
        ax.set_title(title, loc="left")
        ax.set(xlabel="True (native scale)", ylabel="Estimated (native scale)")
    return axes


def _draw_recovery(
    ax: Axes, true: np.ndarray, estimate: np.ndarray, error: np.ndarray
) -> None:
    found = np.isfinite(estimate)
    true, estimate, error = true[found], estimate[found], error[found]
    error = np.where(np.isfinite(error), error, 0.0)
    look: dict[str, Any] = {"fmt": "o", "ms": 3.5, "elinewidth": 0.7, "alpha": 0.75}
    ax.errorbar(true, estimate, error, color=PALETTE[0], **look)
    if not found.any():
        return
    low = min(true.min(), estimate.min())
    high = max(true.max(), estimate.max())
    # Room for most error bars; one that is huge would hide all else.
    margin = max(0.06 * (high - low), float(np.median(error))) or 1.0
    limits = (low - margin, high + margin)
    ax.plot(limits, limits, color="0.4", linewidth=0.8, zorder=1)
    ax.set(xlim=limits, ylim=limits, box_aspect=1)
    ax.locator_params(nbins=5)
    ax.set_yticks(ax.get_xticks())
    ax.set(xlim=limits, ylim=limits)


def _agreement(true: np.ndarray, estimate: np.ndarray) -> str:
    found = np.isfinite(estimate)
    error = np.sqrt(np.mean((estimate - true)[found] ** 2)) if found.any() else np.nan
    varied = found.sum() > 1 and np.ptp(true[found]) > 0 and np.ptp(estimate[found]) > 0
    r = np.corrcoef(true[found], estimate[found])[0, 1] if varied else np.nan
    text = f"r = {r:.2f}, RMSE = {error:.2g}".replace("-", "−")
    if found.all():
        return text
    return f"{text}, {(~found).sum()} failed"


@styled
def plot_model_selection(selection: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw how frequent each model is in a population, and whether it is the commonest.

    Parameters
    ----------
    selection : (model,)
        With ``expected_frequency``, the share of the population, its
        ``frequency_standard_deviation``, and ``protected_exceedance_probability``,
        that of being more frequent than any other: what
        `neuromod.hgf.select_models` returns.

    Other Parameters
    ----------------
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        Two bars per model with their values, that of the frequency with its standard
        deviation; the dotted line is where all models are equally frequent.

    Raises
    ------
    InvalidInputError
        If the Dataset does not have these variables.
    """
    names = ("expected_frequency", "protected_exceedance_probability")
    needed = (*names, "frequency_standard_deviation")
    selection = require_dataset(selection, "selection", needed, ("model",))
    models = [str(name) for name in selection["model"].values]
    rows = np.arange(len(models))
    error = selection["frequency_standard_deviation"].values
    ax = new_axes(ax, (5.6, 0.9 + 0.5 * len(models)))
    handles: list[Any] = []
    ground = {"facecolor": "white", "linewidth": 0, "pad": 1}
    beside: dict[str, Any] = {"va": "center", "bbox": ground}
    for i, (name, reach) in enumerate(zip(names, (error, 0 * error), strict=True)):
        values, at = selection[name].values, rows + 0.19 * (2 * i - 1)
        bars = ax.barh(at, values, 0.36, color=PALETTE[i], label=_spelt(name))
        handles.append(bars)
        for y, value, right in zip(at, values, values + reach, strict=True):
            ax.text(right + 0.01, y, f"{value:.2f}", fontsize="small", **beside)
    look: dict[str, Any] = {
        "fmt": "none",
        "ecolor": "0.2",
        "elinewidth": 1.0,
        "capsize": 2,
    }
    frequency = selection["expected_frequency"].values
    ax.errorbar(frequency, rows - 0.19, xerr=error, **look)
    equal = ax.axvline(1 / len(models), color="0.3", linewidth=0.8, linestyle=":")
    equal.set_label("all equal")
    ax.set_yticks(rows, models)
    ax.invert_yaxis()
    ax.set(xlabel="Probability", ylabel="Model", xlim=(0, 1.12))
    ax.set_xticks(np.linspace(0, 1, 6))
    above = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 3}
    ax.legend(handles=[*handles, equal], frameon=False, **above)
    return ax


def _spelt(name: str) -> str:
    return name.replace("_", " ")


@styled_panels
def plot_stability(map: xr.Dataset, *, axes: Any = None) -> np.ndarray:
    """Draw at which tonic volatilities each scheme holds, fails and runs away.

    Parameters
    ----------
    map : (scheme, tonic_volatility_2, tonic_volatility_3)
        With ``surprise``, in total (nats), NaN or infinite where beliefs
        failed, and the attribute ``chance``: the surprise of believing nothing.

    Other Parameters
    ----------------
    axes
        One axes per scheme; those of a new figure if omitted.

    Returns
    -------
    array of Axes
        A map per scheme on one colour scale: blue is less surprise than chance, red
        more. Cells that failed are hatched; those of more than twice the surprise of
        chance (runaways) have a cross.

    Raises
    ------
    InvalidInputError
        If the Dataset is no such map.
    ShapeError
        If there is not one axes per scheme.
    """
    map = require_dataset(map, "map", ("surprise",), ("scheme", *VOLATILITIES))
    if "chance" not in map.attrs:
        expected = "the surprise of believing nothing, such as n_trials * log(2)"
        raise invalid("map", "no attribute 'chance'", expected)
    chance = float(map.attrs["chance"])
    shared = {"sharex": True, "sharey": True}
    new, axes = axes is None, panels(axes, map.sizes["scheme"], (2.3, 2.1), 3, **shared)
    surprise = map["surprise"].transpose("scheme", *VOLATILITIES)
    lowest = float(surprise.where(np.isfinite(surprise)).min())
    grid = [map[name].values for name in VOLATILITIES]
    width = max(chance - lowest, 1.0)
    for ax, scheme in zip(axes, surprise["scheme"].values, strict=True):
        values = surprise.sel(scheme=scheme).values
        mesh = _draw_map(ax, grid, values, chance, width)
        ax.set_title(str(scheme), loc="left")
    bar = axes[0].figure.colorbar(mesh, ax=list(axes), extend="max", shrink=0.9)
    bar.set_label("Total surprise less that of chance (nats)")
    for ax in axes:
        for axis, node in ((ax.xaxis, "x3"), (ax.yaxis, "x2")):
            axis.set_label_text(f"Tonic volatility of {node}\n(log variance per trial)")
        ax.label_outer()
    legend_below(axes, new, 2.6, _failures())
    return axes


def _draw_map(
    ax: Axes, grid: list[np.ndarray], values: np.ndarray, chance: float, width: float
) -> Any:
    from matplotlib.colors import ListedColormap

    second, third = grid
    failed = ~np.isfinite(values)
    shown = np.ma.masked_array(values - chance, failed)
    colours = {"cmap": DIVERGING, "vmin": -width, "vmax": width}
    mesh = ax.pcolormesh(third, second, shown, shading="nearest", **colours)
    if failed.any():
        look = {"cmap": ListedColormap(["0.92"]), "hatch": "/////", "edgecolor": "0.45"}
        hatched = np.ma.masked_array(np.ones_like(values), ~failed)
        ax.pcolor(third, second, hatched, shading="nearest", linewidth=0, **look)
    rows, columns = np.nonzero(~failed & (values > RUNAWAY * chance))
    ax.scatter(third[columns], second[rows], 12, "black", marker="x", linewidths=0.8)
    return mesh


def _failures() -> list[Any]:
    """Return what the legend shows of hatches and crosses."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    failed = Patch(facecolor="0.92", edgecolor="0.45", hatch="/////", linewidth=0)
    failed.set_label("failed: beliefs are no numbers")
    runaway = Line2D([], [], color="black", marker="x", linestyle="none")
    runaway.set_label(f"ran away: surprise > {RUNAWAY:g} × chance")
    return [failed, runaway]
