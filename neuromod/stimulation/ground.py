"""What a search goes over: candidates, and what is known of them beforehand."""

from typing import NamedTuple

import numpy as np

from neuromod.stimulation.layout import Block, flat
from neuromod.stimulation.rule import Rule


class Ground(NamedTuple):
    """What a search goes over.

    Parameters
    ----------
    coordinates : (candidate, dimension)
        Where candidates lie.
    level : (candidate,)
        Numbers of their blocks.
    block
        The whole of the stimulus.
    earlier : (candidate,)
        What earlier animals make expect, on the scale of the map; None if nothing.
    """

    coordinates: np.ndarray
    level: np.ndarray
    block: Block
    earlier: np.ndarray | None = None


class Place(NamedTuple):
    """Where a trial is, or was.

    Parameters
    ----------
    at : (dimension,)
        What is stimulated, and when and in which context if these count.
    level
        Number of the block.
    basis : (basis,)
        Known functions there.
    """

    at: np.ndarray
    level: int
    basis: np.ndarray


def ground(coordinates: np.ndarray) -> Ground:
    """Return the ground of candidates that have no parts."""
    coordinates = np.asarray(coordinates, float)
    n_candidates, n_dimensions = coordinates.shape
    return Ground(coordinates, np.zeros(n_candidates, int), flat(n_dimensions))


def moving_dimensions(rule: Rule, ground: Ground, n_context: int) -> tuple[int, ...]:
    """Return the numbers of coordinates that are not chosen: time, and the context."""
    first = ground.coordinates.shape[1]
    n_moving = int(np.isfinite(rule.time_constant)) + n_context
    return tuple(range(first, first + n_moving))
