"""Error regression as it went: what came, what was foreseen, and what it cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from neuromod.core.errors import invalid
from neuromod.core.style import PALETTE, panels, state_colours, styled_panels
from neuromod.pvrnn.plot import GREY


@styled_panels
def plot_regression(
    followed: xr.Dataset, *, trial: int = 0, lag: int = 1, axes: Any = None
) -> np.ndarray:
    """Draw a recording, what was predicted of it, and the latents behind that.

    Parameters
    ----------
    followed
        What `follow` or `run_closed_loop` returned.
    trial
        Number of the trial.
    lag
        Of the prediction that is shown, in steps.
    axes
        One for each channel and two more; a new figure if omitted.

    Returns
    -------
    array of Axes
        For each channel what was observed and what had been predicted of it; the
        posterior mean of each layer's first latent at the newest step; the free energy
        after the iterations.
    """
    for name in ("observation", "prediction", "posterior_mean"):
        if name not in followed:
            raise invalid("followed", f"no {name!r}", "what `follow` returned")
    if "trial" in followed.dims:
        followed = followed.isel(trial=trial)
    if lag not in followed["lag"].values:
        raise invalid("lag", lag, f"one of {followed['lag'].values.tolist()}")
    observed = followed["observation"]
    n_channels, n_steps = observed.sizes["channel"], observed.sizes["time"]
    axes = panels(axes, n_channels + 2, (6.0, 1.2), sharex=True)
    steps = np.arange(n_steps)
    foreseen = followed["prediction"].sel(lag=lag).transpose("time", "channel").values
    names = (
        observed["channel"].values
        if "channel" in observed.coords
        else [f"channel {k}" for k in range(n_channels)]
    )
    for k, ax in enumerate(axes[:n_channels]):
        ax.plot(steps, observed.isel(channel=k), color=GREY, lw=2.2, label="observed")
        told = f"predicted {lag} step{'s' if lag > 1 else ''} before"
        ax.plot(steps[lag:], foreseen[:-lag, k], color=PALETTE[0], lw=1, label=told)
        ax.set_ylabel(str(names[k]))
    axes[0].legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    layers = list(dict.fromkeys(followed["layer_of_latent"].values.tolist()))
    of_latent = followed["layer_of_latent"].values
    for layer, colour in zip(layers, state_colours(len(layers)), strict=True):
        first = int(np.argmax(of_latent == layer))
        mean = followed["posterior_mean"].isel(latent=first)
        axes[-2].plot(steps, mean, color=colour, label=layer.replace("_", " "))
    axes[-2].set(ylabel="Posterior", ylim=(-1.05, 1.05))
    axes[-2].legend(
        fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), ncols=1
    )
    axes[-1].plot(steps, followed["free_energy"], color=PALETTE[6])
    axes[-1].set(xlabel="Step", ylabel="Free energy")
    return axes
