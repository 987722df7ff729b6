r"""What every baseline learner has, and how it runs over a series.

A learner holds a *state* for each of its inputs, and says four things about it: how it
starts, how it changes while nothing is seen, how an outcome changes it, and what it
lets expect. The loop over trials, missing outcomes, sessions and what response models
look at (`neuromod.hgf.responses.Seen`) are the same for all. The learners themselves
are in `neuromod.hgf.baselines`; one of your own takes a few lines::

    class Forgetting(hgf.baselines.ValueLearner):
        learning_rate: Any = 0.2
        retention: Any = 0.9

        shares = ("learning_rate", "retention")

        def predict(self, state, interval):
            return {"value": self.retention * state["value"]}

        def update(self, state, outcome, observed):
            error = outcome - state["value"]
            after = {"value": state["value"] + self.learning_rate * error}
            return hgf.baselines.hold(observed, after, state)
"""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from neuromod import kernels
from neuromod.core.errors import did_you_mean, invalid
from neuromod.hgf import nodes
from neuromod.hgf.inference import Series, binary_surprise, gaussian_surprise
from neuromod.hgf.network import CLIP
from neuromod.hgf.responses.response import Seen

State = dict[str, Array]
Inputs = Float[Array, " input"]
Known = Bool[Array, " input"] | None
Interval = Float[Array, ""] | None
Flags = Bool[Array | np.ndarray, " time"] | None
Table = Float[Array, "time input"]


class Learner(eqx.Module):
    """Who learns what to expect at each input; the fields are the parameters.

    All inputs have the same parameters, and each is learned by itself.

    Parameters
    ----------
    inputs
        Names of the inputs: arms, cues, or one series of outcomes.
    binary
        Whether outcomes are 0 or 1, and what is learned their probability.

    Attributes
    ----------
    positive
        Names of the fields that may not be negative.
    shares
        Names of the fields within [0, 1].
    outcomes
        Names of the fields on the scale of the outcomes: within [0, 1] if these are
        binary.

    Raises
    ------
    InvalidInputError
        If a field is not a number, or is outside its range, or two inputs have one
        name.
    """

    inputs: tuple[str, ...] = eqx.field(
        static=True, kw_only=True, default=("outcome",), converter=tuple
    )
    binary: bool = eqx.field(static=True, kw_only=True, default=True)

    positive: ClassVar[tuple[str, ...]] = ()
    shares: ClassVar[tuple[str, ...]] = ()
    outcomes: ClassVar[tuple[str, ...]] = ()

    def __check_init__(self) -> None:
        where = type(self).__name__
        for name in self.inputs:
            nodes.require_name(name)
        if not self.inputs or len(set(self.inputs)) < len(self.inputs):
            raise invalid("inputs", self.inputs, "names, each once")
        for name in (*self.positive, *self.outcomes):
            nodes.number(getattr(self, name), where, name)
        for name in self.positive:
            value = getattr(self, name)
            if not isinstance(value, jax.Array) and not np.all(np.asarray(value) >= 0):
                raise invalid(name, f"{value} ({where})", "a number >= 0")
        for name in self.unit_interval:
            nodes.share(getattr(self, name), where, name)

    @property
    def unit_interval(self) -> tuple[str, ...]:
        """Names of the fields within [0, 1]."""
        return self.shares + (self.outcomes if self.binary else ())

    def __getitem__(self, name: str) -> nodes.BinaryInput | nodes.ContinuousInput:
        """Return an input by its name."""
        if name not in self.inputs:
            known = ", ".join(map(repr, self.inputs))
            remedy = did_you_mean(str(name), self.inputs)
            raise invalid("input", repr(name), f"one of {known}", remedy)
        kind = nodes.BinaryInput if self.binary else nodes.ContinuousInput
        return kind(name)

    @abc.abstractmethod
    def start(self) -> State:
        """Return the state before the first trial; each entry (..., input)."""

    def predict(self, state: State, interval: Interval) -> State:
        """Return the state when a trial begins, with nothing seen since the last."""
        return state

    @abc.abstractmethod
    def update(self, state: State, outcome: Inputs, observed: Known) -> State:
        """Return the state after a trial's outcomes (`hold` it where there were none).

        Parameters
        ----------
        state
            When the trial begins.
        outcome : (input,)
            What came; any number where nothing was observed.
        observed : (input,)
            Where something was; None for everywhere.
        """

    @abc.abstractmethod
    def mean(self, state: State) -> Inputs:
        """Return what is expected of each input."""

    def variance(self, state: State) -> Inputs:
        """Return the predictive variance of each input that is not binary."""
        return jnp.ones_like(self.mean(state))

    def precision(self, state: State) -> Inputs | None:
        """Return how sure the learner is of the mean; None if it has no idea of it."""
        return None

    def describe(self, state: State) -> dict[str, Inputs]:
        """Return what else of a state is worth seeing, by name."""
        return {}

    def see(
        self,
        series: Series,
        *,
        mask: Flags = None,
        reset: Flags = None,
        covariates: dict[str, Any] | None = None,
    ) -> Seen:
        """Run over a series, and gather what a response model may look at.

        Parameters
        ----------
        series
            What came in at the inputs. Of an outcome that is missing nothing is
            learned.
        mask : (time,)
            False where nothing happens: padding, which only a reset may end.
        reset : (time,)
            True where the learner begins anew.
        covariates
            What else differs between trials.

        Returns
        -------
        Seen
            Under the names of the inputs: ``expected_mean`` and
            ``expected_precision`` before each outcome (of a binary input the
            variance), ``mean`` after it, ``precision`` of that mean where the learner
            has one. All inputs are options, and the first is level 1.
        """
        course = _follow(self, series, mask, reset)
        mean, spread = _expect(course)
        precision = _each(course.learner.precision, course.after)
        return Seen(
            value=self._named(course.outcomes),
            observed={
                name: None if known is None else jnp.asarray(known)
                for name, known in zip(self.inputs, series.observed, strict=True)
            },
            surprise=self._named(_surprise(course, mean, spread)),
            expected_mean=self._named(mean),
            expected_precision=self._named(spread),
            mean=self._named(_each(course.learner.mean, course.after)),
            precision={} if precision is None else self._named(precision),
            covariates=covariates or {},
            levels=self.inputs[:1],
            options=self.inputs,
        )

    def _named(self, table: Table) -> dict[str, Float[Array, " time"]]:
        return {name: table[:, i] for i, name in enumerate(self.inputs)}


class ValueLearner(Learner):
    """A learner that holds one expected value per input.

    Parameters
    ----------
    initial_value
        Expected before the first trial.
    """

    initial_value: Any = eqx.field(default=0.5, kw_only=True)

    outcomes: ClassVar[tuple[str, ...]] = ("initial_value",)

    def start(self) -> State:
        """Return the state before the first trial (`Learner`)."""
        return {"value": self.for_each(self.initial_value)}

    def mean(self, state: State) -> Inputs:
        """Return the expected value (`Learner`)."""
        return state["value"]

    def for_each(self, value: Any) -> Inputs:
        """Return a value for each input."""
        return jnp.broadcast_to(value, (len(self.inputs),))


def hold(observed: Known, after: State, before: State) -> State:
    """Return the state after, but before where nothing was observed."""
    if observed is None:
        return after
    return jax.tree.map(lambda a, b: jnp.where(observed, a, b), after, before)


def trajectories(
    learner: Learner, series: Series, *, mask: Flags = None, reset: Flags = None
) -> dict[str, Table]:
    """Return all that a learner did, as regressors and for plots.

    Parameters
    ----------
    learner
        Who learns.
    series
        What came in at its inputs.
    mask, reset : (time,)
        As in `Learner.see`.

    Returns
    -------
    dict
        ``expected_mean`` and ``expected_precision`` before each outcome, ``mean``
        after it, ``value_prediction_error``, ``learning_rate`` (the share of the error
        by which the mean moved; 0 without error), ``surprise`` (nats), and what the
        learner has of its own, such as ``associability``. Each (time, input).

    Examples
    --------
    >>> from neuromod.hgf import baselines, inference
    >>> series = inference.Series((np.array([1.0, 1.0, 0.0]),), (None,), None)
    >>> found = trajectories(baselines.RescorlaWagner(0.5), series)
    >>> print(found["value_prediction_error"][:, 0])
    [ 0.5    0.25  -0.875]
    """
    course = _follow(learner, series, mask, reset)
    before, after = (
        _each(course.learner.mean, s) for s in (course.before, course.after)
    )
    error = jnp.where(course.observed, course.outcomes - before, 0.0)
    some = error != 0
    expected, spread = _expect(course)
    return {
        "expected_mean": expected,
        "expected_precision": spread,
        "mean": after,
        "value_prediction_error": error,
        "learning_rate": jnp.where(some, after - before, 0.0)
        / jnp.where(some, error, 1.0),
        "surprise": _surprise(course, expected, spread),
    } | _each(course.learner.describe, course.after)


class _Course(NamedTuple):
    """The learner as arrays, its data (time, input), its states (time, ..., input)."""

    learner: Any
    outcomes: Table
    observed: Bool[Array, "time input"]
    before: State
    after: State


def _follow(learner: Learner, series: Series, mask: Flags, reset: Flags) -> _Course:
    outcomes = jnp.stack([jnp.asarray(column) for column in series.values], axis=1)
    known = [
        jnp.ones(len(outcomes), bool) if flags is None else jnp.asarray(flags)
        for flags in series.observed
    ]
    observed = jnp.stack(known, axis=1)
    always = all(flags is None for flags in series.observed)
    # A missing outcome may be NaN, which would pass through the gradient.
    outcomes = jnp.where(observed, outcomes, 0.0)
    own = jax.tree.map(lambda x: jnp.asarray(x, outcomes.dtype), learner)
    first = own.start()

    def advance(state, now):
        outcome, seen, interval = now
        before = own.predict(state, interval)
        after = own.update(before, outcome, seen)
        return after, (before, after)

    before, after = kernels.scan(
        advance,
        first,
        (outcomes, None if always else observed, series.intervals),
        mask=mask,
        reset=reset,
        initial=first if reset is not None else None,
        checkpoint=None,
    ).outputs
    if mask is None:
        return _Course(own, outcomes, observed, before, after)

    def fill(values, initial):
        # What stands in padding has to be a state, or its slope is no number.
        valid = jnp.reshape(mask, (-1,) + (1,) * initial.ndim)
        return jnp.where(valid, values, initial[None])

    before, after = (jax.tree.map(fill, states, first) for states in (before, after))
    observed = observed & jnp.asarray(mask)[:, None]
    outcomes = jnp.where(observed, outcomes, 0.0)
    return _Course(own, outcomes, observed, before, after)


def _each(function: Any, states: State) -> Any:
    return jax.vmap(function)(states)


def _expect(course: _Course) -> tuple[Table, Table]:
    """Return the mean before each outcome, and what `Seen` calls its precision."""
    mean = _each(course.learner.mean, course.before)
    if course.learner.binary:
        mean = jnp.clip(mean, CLIP, 1 - CLIP)
        return mean, mean * (1 - mean)
    return mean, 1 / _each(course.learner.variance, course.before)


def _surprise(course: _Course, mean: Table, spread: Table) -> Table:
    if course.learner.binary:
        nats = binary_surprise(course.outcomes, mean)
    else:
        nats = gaussian_surprise(course.outcomes, mean, spread)
    return jnp.where(course.observed, nats, 0.0)
