"""The twin of a session: told the same, and never interrupted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuromod.stimulation.background import Refits
from neuromod.stimulation.journal import Event
from neuromod.stimulation.regression import Refitted
from neuromod.stimulation.session import Session

NOT_KNOWN = "nobody knows what became of it"


def bits(session: Session) -> list[bytes]:
    """Return all that a session knows and decides by."""
    search = session.search
    arrays = [*session.belief(), *search.known[1:], search.parameters, search.n_visits]
    return [np.asarray(array).tobytes() for array in arrays]


def decided(told: dict[str, Any]) -> dict[str, Any]:
    """Return of an ask what was decided: all but what a clock showed."""
    return {name: value for name, value in told.items() if name != "steady"}


class Twin(Session):
    """Told the same as another session, at the same times, in one go."""

    at = 0.0
    n_followed = 1
    _fits: dict[int, Refitted]

    @classmethod
    def begin(cls, path: Path, **given: Any) -> "Twin":
        """Begin a session that fits nothing anew by itself."""
        twin = cls.open(path, **given)
        assert isinstance(twin, cls)
        twin._refits = Refits(twin.search, 0)
        twin._fits = {}
        return twin

    def _now(self) -> float:
        return self.at

    def follow(self, events: Sequence[Event]) -> tuple[int, int]:
        """Do what another session did since; return how many asks, and how many unlike.

        What interrupted the other is nothing to this one: a trial that was resolved is
        one that failed, and a session that was opened again goes on.
        """
        n_asks = n_unlike = 0
        for number in range(self.n_followed, len(events)):
            kind, told = events[number].kind, events[number].content
            if kind == "ask":
                self.at = told["at"]
                self.ask()
                n_asks += 1
                n_unlike += decided(self.events()[-1].content) != decided(told)
            elif kind == "tell":
                self.tell(told["id"], told["response"], valid=told["valid"])
                self._fit(events[number:])
            elif kind == "reject":
                self.reject(told["id"], told["reason"])
            elif kind == "resolve":
                self.reject(told["id"], NOT_KNOWN)
            elif kind == "refit":
                fitted = self._fits[told["n_trials"]]
                n_unlike += list(told["parameters"].values()) != list(fitted.parameters)
                self.search.adopt(*fitted)
            else:
                assert kind == "reopen", kind
        self.n_followed = len(events)
        return n_asks, n_unlike

    def _fit(self, coming: Sequence[Event]) -> None:
        """Fit now if the other one did, and went on with what it found later."""
        n_trials = len(self.search.rows)
        for event in coming:
            if event.kind == "refit" and event.content["n_trials"] == n_trials:
                self._fits[n_trials] = self.search.refit()
                return
