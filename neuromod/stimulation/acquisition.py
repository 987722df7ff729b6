r"""Where to stimulate next: how much each candidate promises.

With the posterior mean $\mu$ and deviation $\sigma$ at a candidate and the largest
response so far $y^*$:

| name | promise |
|---|---|
| `upper_confidence_bound` | $\mu + \kappa \sigma$ |
| `expected_improvement` | $\sigma (u \Phi(u) + \phi(u))$ |
| `probability_of_improvement` | $\Phi(u)$, with $u = (\mu - y^* - \xi) / \sigma$ |
| `thompson` | one draw of all candidates from the posterior |

A constant $\kappa$ goes on exploring to the end; `cosine` lets it fall from a first to
a last value over the trials of a session.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray


def upper_confidence_bound(
    mean: Float[Array, " candidate"],
    deviation: Float[Array, " candidate"],
    weight: Float[Array, ""],
) -> Float[Array, " candidate"]:
    """Return the mean and so many deviations."""
    return mean + weight * deviation


def expected_improvement(
    mean: Float[Array, " candidate"],
    deviation: Float[Array, " candidate"],
    best: Float[Array, ""],
    margin: Float[Array, " candidate"],
) -> Float[Array, " candidate"]:
    """Return how much more than the best so far is expected."""
    certain = deviation <= 0
    spread = jnp.where(certain, 1.0, deviation)
    gain = mean - best - margin
    z = gain / spread
    expected = gain * norm.cdf(z) + spread * norm.pdf(z)
    return jnp.where(certain, jnp.maximum(gain, 0.0), expected)


def probability_of_improvement(
    mean: Float[Array, " candidate"],
    deviation: Float[Array, " candidate"],
    best: Float[Array, ""],
    margin: Float[Array, " candidate"],
) -> Float[Array, " candidate"]:
    """Return how probable it is that there is more than the best so far."""
    spread = jnp.maximum(deviation, 1e-150)
    return norm.cdf((mean - best - margin) / spread)


def thompson(
    key: PRNGKeyArray,
    mean: Float[Array, " candidate"],
    covariance: Float[Array, "candidate candidate"],
) -> Float[Array, " candidate"]:
    """Return a draw of all candidates from the posterior."""
    # Rounding can leave a covariance without some of its rank.
    slack = 1e-10 * jnp.maximum(jnp.diag(covariance).max(), 1e-150)
    factor = jnp.linalg.cholesky(
        covariance + slack * jnp.eye(len(mean), dtype=mean.dtype)
    )
    return mean + factor @ jax.random.normal(key, mean.shape, mean.dtype)


def cosine(
    first: Float[Array, ""],
    last: Float[Array, ""],
    n_done: Int[Array, ""],
    n_planned: Int[Array, ""],
) -> Float[Array, ""]:
    """Return what falls from a first to a last value along half a cosine."""
    share = n_done.astype(first.dtype) / n_planned.astype(first.dtype)
    done = jnp.clip(share, 0.0, 1.0)
    return last + (first - last) * (1 + jnp.cos(np.pi * done)) / 2


def largest(
    key: PRNGKeyArray,
    promise: Float[Array, " candidate"],
    allowed: Bool[Array, " candidate"],
) -> Int[Array, ""]:
    """Return the number of the most promising candidate that is allowed.

    Of equals one is drawn.
    """
    best = jnp.where(allowed, promise, -jnp.inf).max()
    equal = allowed & (promise == best)
    tie = jax.random.uniform(key, promise.shape, promise.dtype)
    return jnp.argmax(jnp.where(equal, tie, -1.0))
