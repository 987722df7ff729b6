"""The time of a session, which never runs ahead: of two clocks the slower is believed.

The clock of the computer can be set, by a person or from the network; the one that
counts from its start cannot, and is no help after a restart. What limits allow must not
depend on either jumping, so between two readings the smaller difference counts, and
none counts backwards. After a restart of the computer, which the second clock shows by
having begun again, there is only the first to go by.
"""

import time
from collections.abc import Sequence

from neuromod.stimulation.journal import Event


class Clock:
    """Seconds since a session began.

    Parameters
    ----------
    at
        What it showed when the two clocks were read.
    wall, steady
        What these showed.

    Examples
    --------
    >>> clock = Clock(10.0, time.time() - 7200.0, time.monotonic() - 5.0)
    >>> round(clock.now(), 1)
    15.0
    """

    def __init__(self, at: float, wall: float, steady: float) -> None:
        self._at, self._wall, self.steady = at, wall, steady

    @classmethod
    def resumed(cls, events: Sequence[Event]) -> "Clock":
        """Go on after the last event that tells the time."""
        for event in reversed(events):
            if "at" in event.content:
                at, steady = event.content["at"], event.content["steady"]
                break
        else:
            event, at, steady = events[0], 0.0, events[0].content["steady"]
        if time.monotonic() < steady:  # the computer was started anew
            steady = -float("inf")
        return cls(at, event.time, steady)

    def now(self) -> float:
        """Return the time (s)."""
        wall, steady = time.time(), time.monotonic()
        self._at += max(min(wall - self._wall, steady - self.steady), 0.0)
        self._wall, self.steady = wall, steady
        return self._at
