"""A session and a rig, trial after trial: ask, send, tell.

A trial without a response is rejected, and the next one follows. A rig whose heartbeat
fails, even while its response is waited for, stops the session. Any other error stops
the rig, and leaves it to a person to say what became of the trial.
"""

import time
from collections.abc import Callable, Mapping

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import invalid
from neuromod.stimulation.rig import NoResponseError, Rig, RigLostError
from neuromod.stimulation.session import Session
from neuromod.stimulation.watch import Watch


def run(
    session: Session,
    rig: Rig,
    n_trials: int,
    *,
    largest_impedance: float | None = None,
    heartbeat: float = 1.0,
    until_finished: bool = False,
    context: Callable[[], Mapping[str, float]] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Let a rig do trials of a session, and return how many it did.

    Parameters
    ----------
    session
        An open session.
    rig
        What stimulates.
    n_trials
        Trials to do.

    Other Parameters
    ----------------
    largest_impedance
        Of an electrode (ohm); with a larger one the session does not begin.
    heartbeat
        The rig is asked for a heartbeat every so many seconds.
    until_finished
        Whether to end before, once nothing is likely to be better than the best.
    context
        Tells the context of the next trial.
    sleep
        Waits for some seconds.
    progress
        Is called after every trial, with the number of trials done.

    Raises
    ------
    InvalidInputError
        If an electrode has a larger impedance.
    RigLostError
        If the rig was lost; the session is stopped then.
    """
    require_integer(n_trials, "n_trials", minimum=0)
    _check_impedance(session, rig, largest_impedance)
    try:
        with Watch(rig, interval=heartbeat) as watch:
            for done in range(n_trials):
                if until_finished and session.finished():
                    return done
                if (wait := session.wait()) > 0:
                    watch.call(sleep, wait)
                _trial(session, rig, watch, context)
                if progress is not None:
                    progress(done + 1)
    except RigLostError as error:
        session.stop(f"the rig was lost: {error}")
        raise
    return n_trials


def _trial(
    session: Session,
    rig: Rig,
    watch: Watch,
    context: Callable[[], Mapping[str, float]] | None,
) -> None:
    if not watch.call(rig.heartbeat):
        rig.stop()
        raise RigLostError("no heartbeat")
    ask = session.ask(context=None if context is None else context())
    try:
        told = watch.call(rig.stimulate, ask.stimulus, ask.point, ask.id)
    except (NoResponseError, RigLostError) as error:
        session.reject(ask.id, str(error))
        if isinstance(error, RigLostError):
            raise
    except BaseException:
        rig.stop()
        raise
    else:
        session.tell(ask.id, told)


def _check_impedance(session: Session, rig: Rig, largest: float | None) -> None:
    if largest is None:
        return
    for electrode, impedance in rig.impedance().items():
        if not impedance <= largest:
            got = f"{impedance:g} ohm at electrode {electrode}"
            raise invalid("largest_impedance", got, f"at most {largest:g} ohm")
    session.confirm(f"impedances of at most {largest:g} ohm", by="the rig")
