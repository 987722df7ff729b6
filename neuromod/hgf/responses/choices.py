r"""Choices between two options, 0 or 1.

Each model gives the log-odds of choosing 1; $\hat\mu_1$ is the predicted probability
of outcome 1, $\beta$ or $\zeta$ an inverse temperature. A choice in which the mind
wanders ignores them: with the probability $\epsilon$, the *lapse*, it is a coin's,

$$
p(y) = (1 - \epsilon)\, p_\mathrm{model}(y) + \epsilon / 2 .
$$
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from neuromod.core.errors import choice, invalid
from neuromod.hgf.responses.response import (
    Response,
    Seen,
    Trials,
    bernoulli,
    flip,
    lapsing,
)
from neuromod.kernels.elementary import log_sigmoid


class BinaryChoice(Response):
    """A choice of 0 or 1 by its log-odds.

    Parameters
    ----------
    lapse
        Probability of choosing whatever; None for none.
    """

    unit_interval: ClassVar[tuple[str, ...]] = ("lapse",)

    lapse: eqx.AbstractVar[Any]

    @abc.abstractmethod
    def log_odds(self, seen: Seen) -> Trials:
        """Return the log-odds of choosing 1 while attending."""

    def log_probability(self, seen: Seen, response: Trials) -> Trials:
        """Return the log probability of each choice (`Response`)."""
        return bernoulli(self._with_lapses(seen), response)

    def simulate(self, seen: Seen, key: PRNGKeyArray) -> Trials:
        """Draw a choice for each trial (`Response`)."""
        return flip(self._with_lapses(seen), key)

    def _with_lapses(self, seen: Seen) -> Trials:
        log_odds = self.log_odds(seen)
        if self.lapse is None:
            return log_odds
        one, zero = (
            lapsing(log_sigmoid(signed), self.lapse, 2)
            for signed in (log_odds, -log_odds)
        )
        return one - zero


class UnitSquareSigmoid(BinaryChoice):
    r"""$p = \hat\mu_1^\zeta / (\hat\mu_1^\zeta + (1 - \hat\mu_1)^\zeta)$.

    Parameters
    ----------
    inverse_temperature
        $\zeta$; 1 matches probabilities, large values maximise.
    lapse
        Probability of choosing whatever; None for none.
    by_volatility
        Multiply $\zeta$ by $e^{-\hat\mu_3}$: who expects change explores.

    Examples
    --------
    >>> unit_square_sigmoid = UnitSquareSigmoid
    >>> unit_square_sigmoid(inverse_temperature=48.0).inverse_temperature
    48.0
    """

    positive: ClassVar[tuple[str, ...]] = ("inverse_temperature",)

    inverse_temperature: Any = 1.0
    lapse: Any = None
    by_volatility: bool = eqx.field(static=True, default=False)

    def log_odds(self, seen: Seen) -> Trials:
        """Return the log-odds of choosing 1 while attending."""
        temperature = self.inverse_temperature
        if self.by_volatility:
            temperature = temperature * jnp.exp(-seen.expected_mean[seen.level(3)])
        return temperature * seen.log_odds


class Softmax(BinaryChoice):
    r"""Log-odds $\beta\,(2\hat\mu_1 - 1)$.

    With `rewards`, $\beta\,(r_1 \hat\mu_1 - r_0 (1 - \hat\mu_1))$ for the rewards on
    offer, the covariates ``reward0`` and ``reward1``.

    Parameters
    ----------
    inverse_temperature
        $\beta$.
    lapse
        Probability of choosing whatever; None for none.
    rewards
        Whether rewards differ between trials.
    """

    positive: ClassVar[tuple[str, ...]] = ("inverse_temperature",)

    inverse_temperature: Any = 1.0
    lapse: Any = None
    rewards: bool = eqx.field(static=True, default=False)

    def log_odds(self, seen: Seen) -> Trials:
        """Return the log-odds of choosing 1 while attending."""
        mean = seen.probability
        value = 2 * mean - 1
        if self.rewards:
            one, zero = seen.covariate("reward1"), seen.covariate("reward0")
            value = one * mean - zero * (1 - mean)
        return self.inverse_temperature * value


class GaussianThreshold(BinaryChoice):
    r"""$p = 1 - \Phi(-\mu_2 / \sqrt{\sigma_2})$: the belief is above zero.

    Parameters
    ----------
    lapse
        Probability of choosing whatever; None for none.
    variance_as_deviation
        Divide by the variance, as the toolbox does.
    """

    lapse: Any = None
    variance_as_deviation: bool = eqx.field(static=True, default=False)

    def log_odds(self, seen: Seen) -> Trials:
        """Return the log-odds of choosing 1 while attending."""
        seen.require_binary()
        name = seen.level(2)
        width = 1 / seen.precision[name]
        if not self.variance_as_deviation:
            width = jnp.sqrt(width)
        z = seen.mean[name] / width
        return jax.scipy.stats.norm.logcdf(z) - jax.scipy.stats.norm.logcdf(-z)


WEIGHTINGS = ("product", "fixed", "volatility")


class ConditionedHallucination(BinaryChoice):
    r"""Belief and a cue of known strength, as a softmax over their mixture.

    The covariate ``true_probability`` is the strength $t$ of the cue. By `weighting`:

    - "product": $t\hat\mu_1 / (t\hat\mu_1 + (1 - \hat\mu_1)^2)$, and $\hat\mu_1$ where
      $t = 0$;
    - "fixed": $\hat\mu_1 + (t - \hat\mu_1) / (1 + \nu)$;
    - "volatility": the same with $\nu = e^{\hat\mu_3}$.

    (Powers et al., Science 2017.)

    Parameters
    ----------
    inverse_temperature
        $\beta$.
    prior_weight
        $\nu$, of the weighting "fixed"; None for the others.
    lapse
        Probability of choosing whatever; None for none.
    weighting
        "product", "fixed" or "volatility".
    """

    positive: ClassVar[tuple[str, ...]] = ("inverse_temperature", "prior_weight")

    inverse_temperature: Any = 1.0
    prior_weight: Any = None
    lapse: Any = None
    weighting: str = eqx.field(static=True, default="product")

    def __check_init__(self) -> None:
        choice("weighting", self.weighting, WEIGHTINGS)
        if (self.prior_weight is not None) != (self.weighting == "fixed"):
            raise invalid(
                "prior_weight",
                f"{self.prior_weight} with the weighting {self.weighting!r}",
                "a number for 'fixed', None for the others",
            )

    def log_odds(self, seen: Seen) -> Trials:
        """Return the log-odds of choosing 1 while attending."""
        mean, cue = seen.probability, seen.covariate("true_probability")
        if self.weighting == "product":
            joint = cue * mean
            mixed = jnp.where(cue > 0, joint / (joint + (1 - mean) ** 2), mean)
        else:
            weight = self.prior_weight
            if self.weighting == "volatility":
                weight = jnp.exp(seen.expected_mean[seen.level(3)])
            mixed = mean + (cue - mean) / (1 + weight)
        return self.inverse_temperature * (2 * mixed - 1)
