"""Figures of a network's measures beside those of its controls (`measure`).

Figures of one panel take ``ax=None``, those of several ``axes=None``; each returns what
it has drawn on.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.errors import choice, invalid
from neuromod.core.style import PALETTE, new_axes, panels, styled, styled_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURES = (
    "cosine",
    "kl_histogram",
    "captured",
    "step_length",
    "within_trajectory_variance",
    "displacement_slope",
)
COLOURS = {
    "awake": "0.15",
    "asleep": PALETTE[0],
    "same noise": PALETTE[4],
    "zero noise": "#999933",  # olive
    "untrained": PALETTE[1],
    "noiseless": PALETTE[2],
    "noiseless + noise": PALETTE[5],
    "shuffled decoder": PALETTE[3],
}
OTHER = "0.55"  # of a condition without a colour of its own
WIDE = 30  # times: measures that span more are drawn on a logarithmic scale
SEEDS_BELOW = 0.24  # of their mean, in rows
LINE = 30  # letters of a title
SLOPES = {1: ":", 2: (0, (5, 3))}


@styled_panels
def plot_controls(
    measured: xr.Dataset,
    *,
    measures: Sequence[str] = MEASURES,
    axes: Any = None,
) -> np.ndarray:
    """Draw the table of controls: each measure of each condition, with its seeds.

    Parameters
    ----------
    measured
        What `measure` returned.

    Other Parameters
    ----------------
    measures
        Names of the measures to draw.
    axes
        One axes per measure; those of a new figure if omitted.

    Returns
    -------
    array of Axes
        One per measure, on a logarithmic scale where values span more than 30 times;
        0 then stands at the left edge as a triangle. Conditions in the order of the
        dataset from the top; the mean with its 95 % interval, and a dot for each seed.
        The dashed line is the mean awake, a dash a condition without this measure. A
        divergence in which some untrained network is as near to waking as some trained
        one says so in its title.

    Raises
    ------
    InvalidInputError
        If the Dataset is not one of `measure`, or a measure is unknown.
    ShapeError
        If there is not one axes per measure.
    """
    measured = _require_measured(measured)
    scalar = [
        str(name)
        for name, values in measured.data_vars.items()
        if set(values.dims) == {"condition", "seed"}
    ]
    measures = [measures] if isinstance(measures, str) else list(measures)
    if not measures:
        raise invalid("measures", measures, "the name of at least one measure")
    for name in measures:
        choice("measures", name, scalar)
    conditions = [str(name) for name in measured["condition"].values]
    size = (2.5, 0.75 + 0.2 * len(conditions))
    new, axes = axes is None, panels(axes, len(measures), size, 3, sharey=True)
    rows = np.arange(len(conditions))
    at_rest = False
    for ax, name in zip(axes, measures, strict=True):
        values = measured[name].transpose("condition", "seed")
        interval = measured[f"{name}_interval"].transpose("condition", "quantile")
        at_rest |= _draw_measure(ax, values, interval.values)
        alike = name.startswith("kl_") and _untrained_is_as_near(values)
        ax.set_title(_title(values, alike), loc="left")
        ax.set_xlabel(_unit(values))
        ax.set_yticks(rows, conditions)
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(len(conditions) - 0.5, -0.5)
        if new:
            ax.tick_params(axis="y", labelleft=ax.get_subplotspec().is_first_col())
    if new:
        _explain(axes, at_rest)
    return axes


def _require_measured(given: Any) -> xr.Dataset:
    expected = "what reactivation.measure returned, over (condition, seed)"
    if not isinstance(given, xr.Dataset):
        raise invalid("measured", f"a {type(given).__name__}", expected)
    missing = [dim for dim in ("condition", "seed") if dim not in given.dims]
    if missing:
        raise invalid("measured", f"a Dataset without {', '.join(missing)}", expected)
    if "awake" not in given["condition"]:
        raise invalid("measured", "no condition 'awake'", expected)
    return given


def _draw_measure(ax: Axes, values: xr.DataArray, interval: np.ndarray) -> bool:
    """Draw a measure of all conditions; return whether some are 0 at the edge."""
    found = values.values
    left = _scale(ax, found, interval)
    waking = float(values.sel(condition="awake").mean())
    if np.isfinite(waking):
        ax.axvline(waking, color="0.7", linewidth=0.8, linestyle="--", zorder=1)
    for row, name in enumerate(values["condition"].values.tolist()):
        seeds, colour = found[row], COLOURS.get(name, OTHER)
        if np.isnan(seeds).all():
            across = ax.get_yaxis_transform()
            ax.text(0.02, row, "–", color="0.5", va="center", transform=across)
            continue
        off = seeds < left
        dots: dict[str, Any] = {"color": colour, "linewidths": 0, "zorder": 2}
        at = np.full(len(seeds), row + SEEDS_BELOW)
        ax.scatter(seeds[~off], at[~off], 7, alpha=0.6, **dots)
        edge = {"marker": "<", "clip_on": False} | dots
        ax.scatter(np.full(off.sum(), left), at[off], 14, **edge)
        mean = seeds.mean()
        if mean < left:
            continue
        reach = np.abs(interval[row] - mean)[:, None]
        reach = np.where(np.isfinite(reach), reach, 0.0)
        look: dict[str, Any] = {"fmt": "o", "ms": 4.5, "elinewidth": 1.2, "zorder": 3}
        ax.errorbar(mean, row, xerr=reach, color=colour, mec="white", mew=0.6, **look)
    return bool((found < left).any())


def _scale(ax: Axes, values: np.ndarray, interval: np.ndarray) -> float:
    """Set the scale and limits of an axis of values; return where 0 is drawn."""
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    least, most = positive.min(initial=np.inf), positive.max(initial=0.0)
    if most > WIDE * least and not (finite < 0).any():
        ax.set(xscale="log", xlim=(least / 2, most * 2))
        return least / 2
    low = finite.min(initial=0.0)
    span = (most - low) or 1.0
    # Of few seeds an interval may be huge, and would hide all else.
    highest = interval[np.isfinite(interval)].max(initial=most)
    high = min(highest, most + span / 2)
    ax.set_xlim(low - 0.06 * span * (low < 0), high + 0.06 * span)
    return -np.inf


def _untrained_is_as_near(values: xr.DataArray) -> bool:
    """Return whether this divergence does not tell trained from untrained networks."""
    if not {"asleep", "untrained"} <= set(values["condition"].values):
        return False
    trained, untrained = (values.sel(condition=c) for c in ("asleep", "untrained"))
    return bool(trained.max() >= untrained.min())


def _unit(values: xr.DataArray) -> str:
    unit = values.attrs.get("units", "1").replace("^2", "²")
    return "(no unit)" if unit == "1" else unit


def _title(values: xr.DataArray, alike: bool) -> str:
    name = values.attrs.get("long_name", str(values.name))
    lines = textwrap.wrap(name[0].upper() + name[1:], LINE)
    return "\n".join([*lines, "⚠ untrained is as near"] if alike else lines)


def _explain(axes: np.ndarray, at_rest: bool) -> None:
    """Say below the figure what dots, bars and lines are."""
    from matplotlib.lines import Line2D

    looks: dict[str, dict[str, Any]] = {
        "one seed": {"marker": "o", "linestyle": "none", "ms": 3, "alpha": 0.6},
        "mean and 95 % interval": {"marker": "o", "ms": 4.5},
        "awake": {"color": "0.7", "linestyle": "--", "linewidth": 0.8},
        "0": {"marker": "<", "linestyle": "none"},
    }
    if not at_rest:
        del looks["0"]
    handles = [
        Line2D([], [], **{"color": "0.4", **look}, label=label)
        for label, look in looks.items()
    ]
    axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=4)


@styled
def plot_displacement(measured: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    r"""Draw how far paths get with time: whether they diffuse, or move steadily.

    Parameters
    ----------
    measured
        What `measure` returned.

    Other Parameters
    ----------------
    ax
        Axes to draw on; a new figure if omitted.

    Returns
    -------
    Axes
        The mean squared displacement of each condition over the delay, with the 95 %
        interval of its mean over seeds; its exponent is in the legend. Dotted lines
        have the slopes 1 and 2. What stands still is not on a logarithmic scale, and
        is left out.

    Raises
    ------
    InvalidInputError
        If the Dataset is not one of `measure`.
    """
    measured = _require_measured(measured)
    for name in ("displacement", "displacement_interval", "displacement_slope"):
        if name not in measured:
            raise invalid("measured", f"no {name!r}", "what measure returned")
    ax = new_axes(ax, (5.4, 3.2))
    found = measured["displacement"].mean("seed")
    slope = measured["displacement_slope"].mean("seed")
    lag = measured["lag"].values
    handles: list[Any] = []
    for name in measured["condition"].values:
        mean = found.sel(condition=name).values
        if not (mean > 0).any():
            continue
        colour = COLOURS.get(str(name), OTHER)
        label = f"{name} ({float(slope.sel(condition=name)):.2f})"
        interval = measured["displacement_interval"].sel(condition=name)
        reach = np.abs(interval.transpose("quantile", "lag").values - mean)
        reach = np.where(np.isfinite(reach), reach, 0.0)
        look: dict[str, Any] = {"fmt": "o-", "ms": 3, "elinewidth": 0.8}
        handles.append(ax.errorbar(lag, mean, reach, color=colour, label=label, **look))
    positive = found.values[found.values > 0]
    if not positive.size:
        raise invalid("measured", "no displacement above 0", "paths that move")
    middle = np.exp(np.log(positive).mean())
    for exponent, line in SLOPES.items():
        law = middle * (lag / np.sqrt(lag[0] * lag[-1])) ** exponent
        look = {"color": "0.4", "linewidth": 0.8, "linestyle": line, "zorder": 1}
        handles += ax.plot(lag, law, label=f"slope {exponent}", **look)
    unit = measured["displacement"].attrs.get("units", "").replace("^2", "²")
    label = f"Mean squared displacement ({unit})"
    ax.set(xlabel="Delay (s)", ylabel=label, xscale="log", yscale="log")
    ax.set_ylim(positive.min() / 2, positive.max() * 2)
    ax.set_title("How far decoded positions get", loc="left")
    beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.02, 1)}
    title = "Condition (exponent)"
    ax.legend(handles=handles, title=title, frameon=False, **beside)
    return ax
