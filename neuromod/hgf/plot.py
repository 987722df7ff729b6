"""The figure of what a network believed, and what all figures of several panels share.

Figures of one panel take ``ax=None``, those of several ``axes=None``; each returns what
it has drawn on. Others are in `plot_network` (the graph), `plot_fits` (what was learnt
of parameters) and `plot_checks` (whether that can be trusted).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.core.style import PALETTE, panels, styled_panels
from neuromod.hgf.plot_network import levels, role

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from neuromod.hgf.network import Network

BELIEF, RESPONSE, OUTCOME = PALETTE[0], PALETTE[1], "#222222"
RESPONSE_OFFSET = 0.16  # of responses above and below the outcomes


def legend_below(
    axes: np.ndarray, new: bool, label_width: float, handles: Any = None
) -> None:
    """Put the one legend of several panels below their figure, if it is our own.

    Parameters
    ----------
    axes
        The panels; the artists of the first are explained.
    new
        Whether the figure is ours: on the user's, the first panel takes the legend.
    label_width
        Of the longest label with its handle, in inches.
    handles
        What is explained instead of the artists of the first panel.
    """
    own, labels = axes[0].get_legend_handles_labels()
    if handles is not None:
        own, labels = handles, [handle.get_label() for handle in handles]
    if not new:
        axes[0].legend(own, labels)
        return
    ncols = max(1, min(len(own), int(axes[0].figure.get_figwidth() / label_width)))
    axes[0].figure.legend(own, labels, loc="outside lower center", ncols=ncols)


def require_dataset(
    given: object, argument: str, variables: Sequence[str], dims: Sequence[str]
) -> xr.Dataset:
    """Return a Dataset that has these variables and dimensions, or raise."""
    if isinstance(given, xr.Dataset):
        missing = [name for name in variables if name not in given]
        missing += [dim for dim in dims if dim not in given.dims]
        if not missing:
            return given
        got = "a Dataset without " + ", ".join(map(repr, missing))
    else:
        got = f"a {type(given).__name__}"
    has = ", ".join(map(repr, variables))
    raise invalid(argument, got, f"a Dataset with {has} over ({', '.join(dims)})")


@styled_panels
def plot_trajectories(
    beliefs: xr.Dataset,
    *,
    nodes: Sequence[str] | None = None,
    responses: Any = None,
    network: Network | None = None,
    axes: Any = None,
) -> np.ndarray:
    """Draw what was believed of every node over the trials, the top level first.

    Parameters
    ----------
    beliefs : (trial, node)
        What `neuromod.hgf.filter` returned.

    Other Parameters
    ----------------
    nodes
        Names of the nodes to draw, from top to bottom; all if omitted.
    responses : (trial,)
        What the participant did; drawn with the first input. NaN where nothing.
    network
        The network that believed it. If given, panels are ordered by its levels and
        say what each state is; one that sets a volatility has a second scale, the
        factor $\\exp(\\kappa x)$ on the variance of what it acts on.
    axes
        One axes per node; those of a new figure if omitted.

    Returns
    -------
    array of Axes
        One per node. Of a state the mean after each trial with a band of one standard
        deviation; of an input what was predicted before each trial and what came.
        Trials without an observation are shaded: of a state, those where no input had
        one.

    Raises
    ------
    InvalidInputError
        If the Dataset is no output of the filter, a node is unknown, or responses to a
        binary input are not 0, 1 or NaN.
    ShapeError
        If there is not one response per trial, or one axes per node.

    Examples
    --------
    >>> from neuromod import hgf
    >>> beliefs = hgf.filter(hgf.binary_two_level(), [1, 1, 0, 1])
    >>> [ax.get_title(loc="left") for ax in plot_trajectories(beliefs)]
    ['x2', 'outcome']
    """
    needed = ("mean", "precision", "expected_mean", "expected_precision")
    beliefs = require_dataset(beliefs, "beliefs", needed, ("node",))
    kinds = {str(name): _kind(beliefs, name) for name in beliefs["node"].values}
    names = _from_top(kinds, nodes, network)
    size = (7.2, 1.35 if len(names) < 5 else 1.1)
    axes = panels(axes, len(names), size, sharex=True)
    dimension = next(str(dim) for dim in beliefs["mean"].dims if dim != "node")
    time = positions(beliefs[dimension])
    inputs = [name for name, kind in kinds.items() if kind != "state"]
    nothing = beliefs["mean"].sel(node=inputs).isnull()
    told: set[str] = set()
    for ax, name in zip(axes, names, strict=True):
        kind, one = kinds[name], beliefs.sel(node=name)
        gone = nothing.all("node") if kind == "state" else nothing.sel(node=name)
        _shade(ax, time, gone.values)
        own = None
        if kind != "state" and responses is not None:
            own, responses = _responses(responses, len(time), kind), None
        DRAW[kind](ax, time, one, own)
        ax.set_title(_title(network, name), loc="left")
        told |= _legend(ax, told)
        if network is not None:
            _volatility_scale(ax, network, name)
    axes[-1].set_xlabel(time_label(beliefs[dimension]))
    axes[-1].set_xlim(*_edges(time)[[0, -1]])
    axes[0].figure.align_ylabels(axes)
    return axes


def _kind(beliefs: xr.Dataset, name: Any) -> str:
    """Tell states from inputs by what the filter writes about their precision."""
    one = beliefs.sel(node=name)
    precision, expected = one["precision"].values, one["expected_mean"].values
    variance = one["expected_precision"].values
    if np.isnan(precision).all() and np.allclose(variance, expected * (1 - expected)):
        return "binary"
    return "continuous" if np.ptp(precision) == 0 else "state"


def _from_top(
    kinds: dict[str, str], nodes: Sequence[str] | None, network: Network | None
) -> list[str]:
    if nodes is not None:
        nodes = [nodes] if isinstance(nodes, str) else list(nodes)
        if not nodes:
            raise invalid("nodes", nodes, "the name of at least one node")
        return [choice("nodes", name, kinds) for name in nodes]
    if network is not None:
        level = levels(network)
        return sorted(kinds, key=lambda name: -level[choice("beliefs", name, level)])
    states = [name for name, kind in kinds.items() if kind == "state"]
    return states[::-1] + [name for name in kinds if name not in states]


def positions(coordinate: xr.DataArray) -> np.ndarray:
    """Return where trials stand on an axis: their labels if these are numbers."""
    values = coordinate.values
    return values if values.dtype.kind in "iuf" else np.arange(len(values))


def time_label(coordinate: xr.DataArray) -> str:
    """Return the name of an axis of trials or time with its unit, if it has one."""
    name = str(coordinate.name)
    unit = coordinate.attrs.get("units", "s" if name == "time" else "")
    label = name.replace("_", " ").capitalize()
    return f"{label} ({unit})" if unit else label


def _edges(time: np.ndarray) -> np.ndarray:
    """Return where each trial begins, and the last one ends: (trial + 1,)."""
    if len(time) == 1:
        return time[0] + np.array([-0.5, 0.5])
    middles = (time[1:] + time[:-1]) / 2
    first, last = 2 * time[0] - middles[0], 2 * time[-1] - middles[-1]
    return np.concatenate([[first], middles, [last]])


def _shade(ax: Axes, time: np.ndarray, missing: np.ndarray) -> None:
    """Shade each run of trials without an observation."""
    edges = _edges(time)
    steps = np.diff(np.concatenate([[0], missing.astype(int), [0]]))
    runs = zip(np.nonzero(steps == 1)[0], np.nonzero(steps == -1)[0], strict=True)
    label = "no observation"
    for start, stop in runs:
        ax.axvspan(
            edges[start], edges[stop], color="0.88", linewidth=0, zorder=0, label=label
        )
        label = "_nolegend_"


def _draw_state(ax: Axes, time: np.ndarray, one: xr.Dataset, _: Any) -> None:
    label = "mean ± 1 sd after the trial"
    _band(ax, time, one["mean"].values, one["precision"].values, label)
    ax.set_ylabel("Belief")


def _draw_continuous(ax: Axes, time: np.ndarray, one: xr.Dataset, own: Any) -> None:
    expected = one["expected_mean"].values, one["expected_precision"].values
    _band(ax, time, *expected, "predicted mean ± 1 sd")
    look: dict[str, Any] = {"linewidths": 0, "zorder": 3}
    size = _size(time)
    ax.scatter(time, one["mean"], size, OUTCOME, label="observed", **look)
    if own is not None:
        ax.scatter(time, own, size, RESPONSE, label="response", **look)
    ax.set_ylabel("Value")


def _draw_binary(ax: Axes, time: np.ndarray, one: xr.Dataset, own: Any) -> None:
    ax.plot(time, one["expected_mean"], color=BELIEF, label="predicted probability")
    look: dict[str, Any] = {"linewidths": 0, "zorder": 3, "clip_on": False}
    size = _size(time)
    ax.scatter(time, one["mean"], size, OUTCOME, label="outcome", **look)
    margin = 0.1
    if own is not None:
        height = own + RESPONSE_OFFSET * (2 * own - 1)
        ticks = {"marker": "|", "linewidths": 0.9, "label": "response"}
        ax.scatter(time, height, 24, RESPONSE, **(look | ticks))
        margin += RESPONSE_OFFSET
    ax.set(ylabel="Probability", ylim=(-margin, 1 + margin))
    ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])


DRAW = {"state": _draw_state, "binary": _draw_binary, "continuous": _draw_continuous}


def _band(
    ax: Axes, time: np.ndarray, mean: np.ndarray, precision: np.ndarray, label: str
) -> None:
    sd = precision**-0.5
    look = {"color": BELIEF, "alpha": 0.25, "linewidth": 0}
    ax.fill_between(time, mean - sd, mean + sd, **look)
    ax.plot(time, mean, color=BELIEF, label=label)


def _size(time: np.ndarray) -> float:
    """Return the area of a dot (points squared): the more trials, the smaller."""
    return float(np.clip(2000 / len(time), 4, 14))


def _responses(responses: Any, n_trials: int, kind: str) -> np.ndarray:
    values = np.asarray(responses, float)
    if values.shape != (n_trials,):
        expected = f"({n_trials},), one per trial"
        raise invalid("responses", f"shape {values.shape}", expected, kind=ShapeError)
    if kind == "binary" and not (np.isin(values, (0, 1)) | np.isnan(values)).all():
        raise invalid("responses", "other numbers", "0, 1, or NaN for no response")
    return values


def _title(network: Network | None, name: str) -> str:
    told = "" if network is None else role(network, name)
    return f"{name}, {told}" if told else name


def _legend(ax: Axes, told: set[str]) -> set[str]:
    """Explain what no panel above has explained, to the right of the title."""
    found = zip(*ax.get_legend_handles_labels(), strict=True)
    handles = [handle for handle, label in found if label not in told]
    if handles:
        where: dict[str, Any] = {
            "loc": "lower right",
            "bbox_to_anchor": (1.0, 1.0),
            "borderpad": 0.1,
        }
        look: dict[str, Any] = {
            "borderaxespad": 0.1,
            "handlelength": 1.2,
            "columnspacing": 1.2,
        }
        ax.legend(handles=handles, ncols=4, frameon=False, **where, **look)
    return {str(handle.get_label()) for handle in handles}


def _volatility_scale(ax: Axes, network: Network, name: str) -> None:
    """Say on the right by which factor a state multiplies the variances below it."""
    family = network.family
    edges = [network.edges[i] for i in family.volatility_children.get(name, ())]
    strengths = {float(np.asarray(edge.strength)) for edge in edges}
    if len(strengths) != 1:
        return
    strength = strengths.pop()
    right = ax.secondary_yaxis("right")
    right.yaxis.set_major_formatter(lambda x, _: f"×{np.exp(strength * x):.2g}")
    right.set_ylabel("Variance\nof steps")
