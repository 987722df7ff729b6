"""Figures of what was learnt of parameters: of one participant, and of a group.

Each takes ``axes=None`` and returns the axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core.errors import NotFittedError, choice, invalid
from neuromod.core.precision import precision_context
from neuromod.core.result import Result
from neuromod.core.style import PALETTE, panels, styled_panels
from neuromod.hgf.plot import legend_below
from neuromod.hgf.priors import TRANSFORMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INTERVAL = (0.05, 0.95)  # quantiles of the interval that is told: 90 %
POSTERIOR, PRIOR, UNKNOWN = PALETTE[0], PALETTE[1], "0.6"
MOST_NAMES = 30  # more subjects than these are not all named


@styled_panels
def plot_posterior(
    result: Result, *, parameters: Sequence[str] | None = None, axes: Any = None
) -> np.ndarray:
    """Draw what was learnt of each parameter, beside what was thought before.

    Parameters
    ----------
    result
        With a group ``posterior`` of variables (chain, draw). The prior is drawn if
        there is a group ``prior`` of variables (draw_prior) with the same names;
        parameters of which nothing was learnt are marked if there is a group
        ``identifiability`` with ``identified`` (parameter).

    Other Parameters
    ----------------
    parameters
        Names of the parameters to draw; all that are one number if omitted.
    axes
        One axes per parameter; those of a new figure if omitted.

    Returns
    -------
    array of Axes
        One per parameter: a histogram of the draws, the density of the prior as a
        line, the posterior median and the central 90 % interval, which the title
        tells in numbers. Grey where the posterior is the prior.

    Raises
    ------
    NotFittedError
        If the result has no posterior.
    InvalidInputError
        If a parameter is unknown, or is not one number.
    ShapeError
        If there is not one axes per parameter.
    """
    posterior = _posterior(result)
    names = _parameters(posterior, parameters)
    prior = _group(result, "prior")
    new, axes = axes is None, panels(axes, len(names), (2.4, 2.0), 3)
    for ax, name in zip(axes, names, strict=True):
        draws = posterior[name].values.ravel()
        before = None if prior is None or name not in prior else prior[name].values
        _draw_posterior(ax, draws, before, _is_identified(result, name))
        ax.set_xlabel(name)
    legend_below(axes, new, 1.2)
    return axes


def _posterior(result: Result) -> xr.Dataset:
    found = _group(result, "posterior")
    if found is None:
        raise NotFittedError("result: got no posterior, expected that of hgf.sample")
    return found


def _group(result: Result, name: str) -> xr.Dataset | None:
    if not isinstance(result, Result):
        expected = "what a fit or sample of neuromod.hgf returned"
        raise invalid("result", f"a {type(result).__name__}", expected)
    return result.data[name].to_dataset() if name in result.data.children else None


def _parameters(posterior: xr.Dataset, wanted: Sequence[str] | None) -> list[str]:
    single = [
        str(name)
        for name, draws in posterior.data_vars.items()
        if set(draws.dims) == {"chain", "draw"}
    ]
    if wanted is not None:
        wanted = [wanted] if isinstance(wanted, str) else list(wanted)
        return [choice("parameters", name, single) for name in wanted]
    if not single:
        expected = "at least one parameter over (chain, draw)"
        raise invalid("result", "none", expected, "Draw a group by plot_group.")
    return single


def _is_identified(result: Result, name: str) -> bool:
    """Tell whether the data moved a parameter; yes if no one has asked."""
    told = _group(result, "identifiability")
    if told is None or name not in told["parameter"].values:
        return True
    return bool(told["identified"].sel(parameter=name))


def _draw_posterior(
    ax: Axes, draws: np.ndarray, before: np.ndarray | None, identified: bool
) -> None:
    low, median, high = np.quantile(draws, [INTERVAL[0], 0.5, INTERVAL[1]])
    lowest, highest = draws.min(), draws.max()
    margin = 0.15 * (highest - lowest) or 1.0
    colour = POSTERIOR if identified else UNKNOWN
    look = {"density": True, "color": colour, "alpha": 0.55, "linewidth": 0}
    ax.hist(draws, "fd", label="posterior", **look)
    if before is not None:
        shown = np.linspace(lowest - margin, highest + margin, 200)
        ax.plot(shown, _density(before, shown), color=PRIOR, label="prior")
    ax.axvline(median, color="black", linewidth=1.0, label="median")
    top = ax.get_ylim()[1]
    ax.plot(
        [low, high],
        [-0.04 * top] * 2,
        color="black",
        linewidth=3,
        solid_capstyle="butt",
        label="90 % interval",
    )
    ax.set(xlim=(lowest - margin, highest + margin), ylim=(-0.08 * top, 1.02 * top))
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    title = f"{median:.3g} [{low:.3g}, {high:.3g}]".replace("-", "−")
    ax.set_title(title if identified else f"{title}\nas the prior", loc="left")
    ax.set_ylabel("Density")


def _density(draws: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Estimate a density, on the scale where its ends are at infinity.

    On its own scale, a smooth estimate of what is positive leaks below zero.
    """
    from scipy.stats import gaussian_kde

    draws = draws.ravel()
    if np.all(draws > 0) and np.all(draws < 1):
        inside = (at > 0) & (at < 1)
        safe = np.where(inside, at, 0.5)
        kernel = gaussian_kde(np.log(draws / (1 - draws)))
        found = kernel(np.log(safe / (1 - safe))) / (safe * (1 - safe))
    elif np.all(draws > 0):
        inside = at > 0
        safe = np.where(inside, at, 1.0)
        found = gaussian_kde(np.log(draws))(np.log(safe)) / safe
    else:
        return gaussian_kde(draws)(at)
    return np.where(inside, found, 0.0)


@styled_panels
def plot_group(
    result: Result, *, parameters: Sequence[str] | None = None, axes: Any = None
) -> np.ndarray:
    """Draw every subject's parameters around those of the group.

    Parameters
    ----------
    result
        With a group ``posterior``: parameters (chain, draw, subject), and
        ``group_mean`` and ``group_sd`` (chain, draw, parameter) on the native scale,
        on which the group is normal, as `neuromod.hgf.sample` returns them.

    Other Parameters
    ----------------
    parameters
        Names of the parameters to draw; all of the group if omitted.
    axes
        One axes per parameter; those of a new figure if omitted.

    Returns
    -------
    array of Axes
        One per parameter: each subject's posterior mean with its central 90 %
        interval; the group's mean as a line, its 90 % interval as a dark band, and
        one standard deviation between subjects to either side as a light one.

    Raises
    ------
    NotFittedError
        If the result has no posterior.
    InvalidInputError
        If it is not of a group, or a parameter is unknown.
    ShapeError
        If there is not one axes per parameter.
    """
    posterior = _posterior(result)
    if "group_mean" not in posterior or "group_sd" not in posterior:
        expected = "'group_mean' and 'group_sd' in the posterior"
        raise invalid("result", "no group", expected, "Draw it by plot_posterior.")
    known = [str(name) for name in posterior["parameter"].values]
    wanted = known if parameters is None else parameters
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    names = [choice("parameters", name, known) for name in wanted]
    subjects = [str(label) for label in posterior["subject"].values]
    size = (2.6, 1.2 + 0.13 * min(len(subjects), MOST_NAMES))
    new, axes = axes is None, panels(axes, len(names), size, 3, sharey=True)
    for ax, name in zip(axes, names, strict=True):
        _draw_group(ax, result, name, posterior.sel(parameter=name))
        _draw_subjects(ax, posterior[name].transpose("chain", "draw", "subject").values)
        ax.set_xlabel(name)
    every = -(-len(subjects) // MOST_NAMES)
    rows = np.arange(0, len(subjects), every)
    for ax in axes:
        ax.set_yticks(rows, [subjects[row] for row in rows])
        ax.set_ylim(len(subjects) - 0.4, -0.6)
    axes[0].set_ylabel("Subject")
    legend_below(axes, new, 1.9)
    return axes


def _draw_subjects(ax: Axes, draws: np.ndarray) -> None:
    draws = draws.reshape(-1, draws.shape[-1])
    mean = draws.mean(0)
    low, high = np.quantile(draws, INTERVAL, axis=0)
    rows = np.arange(len(mean))
    ax.hlines(rows, low, high, color=POSTERIOR, linewidth=1.0, zorder=3)
    label = "subject: mean, 90 % interval"
    ax.plot(mean, rows, "o", color=POSTERIOR, ms=3.5, zorder=4, label=label)


def _draw_group(ax: Axes, result: Result, name: str, one: xr.Dataset) -> None:
    """Draw the group's mean and spread, brought to the scale of the subjects."""
    mean, sd = one["group_mean"].values.ravel(), one["group_sd"].values.ravel()
    around = mean.mean() + sd.mean() * np.array([-1, 0, 1])
    low, centre, high = _natural(result, name, around)
    inner = _natural(result, name, np.quantile(mean, INTERVAL))
    look: dict[str, Any] = {"linewidth": 0, "zorder": 0}
    ax.axvspan(low, high, color="#FBE3D3", label="group: ± 1 sd of subjects", **look)
    ax.axvspan(*inner, color="#F3B68F", label="group mean: 90 % interval", **look)
    ax.axvline(centre, color=PRIOR, linewidth=1.2, zorder=1, label="group mean")


def _natural(result: Result, name: str, native: np.ndarray) -> np.ndarray:
    """Return values of a parameter from the scale on which groups are normal."""
    scale = result.config.get("parameters", {}).get(name, {}).get("scale", "identity")
    with precision_context("float64"):
        return np.asarray(TRANSFORMS[scale](jnp.asarray(native, jnp.float64)))
