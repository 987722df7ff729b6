"""A small model of the tests' own, and a result that holds it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core.result import Result


class TinyLayer(eqx.Module):
    weight: jax.Array
    bias: jax.Array

    def __call__(self, x):
        return jnp.tanh(self.weight @ x + self.bias)


class TinyNetwork(eqx.Module):
    layers: tuple[TinyLayer, ...]
    time_constant: float
    scale: np.ndarray
    name: str = eqx.field(static=True, default="tiny")
    bounds: tuple[float, float] = eqx.field(static=True, default=(0.0, float("inf")))

    def __call__(self, x):
        for layer in self.layers:
            x = x + layer(x) / self.time_constant
        return x * self.scale


CLASSES = {"TinyNetwork": TinyNetwork, "TinyLayer": TinyLayer}


def tiny_network(seed=0, size=4):
    keys = jax.random.split(jax.random.key(seed), 4)
    weights = [jax.random.normal(key, (size, size)) for key in keys[:2]]
    biases = [jax.random.normal(key, (size,)) for key in keys[2:]]
    layers = tuple(TinyLayer(w, b) for w, b in zip(weights, biases, strict=True))
    return TinyNetwork(layers, 0.3, np.linspace(1, 2, size, dtype="f4"))


def tiny_result(seed=0):
    latent = xr.Dataset(
        {"belief": (("time", "state"), np.eye(5, 2), {"units": "1"})},
        coords={"time": np.arange(5) * 0.02, "state": ["run", "rest"]},
    )
    parameters = xr.Dataset({"rate": ("neuron", np.array([2.0, 5.0], "f4"))})
    data = xr.DataTree.from_dict({"latent": latent, "parameters": parameters})
    data.attrs["log_likelihood"] = -12.5
    config = {"n_states": 2, "bounds": (0.0, float("inf")), "prior": None}
    return Result(tiny_network(seed), data, config, {"seed": seed})
