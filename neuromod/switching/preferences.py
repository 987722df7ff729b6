r"""Which kinds of connection a pair of neurons prefers, as all states tell.

Pairs draw their preferences from one Dirichlet distribution, and every state draws the
kind of a connection from those of its pair. So what one state tells of a pair is prior
knowledge for the others, as strong as pairs differ, which is learned too.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln, xlogy
from jaxtyping import Array, Bool, Float

# Before any data one connection in five, half of them excitatory.
CONCENTRATION = (0.2, 1.6, 0.2)


class Connections(NamedTuple):
    """How likely each kind of connection is, and what pairs prefer.

    Parameters
    ----------
    probability : (source, connection, state, group)
        How likely each kind is: inhibitory, none, excitatory.
    sign : (source, sign)
        How likely each sign is, where all connections of a source share one.
    possible : (source, group)
        False where there is no such connection.
    concentration : (connection,)
        Of the Dirichlet distribution from which pairs draw their preferences.
    """

    probability: Float[Array, "source connection state group"]
    sign: Float[Array, "source sign"]
    possible: Bool[Array, "source group"]
    concentration: Float[Array, " connection"]


def log_preference(
    known: Connections, types: str
) -> Float[Array, "source connection one group"]:
    """Return the expected log-probability of each kind under the pair's preferences."""
    counts, concentration = _pairs(known, types)
    total = counts + concentration[None, :, None]
    expected = digamma(total) - digamma(total.sum(1, keepdims=True))
    if types == "source":
        expected = expected[:, np.array([0, 1, 0])]
    return expected[:, :, None]


def preferences(known: Connections, types: str) -> Float[Array, "source kind group"]:
    """Return the posterior mean of the pairs' preferences."""
    counts, concentration = _pairs(known, types)
    total = counts + concentration[None, :, None]
    mean = total / total.sum(1, keepdims=True)
    if types != "source":
        return mean
    sign = known.sign[:, :, None]
    return jnp.stack([sign[:, 0] * mean[:, 0], mean[:, 1], sign[:, 1] * mean[:, 0]], 1)


def _pairs(known: Connections, types: str) -> tuple[Array, Array]:
    """Return how many connections of a pair are of each kind, and what kinds expect.

    Counts (source, kind, group). Where the source decides the sign, a pair decides
    whether it is connected: two kinds.
    """
    if types == "shared":
        return known.probability[:, :, 0], known.concentration
    counts, each = known.probability.sum(2), known.concentration
    if types == "source":
        counts = jnp.stack([counts[:, 0] + counts[:, 2], counts[:, 1]], axis=1)
        each = jnp.stack([each[0] + each[2], each[1]])
    return counts, each


def cross_term(
    probability: Float[Array, "*shape kind"], log_preference: Float[Array, "*one kind"]
) -> Float[Array, "*shape"]:
    """Return the expected log preference of a kind."""
    return (probability * log_preference).sum(-1)


def entropy(probability: Float[Array, "*shape kind"]) -> Float[Array, "*shape"]:
    """Return the entropy of a kind (nats)."""
    return -xlogy(probability, probability).sum(-1)


def expected_log_kinds(
    known: Connections, preference: Array, types: str
) -> Float[Array, "state group"]:
    """Return the expected log preference of the kinds, plus their entropy."""
    likely = jnp.moveaxis(known.probability, 1, -1)
    part = cross_term(likely, jnp.moveaxis(preference, 1, -1)) + entropy(likely)
    if types == "shared":
        first = jnp.arange(part.shape[1]) == 0
        part = jnp.where(first[None, :, None], part, 0)
    if types == "source":
        # Given the sign of the source a connection is there or not.
        sign = known.sign[:, :, None, None]
        there = known.probability[:, ::2]
        absent = jnp.maximum(sign - there, 0)
        given = there * preference[:, ::2] + absent * preference[:, 1:2]
        given -= xlogy(there, there) + xlogy(absent, absent) - xlogy(sign, sign)
        n_sources, n_groups = part.shape[0], part.shape[2]
        own = jnp.arange(n_sources)[:, None] == jnp.arange(n_groups)[None]
        part = jnp.where(own[:, None], part, given.sum(1))
        chosen = -(xlogy(known.sign, 2 * known.sign)).sum(1)
        part = part + chosen[:, None, None] / (part.shape[1] * n_groups)
    return jnp.where(known.possible[:, None], part, 0).sum(0)


def log_evidence(known: Connections, types: str) -> Float[Array, ""]:
    """Return the kinds' part of the bound, the preferences integrated out."""
    counts, concentration = _pairs(known, types)
    each = concentration[None, :, None]
    pairs = _log_beta(each + counts) - _log_beta(each)
    nothing = jnp.zeros_like(known.probability[:, :, :1])
    kinds = expected_log_kinds(known, nothing, types)
    return jnp.where(known.possible, pairs, 0).sum() + kinds.sum()


def _log_beta(concentration: Float[Array, "source connection group"]) -> Array:
    """Return the logarithm of the Dirichlet normaliser of every pair."""
    return gammaln(concentration).sum(1) - gammaln(concentration.sum(1))


def learn_concentration(known: Connections, types: str) -> Connections:
    """Climb the likelihood of the counts (Minka's fixed point), with a weak prior.

    One state alone tells how common each kind is, not how much pairs differ: the sum
    then stays what it is.
    """
    counts, concentration = _pairs(known, types)
    several_states = known.probability.shape[2] > 1 and types != "shared"
    weight = known.possible[:, None].astype(concentration.dtype)

    def climb(_, concentration):
        total = concentration.sum()
        each = concentration[None, :, None]
        gained = (digamma(counts + each) - digamma(each)) * weight
        spent = digamma(counts.sum(1) + total) - digamma(total)
        spent = (spent * weight[:, 0]).sum()
        # As if by a Gamma(1.1, 0.1) distribution, which matters for a handful of pairs.
        moved = (0.1 + concentration * gained.sum((0, 2))) / (0.1 + spent)
        moved = jnp.clip(moved, 1e-3, 1e3)
        return moved if several_states else moved * (total / moved.sum())

    learned = jax.lax.fori_loop(0, 10, climb, concentration)
    if types == "source":
        half = learned[0] / 2
        learned = jnp.stack([half, learned[1], half])
    return known._replace(concentration=learned)
