"""What earlier sessions tell a new one: a map to begin with, or trials of a part.

A map of earlier animals is a known function of the regression, whose coefficient is
learned: where the new animal is like them it is followed, else it is dropped
(`earlier_map`, for ``Session.open(earlier=...)``). Trials of a part that is the same in
another whole are trials like any other (`known_trials`, for
``Session.open(known=...)``).
"""

from collections.abc import Sequence

import numpy as np

from neuromod.core.errors import ShapeError, invalid
from neuromod.stimulation.ground import Place
from neuromod.stimulation.session import Session
from neuromod.stimulation.settings import Known
from neuromod.stimulation.space import WHOLE, Space


def earlier_map(sessions: Sequence[Session], space: Space, output: str) -> np.ndarray:
    """Return what earlier animals make expect of a space.

    Parameters
    ----------
    sessions
        Of the earlier animals, with coordinates of as many dimensions.
    space
        Of the new one; finite.
    output
        Name of the output.

    Returns
    -------
    numpy.ndarray
        (candidate,) the mean over animals of their maps around their offsets, each in
        units of its scale.

    Raises
    ------
    ShapeError
        If a session has coordinates of other dimensions.
    """
    if not sessions:
        raise invalid("sessions", "none", "at least one")
    coordinates = space.coordinates
    found = []
    for session in sessions:
        if len(session.space.dimensions) != coordinates.shape[1]:
            got = f"one of {session.space.dimensions}"
            expected = f"coordinates like {space.dimensions}"
            raise invalid("sessions", got, expected, kind=ShapeError)
        found.append(_map_of(session, coordinates, output))
    return np.mean(found, axis=0)


def _map_of(session: Session, coordinates: np.ndarray, output: str) -> np.ndarray:
    search = session.search
    k = session.outputs.index(output)
    first = search.place(0)
    around = search.surroundings
    basis = np.zeros_like(first.basis)  # without offsets: only the shape counts
    values = []
    room = len(search.known.trials.noise)
    for start in range(0, len(coordinates), room):
        rows = coordinates[start : start + room]
        places = [Place(np.append(row, around), 0, basis) for row in rows]
        found = search.belief_at(places)
        values.append(np.asarray(found.mean)[: len(rows), k])
    scale = np.sqrt(np.asarray(found.covariance)[k, k])
    return np.concatenate(values) / scale


def known_trials(
    session: Session, *, level: str = WHOLE, part: str = WHOLE
) -> tuple[Known, ...]:
    """Return the valid trials of a session, as those of a part of another space.

    Parameters
    ----------
    session
        Where they were.
    level
        Of which block there.
    part
        Of which block they are in the new space.

    Examples
    --------
    In ``Session.open(path, pairs, limits, seed=1, known=known_trials(single,
    part="first"))`` the first electrode of each pair begins with what was learned of it
    alone.
    """
    return tuple(
        Known(part, trial.point, trial.response)
        for trial in session.trials.values()
        if trial.fate == "valid" and trial.level == level and trial.response
    )
