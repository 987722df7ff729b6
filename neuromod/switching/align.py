"""States that mean the same get the same number, across restarts, folds and animals."""

from dataclasses import replace

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from neuromod.core.errors import choice, invalid
from neuromod.core.result import Result
from neuromod.switching.data import group, require_fit
from neuromod.switching.em import reorder

HOW = ("parameters", "probability")


def align_states(fit: Result, to: Result, *, by: str = "parameters") -> Result:
    """Number the states of a fit like those of another one that they resemble most.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    to
        The Result whose numbers to take over.
    by
        "parameters": the coefficients of the GLMs, which must be those of the same
        neurons (or choices) and inputs; "probability": when the states were visited,
        for two fits of the same bins.

    Returns
    -------
    Result
        The fit with its states in another order; states that match none come last.

    Raises
    ------
    InvalidInputError
        If the fits cannot be compared in this way.

    Examples
    --------
    >>> from neuromod import datasets, switching
    >>> spikes = datasets.simulate_switching(
    ...     seed=0, n_states=2, n_neurons=6, n_sessions=2, n_steps=500
    ... )["recording"]["spikes"]
    >>> first, second = (
    ...     switching.fit(spikes, n_states=2, seed=seed, progress=False)
    ...     for seed in (0, 1)
    ... )
    >>> switching.align_states(second, first).model.n_states
    2
    """
    require_fit(fit)
    require_fit(to, "to")
    compare = {"parameters": _alike, "probability": _together}[choice("by", by, HOW)]
    likeness = compare(fit, to)
    rows, columns = linear_sum_assignment(-likeness)
    matched = rows[np.argsort(columns)]
    rest = [state for state in range(fit.model.n_states) if state not in matched]
    order = np.array([*matched, *rest], dtype=int)
    return replace(fit, model=reorder(fit.model, order), data=_renumbered(fit, order))


def _alike(fit: Result, to: Result) -> np.ndarray:
    """Return minus the squared distance of all pairs of states."""
    vectors = []
    for name in ("bias", "input_weight", "self_weight", "weight"):
        ours, theirs = (np.asarray(getattr(r.model, name)) for r in (fit, to))
        if ours.shape[1:] != theirs.shape[1:]:
            raise invalid(
                "to",
                f"a fit whose {name} has shape {theirs.shape}",
                f"(state, {', '.join(map(str, ours.shape[1:]))})",
                "Align fits of the same neurons and inputs, or by='probability'.",
            )
        vectors.append((ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)))
    ours, theirs = (
        np.concatenate(parts, axis=1) for parts in zip(*vectors, strict=True)
    )
    return -((ours[:, None] - theirs[None]) ** 2).sum(-1)


def _together(fit: Result, to: Result) -> np.ndarray:
    """Return how much time all pairs of states share."""
    ours, theirs = (group(r.data, "latent")["state_probability"] for r in (fit, to))
    if ours.sizes["time"] != theirs.sizes["time"] or not np.allclose(
        ours["time"], theirs["time"]
    ):
        raise invalid(
            "to",
            f"a fit of {theirs.sizes['time']} bins",
            f"one of the same {ours.sizes['time']} bins",
            "Align by='parameters'.",
        )
    return np.asarray(ours.values.T @ theirs.values)


def _renumbered(fit: Result, order: np.ndarray) -> xr.DataTree:
    numbers = np.arange(len(order))

    def turn(dataset: xr.Dataset) -> xr.Dataset:
        for dim in ("state", "state_to"):
            if dim in dataset.dims:
                dataset = dataset.isel({dim: order}).assign_coords({dim: numbers})
        return dataset

    tree = xr.DataTree.from_dict(
        {name: turn(child.to_dataset()) for name, child in fit.data.children.items()}
    )
    tree.attrs = dict(fit.data.attrs)
    return tree
