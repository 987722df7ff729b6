r"""How far the density of positions asleep is from the one awake.

The divergence of the quiescent density $p$ from the awake reference $q$,

$$
\mathrm{KL}(p \,\|\, q) = \mathbb{E}_{x \sim p} \log \frac{p(x)}{q(x)} \quad
\text{(nats)},
$$

is estimated in two ways. `kl_kde` smooths both with Gaussian kernels (Scott's factor
$n^{-1/(d+4)}$ times the covariance of the data) and averages the log ratio over draws
from $p$, each ratio cut to $[10^{-7}, 10^{7}]$ (Krishna et al., ICLR 2024). Its tails
are heavy: a few draws where $q$ is nearly nothing decide. `kl_histogram` compares
shares $p_b, q_b$ of the bins of a grid, each with a little $\epsilon$ added,

$$
\mathrm{KL} = \sum_b \tilde p_b \log \frac{\tilde p_b}{\tilde q_b}, \qquad
\tilde p_b = \frac{p_b + \epsilon}{\sum_c (p_c + \epsilon)} ,
$$

and is the steadier number.

A reference is only as good as it is stationary: see `require_stationary`.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import ShapeError, invalid
from neuromod.reactivation.measures.kernels import (
    GaussianKernels,
    VonMisesKernels,
    has_extent,
)
from neuromod.reactivation.measures.positions import (
    inside,
    pooled,
    require_bounds,
    require_pair,
    require_positions,
    subsample,
)

LARGEST_RATIO = 1e7


class Density(Protocol):
    """What a divergence needs: log densities of points (point, space), and draws."""

    def log_density(self, points: np.ndarray) -> np.ndarray: ...  # noqa: D102
    def draw(self, n_samples: int, generator: np.random.Generator) -> np.ndarray: ...  # noqa: D102


class Uniform(NamedTuple):
    r"""The uniform density over an arena, $1/\prod_d (b_d - a_d)$.

    In the place of quiescent positions it gives the divergence of pure chance.

    Parameters
    ----------
    bounds : (space, 2)
        Lowest and highest value of each coordinate.

    Examples
    --------
    >>> Uniform([[0, 2], [0, 2]]).log_density(np.array([[1.0, 1.0], [3.0, 1.0]]))
    array([-1.38629436,        -inf])
    """

    bounds: Any

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Return log densities (point,)."""
        low, high = require_bounds(self.bounds, points.shape[-1]).T
        within = ((points >= low) & (points <= high)).all(axis=-1)
        return np.where(within, -np.log(high - low).sum(), -np.inf)

    def draw(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        """Return draws (point, space)."""
        low, high = np.asarray(self.bounds, dtype=float).T
        return generator.uniform(low, high, (n_samples, len(low)))


def kernel_density(positions: Any, *, periodic: bool = False) -> Density:
    """Return the kernel density of pooled positions.

    Parameters
    ----------
    positions : (trial, time, space)
        Positions (m), or angles (rad).
    periodic
        Whether they are angles.

    Raises
    ------
    InvalidInputError
        If they do not spread in every direction.

    Examples
    --------
    >>> angles = np.random.default_rng(0).vonmises(np.pi, 4.0, (20, 50, 1))
    >>> density = kernel_density(angles, periodic=True)
    >>> density.log_density(np.array([[-3.1], [3.1], [0.0]])).round(1)
    array([ -0.3,  -0.3, -11.7])
    """
    points = pooled(require_positions(positions))
    return VonMisesKernels(points) if periodic else GaussianKernels(points)


def monte_carlo_kl(
    samples: np.ndarray,
    density: Density,
    reference: Density,
    *,
    largest_ratio: float = LARGEST_RATIO,
) -> float:
    r"""Return the mean of $\log(p/q)$ over draws from $p$, each ratio cut.

    Parameters
    ----------
    samples : (point, space)
        Draws from ``density``.
    density, reference
        The densities $p$ and $q$.
    largest_ratio
        A ratio is cut to this value and to its inverse; infinity cuts nothing. Where
        the supports hardly overlap the cut, not the data, sets the number.
    """
    log_ratio = density.log_density(samples) - reference.log_density(samples)
    limit = np.log(largest_ratio)
    return float(np.clip(log_ratio, -limit, limit).mean())


def kl_kde(
    quiescent: Any,
    awake: Any,
    *,
    seed: int,
    periodic: bool = False,
    n_samples: int = 2500,
    max_points: int = 20_000,
    largest_ratio: float = LARGEST_RATIO,
) -> float:
    r"""Return $\mathrm{KL}(p\|q)$ (nats) between two kernel densities.

    Parameters
    ----------
    quiescent : (trial, time, space)
        Decoded positions asleep (m or rad), all pooled; or a `Uniform` density.
    awake : (trial, time, space)
        The reference, from stationary steps only.
    seed
        Of the draws and of the subsamples.

    Other Parameters
    ----------------
    periodic
        Whether positions are angles.
    n_samples
        Number of draws from $p$.
    max_points
        Most points under each density; of more a random part is taken.
    largest_ratio
        As for `monte_carlo_kl`.

    Raises
    ------
    InvalidInputError
        If numbers are missing, or positions do not spread in every direction.

    Examples
    --------
    >>> normal = np.random.default_rng(0).normal
    >>> p, q = normal(0, 1, (10, 400, 1)), normal(1, 1, (10, 400, 1))
    >>> abs(kl_kde(p, q, seed=0) - 0.5) < 0.1
    True
    """
    n_samples = require_integer(n_samples, "n_samples")
    max_points = require_integer(max_points, "max_points", minimum=2)
    if not largest_ratio > 1:
        raise invalid("largest_ratio", largest_ratio, "a number > 1")
    generator = np.random.default_rng(require_integer(seed, "seed", minimum=0))

    def smoothed(positions):
        points = subsample(pooled(positions), max_points, generator)
        return kernel_density(points[None], periodic=periodic)

    if isinstance(quiescent, Uniform):
        awake = require_positions(awake, "awake")
        require_bounds(quiescent.bounds, awake.shape[-1])
        density = quiescent
    else:
        quiescent, awake = require_pair(quiescent, awake)
        density = smoothed(quiescent)
    samples = density.draw(n_samples, generator)
    return monte_carlo_kl(
        samples, density, smoothed(awake), largest_ratio=largest_ratio
    )


def histogram(
    positions: Any, bounds: Any, *, n_bins: int = 11, argument: str = "positions"
) -> np.ndarray:
    """Return the share of positions in each bin of a grid over the arena.

    Parameters
    ----------
    positions : (trial, time, space)
        Positions, or a `Uniform` density over the same bounds.
    bounds : (space, 2)
        Lowest and highest value of each coordinate.
    n_bins
        Number of bins along each.
    argument
        What the positions are called in an error.

    Returns
    -------
    (n_bins, ...)
        One axis for each coordinate; sums to 1. The few samples outside the bounds
        count in the bins at the wall.

    Raises
    ------
    InvalidInputError
        If more than 5 % of the positions lie outside the bounds.

    Examples
    --------
    >>> histogram(np.array([[[0.1], [0.2], [0.9]]]), [[0, 1]], n_bins=2)
    array([0.66666667, 0.33333333])
    """
    n_bins = require_integer(n_bins, "n_bins")
    if isinstance(positions, Uniform):
        bounds = require_bounds(bounds, len(np.atleast_2d(bounds)))
        if not np.array_equal(bounds, np.asarray(positions.bounds, float)):
            raise invalid(argument, f"{positions}", f"the bounds {bounds.tolist()}")
        return np.full((n_bins,) * len(bounds), float(n_bins) ** -len(bounds))
    array = require_positions(positions, argument)
    bounds = require_bounds(bounds, array.shape[-1])
    points = inside(array, bounds, argument)
    counts, _ = np.histogramdd(points, bins=n_bins, range=[tuple(b) for b in bounds])
    return counts / counts.sum()


def histogram_kl(
    shares: np.ndarray, reference: np.ndarray, *, epsilon: float = 1e-4
) -> float:
    """Return the divergence (nats) of one histogram from another.

    Parameters
    ----------
    shares, reference : any shape, the same
        Shares of each bin.
    epsilon
        What is added to each share before both are normalised again.

    Examples
    --------
    >>> round(histogram_kl(np.array([1.0, 0.0]), np.array([0.5, 0.5])), 3)
    0.692
    """
    epsilon = require_positive(epsilon, "epsilon")
    if np.shape(shares) != np.shape(reference):
        raise invalid(
            "shares",
            f"shape {np.shape(shares)}",
            f"{np.shape(reference)}, as of the reference",
            kind=ShapeError,
        )
    p, q = (np.asarray(share) + epsilon for share in (shares, reference))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def kl_histogram(
    quiescent: Any,
    awake: Any,
    bounds: Any,
    *,
    n_bins: int = 11,
    epsilon: float = 1e-4,
) -> float:
    """Return the divergence (nats) between histograms of positions over the arena.

    Parameters
    ----------
    quiescent : (trial, time, space)
        Decoded positions asleep (m or rad), all pooled; or a `Uniform` density.
    awake : (trial, time, space)
        The reference, from stationary steps only.
    bounds : (space, 2)
        Lowest and highest value of each coordinate; of angles `CIRCLE`.

    Other Parameters
    ----------------
    n_bins
        Number of bins along each coordinate.
    epsilon
        What is added to each share; it bounds the number.

    Raises
    ------
    InvalidInputError
        If numbers are missing, or the arena is smaller than the positions.

    Examples
    --------
    >>> awake = np.random.default_rng(0).uniform(-1, 1, (10, 400, 2))
    >>> kl_histogram(awake, awake, [[-1, 1], [-1, 1]])
    0.0
    """
    shares = histogram(quiescent, bounds, n_bins=n_bins, argument="quiescent")
    reference = histogram(awake, bounds, n_bins=n_bins, argument="awake")
    return histogram_kl(shares, reference, epsilon=epsilon)


def has_density(positions: Any, *, periodic: bool = False) -> bool:
    """Tell whether pooled positions spread in every direction.

    Parameters
    ----------
    positions : (trial, time, space)
        Positions (m), or angles (rad).
    periodic
        Whether they are angles.

    Examples
    --------
    >>> has_density([[[0.0, 1.0], [0.5, 2.0], [1.0, 3.0]]])
    False
    """
    return has_extent(pooled(require_positions(positions)), periodic)
