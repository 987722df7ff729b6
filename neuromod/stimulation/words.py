"""A session in words and numbers with units, for its report and its page."""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from neuromod.stimulation.journal import Event
from neuromod.stimulation.limits import Delivery, Limits, Stimulus
from neuromod.stimulation.session import Session
from neuromod.stimulation.tables import words

FATES = {
    "valid": "valid",
    "excluded": "excluded",
    "rejected": "rejected",
    "pending": "waiting for a response",
    "unresolved": "unresolved",
}


def number(value: float, unit: str = "") -> str:
    """Write a number with its unit, from which no line end parts it.

    Examples
    --------
    >>> number(0.012345, "mV"), number(math.inf, "nC")
    ('0.01235\\xa0mV', 'no limit')
    """
    if math.isinf(value):
        return "no limit"
    written = f"{value:.4g}"
    return f"{written}\u00a0{unit}" if unit else written


def moment(time: float) -> str:
    """Write a time (s since 1970), UTC.

    Examples
    --------
    >>> moment(0.0)
    '1970-01-01 00:00:00'
    """
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}"


def of_stimulus(stimulus: Stimulus) -> list[tuple[str, str]]:
    """Return what is to be sent: names and values with units.

    Examples
    --------
    >>> of_stimulus(Stimulus(("7",), 50.0, 200.0, 300.0))[0]
    ('electrode', '7')
    """
    electrodes = stimulus.electrodes
    found = [
        ("electrodes" if len(electrodes) > 1 else "electrode", ", ".join(electrodes)),
        ("amplitude", number(stimulus.amplitude, "µA")),
        ("pulse width", number(stimulus.pulse_width, "µs")),
        ("frequency", number(stimulus.frequency, "Hz")),
        ("pulses", number(stimulus.n_pulses)),
        ("charge per phase", number(stimulus.charge_per_phase, "nC")),
    ]
    if stimulus.second_amplitude is not None:
        second = number(stimulus.second_amplitude, "µA")
        found.insert(2, ("second amplitude", second))
    if stimulus.second_pulse_width is not None:
        second = number(stimulus.second_pulse_width, "µs")
        found.insert(-3, ("second pulse width", second))
    return found


class Best(NamedTuple):
    """The tested point that is believed best.

    Parameters
    ----------
    point
        In words.
    expected, low, high
        Response of the target, and its 95 % interval; NaN where it is not known.
    unit
        Of the response.
    """

    point: str
    expected: float
    low: float
    high: float
    unit: str

    def __str__(self) -> str:
        """Tell it."""
        told = f"{self.point}: {number(self.expected, self.unit)}"
        if math.isnan(self.low):
            return told
        return f"{told} (95 % interval {self.low:.4g} to {self.high:.4g})"


def best_of(session: Session) -> Best | None:
    """Return the best tested point, if there is any."""
    if not any(trial.fate == "valid" for trial in session.trials.values()):
        return None
    point, target = session.best(), session.settings.aim.target
    found = session.map().sel(output=target)
    unit = found["expected"].attrs.get("units", "")
    there = np.ones(found.sizes["candidate"], bool)
    for name, value in point.items():
        there &= found[name].values == value
    if there.any():
        here = found.isel(candidate=int(np.flatnonzero(there)[0]))
        expected, low, high = (float(here[n]) for n in ("expected", "low", "high"))
        return Best(words(point), expected, low, high, unit)
    # Candidates of an axis without steps are others at every ask.
    expected = float(session.history()["best_expected"][-1])
    return Best(words(point), expected, math.nan, math.nan, unit)


def counts(session: Session) -> dict[str, int]:
    """Return how many trials had each fate, in words, where there are any."""
    fates = [trial.fate for trial in session.trials.values()]
    return {told: fates.count(fate) for fate, told in FATES.items() if fate in fates}


class Sent(NamedTuple):
    """What an electrode was sent.

    Parameters
    ----------
    electrode
        Its label.
    n_stimuli
        In which it took part.
    amplitude, charge
        The largest (uA), and of a phase (nC).
    """

    electrode: str
    n_stimuli: int
    amplitude: float
    charge: float


def sent_to(deliveries: Iterable[Delivery]) -> list[Sent]:
    """Return what each electrode was sent, those that were sent most first.

    Examples
    --------
    >>> sent_to([Delivery(0.0, Stimulus(("7",), 50.0, 200.0, 1.0))])
    [Sent(electrode='7', n_stimuli=1, amplitude=50.0, charge=10.0)]
    """
    found: dict[str, Sent] = {}
    for _, stimulus in deliveries:
        for label in stimulus.electrodes:
            _, n_stimuli, amplitude, charge = found.get(label, Sent(label, 0, 0.0, 0.0))
            found[label] = Sent(
                label,
                n_stimuli + 1,
                max(amplitude, stimulus.largest_amplitude),
                max(charge, stimulus.charge_per_phase),
            )
    return sorted(found.values(), key=lambda one: -one.n_stimuli)


def limit_at(limits: Limits, electrode: str) -> float:
    """Return the amplitude that an electrode may have at most (uA)."""
    if isinstance(limits.amplitude, Mapping):
        return limits.amplitude.get(electrode, 0.0)
    return limits.amplitude


def broken(session: Session) -> list[str]:
    """Check every stimulus once more against the limits, and tell what was broken."""
    found, before = [], []
    for delivery in session.delivered:
        now, stimulus = delivery
        found += session.limits.violations(stimulus, before, now=now)
        before.append(delivery)
    return found


def of_event(event: Event) -> str:
    """Tell an event in a line.

    Examples
    --------
    >>> of_event(Event(3, 0.0, "reject", {"id": "rat7-00002", "reason": "moved"}, ""))
    'rat7-00002: moved'
    """
    content = dict(event.content)
    tell = _TELL.get(event.kind)
    told = tell(content) if tell else _flat(content)
    name = content.get("id")
    return f"{name}: {told}" if name else told


def _ask(content: Mapping[str, Any]) -> str:
    return words(content["point"])


def _tell(content: Mapping[str, Any]) -> str:
    told = ", ".join(f"{k} {v:.6g}" for k, v in content["response"].items())
    return told if content["valid"] else f"{told}, excluded: {content['reason']}"


def _reason(content: Mapping[str, Any]) -> str:
    return content["reason"] or "no reason given"


_TELL = {
    "open": lambda content: (
        f"begun with seed {content['settings']['seed']}, {_flat(content['versions'])}"
    ),
    "reopen": lambda content: f"opened again, {_flat(content['versions'])}",
    "ask": _ask,
    "tell": _tell,
    "reject": _reason,
    "stop": _reason,
    "refused": _reason,
    "resolve": lambda content: (
        f"{'sent' if content['sent'] else 'not sent'}, says {content['by']}"
    ),
    "confirm": lambda content: f"{content['what']}, says {content['by']}",
}


def _flat(content: Any) -> str:
    """Return plain values in a line."""
    if isinstance(content, Mapping):
        told = (f"{str(k).replace('_', ' ')} {_flat(v)}" for k, v in content.items())
        return ", ".join(told) or "none"
    if isinstance(content, list | tuple | np.ndarray):
        return f"({', '.join(_flat(value) for value in content)})"
    if isinstance(content, float):
        return f"{content:.6g}"
    return str(content)
