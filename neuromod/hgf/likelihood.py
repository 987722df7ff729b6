r"""How probable a participant's responses are, and the slopes of that.

$$
\log p(y \mid \theta) = \sum_k \log p(y_k \mid \text{beliefs}_{1:k}, \theta).
$$

The parameters are few and the trials many, so gradients and curvatures are carried
forward with the beliefs, a lane for each parameter: it takes two thirds of the time of
a backward pass, stores nothing, and a trial whose belief is no number takes no slope
with it.

Where beliefs diverge there is no likelihood. By a *penalty* the trials from there on
count as what a model says that was all but certain and wrong: worse than guessing, the
later the better, and finite.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from neuromod.hgf.agent import Agent
from neuromod.hgf.inference import Series, Trajectories, run
from neuromod.hgf.network import Network
from neuromod.hgf.parameters import Space
from neuromod.hgf.responses.response import Seen, look, score

Values = Array | np.ndarray
Point = Float[Array, " parameter"]

PENALTY = float(np.log(1e-6))


class Behaviour(NamedTuple):
    """What one participant saw and did.

    Parameters
    ----------
    series
        What came in at the inputs.
    responses
        One number per trial, NaN where there was none; a mapping of them for a joint
        response model; None where the response model reads none.
    covariates
        What else a response model reads, by name; each (time,).
    mask : (time,)
        False where there is no trial: padding at the end. None for none.
    reset : (time,)
        True where a session begins, and beliefs anew. None for never.
    """

    series: Series
    responses: Any
    covariates: dict[str, Float[Values, " time"]]
    mask: Bool[Values, " time"] | None = None
    reset: Bool[Values, " time"] | None = None


def believe(agent: Agent, behaviour: Behaviour) -> Trajectories | None:
    """Return what the network of an agent believes; None for a baseline."""
    if not isinstance(agent.network, Network):
        return None
    _, _, _, mask, reset = behaviour
    return run(agent.network, behaviour.series, mask=mask, reset=reset)


def see(agent: Agent, behaviour: Behaviour, found: Trajectories | None) -> Seen:
    """Return what the response model of an agent may look at."""
    _, _, covariates, mask, reset = behaviour
    if found is not None:
        return look(agent.network, behaviour.series, found, covariates)
    return agent.network.see(
        behaviour.series, mask=mask, reset=reset, covariates=covariates
    )


def log_likelihood(agent: Agent, behaviour: Behaviour) -> Float[Array, " time"]:
    """Return the log probability of each response.

    Parameters
    ----------
    agent
        A network, or a baseline, and a response model.
    behaviour
        What a participant saw and did.

    Returns
    -------
    (time,)
        In nats; 0 where there was no response. NaN from the trial on where a belief
        diverged.
    """
    return respond(agent, behaviour, believe(agent, behaviour))


def respond(
    agent: Agent, behaviour: Behaviour, found: Trajectories | None
) -> Float[Array, " time"]:
    """Return the log probability of each response, given what was believed."""
    seen = see(agent, behaviour, found)
    nats = score(agent.response, seen, behaviour.responses)
    if behaviour.mask is None:
        return nats
    return jnp.where(behaviour.mask, nats, 0.0)


def penalised(nats: Float[Array, " time"]) -> Float[Array, " time"]:
    """Count trials without a likelihood as certain and wrong."""
    return jnp.where(jnp.isfinite(nats), nats, PENALTY)


class Objective(NamedTuple):
    """The penalised log-likelihood plus the log density of the prior.

    Parameters
    ----------
    agent
        Holds what is not free.
    space
        The free parameters.
    behaviour
        What a participant saw and did.
    prior_weight
        0 leaves the prior out.
    """

    agent: Agent
    space: Space
    behaviour: Behaviour
    prior_weight: Any = 1.0

    def __call__(self, standard: Point) -> Float[Array, ""]:
        """Return the value.

        Parameters
        ----------
        standard : (parameter,)
            Native parameters in deviations from the prior's mean, in which the prior
            is a standard normal distribution: the density is with respect to these.
        """
        return self.respond(standard, self.believe(standard))

    def believe(self, standard: Point) -> Trajectories | None:
        """Return what is believed, which parameters of responses do not touch."""
        return believe(self._agent(standard), self.behaviour)

    def respond(self, standard: Point, found: Trajectories | None) -> Float[Array, ""]:
        """Return the value, given what is believed."""
        nats = respond(self._agent(standard), self.behaviour, found)
        prior = log_standard_normal(standard)
        return jnp.sum(penalised(nats)) + self.prior_weight * prior

    def _agent(self, standard: Point) -> Agent:
        return self.space.insert(self.agent, self.space.native(standard))


def log_standard_normal(values: Float[Array, "..."]) -> Float[Array, ""]:
    """Return the log density of independent standard normal numbers."""
    return -jnp.sum(values**2 + np.log(2 * np.pi)) / 2


def value_and_gradient(
    objective: Objective, at: Point
) -> tuple[Float[Array, ""], Float[Array, " parameter"]]:
    """Return the value and its slopes.

    Beliefs carry a lane for each parameter of the network, and for no other.
    """
    each = np.eye(len(at), dtype=at.dtype)
    early = objective.space.of_beliefs
    if not isinstance(objective.agent.network, Network) or not any(early):
        found = objective.believe(at)
        return _lanes(lambda where: objective.respond(where, found), at, each)

    def along(direction):
        found, moved = jax.jvp(objective.believe, (at,), (direction,))
        value, slope = jax.jvp(objective.respond, (at, found), (direction, moved))
        return value, slope, found

    chosen = np.array(early)
    value, slopes, found = jax.vmap(along, out_axes=(None, 0, None))(each[chosen])
    gradient = jnp.zeros_like(at).at[chosen].set(slopes)
    if chosen.all():
        return value, gradient
    _, slopes = _lanes(lambda where: objective.respond(where, found), at, each[~chosen])
    return value, gradient.at[~chosen].set(slopes)


def _lanes(function: Any, at: Any, directions: Any) -> tuple[Any, Any]:
    def along(direction):
        return jax.jvp(function, (at,), (direction,))

    return jax.vmap(along, out_axes=(None, 0))(directions)


def value_and_curvature(
    objective: Objective, at: Point
) -> tuple[Float[Array, ""], Float[Array, " parameter"], Float[Array, "..."]]:
    """Return the value, its slopes and the matrix of second derivatives."""

    def along(direction):
        (value, gradient), (_, turned) = jax.jvp(
            lambda where: value_and_gradient(objective, where), (at,), (direction,)
        )
        return value, gradient, turned

    directions = jnp.eye(len(at), dtype=at.dtype)
    return jax.vmap(along, out_axes=(None, None, 0))(directions)


@jax.custom_vjp
def differentiable_forward(objective: Objective, at: Point) -> Float[Array, ""]:
    """Return the value; its slopes for reverse-mode differentiation go forward."""
    return objective(at)


def _forward(objective, at):
    value, gradient = value_and_gradient(objective, at)
    return value, gradient


def _backward(gradient, cotangent):
    return None, cotangent * gradient


differentiable_forward.defvjp(_forward, _backward)
