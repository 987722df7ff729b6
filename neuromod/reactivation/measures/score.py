"""The score of a cloud of points: the gradient of the logarithm of their density."""

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from neuromod.core.dimensions import require_positive
from neuromod.core.errors import invalid

CHUNK = 2**22


def kernel_score(
    points: np.ndarray, at: np.ndarray, *, bandwidth: float | None = None
) -> np.ndarray:
    r"""Return the gradient of the log of a Gaussian kernel density.

    With kernels of covariance $H = w^2 \Sigma$ ($\Sigma$ that of the points) it is the
    way to the mean of the points nearby,

    $$
    \nabla\log\hat p(z) = H^{-1} \Big(\sum_i \omega_i(z)\, z_i - z\Big), \qquad
    \omega_i(z) \propto e^{-\frac12 (z - z_i)^\top H^{-1} (z - z_i)} .
    $$

    Parameters
    ----------
    points : (point, latent)
        Under the density.
    at : (sample, latent)
        Where it is wanted.
    bandwidth
        The factor $w$; None for $(4/(d+4))^{1/(d+6)}\, n^{-1/(d+6)}$, the best for the
        gradient of a normal density (Chacón, Duong & Wand, Statistica Sinica 2011).

    Returns
    -------
    (sample, latent)

    Examples
    --------
    >>> kernel_score(np.array([[-1.0], [1.0]]), np.array([[0.0], [9.0]]), bandwidth=0.5)
    array([[  0.],
           [-16.]])
    """
    n_points, n = points.shape
    if bandwidth is None:
        bandwidth = (4 / (n + 4)) ** (1 / (n + 6)) * n_points ** (-1 / (n + 6))
    width = require_positive(bandwidth, "bandwidth") * _spread(points)
    near, here = (solve_triangular(width, x.T, lower=True).T for x in (points, at))
    size = max(1, CHUNK // n_points)
    parts = [_towards(near, here[i : i + size]) for i in range(0, len(here), size)]
    return solve_triangular(width.T, np.concatenate(parts).T).T


def gaussian_score(points: np.ndarray, at: np.ndarray) -> np.ndarray:
    r"""Return the gradient of the log of a Gaussian density.

    $-\Sigma^{-1} (z - \bar z)$ with the mean and covariance of the points.

    Parameters
    ----------
    points : (point, latent)
        What mean and covariance are taken from.
    at : (sample, latent)
        Where it is wanted.

    Returns
    -------
    (sample, latent)

    Examples
    --------
    >>> gaussian_score(np.array([[1.0], [3.0]]), np.array([[2.0], [4.0]]))
    array([[-0.],
           [-1.]])
    """
    about = at - points.mean(axis=0)
    return -cho_solve((_spread(points), True), about.T).T


def _spread(points: np.ndarray) -> np.ndarray:
    """Return the lower triangle whose square is the covariance of points."""
    try:
        return np.linalg.cholesky(np.atleast_2d(np.cov(points.T)))
    except np.linalg.LinAlgError as error:
        raise invalid(
            "awake",
            f"states that do not spread in {points.shape[1]} directions",
            "a cloud with a density",
            "Use fewer components.",
        ) from error


def _towards(points: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the way to the mean of the points nearby, all in widths of the kernel."""
    log_weight = at @ points.T - (points**2).sum(axis=1) / 2
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    return weight @ points / weight.sum(axis=1, keepdims=True) - at
