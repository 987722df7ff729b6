"""What stands between a page and a session: one call at a time, and what to show.

A `Desk` has a session that this process owns, or follows the journal of one that
another process owns. It acts on what was said on a page, and takes a `Snapshot` of
what there is to be shown. A session knows nothing of threads: `Shared` lets only one
call of it go on at a time.
"""

import functools
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import xarray as xr

from neuromod.core.errors import NeuromodError, SessionError, choice, invalid
from neuromod.stimulation import journal
from neuromod.stimulation.drive import run
from neuromod.stimulation.journal import Event
from neuromod.stimulation.rig import Rig
from neuromod.stimulation.session import Session
from neuromod.stimulation.settings import Settings
from neuromod.stimulation.state import Trial
from neuromod.stimulation.words import Best, best_of, counts

SETTLED = 2.0  # s, after which the time of a file tells that it did not change
TAIL = 12  # events of the journal that are shown
STALE = "something else was asked for meanwhile, here or on another page: look again"


class Shared:
    """A session that several threads use, with the same attributes and methods.

    Parameters
    ----------
    session
        The session; whoever calls it past this is not waited for.
    """

    def __init__(self, session: Session) -> None:
        self._session, self.lock = session, threading.RLock()

    def __getattr__(self, name: str) -> Any:
        """Return an attribute; a method waits for its turn."""
        with self.lock:
            value = getattr(self._session, name)
        if not callable(value):
            return value

        @functools.wraps(value)
        def in_turn(*given: Any, **named: Any) -> Any:
            with self.lock:
                return value(*given, **named)

        return in_turn


class Snapshot(NamedTuple):
    """All that a page shows, as it was at one moment.

    Parameters
    ----------
    version
        Another one if anything else is to be shown.
    settings
        What the session began with.
    is_owned
        Whether it can be changed from the page.
    trials
        All trials.
    tail
        The last events, the last one first.
    n_events
        Of the journal.
    counts
        Trials by what became of them, in words.
    best
        The best point so far.
    stopped
        Why the session was stopped, if it was.
    notice
        What went wrong beside the page.
    rig
        "none", "ready" or "busy".
    map, history
        As of the session.
    best_point
        Values of the axes of the best point.
    """

    version: str
    settings: Settings
    is_owned: bool
    trials: list[Trial]
    tail: list[Event]
    n_events: int
    counts: dict[str, int]
    best: Best | None
    stopped: str
    notice: str
    rig: str
    map: xr.Dataset
    history: xr.Dataset
    best_point: dict[str, Any] | None

    def of(self, fate: str) -> list[Trial]:
        """Return the trials with a fate."""
        return [trial for trial in self.trials if trial.fate == fate]


class Desk:
    """A session behind a page.

    Parameters
    ----------
    session
        One that this process owns, or the path of the journal of one that it does not.
    rig
        What does trials at the press of a button.
    """

    def __init__(
        self, session: Session | str | os.PathLike[str], rig: Rig | None = None
    ) -> None:
        self.is_owned = isinstance(session, Session)
        if rig is not None and not self.is_owned:
            raise invalid("rig", "a rig", "none where a session is only looked at")
        self._path = "" if isinstance(session, Session) else os.fspath(session)
        found = session if isinstance(session, Session) else Session.read(session)
        self.session: Any = Shared(found)
        self._rig, self._notice, self._at_work = rig, "", threading.Lock()
        self._worker: threading.Thread | None = None
        self._taken: Snapshot | None = None
        self._stamp: tuple[int, int] | None = None
        self._wait, self._since = 0.0, 0.0

    def snapshot(self) -> Snapshot:
        """Return what is to be shown now.

        Raises
        ------
        NeuromodError
            If the journal that is looked at cannot be read any more.
        """
        self._follow()
        with self.session.lock:
            events = self.session.events()
            rig = "none" if self._rig is None else self._rig_state()
            version = f"{events[-1].number}-{rig}-{hash(self._notice):x}"
            if self._taken is None or self._taken.version != version:
                self._wait, self._since = self.session.wait(), time.monotonic()
                self._taken = self._take(version, events, rig)
            return self._taken

    def wait(self) -> float:
        """Return after how many seconds the next ask may come."""
        return max(self._wait - (time.monotonic() - self._since), 0.0)

    def act(self, said: Mapping[str, str]) -> None:
        """Do what was said on a page.

        Parameters
        ----------
        said
            What to ``do``, and what else is needed for it.

        Raises
        ------
        NeuromodError
            If it cannot be done.
        """
        if not self.is_owned:
            raise SessionError(
                "another program owns this session: only its own page may change it"
            )
        acts: dict[str, Callable[[Mapping[str, str]], None]] = {
            "ask": self._ask,
            "tell": self._tell,
            "reject": self._reject,
            "resolve": self._resolve,
            "confirm": self._confirm,
            "stop": self._stop,
            "trial": self._trial,
        }
        acts[choice("do", said.get("do"), acts)](said)

    def close(self) -> None:
        """Wait for the trial that a rig is at, if it is."""
        if self._worker is not None:
            self._worker.join()

    def _follow(self) -> None:
        """Read the journal of another process again if it has grown."""
        if self.is_owned:
            return
        with self.session.lock:
            if (stamp := self._stamp_of_file()) is not None and stamp == self._stamp:
                return
            self._stamp = stamp
            if journal.read(self._path)[-1].hash != self.session.events()[-1].hash:
                self.session._session = Session.read(self._path)

    def _stamp_of_file(self) -> tuple[int, int] | None:
        """Return what changes with the file; None if it may not have changed yet.

        Its owner waits for whoever reads it, so it is not read without need.
        """
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        is_recent = time.time() - found.st_mtime < SETTLED
        return None if is_recent else (found.st_mtime_ns, found.st_size)

    def _take(self, version: str, events: list[Event], rig: str) -> Snapshot:
        session = self.session
        best = best_of(session)
        return Snapshot(
            version,
            session.settings,
            self.is_owned,
            list(session.trials.values()),
            events[: -TAIL - 1 : -1],
            len(events),
            counts(session),
            best,
            session.stopped,
            self._notice,
            rig,
            session.map(),
            session.history(),
            session.best() if best else None,
        )

    def _rig_state(self) -> str:
        return "busy" if self._at_work.locked() else "ready"

    def _ask(self, said: Mapping[str, str]) -> None:
        context = self._context(said)
        with self.session.lock:
            self._require_next(said)
            self.session.ask(context=context, level=said.get("level", "whole"))

    def _require_next(self, said: Mapping[str, str]) -> None:
        """Refuse an ask that another page, or the same one, has made already."""
        if said.get("number") != str(len(self.session.trials) + 1):
            raise SessionError(STALE)

    def _context(self, said: Mapping[str, str]) -> dict[str, float]:
        names = self.session.settings.context
        return {n: _number(n, said.get(f"context-{k}")) for k, n in enumerate(names)}

    def _tell(self, said: Mapping[str, str]) -> None:
        response = {
            name: _number(name, said.get(f"response-{k}"))
            for k, name in enumerate(self.session.outputs)
        }
        self.session.tell(_name(said), response, valid="artefact" not in said)

    def _reject(self, said: Mapping[str, str]) -> None:
        self.session.reject(_name(said), _words("reason", said))

    def _resolve(self, said: Mapping[str, str]) -> None:
        sent = choice("sent", said.get("sent"), ("yes", "no")) == "yes"
        self.session.resolve(_name(said), sent=sent, by=_words("by", said))

    def _confirm(self, said: Mapping[str, str]) -> None:
        self.session.confirm(_words("what", said), by=_words("by", said))

    def _stop(self, said: Mapping[str, str]) -> None:
        if said.get("sure") != "yes":
            raise SessionError("a session is ended for good: say that you are sure")
        if self._rig is not None:
            # Beside this, so that a rig that hangs does not keep it from the journal.
            self._beside(self._rig.stop)
        self.session.stop(_words("reason", said))

    def _trial(self, said: Mapping[str, str]) -> None:
        if self._rig is None:
            raise SessionError("this page has no rig")
        context = self._context(said)
        if not self._at_work.acquire(blocking=False):
            raise SessionError("the rig is at work on a trial already")
        try:
            self._require_next(said)
            if (wait := self.session.wait()) > 0:
                raise SessionError(f"too early: wait for {wait:.3g} s")
        except BaseException:
            self._at_work.release()
            raise
        self._notice = ""
        self._worker = self._beside(self._run_one, self._rig, context)

    def _run_one(self, rig: Rig, context: dict[str, float]) -> None:
        try:
            run(self.session, rig, 1, context=lambda: context)
        finally:
            self._at_work.release()

    def _beside(self, function: Callable[..., Any], *given: Any) -> threading.Thread:
        """Call a function in a thread, and show what went wrong."""

        def call() -> None:
            try:
                function(*given)
            except NeuromodError as error:
                self._notice = str(error)
            except Exception as error:
                self._notice = f"the rig failed: {type(error).__name__}: {error}"

        thread = threading.Thread(target=call, name="rig of a page")
        thread.start()
        return thread


def _name(said: Mapping[str, str]) -> str:
    return said.get("id", "")


def _words(name: str, said: Mapping[str, str]) -> str:
    words = said.get(name, "").strip()
    if not words:
        raise invalid(name, "nothing", "a few words")
    return words


def _number(name: str, said: str | None) -> float:
    try:
        value = float((said or "").strip().replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        remedy = "Reject the trial if nothing was measured."
        raise invalid(name, repr(said or ""), "a number", remedy)
    return value
