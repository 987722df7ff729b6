"""Trained networks run: what they explain, and what they make up."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import invalid
from neuromod.core.result import Result
from neuromod.kernels.normal import standard_normal
from neuromod.pvrnn import inference, stepwise
from neuromod.pvrnn.energy import divergence
from neuromod.pvrnn.latents import Adaptive, scaled, split, start
from neuromod.pvrnn.layers import Normal
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.objective import CONSTANTS

_run, _generate = jax.jit(inference.run), jax.jit(stepwise.generate)


def reconstruct(result: Result, *, seed: int) -> xr.Dataset:
    """Run a trained network with the posteriors of its training.

    Parameters
    ----------
    result
        Of `neuromod.pvrnn.train`, of one seed.
    seed
        Of the noise.

    Returns
    -------
    xarray.Dataset
        ``channel_value`` (trial, time, channel), what the network tells; the means and
        deviations of ``posterior`` and ``prior``, the ``latent_value`` that was drawn,
        the ``divergence`` (nats): (trial, time, latent); and the ``activity`` (trial,
        time, unit).

    Raises
    ------
    InvalidInputError
        If the result is of several seeds.
    """
    network, adaptive = of_training(result)
    key = jax.random.key(require_integer(seed, "seed", minimum=0))
    noise = standard_normal(key, adaptive.mean.shape, adaptive.mean.dtype)
    run = _run(network, adaptive, noise)
    told = result.data["latent"]
    coords = {name: told[name].values for name in ("trial", "time", "channel")}
    found = dataset(
        network, run.activities, run.latents, run.prior, run.posterior, coords
    )
    steps = xr.DataArray(np.arange(found.sizes["time"]), dims="time")
    lengths = xr.DataArray(told["n_steps"].values, dims="trial")
    return found.where(steps < lengths)


def regenerate(
    result: Result, n_steps: int, *, seed: int, n_given: int = 1
) -> xr.Dataset:
    """Let a trained network go on from the beginning of each of its training trials.

    Parameters
    ----------
    result
        Of `neuromod.pvrnn.train`, of one seed.
    n_steps
        Steps that are made up from the prior, after those that are given.
    seed
        Of the noise.
    n_given
        Steps that have the posterior of training: with 1, all that a network knows of a
        trial is what it has put into the latents of the first step.

    Returns
    -------
    xarray.Dataset
        As of `generate`, with the trials of training; the steps that are made up.
    """
    network, adaptive = of_training(result)
    n_given = require_integer(n_given, "n_given")
    if n_given > len(adaptive.mean):
        raise invalid("n_given", n_given, f"at most the {len(adaptive.mean)} steps")
    adaptive = adaptive._replace(
        mean=adaptive.mean[:n_given], log_deviation=adaptive.log_deviation[:n_given]
    )
    n_steps = require_integer(n_steps, "n_steps")
    key = jax.random.key(require_integer(seed, "seed", minimum=0))
    shape = n_given + n_steps, *adaptive.mean.shape[1:]
    noise = standard_normal(key, shape, adaptive.mean.dtype)
    activities, prior, latents = _go_on(network, adaptive, noise)
    told = result.data["latent"]
    coords = {name: told[name].values for name in ("trial", "channel")}
    coords["time"] = n_given + np.arange(n_steps)
    return dataset(network, activities, latents, prior, None, coords)


@jax.jit
def _go_on(network: PVRNN, adaptive: Adaptive, noise: Any) -> tuple[Any, Normal, Any]:
    n_given = len(adaptive.mean)
    potentials = start(network, noise.shape[1], adaptive)
    reached, posterior = stepwise.run(
        network, adaptive, scaled(network, noise[:n_given]), potentials
    )
    last = tuple(None if u is None else u[-1] for u in reached)
    hold = Normal(posterior.mean[0], posterior.deviation[0])
    found = stepwise.generate(network, noise[n_given:], last, starts=False, hold=hold)
    return found[:3]


def of_training(result: Result) -> tuple[PVRNN, Adaptive]:
    """Return the network and the adaptive vectors of a result of one seed."""
    if not isinstance(result, Result) or not isinstance(result.model, PVRNN):
        raise invalid("result", type(result).__name__, "a Result of pvrnn.train")
    if "seed" in result.data["latent"].dims:
        raise invalid("result", "several seeds", "one", "Choose: result.sel(seed=...).")
    told = result.data["latent"].to_dataset()
    mean, log_deviation = (
        jnp.asarray(told[f"adaptive_{name}"].transpose("time", ...).values)
        for name in ("mean", "log_deviation")
    )
    if "initial_potential" not in told:
        return result.model, Adaptive(mean, log_deviation)
    sizes = [layer.n_units for layer in result.model.layers]
    own = split(jnp.asarray(told["initial_potential"].values), sizes)
    initial = tuple(u if n else None for u, n in zip(own, sizes, strict=True))
    return result.model, Adaptive(mean, log_deviation, initial)


def generate(
    model: PVRNN | Result, n_steps: int, *, seed: int, n_trials: int = 1
) -> xr.Dataset:
    """Let a network make up data: run it from its prior.

    Parameters
    ----------
    model
        A `PVRNN`, or the `Result` of one seed.
    n_steps
        Steps of each trial.
    seed
        Of the noise.
    n_trials
        Trials that are made up.

    Returns
    -------
    xarray.Dataset
        ``channel_value`` (trial, time, channel); ``prior_mean``, ``prior_deviation``
        and ``latent_value`` (trial, time, latent); ``activity`` (trial, time, unit).

    Examples
    --------
    >>> from neuromod.pvrnn import hierarchy, tanh_head
    >>> network = hierarchy(jax.random.key(0), [10], [1], [2], [tanh_head(2)])
    >>> dict(generate(network, 30, seed=0, n_trials=4)["channel_value"].sizes)
    {'trial': 4, 'time': 30, 'channel': 2}
    """
    network = only_network(model)
    n_steps = require_integer(n_steps, "n_steps")
    n_trials = require_integer(n_trials, "n_trials")
    key = jax.random.key(require_integer(seed, "seed", minimum=0))
    noise = standard_normal(key, (n_steps, n_trials, network.n_latents))
    activities, prior, latents, _ = _generate(network, noise, start(network, n_trials))
    coords = {"trial": np.arange(n_trials), "time": np.arange(n_steps)}
    coords |= channels_of(model)
    return dataset(network, activities, latents, prior, None, coords)


def channels_of(model: Any) -> dict[str, Any]:
    """Return the names of channels, if a result has them."""
    if not isinstance(model, Result):
        return {}
    return {"channel": model.data["latent"]["channel"].values}


def only_network(model: Any) -> PVRNN:
    """Return the network of a model or of a result of one seed."""
    network = model.model if isinstance(model, Result) else model
    if not isinstance(network, PVRNN):
        raise invalid("model", type(network).__name__, "a PVRNN or a Result of one")
    if isinstance(model, Result) and "seed" in model.data["latent"].dims:
        raise invalid("model", "several seeds", "one", "Choose: result.sel(seed=...).")
    return network


def dataset(
    network: PVRNN,
    activities: Any,
    latents: Any,
    prior: Normal,
    posterior: Normal | None,
    coords: dict[str, Any],
) -> xr.Dataset:
    """Return what a network did (time, trial, ...), with names."""
    told = zip(network.heads, inference.outputs(network, activities), strict=True)
    values = jnp.concatenate([head.decode(outputs) for head, outputs in told], axis=-1)
    found = {"latent_value": latents}
    for name, normal in (("prior", prior), ("posterior", posterior)):
        if normal is not None:
            found[f"{name}_mean"], found[f"{name}_deviation"] = normal
    if posterior is not None:
        found["divergence"] = divergence(posterior, prior, CONSTANTS["tglean"])

    def trial_first(array: Any) -> np.ndarray:
        return np.swapaxes(np.asarray(array), 0, 1)

    dims = ("trial", "time", "latent")
    layers = np.array([layer.name for layer in network.layers])
    heads = np.array([head.name for head in network.heads])
    labels = {
        "layer_of_latent": ("latent", layers[network.latent_layers]),
        "head_of_channel": ("channel", heads[network.channel_heads]),
    }
    told_of = xr.Dataset(
        {name: (dims, trial_first(array)) for name, array in found.items()},
        coords | labels,
    )
    units = [layer.name for layer in network.layers for _ in range(layer.n_units)]
    active = jnp.concatenate([d for d in activities if d is not None], axis=-1)
    told_of["activity"] = ((*dims[:2], "unit"), trial_first(active))
    told_of.coords["layer_of_unit"] = ("unit", units)
    told_of["channel_value"] = ((*dims[:2], "channel"), trial_first(values))
    if "divergence" in told_of:
        told_of["divergence"].attrs["units"] = "nat"
    return told_of
