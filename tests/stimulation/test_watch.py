"""A watch notices a rig that is lost, stops it, and lets those go who wait for it."""

import threading
import time

import pytest

from neuromod.core.errors import InvalidInputError
from neuromod.stimulation.rig import NoResponseError, RigLostError
from neuromod.stimulation.watch import Watch


class Heart:
    """A rig whose heart does at every beat what it is told; the last one for good."""

    def __init__(self, *beats):
        self.beats, self.n_beats, self.stops = list(beats), 0, 0
        self.hangs = threading.Event()

    def heartbeat(self):
        self.n_beats += 1
        beat = self.beats.pop(0) if len(self.beats) > 1 else self.beats[0]
        if isinstance(beat, Exception):
            raise beat
        if beat == "hang":
            self.hangs.wait()
        return beat

    def stop(self):
        self.stops += 1


@pytest.fixture(autouse=True)
def no_thread_left():
    before = threading.active_count()
    yield
    until = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.001)
    assert threading.active_count() == before


def wait_for(event):
    assert event.wait(10)


def test_a_rig_that_is_well_is_asked_again_and_again():
    rig = Heart(True)
    with Watch(rig, interval=0.001) as watch:
        while rig.n_beats < 5:
            time.sleep(0.001)
        assert watch.lost is None
    n_beats = rig.n_beats
    time.sleep(0.02)
    assert rig.n_beats == n_beats
    assert rig.stops == 0


def test_the_interval_is_that_between_heartbeats():
    rig = Heart(True)
    with Watch(rig, interval=60.0):
        while not rig.n_beats:
            time.sleep(0.001)
        time.sleep(0.02)
    assert rig.n_beats == 1


@pytest.mark.parametrize(
    ("beat", "reason"),
    [
        (False, "no heartbeat"),
        (OSError("unplugged"), "OSError: unplugged"),
        ("hang", "no answer to its heartbeat within 0.02 s"),
    ],
)
def test_a_rig_without_a_heartbeat_is_stopped_once_and_told_once(beat, reason):
    rig, told, done = Heart(True, True, beat), [], threading.Event()

    def on_lost(loss):
        told.append((loss, rig.stops))
        done.set()

    began = time.time()
    with Watch(rig, interval=0.001, deadline=0.02, on_lost=on_lost) as watch:
        wait_for(done)
        time.sleep(0.01)
        assert reason in watch.lost.reason
        assert began <= watch.lost.time <= time.time()
    assert told == [(watch.lost, 1)]
    assert rig.n_beats == 3
    rig.hangs.set()


def test_a_stop_that_hangs_keeps_nobody_from_being_told():
    rig, done = Heart(False), threading.Event()
    rig.stop = rig.hangs.wait
    with Watch(rig, interval=1.0, deadline=0.02, on_lost=lambda loss: done.set()):
        wait_for(done)
    rig.hangs.set()


def test_who_waits_for_a_response_is_let_go():
    rig, told = Heart(True), []
    with Watch(rig, interval=0.001, on_lost=told.append) as watch:
        threading.Timer(0.02, lambda: rig.beats.__setitem__(0, False)).start()
        with pytest.raises(RigLostError, match="no heartbeat"):
            watch.call(rig.hangs.wait)
        with pytest.raises(RigLostError, match="no heartbeat"):
            watch.call(told.append, "never")
    assert "never" not in told
    rig.hangs.set()


def test_what_a_call_returns_or_raises_is_passed_on():
    def fail():
        raise NoResponseError("artefact")

    with Watch(Heart(True), interval=1.0) as watch:
        assert watch.call(max, 3, 4) == 4
        with pytest.raises(NoResponseError, match="artefact"):
            watch.call(fail)


def test_leaving_does_not_wait_for_a_heartbeat():
    rig = Heart("hang")
    with Watch(rig, interval=1.0, deadline=60.0) as watch:
        while not rig.n_beats:
            time.sleep(0.001)
    assert watch.lost is None
    assert rig.stops == 0
    rig.hangs.set()


@pytest.mark.parametrize("name", ["interval", "deadline"])
def test_times_that_are_none_are_told(name):
    with pytest.raises(InvalidInputError, match=name):
        Watch(Heart(True), **{"interval": 1.0} | {name: 0.0})
