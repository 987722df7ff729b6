r"""What is believed of every state after the data were seen.

From children to parents. A child $a$ sends its value error $\delta_a = \mu_a -
\hat\mu_a$ to its value parents and its volatility error

$$
\Delta_a = \frac{\hat\pi_a}{\pi_a} + \hat\pi_a \delta_a^2 - 1
$$

to its volatility parents. The value children of a state $b$ add

$$
P_\mathrm{val} = \sum_a w_a (\alpha^2 g'^2 - \alpha g'' \delta_a),\qquad
M_\mathrm{val} = \sum_a \alpha\, q_a\, g'\, \delta_a
$$

with $w_a = q_a = \hat\pi_a$ (mean field); a binary child has $w = \hat\mu(1-\hat\mu)$
and $\delta = (\mu - \hat\mu) / w$, where $\mu$ is its outcome $u$ or, if that was seen
through noise, how probable it makes a 1 (`neuromod.hgf.prediction`). Its volatility
children add, with the effective precision $\gamma_j = \Omega_j \hat\pi_j$,

$$
P_\mathrm{vol} = \tfrac12 \sum_j \big[(\kappa\gamma_j)^2 (1 + 2\Delta_j)
  - \kappa^2 \gamma_j \Delta_j\big],\qquad
M_\mathrm{vol} = \tfrac12 \sum_j \kappa\, \gamma_j\, \Delta_j ,
$$

and the update of the state (`neuromod.hgf.schemes`) says what becomes of them. A child
that no observation reached sends nothing. Noise of an outcome leaves $w$ as it is: in
the mean field a child's doubt about itself does not count.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool

from neuromod.hgf import couplings, unbounded
from neuromod.hgf.network import Network, is_input
from neuromod.hgf.nodes import BinaryInput, ContinuousInput, Edge
from neuromod.hgf.prediction import (
    Belief,
    Prediction,
    Scalar,
    belief_of,
    log_volatility_without,
    outcome_of,
    per_interval,
)
from neuromod.kernels.elementary import clip, exp, reciprocal

SMALLEST_PRECISION = 1e-128


class Datum(NamedTuple):
    """What came in at an input: a value, and whether it is one; None if always."""

    value: Scalar
    observed: Bool[Array, ""] | None


class Child(NamedTuple):
    """What a node tells its parents; all ().

    Parameters
    ----------
    error
        Value error.
    volatility_error
        Volatility error.
    weight
        With which the slope of the coupling enters the parents' precision.
    push
        The value error times the gain with which it enters the parents' means.
    variance
        After the step.
    informed
        Whether an observation reached it; None if always.
    """

    error: Any
    volatility_error: Any
    weight: Any
    push: Any
    variance: Any
    informed: Any


class Work(NamedTuple):
    """What the update of a state reads."""

    network: Network
    before: dict[str, Belief]
    predicted: dict[str, Prediction]
    children: dict[str, Child]
    interval: Scalar | None


def update(
    network: Network,
    before: dict[str, Belief],
    predicted: dict[str, Prediction],
    data: dict[str, Datum],
    interval: Scalar | None,
) -> dict[str, Belief]:
    """Return the beliefs after a step.

    Parameters
    ----------
    network
        The network.
    before
        The states' beliefs before the step.
    predicted
        What was expected of every node.
    data
        What came in at every input.
    interval : ()
        Time since the step before; None for one unit.
    """
    children: dict[str, Child] = {}
    after: dict[str, Belief] = {}
    work = Work(network, before, predicted, children, interval)
    for name in reversed(network.family.downwards):
        node = network[name]
        if isinstance(node, BinaryInput):
            children[name] = _of_binary(node, predicted[name], data[name])
        elif isinstance(node, ContinuousInput):
            children[name] = _of_continuous(work, node, data[name])
        elif name in network.states:
            after[name], informed = _of_state(work, name)
            children[name] = _of_interior(work, name, after[name], informed)
    return {name: after[name] for name in network.states}


def _of_binary(node: BinaryInput, predicted: Prediction, datum: Datum) -> Child:
    value = outcome_of(node, _seen(datum, predicted.mean), predicted.log_odds)
    weight = predicted.precision
    deviation = value - predicted.mean
    nothing = jnp.zeros_like(deviation)
    return Child(deviation / weight, nothing, weight, deviation, weight, datum.observed)


def _of_continuous(work: Work, node: ContinuousInput, datum: Datum) -> Child:
    predicted = work.predicted[node.name]
    error = _seen(datum, predicted.mean) - predicted.mean
    variance = 1 / jnp.asarray(node.precision)
    volatility_error = _volatility_error(work, node.name, error, variance)
    weight = predicted.precision
    push = weight * error
    return Child(error, volatility_error, weight, push, variance, datum.observed)


def _seen(datum: Datum, otherwise: Scalar) -> Scalar:
    """Return the value, or what was expected: a missing one may be NaN."""
    if datum.observed is None:
        return datum.value
    return jnp.where(datum.observed, datum.value, otherwise)


def _of_interior(work: Work, name: str, after: Belief, informed: Any) -> Child:
    predicted = work.predicted[name]
    error = after.mean - predicted.mean
    volatility_error = _volatility_error(work, name, error, after.variance)
    weight = gain = predicted.precision
    if work.network.is_relaxed(work.network[name]):
        told = after.precision - predicted.precision
        conditional = predicted.conditional_precision
        weight = conditional * told / (conditional + told)
        gain = conditional * after.precision / (conditional + told)
    return Child(
        error, volatility_error, weight, gain * error, after.variance, informed
    )


def _volatility_error(work: Work, name: str, error: Any, variance: Any) -> Any:
    found = work.predicted[name].precision * (variance + error**2) - 1
    n_parents = len(work.network.family.volatility_parents[name])
    if "error_shared" in work.network.quirks and n_parents > 1:
        found = found / n_parents
    return found


def _of_state(work: Work, name: str) -> tuple[Belief, Any]:
    """Update a state; tell whether an observation reached it."""
    network, predicted = work.network, work.predicted[name]
    scheme = network.update_of(network[name])
    if not network.family.volatility_children[name]:
        found = _standard(work, name)
    elif scheme == "unbounded":
        found = _unbounded(work, name)
        if "first_child_only" in network.quirks:
            return found, None
    elif scheme == "standard":
        found = _standard(work, name)
    else:
        found = _mean_first(work, name, swap=scheme == "ehgf_swap")
    informed = _informed(work, name)
    if informed is None:
        return found, None
    untold = belief_of(predicted.mean, _precision_untold(work, name))
    kept = Belief(
        *(jnp.where(informed, a, b) for a, b in zip(found, untold, strict=True))
    )
    always = "always_informed" in network.quirks
    return kept, None if always else informed


def _informed(work: Work, name: str) -> Any:
    """Tell whether an observation reached a state; None if always."""
    family = work.network.family
    edges = (*family.value_children[name], *family.volatility_children[name])
    found = [work.children[work.network.edges[e].child].informed for e in edges]
    if any(informed is None for informed in found):
        return None
    return jnp.any(jnp.stack(found))


def _precision_untold(work: Work, name: str) -> Any:
    """Return the precision of a state that nothing was told of."""
    network = work.network
    if "always_informed" not in network.quirks:
        return work.predicted[name].precision
    log_volatility = jnp.asarray(network[name].tonic_volatility)
    for number in network.family.volatility_parents[name]:
        edge = network.edges[number]
        log_volatility = log_volatility + edge.strength * work.before[edge.parent].mean
    aged = per_interval(exp(log_volatility), work.interval)
    return 1 / (work.before[name].variance + aged)


def _standard(work: Work, name: str) -> Belief:
    predicted = work.predicted[name]
    at = _slope_at(work, name, work.before[name].mean)
    precision = predicted.precision + _value_precision(work, name, at)
    precision = _bounded(
        work.network, precision + _standard_volatility_precision(work, name)
    )
    message = _value_message(work, name, at) + _volatility_message(work, name)
    variance = reciprocal(precision)
    return Belief(predicted.mean + message * variance, precision, variance)


def _mean_first(work: Work, name: str, *, swap: bool) -> Belief:
    predicted = work.predicted[name]
    at = _slope_at(work, name, work.before[name].mean)
    message = _value_message(work, name, at) + _volatility_message(work, name)
    mean = predicted.mean + message * reciprocal(predicted.precision)
    at = _slope_at(work, name, mean)
    precision = predicted.precision + _value_precision(work, name, at)
    if swap:
        precision = precision + _standard_volatility_precision(work, name)
    else:
        precision = precision + _safe_volatility_precision(work, name, mean)
    return belief_of(mean, _bounded(work.network, precision))


def _unbounded(work: Work, name: str) -> Belief:
    network, predicted = work.network, work.predicted[name]
    literal = "first_child_only" in network.quirks
    mean, precision = predicted.mean, predicted.precision
    if not literal and network.family.value_children[name]:
        at = _slope_at(work, name, mean)
        precision = _bounded(network, precision + _value_precision(work, name, at))
        mean = mean + _value_message(work, name, at) / precision
    numbers = network.family.volatility_children[name]
    for number in numbers[:1] if literal else numbers:
        edge = network.edges[number]
        child, below = work.children[edge.child], work.predicted[edge.child]
        log_volatility = log_volatility_without(
            network, edge.child, name, work.predicted
        )
        moved = jnp.asarray(True)
        if work.interval is not None and _ages(network, edge.child):
            # Where no time has passed the child tells nothing of its volatility.
            moved = work.interval > 0
            log_volatility = log_volatility + jnp.log(
                jnp.where(moved, work.interval, 1.0)
            )
        step = unbounded.Step(
            below.carried,
            child.variance + child.error**2,
            below.precision,
            log_volatility,
            jnp.asarray(edge.strength),
        )
        found = unbounded.update(
            mean, precision, step, bounded_lambert="bounded_lambert" in network.quirks
        )
        if child.informed is not None and not literal:
            moved = moved & child.informed
        mean = jnp.where(moved, found[0], mean)
        precision = jnp.where(moved, found[1], precision)
    return belief_of(mean, precision)


def _ages(network: Network, name: str) -> bool:
    """Tell whether the interval multiplies the volatility of a node."""
    return not is_input(network[name]) or "noise_times_interval" in network.quirks


def _slope_at(work: Work, name: str, stored: Any) -> Any:
    """Return where the derivatives of the couplings are taken."""
    literal = "slope_at_previous_mean" in work.network.quirks
    return stored if literal else work.predicted[name].mean


def _counted(child: Child, value: Any) -> Any:
    """Return what a child adds; nothing if no observation reached it."""
    return value if child.informed is None else jnp.where(child.informed, value, 0.0)


def _strength(work: Work, number: int) -> Any:
    edge = work.network.edges[number]
    if edge.kind != "drift" or "drift_without_interval" in work.network.quirks:
        return edge.strength
    return per_interval(edge.strength, work.interval)


def _value_precision(work: Work, name: str, at: Any) -> Any:
    total = 0.0
    for number in work.network.family.value_children[name]:
        edge, strength = work.network.edges[number], _strength(work, number)
        child = work.children[edge.child]
        part = child.weight * strength**2
        if edge.coupling != "linear":
            slope, bend = couplings.slopes(edge.coupling, at)
            part = part * slope**2 - child.weight * strength * bend * child.error
        total = total + _counted(child, part)
    return total


def _value_message(work: Work, name: str, at: Any) -> Any:
    total = 0.0
    for number in work.network.family.value_children[name]:
        edge, strength = work.network.edges[number], _strength(work, number)
        child = work.children[edge.child]
        part = strength * child.push
        if edge.coupling != "linear":
            part = part * couplings.slopes(edge.coupling, at)[0]
        total = total + _counted(child, part)
    return total


def _volatility_children(
    work: Work, name: str
) -> Iterator[tuple[Edge, Child, Prediction]]:
    """Give each volatility child: its edge, what it tells, what was predicted of it."""
    for number in work.network.family.volatility_children[name]:
        edge = work.network.edges[number]
        yield edge, work.children[edge.child], work.predicted[edge.child]


def _volatility_message(work: Work, name: str) -> Any:
    total = 0.0
    for edge, child, below in _volatility_children(work, name):
        effective = below.volatility * below.precision
        part = edge.strength * effective * child.volatility_error / 2
        total = total + _counted(child, part)
    return total


def _standard_volatility_precision(work: Work, name: str) -> Any:
    total = 0.0
    for edge, child, below in _volatility_children(work, name):
        effective = below.volatility * below.precision
        seen = edge.strength * effective
        part = seen**2 / 2 + seen**2 * child.volatility_error
        part = part - edge.strength * seen * child.volatility_error / 2
        total = total + _counted(child, part)
    return total


def _safe_volatility_precision(work: Work, name: str, mean: Any) -> Any:
    """Predict each volatility child again at the new mean."""
    network, total = work.network, 0.0
    for edge, child, below in _volatility_children(work, name):
        rest = log_volatility_without(network, edge.child, name, work.predicted)
        volatility = exp(edge.strength * mean + rest)
        if _ages(network, edge.child):
            volatility = per_interval(volatility, work.interval)
        precision = reciprocal(below.carried + volatility)
        effective = volatility * precision
        weight = (volatility - below.carried) * precision
        surprise = (child.variance + child.error**2) * precision - 1
        part = effective * (effective + weight * surprise)
        part = clip(edge.strength**2 * part / 2, 0.0)
        total = total + _counted(child, part)
    return total


def _bounded(network: Network, precision: Any) -> Any:
    """Cut a precision at the largest; NaN, which is reported, if it is no precision."""
    smallest = max(SMALLEST_PRECISION, float(jnp.finfo(precision.dtype).tiny))
    valid = jnp.where(precision > smallest, precision, jnp.nan)
    return clip(valid, most=network.largest_precision)
