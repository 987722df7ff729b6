r"""Choices between two options, 0 or 1.

Each model gives the log-odds of choosing 1; $\hat\mu_1$ is the predicted probability
of outcome 1, $\beta$ or $\zeta$ an inverse temperature.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from neuromod.core.errors import choice
from neuromod.hgf.responses.response import (
    Response,
    Seen,
    Trials,
    bernoulli,
    flip,
    logit,
)


class BinaryChoice(Response):
    """A choice of 0 or 1 by its log-odds."""

    @abc.abstractmethod
    def log_odds(self, seen: Seen) -> Trials:
        """Return the log-odds of choosing 1."""

    def log_probability(self, seen: Seen, response: Trials) -> Trials:
        """Return the log probability of each choice (`Response`)."""
        return bernoulli(self.log_odds(seen), response)

    def simulate(self, seen: Seen, key: PRNGKeyArray) -> Trials:
        """Draw a choice for each trial (`Response`)."""
        return flip(self.log_odds(seen), key)


class UnitSquareSigmoid(BinaryChoice):
    r"""$p = \hat\mu_1^\zeta / (\hat\mu_1^\zeta + (1 - \hat\mu_1)^\zeta)$.

    Parameters
    ----------
    inverse_temperature
        $\zeta$; 1 matches probabilities, large values maximise.
    """

    inverse_temperature: Any = 1.0

    def log_odds(self, seen: Seen) -> Trials:
        """Return the log-odds of choosing 1."""
        return self.inverse_temperature * logit(seen.expected_mean[seen.level(1)])


class UnitSquareSigmoidVolatility(BinaryChoice):
    r"""The unit-square sigmoid with $\zeta = e^{-\hat\mu_3}$: volatility is noise."""

    def log_odds(self, seen: Seen) -> Trials:
        """Return the log-odds of choosing 1."""
        temperature = jnp.exp(-seen.expected_mean[seen.level(3)])
        return temperature * logit(seen.expected_mean[seen.level(1)])


class Softmax(BinaryChoice):
    r"""Log-odds $\beta\,(2\hat\mu_1 - 1)$.

    With `rewards`, $\beta\,(r_1 \hat\mu_1 - r_0 (1 - \hat\mu_1))$ for the rewards on
    offer, the covariates ``reward0`` and ``reward1``.

    Parameters
    ----------
    inverse_temperature
        $\beta$.
    rewards
        Whether rewards differ between trials.
    """

    inverse_temperature: Any = 1.0
    rewards: bool = eqx.field(static=True, default=False)

    def log_odds(self, seen: Seen) -> Trials:
        """Return the log-odds of choosing 1."""
        mean = seen.expected_mean[seen.level(1)]
        value = 2 * mean - 1
        if self.rewards:
            one, zero = seen.covariate("reward1"), seen.covariate("reward0")
            value = one * mean - zero * (1 - mean)
        return self.inverse_temperature * value


class GaussianThreshold(BinaryChoice):
    r"""$p = 1 - \Phi(-\mu_2 / \sqrt{\sigma_2})$: the belief is above zero.

    Parameters
    ----------
    variance_as_deviation
        Divide by the variance, as the toolbox does.
    """

    variance_as_deviation: bool = eqx.field(static=True, default=False)

    def log_odds(self, seen: Seen) -> Trials:
        """Return the log-odds of choosing 1."""
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
        $\nu$, of the weighting "fixed".
    weighting
        "product", "fixed" or "volatility".
    """

    inverse_temperature: Any = 1.0
    prior_weight: Any = 1.0
    weighting: str = eqx.field(static=True, default="product")

    def __check_init__(self) -> None:
        choice("weighting", self.weighting, WEIGHTINGS)

    def log_odds(self, seen: Seen) -> Trials:
        """Return the log-odds of choosing 1."""
        mean = seen.expected_mean[seen.level(1)]
        cue = seen.covariate("true_probability")
        if self.weighting == "product":
            joint = cue * mean
            mixed = jnp.where(cue > 0, joint / (joint + (1 - mean) ** 2), mean)
        else:
            weight = self.prior_weight
            if self.weighting == "volatility":
                weight = jnp.exp(seen.expected_mean[seen.level(3)])
            mixed = mean + (cue - mean) / (1 + weight)
        return self.inverse_temperature * (2 * mixed - 1)
