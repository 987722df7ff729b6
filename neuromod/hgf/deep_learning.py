r"""How a deep network takes in a sample: beliefs first, then couplings.

**Values.** The errors $\delta = \mu - \hat\mu$ of the layer below move a layer, with
$g'$ and $g''$ at its prediction:

$$
\pi = \hat\pi + g'^2 \odot (W^{\odot 2})^\top w - g'' \odot W^\top (w \odot \delta),
\qquad
\mu = \hat\mu + \frac{g' \odot W^\top (q \odot \delta)}{\pi} .
$$

Precisions never fall below $\hat\pi$. In mean field and from the output
$w = q = \hat\pi$; a relaxed layer sends, of the precision $\pi_y = \pi - \hat\pi$ that
it gained,

$$
w = \frac{\bar\pi\, \pi_y}{\bar\pi + \pi_y}, \qquad
q = \frac{\bar\pi\, \pi}{\bar\pi + \pi_y} .
$$

A binary output sends $\delta = (u - \hat\mu) / \hat\pi$.

**Volatilities.** Each state's private volatility takes in $1/\pi + \delta^2$ by one of
the updates of `neuromod.hgf.schemes`.

**Couplings.** Then the weights learn (`neuromod.hgf.deep_couplings`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from neuromod import kernels
from neuromod.core.errors import ShapeError, invalid
from neuromod.hgf import unbounded
from neuromod.hgf.deep import (
    DeepNetwork,
    Expected,
    HiddenBelief,
    Layer,
    expect,
    like,
    slopes,
    start,
    weights_of,
)
from neuromod.hgf.deep_couplings import Synapses, learned, require_kind, with_weights


class Run(NamedTuple):
    """A network after its samples, what it believes, and what every layer went through.

    Parameters
    ----------
    network
        With the weights that were learned.
    beliefs
        Of the hidden layers, from the output upwards.
    layers
        Of every layer, the output first; each entry (time, size).
    synapses
        Beliefs about the weights, where there are any.
    """

    network: DeepNetwork
    beliefs: tuple[HiddenBelief, ...]
    layers: tuple[Layer, ...]
    synapses: Synapses | None = None


def step(
    network: DeepNetwork,
    beliefs: tuple[HiddenBelief, ...],
    inputs: Float[Array, " n_inputs"],
    outputs: Float[Array, " n_outputs"],
    learning_rate: Any = None,
    kind: str = "precision_weighted",
    synapses: Synapses | None = None,
) -> Run:
    """Take in a sample, and learn from it.

    Parameters
    ----------
    network
        The network.
    beliefs
        Of its hidden layers before the sample (`start` before the first).
    inputs : (n_inputs,)
        What the last layer is clamped to.
    outputs : (n_outputs,)
        What layer 0 is clamped to: numbers, zeros and ones, or one 1 among zeros.
    learning_rate : ()
        Times which the weights move in their direction; None leaves them.
    kind
        Of learning: "precision_weighted", "standard", "precision_ratio" or
        "synaptic_uncertainty".
    synapses
        For the last kind: beliefs about the weights
        (`neuromod.hgf.deep_couplings.start_synapses`).

    Raises
    ------
    InvalidInputError
        If there is no such kind of learning, or it lacks its synapses.
    ShapeError
        If the sample has other sizes than the layers that it clamps.
    """
    require_kind(kind)
    if (kind == "synaptic_uncertainty") != (synapses is not None):
        raise invalid(
            "synapses",
            "none" if synapses is None else f"some, and kind={kind!r}",
            "start_synapses(network, window) with kind='synaptic_uncertainty' alone",
        )
    inputs, outputs = like(network, inputs), like(network, outputs)
    _check_sizes(network, inputs, outputs)
    expected = expect(network, beliefs, inputs)
    layers = [
        _clamped(network, expected[0], outputs, binary=network.output == "binary")
    ]
    after = []
    for k, belief in enumerate(beliefs, 1):
        layers.append(_infer(network, k, expected[k], layers[-1]))
        after.append(_keep(network, belief, expected[k], layers[-1]))
    layers.append(_clamped(network, expected[-1], inputs))
    if learning_rate is not None:
        network, synapses = learned(network, layers, learning_rate, kind, synapses)
    return Run(network, tuple(after), tuple(layers), synapses)


def run(
    network: DeepNetwork,
    inputs: Float[Array, "time n_inputs"],
    outputs: Float[Array, "time n_outputs"],
    learning_rate: Any = None,
    kind: str = "precision_weighted",
    *,
    synapses: Synapses | None = None,
    beliefs: tuple[HiddenBelief, ...] | None = None,
    mask: Bool[Array, " time"] | None = None,
) -> Run:
    """Take in one sample after another.

    Parameters
    ----------
    network
        The network.
    inputs : (time, n_inputs)
        What the last layer is clamped to.
    outputs : (time, n_outputs)
        What layer 0 is clamped to.
    learning_rate : ()
        Times which the weights move in their direction; None leaves them.
    kind
        Of learning: "precision_weighted", "standard", "precision_ratio" or
        "synaptic_uncertainty".

    Other Parameters
    ----------------
    synapses
        For the last kind: beliefs about the weights
        (`neuromod.hgf.deep_couplings.start_synapses`).
    beliefs
        Before the first sample; those of `start` if omitted.
    mask : (time,)
        False where there is no sample: padding.

    Raises
    ------
    InvalidInputError
        If there is no such kind of learning, or it lacks its synapses.
    ShapeError
        If the samples have other sizes than the layers that they clamp.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from neuromod.hgf import deep, deep_learning
    >>> keys = jax.random.split(jax.random.key(0))
    >>> inputs = jax.random.normal(keys[0], (500, 2))
    >>> outputs = jnp.tanh(inputs[:, :1] - inputs[:, 1:])
    >>> network = deep.DeepNetwork(deep.draw_weights(keys[1], (1, 8, 2)))
    >>> error = lambda network: jnp.mean((deep.predict(network, inputs) - outputs) ** 2)
    >>> learned = deep_learning.run(network, inputs, outputs, learning_rate=0.05)
    >>> bool(error(learned.network) < 0.2 * error(network))
    True
    """

    def advance(carry, sample):
        weights, beliefs, synapses = carry
        now, (x, y) = with_weights(network, weights), sample
        found = step(now, beliefs, x, y, learning_rate, kind, synapses)
        return (found.network.weights, found.beliefs, found.synapses), found.layers

    beliefs = start(network) if beliefs is None else beliefs
    first = weights_of(network), beliefs, synapses
    samples = like(network, inputs), like(network, outputs)
    found = kernels.scan(advance, first, samples, mask=mask, checkpoint=None)
    weights, after, synapses = found.carry
    return Run(with_weights(network, weights), after, found.outputs, synapses)


def _check_sizes(network: DeepNetwork, inputs: Any, outputs: Any) -> None:
    sizes = network.sizes
    for argument, value, size in (
        ("inputs", inputs, sizes[-1]),
        ("outputs", outputs, sizes[0]),
    ):
        if value.shape != (size,):
            raise invalid(
                argument, f"a sample {value.shape}", f"({size},)", kind=ShapeError
            )


def _clamped(
    network: DeepNetwork, expected: Expected, value: Any, binary: bool = False
) -> Layer:
    error = value - expected.mean
    if binary:
        error = error / expected.precision
    nothing = jnp.zeros_like(error)
    return Layer(value, expected.precision, *expected[:3], nothing, error)


def _infer(network: DeepNetwork, k: int, expected: Expected, below: Layer) -> Layer:
    """Return layer k once the layer below it is known."""
    weight, gain = _told(network, below, is_output=k == 1)
    strength = weights_of(network)[k - 1][:, :-1]
    slope, bend = slopes(network.coupling[k - 1], expected.mean)
    gained = slope**2 * (weight @ strength**2)
    gained = gained - bend * ((weight * below.error) @ strength)
    largest = like(network, network.largest_precision)
    precision = jnp.clip(expected.precision + gained, expected.precision, largest)
    message = slope * ((gain * below.error) @ strength)
    mean = expected.mean + message / precision
    effective = expected.volatility * expected.precision
    return Layer(mean, precision, *expected[:3], effective, error=mean - expected.mean)


def _told(network: DeepNetwork, below: Layer, is_output: bool) -> tuple[Any, Any]:
    """Return how much the errors of a layer count for precision and mean above it."""
    if is_output or network.approximation == "mean_field":
        return below.expected_precision, below.expected_precision
    gained = below.precision - below.expected_precision
    share = below.conditional_precision / (below.conditional_precision + gained)
    return share * gained, share * below.precision


def _keep(
    network: DeepNetwork, belief: HiddenBelief, expected: Expected, layer: Layer
) -> HiddenBelief:
    """Return what a layer takes to the next sample, its volatilities updated."""
    surprise = 1 / layer.precision + layer.error**2
    if network.update == "unbounded":
        mean, precision = _unbounded(network, belief, expected, surprise)
    else:
        mean, precision = _by_error(network, belief, expected, surprise)
    precision = jnp.minimum(precision, like(network, network.largest_precision))
    return HiddenBelief(layer.precision, mean, precision)


def _unbounded(network, belief: HiddenBelief, expected: Expected, surprise) -> tuple:
    tonic = like(network, network.tonic_volatility)

    def of_one(mean, precision, variance, surprise, expected_precision):
        strength = jnp.ones_like(mean)
        told = unbounded.Step(variance, surprise, expected_precision, tonic, strength)
        return unbounded.update(
            mean, precision, told, bounded_lambert=network.compatibility == "pyhgf"
        )

    return jax.vmap(of_one)(
        belief.volatility_mean,
        expected.volatility_precision,
        1 / belief.precision,
        surprise,
        expected.precision,
    )


def _by_error(network, belief: HiddenBelief, expected: Expected, surprise) -> tuple:
    """Update by the volatility error, in the order that the scheme says."""
    effective = expected.volatility * expected.precision
    error = expected.precision * surprise - 1
    prior, message = expected.volatility_precision, effective * error / 2
    gained = effective**2 * (0.5 + error) - message
    mean = belief.volatility_mean + message / prior
    if network.update == "ehgf":
        return mean, prior + _safe_gain(network, belief, mean, surprise)
    precision = jnp.minimum(prior + gained, like(network, network.largest_precision))
    if network.compatibility != "pyhgf":  # NaN is seen, a negative precision is not
        precision = jnp.where(precision > 0, precision, jnp.nan)
    if network.update == "ehgf_swap":
        return mean, precision
    return belief.volatility_mean + message / precision, precision


def _safe_gain(network, belief: HiddenBelief, mean, surprise) -> Any:
    """Return what a second prediction, at the new mean, adds to the precision."""
    variance = 1 / belief.precision
    volatility = jnp.exp(like(network, network.tonic_volatility) + mean)
    total = variance + volatility
    effective, weight = volatility / total, (volatility - variance) / total
    gained = effective * (effective + weight * (surprise / total - 1)) / 2
    return jnp.maximum(gained, 0.0)
