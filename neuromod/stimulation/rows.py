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


def grouped(rows: list[Row]) -> Groups:
    """Return trials of one stimulus together: on one row, the posterior is the same."""
    groups: dict[tuple, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(_stimulus(row), []).append(i)
    return list(groups.values())


def _stimulus(row: Row) -> tuple:
    return row.level, *row.at.tolist()


def merged(rows: list[Row], groups: Groups) -> list[Row]:
    """Return one row for each group: the mean of its trials, with the less noise."""
    found = []
    for group in groups:
        if len(group) == 1:
            found.append(rows[group[0]])
            continue
        weights = np.array([1 / rows[i].noise for i in group])
        responses = np.stack([rows[i].response for i in group])
        mean = weights @ responses / weights.sum()
        row = rows[group[0]]
        found.append(row._replace(response=mean, noise=float(1 / weights.sum())))
    return found


class Repeats:
    """What rows of one stimulus tell of the noise, counted as they come.

    Parameters
    ----------
    noise : (level,)
        Variance of the noise of a trial.
    n_outputs
        How many columns of the rows are responses.
    """

    def __init__(self, noise: np.ndarray, n_outputs: int) -> None:
        self._noise, self._n_outputs = noise, n_outputs
        self._stimuli: dict[tuple, tuple[float, np.ndarray]] = {}
        self.number = 0
        self.scatter = np.zeros((n_outputs, n_outputs))

    @property
    def n_stimuli(self) -> int:
        """How many different stimuli there are."""
        return len(self._stimuli)

    def add(self, row: Row) -> bool:
        """Count a row, and return whether it is a repeat."""
        key, weight = _stimulus(row), 1 / row.noise
        response = row.response[: self._n_outputs]
        before, mean = self._stimuli.get(key, (0.0, response))
        total, apart = before + weight, response - mean
        self._stimuli[key] = total, mean + apart * weight / total
        if before:
            self.number += 1
            counts = before * weight / total / self._noise[row.level]
            self.scatter = self.scatter + counts * np.outer(apart, apart)
        return before > 0


def arrange(rows: list[Row], room: int) -> Trials:
    """Return rows, at least one, in arrays with room for more."""
    at: Any = np.zeros((room, len(rows[0].at)))
    level: Any = np.zeros(room, int)
    response: Any = np.zeros((room, len(rows[0].response)))
    noise: Any = np.ones(room)
    for i, row in enumerate(rows):
        at[i], level[i], response[i], noise[i] = row
    n_seen: Any = np.asarray(len(rows))
    return Trials(Points(at, level), response, noise, n_seen)


def room_for(n_rows: int, least: int) -> int:
    """Return a room of which at least half is free."""
    room = least
    while room < 2 * n_rows:
        room *= 2
    return room
