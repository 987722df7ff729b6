"""The VRNN trained on trials, and what it expects after each of their steps."""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array

from neuromod import kernels
from neuromod.core import models, training
from neuromod.core.dimensions import (
    require_integer,
    require_non_negative,
    require_positive,
)
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.precision import Precision, in_precision, precision_context
from neuromod.core.provenance import provenance, start
from neuromod.core.result import Result
from neuromod.pvrnn.data import Trials, read
from neuromod.pvrnn.vrnn import VRNN, evidence_bound, predict

GRADIENT_NORM = 1.0
"""To which gradients are clipped: densities of narrow Gaussians are steep."""

_predict = eqx.filter_jit(predict)


def train_vrnn(
    data: Any,
    *,
    seed: int | Sequence[int],
    n_units: int = 32,
    n_latents: int = 4,
    n_steps: int = 2000,
    learning_rate: float = 1e-3,
    divergence_weight: float = 1.0,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callable[[int, Any], None] | None = None,
    precision: Precision = "float32",
    progress: bool = True,
) -> Result:
    """Train a VRNN on trials.

    Parameters
    ----------
    data
        As of `neuromod.pvrnn.train`: (trial, time, channel), NaN where missing. Values
        about as large as 1 are learnt best.
    seed
        Of weights and noise; several train as many networks side by side.
    n_units, n_latents
        Of the state, and of each step.

    Other Parameters
    ----------------
    n_steps
        Updates, each of all trials.
    learning_rate
        Of Adam, which gets gradients of a norm of at most 1.
    divergence_weight
        Multiplies the divergence of the posterior from the prior; 1 for the evidence
        lower bound.
    checkpoint, callback, precision, progress
        As of `neuromod.pvrnn.train`.

    Returns
    -------
    Result
        ``model`` is the network, or a stack of them over seeds; ``history`` has the
        ``loss``, and its parts ``reconstruction`` and ``divergence``, of every step, in
        nats per observed value.

    Raises
    ------
    InvalidInputError
        If data or an option cannot be used.
    DivergedError
        If the loss stopped being a number.
    """
    started = start()
    trials = read(data)
    several = isinstance(seed, Iterable)
    given = list(seed) if isinstance(seed, Iterable) else [seed]
    seeds = [require_integer(s, "seed", minimum=0) for s in given]
    if not seeds:
        raise invalid("seed", "no seeds", "a whole number, or several")
    sizes = {
        "n_units": require_integer(n_units, "n_units"),
        "n_latents": require_integer(n_latents, "n_latents"),
    }
    rate = require_positive(learning_rate, "learning_rate")
    weight = require_non_negative(divergence_weight, "divergence_weight")
    with precision_context(precision):
        built = [
            in_precision(_build(s, len(trials.channels), **sizes), precision)
            for s in seeds
        ]
        found = training.fit_gradient(
            _Loss(weight, sizes["n_latents"]),
            models.stack(built) if several else built[0],
            seed=seeds if several else seeds[0],
            n_steps=n_steps,
            optimiser=_adam(rate),
            arguments=_arrays(trials),
            checkpoint=checkpoint,
            progress=progress,
            callback=callback,
        )
    config = sizes | {
        "n_steps": n_steps,
        "learning_rate": rate,
        "divergence_weight": weight,
        "precision": precision,
    }
    about = provenance(
        seed=seeds if several else seeds[0],
        precision=precision,
        started=started,
        inputs={"data": np.where(trials.observed, trials.values, np.nan)},
    )
    dims = ("seed", "step") if several else ("step",)
    units = {"units": "nat per value"}
    history = xr.Dataset(
        {name: (dims, rows, units) for name, rows in found.history.items()},
        {"seed": seeds} if several else {},
    )
    tree = xr.DataTree.from_dict({"/history": history})
    return Result(found.parameters, tree, config, about)


def predict_vrnn(
    model: VRNN | Result,
    data: Any,
    n_predicted: int = 1,
    *,
    seed: int,
    n_samples: int = 16,
) -> xr.DataArray:
    """Predict, at every step of a recording, the steps to come.

    The network infers its latents from what was seen up to the step, and runs from its
    prior from there on.

    Parameters
    ----------
    model
        A `VRNN`, or the `Result` of one seed.
    data
        The recording: (time, channel), or trials of it as `neuromod.pvrnn.train` takes
        them; NaN is missing.
    n_predicted
        Steps that are predicted.
    seed
        Of the latents.
    n_samples
        Draws of them, over which predictions are averaged.

    Returns
    -------
    xarray.DataArray
        (trial, time, lag, channel): what is expected ``lag`` steps after ``time``. NaN
        after the end of a shorter trial. `neuromod.pvrnn.prediction_error` compares it
        with the predictions of error regression.

    Raises
    ------
    InvalidInputError
        If the model is not a VRNN, or of several seeds.
    ShapeError
        If the recording has other dimensions or channels.

    Examples
    --------
    >>> network = VRNN.random(jax.random.key(0), n_channels=1, n_units=8, n_latents=1)
    >>> waves = np.sin(np.arange(20)[:, None] / 2 + np.arange(3)[:, None, None])
    >>> data = xr.DataArray(waves, dims=("trial", "time", "channel"))
    >>> dict(predict_vrnn(network, data, 4, seed=0).sizes)
    {'trial': 3, 'time': 20, 'lag': 4, 'channel': 1}
    """
    network = _one_network(model)
    trials = read(data)
    n_channels = len(trials.channels)
    if n_channels != network.n_channels:
        expected = f"the {network.n_channels} that the network was trained on"
        raise invalid("data", f"{n_channels} channels", expected, kind=ShapeError)
    n_predicted = require_integer(n_predicted, "n_predicted")
    n_samples = require_integer(n_samples, "n_samples")
    seed = require_integer(seed, "seed", minimum=0)
    precision: Any = str(network.recurrence.bias.dtype)
    with precision_context(precision):
        given = (*_arrays(trials), jax.random.key(seed), n_predicted, n_samples)
        found = np.asarray(_predict(network, *given))
    coords = {
        "trial": trials.labels,
        "time": trials.time,
        "lag": ("lag", 1 + np.arange(n_predicted), {"units": "steps"}),
        "channel": trials.channels,
    }
    dims = ("lag", "time", "trial", "channel")
    whole = xr.DataArray(found, coords, dims, name="prediction")
    valid = xr.DataArray(trials.valid, dims=("time", "trial"))
    return whole.transpose("trial", "time", "lag", "channel").where(valid)


class _Loss(eqx.Module):
    """Minus the evidence lower bound of all trials, with new noise."""

    divergence_weight: float = eqx.field(static=True)
    n_latents: int = eqx.field(static=True)

    def __call__(
        self, network: VRNN, key: Array, step: Array, values: Array, observed: Any
    ) -> tuple[Array, dict[str, Array]]:
        shape = *values.shape[:2], self.n_latents
        noise = kernels.standard_normal(key, shape, values.dtype)
        found = evidence_bound(network, values, observed, noise, self.divergence_weight)
        parts = found._asdict()
        return parts.pop("total"), parts


@lru_cache(maxsize=16)
def _adam(rate: float) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(GRADIENT_NORM), optax.adam(rate))


def _build(seed: int, n_channels: int, **sizes: int) -> VRNN:
    key = jax.random.fold_in(jax.random.key(seed), 0)
    return VRNN.random(key, n_channels, **sizes)


def _arrays(trials: Trials) -> tuple[Array, Array | None]:
    """Return values, and what of them is known; None if that is all."""
    values = jnp.asarray(trials.values, jnp.result_type(float))
    return values, None if trials.observed.all() else jnp.asarray(trials.observed)


def _one_network(model: Any) -> VRNN:
    network = model.model if isinstance(model, Result) else model
    if not isinstance(network, VRNN):
        raise invalid("model", type(network).__name__, "a VRNN or a Result of one")
    if isinstance(model, Result) and model.seeds is not None:
        raise invalid("model", "several seeds", "one", "Choose: result.sel(seed=...).")
    return network
