"""Latents: their adaptive vectors, posteriors, priors and noise, of all steps.

Arrays have the axes (time, trial, latent); the latents of all layers stand side by side
in the order of the layers.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from neuromod.pvrnn.layers import LatentLayer, Normal
from neuromod.pvrnn.model import PVRNN

Latents = Float[Array, "time trial latent"]


class Adaptive(NamedTuple):
    """Adaptive vectors of all layers, in the order of the layers.

    Parameters
    ----------
    mean : (time, trial, latent)
        Added before the tanh of the mean.
    log_deviation : (time, trial, latent)
        Added to the log of the deviation.
    initial : (trial, unit) of every layer
        Potentials before the first step of every trial; None for those of the network.
    """

    mean: Latents
    log_deviation: Latents
    initial: tuple[Any, ...] | None = None


def start(
    network: PVRNN, n_trials: int, adaptive: Adaptive | None = None
) -> tuple[Any, ...]:
    """Return the potentials (trial, unit) of every layer before the first step."""
    if adaptive is not None and adaptive.initial is not None:
        return adaptive.initial

    def of(layer: LatentLayer) -> Any:
        if not layer.n_units:
            return None
        shape, dtype = (n_trials, layer.n_units), jnp.result_type(float)
        if layer.initial_potential is None:
            return jnp.zeros(shape, dtype)
        return jnp.broadcast_to(jnp.asarray(layer.initial_potential, dtype), shape)

    return tuple(map(of, network.layers))


def scaled(network: PVRNN, noise: Array) -> Array:
    """Return noise times the noise scale of every layer."""
    scales = [layer.noise_scale for layer in network.layers]
    if all(isinstance(scale, float) and scale == 1 for scale in scales):
        return noise
    factors = jnp.stack([jnp.asarray(scale, noise.dtype) for scale in scales])
    return noise * jnp.broadcast_to(factors[network.latent_layers], noise.shape)


def parts(network: PVRNN, values: Array) -> list[Array]:
    """Return the latents of every layer."""
    return split(values, [layer.n_latents for layer in network.layers])


def split(values: Array, sizes: Sequence[int]) -> list[Array]:
    """Cut the last axis into parts of some sizes.

    By slices, whose transpose pads. That of ``jnp.split`` concatenates, which XLA (CPU,
    jaxlib 0.10.2) fuses with all that is concatenated, and then computes wrongly.
    """
    ends = np.cumsum([0, *sizes]).tolist()
    return [values[..., a:b] for a, b in itertools.pairwise(ends)]


def before(activities: tuple[Any, ...], potentials: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the activities of the step before every step."""

    def late(activity: Any, potential: Any) -> Any:
        if activity is None:
            return None
        return jnp.concatenate([jnp.tanh(potential)[None], activity[:-1]])

    return tuple(late(*both) for both in zip(activities, potentials, strict=True))


def priors(
    network: PVRNN,
    activities: tuple[Any, ...],
    potentials: tuple[Any, ...],
    starts: Any,
) -> Normal:
    """Return the priors of all steps.

    Parameters
    ----------
    network
        The network.
    activities : (time, trial, unit) of every layer
        Of all steps.
    potentials : (trial, unit) of every layer
        Before the first one.
    starts
        Whether trials start with the first step, whose prior is then N(0, 1).
    """
    like = next(activity for activity in activities if activity is not None)
    layers = zip(network.layers, activities, potentials, strict=True)
    told = [_prior(*layer, like, starts) for layer in layers]
    means, deviations = zip(*told, strict=True)
    return Normal(jnp.concatenate(means, axis=-1), jnp.concatenate(deviations, axis=-1))


def _prior(
    layer: LatentLayer, activity: Any, potential: Any, like: Array, starts: Any
) -> Normal:
    zeros = jnp.zeros((*like.shape[:-1], layer.n_latents), like.dtype)
    if layer.prior is None:
        return Normal(zeros, jnp.ones_like(zeros))
    # What is told of is narrower than the activity: it is what is put a step later.
    later, first = layer.prior(activity), layer.prior(jnp.tanh(potential))
    begins = jnp.broadcast_to(jnp.asarray(starts), zeros[0].shape)

    def put(standard: int, first: Array, later: Array) -> Array:
        row = jnp.where(begins, jnp.asarray(standard, first.dtype), first)
        return jnp.concatenate([row[None], later[:-1]])

    return Normal(
        put(0, first.mean, later.mean), put(1, first.deviation, later.deviation)
    )


def adaptive_posterior(network: PVRNN, adaptive: Adaptive) -> Normal:
    """Return the posteriors as far as the adaptive vectors alone tell them."""

    def constant(values: Array) -> Array:
        if not any(layer.is_constant for layer in network.layers):
            return values
        flags = np.array([layer.is_constant for layer in network.layers])
        flags = jnp.broadcast_to(flags[network.latent_layers], values.shape)
        return jnp.where(flags, jnp.broadcast_to(values[:1], values.shape), values)

    mean, log_deviation = map(constant, (adaptive.mean, adaptive.log_deviation))
    return Normal(jnp.tanh(mean), jnp.exp(log_deviation))
