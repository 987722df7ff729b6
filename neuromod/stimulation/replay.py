"""A journal gone through again: would every stimulus be chosen as it was?"""

import os
from typing import NamedTuple

from neuromod.core.errors import SessionError
from neuromod.stimulation import journal
from neuromod.stimulation.settings import Aim, from_description, versions
from neuromod.stimulation.state import State


class Replayed(NamedTuple):
    """What came of it.

    Parameters
    ----------
    n_events
        Events, each with the hash that it had.
    n_asks
        Stimuli that were asked for.
    other
        Ids of those that would not be chosen again.
    versions
        That the session ran with and are others now: then, and now.
    """

    n_events: int
    n_asks: int
    other: tuple[str, ...]
    versions: dict[str, tuple[str, str]]


def replay(path: str | os.PathLike[str]) -> Replayed:
    """Go through a journal again, and choose every stimulus anew.

    Parameters
    ----------
    path
        The journal, whoever owns it.

    Raises
    ------
    DataFormatError
        If the file is no journal, or damaged.
    ChecksumError
        If an event is not what was written.
    """
    events = journal.read(path)
    if not events:
        raise SessionError(f"the session {str(path)!r} has not begun")
    state = State(from_description(events[0].content["settings"]))
    n_asks, other = 0, []
    for event in events[1:]:
        if event.kind == "ask":
            n_asks += 1
            told = event.content
            aim = Aim(**told["aim"])
            aim = aim._replace(against=tuple(aim.against))
            point = state.choose(told["at"], told["context"], told["level"], aim)
            if point != told["point"]:
                other.append(told["id"])
        state.apply(event)
    then, now = events[0].content["versions"], versions()
    changed = {k: (then[k], now[k]) for k in now if then.get(k) != now[k]}
    return Replayed(len(events), n_asks, tuple(other), changed)
