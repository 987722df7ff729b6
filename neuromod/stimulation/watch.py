"""A watch over a rig: its heartbeat, asked for again and again beside the session.

A rig that is lost while a response is waited for would not be noticed before the next
trial. A `Watch` asks for the heartbeat from a thread of its own; a heartbeat that is
not there, raises or takes too long means that the rig is lost. Then the rig is told to
stop, at once, and whoever waits for it in `Watch.call` is let go.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, NamedTuple

from neuromod.core.dimensions import require_positive
from neuromod.stimulation.rig import Rig, RigLostError


class Loss(NamedTuple):
    """How a rig was lost.

    Parameters
    ----------
    time
        When it was noticed (s since 1970).
    reason
        How.
    """

    time: float
    reason: str


class Watch:
    """Watches over a rig, inside a ``with`` block.

    Parameters
    ----------
    rig
        The rig; its ``heartbeat`` is called from another thread.
    interval
        Between two heartbeats (s).

    Other Parameters
    ----------------
    deadline
        How long a heartbeat, or a stop, may take (s).
    on_lost
        Called once, with a `Loss`, when the rig is lost and was told to stop; from
        another thread.

    Examples
    --------
    >>> from neuromod.stimulation.rig import ReplayRig
    >>> import numpy as np
    >>> rig = ReplayRig(np.ones((1, 1, 1)), ["1"], ["response"], seed=0)
    >>> with Watch(rig, interval=0.5) as watch:
    ...     print(watch.call(lambda: "a response"), watch.lost)
    a response None
    """

    def __init__(
        self,
        rig: Rig,
        *,
        interval: float,
        deadline: float = 1.0,
        on_lost: Callable[[Loss], None] | None = None,
    ) -> None:
        self._rig, self._on_lost = rig, on_lost
        self._interval = require_positive(interval, "interval", "s")
        self._deadline = require_positive(deadline, "deadline", "s")
        self._loss: Future[Loss] = Future()
        self._end: Future[None] = Future()
        self._thread = threading.Thread(target=self._watch, name="watch of a rig")

    @property
    def lost(self) -> Loss | None:
        """How the rig was lost, if it was."""
        return self._loss.result() if self._loss.done() else None

    def call(self, function: Callable[..., Any], *given: Any) -> Any:
        """Call a function that waits for the rig, and return what it returns.

        Raises
        ------
        RigLostError
            As soon as the rig is lost, however long the function goes on in its
            thread; what it returns later is lost too.
        """
        if self.lost is None:
            called = _start(function, *given)
            wait([called, self._loss], return_when=FIRST_COMPLETED)
            if called.done():
                return called.result()
        raise RigLostError(self._loss.result().reason)

    def __enter__(self) -> "Watch":
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it; no thread is left, but of calls that never return."""
        self._end.set_result(None)
        self._thread.join()

    def _watch(self) -> None:
        while not (reason := self._beat()):
            if wait([self._end], timeout=self._interval).done:
                return
        if self._end.done():
            return
        loss = Loss(time.time(), reason)
        self._loss.set_result(loss)
        wait([_start(self._rig.stop)], timeout=self._deadline)
        if self._on_lost is not None:
            self._on_lost(loss)

    def _beat(self) -> str:
        """Return what is wrong with the heartbeat: nothing, if it is well."""
        beat = _start(self._rig.heartbeat)
        wait([beat, self._end], timeout=self._deadline, return_when=FIRST_COMPLETED)
        if not beat.done():
            return f"no answer to its heartbeat within {self._deadline:g} s"
        if (error := beat.exception()) is not None:
            return f"its heartbeat failed: {type(error).__name__}: {error}"
        return "" if beat.result() else "no heartbeat"


def _start(function: Callable[..., Any], *given: Any) -> Future:
    """Call a function in a thread that keeps nobody from leaving."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(function(*given))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
