"""The search itself: what is known so far, and the next candidate."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.stimulation import programs
from neuromod.stimulation.covariance import points
from neuromod.stimulation.decide import Course, Objective, only
from neuromod.stimulation.gaussian_process import Posterior
from neuromod.stimulation.ground import Ground, Place
from neuromod.stimulation.regression import (
    RESERVED,
    SMALLEST_ROOM,
    Regression,
    fit_room,
)
from neuromod.stimulation.rule import Rule, weights


class Search(Regression):
    """A search under way.

    Parameters
    ----------
    ground
        What could be stimulated.
    rule
        How to search.
    n_planned
        Trials that are planned.
    n_outputs
        Responses of every trial.
    n_context
        Numbers that tell the context of a trial.
    """

    def __init__(
        self,
        ground: Ground,
        rule: Rule,
        n_planned: int,
        n_outputs: int = 1,
        n_context: int = 0,
    ) -> None:
        super().__init__(ground, rule, n_outputs, n_context)
        self.n_planned = n_planned

    def prepare(self, n_trials: int, *, elsewhere: bool = False) -> None:
        """Compile and set aside all that so many trials will need; forget all trials.

        Parameters
        ----------
        n_trials
            Trials that will come.
        elsewhere
            Whether places will be asked about that are no candidates.
        """
        start, objective = self.parameters, only(0, self.n_outputs)
        allowed, here = np.ones(len(self.n_visits), bool), self.place(0)
        one = np.ones(self.n_outputs)
        self.choose(0, 0, allowed)
        room = SMALLEST_ROOM
        while True:
            self.learn(here, one)
            self._move_floor(self.floor)
            self.choose(0, 0, allowed, pending=[here])
            self.utility(objective)
            self.promise(0, 0, objective)
            if elsewhere:
                self.utility_at([here], objective)
                self.utility_at([here] * 2, objective)
            if self.moves or self.rule.refit:  # both rebuild
                self._take(start, self.rows, least=room)
            if room >= n_trials + RESERVED:
                break
            self._widen()
            room *= 2
        if self.rule.refit:
            self._prepare_fits(n_trials)
        self.forget()
        n_candidates = len(self.n_visits)
        with jax.enable_x64(True):
            while room > SMALLEST_ROOM:
                self._spare[room] = jnp.zeros((room, n_candidates))
                room //= 2

    def _prepare_fits(self, n_trials: int) -> None:
        rows, room = self.rows[:1], 0
        while room < n_trials:
            room = fit_room(room + 1)
            self.rows = rows * room
            self.refit()

    def choose(
        self,
        seed: int,
        n_asked: int,
        allowed: np.ndarray,
        *,
        objective: Objective | None = None,
        pending: Sequence[Place] = (),
    ) -> int:
        """Return the candidate to stimulate next.

        Parameters
        ----------
        seed, n_asked
            Of the draws, and how many asks came before.
        allowed : (candidate,)
            What may be chosen.
        objective
            What is to be large; the first output if omitted.
        pending
            Where responses have not come yet: they are taken to be as expected.
        """
        objective = objective or only(0, self.n_outputs)
        with jax.enable_x64(True):
            key = jax.random.fold_in(jax.random.key(seed), n_asked)
            possible = jnp.asarray(allowed)
            if not self.rows and not len(pending) and self.ground.earlier is None:
                return int(programs.first(key, possible))
            known = self.known
            visits = self.n_visits.copy()
            for place in pending:
                known = self._expect(known, place)
                visits[self._here(place)] += 1
            course = self._course(n_asked, visits)
            arguments = key, known, self.scene, possible, objective, course
            return int(programs.most_promising(*arguments, self._kind))

    def promise(
        self, seed: int, n_asked: int, objective: Objective | None = None
    ) -> np.ndarray:
        """Return how much each candidate promises (candidate,)."""
        objective = objective or only(0, self.n_outputs)
        with jax.enable_x64(True):
            key = jax.random.fold_in(jax.random.key(seed), n_asked)
            course = self._course(n_asked, self.n_visits)
            arguments = key, self.known, self.scene, self._kind, objective, course
            return np.asarray(programs.promise_all(*arguments))

    def _course(self, n_asked: int, n_visits: np.ndarray) -> Course:
        n_candidates = int((self.ground.level == 0).sum())
        both = weights(self.rule, n_candidates, self.n_planned)
        first, last = (jnp.asarray(weight, float) for weight in both)
        n_done, n_planned = jnp.asarray(n_asked), jnp.asarray(self.n_planned)
        weight = programs.cosine(first, last, n_done, n_planned)
        return Course(weight, jnp.asarray(n_visits))

    def _expect(self, known: Posterior, place: Place) -> Posterior:
        """Return what would be known if a response came as expected."""
        at = points(place.at[None], np.array([place.level]))
        found = programs.believe_at(
            known, self.scene, at, place.basis[None], self._kind
        )
        row = self._row(place, self.to_response(np.asarray(found.mean[0])))
        row = self._on_map(row, self.floor)
        process, candidates = self.scene.process, self.scene.candidates
        return programs.append_row_to_copy(process, known, candidates, row)
