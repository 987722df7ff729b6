r"""Heads: what units say of the channels, and how far that is from the data.

| head | outputs $x$ | error of a channel with value $y$ |
|---|---|---|
| `TanhHead` | $\tanh(W d + b)$ | $(x - y)^2$ |
| `GaussianHead` | mean $\tanh(W d + b)$, variance $\exp(W' d + b')$ | $-\log N(y)$ |
| `SoftmaxHead` | $\mathrm{softmax}_k (W d + b)_{ck}$ | $\sum_k y_k \log (y_k / x_k)$ |

A softmax head tells the value $v$ of a channel by units with reference points $r_k$,
$y_k \propto \exp(-(r_k - v)^2 / s)$, and reads $\sum_k r_k x_k$. Near the ends of the
reference points that is biased towards the middle: let them reach beyond the data.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod.core.dimensions import (
    require_finite,
    require_integer,
    require_positive,
)
from neuromod.core.errors import ShapeError, invalid
from neuromod.pvrnn.layers import Affine, Values

LEAST_PROBABILITY = 1e-10


class Head(eqx.Module):
    """What every head can do.

    Parameters
    ----------
    name
        Unlike that of any other head.
    source
        Name of the layer whose units it reads.
    """

    name: eqx.AbstractVar[str]
    source: eqx.AbstractVar[str]

    @property
    @abc.abstractmethod
    def n_channels(self) -> int:
        """Number of channels."""

    @property
    def n_outputs_per_channel(self) -> int:
        """Number of outputs that tell one channel."""
        return 1

    @property
    def limits(self) -> tuple[float, float]:
        """Least and greatest value that it can tell."""
        return -1.0, 1.0

    @abc.abstractmethod
    def __call__(self, activity: Float[Array, "*batch unit"]) -> Array:
        """Return the outputs."""

    def encode(self, values: Float[Array, "*batch channel"]) -> Array:
        """Return what the outputs should be for values of the channels."""
        return values

    def decode(self, outputs: Array) -> Float[Array, "*batch channel"]:
        """Return the values of the channels that outputs tell."""
        return outputs

    @abc.abstractmethod
    def error(self, outputs: Array, targets: Array) -> Float[Array, "*batch channel"]:
        """Return how far the outputs are from the encoded values."""


class TanhHead(Head):
    """Outputs between -1 and 1.

    Parameters
    ----------
    name, source
        As of every `Head`.
    layer
        From the units to the channels.
    """

    name: str = eqx.field(static=True)
    source: str = eqx.field(static=True)
    layer: Affine

    @classmethod
    def random(
        cls,
        key: PRNGKeyArray,
        n_channels: int,
        n_units: int,
        *,
        bias: bool = True,
        **names: str,
    ) -> "TanhHead":
        """Draw the weights."""
        return cls(**names, layer=Affine.random(key, n_channels, n_units, bias=bias))

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.layer.weight.shape[-2]

    def __call__(self, activity: Float[Array, "*batch unit"]) -> Array:
        """Return the outputs (..., channel)."""
        return jnp.tanh(self.layer(activity))

    def error(self, outputs: Array, targets: Array) -> Float[Array, "*batch channel"]:
        """Return squares of the differences."""
        return jnp.square(outputs - targets)


class GaussianHead(Head):
    """A Gaussian for each channel, whose variance is learned too.

    Parameters
    ----------
    name, source
        As of every `Head`.
    mean, log_variance
        From the units to the channels.
    """

    name: str = eqx.field(static=True)
    source: str = eqx.field(static=True)
    mean: Affine
    log_variance: Affine

    @classmethod
    def random(
        cls,
        key: PRNGKeyArray,
        n_channels: int,
        n_units: int,
        *,
        bias: bool = True,
        **names: str,
    ) -> "GaussianHead":
        """Draw the weights."""
        parts = (
            Affine.random(k, n_channels, n_units, bias=bias)
            for k in jax.random.split(key)
        )
        return cls(**names, mean=next(parts), log_variance=next(parts))

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.mean.weight.shape[-2]

    def __call__(self, activity: Float[Array, "*batch unit"]) -> Array:
        """Return means and log variances (..., channel, 2)."""
        parts = jnp.tanh(self.mean(activity)), self.log_variance(activity)
        return jnp.stack(parts, axis=-1)

    def decode(self, outputs: Array) -> Float[Array, "*batch channel"]:
        """Return the means."""
        return outputs[..., 0]

    def error(self, outputs: Array, targets: Array) -> Float[Array, "*batch channel"]:
        """Return minus the log densities (nats)."""
        mean, log_variance = outputs[..., 0], outputs[..., 1]
        squares = jnp.square(targets - mean) * jnp.exp(-log_variance)
        return (squares + log_variance + np.log(2 * np.pi)) / 2


class SoftmaxHead(Head):
    """Every channel is told by units that prefer values of it.

    Parameters
    ----------
    name, source
        As of every `Head`.
    layer
        From the units to (channel, reference), all references of the first channel
        first.
    reference : (reference,) or (channel, reference)
        The value that a unit prefers.
    width
        s, in squared units of the channel.
    """

    name: str = eqx.field(static=True)
    source: str = eqx.field(static=True)
    layer: Affine
    reference: Any = eqx.field(converter=np.asarray)
    width: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        require_finite(np.asarray(self.reference), "reference")
        require_positive(self.width, "width")
        n_outputs, n_reference = self.layer.weight.shape[-2], self.reference.shape[-1]
        if n_outputs % n_reference:
            raise invalid(
                "reference",
                f"{n_reference} points for {n_outputs} outputs",
                "a divisor of the number of outputs",
                kind=ShapeError,
            )

    @classmethod
    def random(
        cls,
        key: PRNGKeyArray,
        n_channels: int,
        n_units: int,
        *,
        reference: Values,
        width: float,
        bias: bool = True,
        **names: str,
    ) -> "SoftmaxHead":
        """Draw the weights."""
        n_outputs = n_channels * np.shape(reference)[-1]
        layer = Affine.random(key, n_outputs, n_units, bias=bias)
        return cls(**names, layer=layer, reference=reference, width=width)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.layer.weight.shape[-2] // self.n_outputs_per_channel

    @property
    def limits(self) -> tuple[float, float]:
        """Least and greatest reference point."""
        return float(np.min(self.reference)), float(np.max(self.reference))

    @property
    def n_outputs_per_channel(self) -> int:
        """Number of reference points."""
        return self.reference.shape[-1]

    def __call__(self, activity: Float[Array, "*batch unit"]) -> Array:
        """Return probabilities (..., channel, reference)."""
        scores = self.layer(activity)
        shape = *scores.shape[:-1], self.n_channels, self.n_outputs_per_channel
        return jax.nn.softmax(scores.reshape(shape))

    def encode(self, values: Float[Array, "*batch channel"]) -> Array:
        """Return the probabilities (..., channel, reference) of values."""
        values = jnp.asarray(values)
        points = jnp.asarray(self.reference, values.dtype)
        shape = *values.shape, points.shape[-1]
        apart = jnp.broadcast_to(points, shape) - values[..., None]
        return jax.nn.softmax(-jnp.square(apart) / self.width)

    def decode(self, outputs: Array) -> Float[Array, "*batch channel"]:
        """Return the means of the reference points."""
        points = jnp.asarray(self.reference, outputs.dtype)
        return jnp.sum(outputs * jnp.broadcast_to(points, outputs.shape), axis=-1)

    def error(self, outputs: Array, targets: Array) -> Float[Array, "*batch channel"]:
        """Return Kullback-Leibler divergences from what should be (nats)."""
        wanted, found = targets + LEAST_PROBABILITY, outputs + LEAST_PROBABILITY
        return jnp.sum(wanted * (jnp.log(wanted) - jnp.log(found)), axis=-1)


def tanh_head(n_channels: int, name: str = "output", *, bias: bool = True) -> Any:
    """Return how to build a `TanhHead`, for `hierarchy`."""
    return _make(TanhHead, n_channels, name, bias=bias)


def gaussian_head(n_channels: int, name: str = "output", *, bias: bool = True) -> Any:
    """Return how to build a `GaussianHead`, for `hierarchy`."""
    return _make(GaussianHead, n_channels, name, bias=bias)


def softmax_head(
    n_channels: int,
    name: str = "output",
    *,
    reference: Values,
    width: float,
    bias: bool = True,
) -> Any:
    """Return how to build a `SoftmaxHead`, for `hierarchy`."""
    options = {"reference": reference, "width": width, "bias": bias}
    return _make(SoftmaxHead, n_channels, name, **options)


def _make(kind: Any, n_channels: int, name: str, **options: Any) -> Any:
    n_channels = require_integer(n_channels, "n_channels")

    def make(key: PRNGKeyArray, n_units: int, source: str) -> Head:
        return kind.random(
            key, n_channels, n_units, name=name, source=source, **options
        )

    return make
