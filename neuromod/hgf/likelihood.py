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

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from neuromod.hgf.agent import Agent
from neuromod.hgf.inference import Series, run
from neuromod.hgf.network import Network
from neuromod.hgf.parameters import Space
from neuromod.hgf.responses.response import Seen, look, score

Values = Array | np.ndarray

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


def see(agent: Agent, behaviour: Behaviour) -> Seen:
    """Return what the response model of an agent may look at."""
    _, _, covariates, mask, reset = behaviour
    if isinstance(agent.network, Network):
        found = run(agent.network, behaviour.series, mask=mask, reset=reset)
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
    nats = score(agent.response, see(agent, behaviour), behaviour.responses)
    if behaviour.mask is None:
        return nats
    return jnp.where(behaviour.mask, nats, 0.0)


def penalised(nats: Float[Array, " time"]) -> Float[Array, " time"]:
    """Count trials without a likelihood as certain and wrong."""
    return jnp.where(jnp.isfinite(nats), nats, PENALTY)


def log_joint(
    agent: Agent,
    space: Space,
    standard: Float[Array, " parameter"],
    behaviour: Behaviour,
    prior_weight: Any = 1.0,
) -> Float[Array, ""]:
    """Return the penalised log-likelihood plus the log density of the prior.

    Parameters
    ----------
    agent
        Holds what is not free.
    space
        The free parameters.
    standard : (parameter,)
        Native parameters in deviations from the prior's mean, in which the prior is a
        standard normal distribution: the density is with respect to these.
    behaviour
        What a participant saw and did.
    prior_weight
        0 leaves the prior out.
    """
    told = space.insert(agent, space.native(standard))
    nats = jnp.sum(penalised(log_likelihood(told, behaviour)))
    return nats + prior_weight * log_standard_normal(standard)


def log_standard_normal(values: Float[Array, "..."]) -> Float[Array, ""]:
    """Return the log density of independent standard normal numbers."""
    return -jnp.sum(values**2 + np.log(2 * np.pi)) / 2


Function = Callable[[Float[Array, " parameter"]], Float[Array, ""]]


def value_and_gradient(
    function: Function, at: Float[Array, " parameter"]
) -> tuple[Float[Array, ""], Float[Array, " parameter"]]:
    """Return a function's value and gradient, carried forward lane by lane."""

    def along(direction):
        return jax.jvp(function, (at,), (direction,))

    directions = jnp.eye(len(at), dtype=at.dtype)
    return jax.vmap(along, out_axes=(None, 0))(directions)


def value_and_curvature(
    function: Function, at: Float[Array, " parameter"]
) -> tuple[Float[Array, ""], Float[Array, " parameter"], Float[Array, "..."]]:
    """Return a function's value, gradient and matrix of second derivatives."""

    def along(direction):
        (value, gradient), (_, turned) = jax.jvp(
            lambda where: value_and_gradient(function, where), (at,), (direction,)
        )
        return value, gradient, turned

    directions = jnp.eye(len(at), dtype=at.dtype)
    return jax.vmap(along, out_axes=(None, None, 0))(directions)


def differentiable_forward(function: Callable) -> Callable:
    """Let reverse-mode differentiation of a scalar function go forward inside.

    Parameters
    ----------
    function
        Of an array (parameter,) and whatever else, which is held fixed.
    """

    @jax.custom_vjp
    def call(at, *rest):
        return function(at, *rest)

    def forward(at, *rest):
        value, gradient = value_and_gradient(lambda where: function(where, *rest), at)
        return value, (gradient, [None] * len(rest))

    def backward(kept, cotangent):
        gradient, nothing = kept
        return (cotangent * gradient, *nothing)

    call.defvjp(forward, backward)
    return call
