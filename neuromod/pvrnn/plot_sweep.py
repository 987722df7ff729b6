"""Networks side by side: of several meta-priors, and with a latent held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.errors import invalid
from neuromod.core.result import Result
from neuromod.core.style import PALETTE, new_axes, panels, styled, styled_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAST = 100  # steps of training whose mean is shown


@styled_panels
def plot_sweep(
    results: Mapping[float, Result],
    measures: Mapping[str, xr.DataArray] | None = None,
    *,
    axes: Any = None,
) -> np.ndarray:
    """Draw what a meta-prior makes of networks.

    Parameters
    ----------
    results
        What `sweep` returned.
    measures
        Further numbers by their names: (meta_prior, seed), or (meta_prior,), in the
        order of the results.
    axes
        Two, and one for each further measure; a new figure if omitted.

    Returns
    -------
    array of Axes
        Reconstruction and divergence at the end of training over the meta-prior: a dot
        for each seed, and a line through their means.
    """
    if not results:
        raise invalid("results", "none", "what `sweep` returned")
    shown = {
        "Reconstruction error": _at_end(results, "reconstruction", "head"),
        "Divergence / latents (nats)": _at_end(results, "divergence", "layer"),
    }
    for name, values in (measures or {}).items():
        shown[name] = np.asarray(values, float).reshape(len(results), -1)
    axes = panels(axes, len(shown), (2.6, 2.4), n_columns=4)
    meta_priors = np.array(list(results))
    for k, (ax, (name, rows)) in enumerate(zip(axes, shown.items(), strict=True)):
        ax.plot(meta_priors, np.nanmean(rows, axis=1), color=PALETTE[0])
        x = np.broadcast_to(meta_priors[:, None], rows.shape)
        ax.plot(x, rows, "o", color=PALETTE[0], markersize=3.5, alpha=0.7)
        ax.set(xscale="log", xlabel="Meta-prior w", ylabel=name)
        if k == 0:
            ax.set_yscale("log")
    return axes


def _at_end(results: Mapping[float, Result], name: str, dim: str) -> np.ndarray:
    rows = []
    for result in results.values():
        history = result.data["history"].to_dataset()[name].sum(dim)
        last = history.isel(step=slice(-LAST, None)).mean("step")
        rows.append(np.atleast_1d(last.values))
    return np.stack(rows)


@styled
def plot_traverse(found: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw what a network tells while a latent is held at each of some values.

    Parameters
    ----------
    found
        What `traverse` returned.
    ax
        Where to draw; a new figure if omitted.

    Returns
    -------
    Axes
        Paths in the plane of the first two channels, or the channel over time if there
        is one; from dark to light with the value of the latent.
    """
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    values = found["channel_value"]
    held = np.asarray(found["trial"].values, float)
    ax = new_axes(ax, (4.2, 3.2))
    shade = Normalize(held.min(), held.max() if np.ptp(held) else held.min() + 1)
    viridis = matplotlib.colormaps["viridis"]
    plane = values.sizes["channel"] > 1
    for value, path in zip(held, values.transpose("trial", "time", ...), strict=True):
        x = path.isel(channel=0) if plane else np.arange(path.sizes["time"])
        y = path.isel(channel=1 if plane else 0)
        ax.plot(x, y, color=viridis(0.9 * shade(value)), linewidth=1)
    names = found["channel"].values if "channel" in found.coords else ["1", "2"]
    if plane:
        ax.set(xlabel=f"Channel {names[0]}", ylabel=f"Channel {names[1]}")
    else:
        ax.set(xlabel="Step", ylabel=f"Channel {names[0]}")
    whole: Any = ax.figure
    whole.colorbar(ScalarMappable(shade, "viridis"), ax=ax, label="Value of the latent")
    return ax
