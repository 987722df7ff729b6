r"""How strong a connection is, if it is there: normal distributions cut off at zero.

All of it rests on one function, the logarithm of the area under half a bell,
$A(h, k) = \log \int_0^\infty e^{hc - kc^2/2}\,dc$: the evidence for a connection is a
difference of two of them, and the moments of its strength are its derivatives.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev
from scipy import special

# Half-normal, which has this mean and a mean square of one: what is thought of
# strengths before any data, with the weight of one connection.
STRENGTH = (0.0, 1.0)
HALF_NORMAL_MEAN = math.sqrt(2 / math.pi)
ROOT_HALF = math.sqrt(0.5)
LOG_ROOT_2_PI = 0.5 * math.log(2 * math.pi)
# In standard deviations: where rounding takes more than the asymptotic series lacks.
FAR = {"float64": -60.0, "float32": -12.0}


def _log_scaled_erfc(y: np.ndarray) -> np.ndarray:
    """Return log(exp(x^2) erfc(x)) for x >= 0, bar the part that is not smooth in y."""
    near = (y + 1) / 2
    return np.log(special.erfcx(2 / near - 2) / near)


NODES = chebyshev.chebpts1(25)
SCALED_ERFC = [float(c) for c in chebyshev.chebfit(NODES, _log_scaled_erfc(NODES), 24)]


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
        cut = jnp.abs(scaled) * ROOT_HALF
        tail = _scaled_erfc(cut)
        bell = jnp.exp(-(cut**2))
        beyond = 0.5 * bell * tail
        positive = scaled > 0
        # Half of the scaled square cancels where most of the normal is cut off.
        log_area = jnp.where(positive, cut**2 + jnp.log1p(-beyond), jnp.log(0.5 * tail))
        log_area = log_area + LOG_ROOT_2_PI - jnp.log(width)
        ratio = jnp.where(positive, bell / (2 * (1 - beyond)), 1 / tail)
        excess = HALF_NORMAL_MEAN * ratio
        # Far in the tail the distribution is exponential, and the exact form cancels.
        border = FAR[str(scaled.dtype)]
        far = scaled < border
        inverse = 1 / jnp.where(far, scaled, border)
        mean = jnp.where(
            far, -inverse + 2 * inverse**3 - 10 * inverse**5, scaled + excess
        )
        square = 1 + scaled * (scaled + excess)
        tail_square = 2 * inverse**2 - 10 * inverse**4 + 74 * inverse**6
        square = jnp.where(far, tail_square, square)
        return Summary(log_area, mean / width, square / self.precision)


def _scaled_erfc(x: Array) -> Array:
    """Return exp(x^2) erfc(x) for x >= 0.

    One series for all x, where the general functions choose among several formulas and
    take four times as long to compile.
    """
    near = 2 / (2 + x)
    twice = 2 * (2 * near - 1)
    now = last = jnp.zeros_like(x)
    for coefficient in reversed(SCALED_ERFC[1:]):  # Clenshaw's recurrence
        now, last = coefficient + twice * now - last, now
    return near * jnp.exp(SCALED_ERFC[0] + 0.5 * twice * now - last)


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
