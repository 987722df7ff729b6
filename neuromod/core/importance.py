r"""Importance sampling whose largest weights are smoothed, and a sign of its failure.

Draws from one distribution stand for another when they are weighted by the ratio of
the two densities. If the draws are narrower than what they stand for, a few of them
have huge ratios, and a mean is as good as those few. But the upper tail of almost any
ratios is close to a generalised Pareto distribution, whose distribution function is

$$
F(x) = 1 - \left(1 + \frac{k x}{\sigma}\right)^{-1/k}
$$

for what exceeds the threshold by $x$. So the largest ratios are replaced by quantiles
of the one that fits them best. Its shape $k$ is at the same time the diagnosis: ratios
have moments up to order $1/k$, and where $k$ is large no feasible number of draws will
do.

References
----------
Vehtari, Simpson, Gelman, Yao & Gabry (2024), J. Mach. Learn. Res. 25(72): smoothing.
Zhang & Stephens (2009), Technometrics 51: the fit of the tail.
"""

import numpy as np
from scipy.special import logsumexp

SMALLEST_TAIL = 5
MINIMUM_DRAWS = 5 * SMALLEST_TAIL  # the tail is a fifth of them
# Smaller ratios (logarithm, relative to the largest) underflow when they are inverted.
SMALLEST_LOG_RATIO = -600.0


def largest_shape(n_draws: int) -> float:
    r"""Return the shape up to which so many draws are enough.

    Notes
    -----
    Vehtari et al. (2024): $\min(1 - 1 / \log_{10} S,\ 0.7)$.

    Examples
    --------
    >>> largest_shape(4000), round(largest_shape(400), 2)
    (0.7, 0.62)
    """
    return float(min(1 - 1 / np.log10(n_draws), 0.7))


def pareto_smooth(
    log_ratios: np.ndarray, *, relative_efficiency: float = 1.0
) -> tuple[np.ndarray, float]:
    r"""Tame the largest importance ratios; tell how heavy their tail is.

    Parameters
    ----------
    log_ratios : (draw,)
        Logarithms of the ratios, finite; a constant may be missing. At least 25.

    Other Parameters
    ----------------
    relative_efficiency
        Effective number of draws per draw.

    Returns
    -------
    log_weights : (draw,)
        Logarithms of weights that sum to one.
    shape
        The shape $k$ of the tail.

    Notes
    -----
    Vehtari et al. (2024), algorithm 1: the tail are the $\min(S/5, 3\sqrt{S/r})$
    largest; $k$ is drawn towards 1/2 with the weight of ten draws. A shape of -inf
    belongs to ratios without a tail (the largest are all equal), inf to a tail of
    fewer than five draws, which is left as it is.

    Examples
    --------
    >>> ranks = (np.arange(1000) + 0.5) / 1000
    >>> log_weights, shape = pareto_smooth(-0.4 * np.log(ranks))
    >>> round(shape, 1), round(float(np.exp(log_weights).sum()), 6)
    (0.4, 1.0)
    """
    log_weights = log_ratios - log_ratios.max()
    order = np.argsort(log_weights, kind="stable")
    ranked, n_draws = log_weights[order], len(log_weights)
    n_tail = int(np.ceil(min(n_draws / 5, 3 * np.sqrt(n_draws / relative_efficiency))))
    cutoff = max(ranked[-n_tail - 1], SMALLEST_LOG_RATIO)
    tail = order[np.searchsorted(ranked, cutoff, side="right") :]
    if len(tail) < SMALLEST_TAIL:
        shape = np.inf if len(tail) else -np.inf
    else:
        exceedances = np.exp(log_weights[tail]) - np.exp(cutoff)
        shape, scale = fit_generalised_pareto(exceedances)
        shape = (len(tail) * shape + 10 * 0.5) / (len(tail) + 10)
        ranks = (np.arange(len(tail)) + 0.5) / len(tail)
        smooth = np.exp(cutoff) + _pareto_quantiles(ranks, shape, scale)
        # None larger than the largest that was drawn.
        log_weights[tail] = np.log(np.minimum(smooth, 1))
    return log_weights - logsumexp(log_weights), float(shape)


def fit_generalised_pareto(exceedances: np.ndarray) -> tuple[float, float]:
    r"""Estimate the generalised Pareto distribution of what lies above a threshold.

    Its distribution function is $1 - (1 + k x / \sigma)^{-1/k}$.

    Parameters
    ----------
    exceedances : (draw,)
        Positive numbers in ascending order; at least five.

    Returns
    -------
    shape
        $k$: positive if the tail falls as a power.
    scale
        $\sigma$, in the unit of the exceedances.

    Notes
    -----
    Zhang & Stephens (2009): the mean of $\theta = -k / \sigma$ under its profile
    likelihood and a prior from the data; its grid has $30 + \sqrt n$ points as in
    Vehtari et al. (2024).

    Examples
    --------
    >>> ranks = (np.arange(1000) + 0.5) / 1000
    >>> exponential = -np.log1p(-ranks)
    >>> np.round(fit_generalised_pareto(exponential), 2).tolist()
    [0.0, 1.0]
    """
    n = len(exceedances)
    n_grid = 30 + int(np.sqrt(n))
    quartile = exceedances[int(n / 4 + 0.5) - 1]
    ranks = np.arange(n_grid) + 0.5
    grid = 1 / exceedances[-1] + (1 - np.sqrt(n_grid / ranks)) / (3 * quartile)
    shapes, scales = _profile(grid[:, np.newaxis], exceedances)
    log_likelihood = -n * (np.log(scales) + shapes + 1)
    weights = np.exp(log_likelihood - logsumexp(log_likelihood))
    shape, scale = _profile(weights @ grid, exceedances)
    return float(shape), float(scale)


def _profile(
    theta: np.ndarray, exceedances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the most likely shape and scale for each -shape / scale."""
    shape = np.log1p(-theta * exceedances).mean(axis=-1)
    theta = np.broadcast_to(theta.squeeze(), shape.shape)
    exponential = np.full_like(shape, exceedances.mean())  # the limit
    return shape, np.divide(-shape, theta, out=exponential, where=theta != 0)


def _pareto_quantiles(ranks: np.ndarray, shape: float, scale: float) -> np.ndarray:
    exponential = -np.log1p(-ranks)
    if shape == 0:
        return scale * exponential
    with np.errstate(over="ignore"):  # cut off by the caller
        return scale * np.expm1(shape * exponential) / shape
