"""A rig behind the lab streaming layer, with real streams on this machine."""

import itertools
import json
import os
import sys
import threading
import time

import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError
from neuromod.stimulation import emg
from neuromod.stimulation.limits import Stimulus
from neuromod.stimulation.lsl import Answers, LSLRig, Recording
from neuromod.stimulation.rig import NoResponseError, Rig, RigLostError

STIMULUS = Stimulus(("5",), 50.0, 200.0, 300.0, n_pulses=3)
POINT = {"electrode": "5", "amplitude": np.float64(50.0), "delay": np.int64(40)}
RATE, WINDOW = 2000.0, (0.01, 0.12)
COUNT = itertools.count()


@pytest.fixture
def pylsl():
    return pytest.importorskip("pylsl", reason="pylsl is not installed")


@pytest.fixture(autouse=True)
def no_thread_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def name(kind):
    """Return the name of a stream that no other test, nor process, has."""
    return f"{kind}-{os.getpid()}-{next(COUNT)}"


def outlet(pylsl, stream, kind="string", n_channels=1, rate=0.0):
    info = pylsl.StreamInfo(stream, "test", n_channels, rate, kind, stream)
    return pylsl.StreamOutlet(info)


class Device:
    """What drives a stimulator: reads markers, answers them, and lives until left."""

    def __init__(self, pylsl, answer):
        self.pylsl, self.answer = pylsl, answer
        self.markers, self.name = [], name("markers")
        self.alive, self.ready = True, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        (found,) = self.pylsl.resolve_byprop("name", self.name, timeout=10)
        inlet = self.pylsl.StreamInlet(found)
        inlet.open_stream(10)
        self.ready.set()
        while self.alive:
            sample, stamp = inlet.pull_sample(timeout=0.005)
            marker = json.loads(sample[0]) if sample else {}
            if marker:
                self.markers.append((marker, stamp))
            self.answer(marker)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_):
        self.alive = False
        self.thread.join()


class Answering(Device):
    """Answers every marker with what it is told to, and says that it is alive."""

    def __init__(self, pylsl, reply, says_alive=True):
        super().__init__(pylsl, self.reply)
        self.told, self.says_alive, self.responses = reply, says_alive, name("answers")
        self.outlet = outlet(pylsl, self.responses)

    def reply(self, marker):
        if "id" in marker:
            for text in self.told(marker["id"]):
                self.outlet.push_sample([text])
        elif self.says_alive:
            self.outlet.push_sample(["{}"])

    def rig(self, **options):
        return LSLRig(self.name, Answers(self.responses), **options)


class Recorded(Device):
    """Streams an electromyogram, with a burst after every marker."""

    LATENCY = 0.1  # s: what is streamed is that old

    def __init__(self, pylsl, gap=False, shift=0.0):
        super().__init__(pylsl, self.stream)
        self.responses, self.gap, self.shift = name("emg"), gap, shift
        self.outlet = outlet(pylsl, self.responses, "float32", 3, RATE)
        self.start, self.n_sent = pylsl.local_clock(), 0

    def stream(self, _):
        n_until = int((self.pylsl.local_clock() - self.LATENCY - self.start) * RATE)
        for k in range(self.n_sent, n_until):
            at = self.start + k / RATE
            since = at - self.markers[-1][1] if self.markers else -1.0
            if not (self.gap and 0.05 < since < 0.1):
                sample = [0.0, burst(since), 2 * burst(since)]
                self.outlet.push_sample(sample, at - self.shift)
        self.n_sent = max(self.n_sent, n_until)

    def rig(self, **options):
        given = {"channels": {"flexor": 1, "extensor": 2}, "window": WINDOW}
        rigs = {k: options.pop(k) for k in ("timeout",) if k in options}
        return LSLRig(self.name, Recording(self.responses, **given | options), **rigs)


def burst(time):
    """Return an electromyogram (mV), some time (s) after a stimulus."""
    inside = (time > 0.03) & (time < 0.08)
    return np.sin(2 * np.pi * 150 * time) * inside


def right(marker_id):
    return [json.dumps({"id": marker_id, "response": {"flexor": 0.5, "extensor": 2}})]


def test_an_answer_comes_back_for_a_marker(pylsl):
    device = Answering(pylsl, right)
    with device.rig(stale_after=5.0) as rig, device:
        assert isinstance(rig, Rig)
        before = pylsl.local_clock()
        found = rig.stimulate(STIMULUS, POINT, "rat7-00001")
        assert found == {"flexor": 0.5, "extensor": 2.0}
        assert rig.heartbeat()
        assert rig.impedance() == {}
        with pytest.raises(RigLostError, match="sent before"):
            rig.stimulate(STIMULUS, POINT, "rat7-00001")
        assert rig.stimulate(STIMULUS, POINT, "rat7-00002") == found
    (marker, stamp), (second, _), *_ = device.markers
    assert marker["id"] == "rat7-00001"
    assert second["id"] == "rat7-00002"
    assert Stimulus(**marker["stimulus"] | {"electrodes": ("5",)}) == STIMULUS
    assert marker["point"] == {"electrode": "5", "amplitude": 50.0, "delay": 40}
    assert before <= marker["time"] == stamp <= pylsl.local_clock()


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (['{"id": "p-1", "failed": "an artefact"}'], "an artefact"),
        (['{"id": "p-1", "response": {"flexor": NaN}}'], "no response in the answer"),
        (['{"id": "p-1", "response": 4}'], "no response in the answer"),
        (['{"id": "p-0", "response": {"flexor": 1}}'], "within 0.1 s"),
        (["no JSON", "[1]", "{}"], "within 0.1 s"),
    ],
)
def test_no_response_is_told(pylsl, texts, told):
    device = Answering(pylsl, lambda _: texts)
    with (
        device.rig(timeout=0.1, stale_after=5.0) as rig,
        device,
        pytest.raises(NoResponseError, match=told),
    ):
        rig.stimulate(STIMULUS, {}, "p-1")


def test_a_stream_that_falls_silent_is_lost_while_a_response_is_waited_for(pylsl):
    device = Answering(pylsl, lambda _: [], says_alive=False)
    with device.rig(timeout=60.0, stale_after=0.3) as rig, device:
        device.outlet.push_sample(["{}"])
        with pytest.raises(RigLostError, match=r"no response was streamed for 0\.3"):
            rig.stimulate(STIMULUS, {}, "p-1")
        assert not rig.heartbeat()
        with pytest.raises(RigLostError, match="nothing was sent"):
            rig.stimulate(STIMULUS, {}, "p-2")
        device.outlet.push_sample(["{}"])  # and it is there again
        until = time.monotonic() + 5
        while not rig.heartbeat() and time.monotonic() < until:
            time.sleep(0.001)
        assert rig.heartbeat()
    assert rig.sent == ["p-1"]


def test_empty_pulls_are_no_loss_before_the_time(pylsl):
    device = Answering(pylsl, right, says_alive=False)
    with device.rig(stale_after=30.0) as rig, device:
        time.sleep(0.1)  # several pulls
        assert rig.heartbeat()
        assert rig.stimulate(STIMULUS, {}, "p-1") == {"flexor": 0.5, "extensor": 2.0}


def test_a_stop_lets_those_go_who_wait_and_nothing_is_sent_after_it(pylsl):
    device = Answering(pylsl, lambda _: [])
    with device.rig(timeout=60.0, stale_after=30.0) as rig, device:
        stopper = threading.Timer(0.05, rig.stop)
        stopper.start()
        with pytest.raises(RigLostError, match="told to stop"):
            rig.stimulate(STIMULUS, {}, "p-1")
        stopper.join()
        assert not rig.heartbeat()
        rig.stop()
        with pytest.raises(RigLostError, match="told to stop"):
            rig.stimulate(STIMULUS, {}, "p-2")
        until = time.monotonic() + 5
        while len(device.markers) < 2 and time.monotonic() < until:
            time.sleep(0.001)
    assert [marker for marker, _ in device.markers][1:] == [{"stop": True}]


def test_nothing_is_sent_where_nobody_reads_markers(pylsl):
    device = Answering(pylsl, right)
    with device.rig(stale_after=30.0) as rig:
        with pytest.raises(RigLostError, match="nobody reads"):
            rig.stimulate(STIMULUS, {}, "p-1")
        assert rig.sent == []


def test_a_response_is_cut_out_of_a_recording(pylsl):
    device = Recorded(pylsl)
    with device.rig(baseline=(-0.05, 0.0)) as rig, device:
        first, second = (rig.stimulate(STIMULUS, {}, f"p-{k}") for k in (1, 2))
    t = np.arange(-0.5, 0.5, 1 / RATE)
    options = {"window": WINDOW, "baseline": (-0.05, 0.0)}
    expected = float(emg.response(burst(t), RATE, 0.5, **options))
    assert expected > 0.3
    for found in (first, second):
        assert found["flexor"] == pytest.approx(expected, rel=0.02)
        assert found["extensor"] == pytest.approx(2 * expected, rel=0.02)


def test_the_clock_of_another_computer_is_corrected(pylsl, monkeypatch):
    monkeypatch.setattr(pylsl.StreamInlet, "time_correction", lambda *_: 7.0)
    device = Recorded(pylsl, shift=7.0)
    with device.rig() as rig, device:
        assert rig.stimulate(STIMULUS, {}, "p-1")["flexor"] > 0.3


def test_a_gap_in_a_recording_is_no_response(pylsl):
    device = Recorded(pylsl, gap=True)
    with (
        device.rig() as rig,
        device,
        pytest.raises(NoResponseError, match="a gap in the recording"),
    ):
        rig.stimulate(STIMULUS, {}, "p-1")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"channels": {"flexor": 3}}, "channels"),
        ({"window": (0.1, 0.1)}, "window"),
        ({"high_pass": 1500.0}, "high_pass"),
        ({"low_pass": 0.0}, "low_pass"),
        ({"timeout": 0.2}, "timeout"),
    ],
)
def test_what_cannot_be_cut_is_told_at_once(pylsl, given, told):
    with pytest.raises(InvalidInputError, match=told):
        Recorded(pylsl).rig(**given)


def test_streams_of_another_kind_are_told(pylsl):
    numbers = Recorded(pylsl)
    with pytest.raises(InvalidInputError, match="strings"):
        LSLRig(name("markers"), Answers(numbers.responses))
    strings = Answering(pylsl, right)
    cut = Recording(strings.responses, channels={"flexor": 0}, window=WINDOW)
    with pytest.raises(InvalidInputError, match="sampling rate"):
        LSLRig(name("markers"), cut)


def test_no_stream_or_two_are_told(pylsl):
    with pytest.raises(RigLostError, match="no stream 'nowhere' was found"):
        LSLRig(name("markers"), Answers("nowhere"), patience=0.05)
    twins = name("twins")
    both = [outlet(pylsl, twins) for _ in range(2)]
    with pytest.raises(InvalidInputError, match="2 streams 'twins"):
        LSLRig(name("markers"), Answers(twins))
    assert len(both) == 2


@pytest.mark.parametrize("option", ["timeout", "stale_after", "patience"])
def test_times_that_are_none_are_told(pylsl, option):
    with pytest.raises(InvalidInputError, match=option):
        LSLRig("markers", Answers("answers"), **{option: 0.0})


def test_without_pylsl_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pylsl", None)
    with pytest.raises(InvalidInputError, match=r"neuromod\[live\]"):
        LSLRig("markers", Answers("answers"))
