"""Place maps as arrays: what every decoder reads from the DataArray that a user holds.

A map is a list of bins of space, whatever their arrangement: those of a track one after
the other, those of an arena that were visited, or those of a track once for each
direction of running. So one decoder serves all of them, and what it has to know about
space are the centres of the bins and which of them belong to one direction.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import ShapeError, invalid
from neuromod.reactivation.replay.track import AXES


class Maps(NamedTuple):
    """The maps of all neurons.

    ``rates`` (neuron, position) in Hz, ``centres`` (position, space) of the bins,
    ``direction`` (position): +1 or -1 for maps of one direction of running, 0 for maps
    of both, and the ``coords`` along position and the ``unit`` of space.
    """

    rates: np.ndarray
    centres: np.ndarray
    direction: np.ndarray
    coords: dict[str, xr.DataArray]
    unit: str

    @property
    def is_linear(self) -> bool:
        """Whether space has one dimension."""
        return self.centres.shape[1] == 1

    @property
    def is_directional(self) -> bool:
        """Whether there are maps for each direction of running."""
        return bool((self.direction != 0).any())


def centres_of(array: xr.DataArray) -> np.ndarray:
    """Return the centres (position, space) of the bins of maps or of a posterior."""
    axes = [name for name in AXES if name in array.coords]
    if not axes:
        raise invalid(
            "tuning",
            "no coordinate `x` along position",
            "the centres of the bins as coordinates `x` (and `y`)",
            "Take what tuning_curves returns.",
        )
    return np.stack([array[name].values.astype(float) for name in axes], axis=1)


def direction_of(array: xr.DataArray) -> np.ndarray:
    """Return the direction of running (position) of maps or of a posterior."""
    if "direction" not in array.coords:
        return np.zeros(array.sizes["position"])
    return array["direction"].values.astype(float)


def read(tuning: xr.DataArray, spikes: xr.DataArray | None = None) -> Maps:
    """Check maps, and put them into the order of the neurons of the spikes.

    Raises
    ------
    ShapeError
        If dimensions or neurons differ.
    InvalidInputError
        If a rate is not above zero: a single spike would rule out a place for ever.
    """
    tuning = dimensions.require_dims(tuning, ("neuron", "position"), "tuning")
    if spikes is not None:
        tuning = _ordered(tuning, spikes)
    rates = tuning.values.astype(float)
    dimensions.require_finite(rates, "tuning")
    if rates.size == 0 or rates.min() <= 0:
        raise invalid(
            "tuning",
            f"a rate of {rates.min() if rates.size else 'nothing'}",
            "rates > 0 Hz",
            "tuning_curves(..., min_rate=) sets the lowest one.",
        )
    along = {str(k): v for k, v in tuning.coords.items() if v.dims == ("position",)}
    unit = str(tuning.attrs.get("position_units", "unknown unit"))
    return Maps(rates, centres_of(tuning), direction_of(tuning), along, unit)


def _ordered(tuning: xr.DataArray, spikes: xr.DataArray) -> xr.DataArray:
    for argument, array in (("spikes", spikes), ("tuning", tuning)):
        if "neuron" not in array.coords:
            raise invalid(argument, "no neuron labels", "a coordinate `neuron`")
        dimensions.require_unique(array["neuron"], f"{argument}.neuron")
    wanted, present = spikes["neuron"].values, tuning["neuron"].values
    if set(wanted.tolist()) != set(present.tolist()):
        raise invalid(
            "tuning",
            f"maps of {len(present)} neurons for spikes of {len(wanted)}",
            "maps of the same neurons",
            "Select: spikes.sel(neuron=tuning.neuron).",
            ShapeError,
        )
    return tuning.sel(neuron=wanted)
