"""Waking: a network does its task, and says where it believes to be."""

from functools import partial
from typing import Any

import jax
import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import choice
from neuromod.core.result import Result
from neuromod.reactivation.navigator import Navigator, navigators_of
from neuromod.reactivation.sleep import DECODERS
from neuromod.reactivation.telling import by_seed, labelled, told


def wake(
    network: Navigator | Result,
    *,
    seed: int,
    n_trials: int = 200,
    n_steps: int | None = None,
    skip: int | None = None,
    noise: bool = True,
    decoder: str = "top_k",
    states: bool = False,
    outputs: bool = False,
) -> xr.Dataset:
    """Let a network do its task on new trials.

    Parameters
    ----------
    network
        What `train` returned, or a `Navigator`; of several seeds, all do the same
        trials.
    seed
        Of the trials and the noise.

    Other Parameters
    ----------------
    n_trials, n_steps
        Number of trials, and steps of each; those of the task if omitted.
    skip
        Steps that the animal takes before a trial begins. If omitted, as many as
        positions take to become stationary, so that they may be compared with sleep:
        the first steps of a biased walk still show where it was put down.
    noise
        Whether the network has the noise that it was trained with.
    decoder
        "top_k" (the mean of the three most active cells) or "population_vector".
    states, outputs
        Whether to keep the states of all units, and the outputs of all cells.

    Returns
    -------
    Dataset
        ``position`` (what the network says) and ``true_position``, both
        (trial, time, space); ``state`` (trial, time, unit) and ``output``
        (trial, time, cell) if asked for. Before these, ``seed``, if the network was
        trained with several.

    Raises
    ------
    InvalidInputError
        If an argument has no such value.

    Examples
    --------
    >>> from neuromod.reactivation import untrained
    >>> awake = wake(untrained("demo", 0), seed=0, n_trials=5, outputs=True)
    >>> dict(awake.sizes)
    {'trial': 5, 'time': 60, 'space': 2, 'cell': 100}
    """
    navigators = navigators_of(network)
    seed = require_integer(seed, "seed", minimum=0)
    n_trials = require_integer(n_trials, "n_trials")
    asked = (choice("decoder", decoder, DECODERS), bool(states), bool(outputs))

    def day(navigator):
        task = navigator.task
        n = require_integer(task.n_steps if n_steps is None else n_steps, "n_steps")
        before = task.stationary_after if skip is None else skip
        before = require_integer(before, "skip", minimum=0)
        key = jax.random.key(seed)
        found = _awake(navigator, key, n_trials, n, before, bool(noise), asked)
        return labelled(navigator, found, np.arange(1, n + 1) * float(task.time_step))

    return by_seed({label: day(one) for label, one in navigators.items()})


@partial(jax.jit, static_argnums=(2, 3, 4, 5, 6))
def _awake(
    navigator: Navigator,
    key: Any,
    n_trials: int,
    n_steps: int,
    skip: int,
    noisy: bool,
    asked: tuple[str, bool, bool],
) -> Any:
    keys = jax.random.split(key)
    batch = navigator.task.draw(keys[0], n_trials, n_steps, skip=skip)
    run = navigator.awake(batch, keys[1] if noisy else None)
    found = told(navigator, run.states, *asked)
    return found | {"true_position": batch.positions.swapaxes(0, 1)}
