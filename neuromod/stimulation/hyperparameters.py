r"""What a model leaves open, and how it is found: the maximum of the posterior.

A Gaussian process is built from a vector $\theta$ of free parameters. Each is a number
or the logarithm of one, within bounds, with a normal prior; the fit ascends

$$
\log p(y \mid \theta) - \sum_j \frac{(\theta_j - m_j)^2}{2 s_j^2}
$$

by L-BFGS, in coordinates in which the bounds are at infinity.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float


class Free(NamedTuple):
    """The free parameters of a model, each as it stands in the vector.

    Parameters
    ----------
    names
        Their names.
    start : (parameter,)
        Where a fit starts.
    low, high : (parameter,)
        Bounds; infinite where there are none.
    mean, deviation : (parameter,)
        Of the normal prior; an infinite deviation is none.
    """

    names: tuple[str, ...]
    start: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def free(**parameters: dict[str, float]) -> Free:
    """Collect free parameters.

    Parameters
    ----------
    **parameters
        Of each ``start``, and if there are any ``low``, ``high``, ``mean`` and
        ``deviation``.

    Examples
    --------
    >>> free(noise={"start": -3.0, "mean": -3.0, "deviation": 1.5}).high
    array([inf])
    """
    default = {"low": -np.inf, "high": np.inf, "mean": 0.0, "deviation": np.inf}
    rows = [default | row for row in parameters.values()]
    columns = ("start", *default)
    return Free(
        tuple(parameters), *(np.array([row[c] for row in rows]) for c in columns)
    )


class Fitted(NamedTuple):
    """Where a fit ended.

    Parameters
    ----------
    parameters : (parameter,)
        The free parameters.
    log_posterior : ()
        There, but for a constant.
    """

    parameters: Float[Array, " parameter"]
    log_posterior: Float[Array, ""]


def fit(
    log_density: Callable[[Array], Array],
    free: Free,
    start: Float[Array, " parameter"],
    n_iterations: int,
) -> Fitted:
    """Return the maximum of the posterior, or where so many steps lead.

    Parameters
    ----------
    log_density
        Of the data, given the free parameters.
    free
        Their bounds and priors.
    start : (parameter,)
        Where to start.
    n_iterations
        Steps; each looks along a line.
    """

    def loss(inner: Array) -> Array:
        parameters = outer(free, inner)
        from_prior = (parameters - free.mean) / free.deviation
        return 0.5 * jnp.square(from_prior).sum() - log_density(parameters)

    optimiser = optax.lbfgs()
    graded = optax.value_and_grad_from_state(loss)

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        inner, memory, best = carry
        value, slope = graded(inner, state=memory)
        best = jax.tree.map(
            lambda one, other: jnp.where(value < best[1], one, other),
            (inner, value),
            best,
        )
        update, memory = optimiser.update(
            slope, memory, inner, value=value, grad=slope, value_fn=loss
        )
        return (optax.apply_updates(inner, update), memory, best), None

    inner = _inner(free, start)
    first = (inner, jnp.asarray(jnp.inf, inner.dtype))
    carry = (inner, optimiser.init(inner), first)
    (last, _, best), _ = jax.lax.scan(step, carry, length=n_iterations)
    value = loss(last)
    better = value < best[1]
    found = jnp.where(better, last, best[0])
    return Fitted(outer(free, found), -jnp.where(better, value, best[1]))


def outer(given: Free, inner: Array) -> Array:
    """Return free parameters from coordinates in which bounds are at infinity."""
    low, high = np.asarray(given.low), np.asarray(given.high)
    bounded = np.isfinite(low) & np.isfinite(high)
    width = np.where(bounded, high - low, 1.0)
    within = np.where(bounded, low, 0.0) + width * jax.nn.sigmoid(inner)
    return jnp.where(bounded, within, inner)


def _inner(given: Free, parameters: Array) -> Array:
    low, high = np.asarray(given.low), np.asarray(given.high)
    bounded = np.isfinite(low) & np.isfinite(high)
    width = np.where(bounded, high - low, 1.0)
    share = (parameters - np.where(bounded, low, 0.0)) / width
    share = jnp.clip(jnp.where(bounded, share, 0.5), 1e-3, 1 - 1e-3)
    return jnp.where(bounded, jnp.log(share / (1 - share)), parameters)
