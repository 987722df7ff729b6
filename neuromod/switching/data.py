"""Labels in and out: spike counts checked at the door, parameters with their axes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core import dimensions, slabs
from neuromod.core.errors import NotFittedError, ShapeError, invalid
from neuromod.core.precision import precision_context
from neuromod.core.result import Result
from neuromod.core.sequences import Sequences, gather
from neuromod.core.slabs import Slabs
from neuromod.switching.basis import LARGEST
from neuromod.switching.features import history
from neuromod.switching.inputs import gather_inputs
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.recording import Recording


class Prepared(NamedTuple):
    """Data that passed the door.

    Parameters
    ----------
    data
        How to give results back.
    recording
        Padded values and inputs.
    bin_size
        Width of a bin (s).
    neurons : (neuron,)
        Labels of what the GLMs explain: neurons, or options of a choice.
    inputs, transition_inputs
        Labels of the inputs.
    """

    data: Sequences
    recording: Recording
    bin_size: float
    neurons: np.ndarray
    inputs: np.ndarray
    transition_inputs: np.ndarray

    @property
    def stored(self) -> Slabs | None:
        """How to read the values, if they stay on disk."""
        values = self.recording.values
        return values if isinstance(values, Slabs) else None

    def checksummed(self) -> dict[str, np.ndarray]:
        """Return what the provenance remembers of the data."""
        found = {"spikes": self.data.values, "lengths": self.data.lengths}
        for name in ("inputs", "transition_inputs"):
            if len(getattr(self, name)):
                found[name] = np.asarray(getattr(self.recording, name))
        return found


def prepare(
    spikes: Any,
    argument: str,
    observation: str,
    *,
    inputs: Any = None,
    transition_inputs: Any = None,
    labels: np.ndarray | None = None,
) -> Prepared:
    """Check data at the door and bring them into padded form.

    Parameters
    ----------
    spikes
        Counts or choices in any of the forms that `fit` takes.
    argument
        The name of the argument, for errors.
    observation
        What the values are.
    inputs, transition_inputs
        Inputs in the same form, or None.
    labels : (neuron,)
        What the GLMs of a fit explain, if the data are for one; None to fit anew.
    """
    data = gather(spikes, argument, ("time", "neuron"), "spikes", join="neuron")
    if data.values.shape[2] == 0:
        raise invalid(argument, "0 neurons", "at least one", kind=ShapeError)
    if data.n_observed == 0:
        raise invalid(
            argument,
            "only missing bins",
            "at least one observed bin",
            "A bin counts as missing if any neuron is NaN in it: leave out those that "
            "often are.",
        )
    if labels is None:
        _require_every_neuron(data, argument)
    values, neurons = _values(data, argument, observation, labels)
    drive, driving = gather_inputs(inputs, "inputs", data)
    tilt, tilting = gather_inputs(transition_inputs, "transition_inputs", data)
    if data.recorded is not None:
        values = _at_their_mean(np.asarray(values), data)
    recording = Recording(
        values, data.observed, data.lengths, drive, tilt, data.recorded
    )
    bin_size = _common_bin_size(data, argument)
    return Prepared(data, recording, bin_size, neurons, driving, tilting)


def _require_every_neuron(data: Sequences, argument: str) -> None:
    """Raise if a neuron has no value in any session."""
    if data.recorded is None:
        return
    has_bins = data.observed.any(axis=1, keepdims=True)
    seen = np.any(data.recorded & has_bins, axis=0)
    if not seen.all():
        names = ", ".join(str(name) for name in data.coords["neuron"][~seen][:10])
        raise invalid(
            argument,
            f"no observed bin of the neuron(s) {names}",
            "some of each neuron",
            "Leave them out with spikes.dropna('neuron', how='all').",
        )


def _values(
    data: Sequences, argument: str, observation: str, labels: np.ndarray | None
):
    """Return the values of the GLMs and their labels."""
    neurons = np.asarray(data.coords["neuron"])
    require = dimensions.require_counts
    if observation == "gaussian":
        require = dimensions.require_finite
    for slab in slabs.read(data.values, data.lengths):
        require(slab.values, argument)
        if observation != "categorical":
            dimensions.require_scale(slab.values, argument, LARGEST)
    if isinstance(data.values, Slabs) and observation != "categorical":
        return data.values, neurons
    values = np.asarray(data.values, dtype=float)
    if observation != "categorical":
        return values, neurons
    if values.shape[2] != 1:
        raise invalid(
            argument,
            f"{values.shape[2]} neurons",
            "one choice per bin: a single entry along `neuron`",
            kind=ShapeError,
        )
    options = _options(values[data.observed], argument, labels)
    return (values == options).astype(float), options


def _options(
    choices: np.ndarray, argument: str, options: np.ndarray | None
) -> np.ndarray:
    """Return the options after the first: those of a fit, or all that occur."""
    found = np.unique(choices)
    if options is not None and found[-1] <= options[-1]:
        return options
    if options is None and found[-1] == len(found) - 1 > 0:
        return np.arange(1, len(found))
    expected = "at least two, numbered 0, 1, 2, ..., that all occur"
    if options is not None:
        expected = f"those of the fit, 0 to {options[-1]}"
    raise invalid(
        argument,
        f"the options {', '.join(f'{option:g}' for option in found[:5])}"
        + (f" ... {found[-1]:g}" if len(found) > 5 else ""),
        expected,
        "Number those that there are: numpy.unique(choices, return_inverse=True)[1].",
    )


def _at_their_mean(values: np.ndarray, data: Sequences) -> np.ndarray:
    """Let neurons that a session lacks fire at their mean rate.

    It is what couplings to them expect on average; they give no evidence themselves.
    """
    recorded = data.recorded
    assert recorded is not None
    seen = data.observed[..., None] & recorded[:, None]
    mean = np.where(seen, values, 0).sum((0, 1)) / np.maximum(seen.sum((0, 1)), 1)
    return np.where(recorded[:, None], values, mean)


def with_recurrence(prepared: Prepared, basis: np.ndarray) -> Prepared:
    """Let the history of every neuron follow the other inputs of the jumps.

    Parameters
    ----------
    prepared
        Data in memory.
    basis : (basis, lag)
        Basis functions through which the history is seen.
    """
    if prepared.stored is not None:
        raise invalid(
            "recurrent",
            "True with spikes on disk",
            "spikes in memory",
            "Read them with spikes.load(), or leave out recurrent=True.",
        )
    recording = prepared.recording
    tilts = recurrent_inputs(recording, basis)
    names = [f"{n}/{b}" for n in prepared.neurons for b in range(len(basis))]
    labels = np.array([*prepared.transition_inputs.astype(str), *names])
    recording = recording._replace(transition_inputs=tilts)
    return prepared._replace(recording=recording, transition_inputs=labels)


def recurrent_inputs(recording: Recording, basis: np.ndarray) -> np.ndarray:
    """Return the inputs of the jumps with the history of the values after them.

    Parameters
    ----------
    recording
        Values, and the other inputs of the jumps.
    basis : (basis, lag)
        Basis functions through which the history is seen.
    """
    values = np.asarray(recording.values, dtype=float)
    with precision_context("float64"):
        seen = [np.asarray(history(part, np.asarray(basis, float))) for part in values]
    flat = np.stack(seen).reshape(*values.shape[:2], -1)
    return np.concatenate([np.asarray(recording.transition_inputs), flat], axis=-1)


def require_fit(fit: object, argument: str = "fit") -> Result:
    """Return the Result of a fit of this family, or raise."""
    if isinstance(fit, Result) and isinstance(fit.model, SwitchingGLM):
        return fit
    raise NotFittedError(
        f"{argument}: got {type(fit).__name__}, expected the Result of "
        "neuromod.switching.fit. Fit one, or load it with neuromod.load(path)."
    )


def prepare_for(
    fit: object,
    spikes: Any,
    argument: str = "fit",
    *,
    inputs: Any = None,
    transition_inputs: Any = None,
) -> Prepared:
    """Check that data are of the neurons and the bin width of a fit.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes
        Counts or choices in any of the forms that `fit` takes.
    argument
        The name under which the fit was passed. One passed as "init" is gone on
        with, so that the data must have all its neurons; else they may lack some.
    inputs, transition_inputs
        Inputs as in the fit.
    """
    fit = require_fit(fit, argument)
    known = group(fit.data, "parameters")
    labels = known["neuron"].values
    prepared = prepare(
        spikes,
        "spikes",
        fit.model.observation,
        inputs=inputs,
        transition_inputs=transition_inputs,
        labels=labels,
    )
    if argument != "init" and _are_among(prepared, labels):
        mean = known["baseline_rate"].values * fit.config["bin_size"]
        prepared = _with_all_neurons(prepared, labels, mean)
    if fit.model.recurrent:
        prepared = with_recurrence(prepared, fit.model.basis)
    _require_labels(prepared.neurons, labels, "spikes", "neuron")
    for name, size in (("inputs", "input"), ("transition_inputs", "transition_input")):
        expected = known[size].values if size in known.coords else np.zeros(0)
        _require_labels(getattr(prepared, name), expected, name, "input")
    if abs(prepared.bin_size - fit.config["bin_size"]) > 1e-3 * prepared.bin_size:
        raise invalid(
            "spikes",
            f"bins of {prepared.bin_size:.6g} s",
            f"bins of {fit.config['bin_size']:.6g} s as in the fit",
            "Bin the spikes again, or fit at this bin width.",
        )
    return prepared


def _are_among(prepared: Prepared, labels: np.ndarray) -> bool:
    """Tell whether the neurons can be found among those of a fit by their labels."""
    if prepared.stored is not None:
        return False
    if "neuron" in prepared.data.numbered:
        return np.array_equal(prepared.neurons, labels)
    return set(prepared.neurons.tolist()) <= set(labels.tolist())


def _with_all_neurons(
    prepared: Prepared, labels: np.ndarray, mean: np.ndarray
) -> Prepared:
    """Bring the neurons into the fit's order; those that lack fire at their mean."""
    recording = prepared.recording
    n_sessions = len(recording.lengths)
    column = [labels.tolist().index(label) for label in prepared.neurons.tolist()]
    shape = (*recording.observed.shape, len(labels))
    values = np.array(np.broadcast_to(mean, shape))
    recorded = np.zeros((n_sessions, len(labels)), bool)
    here = np.ones((n_sessions, len(column)), bool)
    if recording.recorded is not None:
        here = np.asarray(recording.recorded)
    recorded[:, column] = here
    seen = np.asarray(recording.values)
    values[..., column] = np.where(here[:, None], seen, values[..., column])
    recording = recording._replace(
        values=values, recorded=None if recorded.all() else recorded
    )
    return prepared._replace(recording=recording, neurons=labels)


def _require_labels(
    labels: np.ndarray, expected: np.ndarray, argument: str, dim: str
) -> None:
    if np.array_equal(labels, expected):
        return
    known = expected.tolist()
    unknown = [label for label in labels.tolist() if label not in known]
    got = f"{len(labels)} labels that differ from the fit's"
    if unknown:
        got += f", such as {unknown[0]!r}"
    if len(labels) == 0:
        got = "none"
    remedy = f"Select them: {argument}.sel({dim}=[...])."
    if dim == "neuron":
        remedy = "Select them: spikes.sel(neuron=fit.data['parameters']['neuron'])."
    raise invalid(
        f"{argument}.{dim}",
        got,
        f"the {len(expected)} {dim}s of the fit in their order",
        remedy,
        ShapeError,
    )


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
    """Bring arrays to the device, floating-point ones in the given precision.

    In place of values that stay on disk there is None.
    """

    def convert(array):
        if isinstance(array, Slabs):
            return None
        floating = np.issubdtype(np.asarray(array).dtype, np.floating)
        return jnp.asarray(array, dtype=precision if floating else None)

    return jax.tree.map(convert, tree)


def group(tree: xr.DataTree, name: str) -> xr.Dataset:
    """Return one group of a tree, such as a fit's parameters, as a Dataset."""
    return tree.children[name].to_dataset()
