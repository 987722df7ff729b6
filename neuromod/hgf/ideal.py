r"""Ideal learners: Bayes' rule in a world of known form.

Both hold a belief rather than a value, and between trials the belief ages, because the
world may have changed: a `Kalman` filter tracks a value that drifts, a `HiddenMarkov`
learner a context that switches. A missing outcome lets the belief age alone.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from neuromod.core.errors import invalid
from neuromod.hgf import nodes
from neuromod.hgf.learner import (
    Inputs,
    Interval,
    Known,
    Learner,
    State,
    ValueLearner,
    hold,
)
from neuromod.hgf.prediction import per_interval


class Kalman(ValueLearner):
    r"""Learning by how uncertain the expectation is: the scalar Kalman filter.

    The value walks at random, by the variance $q$ per unit of time, and is observed
    with the variance $r$. The belief about it has mean $v$ and variance $p$:

    $$
    p \leftarrow p + t\,q, \qquad g = \frac{p}{p + r}, \qquad
    v \leftarrow v + g\,\delta, \qquad p \leftarrow (1 - g)\,p .
    $$

    The gain $g$ depends on $q / r$ and $p / r$ alone, so choices tell of no more than
    these: fit them with $r$ fixed (Kalman, J. Basic Eng. 1960; Daw et al., Nature
    2006). Without outcome the variance grows. Of binary outcomes the mean is a
    probability all the same.

    Parameters
    ----------
    process_variance
        $q$, per unit of time; 0 for a value that stays, of which $v$ is then a running
        mean.
    input_variance
        $r$, above 0.
    initial_variance
        $p$ before the first trial.

    Examples
    --------
    >>> Kalman(0.0, 1.0, 1e9, initial_value=0.0, binary=False).binary
    False
    """

    process_variance: Any = 0.1
    input_variance: Any = 1.0
    initial_variance: Any = 1.0

    positive: ClassVar[tuple[str, ...]] = (
        "process_variance",
        "input_variance",
        "initial_variance",
    )

    def __check_init__(self) -> None:
        nodes.positive(self.input_variance, "Kalman", "input_variance")

    def start(self) -> State:
        """Return the state before the first trial (`Learner`)."""
        variance = self.for_each(self.initial_variance)
        return super().start() | {"variance": variance}

    def predict(self, state: State, interval: Interval) -> State:
        """Let the variance grow (`Learner`)."""
        gained = per_interval(self.process_variance, interval)
        return state | {"variance": state["variance"] + gained}

    def update(self, state: State, outcome: Inputs, observed: Known) -> State:
        """Weigh belief and outcome by their variances (`Learner`)."""
        gain = state["variance"] / (state["variance"] + self.input_variance)
        after = {
            "value": state["value"] + gain * (outcome - state["value"]),
            # That is (1 - gain) times the variance, without the difference.
            "variance": gain * self.input_variance,
        }
        return hold(observed, after, state)

    def variance(self, state: State) -> Inputs:
        """Return the variance of what will be observed (`Learner`)."""
        return state["variance"] + self.input_variance

    def precision(self, state: State) -> Inputs:
        """Return the precision of the belief (`Learner`)."""
        return 1 / state["variance"]

    def describe(self, state: State) -> dict[str, Inputs]:
        """Return the variance of the belief (`Learner`)."""
        return {"variance": state["variance"]}


def _numbers(argument: str, default: Any) -> Any:
    """Declare a field that is an array, or None."""

    def convert(value):
        return value if value is None else nodes.number(value, "HiddenMarkov", argument)

    return eqx.field(default=default, converter=convert)


class HiddenMarkov(Learner):
    r"""Inferring which of several contexts holds: an ideal learner of reversals.

    Before each trial context $i$ is left with the probability $s_i$, for each of the
    $K - 1$ others alike. In context $i$ the outcome is 1 with the probability
    $\theta_i$. By Bayes' rule the belief $b$ about the context moves

    $$
    b_i \leftarrow (1 - s_i)\,b_i + \sum_{j \neq i} \frac{s_j\,b_j}{K - 1}, \qquad
    b_i \leftarrow \frac{b_i\,p(u \mid i)}{\sum_j b_j\,p(u \mid j)},
    $$

    and the outcome is expected with $\sum_i b_i \theta_i$ (Rabiner, Proc. IEEE 1989;
    Hampton et al., J. Neurosci. 2006). The intervals between trials play no part.

    Parameters
    ----------
    switch_probability : () or (context,)
        $s$.
    probabilities : (context,) or (context, input)
        $\theta$. With a column for each input, one context holds for all of them, as
        for two arms that are reversed together: what one of them yields tells of the
        others too. The surprise of each input is then that of its own outcome alone.
    initial_contexts : (context,)
        $b$ before the first trial, where the context may have changed already; None
        for all alike.

    Raises
    ------
    InvalidInputError
        If there are fewer than two contexts, the shapes do not agree, the initial
        probabilities do not add up to one, or the inputs are not binary.

    Examples
    --------
    >>> HiddenMarkov(0.1, probabilities=[0.9, 0.5, 0.1]).n_contexts
    3
    """

    switch_probability: Any = _numbers("switch_probability", 0.1)
    probabilities: Any = _numbers("probabilities", (0.8, 0.2))
    initial_contexts: Any = _numbers("initial_contexts", None)

    shares: ClassVar[tuple[str, ...]] = ("switch_probability", "probabilities")

    def __check_init__(self) -> None:
        shape, n_inputs = self.probabilities.shape, len(self.inputs)
        if (
            len(shape) not in (1, 2)
            or shape[0] < 2
            or shape[1:] not in {(), (n_inputs,)}
        ):
            raise invalid(
                "probabilities",
                f"shape {shape}",
                f"(context,) or (context, {n_inputs}), with at least two contexts",
            )
        switching = self.switch_probability.shape
        if switching not in {(), shape[:1]}:
            got = f"shape {switching}"
            raise invalid("switch_probability", got, f"() or {shape[:1]}")
        if not self.binary:
            raise invalid("binary", False, "True: outcomes of 0 and 1")
        first = self.initial_contexts
        if first is not None and first.shape != shape[:1]:
            raise invalid("initial_contexts", f"shape {first.shape}", f"{shape[:1]}")
        if isinstance(first, np.ndarray) and (
            (first < 0).any() or not np.isclose(first.sum(), 1)
        ):
            raise invalid("initial_contexts", first, "probabilities that add up to 1")

    @property
    def n_contexts(self) -> int:
        """Number of contexts."""
        return len(self.probabilities)

    def start(self) -> State:
        """Return the state before the first trial (`Learner`)."""
        # A context of its own for each input, or a single one for all of them.
        n_chains = len(self.inputs) if self.probabilities.ndim == 1 else 1
        first = self.initial_contexts
        if first is None:
            dtype = self.probabilities.dtype
            first = jnp.full(self.n_contexts, 1 / self.n_contexts, dtype)
        return {"context": jnp.tile(first[:, None], n_chains)}

    def predict(self, state: State, interval: Interval) -> State:
        """Let the context switch (`Learner`)."""
        belief = state["context"]
        leaving = jnp.reshape(self.switch_probability, (-1, 1)) * belief
        arriving = leaving.sum(axis=0, keepdims=True) - leaving
        return {"context": belief - leaving + arriving / (self.n_contexts - 1)}

    def update(self, state: State, outcome: Inputs, observed: Known) -> State:
        """Weigh the contexts by how well they explain the outcome (`Learner`)."""
        one = self._table()
        evidence = jnp.where(outcome[None] > 0.5, one, 1 - one)
        if observed is not None:
            evidence = jnp.where(observed[None], evidence, 1.0)
        if self.probabilities.ndim == 2:
            evidence = evidence.prod(axis=1, keepdims=True)
        weights = state["context"] * evidence
        total = weights.sum(axis=0, keepdims=True)
        # What is impossible in every context teaches nothing.
        possible = total > 0
        after = weights / jnp.where(possible, total, 1.0)
        return {"context": jnp.where(possible, after, state["context"])}

    def mean(self, state: State) -> Inputs:
        """Return the probability of outcome 1 (`Learner`)."""
        return (self._table() * state["context"]).sum(axis=0)

    def describe(self, state: State) -> dict[str, Inputs]:
        """Return the probabilities of the contexts (`Learner`)."""
        n_inputs = len(self.inputs)
        return {
            f"context_{i}": jnp.broadcast_to(row, (n_inputs,))
            for i, row in enumerate(state["context"])
        }

    def _table(self) -> Any:
        """Return the probabilities (context, input), or (context, 1) for all alike."""
        return jnp.reshape(self.probabilities, (self.n_contexts, -1))
