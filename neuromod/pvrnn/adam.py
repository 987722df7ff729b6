"""Adam for two groups of parameters, one of them with a memory for each trial."""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

DECAY = 0.9, 0.999
EPSILON = 1e-8


class Memory(NamedTuple):
    """Moments like the parameters, and how often each trial was updated."""

    mean: Any
    square: Any
    count: Any


def adam_by_trial(learning_rate: float) -> optax.GradientTransformation:
    """Return Adam whose moments and steps are counted for each trial by itself.

    A trial whose gradient is all zero was not in the minibatch: it does not move, and
    remembers what it did. With the Adam of all parameters together it would go on
    moving, and its bias correction would be that of steps that it has not made.

    Parameters
    ----------
    learning_rate
        Of Adam. Arrays are (trial, ...) if they have two axes, else (time, trial, ...).
    """

    def init(params: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, params)

        def count(leaf: Array) -> Array:
            return jnp.zeros(leaf.shape[_axis(leaf)], jnp.int32)

        return Memory(zeros, zeros, jax.tree.map(count, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        moved = jax.tree.map(_moved, updates, *state)
        outer, inner = jax.tree.structure(updates), jax.tree.structure((0, 0, 0, 0))
        found, *kept = jax.tree.transpose(outer, inner, moved)
        return jax.tree.map(lambda u: -learning_rate * u, found), Memory(*kept)

    return optax.GradientTransformation(init, update)


def _axis(leaf: Array) -> int:
    return 0 if leaf.ndim == 2 else 1


def _moved(gradient: Array, mean: Array, square: Array, count: Array) -> tuple:
    """Return the direction, and what is remembered."""
    others = tuple(i for i in range(gradient.ndim) if i != _axis(gradient))
    seen = jnp.any(gradient != 0, axis=others)
    count = count + seen.astype(count.dtype)

    def wide(values: Array) -> Array:
        return jnp.broadcast_to(jnp.expand_dims(values, others), gradient.shape)

    one, two = DECAY
    at = wide(seen)
    mean = jnp.where(at, one * mean + (1 - one) * gradient, mean)
    square = jnp.where(at, two * square + (1 - two) * jnp.square(gradient), square)
    steps = jnp.maximum(count, 1).astype(gradient.dtype)
    corrected = mean / wide(1 - one**steps)
    scale = jnp.sqrt(square / wide(1 - two**steps)) + EPSILON
    return jnp.where(at, corrected / scale, 0), mean, square, count


@lru_cache(maxsize=32)
def two_groups(
    learning_rate: float,
    adaptive_learning_rate: float,
    by_trial: bool,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Return Adam of a network, and Adam of its adaptive vectors.

    Parameters
    ----------
    learning_rate, adaptive_learning_rate
        Of both.
    by_trial
        Whether adaptive vectors are updated trial by trial: in minibatches.
    weight_decay
        Of the network alone.
    """
    of_network = optax.adam(learning_rate)
    if weight_decay:
        of_network = optax.adamw(learning_rate, weight_decay=weight_decay)
    of_trials = (adam_by_trial if by_trial else optax.adam)(adaptive_learning_rate)

    def init(params: Any) -> Any:
        return of_network.init(params.network), of_trials.init(params.adaptive)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        weights = None if params is None else params.network
        network, one = of_network.update(updates.network, state[0], weights)
        adaptive, two = of_trials.update(updates.adaptive, state[1])
        return type(updates)(network, adaptive, updates.objective), (one, two)

    return optax.GradientTransformation(init, update)
