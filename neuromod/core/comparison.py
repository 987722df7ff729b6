"""Held-out scores side by side: which model is better, and by how much.

Folds differ in how hard they are, and all models face the same ones. So models are
compared within each fold, and the differences are averaged: their standard error is
what tells whether one is better, not that of the scores themselves.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from neuromod.core.errors import choice, invalid

if TYPE_CHECKING:
    import pandas as pd

MODEL = "model"
"""What the model itself is called among its nulls."""


def compare(
    scores: xr.Dataset | Mapping[str, xr.Dataset],
    *,
    metric: str | None = None,
    reference: str | None = None,
) -> "pd.DataFrame":
    """Put held-out scores side by side in one table, paired by fold.

    Parameters
    ----------
    scores
        What `cross_validate` returned, or several of these by name, on the same
        folds; nulls then appear as "name: null".

    Other Parameters
    ----------------
    metric
        The score to compare; may be omitted if there is only one.
    reference
        The row that differences are taken from; the best by default.

    Returns
    -------
    pandas.DataFrame
        One row per model, the best first: ``mean`` and ``standard_error`` over
        folds, ``difference`` from the reference in the same folds with its
        ``difference_standard_error``, and ``n_folds``.

    Raises
    ------
    InvalidInputError
        If the folds differ or are fewer than two, a score is not finite, or a name
        is unknown.

    Notes
    -----
    The training data of different folds overlap, so the standard errors are somewhat
    too small (Bengio & Grandvalet (2004), J. Mach. Learn. Res. 5).
    """
    import pandas as pd

    named = {MODEL: scores} if isinstance(scores, xr.Dataset) else dict(scores)
    _require_same_folds(named)
    rows = {
        _row_name(name, str(model), alone=isinstance(scores, xr.Dataset)): row
        for name, dataset in named.items()
        for model, row in _rows(dataset, metric, name)
    }
    best = max(rows, key=lambda name: rows[name].mean())
    baseline = rows[best if reference is None else choice("reference", reference, rows)]
    table = {
        name: {
            "mean": row.mean(),
            "standard_error": _standard_error(row),
            "difference": (row - baseline).mean(),
            "difference_standard_error": _standard_error(row - baseline),
            "n_folds": len(row),
        }
        for name, row in rows.items()
    }
    frame = pd.DataFrame.from_dict(table, orient="index")
    frame = frame.astype({"n_folds": int}).rename_axis("model")
    return frame.sort_values("mean", ascending=False, kind="stable")


def _row_name(name: str, model: str, alone: bool) -> str:
    if alone:
        return model
    return name if model == MODEL else f"{name}: {model}"


def _rows(
    dataset: xr.Dataset, metric: str | None, name: str
) -> list[tuple[str, np.ndarray]]:
    """Return the scores (fold,) of each model, all finite."""
    known = [str(k) for k in dataset.data_vars]
    if metric is None and len(known) > 1:
        remedy = f"One of {known}."
        raise invalid("metric", None, "the name of the score to compare", remedy)
    scores = dataset[known[0] if metric is None else choice("metric", metric, known)]
    scores = scores.transpose("model", "fold")
    for row in scores:
        for fold, value in zip(row["fold"].values, row.values, strict=True):
            if not np.isfinite(value):
                raise invalid(
                    "scores",
                    f"a {scores.name} of {value} in fold {str(fold)!r} of {name!r} "
                    f"({row['model'].item()})",
                    "finite scores",
                    "Compare another metric, or leave that model or fold out.",
                )
    return [(row["model"].item(), row.values) for row in scores]


def _require_same_folds(named: Mapping[str, xr.Dataset]) -> None:
    if not named:
        raise invalid("scores", "nothing", "at least one Dataset of cross_validate")
    first_name, first = next(iter(named.items()))
    for name, dataset in named.items():
        same = all(
            np.array_equal(dataset[key], first[key]) for key in ("fold", "n_test")
        )
        if not same:
            raise invalid(
                "scores",
                f"other folds for {name!r} than for {first_name!r}",
                "scores on the same folds, so that they can be paired",
                "Pass the same `folds` to every cross_validate.",
            )
    if first.sizes["fold"] < 2:
        raise invalid("scores", "a single fold", "at least two folds")


def _standard_error(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
