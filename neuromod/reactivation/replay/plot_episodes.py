"""The figure of an animal's rest beside a network's sleep."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromod.core.errors import invalid
from neuromod.core.style import PALETTE, new_axes, styled
from neuromod.reactivation.replay.plot import divided

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KNOWN = {"awake": PALETTE[6], "asleep": PALETTE[1]}
CONTROLS = (PALETTE[4], PALETTE[2], PALETTE[3], PALETTE[5])
MARKS = (("o", "-"), ("s", "--"))


@styled
def plot_model_and_animal(
    animal: xr.Dataset,
    model: xr.Dataset,
    *,
    labels: tuple[str, str] = ("animal", "model"),
    ax: Axes | None = None,
) -> np.ndarray:
    """Draw an animal's rest and a network's sleep side by side, by the same measures.

    Parameters
    ----------
    animal, model
        What `compare_paths` returned of each, with "awake" and "asleep" and whatever
        controls there are.

    Other Parameters
    ----------------
    labels
        What they are called.
    ax
        Axes whose place the panels take; a new figure if omitted.

    Returns
    -------
    (2, 3) of Axes
        Above, where each is (along a track lines; in an arena a map of sleep, with
        contours of waking), and how far both get with time, with its exponent. Below,
        step lengths with the speed relative to waking, divergence from waking, and
        coverage. Bars are intervals over trials.
    """
    both = (animal, model)
    for name, table in zip(("animal", "model"), both, strict=True):
        missing = {"awake", "asleep"} - set(table["condition"].values.tolist())
        if missing:
            raise invalid(name, f"no {', '.join(sorted(missing))}", "both conditions")
    ax = new_axes(ax, (8.4, 4.8))
    axes = divided(ax, 2, 3)
    for panel, table, label in zip(axes[0], both, labels, strict=False):
        _draw_occupancy(panel, table, label)
    if "y" not in animal.coords:
        axes[0, 0].legend(fontsize="small", handlelength=1.2)
    _draw_displacement(axes[0, 2], both, labels)
    names = ("step_length", "kl_histogram", "coverage")
    for panel, name in zip(axes[1], names, strict=True):
        _draw_numbers(panel, both, labels, name)
    _tell_speeds(axes[1, 0], both)
    axes[1, 0].set(ylabel="Step length (m)", yscale="log")
    axes[1, 1].set(ylabel="KL from awake (nats)", ylim=(0, None))
    axes[1, 2].set(ylabel="Share of bins visited", ylim=(0, 1.05))
    return axes


def _colours(table: xr.Dataset) -> dict[str, str]:
    """Return a colour per condition: the same where their order is the same."""
    names = table["condition"].values.tolist()
    others = [name for name in names if name not in KNOWN]
    return KNOWN | dict(zip(others, cycle(CONTROLS), strict=False))


def _draw_occupancy(ax: Axes, table: xr.Dataset, label: str) -> None:
    ax.set_title(label.capitalize())
    if "y" in table.coords:
        _draw_maps(ax, table)
        return
    colours = _colours(table)
    place = table["x"].values
    half = (place[1] - place[0]) / 2
    edges = np.append(place - half, place[-1] + half)
    for name, colour in colours.items():
        shares = table["occupancy"].sel(condition=name).values
        first = name == "awake"
        ax.stairs(
            shares,
            edges,
            color="0.85" if first else colour,
            fill=first,
            linewidth=1.3,
            label=name,
        )
    ax.set(xlabel="Position (m)", ylabel="Share of time")


def _draw_maps(ax: Axes, table: xr.Dataset) -> None:
    """Draw a map of sleep, and half and a tenth of the peak of waking around it."""
    maps = table["occupancy"].set_index(position=["x", "y"]).unstack("position")
    x, y = maps["x"].values, maps["y"].values
    asleep, awake = (
        maps.sel(condition=name).transpose("y", "x").values
        for name in ("asleep", "awake")
    )
    ax.pcolormesh(x, y, asleep, cmap="Oranges", shading="nearest", rasterized=True)
    levels = awake.max() * np.array([0.1, 0.5])
    ax.contour(x, y, awake, levels, colors=KNOWN["awake"], linewidths=0.8)
    ax.set(xlabel="x (m)", ylabel="y (m)", aspect="equal")


def _draw_displacement(
    ax: Axes, both: tuple[xr.Dataset, xr.Dataset], labels: tuple[str, str]
) -> None:
    for table, label, (mark, line) in zip(both, labels, MARKS, strict=True):
        for name, colour in _colours(table).items():
            one = table.sel(condition=name)
            ax.plot(
                one["delay"],
                one["displacement"],
                mark + line,
                color=colour,
                linewidth=1,
                markersize=3,
                markerfacecolor=colour if mark == "o" else "white",
                label=f"{label} {name}, {float(one['displacement_slope']):.1f}",
            )
    ax.set(
        xlabel="Delay (s)",
        ylabel="Squared displacement (m²)",
        xscale="log",
        yscale="log",
    )
    ax.legend(
        title="Exponent",
        fontsize="x-small",
        title_fontsize="x-small",
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
    )


def _draw_numbers(
    ax: Axes,
    both: tuple[xr.Dataset, xr.Dataset],
    labels: tuple[str, str],
    variable: str,
) -> None:
    """Draw a number per condition, with its interval where there is one."""
    begin, middles = 0.0, []
    for table, (mark, _) in zip(both, MARKS, strict=True):
        colours = _colours(table)
        for place, (name, colour) in enumerate(colours.items()):
            one = table.sel(condition=name)
            value = float(one[variable])
            tails = one.get(f"{variable}_interval")
            bars = None
            if tails is not None:
                signed = np.array([value, -value]) + np.array([-1, 1]) * tails.values
                bars = signed.clip(0)[:, None]
            ax.errorbar(
                begin + place, value, bars, fmt=mark, color=colour, capsize=2,
                markerfacecolor=colour if mark == "o" else "white",
            )  # fmt: skip
        middles.append(begin + (len(colours) - 1) / 2)
        begin += len(colours) + 0.8
    ax.set_xticks(middles, [label.capitalize() for label in labels])
    ax.set_xlim(-0.8, begin - 1)
    ax.tick_params(axis="x", length=0)


def _tell_speeds(ax: Axes, both: tuple[xr.Dataset, xr.Dataset]) -> None:
    """Write below the steps how long they take asleep, and how fast that is."""
    told = []
    for tick, table in zip(ax.get_xticklabels(), both, strict=True):
        asleep = table.sel(condition="asleep")
        ratio, step = float(asleep["speed_ratio"]), float(asleep["time_step"])
        ratio = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
        told.append(f"{tick.get_text()}\n{1e3 * step:.0f} ms, × {ratio}")
    ax.set_xticks(ax.get_xticks(), told)
