"""What a network tells of its trials, and what it holds meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.errors import ShapeError, did_you_mean, invalid
from neuromod.core.style import (
    PALETTE,
    new_axes,
    panels,
    state_colours,
    styled,
    styled_panels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#999999"


@styled_panels
def plot_reconstruction(
    told: xr.Dataset,
    data: xr.DataArray | None = None,
    *,
    trial: int = 0,
    axes: Any = None,
) -> np.ndarray:
    """Draw what a network tells of a trial over what was recorded.

    Parameters
    ----------
    told
        What `reconstruct` or `generate` returned.
    data
        The recording (trial, time, channel); nothing if omitted.
    trial
        Number of the trial.
    axes
        As many as channels; a new figure if omitted.

    Returns
    -------
    array of Axes
        One for each channel.
    """
    values = _of_trial(told, trial)["channel_value"]
    axes = panels(axes, values.sizes["channel"], (5.2, 1.2), sharex=True)
    for k, ax in enumerate(axes):
        if data is not None:
            recorded = data.isel(trial=trial, channel=k)
            steps = np.arange(recorded.sizes["time"])
            ax.plot(steps, recorded, color=GREY, linewidth=2.4, label="recorded")
        ax.plot(values.isel(channel=k), color=PALETTE[0], linewidth=1, label="told")
        ax.set_ylabel(str(_labels(values, "channel")[k]))
    if data is not None:
        axes[0].legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    axes[-1].set_xlabel("Step")
    return axes


@styled_panels
def plot_latents(told: xr.Dataset, *, trial: int = 0, axes: Any = None) -> np.ndarray:
    """Draw the posterior and the prior of every layer, and how far they are apart.

    Parameters
    ----------
    told
        What `reconstruct` returned.
    trial
        Number of the trial.
    axes
        One for each layer and one more; a new figure if omitted.

    Returns
    -------
    array of Axes
        For each layer, lowest first, the mean of the first latent's posterior and
        prior with bands of one standard deviation; last the divergence (nats) of every
        layer.
    """
    one = _of_trial(told, trial)
    if "posterior_mean" not in one:
        raise invalid("told", "no posterior", "what `reconstruct` returned")
    layers = list(dict.fromkeys(one["layer_of_latent"].values.tolist()))
    axes = panels(axes, len(layers) + 1, (5.2, 1.25), sharex=True)
    for ax, layer in zip(axes, layers, strict=False):
        first = int(np.argmax(one["layer_of_latent"].values == layer))
        for name, colour in (("prior", GREY), ("posterior", PALETTE[1])):
            mean, deviation = (
                one[f"{name}_{part}"].isel(latent=first).values
                for part in ("mean", "deviation")
            )
            steps = np.arange(len(mean))
            ax.plot(steps, mean, color=colour, label=name)
            ends = mean - deviation, mean + deviation
            ax.fill_between(steps, *ends, color=colour, alpha=0.25, linewidth=0)
        ax.set_ylabel(layer.replace("_", " "))
    apart = one["divergence"].groupby("layer_of_latent").sum()
    for layer, colour in zip(layers, state_colours(len(layers)), strict=True):
        axes[-1].plot(
            apart.sel(layer_of_latent=layer),
            color=colour,
            label=layer.replace("_", " "),
        )
    axes[0].legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    highest = float(apart.max())
    axes[-1].legend(ncols=3, fontsize="small", loc="upper right")
    axes[-1].set(xlabel="Step", ylabel="KL (nats)", ylim=(0, 1.4 * highest or 1))
    return axes


@styled
def plot_activity(told: xr.Dataset, *, trial: int = 0, ax: Axes | None = None) -> Axes:
    """Draw the activity of all units of a trial, layer by layer.

    Parameters
    ----------
    told
        What `reconstruct` or `generate` returned.
    trial
        Number of the trial.
    ax
        Where to draw; a new figure if omitted.
    """
    activity = _of_trial(told, trial)["activity"]
    ax = new_axes(ax, (5.2, 2.8))
    image = ax.imshow(
        activity.transpose("unit", "time"),
        aspect="auto",
        cmap="RdBu_r",
        vmin=-1,
        vmax=1,
        interpolation="nearest",
    )
    layers = activity["layer_of_unit"].values
    starts = [0, *(np.flatnonzero(layers[1:] != layers[:-1]) + 1)]
    for start in starts[1:]:
        ax.axhline(start - 0.5, color="black", linewidth=0.8)
    names = [str(layers[s]).replace("_", " ") for s in starts]
    centres = np.add(starts, [*starts[1:], len(layers)]) / 2 - 0.5
    ax.set_yticks(centres, names)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("Step")
    bar: Any = ax.figure
    bar.colorbar(image, ax=ax, label="Activity")
    return ax


@styled
def plot_components(
    told: xr.Dataset, layer: str, *, colours: Any = None, ax: Axes | None = None
) -> Axes:
    """Draw all trials in the plane in which the activity of a layer varies most.

    Parameters
    ----------
    told
        What `reconstruct` or `generate` returned.
    layer
        Name of the layer.
    colours
        A label for each trial, told by colour; a colour for each trial if omitted.
    ax
        Where to draw; a new figure if omitted.
    """
    known = sorted(set(told["layer_of_unit"].values.tolist()))
    if layer not in known:
        expected = f"one of {known}"
        raise invalid("layer", repr(layer), expected, did_you_mean(layer, known))
    activity = told["activity"][..., told["layer_of_unit"].values == layer].values
    flat = activity.reshape(-1, activity.shape[-1])
    flat = flat[np.isfinite(flat).all(axis=1)]
    centre = flat.mean(axis=0)
    _, sizes, directions = np.linalg.svd(flat - centre, full_matrices=False)
    share = 100 * np.square(sizes) / max(float(np.square(sizes).sum()), 1e-30)
    paths = (activity - centre) @ directions[:2].T
    labels = np.arange(len(paths)) if colours is None else np.asarray(list(colours))
    if len(labels) != len(paths):
        got = f"{len(labels)} labels for {len(paths)} trials"
        raise invalid("colours", got, "one for each trial", kind=ShapeError)
    kinds = list(dict.fromkeys(labels.tolist()))
    of = dict(zip(kinds, state_colours(len(kinds)), strict=True))
    ax = new_axes(ax, (3.4, 3.2))
    for path, label in zip(paths, labels.tolist(), strict=True):
        ax.plot(*path.T, color=of[label], linewidth=0.7, alpha=0.8)
    if colours is not None:
        for kind in kinds:
            ax.plot([], [], color=of[kind], label=str(kind))
        ax.legend()
    ax.set(
        xlabel=f"Component 1 ({share[0]:.0f} %)",
        ylabel=f"Component 2 ({share[1]:.0f} %)" if len(share) > 1 else "",
        title=layer.replace("_", " "),
    )
    return ax


def _of_trial(told: xr.Dataset, trial: int) -> xr.Dataset:
    if not isinstance(told, xr.Dataset) or "channel_value" not in told:
        got = type(told).__name__
        raise invalid("told", got, "what `reconstruct` or `generate` returned")
    n_trials = told.sizes["trial"]
    if not -n_trials <= trial < n_trials:
        raise invalid("trial", trial, f"the number of one of {n_trials} trials")
    return told.isel(trial=trial)


def _labels(array: xr.DataArray, dim: str) -> np.ndarray:
    if dim in array.coords:
        return array[dim].values
    return np.array([f"{dim} {k}" for k in range(array.sizes[dim])])
