r"""What one neuron emits in one bin, given the linear predictor $\eta$ of its GLM.

A **link** turns $\eta$ into the expected value $\mu$; an **observation** is the
distribution around it:

| observation | value | variance | dispersion $\phi$ | links |
|---|---|---|---|---|
| poisson | spike count | $\mu$ | | softplus, sigmoid, exp |
| bernoulli | spike or no spike, a choice of two | $\mu(1-\mu)$ | | sigmoid |
| negative_binomial | count | $\mu + \phi\mu^2$ | per state, neuron | softplus, exp |
| gaussian | any number | $\phi$ | per state, neuron | identity, softplus, exp |
| categorical | one of C options | | | softmax |

A categorical value is written as C - 1 indicators, one per option after the first,
so its GLM has C - 1 linear predictors; the first option has $\eta = 0$.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array

from neuromod.core.errors import choice, invalid

Values = Array | np.ndarray

# Keeps the logarithm of a rate finite where a link underflows.
RATE_FLOOR = 1e-8


class Link(NamedTuple):
    """From the linear predictor to the expected value, its slope, and back."""

    rate: Callable[[Values], Array]
    slope: Callable[[Values, Values], Values]
    inverse: Callable[[Values], Values]


class Observation(NamedTuple):
    """The distribution of one value around its expectation.

    Parameters
    ----------
    log_probability
        Of (value, rate, dispersion), up to what depends on the value alone.
    log_base
        What depends on the value alone.
    score
        Derivative of the log-probability with respect to the rate.
    variance
        Of (rate, dispersion).
    draw
        A value, from (generator, rate, dispersion).
    links
        Names of the links that fit it, the default first.
    dispersed
        Whether there is a dispersion to learn.
    """

    log_probability: Callable[[Values, Values, Values], Array]
    log_base: Callable[[Values], Array]
    score: Callable[[Values, Values, Values], Values]
    variance: Callable[[Values, Values], Values]
    draw: Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]
    links: tuple[str, ...]
    dispersed: bool = False


def _sigmoid_rate(eta):
    return RATE_FLOOR + (1 - RATE_FLOOR) * jax.nn.sigmoid(eta)


def _sigmoid_slope(eta, rate):
    below = rate - RATE_FLOOR
    return below * (1 - below / (1 - RATE_FLOOR))


def _sigmoid_inverse(rate):
    probability = jnp.clip((rate - RATE_FLOOR) / (1 - RATE_FLOOR), 1e-6, 1 - 1e-6)
    return jnp.log(probability) - jnp.log1p(-probability)


def _softmax_rate(eta):
    largest = jnp.maximum(eta.max(axis=-1, keepdims=True), 0)
    weights = jnp.exp(eta - largest)
    return weights / (jnp.exp(-largest) + weights.sum(axis=-1, keepdims=True))


def _softmax_inverse(rate):
    rate = jnp.clip(rate, 1e-6, 1)
    first = jnp.clip(1 - rate.sum(axis=-1, keepdims=True), 1e-6, 1)
    return jnp.log(rate) - jnp.log(first)


LINKS: dict[str, Link] = {
    "softplus": Link(
        jax.nn.softplus,
        lambda eta, rate: -jnp.expm1(-rate),
        lambda rate: rate + jnp.log(-jnp.expm1(-rate)),
    ),
    "sigmoid": Link(_sigmoid_rate, _sigmoid_slope, _sigmoid_inverse),
    "exp": Link(jnp.exp, lambda eta, rate: rate, jnp.log),
    "identity": Link(jnp.asarray, lambda eta, rate: jnp.ones_like(rate), jnp.asarray),
    "softmax": Link(
        _softmax_rate, lambda eta, rate: rate * (1 - rate), _softmax_inverse
    ),
}


def _no_base(value):
    return jnp.zeros_like(value)


def _count_base(value):
    return -gammaln(value + 1)


def _poisson_log_probability(count, rate, dispersion):
    return count * jnp.log(rate + RATE_FLOOR) - rate


def _bernoulli_log_probability(value, rate, dispersion):
    happened = jnp.minimum(value, 1)
    absent = jnp.log(1 - rate + RATE_FLOOR)
    return happened * jnp.log(rate + RATE_FLOOR) + (1 - happened) * absent


def _bernoulli_score(value, rate, dispersion):
    happened = jnp.minimum(value, 1)
    return happened / (rate + RATE_FLOOR) - (1 - happened) / (1 - rate + RATE_FLOOR)


def _negative_binomial_log_probability(count, rate, dispersion):
    size, spread = 1 / dispersion, dispersion * rate
    ways = gammaln(count + size) - gammaln(size)
    more = jnp.log(spread + RATE_FLOOR) - jnp.log1p(spread)
    return ways + count * more - size * jnp.log1p(spread)


def _gaussian_log_probability(value, rate, dispersion):
    squares = (value - rate) ** 2 / dispersion
    return -0.5 * (squares + jnp.log(2 * jnp.pi * dispersion))


def _categorical_log_probability(value, rate, dispersion):
    """Share the first option's part between the indicators of the others."""
    first = 1 - value.sum(axis=-1, keepdims=True)
    absent = jnp.log(1 - rate.sum(axis=-1, keepdims=True) + RATE_FLOOR)
    return value * jnp.log(rate + RATE_FLOOR) + first * absent / rate.shape[-1]


def _draw_negative_binomial(generator, rate, dispersion):
    return generator.poisson(generator.gamma(1 / dispersion, dispersion * rate))


def _draw_categorical(generator, rate, dispersion):
    below = np.cumsum(rate, axis=-1)
    uniform = generator.random((*rate.shape[:-1], 1))
    above = np.concatenate([np.zeros_like(uniform), below[..., :-1]], axis=-1)
    return (uniform >= above) & (uniform < below)


OBSERVATIONS: dict[str, Observation] = {
    "poisson": Observation(
        _poisson_log_probability,
        _count_base,
        lambda count, rate, dispersion: count / (rate + RATE_FLOOR) - 1,
        lambda rate, dispersion: rate,
        lambda generator, rate, dispersion: generator.poisson(rate),
        ("softplus", "sigmoid", "exp"),
    ),
    "bernoulli": Observation(
        _bernoulli_log_probability,
        _no_base,
        _bernoulli_score,
        lambda rate, dispersion: rate * (1 - rate),
        lambda generator, rate, dispersion: generator.random(rate.shape) < rate,
        ("sigmoid",),
    ),
    "negative_binomial": Observation(
        _negative_binomial_log_probability,
        _count_base,
        lambda count, rate, dispersion: (
            (count - rate) / ((rate + RATE_FLOOR) * (1 + dispersion * rate))
        ),
        lambda rate, dispersion: rate * (1 + dispersion * rate),
        _draw_negative_binomial,
        ("softplus", "exp"),
        dispersed=True,
    ),
    "gaussian": Observation(
        _gaussian_log_probability,
        _no_base,
        lambda value, rate, dispersion: (value - rate) / dispersion,
        lambda rate, dispersion: jnp.broadcast_to(dispersion, rate.shape),
        lambda generator, rate, dispersion: generator.normal(rate, np.sqrt(dispersion)),
        ("identity", "softplus", "exp"),
        dispersed=True,
    ),
    "categorical": Observation(
        _categorical_log_probability,
        _no_base,
        lambda value, rate, dispersion: (value - rate) / (rate * (1 - rate)),
        lambda rate, dispersion: rate * (1 - rate),
        _draw_categorical,
        ("softmax",),
    ),
}


def resolve_link(link: str | None, observation: str) -> str:
    """Return the link, or the default one of the observation.

    Raises
    ------
    InvalidInputError
        If there is no such link, or it does not fit the observation.
    """
    fitting = OBSERVATIONS[choice("observation", observation, OBSERVATIONS)].links
    if link is None:
        return fitting[0]
    if choice("link", link, LINKS) not in fitting:
        names = " or ".join(repr(name) for name in fitting)
        raise invalid("link", repr(link), f"{names} for {observation} observations")
    return link
