"""A rig drives a session; what goes wrong with it is written down."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError
from neuromod.stimulation import clock, emg
from neuromod.stimulation.drive import run
from neuromod.stimulation.limits import Stimulus
from neuromod.stimulation.rig import (
    NoResponseError,
    ReplayRig,
    Rig,
    RigLostError,
)
from neuromod.stimulation.session import Session
from tests.stimulation.test_session import POSITIONS, begin, limits


def replay(seed=0):
    rng = np.random.default_rng(1)
    means = np.linspace(0.2, 2.0, 12)[:, None, None]
    responses = means * rng.gamma(10, 0.1, (12, 1, 20))
    return ReplayRig(responses, list(POSITIONS), ["response"], seed=seed)


class Faulty(ReplayRig):
    """A rig that fails at one of its trials."""

    def __init__(self, error, at):
        super().__init__(np.ones((12, 1, 1)), list(POSITIONS), ["response"], seed=0)
        self.error, self.at, self.stops = error, at, 0

    def stimulate(self, stimulus, point, pulse_id):
        told = super().stimulate(stimulus, point, pulse_id)
        if len(self.sent) == self.at:
            raise self.error
        return told

    def stop(self):
        self.stops += 1


class Deaf(Faulty):
    """A rig whose heart stops after some trials."""

    def heartbeat(self):
        return len(self.sent) < self.at

    def impedance(self):
        return {"1": 4e3, "2": 9e5}


def test_a_replayed_session_does_its_trials(tmp_path):
    rig = replay()
    assert isinstance(rig, Rig)
    with begin(tmp_path / "s.db") as session:
        assert run(session, rig, 20, sleep=lambda seconds: None) == 20
        assert [t.fate for t in session.trials.values()] == ["valid"] * 20
        assert rig.sent == list(session.trials)
        assert int(session.best()["electrode"]) >= 9


def test_it_waits_between_trials(tmp_path, monkeypatch):
    waits = []
    began = time.time()
    hands = SimpleNamespace(
        time=lambda: began + sum(waits), monotonic=lambda: 7.0 + sum(waits)
    )
    monkeypatch.setattr(clock, "time", hands)
    with begin(tmp_path / "s.db", limits=limits(interval=20.0)) as session:
        run(session, replay(), 4, sleep=waits.append)
    np.testing.assert_allclose(waits, [20.0] * 3)


def test_a_trial_without_a_response_is_rejected_and_the_next_one_done(tmp_path):
    rig = Faulty(NoResponseError("artefact"), 3)
    with begin(tmp_path / "s.db") as session:
        run(session, rig, 5, sleep=lambda seconds: None)
        fates = [t.fate for t in session.trials.values()]
        assert fates == ["valid", "valid", "rejected", "valid", "valid"]


def test_a_rig_that_is_lost_while_it_is_waited_for_stops_the_session(tmp_path):
    """A rig that never answers would hold the session for ever."""
    rig, silent = replay(), threading.Event()

    def stimulate(*given):
        silent.set()
        time.sleep(60)

    rig.stimulate = stimulate
    rig.heartbeat = lambda: not silent.is_set()
    with begin(tmp_path / "s.db") as session:
        started = time.monotonic()
        with pytest.raises(RigLostError, match="heartbeat"):
            run(session, rig, 3, heartbeat=0.02)
        assert time.monotonic() - started < 30
        assert [t.fate for t in session.trials.values()] == ["rejected"]
        assert "lost" in session.stopped


def test_it_ends_when_nothing_is_likely_to_be_better_and_tells_how_far_it_is(tmp_path):
    told = []
    with begin(tmp_path / "s.db", n_planned=100) as session:
        done = run(session, replay(), 100, until_finished=True, progress=told.append)
        assert done == len(session.trials) < 60
        assert told == list(range(1, done + 1))
        assert session.finished()


def test_the_context_of_every_trial_is_asked_for(tmp_path):
    states = iter([0.1, 0.9, 0.4])
    with begin(tmp_path / "s.db", context=["up_state"]) as session:
        run(session, replay(), 3, context=lambda: {"up_state": next(states)})
        asks = [e.content["context"] for e in session.events() if e.kind == "ask"]
    assert asks == [[0.1], [0.9], [0.4]]


@pytest.mark.parametrize(
    ("rig", "n_valid"),
    [(Faulty(RigLostError("gone"), 3), 2), (Deaf(None, 3), 3)],
)
def test_a_lost_rig_stops_the_session(tmp_path, rig, n_valid):
    rig.error = rig.error or NoResponseError("never")
    with begin(tmp_path / "s.db") as session:
        if isinstance(rig, Deaf):
            rig.stimulate = lambda *given: ReplayRig.stimulate(rig, *given)
        with pytest.raises(RigLostError):
            run(session, rig, 10, sleep=lambda seconds: None)
        assert "lost" in session.stopped
    with Session.open(tmp_path / "s.db") as session:
        fates = [t.fate for t in session.trials.values()]
        assert fates.count("valid") == n_valid
        assert "pending" not in fates


def test_any_other_error_stops_the_rig_and_leaves_the_trial_unresolved(tmp_path):
    rig = Faulty(KeyboardInterrupt(), 3)
    with (
        begin(tmp_path / "s.db") as session,
        pytest.raises(KeyboardInterrupt),
    ):
        run(session, rig, 10, sleep=lambda seconds: None)
    assert rig.stops == 1
    with Session.open(tmp_path / "s.db") as session:
        assert len(session.unresolved) == 1


def test_a_broken_electrode_is_told_before_anything_is_sent(tmp_path):
    rig = Deaf(None, 99)
    with begin(tmp_path / "s.db") as session:
        with pytest.raises(InvalidInputError, match="electrode 2"):
            run(session, rig, 1, sleep=print, largest_impedance=1e5)
        assert not session.trials


def test_a_pulse_is_sent_once():
    rig = replay()
    stimulus = Stimulus(("3",), 50.0, 200.0, 300.0)
    rig.stimulate(stimulus, {}, "a-1")
    with pytest.raises(RigLostError, match="sent before"):
        rig.stimulate(stimulus, {}, "a-1")


RATE = 4000.0


def trace(size=1.0, after=0.02):
    """Return noise of 200 Hz for 50 ms, some time after a stimulus at 0.2 s."""
    t = np.arange(int(0.6 * RATE)) / RATE
    burst = np.sin(2 * np.pi * 200 * t) * ((t > 0.2 + after) & (t < 0.25 + after))
    return size * burst + 0.3 * np.sin(2 * np.pi * 5 * t)


def test_the_envelope_is_that_of_the_burst_and_slow_drift_is_none():
    found = emg.envelope(trace(), RATE)
    inside = found[int(0.245 * RATE)]
    # The mean of a rectified sine.
    assert inside == pytest.approx(2 / np.pi, rel=0.12)
    assert abs(found[int(0.1 * RATE)]) < 0.02


def test_the_response_is_the_largest_within_its_window():
    both = np.stack([trace(), trace(2.0)])
    found = emg.response(both, RATE, 0.2, (0.0, 0.1))
    assert found[1] == pytest.approx(2 * found[0], rel=1e-2)
    late = emg.response(trace(), RATE, 0.2, (0.2, 0.3))
    assert late < 0.05 * found[0]


def test_a_baseline_is_subtracted():
    t = np.arange(int(0.6 * RATE)) / RATE
    steady = trace() + np.sin(2 * np.pi * 150 * t)
    plain = emg.response(steady, RATE, 0.2, (0.0, 0.1))
    less = emg.response(steady, RATE, 0.2, (0.0, 0.1), baseline=(-0.1, -0.02))
    assert plain - less == pytest.approx(2 / np.pi, rel=0.1)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"window": (0.0, 0.9)}, "window"),
        ({"window": (0.1, 0.1)}, "window"),
        ({"window": (0.0, 0.1), "high_pass": 2500.0}, "high_pass"),
        ({"window": (0.0, 0.1), "baseline": (-0.5, 0.0)}, "baseline"),
    ],
)
def test_bad_windows_are_told(given, told):
    with pytest.raises(InvalidInputError, match=told):
        emg.response(trace(), RATE, 0.2, **given)
