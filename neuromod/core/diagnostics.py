"""Whether the draws of one run are to be trusted.

Do the chains agree, and how many independent draws are theirs worth? (Vehtari, Gelman,
Simpson, Carpenter & Bürkner 2021, Bayesian Analysis 16, 667.)
"""

import math
import warnings
from functools import partial
from typing import Any

import jax
import numpy as np
import xarray as xr
from numpyro.diagnostics import effective_sample_size, gelman_rubin
from scipy.special import ndtri
from scipy.stats import rankdata

from neuromod.core.errors import ConvergenceWarning, ShapeError, invalid

R_HAT, ESS_PER_CHAIN, E_BFMI = 1.01, 100, 0.3
"""Bounds of what is trusted: Vehtari et al. 2021; Betancourt 2016."""


def diagnose(draws: Any, stats: Any = None) -> xr.Dataset:
    """Tell of each parameter whether its chains agree and how much its draws are worth.

    Parameters
    ----------
    draws
        What `neuromod.core.sampling.nuts` returns, or a Dataset or pytree of arrays
        (chain, draw, ...).
    stats
        Of the draws, as ``Draws.stats`` or a Dataset; its own by default.

    Returns
    -------
    xarray.Dataset
        ``r_hat`` (rank-normalised, split, the larger of bulk and tail), ``ess_bulk``
        and ``ess_tail`` (effective numbers of draws) of each ``parameter``, named
        "x" or, of an array, "x[0, 1]"; NaN for what never moves. With stats also
        ``n_diverging`` and ``e_bfmi`` (chain), the energy's fraction of missing
        information.

    Notes
    -----
    Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16, 667;
    Betancourt (2016), arXiv:1604.00695.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> told = diagnose({"x": random.standard_normal((4, 500))})
    >>> bool(told.r_hat.sel(parameter="x") < 1.01), bool(told.ess_bulk[0] > 1500)
    (True, True)
    """
    if stats is None:
        stats = getattr(draws, "stats", None)
    draws = getattr(draws, "positions", draws)
    named = by_name(draws)
    columns = {
        name: [measure(values) for values in named.values()]
        for name, measure in (
            ("r_hat", _r_hat),
            ("ess_bulk", ess_bulk),
            ("ess_tail", _ess_tail),
        )
    }
    told = xr.Dataset(
        {name: ("parameter", values) for name, values in columns.items()},
        {"parameter": list(named)},
        {"n_chains": len(next(iter(named.values())))},
    )
    if stats is not None:
        energy = np.asarray(stats["energy"], float)
        jumps = np.mean(np.diff(energy, axis=1) ** 2, axis=1)
        told["n_diverging"] = (), int(np.sum(np.asarray(stats["diverging"])))
        told["e_bfmi"] = "chain", jumps / energy.var(axis=1)
    return told


def warn_of_trouble(diagnostics: xr.Dataset, stacklevel: int = 2) -> None:
    """Warn, once for all of it, if what `diagnose` found is not to be trusted.

    Parameters
    ----------
    diagnostics
        What `diagnose` returned.
    stacklevel
        Whose line the warning names, as in `warnings.warn`.

    Warns
    -----
    ConvergenceWarning
        If an R-hat exceeds 1.01, an effective number of draws is below 100 per chain,
        a trajectory diverged or an E-BFMI is below 0.3; with what to do about it.
    """
    n_needed = ESS_PER_CHAIN * diagnostics.attrs["n_chains"]
    both = diagnostics[["ess_bulk", "ess_tail"]].to_array()
    ess = both.min("variable", skipna=False)
    told = [
        _told("R-hat", diagnostics["r_hat"], ~(diagnostics["r_hat"] <= R_HAT)),
        _told("effective number of draws", ess, ~(ess >= n_needed)),
    ]
    remedies = ["Draw longer (n_warmup, n_draws), or from other starts."]
    if "n_diverging" in diagnostics:
        if n := int(diagnostics["n_diverging"]):
            told.append(f"{n} trajectories diverged")
            remedies.append("Raise target_accept to 0.95, or reparameterise.")
        if (lowest := float(diagnostics["e_bfmi"].min())) < E_BFMI:
            told.append(f"E-BFMI down to {lowest:.2f}")
            remedies.append("Tails are explored slowly: reparameterise.")
    if any(told):
        text = f"{'; '.join(filter(None, told))}. {' '.join(remedies)}"
        text = f"The draws are not to be trusted: {text}"
        warnings.warn(text, ConvergenceWarning, stacklevel=stacklevel)


def _told(what: str, values: xr.DataArray, bad: xr.DataArray) -> str:
    names = values["parameter"].values[bad.values]
    some = [f"{values.sel(parameter=name).item():.3g} of {name}" for name in names[:5]]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{what} {', '.join(some)}{more}" if len(names) else ""


def by_name(draws: Any) -> dict[str, np.ndarray]:
    """Return the draws (chain, draw) of each scalar by its name."""
    if isinstance(draws, xr.Dataset):
        ordered = draws.transpose("chain", "draw", ...)
        leaves = [(str(name), ordered[name].values) for name in ordered.data_vars]
    else:
        found = jax.tree_util.tree_leaves_with_path(draws)
        simple = partial(jax.tree_util.keystr, simple=True, separator=".")
        leaves = [(simple(way) or "x", leaf) for way, leaf in found]
    named = {}
    for name, leaf in leaves:
        values = np.asarray(leaf, float)
        if values.ndim < 2 or values.shape[1] < 4:
            expected = "(chain, draw, ...) with at least 4 draws"
            raise invalid("draws", f"shape {values.shape}", expected, kind=ShapeError)
        for place in np.ndindex(values.shape[2:]):
            named[label_of(name, place)] = values[(slice(None), slice(None), *place)]
    return named


def label_of(name: str, place: tuple[int, ...]) -> str:
    """Return the name of an entry of an array."""
    return f"{name}[{', '.join(map(str, place))}]" if place else name


def _split(values: np.ndarray) -> np.ndarray:
    half = values.shape[1] // 2
    return np.concatenate([values[:, :half], values[:, -half:]])


def _normal_ranks(values: np.ndarray) -> np.ndarray:
    ranks = rankdata(values).reshape(values.shape)
    return ndtri((ranks - 0.375) / (values.size + 0.25))


def _r_hat(values: np.ndarray) -> float:
    halves = _split(values)
    folded = np.abs(halves - np.median(halves))
    return float(max(gelman_rubin(_normal_ranks(x)) for x in (halves, folded)))


def ess_bulk(values: np.ndarray) -> float:
    """Return how many independent draws (chain, draw) are worth in the middle."""
    return _ess(_normal_ranks(_split(values)))


def _ess_tail(values: np.ndarray) -> float:
    halves = _split(values)
    bounds = np.quantile(halves, [0.05, 0.95])
    return min(_ess((halves <= bound).astype(float)) for bound in bounds)


def _ess(values: np.ndarray) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        ess = float(effective_sample_size(values))
    # Antithetic chains beyond this cannot be told from luck.
    return min(ess, values.size * math.log10(values.size))
