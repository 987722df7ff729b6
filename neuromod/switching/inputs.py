"""Inputs at the door: numbers for every bin of the data, on their clock."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float

from neuromod.core import dimensions, slabs
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.sequences import Sequences, gather
from neuromod.switching.basis import LARGEST
from neuromod.switching.priors import Prior, Ridge
from neuromod.switching.recording import Recording

ALIGN = "Put both on one clock with neuromod.io.align."


def gather_inputs(
    inputs: Any, argument: str, data: Sequences
) -> tuple[Float[np.ndarray, "session time input"], np.ndarray]:
    """Return inputs on the bins of the data, and their labels.

    Parameters
    ----------
    inputs : (time, input)
        What the user passed, in the form of the data; or None.
    argument
        The name of the argument, for errors.
    data
        What the inputs go with.
    """
    if inputs is None:
        return np.zeros((*data.observed.shape, 0)), np.zeros(0, int)
    found = gather(inputs, argument, ("time", "input"), argument)
    _require_same_bins(found, data, argument)
    values = np.asarray(found.values, float)
    n_finite = (found.observed & np.isfinite(values).all(axis=2)).sum()
    if n_finite < found.n_bins:
        raise invalid(
            argument,
            f"{found.n_bins - n_finite} bins with missing or infinite values",
            "finite numbers",
            "Fill them, or mark the same bins as missing (NaN) in the data and put "
            "any number here.",
        )
    for slab in slabs.read(values, found.lengths):
        dimensions.require_scale(slab.values, argument, LARGEST)
    return values, np.asarray(found.coords["input"])


def _require_same_bins(found: Sequences, data: Sequences, argument: str) -> None:
    """Raise unless inputs have the sessions, the bins and the clock of the data."""
    if found.form != "list" and found.labels != data.labels:
        raise invalid(
            argument,
            f"the sessions {list(found.labels[:5])}",
            f"those of the data in their order: {list(data.labels[:5])}",
            "Pass the form of the data; to one long array give their labels: "
            f"{argument}.assign_coords(session=('time', spikes['session'].values)).",
            ShapeError,
        )
    if not np.array_equal(found.lengths, data.lengths):
        raise invalid(
            argument,
            f"sessions of {found.lengths[:5].tolist()} bins",
            f"{data.lengths[:5].tolist()} bins as in the data",
            ALIGN,
            ShapeError,
        )
    for label, given, time in zip(data.labels, found.times, data.times, strict=True):
        apart = ~np.isclose(given, time, rtol=0, atol=1e-9)
        if apart.any():
            where = int(apart.argmax())
            raise invalid(
                f"{argument}.time",
                f"{given[where]:.9g} s in bin {where} of session {label!r}",
                f"{time[where]:.9g} s as in the data",
                ALIGN,
                ShapeError,
            )


def input_sizes(recording: Recording) -> Float[np.ndarray, " input"]:
    """Return the root mean square of every input; 1 for one that is always zero."""
    inputs = np.asarray(recording.inputs, float)[np.asarray(recording.observed)]
    size = np.sqrt(np.square(inputs).mean(axis=0))
    return np.where(size > 0, size, 1)


def warn_of_small(
    recording: Recording,
    labels: np.ndarray,
    prior: Prior,
    curvature: Float[np.ndarray, " neuron"],
) -> None:
    """Name inputs in so large a unit that the prior outweighs the data.

    Parameters
    ----------
    recording
        The inputs.
    labels
        Their names.
    prior
        Holds their weights.
    curvature : (neuron,)
        What a bin tells of each neuron's linear predictor (Fisher information).
    """
    ridge = isinstance(prior, Ridge)
    held = getattr(prior, "precision" if ridge else "baseline_precision")
    n_bins = np.asarray(recording.observed).sum()
    told = n_bins * input_sizes(recording) ** 2 * np.median(curvature)
    small = told < held
    if small.any():
        names = ", ".join(str(name) for name in labels[small][:10])
        warnings.warn(
            f"switching.fit: the input(s) {names} are so small that the Gaussian prior "
            "on their weights outweighs the data. Standardise them: divide by their "
            "standard deviation.",
            UserWarning,
            stacklevel=3,
        )
