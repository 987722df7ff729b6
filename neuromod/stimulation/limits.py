r"""What may be sent to tissue: limits that no optimiser can move.

A `Stimulus` is what the stimulator will do, in units; `Limits` say what it may do. They
are checked on every ask, after the optimiser has chosen and without asking it. The
charge of a phase is amplitude times pulse width,

$$
Q\;[\mathrm{nC}] = A\;[\mathrm{\mu A}] \cdot w\;[\mathrm{\mu s}] / 1000,
$$

and a biphasic pulse is balanced if its two phases carry the same. Every limit must be
given: what is not to be limited is said to be infinite, in writing.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from neuromod.core.errors import invalid

HOUR = 3600.0  # s


@dataclasses.dataclass(frozen=True)
class Stimulus:
    """What a stimulator is told to do.

    Parameters
    ----------
    electrodes
        Labels of all electrodes that carry current.
    amplitude
        Of the first phase (uA).
    pulse_width
        Of the first phase (us).
    frequency
        Of the pulses of a train (Hz).
    n_pulses
        Of the train.
    second_amplitude, second_pulse_width
        Of the opposite phase; those of the first one if omitted.
    """

    electrodes: tuple[str, ...]
    amplitude: float
    pulse_width: float
    frequency: float
    n_pulses: int = 1
    second_amplitude: float | None = None
    second_pulse_width: float | None = None

    @property
    def charge_per_phase(self) -> float:
        """The charge of the larger phase (nC)."""
        return max(self._charges())

    @property
    def imbalance(self) -> float:
        """What is left in the tissue after a train (nC)."""
        first, second = self._charges()
        return abs(first - second) * self.n_pulses

    def _charges(self) -> tuple[float, float]:
        amplitude = _or(self.second_amplitude, self.amplitude)
        width = _or(self.second_pulse_width, self.pulse_width)
        first = abs(self.amplitude) * self.pulse_width / 1000
        return first, abs(amplitude) * width / 1000

    @property
    def largest_amplitude(self) -> float:
        """The amplitude of the larger phase (uA)."""
        return max(abs(self.amplitude), abs(_or(self.second_amplitude, self.amplitude)))


class Delivery(NamedTuple):
    """A stimulus that was sent, or may have been.

    Parameters
    ----------
    time
        When (s), by a clock that never goes back.
    stimulus
        What.
    """

    time: float
    stimulus: Stimulus


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What may be sent.

    Parameters
    ----------
    amplitude
        At most (uA): for all electrodes, or by their labels.
    charge_per_phase
        At most (nC).
    imbalance
        Charge that a train may leave (nC).
    frequency
        At most (Hz).
    n_pulses
        Of a train, at most.
    interval
        Between two stimuli, at least (s).
    per_hour, per_electrode_per_hour
        Stimuli within any hour, at most.
    ramp
        By how much the amplitude may exceed the largest one that the electrode has
        had before (uA); a first one may be as large as this.

    Raises
    ------
    InvalidInputError
        If a limit is no positive number; those of imbalance and interval may be zero.

    Examples
    --------
    >>> limits = Limits(
    ...     amplitude=100.0,
    ...     charge_per_phase=20.0,
    ...     imbalance=0.0,
    ...     frequency=330.0,
    ...     n_pulses=50,
    ...     interval=0.5,
    ...     per_hour=1000,
    ...     per_electrode_per_hour=200,
    ...     ramp=100.0,
    ... )
    >>> limits.violations(Stimulus(("7",), 120.0, 200.0, 300.0), [], now=0.0)[0]
    'amplitude 120 uA, at most 100 uA at electrode 7'
    """

    amplitude: float | Mapping[str, float]
    charge_per_phase: float
    imbalance: float
    frequency: float
    n_pulses: float
    interval: float
    per_hour: float
    per_electrode_per_hour: float
    ramp: float

    def __post_init__(self) -> None:
        """Refuse what is no limit."""
        for field in dataclasses.fields(self):
            given = getattr(self, field.name)
            several = isinstance(given, Mapping)
            for label, value in given.items() if several else [("", given)]:
                name = f"{field.name}[{label!r}]" if several else field.name
                _require_limit(name, value, field.name in ("imbalance", "interval"))

    def violations(
        self, stimulus: Stimulus, before: Sequence[Delivery], *, now: float
    ) -> list[str]:
        """Return in words which limits a stimulus would break; none if it may be sent.

        Parameters
        ----------
        stimulus
            What is to be sent.
        before
            All that was sent, or may have been.
        now
            The time (s).
        """
        return [
            *_malformed(stimulus),
            *self._of_stimulus(stimulus),
            *self._of_ramp(stimulus, before),
            *self._of_rate(stimulus, before, now),
        ]

    def wait(
        self, stimulus: Stimulus, before: Sequence[Delivery], *, now: float
    ) -> float:
        """Return after how many seconds the rates would allow a stimulus.

        Infinite if they never would.
        """
        ends = [d.time + self.interval for d in before if not _past(d, now, self)]
        within = [d for d in before if _age(d, now) < HOUR]
        ends += _ends(within, self.per_hour)
        for electrode in stimulus.electrodes:
            there = [d for d in within if electrode in d.stimulus.electrodes]
            ends += _ends(there, self.per_electrode_per_hour)
        return max((end - now for end in ends), default=0.0)

    def _of_stimulus(self, stimulus: Stimulus) -> list[str]:
        found = []
        for electrode in stimulus.electrodes:
            most = self._amplitude_at(electrode)
            if not stimulus.largest_amplitude <= most:
                found.append(
                    f"amplitude {stimulus.largest_amplitude:g} uA, at most {most:g} uA "
                    f"at electrode {electrode}"
                )
        checks = (
            (
                "charge per phase",
                stimulus.charge_per_phase,
                self.charge_per_phase,
                "nC",
            ),
            ("imbalance", stimulus.imbalance, self.imbalance, "nC"),
            ("frequency", stimulus.frequency, self.frequency, "Hz"),
            ("pulses", stimulus.n_pulses, self.n_pulses, ""),
        )
        return found + [
            f"{name} {value:g} {unit}, at most {most:g} {unit}".replace(
                " ,", ","
            ).strip()
            for name, value, most, unit in checks
            if not value <= most
        ]

    def _of_ramp(self, stimulus: Stimulus, before: Sequence[Delivery]) -> list[str]:
        found = []
        for electrode in stimulus.electrodes:
            reached = max(
                (
                    d.stimulus.largest_amplitude
                    for d in before
                    if electrode in d.stimulus.electrodes
                ),
                default=0.0,
            )
            most = reached + self.ramp
            if not stimulus.largest_amplitude <= most:
                found.append(
                    f"amplitude {stimulus.largest_amplitude:g} uA, at most {most:g} uA "
                    f"now at electrode {electrode}, which has had {reached:g} uA"
                )
        return found

    def _of_rate(
        self, stimulus: Stimulus, before: Sequence[Delivery], now: float
    ) -> list[str]:
        found = []
        last = max((d.time for d in before), default=-math.inf)
        if max(now - last, 0.0) < self.interval:
            found.append(
                f"{max(now - last, 0.0):.3g} s after the last stimulus, at least "
                f"{self.interval:g} s"
            )
        within = [d for d in before if _age(d, now) < HOUR]
        if len(within) + 1 > self.per_hour:
            found.append(
                f"{len(within) + 1} stimuli within an hour, at most {self.per_hour:g}"
            )
        for electrode in stimulus.electrodes:
            there = sum(electrode in d.stimulus.electrodes for d in within) + 1
            if there > self.per_electrode_per_hour:
                found.append(
                    f"{there} stimuli of electrode {electrode} within an hour, at most "
                    f"{self.per_electrode_per_hour:g}"
                )
        return found

    def _amplitude_at(self, electrode: str) -> float:
        if isinstance(self.amplitude, Mapping):
            return self.amplitude.get(electrode, 0.0)  # what is not named may have none
        return self.amplitude


def _require_limit(name: str, value: Any, may_be_zero: bool) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    least = "zero or more" if may_be_zero else "more than zero"
    if not is_number or math.isnan(value) or value < 0 or not (value or may_be_zero):
        remedy = "Where there is to be no limit, say math.inf."
        raise invalid(name, repr(value), f"a number, {least}", remedy)


def _malformed(stimulus: Stimulus) -> list[str]:
    """Tell what is no stimulus at all: then no limit could be trusted."""
    found = [] if stimulus.electrodes else ["no electrode"]
    for field in dataclasses.fields(stimulus)[1:]:
        value = getattr(stimulus, field.name)
        if value is None:
            continue
        if not math.isfinite(value):
            found.append(f"{field.name} {value}, a finite number is expected")
        elif value < 0 and "amplitude" not in field.name:
            found.append(f"{field.name} {value:g}, zero or more is expected")
    return found


def _past(delivery: Delivery, now: float, limits: Limits) -> bool:
    return _age(delivery, now) >= limits.interval


def _age(delivery: Delivery, now: float) -> float:
    """Return how long ago something was sent: never less than nothing."""
    return max(now - delivery.time, 0.0)


def _ends(within: Sequence[Delivery], most: float) -> list[float]:
    """Return when there will be room for one more within an hour."""
    too_many = len(within) + 1 - most
    if too_many <= 0:
        return []
    if too_many > len(within):
        return [math.inf]
    times = sorted(d.time for d in within)
    return [times[math.ceil(too_many) - 1] + HOUR]


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
