"""A closed-loop session: ask where to stimulate, tell what came of it, lose nothing.

Every call that changes something is an event in the session's journal, on the disk
before the call returns: an ask before its stimulus can be sent, a response before it is
thanked for. What the session knows is a function of its journal alone; opening it again
replays the events and comes to the same bits.

A stimulus that was asked for and never answered, because the program or the computer
died, may or may not have been sent. It counts as sent for all limits, it is shown as
`unresolved`, and it is never sent again by itself: a person says what happened.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from neuromod.core.errors import SessionError, invalid
from neuromod.stimulation import journal as journals
from neuromod.stimulation import steady
from neuromod.stimulation.background import Refits
from neuromod.stimulation.clock import Clock
from neuromod.stimulation.journal import Event, Journal
from neuromod.stimulation.limits import Limits, Stimulus
from neuromod.stimulation.record import Record
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.settings import (
    TO_BEGIN,
    Aim,
    Known,
    Safe,
    Settings,
    from_description,
    require_context,
    require_response,
    require_same,
    settings,
    versions,
)
from neuromod.stimulation.space import WHOLE, Space
from neuromod.stimulation.state import State, Trial


class Ask(NamedTuple):
    """A stimulus to be sent, once.

    Parameters
    ----------
    id
        By which its response is told; no two stimuli of a session have the same.
    point
        Values of the axes of the space.
    stimulus
        What to send.
    """

    id: str
    point: dict[str, Any]
    stimulus: Stimulus


class Session(Record):
    """An open session; made by `Session.open`, or by `Session.read` to look at.

    Examples
    --------
    >>> import tempfile
    >>> space = Space(
    ...     {"electrode": ["1", "2", "3", "4"]},
    ...     {"1": (0, 0), "2": (0, 1), "3": (1, 0), "4": (1, 1)},
    ...     fixed={"amplitude": 50.0, "pulse_width": 200.0, "frequency": 300.0},
    ... )
    >>> limits = Limits(
    ...     amplitude=100.0,
    ...     charge_per_phase=20.0,
    ...     imbalance=0.0,
    ...     frequency=330.0,
    ...     n_pulses=50,
    ...     interval=0.0,
    ...     per_hour=1000,
    ...     per_electrode_per_hour=200,
    ...     ramp=100.0,
    ... )
    >>> path = tempfile.mkdtemp() + "/rat7.db"
    >>> with Session.open(path, space, limits, seed=0, n_planned=20) as session:
    ...     for _ in range(8):
    ...         ask = session.ask()
    ...         session.tell(ask.id, 2.0 if ask.point["electrode"] == "3" else 0.5)
    ...     session.best()
    {'electrode': '3'}
    """

    def __init__(self, events: Sequence[Event], journal: Journal | None) -> None:
        self._journal = journal
        self._events = list(events)
        self.settings: Settings = from_description(events[0].content["settings"])
        self._replay()
        self._clock = Clock.resumed(events)
        self._behind = False
        self._steady = journal is not None
        if self._steady:
            steady.begin()
        if journal is not None and len(events) > 1:
            self._write("reopen", {"versions": versions()})

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        space: Space | None = None,
        limits: Limits | None = None,
        *,
        seed: int | None = None,
        outputs: Sequence[str] = ("response",),
        n_planned: int = 100,
        aim: Aim | str | None = None,
        rule: Rule | None = None,
        safe: Safe | None = None,
        context: Sequence[str] = (),
        earlier: Any = None,
        known: Sequence[Known] = (),
    ) -> "Session":
        """Begin a session, or go on with one.

        Parameters
        ----------
        path
            The journal. If it is there, nothing else is needed.
        space, limits, seed
            What could be stimulated, what may be, and the seed of all draws.

        Other Parameters
        ----------------
        outputs
            Names of what is measured in every trial, such as muscles.
        n_planned
            Trials that are planned; the search gets less curious towards their end.
        aim
            What is to be large: the name of an output (the first one if omitted), or
            an `Aim` that weighs one against others.
        rule
            How to search.
        safe
            What must not get large.
        context
            Names of numbers that tell the context of a trial, such as the probability
            of a brain state; every ask is given their values.
        earlier : (candidate,)
            What earlier animals make expect, such as `earlier_map` returns.
        known
            Trials of other sessions to begin with, such as `known_trials` returns.

        Raises
        ------
        SessionError
            If another process owns the session, or it was begun otherwise.
        DataFormatError
            If the file is no journal, or damaged.
        """
        given = None
        if space is not None or limits is not None or seed is not None:
            given = settings(
                space,
                limits,
                seed=seed,
                outputs=outputs,
                n_planned=n_planned,
                rule=rule or Rule(),
                aim=aim,
                safe=safe,
                context=context,
                earlier=earlier,
                known=known,
            ).describe()
        journal = Journal(path)
        try:
            if journal.last is None:
                if given is None:
                    raise invalid("space", "none", TO_BEGIN)
                begun = {"settings": given, "versions": versions()}
                journal.append("open", begun | {"steady": time.monotonic()})
            elif given is not None:
                require_same(next(iter(journal)).content["settings"], given)
            return cls(list(journal), journal)
        except BaseException:
            journal.close()
            raise

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Session":
        """Look at a session, whoever owns it; nothing can be changed.

        Raises
        ------
        DataFormatError
            If the file is no journal, or damaged.
        """
        events = journals.read(path)
        if not events:
            raise SessionError(f"the session {str(path)!r} has not begun")
        return cls(events, None)

    def ask(
        self,
        *,
        context: Mapping[str, float] | None = None,
        level: str = WHOLE,
        aim: Aim | str | None = None,
    ) -> Ask:
        """Return the next stimulus, which is in the journal when this returns.

        Parameters
        ----------
        context
            Its value for each name that the session was opened with.
        level
            The whole of the stimulus, or the name of a part to stimulate alone.
        aim
            What is to be large, if this time it is something else.

        Raises
        ------
        SessionError
            If the session was stopped, a trial of before a crash is unresolved, no
            candidate is within the limits, or it is too early.
        """
        self._require_open()
        if open_ids := [trial.id for trial in self.unresolved]:
            raise SessionError(
                f"it is not known whether {open_ids[0]} was sent before the session "
                "was interrupted: say so by `resolve`"
            )
        wanted = self._aim(aim)
        values = require_context(context, self.settings.context)
        self._adopt()
        now = self._now()
        try:
            point = self._state.choose(now, values, level, wanted)
        except SessionError as error:
            told = {"at": now, "steady": self._clock.steady, "context": values}
            self._write("refused", told | {"reason": str(error)})
            raise
        stimulus = self.space.stimulus(point)
        name = f"{self._owned().path.stem}-{len(self.trials) + 1:05d}"
        told = {"id": name, "level": level, "point": point, "context": values}
        when = {"at": now, "steady": self._clock.steady}
        self._write("ask", told | when | {"aim": wanted._asdict()})
        return Ask(name, point, stimulus)

    def tell(
        self, ask_id: str, response: float | Mapping[str, float], *, valid: bool = True
    ) -> None:
        """Say what came of a stimulus; it is in the journal when this returns.

        Parameters
        ----------
        ask_id
            Of the ask.
        response
            A number, or one for each output.
        valid
            Whether it may be learned from; an artefact may not, but counts as sent.

        Raises
        ------
        SessionError
            If there is no such ask, or its response is known already.
        InvalidInputError
            If the response is no finite number.
        """
        trial = self._require_fate(ask_id, "pending", "unresolved")
        told = require_response(response, self.outputs)
        reason = "" if valid else "said to be no response"
        if valid:
            state = self._state
            surprise = np.abs(state.search.surprise(trial.place, state.values(told)))
            if surprise.max() > self.settings.rule.largest_surprise:
                reason = f"{surprise.max():.1f} deviations from what was expected"
        fate = {"valid": not reason, "reason": reason}
        self._write("tell", {"id": ask_id, "response": told, **fate})
        self._refits.begin_if_due()

    def reject(self, ask_id: str, reason: str) -> None:
        """Say that a trial failed: it counts as sent, and is not learned from."""
        self._require_fate(ask_id, "pending", "unresolved")
        self._write("reject", {"id": ask_id, "reason": str(reason)})

    def resolve(self, ask_id: str, *, sent: bool, by: str) -> None:
        """Say of a trial before a crash whether it was sent, and who says so.

        Either way nothing is learned from it, and it counts as sent for all limits.
        """
        self._require_fate(ask_id, "unresolved")
        self._write("resolve", {"id": ask_id, "sent": bool(sent), "by": str(by)})

    def confirm(self, what: str, *, by: str) -> None:
        """Write down that a person has seen to something, such as an impedance."""
        self._require_open()
        self._write("confirm", {"what": str(what), "by": str(by)})

    def stop(self, reason: str) -> None:
        """End the session for good."""
        self._require_open()
        self._write("stop", {"reason": str(reason)})

    def wait(self) -> float:
        """Return after how many seconds the next ask may come."""
        return self._state.delivered.wait(self._now())

    def close(self) -> None:
        """Give the session back, to be opened again later."""
        self._refits.close()
        if self._steady:
            steady.end()
            self._steady = False
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> "Session":
        """Return the session itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self.close()

    def _now(self) -> float:
        return self._clock.now()

    def _replay(self) -> None:
        self._state = State(self.settings)
        for event in self._events[1:]:
            self._state.apply(event)
        self._refits = Refits(self._state.search, self.settings.rule.refit)

    def _write(
        self,
        kind: str,
        content: dict[str, Any],
        apply: Callable[[Event], None] | None = None,
    ) -> None:
        journal = self._owned()
        self._behind = True  # until both have it: an interrupt may come in between
        try:
            event = journal.append(kind, content)
        except SessionError:
            self._refits.close()
            self._replay()  # what was looked at for it must leave no trace
            self._behind = False
            raise
        self._events.append(event)
        (apply or self._state.apply)(event)
        self._behind = False

    def _adopt(self) -> None:
        """Go on with parameters that were fitted meanwhile, if there are any."""
        found = self._refits.take()
        if found is None:
            return
        names = self._state.search.parameter_names
        parameters = dict(zip(names, found.parameters.tolist(), strict=True))
        content = {"parameters": parameters, "n_trials": found.n_trials}
        self._write("refit", content, lambda _: self._state.search.adopt(*found))

    def _owned(self) -> Journal:
        if self._journal is None:
            raise SessionError("the session is only read: open it by `Session.open`")
        if self._behind:
            raise SessionError(
                "the session was interrupted while it wrote: close it and open it "
                "again, which shows what came of it"
            )
        return self._journal

    def _require_open(self) -> None:
        self._owned()
        if self.stopped:
            raise SessionError(f"the session was stopped: {self.stopped}")

    def _require_fate(self, ask_id: str, *fates: str) -> Trial:
        self._owned()
        trial = self.trials.get(ask_id)
        if trial is None:
            raise SessionError(f"no stimulus {ask_id!r} was asked for in this session")
        if trial.fate not in fates:
            raise SessionError(f"{ask_id} is {trial.fate} already")
        return trial
