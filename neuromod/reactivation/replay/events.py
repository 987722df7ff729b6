"""Population bursts: when so many neurons fire together that it may be a replay.

All spikes are counted together, smoothed by a Gaussian, and compared with their own
mean and standard deviation while the animal is still. An event is a stretch above the
mean that reaches a threshold somewhere, of a duration and a number of neurons that make
a sequence possible (Davidson, Kloosterman & Wilson, Neuron 2009).
"""

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from neuromod.core import dimensions
from neuromod.core.errors import ShapeError, invalid
from neuromod.io import align
from neuromod.reactivation.replay.tuning import read_counts


def detect_events(
    spikes: xr.DataArray,
    *,
    speed: xr.DataArray | None = None,
    max_speed: float | None = None,
    smoothing: float = 0.015,
    threshold: float = 3.0,
    min_duration: float = 0.08,
    max_duration: float = 0.5,
    min_active: int = 5,
) -> xr.Dataset:
    """Find bursts of the population.

    Parameters
    ----------
    spikes : (time, neuron)
        Spike counts in bins of a few ms, of the time in which to look. It may have
        gaps, which no event crosses.
    speed : (time,)
        How fast the animal moved (`speed`), on a clock of its own.
    max_speed
        Events during which it was faster, or not seen, are left out, and running does
        not count for the mean rate.

    Other Parameters
    ----------------
    smoothing
        Standard deviation of the Gaussian (s).
    threshold
        Standard deviations above the mean that the peak has to reach.
    min_duration, max_duration
        Limits of the duration (s).
    min_active
        Number of neurons that have to fire.

    Returns
    -------
    Dataset (event)
        ``start``, ``stop`` and ``peak`` (s), the ``peak_rate`` (standard deviations
        above the mean), ``n_active`` and ``n_spikes``; ``n_candidates`` in the
        attributes counts those before the limits of duration and neurons.

    Raises
    ------
    InvalidInputError
        If bins are wider than the smoothing, limits are out of order, or only one of
        ``speed`` and ``max_speed`` is given.

    Examples
    --------
    >>> counts = np.zeros((1000, 6), int)
    >>> counts[500:520] = 1
    >>> time = (np.arange(1000) + 0.5) * 0.005
    >>> spikes = xr.DataArray(counts, {"time": time}, ("time", "neuron"))
    >>> events = detect_events(spikes)
    >>> events["n_active"].values, events["peak"].values.round(1)
    (array([6]), array([2.5]))
    """
    counts, bin_size = read_counts(spikes)
    smoothing = dimensions.require_positive(smoothing, "smoothing", "s")
    if bin_size > smoothing:
        raise invalid(
            "spikes",
            f"bins of {bin_size:g} s",
            f"bins of at most {smoothing:g} s, the width of the smoothing",
            "Read them anew: neuromod.io.read_spikes(path, bin_size=0.005).",
        )
    dimensions.require_positive(threshold, "threshold", "standard deviations")
    least = dimensions.require_positive(min_duration, "min_duration", "s")
    if not least < dimensions.require_positive(max_duration, "max_duration", "s"):
        raise invalid("max_duration", max_duration, f"more than {least:g} s")
    min_active = dimensions.require_integer(min_active, "min_active")
    still = _still(counts, speed, max_speed)
    score = _score(counts, bin_size, smoothing, still)
    first, last, peak = _bursts(score, counts, bin_size, threshold)
    parts = [slice(a, b) for a, b in zip(first, last, strict=True)]
    calm = np.array([still[part].all() for part in parts], bool)
    n_candidates = int(calm.sum())
    spent = np.zeros((len(parts), counts.sizes["neuron"]), int)
    for event, part in enumerate(parts):
        spent[event] = counts.values[part].sum(axis=0)
    n_active = (spent > 0).sum(axis=1)
    duration = (last - first) * bin_size
    slack = 1e-6 * bin_size
    kept = calm & (duration >= least - slack) & (duration <= max_duration + slack)
    kept &= n_active >= min_active
    time = counts["time"].values
    seconds = {"units": "s"}
    return xr.Dataset(
        {
            "start": ("event", time[first[kept]] - bin_size / 2, seconds),
            "stop": ("event", time[last[kept] - 1] + bin_size / 2, seconds),
            "peak": ("event", time[peak[kept]], seconds),
            "peak_rate": ("event", score[peak[kept]], {"units": "1"}),
            "n_active": ("event", n_active[kept]),
            "n_spikes": ("event", spent[kept].sum(axis=1)),
        },
        {"event": np.arange(int(kept.sum()))},
        {"n_candidates": n_candidates, "threshold": threshold},
    )


def _still(
    counts: xr.DataArray, speed: xr.DataArray | None, max_speed: float | None
) -> np.ndarray:
    if speed is None and max_speed is None:
        return np.ones(counts.sizes["time"], bool)
    if speed is None or max_speed is None:
        raise invalid(
            "max_speed" if max_speed is None else "speed", "none", "both, or neither"
        )
    limit = dimensions.require_positive(max_speed, "max_speed")
    speed = dimensions.require_dims(speed, ("time",), "speed")
    still = align(speed, counts, "linear").values < limit
    if not still.any():
        raise invalid("max_speed", max_speed, "a speed below which the animal ever was")
    return still


def _score(
    counts: xr.DataArray, bin_size: float, smoothing: float, still: np.ndarray
) -> np.ndarray:
    """Return the rate of all neurons in standard deviations above its mean."""
    total = counts.values.sum(axis=1, dtype=float)
    gaps = np.flatnonzero(np.diff(counts["time"].values) > 1.5 * bin_size) + 1
    parts = [
        gaussian_filter1d(part, smoothing / bin_size, mode="reflect")
        for part in np.split(total, gaps)
    ]
    rate = np.concatenate(parts)
    spread = rate[still].std()
    return (rate - rate[still].mean()) / (spread if spread > 0 else 1.0)


def _bursts(
    score: np.ndarray, counts: xr.DataArray, bin_size: float, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first bin, the one after the last and the peak of each burst."""
    above = score > 0
    follows = np.diff(counts["time"].values, prepend=-np.inf) <= 1.5 * bin_size
    begins = above & ~(np.r_[False, above[:-1]] & follows)
    first = np.flatnonzero(begins)
    ends = above & ~(np.r_[above[1:], False] & np.r_[follows[1:], False])
    last = np.flatnonzero(ends) + 1
    peaks = [a + int(score[a:b].argmax()) for a, b in zip(first, last, strict=True)]
    peak = np.array(peaks, int)
    high = score[peak] >= threshold
    return first[high], last[high], peak[high]


def event_counts(
    spikes: xr.DataArray, events: xr.Dataset, bin_size: float
) -> xr.DataArray:
    """Return the spike counts of events, in wider bins that begin with each of them.

    Parameters
    ----------
    spikes : (time, neuron)
        Spike counts in fine bins.
    events : (event,)
        ``start`` and ``stop`` (s), as `detect_events` finds them.
    bin_size
        Width of the new bins (s), a whole multiple of the fine ones.

    Returns
    -------
    DataArray (time, neuron)
        One long array, with the number of the ``event`` along time. The last bin that
        is not full is left out.

    Raises
    ------
    InvalidInputError
        If the width is no multiple, an event is shorter than three bins or not within
        the spikes.

    Examples
    --------
    >>> time = (np.arange(1000) + 0.5) * 0.005
    >>> spikes = xr.DataArray(np.ones((1000, 2)), {"time": time}, ("time", "neuron"))
    >>> events = xr.Dataset({"start": ("event", [1.0]), "stop": ("event", [1.09])})
    >>> event_counts(spikes, events, 0.02)["time"].values.round(3)
    array([1.01, 1.03, 1.05, 1.07])
    """
    counts, fine = read_counts(spikes)
    wide = dimensions.require_positive(bin_size, "bin_size", "s")
    factor = round(wide / fine)
    if factor < 1 or abs(wide / fine - factor) > 1e-3:
        raise invalid(
            "bin_size", f"{wide:g} s", f"a whole multiple of the {fine:g} s of spikes"
        )
    time = counts["time"].values
    starts, stops = _limits(events)
    parts, times, labels = [], [], []
    for label, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        first = int(np.searchsorted(time, start + 1e-6 * fine))
        n_bins = int((stop - start) / wide + 1e-6)
        last = first + n_bins * factor
        if n_bins < 3:
            raise invalid(
                "events",
                f"event {label} of {stop - start:.3g} s",
                f"at least three bins of {wide:g} s",
                "Decode in shorter bins, or ask for longer events (min_duration=).",
            )
        if (first == 0 and time[0] - start > fine) or last > len(time):
            raise invalid("events", f"event {label} outside of the spikes", "within")
        if time[last - 1] - time[first] > (last - first) * fine:
            raise invalid("events", f"event {label} across a gap", "without gaps")
        values = counts.values[first:last].reshape(n_bins, factor, -1)
        parts.append(values.sum(axis=1, dtype=np.int32))
        times.append(time[first] - fine / 2 + (np.arange(n_bins) + 0.5) * wide)
        labels.append(np.full(n_bins, label))
    coords = {"time": np.concatenate(times), "neuron": counts["neuron"]}
    return xr.DataArray(
        np.concatenate(parts),
        {**coords, "event": ("time", np.concatenate(labels))},
        ("time", "neuron"),
        "spikes",
        {"units": "spikes", "bin_size": wide},
    )


def _limits(events: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    missing = {"start", "stop"} - set(map(str, getattr(events, "variables", ())))
    if missing:
        raise invalid(
            "events",
            "no " + " and ".join(sorted(missing)),
            "`start` and `stop` (s) along `event`",
            kind=ShapeError,
        )
    start, stop = (
        dimensions.require_dims(events[k], ("event",), f"events.{k}").values.astype(
            float
        )
        for k in ("start", "stop")
    )
    if not len(start):
        raise invalid(
            "events",
            "none",
            "at least one",
            "Lower the threshold, min_duration or min_active of detect_events.",
        )
    dimensions.require_finite(np.r_[start, stop], "events")
    if (np.diff(start) <= 0).any() or (stop[:-1] > start[1:]).any():
        raise invalid("events", "events that overlap", "one after the other")
    return start, stop
