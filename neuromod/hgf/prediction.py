r"""What is expected of every node before its data are seen.

From parents to children, with the interval $t$ since the step before:

$$
\hat\mu_a = \lambda_a^t \mu_a + t\,\big(\rho_a + \sum_b \alpha_{ba}\,
  g_{ba}(\hat\mu_b)\big),\qquad
\Omega_a = t\,\exp\big(\omega_a + \sum_c \kappa_{ca} \hat\mu_c\big),\qquad
\frac{1}{\hat\pi_a} = \frac{\lambda_a^{2t}}{\pi_a} + \Omega_a .
$$

A *relaxed* prediction adds what the parents' own uncertainty does:
$\kappa_{ca}^2 / 2\hat\pi_c$ to the log-volatility, and
$(t\,\alpha_{ba}\, g'_{ba})^2 / \hat\pi_b$ to the variance; without the latter it is the
*conditional* precision $\bar\pi_a$.

A binary outcome that is seen through noise of variance $a$ lets two numbers be
expected, and tells by Bayes' rule how probable a 1 is, with $s$ the logistic function:

$$
p(u) = \hat\mu\, e_1 + (1 - \hat\mu)\, e_0, \qquad
e_i = \mathcal{N}(u; i, a), \qquad
\mu = \frac{\hat\mu\, e_1}{p(u)}
    = s\Big(\log\frac{\hat\mu}{1 - \hat\mu} + \frac{2 u - 1}{2 a}\Big) .
$$
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.hgf import couplings
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput, Constant, ContinuousInput, ContinuousState
from neuromod.kernels.elementary import clip, exp, log, reciprocal, sigmoid

Scalar = Float[Array, ""]


class Belief(NamedTuple):
    """What is believed of a state; all ().

    Parameters
    ----------
    mean, precision
        Of the Gaussian.
    variance
        One over the precision, so that a step divides but once.
    """

    mean: Any
    precision: Any
    variance: Any


def belief_of(mean: Any, precision: Any) -> Belief:
    """Return a belief by its mean and precision."""
    return Belief(mean, precision, reciprocal(precision))


class Prediction(NamedTuple):
    """What is expected of a node; all ().

    Parameters
    ----------
    mean, precision
        Of the prediction; of a binary input its probability, and its variance.
    conditional_precision
        Precision if the parents' values were known.
    carried
        Variance that is left of the belief before the step.
    volatility
        Variance gained in the step.
    log_odds
        Of a binary input, of a 1; None of other nodes.
    """

    mean: Any
    precision: Any
    conditional_precision: Any
    carried: Any
    volatility: Any
    log_odds: Any = None


def predict(
    network: Network, beliefs: dict[str, Belief], interval: Scalar | None
) -> dict[str, Prediction]:
    """Return what is expected of every node.

    Parameters
    ----------
    network
        The network.
    beliefs
        The states' beliefs after the step before.
    interval : ()
        Time since then; None for one unit.
    """
    found: dict[str, Prediction] = {}
    for name in network.family.downwards:
        node = network[name]
        if isinstance(node, ContinuousState):
            found[name] = _of_state(network, node, beliefs[name], found, interval)
        elif isinstance(node, ContinuousInput):
            found[name] = _of_continuous_input(network, node, found, interval)
        elif isinstance(node, BinaryInput):
            found[name] = _of_binary_input(network, node, found, interval)
        elif isinstance(node, Constant):
            found[name] = Prediction(1.0, jnp.inf, jnp.inf, 0.0, 0.0)
    return found


def per_interval(value: Any, interval: Scalar | None) -> Any:
    """Multiply by the interval, if there is one."""
    return value if interval is None else interval * value


def _of_state(network, node, belief, found, interval) -> Prediction:
    kept = belief.mean
    variance = belief.variance
    if node.autoconnection is not None:
        left = jnp.asarray(node.autoconnection)
        literal = "autoconnection_of_mean_alone" in network.quirks
        if interval is not None and not literal:
            left = left**interval
        kept = left * kept
        variance = variance if literal else left**2 * variance
    driven = _drive(network, node.name, found)
    if node.tonic_drift is not None:
        driven = driven + node.tonic_drift
    mean = kept if _is_nothing(driven) else kept + per_interval(driven, interval)
    log_volatility = node.tonic_volatility + _sum_of_volatilities(
        network, node, found, without=None
    )
    volatility = per_interval(exp(log_volatility), interval)
    conditional = reciprocal(variance + volatility)
    precision = conditional
    if network.is_relaxed(node):
        spread = _spread(network, node, found, interval)
        precision = reciprocal(variance + volatility + spread)
    return Prediction(mean, precision, conditional, variance, volatility)


def _of_continuous_input(network, node, found, interval) -> Prediction:
    quirks = network.quirks
    mean = _drive(network, node.name, found)
    if "input_times_interval" in quirks:
        mean = per_interval(mean, interval)
    variance = 1 / jnp.asarray(node.precision)
    volatility = jnp.zeros_like(variance)
    noisy = bool(network.family.volatility_parents[node.name])
    precision = conditional = jnp.asarray(node.precision)
    if noisy:
        log_volatility = _sum_of_volatilities(network, node, found, without=None)
        volatility = exp(log_volatility)
        if "noise_times_interval" in quirks:
            volatility = per_interval(volatility, interval)
        precision = conditional = reciprocal(variance + volatility)
        if network.is_relaxed(node):
            spread = _spread(network, node, found, interval)
            precision = reciprocal(variance + volatility + spread)
    return Prediction(mean, precision, conditional, variance, volatility)


def _of_binary_input(network, node, found, interval) -> Prediction:
    quirks = network.quirks
    log_odds = _drive(
        network, node.name, found, plain="probability_without_strength" in quirks
    )
    least = jnp.asarray(network.clip)
    mean = clip(sigmoid(log_odds), least, 1 - least)
    variance = mean * (1 - mean)
    nothing = jnp.zeros_like(mean)
    most = log((1 - least) / least)
    log_odds = clip(log_odds, -most, most)
    return Prediction(mean, variance, variance, nothing, nothing, log_odds)


def outcome_of(node: BinaryInput, value: Any, log_odds: Any) -> Any:
    """Return how probable what was observed makes a 1: the outcome itself if exact.

    Parameters
    ----------
    node
        The input.
    value : (...)
        What was observed.
    log_odds : (...)
        Of a 1 before that.
    """
    if node.is_exact:
        return value
    evidence = (value - 0.5) / jnp.asarray(node.noise_variance)
    return sigmoid(log_odds + evidence)


def _drive(network: Network, name: str, found: dict, plain: bool = False) -> Any:
    """Sum what the value parents give to a node."""
    total = 0.0
    for number in network.family.value_parents[name]:
        edge = network.edges[number]
        if plain:
            total = total + found[edge.parent].mean
        else:
            seen = couplings.value(edge.coupling, jnp.asarray(found[edge.parent].mean))
            total = total + edge.strength * seen
    return total


def _is_nothing(driven: Any) -> bool:
    return isinstance(driven, float) and driven == 0.0


def _sum_of_volatilities(network, node, found, without: str | None) -> Any:
    """Sum what the volatility parents, all but one, give to a node."""
    total = 0.0
    relaxed = network.is_relaxed(node)
    for number in network.family.volatility_parents[node.name]:
        edge = network.edges[number]
        if edge.parent == without:
            continue
        parent = found[edge.parent]
        part = edge.strength * parent.mean
        if relaxed:
            part = part + edge.strength**2 / (2 * parent.precision)
        total = total + part
    return total


def log_volatility_without(
    network: Network, name: str, parent: str, found: dict[str, Prediction]
) -> Any:
    """Return a node's log-volatility without the part of one of its parents."""
    node = network[name]
    tonic = node.tonic_volatility if isinstance(node, ContinuousState) else 0.0
    if "alone_in_second_prediction" in network.quirks:
        return jnp.asarray(tonic)
    return tonic + _sum_of_volatilities(network, node, found, without=parent)


def _spread(network: Network, node: Any, found: dict, interval: Scalar | None) -> Any:
    """Sum the variances that uncertain value parents bring in."""
    total = 0.0
    for number in network.family.value_parents[node.name]:
        edge = network.edges[number]
        parent = found[edge.parent]
        mean = jnp.asarray(parent.mean)
        slope = edge.strength * couplings.slopes(edge.coupling, mean)[0]
        direct = edge.kind == "observation" and "input_times_interval" not in (
            network.quirks
        )
        slope = slope if direct else per_interval(slope, interval)
        total = total + slope**2 / parent.precision
    return total
