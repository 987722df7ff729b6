"""Sessions with hostile settings, and a judge of what they send.

The judge knows nothing of how limits are checked. For every stimulus it goes through
all that was sent before, one by one, and through the sentences of the limits: what no
electrode may exceed, what no phase, what no train, how soon and how often, and how far
above what the electrode has had before.
"""

import contextlib
import itertools
import math
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import hypothesis
import numpy as np
from hypothesis import strategies as st

from neuromod.core.errors import SessionError
from neuromod.stimulation.limits import HOUR, Limits
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.session import Session
from neuromod.stimulation.space import Space

LABELS = ("1", "2", "3", "4")
POSITIONS = {"1": (0, 0), "2": (0, 1), "3": (1, 0), "4": (1, 1)}
MOST_VALID = 20  # more would need room, and programs for it
LEAST = 1e-6  # s, by which sums of times may be off
INF, NAN = math.inf, math.nan
WRONG = "unsafe", "refused without need", "of another point", "uncounted"


class Case(NamedTuple):
    """Settings of a session, and of what happens in it.

    Parameters
    ----------
    axes, fixed
        Of the space.
    limits
        By their names.
    seed
        Of the session, and of what happens.
    still
        Whether the clocks stand still.
    """

    axes: dict[str, list]
    fixed: dict[str, Any]
    limits: dict[str, Any]
    seed: int
    still: bool


def some(*values: Any) -> st.SearchStrategy:
    """Return one of these values."""
    return st.sampled_from(values)


def mostly(usual: Any, *hostile: Any) -> st.SearchStrategy:
    """Return the usual value, or a hostile one in one of four cases."""
    return some(*[usual] * 3 * len(hostile), *hostile)


def unlike(n: int, *values: float) -> st.SearchStrategy:
    """Return some of these values, no two the same."""
    return st.lists(some(*values), min_size=n, max_size=n, unique=True)


AMPLITUDES = -200.0, -40.0, -1.0, 0.0, 1e-9, 5.0, 20.0, 40.0, 60.0, 150.0, 1e9
AXES = st.fixed_dictionaries(
    {
        "electrode": st.just(list(LABELS)),
        "amplitude": unlike(4, *AMPLITUDES),
        "second_pulse_width": unlike(2, 0.0, 50.0, 200.0, 200.0001, 400.0, -200.0),
    }
)
FIXED = st.fixed_dictionaries(
    {
        "pulse_width": mostly(200.0, 50.0, 0.0, 1e6, -200.0, NAN),
        "frequency": mostly(300.0, 1.0, 330.0, 331.0, 0.0, INF),
    },
    optional={
        "n_pulses": mostly(1, 3, 50, 0, 10**9),
        "second_amplitude": some(20.0, -20.0, 40.0, 0.0, 1e9),
        "electrodes": some(["4"], ["ground"], ["1", "2", "ground"]),
    },
)
EACH = mostly(100.0, 0.5, 20.0, 40.0, 1e10, INF)
LIMITS = st.fixed_dictionaries(
    {
        "amplitude": st.one_of(
            EACH,
            st.fixed_dictionaries(
                dict.fromkeys(LABELS[:3], EACH), optional={"4": EACH, "ground": EACH}
            ),
            st.dictionaries(some(*LABELS, "no such"), EACH, max_size=3),
        ),
        "charge_per_phase": mostly(INF, 1e-9, 4.0, 8.0, 12.0, 1e9),
        "imbalance": mostly(INF, 0.0, 0.00001, 6.0, 1e9),
        "frequency": mostly(330.0, 1.0, 300.0, INF),
        "n_pulses": mostly(50, 1, 2.5, INF),
        "interval": mostly(0.0, 0.1, 9.0, 5000.0, 1e9, INF),
        "per_hour": mostly(1000, 0.5, 1, 4, 7.5, INF),
        "per_electrode_per_hour": mostly(10, 0.5, 1, 3, INF),
        "ramp": mostly(INF, 1e-12, 5.0, 20.0, 39.9, 40.0),
    }
)
CASES = st.builds(Case, AXES, FIXED, LIMITS, st.integers(0, 2**32), mostly(False, True))
STEPS = 0.0, 0.0, 0.0, 0.0313, 0.317, 7.0711, 11.4337, 1017.3, 3601.7, 1e5


class Clocks:
    """The clocks of a computer, which go on when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def time(self) -> float:
        """Return what the clock shows that can be set."""
        return 1.7e9 + self.seconds

    def monotonic(self) -> float:
        """Return what the clock shows that cannot be set."""
        return 5000.0 + self.seconds


class Sent(NamedTuple):
    """What went into the tissue: amplitudes and widths are of both phases."""

    at: float
    electrodes: list[str]
    amplitudes: list[float]
    widths: list[float]
    frequency: float
    n_pulses: float


def sent_by(point: dict[str, Any], fixed: dict[str, Any], at: float) -> Sent:
    """Return what a point of a space sends, from its axes and fixed parts alone."""
    given = fixed | point
    electrodes = [point["electrode"]]
    for label in fixed.get("electrodes", []):
        if label not in electrodes:
            electrodes.append(label)
    second = given.get("second_amplitude", given["amplitude"])
    return Sent(
        at,
        electrodes,
        [abs(given["amplitude"]), abs(second)],
        [given["pulse_width"], given["second_pulse_width"]],
        given["frequency"],
        given.get("n_pulses", 1),
    )


def unsafe(new: Sent, before: list[Sent], limits: dict[str, Any]) -> list[str]:
    """Return which limits a stimulus breaks, given all that was sent before."""
    found = []
    numbers = [*new.amplitudes, *new.widths, new.frequency, new.n_pulses]
    if not new.electrodes or not all(map(math.isfinite, numbers)):
        return ["no stimulus"]
    if min(new.widths) < 0 or new.frequency < 0 or new.n_pulses < 0:
        return ["less than nothing"]
    charges = [a * w / 1000 for a, w in zip(new.amplitudes, new.widths, strict=True)]
    for label in new.electrodes:
        most = limits["amplitude"]
        if isinstance(most, dict):
            most = most.get(label, 0.0)
        had = 0.0
        for other in before:
            if label in other.electrodes:
                had = max(had, *other.amplitudes)
        for amplitude in new.amplitudes:
            if amplitude > most:
                found.append("amplitude")
            if amplitude > had + limits["ramp"]:
                found.append("ramp")
    for charge in charges:
        if charge > limits["charge_per_phase"]:
            found.append("charge per phase")
    if abs(charges[0] - charges[1]) * new.n_pulses > limits["imbalance"]:
        found.append("imbalance")
    if new.frequency > limits["frequency"]:
        found.append("frequency")
    if new.n_pulses > limits["n_pulses"]:
        found.append("n_pulses")
    count, counts = 1, dict.fromkeys(new.electrodes, 1)
    for other in before:
        passed = new.at - other.at
        if passed < limits["interval"] - LEAST:
            found.append("interval")
        if passed < HOUR - LEAST:
            count += 1
            for label in new.electrodes:
                counts[label] += label in other.electrodes
    if count > limits["per_hour"]:
        found.append("per hour")
    if max(counts.values()) > limits["per_electrode_per_hour"]:
        found.append("per electrode per hour")
    return found


def run(case: Case, path: Path, n_asks: int) -> Counter:
    """Ask a session so many times; return how often it sent, refused, and was wrong.

    It is wrong to send what is unsafe, to refuse while something safe could be sent,
    and to send another thing than its point says.
    """
    clocks, rng = Clocks(), np.random.default_rng(case.seed)
    count, before, pending = Counter(), [], []
    points = [
        dict(zip(case.axes, values, strict=True))
        for values in itertools.product(*case.axes.values())
    ]
    given = {
        "space": Space(case.axes, POSITIONS, fixed=case.fixed),
        "limits": Limits(**case.limits),
        "rule": Rule(),
        "n_planned": MOST_VALID,
    }
    with (
        mock.patch("time.time", clocks.time),
        mock.patch("time.monotonic", clocks.monotonic),
    ):
        session = Session.open(path, **given, seed=case.seed % 100)
        for _ in range(n_asks):
            clocks.seconds += 0.0 if case.still else float(rng.choice(STEPS))
            count["asks"] += 1
            try:
                ask = session.ask()
            except SessionError:
                count["refused"] += 1
                could = [sent_by(p, case.fixed, clocks.seconds + LEAST) for p in points]
                safe = [s for s in could if not unsafe(s, before, case.limits)]
                count["refused without need"] += bool(safe)
            else:
                new = sent_by(ask.point, case.fixed, clocks.seconds)
                count["sent"] += 1
                count["unsafe"] += bool(unsafe(new, before, case.limits))
                count["of another point"] += _differs(ask.stimulus, new, case)
                before.append(new)
                pending.append(ask.id)
            _go_on(session, pending, count, rng)
            if rng.random() < 0.05:
                session.close()
                session = Session.open(path)
                for name in pending:
                    session.resolve(name, sent=bool(rng.random() < 0.5), by="nobody")
                pending.clear()
        count["uncounted"] += len(session.delivered) != len(before)
        session.close()
    return count


def _go_on(session: Session, pending: list[str], count: Counter, rng: Any) -> None:
    """Tell, reject, or leave a trial for later."""
    if not pending or rng.random() < 0.2:
        return
    name = pending.pop(int(rng.integers(len(pending))))
    response = float(rng.choice([-1e12, 0.0, 1e-9, 1.0, 1e12]))
    if rng.random() < 0.4 or count["told"] == MOST_VALID:
        session.reject(name, "nothing came back")
    else:
        valid = bool(rng.random() < 0.7)
        session.tell(name, response, valid=valid)
        count["told"] += valid


def _differs(stimulus: Any, new: Sent, case: Case) -> bool:
    """Return whether a stimulus is not what its point and the fixed parts say."""
    second = (stimulus.second_amplitude, stimulus.second_pulse_width)
    amplitude = stimulus.amplitude if second[0] is None else second[0]
    return (
        list(stimulus.electrodes) != new.electrodes
        or [abs(stimulus.amplitude), abs(amplitude)] != new.amplitudes
        or [stimulus.pulse_width, second[1]] != new.widths
        or (stimulus.frequency, stimulus.n_pulses) != (new.frequency, new.n_pulses)
    )


@contextlib.contextmanager
def fast_folder() -> Any:
    """Return a folder in memory, if there is one: a disk would be waited for."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def ask_hostile_sessions(n_asks: int, *, seed: int, n_each: int = 50) -> dict[str, int]:
    """Ask sessions with hostile settings so many times in all; return what came."""
    total = Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        database=None, deadline=None, derandomize=False, max_examples=n_asks // n_each
    )
    @hypothesis.given(CASES)
    def ask(case: Case) -> None:
        with fast_folder() as folder:
            total.update(run(case, folder / "rat7.db", n_each))

    while total["asks"] < n_asks:
        ask()
    return dict(total)
