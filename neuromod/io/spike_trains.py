"""Spike trains on the clock of their recording: the noun between files and counts.

Every reader ends here and every binning starts here. A spike is an event (tick,
neuron): the tick counts whole periods of the clock on which the amplifier sampled,
so that nothing is lost to rounding and a spike at the edge of a bin always falls on
the same side. A source that only knows seconds is put on a clock of 1 ns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import xarray as xr

from neuromod.core.errors import choice, invalid
from neuromod.io.events import (
    annotated,
    ascends,
    in_order,
    indices,
    intersection,
    observed_intervals,
    require_ascending,
    require_limits,
    within,
)
from neuromod.io.reading import (
    NANOSECOND_CLOCK,
    Reading,
    labelled,
    named,
    positions,
    several,
    whole,
)


@dataclass(frozen=True, eq=False, repr=False)
class SpikeTrains:
    """The spikes of all units of one recording, in the order of time.

    Most users get one from `neuromod.io.read_spike_trains`, or build one with
    `from_events` or `from_units`.

    Parameters
    ----------
    ticks : (spike,)
        Whole ticks of the clock; ascending within each unit.
    neurons : (spike,)
        Index of the unit of each spike, into ``labels``.
    labels : (neuron,)
        The unit's names or numbers in the source; all different. A unit may have no
        spike.
    rate
        Ticks per second (Hz).
    start, stop
        Limits of the recording (s); None if the source does not state them.
    observed
        For each unit, the intervals (interval, 2) in s in which it was observed;
        empty if the source does not state them.
    annotations
        What the source says about each unit: arrays (neuron,) by name.
    source
        Where the spikes come from.
    notes
        What was done while reading; it ends in the attributes of the counts.
    n_outside : (neuron,)
        Spikes of each unit that `crop` has dropped so far.

    Raises
    ------
    InvalidInputError
        If the times of a unit do not ascend, a spike lies outside the limits, a
        label occurs twice, or the arrays do not fit together.

    Examples
    --------
    >>> trains = SpikeTrains.from_units({"a": [0.1, 0.25], "b": []}, stop=0.4)
    >>> trains
    <SpikeTrains: 2 units, 2 spikes, 0.1 to 0.4 s, clock 1e+09 Hz>
    >>> trains.bin(0.1, start=0.0).values.tolist()
    [[0, 0], [1, 0], [1, 0], [0, 0]]
    """

    ticks: np.ndarray
    neurons: np.ndarray
    labels: np.ndarray
    rate: float = NANOSECOND_CLOCK
    start: float | None = None
    stop: float | None = None
    observed: tuple[np.ndarray, ...] = ()
    annotations: Mapping[str, np.ndarray] = field(default_factory=dict)
    source: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)
    n_outside: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        labels = labelled(self.labels, "labels")
        ticks, neurons = np.asarray(self.ticks), np.asarray(self.neurons)
        if ticks.dtype.kind not in "iu":
            raise invalid(
                "ticks",
                f"values of type {ticks.dtype}",
                "whole ticks of the clock",
                "SpikeTrains.from_events takes times in seconds.",
            )
        ticks = whole(ticks, "ticks")
        neurons = indices(neurons, len(ticks), len(labels))
        require_limits(self.start, self.stop, self.rate)
        if not ascends(ticks, neurons):
            require_ascending(ticks, neurons, labels, self.rate)
            ticks, neurons = in_order(ticks, neurons, len(labels))
        self._set(ticks=ticks, neurons=neurons, labels=labels, rate=float(self.rate))
        self._set(annotations=annotated(self.annotations, len(labels)))
        self._set(observed=observed_intervals(self.observed, labels))
        if not len(self.n_outside):
            self._set(n_outside=np.zeros(len(labels), dtype=np.int64))
        self._require_spikes_within()

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_events(
        cls,
        times: object,
        neurons: object,
        *,
        labels: Iterable[object] | None = None,
        sample_rate: float | None = None,
        start: float | None = None,
        stop: float | None = None,
        reading: Reading | None = None,
        **fields: Any,
    ) -> Self:
        """Build spike trains from one list of times and one of units.

        Parameters
        ----------
        times : (spike,)
            Times in seconds, or samples of a clock of ``sample_rate`` Hz.
        neurons : (spike,)
            The unit's label for each spike; its index if ``labels`` are given.
        labels : (neuron,)
            The labels of all units, silent ones included.
        sample_rate
            Rate (Hz) of the clock of which the times are samples.
        start, stop
            Limits of the recording (s) that the source states.
        reading
            What the user said about the source; it wins over the source.
        **fields
            Further fields: ``observed``, ``annotations``, ``source``, ``notes``.

        Examples
        --------
        >>> trains = SpikeTrains.from_events([12, 15], [7, 7], sample_rate=10.0)
        >>> trains.times
        array([1.2, 1.5])
        """
        reading = reading or Reading()
        ticks, rate = reading.ticks(times, "spike times", sample_rate)
        neurons = np.asarray(neurons).reshape(-1)
        if len(neurons) != len(ticks):
            raise invalid(
                "units", f"{len(neurons)} of them", f"{len(ticks)}, one a spike"
            )
        if labels is None:
            if neurons.dtype == object:  # text and numbers cannot be sorted together
                neurons = np.array([named(label) for label in neurons], dtype=str)
            labels, neurons = np.unique(neurons, return_inverse=True)
        labels = labelled(labels, "labels")
        neurons = indices(neurons, len(ticks), len(labels))
        if reading.sort and not ascends(ticks, neurons):
            ticks, neurons = in_order(ticks, neurons, len(labels))
            fields["notes"] = {**fields.get("notes", {}), "sorted": "by time"}
        if reading.start is None and reading.stop is None:
            return cls(ticks, neurons, labels, rate, start, stop, **fields)
        # The user's limits come first: what the source states may be the mistake.
        return cls(ticks, neurons, labels, rate, **fields).crop(
            start if reading.start is None else reading.start,
            stop if reading.stop is None else reading.stop,
        )

    @classmethod
    def from_units(
        cls, trains: Mapping[Any, object] | Iterable[object], **keywords: Any
    ) -> Self:
        """Build spike trains from the times of each unit.

        Parameters
        ----------
        trains
            Times of each unit, by label or in a list (labels 0, 1, ...).
        **keywords
            As in `from_events`.
        """
        if not isinstance(trains, Mapping):
            trains = dict(enumerate(trains))
        labels = keywords.get("labels")
        labels = list(trains) if labels is None else list(labels)
        if len(labels) != len(trains):
            raise invalid("labels", len(labels), f"{len(trains)}, one for each unit")
        reading = keywords.get("reading") or Reading()
        rate = keywords.get("sample_rate")
        parts = [
            reading.ticks(times, f"spike times of {label!r}", rate)[0]
            for label, times in trains.items()
        ]
        keywords |= {
            "sample_rate": reading.ticks([], "spike times", rate)[1],
            "reading": replace(reading, sample_rate=None, time_unit=None),
            "labels": labels,
        }
        index = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        flat = np.concatenate([*parts, np.zeros(0, dtype=np.int64)])
        return cls.from_events(flat, index, **keywords)

    @property
    def n_neurons(self) -> int:
        """Number of units, silent ones included."""
        return len(self.labels)

    @property
    def n_spikes(self) -> xr.DataArray:
        """Number of spikes of each unit (neuron)."""
        counts = np.bincount(self.neurons, minlength=self.n_neurons)
        return xr.DataArray(counts, {"neuron": self.labels}, "neuron", "n_spikes")

    @property
    def times(self) -> np.ndarray:
        """Times of all spikes (s)."""
        return self.ticks / self.rate

    @property
    def limits(self) -> tuple[float, float]:
        """Start and stop (s); the first and last spike where none is stated."""
        if self.observed and len(self.intervals):
            return float(self.intervals[0, 0]), float(self.intervals[-1, 1])
        spikes = self.ticks[[0, -1]] / self.rate if len(self.ticks) else (np.nan,) * 2
        start = spikes[0] if self.start is None else self.start
        stop = spikes[1] if self.stop is None else self.stop
        return float(start), float(stop)

    @property
    def intervals(self) -> np.ndarray:
        """Intervals (interval, 2) in s in which every unit was observed."""
        if not self.observed:
            return np.array([self.limits])
        start = -np.inf if self.start is None else self.start
        stop = np.inf if self.stop is None else self.stop
        return intersection([np.array([[start, stop]]), *self.observed])

    def train(self, label: object) -> np.ndarray:
        """Return the times (s) of one unit."""
        (index,) = positions([label], self.labels, "label")
        return self.ticks[self.neurons == index] / self.rate

    def to_dict(self) -> dict[Any, np.ndarray]:
        """Return the times (s) of each unit by label.

        Examples
        --------
        >>> SpikeTrains.from_events([0.1, 0.2], ["b", "a"]).to_dict()
        {'a': array([0.2]), 'b': array([0.1])}
        """
        times = self.times[np.argsort(self.neurons, kind="stable")]
        ends = np.cumsum(self.n_spikes.values)
        return dict(zip(self.labels.tolist(), np.split(times, ends[:-1]), strict=True))

    def select(self, labels: object = None, **annotations: object) -> Self:
        """Keep some units: by label, by what is annotated, or both.

        Parameters
        ----------
        labels
            The labels to keep, in the order in which they shall stand; 19, 19.0 and
            "19" mean the same unit. None keeps all.
        **annotations
            A value, or several, that an annotation has to have: ``quality="good"``.

        Raises
        ------
        InvalidInputError
            If a label or an annotation does not exist, or nothing is left.

        Examples
        --------
        >>> trains = SpikeTrains.from_units([[0.1], [0.2], [0.3]])
        >>> trains.select([2, "0"]).labels
        array([2, 0])
        """
        kept = np.arange(self.n_neurons)
        if labels is not None:
            kept = positions(labels, self.labels, "include")
        for name, wanted in annotations.items():
            choice("annotation", name, self.annotations)
            values = [named(value) for value in self.annotations[name]]
            allowed = {named(value) for value in several(wanted)}
            kept = kept[[values[i] in allowed for i in kept]]
            if not len(kept):
                raise invalid(
                    name,
                    ", ".join(map(repr, sorted(allowed))),
                    "the value of at least one unit",
                    "There are: " + ", ".join(map(repr, sorted(set(values)))) + ".",
                )
        return self._take(kept)

    def exclude(self, labels: object) -> Self:
        """Leave some units out; 19, 19.0 and "19" mean the same unit.

        Raises
        ------
        InvalidInputError
            If a label does not exist, or no unit would be left.
        """
        left_out = positions(labels, self.labels, "exclude")
        kept = np.setdiff1d(np.arange(self.n_neurons), left_out)
        if not len(left_out):
            return self
        if not len(kept):
            raise invalid("exclude", "every unit", "at least one unit to be left")
        names = ", ".join(named(self.labels[i]) for i in left_out)
        return replace(self._take(kept), notes={**self.notes, "excluded": names})

    def crop(self, start: float | None = None, stop: float | None = None) -> Self:
        """Set new limits (s), both included; count what lies outside, and drop it."""
        start = self.start if start is None else start
        stop = self.stop if stop is None else stop
        inside = within(self.ticks, self.rate, start, stop)
        lost = np.bincount(self.neurons[~inside], minlength=self.n_neurons)
        return replace(
            self,
            ticks=self.ticks[inside],
            neurons=self.neurons[inside],
            start=start,
            stop=stop,
            n_outside=self.n_outside + lost,
        )

    def bin(self, bin_size: float, **keywords: Any) -> xr.DataArray:
        """Count the spikes in bins: `neuromod.io.bin_spikes` with these trains."""
        from neuromod.io.binning import bin_spikes

        return bin_spikes(self, bin_size, **keywords)

    def equals(self, other: SpikeTrains) -> bool:
        """Tell whether the same units fired at the same ticks in the same limits."""
        return self.rate == other.rate and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("ticks", "neurons", "labels", "intervals")
        )

    def __repr__(self) -> str:
        start, stop = self.limits
        return (
            f"<SpikeTrains: {self.n_neurons} units, {len(self.ticks)} spikes, "
            f"{start:.6g} to {stop:.6g} s, clock {self.rate:g} Hz>"
        )

    def _take(self, kept: np.ndarray) -> Self:
        place = np.full(self.n_neurons, -1)
        place[kept] = np.arange(len(kept))
        moved = place[self.neurons]
        inside = moved >= 0
        return replace(
            self,
            ticks=self.ticks[inside],
            neurons=moved[inside],
            labels=self.labels[kept],
            observed=tuple(self.observed[i] for i in kept) if self.observed else (),
            annotations={k: v[kept] for k, v in self.annotations.items()},
            n_outside=self.n_outside[kept],
        )

    def _require_spikes_within(self) -> None:
        outside = ~within(self.ticks, self.rate, self.start, self.stop)
        if outside.any():
            time = self.ticks[outside][0] / self.rate
            label = self.labels[self.neurons[outside][0]]
            raise invalid(
                "spike times",
                f"{int(outside.sum())} spikes outside the recording, the first at "
                f"{time:.6g} s in unit {named(label)!r}",
                f"times within {self.limits[0]:.6g} to {self.limits[1]:.6g} s",
                "Two clocks? Put both on one, or say start= and stop= to drop what "
                "lies outside.",
            )
