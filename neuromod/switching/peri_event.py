"""States around events: what the brain does before and after a stimulus or a reward."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import invalid
from neuromod.core.sequences import Sequences, gather

Events = Any
FEWEST_EVENTS = 2


def peri_event(
    probability: Any, events: Events, *, window: tuple[float, float] = (-2.0, 5.0)
) -> xr.Dataset:
    """Average the probability of each state around events.

    Parameters
    ----------
    probability : (time, state)
        What `smooth` or `filter` returned, in any of its forms.
    events : (event,)
        Times of the events (s). Where every session has a clock of its own: a mapping
        of the sessions' labels to times, or a list with times for each session.
    window
        How long before (negative) and after an event to look (s).

    Returns
    -------
    Dataset
        ``state_probability`` and ``standard_error`` over events (time, state), with
        ``time`` (s) counted from the bin of the event; ``n_events``, and
        ``n_left_out``: how many events are too near to the start or the end of a
        session for the window, or in none.

    Raises
    ------
    InvalidInputError
        If the window is empty, sessions share no clock and events do not tell theirs,
        or fewer than two events are left.

    Examples
    --------
    >>> time = np.arange(10) * 0.5
    >>> probability = xr.DataArray(
    ...     np.eye(2)[(time >= 2).astype(int)],
    ...     {"time": time, "state": [0, 1]}, ("time", "state"),
    ... )
    >>> found = peri_event(probability, [2.1, 2.0, 9.0], window=(-0.5, 0.5))
    >>> found["state_probability"].sel(state=1).values, int(found["n_left_out"])
    (array([0., 1., 1.]), 1)
    """
    data = gather(probability, "probability", ("time", "state"), "state_probability")
    size = _bin_size(data)
    steps = _steps(window, size)
    found, n_given = [], 0
    for index, times in _by_session(data, events):
        n_given += len(times)
        bins = _bins(data.times[index], times, size)
        inside = (bins + steps[0] >= 0) & (bins + steps[-1] < data.lengths[index])
        inside &= bins >= 0
        found.append(np.asarray(data.values)[index][bins[inside, None] + steps])
    around = np.concatenate(found)
    n_events = len(around)
    if n_events < FEWEST_EVENTS:
        raise invalid(
            "events",
            f"{n_given} event(s) of which {n_events} lie(s) in a session with the "
            f"whole window from {window[0]:g} to {window[1]:g} s around it",
            f"at least {FEWEST_EVENTS}, to average",
            "Shorten the window, or check that events and spikes are on one clock.",
        )
    error = around.std(0, ddof=1) / np.sqrt(n_events)
    axes = ("time", "state")
    return xr.Dataset(
        {
            "state_probability": (axes, around.mean(0), {"units": "1"}),
            "standard_error": (axes, error, {"units": "1"}),
            "n_events": n_events,
            "n_left_out": n_given - n_events,
        },
        coords={
            "time": ("time", steps * size, {"units": "s"}),
            "state": data.coords["state"],
        },
    )


def _bin_size(data: Sequences) -> float:
    sizes = [dimensions.bin_size(time, "probability") for time in data.times]
    known = [size for size in sizes if np.isfinite(size)]
    if not known:
        raise invalid("probability", "sessions of one bin", "a session of several")
    return known[0]


def _steps(window: tuple[float, float], size: float) -> np.ndarray:
    """Return the whole bins from the event that lie within the window."""
    start, stop = (float(limit) for limit in window)
    if not (np.isfinite([start, stop]).all() and start < stop):
        raise invalid("window", window, "(start, stop) in s, with start < stop")
    slack = 1e-6
    first, last = np.ceil(start / size - slack), np.floor(stop / size + slack)
    if last < first:
        raise invalid("window", window, f"at least one bin of {size:g} s")
    return np.arange(int(first), int(last) + 1)


def _bins(time: np.ndarray, events: np.ndarray, size: float) -> np.ndarray:
    """Return the bin that holds each event; -1 for none."""
    # Among bins that touch, the later one holds what happens on their border.
    bins = np.searchsorted(time - size / 2, events + 1e-6 * size, side="right") - 1
    inside = (bins >= 0) & (bins < len(time))
    near = np.abs(time[np.where(inside, bins, 0)] - events) <= size / 2 * (1 + 1e-6)
    return np.where(inside & near, bins, -1)


def _by_session(data: Sequences, events: Events) -> list[tuple[int, np.ndarray]]:
    """Return the session's index and the times of its events."""
    if isinstance(events, Mapping):
        for label in events:
            if str(label) not in data.labels:
                known = ", ".join(data.labels[:10])
                raise invalid("events", f"the session {label!r}", f"some of: {known}")
        return [
            (data.labels.index(str(label)), _times(times, f"events[{label!r}]"))
            for label, times in events.items()
        ]
    if isinstance(events, list | tuple) and any(np.ndim(part) for part in events):
        return _listed(data, events)
    times = _times(events, "events")
    if (np.diff(np.concatenate(data.times)) <= 0).any():
        raise invalid(
            "events",
            f"one list of times for {len(data.labels)} sessions whose clocks overlap",
            "times for each session",
            "Pass a mapping of labels to times, or a list with times for each.",
        )
    starts = np.array([time[0] for time in data.times])
    owner = np.searchsorted(starts, times + _bin_size(data) / 2, side="right") - 1
    owner = np.maximum(owner, 0)
    return [(i, times[owner == i]) for i in range(len(starts))]


def _listed(data: Sequences, events: Sequence[Any]) -> list[tuple[int, np.ndarray]]:
    if len(events) != len(data.labels):
        expected = f"one for each of the {len(data.labels)} sessions"
        raise invalid("events", f"{len(events)} lists of times", expected)
    return [(i, _times(times, f"events[{i}]")) for i, times in enumerate(events)]


def _times(events: Any, argument: str) -> np.ndarray:
    times = np.asarray(events)
    if times.ndim != 1 or (times.size and times.dtype.kind not in "iuf"):
        raise invalid(
            argument,
            f"an array of shape {times.shape} and type {times.dtype}",
            "times in s, one after the other",
        )
    dimensions.require_finite(times.astype(float), argument)
    return times.astype(float)
