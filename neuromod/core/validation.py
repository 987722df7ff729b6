"""How well a model predicts what it was not fitted to, and whether better than others.

Three verbs, for any family: `cross_validate` fits on each fold's training pieces and
scores the pieces held out, the model and its nulls on the same folds; `compare` puts
scores side by side, paired by fold; `select` chooses among settings. A *null* is
another way to fit, scored alike: fewer states, no couplings, the data circularly
shifted. Higher scores are better.

Settings chosen by their held-out score need a second, outer cross-validation to be
judged fairly. That is the same verbs once more::

    def fit(pieces, *, seed):
        inner = blocked_folds(pieces, 4, gap=1.0, within="recording")
        return select(fit_one, score, candidates, pieces, inner, seed=seed).result

    cross_validate(fit, score, spikes, blocked_folds(spikes, 5, gap=1.0), seed=0)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuromod.core.comparison import MODEL
from neuromod.core.comparison import compare as compare
from neuromod.core.dimensions import require_integer
from neuromod.core.errors import invalid
from neuromod.core.folds import Fold as Fold
from neuromod.core.folds import blocked_folds as blocked_folds
from neuromod.core.folds import leave_one_out as leave_one_out
from neuromod.core.pieces import Data
from neuromod.core.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Fold",
    "Selection",
    "blocked_folds",
    "compare",
    "cross_validate",
    "leave_one_out",
    "select",
]

Fit = Callable[..., Any]
Score = Callable[[Any, list[Any]], Any]


def cross_validate(
    fit: Fit,
    score: Score,
    data: Data,
    folds: Sequence[Fold],
    *,
    seed: int,
    nulls: Mapping[str, Fit] | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Fit on the training pieces of each fold and score the pieces held out.

    Parameters
    ----------
    fit
        Called as ``fit(pieces, seed=...)`` with a list of contiguous pieces.
    score
        Called as ``score(fitted, pieces)`` with the pieces held out. Returns a
        number, a mapping of names to numbers, or a Dataset, whose variables without
        dimensions count. Per bin or per spike, so that folds weigh alike.
    data
        A recording in any ragged form.
    folds
        As from `blocked_folds` or `leave_one_out`.
    seed
        Seed; each fold fits with its own, derived from it, the nulls with the same.

    Other Parameters
    ----------------
    nulls
        Other ways to fit, by name; scored by the same ``score``.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Dataset
        Every score (model, fold): ``model`` is "model" or the name of a null, and
        ``n_train`` and ``n_test`` (fold) count bins.

    Raises
    ------
    InvalidInputError
        If there is no fold, a null is called "model", or ``score`` returns no number.

    Examples
    --------
    >>> signal = xr.DataArray(np.arange(10.0) % 3, dims="time",
    ...                       coords={"time": np.arange(10.0)})
    >>> def fit(pieces, *, seed):
    ...     return xr.concat(pieces, "time").mean().item()
    >>> def score(mean, pieces):
    ...     return -float(((xr.concat(pieces, "time") - mean) ** 2).mean())
    >>> scores = cross_validate(
    ...     fit, score, signal, blocked_folds(signal, 2), seed=0,
    ...     nulls={"zero": lambda pieces, *, seed: 0.0}, progress=False,
    ... )
    >>> compare(scores)["mean"].round(3).to_dict()
    {'model': -0.72, 'zero': -1.5}
    """
    seed = require_integer(seed, "seed", minimum=0)
    if not len(folds):
        raise invalid("folds", "no fold", "at least one", "Make them by blocked_folds.")
    if MODEL in (nulls or {}):
        raise invalid("nulls", f"a null called {MODEL!r}", "any other name")
    fits = {MODEL: fit, **(nulls or {})}
    rows: list[list[dict[str, float]]] = [[] for _ in fits]
    n_fits = len(fits) * len(folds)
    with progress_bar(n_fits, "cross_validate", "fit", shown=progress) as bar:
        for fold, fold_seed in zip(folds, _seeds(seed, len(folds)), strict=True):
            train, test = fold.cut(data)
            for row, (name, fitting) in zip(rows, fits.items(), strict=True):
                bar.set_postfix_str(f"fold {fold.label}, {name}")
                found = score(fitting(train, seed=fold_seed), test)
                row.append(_numbers(found, rows[0][0] if rows[0] else None))
                bar.update()
    return _dataset(rows, list(fits), folds, seed)


@dataclass(frozen=True)
class Selection:
    """The settings that predict best, and the fit of all data with them.

    Parameters
    ----------
    name
        The name of the chosen candidate.
    settings
        Its keyword arguments.
    result
        What ``fit`` returned for all of the data with these settings.
    table
        Every candidate's held-out score, as from `compare`.
    """

    name: str
    settings: Mapping[str, Any]
    result: Any
    table: "pd.DataFrame"


def select(
    fit: Fit,
    score: Score,
    candidates: Mapping[str, Mapping[str, Any]],
    data: Data,
    folds: Sequence[Fold],
    *,
    seed: int,
    metric: str | None = None,
    progress: bool = True,
) -> Selection:
    """Choose the settings with the best mean held-out score, and fit with them.

    Parameters
    ----------
    fit
        Called as ``fit(pieces, seed=..., **candidate)``.
    score, data, folds, seed, progress
        As in `cross_validate`.
    candidates
        Keyword arguments of ``fit``, by name of the candidate.
    metric
        The score that decides; may be omitted if there is only one.

    Returns
    -------
    Selection
        The choice (the first of equals), its fit, and the table of all.

    Raises
    ------
    InvalidInputError
        If there is no candidate, or as in `compare`.
    """
    if not candidates:
        raise invalid("candidates", "none", "at least one set of keyword arguments")
    scores = {
        name: cross_validate(
            partial(fit, **settings), score, data, folds, seed=seed, progress=progress
        )
        for name, settings in candidates.items()
    }
    table = compare(scores, metric=metric)
    name = str(table.index[0])
    result = fit(data, seed=seed, **candidates[name])
    return Selection(name, candidates[name], result, table)


def _seeds(seed: int, n_folds: int) -> list[int]:
    """Derive a seed for each fold; they fit in 31 bits."""
    states = np.random.SeedSequence(seed).generate_state(n_folds)
    return [int(state) >> 1 for state in states]


def _numbers(found: Any, before: dict[str, float] | None) -> dict[str, float]:
    """Return the scores by name, the same names every time."""
    if isinstance(found, xr.Dataset):
        found = {str(k): v.item() for k, v in found.data_vars.items() if v.ndim == 0}
    elif not isinstance(found, Mapping):
        found = {"score": found}
    try:
        numbers = {str(name): float(value) for name, value in found.items()}
    except (TypeError, ValueError):
        numbers = {}
    if not numbers or (before is not None and numbers.keys() != before.keys()):
        expected = "a number, or numbers by name"
        if before is not None:
            expected = f"numbers called {list(before)}, as for the first fold"
        raise invalid("score", f"a function that returned {found!r:.200}", expected)
    return numbers


def _dataset(
    rows: list[list[dict[str, float]]],
    models: list[str],
    folds: Sequence[Fold],
    seed: int,
) -> xr.Dataset:
    values = {
        name: (("model", "fold"), [[numbers[name] for numbers in row] for row in rows])
        for name in rows[0][0]
    }
    coords = {
        "model": models,
        "fold": [fold.label for fold in folds],
        "n_train": ("fold", [fold.n_train for fold in folds]),
        "n_test": ("fold", [fold.n_test for fold in folds]),
    }
    return xr.Dataset(values, coords, {"seed": seed})
