"""Small symmetric matrices, written out so that XLA folds them into a loop.

A Kalman filter multiplies and inverts matrices of a few rows in every bin. A call to
LAPACK or of a matrix product costs far more there than the arithmetic, and keeps XLA
from compiling the loop into one kernel. Up to `FEW` rows everything is therefore
written out: products as sums, and ``S X = B`` by the factors ``S = L D L'`` (L unit
lower triangular, D the diagonal of the pivots)::

    d_j  = S_jj - sum_{k<j} L_jk^2 d_k
    L_ij = (S_ij - sum_{k<j} L_ik L_jk d_k) / d_j

A covariance may be singular: a state that is known exactly, two channels that tell the
same. Its pivots are then 0, or rounding of either sign. They are kept above that
rounding, ``n eps S_jj``, as if so much variance were there: what is divided by them is
rounding too, and nothing becomes infinite or NaN.
"""

import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float

# Up to here the written-out forms are faster inside a loop on a CPU.
FEW = 8
EXACT = lax.Precision.HIGHEST

Square = Float[Array, "row row"]


def product(left: Array, *others: Array) -> Array:
    """Multiply matrices from the left on; the last factor may be a vector."""
    for right in others:
        left = _multiply(left, right)
    return left


def _multiply(left: Array, right: Array) -> Array:
    if max(left.shape + right.shape) > FEW:
        return jnp.matmul(left, right, precision=EXACT)
    if right.ndim == 1:
        return jnp.sum(left * right[None, :], axis=1)
    return jnp.sum(left[:, :, None] * right[None, :, :], axis=1)


def residual_covariance(
    remain: Array, covariance: Array, gain: Array, noise: Array
) -> Array:
    """Return (1 - K H) P (1 - K H)' + K R K', what an observation leaves uncertain.

    The sum rounds in proportion to P, and where it is far smaller could lose its sign:
    that much is added.
    """
    rounding = len(covariance) * jnp.finfo(covariance.dtype).eps
    lost = jnp.diag(rounding * jnp.diagonal(covariance))
    return congruence(remain, covariance) + congruence(gain, noise) + lost


def congruence(matrix: Array, covariance: Array) -> Array:
    """Return A C A', symmetric to the last digit."""
    return symmetric(product(matrix, covariance, matrix.T))


def symmetric(matrix: Array) -> Array:
    """Return the symmetric part of a matrix, or of each of an array of them."""
    return (matrix + jnp.swapaxes(matrix, -1, -2)) / 2


def identity_like(matrix: Square) -> Square:
    """Return the identity matrix of the same size and type."""
    return jnp.eye(len(matrix), dtype=matrix.dtype)


def solve(
    covariance: Square, right: Float[Array, "row column"]
) -> tuple[Float[Array, "row column"], Float[Array, ""]]:
    """Return X of S X = B, and log det S."""
    if len(covariance) > FEW:
        triangle = lax.linalg.cholesky(covariance + jnp.diag(_floor(covariance)))
        log_determinant = 2 * jnp.sum(jnp.log(jnp.diagonal(triangle)))
        return cho_solve((triangle, True), right), log_determinant
    lower, pivots = _factorise(covariance)
    n, rows = len(pivots), list(right)
    for i in range(n):
        for k in range(i):
            rows[i] = rows[i] - lower[i][k] * rows[k]
    rows = [row / pivot for row, pivot in zip(rows, pivots, strict=True)]
    for i in reversed(range(n)):
        for k in range(i + 1, n):
            rows[i] = rows[i] - lower[k][i] * rows[k]
    return jnp.stack(rows), jnp.sum(jnp.log(jnp.stack(pivots)))


def root(covariance: Square) -> Square:
    """Return A with A A' = C, which turns independent noise into noise of C."""
    floor = _floor(covariance)
    if len(covariance) > FEW:
        triangle = lax.linalg.cholesky(covariance + jnp.diag(floor))
        known = jnp.diagonal(covariance) <= 0
        return jnp.where(known[:, None], 0.0, triangle)
    lower, pivots = _factorise(covariance)
    lower, pivots = jnp.stack([jnp.stack(row) for row in lower]), jnp.stack(pivots)
    return lower * jnp.where(pivots > floor, jnp.sqrt(pivots), 0.0)[None, :]


def _factorise(covariance: Square) -> tuple[list[list[Array]], list[Array]]:
    """Return L and D as numbers: sliced arrays would not be folded as well."""
    n, floor = len(covariance), _floor(covariance)
    zero, one = jnp.zeros_like(floor[0]), jnp.ones_like(floor[0])
    lower = [[one if i == j else zero for j in range(n)] for i in range(n)]
    pivots = []
    for j in range(n):
        for i in range(j, n):
            rest = covariance[i, j]
            for k in range(j):
                rest = rest - lower[i][k] * lower[j][k] * pivots[k]
            if i == j:
                pivots.append(jnp.maximum(rest, floor[j]))
            else:
                lower[i][j] = rest / pivots[j]
    return lower, pivots


def _floor(covariance: Square) -> Float[Array, " row"]:
    """Return what a pivot may not fall below: rounding, and 1 unit of it for a 0."""
    scale = lax.stop_gradient(jnp.diagonal(covariance))
    scale = jnp.where(scale > 0, scale, 1.0)
    return len(covariance) * jnp.finfo(covariance.dtype).eps * scale
