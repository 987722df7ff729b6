"""Our side of the PV-RNN benchmark: the same networks, data and numbers for the peer.

`export` writes weights, adaptive vectors, noise and data in double precision with the
loss and its gradients, from which the peer (`tests.benchmarks._pvrnn_torch`) must come
to the same; `prepare` is the work that is timed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core import training
from neuromod.core.precision import in_precision, precision_context
from neuromod.pvrnn import (
    PVRNN,
    ErrorRegression,
    Objective,
    hierarchy,
    preset,
    tanh_head,
)
from neuromod.pvrnn.adam import two_groups
from neuromod.pvrnn.data import read
from neuromod.pvrnn.energy import encode, evaluate
from neuromod.pvrnn.latents import Adaptive
from neuromod.pvrnn.trainee import Beginning, Loss, trained
from neuromod.pvrnn.trainee import prepare as prepare_data

N_TRIALS, N_STEPS, CHANNELS = 48, 200, (3, 2)
WINDOW, ITERATIONS = 10, 50
LINKS = np.array([0.1, 0.3, 0.5])
TOY_TRIALS, TOY_STEPS, TOY_META_PRIOR = 10, 24, 0.03
STEPS = {"epoch": 50, "toy": 500}
"""Updates of one call of a work."""


def arm(seed: int = 0) -> xr.DataArray:
    """Return random movements of an arm: joints, and where its hand is."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(N_TRIALS, N_STEPS, 3)).cumsum(axis=1) / 20
    joints = 0.8 * np.sin(rng.uniform(-2, 2, (N_TRIALS, 1, 3)) + steps)
    angles = np.cumsum((joints + 0.8) * np.pi / 1.6, axis=-1)
    hand = [-(LINKS * np.cos(angles)).sum(-1), (LINKS * np.sin(angles)).sum(-1)]
    values = np.concatenate([joints, np.stack(hand, axis=-1)], axis=-1)
    return xr.DataArray(values, dims=("trial", "time", "channel"))


def cycles(seed: int = 0) -> xr.DataArray:
    """Return cycles 0.8, then -0.8 (p = .3) or 0, then 0.4."""
    rng = np.random.default_rng(seed)
    values = np.tile([0.8, 0.0, 0.4], (TOY_TRIALS, TOY_STEPS // 3))
    branch = values[:, 1::3]
    branch[rng.random(branch.shape) < 0.3] = -0.8
    return xr.DataArray(values[..., None], dims=("trial", "time", "channel"))


def build_toy(key: Any) -> PVRNN:
    """Return one layer whose posterior depends on its activity."""
    return hierarchy(key, [10], [1], [2], [tanh_head(1)])


def settings(work: str) -> tuple[Callable[[Any], PVRNN], Objective, xr.DataArray]:
    """Return how to build the network of a work, what it descends, and its data."""
    if work == "toy":
        return build_toy, Objective(TOY_META_PRIOR, constants="sdd"), cycles()
    setting = preset("sa", CHANNELS)
    return setting.build, setting.objective, arm()


def prepare(work: str, seed: int = 0) -> Callable[[], Any]:
    """Return a function that does a work, as `train` does it.

    Parameters
    ----------
    work
        "epoch" or "toy": ``STEPS[work]`` updates of the network of that shape;
        "regression": one step of error regression, slide and prediction included.
    seed
        Of weights and noise.
    """
    build, objective, data = settings(work)
    if work == "regression":
        regression = ErrorRegression(
            build(jax.random.key(seed)), objective, seed=seed,
            window=WINDOW, n_iterations=ITERATIONS,
        )  # fmt: skip
        row = data.values[0, 0]
        for _ in range(WINDOW):
            regression.step(row)
        return lambda: regression.step(row)
    trials = read(data)
    begun = Beginning(build).trainee(objective, seed, trials)
    trainee = in_precision(begun, "float32")
    given = prepare_data(trainee.network, trials)
    optimiser, loss = two_groups(1e-3, 1e-3, False, 0.0), Loss(None)
    return lambda: training.fit_gradient(
        loss, trainee, seed=seed, n_steps=STEPS[work], optimiser=optimiser,
        arguments=(given,), trainable=trained, progress=False,
    )  # fmt: skip


def export(path: str | Path, seed: int = 0) -> Path:
    """Write numbers, and the loss and gradients that follow from them.

    Parameters
    ----------
    path
        Of the file (npz).
    seed
        Of the weights, adaptive vectors and noise.
    """
    with precision_context("float64"):
        found = _of_senses(seed) | {
            f"toy/{k}" if not k.startswith("gradient/") else f"gradient/toy/{k[9:]}": v
            for k, v in _of_toy(seed).items()
        }
    path = Path(path)
    np.savez(path, allow_pickle=False, **found)
    return path


def _of_senses(seed: int) -> dict[str, Any]:
    build, objective, data = settings("epoch")
    network = in_precision(build(jax.random.key(seed)), "float64")
    values = jnp.asarray(np.swapaxes(data.values, 0, 1))
    loss, slopes, adaptive, noise = _graded(network, objective, values, seed)
    found: dict[str, Any] = _weights(network)
    found |= {f"gradient/{k}": v for k, v in _weights(slopes[0]).items()}
    found |= _named(adaptive) | {
        f"gradient/{k}": v for k, v in _named(slopes[1]).items()
    }
    found |= {"noise": noise, "data": values, "loss": loss}
    return found | _of_window(network, objective, seed)


def _of_window(network: PVRNN, objective: Objective, seed: int) -> dict[str, Any]:
    """Return a window that goes on after others, and its loss."""
    rng = np.random.default_rng([seed, 1])
    values = jnp.asarray(rng.uniform(-0.8, 0.8, (WINDOW, 1, sum(CHANNELS))))
    potentials = tuple(
        jnp.asarray(rng.normal(size=(1, layer.n_units))) if layer.n_units else None
        for layer in network.layers
    )
    adaptive, noise = _vectors(network, WINDOW, 1, rng)
    terms, _ = evaluate(
        network, objective.complete(network), adaptive, encode(network, values), noise,
        potentials, starts=False,
    )  # fmt: skip
    layers = zip(network.layers, potentials, strict=True)
    found = {layer.name: u for layer, u in layers if u is not None}
    found |= _named(adaptive)
    found |= {"noise": noise, "data": values, "loss": terms.total}
    return {f"window/{k}": v for k, v in found.items()}


def _of_toy(seed: int) -> dict[str, Any]:
    build, objective, data = settings("toy")
    network = in_precision(build(jax.random.key(seed)), "float64")
    values = jnp.asarray(np.swapaxes(data.values, 0, 1))
    loss, slopes, adaptive, noise = _graded(network, objective, values, seed)
    found: dict[str, Any] = {"time_constant": network.layers[0].time_constant}
    found |= {f"weight/{k}": v for k, v in _toy_weights(network).items()}
    found |= {f"gradient/weight/{k}": v for k, v in _toy_weights(slopes[0]).items()}
    found |= _named(adaptive) | {
        f"gradient/{k}": v for k, v in _named(slopes[1]).items()
    }
    return found | {"noise": noise, "data": values, "loss": loss}


def _graded(network: PVRNN, objective: Objective, values: Any, seed: int) -> tuple:
    """Return loss, gradients of network and adaptive vectors, these and noise."""
    rng = np.random.default_rng(seed)
    adaptive, noise = _vectors(network, values.shape[0], values.shape[1], rng)
    data, whole = encode(network, values), objective.complete(network)

    @jax.jit
    @jax.value_and_grad
    def graded(both):
        return evaluate(both[0], whole, both[1], data, noise)[0].total

    loss, slopes = graded((jax.tree.map(jnp.asarray, network), adaptive))
    return loss, slopes, adaptive, noise


def _vectors(network: PVRNN, n_steps: int, n_trials: int, rng: Any) -> tuple:
    shape = n_steps, n_trials, network.n_latents
    mean, log, noise = (jnp.asarray(rng.normal(size=shape)) for _ in range(3))
    return Adaptive(mean / 2, log / 2), noise


def _named(adaptive: Adaptive) -> dict[str, Any]:
    return {
        "adaptive_mean": adaptive.mean,
        "adaptive_log_deviation": adaptive.log_deviation,
    }


def _weights(network: Any) -> dict[str, Any]:
    found = {}
    for layer in network.layers:
        if layer.n_units:
            above = next(c for c in network.connections if c.target == layer.name)
            found |= {
                f"{layer.name}/recurrent": layer.recurrent_weight,
                f"{layer.name}/latent": layer.latent_weight,
                f"{layer.name}/above": above.weight,
                f"{layer.name}/bias": layer.bias,
                f"{layer.name}/time_constant": layer.time_constant,
                f"{layer.name}/prior_mean": layer.prior.mean.weight,
                f"{layer.name}/prior_log_deviation": layer.prior.log_deviation.weight,
            }
    return found | {f"{h.source}/head": h.layer.weight for h in network.heads}


def _toy_weights(network: Any) -> dict[str, Any]:
    layer, head = network.layers[0], network.heads[0].layer
    found = {
        "recurrent": layer.recurrent_weight,
        "latent": layer.latent_weight,
        "bias": layer.bias,
        "head": head.weight,
        "head_bias": head.bias,
    }
    for name in ("prior", "posterior"):
        for part in ("mean", "log_deviation"):
            affine = getattr(getattr(layer, name), part)
            found |= {f"{name}_{part}": affine.weight}
            found |= {f"{name}_{part}_bias": affine.bias}
    return found
