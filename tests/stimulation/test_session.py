"""A session loses nothing, sends nothing twice, and comes back to the same bits."""

import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromod.core.errors import InvalidInputError, SessionError
from neuromod.stimulation import journal
from neuromod.stimulation.limits import Limits
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.session import Session
from neuromod.stimulation.space import Space

POSITIONS = {str(k): divmod(k, 4) for k in range(12)}
NO_LIMITS = {
    "amplitude": 100.0,
    "charge_per_phase": 30.0,
    "imbalance": 0.0,
    "frequency": 330.0,
    "n_pulses": 10,
    "interval": 0.0,
    "per_hour": math.inf,
    "per_electrode_per_hour": math.inf,
    "ramp": math.inf,
}


def space(amplitudes=(50.0,)):
    axes = {"electrode": list(POSITIONS), "amplitude": amplitudes}
    return Space(axes, POSITIONS, fixed={"pulse_width": 200.0, "frequency": 300.0})


def limits(**changes):
    return Limits(**NO_LIMITS | changes)


def begin(path, seed=0, n_planned=30, **options):
    """Begin a session whose rule knows that these responses have hardly any noise."""
    given = {
        "space": space(),
        "limits": limits(),
        "rule": Rule(length_scale=1.5, noise=0.02),
    }
    return Session.open(path, **given | options, seed=seed, n_planned=n_planned)


def response(point, scale=1.0):
    """Return a map with its largest response at electrode 6."""
    row, column = POSITIONS[point["electrode"]]
    return scale * (0.1 + math.exp(-((row - 1) ** 2 + (column - 2) ** 2)))


def run(session, n_trials):
    asked = []
    for _ in range(n_trials):
        ask = session.ask()
        asked.append(ask.point["electrode"])
        session.tell(ask.id, response(ask.point))
    return asked


def bits(session):
    found = session.belief()
    return [np.asarray(x).tobytes() for x in found]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rat7.db"


def test_it_finds_the_best_site(path):
    with begin(path) as session:
        run(session, 25)
        assert session.best() == {"electrode": "6", "amplitude": 50.0}


def test_opened_again_it_goes_on_as_if_it_had_not_been_closed(tmp_path):
    with begin(tmp_path / "whole.db") as session:
        whole, want = run(session, 30), bits(session)
    with begin(tmp_path / "parts.db") as session:
        parts = run(session, 11)
    for n_trials in (1, 13, 5):
        with Session.open(tmp_path / "parts.db") as session:
            parts += run(session, n_trials)
    assert parts == whole
    with Session.open(tmp_path / "parts.db") as session:
        assert bits(session) == want


def test_another_seed_searches_elsewhere(tmp_path):
    ways = []
    for seed in (0, 1):
        with begin(tmp_path / f"{seed}.db", seed=seed) as session:
            ways.append(run(session, 6))
    assert ways[0] != ways[1]


def test_units_of_responses_do_not_matter(tmp_path):
    ways = []
    for scale in (1.0, 2.0**-10):
        with begin(tmp_path / f"{scale}.db") as session:
            ways.append([])
            for _ in range(12):
                ask = session.ask()
                ways[-1].append(ask.point["electrode"])
                session.tell(ask.id, response(ask.point, scale))
    assert ways[0] == ways[1]


def test_asks_may_wait_for_their_responses_and_come_out_of_order(path):
    with begin(path) as session:
        run(session, 3)
        asks = [session.ask() for _ in range(4)]
        assert len({ask.id for ask in asks}) == 4
        assert len({ask.point["electrode"] for ask in asks}) > 1
        for ask in reversed(asks):
            session.tell(ask.id, response(ask.point))
        assert [t.fate for t in session.trials.values()] == ["valid"] * 7


def test_what_is_excluded_or_rejected_is_kept_and_not_learned_from(path):
    with begin(path) as session:
        run(session, 3)
        before = bits(session)
        session.tell(session.ask().id, 1e6, valid=False)
        session.reject(session.ask().id, "the cable fell off")
        assert bits(session) == before
        assert len(session.delivered) == 5
        fates = [t.fate for t in session.trials.values()]
        assert fates == ["valid"] * 3 + ["excluded", "rejected"]
    with Session.open(path) as session:
        assert list(session.trials.values())[3].response == {"response": 1e6}
        assert list(session.trials.values())[4].reason == "the cable fell off"


@pytest.mark.parametrize("sent", [True, False])
def test_an_unresolved_ask_is_shown_and_never_sent_again(path, sent):
    with begin(path) as session:
        run(session, 2)
        ask = session.ask()
    with Session.open(path) as session:
        assert [t.id for t in session.unresolved] == [ask.id]
        with pytest.raises(SessionError, match="not known whether"):
            session.ask()
        session.resolve(ask.id, sent=sent, by="the operator")
        assert session.unresolved == []
        following = session.ask()
        assert following.id != ask.id
        assert len(session.delivered) == 4
    events = journal.read(path)
    assert events[-2].content == {"id": ask.id, "sent": sent, "by": "the operator"}


def test_a_response_that_came_late_may_still_be_told(path):
    with begin(path) as session:
        ask = session.ask()
    with Session.open(path) as session:
        session.tell(ask.id, 0.4)
        assert session.trials[ask.id].fate == "valid"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda s, ask: s.tell("rat7-99999", 1.0), "no stimulus"),
        (
            lambda s, ask: (s.reject(ask.id, ""), s.tell(ask.id, 1.0)),
            "rejected already",
        ),
        (lambda s, ask: s.tell(ask.id, math.nan), "finite"),
        (lambda s, ask: s.tell(ask.id, {"EMG": 1.0}), "each of"),
        (lambda s, ask: s.resolve(ask.id, sent=True, by="me"), "pending already"),
        (lambda s, ask: (s.stop("done"), s.ask()), "was stopped: done"),
        (lambda s, ask: s.best(), "no valid trial"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(path, call, told):
    with begin(path) as session:
        ask = session.ask()
        with pytest.raises((SessionError, InvalidInputError), match=told):
            call(session, ask)
    journal.read(path)


def test_a_session_is_what_it_was_begun_as(path):
    with begin(path):
        pass
    with begin(path):  # the same again is fine
        pass
    for changed in (
        {"limits": limits(ramp=5.0)},
        {"space": space((20.0, 50.0))},
        {"seed": 3},
    ):
        with pytest.raises(SessionError, match="begun with another"):
            begin(path, **changed)
    with pytest.raises(InvalidInputError, match="to begin"):
        Session.open(path.with_name("other.db"))


def test_several_muscles_are_told_together(path):
    with begin(path, outputs=("flexor", "extensor")) as session:
        for _ in range(20):
            ask = session.ask()
            flexor = response(ask.point)
            session.tell(ask.id, {"extensor": 1 / flexor, "flexor": flexor})
        assert session.best()["electrode"] == "6"
        mean = np.asarray(session.belief().mean)
        assert np.corrcoef(mean[:, 0], mean[:, 1])[0, 1] < -0.98


def test_amplitudes_rise_by_the_ramp(path):
    options = {"space": space((10.0, 20.0, 40.0, 80.0)), "limits": limits(ramp=20.0)}
    reached = dict.fromkeys(POSITIONS, 0.0)
    with begin(path, **options) as session:
        for _ in range(30):
            ask = session.ask()
            electrode, amplitude = ask.point["electrode"], ask.point["amplitude"]
            assert amplitude <= reached[electrode] + 20.0
            reached[electrode] = max(reached[electrode], amplitude)
            session.tell(ask.id, amplitude * response(ask.point))
    assert max(reached.values()) > 20.0


def test_a_ramp_leads_to_sites_that_small_amplitudes_do_not_show(path):
    """Within the ramp alone the first site that moves anything would be the last."""
    options = {"space": space((20.0, 40.0, 60.0)), "limits": limits(ramp=20.0)}
    with begin(path, n_planned=60, **options) as session:
        for _ in range(60):
            ask = session.ask()
            recruited = (ask.point["amplitude"] / 60.0) ** 3
            session.tell(ask.id, 0.01 + recruited * response(ask.point))
        assert session.best() == {"electrode": "6", "amplitude": 60.0}


def test_it_waits_as_long_as_the_limits_say(path):
    with begin(path, limits=limits(interval=0.9)) as session:
        session.tell(session.ask().id, 1.0)
        with pytest.raises(SessionError, match="for another 0"):
            session.ask()
        assert 0 < session.wait() <= 0.9
        time.sleep(session.wait())
        session.ask()


def test_a_clock_that_goes_back_does_not_shorten_a_wait(path, monkeypatch):
    with begin(path, limits=limits(interval=3000.0)) as session:
        session.tell(session.ask().id, 1.0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 1e6)
    with Session.open(path) as session:
        assert 2000 < session.wait() <= 3000


AMOUNTS = st.sampled_from([0.5, 1.0, 5.0, 20.0, 50.0, 1e9, math.inf])


@settings(max_examples=60, deadline=None)
@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(1, 8), st.integers(0, 99))
def test_no_limit_is_ever_broken(tmp_path_factory, most, charge, ramp, rate, n, seed):
    given_limits = limits(
        amplitude=most, charge_per_phase=charge, ramp=ramp, per_electrode_per_hour=rate
    )
    folder = tmp_path_factory.mktemp("limits")
    amplitudes = (1.0, 4.0, 20.0, 60.0, 200.0)
    reached, counts = dict.fromkeys(POSITIONS, 0.0), dict.fromkeys(POSITIONS, 0)
    chosen = {"space": space(amplitudes), "limits": given_limits}
    with begin(folder / "s.db", seed=seed, **chosen) as session:
        for _ in range(3 * n):
            try:
                ask = session.ask()
            except SessionError:
                break
            stimulus = ask.stimulus
            (electrode,) = stimulus.electrodes
            assert stimulus.amplitude <= min(most, reached[electrode] + ramp)
            assert stimulus.amplitude * 0.2 <= charge
            counts[electrode] += 1
            assert counts[electrode] <= rate
            reached[electrode] = max(reached[electrode], stimulus.amplitude)
            if seed % 2:
                session.reject(ask.id, "hostile")
            else:
                session.tell(ask.id, 1.0)


RIG = """
import sys
for line in sys.stdin:
    with open(sys.argv[1], "a") as log:
        log.write(line)
    print("sent", flush=True)
"""
CLOSED_LOOP = """
import os, sys
from neuromod.stimulation.session import Session
pipe_in, pipe_out = int(sys.argv[2]), int(sys.argv[3])
with Session.open(sys.argv[1]) as session:
    for trial in session.unresolved:
        session.resolve(trial.id, sent=True, by="the test")
    while len(session.trials) < 400:
        ask = session.ask()
        os.write(pipe_out, (ask.id + "\\n").encode())
        os.read(pipe_in, 5)
        session.tell(ask.id, 1.0 + int(ask.point["electrode"]))
        print(ask.id, flush=True)
"""


def test_after_kills_no_trial_is_lost_and_no_pulse_sent_twice(path, tmp_path):
    """The rig is a process of its own, which outlives the session."""
    with begin(path, n_planned=100):
        pass
    delivered = tmp_path / "delivered.txt"
    rig = subprocess.Popen(
        [sys.executable, "-c", RIG, str(delivered)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    ends = rig.stdout.fileno(), rig.stdin.fileno()
    acknowledged = []
    rng = np.random.default_rng(0)
    for _ in range(3):
        loop = subprocess.Popen(
            [sys.executable, "-c", CLOSED_LOOP, str(path), *map(str, ends)],
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=ends,
        )
        acknowledged.append(loop.stdout.readline().strip())
        time.sleep(rng.uniform(0, 0.3))
        loop.send_signal(signal.SIGKILL)
        acknowledged += loop.communicate()[0].split()
    rig.stdin.close()
    rig.wait(timeout=30)
    rig.stdout.close()
    pulses = delivered.read_text().split()
    assert len(set(pulses)) == len(pulses)
    with Session.open(path) as session:
        fates = {t.id: t.fate for t in session.trials.values()}
        assert all(fates[name] == "valid" for name in acknowledged if name in pulses)
        assert set(pulses) <= set(fates)
        assert len(acknowledged) > 3
