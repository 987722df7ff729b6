"""Which numbers of a network and a response model are free, by their names.

A parameter is called by its place and its field:

| name | |
|---|---|
| ``x2.tonic_volatility`` | a field of the node ``x2`` |
| ``x3->x2.volatility`` | the strength of the volatility edge from ``x3`` to ``x2`` |
| ``response.inverse_temperature`` | a field of the response model |
| ``response.choice.inverse_temperature`` | of one part of a joint response model |
| ``learner.learning_rate`` | a field of a baseline, such as `RescorlaWagner` |

Several places may share one parameter: then a tuple of names stands for it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from neuromod.core.errors import did_you_mean, invalid
from neuromod.hgf.agent import Agent
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import Constant, ContinuousState
from neuromod.hgf.priors import TRANSFORMS, LogitNormal, LogNormal, Normal, Prior
from neuromod.hgf.responses.response import Response

Name = str | tuple[str, ...]
Priors = Mapping[Name, Prior]
Values = Array | np.ndarray

VALUE_SD = 2.0
LOG_SD = 1.0
LOGIT_SD = 1.0

POSITIVE_FIELDS = ("precision",)
SHARE_FIELDS = ("autoconnection",)


class Space(eqx.Module):
    """The free parameters of an agent, and their prior.

    Parameters
    ----------
    names
        One per parameter; of a shared one the first.
    places
        For each the names of all places that hold it.
    scales
        Name of each parameter's native scale.
    mean, sd : (parameter,)
        Of the prior on the native scale.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    places: tuple[tuple[str, ...], ...] = eqx.field(static=True)
    scales: tuple[str, ...] = eqx.field(static=True)
    mean: Float[Values, " parameter"]
    sd: Float[Values, " parameter"]

    @property
    def of_beliefs(self) -> tuple[bool, ...]:
        """Which parameters shape beliefs, and not only responses to them."""
        return tuple(
            any(place.split(".")[0] != "response" for place in places)
            for places in self.places
        )

    def values(self, native: Any) -> list[Any]:
        """Return each parameter (...) from the native scale (..., parameter)."""
        return [
            TRANSFORMS[scale](native[..., i]) for i, scale in enumerate(self.scales)
        ]

    def insert(self, agent: Agent, native: Float[Array, " parameter"]) -> Agent:
        """Return the agent with these parameters."""
        return put(agent, self, self.values(native))

    def native(self, standard: Any) -> Any:
        """Return native parameters from multiples of the prior's deviations."""
        return self.mean + self.sd * standard


def put(agent: Agent, free: Space, values: Sequence[Any]) -> Agent:
    """Return an agent with one value per free parameter, in every place of each."""
    getters, leaves = [], []
    for places, value in zip(free.places, values, strict=True):
        getters += [_getter(agent, place) for place in places]
        leaves += [value] * len(places)
    return eqx.tree_at(lambda a: [get(a) for get in getters], agent, leaves)


def space(agent: Agent, priors: Priors | None) -> Space:
    """Return the free parameters of an agent, or refuse what it does not have.

    Parameters
    ----------
    agent
        A network, or a baseline, and a response model.
    priors
        From the names of the free parameters to their priors. If omitted, all tonic
        volatilities (or all fields of a baseline) and all fields of the response
        model are free, around what they are now.

    Raises
    ------
    InvalidInputError
        If a name is unknown, occurs twice, or its field is empty or may not be
        negative where the prior allows it.
    """
    given = default_priors(agent) if priors is None else priors
    if not isinstance(given, Mapping) or not given:
        raise invalid(
            "priors",
            f"{given!r:.80}",
            "a mapping such as {'x2.tonic_volatility': hgf.Normal(-3, 2)}",
        )
    known = places(agent)
    taken: list[str] = []
    for name, prior in given.items():
        for place in _all(name):
            _require_place(agent, place, known, taken)
            _require_prior(prior, place, known[place])
            taken.append(place)
    return Space(
        names=tuple(_all(name)[0] for name in given),
        places=tuple(_all(name) for name in given),
        scales=tuple(prior.scale for prior in given.values()),
        mean=np.array([prior.mean for prior in given.values()]),
        sd=np.array([prior.sd for prior in given.values()]),
    )


def default_priors(agent: Agent) -> dict[Name, Prior]:
    """Return priors around what an agent's parameters are now.

    Tonic volatilities have a standard deviation of 2, what is positive one of 1 in
    its logarithm, what is a share one of 1 in its log-odds.
    """
    found: dict[Name, Prior] = {}
    for place, domain in places(agent).items():
        network = place.split(".")[0] not in ("response", "learner")
        free = not network or place.endswith(".tonic_volatility")
        value = _getter(agent, place)(agent)
        if free and value is not None and np.ndim(value) == 0:
            found[place] = _around(float(value), domain)
    return found


def _around(value: float, domain: type[Prior]) -> Prior:
    if domain is LogNormal:
        return LogNormal(np.log(value) if value > 0 else 0.0, LOG_SD)
    if domain is LogitNormal:
        inside = float(np.clip(value, 0.01, 0.99))
        return LogitNormal(np.log(inside / (1 - inside)), LOGIT_SD)
    return Normal(value, VALUE_SD)


def places(agent: Agent) -> dict[str, type[Prior]]:
    """Return all places of an agent that hold numbers, and the prior each may have."""
    found: dict[str, type[Prior]] = {}
    learner = agent.network
    if isinstance(learner, Network):
        for node in learner.nodes:
            if not isinstance(node, Constant):
                found |= _fields(node, node.name, POSITIVE_FIELDS, SHARE_FIELDS)
        for edge in learner.edges:
            domain = Normal if edge.carries_value else LogNormal
            found[f"{edge.parent}->{edge.child}.{edge.kind}"] = domain
    else:
        found |= _fields(learner, "learner", learner.positive, learner.unit_interval)
    return found | _of_response(agent.response, "response")


def _of_response(response: Response, where: str) -> dict[str, type[Prior]]:
    found = _fields(response, where, response.positive, response.unit_interval)
    for name, part in _parts(response).items():
        found |= _of_response(part, f"{where}.{name}")
    return found


def _parts(response: Response) -> Mapping[str, Response]:
    return getattr(response, "parts", {})


def _fields(
    module: Any, where: str, positive: Sequence[str], shares: Sequence[str]
) -> dict[str, type[Prior]]:
    found: dict[str, type[Prior]] = {}
    for name, value in vars(module).items():
        # A field without a number has a place too: its error says how to fill it.
        optional = isinstance(module, ContinuousState) and name in (
            "tonic_drift",
            "autoconnection",
        )
        number = isinstance(value, int | float | np.ndarray | np.generic | jax.Array)
        if isinstance(value, bool | str) or not (number or optional):
            continue
        domain = LogNormal if name in positive else Normal
        found[f"{where}.{name}"] = LogitNormal if name in shares else domain
    return found


def _all(name: Name) -> tuple[str, ...]:
    return (name,) if isinstance(name, str) else tuple(name)


def _getter(agent: Agent, place: str) -> Callable[[Agent], Any]:
    where, _, field = place.rpartition(".")
    if where.split(".")[0] == "response":
        parts = where.split(".")[1:]
        return lambda a: getattr(_part(a.response, parts), field)
    if where == "learner":
        return lambda a: getattr(a.network, field)
    network = agent.network
    if "->" in where:
        parent, _, child = where.partition("->")
        number = next(
            i
            for i, e in enumerate(network.edges)
            if (e.parent, e.child, e.kind) == (parent, child, field)
        )
        return lambda a: a.network.edges[number].strength
    number = network.names.index(where)
    return lambda a: getattr(a.network.nodes[number], field)


def _part(response: Any, names: Sequence[str]) -> Any:
    for name in names:
        response = _parts(response)[name]
    return response


def _require_place(
    agent: Agent, place: str, known: Mapping[str, Any], taken: Sequence[str]
) -> None:
    if place not in known:
        raise invalid(
            "priors",
            f"the parameter {place!r}",
            "one of " + ", ".join(map(repr, known)),
            did_you_mean(str(place), known),
        )
    if place in taken:
        raise invalid("priors", f"{place!r} twice", "each parameter once")
    value = _getter(agent, place)(agent)
    if value is None:
        raise invalid(
            "priors",
            f"the parameter {place!r}, which the network does not have",
            "a field that holds a number",
            "Give it one where the node is made, such as 0.0.",
        )
    if np.ndim(value) != 0:
        raise invalid("priors", f"{place!r}, an array", "a single number")


def _require_prior(prior: Any, place: str, domain: Any) -> None:
    expected = {
        Normal: (Normal, LogNormal, LogitNormal),
        LogNormal: (LogNormal, LogitNormal),
        LogitNormal: (LogitNormal,),
    }[domain]
    if not isinstance(prior, expected):
        names = " or ".join(f"hgf.{cls.__name__}(mean, sd)" for cls in expected)
        raise invalid("priors", f"{place!r}: {prior!r:.80}", names)
