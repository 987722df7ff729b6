"""The free energy: how far outputs are from data, and posteriors from priors."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.pvrnn import inference
from neuromod.pvrnn.inference import Run
from neuromod.pvrnn.latents import Adaptive, Latents, parts, split
from neuromod.pvrnn.layers import Normal
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.objective import Constants, Objective


class Terms(NamedTuple):
    """The parts of an objective.

    Parameters
    ----------
    total
        What is descended.
    reconstruction : (head,)
        Errors with their constants, summed.
    divergence : (layer,)
        Divergences with their constants, but without the meta-prior, summed.
    """

    total: Array
    reconstruction: Array
    divergence: Array


class Data(NamedTuple):
    """What a network should tell.

    Parameters
    ----------
    targets : (time, trial, channel, ...) of every head
        Encoded values of the channels.
    observed : (time, trial, channel) of every head
        Which of them are known; None if all are.
    valid : (time, trial)
        Which steps a trial has; None if all trials have all.
    inputs : (time, trial, 2 x channel)
        What an encoder reads; None without one.
    """

    targets: tuple[Any, ...]
    observed: tuple[Any, ...] | None = None
    valid: Any = None
    inputs: Any = None


def encode(
    network: PVRNN,
    values: Float[Array, "time trial channel"],
    observed: Any = None,
    valid: Any = None,
) -> Data:
    """Return values of all channels as targets of the heads.

    Parameters
    ----------
    network
        Whose heads.
    values : (time, trial, channel)
        Anything where not observed.
    observed : (time, trial, channel)
        Which values are known; None for all.
    valid : (time, trial)
        Which steps a trial has; None for all.
    """
    sizes = [head.n_channels for head in network.heads]
    heads = zip(network.heads, split(values, sizes), strict=True)
    targets = tuple(head.encode(part) for head, part in heads)
    known = None if observed is None else tuple(split(observed, sizes))
    return Data(targets, known, valid, _inputs(network, values, observed, valid))


def _inputs(network: PVRNN, values: Array, observed: Any, valid: Any) -> Array | None:
    if network.encoder is None:
        return None
    known = jnp.ones(values.shape, bool) if observed is None else jnp.asarray(observed)
    if valid is not None:
        known = known & jnp.broadcast_to(jnp.asarray(valid)[..., None], known.shape)
    marks = known.astype(values.dtype)
    return jnp.concatenate([jnp.where(known, values, 0), marks], axis=-1)


def evaluate(
    network: PVRNN,
    objective: Objective,
    adaptive: Adaptive,
    data: Data,
    noise: Latents,
    potentials: Any = None,
    *,
    starts: Any = True,
) -> tuple[Terms, Run]:
    """Run a network with adaptive vectors, and return its free energy and the run."""
    found = inference.run(network, adaptive, noise, potentials, starts=starts)
    return free_energy(network, objective, found, data, starts), found


def free_energy(
    network: PVRNN, objective: Objective, run: Run, data: Data, starts: Any = True
) -> Terms:
    """Return the free energy of a run, and its parts.

    Parameters
    ----------
    network, objective
        The network, and what it descends.
    run
        What it did.
    data
        What it should have told.
    starts
        Whether trials start with the first step.
    """
    n_steps, n_trials = run.latents.shape[:2]
    told = inference.outputs(network, run.activities)
    errors = [
        _error(network, objective, i, outputs, data) for i, outputs in enumerate(told)
    ]
    weight = jnp.broadcast_to(
        jnp.asarray(objective.head_weight, told[0].dtype), (len(errors),)
    )
    by_latent = divergence(run.posterior, run.prior, objective.constants)
    if data.valid is not None:
        valid = jnp.broadcast_to(data.valid[..., None], by_latent.shape)
        by_latent = jnp.where(valid, by_latent, 0)
    factors = objective.divergence_factors(network)[network.latent_layers]
    summed = by_latent.sum(axis=1)  # (time, latent)
    summed = summed * jnp.broadcast_to(jnp.asarray(factors, summed.dtype), summed.shape)
    meta_prior = objective.weights(network, n_steps, starts).astype(summed.dtype)
    reconstruction = jnp.stack(errors)
    total = jnp.vdot(weight, reconstruction)
    total = total + jnp.vdot(meta_prior[:, network.latent_layers], summed)
    total = total + objective.penalty(run.initial)
    if objective.constants.averages_trials:
        total = total / n_trials
    by_layer = [part.sum() for part in parts(network, summed)]
    return Terms(total, reconstruction, jnp.stack(by_layer))


def _error(
    network: PVRNN, objective: Objective, i: int, outputs: Array, data: Data
) -> Array:
    head = network.heads[i]
    errors = head.error(outputs, data.targets[i])
    if data.observed is not None:
        errors = jnp.where(data.observed[i], errors, 0)
    if data.valid is not None:
        valid = jnp.broadcast_to(data.valid[..., None], errors.shape)
        errors = jnp.where(valid, errors, 0)
    return jnp.asarray(objective.error_factor(head), errors.dtype) * errors.sum()


def divergence(
    posterior: Normal, prior: Normal, constants: Constants
) -> Float[Array, "*batch latent"]:
    """Return the divergence (nats) of each latent's posterior from its prior."""
    deviation, wide = (
        d + constants.deviation_offset for d in (posterior.deviation, prior.deviation)
    )
    logs = jnp.log(wide + constants.term_offset) - jnp.log(
        deviation + constants.term_offset
    )
    squares = jnp.square(deviation) + jnp.square(posterior.mean - prior.mean)
    return logs + squares / (2 * (jnp.square(wide) + constants.term_offset)) - 0.5
