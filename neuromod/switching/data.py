"""Labels in and out: spike counts checked at the door, parameters with their axes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import NotFittedError, ShapeError, invalid
from neuromod.core.result import Result
from neuromod.core.sequences import Sequences, gather
from neuromod.switching.inference import Recording
from neuromod.switching.model import SwitchingGLM


def prepare(spikes: Any, argument: str) -> tuple[Sequences, Recording, float]:
    """Check spike counts at the door and bring them into padded form.

    Parameters
    ----------
    spikes
        Counts in any of the forms that `fit` takes.
    argument
        The name of the argument, for errors.

    Returns
    -------
    Sequences, Recording, float
        How to give results back, the padded counts, and the bin width (s).
    """
    data = gather(spikes, argument, ("time", "neuron"), "spikes")
    dimensions.require_counts(data.values, argument)
    if data.values.shape[2] == 0:
        raise invalid(argument, "0 neurons", "at least one", kind=ShapeError)
    if data.n_observed == 0:
        raise invalid(argument, "only missing bins", "at least one observed bin")
    recording = Recording(data.values.astype(float), data.observed, data.lengths)
    return data, recording, _common_bin_size(data, argument)


def prepare_for(
    fit: object, spikes: Any, argument: str = "fit"
) -> tuple[Sequences, Recording]:
    """Check that spikes are of the neurons and the bin width of a fit.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes
        Counts in any of the forms that `fit` takes.
    argument
        The name under which the fit was passed, for errors.
    """
    if not isinstance(fit, Result) or not isinstance(fit.model, SwitchingGLM):
        raise NotFittedError(
            f"{argument}: got {type(fit).__name__}, expected the Result of "
            "neuromod.switching.fit. Fit one, or load it with neuromod.load(path)."
        )
    data, recording, bin_size = prepare(spikes, "spikes")
    neurons = group(fit.data, "parameters")["neuron"].values
    if not np.array_equal(data.coords["neuron"], neurons):
        raise invalid(
            "spikes.neuron",
            f"{len(data.coords['neuron'])} labels that differ from the fit's",
            f"the {len(neurons)} neurons of the fit in their order",
            "Select them: spikes.sel(neuron=fit.data['parameters']['neuron']).",
            ShapeError,
        )
    if abs(bin_size - fit.config["bin_size"]) > 1e-3 * bin_size:
        raise invalid(
            "spikes",
            f"bins of {bin_size:.6g} s",
            f"bins of {fit.config['bin_size']:.6g} s as in the fit",
            "Bin the spikes again, or fit at this bin width.",
        )
    return data, recording


def _common_bin_size(data: Sequences, argument: str) -> float:
    sizes = np.array([dimensions.bin_size(t, argument) for t in data.times])
    known = sizes[np.isfinite(sizes)]
    if len(known) == 0:
        declared = data.attrs.get("bin_size")
        if declared is None:
            raise invalid(
                argument,
                "sessions of one bin each, which tell no bin width",
                "attrs['bin_size'] in seconds on the (first) DataArray",
            )
        return dimensions.require_positive(declared, f"{argument}.attrs['bin_size']")
    if np.ptp(known) > 1e-3 * known[0]:
        raise invalid(
            argument,
            f"sessions with bins of {known.min():.6g} s and of {known.max():.6g} s",
            "one bin width",
            "Bin all sessions alike with neuromod.io.bin_spikes.",
        )
    # A difference of times carries rounding in its last digits.
    return float(f"{known[0]:.9g}")


def typed(tree: Any, precision: str) -> Any:
    """Bring arrays to the device, floating-point ones in the given precision."""

    def convert(array):
        floating = np.issubdtype(np.asarray(array).dtype, np.floating)
        return jnp.asarray(array, dtype=precision if floating else None)

    return jax.tree.map(convert, tree)


def parameters(model: SwitchingGLM, neurons: np.ndarray, bin_size: float) -> xr.Dataset:
    """Name the axes of a model's parameters.

    Parameters
    ----------
    model
        Parameters of the switching GLM.
    neurons : (neuron,)
        Labels of the neurons.
    bin_size
        Width of a bin in seconds.

    Returns
    -------
    Dataset
        ``initial`` (state), ``transition_matrix`` (state, state_to), ``bias``
        (state, neuron), ``weight`` (state, neuron, source_neuron, basis) and
        ``basis_function`` (basis, lag).
    """
    states = np.arange(model.n_states)
    lags = (1 + np.arange(model.n_lags)) * bin_size
    weight_dims = ("state", "neuron", "source_neuron", "basis")
    dataset = xr.Dataset(
        {
            "initial": ("state", np.asarray(model.initial)),
            "transition_matrix": (
                ("state", "state_to"),
                np.asarray(model.transition_matrix),
            ),
            "bias": (("state", "neuron"), np.asarray(model.bias)),
            "weight": (weight_dims, np.asarray(model.weight)),
            "basis_function": (("basis", "lag"), np.asarray(model.basis)),
        },
        coords={
            "state": states,
            "state_to": states,
            "neuron": neurons,
            "source_neuron": neurons,
            "basis": np.arange(len(model.basis)),
            "lag": ("lag", lags, {"units": "s", "long_name": "time before the bin"}),
        },
    )
    dataset["weight"].attrs["long_name"] = "effect of source_neuron on neuron"
    dataset["bias"].attrs["long_name"] = "baseline of the linear predictor"
    return dataset


def group(tree: xr.DataTree, name: str) -> xr.Dataset:
    """Return one group of a tree, such as a fit's parameters, as a Dataset."""
    return tree.children[name].to_dataset()
