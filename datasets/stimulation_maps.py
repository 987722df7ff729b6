"""Maps of motor cortex by name: what stimulation of each electrode makes move."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from neuromod.core.errors import DataFormatError
from neuromod.datasets import registry, store
from neuromod.datasets.registry import attributes

ARRAYS = {"primate": (10, 10, False), "rat": (8, 4, True)}
# In the order of the stimulator's channels (`config/ch2xy_online.json` of
# EduOptimNeurostim, commit 2ebf0ff); on the array the maps are smooth in it, and in
# no other order that was tried.
FROM_LAST, FROM_FIRST = (8, 4, 7, 3, 6, 2, 5, 1), (4, 8, 3, 7, 2, 6, 1, 5)
POPULATION_ROWS = (*FROM_LAST, *FROM_FIRST) * 2
POPULATION_COLUMNS = (1,) * 8 + (2,) * 8 + (4,) * 8 + (3,) * 8
POPULATIONS = ("generic", "injury", "intact")


def load_stimulation_maps(name: str, *, download: bool = True) -> xr.DataTree:
    """Load the maps of an animal, downloading them if they are not here.

    Parameters
    ----------
    name
        A set of `list` with maps, such as "capuchin_motor_maps".
    download
        Whether the network may be used.

    Returns
    -------
    xarray.DataTree
        ``maps`` holds the ``mean`` response (electrode, output; of averages over
        animals, between 0 and 1) and, where they were kept, the single trials
        ``response`` (electrode, output, trial), with the ``position`` (electrode,
        space) of each electrode in pitches.

    Raises
    ------
    DatasetUnavailableError
        If it is not on this machine and cannot be downloaded.
    DataFormatError
        If the file is damaged.
    """
    entry = registry.describe(name)
    path = store.obtain(entry, download=download)
    try:
        with np.load(path, allow_pickle=False) as stored:
            if name == "rat_population_maps":
                return _described(_population_maps(stored), entry)
            mean, position = stored["mean"].astype(float), stored["ch2xy"].astype(float)
            kept = "resp" in stored.files
            response = (
                np.where(stored["valid"], stored["resp"], np.nan) if kept else None
            )
            named = "muscles" in stored.files
            names = [str(n) for n in stored["muscles"]] if named else []
    except (ValueError, EOFError, OSError, KeyError) as error:
        raise DataFormatError(
            f"{Path(path).name} holds no maps of {name}: {error}"
        ) from error
    names = names or [f"muscle {k + 1}" for k in range(mean.shape[1])]
    return _described(_maps(mean, position, names, response), entry)


def _described(maps: xr.Dataset, entry: registry.Entry) -> xr.DataTree:
    tree = xr.DataTree.from_dict({"maps": maps})
    tree.attrs = attributes(entry)
    return tree


def _population_maps(stored: Mapping[str, np.ndarray]) -> xr.Dataset:
    mean = np.stack([stored[name] for name in POPULATIONS], axis=1).astype(float)
    at = np.stack([POPULATION_ROWS, POPULATION_COLUMNS], axis=1).astype(float)
    row_by_row = np.lexsort(at.T[::-1])
    return _maps(mean[row_by_row], at[row_by_row], list(POPULATIONS), None)


def simulate_stimulation_maps(
    *, seed: int, n_muscles: int = 4, n_trials: int = 30, array: str = "primate"
) -> xr.DataTree:
    """Simulate the maps of an animal, and single trials of them: the twin.

    Parameters
    ----------
    seed
        Seed of everything drawn.
    n_muscles
        Maps.
    n_trials
        Single trials of each electrode.
    array
        "primate" (10 x 10 without corners) or "rat" (8 x 4).

    Returns
    -------
    xarray.DataTree
        ``maps`` as of `load_stimulation_maps`; its ``mean`` is the truth.

    Examples
    --------
    >>> maps = simulate_stimulation_maps(seed=0, array="rat")["maps"]
    >>> maps["response"].shape
    (32, 4, 30)
    """
    # Inside, so that listing the data sets does not have to load jax.
    from neuromod import stimulation
    from neuromod.core.errors import choice

    n_rows, n_columns, corners = ARRAYS[choice("array", array, ARRAYS)]
    at = stimulation.array_of(n_rows, n_columns, corners=corners)
    worlds = [
        stimulation.simulate_world(at, seed=seed * 1000 + k) for k in range(n_muscles)
    ]
    mean = np.stack([world.mean for world in worlds], axis=1)
    response = np.stack([world.trials[:, :n_trials] for world in worlds], axis=1)
    names = [f"muscle {k + 1}" for k in range(n_muscles)]
    tree = xr.DataTree.from_dict({"maps": _maps(mean, at, names, response)})
    tree.attrs = {
        "title": f"Simulated maps of {n_muscles} muscles on the array of a {array}",
        "source": f"neuromod.datasets.simulate_stimulation_maps(seed={seed}, ...)",
        "licence": "none needed: simulated",
        "citation": "none: simulated by neuromod",
    }
    return tree


def _maps(
    mean: np.ndarray,
    position: np.ndarray,
    names: list[str],
    response: np.ndarray | None,
) -> xr.Dataset:
    labels = [str(k + 1) for k in range(len(mean))]
    space = ["row", "column"]
    found = xr.Dataset(
        {
            "mean": (("electrode", "output"), mean),
            "position": (("electrode", "space"), position, {"units": "pitches"}),
        },
        {"electrode": labels, "output": names, "space": space},
    )
    if response is not None:
        found["response"] = (("electrode", "output", "trial"), response)
    return found
