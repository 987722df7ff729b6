r"""How strong a connection is, if it is there: normal distributions cut off at zero.

All of it rests on one function, the logarithm of the area under half a bell,
$A(h, k) = \log \int_0^\infty e^{hc - kc^2/2}\,dc$: the evidence for a connection is a
difference of two of them, and the moments of its strength are its derivatives.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Float

# Half-normal, which has this mean and a mean square of one: what is thought of
# strengths before any data, with the weight of one connection.
STRENGTH = (0.0, 1.0)
HALF_NORMAL_MEAN = float(np.sqrt(2 / np.pi))


class Summary(NamedTuple):
    """Of a strength: log of the normaliser, mean, and mean square."""

    log_area: Array
    mean: Array
    square: Array


class Strength(NamedTuple):
    """Normal distributions cut off at zero: density ~ exp(linear c - precision c^2/2).

    Parameters
    ----------
    linear, precision
        Natural parameters, of any one shape.
    """

    linear: Array
    precision: Array

    def summary(self) -> Summary:
        """Return the normaliser and the first two moments."""
        width = jnp.sqrt(self.precision)
        scaled = self.linear / width
        # Computed once, not inlined wherever it is used.
        log_below = jax.lax.optimization_barrier(log_ndtr(scaled))
        log_width = 0.5 * np.log(2 * np.pi) - jnp.log(width)
        log_area = log_width + 0.5 * scaled**2 + log_below
        # Far in the tail the distribution is exponential, and the exact form cancels.
        tail = scaled < -25.0
        safe = jnp.where(tail, -25.0, scaled)
        excess = jnp.exp(-0.5 * safe**2 - log_below) / np.sqrt(2 * np.pi)
        far = 1 / jnp.where(tail, scaled, -25.0)
        mean = jnp.where(tail, -far + 2 * far**3, safe + excess)
        square = jnp.where(tail, 2 * far**2 - 10 * far**4, 1 + safe * (safe + excess))
        return Summary(log_area, mean / width, square / self.precision)


def learn_slab(
    strength: Strength,
    probability: Float[Array, "source connection state group"],
    slab: Strength,
) -> Strength:
    """Fit the prior of the strengths to their posteriors (Newton's method).

    Their log-likelihood is concave in the natural parameters: the gradient compares
    moments, and the curvature is their covariance.

    Parameters
    ----------
    strength : (source, basis, sign, state, group)
        Posteriors of the strengths.
    probability
        How likely each kind is.
    slab : (basis, sign)
        Where to begin.
    """
    _, mean, square = strength.summary()
    signed = probability[:, ::2]
    n = signed.sum((0, 2, 3))[None] + 1.0
    first = ((signed[:, None] * mean).sum((0, 3, 4)) + HALF_NORMAL_MEAN) / n
    second = ((signed[:, None] * square).sum((0, 3, 4)) + 1.0) / n

    def climb(_, slab: Strength) -> Strength:
        linear, precision = slab
        _, m1, m2 = slab.summary()
        m3 = (linear * m2 + 2 * m1) / precision
        m4 = (linear * m3 + 3 * m2) / precision
        # Slope and curvature by (linear, -precision / 2).
        s1, s2 = first - m1, second - m2
        c11, c12, c22 = m2 - m1**2, m3 - m1 * m2, m4 - m2**2
        determinant = jnp.maximum(c11 * c22 - c12**2, 1e-6 * c11 * c22)
        step1 = (c22 * s1 - c12 * s2) / determinant
        step2 = -2 * (c11 * s2 - c12 * s1) / determinant
        # No more than halving or doubling the precision at once.
        size = jnp.minimum(1.0, 0.5 * precision / jnp.maximum(jnp.abs(step2), 1e-30))
        moved = precision + size * step2
        moved = jnp.clip(moved, 0.05 / second, 400 / second)
        return Strength(jnp.maximum(linear + size * step1, -6 * jnp.sqrt(moved)), moved)

    return jax.lax.fori_loop(0, 20, climb, slab)
