"""What a session knows: its trials, its map, its best site, and all of it as a file."""

import os
from typing import Any

import xarray as xr

from neuromod.core.errors import SessionError
from neuromod.core.result import Result
from neuromod.stimulation import tables
from neuromod.stimulation.belief import Belief
from neuromod.stimulation.journal import Event
from neuromod.stimulation.limits import Delivery, Limits
from neuromod.stimulation.search import Search
from neuromod.stimulation.settings import Aim, Settings, require_aim
from neuromod.stimulation.space import WHOLE, Space
from neuromod.stimulation.state import State, Trial


class Record:
    """What a session knows; nothing here changes it."""

    settings: Settings
    _events: list[Event]
    _state: State

    @property
    def space(self) -> Space:
        """What could be stimulated."""
        return self.settings.space

    @property
    def limits(self) -> Limits:
        """What may be sent."""
        return self.settings.limits

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what is measured in every trial."""
        return self.settings.outputs

    @property
    def trials(self) -> dict[str, Trial]:
        """All trials by their ids, in the order of their asks."""
        return self._state.trials

    @property
    def stopped(self) -> str:
        """Why the session was stopped, if it was."""
        return self._state.stopped

    @property
    def search(self) -> Search:
        """The regression, and what would be asked next: for models, not for rigs."""
        return self._state.search

    @property
    def unresolved(self) -> list[Trial]:
        """Trials of before an interruption of which it is not known what became."""
        return self._state.of("unresolved")

    @property
    def delivered(self) -> list[Delivery]:
        """All stimuli that were sent, or may have been."""
        return list(self._state.delivered.all)

    def best(
        self, *, level: str = WHOLE, aim: Aim | str | None = None
    ) -> dict[str, Any]:
        """Return the tested point with the largest expected response.

        Raises
        ------
        SessionError
            If there is no valid trial yet.
        """
        found = self._state.best_trial(self._aim(aim), level)
        if found is None:
            raise SessionError("there is no valid trial yet")
        return found.point

    def finished(self, *, margin: float = 0.1, probability: float = 0.05) -> bool:
        """Return whether the search may end.

        It may when no candidate is, with more than a probability, better than the
        best tested one by more than a margin.

        Parameters
        ----------
        margin
            A share of what is expected of the best.
        probability
            Of each candidate.
        """
        return tables.finished(self._state, margin, probability)

    def belief(self) -> Belief:
        """Return what is believed of all candidates, as arrays on the map's scale."""
        return self._state.search.belief()

    def map(self, *, level: str = WHOLE) -> xr.Dataset:
        """Return what is believed of every candidate: see `tables.map_of`."""
        return tables.map_of(self._state, level)

    def history(self) -> xr.Dataset:
        """Return all trials in their order: see `tables.history_of`."""
        return tables.history_of(self._state)

    def pareto(self) -> list[dict[str, Any]]:
        """Return tested points of which none is better in all outputs.

        The aim's target is to be large, what it is weighed against small; without
        any, all outputs are to be large.
        """
        return tables.pareto(self._state)

    def events(self) -> list[Event]:
        """Return all events of the journal."""
        return list(self._events)

    def result(self) -> Result:
        """Return the session as a `neuromod.Result`."""
        return tables.result_of(self._state, self._events)

    def export(self, folder: str | os.PathLike[str]) -> None:
        """Write ``journal.jsonl``, an event a line, and ``session.nc`` to a folder."""
        tables.export(self._state, self._events, folder)

    def _aim(self, aim: Aim | str | None) -> Aim:
        if aim is None:
            return self.settings.aim
        return require_aim(Aim(aim) if isinstance(aim, str) else aim, self.outputs)
