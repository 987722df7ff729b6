r"""How much a network's latents answer to what comes, and how wide its prior is.

The response of a layer is the mean distance of its posterior means from step to step,
$\langle \| \mu^q_{t+1} - \mu^q_t \| \rangle$. When an arm moves itself, a network that
has learned so needs no news of it: the response is small, and the prior narrow, beside
those of movements from outside (sensory attenuation: Idei et al. 2022).
"""

import numpy as np
import xarray as xr

from neuromod.core.errors import ShapeError, invalid


def latent_response(told: xr.Dataset, condition: object = None) -> xr.Dataset:
    """Return response and prior deviation of every layer.

    Parameters
    ----------
    told
        What `neuromod.pvrnn.reconstruct` or `follow` returned: (trial, time, latent).
    condition : (trial,)
        A label for each trial; "all" if omitted.

    Returns
    -------
    xarray.Dataset
        ``response``, ``prior_deviation`` and ``posterior_deviation`` (condition,
        layer), means over trials and steps.
    """
    for name in ("posterior_mean", "prior_deviation"):
        if name not in told:
            got = f"no {name!r}"
            raise invalid("told", got, "what `reconstruct` or `follow` returned")
    n_trials = told.sizes["trial"]
    labels = np.asarray(["all"] * n_trials if condition is None else condition)
    if labels.shape != (n_trials,):
        expected = f"one for each of {n_trials} trials"
        got = f"shape {labels.shape}"
        raise invalid("condition", got, expected, kind=ShapeError)
    layer_of = told["layer_of_latent"].values
    layers = list(dict.fromkeys(layer_of.tolist()))
    mean = told["posterior_mean"].transpose("trial", "time", "latent").values
    change = np.square(np.diff(mean, axis=1))
    distance = np.stack(
        [np.sqrt(change[..., layer_of == name].sum(axis=-1)) for name in layers],
        axis=-1,
    )
    arrays = {"response": distance}
    for name in ("prior_deviation", "posterior_deviation"):
        rows = told[name].transpose("trial", "time", "latent").values
        arrays[name] = np.stack(
            [rows[..., layer_of == layer].mean(axis=-1) for layer in layers], axis=-1
        )
    kinds = list(dict.fromkeys(labels.tolist()))
    found = {
        name: (
            ("condition", "layer"),
            np.stack([np.nanmean(rows[labels == k], axis=(0, 1)) for k in kinds]),
        )
        for name, rows in arrays.items()
    }
    return xr.Dataset(found, {"condition": kinds, "layer": layers})


def accuracy_and_complexity(told: xr.Dataset, data: xr.DataArray) -> xr.Dataset:
    """Return what a network leaves unexplained, and what that costs it.

    Parameters
    ----------
    told
        What `neuromod.pvrnn.reconstruct` returned.
    data : (trial, time, channel)
        The recording.

    Returns
    -------
    xarray.Dataset
        ``squared_error`` (channel), the mean over trials and steps; ``divergence``
        (time, layer), nats summed over the latents of a layer, the mean over trials.
    """
    values = told["channel_value"].transpose("trial", "time", "channel").values
    recorded = data.transpose("trial", "time", "channel").values
    if values.shape != recorded.shape:
        got = f"shape {recorded.shape}"
        raise invalid("data", got, f"{values.shape}, as told", kind=ShapeError)
    apart = told["divergence"].groupby("layer_of_latent").sum(skipna=False)
    apart = apart.mean("trial").rename(layer_of_latent="layer")
    layers = list(dict.fromkeys(told["layer_of_latent"].values.tolist()))
    return xr.Dataset(
        {
            "squared_error": ("channel", np.nanmean((values - recorded) ** 2, (0, 1))),
            "divergence": apart.sel(layer=layers).assign_attrs(units="nat"),
        }
    )
