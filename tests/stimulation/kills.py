"""Kill sessions where it hurts, and judge whether anything was lost or sent twice.

A `Campaign` is one session that is killed again and again by SIGKILL. The judge, this
process, stands between the session and the rig (`kill_processes`): both tell it at
every step where they are and wait to be told to go on, so that a kill meets exactly the
moment it is for, or a random one of the step that follows. After each kill the judge
opens the session and compares it with the log of the rig, with what the session had
acknowledged, and with a twin that was told the same and never interrupted.
"""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Listener, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neuromod.core.errors import SessionError
from neuromod.stimulation import journal
from neuromod.stimulation.journal import Event
from neuromod.stimulation.limits import Limits
from neuromod.stimulation.rule import Rule
from neuromod.stimulation.session import Session
from neuromod.stimulation.space import Space
from tests.stimulation.kill_processes import LOST, answer_to, hear, say
from tests.stimulation.twin import Twin, bits

ROOT = Path(__file__).resolve().parents[2]
POSITIONS = {str(k): divmod(k, 3) for k in range(6)}


def options(**changes: Any) -> dict[str, Any]:
    """Return what a session is begun with: trials that fail count for these limits."""
    axes = {"electrode": list(POSITIONS), "amplitude": [20.0, 40.0]}
    limits = Limits(
        amplitude=40.0,
        charge_per_phase=8.0,
        imbalance=0.0,
        frequency=330.0,
        n_pulses=1,
        interval=0.0,
        per_hour=math.inf,
        per_electrode_per_hour=50,
        ramp=20.0,
    )
    given = {
        "space": Space(axes, POSITIONS, fixed={"pulse_width": 200.0, "frequency": 1.0}),
        "limits": limits,
        "n_planned": 40,
        "outputs": ("flexor",),
        "rule": Rule(),
    }
    return given | changes


KINDS = {
    "one muscle": options(),
    "two muscles": options(outputs=("flexor", "extensor"), n_planned=20),
    "drift": options(rule=Rule(time_constant=60.0), n_planned=20),
    "refits": options(rule=Rule(refit=4)),
}


class Moment(NamedTuple):
    """When to kill.

    Parameters
    ----------
    step
        The session is about to take it, or the rig has: open, ask, send, delivered,
        tell, or thank; nothing for the start of the process.
    how
        "before" the step, "during" it, at the "commit" of what it writes, or, of open,
        when it has to "compile" all programs.
    within
        A random time up to this is waited for first (s).
    """

    step: str
    how: str
    within: float = 0.0


MOMENTS = (
    Moment("", "during", 0.05),
    Moment("open", "before"),
    Moment("open", "during", 1.0),
    Moment("open", "compile", 2.0),
    Moment("ask", "before"),
    Moment("ask", "during", 0.004),
    Moment("ask", "commit", 0.004),
    Moment("send", "before"),
    Moment("send", "during", 0.001),
    Moment("delivered", "before"),
    Moment("delivered", "during", 0.001),
    Moment("tell", "before"),
    Moment("tell", "during", 0.004),
    Moment("tell", "commit", 0.004),
    Moment("thank", "before"),
    Moment("thank", "during", 0.002),
)


MUST_BE_NONE = ("lost", "twice", "unasked", "uncounted", "hidden", "resent", "unlike")


class Campaign:
    """A session that is killed again and again.

    Parameters
    ----------
    folder
        For the journal, and what goes with it.
    cache
        A folder for compiled programs, so that a session opens fast.
    kind
        One of `KINDS`.
    seed
        Of the session and of all moments.
    most_trials
        Steps of a life before the kill: at most this.
    """

    def __init__(
        self, folder: Path, cache: Path, kind: str, seed: int, *, most_trials: int = 3
    ) -> None:
        given = KINDS[kind]
        self.path = folder / "live" / "rat7.db"
        self.delivered, self.thanked = folder / "delivered", folder / "thanked"
        self._most_trials, self._outputs = most_trials, given["outputs"]
        for file in (self.path, folder / "twin" / "rat7.db"):
            file.parent.mkdir(parents=True)
        for file in (self.delivered, self.thanked):
            file.touch()
        Session.open(self.path, **given, seed=seed).close()
        self.twin = Twin.begin(folder / "twin" / "rat7.db", **given, seed=seed)
        self._rng = np.random.default_rng(seed)
        # Addresses of sockets must be short.
        self._sockets = tempfile.mkdtemp(prefix="kills")
        rig, judge = f"{self._sockets}/rig", f"{self._sockets}/judge"
        self._listener = Listener(judge)
        self._hung_up = False
        compiled = {
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self._rig = _start(["rig", rig, str(self.delivered)])
        self._nursery = _start(["nursery", rig, judge], compiled)

    def __enter__(self) -> "Campaign":
        """Return the campaign itself, when all its processes are there."""
        for process in (self._rig, self._nursery):
            assert process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        for process in (self._nursery, self._rig):
            process.stdin.close()
        self._nursery.wait(timeout=60)
        self._rig.kill()  # it listens for ever
        self._rig.wait(timeout=60)
        for process in (self._nursery, self._rig):
            process.stdout.close()
        self._listener.close()
        self.twin.close()
        shutil.rmtree(self._sockets)

    def kill(self, moment: Moment) -> dict[str, Any]:
        """Let the session live until a moment, kill it, and judge."""
        nth = 1 if moment.step in ("", "open") else self._count()
        phase, status = self._live(moment, nth, n_trials=10**6)
        assert status == -signal.SIGKILL, status
        told = {"moment": f"{moment.step or 'start'} {moment.how}", "phase": phase}
        return told | self.judge()

    def finish(self, n_trials: int) -> dict[str, Any]:
        """Let the session live to its end, and judge."""
        _, status = self._live(None, 0, n_trials=n_trials)
        assert status == 0, status
        return self.judge()

    def judge(self) -> dict[str, Any]:
        """Open the session after its end, and count what is not as it must be."""
        hot = self.path.with_name(self.path.name + "-journal").exists()
        seen = journal.read(self.path)  # before anybody mends anything
        pulses = dict(line.split() for line in _lines(self.delivered))
        n_pulses = len(_lines(self.delivered))
        open_ids = _open(seen)
        with Session.open(self.path) as session:
            trials = session.trials
            found = {
                "hot": hot,
                "delivered": n_pulses,
                "acknowledged": len(_lines(self.thanked)),
                "unresolved": len(session.unresolved),
                "lost": self._n_lost(session, pulses),
                "twice": n_pulses - len(pulses),
                "unasked": len(set(pulses) - set(trials)),
                "uncounted": len(trials) - len(session.delivered),
                "hidden": int([t.id for t in session.unresolved] != open_ids),
                "resent": self._resent(session),
            }
            for trial in session.unresolved:
                sent = trial.id in pulses
                session.resolve(trial.id, sent=sent, by="the log of the rig")
            asks, unlike = self.twin.follow(session.events())
            different = bits(session) != bits(self.twin)
            return found | {"asks": asks, "unlike": unlike + int(different)}

    def _n_lost(self, session: Session, pulses: dict[str, str]) -> int:
        """Count trials that were acknowledged and are not there as they were.

        So are those that are there as the rig did not answer.
        """
        thanked = {name for name, _ in map(json.loads, _lines(self.thanked))}
        n_lost = len(thanked - set(session.trials))
        for trial in session.trials.values():
            if trial.fate == "unresolved" or trial.reason.endswith(
                "the log of the rig"
            ):
                n_lost += trial.id in thanked
                continue
            answer = answer_to(trial.id, pulses.get(trial.id, "0"))
            want = {name: answer["response"][name] for name in self._outputs}
            rejected = answer["kind"] == "lost"
            fates = {"lost": "rejected", "artefact": "excluded", "valid": "valid"}
            n_lost += (
                trial.id not in pulses
                or trial.fate != fates[answer["kind"]]
                or trial.response != (None if rejected else want)
                or (rejected and trial.reason != LOST)
            )
        return n_lost

    def _resent(self, session: Session) -> int:
        """Return whether anything is asked for while a trial is unresolved."""
        if not session.unresolved:
            return 0
        before = len(session.events()), _lines(self.delivered)
        try:
            session.ask()
        except SessionError:
            return int(before != (len(session.events()), _lines(self.delivered)))
        return 1

    def _count(self) -> int:
        return int(self._rng.integers(1, self._most_trials + 1))

    def _live(
        self, moment: Moment | None, nth: int, n_trials: int
    ) -> tuple[str, int | None]:
        """Run a session until it is killed or ends; return where, and its status."""
        order = {
            "path": str(self.path),
            "acknowledged": str(self.thanked),
            "n_trials": n_trials,
            "from_cache": moment is None or moment.how != "compile",
        }
        print(json.dumps(order), file=self._nursery.stdin, flush=True)
        session = self._listener.accept()
        child = int(self._nursery.stdout.readline())
        phase, go_on = self._until(moment, nth, session)
        if moment is not None:
            os.kill(child, signal.SIGKILL)
        status = int(self._nursery.stdout.readline())
        if go_on:  # only the rig waits for it still
            go_on()
        last = self._settled(session)
        session.close()
        return last or phase, status

    def _until(self, moment: Moment | None, nth: int, session: Any) -> tuple[str, Any]:
        """Follow a session to a moment; return where it is and what the rig awaits."""
        if moment is not None and not moment.step:
            time.sleep(self._rng.uniform(0, moment.within))
            return "start", None
        while True:
            try:
                step, go_on = self._next(session)
            except EOFError:
                assert moment is None, "the session ended by itself"
                return "end", None
            if moment is not None and step == moment.step:
                nth -= 1
                if step == "send":
                    self._refuse_another_owner()
                if nth == 0:
                    break
            go_on()
        if moment.how == "before":
            return f"before {step}", go_on if step == "delivered" else None
        go_on()
        if moment.how == "commit":
            _await(self.path.with_name(self.path.name + "-journal"))
        time.sleep(self._rng.uniform(0, moment.within))
        return f"during {step}", None

    def _next(self, session: Any) -> tuple[str, Any]:
        """Return the next step that is about to be taken, and what lets it go on."""
        ready = wait([session, self._rig.stdout], timeout=120)
        assert ready, "nothing happens any more"
        if session in ready:
            return hear(session), lambda: say(session, "go on")
        told = json.loads(self._rig.stdout.readline())
        if told == "hung up":
            self._hung_up = True
            raise EOFError
        return told[0], self._let_rig_answer

    def _let_rig_answer(self) -> None:
        print(file=self._rig.stdin, flush=True)

    def _settled(self, session: Any) -> str:
        """Wait until the rig is through; return how far the dead session had come."""
        last = ""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                last = f"before {hear(session)}"
        while not self._hung_up:
            told = json.loads(self._rig.stdout.readline())
            if told == "hung up":
                break
            last = "before delivered"
            self._let_rig_answer()
        self._hung_up = False
        return last

    def _refuse_another_owner(self) -> None:
        """See that a second owner is refused, and a reader welcome."""
        journal.read(self.path)
        with contextlib.suppress(SessionError):
            Session.open(self.path)
            raise AssertionError("a session has two owners")


def _open(events: Sequence[Event]) -> list[str]:
    """Return ids of asks of which nothing is said afterwards."""
    found = dict.fromkeys(e.content["id"] for e in events if e.kind == "ask")
    for event in events:
        if event.kind in ("tell", "reject", "resolve"):
            del found[event.content["id"]]
    return list(found)


def _await(path: Path, seconds: float = 0.5) -> None:
    """Wait until a file is there, as that of a commit under way."""
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        pass


def _lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1]


def _start(arguments: list[str], environment: dict[str, str] | None = None) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stimulation.kill_processes", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
    )
