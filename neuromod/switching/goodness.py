"""Does the model fit? Checks of a fit against the spikes it should explain.

- `time_rescaling`: seen through the rates that the model predicts, spikes should come
  like a Poisson process of rate one;
- `co_smoothing`: neurons that the model may not look at should be told by the others;
- `posterior_predictive`: recordings that the model makes up should look like the real
  one in whatever it was not fitted to.
"""

from typing import Any

import jax
import numpy as np
import xarray as xr
from scipy import stats

from neuromod.core import dimensions
from neuromod.core.errors import invalid
from neuromod.core.precision import precision_context
from neuromod.core.result import Result
from neuromod.switching import inference
from neuromod.switching.bins import bins_of
from neuromod.switching.data import (
    Prepared,
    group,
    prepare_for,
    recurrent_inputs,
    typed,
)
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import OBSERVATIONS
from neuromod.switching.predict import expected_values
from neuromod.switching.recording import Recording
from neuromod.switching.simulate import draw_recording

# Values that are made up at once: whole recordings, side by side.
LARGEST_DRAWING = 10_000_000
COUNTS = ("poisson", "bernoulli", "negative_binomial")


def time_rescaling(
    fit: Result,
    spikes: Any,
    *,
    seed: int,
    inputs: Any = None,
    transition_inputs: Any = None,
) -> xr.Dataset:
    """Test whether spikes come as often, and as regularly, as the fit predicts.

    The predicted counts, given all spikes before each bin, stretch time so that a
    right model leaves intervals that are exponential with mean one (Brown et al.,
    Neural Computation 2002). Spikes are placed at random within their bin, without
    which wide bins would look wrong (Haslinger, Pipa & Brown, ibid. 2010).

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        Spike counts of the fit's neurons, best held-out ones.
    seed
        Seed of the places within bins.
    inputs, transition_inputs : (time, input)
        Inputs, if the fit had them.

    Returns
    -------
    Dataset
        Per neuron: ``statistic`` (Kolmogorov-Smirnov distance), ``bound`` (what 95 %
        of right models stay below), ``p_value`` and ``n_intervals``; ``interval``
        (neuron, quantile), the rescaled intervals at even steps of their rank as
        fractions of time, which should be the diagonal.

    Raises
    ------
    InvalidInputError
        If the fit is not one of counts.
    """
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    prepared = prepare_for(
        fit, spikes, inputs=inputs, transition_inputs=transition_inputs
    )
    _require_counts_model(fit)
    expected = expected_values(fit, prepared)
    generator = np.random.default_rng(seed)
    quantile = (np.arange(100) + 0.5) / 100
    rows = {"statistic": [], "bound": [], "p_value": [], "n_intervals": []}
    curves = []
    for neuron in range(len(prepared.neurons)):
        intervals = _rescaled(prepared.recording, expected, neuron, generator)
        fractions = 1 - np.exp(-intervals)
        n = len(fractions)
        found = stats.kstest(fractions, "uniform") if n else None
        rows["statistic"].append(found.statistic if found else np.nan)
        rows["p_value"].append(found.pvalue if found else np.nan)
        rows["bound"].append(1.358 / np.sqrt(n) if n else np.nan)
        rows["n_intervals"].append(n)
        curves.append(np.quantile(fractions, quantile) if n else quantile * np.nan)
    return xr.Dataset(
        {
            **{name: ("neuron", values) for name, values in rows.items()},
            "interval": (("neuron", "quantile"), np.array(curves)),
        },
        coords={"neuron": prepared.neurons, "quantile": quantile},
    )


def _rescaled(
    recording: Recording,
    expected: np.ndarray,
    neuron: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return the intervals of one neuron in stretched time, session by session."""
    found = []
    for session, length in enumerate(np.asarray(recording.lengths)):
        if recording.recorded is not None and not recording.recorded[session, neuron]:
            continue
        seen = np.asarray(recording.observed)[session, :length]
        rate = np.where(seen, expected[session, :length, neuron], 0)
        counts = np.asarray(recording.values)[session, :length, neuron].astype(int)
        counts = np.where(seen, counts, 0)
        before = np.cumsum(rate) - rate
        bins = np.repeat(np.arange(length), counts)
        times = before[bins] + rate[bins] * generator.random(len(bins))
        found.append(np.diff(np.sort(times), prepend=0.0))
    return np.concatenate(found) if found else np.zeros(0)


def co_smoothing(
    fit: Result,
    spikes: Any,
    *,
    n_groups: int = 5,
    inputs: Any = None,
    transition_inputs: Any = None,
) -> xr.Dataset:
    """Score how well the other neurons tell what a neuron does.

    The neurons are held out in groups, whole recordings of them: the states are
    smoothed from the other neurons alone, and the held-out ones' past, which the
    couplings ask for, is replaced by their mean rates (Macke et al., NIPS 2011; Pei
    et al., NeurIPS Datasets 2021).

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        Spike counts of the fit's neurons, best held-out ones.
    n_groups
        Number of groups; neuron i is in group i modulo ``n_groups``.
    inputs, transition_inputs : (time, input)
        Inputs, if the fit had them.

    Returns
    -------
    Dataset
        ``bits_per_spike`` (neuron) over the neuron's mean rate in the fit, and
        ``bits_per_spike_total``.

    Raises
    ------
    InvalidInputError
        If the fit is not one of counts, or there are fewer than two neurons.
    """
    prepared = prepare_for(
        fit, spikes, inputs=inputs, transition_inputs=transition_inputs
    )
    _require_counts_model(fit)
    n_neurons = len(prepared.neurons)
    n_groups = min(dimensions.require_integer(n_groups, "n_groups", 2), n_neurons)
    if n_neurons < 2:
        raise invalid("spikes", "one neuron", "at least two, to tell one by others")
    mean = group(fit.data, "parameters")["baseline_rate"].values
    mean = mean * fit.config["bin_size"]
    members = np.arange(n_neurons) % n_groups
    expected = np.zeros(prepared.recording.values.shape)
    precision = fit.config["precision"]
    with precision_context(precision):
        for held_out in range(n_groups):
            held = members == held_out
            recording = _without(prepared.recording, held, mean)
            if fit.model.recurrent:
                recording = _again(fit.model, recording)
            recording = typed(recording, precision)
            bins = bins_of(fit.model, recording)
            smoothed = inference.smooth(fit.model, recording, bins)
            weights = inference.observed_rows(smoothed, recording)
            rates = np.asarray(bins.expect(fit.model, weights))
            expected[..., held] = rates.reshape(expected.shape)[..., held]
    return _bits(fit, prepared, expected, mean)


def _without(recording: Recording, held: np.ndarray, mean: np.ndarray) -> Recording:
    """Return the recording with some neurons unseen, at their mean rates."""
    values = np.where(held, mean, np.asarray(recording.values))
    shape = (len(values), len(held))
    recorded = np.broadcast_to(~held, shape)
    if recording.recorded is not None:
        recorded = recorded & np.asarray(recording.recorded)
    return recording._replace(values=values, recorded=recorded)


def _again(model: SwitchingGLM, recording: Recording) -> Recording:
    """Return the recording with jumps that know no more than its values."""
    own = np.asarray(recording.transition_inputs)[..., : model.n_transition_inputs]
    recording = recording._replace(transition_inputs=own)
    tilts = recurrent_inputs(recording, np.asarray(model.basis))
    return recording._replace(transition_inputs=tilts)


def _bits(
    fit: Result, prepared: Prepared, expected: np.ndarray, mean: np.ndarray
) -> xr.Dataset:
    """Score expected counts against the neurons' mean rates."""
    observation = OBSERVATIONS[fit.model.observation]
    recording = prepared.recording
    seen = np.asarray(recording.observed)
    shape = expected.shape
    recorded = True if recording.recorded is None else recording.recorded[:, None]
    recorded = np.broadcast_to(recorded, shape)[seen]
    values = np.where(recorded, np.asarray(recording.values)[seen], 0)
    dispersion = np.asarray(fit.model.dispersion).mean(0)[None]
    with precision_context("float64"):
        terms = [
            np.asarray(observation.log_probability(values, rate, dispersion), float)
            for rate in (expected[seen], np.broadcast_to(mean, values.shape))
        ]
    gain = np.where(recorded, terms[0] - terms[1], 0).sum(0) / np.log(2)
    n_spikes = values.sum(0)
    per_spike = np.where(n_spikes > 0, gain / np.maximum(n_spikes, 1), np.nan)
    attrs = {"units": "bits/spike"}
    return xr.Dataset(
        {
            "bits_per_spike": ("neuron", per_spike, attrs),
            "bits_per_spike_total": ((), gain.sum() / max(n_spikes.sum(), 1), attrs),
        },
        coords={"neuron": prepared.neurons},
    )


def posterior_predictive(
    fit: Result,
    spikes: Any,
    *,
    seed: int,
    n_draws: int = 20,
    inputs: Any = None,
    transition_inputs: Any = None,
) -> xr.Dataset:
    """Compare a recording with recordings that the fit makes up.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.
    spikes : (time, neuron)
        Spike counts of the fit's neurons.
    seed
        Seed of what is made up.
    n_draws
        Number of recordings to make up, each as long as the real one.
    inputs, transition_inputs : (time, input)
        Inputs, if the fit had them.

    Returns
    -------
    Dataset
        Per ``statistic`` (mean, variance and autocorrelation of the neurons, their
        pairwise correlation, variance of the population's sum): ``observed``,
        ``predicted`` (draw) and ``p_value``, two-sided. ``diverged`` (draw) tells
        in which the neurons excited one another without bound: all statistics of
        those are infinite, and no such model should be run forward.

    Raises
    ------
    InvalidInputError
        If a number is not positive.
    """
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    n_draws = dimensions.require_integer(n_draws, "n_draws")
    prepared = prepare_for(
        fit, spikes, inputs=inputs, transition_inputs=transition_inputs
    )
    recording = prepared.recording
    lengths = np.asarray(recording.lengths)
    generator = np.random.default_rng(seed)
    observed = _statistics(np.asarray(recording.values), lengths)
    names = list(observed)
    predicted = np.full((len(names), n_draws), np.inf)
    diverged = np.zeros(n_draws, dtype=bool)
    driving = recording.inputs.size + recording.transition_inputs.size
    at_once = max(1, LARGEST_DRAWING // (recording.values.size + driving))
    for first in range(0, n_draws, at_once):
        draws = range(first, min(first + at_once, n_draws))
        repeated = _repeated(recording, len(draws))
        _, values, ran_away = draw_recording(fit.model, repeated, generator)
        for draw, made_up, lost in zip(
            draws,
            np.split(values, len(draws)),
            np.split(ran_away, len(draws)),
            strict=True,
        ):
            diverged[draw] = lost.any()
            if not diverged[draw]:
                found = _statistics(made_up.astype(float), lengths)
                predicted[:, draw] = [found[name] for name in names]
    real = np.array([observed[name] for name in names])
    above = (1 + (predicted >= real[:, None]).sum(1)) / (1 + n_draws)
    below = (1 + (predicted <= real[:, None]).sum(1)) / (1 + n_draws)
    return xr.Dataset(
        {
            "observed": ("statistic", real),
            "predicted": (("statistic", "draw"), predicted),
            "p_value": ("statistic", np.minimum(1, 2 * np.minimum(above, below))),
            "diverged": ("draw", diverged),
        },
        coords={"statistic": names, "draw": np.arange(n_draws)},
    )


def _repeated(recording: Recording, n_times: int) -> Recording:
    """Return all sessions several times over."""
    return jax.tree.map(lambda part: np.concatenate([part] * n_times), recording)


def _statistics(values: np.ndarray, lengths: np.ndarray) -> dict[str, float]:
    """Sum a recording (session, time, neuron) up in a few numbers."""
    parts = [v[:length] for v, length in zip(values, lengths, strict=True)]
    joined = np.concatenate(parts)
    centred = joined - joined.mean(0)
    variance = np.maximum(centred.var(0), 1e-12)
    mean = joined.mean(0)
    lagged = sum(((p[1:] - mean) * (p[:-1] - mean)).sum(0) for p in parts)
    n_pairs = max(sum(len(p) - 1 for p in parts), 1)
    scaled = centred / np.sqrt(variance)
    correlation = scaled.T @ scaled / len(joined)
    n = len(variance)
    off = correlation[~np.eye(n, dtype=bool)]
    return {
        "mean": float(mean.mean()),
        "variance": float(variance.mean()),
        "autocorrelation": float((lagged / n_pairs / variance).mean()),
        "correlation": float(off.mean()) if n > 1 else 0.0,
        "population_variance": float(joined.sum(1).var()),
    }


def _require_counts_model(fit: Result) -> None:
    if fit.model.observation not in COUNTS:
        raise invalid("fit", f"{fit.model.observation} observations", "spike counts")
