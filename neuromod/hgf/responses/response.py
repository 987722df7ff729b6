"""From beliefs to behaviour: what every response model has.

A response model says how probable a participant's response on each trial is, given
what the network believed. It may look at any trajectory of any node (`Seen`). One of
your own takes five lines::

    class Optimist(hgf.responses.Response):
        bias: Any

        def log_probability(self, seen, response):
            log_odds = logit(seen.expected_mean["outcome"]) + self.bias
            return bernoulli(log_odds, response)

        def simulate(self, seen, key):
            ...
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod.core.errors import invalid
from neuromod.hgf.inference import Series, Trajectories
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput
from neuromod.hgf.regressors import tower

Trials = Float[Array, " time"]


class Seen(NamedTuple):
    """What a response model may look at, by the names of nodes; each (time,).

    Parameters
    ----------
    value
        What was observed at each input.
    expected_mean, expected_precision
        Predictions of every node before the data of a trial.
    mean, precision
        Beliefs of the states after it.
    covariates
        What else differs between trials, such as the rewards on offer.
    levels
        The first binary input, its parent, and the parent that sets the volatility
        of that, as far as there are any.
    """

    value: dict[str, Trials]
    expected_mean: dict[str, Trials]
    expected_precision: dict[str, Trials]
    mean: dict[str, Trials]
    precision: dict[str, Trials]
    covariates: dict[str, Trials]
    levels: tuple[str, ...]

    def level(self, number: int) -> str:
        """Return the name of the node at a level, counted from 1."""
        if len(self.levels) < number:
            raise invalid(
                "network",
                f"{len(self.levels)} levels above a binary input",
                f"{number}, which this response model looks at",
            )
        return self.levels[number - 1]

    def covariate(self, name: str) -> Trials:
        """Return what differs between trials, or say that it is missing."""
        if name not in self.covariates:
            raise invalid(
                "covariates",
                f"{sorted(self.covariates)}",
                f"{name!r}, one number per trial, which this response model reads",
            )
        return self.covariates[name]


def look(
    network: Network,
    series: Series,
    found: Trajectories,
    covariates: dict[str, Trials] | None = None,
) -> Seen:
    """Gather what a response model may look at."""
    expected = found.predictions
    return Seen(
        value={
            name: jnp.asarray(column)
            for name, column in zip(network.inputs, series.values, strict=True)
        },
        expected_mean={name: p.mean for name, p in expected.items()},
        expected_precision={name: p.precision for name, p in expected.items()},
        mean={name: belief.mean for name, belief in found.beliefs.items()},
        precision={name: b.precision for name, b in found.beliefs.items()},
        covariates=covariates or {},
        levels=tower(network) if _has_binary(network) else (),
    )


def _has_binary(network: Network) -> bool:
    return any(isinstance(node, BinaryInput) for node in network.nodes)


class Response(eqx.Module):
    """How beliefs become responses; its fields are its parameters."""

    @abc.abstractmethod
    def log_probability(self, seen: Seen, response: Trials) -> Trials:
        """Return the log probability, or density, of each response.

        Parameters
        ----------
        seen
            What the network believed.
        response : (time,)
            What the participant did.
        """

    @abc.abstractmethod
    def simulate(self, seen: Seen, key: PRNGKeyArray) -> Trials:
        """Draw a response for each trial.

        Parameters
        ----------
        seen
            What the network believed.
        key
            Random key.
        """


def logit(probability: Trials) -> Trials:
    """Return the log-odds of a probability."""
    return jnp.log(probability) - jnp.log1p(-probability)


def bernoulli(log_odds: Trials, response: Trials) -> Trials:
    """Return the log probability of a 0 or 1 with these log-odds of 1."""
    return jax.nn.log_sigmoid(jnp.where(response > 0.5, log_odds, -log_odds))


def flip(log_odds: Trials, key: PRNGKeyArray) -> Trials:
    """Draw zeros and ones with these log-odds of 1."""
    drawn = jax.random.bernoulli(key, jax.nn.sigmoid(log_odds))
    return drawn.astype(log_odds.dtype)


def normal(mean: Trials, variance: Any, response: Trials) -> Trials:
    """Return the log density of a normal distribution."""
    return jax.scipy.stats.norm.logpdf(response, mean, jnp.sqrt(jnp.asarray(variance)))


def spread(mean: Trials, variance: Any, key: PRNGKeyArray) -> Trials:
    """Draw from a normal distribution."""
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.sqrt(jnp.asarray(variance)) * noise
