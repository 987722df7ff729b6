r"""Exponential and logarithm as fast as the loops that call them.

A recurrent step waits for its exponential, and a likelihood takes a logarithm of every
time step. In float64 on a CPU, XLA's exponential is one long chain of dependent
multiplications and its logarithms are computed number by number. Here both are
polynomials whose parts do not wait for each other, on whole vectors:

- `exp`: $e^x = 2^n e^r$ with $|r| \le \log(2) / 2$, and the Taylor polynomial of $e^r$
  by Estrin's scheme. Where all else waits for it, it takes two thirds of the time.
- `log`: $\log(2^n m) = n \log 2 + 2 \operatorname{artanh}\big((m - 1) / (m + 1)\big)$,
  a third of the time.
- `log_sigmoid` by the same series, a quarter of the time; its slope needs the
  exponential that it has, and no other.

- `reciprocal` and `clip`, whose slopes do not divide.

They agree with the correctly rounded values to 4 in the last place. Other types take
jax's own functions. Whole numbers and their powers of two are told by the bits of a
sum with `ROUNDER`: processors have no conversion of vectors of 64 bits.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Numbers = Float[Array, "..."]

LOG2 = math.log(2)
# The upper part ends in 21 zero bits: its product with a whole number is exact.
LOG2_UPPER = 0.6931471803691238
LOG2_LOWER = 1.9082149292705877e-10
LARGEST, SMALLEST = 709.4, -708.0
TAYLOR = [1 / math.factorial(k) for k in range(14)]
MANTISSA_BITS, BIAS = 52, 1023
ROUNDER = 1.5 * 2.0**52  # a sum with it has whole numbers in its last bits
ROUNDER_BITS = 0x4338000000000000
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
ARTANH_TERMS = {"float32": 8, "float64": 16}  # for ratios up to 1/3
LOG_TERMS = 11  # for ratios up to 0.172


def exp(x: Any) -> Numbers:
    """Return the exponential; infinite from 709.4 on, 0 below -708.

    Examples
    --------
    >>> print(float(exp(0.0)))
    1.0
    """
    return _exp(jnp.asarray(x))


@jax.custom_jvp
@jax.jit
def _exp(x):
    if x.dtype != jnp.float64:
        return jnp.exp(x)
    n = lax.round(x * (1 / LOG2), lax.RoundingMethod.TO_NEAREST_EVEN)
    r = (x - n * LOG2_UPPER) - n * LOG2_LOWER
    grown = _taylor(r) * _power_of_two(n)
    return jnp.where(x > LARGEST, jnp.inf, jnp.where(x < SMALLEST, 0.0, grown))


@_exp.defjvp
def _exp_slope(primals, tangents):
    found = _exp(primals[0])
    return found, found * tangents[0]


def _taylor(r):
    square = r * r
    fourth = square * square
    pairs = [TAYLOR[k] + TAYLOR[k + 1] * r for k in range(0, 14, 2)]
    low = (pairs[0] + pairs[1] * square) + (pairs[2] + pairs[3] * square) * fourth
    high = (pairs[4] + pairs[5] * square) + pairs[6] * fourth
    return low + high * (fourth * fourth)


def _power_of_two(n):
    whole = lax.bitcast_convert_type(n + (ROUNDER + BIAS), jnp.int64)
    return lax.bitcast_convert_type(whole << MANTISSA_BITS, jnp.float64)


def log(x: Any) -> Numbers:
    """Return the natural logarithm; of numbers below the least normal one, that of 0.

    Examples
    --------
    >>> print(float(log(1.0)), float(log(0.0)), float(log(-1.0)))
    0.0 -inf nan
    """
    return _log(jnp.asarray(x))


@jax.custom_jvp
@jax.jit
def _log(x):
    if x.dtype != jnp.float64:
        return jnp.log(x)
    bits = lax.bitcast_convert_type(x, jnp.int64)
    # The mantissa lies around 1, between the square roots of 1/2 and 2; the exponent
    # is counted from -1024, to be positive.
    least = SQRT_HALF_BITS - (1024 << MANTISSA_BITS)
    n = lax.shift_right_logical(bits - least, jnp.int64(MANTISSA_BITS))
    m = lax.bitcast_convert_type(bits - ((n - 1024) << MANTISSA_BITS), jnp.float64)
    n = lax.bitcast_convert_type(n + ROUNDER_BITS, jnp.float64) - (ROUNDER + 1024)
    series = _twice_artanh((m - 1) / (m + 1), LOG_TERMS)
    found = (series + n * LOG2_LOWER) + n * LOG2_UPPER
    normal = (x >= jnp.finfo(x.dtype).tiny) & (x < jnp.inf)
    special = jnp.where(x == jnp.inf, x, jnp.where(x >= 0, -jnp.inf, jnp.nan))
    return jnp.where(normal, found, special)


@_log.defjvp
def _log_slope(primals, tangents):
    return _log(primals[0]), tangents[0] / primals[0]


def _twice_artanh(ratio, n_terms):
    square = ratio * ratio
    series = jnp.full_like(square, 1 / (2 * n_terms + 1))
    for k in reversed(range(n_terms)):
        series = series * square + 1 / (2 * k + 1)
    return 2 * ratio * series


def reciprocal(x: Any) -> Numbers:
    """Return 1 / x.

    Examples
    --------
    >>> print(float(reciprocal(4.0)))
    0.25
    """
    return _reciprocal(jnp.asarray(x))


@jax.custom_jvp
def _reciprocal(x):
    return 1 / x


@_reciprocal.defjvp
def _reciprocal_slope(primals, tangents):
    found = _reciprocal(primals[0])
    return found, -found * found * tangents[0]


def clip(x: Numbers, least: Any = None, most: Any = None) -> Numbers:
    """Return numbers no smaller and no larger than these; NaN stays.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> print(clip(jnp.array([-1.0, 0.5, 3.0]), 0.0, 1.0))
    [0.  0.5 1. ]
    """
    if least is not None:
        x = jnp.where(x < least, least, x)
    return x if most is None else jnp.where(x > most, most, x)


def sigmoid(x: Any) -> Numbers:
    """Return the logistic function, 1 / (1 + exp(-x)).

    Examples
    --------
    >>> print(float(sigmoid(0.0)))
    0.5
    """
    return _sigmoid(jnp.asarray(x))


@jax.custom_jvp
@jax.jit
def _sigmoid(x):
    return _reciprocal(1 + _exp(-x))


@_sigmoid.defjvp
def _sigmoid_slope(primals, tangents):
    found = _sigmoid(primals[0])
    return found, found * (1 - found) * tangents[0]


def log_sigmoid(x: Any) -> Numbers:
    """Return the logarithm of the logistic function.

    Examples
    --------
    >>> print(float(log_sigmoid(-1000.0)))
    -1000.0
    """
    return -softplus(-jnp.asarray(x))


def softplus(x: Any) -> Numbers:
    """Return log(1 + exp(x)).

    Examples
    --------
    >>> print(float(softplus(1000.0)))
    1000.0
    """
    return _softplus(jnp.asarray(x))


@jax.custom_jvp
@jax.jit
def _softplus(x):
    small = _exp(-jnp.abs(x))
    rest = _twice_artanh(small / (2 + small), ARTANH_TERMS[str(x.dtype)])
    return jnp.maximum(x, 0) + rest


@_softplus.defjvp
def _softplus_slope(primals, tangents):
    (x,) = primals
    small = _exp(-jnp.abs(x))
    slope = jnp.where(x >= 0, 1, small) * _reciprocal(1 + small)
    return _softplus(x), slope * tangents[0]
