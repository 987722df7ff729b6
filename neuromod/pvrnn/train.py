"""Training: weights and adaptive vectors of all trials follow one gradient.

Both are descended together by Adam, adaptive vectors with a learning rate of their own.
In minibatches every adaptive vector is updated only when its trial is drawn, by moments
and a count of steps of its own (`neuromod.pvrnn.adam`).
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from neuromod.core import models, training
from neuromod.core.dimensions import (
    require_integer,
    require_non_negative,
    require_positive,
)
from neuromod.core.errors import choice, invalid
from neuromod.core.precision import Precision, in_precision, precision_context
from neuromod.core.provenance import start
from neuromod.core.result import Result
from neuromod.pvrnn import data as data_
from neuromod.pvrnn.adam import two_groups
from neuromod.pvrnn.encoder import encoded
from neuromod.pvrnn.objective import Objective
from neuromod.pvrnn.trainee import (
    AdaptiveStart,
    Beginning,
    InitialStates,
    Loss,
    Trainee,
    prepare,
    trained,
)
from neuromod.pvrnn.training_results import Lanes, result_of

STARTS = ("zero", "prior", "normal")
DEFAULT = Objective(0.01)


def train(
    data: Any,
    network: Any,
    *,
    seed: int | Sequence[int],
    objective: Objective | None = None,
    n_steps: int = 10_000,
    learning_rate: float = 1e-3,
    adaptive_learning_rate: float | None = None,
    weight_decay: float = 0.0,
    adaptive_start: AdaptiveStart = "zero",
    initial_states: InitialStates = "network",
    n_batch: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callable[[int, Any], None] | None = None,
    precision: Precision = "float32",
    progress: bool = True,
) -> Result:
    """Train a network on trials.

    Parameters
    ----------
    data
        A DataArray (trial, time, channel), or one (time, channel) for each trial: a
        list, or a DataTree. NaN is missing; trials may be of unequal length.
    network
        A `PVRNN` to start from, or a function that builds one from a random key, such
        as ``lambda key: hierarchy(key, ...)``.
    seed
        Of weights, noise and minibatches; several train as many networks side by side.
    objective
        What is descended; ``Objective(0.01)`` if omitted.

    Other Parameters
    ----------------
    n_steps
        Updates; each is one of all trials, or of a minibatch.
    learning_rate, adaptive_learning_rate
        Of the weights, and of the adaptive vectors: the same if omitted.
    weight_decay
        Of the weights at every step, times the learning rate (AdamW).
    adaptive_start
        Where adaptive vectors start: at "zero", where the posterior is the "prior", or
        at numbers of a standard "normal" distribution.
    initial_states
        Whether the potentials before the first step are those of the "network", or
        trained for each "trial" (`Objective` has their penalty).
    n_batch
        Trials of a minibatch; all if omitted.
    checkpoint
        A file where training is kept, every half minute and when interrupted. A second
        call with the same arguments goes on from there, to the same bits.
    callback
        Called about once a second with the number of steps done and the last loss.
    precision
        "float32" or "float64".
    progress
        Whether to show a progress bar.

    Returns
    -------
    Result
        ``model`` is the network, or a stack of them over seeds; ``history`` has the
        ``loss``, the ``reconstruction`` of each head and the ``divergence`` of each
        layer, of every step; ``latent`` the adaptive vectors.

    Raises
    ------
    InvalidInputError
        If data or an option cannot be used.
    DivergedError
        If the loss stopped being a number.

    Examples
    --------
    >>> import xarray as xr
    >>> from neuromod.pvrnn import hierarchy, tanh_head
    >>> waves = 0.8 * np.sin(np.arange(20)[:, None] / 2 + np.arange(3)[:, None, None])
    >>> data = xr.DataArray(waves, dims=("trial", "time", "channel"))
    >>> def build(key):
    ...     return hierarchy(key, [10], [1], [2], [tanh_head(1)])
    >>> result = train(data, build, seed=0, n_steps=5, progress=False)
    >>> result.data["history"]["loss"].shape, result.model.n_latents
    ((5,), 1)
    """
    return _train(
        data,
        network,
        seed=seed,
        objectives=[objective or DEFAULT],
        n_steps=n_steps,
        learning_rate=learning_rate,
        adaptive_learning_rate=adaptive_learning_rate,
        weight_decay=weight_decay,
        adaptive_start=adaptive_start,
        initial_states=initial_states,
        n_batch=n_batch,
        checkpoint=checkpoint,
        callback=callback,
        precision=precision,
        progress=progress,
    )[0]


def sweep(
    data: Any,
    network: Any,
    meta_priors: Sequence[float],
    *,
    seed: int | Sequence[int],
    objective: Objective | None = None,
    first: bool = True,
    **options: Any,
) -> dict[float, Result]:
    """Train a network for every meta-prior, all of them and all seeds side by side.

    Parameters
    ----------
    data, network, seed
        As of `train`.
    meta_priors
        Each takes the place of that of the objective, in all layers.
    objective
        All else that is descended.

    Other Parameters
    ----------------
    first
        Whether it also takes the place of the meta-prior of the first step.
    **options
        As of `train`, but for ``checkpoint``, in which all are kept together.

    Returns
    -------
    dict
        The `Result` of every meta-prior.
    """
    if not len(meta_priors):
        raise invalid("meta_priors", "none", "at least one number")
    objective = objective or DEFAULT
    objectives = [
        objective.with_meta_prior(w, w if first else objective.first_meta_prior)
        for w in meta_priors
    ]
    found = _train(data, network, seed=seed, objectives=objectives, **options)
    return dict(zip(meta_priors, found, strict=True))


def _train(
    data: Any,
    network: Any,
    *,
    seed: int | Sequence[int],
    objectives: list[Objective],
    n_steps: int = 10_000,
    learning_rate: float = 1e-3,
    adaptive_learning_rate: float | None = None,
    weight_decay: float = 0.0,
    adaptive_start: AdaptiveStart = "zero",
    initial_states: InitialStates = "network",
    n_batch: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    callback: Callable[[int, Any], None] | None = None,
    precision: Precision = "float32",
    progress: bool = True,
) -> list[Result]:
    """Train all objectives and seeds side by side; return a result per objective."""
    started = start()
    trials = data_.read(data)
    seeds = _seeds(seed)
    n_batch = _batch(n_batch, len(trials.labels))
    rates = _rates(learning_rate, adaptive_learning_rate)
    weight_decay = float(require_non_negative(weight_decay, "weight_decay"))
    choice("adaptive_start", adaptive_start, STARTS)
    choice("initial_states", initial_states, ("network", "trial"))
    beginning = Beginning(network, adaptive_start, initial_states)
    lanes = Lanes(trials, objectives, seeds, isinstance(seed, Iterable))
    with precision_context(precision):
        built = [
            in_precision(beginning.trainee(objectives[k], s, trials), precision)
            for k, s in lanes.pairs
        ]
        prepared = prepare(built[0].network, trials)
        several = len(built) > 1
        found = training.fit_gradient(
            Loss(n_batch),
            models.stack(built) if several else built[0],
            seed=[s for _, s in lanes.pairs] if several else seeds[0],
            n_steps=n_steps,
            optimiser=two_groups(*rates, n_batch is not None, weight_decay),
            arguments=(prepared,),
            trainable=trained,
            checkpoint=checkpoint,
            progress=progress,
            callback=callback,
        )
        ends = [found.parameters]
        if several:
            ends = [models.select(found.parameters, i) for i in range(len(built))]
        ends = [_whole(end, prepared) for end in ends]
    history = found.history
    if not several:
        history = {name: np.asarray(rows)[None] for name, rows in history.items()}
    config = {
        "n_steps": n_steps,
        "learning_rate": rates[0],
        "adaptive_learning_rate": rates[1],
        "weight_decay": weight_decay,
        "adaptive_start": adaptive_start,
        "initial_states": initial_states,
        "n_batch": n_batch,
        "precision": precision,
    }
    return [
        result_of(lanes, k, ends, history, config, started)
        for k in range(len(objectives))
    ]


def _whole(trainee: Trainee, data: Any) -> Trainee:
    """Return what was trained, with all of its adaptive vectors, the encoder's too."""
    whole = encoded(trainee.network, data, trainee.adaptive)
    return Trainee(trainee.network, whole, trainee.objective)


def _seeds(seed: int | Sequence[int]) -> list[int]:
    given = list(seed) if isinstance(seed, Iterable) else [seed]
    if not given:
        raise invalid("seed", "no seeds", "a whole number, or several")
    return [require_integer(s, "seed", minimum=0) for s in given]


def _batch(n_batch: int | None, n_trials: int) -> int | None:
    """Return the size of a minibatch; None if that is all trials."""
    if n_batch is None:
        return None
    n_batch = require_integer(n_batch, "n_batch")
    if n_batch > n_trials:
        raise invalid("n_batch", n_batch, f"at most the {n_trials} trials")
    return None if n_batch == n_trials else n_batch


def _rates(of_weights: float, of_adaptive: float | None) -> tuple[float, float]:
    rate = float(require_positive(of_weights, "learning_rate"))
    if of_adaptive is None:
        return rate, rate
    return rate, float(require_positive(of_adaptive, "adaptive_learning_rate"))
