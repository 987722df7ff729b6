"""Networks of the published sensory-attenuation code (Idei et al. 2022)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core.errors import DataFormatError
from neuromod.core.provenance import provenance, start
from neuromod.core.result import Result
from neuromod.pvrnn.heads import TanhHead
from neuromod.pvrnn.latents import Adaptive
from neuromod.pvrnn.layers import Affine, Connection, LatentLayer, LatentMap
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.modular import half_slow
from neuromod.pvrnn.objective import Objective
from neuromod.pvrnn.training_results import (
    adaptive_arrays,
    as_numbers,
    latent_dataset,
)

TOP = "top"
META_PRIOR = 0.005


def from_sensory_attenuation(
    source: str | os.PathLike[str] | Mapping[str, np.ndarray],
    time_constants: Any = 2,
) -> Result:
    """Read a trained network, as if it had been trained here.

    Its meta-priors are not stored: they are those of the study, 0.005 at the first step
    and later, but for the latent on top, which is free after the first step.

    Parameters
    ----------
    source
        An ``.npz`` file, or its arrays: ``param/<name>`` by the names of the published
        code, and the fixed biases ``bias_d/<module>/<layer>``. If it holds
        ``tau/<module>/<layer>``, these are the time constants.
    time_constants
        Steps, where the source has none: of the second half of the units of a layer;
        that of the first half is twice as long.

    Returns
    -------
    Result
        As of `neuromod.pvrnn.train`, without a history. Its layers are called
        "<module>/<layer>"; 0 is the highest of a module.

    Raises
    ------
    DataFormatError
        If an array is missing, or does not fit the others.
    """
    started, arrays = start(), _arrays(source)
    try:
        network, adaptive = _network(arrays, time_constants), _adaptive(arrays)
    except KeyError as error:
        raise DataFormatError(
            f"source: got no array {error.args[0]!r}, expected those of a network of "
            "the sensory-attenuation code"
        ) from error
    n_steps, n_trials, _ = adaptive.mean.shape
    coords = {
        "trial": np.arange(n_trials),
        "channel": np.arange(network.n_channels),
        "n_steps": ("trial", np.full(n_trials, n_steps)),
        "time": np.arange(n_steps, dtype=float),
    }
    latent = latent_dataset(network, adaptive_arrays(adaptive), coords)
    objective = Objective(_meta_priors(network), META_PRIOR, constants="sa")
    about = provenance(
        seed=None,
        precision="float64" if adaptive.mean.dtype == np.float64 else "float32",
        started=started,
        inputs={"source": np.asarray(adaptive.mean)},
    )
    tree = xr.DataTree.from_dict({"/latent": latent})
    return Result(network, tree, {"objective": as_numbers(objective)}, about)


def _meta_priors(network: PVRNN) -> list[float]:
    return [0.0 if layer.is_constant else META_PRIOR for layer in network.layers]


def _arrays(source: Any) -> dict[str, np.ndarray]:
    if isinstance(source, Mapping):
        return dict(source)
    try:
        with Path(source).open("rb") as file, np.load(file, allow_pickle=False) as npz:
            return {name: npz[name] for name in npz.files}
    except (ValueError, EOFError) as error:
        raise DataFormatError(f"source: {source} is no .npz file of arrays") from error


def places(arrays: Mapping[str, np.ndarray]) -> list[tuple[str, int]]:
    """Return module and number of every layer, in the order of the network."""
    found: dict[str, int] = {}
    for name in arrays:
        module, kind, rest = (*name.removeprefix("param/").split(".", 2), "", "")[:3]
        if name.startswith("param/") and kind == "layers":
            number = int(rest.partition(".")[0])
            found[module] = max(found.get(module, 0), number + 1)
    if TOP not in found:
        raise DataFormatError("source: got no module 'top', expected one")
    senses = [module for module in found if module != TOP]
    return [(m, i) for m in (*senses, TOP) for i in reversed(range(found[m]))]


def _adaptive(arrays: Mapping[str, np.ndarray]) -> Adaptive:
    halves, initial = [], []
    for module, i in places(arrays):
        path = f"param/{module}.layers.{i}"
        stored = np.swapaxes(arrays[f"{path}.A.0"], 0, 1)
        halves.append(np.split(stored, 2, axis=-1))
        executive = (module, i) == (TOP, 0)
        initial.append(None if executive else jnp.asarray(arrays[f"{path}.init_h.0"]))
    means, logs = (np.concatenate(p, axis=-1) for p in zip(*halves, strict=True))
    return Adaptive(jnp.asarray(means), jnp.asarray(logs), tuple(initial))


def _network(arrays: Mapping[str, np.ndarray], time_constants: Any) -> PVRNN:
    def of(name: str) -> Any:
        return jnp.asarray(arrays[f"param/{name}.weight"])

    order, layers, connections, heads = places(arrays), [], [], []
    for module, i in order:
        name, path = f"{module}/{i}", f"{module}.layers.{i}"
        n_latents = arrays[f"param/{path}.A.0"].shape[-1] // 2
        if (module, i) == (TOP, 0):
            layers.append(LatentLayer(name, n_latents, is_constant=True))
            continue
        told, recurrent = of(f"{path}.d_to_z"), of(f"{path}.d_to_h")
        constants = arrays.get(f"tau/{name}", half_slow(time_constants, len(recurrent)))
        layers.append(
            LatentLayer(
                name,
                n_latents,
                recurrent,
                of(f"{path}.z_to_h"),
                jnp.asarray(arrays[f"bias_d/{name}"], recurrent.dtype),
                jnp.asarray(constants, recurrent.dtype),
                LatentMap(Affine(told[:n_latents]), Affine(told[n_latents:])),
                trains_bias=False,
            )
        )
        above = (f"{module}/{i - 1}", "latent") if i else (_lowest(order), "activity")
        weight = of(f"{path}.hd_to_h")
        connections.append(Connection(weight, above[0], name, above[1], 0))
    for module in (m for m in dict.fromkeys(m for m, _ in order) if m != TOP):
        source = f"{module}/{max(i for m, i in order if m == module)}"
        heads.append(TanhHead(module, source, Affine(of(f"{module}_out.layer.0"))))
    return PVRNN(tuple(layers), tuple(connections), tuple(heads))


def _lowest(order: list[tuple[str, int]]) -> str:
    return f"{TOP}/{max(i for module, i in order if module == TOP)}"
