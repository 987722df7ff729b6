"""What is known of a map, trial by trial: a regression that grows.

Trials come one by one. The room for them doubles whenever it is full, at numbers of
trials that are always the same, so that a session that is replayed from its journal
makes the same steps on arrays of the same shapes and comes to the same bits.

The parameters may be fitted anew meanwhile: `Regression.refit` looks at the trials so
far and takes as long as it takes; `Regression.adopt` takes what it found, and the
trials that came meanwhile are appended to it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from neuromod.stimulation import programs
from neuromod.stimulation.belief import Basis, Belief, constant, prior_of, with_map
from neuromod.stimulation.covariance import Points, points
from neuromod.stimulation.decide import Objective, Scene
from neuromod.stimulation.gaussian_process import Posterior, empty
from neuromod.stimulation.ground import Ground, Place, moving_dimensions
from neuromod.stimulation.rows import (
    Groups,
    Repeats,
    Row,
    arrange,
    grouped,
    merged,
    room_for,
)
from neuromod.stimulation.rule import Rule, free_parameters, kind_of
from neuromod.stimulation.scale import floor_of, to_map, to_response

SMALLEST_ROOM, SMALLEST_FIT = 32, 128
RESERVED = 8
"""Rows that are kept for responses that have not come."""
SMALLEST_SHARE = 0.1  # of the largest response, for what noise grows with


class Rebuilt(NamedTuple):
    """What is known, worked out anew.

    Parameters
    ----------
    scene
        What is searched.
    known
        What is known of it.
    groups
        Numbers of the trials on each row of the regression.
    floor : (output,)
        Of the scale of the map.
    """

    scene: Scene
    known: Posterior
    groups: Groups
    floor: np.ndarray


class Refitted(NamedTuple):
    """Parameters that were fitted anew.

    Parameters
    ----------
    parameters : (parameter,)
        As `neuromod.stimulation.rule.free_parameters` names them.
    n_trials
        Trials that they are from.
    rebuilt
        What is known by them.
    """

    parameters: np.ndarray
    n_trials: int
    rebuilt: Rebuilt


class Regression:
    """A regression of responses that come one by one.

    Parameters
    ----------
    ground
        What could be stimulated.
    rule
        Whose regression it is.
    n_outputs
        Responses of every trial.
    n_context
        Numbers that tell the context of a trial.
    """

    def __init__(
        self, ground: Ground, rule: Rule, n_outputs: int = 1, n_context: int = 0
    ) -> None:
        self.rule, self.ground, self.n_outputs = rule, ground, n_outputs
        self._kind = kind_of(rule)
        self.n_visits = np.zeros(len(ground.coordinates), int)
        self.rows: list[Row] = []
        self._moving = moving_dimensions(rule, ground, n_context)
        self.surroundings = np.zeros(len(self._moving))
        self._spare: dict[int, Array] = {}
        self._begin_basis()
        self._take(free_parameters(rule, ground.block).start, [])

    def forget(self) -> None:
        """Forget all trials, and what was fitted to them."""
        self.rows, self.n_visits = [], np.zeros_like(self.n_visits)
        self._take(free_parameters(self.rule, self.ground.block).start, [])

    def place(self, candidate: int) -> Place:
        """Return where a trial of a candidate would be now."""
        return Place(
            np.append(self.ground.coordinates[candidate], self.surroundings),
            int(self.ground.level[candidate]),
            self._basis_rows[candidate],
        )

    def learn(self, place: Place, response: np.ndarray) -> None:
        """Take in what came of a trial at a place."""
        response = np.asarray(response, float)
        row = self._row(place, response)
        self.rows.append(row)
        self.n_visits[self._here(place)] += 1
        floor = self._floor(self.rows)
        if not np.array_equal(floor, self.floor):
            self._move_floor(floor)
        self._append(len(self.rows) - 1)

    def belief(self) -> Belief:
        """Return what is believed of the map."""
        with jax.enable_x64(True):
            return programs.believe_all(self.known, self.scene, self._kind)

    def utility(self, objective: Objective) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation of the objective at each candidate."""
        with jax.enable_x64(True):
            found = programs.utilities(self.known, self.scene, self._kind, objective)
        return np.asarray(found[0]), np.asarray(found[1])

    def utility_at(self, places: Sequence[Place], objective: Objective) -> np.ndarray:
        """Return the mean of the objective at places."""
        with jax.enable_x64(True):
            found = programs.utility_at(
                self.known, self.scene, self._kind, objective, *self._points(places)
            )
        return np.asarray(found)[: len(places)]

    def belief_at(self, places: Sequence[Place]) -> Belief:
        """Return what is believed of places, whether they are candidates or not.

        More may come after them, where there is room.
        """
        with jax.enable_x64(True):
            return programs.believe_at(
                self.known, self.scene, *self._points(places), self._kind
            )

    def _points(self, places: Sequence[Place]) -> tuple[Points, np.ndarray]:
        # Few sizes, so that few programs are ever compiled.
        room = 1 if len(places) == 1 else len(self.known.trials.noise)
        padded = [*places, *[places[-1]] * (room - len(places))]
        at, level, basis = (np.stack(column) for column in zip(*padded, strict=True))
        return points(at, level), basis

    def surprise(self, place: Place, response: np.ndarray) -> np.ndarray:
        """Return how far a response is from what was expected (output,).

        In deviations of a trial; zero where nothing was known yet.
        """
        if not self.rows:
            return np.zeros(self.n_outputs)
        found = self.belief_at([place])
        noise = self.noise()[place.level] * np.diag(found.covariance)
        total = np.square(found.total_deviation[0]) + noise
        return (self.to_map(response) - np.asarray(found.mean[0])) / np.sqrt(total)

    def move(self, ground: Ground) -> None:
        """Go over other candidates, as many as before."""
        self.ground = ground
        self.n_visits = np.zeros(len(ground.coordinates), int)
        self._begin_basis()
        self._take(self.parameters, self.rows)

    def surround(self, surroundings: np.ndarray) -> None:
        """Say what surrounds the next trial: the time, if the map drifts; the context.

        What is expected of every candidate follows these.
        """
        if not np.array_equal(surroundings, self.surroundings):
            self.surroundings = np.asarray(surroundings, float)
            self._take(self.parameters, self.rows)

    def refit(self) -> Refitted:
        """Return better parameters, and what is known by them.

        Nothing changes; it may run in another thread while trials come.
        """
        rows = list(self.rows)
        with jax.enable_x64(True):
            floor = self._floor(rows)
            changed = [self._on_map(row, floor) for row in rows]
            trials = arrange(changed, fit_room(len(rows)))
            found = programs.fit_parameters(
                trials,
                self.basis,
                prior_of(self.rule.scale, self.rule.n_prior, self.n_outputs),
                self.parameters,
                self.rule,
                self.ground.block,
                self._moving,
            )
        parameters = np.asarray(found)
        return Refitted(parameters, len(rows), self._rebuilt(parameters, rows))

    def adopt(
        self, parameters: np.ndarray, n_trials: int, rebuilt: Rebuilt | None = None
    ) -> None:
        """Go on with parameters that were found from so many trials.

        What `refit` has rebuilt by them need not be rebuilt.
        """
        if rebuilt is None or self.moves:
            rebuilt = self._rebuilt(parameters, self.rows[:n_trials])
        self._go_on(parameters, rebuilt)
        for i in range(n_trials, len(self.rows)):
            self._append(i)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters: logarithms."""
        return free_parameters(self.rule, self.ground.block).names

    @property
    def n_stimuli(self) -> int:
        """Different stimuli so far: what the size of the map is told by."""
        return self._repeats.n_stimuli

    @property
    def moves(self) -> bool:
        """Whether what is expected of a candidate changes without a trial of it."""
        return len(self._moving) > 0

    def _append(self, number: int) -> None:
        """Take a trial into the regression, on a row of its own."""
        room = len(self.known.trials.noise)
        with jax.enable_x64(True):
            if len(self.groups) >= room - RESERVED:
                self._widen()
            row = self._on_map(self.rows[number], self.floor)
            arguments = self.scene.process, self.known, self.scene.candidates, row
            self.known = programs.append_row(*arguments)
        self.groups.append([number])
        if self._repeats.add(row):
            self._tell_repeats()

    def _widen(self) -> None:
        """Double the room, in memory that was asked for beforehand if there is any.

        To ask for as much as a large grid takes would make a decision wait.
        """
        room, n_candidates = self.known.cross.shape
        with jax.enable_x64(True):
            cross = self._spare.pop(2 * room, None)
            if cross is None:
                cross = jnp.zeros((2 * room, n_candidates))
            self.known = programs.widen_room(self.known, cross)

    def _move_floor(self, floor: np.ndarray) -> None:
        """Tell the regression what its responses are on the scale of another floor."""
        self.floor = floor
        if not self.groups:
            return
        rows = self._count_repeats()
        filled = np.zeros((len(self.known.trials.noise), len(rows[0].response)))
        filled[: len(rows)] = [row.response for row in rows]
        with jax.enable_x64(True):
            process, candidates = self.scene.process, self.scene.candidates
            self.known = programs.change_values(process, self.known, filled, candidates)

    def _take(
        self, parameters: np.ndarray, rows: list[Row], *, least: int = SMALLEST_ROOM
    ) -> None:
        """Rebuild the regression of rows."""
        self._go_on(np.asarray(parameters), self._rebuilt(parameters, rows, least))

    def _go_on(self, parameters: np.ndarray, rebuilt: Rebuilt) -> None:
        self.parameters = parameters
        self.scene, self.known, self.groups, self.floor = rebuilt
        self._count_repeats()

    def _count_repeats(self) -> list[Row]:
        """Count what repeats tell of the noise, and return what the rows hold."""
        self._repeats = Repeats(self.noise(), self.n_outputs)
        changed = [self._on_map(row, self.floor) for row in self.rows]
        rows = merged(changed, self.groups)
        if any([self._repeats.add(row) for row in rows]):
            self._tell_repeats()
        return rows

    def _tell_repeats(self) -> None:
        with jax.enable_x64(True):
            prior = self.scene.prior._replace(
                n_repeats=jnp.asarray(np.asarray(float(self._repeats.number))),
                scatter=jnp.asarray(self._repeats.scatter),
            )
        self.scene = self.scene._replace(prior=prior)

    def _rebuilt(
        self, parameters: np.ndarray, rows: list[Row], least: int = SMALLEST_ROOM
    ) -> Rebuilt:
        at = self.ground.coordinates
        around = np.broadcast_to(self.surroundings, (len(at), len(self.surroundings)))
        places = np.concatenate([at, around], axis=1)
        n_columns = self.n_outputs + self.basis.at.shape[1]
        floor, groups = self._floor(rows), grouped(rows)
        rows = [self._on_map(row, floor) for row in rows]
        room = room_for(len(groups), least)
        with jax.enable_x64(True):
            process = programs.build_process(
                np.asarray(parameters), self.rule, self.ground.block, self._moving
            )
            trials = (
                arrange(merged(rows, groups), room)
                if rows
                else empty(room, places.shape[1], n_columns)
            )
            prior = prior_of(self.rule.scale, self.rule.n_prior, self.n_outputs)
            candidates = points(places, self.ground.level)
            scene = Scene(process, candidates, self.basis, prior)
            scene = jax.tree.map(jnp.asarray, scene)
            known = programs.rebuild(process, trials, scene.candidates)
        return Rebuilt(scene, known, groups, floor)

    def to_map(self, response: np.ndarray) -> np.ndarray:
        """Return responses on the scale of the map (..., output)."""
        return to_map(response, self.floor) if self.rule.logarithm else response

    def to_response(self, value: np.ndarray) -> np.ndarray:
        """Return responses whose scale on the map is this (..., output)."""
        return to_response(value, self.floor) if self.rule.logarithm else value

    def _floor(self, rows: list[Row]) -> np.ndarray:
        if not rows or not self.rule.logarithm:
            return np.ones(self.n_outputs)
        seen = np.stack([row.response[: self.n_outputs] for row in rows])
        first = seen[(seen > 0).argmax(axis=0), np.arange(self.n_outputs)]
        return floor_of(np.maximum(first, 0.0), seen.max(axis=0))

    def _on_map(self, row: Row, floor: np.ndarray) -> Row:
        """Return a row whose responses are on the scale of the map."""
        if not self.rule.logarithm:
            return row
        response, basis = np.split(row.response, [self.n_outputs])
        return row._replace(response=np.append(to_map(response, floor), basis))

    def _begin_basis(self) -> None:
        n_levels = len(list(self.ground.block.walk()))
        basis = constant(self.ground.level, n_levels, offset=self.rule.offset)
        if self.ground.earlier is not None:
            basis = with_map(basis, self.ground.earlier)
        self.basis: Basis = basis
        self._basis_rows = np.asarray(basis.at)

    def _here(self, place: Place) -> np.ndarray:
        """Return which candidates are at a place."""
        n_chosen = self.ground.coordinates.shape[1]
        here = (self.ground.coordinates == place.at[:n_chosen]).all(axis=1)
        return here & (self.ground.level == place.level)

    def _row(self, place: Place, response: np.ndarray) -> Row:
        columns = np.append(response, place.basis)
        return Row(place.at, place.level, columns, self._multiplier(place, response))

    def _multiplier(self, place: Place, response: np.ndarray) -> float:
        """Return what the rule makes of the noise of a trial."""
        found = 1.0
        if np.isfinite(freedom := self.rule.degrees_of_freedom):
            surprise = np.square(self.surprise(place, response)).mean()
            found *= float((freedom + surprise) / (freedom + 1))
        if self.rule.proportional_noise and self.rows:
            largest = np.asarray(self.belief().mean).max(axis=0)
            here = np.asarray(self.belief_at([place]).mean[0])
            share = here / np.maximum(largest, 1e-300)
            found *= float(np.square(np.clip(share, SMALLEST_SHARE, 1.0)).mean())
        return found

    def noise(self) -> np.ndarray:
        """Return the variance of the noise of a trial of each block (level,)."""
        return np.asarray(self.scene.process.noise)


def fit_room(n_trials: int) -> int:
    """Return the room that a fit takes for so many trials: there are few of them."""
    room = SMALLEST_FIT
    while room < n_trials:
        room *= 4
    return room
