"""The window of error regression: how it moves, and what is done in it at every step.

All arrays have the axes (time, trial, ...), and the same shapes at every step: rows
that were not seen yet are masked, so that one program serves all steps.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from neuromod.kernels.normal import standard_normal
from neuromod.pvrnn import stepwise
from neuromod.pvrnn.energy import Data, encode
from neuromod.pvrnn.inference import outputs
from neuromod.pvrnn.latents import Adaptive, priors, scaled, start
from neuromod.pvrnn.layers import Normal
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.objective import Objective
from neuromod.pvrnn.regression import regress


class Window(NamedTuple):
    """All that the next step depends on.

    Parameters
    ----------
    n_done
        Steps that were seen.
    potentials, after_first : (trial, unit) of every layer
        Before the window, and after its first step.
    upcoming : (trial, latent), twice
        Adaptive vectors whose posterior is the prior of the next step.
    adaptive
        Of the window.
    memory
        What the optimiser remembers.
    values, observed : (time, trial, channel)
        What was seen.
    """

    n_done: Array
    potentials: tuple[Any, ...]
    after_first: tuple[Any, ...]
    upcoming: tuple[Array, Array]
    adaptive: Adaptive
    memory: Any
    values: Array
    observed: Array


class Found(NamedTuple):
    """What a step has found: (time, trial, ...), and the loss (iteration,)."""

    prediction: Array
    reconstruction: Array
    loss: Array
    posterior: Normal
    prior: Normal


class Plan(NamedTuple):
    """The settings of `neuromod.pvrnn.ErrorRegression`."""

    window: int
    n_iterations: int
    learning_rate: float
    n_predicted: int
    n_samples: int
    warm_start: str
    keeps_memory: bool
    n_draws: int

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam."""
        return optax.adam(self.learning_rate)


def empty(
    plan: Plan, network: PVRNN, n_trials: int, first: tuple[Any, Any] | None
) -> Window:
    """Return a window that has seen nothing.

    Parameters
    ----------
    plan, network, n_trials
        Settings, network and number of trials.
    first : (latent,) or (trial, latent), twice
        Adaptive vectors of the first step; 0 if None.
    """
    zeros = jnp.zeros((plan.window, n_trials, network.n_latents))
    potentials = start(network, n_trials)
    adaptive: Any = Adaptive(zeros, zeros)
    values = jnp.zeros((plan.window, n_trials, network.n_channels))
    mean, log_deviation = (
        jnp.broadcast_to(jnp.asarray(a, zeros.dtype), zeros[0].shape)
        for a in (first or (0.0, 0.0))
    )
    return Window(
        jnp.int32(0),
        potentials,
        potentials,
        (mean, log_deviation),
        adaptive,
        plan.optimiser.init(adaptive),
        values,
        values.astype(bool),
    )


@eqx.filter_jit
def advance(
    plan: Plan,
    network: PVRNN,
    objective: Objective,
    window: Window,
    key: Array,
    observation: Array,
    known: Array,
) -> tuple[Found, Window]:
    """Take in an observation (trial, channel), explain the window, and predict."""
    keys = jax.random.split(jax.random.fold_in(key, window.n_done), 4)
    window = _moved(plan, network, window, keys[0], observation, known)
    n_seen = jnp.minimum(window.n_done, plan.window)
    n_trials, dtype = observation.shape[0], window.adaptive.mean.dtype
    starts = window.n_done <= plan.window
    of_window = plan.window, n_trials, network.n_latents
    samples = () if plan.n_samples == 1 else (plan.n_samples,)
    noise = standard_normal(keys[1], (plan.n_iterations, *samples, *of_window), dtype)
    found = regress(
        network,
        objective,
        window.adaptive,
        _data(plan, network, window),
        noise,
        plan.optimiser,
        potentials=window.potentials,
        starts=starts,
        memory=window.memory if plan.keeps_memory else None,
    )

    def foresee(within: Array, ahead: Array) -> Any:
        reached, posterior = stepwise.run(
            network, found.adaptive, scaled(network, within), window.potentials
        )
        last = tuple(None if u is None else u[n_seen - 1] for u in reached)
        hold = Normal(posterior.mean[n_seen - 1], posterior.deviation[n_seen - 1])
        coming, *_ = stepwise.generate(network, ahead, last, starts=False, hold=hold)
        activities = tuple(None if u is None else jnp.tanh(u) for u in reached)
        told = decoded(network, coming), decoded(network, activities)
        return told, (reached, activities, posterior, last)

    n_draws = max(plan.n_draws, 1)
    draws = float(plan.n_draws > 0)  # else all latents are at their means
    ahead = plan.n_predicted, *of_window[1:]
    noise = (
        draws * standard_normal(key, (n_draws, *shape), dtype)
        for key, shape in zip(keys[2:], (of_window, ahead), strict=True)
    )
    told, paths = jax.vmap(foresee)(*noise)
    # The window goes on from the first draw.
    reached, activities, posterior, last = jax.tree.map(lambda path: path[0], paths)
    prior = priors(network, activities, window.potentials, starts)
    window = window._replace(
        after_first=tuple(None if u is None else u[0] for u in reached),
        upcoming=at_prior(network, last),
        adaptive=found.adaptive,
        memory=found.memory,
    )
    prediction, reconstruction = (values.mean(axis=0) for values in told)
    return Found(prediction, reconstruction, found.loss, posterior, prior), window


def decoded(network: PVRNN, activities: tuple[Any, ...]) -> Array:
    """Return the values of all channels that activities tell."""
    heads = zip(network.heads, outputs(network, activities), strict=True)
    return jnp.concatenate([head.decode(told) for head, told in heads], axis=-1)


def at_prior(network: PVRNN, potentials: tuple[Any, ...]) -> tuple[Array, Array]:
    """Return adaptive vectors whose posterior is the prior after potentials."""
    like = next(u for u in potentials if u is not None)
    found = []
    for layer, potential in zip(network.layers, potentials, strict=True):
        zeros = jnp.zeros((*like.shape[:-1], layer.n_latents), like.dtype)
        mean, log_deviation = zeros, zeros
        if layer.prior is not None:
            activity = jnp.tanh(potential)
            mean = layer.prior.mean(activity)
            log_deviation = layer.prior.log_deviation(activity)
            if layer.posterior is not None:
                mean = mean - layer.posterior.mean(activity)
                log_deviation = log_deviation - layer.posterior.log_deviation(activity)
        found.append((mean, log_deviation))
    means, logs = zip(*found, strict=True)
    return jnp.concatenate(means, axis=-1), jnp.concatenate(logs, axis=-1)


def _data(plan: Plan, network: PVRNN, window: Window) -> Data:
    shape = window.values.shape[:2]
    seen = jnp.arange(plan.window) < jnp.minimum(window.n_done, plan.window)
    valid = jnp.broadcast_to(seen[:, None], shape)
    return encode(network, window.values, window.observed, valid)


def _moved(
    plan: Plan,
    network: PVRNN,
    window: Window,
    key: Array,
    observation: Array,
    known: Array,
) -> Window:
    """Return the window with room for a new step, and the step in it."""
    full = window.n_done >= plan.window
    place = jnp.minimum(window.n_done, plan.window - 1)

    def with_new(rows: Array, new: Array) -> Array:
        rows = jnp.where(full, jnp.roll(rows, -1, axis=0), rows)
        return rows.at[place].set(new.astype(rows.dtype))

    flags = np.array([layer.is_constant for layer in network.layers])
    constant = jnp.asarray(flags[network.latent_layers])

    def with_vector(rows: Array, new: Array) -> Array:
        moved = with_new(rows, new)
        # What is constant stays what it is at the first step.
        keep = jnp.broadcast_to(constant & full, rows[0].shape)
        return moved.at[0].set(jnp.where(keep, rows[0], moved[0]))

    def moments(leaf: Array) -> Array:
        if jnp.shape(leaf) != window.adaptive.mean.shape:
            return leaf
        return with_vector(leaf, jnp.zeros_like(leaf[0]))

    def pick(one: Any, other: Any) -> Any:
        return None if one is None else jnp.where(full, one, other)

    moved = window._replace(
        n_done=window.n_done + 1,
        potentials=tuple(map(pick, window.after_first, window.potentials)),
        memory=jax.tree.map(moments, window.memory),
        values=with_new(window.values, observation),
        observed=with_new(window.observed, known),
    )
    mean, log_deviation = _new(plan, network, window, moved, key, place)
    adaptive = Adaptive(
        with_vector(window.adaptive.mean, mean),
        with_vector(window.adaptive.log_deviation, log_deviation),
    )
    return moved._replace(adaptive=adaptive)


def _new(
    plan: Plan, network: PVRNN, old: Window, moved: Window, key: Array, place: Array
) -> tuple[Array, Array]:
    """Return where the adaptive vectors of the new step start."""
    if plan.warm_start == "prior":
        return old.upcoming
    if plan.warm_start == "encoder":
        mean, log_deviation = network.encoder(_data(plan, network, moved).inputs)
        return mean[place], log_deviation[place]
    if plan.warm_start == "copy":
        last = jnp.minimum(old.n_done, plan.window) - 1
        rows = old.adaptive.mean[last], old.adaptive.log_deviation[last]
    else:
        shape = old.adaptive.mean.shape[1:]
        one, two = jax.random.split(key)
        rows = standard_normal(one, shape), standard_normal(two, shape)
    first = old.n_done == 0
    mean, log_deviation = (
        jnp.where(first, begin, row.astype(begin.dtype))
        for begin, row in zip(old.upcoming, rows, strict=True)
    )
    return mean, log_deviation
