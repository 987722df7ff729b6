r"""PV-RNN: a predictive-coding-inspired variational recurrent network.

Layers of units with several timescales carry latents $z_t$ at every step
(`neuromod.pvrnn.layers`), and heads read channels $x_t$ from units
(`neuromod.pvrnn.heads`). No encoder reads the data: for every trial, step and latent
two *adaptive* numbers $a = (a^\mu, a^\sigma)$ make the posterior, and gradient descent
through time fits them together with the weights, or, in error regression, alone. What
is descended is

$$
F = \sum_{n, t} \Big[ \text{error}_{n t} + \sum_l w_{l t}\,
    \mathrm{KL}(q_{n t l} \,\|\, p_{n t l}) / Z_l \Big] ,
$$

where the meta-prior $w$ weighs the complexity: a large one trusts the prior, a small
one the data (`neuromod.pvrnn.objective`). At the first step the prior is N(0, 1).

How layers are wired differs between the published codes; `hierarchy` has the usual
towers, and any other graph is a list of connections:

| code | top-down | bottom-up | posterior | bias |
|---|---|---|---|---|
| Ahmadi & Tani 2019, Soda et al. 2023 | previous | yes | activity | trained |
| GLean (2020) | previous | optional | adaptive | trained |
| NRL (2020) | previous or same | yes or no | activity | trained |
| T-GLean (2022) | same | no | adaptive | trained |
| Idei et al. 2022 | latent within modules, same between | no | adaptive | fixed |

Ahmadi & Tani, Neural Computation 2019, doi:10.1162/neco_a_01228.
"""

from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from neuromod.core.errors import (
    InvalidInputError,
    ShapeError,
    choice,
    did_you_mean,
    invalid,
)
from neuromod.pvrnn.heads import Head
from neuromod.pvrnn.layers import Connection, LatentLayer, LatentMap

TopDown = Literal["previous", "same", "latent", "none"]
POSTERIORS = ("activity", "adaptive")


class PVRNN(eqx.Module):
    """A network.

    Parameters
    ----------
    layers
        From the lowest, which is fast and near the data, to the highest; latents of all
        layers stand in this order.
    connections
        What layers give to each other.
    heads
        What is read from layers; channels of all heads stand in this order.
    encoder
        An `Encoder` that tells adaptive vectors where to start; None for none.

    Raises
    ------
    InvalidInputError
        If names are not unique or unknown, or a matrix does not fit its layers.
    """

    layers: tuple[LatentLayer, ...] = eqx.field(converter=tuple)
    connections: tuple[Connection, ...] = eqx.field(converter=tuple)
    heads: tuple[Head, ...] = eqx.field(converter=tuple)
    encoder: Any = None

    def __check_init__(self) -> None:
        for argument, parts in (("layers", self.layers), ("heads", self.heads)):
            names = [part.name for part in parts]
            if not names or len(set(names)) < len(names):
                raise invalid(
                    argument, f"the names {names}", "at least one, all unlike"
                )
        for head in self.heads:
            if not self.layer(head.source).n_units:
                raise invalid("heads", f"source {head.source!r}", "a layer with units")
        for connection in self.connections:
            _check(connection, self)

    def layer(self, name: str) -> LatentLayer:
        """Return the layer of a name."""
        return self.layers[self.index(name)]

    def index(self, name: str) -> int:
        """Return which layer has a name."""
        names = [layer.name for layer in self.layers]
        if name not in names:
            remedy = did_you_mean(name, names)
            raise invalid("layer", repr(name), f"one of {names}", remedy)
        return names.index(name)

    @property
    def n_latents(self) -> int:
        """Number of latents of all layers."""
        return sum(layer.n_latents for layer in self.layers)

    @property
    def n_channels(self) -> int:
        """Number of channels of all heads."""
        return sum(head.n_channels for head in self.heads)

    @property
    def latent_layers(self) -> np.ndarray:
        """Number of the layer (latent,) of every latent."""
        sizes = [layer.n_latents for layer in self.layers]
        return np.repeat(np.arange(len(sizes)), sizes)

    @property
    def channel_heads(self) -> np.ndarray:
        """Number of the head (channel,) of every channel."""
        sizes = [head.n_channels for head in self.heads]
        return np.repeat(np.arange(len(sizes)), sizes)


def _check(connection: Connection, network: PVRNN) -> None:
    source, target = (network.layer(n) for n in (connection.source, connection.target))
    carried = connection.carries == "latent"
    n_source = source.n_latents if carried else source.n_units
    name = f"connection {connection.source!r} -> {connection.target!r}"
    if connection.weight.shape[-2:] != (target.n_units, n_source) or not n_source:
        raise invalid(
            name,
            f"a weight of shape {connection.weight.shape}",
            f"({target.n_units}, {n_source})",
            kind=ShapeError,
        )
    if connection.delay == 0 and connection.source == connection.target:
        raise invalid(name, "delay 0", "delay 1 from a layer to itself")


def trainable(network: PVRNN) -> PVRNN:
    """Return what is trained, as a pytree of truth values.

    Time constants, noise scales, reference points and fixed biases are not.
    """

    def held(network: PVRNN) -> list[Any]:
        layers = network.layers
        fixed = [layer.bias for layer in layers if not layer.trains_bias]
        others = [(layer.noise_scale, layer.time_constant) for layer in layers]
        points = [getattr(head, "reference", None) for head in network.heads]
        return jax.tree.leaves((fixed, others, points))

    mask = jax.tree.map(lambda _: True, network)
    return eqx.tree_at(held, mask, replace_fn=lambda _: False)


def hierarchy(
    key: PRNGKeyArray,
    n_units: Sequence[int],
    n_latents: Sequence[int],
    time_constants: Sequence[Any],
    heads: Sequence[Any],
    *,
    posterior: Literal["activity", "adaptive"] = "activity",
    top_down: TopDown = "previous",
    bottom_up: bool = True,
    bias: Literal["trained", "fixed"] = "trained",
    prior_bias: bool = True,
    initial: Literal["zero", "trained"] = "zero",
) -> PVRNN:
    """Build a tower of layers with random weights.

    Parameters
    ----------
    key
        Random key.
    n_units, n_latents
        Of every layer, from the lowest to the highest. Layers are called "layer_0",
        "layer_1" ...
    time_constants
        Of every layer, in steps: a number, or one for each unit.
    heads
        Functions ``head(key, n_units)`` that build a `Head` on the lowest layer, such
        as ``tanh_head(n_channels=2)``.
    posterior
        "activity": the posterior depends on the activity and the adaptive vectors
        (Ahmadi & Tani 2019); "adaptive": on the adaptive vectors alone.

    Other Parameters
    ----------------
    top_down
        What a layer gets from the one above: its activity in the "previous" or in the
        "same" step, its "latent" in the same step, or "none".
    bottom_up
        Whether a layer gets the previous activity of the one below.
    bias
        "trained", or "fixed": drawn from a normal distribution of variance 10.
    prior_bias
        Whether prior and posterior have biases.
    initial
        "zero", or "trained": one initial potential for each unit.

    Returns
    -------
    PVRNN
        With uniform weights between +- 1 / sqrt(number of inputs), where the inputs of
        a layer are all its units, latents and connections.

    Examples
    --------
    >>> from neuromod.pvrnn import tanh_head
    >>> network = hierarchy(
    ...     jax.random.key(0), [20, 10], [2, 1], [2, 8], [tanh_head(n_channels=2)]
    ... )
    >>> network.n_latents, [c.source for c in network.connections]
    (3, ['layer_1', 'layer_0'])
    """
    sizes = {len(n_units), len(n_latents), len(time_constants)}
    if len(sizes) != 1:
        raise invalid(
            "n_units, n_latents, time_constants",
            f"{len(n_units)}, {len(n_latents)} and {len(time_constants)} layers",
            "as many of each",
            kind=ShapeError,
        )
    choice("posterior", posterior, POSTERIORS)
    choice("top_down", top_down, ("previous", "same", "latent", "none"))
    choice("bias", bias, ("trained", "fixed"))
    choice("initial", initial, ("zero", "trained"))
    n_layers = len(n_units)
    names = [f"layer_{i}" for i in range(n_layers)]
    keys = jax.random.split(key, n_layers + 1)
    layers, connections = [], []
    for i, name in enumerate(names):
        draw = Drawer(keys[i])
        given = []
        if top_down != "none" and i + 1 < n_layers:
            carries = "latent" if top_down == "latent" else "activity"
            delay = 1 if top_down == "previous" else 0
            given.append((names[i + 1], carries, delay))
        if bottom_up and i > 0:
            given.append((names[i - 1], "activity", 1))
        n_given = [
            (n_latents if carries == "latent" else n_units)[names.index(source)]
            for source, carries, _ in given
        ]
        fan_in = n_units[i] + n_latents[i] + sum(n_given)
        layers.append(
            draw.layer(
                name,
                n_units[i],
                n_latents[i],
                time_constants[i],
                fan_in=fan_in,
                posterior=posterior,
                bias=bias,
                prior_bias=prior_bias,
                initial=initial,
            )
        )
        for (source, carries, delay), n in zip(given, n_given, strict=True):
            weight = draw.matrix(n_units[i], n, fan_in)
            connections.append(Connection(weight, source, name, carries, delay))
    built = tuple(
        make(k, n_units[0], source=names[0])
        for make, k in zip(heads, jax.random.split(keys[-1], len(heads)), strict=True)
    )
    return PVRNN(tuple(layers), tuple(connections), built)


class Drawer:
    """Draws one array after another from a key."""

    def __init__(self, key: PRNGKeyArray) -> None:
        self.key = key

    def next(self) -> PRNGKeyArray:
        """Return a new key."""
        self.key, now = jax.random.split(self.key)
        return now

    def matrix(self, n_out: int, n_in: int, fan_in: int | None = None) -> jax.Array:
        """Draw between +- 1 / sqrt(fan_in)."""
        bound = (fan_in or n_in) ** -0.5
        shape = n_out, n_in
        return jax.random.uniform(self.next(), shape, jnp.float32, -bound, bound)

    def layer(
        self,
        name: str,
        n_units: int,
        n_latents: int,
        time_constant: Any,
        *,
        fan_in: int,
        posterior: str,
        bias: str,
        prior_bias: bool,
        initial: str = "zero",
    ) -> LatentLayer:
        """Draw a layer with units."""
        constant = np.broadcast_to(np.asarray(time_constant, np.float32), (n_units,))
        if not (np.isfinite(constant).all() and (constant >= 1).all()):
            raise InvalidInputError(
                f"time_constants: got {time_constant} for {name}, expected steps >= 1"
            )
        if bias == "fixed":
            offsets = 10**0.5 * jax.random.normal(self.next(), (n_units,))
        else:
            offsets = self.matrix(1, n_units, fan_in)[0]
        depends = posterior == "activity"
        maps = [
            LatentMap.random(self.next(), n_latents, n_units, bias=prior_bias)
            for _ in range(1 + depends)
        ]
        return LatentLayer(
            name,
            n_latents,
            self.matrix(n_units, n_units, fan_in),
            self.matrix(n_units, n_latents, fan_in),
            offsets,
            jnp.asarray(constant),
            maps[0],
            maps[1] if depends else None,
            jnp.zeros(n_units) if initial == "trained" else None,
            trains_bias=bias == "trained",
        )
