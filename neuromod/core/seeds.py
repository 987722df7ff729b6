"""Fits over many random seeds: one model and one set of arrays with a seed axis.

A fit is over many seeds when its ``parameters``, ``posterior`` or ``history`` have the
dimension ``seed``. Its model is then a stack: each array has a leading axis for the
seeds, in the order of their labels.
"""

from typing import Any

import jax
import numpy as np
import xarray as xr

from neuromod.core import models
from neuromod.core.errors import NotFittedError, ShapeError, invalid


def labels(data: xr.DataTree) -> list[Any] | None:
    """Return the seeds of a fit over many, else None."""
    for group in ("parameters", "posterior", "history"):
        if group in data.children and "seed" in data.children[group].dims:
            dataset = data.children[group].to_dataset()
            return dataset["seed"].to_numpy().tolist()
    return None


def require_axis(model: Any, n_seeds: int) -> None:
    """Raise unless every array of a model has a leading axis for the seeds."""
    for leaf in filter(models.is_leaf_array, jax.tree.leaves(model)):
        if leaf.shape[:1] != (n_seeds,):
            raise invalid(
                "model",
                f"an array of shape {leaf.shape} beside parameters of {n_seeds} seeds",
                f"a leading seed axis of length {n_seeds} in every array",
                "Stack the models: neuromod.core.models.stack([model, ...]).",
                ShapeError,
            )


def select(data: xr.DataTree, seed: Any, index: int) -> xr.DataTree:
    """Return the data of one seed, given by its label and its position."""

    def one(dataset: xr.Dataset) -> xr.Dataset:
        if "seed" in dataset.indexes:
            return dataset.sel(seed=seed)
        return dataset.isel(seed=index, missing_dims="ignore")

    parts = {path: node.to_dataset() for path, node in data.subtree_with_keys}
    return xr.DataTree.from_dict({path: one(part) for path, part in parts.items()})


def final_log_likelihood(data: xr.DataTree) -> np.ndarray:
    """Return the last finite log-likelihood of each seed, of its best restart.

    Raises
    ------
    NotFittedError
        If ``history`` has no ``log_likelihood`` per seed, or none is finite.
    """
    values = _course(data)
    last = values.shape[-1] - 1 - np.isfinite(values)[..., ::-1].argmax(-1)
    final = np.take_along_axis(values, last[..., np.newaxis], -1)
    best = np.where(np.isfinite(final), final, -np.inf).max(axis=(1, 2))
    if not np.isfinite(best).any():
        raise NotFittedError(
            "history: got no finite log_likelihood, expected one of at least one seed. "
            "Every fit diverged: fit again from other starts."
        )
    return best


def _course(data: xr.DataTree) -> np.ndarray:
    """Return the log-likelihood as recorded: (seed, restart and so on, iteration)."""
    history = data.children.get("history", xr.DataTree()).to_dataset()
    course = history.get("log_likelihood")
    if course is None or "seed" not in course.dims:
        raise NotFittedError(
            "history: got no log_likelihood with the dimension seed, expected one to "
            "choose the best seed by. Choose one yourself: result.sel(seed=...)."
        )
    if "iteration" not in course.dims:
        course = course.expand_dims("iteration")
    values = course.transpose("seed", ..., "iteration").to_numpy()
    return values.reshape(len(values), -1, values.shape[-1])
