"""A fit applied to spikes: which state when, what comes next, and how well."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod import kernels
from neuromod.core.errors import invalid
from neuromod.core.precision import precision_context
from neuromod.core.result import Result
from neuromod.core.sequences import Sequences
from neuromod.switching import glm, inference
from neuromod.switching.data import group, prepare_for, typed
from neuromod.switching.inference import Recording
from neuromod.switching.model import LINKS, OBSERVATIONS, SwitchingGLM


def smooth(fit: Result, spikes: Any) -> Any:
    """Return the probability of each state given the whole recording.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        Spike counts of the fit's neurons, in any form that `fit` takes.

    Returns
    -------
    (time, state)
        Probabilities, in the form in which the spikes came.

    Raises
    ------
    ShapeError
        If the neurons are not those of the fit.
    InvalidInputError
        If the bins have another width, or the counts are none.

    Examples
    --------
    >>> from neuromod import datasets, switching
    >>> spikes = datasets.simulate_switching(
    ...     seed=0, n_states=2, n_neurons=5, n_sessions=1, n_steps=300
    ... )["recording"]["spikes"]
    >>> result = switching.fit(spikes, n_states=2, seed=0, progress=False)
    >>> float(switching.smooth(result, spikes).sum("state").mean().round(6))
    1.0
    """
    data, found = _apply(fit, spikes, _smooth)
    return _restore_states(data, found, "state_probability")


def filter(fit: Result, spikes: Any) -> Any:
    """Return the probability of each state given the spikes up to each bin.

    Parameters and errors are those of `smooth`; nothing here looks ahead.
    """
    data, found = _apply(fit, spikes, _filter)
    return _restore_states(data, found, "state_probability")


def decode(fit: Result, spikes: Any) -> Any:
    """Return the most probable path of states (Viterbi).

    Parameters and errors are those of `smooth`; returns a state (time,) per bin.
    """
    data, found = _apply(fit, spikes, _decode)
    attrs = {"long_name": "most probable path of states"}
    return data.restore(found, (), None, "state_sequence", attrs)


def predict(fit: Result, spikes: Any) -> Any:
    """Return the expected count of each bin given all spikes before it.

    Parameters and errors are those of `smooth`; returns counts (time, neuron).
    """
    data, found = _apply(fit, spikes, _predict)
    neurons = {"neuron": data.coords["neuron"]}
    attrs = {"units": "spikes", "long_name": "expected spike count"}
    return data.restore(found, ("neuron",), neurons, "expected_spikes", attrs)


def score(fit: Result, spikes: Any) -> xr.Dataset:
    """Score spikes, best held-out ones, by their log marginal likelihood.

    The likelihood is that of the counts, summed over all paths of states. It is
    compared with neurons that fire independently at their mean rate of the fit.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        Spike counts of the fit's neurons, in any form that `fit` takes.

    Returns
    -------
    Dataset
        ``log_likelihood`` (nats), ``log_likelihood_per_bin``, ``null_per_bin``
        (nats per bin) and ``bits_per_spike`` over the null, over all observed bins;
        ``session_log_likelihood`` (session,).

    Raises
    ------
    ShapeError
        If the neurons are not those of the fit.
    InvalidInputError
        If the bins have another width, or the counts are none.
    """
    data, found = _apply(fit, spikes, _session_scores)
    counts = np.asarray(data.values, dtype=float)[data.observed]
    if fit.model.observation == "bernoulli":
        counts = np.minimum(counts, 1)
    if not counts.any():
        raise invalid(
            "spikes", "no spike in any bin", "at least one", "Score a longer stretch."
        )
    null = _null_log_likelihood(fit, counts)
    total = float(found.sum())
    bits = (total - null) / counts.sum() / np.log(2)
    return xr.Dataset(
        {
            "log_likelihood": ((), total, {"units": "nats"}),
            "log_likelihood_per_bin": (
                (),
                total / data.n_observed,
                {"units": "nats/bin"},
            ),
            "null_per_bin": ((), null / data.n_observed, {"units": "nats/bin"}),
            "bits_per_spike": ((), bits, {"units": "bits/spike"}),
            "session_log_likelihood": ("session", found, {"units": "nats"}),
        },
        coords={"session": np.array(data.labels)},
    )


def _apply(fit: Result, spikes: Any, function: Any) -> tuple[Sequences, np.ndarray]:
    """Run a function of model and recording on checked spikes."""
    data, recording = prepare_for(fit, spikes)
    precision = fit.config["precision"]
    with precision_context(precision):
        return data, np.asarray(function(fit.model, typed(recording, precision)))


def _restore_states(data: Sequences, found: np.ndarray, name: str) -> Any:
    states = {"state": np.arange(found.shape[-1])}
    attrs = {"units": "1", "long_name": "probability of the state"}
    return data.restore(found, ("state",), states, name, attrs)


def _smooth(model: SwitchingGLM, recording: Recording):
    return inference.run(kernels.hmm_smoother, model, recording).smoothed


def _filter(model: SwitchingGLM, recording: Recording):
    return inference.run(kernels.hmm_filter, model, recording).filtered


def _decode(model: SwitchingGLM, recording: Recording):
    return inference.run(kernels.hmm_viterbi, model, recording).path


def _session_scores(model: SwitchingGLM, recording: Recording):
    return inference.run(kernels.hmm_filter, model, recording).log_likelihood


@jax.jit
def _predict(model: SwitchingGLM, recording: Recording):
    """Average the states' expected counts over what was known one bin before."""
    known = _filter(model, recording)
    following = known[:, :-1] @ jnp.asarray(model.transition_matrix)
    n_sessions = known.shape[0]
    first = jnp.broadcast_to(
        jnp.asarray(model.initial)[None, None], (n_sessions, 1, model.n_states)
    )
    ahead = jnp.concatenate([first, following], axis=1)
    rows = glm.features(recording.counts, model.basis)
    values = glm.coefficients(model)

    def of_session(ahead, rows):
        def of_bin(bin_):
            weights, feature = bin_
            return weights @ LINKS[model.link].rate(values @ feature)

        return jax.lax.map(of_bin, (ahead, rows), batch_size=1024)

    return jax.vmap(of_session)(ahead, rows)


def _null_log_likelihood(fit: Result, counts: np.ndarray) -> float:
    """Return nats of independent neurons at the fit's mean rates."""
    rate = (
        group(fit.data, "parameters")["baseline_rate"].values * fit.config["bin_size"]
    )
    observation = OBSERVATIONS[fit.model.observation]
    with precision_context("float64"):
        per_neuron = observation.log_probability(
            jnp.asarray(counts), jnp.asarray(rate)[None]
        )
        return float(per_neuron.sum())
