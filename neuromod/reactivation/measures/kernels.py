r"""Kernel densities of positions, in the plane and on the circle.

A kernel density is the mean of one kernel around each point,

$$
\hat p(x) = \frac1n \sum_i K(x - x_i) .
$$

In the plane the kernel is Gaussian, with Scott's factor $n^{-1/(d+4)}$ times the
covariance of the points.

On a circle the kernel is a von Mises density $\propto e^{\kappa\cos(\theta-\theta_i)}$
with $\kappa = 1/h^2$: that is the Gaussian kernel of width $h$ on the embedded points
$(\cos\theta, \sin\theta)$, restricted to the circle and normalised there. $h$ is
Scott's factor times the circular standard deviation $\sqrt{-2 \log R}$ ($R$ the length
of the mean vector), or $\pi/\sqrt 3$, that of the uniform density, if it is less. So
nothing depends on where the circle was cut. Several angles have a product of kernels.
"""

from collections.abc import Callable

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import i0e

from neuromod.core.errors import invalid

CHUNK = 2**22


class GaussianKernels:
    """A Gaussian kernel density of points (point, space), with Scott's factor."""

    def __init__(self, points: np.ndarray):
        n_points, n_dimensions = points.shape
        if not has_extent(points, periodic=False):
            raise _too_narrow()
        self.points = points
        self.factor = n_points ** (-1 / (n_dimensions + 4))
        covariance = np.atleast_2d(np.cov(points.T)) * self.factor**2
        self.root = np.linalg.cholesky(covariance)
        self.whitened = self._whiten(points)

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Return log densities (point,)."""
        n_points, n_dimensions = self.points.shape
        norm = n_dimensions * np.log(2 * np.pi) / 2 + np.log(np.diag(self.root)).sum()
        at, own = self._whiten(points), self.whitened
        far = (own**2).sum(axis=1) / 2

        def of_chunk(part):
            exponent = part @ own.T
            exponent -= far
            return _log_mean_exp(exponent) - (part**2).sum(axis=1) / 2

        return _in_chunks(of_chunk, at, n_points) - norm

    def draw(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        """Return draws (point, space)."""
        chosen = self.points[generator.integers(len(self.points), size=n_samples)]
        return chosen + generator.normal(size=chosen.shape) @ self.root.T

    def _whiten(self, points: np.ndarray) -> np.ndarray:
        """Return points whose kernels are round and have width 1, about the centre."""
        about = points - self.points.mean(axis=0)
        return solve_triangular(self.root, about.T, lower=True).T


class VonMisesKernels:
    """A kernel density of angles (point, space); the kernel is a von Mises density."""

    def __init__(self, points: np.ndarray):
        n_points, n_dimensions = points.shape
        self.points = points
        self.factor = n_points ** (-1 / (n_dimensions + 4))
        if not has_extent(points, periodic=True):
            raise _too_narrow()
        length = _resultant(points)
        largest = np.pi / np.sqrt(3)
        spread = np.sqrt(-2 * np.log(np.maximum(length, np.finfo(float).tiny)))
        self.concentration = (self.factor * np.minimum(spread, largest)) ** -2

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Return log densities (point,)."""
        weighted = _embedded(points) * np.tile(self.concentration, 2)
        own = _embedded(self.points)
        found = _in_chunks(lambda part: _log_mean_exp(part @ own.T), weighted, len(own))
        norm = np.log(2 * np.pi * i0e(self.concentration)) + self.concentration
        return found - norm.sum()

    def draw(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        """Return draws (point, space)."""
        chosen = self.points[generator.integers(len(self.points), size=n_samples)]
        return generator.vonmises(chosen, self.concentration)


def has_extent(points: np.ndarray, periodic: bool) -> bool:
    """Tell whether points (point, space) spread in every direction."""
    if periodic:
        return bool((_resultant(points) <= 1 - 1e-12).all())
    if len(points) <= points.shape[1]:
        return False
    size = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(size[-1] > 1e-12 * max(size[0], np.abs(points).max(), 1e-300))


def _resultant(angles: np.ndarray) -> np.ndarray:
    """Return the length of the mean vector along each coordinate."""
    return np.abs(np.exp(1j * angles).mean(axis=0))


def _in_chunks(
    function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, n_columns: int
) -> np.ndarray:
    """Return a function of rows, taken so many at a time that its table is bounded."""
    size = max(1, CHUNK // n_columns)
    parts = [function(rows[i : i + size]) for i in range(0, len(rows), size)]
    return np.concatenate(parts)


def _log_mean_exp(exponent: np.ndarray) -> np.ndarray:
    """Return the logarithm of the mean of exponentials of each row; overwrites it."""
    largest = exponent.max(axis=1, keepdims=True)
    exponent -= largest
    return np.log(np.exp(exponent, out=exponent).mean(axis=1)) + largest[:, 0]


def _embedded(angles: np.ndarray) -> np.ndarray:
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def _too_narrow() -> Exception:
    return invalid(
        "positions",
        "points that do not spread in every direction",
        "a cloud with a density",
        "A frozen network has none: compare it by kl_histogram.",
    )
