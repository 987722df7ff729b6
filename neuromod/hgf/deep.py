r"""Deep predictive-coding networks: layers of beliefs, with couplings that are learned.

A network of `neuromod.hgf.Network` writes out every node, which suits a handful of
them. Here a *layer* of nodes is one array and the edges between two layers are one
matrix. Layer 0 is the output, the last layer the input. Both are clamped to a sample;
between them, every node is a state whose log-volatility is a private second state,
which nothing else reads.

**Down.** A prediction is what the layer above makes of its own prediction,

$$
\hat\mu_k = W_k\,[\,g(\hat\mu_{k+1}),\, 1\,], \qquad
\Omega = \exp(\omega + \hat\mu_v), \qquad
\frac{1}{\hat\pi} = \frac{1}{\pi} + \Omega ,
$$

so samples are independent in their values, and only the precisions $\pi$ and the
volatilities $\mu_v, \pi_v$ pass from one sample to the next, with $\hat\mu_v = \mu_v$
and $1/\hat\pi_v = 1/\pi_v + \exp(\omega_v)$. A *relaxed* prediction adds
$1/2\hat\pi_v$ to the log-volatility. With *feedforward uncertainty* it also adds
$\sum_i (W_{ai}\, g'(\hat\mu_i))^2 / \hat\pi_i$, what uncertain parents bring in, to the
variance; without it that is the *conditional* precision $\bar\pi$.

A binary output has $\hat\mu = s(W\,[g, 1])$ and $\hat\pi = \hat\mu(1 - \hat\mu)$, a
categorical one the softmax and $\hat\pi = 1$.

**Up.** When a sample is seen, `neuromod.hgf.deep_learning` takes it in: errors move the
beliefs, layer by layer, and what is left of them the weights.

The equations are those of the generalised HGF (Weber et al., eLife 2024), by layers
(Legrand et al., PLOS Comput Biol 2026).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.hgf import couplings
from neuromod.hgf.network import CLIP, LARGEST_PRECISION
from neuromod.hgf.nodes import number, positive
from neuromod.hgf.schemes import (
    require_approximation,
    require_compatibility,
    require_update,
)

OUTPUTS = ("continuous", "binary", "categorical")


class DeepNetwork(eqx.Module):
    """Layers of beliefs that predict each other, from inputs to outputs.

    Parameters
    ----------
    weights : one (below, above + 1) per pair of layers
        ``weights[k]`` carries layer k + 1 to layer k, the output being layer 0; its
        last column is the bias.

    Other Parameters
    ----------------
    coupling
        Name of the function g of a layer's values (`neuromod.hgf.couplings`): one for
        all, or one per layer from layer 1 upwards.
    output
        "continuous", "binary" or "categorical".
    update
        Of the private volatilities (`neuromod.hgf.schemes`).
    approximation
        "mean_field" or "relaxed".
    feedforward_uncertainty
        Whether a relaxed prediction is the less precise, the less its parents are.
    tonic_volatility : ()
        Log of the variance that a state gains per sample while its private volatility
        is 0. At 0 (what pyhgf has) beliefs move so far that weights tend to run away
        (`neuromod.hgf.deep_learning`).
    metavolatility : ()
        Log of the variance that a private volatility gains per sample.
    precision : ()
        Of all beliefs before the first sample, of the inputs, and of continuous
        outputs.
    largest_precision : ()
        Where the precision of a belief is cut.
    clip : ()
        How near to 0 and 1 the predicted probability of a binary output may come.
    compatibility
        "pyhgf" follows that package where numbers under- or overflow.

    Raises
    ------
    InvalidInputError
        If an option has no such value, or feedforward uncertainty is asked of a mean
        field.
    ShapeError
        If the weights of two layers do not fit.

    Examples
    --------
    >>> import jax
    >>> from neuromod.hgf.deep import DeepNetwork, draw_weights
    >>> weights = draw_weights(jax.random.key(0), sizes=(1, 8, 8, 2))
    >>> DeepNetwork(weights, output="binary").sizes
    (1, 8, 8, 2)
    """

    weights: tuple[Any, ...]
    tonic_volatility: Any
    metavolatility: Any
    precision: Any
    largest_precision: Any
    clip: Any
    coupling: tuple[str, ...] = eqx.field(static=True)
    output: str = eqx.field(static=True)
    update: str = eqx.field(static=True)
    approximation: str = eqx.field(static=True)
    feedforward_uncertainty: bool = eqx.field(static=True)
    compatibility: str = eqx.field(static=True)

    def __init__(
        self,
        weights: Sequence[Any],
        *,
        coupling: str | Sequence[str] = "tanh",
        output: str = "continuous",
        update: str = "ehgf",
        approximation: str = "mean_field",
        feedforward_uncertainty: bool = False,
        tonic_volatility: Any = -4.0,
        metavolatility: Any = -4.0,
        precision: Any = 1.0,
        largest_precision: Any = LARGEST_PRECISION,
        clip: Any = CLIP,
        compatibility: str = "none",
    ) -> None:
        where = "deep network"
        self.weights = _require_weights(weights)
        self.coupling = _require_couplings(coupling, len(self.weights))
        self.output = choice("output", output, OUTPUTS)
        self.update = require_update(update)
        self.approximation = require_approximation(approximation)
        self.feedforward_uncertainty = bool(feedforward_uncertainty)
        if self.feedforward_uncertainty and approximation == "mean_field":
            raise invalid(
                "feedforward_uncertainty",
                "True in a mean field, where parents are taken for known",
                "False, or approximation='relaxed'",
            )
        self.tonic_volatility = number(tonic_volatility, where, "tonic_volatility")
        self.metavolatility = number(metavolatility, where, "metavolatility")
        self.precision = positive(precision, where, "precision")
        self.largest_precision = positive(largest_precision, where, "largest_precision")
        self.clip = number(clip, where, "clip")
        self.compatibility = require_compatibility(compatibility)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of nodes of every layer, the output first."""
        below = [np.shape(weight)[-2] for weight in self.weights]
        return (*below, np.shape(self.weights[-1])[-1] - 1)


class HiddenBelief(NamedTuple):
    """What a hidden layer keeps from one sample to the next; all (size,).

    Parameters
    ----------
    precision
        Of the values.
    volatility_mean, volatility_precision
        Of the private log-volatilities.
    """

    precision: Any
    volatility_mean: Any
    volatility_precision: Any


class Layer(NamedTuple):
    """What a layer expected of a sample, and believed once it was seen; each (size,).

    Parameters
    ----------
    mean, precision
        After the sample. Those of the inputs and outputs are what came in, and the
        precision that it was expected with.
    expected_mean, expected_precision
        Before the outputs were seen. Of a binary output its probability, and its
        variance.
    conditional_precision
        Precision if the values of the layer above were known.
    effective_precision
        Volatility times expected precision: how much a volatility error counts. 0 for
        inputs and outputs.
    error
        Mean minus expected mean; of a binary output divided by its variance.
    """

    mean: Any
    precision: Any
    expected_mean: Any
    expected_precision: Any
    conditional_precision: Any
    effective_precision: Any
    error: Any


class Expected(NamedTuple):
    """What is expected of a layer; all (size,). The ends have no volatility."""

    mean: Any
    precision: Any
    conditional_precision: Any
    volatility: Any
    volatility_precision: Any


def draw_weights(
    key: PRNGKeyArray, sizes: Sequence[int]
) -> tuple[Float[Array, "below above_and_bias"], ...]:
    """Draw weights that keep the size of what they carry, and no biases.

    Normal with variance 2 / (below + above) (Glorot and Bengio, AISTATS 2010).

    Parameters
    ----------
    key
        A random key.
    sizes
        Number of nodes of every layer, the output first.
    """
    keys = jax.random.split(key, len(sizes) - 1)
    found = []
    for own, below, above in zip(keys, sizes[:-1], sizes[1:], strict=True):
        scale = (2 / (below + above)) ** 0.5
        drawn = scale * jax.random.normal(own, (below, above))
        found.append(jnp.pad(drawn, ((0, 0), (0, 1))))
    return tuple(found)


def predict(
    network: DeepNetwork, inputs: Float[Array, "... n_inputs"]
) -> Float[Array, "... n_outputs"]:
    """Return the expected outputs, which need no beliefs: probabilities if discrete."""
    weights, mean = weights_of(network), like(network, inputs)
    for weight, name in zip(weights[::-1], network.coupling[::-1], strict=True):
        mean = activity(name, mean) @ weight.T
    return _of_output(network, mean)


def start(network: DeepNetwork) -> tuple[HiddenBelief, ...]:
    """Return the beliefs of the hidden layers before the first sample."""
    precision = like(network, network.precision)
    found = []
    for size in network.sizes[1:-1]:
        all_of = jnp.broadcast_to(precision, (size,))
        found.append(HiddenBelief(all_of, jnp.zeros_like(all_of), all_of))
    return tuple(found)


def _require_weights(weights: Sequence[Any]) -> tuple[Any, ...]:
    found = tuple(w if hasattr(w, "shape") else np.asarray(w, float) for w in weights)
    if not found:
        raise invalid("weights", "none", "one matrix per pair of layers")
    for k, weight in enumerate(found):
        above = f"above + 1 >= 2, and layer {k + 1} has as many nodes as the next says"
        shape: Any = np.shape(weight)
        fits = len(shape) >= 2 and shape[-1] >= 2
        if fits and k + 1 < len(found):
            fits = shape[-1] - 1 == np.shape(found[k + 1])[-2]
        if not fits:
            raise invalid(
                f"weights[{k}]", f"shape {shape}", f"(below, {above})", kind=ShapeError
            )
    return found


def _require_couplings(coupling: str | Sequence[str], n_layers: int) -> tuple[str, ...]:
    names = (coupling,) * n_layers if isinstance(coupling, str) else tuple(coupling)
    if len(names) != n_layers:
        raise invalid("coupling", f"{len(names)} names", f"one, or {n_layers}")
    return tuple(couplings.require_coupling(name) for name in names)


def weights_of(network: DeepNetwork) -> tuple[Any, ...]:
    """Return the weights as arrays of JAX."""
    return tuple(jnp.asarray(weight) for weight in network.weights)


def like(network: DeepNetwork, value: Any) -> Any:
    """Return a value with the type of the weights."""
    return jnp.asarray(value, jnp.asarray(network.weights[0]).dtype)


def _of_output(network: DeepNetwork, driven: Any) -> Any:
    """Return the mean of the outputs from what layer 1 gives to them."""
    if network.output == "categorical":
        return jax.nn.softmax(driven, axis=-1)
    if network.output == "continuous":
        return driven
    clip = like(network, network.clip)
    return jnp.clip(jax.nn.sigmoid(driven), clip, 1 - clip)


def expect(
    network: DeepNetwork, beliefs: tuple[HiddenBelief, ...], inputs: Any
) -> list[Expected]:
    """Return what is expected of every layer, the output first."""
    weights = weights_of(network)
    found = [_known(inputs, jnp.full_like(inputs, like(network, network.precision)))]
    for k in reversed(range(1, len(weights))):
        above, belief = found[0], beliefs[k - 1]
        mean = weights[k] @ activity(network.coupling[k], above.mean)
        spread = _spread(network, k, above)
        found.insert(0, _expect_hidden(network, belief, mean, spread))
    driven = weights[0] @ activity(network.coupling[0], found[0].mean)
    return [_expect_output(network, driven), *found]


def _known(mean: Any, precision: Any) -> Expected:
    return Expected(mean, precision, precision, jnp.zeros_like(mean), precision)


def _expect_output(network: DeepNetwork, driven: Any) -> Expected:
    mean = _of_output(network, driven)
    if network.output == "binary":
        return _known(mean, mean * (1 - mean))
    if network.output == "categorical":
        return _known(mean, jnp.ones_like(mean))
    return _known(mean, jnp.full_like(mean, like(network, network.precision)))


def _expect_hidden(network, belief: HiddenBelief, mean, spread) -> Expected:
    gained = jnp.exp(like(network, network.metavolatility))
    volatility_precision = 1 / (1 / belief.volatility_precision + gained)
    log_volatility = like(network, network.tonic_volatility) + belief.volatility_mean
    if network.approximation == "relaxed":
        log_volatility = log_volatility + 1 / (2 * volatility_precision)
    volatility = jnp.exp(log_volatility)
    conditional = 1 / (1 / belief.precision + volatility)
    precision = conditional if spread is None else 1 / (1 / conditional + spread)
    return Expected(mean, precision, conditional, volatility, volatility_precision)


def _spread(network: DeepNetwork, k: int, above: Expected) -> Any:
    """Return the variance that uncertain parents bring to layer k, if they do."""
    if not network.feedforward_uncertainty:
        return None
    slope, _ = slopes(network.coupling[k], above.mean)
    return weights_of(network)[k][:, :-1] ** 2 @ (slope**2 / above.precision)


def activity(
    coupling: str, mean: Float[Array, "... size"]
) -> Float[Array, "... size_and_bias"]:
    """Return g of a layer's values and, last, the 1 that carries the bias."""
    seen = jnp.vectorize(lambda x: couplings.value(coupling, x))(mean)
    return jnp.concatenate([seen, jnp.ones_like(seen[..., :1])], axis=-1)


def slopes(
    coupling: str, mean: Float[Array, " size"]
) -> tuple[Float[Array, " size"], Float[Array, " size"]]:
    """Return the first two derivatives of g at a layer's values."""
    return jax.vmap(lambda x: couplings.slopes(coupling, x))(mean)
