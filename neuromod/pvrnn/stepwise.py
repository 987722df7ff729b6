"""A network run step by step: generation from the prior, and any wiring at all.

The step is written as the equations are, layer after layer. It is the only way to run a
network forward from its prior, where each step needs the one before, and that of
networks whose layers give to each other within the same step both ways round.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from neuromod import kernels
from neuromod.pvrnn.latents import adaptive_posterior, parts, scaled
from neuromod.pvrnn.layers import Normal
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.stages import draws_within, evaluation_order


class State(NamedTuple):
    """Potentials, and the latents of the last step, of every layer: (trial, ...)."""

    potentials: tuple[Any, ...]
    latents: tuple[Any, ...]


def begin(network: PVRNN, potentials: tuple[Any, ...]) -> State:
    """Return the state before the first step; there were no latents yet."""
    like = next(p for p in potentials if p is not None)
    latents = tuple(
        jnp.zeros((*like.shape[:-1], layer.n_latents), like.dtype)
        for layer in network.layers
    )
    return State(potentials, latents)


def step(
    network: PVRNN, state: State, distribution: Callable[[int, Any], Normal], noise: Any
) -> tuple[State, Normal]:
    """Take one step.

    Parameters
    ----------
    network
        The network.
    state
        After the step before.
    distribution
        Given the number of a layer and its activity of the step before, the Gaussians
        (trial, latent) that its latents are drawn from.
    noise : (trial, latent) of every layer
        What they are drawn with.
    """
    past: Any = tuple(None if u is None else jnp.tanh(u) for u in state.potentials)
    potentials, latents = list(state.potentials), list(state.latents)
    drawn: list[Any] = [None] * len(network.layers)
    # Latents depend on the step before alone.
    for i in range(len(network.layers)):
        drawn[i] = distribution(i, past[i])
        latents[i] = drawn[i].mean + drawn[i].deviation * noise[i]
    for i in evaluation_order(network):
        layer = network.layers[i]
        if not layer.n_units:
            continue
        towards = (
            past[i] @ layer.recurrent_weight.T + latents[i] @ layer.latent_weight.T
        )
        towards = towards + jnp.broadcast_to(layer.bias, towards.shape)
        for connection in network.connections:
            if network.index(connection.target) == i:
                source = network.index(connection.source)
                if connection.carries == "latent":
                    given = (state.latents if connection.delay else latents)[source]
                else:
                    given = past[source]
                    if not connection.delay:
                        given = jnp.tanh(potentials[source])
                towards = towards + given @ connection.weight.T
        rate = jnp.broadcast_to(1 / jnp.asarray(layer.time_constant), towards.shape)
        potentials[i] = potentials[i] + rate * (towards - potentials[i])
    mean, deviation = (
        jnp.concatenate([getattr(d, part) for d in drawn], axis=-1)
        for part in ("mean", "deviation")
    )
    return State(tuple(potentials), tuple(latents)), Normal(mean, deviation)


def run(
    network: PVRNN, adaptive: Any, noise: Array, potentials: tuple[Any, ...]
) -> tuple[tuple[Any, ...], Normal]:
    """Run a network with its posteriors; see `neuromod.pvrnn.inference.run`.

    Returns
    -------
    tuple
        Potentials (time, trial, unit) of every layer, and the posteriors.
    """
    known = adaptive_posterior(network, adaptive)

    def advance(state, now):
        added, told, eps = now

        def posterior(i, past):
            layer = network.layers[i]
            if draws_within(network, i):
                return layer.posterior(past, *(parts(network, a)[i] for a in added))
            return Normal(*(parts(network, part)[i] for part in told))

        state, drawn = step(network, state, posterior, parts(network, eps))
        return state, (state.potentials, drawn)

    inputs = (adaptive.mean, adaptive.log_deviation), known, noise
    return kernels.scan(advance, begin(network, potentials), inputs).outputs


def generate(
    network: PVRNN,
    noise: Array,
    potentials: tuple[Any, ...],
    *,
    starts: Any = True,
    hold: Normal | None = None,
    held: np.ndarray | None = None,
) -> tuple[tuple[Any, ...], Normal, Array, State]:
    """Run a network from its prior.

    Parameters
    ----------
    network
        The network.
    noise : (time, trial, latent)
        What latents are drawn with.
    potentials : (trial, unit) of every layer
        Before the first step.
    starts
        Whether trials start with the first step, whose prior is then N(0, 1).
    hold : means and deviations (trial, latent)
        That latents are drawn from at all steps, in the place of the prior.
    held : (latent,)
        Which latents; those of constant layers if None.

    Returns
    -------
    tuple
        Activities, priors, latents of all steps, and the last state.
    """
    noise = scaled(network, noise)
    if held is None:
        constant = np.array([layer.is_constant for layer in network.layers])
        held = constant[network.latent_layers]

    def advance(state, now):
        first, eps = now

        def prior(i, past):
            layer = network.layers[i]
            zeros = jnp.zeros((*eps.shape[:-1], layer.n_latents), eps.dtype)
            told = standard = Normal(zeros, jnp.ones_like(zeros))
            if layer.prior is not None:
                told = _where(first, standard, layer.prior(past))
            mine = held[network.latent_layers == i]
            if hold is None or not mine.any():
                return told
            kept = Normal(
                parts(network, hold.mean)[i], parts(network, hold.deviation)[i]
            )
            return _where(mine, kept, told)

        state, drawn = step(network, state, prior, parts(network, eps))
        activities = tuple(None if u is None else jnp.tanh(u) for u in state.potentials)
        latents = jnp.concatenate(state.latents, axis=-1)
        return state, (activities, drawn, latents)

    firsts = (jnp.arange(len(noise)) == 0) & jnp.asarray(starts)
    found = kernels.scan(advance, begin(network, potentials), (firsts, noise))
    return *found.outputs, found.carry


def _where(pick: Any, one: Normal, other: Normal) -> Normal:
    pick = jnp.broadcast_to(pick, one.mean.shape)
    mean = jnp.where(pick, one.mean, other.mean)
    return Normal(mean, jnp.where(pick, one.deviation, other.deviation))
