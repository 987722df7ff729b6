r"""The one-hot prior: every connection is inhibitory, absent or excitatory.

In state $s$ the connection of a pair of neurons is of one of three kinds, drawn from
preferences of the pair that all states share, and has a strength if it is there:

$$
\pi_{nm} \sim \mathrm{Dirichlet}(\alpha), \qquad
a_{s,nm} \sim \mathrm{Categorical}(\pi_{nm}) \in \{-, 0, +\}, \qquad
w_{s,nm} = \begin{cases} -c & a = - \\ 0 & a = 0 \\ +c & a = + \end{cases}
$$

with $c > 0$ from a normal distribution cut off at zero, one for each sign, whose
location and width are learned, as is $\alpha$. The posterior is approximated by one
categorical distribution per connection, with a distribution of the strength for each
sign, and one Dirichlet distribution per pair:

$$
q = \prod_{s,nm} q(a_{s,nm})\, q(c_{s,nm} \mid a_{s,nm}) \prod_{nm} q(\pi_{nm})
$$

Coordinate ascent maximises the evidence lower bound: the expected log-likelihood, to
second order around the posterior means, less the Kullback-Leibler divergence of $q$
from the prior. The three kinds are enumerated, so nothing is sampled and there is no
temperature. Strengths are integrated out, which is what charges a connection for
existing. Where a coupling has several basis functions they share one kind, and each
has its own strength.

Li, Kim, Rodgers, Choi & Wu (2024), One-hot generalized linear model for switching
brain state discovery, ICLR: the model. Its own inference relaxes the kinds to
Gumbel-softmax samples (`neuromod.switching.reference`).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from neuromod.switching import glm
from neuromod.switching.edges import Edges, eliminate_dense
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import Values
from neuromod.switching.preferences import (
    CONCENTRATION,
    Connections,
    expected_log_kinds,
    learn_concentration,
    log_evidence,
    log_preference,
)
from neuromod.switching.priors import Prior, Quadratic, Step
from neuromod.switching.strength import STRENGTH, Strength, learn_slab

KINDS = ("edge", "shared", "source")
SIGNS = (-1.0, 1.0)
SWEEPS = 3


class OneHotState(NamedTuple):
    """What the one-hot prior knows.

    Parameters
    ----------
    baseline : (state, group, dense)
        Mean of the dense coefficients.
    connections
        How likely each kind of connection is, and what pairs prefer.
    strength : (source, basis, sign, state, group)
        Posterior of the strength for each sign.
    slab : (basis, sign)
        Prior of the strength.
    cost : ()
        Divergence of the strengths, and what uncertain weights cost in likelihood.
    """

    baseline: Float[Array, "state group dense"]
    connections: Connections
    strength: Strength
    slab: Strength
    cost: Float[Array, ""]


class OneHot(Prior):
    """Every connection is inhibitory, absent or excitatory.

    Parameters
    ----------
    types
        "edge": every connection has a kind of its own in every state. "shared": the
        kind of a pair is the same in all states, its strength is not. "source": all
        connections that leave a neuron have one sign in all states (Dale's law), and
        may be absent.
    baseline_precision
        Precision of the dense coefficients around their baseline.

    Examples
    --------
    >>> OneHot(types="source").types
    'source'
    """

    types: str = eqx.field(static=True, default="edge")
    baseline_precision: float | Array = 1.0

    def start(self, model: SwitchingGLM, baseline: Values) -> OneHotState:
        """Begin without knowledge of any connection."""
        layout, dtype = model.layout, model.bias.dtype
        n_states, n_neurons = model.bias.shape
        n_sources, n_basis = layout.n_sources, layout.n_basis
        dense = jnp.zeros((n_states, n_neurons, layout.n_dense), dtype)
        free = glm.is_free(model)[0, :, layout.n_dense :]
        free = free.reshape(n_neurons, n_sources, n_basis).all(-1)
        shape = (n_sources, n_basis, 2, n_states, n_neurons)
        blank = Strength(jnp.zeros(shape, dtype), jnp.ones(shape, dtype))
        slab = [jnp.full((n_basis, 2), value, dtype) for value in STRENGTH]
        return OneHotState(
            baseline=dense.at[..., 0].set(jnp.asarray(baseline)[None]),
            connections=Connections(
                jnp.full((n_sources, 3, n_states, n_neurons), 1 / 3, dtype),
                jnp.full((n_sources, 2), 0.5, dtype),
                jnp.asarray(free.T),
                jnp.asarray(CONCENTRATION, dtype),
            ),
            strength=blank,
            slab=Strength(*slab),
            cost=jnp.zeros((), dtype),
        )

    def step(self, state: OneHotState, quadratic: Quadratic) -> Step:
        """Sweep over the sources a few times."""
        precision = jnp.asarray(self.baseline_precision, quadratic.values.dtype)
        edges = eliminate_dense(quadratic, state.baseline, precision)
        weights = quadratic.values[..., state.baseline.shape[-1] :]
        weights = jnp.moveaxis(weights, -1, 0)
        preference = log_preference(state.connections, self.types)

        def sweep(_, carried):
            return _sweep(self.types, edges, preference, *carried)

        found, weights = jax.lax.fori_loop(0, SWEEPS, sweep, (state, weights))
        values = edges.complete(weights)

        def prior_part(state, values):
            return self._prior_part(state, preference, edges, values)

        # Both at once: compiled once.
        both = [(state, quadratic.values), (found, values)]
        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *both)
        total, cost = jax.vmap(prior_part)(*stacked)
        found = found._replace(cost=cost[1].sum())
        return Step(values, found, total[1] - total[0])

    def _prior_part(self, state, preference, edges, values) -> tuple[Array, Array]:
        """Return the bound's terms beside the likelihood at the mean (state, group).

        The second is the part of them that is kept.
        """
        kinds = expected_log_kinds(state.connections, preference, self.types)
        dense = values[..., : state.baseline.shape[-1]] - state.baseline
        penalty = 0.5 * self.baseline_precision * (dense**2).sum(-1)
        cost = _cost(state, edges)
        return kinds - cost - penalty, cost

    def learn(self, state: OneHotState, quadratic: Quadratic) -> OneHotState:
        """Learn preferences and strengths from all connections together."""
        if state.connections.probability.size == 0:
            return state
        connections = learn_concentration(state.connections, self.types)
        slab = learn_slab(state.strength, connections.probability, state.slab)
        return state._replace(connections=connections, slab=slab)

    def log_density(self, state: OneHotState, values: Array) -> Array:
        """Return the bound's terms beside the likelihood at the mean."""
        n_dense = state.baseline.shape[-1]
        squares = (values[..., :n_dense] - state.baseline) ** 2
        total = -0.5 * self.baseline_precision * squares.sum() - state.cost
        return total + log_evidence(state.connections, self.types)

    @property
    def separable(self) -> bool:
        """Whether the GLMs can be stepped one by one."""
        return self.types == "edge"

    def reorder(self, state: OneHotState, order: Values) -> OneHotState:
        """Number the states in another order."""
        probability = state.connections.probability[:, :, order]
        return state._replace(
            baseline=state.baseline[order],
            connections=state.connections._replace(probability=probability),
            strength=Strength(*(part[:, :, :, order] for part in state.strength)),
        )


def _sweep(types, edges: Edges, preference, state: OneHotState, weights):
    """Update the connections of one source neuron after another."""
    n_sources, n_basis = state.strength.linear.shape[:2]
    pulled = jnp.einsum("esgf,fsg->esg", edges.information, weights)

    def visit(source, carried):
        probability, signs, linear, precision, weights, pulled = carried
        first = source * n_basis
        at = [first + b for b in range(n_basis)]
        own = [edges.information[e] for e in at]
        square = [[own[b][..., e] for e in at] for b in range(n_basis)]
        old = [weights[e] for e in at]
        target = []
        for b, e in enumerate(at):
            inside = sum(square[b][c] * old[c] for c in range(n_basis))
            target.append(edges.linear[e] - pulled[e] + inside)
        now = Strength(linear[source], precision[source])
        found, mean, evidence = _strengths(target, square, state.slab, now)
        possible = state.connections.possible[source]
        likely, sign = _kinds(types, preference[source], evidence, possible, source)
        new = likely[2][None] * mean[:, 1] - likely[0][None] * mean[:, 0]
        for b, e in enumerate(at):
            change = new[b] - old[b]
            pulled = pulled + jnp.moveaxis(own[b], -1, 0) * change[None]
            weights = weights.at[e].set(new[b])
        return (
            probability.at[source].set(likely),
            signs.at[source].set(sign),
            linear.at[source].set(found.linear),
            precision.at[source].set(found.precision),
            weights,
            pulled,
        )

    known = state.connections
    carried = (known.probability, known.sign, *state.strength, weights, pulled)
    probability, signs, linear, precision, weights, _ = jax.lax.fori_loop(
        0, n_sources, visit, carried
    )
    known = known._replace(probability=probability, sign=signs)
    found = state._replace(connections=known, strength=Strength(linear, precision))
    return found, weights


def _strengths(target, square, slab: Strength, now: Strength):
    """Update the strengths for each sign; return their means and the evidence too."""
    n_basis = len(target)
    before = list(now.summary().mean)
    mean = list(before)
    linear, precision = list(now.linear), list(now.precision)
    signs = jnp.asarray(SIGNS, target[0].dtype)[:, None, None]
    for b in range(n_basis):
        slope = signs * target[b][None] + slab.linear[b][:, None, None]
        for c in range(n_basis):
            if c != b:
                slope = slope - square[b][c][None] * mean[c]
        linear[b] = slope
        precision[b] = square[b][b][None] + slab.precision[b][:, None, None]
        if n_basis > 1:
            mean[b] = Strength(linear[b], precision[b]).summary().mean
    found = Strength(jnp.stack(linear), jnp.stack(precision))
    summary = found.summary()
    evidence = (summary.log_area - slab.summary().log_area[..., None, None]).sum(0)
    # What two of them share was counted twice, as it was when the first was updated.
    for b in range(n_basis):
        for c in range(b):
            evidence = evidence + square[b][c][None] * before[b] * mean[c]
    return found, summary.mean, evidence


def _kinds(types, preference, evidence, possible, source):
    """Return how likely each kind is (connection, state, group), and each sign."""
    none = jnp.zeros_like(evidence[0])
    logits = preference + jnp.stack([evidence[0], none, evidence[1]])
    sign = jnp.full(2, 0.5, none.dtype)
    if types == "shared":
        logits = preference + (logits - preference).sum(1, keepdims=True)
        logits = jnp.broadcast_to(logits, (3, *none.shape))
    likely = jax.nn.softmax(logits, axis=0)
    if types == "source":
        likely, sign = _kinds_of_one_sign(logits, likely, possible, source)
    absent = jnp.asarray([0.0, 1.0, 0.0], none.dtype)[:, None, None]
    return jnp.where(possible[None, None], likely, absent), sign


def _kinds_of_one_sign(logits, own, possible, source):
    """Average over the sign of the source, which all its connections share.

    A neuron's connection to itself stands for its refractoriness and has a sign of its
    own.
    """
    itself = jnp.arange(logits.shape[-1]) == source
    counted = (possible & ~itself)[None]
    totals = [
        jnp.where(counted, jnp.logaddexp(logits[1], logits[k]), 0).sum() for k in (0, 2)
    ]
    sign = jax.nn.softmax(jnp.stack(totals))
    inhibitory, excitatory = (
        sign[i] * jax.nn.sigmoid(logits[k] - logits[1]) for i, k in enumerate((0, 2))
    )
    likely = jnp.stack([inhibitory, 1 - inhibitory - excitatory, excitatory])
    return jnp.where(itself[None, None], own, likely), sign


def _cost(state: OneHotState, edges: Edges) -> Float[Array, "state group"]:
    """Return the strengths' divergence, and half the curvature times the variance."""
    n_basis = state.slab.linear.shape[0]
    if state.connections.probability.size == 0:
        return jnp.zeros(state.baseline.shape[:2], state.baseline.dtype)
    log_area, mean, square = state.strength.summary()
    slab = jax.tree.map(lambda part: part[..., None, None], state.slab)
    divergence = (state.strength.linear - slab.linear[None]) * mean
    divergence -= 0.5 * (state.strength.precision - slab.precision[None]) * square
    divergence += slab.summary().log_area[None] - log_area
    signed = state.connections.probability[:, ::2]
    total = (signed * divergence.sum(1)).sum((0, 1))
    weight = signed[:, None, 1] * mean[:, :, 1] - signed[:, None, 0] * mean[:, :, 0]
    n_sources = weight.shape[0]
    for b in range(n_basis):
        for c in range(n_basis):
            at = np.arange(n_sources)
            curvature = edges.information[at * n_basis + b, :, :, at * n_basis + c]
            product = square[:, b] if b == c else mean[:, b] * mean[:, c]
            variance = (signed * product).sum(1) - weight[:, b] * weight[:, c]
            total = total + 0.5 * (curvature * variance).sum(0)
    return total
