r"""Simple learners to compare an HGF with.

Each expects $v$ of an input and sees the outcome $u$, with the error
$\delta = u - v$.

| learner | | |
|---|---|---|
| `RescorlaWagner` | $v \leftarrow v + \alpha\,\delta$ | constant learning rate |
| `RescorlaWagnerDual` | $\alpha^+$ or $\alpha^-$ by the sign of $\delta$ | |
| `PearceHall` | $v \leftarrow v + S\,a\,\delta$ | rate by recent surprise |
| `SuttonK1` | $v \leftarrow v + k\,\delta$ | rate by correlated errors |
| `Kalman` | $v \leftarrow v + g\,\delta$ | rate by uncertainty |
| `HiddenMarkov` | Bayes' rule over contexts | a world that switches |

The first four are here, and take a missing outcome for no trial at all. The last two
(`neuromod.hgf.ideal`) know that the world may have moved meanwhile.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.core.errors import invalid
from neuromod.hgf import nodes
from neuromod.hgf.ideal import HiddenMarkov as HiddenMarkov
from neuromod.hgf.ideal import Kalman as Kalman
from neuromod.hgf.learner import Inputs, Known, State
from neuromod.hgf.learner import Learner as Learner
from neuromod.hgf.learner import ValueLearner as ValueLearner
from neuromod.hgf.learner import hold as hold
from neuromod.hgf.learner import trajectories as trajectories


class RescorlaWagner(ValueLearner):
    r"""$v \leftarrow v + \alpha\,\delta$.

    (Rescorla and Wagner, in Classical Conditioning II, 1972.)

    Parameters
    ----------
    learning_rate
        $\alpha$.

    Examples
    --------
    >>> from neuromod.hgf import inference
    >>> series = inference.Series((np.array([1.0, 0.0, 1.0]),), (None,), None)
    >>> print(RescorlaWagner(0.5).see(series).expected_mean["outcome"])
    [0.5   0.75  0.375]
    """

    learning_rate: Any = 0.2

    shares: ClassVar[tuple[str, ...]] = ("learning_rate",)

    def update(self, state: State, outcome: Inputs, observed: Known) -> State:
        """Move by a share of the error (`Learner`)."""
        value = state["value"]
        after = {"value": value + self.learning_rate * (outcome - value)}
        return hold(observed, after, state)


class RescorlaWagnerDual(ValueLearner):
    r"""Learning from what was better and what was worse than expected at two rates.

    $v \leftarrow v + \alpha^+\delta$ if $\delta > 0$, else $v + \alpha^-\delta$
    (Niv et al., J. Neurosci. 2012).

    Parameters
    ----------
    learning_rate_positive, learning_rate_negative
        $\alpha^+$ and $\alpha^-$.
    """

    learning_rate_positive: Any = 0.2
    learning_rate_negative: Any = 0.2

    shares: ClassVar[tuple[str, ...]] = (
        "learning_rate_positive",
        "learning_rate_negative",
    )

    def update(self, state: State, outcome: Inputs, observed: Known) -> State:
        """Move by a share of the error (`Learner`)."""
        error = outcome - state["value"]
        rates = self.learning_rate_positive, self.learning_rate_negative
        after = {"value": state["value"] + jnp.where(error > 0, *rates) * error}
        return hold(observed, after, state)


class PearceHall(ValueLearner):
    r"""Learning faster after surprises.

    $$
    v \leftarrow v + S\,a\,\delta, \qquad
    a \leftarrow (1 - \eta)\,a + \eta\,\lvert\delta\rvert .
    $$

    With $\eta = 1$ the associability $a$ is the size of the last error (Pearce and
    Hall, Psychol. Rev. 1980; the toolbox's model), below that a running mean of it
    (Li et al., Nat. Neurosci. 2011), and with $\eta = 0$ the learning rate is constant.

    Parameters
    ----------
    salience
        $S$: how strongly the cue is learned about.
    associability_rate
        $\eta$.
    initial_associability
        $a$ before the first trial.
    """

    salience: Any = 0.3
    associability_rate: Any = 1.0
    initial_associability: Any = 0.5

    positive: ClassVar[tuple[str, ...]] = ("salience", "initial_associability")
    shares: ClassVar[tuple[str, ...]] = ("associability_rate",)

    def start(self) -> State:
        """Return the state before the first trial (`Learner`)."""
        associability = self.for_each(self.initial_associability)
        return super().start() | {"associability": associability}

    def update(self, state: State, outcome: Inputs, observed: Known) -> State:
        """Learn by the associability so far, and let it follow (`Learner`)."""
        error = outcome - state["value"]
        held, rate = state["associability"], self.associability_rate
        after = {
            "value": state["value"] + self.salience * held * error,
            "associability": (1 - rate) * held + rate * jnp.abs(error),
        }
        return hold(observed, after, state)

    def describe(self, state: State) -> dict[str, Inputs]:
        """Return the associability (`Learner`)."""
        return {"associability": state["associability"]}


class SuttonK1(ValueLearner):
    r"""Learning faster while errors keep their sign: Sutton's algorithm K1.

    $$
    b \leftarrow b + \mu\,\delta\,h, \qquad k = \frac{1}{1 + e^{-b}}, \qquad
    v \leftarrow v + k\,\delta, \qquad h \leftarrow (h + k\,\delta)(1 - k) .
    $$

    $h$ is a fading trace of recent changes. The gain $k$ of the paper is
    $e^\beta / (\hat R + e^\beta)$; with one input at a time only
    $b = \beta - \log \hat R$ matters, and $k < 1$ always (Sutton, Proc. Yale Workshop
    on Adaptive and Learning Systems, 1992; the toolbox starts at $k = 1/2$).

    Parameters
    ----------
    meta_learning_rate
        $\mu$.
    initial_gain
        $k$ before the first trial, above 0 and below 1.
    initial_trace
        $h$ before the first trial.
    """

    meta_learning_rate: Any = 1.0
    initial_gain: Any = 0.5
    initial_trace: Any = 0.0

    positive: ClassVar[tuple[str, ...]] = ("meta_learning_rate",)
    shares: ClassVar[tuple[str, ...]] = ("initial_gain",)

    def __check_init__(self) -> None:
        nodes.number(self.initial_trace, "SuttonK1", "initial_trace")
        gain = nodes.number(self.initial_gain, "SuttonK1", "initial_gain")
        if isinstance(gain, np.ndarray) and not ((gain > 0) & (gain < 1)).all():
            raise invalid("initial_gain", gain, "a number above 0 and below 1")

    def start(self) -> State:
        """Return the state before the first trial (`Learner`)."""
        log_odds = jax.scipy.special.logit(self.initial_gain)
        return super().start() | {
            "log_odds": self.for_each(log_odds),
            "trace": self.for_each(self.initial_trace),
        }

    def update(self, state: State, outcome: Inputs, observed: Known) -> State:
        """Change the gain, and learn by it (`Learner`)."""
        error = outcome - state["value"]
        log_odds = state["log_odds"] + self.meta_learning_rate * error * state["trace"]
        gain = jax.nn.sigmoid(log_odds)
        after = {
            "value": state["value"] + gain * error,
            "log_odds": log_odds,
            "trace": (state["trace"] + gain * error) * (1 - gain),
        }
        return hold(observed, after, state)

    def describe(self, state: State) -> dict[str, Inputs]:
        """Return the gain and the trace (`Learner`)."""
        gain = jax.nn.sigmoid(state["log_odds"])
        return {"gain": gain, "trace": state["trace"]}
