"""The vocabulary: named dimensions with their units, and the checks at the door.

Every array that a user passes in or gets back is an ``xarray.DataArray`` whose
dimensions carry the names below. They mean the same thing in every family and
are never renamed locally. Time is in seconds here, in steps in the kernels.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from neuromod.core.errors import InvalidInputError, ShapeError, did_you_mean, invalid

DIMENSIONS: dict[str, str] = {
    "time": "time of the sample in seconds (a float coordinate)",
    "trial": "repetition of an experiment",
    "session": "recording session",
    "subject": "animal or participant",
    "neuron": "recorded unit",
    "source_neuron": "unit whose spikes act on `neuron`",
    "input": "what drives neurons or choices from outside",
    "transition_input": "what tilts the odds of a jump between states",
    "self_basis": "basis function of a neuron's filter of its own past",
    "self_lag": "time before the present bin in that filter, in seconds",
    "quantile": "rank of a value as a fraction",
    "statistic": "number that sums a recording up",
    "n_states": "number of hidden states of a fit that is compared with others",
    "sign": "inhibition (-1) or excitation (1)",
    "lag": "time before the present bin, in seconds",
    "basis": "basis function of a filter",
    "state": "hidden discrete state",
    "state_to": "state after a transition",
    "connection": "kind of coupling (inhibitory, none, excitatory)",
    "shift": "circular shift of a null model",
    "fold": "held-out part of a cross-validation",
    "model": "model or null that was scored",
    "true_model": "model that made simulated data",
    "n_trials": "number of trials of a design",
    "n_per_group": "number of subjects in each of two groups",
    "unit": "hidden unit of a network",
    "cell": "place or head-direction cell",
    "space": "spatial axis (x, y)",
    "node": "node of a predictive-coding network",
    "level": "level of a hierarchy",
    "layer": "layer of a network",
    "latent": "latent variable",
    "head": "group of channels that a network tells from the same units",
    "channel": "sensor",
    "region": "brain region (parcel)",
    "source_region": "region that acts on `region`",
    "band": "frequency band",
    "electrode": "stimulation electrode",
    "parameter": "parameter of a model",
    "parameter_to": "parameter that `parameter` is correlated with",
    "query": "asked point of a closed-loop session",
    "candidate": "point that could be asked for",
    "output": "what is measured in every trial, such as a muscle",
    "chain": "Markov chain of a sampler",
    "draw": "draw from a posterior",
    "draw_prior": "draw from a prior",
    "seed": "random seed of a repeated fit",
    "restart": "repetition of a fit from another starting point",
    "iteration": "iteration of a fit",
    "event": "event in a recording, such as a burst of a population",
    "shuffle": "shuffled copy of the data",
    "position": "bin of a place map",
    "condition": "how a network ran: awake, asleep, or as a control",
    "point": "state where the dynamics of a network stand still, or nearly",
}


def require_dims(
    array: object, dims: Sequence[str], argument: str, *, remedy: str = ""
) -> xr.DataArray:
    """Return ``array`` with its dimensions in the order ``dims``, or raise.

    Parameters
    ----------
    array
        What the user passed in.
    dims
        The names that ``array`` must have, in the order in which they return.
    argument
        The name of the argument, for the error.
    remedy
        How to mend it; a ready line of code is best.

    Raises
    ------
    ShapeError
        If ``array`` is no DataArray or has other dimensions.
    """
    expected = "a DataArray with dimensions (" + ", ".join(dims) + ")"
    if not isinstance(array, xr.DataArray):
        remedy = remedy or (
            f"Wrap it: xarray.DataArray(values, dims={list(dims)}, coords=...)."
        )
        raise invalid(argument, type(array).__name__, expected, remedy, ShapeError)
    if set(array.dims) != set(dims):
        unknown = [d for d in array.dims if d not in DIMENSIONS]
        hint = did_you_mean(str(unknown[0]), DIMENSIONS) if unknown else ""
        got = "dimensions (" + ", ".join(map(str, array.dims)) + ")"
        raise invalid(argument, got, expected, remedy or hint, ShapeError)
    return array.transpose(*dims)


def require_real(dtype: np.dtype, argument: str) -> None:
    """Raise unless values of this type are real numbers; yes and no count as 1 and 0.

    Complex numbers would lose a part, and text, objects and dates fail where nobody
    can tell why.
    """
    if dtype.kind not in "biuf":
        raise invalid(
            argument,
            f"values of type {dtype}",
            "real numbers",
            "Convert them, for example with .astype(float), or take .real of complex "
            "ones.",
        )


def require_unique(labels: object, argument: str) -> None:
    """Raise unless no label occurs twice."""
    values, counts = np.unique(np.asarray(labels).astype(str), return_counts=True)
    repeated = values[counts > 1]
    if len(repeated):
        raise invalid(
            argument,
            "the label(s) " + ", ".join(repr(str(v)) for v in repeated[:5]) + " twice",
            "labels that are all different",
            "Rename them, for example with assign_coords.",
        )


def require_finite(values: np.ndarray, argument: str) -> None:
    """Raise unless every value is finite, telling where the first one is not."""
    require_real(values.dtype, argument)
    finite = np.isfinite(values)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise invalid(
            argument,
            f"{int((~finite).sum())} values that are not finite "
            f"(the first at index {where})",
            "finite numbers",
            "Drop them, or declare them missing where the function takes NaN.",
        )


def require_scale(values: np.ndarray, argument: str, largest: float) -> None:
    """Raise if the root mean square of a column is larger than what a fit can take.

    Parameters
    ----------
    values : (row, column)
        Finite numbers.
    argument
        The name of the argument, for the error.
    largest
        Where a column begins to drown what stands beside it.
    """
    with np.errstate(over="ignore"):
        size = np.sqrt(np.square(values, dtype=float).mean(axis=0)).max(initial=0)
    if size > largest:
        raise invalid(
            argument,
            f"numbers up to {np.abs(values).max():.3g}",
            f"a root mean square of at most {largest:.3g}",
            "Standardise them, or take another unit.",
        )


def require_counts(values: np.ndarray, argument: str) -> None:
    """Raise unless every value is a whole number >= 0; NaN counts as missing."""
    require_real(values.dtype, argument)
    present = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if present.size and not np.isfinite(present).all():
        raise invalid(argument, "an infinite count", "whole numbers >= 0")
    if present.size and present.min() < 0:
        raise invalid(
            argument,
            f"the negative count {present.min()}",
            "whole numbers >= 0",
            "Are these z-scored or baseline-corrected rates? Pass the raw counts.",
        )
    if present.dtype.kind == "f" and present.size and (present % 1 != 0).any():
        fraction = present[present % 1 != 0][0]
        raise invalid(
            argument,
            f"the fractional count {fraction}",
            "whole numbers >= 0",
            "Rates and smoothed counts are no spike counts: bin the spike times "
            "with neuromod.io.bin_spikes.",
        )


def require_integer(value: object, argument: str, minimum: int = 1) -> int:
    """Return ``value`` as an int, or raise unless it is a whole number >= minimum."""
    expected = f"a whole number >= {minimum}"
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise invalid(argument, repr(value), expected)
    if value < minimum:
        raise invalid(argument, value, expected)
    return int(value)


def require_positive(value: object, argument: str, unit: str = "") -> float:
    """Return ``value`` as a float, or raise unless it is finite and > 0."""
    number = _number(value)
    if not 0 < number < np.inf:
        raise invalid(argument, repr(value), f"a number > 0 {unit}".strip())
    return number


def require_non_negative(value: object, argument: str, unit: str = "") -> float:
    """Return ``value`` as a float, or raise unless it is finite and >= 0."""
    number = _number(value)
    if not 0 <= number < np.inf:
        raise invalid(argument, repr(value), f"a number >= 0 {unit}".strip())
    return number


def _number(value: object) -> float:
    """Return one real number as a float, and NaN for whatever is none."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal length
        return np.nan
    single = array.ndim == 0 and array.dtype.kind in "iuf"
    return float(array) if single else np.nan


def require_time(array: xr.DataArray, argument: str) -> np.ndarray:
    """Return the time coordinate (s), or raise unless it exists and ascends."""
    if "time" not in array.coords:
        raise invalid(
            argument,
            "no time coordinate",
            "a coordinate `time` in seconds",
            "Add one: array.assign_coords(time=np.arange(array.sizes['time']) * dt).",
        )
    time = np.asarray(array["time"].values)
    if time.dtype.kind not in "iuf":
        raise invalid(
            argument, f"a time coordinate of type {time.dtype}", "seconds as numbers"
        )
    time = time.astype(float)
    require_finite(time, f"{argument}.time")
    if (np.diff(time) <= 0).any():
        where = int(np.argmax(np.diff(time) <= 0))
        raise invalid(
            f"{argument}.time",
            f"{time[where]} s followed by {time[where + 1]} s",
            "times that ascend",
            "Sort with array.sortby('time'), or mark where a new session starts "
            "with a `session` coordinate along time.",
        )
    return time


def bin_size(time: np.ndarray, argument: str) -> float:
    """Return the spacing (s) of a regular time axis, or raise if it is irregular."""
    if len(time) < 2:
        return float("nan")
    steps = np.diff(time)
    size = float(np.median(steps))
    if np.abs(steps - size).max() > 1e-3 * size:
        where = int(np.argmax(np.abs(steps - size)))
        raise InvalidInputError(
            f"{argument}.time: got a step of {steps[where]:.6g} s at {time[where]:.6g} "
            f"s among steps of {size:.6g} s, expected a regular grid. Two clocks, or a "
            "gap? Put the parts into a list, or give a `session` coordinate along time."
        )
    return size
