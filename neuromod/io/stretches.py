"""Which stretches of time to bin: those recorded, or the epochs that a user names.

A pause of the recording is no silence. Where the source says in which intervals the
units were observed, each is a stretch of its own, and an epoch may not reach outside.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from neuromod.core.errors import invalid
from neuromod.io.spike_trains import SpikeTrains


class Stretch(NamedTuple):
    """An uninterrupted time (s); None is where the recording does not say."""

    label: str
    start: float | None
    stop: float | None


def recorded(trains: SpikeTrains) -> list[Stretch]:
    """Return the stretches in which all units were observed."""
    if not trains.observed:
        return [Stretch("0", trains.start, trains.stop)]
    intervals = trains.intervals
    if not len(intervals):
        raise invalid(
            "spike_times",
            "units that were never observed at the same time",
            "at least one interval that all units share",
            "Choose units with include= that were recorded together.",
        )
    return [Stretch(str(i), float(a), float(b)) for i, (a, b) in enumerate(intervals)]


def chosen(epochs: object, trains: SpikeTrains) -> list[Stretch]:
    """Read what the user says about epochs, and hold it against the recording."""
    pairs = _pairs(epochs)
    stretches = [Stretch(str(k), float(a), float(b)) for k, (a, b) in pairs.items()]
    if not stretches:
        raise invalid("epochs", "none", "at least one (start, stop)")
    ordered = sorted(stretches, key=lambda stretch: stretch.start or 0.0)
    previous = -math.inf
    for label, start, stop in ordered:
        if not (start is not None and stop is not None and start < stop < math.inf):
            raise invalid(
                f"epochs[{label!r}]", f"({start}, {stop})", "start < stop in seconds"
            )
        if start < previous:
            raise invalid(
                f"epochs[{label!r}]",
                f"a start at {start} s, before {previous} s, where another stops",
                "epochs that do not overlap",
            )
        previous = stop
        _require_recorded(label, start, stop, trains)
    return stretches


def _pairs(epochs: Any) -> dict[object, tuple[float, float]]:
    if isinstance(epochs, Mapping):
        rows, labels = np.asarray(list(epochs.values())), list(epochs)
    elif hasattr(epochs, "start") and hasattr(epochs, "end"):
        rows = np.stack([np.asarray(epochs.start), np.asarray(epochs.end)], axis=-1)
        labels = list(range(len(rows)))
    else:
        rows = np.asarray(epochs)
        labels = list(range(len(rows))) if rows.ndim else []
    if rows.size and (
        rows.ndim != 2 or rows.shape[1] != 2 or rows.dtype.kind not in "iuf"
    ):
        raise invalid(
            "epochs",
            f"an array of shape {rows.shape} and type {rows.dtype}",
            "(start, stop) in seconds for each epoch",
            "As in epochs=[(0.0, 10.0), (20.0, 30.0)].",
        )
    return dict(zip(labels, rows, strict=True))


def _require_recorded(label: str, start: float, stop: float, trains: SpikeTrains):
    """Refuse an epoch that leaves the recording: its silence was never recorded."""
    first = -math.inf if trains.start is None else trains.start
    last = math.inf if trains.stop is None else trains.stop
    intervals = trains.intervals if trains.observed else np.array([[first, last]])
    tick = 1 / trains.rate
    if not ((intervals[:, 0] - tick <= start) & (stop <= intervals[:, 1] + tick)).any():
        known = ", ".join(f"{a:.6g} to {b:.6g} s" for a, b in intervals[:5])
        raise invalid(
            f"epochs[{label!r}]",
            f"{start:.6g} to {stop:.6g} s",
            f"an epoch within the recording ({known})",
            "Are the epochs counted from another zero? Add the recording's start.",
        )


def in_words(trains: SpikeTrains) -> str:
    """Say where the limits of the recorded stretches come from."""
    if trains.observed:
        return "intervals in which all units were observed"
    start = "the first spike" if trains.start is None else "the stated start"
    stop = "the last spike" if trains.stop is None else "the stated stop"
    return f"from {start} to {stop}"
