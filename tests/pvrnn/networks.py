"""Networks of every wiring, in double precision and with no number left at zero."""

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.pvrnn import (
    PVRNN,
    Connection,
    LatentLayer,
    Tower,
    gaussian_head,
    hierarchy,
    modular,
    softmax_head,
    tanh_head,
)
from neuromod.pvrnn.latents import Adaptive

SIZES = {"n_units": [5, 4, 3], "n_latents": [2, 1, 1], "time_constants": [2, 4.0, 9]}
POINTS = np.linspace(-1, 1, 4)
WIRINGS = {
    "published 2019": {},
    "adaptive": {"posterior": "adaptive"},
    "same step": {"top_down": "same", "bottom_up": False},
    "same step, adaptive": {
        "top_down": "same",
        "bottom_up": False,
        "posterior": "adaptive",
    },
    "latents down": {"top_down": "latent", "bottom_up": False},
    "latents down, up": {"top_down": "latent"},
    "latents down, adaptive": {"top_down": "latent", "posterior": "adaptive"},
    "apart": {"top_down": "none", "bottom_up": False, "bias": "fixed"},
    "both ways at once": {"top_down": "same"},
    "trained start": {"initial": "trained", "prior_bias": False},
}


def tower(name="published 2019", heads=None, seed=0):
    """Return a tower of three layers."""
    heads = [tanh_head(2)] if heads is None else heads
    key = jax.random.key(seed)
    network = hierarchy(key, **SIZES, heads=heads, **WIRINGS[name])
    return precise(network)


def senses(seed=0):
    """Return two senses under an association layer, of which one has two layers."""
    high, low = Tower([4, 3], [1, 2], [2, 5]), Tower([3], [1], [3])
    given = {
        "touch": (high, tanh_head(2, "touch", bias=False)),
        "sight": (low, gaussian_head(1, "sight")),
        "sound": (low, softmax_head(1, "sound", reference=POINTS, width=0.2)),
    }
    return precise(modular(jax.random.key(seed), given, Tower([4], [2], [2])))


def precise(network: PVRNN) -> PVRNN:
    """Return a network in double precision, with some of every parameter."""
    rng = np.random.default_rng(0)

    def double(x):
        return jnp.asarray(x, float) + 0.1 * rng.normal(size=np.shape(x))

    layers = [
        LatentLayer(
            **{
                name: getattr(layer, name)
                if name in ("name", "n_latents", "is_constant", "trains_bias")
                else jnp.asarray(layer.time_constant, float)
                if name == "time_constant" and layer.n_units
                else jax.tree.map(double, getattr(layer, name))
                for name in layer.__dataclass_fields__
                if name != "noise_scale"
            }
        )
        for layer in network.layers
    ]
    connections = [
        Connection(double(c.weight), c.source, c.target, c.carries, c.delay)
        for c in network.connections
    ]
    heads = [jax.tree.map(lambda x: jnp.asarray(x, float), h) for h in network.heads]
    return PVRNN(layers, connections, heads)


def vectors(network, n_steps=7, n_trials=3, seed=1):
    """Return adaptive vectors and noise."""
    rng = np.random.default_rng(seed)
    drawn = 0.5 * rng.normal(size=(3, n_steps, n_trials, network.n_latents))
    return Adaptive(*jnp.asarray(drawn[:2])), jnp.asarray(2 * drawn[2])
