"""What a network says, awake or asleep: where it believes to be, with its units."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from neuromod.reactivation.navigator import Navigator

DIMS = {
    "position": "space",
    "true_position": "space",
    "state": "unit",
    "output": "cell",
}
LONG_NAMES = {
    "position": "decoded position",
    "true_position": "true position",
    "state": "state of the units",
    "output": "activity of the cells",
}


def told(
    navigator: Navigator, state: Any, decoder: str, states: bool, outputs: bool
) -> dict[str, Any]:
    """Return what is kept of a state: the decoded position, and what was asked for."""
    output = navigator.network.read_out(state)
    found = {"position": navigator.task.code.decode(output, method=decoder)}
    if states:
        found["state"] = state
    if outputs:
        found["output"] = output
    return found


def labelled(
    navigator: Navigator, found: Mapping[str, Any], time: np.ndarray
) -> xr.Dataset:
    """Return arrays (time, trial, ...) as a Dataset of (trial, time, ...)."""
    unit = "rad" if navigator.task.code.periodic else "m"
    variables = {
        name: (
            ("trial", "time", DIMS[name]),
            np.swapaxes(np.asarray(found[name]), 0, 1),
            {"long_name": LONG_NAMES[name]}
            | ({"units": unit} if DIMS[name] == "space" else {}),
        )
        for name in DIMS
        if name in found
    }
    dataset = xr.Dataset(variables, {"time": ("time", time, {"units": "s"})})
    if dataset.sizes["space"] == 2:
        dataset = dataset.assign_coords(space=["x", "y"])
    return dataset


def by_seed(parts: Mapping[Any, xr.Dataset]) -> xr.Dataset:
    """Return Datasets of several seeds as one, with a first dimension ``seed``."""
    if None in parts:
        return parts[None]
    joined = xr.concat(list(parts.values()), "seed", combine_attrs="override")
    return joined.assign_coords(seed=list(parts))
