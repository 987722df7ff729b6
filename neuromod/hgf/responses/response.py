"""From beliefs to behaviour: what every response model has.

A response model says how probable a participant's response on each trial is, given
what the network believed. It may look at any trajectory of any node (`Seen`). One of
your own takes five lines::

    class Optimist(hgf.responses.Response):
        bias: Any

        def log_probability(self, seen, response):
            log_odds = seen.log_odds + self.bias
            return bernoulli(log_odds, response)

        def simulate(self, seen, key):
            ...
"""

import abc
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from neuromod.core.errors import invalid
from neuromod.hgf.couplings import slopes
from neuromod.hgf.inference import Series, Trajectories, gaussian_surprise, surprise
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput, positive, share
from neuromod.hgf.regressors import tower
from neuromod.kernels.elementary import exp, log, log_sigmoid, sigmoid

Trials = Float[Array, " time"]


class Seen(NamedTuple):
    """What a response model may look at, by the names of nodes; each (time,).

    Parameters
    ----------
    value
        What was observed at each input; anything where nothing was.
    observed
        Where there was an observation at each input; None where always.
    surprise
        Of each input under what was expected (nats); 0 where not observed.
    expected_mean, expected_precision
        Predictions of every node before the data of a trial.
    mean, precision
        Beliefs of the states after it.
    covariates
        What else differs between trials, such as the rewards on offer.
    levels
        The first binary input, its parent, and the parent that sets the volatility
        of that, as far as there are any. Of a network without binary inputs the
        parent of its first input and so on.
    options
        All binary inputs in their order: what choices between several options are
        among.
    above
        For each of the options its levels.
    log_density
        Of each input under what was expected (nats, 0 where not observed), with the
        uncertainty about the states that a continuous input observes, which
        ``surprise`` leaves out. None for minus the surprise.
    expected_log_odds
        Of a 1 at each binary input. None for those of the expected mean.
    """

    value: dict[str, Trials]
    observed: dict[str, Bool[Array, " time"] | None]
    surprise: dict[str, Trials]
    expected_mean: dict[str, Trials]
    expected_precision: dict[str, Trials]
    mean: dict[str, Trials]
    precision: dict[str, Trials]
    covariates: dict[str, Trials]
    levels: tuple[str, ...]
    options: tuple[str, ...]
    above: tuple[tuple[str, ...], ...] = ()
    log_density: dict[str, Trials] | None = None
    expected_log_odds: dict[str, Trials] | None = None

    @property
    def probability(self) -> Trials:
        """The predicted probability of a 1 at the first binary input."""
        self.require_binary()
        return self.expected_mean[self.options[0]]

    @property
    def log_odds(self) -> Trials:
        """The log-odds of the predicted probability."""
        if self.expected_log_odds is None:
            return logit(self.probability)
        self.require_binary()
        return self.expected_log_odds[self.options[0]]

    def require_binary(self) -> None:
        """Refuse a network without a binary input."""
        if not self.options:
            raise invalid(
                "network",
                "no binary input",
                "one, whose probability this response model looks at",
            )

    def level(self, number: int, option: int = 0) -> str:
        """Return the name of the node at a level, counted from 1, over an option."""
        levels = self.above[option] if option else self.levels
        if len(levels) < number:
            raise invalid(
                "network",
                f"{len(levels)} levels above its input",
                f"{number}, which this response model looks at",
            )
        return levels[number - 1]

    def was(self, name: str, value: int) -> Bool[Array, " time"]:
        """Tell where a binary input was observed to be 0, or 1."""
        found = (self.value[name] > 0.5) == bool(value)
        known = self.observed[name]
        return found if known is None else found & known

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
    covariates: dict[str, Any] | None = None,
) -> Seen:
    """Gather what a response model may look at."""
    expected = found.predictions
    nats = surprise(network, series, found)
    binary = [node for node in network.nodes if isinstance(node, BinaryInput)]
    options = tuple(node.name for node in binary)
    return Seen(
        value={
            name: jnp.asarray(column)
            for name, column in zip(network.inputs, series.values, strict=True)
        },
        observed={
            name: None if known is None else jnp.asarray(known)
            for name, known in zip(network.inputs, series.observed, strict=True)
        },
        surprise={name: nats[name] for name in network.inputs},
        expected_mean={name: p.mean for name, p in expected.items()},
        expected_precision={name: p.precision for name, p in expected.items()},
        mean={name: belief.mean for name, belief in found.beliefs.items()},
        precision={name: b.precision for name, b in found.beliefs.items()},
        covariates=covariates or {},
        levels=tower(network),
        options=options,
        above=tuple(tower(network, name) for name in options),
        log_density=_log_density(network, series, found, nats),
        expected_log_odds={name: expected[name].log_odds for name in options},
    )


def _log_density(
    network: Network, series: Series, found: Trajectories, nats: dict[str, Trials]
) -> dict[str, Trials]:
    result = {name: -nats[name] for name in network.inputs}
    data = zip(network.inputs, series.values, series.observed, strict=True)
    for name, value, known in data:
        if isinstance(network[name], BinaryInput):
            continue
        predicted = found.predictions[name]
        variance = 1 / predicted.conditional_precision
        for number in network.family.value_parents[name]:
            edge = network.edges[number]
            parent = found.predictions.get(edge.parent)
            if parent is not None:  # a constant is certain
                slope = jax.vmap(partial(slopes, edge.coupling))(parent.mean)[0]
                variance = variance + (edge.strength * slope) ** 2 / parent.precision
        if known is not None:
            value = jnp.where(known, value, predicted.mean)
        density = -gaussian_surprise(value, predicted.mean, 1 / variance)
        result[name] = density if known is None else jnp.where(known, density, 0.0)
    return result


class Response(eqx.Module):
    """How beliefs become responses; its fields are its parameters.

    Attributes
    ----------
    positive
        Names of the fields that must be above zero, such as a variance.
    unit_interval
        Names of the fields that must lie between zero and one.
    needs_responses
        Whether the log probability depends on what the participant did.
    stand_in
        What `score` puts in the place of a missing response before the model sees it:
        a number of which the log probability and its gradient are finite.
    """

    positive: ClassVar[tuple[str, ...]] = ()
    unit_interval: ClassVar[tuple[str, ...]] = ()
    needs_responses: ClassVar[bool] = True
    stand_in: ClassVar[float] = 0.5

    def __check_init__(self) -> None:
        name = type(self).__name__
        for fields, require in ((self.positive, positive), (self.unit_interval, share)):
            for field in fields:
                if getattr(self, field) is not None:
                    require(getattr(self, field), name, field)

    @abc.abstractmethod
    def log_probability(self, seen: Seen, response: Any) -> Trials:
        """Return the log probability, or density, of each response.

        Parameters
        ----------
        seen
            What the network believed.
        response : (time,)
            What the participant did. Of a joint model a dict of such columns.
        """

    @abc.abstractmethod
    def simulate(self, seen: Seen, key: PRNGKeyArray) -> Any:
        """Draw a response for each trial.

        Parameters
        ----------
        seen
            What the network believed.
        key
            Random key.
        """


def score(response_model: Response, seen: Seen, responses: Any) -> Trials:
    """Return the log probability of each trial's response; 0 where it is missing.

    Missing responses enter neither the value nor its gradient. A model that needs no
    responses counts all trials, whatever the responses are.

    Parameters
    ----------
    response_model
        How beliefs become responses.
    seen
        What the network believed.
    responses : (time,)
        What the participant did; NaN is missing. Of a joint model a dict of such
        columns, each with missing trials of its own; None for a model that needs none.

    Raises
    ------
    InvalidInputError
        If there are no responses, and the model needs them.

    Examples
    --------
    >>> from neuromod.hgf import binary_two_level, inference, responses
    >>> network = binary_two_level()
    >>> ones = jnp.ones(3)
    >>> series = inference.Series((ones,), (None,), None)
    >>> seen = responses.look(network, series, inference.run(network, series))
    >>> model = responses.unit_square_sigmoid(2.0)
    >>> nats = responses.score(model, seen, jnp.array([1.0, jnp.nan, 0.0]))
    >>> [round(float(x), 2) for x in nats]
    [-0.69, 0.0, -1.59]
    """
    if not response_model.needs_responses or isinstance(responses, Mapping):
        return response_model.log_probability(seen, responses)
    if responses is None:
        raise invalid("responses", "None", "one number per trial, NaN where missing")
    column = jnp.asarray(responses)
    if not jnp.issubdtype(column.dtype, jnp.floating):
        column = column.astype(jnp.result_type(float))
    missing = jnp.isnan(column)
    known = jnp.where(missing, response_model.stand_in, column)
    found = response_model.log_probability(seen, known)
    return jnp.where(missing, 0.0, found)


def logit(probability: Trials) -> Trials:
    """Return the log-odds of a probability."""
    return log(probability / (1 - probability))


def bernoulli(log_odds: Trials, response: Trials) -> Trials:
    """Return the log probability of a 0 or 1 with these log-odds of 1."""
    return log_sigmoid(jnp.where(response > 0.5, log_odds, -log_odds))


def flip(log_odds: Trials, key: PRNGKeyArray) -> Trials:
    """Draw zeros and ones with these log-odds of 1."""
    drawn = jax.random.bernoulli(key, sigmoid(log_odds))
    return drawn.astype(log_odds.dtype)


def lapsing(log_probability: Array, lapse: Any, n_options: int) -> Array:
    """Return the log probability of an option of which lapses choose any."""
    return log((1 - lapse) * exp(log_probability) + lapse / n_options)


def normal(mean: Trials, variance: Any, response: Trials) -> Trials:
    """Return the log density of a normal distribution."""
    return jax.scipy.stats.norm.logpdf(response, mean, jnp.sqrt(jnp.asarray(variance)))


def spread(mean: Trials, variance: Any, key: PRNGKeyArray) -> Trials:
    """Draw from a normal distribution."""
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.sqrt(jnp.asarray(variance)) * noise
