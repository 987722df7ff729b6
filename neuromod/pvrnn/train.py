"""Training: weights and adaptive vectors of all trials follow one gradient.

Both are descended together by Adam, adaptive vectors with a learning rate of their own.
In minibatches every adaptive vector is updated only when its trial is drawn, by moments
and a count of steps of its own (`neuromod.pvrnn.adam`).
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from neuromod.core import models, training
from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.core.precision import Precision, in_precision, precision_context
from neuromod.core.provenance import provenance, start
from neuromod.core.result import Result
from neuromod.kernels.normal import standard_normal
from neuromod.pvrnn import data as data_
from neuromod.pvrnn import model as model_
from neuromod.pvrnn import stepwise
from neuromod.pvrnn.adam import two_groups
from neuromod.pvrnn.data import Trials
from neuromod.pvrnn.energy import Data, encode, evaluate
from neuromod.pvrnn.latents import Adaptive, before, split
from neuromod.pvrnn.latents import start as start_potentials
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.objective import Objective

STARTS = ("zero", "prior", "normal")
ADAPTIVE_DIMS = ("trial", "time", "latent")


class Trainee(eqx.Module):
    """What is trained: weights, adaptive vectors, and the objective beside them."""

    network: PVRNN
    adaptive: Adaptive
    objective: Objective


class Loss(eqx.Module):
    """The free energy of all trials, or of a minibatch, with new noise.

    Parameters
    ----------
    n_batch
        Trials of a minibatch; None for all.
    """

    n_batch: int | None = eqx.field(static=True)

    def __call__(
        self, trainee: Trainee, key: Array, step: Array, data: Data
    ) -> tuple[Array, dict[str, Array]]:
        """Return the free energy, and its parts."""
        adaptive = trainee.adaptive
        if self.n_batch is not None:
            chosen = self.chosen(key, step, adaptive.mean.shape[1])
            data, adaptive = take(data, chosen), take(adaptive, chosen)
        noise = standard_normal(
            jax.random.fold_in(key, 1), adaptive.mean.shape, adaptive.mean.dtype
        )
        found, _ = evaluate(trainee.network, trainee.objective, adaptive, data, noise)
        parts = {"reconstruction": found.reconstruction, "divergence": found.divergence}
        return found.total, parts

    def chosen(self, key: Array, step: Array, n_trials: int) -> Array:
        """Return the trials of a step."""
        return jax.random.permutation(key, n_trials)[: self.n_batch]


def take(tree: Any, chosen: Array) -> Any:
    """Return some trials of arrays (time, trial, ...) or potentials (trial, unit)."""

    def of(leaf: Any) -> Any:
        return jnp.take(leaf, chosen, axis=0 if leaf.ndim == 2 else 1)

    if isinstance(tree, Adaptive) and tree.initial is not None:
        whole = take(tree._replace(initial=None), chosen)
        return whole._replace(initial=jax.tree.map(of, tree.initial))
    if isinstance(tree, Data) and tree.valid is not None:
        whole = take(tree._replace(valid=None), chosen)
        return whole._replace(valid=jnp.take(tree.valid, chosen, axis=1))
    return jax.tree.map(of, tree)


def train(
    data: Any,
    network: Any,
    *,
    seed: int | Sequence[int],
    objective: Objective | None = None,
    n_steps: int = 10_000,
    learning_rate: float = 1e-3,
    adaptive_learning_rate: float | None = None,
    adaptive_start: Literal["zero", "prior", "normal"] = "zero",
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
    adaptive_start
        Where adaptive vectors start: at "zero", where the posterior is the "prior", or
        at numbers of a standard "normal" distribution.
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
    >>> from neuromod.pvrnn import hierarchy, tanh_head
    >>> waves = 0.8 * np.sin(np.arange(20)[:, None] / 2 + np.arange(3)[:, None, None])
    >>> data = xr.DataArray(waves, dims=("trial", "time", "channel"))
    >>> def build(key):
    ...     return hierarchy(key, [10], [1], [2], [tanh_head(1)])
    >>> result = train(data, build, seed=0, n_steps=5, progress=False)
    >>> result.data["history"]["loss"].shape, result.model.n_latents
    ((5,), 1)
    """
    started = start()
    objective = Objective(0.01) if objective is None else objective
    found = _train(
        data,
        network,
        [objective],
        seed,
        n_steps,
        learning_rate,
        adaptive_learning_rate,
        adaptive_start,
        n_batch,
        checkpoint=checkpoint,
        callback=callback,
        precision=precision,
        progress=progress,
    )
    return _result(found, 0, started)


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
    started = start()
    objective = Objective(0.01) if objective is None else objective
    if not len(meta_priors):
        raise invalid("meta_priors", "none", "at least one number")

    def of(meta_prior: float) -> Objective:
        starts = meta_prior if first else objective.first_meta_prior
        return Objective(
            meta_prior,
            starts,
            objective.schedule,
            objective.head_weight,
            objective.constants,
        )

    found = _train(data, network, [of(w) for w in meta_priors], seed, **options)
    return {w: _result(found, k, started) for k, w in enumerate(meta_priors)}


class _Found(NamedTuple):
    """All that was trained, one lane for each objective and seed."""

    trained: training.Trained
    lanes: list[tuple[int, int]]
    several: bool
    trials: Trials
    config: dict[str, Any]
    objectives: list[Objective]
    seeds: list[int]
    inputs: dict[str, Any]


def _train(
    data: Any,
    network: Any,
    objectives: list[Objective],
    seed: int | Sequence[int],
    n_steps: int = 10_000,
    learning_rate: float = 1e-3,
    adaptive_learning_rate: float | None = None,
    adaptive_start: str = "zero",
    n_batch: int | None = None,
    *,
    checkpoint: Any = None,
    callback: Any = None,
    precision: Precision = "float32",
    progress: bool = True,
) -> _Found:
    trials = data_.read(data)
    choice("adaptive_start", adaptive_start, STARTS)
    learning_rate = float(require_positive(learning_rate, "learning_rate"))
    of_adaptive = (
        learning_rate
        if adaptive_learning_rate is None
        else (require_positive(adaptive_learning_rate, "adaptive_learning_rate"))
    )
    several = isinstance(seed, Iterable)
    seeds = [
        require_integer(s, "seed", minimum=0) for s in (seed if several else [seed])
    ]
    if not seeds:
        raise invalid("seed", "no seeds", "a whole number, or several")
    if n_batch is not None:
        n_batch = require_integer(n_batch, "n_batch")
        if n_batch > len(trials.labels):
            expected = f"at most the {len(trials.labels)} trials"
            raise invalid("n_batch", n_batch, expected)
        n_batch = None if n_batch == len(trials.labels) else n_batch
    lanes = [(k, s) for k in range(len(objectives)) for s in seeds]
    with precision_context(precision):
        built = [
            in_precision(
                _trainee(network, objectives[k], s, trials, adaptive_start), precision
            )
            for k, s in lanes
        ]
        prepared = prepare(built[0].network, trials)
        stacked = len(lanes) > 1
        found = training.fit_gradient(
            Loss(n_batch),
            models.stack(built) if stacked else built[0],
            seed=[s for _, s in lanes] if stacked else seeds[0],
            n_steps=n_steps,
            optimiser=two_groups(
                learning_rate, float(of_adaptive), n_batch is not None
            ),
            arguments=(prepared,),
            trainable=_trained,
            checkpoint=checkpoint,
            progress=progress,
            callback=callback,
        )
    config = {
        "n_steps": n_steps,
        "learning_rate": learning_rate,
        "adaptive_learning_rate": float(of_adaptive),
        "adaptive_start": adaptive_start,
        "n_batch": n_batch,
        "precision": precision,
    }
    return _Found(
        found,
        lanes,
        several,
        trials,
        config,
        objectives,
        seeds,
        {"data": trials.values},
    )


def prepare(network: PVRNN, trials: Trials) -> Data:
    """Return trials as what a network should tell, without masks that hide nothing."""
    n_channels = len(trials.channels)
    if n_channels != network.n_channels:
        raise invalid(
            "data",
            f"{n_channels} channels",
            f"the {network.n_channels} of the network's heads",
            kind=ShapeError,
        )
    every = trials.observed | ~trials.valid[..., None]
    return encode(
        network,
        jnp.asarray(trials.values, jnp.result_type(float)),
        None if every.all() else jnp.asarray(trials.observed),
        None if trials.valid.all() else jnp.asarray(trials.valid),
    )


def _trainee(
    network: Any, objective: Objective, seed: int, trials: Trials, adaptive_start: str
) -> Trainee:
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 0))
    built = network if isinstance(network, PVRNN) else network(keys[0])
    if not isinstance(built, PVRNN):
        raise invalid("network", type(built).__name__, "a PVRNN")
    n_layers = len(built.layers)
    objective = eqx.tree_at(
        lambda o: (o.meta_prior, o.first_meta_prior, o.head_weight),
        objective,
        (
            _full(objective.meta_prior, n_layers),
            _full(
                objective.meta_prior
                if objective.first_meta_prior is None
                else objective.first_meta_prior,
                n_layers,
            ),
            _full(objective.head_weight, len(built.heads)),
        ),
        is_leaf=lambda leaf: leaf is None,
    )
    n_steps, n_trials = trials.valid.shape
    shape = n_steps, n_trials, built.n_latents
    if adaptive_start == "normal":
        drawn = jax.random.normal(keys[1], (2, *shape))
        adaptive = Adaptive(*drawn)
    elif adaptive_start == "prior":
        adaptive = at_prior(built, keys[1], n_steps, n_trials)
    else:
        adaptive = Adaptive(*np.zeros((2, *shape)))
    return Trainee(built, adaptive, objective)


def _full(value: Any, n: int) -> np.ndarray:
    values = np.asarray(value, float)
    if values.shape not in ((), (n,)):
        raise invalid("objective", f"numbers of shape {values.shape}", f"() or ({n},)")
    return np.broadcast_to(values, (n,)).copy()


def at_prior(network: PVRNN, key: Any, n_steps: int, n_trials: int) -> Adaptive:
    """Return adaptive vectors at the prior, along a run that is drawn from it."""
    shape = n_steps, n_trials, network.n_latents
    noise = standard_normal(key, shape)
    potentials = start_potentials(network, n_trials)
    activities, prior, _, _ = stepwise.generate(network, noise, potentials)
    past = before(activities, potentials)
    sizes = [layer.n_latents for layer in network.layers]
    wanted = zip(
        split(jnp.arctanh(prior.mean), sizes),
        split(jnp.log(prior.deviation), sizes),
        strict=True,
    )
    found = []
    for (mean, log), layer, d in zip(wanted, network.layers, past, strict=True):
        if layer.posterior is not None:
            mean = mean - layer.posterior.mean(d)
            log = log - layer.posterior.log_deviation(d)
        found.append((mean, log))
    return Adaptive(*(jnp.concatenate(p, axis=-1) for p in zip(*found, strict=True)))


def _trained(trainee: Trainee) -> Trainee:
    held = jax.tree.map(lambda _: False, trainee.objective)
    free = jax.tree.map(lambda _: True, trainee.adaptive)
    return Trainee(model_.trainable(trainee.network), free, held)


def _result(found: _Found, k: int, started: Any) -> Result:
    """Return what was trained with one of the objectives."""
    rows = [i for i, (which, _) in enumerate(found.lanes) if which == k]
    alone = len(found.lanes) == 1

    def of(tree: Any) -> Any:
        if alone:
            return models.stack([tree]) if found.several else tree
        picked = [models.select(tree, i) for i in rows]
        return models.stack(picked) if found.several else picked[0]

    trainee = of(found.trained.parameters)
    seed_dim = ("seed",) if found.several else ()
    history = {
        name: np.asarray(values)[None]
        if alone and found.several
        else np.asarray(values)
        if alone
        else np.asarray(values)[rows]
        if found.several
        else np.asarray(values)[rows[0]]
        for name, values in found.trained.history.items()
    }
    network = models.select(trainee.network, 0) if found.several else trainee.network
    layers = [layer.name for layer in network.layers]
    heads = [head.name for head in network.heads]
    told = {
        "loss": ((*seed_dim, "step"), history["loss"]),
        "reconstruction": ((*seed_dim, "step", "head"), history["reconstruction"]),
        "divergence": ((*seed_dim, "step", "layer"), history["divergence"]),
    }
    labels = {"seed": found.seeds} if found.several else {}
    adaptive = {
        f"adaptive_{name}": (
            (*seed_dim, *ADAPTIVE_DIMS),
            np.swapaxes(np.asarray(getattr(trainee.adaptive, name)), -3, -2),
        )
        for name in ("mean", "log_deviation")
    }
    coords = {
        "trial": found.trials.labels,
        "time": found.trials.time,
        "layer_of_latent": (
            "latent",
            np.array(layers)[network.latent_layers],
            {"long_name": "layer of the latent"},
        ),
    }
    tree = xr.DataTree.from_dict(
        {
            "/history": xr.Dataset(told, labels | {"layer": layers, "head": heads}),
            "/latent": xr.Dataset(adaptive, labels | coords),
        }
    )
    objective = found.objectives[k]
    config = found.config | {
        "objective": {
            "meta_prior": np.asarray(objective.meta_prior).tolist(),
            "first_meta_prior": None
            if objective.first_meta_prior is None
            else np.asarray(objective.first_meta_prior).tolist(),
            "schedule": None
            if objective.schedule is None
            else np.asarray(objective.schedule).tolist(),
            "head_weight": np.asarray(objective.head_weight).tolist(),
            "constants": objective.constants._asdict(),
        }
    }
    seed = found.seeds if found.several else found.seeds[0]
    about = provenance(
        seed=seed,
        precision=found.config["precision"],
        started=started,
        inputs=found.inputs,
    )
    return Result(trainee.network, tree, config, about)
