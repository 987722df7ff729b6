r"""Virtual drugs and lesions: a trained network that is changed in one place.

| what | how | meant for |
|---|---|---|
| prior deviation | $\sigma^p \to f \sigma^p$ of a layer | altered precision |
| noise | $\epsilon \to f \epsilon$ of a layer | neural stochasticity (Soda 2023) |
| meta-prior | $w \to f w$ of a layer (`scaled_meta_prior`) | altered complexity |
| lesion | units of a layer give and get nothing | loss of tissue |
| held latent | a latent stays where it is put (`traverse`) | stimulation, a drug |

A network is a value: the one that is given stays what it was.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core.dimensions import (
    require_finite,
    require_integer,
    require_non_negative,
    require_positive,
)
from neuromod.core.errors import invalid
from neuromod.core.result import Result
from neuromod.kernels.normal import standard_normal
from neuromod.pvrnn import stepwise
from neuromod.pvrnn.latents import start
from neuromod.pvrnn.layers import Affine, LatentLayer, LatentMap, Normal
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.objective import Objective
from neuromod.pvrnn.running import channels_of, dataset, only_network

Factors = Mapping[str, float]


def intervene(
    network: PVRNN,
    *,
    prior_deviation: Factors | None = None,
    noise: Factors | None = None,
    lesion: Mapping[str, Sequence[int]] | None = None,
) -> PVRNN:
    """Return a network that is changed in some layers.

    Parameters
    ----------
    network
        The network.
    prior_deviation
        Factors of the standard deviation of the prior, by the names of layers; not at
        the first step of a trial, whose prior is N(0, 1).
    noise
        Factors of the noise of the latents.
    lesion
        Numbers of the units that give nothing, to any layer or head, from now on.

    Raises
    ------
    InvalidInputError
        If a layer is not there, or cannot be changed like that.

    Examples
    --------
    >>> from neuromod.pvrnn import hierarchy, tanh_head
    >>> network = hierarchy(jax.random.key(0), [10], [1], [2], [tanh_head(2)])
    >>> noisy = intervene(network, noise={"layer_0": 2.0}, lesion={"layer_0": [3, 4]})
    >>> noisy.layer("layer_0").noise_scale
    2.0
    """
    for name, factor in (prior_deviation or {}).items():
        network = _with_wide_prior(network, name, factor)
    for name, factor in (noise or {}).items():
        factor = float(require_non_negative(factor, "noise"))
        scale = network.layer(name).noise_scale * factor
        network = _with_layer(network, name, noise_scale=scale)
    for name, units in (lesion or {}).items():
        network = _without(network, name, units)
    return network


def scaled_meta_prior(
    objective: Objective, network: PVRNN, factors: Factors
) -> Objective:
    """Return an objective whose meta-priors are scaled in some layers.

    Parameters
    ----------
    objective, network
        What is descended, and of which network.
    factors
        By the names of layers, for all steps.
    """
    whole = objective.complete(network)
    scale = np.ones(len(network.layers))
    for name, factor in factors.items():
        scale[network.index(name)] = float(require_non_negative(factor, "factors"))
    return whole.with_meta_prior(
        whole.meta_prior * scale, whole.first_meta_prior * scale
    )


def traverse(
    model: PVRNN | Result,
    layer: str,
    values: Sequence[float],
    n_steps: int,
    *,
    seed: int,
    latent: int = 0,
) -> xr.Dataset:
    """Let a network run with one latent held at each of some values.

    Parameters
    ----------
    model
        A `PVRNN`, or the `Result` of one seed.
    layer, latent
        Which latent: the name of its layer, and its number there.
    values
        At which it is held, one trial each.
    n_steps
        Steps of each trial.
    seed
        Of the noise of all other latents, which is that of every trial.

    Returns
    -------
    xarray.Dataset
        As of `generate`, whose trials are called by the values.

    Examples
    --------
    >>> from neuromod.pvrnn import hierarchy, tanh_head
    >>> network = hierarchy(
    ...     jax.random.key(0), [10, 5], [1, 1], [2, 8], [tanh_head(2)]
    ... )
    >>> found = traverse(network, "layer_1", [-1.0, 0.0, 1.0], 20, seed=0)
    >>> found["trial"].values
    array([-1.,  0.,  1.])
    """
    network = only_network(model)
    n_latents = network.layer(layer).n_latents
    if require_integer(latent, "latent", minimum=0) >= n_latents:
        raise invalid("latent", latent, f"less than the {n_latents} of {layer!r}")
    points = np.atleast_1d(np.asarray(values, float))
    require_finite(points, "values")
    held = np.zeros(network.n_latents, bool)
    held[np.flatnonzero(network.latent_layers == network.index(layer))[latent]] = True
    n_steps = require_integer(n_steps, "n_steps")
    key = jax.random.key(require_integer(seed, "seed", minimum=0))
    noise = standard_normal(key, (n_steps, 1, network.n_latents))
    noise = jnp.repeat(noise, len(points), axis=1)
    shape = len(points), network.n_latents
    mean = jnp.broadcast_to(jnp.asarray(points, noise.dtype)[:, None], shape)
    hold = Normal(mean, jnp.zeros(shape, noise.dtype))

    @jax.jit
    def run(network: PVRNN, noise: Any, hold: Normal) -> Any:
        potentials = start(network, len(points))
        return stepwise.generate(network, noise, potentials, hold=hold, held=held)

    activities, prior, latents, _ = run(network, noise, hold)
    coords = {"trial": points, "time": np.arange(n_steps)} | channels_of(model)
    return dataset(network, activities, latents, prior, None, coords)


def _with_layer(network: PVRNN, name: str, **changes: Any) -> PVRNN:
    index = network.index(name)
    old = network.layers[index]
    fields = {f: getattr(old, f) for f in old.__dataclass_fields__} | changes
    layers = [*network.layers]
    layers[index] = LatentLayer(**fields)
    return PVRNN(layers, network.connections, network.heads, network.encoder)


def _with_wide_prior(network: PVRNN, name: str, factor: float) -> PVRNN:
    factor = float(require_positive(factor, "prior_deviation"))
    prior = network.layer(name).prior
    if prior is None:
        expected = "a layer with a learned prior"
        raise invalid("prior_deviation", f"layer {name!r}, without one", expected)
    told = prior.log_deviation
    shape = told.weight.shape[:-1]
    bias = jnp.zeros(shape, told.weight.dtype) if told.bias is None else told.bias
    bias = jnp.asarray(bias) + jnp.full(shape, np.log(factor), bias.dtype)
    wide = LatentMap(prior.mean, Affine(told.weight, bias))
    return _with_layer(network, name, prior=wide)


def _without(network: PVRNN, name: str, units: Sequence[int]) -> PVRNN:
    """Return a network in which nothing reads some units of a layer."""
    n_units = network.layer(name).n_units
    chosen = np.unique(np.asarray(units, int))
    if chosen.size and not (0 <= chosen[0] and chosen[-1] < n_units):
        expected = f"numbers of the {n_units} units of {name!r}"
        raise invalid("lesion", list(units), expected)

    def cut(weight: Any) -> Any:
        return jnp.asarray(weight).at[..., chosen].set(0)

    index = network.index(name)
    maps = [m for m in ("prior", "posterior") if getattr(network.layer(name), m)]
    outward = [
        i
        for i, connection in enumerate(network.connections)
        if connection.source == name and connection.carries == "activity"
    ]
    heads = [i for i, head in enumerate(network.heads) if head.source == name]

    def readers(network: PVRNN) -> list[Any]:
        layer = network.layers[index]
        read: list[Any] = [getattr(layer, m) for m in maps]
        read += [network.heads[i] for i in heads]
        found = [layer.recurrent_weight]
        found += [network.connections[i].weight for i in outward]
        for part in read:
            fields = (getattr(part, field) for field in part.__dataclass_fields__)
            found += [field.weight for field in fields if isinstance(field, Affine)]
        return found

    return eqx.tree_at(readers, network, replace_fn=cut)
