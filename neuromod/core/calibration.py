"""Whether a method that draws from posteriors is right on average.

Parameters from the prior, data from these, draws from the posterior of the data: then
the rank of the true parameter among the draws is uniform (simulation-based calibration,
Talts et al. 2018). A posterior that is too narrow gives too many extreme ranks, a
biased one more on one side. Of a single run see `neuromod.core.diagnostics`.

Ranks cannot see a posterior that learns nothing from the data: that takes the
`sharpness`, or the rank of a quantity that depends on the data too, such as the log
likelihood (Modrák et al. 2023).
"""

import math
import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import binom, chisquare

from neuromod.core import cohort, diagnostics
from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, invalid

INTERVALS = (0.5, 0.8, 0.9, 0.95)
N_SIMULATIONS = 4000
"""Of uniform ranks, for the p value of the largest excursion of their ECDF."""


def sbc(
    draw_parameters: Callable[[int], Mapping[str, Any]],
    simulate: Callable[[Mapping[str, Any], int], Any],
    sample_posterior: Callable[[Any, int], Any],
    *,
    seed: int,
    n_replications: int = 200,
    n_ranked: int = 99,
    quantities: Callable[[Mapping[str, Any], Any], Mapping[str, Any]] | None = None,
    store: str | os.PathLike[str] | None = None,
    executor: Any = None,
    progress: bool = True,
) -> xr.Dataset:
    """Rank true parameters among draws from the posterior of their data, many times.

    Parameters
    ----------
    draw_parameters
        From a seed to parameters drawn from the prior: numbers or arrays by name.
    simulate
        From parameters and a seed to data.
    sample_posterior
        From data and a seed to draws: by the same names, arrays (chain, draw, ...).
    seed
        Of all replications; each has three seeds of its own, and does not depend on
        the others.

    Other Parameters
    ----------------
    n_replications
        Number of replications.
    n_ranked
        Draws among which the truth is ranked: the chains are thinned to as many, or
        to as many as they are effectively worth if that is less.
    quantities
        From parameters and data to further numbers by name, to be ranked as well; of
        the truth and of each draw. The log likelihood is one to choose.
    store
        A folder where finished replications are kept: a second call computes the rest.
    executor
        Does the work instead of this thread (`neuromod.core.cohort.map`).
    progress
        Whether to show a progress bar.

    Returns
    -------
    xarray.Dataset
        ``rank`` of the truth among ``n_ranked`` draws, ``truth``, ``mean`` and ``sd``
        of the posterior, of each replication (``seed``) and ``parameter``. `calibrate`
        tells what they say.

    Raises
    ------
    NeuromodError
        If a replication failed; those that did not are in the store.

    Notes
    -----
    Talts, Betancourt, Simpson, Vehtari & Gelman (2018), arXiv:1804.06788.

    Examples
    --------
    >>> def draw(seed):
    ...     return {"mean": np.random.default_rng(seed).normal()}
    >>> def observe(parameters, seed):
    ...     return parameters["mean"] + np.random.default_rng(seed).normal()
    >>> def posterior(datum, seed):
    ...     noise = np.random.default_rng(seed).normal(size=(1, 200))
    ...     return {"mean": datum / 2 + noise / 2**0.5}
    >>> ranks = sbc(draw, observe, posterior, seed=1, progress=False)
    >>> told = calibrate(ranks).sel(parameter="mean")
    >>> bool(told.p_ecdf > 0.01), bool(0.6 < told.sharpness < 0.8)
    (True, True)
    """
    seed = require_integer(seed, "seed", minimum=0)
    n_replications = require_integer(n_replications, "n_replications")
    found = cohort.map(
        _replicate,
        {str(i): (seed, i) for i in range(n_replications)},
        config={
            "draw_parameters": draw_parameters,
            "simulate": simulate,
            "sample_posterior": sample_posterior,
            "quantities": quantities,
            "n_ranked": require_integer(n_ranked, "n_ranked"),
        },
        store=store,
        # In this thread, so that compiled programs serve all replications.
        executor=SimpleNamespace(map=map) if executor is None else executor,
        progress=progress,
    ).require_all()
    rows = [found[label] for label in found]
    columns = {
        name: (("seed", "parameter"), np.array([row[name] for row in rows]))
        for name in ("rank", "truth", "mean", "sd", "n_effective")
    }
    coords = {"seed": np.arange(n_replications), "parameter": rows[0]["parameter"]}
    return xr.Dataset(columns, coords, {"n_ranked": n_ranked})


def _replicate(
    item: tuple[int, int],
    draw_parameters: Callable,
    simulate: Callable,
    sample_posterior: Callable,
    quantities: Callable | None,
    n_ranked: int,
) -> dict[str, Any]:
    """Return the columns of one replication, each over parameters."""
    seeds = [int(s) for s in np.random.SeedSequence(item).generate_state(4)]
    truth = dict(draw_parameters(seeds[0]))
    data = simulate(truth, seeds[1])
    kept, n_effective = _thinned(sample_posterior(data, seeds[2]), truth, n_ranked)
    if quantities is not None:
        kept = [{**draw, **quantities(draw, data)} for draw in kept]
        truth |= quantities(truth, data)
    true, values = _row(truth), np.array([_row(draw) for draw in kept])
    # Ties are broken, and ranks among fewer draws spread out, at random.
    random = np.random.default_rng(seeds[3])
    below, equal = np.sum(values < true, axis=0), np.sum(values == true, axis=0)
    rank = below + random.integers(0, equal + 1)
    share = (rank + random.random(len(rank))) / (len(kept) + 1)
    exact = len(kept) == n_ranked
    return {
        "parameter": _labels(truth),
        "rank": rank if exact else np.floor(share * (n_ranked + 1)).astype(int),
        "truth": true,
        "mean": values.mean(axis=0),
        "sd": values.std(axis=0, ddof=1),
        "n_effective": np.full(len(true), n_effective),
    }


def _thinned(
    draws: Any, truth: Mapping[str, Any], n_ranked: int
) -> tuple[list[dict[str, Any]], float]:
    """Return nearly independent draws, and how many the chains are worth."""
    missing = [name for name in truth if name not in draws]
    if missing:
        expected = f"draws of {', '.join(truth)}"
        raise invalid("sample_posterior", f"none of {', '.join(missing)}", expected)
    arrays = {name: np.asarray(draws[name], float) for name in truth}
    for name, array in arrays.items():
        if array.shape[2:] != np.shape(truth[name]) or array.ndim < 2:
            raise invalid(
                f"draws of {name!r}",
                f"shape {array.shape}",
                f"(chain, draw, *{np.shape(truth[name])}), like the parameter",
                kind=ShapeError,
            )
    named = diagnostics.by_name(arrays)
    n_effective = min(diagnostics.ess_bulk(values) for values in named.values())
    n_effective = max(2.0, n_effective) if math.isfinite(n_effective) else 2.0
    flat = {name: a.reshape(-1, *a.shape[2:]) for name, a in arrays.items()}
    n_draws = len(next(iter(flat.values())))
    n_kept = min(n_ranked, int(n_effective), n_draws)
    places = np.linspace(0, n_draws - 1, n_kept).round().astype(int)
    return [{k: a[i] for k, a in flat.items()} for i in places], n_effective


def _row(values: Mapping[str, Any]) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(v, float)) for v in values.values()])


def _labels(values: Mapping[str, Any]) -> list[str]:
    return [
        diagnostics.label_of(name, place)
        for name, value in values.items()
        for place in np.ndindex(np.shape(value))
    ]


def calibrate(
    ranks: Any, *, n_ranked: int | None = None, n_bins: int | None = None
) -> xr.Dataset:
    """Tell of each parameter whether the ranks of the truth are uniform.

    Parameters
    ----------
    ranks
        What `sbc` returned, or ranks from 0 (below all draws) to ``n_ranked``:
        an array (replication, parameter).

    Other Parameters
    ----------------
    n_ranked
        Number of draws among which ranks of an array were found.
    n_bins
        Of the chi-square test; by default one for ten replications, 20 at most.

    Returns
    -------
    xarray.Dataset
        Of each ``parameter`` ``p_chi_square``, the p value of Pearson's test over
        bins; ``p_ecdf``, that of the largest excursion of the ranks' distribution
        function from the diagonal, by simulation (below 0.05 it leaves the
        simultaneous 95 % envelope); ``coverage``, the share of truths within the
        central interval of the mass ``quantile``; and, of a Dataset with ``sd`` and
        ``truth``, ``sharpness``, the mean sd of the posterior over that of the prior,
        and ``contraction``, 1 less the ratio of their variances.

    Raises
    ------
    InvalidInputError
        If a rank is not possible.

    Notes
    -----
    Säilynoja, Bürkner & Vehtari (2022), Statistics and Computing 32, 32: eqs. 11-13.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> told = calibrate(random.integers(0, 100, (200, 1)), n_ranked=99)
    >>> bool(told.p_ecdf[0] > 0.05), float(told.coverage.sel(quantile=0.9)[0])
    (True, 0.875)
    """
    dataset = ranks if isinstance(ranks, xr.Dataset) else _as_dataset(ranks)
    n_ranked = dataset.attrs.get("n_ranked", n_ranked)
    n_ranked = require_integer(n_ranked, "n_ranked")
    table = dataset["rank"].transpose("seed", "parameter").values
    if table.dtype.kind not in "iu" or table.min() < 0 or table.max() > n_ranked:
        got = f"{table.dtype} from {table.min()} to {table.max()}"
        raise invalid("ranks", got, f"whole numbers from 0 to {n_ranked}")
    n = len(table)
    n_bins = n_bins or max(2, min(20, n // 10, n_ranked + 1))
    middle = (table + 0.5) / (n_ranked + 1)
    away = 2 * np.abs(middle - 0.5)
    coverage = [(away <= mass).mean(axis=0) for mass in INTERVALS]
    told = xr.Dataset(
        {
            "p_chi_square": (
                "parameter",
                [_p_chi(r, n_ranked, n_bins) for r in table.T],
            ),
            "p_ecdf": ("parameter", _p_ecdf(table, n_ranked)),
            "coverage": (("quantile", "parameter"), np.array(coverage)),
        },
        {"parameter": dataset["parameter"], "quantile": list(INTERVALS)},
        {"n_replications": n, "n_ranked": n_ranked, "n_bins": n_bins},
    )
    if "sd" in dataset and "truth" in dataset:
        prior = dataset["truth"].std("seed", ddof=1)
        told["sharpness"] = dataset["sd"].mean("seed") / prior
        told["contraction"] = 1 - (dataset["sd"] ** 2).mean("seed") / prior**2
    return told


def _as_dataset(ranks: Any) -> xr.Dataset:
    table = np.asarray(ranks)
    if table.ndim != 2 or 0 in table.shape:
        expected = "(replication, parameter)"
        raise invalid("ranks", f"shape {table.shape}", expected, kind=ShapeError)
    labels = [f"x[{i}]" for i in range(table.shape[1])]
    return xr.Dataset({"rank": (("seed", "parameter"), table)}, {"parameter": labels})


def _p_chi(ranks: np.ndarray, n_ranked: int, n_bins: int) -> float:
    bins = np.arange(n_ranked + 1) * n_bins // (n_ranked + 1)
    observed = np.bincount(bins[ranks], minlength=n_bins)
    expected = len(ranks) * np.bincount(bins, minlength=n_bins) / (n_ranked + 1)
    return float(chisquare(observed, expected).pvalue)


def _p_ecdf(table: np.ndarray, n_ranked: int) -> np.ndarray:
    """Return how often uniform ranks stray as far as those of each parameter."""
    n = len(table)
    chance = np.arange(1, n_ranked + 1) / (n_ranked + 1)
    counts = np.arange(n + 1)[:, np.newaxis]
    # The pointwise tail probability of each number of ranks up to each value.
    tail = np.minimum(binom.cdf(counts, n, chance), binom.sf(counts - 1, n, chance))

    def smallest(n_each: np.ndarray) -> np.ndarray:
        up_to = np.cumsum(n_each, axis=-1)[..., :-1]
        return tail[up_to, np.arange(n_ranked)].min(axis=-1)

    random = np.random.default_rng(0)
    even = np.full(n_ranked + 1, 1 / (n_ranked + 1))
    simulated = smallest(random.multinomial(n, even, N_SIMULATIONS))
    found = [smallest(np.bincount(ranks, minlength=n_ranked + 1)) for ranks in table.T]
    n_as_far = (simulated[:, np.newaxis] <= np.array(found) * (1 + 1e-9)).sum(axis=0)
    return (1 + n_as_far) / (1 + N_SIMULATIONS)
