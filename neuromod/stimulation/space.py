"""What could be stimulated: all candidates, where they lie, what each would send.

Axes are named. An axis whose name begins with "electrode" holds labels, which lie where
`positions` says; one that is called like a part of a `Stimulus` (amplitude, frequency
...) sets it; any other (a delay, say) goes to the rig as it is. Candidates are all
combinations of the axes' values but those that are not valid. An axis may be an
`Interval`: then candidates are drawn anew for every ask.

A model sees coordinates: positions of electrodes in their own unit (a pitch), values
of any other axis in steps of that axis, an interval as ten. *Blocks* are parts of a
stimulus that could be stimulated alone, and may have parts themselves.
"""

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from neuromod.core.errors import invalid
from neuromod.stimulation.axes import (
    PARTS,
    Axis,
    Interval,
    is_electrode,
    placed,
    places,
    require_stimulus,
    values,
)
from neuromod.stimulation.layout import Block
from neuromod.stimulation.limits import Stimulus

MOST = 1_000_000  # candidates
WHOLE = "whole"
Blocks = Mapping[str, Any]


class Space:
    """All that could be stimulated.

    Parameters
    ----------
    axes
        The values of every axis by its name, or an `Interval`.
    positions
        Where each electrode lies, by its label; not needed without electrodes to
        choose from.

    Other Parameters
    ----------------
    fixed
        Parts of the stimulus that are not chosen, and ``electrodes`` if none are.
    blocks
        Names of parts of the stimulus, each with the names of its axes, or with parts
        of its own: ``{"first": ["electrode_a"], "second": ["electrode_b"]}``.
    valid
        Says of a combination, a dict from axis to value, whether it may be chosen.

    Raises
    ------
    InvalidInputError
        If an axis, a part of the stimulus or a position is missing or unknown.

    Examples
    --------
    >>> space = Space(
    ...     {"electrode": ["1", "2", "3"], "amplitude": [20.0, 40.0]},
    ...     {"1": (0, 0), "2": (0, 1), "3": (1, 0)},
    ...     fixed={"pulse_width": 200.0, "frequency": 300.0},
    ... )
    >>> len(space), space.dimensions
    (6, ('electrode[0]', 'electrode[1]', 'amplitude'))
    >>> space[3]
    {'electrode': '2', 'amplitude': 40.0}
    >>> space.stimulus(space[3]).charge_per_phase
    8.0
    """

    def __init__(
        self,
        axes: Mapping[str, Sequence[Any] | Interval],
        positions: Mapping[str, Sequence[float]] | None = None,
        *,
        fixed: Mapping[str, Any] | None = None,
        blocks: Blocks | None = None,
        valid: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        self.axes: dict[str, Axis] = {n: values(n, given) for n, given in axes.items()}
        self.fixed = dict(fixed or {})
        require_stimulus(self.axes, self.fixed)
        self.positions = placed(self.axes, positions or {})
        self.blocks = _named(blocks or {}, list(self.axes))
        discrete = self.discrete
        n_candidates = math.prod(len(self.axes[name]) for name in discrete)
        if n_candidates > MOST:
            got, expected = f"{n_candidates} combinations", f"at most {MOST}"
            raise invalid("axes", got, expected, "Take coarser steps, or an Interval.")
        if valid is not None and len(discrete) < len(self.axes):
            expected = "axes of values alone"
            raise invalid("valid", "an axis that is an Interval", expected)
        combinations = itertools.product(*(range(len(self.axes[n])) for n in discrete))
        kept = [
            row for row in combinations if valid is None or valid(self._values(row))
        ]
        if not kept:
            raise invalid("valid", "no combination", "at least one")
        self.index = np.array(kept, int).reshape(len(kept), len(discrete))

    @property
    def discrete(self) -> list[str]:
        """Names of the axes that are no intervals."""
        return [n for n, axis in self.axes.items() if not isinstance(axis, Interval)]

    @property
    def is_finite(self) -> bool:
        """Whether no axis is an interval."""
        return len(self.discrete) == len(self.axes)

    def __len__(self) -> int:
        """Return the number of combinations of all axes that are no intervals."""
        return len(self.index)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return the values of a combination by the names of the axes."""
        return self._values(self.index[number])

    @property
    def coordinates(self) -> np.ndarray:
        """Where the candidates of a finite space lie (candidate, dimension)."""
        points = [self[k] for k in range(len(self))]
        return self.place({name: [p[name] for p in points] for name in self.axes})

    @cached_property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        found: list[str] = []
        for name, axis in self.axes.items():
            width = len(self.positions[str(axis[0])]) if is_electrode(name) else 1
            found += [name] if width == 1 else [f"{name}[{j}]" for j in range(width)]
        return tuple(found)

    @cached_property
    def block(self) -> Block:
        """The whole and its parts, in numbers of coordinates."""
        parts = tuple(self._block(name, part) for name, part in self.blocks.items())
        return Block(WHOLE, tuple(range(len(self.dimensions))), parts)

    def without_parts(self) -> "Space":
        """Return the same space as one block."""
        found = copy.copy(self)
        found.__dict__.pop("block", None)
        found.blocks = {}
        return found

    def place(self, columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """Return where points lie (point, dimension), given their values by axis.

        Coordinates of axes that are not given are zero.
        """
        n_points = len(next(iter(columns.values())))
        found = []
        for name, axis in self.axes.items():
            width = sum(of_axis(d) == name for d in self.dimensions)
            here = (
                places(name, columns[name], axis, self.positions)
                if name in columns
                else np.zeros((n_points, width))
            )
            found.append(here)
        return np.concatenate(found, axis=1)

    def stimulus(self, point: Mapping[str, Any]) -> Stimulus:
        """Return what a point, values by the names of axes, would send."""
        parts = {k: v for k, v in (self.fixed | dict(point)).items() if k in PARTS}
        chosen = [label for name, label in point.items() if is_electrode(name)]
        fixed = [str(label) for label in self.fixed.get("electrodes", ())]
        return Stimulus(electrodes=tuple(dict.fromkeys([*chosen, *fixed])), **parts)

    def find(self, point: Mapping[str, Any]) -> int:
        """Return the number of the combination with these values.

        Raises
        ------
        InvalidInputError
            If there is none.
        """
        if set(point) != set(self.axes):
            raise invalid("point", f"{sorted(point)}", f"all of {list(self.axes)}")
        for name, axis in self.axes.items():
            inside = (
                axis.low <= point[name] <= axis.high
                if isinstance(axis, Interval)
                else point[name] in axis
            )
            if not inside:
                raise invalid("point", f"{name} {point[name]!r}", f"one of {axis}")
        found = self._numbers.get(tuple(point[name] for name in self.discrete))
        if found is None:
            raise invalid("point", f"{dict(point)}", "a combination that is valid")
        return found

    def describe(self) -> dict[str, Any]:
        """Return all of it as plain values, from which `from_description` makes it."""
        return {
            "axes": {
                name: axis._asdict() if isinstance(axis, Interval) else list(axis)
                for name, axis in self.axes.items()
            },
            "positions": {k: list(v) for k, v in self.positions.items()},
            "fixed": dict(self.fixed),
            "blocks": self.blocks,
            "index": None if self._is_product else self.index,
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> "Space":
        """Make a space of what `describe` returned."""
        axes = {
            name: Interval(**axis) if isinstance(axis, Mapping) else axis
            for name, axis in description["axes"].items()
        }
        if description["index"] is None:
            given = {k: description[k] for k in ("positions", "fixed", "blocks")}
            return cls(axes, **given)
        # The product may be far larger than what was valid of it: no need to make it.
        one = {
            name: axis if isinstance(axis, Interval) else axis[:1]
            for name, axis in axes.items()
        }
        given = {k: description[k] for k in ("positions", "fixed", "blocks")}
        made = cls(one, **given)
        made.axes = {name: values(name, axis) for name, axis in axes.items()}
        made.positions = placed(made.axes, given["positions"])
        made.index = np.asarray(description["index"], int)
        return made

    @property
    def _is_product(self) -> bool:
        return len(self) == math.prod(len(self.axes[name]) for name in self.discrete)

    def _values(self, row: Sequence[int]) -> dict[str, Any]:
        return {n: self.axes[n][i] for n, i in zip(self.discrete, row, strict=True)}

    @cached_property
    def _numbers(self) -> dict[tuple, int]:
        return {tuple(self[k].values()): k for k in range(len(self.index))}

    def _block(self, name: str, inside: Any) -> Block:
        axes = names_in(inside)
        dimensions = [
            j
            for j, dimension in enumerate(self.dimensions)
            if of_axis(dimension) in axes
        ]
        parts = inside.items() if isinstance(inside, Mapping) else ()
        return Block(
            name, tuple(dimensions), tuple(self._block(n, part) for n, part in parts)
        )


def of_axis(dimension: str) -> str:
    """Return the name of the axis that a coordinate belongs to."""
    return dimension.split("[", maxsplit=1)[0]


def names_in(inside: Any) -> list[str]:
    """Return the names of all axes of a block."""
    if isinstance(inside, Mapping):
        return [name for part in inside.values() for name in names_in(part)]
    return list(inside)


def _named(blocks: Blocks, axes: list[str]) -> dict[str, Any]:
    """Return blocks as plain values, if every axis is in just one of them."""
    if not blocks:
        return {}
    if sorted(names_in(blocks)) != sorted(axes):
        raise invalid("blocks", f"{blocks}", f"each of the axes {axes} once")
    names = _block_names(blocks)
    if len(set(names) | {WHOLE}) <= len(names):
        raise invalid("blocks", f"{names}", f"names all unlike, and none {WHOLE!r}")
    return _plain(blocks)


def _block_names(blocks: Blocks) -> list[str]:
    found = []
    for name, part in blocks.items():
        found += [name, *(_block_names(part) if isinstance(part, Mapping) else [])]
    return found


def _plain(inside: Any) -> Any:
    if isinstance(inside, Mapping):
        return {str(name): _plain(part) for name, part in inside.items()}
    return list(inside)
