r"""Who leads whom: transfer entropy, and the lag of the greatest correlation.

The transfer entropy from $x$ to $y$ is what the past of $x$ adds to what the past of
$y$ says of its next value,

$$
T_{x \to y} = H(y_t \mid y_{t-1 \ldots t-k}) - H(y_t \mid y_{t-1 \ldots t-k},
x_{t-1 \ldots t-k}) ,
$$

in nats (Schreiber, PRL 2000). Of Gaussian series it is half the log ratio of the
residual variances of two regressions (Barnett et al., PRL 2009); of symbols it is
counted. Finite data bias it upwards: the mean over shuffled sources is what it would be
without any influence.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, choice, invalid

Series = Float[np.ndarray, " time"] | Int[np.ndarray, " time"]


class Transfer(NamedTuple):
    """A transfer entropy.

    Parameters
    ----------
    value
        In nats, as it is.
    surrogate_mean
        Mean over shuffled sources.
    p_value
        Share of shuffled sources (and this one) that reach the value.
    """

    value: float
    surrogate_mean: float
    p_value: float

    @property
    def corrected(self) -> float:
        """The value above that of shuffled sources."""
        return self.value - self.surrogate_mean


def transfer_entropy(
    source: Series,
    target: Series,
    *,
    seed: int,
    n_past: int = 1,
    kind: Literal["gaussian", "symbols"] = "gaussian",
    n_surrogates: int = 200,
) -> Transfer:
    """Return how much a series tells of the next value of another.

    Parameters
    ----------
    source, target : (time,)
        Numbers, or whole numbers of symbols.
    seed
        Of the shuffles: the source is shifted in a circle by a random lag.
    n_past
        Past steps of both that count.
    kind
        "gaussian" for numbers, "symbols" for symbols.
    n_surrogates
        Shuffled sources.

    Raises
    ------
    ShapeError
        If the series are not equally long.
    InvalidInputError
        If they are too short, constant, or not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=2000)
    >>> y = np.append(0, x[:-1]) + rng.normal(size=2000)
    >>> forth, back = (transfer_entropy(*both, seed=0) for both in ((x, y), (y, x)))
    >>> round(forth.corrected, 1), back.corrected < 0.01
    (0.3, True)
    """
    choice("kind", kind, ("gaussian", "symbols"))
    n_past = require_integer(n_past, "n_past")
    n_surrogates = require_integer(n_surrogates, "n_surrogates")
    x, y = (np.asarray(series) for series in (source, target))
    if x.ndim != 1 or x.shape != y.shape:
        got = f"shapes {x.shape} and {y.shape}"
        raise invalid("source, target", got, "two equally long series", kind=ShapeError)
    if len(x) < 20 * n_past:
        raise invalid("source", f"{len(x)} steps", f"at least {20 * n_past}")
    for name, series in (("source", x), ("target", y)):
        if not np.isfinite(series).all() or np.ptp(series) == 0:
            raise invalid(name, "a constant or missing values", "numbers that vary")
    measure = _gaussian if kind == "gaussian" else _counted
    value = measure(x, y, n_past)
    rng = np.random.default_rng(require_integer(seed, "seed", minimum=0))
    least = 5 * n_past
    shifts = rng.integers(least, len(x) - least, n_surrogates)
    found = np.array([measure(np.roll(x, shift), y, n_past) for shift in shifts])
    p_value = (1 + (found >= value).sum()) / (1 + n_surrogates)
    return Transfer(value, float(found.mean()), float(p_value))


def _past(series: np.ndarray, n_past: int) -> np.ndarray:
    """Return the past steps (time, step) of every value that has so many."""
    n = len(series)
    return np.stack([series[n_past - k : n - k] for k in range(1, n_past + 1)], axis=1)


def _gaussian(x: np.ndarray, y: np.ndarray, n_past: int) -> float:
    now, own = y[n_past:].astype(float), _past(y, n_past).astype(float)
    ones = np.ones((len(now), 1))
    alone = np.hstack([ones, own])
    both = np.hstack([alone, _past(x, n_past)])
    spread = [
        np.square(now - design @ np.linalg.lstsq(design, now, rcond=None)[0]).mean()
        for design in (alone, both)
    ]
    return float(0.5 * np.log(spread[0] / spread[1]))


def _counted(x: np.ndarray, y: np.ndarray, n_past: int) -> float:
    now, own, others = y[n_past:, None], _past(y, n_past), _past(x, n_past)

    def entropy(*columns: np.ndarray) -> float:
        counts = np.unique(np.hstack(columns), axis=0, return_counts=True)[1]
        p = counts / counts.sum()
        return float(-(p * np.log(p)).sum())

    alone = entropy(now, own) - entropy(own)
    return alone - (entropy(now, own, others) - entropy(own, others))


def lead(source: Series, target: Series, *, max_lag: int) -> tuple[int, float]:
    """Return by how many steps a series goes ahead of another, and how alike they are.

    Parameters
    ----------
    source, target : (time,)
        The series.
    max_lag
        Greatest lag that is tried, in steps.

    Returns
    -------
    lag : int
        Positive if the source leads.
    correlation : float
        Of greatest size, at that lag.

    Examples
    --------
    >>> wave = np.sin(np.arange(200) / 7)
    >>> lag, correlation = lead(wave[5:], wave[:-5], max_lag=10)
    >>> lag, round(correlation, 3)
    (5, 1.0)
    """
    x, y = (np.asarray(series, float) for series in (source, target))
    max_lag = require_integer(max_lag, "max_lag", minimum=0)
    if x.ndim != 1 or x.shape != y.shape:
        got = f"shapes {x.shape} and {y.shape}"
        raise invalid("source, target", got, "two equally long series", kind=ShapeError)
    if len(x) < max_lag + 3:
        raise invalid("max_lag", max_lag, f"less than the {len(x)} steps by 3")
    lags = np.arange(-max_lag, max_lag + 1)
    found = [
        np.corrcoef(
            x[max(0, -k) : len(x) - max(0, k)], y[max(0, k) : len(y) + min(0, k)]
        )
        for k in lags
    ]
    correlations = np.array([matrix[0, 1] for matrix in found])
    best = int(np.argmax(np.abs(correlations)))
    return int(lags[best]), float(correlations[best])


def _correlation(x: np.ndarray, y: np.ndarray, lag: int) -> float:
    """Return the correlation of x with what y is some steps later."""
    if lag < 0:
        return _correlation(y, x, -lag)
    return float(np.corrcoef(x[: len(x) - lag], y[lag:])[0, 1])
