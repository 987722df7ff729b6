"""A rig behind the lab streaming layer: markers go out, responses come in.

`LSLRig` sends every stimulus as a marker, one JSON object in a string stream,

    {"id": "rat7-00012", "time": 8123.41, "stimulus": {"electrodes": ["5"], ...},
     "point": {"electrode": "5", ...}}

with its own time stamp by the clock of the layer; ``{"stop": true}`` means to stop at
once. Whoever drives the stimulator sends what has an ``id``, each id once, and stops
when the stream of markers goes away. The response comes by one of two kinds of stream:

- `Answers`: strings, ``{"id": "rat7-00012", "response": {"flexor": 0.4}}``, or
  ``{"id": ..., "failed": "artefact"}``. Such a stream must also say now and then that
  it is alive (``{}`` will do), since one that is silent is taken for lost.
- `Recording`: a continuous electromyogram, of which a window after the marker is cut,
  by the layer's correction of clocks, and given to `neuromod.stimulation.emg.response`.

A thread of its own reads the stream, so nothing ever waits for it but a trial whose
stimulus was sent. A stream that has been silent for too long means that the rig is lost
(the layer itself reconnects in silence, for ever, and does not tell).

The layer finds streams by multicast. Where the network lets none through, name the
other computers in a file that the environment variable ``LSLAPICFG`` points to::

    [lab]
    KnownPeers = {127.0.0.1, 10.0.0.5}

It needs pylsl: ``pip install 'neuromod[live]'``.
"""

import dataclasses
import json
import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuromod.core.dimensions import require_positive
from neuromod.core.errors import InvalidInputError, invalid
from neuromod.stimulation import emg
from neuromod.stimulation.limits import Stimulus
from neuromod.stimulation.rig import NoResponseError, RigLostError

STRING = 3  # the layer's number for channels of strings
PULL = 0.02  # s: how long the thread waits for a sample
ANOTHER = 0.2  # s: how long a second stream of a name is looked for
AROUND, KEPT = 0.1, 5.0  # s: of a recording, around a window and beyond it
MOST_MISSING = 0.02  # share of the samples that a window may lack


@dataclasses.dataclass(frozen=True)
class Answers:
    """A stream of strings, each the answer to a marker.

    Parameters
    ----------
    name
        Of the stream.
    """

    name: str


@dataclasses.dataclass(frozen=True)
class Recording:
    """A stream of numbers, from which responses are cut.

    Parameters
    ----------
    name
        Of the stream, which must have a sampling rate.
    channels
        The number of the channel of each output.
    window
        Where the response is, from the marker (s).

    Other Parameters
    ----------------
    baseline
        Whose mean is subtracted, from the marker (s), such as (-0.035, 0.0).
    high_pass, low_pass
        As of `neuromod.stimulation.emg.envelope` (Hz).
    """

    name: str
    _: dataclasses.KW_ONLY
    channels: Mapping[str, int]
    window: tuple[float, float]
    baseline: tuple[float, float] | None = None
    high_pass: float = 70.0
    low_pass: float = 30.0

    @property
    def span(self) -> tuple[float, float]:
        """What is cut around a marker (s), with room for the filters."""
        ends = (0.0, *self.window, *(self.baseline or ()))
        return min(ends) - AROUND, max(ends) + AROUND


class LSLRig:
    """A rig behind the lab streaming layer, inside a ``with`` block.

    Parameters
    ----------
    markers
        Name of the stream of markers that this sends.
    responses
        The stream that responses come by: `Answers` or a `Recording`.

    Other Parameters
    ----------------
    timeout
        For how long a response is waited for, after the stimulus (s).
    stale_after
        A stream of responses that was silent for this long is lost (s).
    patience
        For how long streams are looked for (s).

    Raises
    ------
    InvalidInputError
        If pylsl is not installed, or the stream is not what it was said to be.
    RigLostError
        If there is no such stream of responses.
    """

    def __init__(
        self,
        markers: str,
        responses: Answers | Recording,
        *,
        timeout: float = 2.0,
        stale_after: float = 1.0,
        patience: float = 5.0,
    ) -> None:
        self._timeout = require_positive(timeout, "timeout", "s")
        self._stale_after = require_positive(stale_after, "stale_after", "s")
        self._lsl = _pylsl()
        self.sent: list[str] = []
        self._ended, self._stopped = "", False
        self._news, self._sending = threading.Condition(), threading.Lock()
        self._reading = self._reader(responses, require_positive(patience, "patience"))
        info = self._lsl.StreamInfo(markers, "Markers", 1, 0, "string", markers)
        self._outlet: Any = self._lsl.StreamOutlet(info)
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stimulate(
        self, stimulus: Stimulus, point: Mapping[str, Any], pulse_id: str
    ) -> dict[str, float]:
        """Send a marker once, and return the response to it."""
        if pulse_id in self.sent:
            raise RigLostError(f"{pulse_id} was sent before: a pulse is sent once")
        at = self._lsl.local_clock()
        what = {"stimulus": dataclasses.asdict(stimulus), "point": dict(point)}
        with self._news:
            self._reading.expect(pulse_id, at)
        with self._sending:  # nothing may come after a marker to stop
            if lost := self._lost():
                raise RigLostError(f"{lost}: nothing was sent")
            if not self._outlet.have_consumers():
                raise RigLostError("nobody reads the markers: nothing was sent")
            self.sent.append(pulse_id)
            self._push({"id": pulse_id, "time": at, **what}, at)
        with self._news:
            self._news.wait_for(
                lambda: self._reading.is_there() or self._lost(), self._timeout
            )
            if self._reading.is_there():
                return self._reading.response()
        if lost := self._lost():
            raise RigLostError(lost)
        raise NoResponseError(f"no response within {self._timeout:g} s")

    def heartbeat(self) -> bool:
        """Return whether the stream of responses has told something lately."""
        return not self._lost()

    def impedance(self) -> dict[str, float]:
        """Return nothing: the layer does not tell."""
        return {}

    def stop(self) -> None:
        """Send the marker to stop; nothing is sent after it."""
        with self._sending:
            if not self._stopped:
                self._stopped = True
                self._ended = self._ended or "the rig was told to stop"
                self._push({"stop": True}, self._lsl.local_clock())
        with self._news:
            self._news.notify_all()

    def close(self) -> None:
        """Send the marker to stop, and take both streams down."""
        self.stop()
        self._thread.join()
        self._outlet = None

    def __enter__(self) -> "LSLRig":
        """Return the rig itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _reader(self, responses: Answers | Recording, patience: float) -> Any:
        inlet = _inlet(self._lsl, responses.name, patience)
        if isinstance(responses, Answers):
            return _Answering(responses, inlet)
        least = responses.span[1]
        if self._timeout <= least:
            expected = f"more than {least:g} s, when the window is over"
            raise invalid("timeout", f"{self._timeout:g} s", expected)
        return _Cutting(responses, inlet, patience)

    def _push(self, marker: dict[str, Any], at: float) -> None:
        self._outlet.push_sample([json.dumps(marker, default=np.generic.item)], at)

    def _lost(self) -> str:
        """Return why the rig is lost, if it is."""
        silent = time.monotonic() - self._last
        stale = f"no response was streamed for {silent:.3g} s"
        return self._ended or (stale if silent > self._stale_after else "")

    def _read(self) -> None:
        while not self._ended:
            try:
                samples, stamps = self._reading.pull()
            except Exception as error:
                self._ended = f"{type(error).__name__} from the stream: {error}"
                samples, stamps = [], []
            with self._news:
                if stamps:  # the first pulls may be empty
                    self._last = time.monotonic()
                    self._reading.take(samples, stamps)
                self._news.notify_all()  # silence is news too
        del self._reading.inlet


class _Answering:
    """Reads answers, and keeps the one that is expected."""

    def __init__(self, stream: Answers, inlet: Any) -> None:
        if inlet.channel_format != STRING or inlet.channel_count != 1:
            raise invalid("responses", f"stream {stream.name!r}", "one of strings")
        self.inlet, self._id = inlet, ""
        self._found: dict[str, Any] | None = None

    def pull(self) -> tuple[Any, Any]:
        sample, stamp = self.inlet.pull_sample(timeout=PULL)
        return ([], []) if sample is None else ([sample], [stamp])

    def expect(self, pulse_id: str, _: float) -> None:
        self._id, self._found = pulse_id, None

    def take(self, samples: list[list[str]], _: list[float]) -> None:
        for (text,) in samples:
            try:
                told = json.loads(text)
            except ValueError:
                continue  # a sign of life
            if isinstance(told, dict) and self._id and told.get("id") == self._id:
                self._found = told

    def is_there(self) -> bool:
        return self._found is not None

    def response(self) -> dict[str, float]:
        found = self._found or {}
        if "failed" in found:
            raise NoResponseError(str(found["failed"]))
        told = found.get("response")
        if not isinstance(told, dict) or not all(map(_is_number, told.values())):
            raise NoResponseError(f"no response in the answer {json.dumps(found):.200}")
        return {name: float(value) for name, value in told.items()}


class _Cutting:
    """Keeps the last seconds of a recording, and cuts the response out of them."""

    def __init__(self, stream: Recording, inlet: Any, patience: float) -> None:
        self._stream, self.inlet = stream, inlet
        self._rate = inlet.info(patience).nominal_srate()
        if inlet.channel_format == STRING or not self._rate > 0:
            expected = "one of numbers with a sampling rate"
            raise invalid("responses", f"stream {stream.name!r}", expected)
        self._columns = list(stream.channels.values())
        if not all(0 <= c < inlet.channel_count for c in self._columns):
            expected = f"numbers from 0 to {inlet.channel_count - 1}"
            raise invalid("responses.channels", f"{self._columns}", expected)
        inlet.time_correction(patience)  # the first one takes a while
        first, last = stream.span
        n_kept = math.ceil((last - first + KEPT) * self._rate)
        self._stamps: deque[float] = deque(maxlen=n_kept)
        self._samples: deque[Any] = deque(maxlen=n_kept)
        self._at = math.inf
        n_samples = math.ceil((last - first) * self._rate)
        self.trace(np.zeros((n_samples, len(self._columns))), -first)

    def pull(self) -> tuple[Any, Any]:
        sample, stamp = self.inlet.pull_sample(timeout=PULL)
        if sample is None:
            return [], []
        samples, stamps = self.inlet.pull_chunk(timeout=0.0)
        shift = self.inlet.time_correction()
        return [sample, *samples], [t + shift for t in (stamp, *stamps)]

    def expect(self, _: str, at: float) -> None:
        self._at = at

    def take(self, samples: Sequence[Any], stamps: Sequence[float]) -> None:
        self._samples.extend(samples)
        self._stamps.extend(stamps)

    def is_there(self) -> bool:
        return (
            bool(self._stamps) and self._stamps[-1] >= self._at + self._stream.span[1]
        )

    def response(self) -> dict[str, float]:
        stamps, (first, last) = np.array(self._stamps), self._stream.span
        inside = (stamps >= self._at + first) & (stamps <= self._at + last)
        expected = (last - first) * self._rate
        if inside.sum() < (1 - MOST_MISSING) * expected:
            missing = f"{inside.sum()} of {expected:.0f} samples around the marker"
            raise NoResponseError(f"a gap in the recording: {missing}")
        samples = np.array(self._samples, float)[inside][:, self._columns]
        if not np.isfinite(samples).all():
            raise NoResponseError("the recording is not finite around the marker")
        told = self.trace(samples, self._at - stamps[inside][0])
        return dict(zip(self._stream.channels, told.tolist(), strict=True))

    def trace(self, samples: np.ndarray, at: float) -> np.ndarray:
        """Return the responses in samples (time, output), with the marker at a time."""
        stream = self._stream
        return emg.response(
            samples.T,
            self._rate,
            at,
            stream.window,
            baseline=stream.baseline,
            high_pass=stream.high_pass,
            low_pass=stream.low_pass,
        )


def _inlet(lsl: Any, name: str, patience: float) -> Any:
    """Return the open inlet of the stream of a name."""
    found = lsl.resolve_byprop("name", name, timeout=patience)
    if not found:
        raise RigLostError(f"no stream {name!r} was found within {patience:g} s")
    every = lsl.resolve_byprop("name", name, minimum=2, timeout=ANOTHER)
    if len(every) > 1:
        raise invalid("responses", f"{len(every)} streams {name!r}", "one")
    inlet = lsl.StreamInlet(found[0])
    inlet.open_stream(patience)
    return inlet


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _pylsl() -> Any:
    try:
        import pylsl
    except ImportError as error:
        raise InvalidInputError(
            "The lab streaming layer needs pylsl, which is not installed: "
            "pip install 'neuromod[live]'."
        ) from error
    return pylsl
