"""What a session knows: a function of its journal alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from neuromod.core.errors import SessionError, choice
from neuromod.stimulation.candidates import all_of, drawn_from
from neuromod.stimulation.decide import Objective
from neuromod.stimulation.delivered import Delivered
from neuromod.stimulation.ground import Place
from neuromod.stimulation.journal import Event
from neuromod.stimulation.published import begin_search
from neuromod.stimulation.settings import Aim, Settings
from neuromod.stimulation.space import WHOLE, Space


class Trial(NamedTuple):
    """An ask and what became of it.

    Parameters
    ----------
    id
        Of the ask.
    level
        What was asked for: "whole", or the name of a part.
    point
        Values of the axes.
    place
        Where the regression has it.
    at
        When it was asked (s since the session began).
    fate
        "pending", "valid", "excluded", "rejected", or "unresolved".
    response
        By the names of the outputs, if there was one.
    reason
        Why it was excluded or rejected.
    """

    id: str
    level: str
    point: dict[str, Any]
    place: Place
    at: float
    fate: str = "pending"
    response: dict[str, float] | None = None
    reason: str = ""


class Step(NamedTuple):
    """What was believed best after a trial.

    Parameters
    ----------
    point
        The best of those tested.
    expected
        Of the target, in its own units.
    """

    point: dict[str, Any]
    expected: float


class State:
    """All that follows from the events of a journal.

    Parameters
    ----------
    settings
        What the session began with.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        space = self._space
        self.candidates = (
            all_of(space) if space.is_finite else drawn_from(space, settings.seed, 0)
        )
        self.search = begin_search(
            self._ground(),
            settings.rule,
            settings.n_planned,
            len(settings.outputs),
            len(settings.context),
        )
        n_rows = settings.n_planned + len(settings.known)
        self.search.prepare(n_rows, elsewhere=not space.is_finite)
        self._learn_known()
        self.delivered = Delivered(self.candidates, settings.limits)
        self.trials: dict[str, Trial] = {}
        self.course: dict[str, Step] = {}
        self.confirmed: list[dict[str, Any]] = []
        self.stopped = ""
        self.last = 0.0
        self._approached: tuple | None = None

    def _learn_known(self) -> None:
        for trial in self.settings.known:
            place = self.search.place(self.candidates.find(trial.level, trial.point))
            self.search.learn(place, self.values(trial.response))

    @property
    def _space(self) -> Space:
        """The space, without its parts if the rule does not look at them."""
        flat = self.settings.rule.model == "flat"
        return self.settings.space.without_parts() if flat else self.settings.space

    def apply(self, event: Event) -> None:
        """Take an event in, whether it happens now or is replayed."""
        apply = {
            "ask": self._asked,
            "refused": self._refused,
            "tell": self._told,
            "reject": self._rejected,
            "resolve": self._resolved,
            "refit": self._refitted,
            "confirm": self._confirmed,
            "reopen": self._reopened,
            "stop": self._stopped,
        }
        apply[choice("kind", event.kind, apply)](event.content)

    def approach(self, now: float, context: Sequence[float]) -> None:
        """Say when the next ask is, and in which context."""
        moment = len(self.trials), now, tuple(context)
        if moment == self._approached:
            return
        self._approached = moment
        drifts = np.isfinite(self.settings.rule.time_constant)
        self.search.surround(np.array([now] * bool(drifts) + list(context), float))
        if not self.settings.space.is_finite:
            best = self.best_trial(self.settings.aim)
            near = None if best is None else best.point
            self.candidates = drawn_from(
                self._space, self.settings.seed, len(self.trials), near
            )
            self.search.move(self._ground())
            self.delivered.choose_from(self.candidates)

    def choose(
        self, now: float, context: Sequence[float], level: str, aim: Aim
    ) -> dict[str, Any]:
        """Return the point to ask for.

        Raises
        ------
        SessionError
            If nothing is within the limits, and safe.
        """
        self.approach(now, context)
        allowed = self.delivered.allowed(now)
        if not allowed.any():
            raise SessionError(self.delivered.why_none(now))
        possible = self.candidates.of(level) & self.safe()
        allowed &= possible
        if not allowed.any():
            raise SessionError(
                f"nothing of {level!r} is both within the limits and safe"
            )
        candidate = self._choose(self.delivered.wanted(now) & possible, aim)
        if not allowed[candidate]:
            step = self.delivered.step(candidate, allowed)
            candidate = self._choose(allowed, aim) if step is None else step
        point = self.candidates.points[candidate]
        # The optimiser has had its say. What is sent is checked without it.
        stimulus = self.settings.space.stimulus(point)
        limits = self.settings.limits
        if broken := limits.violations(stimulus, self.delivered.all, now=now):
            raise SessionError(f"refused: {'; '.join(broken)}")
        return point

    def _choose(self, allowed: np.ndarray, aim: Aim) -> int:
        return self.search.choose(
            self.settings.seed,
            len(self.trials),
            allowed,
            objective=self.objective(aim),
            pending=[trial.place for trial in self.of("pending")],
        )

    def safe(self) -> np.ndarray:
        """Return which candidates are safe by what is believed (candidate,)."""
        safe, found = self.settings.safe, np.zeros(len(self.candidates), bool)
        if safe is None:
            return ~found
        for point in safe.known:
            found |= [p == point for p in self.candidates.points]
        if not self.search.rows:
            return found
        output = self.settings.outputs.index(safe.output)
        believed = self.search.belief()
        between = float(believed.covariance[output, output])
        noise = self.search.noise()[self.candidates.level] * between
        deviation = np.asarray(believed.total_deviation)[:, output]
        freedom = self.settings.rule.n_prior + self.search.n_stimuli
        quantile = stats.t.ppf(safe.probability, freedom)
        largest = np.asarray(believed.mean)[:, output] + quantile * np.sqrt(
            np.square(deviation) + noise
        )
        at_most = self.search.to_map(np.full(len(self.settings.outputs), safe.at_most))
        return found | (largest <= at_most[output])

    def objective(self, aim: Aim) -> Objective:
        """Return an aim in numbers."""
        outputs = self.settings.outputs
        against: Any = np.isin(outputs, aim.against)
        target: Any = np.asarray(outputs.index(aim.target))
        penalty: Any = np.asarray(float(aim.penalty))
        return Objective(target, penalty, against)

    def of(self, *fates: str) -> list[Trial]:
        """Return trials with one of these fates."""
        return [trial for trial in self.trials.values() if trial.fate in fates]

    def best_trial(self, aim: Aim, level: str = WHOLE) -> Trial | None:
        """Return a trial of the tested point that is believed best, if any was."""
        tested = [t for t in self.of("valid") if t.level == level]
        if not tested:
            return None
        objective = self.objective(aim)
        if self.settings.space.is_finite:
            numbers = [self.candidates.find(level, trial.point) for trial in tested]
            merit = self.search.utility(objective)[0][numbers]
        else:
            places = [self._now(trial.place) for trial in tested]
            merit = self.search.utility_at(places, objective)
        return tested[int(np.argmax(merit))]

    def expected(self, trial: Trial) -> np.ndarray:
        """Return what is expected of a trial's point now (output,), in units."""
        if self.settings.space.is_finite:
            number = self.candidates.find(trial.level, trial.point)
            mean = self.search.belief().mean[number]
        else:
            mean = self.search.belief_at([self._now(trial.place)]).mean[0]
        return self.search.to_response(np.asarray(mean))

    def _now(self, place: Place) -> Place:
        """Return a place at the present time, in the present context."""
        around = self.search.surroundings
        at = np.append(place.at[: len(place.at) - len(around)], around)
        return place._replace(at=at)

    def _ground(self) -> Any:
        ground, earlier = self.candidates.ground, self.settings.earlier
        if earlier is None:
            return ground
        parts = np.zeros(len(self.candidates) - len(earlier))
        return ground._replace(earlier=np.append(earlier, parts))

    def _asked(self, content: dict[str, Any]) -> None:
        self.approach(content["at"], content["context"])
        level, point = content["level"], content["point"]
        place = self.search.place(self.candidates.find(level, point))
        trial = Trial(content["id"], level, point, place, content["at"])
        self.trials[trial.id] = trial
        self.last = max(self.last, trial.at)
        self.delivered.add(self.settings.space.stimulus(point), trial.at)

    def _refused(self, content: dict[str, Any]) -> None:
        self.approach(content["at"], content["context"])
        self.last = max(self.last, content["at"])

    def _told(self, content: dict[str, Any]) -> None:
        trial, response = self.trials[content["id"]], content["response"]
        fate = "valid" if content["valid"] else "excluded"
        reason = "" if content["valid"] else content["reason"]
        self.trials[trial.id] = trial._replace(
            fate=fate, response=response, reason=reason
        )
        if not content["valid"]:
            return
        self.search.learn(trial.place, self.values(response))
        best = self.best_trial(self.settings.aim)
        if best is not None:
            target = self.settings.outputs.index(self.settings.aim.target)
            expected = float(self.expected(best)[target])
            self.course[trial.id] = Step(best.point, expected)

    def values(self, response: dict[str, float]) -> np.ndarray:
        """Return responses in the order of the outputs (output,)."""
        return np.array([response[name] for name in self.settings.outputs])

    def _rejected(self, content: dict[str, Any]) -> None:
        trial = self.trials[content["id"]]
        self.trials[trial.id] = trial._replace(
            fate="rejected", reason=content["reason"]
        )

    def _resolved(self, content: dict[str, Any]) -> None:
        trial = self.trials[content["id"]]
        reason = f"{'sent' if content['sent'] else 'not sent'}, says {content['by']}"
        self.trials[trial.id] = trial._replace(fate="rejected", reason=reason)

    def _refitted(self, content: dict[str, Any]) -> None:
        parameters = np.array(list(content["parameters"].values()))
        self.search.adopt(parameters, content["n_trials"])

    def _confirmed(self, content: dict[str, Any]) -> None:
        self.confirmed.append(content)

    def _reopened(self, content: dict[str, Any]) -> None:
        """What was pending then is unresolved: nobody can say what became of it."""
        for trial in self.of("pending"):
            self.trials[trial.id] = trial._replace(fate="unresolved")

    def _stopped(self, content: dict[str, Any]) -> None:
        self.stopped = content["reason"] or "stopped"
