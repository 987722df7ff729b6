r"""Training: a network learns to tell its place from its steps, against its noise.

Every step of gradient descent (Adam) sees a new batch of trials of the task, and new
noise; the loss is the mean squared error of the code,

$$
L = \frac{1}{B T N_o} \sum_{b, t, i} (y_{bti} - p_{bti})^2 ,
$$

through the whole length of the trials. Several seeds train side by side, in one
program, and a second training by the same recipe compiles nothing.
"""

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
from jaxtyping import Array, Float

from neuromod.core import models, training
from neuromod.core.dimensions import require_integer
from neuromod.core.errors import invalid
from neuromod.core.precision import Precision, in_precision, precision_context
from neuromod.core.provenance import provenance, start
from neuromod.core.result import Result
from neuromod.reactivation import presets
from neuromod.reactivation.codes import Factors
from neuromod.reactivation.navigator import Navigator, trainable
from neuromod.reactivation.presets import Recipe
from neuromod.reactivation.readout import readout_error
from neuromod.reactivation.tasks.task import Batch


def squared_error(
    outputs: Float[Array, "*trial cell"], targets: Float[Array, "*trial cell"]
) -> Float[Array, ""]:
    """Return the mean squared error over trials, time and cells."""
    return jnp.mean((outputs - targets) ** 2)


def train(
    task: Any,
    *,
    seed: int | Sequence[int],
    checkpoint: str | os.PathLike[str] | None = None,
    remember: int | None = None,
    callback: Callable[[int, Any], None] | None = None,
    precision: Precision = "float32",
    progress: bool = True,
    **settings: Any,
) -> Result:
    """Train a network on a task.

    Parameters
    ----------
    task
        A task, a function that returns one for a seed, or the name of a preset with
        its task: "demo" (a minute),
        "head_direction_small", or the published "spatial_navigation",
        "spatial_navigation_biased", "spatial_navigation_gru", "sorscher_2019" and
        "head_direction" (hours).
    seed
        Of the weights, the noise and the trials, and of the place cells of a preset;
        several train as many networks side by side.

    Other Parameters
    ----------------
    checkpoint
        A file where training is kept, every half minute and when interrupted. A second
        call with the same arguments goes on from there, to the same bits.
    remember
        Steps of a trial whose states are kept for the gradient at a time: less memory
        for a third more time. All if omitted.
    callback
        Called with the number of steps done and the last loss, about once a second.
    precision
        "float32" or "float64".
    progress
        Whether to show a progress bar.
    **settings
        Fields of `Recipe` in the place of the preset's: ``n_units``, ``kind``,
        ``leak``, ``recurrent_noise``, ``n_steps``, ``n_trials``, ``learning_rate`` ...

    Returns
    -------
    Result
        ``model`` is a `Navigator`, or a stack of them over seeds; ``history`` has the
        ``loss`` of every step.

    Raises
    ------
    InvalidInputError
        If a setting is unknown or has no such value.
    DivergedError
        If the loss stopped being a number.

    Examples
    --------
    >>> result = train("demo", seed=0, n_steps=3, n_units=10, progress=False)
    >>> result.model.network.n_units, result.data["history"]["loss"].shape
    (10, (3,))
    """
    started = start()
    make_task, recipe = presets.resolve(task, settings)
    several = isinstance(seed, Iterable)
    seeds = [
        require_integer(s, "seed", minimum=0) for s in (seed if several else [seed])
    ]
    if not seeds:
        raise invalid("seed", "no seeds", "a whole number, or several")
    with precision_context(precision):
        built = [
            in_precision(
                recipe.build(make_task(s), jax.random.fold_in(jax.random.key(s), 0)),
                precision,
            )
            for s in seeds
        ]
        factor = _factor(recipe, built[0])
        found = training.fit_gradient(
            Loss(recipe.n_trials, factor, _silent(recipe), remember),
            models.stack(built) if several else built[0],
            seed=seeds if several else seeds[0],
            n_steps=recipe.n_steps,
            optimiser=_optimiser(recipe),
            trainable=trainable,
            checkpoint=checkpoint,
            callback=callback,
            progress=progress,
        )
    dims = ("seed", "step") if several else ("step",)
    loss = np.asarray(found.history["loss"]) / factor
    labels = {"seed": seeds} if several else {}
    told = {"loss": (dims, loss, {"long_name": "mean squared error of the code"})}
    history = xr.Dataset(told, labels)
    tree = xr.DataTree.from_dict({"/history": history})
    return Result(
        found.parameters,
        tree,
        recipe._asdict() | {"precision": precision},
        provenance(seed=seed, precision=precision, started=started, inputs={}),
    )


class Loss(eqx.Module):
    """What training descends; equal for equal settings, so that it compiles once.

    Parameters
    ----------
    n_trials
        Trials of every batch.
    factor
        Multiplies the error.
    silent
        Names of the noise scales that are 0: of these nothing is drawn.
    remember
        Steps of a trial whose states are kept at a time; None for all.
    """

    n_trials: int = eqx.field(static=True)
    factor: float = eqx.field(static=True)
    silent: tuple[str, ...] = eqx.field(static=True)
    remember: int | None = eqx.field(static=True)

    def __call__(self, navigator: Navigator, key: Any, step: Any) -> Array:
        """Return the error of a new batch with new noise, times the factor."""
        keys = jax.random.split(key)
        batch = navigator.task.draw(keys[0], self.n_trials)
        targets, factors = _time_first(batch)
        # A traced scale may be anything; as numbers, zeros are known to be zero.
        navigator = eqx.tree_at(
            lambda n: [getattr(n.network, name) for name in self.silent],
            navigator,
            [0.0] * len(self.silent),
        )
        run = navigator.awake(batch, keys[1], self.remember)
        if "output_noise" not in self.silent:
            return self.factor * squared_error(run.outputs, targets)
        return self.factor * readout_error(
            navigator.network, run.states, targets, factors
        )


def _time_first(batch: Batch) -> tuple[Array, Factors | None]:
    targets = jnp.swapaxes(batch.targets, 0, 1)
    if batch.factors is None:
        return targets, None
    features, mixing = batch.factors
    return targets, Factors(jnp.swapaxes(features, 0, 1), mixing)


def _silent(recipe: Recipe) -> tuple[str, ...]:
    scales = ("input_noise", "recurrent_noise", "output_noise")
    return tuple(name for name in scales if getattr(recipe, name) == 0)


def _factor(recipe: Recipe, navigator: Navigator) -> float:
    given = recipe.loss_factor
    return float(navigator.network.n_cells if given == "n_cells" else given)


def _optimiser(recipe: Recipe) -> optax.GradientTransformation:
    cosine = recipe.schedule == "cosine"
    return _adam(recipe.learning_rate, recipe.n_steps if cosine else None)


@lru_cache(maxsize=16)
def _adam(rate: float, decays_within: int | None) -> optax.GradientTransformation:
    if decays_within is None:
        return optax.adam(rate)
    return optax.adam(optax.cosine_decay_schedule(rate, decays_within))
