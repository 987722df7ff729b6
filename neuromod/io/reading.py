"""What a reader has to be told: the words that every format understands.

A number in a file has no unit. Times with a fraction are taken as seconds; times that
are all whole numbers (integers, or many floats) could be samples of the amplifier's
clock as well, so they are refused until one of the two is said, here or in the file.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuromod.core.dimensions import require_finite, require_positive
from neuromod.core.errors import choice, did_you_mean, invalid

TICKS_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6}
NANOSECOND_CLOCK = 1e9
LARGEST_TICK = 2.0**62
MANY = 20


@dataclass(frozen=True)
class Reading:
    """How a source is to be read.

    Parameters
    ----------
    sample_rate
        Rate (Hz) of the clock if the times are samples (ticks) of it.
    time_unit
        Unit of the times if they are no samples: "s", "ms" or "us". Needed for whole
        numbers; times with a fraction are in seconds unless said otherwise.
    start, stop
        Limits of the recording (s), in place of those that the source states;
        spikes outside are dropped, and counted.
    sort
        Whether times that do not ascend are sorted instead of refused.
    variable
        Which variable of a file with several holds the data; "a.b" for a field.
    bin_size
        Width of a bin (s), for counts whose source does not state it.
    counts
        Whether ready counts are taken where the source holds both.
    """

    sample_rate: float | None = None
    time_unit: str | None = None
    start: float | None = None
    stop: float | None = None
    sort: bool = False
    variable: str | None = None
    bin_size: float | None = None
    counts: bool = True

    def __post_init__(self) -> None:
        if self.sample_rate is not None:
            require_positive(self.sample_rate, "sample_rate", "Hz")
        if self.time_unit is not None:
            choice("time_unit", self.time_unit, TICKS_PER_SECOND)
        if self.sample_rate is not None and self.time_unit is not None:
            raise invalid(
                "time_unit",
                f"{self.time_unit!r} and sample_rate={self.sample_rate}",
                "one of the two: times are either in a unit or samples of a clock",
            )
        for name in ("start", "stop"):
            value = getattr(self, name)
            if value is not None and not _is_time(value):
                raise invalid(name, repr(value), "a time in seconds")
        if self.start is not None and self.stop is not None and self.stop <= self.start:
            raise invalid("stop", f"{self.stop} s", f"more than start={self.start} s")

    def in_seconds(self, source: str) -> "Reading":
        """Return this for a source in seconds; refuse if the user says otherwise."""
        if self.sample_rate is not None or self.time_unit is not None:
            raise invalid(
                "sample_rate or time_unit",
                "one of them",
                f"neither: the times in {source} are in seconds",
            )
        return replace(self, time_unit="s")

    def in_unit(self, unit: str | None) -> "Reading":
        """Return this for times whose name states their unit; the user's word wins."""
        if unit is None or self.sample_rate is not None or self.time_unit is not None:
            return self
        return replace(self, time_unit=unit)

    def ticks(
        self, times: object, argument: str, sample_rate: float | None = None
    ) -> tuple[np.ndarray, float]:
        """Return times as whole ticks (int64), and the rate (Hz) of their clock.

        ``sample_rate`` is what the source itself says. Times in seconds come onto a
        clock of 1 ns, finer than any amplifier's, on which the edges of bins are as
        exact as on the recording's own.
        """
        values = numbers(times, argument)
        rate = self.sample_rate or sample_rate
        if rate is not None and self.time_unit is None:
            remedy = "Leave out sample_rate if the times are in seconds."
            return whole(values, argument, remedy), float(rate)
        if self.time_unit is None:
            _require_seconds(values, argument)
        per_tick = round(NANOSECOND_CLOCK / TICKS_PER_SECOND[self.time_unit or "s"])
        require_finite(values, argument)
        _require_room(values, argument, LARGEST_TICK / per_tick)
        if values.dtype.kind in "iu":
            return values.astype(np.int64) * per_tick, NANOSECOND_CLOCK
        return np.rint(values * per_tick).astype(np.int64), NANOSECOND_CLOCK


def _is_time(value: object) -> bool:
    array = np.asarray(value)
    return array.ndim == 0 and array.dtype.kind in "iuf" and bool(np.isfinite(array))


def _require_room(values: np.ndarray, argument: str, largest: float) -> None:
    if values.size and max(-float(values.min()), float(values.max())) > largest:
        raise invalid(
            argument,
            f"times from {values.min():.3g} to {values.max():.3g}",
            f"nothing beyond {largest:.3g}",
            'In which unit are they? Say time_unit="us", or sample_rate=.',
        )


def _require_seconds(values: np.ndarray, argument: str) -> None:
    """Refuse numbers that look like samples; MATLAB keeps these as doubles, too."""
    fractions = values.dtype.kind == "f" and (values % 1 != 0).any()
    few = values.dtype.kind == "f" and len(values) < MANY
    if len(values) and not fractions and not few:
        raise invalid(
            argument,
            f"whole numbers ({values.dtype}), which may be samples or seconds",
            "times whose unit is known",
            "Say sample_rate=30000 (Hz) if they are samples of a clock, or "
            'time_unit="s" (or "ms", "us").',
        )


def numbers(values: object, argument: str) -> np.ndarray:
    """Return a one-dimensional array of real numbers, or raise."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise invalid(argument, "a ragged nesting", "a list of numbers") from error
    if array.dtype == object:
        try:
            array = array.astype(float)
        except (TypeError, ValueError) as error:
            got = f"values like {array.flat[0]!r}"
            raise invalid(argument, got, "numbers") from error
    if array.dtype.kind not in "iuf":
        raise invalid(argument, f"values of type {array.dtype}", "numbers")
    if sum(length > 1 for length in array.shape) > 1:
        raise invalid(argument, f"an array of shape {array.shape}", "a flat list")
    return array.reshape(-1)


def whole(values: np.ndarray, argument: str, remedy: str = "") -> np.ndarray:
    """Return whole numbers as int64, in which they can be subtracted."""
    require_finite(values, argument)
    if values.dtype.kind == "f" and (values % 1 != 0).any():
        fraction = values[values % 1 != 0][0]
        raise invalid(argument, f"the fraction {fraction}", "whole numbers", remedy)
    _require_room(values, argument, LARGEST_TICK)
    return values.astype(np.int64)


def named(label: object) -> str:
    """Return the text by which a label is known: 19, 19.0 and "19" are the same.

    Examples
    --------
    >>> named(19.0), named("19"), named(b"CA1"), named(1.5)
    ('19', '19', 'CA1', '1.5')
    """
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    return str(label)


def labelled(labels: Iterable[object], argument: str) -> np.ndarray:
    """Return unit labels as whole numbers if they all are, else as text; unique."""
    names = [named(label) for label in labels]
    seen: set[str] = set()
    twice = sorted({name for name in names if name in seen or seen.add(name)})
    if twice:
        raise invalid(
            argument,
            "the label(s) " + ", ".join(map(repr, twice[:5])) + " twice",
            "a different label for each unit",
            "Rename them, for example by probe: 'A-3', 'B-3'.",
        )
    if "nan" in names or "" in names:
        raise invalid(argument, "a missing label", "a label for each unit")
    try:
        integers = np.array([int(name) for name in names], dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array(names, dtype=str)
    exact = [str(i) for i in integers] == names
    return integers if exact else np.array(names, dtype=str)


def several(value: Any) -> list[Any]:
    """Return a list of what may be none, one thing (a text, a number) or many."""
    if value is None:
        return []
    if getattr(value, "ndim", 1) == 0:
        return [np.asarray(value).item()]
    one = isinstance(value, str | bytes) or not isinstance(value, Iterable)
    return [value] if one else list(value)


def positions(labels: object, known: Iterable[object], argument: str) -> np.ndarray:
    """Return where the wanted labels stand among the known ones, or raise."""
    place = {named(label): i for i, label in enumerate(known)}
    wanted = several(labels)
    for label in wanted:
        if named(label) not in place:
            raise invalid(
                argument,
                f"the unit {named(label)!r}, which does not exist",
                f"among the {len(place)} units of the recording",
                did_you_mean(named(label), list(place)[:50]),
            )
    return np.array([place[named(label)] for label in wanted], dtype=np.int64)
