"""Regressions of the published hierarchical search, and how their parameters move.

Parameters are stepped before a softplus (those of a child after its offset), from zero
on, by Adam: no bounds, no priors, a floor under the noise.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from neuromod.stimulation.covariance import Component, Family, GaussianProcess
from neuromod.stimulation.gaussian_process import Trials, seen

NOISE_FLOOR = 1e-4


def child_process(
    raw: Float[Array, " parameter"], n_seen: int, family: Family
) -> GaussianProcess:
    """Return the process of a part, of its offset, length, variance and noise."""
    length, variance, noise = jax.nn.softplus(raw[1:])
    component = Component(
        variance, jnp.full(n_seen, length), tuple(range(n_seen)), family
    )
    return GaussianProcess(
        (component,), jnp.ones((1, 1)), raw[:1], noise[None] + NOISE_FLOOR
    )


def parent_process(
    raw: Float[Array, " parameter"], dimensions: tuple[tuple[int, ...], ...]
) -> GaussianProcess:
    """Return the process of the whole, of its length scales and noise."""
    components = tuple(
        Component(
            jnp.ones(()), jnp.full(len(seen), jax.nn.softplus(length)), seen, "matern52"
        )
        for length, seen in zip(raw, dimensions, strict=False)
    )
    gain = jnp.ones((1, len(components)))
    noise = jax.nn.softplus(raw[-1:]) + NOISE_FLOOR
    return GaussianProcess(components, gain, jnp.zeros(1), noise)


def stepped(
    log_density: Callable[[Array], Array],
    raw: Float[Array, " parameter"],
    n_seen: Int[Array, ""],
    n_steps: int,
    rate: float,
) -> Float[Array, " parameter"]:
    """Return parameters after steps of Adam, which remembers nothing of the last."""
    adam = optax.adam(rate)
    n = jnp.asarray(n_seen, raw.dtype)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        raw, memory = carry
        slope = jax.grad(lambda raw: -log_density(raw) / n)(raw)
        update, memory = adam.update(slope, memory)
        return (optax.apply_updates(raw, update), memory), None

    return jax.lax.scan(step, (raw, adam.init(raw)), length=n_steps)[0][0]


def standardised(trials: Trials) -> Trials:
    """Return trials with a mean of 0 and a deviation of 1; a single one is 0."""
    here = seen(trials)[:, None]
    n_seen = jnp.asarray(trials.n_seen, trials.response.dtype)
    centre = jnp.where(here, trials.response, 0.0).sum() / n_seen
    apart = jnp.where(here, trials.response - centre, 0.0)
    spread = jnp.sqrt(jnp.square(apart).sum() / jnp.maximum(n_seen - 1, 1.0))
    return trials._replace(response=apart / jnp.where(spread > 0, spread, 1.0))


def rescaled(
    response: Float[Array, " trial"],
    group: Bool[Array, " trial"],
    single: Float[Array, " trial"],
) -> Float[Array, " trial"]:
    """Return the responses of a group from 0 to 1, and what a single one is."""
    low = jnp.where(group, response, jnp.inf).min()
    high = jnp.where(group, response, -jnp.inf).max()
    size = jnp.where(high > low, high - low, 1.0)
    return jnp.where(group.sum() > 1, (response - low) / size, single)
