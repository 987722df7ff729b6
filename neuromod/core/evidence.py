r"""How well a fitted model would predict an observation that it has not seen.

From draws $\theta_s$ of the posterior given all observations $y$, and the
log-likelihood $\log p(y_i \mid \theta_s)$ of each of them. What is estimated is the
expected log predictive density of the observations, each left out in turn,

$$
\mathrm{elpd} = \sum_i \log p(y_i \mid y_{-i}) .
$$

*Leave-one-out* (`loo`) weights every draw by the importance ratio $r_{is} = 1 / p(y_i
\mid \theta_s)$, which takes observation $i$ back out of the posterior:

$$
\widehat{\mathrm{elpd}}_i = \log \frac{\sum_s w_{is}\, p(y_i \mid \theta_s)}
                                      {\sum_s w_{is}} .
$$

The weights are these ratios, the largest of them smoothed
(`neuromod.core.importance`); the shape $k$ of their tail tells whether that is enough.

The *widely applicable information criterion* (`waic`) subtracts instead what the fit
gained by having seen the observation,

$$
\widehat{\mathrm{elpd}}_i = \log \tfrac1S \sum_s p(y_i \mid \theta_s)
    - \mathrm{var}_s \log p(y_i \mid \theta_s) .
$$

It is faster and less robust. Either is a prediction of *left-out* observations only if
they are independent given $\theta$; one that shapes the prediction of later ones (an
input that beliefs are updated by) is not left out of these.

References
----------
Vehtari, Gelman & Gabry (2017), Stat. Comput. 27: leave-one-out, WAIC, comparison.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from neuromod.core.dimensions import require_positive, require_real
from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.core.importance import MINIMUM_DRAWS, largest_shape, pareto_smooth

if TYPE_CHECKING:
    import pandas as pd

SAMPLES = ("chain", "draw")
# Where the variance of the log-likelihood of one point makes WAIC unreliable.
LARGEST_WAIC_VARIANCE = 0.4


def loo(
    log_likelihood: xr.DataArray, *, relative_efficiency: float = 1.0
) -> xr.Dataset:
    """Estimate the log predictive density of each observation, had it been left out.

    Parameters
    ----------
    log_likelihood : (chain, draw, ...)
        Log-likelihood (nats) of every observation under every draw from the posterior
        given all. The other dimensions tell the observations apart, for example
        (trial) or (subject, trial); what is NaN in all draws was not observed.

    Other Parameters
    ----------------
    relative_efficiency
        Effective number of draws per draw; the less, the longer the tail that is
        smoothed.

    Returns
    -------
    Dataset
        ``elpd`` (nats), its ``standard_error`` over observations, the effective
        number of parameters ``p_effective`` and the number of observations whose
        estimate is ``n_unreliable``; of each observation ``elpd_pointwise``,
        ``p_effective_pointwise`` and ``pareto_k`` (...), NaN where there was none.
        The attributes hold the ``method``, ``n_draws`` and ``pareto_k_threshold``.

    Raises
    ------
    ShapeError
        If it is no DataArray with the dimensions ``chain`` and ``draw``.
    InvalidInputError
        If there are fewer than 25 draws or two observations, or a value is not finite
        (other than NaN in all draws).

    Warns
    -----
    UserWarning
        If ``pareto_k`` of an observation is above the threshold.

    Notes
    -----
    Vehtari, Gelman & Gabry (2017), equations 10 and 23; smoothing and threshold as
    in `neuromod.core.importance`.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> mean = 0.3 * generator.normal(size=(4, 500, 1))
    >>> log_likelihood = xr.DataArray(
    ...     -0.5 * (np.linspace(-1, 1, 10) - mean) ** 2, dims=("chain", "draw", "trial")
    ... )
    >>> found = loo(log_likelihood)
    >>> round(found["elpd"].item(), 2), round(found["pareto_k"].max().item(), 1)
    (-2.71, 0.3)
    """
    relative_efficiency = require_positive(relative_efficiency, "relative_efficiency")
    points = _points(log_likelihood)
    smoothed = [
        pareto_smooth(-draws, relative_efficiency=relative_efficiency)
        for draws in points.draws
    ]
    log_weights = np.array([log_weights for log_weights, _ in smoothed])
    shape = np.array([shape for _, shape in smoothed])
    elpd = np.asarray(logsumexp(log_weights + points.draws, axis=1))
    threshold = largest_shape(points.n_draws)
    found = _dataset(points, elpd, points.log_density() - elpd, shape > threshold)
    found["pareto_k"] = points.spread(shape)
    found.attrs |= {"method": "loo", "pareto_k_threshold": threshold}
    _warn_unreliable(
        found,
        "pareto_k",
        f"above {threshold:.2g}",
        "Fit again without them (an exact cross-validation), use a model that such "
        "outliers surprise less, or draw more.",
    )
    return found


def waic(log_likelihood: xr.DataArray) -> xr.Dataset:
    """Estimate the log predictive density by the widely applicable criterion.

    Parameters
    ----------
    log_likelihood : (chain, draw, ...)
        As for `loo`.

    Returns
    -------
    Dataset
        As from `loo`, without ``pareto_k``.

    Raises
    ------
    ShapeError, InvalidInputError
        As for `loo`.

    Warns
    -----
    UserWarning
        If ``p_effective_pointwise`` of an observation is above 0.4: `loo` is better
        then, and tells when it fails too.

    Notes
    -----
    Vehtari, Gelman & Gabry (2017), equations 11-13.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> mean = 0.3 * generator.normal(size=(4, 500, 1))
    >>> log_likelihood = xr.DataArray(
    ...     -0.5 * (np.linspace(-1, 1, 10) - mean) ** 2, dims=("chain", "draw", "trial")
    ... )
    >>> round(waic(log_likelihood)["elpd"].item(), 2)
    -2.71
    """
    points = _points(log_likelihood)
    variance = points.draws.var(axis=1, ddof=1)
    elpd = points.log_density() - variance
    found = _dataset(points, elpd, variance, variance > LARGEST_WAIC_VARIANCE)
    found.attrs["method"] = "waic"
    _warn_unreliable(
        found,
        "p_effective_pointwise",
        f"above {LARGEST_WAIC_VARIANCE}",
        "Use loo instead.",
    )
    return found


def compare(
    evidence: Mapping[str, xr.Dataset], *, reference: str | None = None
) -> "pd.DataFrame":
    """Put the predictive accuracy of models side by side, paired by observation.

    Parameters
    ----------
    evidence
        What `loo` (or `waic`) returned for each model, by its name.

    Other Parameters
    ----------------
    reference
        The row that differences are taken from; the best by default.

    Returns
    -------
    pandas.DataFrame
        One row per model, the best first: ``elpd`` and ``standard_error`` (nats),
        ``difference`` from the reference on the same observations with its
        ``difference_standard_error``, ``p_effective``, ``n_points`` and
        ``n_unreliable``.

    Raises
    ------
    InvalidInputError
        If there is no model, the observations or the methods differ, or the reference
        is unknown.

    Notes
    -----
    Vehtari, Gelman & Gabry (2017), equation 24. The standard error is too small for
    few observations, and for models that hardly differ (Sivula, Magnusson, Matamoros &
    Vehtari (2020), arXiv 2008.10296): a difference below 4 nats says little.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> mean = 0.3 * generator.normal(size=(4, 500, 1))
    >>> dims = ("chain", "draw", "trial")
    >>> error = xr.DataArray(np.linspace(-1, 1, 10) - mean, dims=dims)
    >>> found = {"near": loo(-0.5 * error**2), "far": loo(-0.5 * (error - 1) ** 2)}
    >>> compare(found)["difference"].round(1).to_dict()
    {'near': 0.0, 'far': -5.4}
    """
    import pandas as pd

    _require_same_points(evidence)
    best = max(evidence, key=lambda name: evidence[name]["elpd"].item())
    if reference is not None:
        best = choice("reference", reference, evidence)
    table = {name: _row(found, evidence[best]) for name, found in evidence.items()}
    frame = pd.DataFrame.from_dict(table, orient="index").rename_axis("model")
    frame = frame.astype({"n_points": int, "n_unreliable": int})
    return frame.sort_values("elpd", ascending=False, kind="stable")


@dataclass(frozen=True)
class _Points:
    """The draws (point, draw) of every observed point, and where these belong."""

    draws: np.ndarray
    observed: xr.DataArray

    @property
    def n_draws(self) -> int:
        return self.draws.shape[1]

    def log_density(self) -> np.ndarray:
        """Return the log predictive density (point,) with nothing left out."""
        return logsumexp(self.draws, axis=1) - np.log(self.n_draws)

    def spread(self, values: np.ndarray, **attrs: str) -> xr.DataArray:
        """Return values (point,) where they belong, NaN elsewhere."""
        whole = np.full(self.observed.shape, np.nan)
        whole[self.observed.values] = values
        return self.observed.copy(data=whole).assign_attrs(attrs)


def _points(log_likelihood: object) -> _Points:
    """Check draws, and separate what was observed."""
    array = _require_samples(log_likelihood)
    values = array.values.reshape(-1, *array.shape[2:]).astype(float)
    missing = np.isnan(values)
    sampled = [name for name, c in array.coords.items() if {*SAMPLES} & {*c.dims}]
    one = array.drop_vars(sampled).isel(chain=0, draw=0)
    observed = xr.DataArray(~missing.all(axis=0), one.coords, one.dims)
    bad = ~np.isfinite(values) & observed.values
    if bad.any():
        where = np.argwhere(bad)[0]
        raise invalid(
            "log_likelihood",
            f"{values[tuple(where)]} in {int(bad.any(axis=0).sum())} point(s) (the "
            f"first: {_name(observed, where[1:])})",
            "finite values, or NaN in all draws of a point that was not observed",
            "A draw under which the data are impossible is none from the posterior.",
        )
    if observed.sum() < 2:
        got = f"{int(observed.sum())} observed point(s)"
        raise invalid("log_likelihood", got, "at least two")
    return _Points(values[:, observed.values].T, observed)


def _require_samples(log_likelihood: object) -> xr.DataArray:
    expected = "a DataArray with dimensions (chain, draw, ...), as (chain, draw, trial)"
    if not isinstance(log_likelihood, xr.DataArray):
        got = type(log_likelihood).__name__
        raise invalid("log_likelihood", got, expected, kind=ShapeError)
    if not {*SAMPLES} <= {*log_likelihood.dims}:
        got = "dimensions (" + ", ".join(map(str, log_likelihood.dims)) + ")"
        remedy = "A single chain: log_likelihood.expand_dims('chain')."
        raise invalid("log_likelihood", got, expected, remedy, ShapeError)
    require_real(log_likelihood.dtype, "log_likelihood")
    array = log_likelihood.transpose(*SAMPLES, ...)
    n_draws = array.sizes["chain"] * array.sizes["draw"]
    if n_draws < MINIMUM_DRAWS:
        raise invalid(
            "log_likelihood", f"{n_draws} draws", f"at least {MINIMUM_DRAWS} in all"
        )
    return array


def _dataset(
    points: _Points, elpd: np.ndarray, p_effective: np.ndarray, unreliable: np.ndarray
) -> xr.Dataset:
    nats = {"units": "nats"}
    variables = {
        "elpd": ((), elpd.sum(), nats),
        "standard_error": ((), _standard_error(elpd), nats),
        "p_effective": ((), p_effective.sum()),
        "n_unreliable": ((), int(unreliable.sum())),
        "elpd_pointwise": points.spread(elpd, **nats),
        "p_effective_pointwise": points.spread(p_effective),
    }
    return xr.Dataset(variables, attrs={"n_draws": points.n_draws})


def _standard_error(values: np.ndarray) -> float:
    """Return the standard error of a sum over points."""
    return float(np.sqrt(len(values)) * values.std(ddof=1))


def _warn_unreliable(found: xr.Dataset, name: str, bound: str, remedy: str) -> None:
    if not found["n_unreliable"]:
        return
    values = found[name]
    largest = np.unravel_index(np.nanargmax(values.values), values.shape)
    warnings.warn(
        f"{found.attrs['method']}: {found['n_unreliable'].item()} of "
        f"{int(values.notnull().sum())} points have a {name} {bound} (the largest: "
        f"{values.max().item():.2g} at {_name(values, largest)}): their elpd cannot be "
        f"trusted. {remedy}",
        UserWarning,
        stacklevel=3,
    )


def _name(points: xr.DataArray, where: "np.ndarray | tuple") -> str:
    """Call a point by its labels, or by its index where there are none."""
    return ", ".join(
        f"{dim} {points[dim].values[int(index)] if dim in points.coords else index}"
        for dim, index in zip(points.dims, where, strict=True)
    )


def _require_same_points(evidence: Mapping[str, xr.Dataset]) -> None:
    if not evidence:
        raise invalid("evidence", "nothing", "what loo returned, by name of the model")
    first_name, first = next(iter(evidence.items()))
    for name, found in evidence.items():
        if found.attrs["method"] != first.attrs["method"]:
            raise invalid(
                "evidence",
                f"{first.attrs['method']} of {first_name!r} beside "
                f"{found.attrs['method']} of {name!r}",
                "the same estimate of every model",
            )
        if not _observed(found).equals(_observed(first)):
            raise invalid(
                "evidence",
                f"other points for {name!r} than for {first_name!r}",
                "estimates for the same observations, so that they can be paired",
                "Select those that all models predict before calling loo.",
            )


def _observed(found: xr.Dataset) -> xr.DataArray:
    pointwise = found["elpd_pointwise"]
    ordered = pointwise.transpose(*sorted(map(str, pointwise.dims)))
    return ordered.notnull().reset_coords(drop=True)


def _row(found: xr.Dataset, baseline: xr.Dataset) -> dict[str, float]:
    difference = (found["elpd_pointwise"] - baseline["elpd_pointwise"]).values
    difference = difference[~np.isnan(difference)]
    return {
        "elpd": found["elpd"].item(),
        "standard_error": found["standard_error"].item(),
        "difference": difference.sum(),
        "difference_standard_error": _standard_error(difference),
        "p_effective": found["p_effective"].item(),
        "n_points": len(difference),
        "n_unreliable": found["n_unreliable"].item(),
    }
