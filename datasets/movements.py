"""Movements by name: trials of joints and hands, and which of them are unseen."""

from pathlib import Path

import numpy as np
import xarray as xr

from neuromod.core.errors import DataFormatError
from neuromod.datasets import registry, store
from neuromod.datasets.registry import attributes

DIMS = ("trial", "time", "channel")


def load_movements(name: str, *, download: bool = True) -> xr.DataTree:
    """Load movements, downloading them if they are not here.

    Parameters
    ----------
    name
        A set of `list` with movements, such as "planar_arm".
    download
        Whether the network may be used.

    Returns
    -------
    xarray.DataTree
        ``training`` and ``unseen`` hold the ``movement`` (trial, time, channel), and
        what is known of it: the ``context`` of an arm ("self", "external"), and the
        ``probability_left`` (trial, time) of a reversal task, whose ``..._reversed``
        parts reverse it half way. Only what is new is in ``unseen``.

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
        parts = LAYOUTS[name](_arrays(path))
    except KeyError as error:
        got = f"no array {error.args[0]!r}"
        raise DataFormatError(
            f"{path.name}: {got}, expected those of {name}"
        ) from error
    tree = xr.DataTree.from_dict(parts)
    tree.attrs = attributes(entry)
    return tree


def simulate_arm(*, seed: int, n_trials: int = 48, n_steps: int = 200) -> xr.DataTree:
    """Simulate an arm that moves itself, or sees the hand of another: the twin.

    Parameters
    ----------
    seed
        Seed of everything drawn.
    n_trials
        Trials for training; the second half is external. As many again are unseen.
    n_steps
        Steps of each trial.

    Returns
    -------
    xarray.DataTree
        ``training`` and ``unseen`` as of `load_movements`; the truth is the
        ``context`` along trial. See `neuromod.pvrnn.simulate_arm`.

    Examples
    --------
    >>> arm = simulate_arm(seed=0, n_trials=4, n_steps=30)
    >>> arm["unseen"]["context"].values.tolist()
    ['self', 'self', 'external', 'external']
    """
    # Inside, so that listing the data sets does not have to load jax.
    from neuromod import pvrnn

    half = n_trials // 2
    context = ["self"] * half + ["external"] * (n_trials - half)
    both = pvrnn.simulate_arm(2 * n_trials, n_steps, seed=seed, context=context * 2)
    parts = {
        "training": both[:n_trials],
        "unseen": both[n_trials:].assign_coords(trial=np.arange(n_trials)),
    }
    tree = xr.DataTree.from_dict(
        {name: part.to_dataset(name="movement") for name, part in parts.items()}
    )
    tree.attrs = {
        "title": f"Simulated arm: {n_trials} trials, half of them external",
        "source": f"neuromod.datasets.simulate_arm(seed={seed}, ...)",
        "licence": "none needed: simulated",
        "citation": "none: simulated by neuromod",
    }
    return tree


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, OSError) as error:
        raise DataFormatError(f"{path.name} is no .npz file of arrays") from error


def _movement(values: np.ndarray, channels: list[str], **coords: object) -> xr.Dataset:
    n_trials, n_steps, _ = values.shape
    labels = {
        "trial": np.arange(n_trials),
        "time": np.arange(n_steps, dtype=float),
        "channel": channels,
    }
    array = xr.DataArray(values.astype(float), labels | coords, DIMS)
    return array.to_dataset(name="movement")


def _planar_arm(arrays: dict[str, np.ndarray]) -> dict[str, xr.Dataset]:
    channels = arrays["channels"].tolist()
    contexts = arrays["context"].tolist()
    # Of the stored tests only the first eight are not among the training trials, and
    # all of these are external, whatever is stored of their context.
    new = [k for k, trial in enumerate(arrays["test"]) if _is_new(trial, arrays)]
    return {
        "training": _movement(arrays["train"], channels, context=("trial", contexts)),
        "unseen": _movement(
            arrays["test"][new], channels, context=("trial", ["external"] * len(new))
        ),
    }


def _is_new(trial: np.ndarray, arrays: dict[str, np.ndarray]) -> bool:
    return not any(np.array_equal(trial, known) for known in arrays["train"])


def _reversal(arrays: dict[str, np.ndarray]) -> dict[str, xr.Dataset]:
    found = {}
    for name, stored in REVERSAL.items():
        half_movement = arrays[f"{stored}_trial"].astype(int)
        chances = arrays[f"{stored}_theta"]
        first = half_movement.min()
        left = np.take_along_axis(chances, half_movement - first, axis=1)
        found[name] = _movement(
            arrays[f"{stored}_xy"], ["x", "y"], probability_left=(DIMS[:2], left)
        )
    return found


REVERSAL = {
    "training": "block_train",
    "unseen": "block_test",
    "training_reversed": "stoch_train",
    "unseen_reversed": "stoch_test",
}
LAYOUTS = {"planar_arm": _planar_arm, "reversal_task": _reversal}
