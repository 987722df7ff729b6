"""All that a session could ask for: the whole of a stimulus, and parts of it alone."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import qmc

from neuromod.core.errors import choice
from neuromod.stimulation.axes import REQUIRED, Interval, is_electrode
from neuromod.stimulation.ground import Ground
from neuromod.stimulation.limits import Stimulus
from neuromod.stimulation.space import WHOLE, Space, of_axis

N_DRAWN = 512
"""Candidates of an ask, at least, where an axis is an interval."""


class Level(NamedTuple):
    """The whole, or a part: what could be stimulated of it.

    Parameters
    ----------
    name
        Of the block.
    points
        Values by the names of its axes.
    alone
        Whether it can be stimulated alone: it has an electrode, and all of a stimulus
        that is not fixed.
    """

    name: str
    points: list[dict[str, Any]]
    alone: bool


class Candidates:
    """All points of a space and of its parts, one after the other.

    Parameters
    ----------
    space
        What could be stimulated.
    levels
        The points of each block, in the order of ``space.block.walk()``.
    """

    def __init__(self, space: Space, levels: list[Level]) -> None:
        self.space, self.levels = space, levels
        self.names = [level.name for level in levels]
        sizes = [len(level.points) for level in levels]
        self.level = np.repeat(np.arange(len(levels)), sizes)
        self.points = [point for level in levels for point in level.points]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.points)

    @cached_property
    def ground(self) -> Ground:
        """What a search goes over."""
        coordinates = [
            self.space.place({n: [p[n] for p in level.points] for n in level.points[0]})
            for level in self.levels
        ]
        return Ground(np.concatenate(coordinates), self.level, self.space.block)

    def of(self, name: str) -> np.ndarray:
        """Return which candidates are of a level."""
        number = self.names.index(choice("level", name, self.names))
        return self.level == number

    @cached_property
    def alone(self) -> np.ndarray:
        """Which candidates can be stimulated (candidate,)."""
        return np.array([level.alone for level in self.levels])[self.level]

    def stimulus(self, candidate: int) -> Stimulus:
        """Return what a candidate would send."""
        return self.space.stimulus(self.points[candidate])

    def find(self, level: str, point: Mapping[str, Any]) -> int:
        """Return the number of a candidate."""
        return self._numbers[level, tuple(point.values())]

    @cached_property
    def _numbers(self) -> dict[tuple, int]:
        return {
            (self.names[level], tuple(point.values())): k
            for k, (level, point) in enumerate(
                zip(self.level, self.points, strict=True)
            )
        }


def all_of(space: Space) -> Candidates:
    """Return all candidates of a finite space."""
    return _with_parts(space, [space[k] for k in range(len(space))])


def drawn_from(
    space: Space, seed: int, n_asked: int, near: dict[str, Any] | None = None
) -> Candidates:
    """Return candidates of a space with intervals, spread evenly.

    Parameters
    ----------
    space
        The space.
    seed, n_asked
        Of the draw.
    near
        A point: half of the candidates lie in the tenth of each interval around it.
    """
    intervals = {n: a for n, a in space.axes.items() if isinstance(a, Interval)}
    n_each = max(1, -(-N_DRAWN // len(space)))
    sobol = qmc.Sobol(len(intervals), rng=np.random.default_rng([seed, n_asked]))
    shares = sobol.random(1 << (n_each * len(space) - 1).bit_length())
    points = []
    for k in range(n_each * len(space)):
        share = shares[k].copy()
        if near is not None and k % 2:
            centre = [float(a.share(near[n])) for n, a in intervals.items()]
            share = np.clip(centre + (share - 0.5) / 10, 0.0, 1.0)
        chosen = space[k // n_each]
        chosen |= {
            name: float(axis.at(s))
            for (name, axis), s in zip(intervals.items(), share, strict=True)
        }
        points.append({name: chosen[name] for name in space.axes})
    return _with_parts(space, points)


def _with_parts(space: Space, points: list[dict[str, Any]]) -> Candidates:
    levels = []
    fixed = "electrodes" in space.fixed
    for block in space.block.walk():
        axes = dict.fromkeys(of_axis(space.dimensions[j]) for j in block.dimensions)
        if block.name == WHOLE:
            here = points
        else:
            rows = dict.fromkeys(tuple(point[n] for n in axes) for point in points)
            here = [dict(zip(axes, row, strict=True)) for row in rows]
        electrode = fixed or any(is_electrode(name) for name in axes)
        alone = electrode and all(name in {*axes, *space.fixed} for name in REQUIRED)
        levels.append(Level(block.name, here, alone))
    return Candidates(space, levels)
