"""A fit applied to spikes: which state when, what comes next, and how well."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod import kernels
from neuromod.core import dimensions
from neuromod.core.errors import invalid
from neuromod.core.precision import precision_context
from neuromod.core.result import Result
from neuromod.switching import chain, inference
from neuromod.switching.bins import Bins, bins_of
from neuromod.switching.data import Prepared, group, prepare_for, typed
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import OBSERVATIONS
from neuromod.switching.recording import Recording


def smooth(
    fit: Result,
    spikes: Any,
    *,
    lag: int | None = None,
    inputs: Any = None,
    transition_inputs: Any = None,
) -> Any:
    """Return the probability of each state given the whole recording.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        Spike counts of the fit's neurons, in any form that `fit` takes.
    lag
        How many bins after each one may be looked at, all of them if omitted; 0 gives
        `filter`.
    inputs, transition_inputs : (time, input)
        Inputs, if the fit had them.

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
    ...     seed=0, n_states=2, n_neurons=6, n_sessions=2, n_steps=500
    ... )["recording"]["spikes"]
    >>> result = switching.fit(spikes, n_states=2, seed=0, progress=False)
    >>> float(switching.smooth(result, spikes).sum("state").mean().round(6))
    1.0
    """
    if lag is not None:
        lag = dimensions.require_integer(lag, "lag", minimum=0)

    def states(model, recording, bins):
        # No session is longer than all bins: the smoother looks as far, and is faster.
        whole = lag is None or lag >= recording.observed.shape[1]
        if whole:
            return inference.smooth(model, recording, bins)
        return inference.run(_fixed_lag(lag), model, recording, bins).smoothed

    prepared, found = _apply(fit, spikes, states, inputs, transition_inputs)
    return _restore_states(prepared, found, "state_probability")


@functools.cache
def _fixed_lag(lag: int) -> Callable:
    """Return one kernel per lag, so that each is compiled once."""
    return functools.partial(kernels.hmm_fixed_lag_smoother, lag=lag)


def sample_states(
    fit: Result,
    spikes: Any,
    *,
    seed: int,
    n_samples: int = 1,
    inputs: Any = None,
    transition_inputs: Any = None,
) -> Any:
    """Draw paths of states from their posterior.

    The paths show what `smooth` does not: how certain it is when a state began, and
    how often it was visited.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        Spike counts of the fit's neurons, in any form that `fit` takes.
    seed
        Seed of the random numbers.
    n_samples
        Number of paths.
    inputs, transition_inputs : (time, input)
        Inputs, if the fit had them.

    Returns
    -------
    (time, sample)
        Numbers of states, in the form in which the spikes came.

    Raises
    ------
    ShapeError
        If the neurons are not those of the fit.
    InvalidInputError
        If the bins have another width, or the counts are none.
    """
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    n_samples = dimensions.require_integer(n_samples, "n_samples")

    def paths(model, recording, bins):
        evidence = inference.session_log_likelihoods(model, recording, bins)
        keys = jax.random.split(jax.random.key(seed), (len(evidence), n_samples))
        return _sample(model, evidence, recording, keys)

    prepared, found = _apply(fit, spikes, paths, inputs, transition_inputs)
    coords = {"sample": np.arange(n_samples)}
    attrs = {"long_name": "hidden state"}
    return prepared.data.restore(found, ("sample",), coords, "state", attrs)


@jax.jit
def _sample(model: SwitchingGLM, evidence: jax.Array, recording: Recording, keys):
    """Draw paths (session, time, sample)."""

    def of_session(evidence, observed, length, inputs, keys):
        transition = chain.transitions(model, inputs)

        def draw(key):
            return kernels.hmm_sample(
                jnp.asarray(model.initial),
                transition,
                evidence,
                key=key,
                observed=observed,
                length=length,
            )

        return jax.vmap(draw, out_axes=1)(keys)

    return jax.vmap(of_session)(
        evidence,
        jnp.asarray(recording.observed),
        jnp.asarray(recording.lengths),
        jnp.asarray(recording.transition_inputs),
        keys,
    )


def filter(
    fit: Result, spikes: Any, *, inputs: Any = None, transition_inputs: Any = None
) -> Any:
    """Return the probability of each state given the spikes up to each bin.

    Parameters and errors are those of `smooth`; nothing here looks ahead.
    """
    prepared, found = _apply(fit, spikes, _filter, inputs, transition_inputs)
    return _restore_states(prepared, found, "state_probability")


def decode(
    fit: Result, spikes: Any, *, inputs: Any = None, transition_inputs: Any = None
) -> Any:
    """Return the most probable path of states (Viterbi).

    Parameters and errors are those of `smooth`; returns a state (time,) per bin.
    """
    prepared, found = _apply(fit, spikes, _decode, inputs, transition_inputs)
    attrs = {"long_name": "most probable path of states"}
    return prepared.data.restore(found, (), None, "state_sequence", attrs)


def predict(
    fit: Result, spikes: Any, *, inputs: Any = None, transition_inputs: Any = None
) -> Any:
    """Return the expected count of each bin given all spikes before it.

    Parameters and errors are those of `smooth`; returns counts (time, neuron).
    """
    prepared, found = _apply(fit, spikes, _predict, inputs, transition_inputs)
    neurons = {"neuron": prepared.neurons}
    attrs = {"units": "spikes", "long_name": "expected spike count"}
    return prepared.data.restore(found, ("neuron",), neurons, "expected_spikes", attrs)


def score(
    fit: Result, spikes: Any, *, inputs: Any = None, transition_inputs: Any = None
) -> xr.Dataset:
    """Score spikes, best held-out ones, by their log marginal likelihood.

    The likelihood is that of the counts, summed over all paths of states. It is
    compared with neurons that fire independently at their mean rate of the fit.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        Spike counts of the fit's neurons, in any form that `fit` takes.
    inputs, transition_inputs : (time, input)
        Inputs, if the fit had them.

    Returns
    -------
    Dataset
        ``log_likelihood`` (nats), ``log_likelihood_per_bin``, ``null_per_bin``
        (nats per bin), and over that null ``bits_per_spike`` and ``bits_per_bin``,
        of choices bits per trial; ``session_log_likelihood`` (session,). All observed
        bins count.

    Raises
    ------
    ShapeError
        If the neurons are not those of the fit.
    InvalidInputError
        If the bins have another width, or the counts are none.
    """
    prepared, found = _apply(fit, spikes, _session_scores, inputs, transition_inputs)
    data, recording = prepared.data, prepared.recording
    counts = np.asarray(recording.values, dtype=float)
    if fit.model.observation == "bernoulli":
        counts = np.minimum(counts, 1)
    present = np.broadcast_to(data.observed[..., None], counts.shape)
    if recording.recorded is not None:
        present = present & recording.recorded[:, None]
    n_spikes = np.abs(counts[present]).sum()
    if n_spikes == 0:
        raise invalid(
            "spikes", "no spike in any bin", "at least one", "Score a longer stretch."
        )
    null = _null_log_likelihood(fit, counts, present)
    total = float(found.sum())
    bits = (total - null) / np.log(2)
    return xr.Dataset(
        {
            "log_likelihood": ((), total, {"units": "nats"}),
            "log_likelihood_per_bin": (
                (),
                total / data.n_observed,
                {"units": "nats/bin"},
            ),
            "null_per_bin": ((), null / data.n_observed, {"units": "nats/bin"}),
            "bits_per_spike": ((), bits / n_spikes, {"units": "bits/spike"}),
            "bits_per_bin": ((), bits / data.n_observed, {"units": "bits/bin"}),
            "session_log_likelihood": ("session", found, {"units": "nats"}),
        },
        coords={"session": np.array(data.labels)},
    )


def _apply(
    fit: Result, spikes: Any, function: Any, inputs: Any, transition_inputs: Any
) -> tuple[Prepared, np.ndarray]:
    """Run a function of model, recording and bins on checked data."""
    prepared = prepare_for(
        fit, spikes, inputs=inputs, transition_inputs=transition_inputs
    )
    return prepared, run_on(fit, prepared, function)


def run_on(fit: Result, prepared: Prepared, function: Any) -> np.ndarray:
    """Run a function of model, recording and bins."""
    precision = fit.config["precision"]
    with precision_context(precision):
        recording = typed(prepared.recording, precision)
        bins = bins_of(fit.model, recording, prepared.stored)
        return np.asarray(function(fit.model, recording, bins))


def expected_values(fit: Result, prepared: Prepared) -> np.ndarray:
    """Return what `predict` does, padded: (session, time, neuron)."""
    return run_on(fit, prepared, _predict)


def _restore_states(prepared: Prepared, found: np.ndarray, name: str) -> Any:
    states = {"state": np.arange(found.shape[-1])}
    attrs = {"units": "1", "long_name": "probability of the state"}
    return prepared.data.restore(found, ("state",), states, name, attrs)


def _filter(model: SwitchingGLM, recording: Recording, bins: Bins):
    return inference.run(kernels.hmm_filter, model, recording, bins).filtered


def _decode(model: SwitchingGLM, recording: Recording, bins: Bins):
    return inference.run(kernels.hmm_viterbi, model, recording, bins).path


def _session_scores(model: SwitchingGLM, recording: Recording, bins: Bins):
    return inference.run(kernels.hmm_filter, model, recording, bins).log_likelihood


def _predict(model: SwitchingGLM, recording: Recording, bins: Bins):
    """Average the states' expected values over what was known one bin before."""
    weights = _look_ahead(model, recording, _filter(model, recording, bins))
    found = bins.expect(model, jnp.reshape(weights, (-1, model.n_states)))
    return jnp.reshape(found, (*weights.shape[:2], -1))


@jax.jit
def _look_ahead(model: SwitchingGLM, recording: Recording, known: jax.Array):
    """Predict the state of each bin from what was known one bin before."""

    def of_session(known, inputs):
        transition = chain.transitions(model, inputs)
        products = "ti,tij->tj" if transition.ndim == 3 else "ti,ij->tj"
        following = jnp.einsum(products, known[:-1], transition)
        return jnp.concatenate([jnp.asarray(model.initial)[None], following])

    return jax.vmap(of_session)(known, jnp.asarray(recording.transition_inputs))


def _null_log_likelihood(fit: Result, values: np.ndarray, present: np.ndarray) -> float:
    """Return nats of independent neurons at the fit's mean rates."""
    rate = (
        group(fit.data, "parameters")["baseline_rate"].values * fit.config["bin_size"]
    )
    observation = OBSERVATIONS[fit.model.observation]
    with precision_context("float64"):
        seen = jnp.asarray(values)
        expected = jnp.broadcast_to(jnp.asarray(rate), seen.shape)
        dispersion = jnp.asarray(fit.model.dispersion, float).mean(0)
        dispersion = jnp.broadcast_to(dispersion, seen.shape)
        per_neuron = observation.log_probability(seen, expected, dispersion)
        per_neuron = per_neuron + observation.log_base(seen)
        return float(np.asarray(per_neuron)[present].sum())
