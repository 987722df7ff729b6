"""How many states? Fits with every number of them, judged by what they did not see.

The likelihood of the data that a model was fitted to only rises with the number of
states; that of other data stops rising. So for every number the recording is fitted
again and again with another part left out, whole sessions if there are several, and
the part left out is scored. Scores of the same part are compared with each other, and
the **one-standard-error rule** decides: the smallest number of states whose score lies
within one standard error of the best one's, the standard error being that of their
difference over the parts. What else tells of too many states stands beside it: states
that are hardly ever visited, and states that other parts of the data would not give
again (the *stability*).
"""

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from neuromod.core import store as stores
from neuromod.core.dimensions import require_integer
from neuromod.core.errors import invalid
from neuromod.core.folds import Fold, blocked_folds, leave_one_out
from neuromod.core.keys import keys
from neuromod.core.pieces import Data, split
from neuromod.core.progress import progress_bar
from neuromod.core.result import Result
from neuromod.switching.data import group, prepare
from neuromod.switching.fit import fit
from neuromod.switching.metrics import adjusted_rand_index
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import OBSERVATIONS
from neuromod.switching.predict import decode, score


class Task(NamedTuple):
    """One fit: the number of states, and what is left out (None: nothing)."""

    n_states: int
    fold: Fold | None

    def __str__(self) -> str:
        part = "all data" if self.fold is None else f"fold {self.fold.label}"
        return f"n_states={self.n_states}, {part}"


def select(
    spikes: Data,
    n_states: int | Sequence[int] = (1, 2, 3, 4),
    *,
    seed: int,
    inputs: Data | None = None,
    transition_inputs: Data | None = None,
    n_folds: int = 5,
    gap: float = 5.0,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **settings: Any,
) -> xr.Dataset:
    """Compare numbers of states by the likelihood of data that were left out.

    Parameters
    ----------
    spikes : (time, neuron)
        Spike counts or choices, in any form that `fit` takes.
    n_states
        The numbers of states to compare.
    seed
        Seed of the starting points of every fit.

    Other Parameters
    ----------------
    inputs, transition_inputs : (time, input)
        As in `fit`; they are cut like the spikes.
    n_folds
        Number of parts that are left out in turn. Several sessions (or trials) are
        dealt out whole, at most one part for each; of a single one stretches are left
        out, which count as missing, so that the chain steps over them.
    gap
        What is dropped on either side of a stretch that is left out (s), so that the
        state of its first bins cannot be told from the last ones before.
    store
        A folder for finished fits: what is there is not computed again, so that an
        interrupted selection goes on where it was.
    progress
        Whether to show a progress bar.
    **settings
        Further arguments of `fit`, the same for all.

    Returns
    -------
    Dataset
        Per (n_states, fold) the held-out scores as `score` gives them, such as
        ``log_likelihood_per_bin`` (nats/bin) and ``bits_per_spike``. Per n_states,
        over folds: ``difference`` of the log-likelihood per bin from the best
        number's, with ``difference_standard_error``, and ``stability``, the mean
        adjusted Rand index of the paths that the folds' fits decode from all data.
        Per n_states, of the fit to all data: ``fit_log_likelihood`` (nats),
        ``n_parameters`` (those that are not exactly zero), ``bic``, and
        ``smallest_occupancy``, the share of time of the rarest state.
        ``attrs["chosen"]`` is the smallest number within one standard error of the
        best.

    Raises
    ------
    InvalidInputError
        If a number of states occurs twice, there are fewer than two parts, or as in
        `fit`.

    Notes
    -----
    Breiman, Friedman, Stone & Olshen (1984), Classification and Regression Trees: the
    rule. Scores of folds are not independent, so the standard error is somewhat too
    small, and the rule somewhat generous.

    Examples
    --------
    >>> from neuromod import datasets, switching
    >>> spikes = datasets.simulate_switching(
    ...     seed=0, n_states=2, n_neurons=6, n_sessions=1, n_steps=2000
    ... )["recording"]["spikes"]
    >>> found = switching.select(
    ...     spikes, (1, 2), seed=0, n_folds=3, basis=None, n_restarts=1, progress=False
    ... )
    >>> found.attrs["chosen"], dict(found.sizes)
    (2, {'n_states': 2, 'fold': 3})
    """
    numbers = _require_numbers(n_states)
    seed = require_integer(seed, "seed", minimum=0)
    n_folds = require_integer(n_folds, "n_folds", minimum=2)
    data = _in_parts(spikes, inputs, transition_inputs, settings)
    folds = _folds(data["spikes"], n_folds, gap)
    tasks = [Task(n, fold) for n in numbers for fold in [*folds, None]]
    # A store takes the same settings in another order for others.
    config = {"data": data, "seed": seed, "settings": dict(sorted(settings.items()))}
    folder = None if store is None else stores.folder(store)
    found = {}
    with progress_bar(len(tasks), "select", "fit", shown=progress) as bar:
        for task in tasks:
            bar.set_postfix_str(str(task))
            label = None if task.fold is None else task.fold.label
            found[task.n_states, label] = _once(task, config, folder)
            bar.update()
    return _compared(found, numbers, folds, seed)


def _require_numbers(n_states: int | Sequence[int]) -> list[int]:
    given = [n_states] if isinstance(n_states, int | np.integer) else n_states
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str):
        raise invalid("n_states", repr(given), "numbers of states, such as (1, 2, 3)")
    numbers = sorted(require_integer(n, "n_states") for n in given)
    if not numbers or len(set(numbers)) < len(numbers):
        raise invalid("n_states", given, "different numbers of states, at least one")
    return numbers


def _in_parts(
    spikes: Data, inputs: Any, transition_inputs: Any, settings: Mapping[str, Any]
) -> dict[str, list[xr.DataArray]]:
    """Check the data and split them, those that there are, into their sessions."""
    prepared = prepare(
        spikes,
        "spikes",
        settings.get("observation", "poisson"),
        inputs=inputs,
        transition_inputs=transition_inputs,
    )
    given = {"spikes": spikes, "inputs": inputs, "transition_inputs": transition_inputs}
    data = {k: _split(v, k) for k, v in given.items() if v is not None}
    if prepared.recording.recorded is not None:
        # One long array marks a neuron that a session lacks by NaN throughout.
        data["spikes"] = [p.dropna("neuron", how="all") for p in data["spikes"]]
    return data


def _split(data: Data, variable: str) -> list[xr.DataArray]:
    _, parts = split(data, variable)
    return [part[variable] if isinstance(part, xr.Dataset) else part for part in parts]


def _folds(spikes: list[xr.DataArray], n_folds: int, gap: float) -> list[Fold]:
    """Leave out whole sessions, or trials where there are none, or stretches."""
    if len(spikes) == 1:
        return blocked_folds(spikes, n_folds, gap=gap)
    owners = [str(i) for i in range(len(spikes))]
    if all("session" in part.coords for part in spikes):
        sessions = [str(part["session"].values.flat[0]) for part in spikes]
        owners = sessions if len(set(sessions)) > 1 else owners
    names = list(dict.fromkeys(owners))
    if len(names) > n_folds:
        # Dealt out like cards, so that what drifts from session to session is in all.
        owners = [str(names.index(owner) % n_folds) for owner in owners]
    return leave_one_out(spikes, by=owners)


def _once(task: Task, config: Mapping[str, Any], folder: Path | None) -> xr.Dataset:
    """Judge a fit, or read what was found before."""
    if folder is None:
        return _judge(task, **config)
    key = keys(_judge, {str(task): task}, config)[str(task)]
    path = stores.find(folder, key)
    if path is None:
        path = stores.write(folder, key, _judge(task, **config))
    return stores.read(path)


def _judge(
    task: Task,
    *,
    data: Mapping[str, list[xr.DataArray]],
    seed: int,
    settings: Mapping[str, Any],
) -> xr.Dataset:
    """Fit, and return what tells how good the fit is."""
    how = {"n_states": task.n_states, "seed": seed, "progress": False, **settings}
    if task.fold is None:
        return _of_all(fit(**data, **how))
    result = fit(**_only(data, task.fold.train), **how)
    held_out = score(result, **_only(data, task.fold.test)).drop_dims("session")
    path = np.concatenate(decode(result, **data))
    return held_out.drop_vars("log_likelihood").assign(path=("time", path))


def _only(
    data: Mapping[str, list[xr.DataArray]], masks: Sequence[np.ndarray]
) -> dict[str, list[xr.DataArray]]:
    """Keep the sessions that are marked; where only some bins are, hide the others.

    Arrays keep their shapes wherever they can: each shape is a program to compile.
    """
    kept = {
        name: [part for part, mask in zip(parts, masks, strict=True) if mask.any()]
        for name, parts in data.items()
    }
    marked = [xr.DataArray(mask, dims="time") for mask in masks if mask.any()]
    hidden = [p.where(m) for p, m in zip(kept["spikes"], marked, strict=True)]
    return {**kept, "spikes": hidden}


def _of_all(result: Result) -> xr.Dataset:
    """Return what is told by the fit to all data."""
    reached = result.data.attrs
    n_observed = reached["n_bins"] - reached["n_missing_bins"]
    n_parameters = count_parameters(result.model)
    bic = n_parameters * np.log(n_observed) - 2 * reached["log_likelihood"]
    shares = group(result.data, "latent")["state_probability"].mean("time")
    return xr.Dataset(
        {
            "fit_log_likelihood": ((), reached["log_likelihood"], {"units": "nats"}),
            "n_parameters": n_parameters,
            "bic": bic,
            "smallest_occupancy": float(shares.min()),
        }
    )


def count_parameters(model: SwitchingGLM) -> int:
    """Count what a fit was free to choose; a weight of exactly zero is none.

    Parameters
    ----------
    model
        The fitted model.
    """
    n_states = model.n_states
    n_tilts = model.transition_weight.shape[-1]
    # Probabilities sum to one, and so do the odds that inputs tilt.
    chain = (n_states - 1) + n_states * (n_states - 1) * (1 + n_tilts)
    weights = (model.bias, model.input_weight, model.self_weight, model.weight)
    n_weights = sum(np.count_nonzero(np.asarray(part)) for part in weights)
    dispersed = OBSERVATIONS[model.observation].dispersed
    return chain + int(n_weights) + dispersed * np.asarray(model.dispersion).size


def one_standard_error(
    scores: Float[np.ndarray, "n_states fold"],
) -> tuple[int, Float[np.ndarray, " n_states"], Float[np.ndarray, " n_states"]]:
    """Return the first row within one standard error of the best, and the differences.

    Parameters
    ----------
    scores : (n_states, fold)
        Held-out scores, the simplest model first.

    Returns
    -------
    chosen
        Index of the row.
    difference, standard_error : (n_states,)
        Of each row from the best, in the same folds.

    Examples
    --------
    >>> scores = np.array([[1.0, 2.0, 3.0], [4.0, 4.9, 6.0], [4.1, 5.0, 5.9]])
    >>> one_standard_error(scores)[0]
    1
    """
    paired = scores - scores[scores.mean(1).argmax()]
    difference = paired.mean(1)
    standard_error = paired.std(1, ddof=1) / np.sqrt(scores.shape[1])
    return int(np.argmax(-difference <= standard_error)), difference, standard_error


def _compared(
    found: Mapping[tuple[int, str | None], xr.Dataset],
    numbers: list[int],
    folds: list[Fold],
    seed: int,
) -> xr.Dataset:
    """Put all fits side by side and choose."""
    labels = [fold.label for fold in folds]
    parts = {n: [found[n, label] for label in labels] for n in numbers}
    held_out = [
        xr.concat([p.drop_dims("time") for p in parts[n]], "fold") for n in numbers
    ]
    table = xr.concat(held_out, "n_states").merge(
        xr.concat([found[n, None] for n in numbers], "n_states")
    )
    scores = table["log_likelihood_per_bin"]
    chosen, difference, error = one_standard_error(scores.values)
    table["difference"] = ("n_states", difference, scores.attrs)
    table["difference_standard_error"] = ("n_states", error, scores.attrs)
    stability = [_stability([p["path"].values for p in parts[n]]) for n in numbers]
    table["stability"] = ("n_states", stability)
    return table.assign_coords(
        n_states=numbers,
        fold=labels,
        n_train=("fold", [fold.n_train for fold in folds]),
        n_test=("fold", [fold.n_test for fold in folds]),
    ).assign_attrs(chosen=numbers[chosen], seed=seed)


def _stability(paths: list[np.ndarray]) -> float:
    """Return how well the fits of different parts agree on the states of all data."""
    pairs = itertools.combinations(paths, 2)
    return float(np.mean([adjusted_rand_index(a, b) for a, b in pairs]))
