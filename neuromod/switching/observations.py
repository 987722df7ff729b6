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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array
from scipy import special

from neuromod.core.errors import choice, invalid
from neuromod.kernels.elementary import exp, softplus

Values = Array | np.ndarray


class Space(NamedTuple):
    """The functions that rates and log-probabilities are written in."""

    numpy: Any
    sigmoid: Callable
    softplus: Callable
    gammaln: Callable


JAX = Space(jnp, jax.nn.sigmoid, softplus, gammaln)
NUMPY = Space(np, special.expit, lambda x: np.logaddexp(x, 0), special.gammaln)


def space_of(array: Values) -> Space:
    """Return JAX for its arrays, numpy for others: one formula to fit and to stream."""
    return JAX if isinstance(array, Array) else NUMPY


# Keeps the logarithm of a rate finite where a link underflows.
RATE_FLOOR = 1e-8


class Link(NamedTuple):
    """From the linear predictor to the expected value, its slope, and back."""

    rate: Callable[[Values], Any]
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


def _softplus_rate(eta):
    return space_of(eta).softplus(eta)


def _softplus_slope(eta, rate):
    small = exp(-jnp.abs(eta))  # the one that the rate needed
    return jnp.where(eta >= 0, 1, small) / (1 + small)


def _sigmoid_rate(eta):
    return RATE_FLOOR + (1 - RATE_FLOOR) * space_of(eta).sigmoid(eta)


def _sigmoid_slope(eta, rate):
    below = rate - RATE_FLOOR
    return below * (1 - below / (1 - RATE_FLOOR))


def _sigmoid_inverse(rate):
    probability = jnp.clip((rate - RATE_FLOOR) / (1 - RATE_FLOOR), 1e-6, 1 - 1e-6)
    return jnp.log(probability) - jnp.log1p(-probability)


def _softmax_rate(eta):
    exp = space_of(eta).numpy.exp
    largest = eta.max(axis=-1, keepdims=True).clip(min=0)
    weights = exp(eta - largest)
    return weights / (exp(-largest) + weights.sum(axis=-1, keepdims=True))


def _softmax_inverse(rate):
    rate = jnp.clip(rate, 1e-6, 1)
    first = jnp.clip(1 - rate.sum(axis=-1, keepdims=True), 1e-6, 1)
    return jnp.log(rate) - jnp.log(first)


LINKS: dict[str, Link] = {
    "softplus": Link(
        _softplus_rate,
        _softplus_slope,
        lambda rate: rate + jnp.log(-jnp.expm1(-rate)),
    ),
    "sigmoid": Link(_sigmoid_rate, _sigmoid_slope, _sigmoid_inverse),
    "exp": Link(
        lambda eta: space_of(eta).numpy.exp(eta), lambda eta, rate: rate, jnp.log
    ),
    "identity": Link(
        lambda eta: eta, lambda eta, rate: jnp.ones_like(rate), jnp.asarray
    ),
    "softmax": Link(
        _softmax_rate, lambda eta, rate: rate * (1 - rate), _softmax_inverse
    ),
}


def _no_base(value):
    return 0 * value


def _count_base(value):
    return -space_of(value).gammaln(value + 1)


def _poisson_log_probability(count, rate, dispersion):
    return count * space_of(rate).numpy.log(rate + RATE_FLOOR) - rate


def _bernoulli_log_probability(value, rate, dispersion):
    log, happened = space_of(rate).numpy.log, value.clip(max=1)
    absent = log(1 - rate + RATE_FLOOR)
    return happened * log(rate + RATE_FLOOR) + (1 - happened) * absent


def _bernoulli_score(value, rate, dispersion):
    happened = jnp.minimum(value, 1)
    return happened / (rate + RATE_FLOOR) - (1 - happened) / (1 - rate + RATE_FLOOR)


def _negative_binomial_log_probability(count, rate, dispersion):
    space = space_of(rate)
    size, spread = 1 / dispersion, dispersion * rate
    ways = space.gammaln(count + size) - space.gammaln(size)
    less = space.numpy.log1p(spread)
    more = space.numpy.log(spread + RATE_FLOOR) - less
    return ways + count * more - size * less


def _gaussian_log_probability(value, rate, dispersion):
    squares = (value - rate) ** 2 / dispersion
    return -0.5 * (squares + space_of(rate).numpy.log(2 * np.pi * dispersion))


def _categorical_log_probability(value, rate, dispersion):
    """Share the first option's part between the indicators of the others."""
    first = 1 - value.sum(axis=-1, keepdims=True)
    log = space_of(rate).numpy.log
    absent = log(1 - rate.sum(axis=-1, keepdims=True) + RATE_FLOOR)
    return value * log(rate + RATE_FLOOR) + first * absent / rate.shape[-1]


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
