r"""Responses on a scale: estimates, ratings, reaction times and response speed."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import PRNGKeyArray

from neuromod.core.errors import choice
from neuromod.hgf.responses.response import Response, Seen, Trials, normal, spread


class GaussianReport(Response):
    r"""A report of $\hat\mu_1$ with normal noise.

    What is reported is the predicted probability of a binary input, or the predicted
    mean of the state that a continuous input observes.

    Parameters
    ----------
    variance
        Of the noise.
    offset
        What is added to every report.
    """

    positive: ClassVar[tuple[str, ...]] = ("variance",)

    variance: Any = 1.0
    offset: Any = 0.0

    def log_probability(self, seen: Seen, response: Trials) -> Trials:
        """Return the log density of each report (`Response`)."""
        return normal(self._mean(seen), self.variance, response)

    def simulate(self, seen: Seen, key: PRNGKeyArray) -> Trials:
        """Draw a report for each trial (`Response`)."""
        return spread(self._mean(seen), self.variance, key)

    def _mean(self, seen: Seen) -> Trials:
        return seen.expected_mean[seen.level(1)] + self.offset


SHRINKAGE = 0.95


class BetaReport(Response):
    r"""A rating within [0, 1] from a Beta distribution of mean $\hat\mu_1$.

    Ratings of exactly 0 or 1 have no density, so all are drawn towards one half by a
    factor of 0.95 first.

    Parameters
    ----------
    concentration
        $\nu$: how sharp the distribution is.
    """

    positive: ClassVar[tuple[str, ...]] = ("concentration",)

    concentration: Any = 10.0

    def log_probability(self, seen: Seen, response: Trials) -> Trials:
        """Return the log density of each rating (`Response`)."""
        x = SHRINKAGE * (response - 0.5) + 0.5
        a, b = self._shape(seen)
        # Not the library's density, which is right to seven digits alone.
        scale = gammaln(a + b) - gammaln(a) - gammaln(b)
        return scale + (a - 1) * jnp.log(x) + (b - 1) * jnp.log1p(-x)

    def simulate(self, seen: Seen, key: PRNGKeyArray) -> Trials:
        """Draw a rating for each trial (`Response`)."""
        drawn = jax.random.beta(key, *self._shape(seen))
        return jnp.clip((drawn - 0.5) / SHRINKAGE + 0.5, 0, 1)

    def _shape(self, seen: Seen) -> tuple[Trials, Trials]:
        mean = seen.probability
        return mean * self.concentration, (1 - mean) * self.concentration


LOG_2 = 0.6931471805599453


class LogReactionTime(Response):
    r"""Linear model of the logarithm of reaction times.

    $$
    \log \mathrm{RT} \sim \mathcal{N}\big(\beta_0 - \beta_1 \log_2 p(u)
    + \beta_2 \hat\mu_1(1-\hat\mu_1) + \beta_3 d\,\sigma_2 + \beta_4 d\,e^{\mu_3},
    \zeta\big), \qquad d = s(\mu_2)(1 - s(\mu_2)):
    $$

    surprise (bits), and uncertainty about the outcome, the estimate and the environment
    (Marshall et al., PLoS Biol. 2016). A term whose $\beta$ is None is left out, and
    with it the level that it looks at. Where the outcome was not observed, its surprise
    is 0.

    With `among_options`, $u$ is which of all binary inputs came, and $\hat\mu$,
    $\sigma$ and $\mu$ are those of the one that did: a category, or a transition from
    one state to another. (The toolbox's ``whatworld`` model, but with bits for its
    nats.)

    Parameters
    ----------
    intercept, surprise, outcome, estimation, environment
        $\beta_0$ to $\beta_4$.
    variance
        $\zeta$.
    among_options
        Look at the binary input that came, instead of at the first.

    Examples
    --------
    >>> model = LogReactionTime(surprise=0.1, environment=0.0)
    >>> model.estimation is None
    True
    """

    positive: ClassVar[tuple[str, ...]] = ("variance",)

    intercept: Any = 6.2
    surprise: Any = 0.0
    outcome: Any = 0.0
    estimation: Any = None
    environment: Any = None
    variance: Any = 0.1
    among_options: bool = eqx.field(static=True, default=False)

    def log_probability(self, seen: Seen, response: Trials) -> Trials:
        """Return the log density of each log reaction time (`Response`)."""
        return normal(self._mean(seen), self.variance, response)

    def simulate(self, seen: Seen, key: PRNGKeyArray) -> Trials:
        """Draw the logarithm of a reaction time for each trial (`Response`)."""
        return spread(self._mean(seen), self.variance, key)

    def _mean(self, seen: Seen) -> Trials:
        seen.require_binary()
        at, nats = _came(seen) if self.among_options else _first(seen)
        mean = at(1, seen.expected_mean)
        total = self.intercept + jnp.zeros_like(mean)
        if self.surprise is not None:
            total = total + self.surprise * nats() / LOG_2
        if self.outcome is not None:
            total = total + self.outcome * mean * (1 - mean)
        if self.estimation is not None:
            total = total + self.estimation * _bend(seen, at) / at(2, seen.precision)
        if self.environment is not None:
            phasic = jnp.exp(at(3, seen.mean))
            total = total + self.environment * _bend(seen, at) * phasic
        return total


At = Callable[[int, dict[str, Trials]], Trials]


def _first(seen: Seen) -> tuple[At, Callable[[], Trials]]:
    """Return how to look at a level over the first binary input, and its surprise."""
    return (
        lambda level, of: of[seen.level(level)],
        lambda: seen.surprise[seen.options[0]],
    )


def _came(seen: Seen) -> tuple[At, Callable[[], Trials]]:
    """Return the same for the input that was 1 on each trial; the first where none."""
    ones = jnp.stack([seen.was(name, 1) for name in seen.options])
    which = jnp.argmax(ones, axis=0)[None]

    def at(level, of):
        rows = jnp.stack([of[seen.level(level, i)] for i in range(len(seen.options))])
        return jnp.take_along_axis(rows, which, axis=0)[0]

    def nats():
        found = -jnp.log(at(1, seen.expected_mean))
        return jnp.where(jnp.any(ones, axis=0), found, 0.0)

    return at, nats


def _bend(seen: Seen, at: At) -> Trials:
    log_odds = at(2, seen.mean)
    return jax.nn.sigmoid(log_odds) * jax.nn.sigmoid(-log_odds)


DRIVERS = ("belief", "surprise", "precision")


class ResponseSpeed(Response):
    r"""Response speed (one over time) by how expected the outcome was.

    $$
    \mathcal{N}\big(u(\zeta_{1v} + \zeta_2 a) + (1-u)(\zeta_{1i} + \zeta_2(1-a)),
    \zeta_3\big)
    $$

    for valid ($u = 1$) and invalid cues, where $a$ is by `driver` the belief
    $\hat\mu_1$ ("belief"), $1/(1 - \log_2 \hat\mu_1)$ ("surprise") or
    $s(\pm(1/(\hat\mu_1(1-\hat\mu_1)) - 4))$, with the sign of $\hat\mu_1 - 1/2$
    ("precision") (Vossel et al., Cereb. Cortex 2014).

    Parameters
    ----------
    valid, invalid
        $\zeta_{1v}$ and $\zeta_{1i}$: speed without expectation.
    slope
        $\zeta_2$.
    variance
        $\zeta_3$.
    driver
        "belief", "surprise" or "precision".
    """

    positive: ClassVar[tuple[str, ...]] = ("variance",)

    valid: Any = 0.005
    invalid: Any = 0.005
    slope: Any = 0.001
    variance: Any = 1e-4
    driver: str = eqx.field(static=True, default="belief")

    def __check_init__(self) -> None:
        choice("driver", self.driver, DRIVERS)

    def log_probability(self, seen: Seen, response: Trials) -> Trials:
        """Return the log density of each response speed (`Response`)."""
        return normal(self._mean(seen), self.variance, response)

    def simulate(self, seen: Seen, key: PRNGKeyArray) -> Trials:
        """Draw a response speed for each trial (`Response`)."""
        return spread(self._mean(seen), self.variance, key)

    def _mean(self, seen: Seen) -> Trials:
        attention = self._attention(seen.probability)
        expected = self.valid + self.slope * attention
        unexpected = self.invalid + self.slope * (1 - attention)
        return jnp.where(seen.was(seen.options[0], 1), expected, unexpected)

    def _attention(self, mean: Trials) -> Trials:
        if self.driver == "belief":
            return mean
        if self.driver == "surprise":
            return 1 / (1 - jnp.log2(mean))
        return jax.nn.sigmoid(jnp.sign(mean - 0.5) * (1 / (mean * (1 - mean)) - 4))
