"""The figure of a network: which node acts on which, and how.

Inputs stand at the bottom, and every state above all that it acts on: its level is the
length of the longest way down to an input. Within a level, nodes stand as near as they
can to the mean place of those they are joined to (the barycentre; Sugiyama et al., IEEE
Trans. Syst. Man Cybern. 1981), one unit apart. An edge that passes a level keeps a
place free there, so that it goes round the nodes and not through them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neuromod.core.style import PALETTE, new_axes, styled
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput, Constant, ContinuousInput, Edge

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Lengths in inches are units of the axes in a figure of its own.
DIAMETER, DIAMETER_WITH_VALUES = 0.68, 1.0
SPACING, LEVEL_HEIGHT = 1.7, 1.7  # in diameters
LEGEND_WIDTH = 1.7
POINTS_PER_INCH = 72
SMALL_PRINT = 7.0  # points
N_SWEEPS = 30
FREED = 0.05  # weight of a place kept free for an edge, relative to a node

ROLES = {
    "observation": "mean",
    "probability": "log-odds",
    "drift": "drift",
    "volatility": "log-volatility",
    "noise": "log-variance of noise",
}
SYMBOLS = {  # of the fields of a node that are written beside it
    "tonic_volatility": "ω",
    "mean": "μ₀",
    "precision": "π₀",
    "tonic_drift": "ρ",
    "autoconnection": "λ",
}


class Look(NamedTuple):
    """How a kind of node or edge is drawn, and what the legend says of it."""

    label: str
    colour: str
    marker: str = "o"
    line: Any = "-"
    mark: str = ""


STATE = Look("state", "white")
CONSTANT = Look("constant", "0.85", mark="1")
INPUTS = {
    BinaryInput: Look("binary input", "#F6D9A0", "s", mark="0 / 1"),
    ContinuousInput: Look("continuous input", "#BFE0F5", "s", mark="real"),
}
VALUE = Look("value", "#444444")
VARIANCES = {
    "volatility": Look("volatility", PALETTE[0], line="--"),
    "noise": Look("noise", PALETTE[1], line="--"),
}


def levels(network: Network) -> dict[str, int]:
    """Return how far above the inputs each node stands, by the longest way down.

    Examples
    --------
    >>> from neuromod import hgf
    >>> levels(hgf.binary_three_level())
    {'outcome': 0, 'x2': 1, 'x3': 2}
    """
    found: dict[str, int] = {}
    for name in reversed(network.family.downwards):
        below = [found[edge.child] for edge in network.edges if edge.parent == name]
        found[name] = 1 + max(below, default=-1)
    return {name: found[name] for name in network.names}


def role(network: Network, name: str) -> str:
    """Return what a state is to the nodes below it, or "" for an input.

    Examples
    --------
    >>> from neuromod import hgf
    >>> role(hgf.binary_three_level(), "x3")
    'log-volatility of x2'
    """
    below: dict[str, list[str]] = {}
    for edge in network.edges:
        if edge.parent == name:
            below.setdefault(ROLES[edge.kind], []).append(edge.child)
    told = [
        f"{what} of {children[0] if len(children) == 1 else f'{len(children)} nodes'}"
        for what, children in below.items()
    ]
    return ", ".join(told)


@styled
def plot_network(
    network: Network, *, values: bool = False, ax: Axes | None = None
) -> Axes:
    """Draw a network as a graph.

    Parameters
    ----------
    network
        The network.

    Other Parameters
    ----------------
    values
        Write the parameters of each node beside it: tonic volatility ω, mean μ₀ and
        precision π₀ before the first trial, tonic drift ρ and autoconnection λ where
        there are any, and the precision π of a continuous input.
    ax
        Axes to draw on; a new figure, as large as it needs, if omitted.

    Returns
    -------
    Axes
        Inputs as squares, states as circles. Arrows go from parent to child: solid
        where the parent moves the child's mean, dashed where it sets its variance,
        with the strength where it is not 1 and the coupling where it is not linear.

    Examples
    --------
    >>> from neuromod import hgf
    >>> ax = plot_network(hgf.binary_three_level())
    >>> len(ax.patches)
    2
    """
    diameter = DIAMETER_WITH_VALUES if values else DIAMETER
    places, bends = _layout(network, diameter)
    every = np.array([*places.values(), *bends.values()])
    low, high = every.min(0) - 0.6 * diameter, every.max(0) + 0.6 * diameter
    width, height = high - low
    ax = new_axes(ax, (width + LEGEND_WIDTH, height + 0.1))
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", anchor="W")
    ax.axis("off")
    for number, edge in enumerate(network.edges):
        _draw_edge(ax, network, edge, places, bends.get(number), diameter)
    for name in network.names:
        _draw_node(ax, network[name], places[name], diameter, values)
    _legend(ax, network)
    return ax


def _layout(network: Network, diameter: float) -> tuple[dict[str, Any], dict[int, Any]]:
    """Return where each node stands, and through where each long edge goes."""
    level = levels(network)
    points: dict[Any, int] = dict(level)
    joined: list[tuple[Any, Any]] = []
    passing: dict[int, list[tuple[int, int]]] = {}
    for number, edge in enumerate(network.edges):
        between = range(level[edge.child] + 1, level[edge.parent])
        passing[number] = [(number, height) for height in between]
        points |= {point: point[1] for point in passing[number]}
        way = [edge.child, *passing[number], edge.parent]
        joined += pairwise(way)
    across = _across(points, joined)

    def place(point: Any) -> np.ndarray:
        return diameter * np.array(
            [SPACING * across[point], LEVEL_HEIGHT * points[point]]
        )

    bends = {
        number: place(way[len(way) // 2]) for number, way in passing.items() if way
    }
    return {name: place(name) for name in level}, bends


def _across(points: dict[Any, int], joined: list[tuple[Any, Any]]) -> dict[Any, float]:
    """Return how far right each point stands; on a level at least one unit apart."""
    from scipy.optimize import isotonic_regression

    rows: dict[int, list[Any]] = {}
    for point, height in points.items():
        rows.setdefault(height, []).append(point)
    near: dict[Any, list[Any]] = {point: [] for point in points}
    for one, other in joined:
        near[one].append(other)
        near[other].append(one)
    across = {
        point: i - (len(row) - 1) / 2
        for row in rows.values()
        for i, point in enumerate(row)
    }
    heights = sorted(rows)
    for sweep in range(N_SWEEPS):
        for height in heights if sweep % 2 else reversed(heights):
            wanted = {p: np.mean([across[q] for q in near[p]]) for p in rows[height]}
            row = rows[height] = sorted(rows[height], key=lambda p: wanted[p])
            steps = np.arange(len(row))
            weights = [1.0 if isinstance(point, str) else FREED for point in row]
            aims = np.array([wanted[point] for point in row]) - steps
            fitted = isotonic_regression(aims, weights=weights).x + steps
            across |= dict(zip(row, fitted.tolist(), strict=True))
    return across


def _draw_node(
    ax: Axes, node: Any, at: np.ndarray, diameter: float, values: bool
) -> None:
    look = _look_of_node(node)
    ax.scatter(
        *at,
        s=(diameter * POINTS_PER_INCH) ** 2,
        marker=look.marker,
        facecolor=look.colour,
        edgecolor=VALUE.colour,
        linewidths=1.0,
        zorder=3,
    )
    room = diameter * (0.86 if look.marker == "s" else 0.8)
    name, size = _fitted(node.name, room * POINTS_PER_INCH)
    lines = [look.mark] if look.mark else []
    lines += _values(node) if values else []
    # Name and small print are stacked about the middle of the node.
    name_height = 11.0 * len(name.split("\n"))
    top = (name_height + SMALL_PRINT * 1.25 * len(lines)) / 2
    middle: dict[str, Any] = {
        "textcoords": "offset points",
        "ha": "center",
        "zorder": 4,
    }
    at_name, at_lines = (0, top - name_height / 2), (0, top - name_height)
    ax.annotate(name, tuple(at), at_name, size=size, va="center", **middle)
    if lines:
        small = {"size": SMALL_PRINT, "color": "0.3", "va": "top"}
        ax.annotate("\n".join(lines), tuple(at), at_lines, **small, **middle)


def _look_of_node(node: Any) -> Look:
    return CONSTANT if isinstance(node, Constant) else INPUTS.get(type(node), STATE)


def _fitted(name: str, room: float) -> tuple[str, float]:
    """Return a name, in two lines if it is long, and the size at which it fits."""
    from matplotlib.textpath import TextPath

    def size(text: str) -> float:
        lines = [TextPath((0, 0), line, size=9) for line in text.split("\n")]
        widest = max(line.get_extents().width for line in lines)
        return min(9.0, 9 * room / widest)

    if size(name) < 6.5:
        breaks = [i for i, letter in enumerate(name) if letter in "_ -"]
        middle = min(breaks, key=lambda i: abs(i - len(name) / 2), default=None)
        if middle is not None:
            name = f"{name[: middle + 1]}\n{name[middle + 1 :]}"
    return name, max(size(name), 5.0)


def _values(node: Any) -> list[str]:
    own = {**SYMBOLS, "precision": "π"} if type(node) in INPUTS else SYMBOLS
    return [
        f"{symbol} = {_written(value)}"
        for field, symbol in own.items()
        if (value := getattr(node, field, None)) is not None
    ]


def _written(value: Any) -> str:
    """Return a number in few digits with the sign of mathematics."""
    value = np.asarray(value)
    if value.ndim:
        return f"{value.size} values"
    return f"{value:.3g}".replace("e+0", "e").replace("-", "−")


def _draw_edge(
    ax: Axes,
    network: Network,
    edge: Edge,
    places: dict[str, Any],
    bend: Any,
    diameter: float,
) -> None:
    from matplotlib.patches import FancyArrowPatch

    look = VARIANCES.get(edge.kind, VALUE)
    start, stop = places[edge.parent], places[edge.child]
    control = _control(network, edge, start, stop, bend)
    radius = diameter / 2 * POINTS_PER_INCH
    arriving = np.abs(stop - control)
    is_square = type(network[edge.child]) in INPUTS
    reach = np.hypot(*arriving) / arriving.max() if is_square else 1.0
    arrow = FancyArrowPatch(
        start,
        stop,
        arrowstyle="-|>",
        connectionstyle=_curve(start, control, stop),
        mutation_scale=10,
        shrinkA=radius,
        shrinkB=radius * reach + 1,
        color=look.colour,
        linestyle=look.line,
        linewidth=1.2,
        zorder=2,
        label=f"{edge.parent}->{edge.child}.{edge.kind}",
    )
    ax.add_patch(arrow)
    if text := _strength(edge):
        middle = (start + 2 * control + stop) / 4
        ground = {"boxstyle": "square,pad=0.15", "facecolor": "white", "linewidth": 0}
        written = {"size": 7.5, "ha": "center", "va": "center", "zorder": 2.5}
        ax.text(middle[0], middle[1], text, color=look.colour, bbox=ground, **written)


def _control(
    network: Network, edge: Edge, start: np.ndarray, stop: np.ndarray, bend: Any
) -> np.ndarray:
    """Return the control point of the quadratic curve that an edge follows."""
    middle, way = (start + stop) / 2, stop - start
    if bend is not None:
        return 2 * bend - middle  # such that the curve passes through the bend
    ends = (edge.parent, edge.child)
    twins = [e for e in network.edges if (e.parent, e.child) == ends]
    aside = 0.25 * np.array([way[1], -way[0]]) * (len(twins) > 1)
    return middle + (aside if edge.carries_value else -aside)


def _curve(start: np.ndarray, control: np.ndarray, stop: np.ndarray) -> str:
    """Return the curve as matplotlib calls it: by the angles at its two ends."""
    leaving, arriving = control - start, stop - control
    if abs(leaving[0] * arriving[1] - leaving[1] * arriving[0]) < 1e-6:
        return "arc3,rad=0"
    first, last = (np.degrees(np.arctan2(w[1], w[0])) for w in (leaving, arriving))
    return f"angle3,angleA={first},angleB={last}"


def _strength(edge: Edge) -> str:
    symbol = "α" if edge.carries_value else "κ"
    parts = []
    strength = np.asarray(edge.strength)
    if strength.ndim or strength != 1:
        parts.append(f"{symbol} = {_written(strength)}")
    if edge.coupling != "linear":
        parts.append(edge.coupling)
    return ", ".join(parts)


def _legend(ax: Axes, network: Network) -> None:
    """Name the kinds of nodes and edges that there are, right of the graph."""
    from matplotlib.lines import Line2D

    present = {_look_of_node(node) for node in network.nodes}
    present |= {VARIANCES.get(edge.kind, VALUE) for edge in network.edges}
    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=look.marker,
            markersize=8,
            markerfacecolor=look.colour,
            markeredgecolor=VALUE.colour,
            label=look.label,
        )
        for look in (*INPUTS.values(), STATE, CONSTANT)
        if look in present
    ]
    handles += [
        Line2D([], [], color=look.colour, linestyle=look.line, label=look.label)
        for look in (VALUE, *VARIANCES.values())
        if look in present
    ]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5))
