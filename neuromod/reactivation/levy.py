r"""Step sizes: do a few long jumps carry the path, or many small steps?

A path of light-tailed steps is Brownian at last, whatever they are. One whose steps
have a tail $p(s) \propto s^{-\gamma}$ with $\gamma < 3$ is a **Levy flight**: the
variance of a step does not exist, and jumps of all lengths mix. Three questions, on
the steps of any path:

- `fit_power_law`: the exponent $\gamma$ of the tail, by maximum likelihood. Where the
  tail begins, at $s_\min$, is where the fitted law and the data differ least (distance
  of Kolmogorov and Smirnov). With $n$ sizes in the tail,
  $\hat\gamma = 1 + n / \sum_i \log(s_i / s_\min)$, with a standard error of
  $(\hat\gamma - 1) / \sqrt n$ (Clauset, Shalizi & Newman, SIAM Review 2009). It is the
  exponent of the density; that of the survival function is $\gamma - 1$.
- `compare_tails`: an exponent can be fitted to anything. Whether the tail is a power
  law rather than exponential or log-normal is told by the ratio of their likelihoods
  in units of its own deviation (Vuong, Econometrica 1989).
- `fit_stable`: the index $\alpha$ of the stable law, which sums of such steps tend to.
  $\alpha = 2$ is Gaussian; below, $\gamma = \alpha + 1$. Its characteristic function
  tells $\alpha$ by a regression, where its density would be slow:

$$
\log \varphi(t) = i \delta t - |c t|^\alpha \big(1 + i \beta
  \tan\tfrac{\pi \alpha}{2}\, \mathrm{sign}(t)\, (|c t|^{1 - \alpha} - 1)\big),
  \qquad \log(-\log |\varphi(t)|^2) = \alpha \log |t| + \log 2 c^\alpha
$$

(Koutrouvelis, JASA 1980; on ten points $t = 0.1, \ldots, 1$ of standardised data,
Kogon & Williams 1998.) The parameters are those that scipy calls S0, in which location
and skewness do not jump at $\alpha = 1$.

Sizes of steps are lengths, and never negative; `fit_stable` wants signed steps along
one axis. On a torus, take steps of the unwrapped displacement.
"""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import optimize, stats

from neuromod.core import dimensions
from neuromod.core.errors import invalid

FREQUENCIES = np.arange(1, 11) / 10
STABLE = ("index", "skewness", "scale", "location")
FEWEST, MOST_BOUNDS = 50, 400


class Tail(NamedTuple):
    """What is at least ``smallest``, in ascending order, and its exponent."""

    sizes: np.ndarray
    smallest: float
    exponent: float
    distance: float


def fit_power_law(sizes: Any, *, smallest: float | None = None) -> xr.Dataset:
    r"""Fit a power law to the tail of step sizes.

    Parameters
    ----------
    sizes
        Lengths of steps, of any shape. Steps of length 0 are in no tail.
    smallest
        Where the tail begins; chosen by the distance of Kolmogorov and Smirnov if
        omitted, among up to 400 of the sizes, and with 50 sizes in the tail at least.

    Returns
    -------
    Dataset
        ``exponent`` $\gamma$ of the density and its ``standard_error`` (for a given
        ``smallest``), ``smallest``, ``n_tail`` and ``distance``.

    Raises
    ------
    InvalidInputError
        If a size is negative or not finite, or there are fewer than 50 in the tail.

    Examples
    --------
    >>> import numpy as np
    >>> sizes = np.random.default_rng(0).pareto(1.5, 2000) + 1
    >>> float(fit_power_law(sizes)["exponent"].round(1))
    2.5
    """
    tail = _tail(sizes, smallest)
    n_tail = len(tail.sizes)
    return xr.Dataset(
        {
            "exponent": tail.exponent,
            "standard_error": (tail.exponent - 1) / n_tail**0.5,
            "smallest": tail.smallest,
            "n_tail": n_tail,
            "distance": tail.distance,
        }
    )


def compare_tails(sizes: Any, *, smallest: float | None = None) -> xr.Dataset:
    """Compare a power law with lighter tails.

    Parameters
    ----------
    sizes, smallest
        As `fit_power_law` takes them.

    Returns
    -------
    Dataset
        For each ``model`` ("exponential", "lognormal"), from the same smallest size on:
        ``log_likelihood_ratio``, positive where the power law explains the tail
        better; ``normalised_ratio``, in units of its standard deviation; and
        ``p_value``, of a ratio as far from 0 if both were equally good. A log-normal
        of great width is a power law: it is hardly ever worse.

    Examples
    --------
    >>> import numpy as np
    >>> sizes = np.random.default_rng(0).pareto(1.5, 2000) + 1
    >>> found = compare_tails(sizes).sel(model="exponential")
    >>> bool(found["normalised_ratio"] > 3), bool(found["p_value"] < 0.01)
    (True, True)
    """
    tail = _tail(sizes, smallest)
    logs = np.log(tail.sizes / tail.smallest)
    power = np.log((tail.exponent - 1) / tail.smallest) - tail.exponent * logs
    rivals = {"exponential": _exponential(tail), "lognormal": _lognormal(tail)}
    ratios = np.stack([power - rival for rival in rivals.values()])
    total = ratios.sum(axis=1)
    normalised = total / (ratios.std(axis=1) * ratios.shape[1] ** 0.5)
    return xr.Dataset(
        {
            "log_likelihood_ratio": ("model", total),
            "normalised_ratio": ("model", normalised),
            "p_value": ("model", 2 * stats.norm.sf(np.abs(normalised))),
        },
        {"model": list(rivals)},
    )


def fit_stable(displacements: Any) -> xr.Dataset:
    r"""Fit a stable law to signed steps.

    Parameters
    ----------
    displacements
        Steps along one axis, of any shape.

    Returns
    -------
    Dataset
        ``estimate`` and ``standard_error`` (parameter) of "index" $\alpha$, in (0, 2],
        "skewness" $\beta$ (which means nothing at $\alpha = 2$), "scale" $c$ (at
        $\alpha = 2$ the standard deviation over $\sqrt 2$) and "location" $\delta$.
        Only index and scale have an error: that of the regression on independent
        steps, before $\alpha$ is brought into its range.

    Raises
    ------
    InvalidInputError
        If a step is not finite, there are fewer than 50, or most of them are equal.

    Examples
    --------
    >>> import numpy as np
    >>> drawn = np.random.default_rng(0).standard_cauchy(5000)
    >>> float(fit_stable(drawn)["estimate"].sel(parameter="index").round(1))
    1.0
    """
    values = _numbers(displacements, "displacements")
    low, centre, high = np.quantile(values, [0.28, 0.5, 0.72])
    scale = (high - low) / 1.654  # of every symmetric stable law, within 5 per cent
    if not scale > 0:
        raise invalid("displacements", "mostly one value", "steps that differ")
    for _ in range(2):  # at first the frequencies are those of a rough scale
        index, log_scale, errors = _fit_modulus((values - centre) / scale)
        scale = scale * np.exp(log_scale)
    skewness, location = _fit_argument((values - centre) / scale, min(index, 2.0))
    estimate = [min(index, 2.0), skewness, scale, centre + scale * location]
    error = [errors[0], np.nan, scale * errors[1], np.nan]
    return xr.Dataset(
        {"estimate": ("parameter", estimate), "standard_error": ("parameter", error)},
        {"parameter": list(STABLE)},
    )


def _fit_modulus(values: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return index and log scale, and the standard errors of both."""
    cosines, sines = _waves(values)
    real, imaginary = cosines.mean(axis=1), sines.mean(axis=1)
    power = real**2 + imaginary**2
    design = np.column_stack([np.log(FREQUENCIES), np.ones(len(FREQUENCIES))])
    solver = np.linalg.pinv(design)
    index, constant = solver @ np.log(-np.log(power))
    log_scale = (constant - np.log(2)) / index
    # What each value adds to the estimates, to first order, has their variance.
    weight = 2 / (power * np.log(power))
    moved = (weight * real)[:, None] * cosines + (weight * imaginary)[:, None] * sines
    influence = solver @ (moved - moved.mean(axis=1, keepdims=True))
    influence[1] = (influence[1] - log_scale * influence[0]) / index
    return index, log_scale, influence.std(axis=1) / len(values) ** 0.5


def _fit_argument(values: np.ndarray, index: float) -> tuple[float, float]:
    """Return skewness and location of values of scale 1."""
    cosines, sines = _waves(values)
    angle = np.arctan2(sines.mean(axis=1), cosines.mean(axis=1))
    t = FREQUENCIES
    if abs(index - 1) < 1e-6:
        skewed = -2 / np.pi * t * np.log(t)
    else:
        skewed = np.tan(np.pi * index / 2) * (t**index - t)
    location, skewness = np.linalg.lstsq(np.column_stack([t, skewed]), angle)[0]
    return float(np.clip(skewness, -1, 1)), float(location)


def _waves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cosine and sine (frequency, value)."""
    phase = FREQUENCIES[:, None] * values[None]
    return np.cos(phase), np.sin(phase)


def _tail(sizes: Any, smallest: float | None) -> Tail:
    found = np.sort(_numbers(sizes, "sizes"))
    if found[0] < 0:
        raise invalid(
            "sizes",
            f"the negative length {found[0]:.3g}",
            "lengths of steps",
            "Pass abs(steps), or the norm over space.",
        )
    found = found[found > 0]
    if smallest is not None:
        smallest = dimensions.require_positive(smallest, "smallest")
        return _fitted(_enough(found[found >= smallest]), smallest)
    bounds = np.unique(_enough(found)[: len(found) - FEWEST + 1])
    chosen = np.linspace(0, len(bounds) - 1, min(len(bounds), MOST_BOUNDS)).astype(int)
    tails = (_fitted(found[found >= bound], bound) for bound in bounds[chosen])
    return min(tails, key=lambda tail: tail.distance)


def _fitted(sizes: np.ndarray, smallest: float) -> Tail:
    logs = np.log(sizes / smallest)
    if not logs[-1] > 0:
        raise invalid("sizes", "a tail of one value", "steps that differ")
    rate = 1 / logs.mean()
    expected = -np.expm1(-rate * logs)
    ranks = np.arange(len(sizes) + 1) / len(sizes)
    distance = max((expected - ranks[:-1]).max(), (ranks[1:] - expected).max())
    return Tail(sizes, float(smallest), float(rate + 1), float(distance))


def _exponential(tail: Tail) -> np.ndarray:
    """Return the log density of each size under the best exponential tail."""
    above = tail.sizes - tail.smallest
    return -np.log(above.mean()) - above / above.mean()


def _lognormal(tail: Tail) -> np.ndarray:
    """Return the log density of each size under the best log-normal tail."""
    logs = np.log(tail.sizes / tail.smallest)
    first, second = logs.mean(), (logs**2).mean()

    def density(parameters, first, second):
        mean, width = parameters[0], np.exp(parameters[1])
        square = (second - 2 * mean * first + mean**2) / width**2
        normal = -square / 2 - np.log(width) - np.log(2 * np.pi) / 2
        return normal - stats.norm.logsf(-mean / width)

    start = [first, np.log(logs.std())]
    found = optimize.minimize(
        lambda p: -density(p, first, second), start, method="Nelder-Mead"
    )
    return density(found.x, logs, logs**2) - np.log(tail.sizes)


def _enough(sizes: np.ndarray) -> np.ndarray:
    if len(sizes) < FEWEST:
        raise invalid("sizes", f"{len(sizes)} in the tail", f"at least {FEWEST}")
    return sizes


def _numbers(values: Any, argument: str) -> np.ndarray:
    found = np.asarray(values)
    dimensions.require_real(found.dtype, argument)
    found = found.astype(float).ravel()
    dimensions.require_finite(found, argument)
    if len(found) < FEWEST:
        raise invalid(argument, f"{len(found)} of them", f"at least {FEWEST}")
    return found
