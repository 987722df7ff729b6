"""Trials as rows of a regression: replicates merged, with room for more."""

from typing import Any, NamedTuple

import numpy as np

from neuromod.stimulation.covariance import Points
from neuromod.stimulation.gaussian_process import Trials


class Row(NamedTuple):
    """A trial.

    Parameters
    ----------
    at : (dimension,)
        What was stimulated, and when and in which context if these count.
    level
        Number of the block.
    response : (output and basis,)
        What came of it, and the known functions there.
    noise
        Multiplies the variance of the noise.
    """

    at: np.ndarray
    level: int
    response: np.ndarray
    noise: float


Groups = list[list[int]]
"""Numbers of the trials that share a row, for each row."""


class Values(NamedTuple):
    """What rows hold of responses.

    Parameters
    ----------
    response : (row, output and basis)
        Weighted means of the trials of each row.
    scatter : (output and basis, output and basis)
        Of trials around these means, in units of the noise.
    """

    response: np.ndarray
    scatter: np.ndarray


def grouped(rows: list[Row]) -> Groups:
    """Return trials of one stimulus together: on one row, the posterior is the same."""
    groups: dict[tuple, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault((row.level, *row.at.tolist()), []).append(i)
    return list(groups.values())


def values(
    rows: list[Row], groups: Groups, noise: np.ndarray, n_columns: int
) -> Values:
    """Return what rows hold of responses.

    Parameters
    ----------
    rows
        The trials.
    groups
        Which of them share a row.
    noise : (level,)
        Variance of the noise of a trial.
    n_columns
        Number of outputs and known functions.
    """
    means, scatter = np.zeros((len(groups), n_columns)), np.zeros((n_columns,) * 2)
    for mean, group in zip(means, groups, strict=True):
        weights = np.array([1 / rows[i].noise for i in group])
        responses = np.stack([rows[i].response for i in group])
        mean[:] = weights @ responses / weights.sum()
        variance = noise[rows[group[0]].level]
        around = (responses - mean) * np.sqrt(weights / variance)[:, None]
        scatter += around.T @ around
    return Values(means, scatter)


def arrange(rows: list[Row], groups: Groups, response: np.ndarray, room: int) -> Trials:
    """Return trials in arrays with room for more.

    Parameters
    ----------
    rows, groups
        The trials, at least one, and which of them share a row.
    response : (row, output and basis)
        What each row holds.
    room
        How many rows there are to be.
    """
    n_rows = len(groups)
    at: Any = np.zeros((room, len(rows[0].at)))
    level: Any = np.zeros(room, int)
    filled: Any = np.zeros((room, response.shape[1]))
    multiplier: Any = np.ones(room)
    for i, group in enumerate(groups):
        at[i], level[i] = rows[group[0]].at, rows[group[0]].level
        multiplier[i] = 1 / sum(1 / rows[k].noise for k in group)
    filled[:n_rows] = response
    n_seen: Any = np.asarray(n_rows)
    return Trials(Points(at, level), filled, multiplier, n_seen)


def room_for(n_rows: int, least: int) -> int:
    """Return a room of which at least half is free."""
    room = least
    while room < 2 * n_rows:
        room *= 2
    return room
