"""The arithmetic under `SpikeTrains`: order, limits and intervals of events.

An event is a tick of the clock (int64, so that subtracting never wraps) and the index
of a unit. Events stand in the order of time, and of units where they tie, so that two
sources of one recording give the same arrays whatever the order in their files.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromod.core.dimensions import require_positive
from neuromod.core.errors import ShapeError, invalid
from neuromod.io.reading import LARGEST_TICK, named, numbers, whole


def require_limits(start: float | None, stop: float | None, rate: float) -> None:
    """Raise unless the limits (s) are finite on their clock, and in order."""
    require_positive(rate, "rate", "Hz")
    for name, limit in (("start", start), ("stop", stop)):
        if limit is not None and not abs(limit) * rate < LARGEST_TICK:
            raise invalid(name, f"{limit} s", "a time in seconds")
    if start is not None and stop is not None and not start < stop:
        raise invalid("stop", f"{stop} s", f"more than the start of {start} s")


def indices(neurons: np.ndarray, n_spikes: int, n_neurons: int) -> np.ndarray:
    """Return the index of the unit of each spike in the smallest type, or raise."""
    if neurons.shape != (n_spikes,):
        raise invalid(
            "neurons", f"shape {neurons.shape}", f"({n_spikes},)", kind=ShapeError
        )
    neurons = whole(numbers(neurons, "neurons"), "neurons")
    if n_spikes and not 0 <= int(neurons.min()) <= int(neurons.max()) < n_neurons:
        raise invalid(
            "neurons",
            f"the indices {neurons.min()} to {neurons.max()}",
            f"0 to {n_neurons - 1}, into the {n_neurons} labels",
        )
    return neurons.astype(np.min_scalar_type(max(n_neurons, 1)))


def within(
    ticks: np.ndarray, rate: float, start: float | None, stop: float | None
) -> np.ndarray:
    """Tell which ticks lie within the limits (s), both included."""
    inside = np.ones(len(ticks), dtype=bool)
    if start is not None:
        inside &= ticks >= round(start * rate)
    if stop is not None:
        inside &= ticks <= round(stop * rate)
    return inside


def ascends(ticks: np.ndarray, neurons: np.ndarray) -> bool:
    """Tell whether events are in the order of time, and of units where they tie."""
    earlier, later = ticks[:-1], ticks[1:]
    ties = earlier == later
    return bool(
        (earlier <= later).all() and (neurons[:-1][ties] <= neurons[1:][ties]).all()
    )


def in_order(
    ticks: np.ndarray, neurons: np.ndarray, n_neurons: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sort events by time, and by unit where they tie."""
    span = int(ticks.max()) - int(ticks.min()) + 1
    if span * n_neurons < 2**62:  # one key sorts several times faster than two
        key = (ticks - ticks.min()) * n_neurons + neurons
        key.sort()
        ordered = key % n_neurons
        return key // n_neurons + ticks.min(), ordered.astype(neurons.dtype)
    order = np.lexsort((neurons, ticks))
    return ticks[order], neurons[order]


def require_ascending(
    ticks: np.ndarray, neurons: np.ndarray, labels: np.ndarray, rate: float
) -> None:
    """Raise if the times of a unit step back."""
    if (ticks[:-1] <= ticks[1:]).all():
        return
    order = np.argsort(neurons, kind="stable")
    same = np.diff(neurons[order].astype(np.int64)) == 0
    back = np.flatnonzero(same & (np.diff(ticks[order]) < 0))
    if not len(back):
        return
    first, second = order[back[0]], order[back[0] + 1]
    raise invalid(
        "spike times",
        f"{ticks[first] / rate:.6g} s followed by {ticks[second] / rate:.6g} s in unit "
        f"{named(labels[neurons[first]])!r} ({len(back)} steps back in all)",
        "times that ascend within each unit",
        "If several sessions were put after one another, each with a clock of its "
        "own, read them one by one; if the times are merely unsorted, say sort=True "
        "(--sort).",
    )


def observed_intervals(
    observed: Sequence[Any], labels: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return the intervals (interval, 2) in s in which each unit was observed."""
    if observed and len(observed) != len(labels):
        raise invalid("observed", len(observed), f"{len(labels)}, one for each unit")
    sets = tuple(np.asarray(intervals, dtype=float) for intervals in observed)
    for label, intervals in zip(labels, sets, strict=bool(sets)):
        flat = intervals.reshape(-1)
        if intervals.shape[1:] != (2,) or not (np.diff(flat) >= 0).all():
            raise invalid(
                f"observed intervals of unit {named(label)!r}",
                f"an array of shape {intervals.shape} beginning {flat[:4].tolist()}",
                "(interval, 2) starts and stops (s) that ascend and do not overlap",
            )
    return sets


def intersection(sets: list[np.ndarray]) -> np.ndarray:
    """Return the intervals (interval, 2) that lie in all sets of intervals."""
    starts = np.concatenate([intervals[:, 0] for intervals in sets])
    stops = np.concatenate([intervals[:, 1] for intervals in sets])
    edges = np.concatenate([starts, stops])
    opens = np.repeat([1, -1], len(starts))
    # Opening before closing where they coincide: intervals that touch are one.
    order = np.lexsort((-opens, edges))
    shared = np.cumsum(opens[order]) >= len(sets)
    before = np.r_[False, shared[:-1]]
    edges = edges[order]
    both = np.stack([edges[shared & ~before], edges[before & ~shared]], axis=1)
    return both[both[:, 0] < both[:, 1]]


def annotated(annotations: Mapping[str, Any], n_neurons: int) -> dict[str, Any]:
    """Return arrays with one entry for each unit, by name."""
    arrays = {str(name): np.asarray(values) for name, values in annotations.items()}
    for name, values in arrays.items():
        if values.shape[:1] != (n_neurons,):
            raise invalid(
                f"annotations[{name!r}]",
                f"shape {values.shape}",
                f"one entry for each of the {n_neurons} units",
                kind=ShapeError,
            )
    return arrays
