r"""The unbounded update: a belief whose precision is positive whatever is observed.

A state $x_b$ that sets the volatility of a child $j$ has the variational energy

$$
I(x) = -\tfrac12 \log(\sigma + e^{\ell(x)})
       -\tfrac12 \frac{\beta}{\sigma + e^{\ell(x)}}
       -\tfrac12 \hat\pi_b (x - \hat\mu_b)^2,
\qquad \ell(x) = \log t + \kappa x + \omega,
$$

with $\sigma$ the child's variance before the step, $\beta = 1/\pi_j + \delta_j^2$ what
the step turned out to be, and $\omega$ all of the child's log-volatility but this
parent's part. It is expanded to second order twice, at the prediction and near its
mode (which Lambert's W gives), and the two Gaussians are blended by their energies and
matched in mean and variance.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, ""]

W_STEPS = 3


class Step(NamedTuple):
    """What a child tells the state that sets its volatility; all ().

    Parameters
    ----------
    variance
        Of the child before the step.
    surprise
        Squared prediction error plus the posterior variance of the child.
    expected_precision
        Of the child's prediction.
    log_volatility
        Of the child without this parent's part, with the log of the interval.
    strength
        Of the edge.
    """

    variance: Scalar
    surprise: Scalar
    expected_precision: Scalar
    log_volatility: Scalar
    strength: Scalar


def update(
    mean: Scalar, precision: Scalar, step: Step, *, bounded_lambert: bool
) -> tuple[Scalar, Scalar]:
    """Return mean and precision of a state after one child's step.

    Parameters
    ----------
    mean, precision : ()
        What was predicted of the state.
    step
        What the child tells.
    bounded_lambert
        Cut the argument of Lambert's W at the largest number.
    """
    first = _expand_at_prediction(mean, precision, step)
    second = _expand_near_mode(mean, precision, step, bounded_lambert)
    usable = jnp.isfinite(second[0]) & jnp.isfinite(second[1])
    second = tuple(jnp.where(usable, b, a) for a, b in zip(first, second, strict=True))
    (m1, p1), (m2, p2) = first, second
    share = jax.nn.sigmoid(
        _energy(m2, mean, precision, step) - _energy(m1, mean, precision, step)
    )
    variance = (1 - share) / p1 + share / p2 + share * (1 - share) * (m1 - m2) ** 2
    return (1 - share) * m1 + share * m2, 1 / variance


def _expand_at_prediction(mean, precision, step):
    k = step.strength
    weight = jax.nn.sigmoid(k * mean + step.log_volatility - jnp.log(step.variance))
    error = step.expected_precision * step.surprise - 1
    found = precision + k**2 * weight * (1 - weight) / 2
    return mean + k * weight * error / (2 * found), found


def _expand_near_mode(mean, precision, step, bounded_lambert):
    k = step.strength
    at_mean = step.log_volatility + k * mean
    scaled = precision / k**2
    argument = jnp.log(step.surprise) - jnp.log(2 * scaled) + 1 / (2 * scaled) - at_mean
    if bounded_lambert:
        argument = jnp.minimum(argument, jnp.log(jnp.finfo(argument.dtype).max))
    mode = at_mean + lambert_of_exp(argument) - 1 / (2 * scaled)
    x = (mode - step.log_volatility) / k
    volatility = step.log_volatility + k * x
    weight = jax.nn.sigmoid(volatility - jnp.log(step.variance))
    error = jnp.exp(jnp.log(step.surprise) - _log_total(volatility, step)) - 1
    found = precision + k**2 / 2 * weight * (weight + (2 * weight - 1) * error)
    safe = precision + k**2 / 2 * weight * (1 - weight)
    found = jnp.where(found > 0, found, safe)
    slope = k * weight * error / 2 - precision * (x - mean)
    return x + slope / found, found


def _energy(x, mean, precision, step):
    log_total = _log_total(step.log_volatility + step.strength * x, step)
    prior = precision * (x - mean) ** 2
    return -(log_total + jnp.exp(jnp.log(step.surprise) - log_total) + prior) / 2


def _log_total(log_volatility, step):
    """Return log(variance + exp(log volatility)), which cannot overflow."""
    return jnp.logaddexp(jnp.log(step.variance), log_volatility)


@jax.custom_jvp
def lambert_of_exp(z: Scalar) -> Scalar:
    """Return W(exp(z)), the solution of w + log(w) = z, for every z.

    Three steps of fourth order (Fritsch et al., Commun. ACM 1973) from a start that
    is near everywhere; nothing overflows.

    Examples
    --------
    >>> round(float(lambert_of_exp(jnp.asarray(1.0))), 6)
    1.0
    """
    tiny = jnp.finfo(z.dtype).tiny
    grown = jnp.exp(jnp.minimum(z, 1.0))
    large = jnp.where(z > 1, z, 1.0)
    w = jnp.where(z > 1, large - jnp.log(large), grown / (1 + 0.58 * grown))
    w = jnp.maximum(w, tiny)
    for _ in range(W_STEPS):
        rest = z - w - jnp.log(w)
        after = 1 + w
        both = 2 * after * (after + 2 * rest / 3)
        w = jnp.maximum(
            w * (1 + rest / after * (both - rest) / (both - 2 * rest)), tiny
        )
    return w


@lambert_of_exp.defjvp
def _differentiate(primals, tangents):
    (z,), (change,) = primals, tangents
    w = lambert_of_exp(z)
    return w, w / (1 + w) * change
