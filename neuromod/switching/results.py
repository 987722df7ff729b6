"""What a fit found, with names on every axis."""

from typing import Any

import numpy as np
import xarray as xr

from neuromod.core.sequences import Sequences
from neuromod.switching import em
from neuromod.switching.data import Prepared
from neuromod.switching.information import standard_errors
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import OBSERVATIONS
from neuromod.switching.one_hot import OneHot
from neuromod.switching.preferences import preferences
from neuromod.switching.priors import Prior

CONNECTIONS = ["inhibitory", "none", "excitatory"]


def parameters(
    model: SwitchingGLM,
    neurons: np.ndarray,
    bin_size: float,
    inputs: np.ndarray | None = None,
    transition_inputs: np.ndarray | None = None,
) -> xr.Dataset:
    """Name the axes of a model's parameters.

    Parameters
    ----------
    model
        Parameters of the switching GLM.
    neurons : (neuron,)
        Labels of the neurons.
    bin_size
        Width of a bin in seconds.
    inputs, transition_inputs
        Labels of the inputs; numbered if omitted.

    Returns
    -------
    Dataset
        ``initial`` (state), ``transition_matrix`` (state, state_to), ``bias`` (state,
        neuron), ``weight`` (state, neuron, source_neuron, basis) and
        ``basis_function`` (basis, lag); and what the model has besides:
        ``input_weight`` (state, neuron, input), ``self_weight`` (state, neuron,
        self_basis), ``self_basis_function`` (self_basis, self_lag),
        ``transition_weight`` (state, state_to, transition_input) and ``dispersion``
        (state, neuron).
    """
    states = np.arange(model.n_states)
    layout = model.layout

    def past(basis):
        lags = (1 + np.arange(basis.shape[1])) * bin_size
        return ("lag", lags, {"units": "s", "long_name": "time before the bin"})

    dataset = xr.Dataset(
        {
            "initial": ("state", np.asarray(model.initial)),
            "transition_matrix": (
                ("state", "state_to"),
                np.asarray(model.transition_matrix),
            ),
            "bias": (("state", "neuron"), np.asarray(model.bias)),
            "weight": (
                ("state", "neuron", "source_neuron", "basis"),
                np.asarray(model.weight),
            ),
            "basis_function": (("basis", "lag"), np.asarray(model.basis)),
        },
        coords={
            "state": states,
            "state_to": states,
            "neuron": neurons,
            "source_neuron": neurons,
            "basis": np.arange(len(model.basis)),
            "lag": past(model.basis),
        },
    )
    dataset["weight"].attrs["long_name"] = "effect of source_neuron on neuron"
    dataset["bias"].attrs["long_name"] = "baseline of the linear predictor"
    if layout.n_inputs:
        labels = np.arange(layout.n_inputs) if inputs is None else inputs
        dims = ("state", "neuron", "input")
        dataset["input_weight"] = (dims, np.asarray(model.input_weight))
        dataset = dataset.assign_coords(input=labels)
    if layout.n_own:
        dims = ("state", "neuron", "self_basis")
        dataset["self_weight"] = (dims, np.asarray(model.self_weight))
        dims = ("self_basis", "self_lag")
        dataset["self_basis_function"] = (dims, np.asarray(model.self_basis))
        _, lags, attrs = past(model.self_basis)
        dataset = dataset.assign_coords(self_lag=("self_lag", lags, attrs))
    n_tilts = model.transition_weight.shape[-1]
    if n_tilts:
        labels = np.arange(n_tilts) if transition_inputs is None else transition_inputs
        dims = ("state", "state_to", "transition_input")
        dataset["transition_weight"] = (dims, np.asarray(model.transition_weight))
        dataset = dataset.assign_coords(transition_input=labels)
    if OBSERVATIONS[model.observation].dispersed:
        dataset["dispersion"] = (("state", "neuron"), np.asarray(model.dispersion))
    return dataset


def describe(
    found: em.Finish,
    prior: Prior,
    prepared: Prepared,
    rate: np.ndarray,
    kinds: np.ndarray | None = None,
) -> dict[str, xr.Dataset]:
    """Return the groups of a Result: parameters, uncertainty and latent states.

    Parameters
    ----------
    found
        Where EM ended.
    prior
        The prior it ended with.
    prepared
        The data.
    rate : (neuron,)
        Mean values per bin.
    kinds : (state, neuron, source_neuron, connection)
        Probability of every kind, if another procedure than EM found it.
    """
    named = parameters(
        found.end.model,
        prepared.neurons,
        prepared.bin_size,
        prepared.inputs,
        prepared.transition_inputs,
    )
    named["baseline_rate"] = ("neuron", rate / prepared.bin_size, {"units": "Hz"})
    if isinstance(prior, OneHot):
        named = named.merge(_connections(found.end.prior_state, prior.types))
    if kinds is not None:
        dims = ("state", "neuron", "source_neuron", "connection")
        named["connection_probability"] = (dims, kinds[found.order])
        named = named.assign_coords(connection=CONNECTIONS)
    return {
        "parameters": named,
        "uncertainty": _uncertainty(found, named),
        "latent": _latent(prepared, found.smoothed),
    }


def _connections(state: Any, types: str) -> xr.Dataset:
    """Name the axes of what the one-hot prior found."""
    pair = ("neuron", "source_neuron", "connection")
    known = state.connections
    probability = np.moveaxis(np.asarray(known.probability), (0, 1), (2, 3))
    preference = np.asarray(preferences(known, types)).transpose(2, 0, 1)
    strength = {
        name: (("basis", "sign"), np.asarray(part))
        for name, part in zip(
            ("strength_linear", "strength_precision"), state.slab, strict=True
        )
    }
    return xr.Dataset(
        {
            "connection_probability": (("state", *pair), probability),
            "connection_preference": (pair, preference),
            "connection_concentration": (
                "connection",
                np.asarray(known.concentration),
            ),
            **strength,
        },
        coords={"connection": CONNECTIONS, "sign": [-1, 1]},
    )


def _uncertainty(found: em.Finish, named: xr.Dataset) -> xr.Dataset:
    """Name the axes of the standard errors as those of what they belong to."""
    model = found.end.model
    errors = standard_errors(found.information)
    errors = errors.reshape(*model.bias.shape, model.layout.n_coefficients)
    inputs, own = 1 + model.layout.n_inputs, model.layout.n_dense
    parts = {
        "bias": errors[..., 0],
        "input_weight": errors[..., 1:inputs],
        "self_weight": errors[..., inputs:own],
        "weight": errors[..., own:].reshape(model.weight.shape),
    }
    return xr.Dataset(
        {
            f"{name}_standard_error": named[name].copy(data=part)
            for name, part in parts.items()
            if name in named
        }
    )


def _latent(prepared: Prepared, smoothed: np.ndarray) -> xr.Dataset:
    states = {"state": np.arange(smoothed.shape[-1])}
    attrs = {"units": "1", "long_name": "probability of the state"}
    return prepared.data.concatenate(
        smoothed, ("state",), states, "state_probability", attrs
    ).to_dataset()


def scores(best: em.Restart, data: Sequences) -> dict[str, Any]:
    """Return what the fit reached, and of how much data."""
    total = best.log_likelihoods[-1]
    return {
        "log_likelihood": total,
        "log_likelihood_per_bin": total / data.n_observed,
        "n_neurons": len(data.coords["neuron"]),
        "n_sessions": len(data.labels),
        "n_bins": data.n_bins,
        "n_missing_bins": data.n_bins - data.n_observed,
    }


def history(race: em.Race) -> xr.Dataset:
    """Return what each restart reached in each iteration; NaN after it stopped."""
    runs, kept = race
    n_iterations = max(len(run.objectives) for run in runs)

    def padded(values):
        return np.array([v + [np.nan] * (n_iterations - len(v)) for v in values])

    dims = ("restart", "iteration")
    return xr.Dataset(
        {
            "log_likelihood": (dims, padded([r.log_likelihoods for r in runs])),
            "objective": (dims, padded([r.objectives for r in runs])),
        },
        coords={
            "restart": np.arange(len(runs)),
            "iteration": np.arange(n_iterations),
        },
        attrs={
            "converged": runs[kept].converged,
            "restart_kept": kept,
            "prior_from_iteration": runs[kept].prior_from,
            "n_iterations": len(runs[kept].objectives) - 1,
        },
    )
