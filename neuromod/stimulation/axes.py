"""Axes of a space: labels of electrodes, numbers in steps, or any between two."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from neuromod.core.errors import ShapeError, did_you_mean, invalid
from neuromod.stimulation.limits import Stimulus

ELECTRODE = "electrode"
PARTS = tuple(
    field.name for field in dataclasses.fields(Stimulus) if field.name != "electrodes"
)
REQUIRED = ("amplitude", "pulse_width", "frequency")
N_STEPS = 10  # that an interval counts for, in units of coordinates


class Interval(NamedTuple):
    """An axis of which any number between two may be chosen.

    Parameters
    ----------
    low, high
        The smallest and the largest.
    logarithmic
        Whether ratios count and not differences.

    Examples
    --------
    >>> Interval(10.0, 1000.0, logarithmic=True).at([0.0, 0.5, 1.0]).round(6).tolist()
    [10.0, 100.0, 1000.0]
    """

    low: float
    high: float
    logarithmic: bool = False

    def at(self, share: Any) -> np.ndarray:
        """Return what lies at shares of the way from low to high."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        found = low + (high - low) * np.asarray(share, float)
        found = np.exp(found) if self.logarithmic else found
        return np.clip(found, self.low, self.high)

    def share(self, value: Any) -> np.ndarray:
        """Return how far from low to high values are."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(np.asarray(value, float)) - low) / (high - low)

    def _scaled(self, value: Any) -> Any:
        return np.log(value) if self.logarithmic else value


Axis = tuple | Interval


def values(name: str, given: Sequence[Any] | Interval) -> Axis:
    """Return the values of an axis, checked."""
    if isinstance(given, Interval):
        return _interval(name, given)
    if is_electrode(name):
        found: list[Any] = [str(value) for value in given]
    else:
        array = np.asarray(given)
        if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise invalid(f"axes[{name!r}]", f"{given!r:.60}", "finite numbers")
        found = array.tolist()
    if not found or len(set(found)) < len(found):
        expected = "at least one value, all unlike"
        raise invalid(f"axes[{name!r}]", f"{given!r:.60}", expected)
    return tuple(found)


def _interval(name: str, given: Interval) -> Interval:
    if is_electrode(name):
        raise invalid(f"axes[{name!r}]", repr(given), "labels of electrodes")
    low, high, logarithmic = given
    finite = math.isfinite(low) and math.isfinite(high)
    if not finite or not low < high or (logarithmic and low <= 0):
        expected = "finite ends, the first one smaller" + ", above 0" * logarithmic
        raise invalid(f"axes[{name!r}]", f"{low} to {high}", expected)
    return Interval(float(low), float(high), bool(logarithmic))


def is_electrode(name: str) -> bool:
    """Return whether an axis holds labels of electrodes."""
    return name.startswith(ELECTRODE)


def places(
    name: str,
    chosen: Sequence[Any],
    axis: Axis,
    positions: Mapping[str, tuple[float, ...]],
) -> np.ndarray:
    """Return where values of an axis lie (value, dimension), in units of coordinates.

    Those of electrodes are pitches, those of numbers steps of the axis; an interval
    counts for ten.
    """
    if is_electrode(name):
        return np.array([positions[str(label)] for label in chosen], float)
    numbers = np.array(list(chosen), float)
    if isinstance(axis, Interval):
        return N_STEPS * axis.share(numbers)[:, None]
    if len(axis) == 1:
        return np.zeros((len(numbers), 1))
    step = (max(axis) - min(axis)) / (len(axis) - 1)
    return ((numbers - min(axis)) / step)[:, None]


def require_stimulus(axes: Mapping[str, Axis], fixed: Mapping[str, Any]) -> None:
    """Raise if axes and fixed parts do not make a stimulus."""
    known = [*PARTS, "electrodes"]
    for name in fixed:
        if name not in known:
            remedy = did_you_mean(name, known)
            raise invalid("fixed", repr(name), f"one of {known}", remedy)
        if name in axes:
            raise invalid("fixed", f"{name!r}, an axis too", "one or the other")
    missing = [name for name in REQUIRED if name not in axes and name not in fixed]
    if missing:
        raise invalid(
            "fixed",
            f"no {missing[0]}",
            f"{', '.join(REQUIRED)} here or as axes: what is not known is not limited",
        )
    if "electrodes" not in fixed and not any(is_electrode(n) for n in axes):
        raise invalid("axes", "no electrode", "an axis of electrodes, or fixed ones")


def placed(
    axes: Mapping[str, Axis], positions: Mapping[str, Sequence[float]]
) -> dict[str, tuple[float, ...]]:
    """Return the positions of electrodes, one for each label of each axis."""
    found = {str(k): tuple(map(float, v)) for k, v in positions.items()}
    for name, labels in axes.items():
        if not is_electrode(name):
            continue
        for label in map(str, labels):
            if label not in found:
                raise invalid(
                    "positions", f"none of electrode {label!r}", "one for each"
                )
        if len({len(found[str(label)]) for label in labels}) > 1:
            raise invalid(
                "positions", "of unlike lengths", "all of one", kind=ShapeError
            )
    return found
