"""What the neurons do on average: where fits start, and what scores compare with."""

import warnings
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from neuromod.core.errors import invalid
from neuromod.core.slabs import read
from neuromod.switching.data import Prepared
from neuromod.switching.observations import LINKS, OBSERVATIONS


class Moments(NamedTuple):
    """Sums over the observed bins.

    Parameters
    ----------
    n_bins : (neuron,)
        Number of bins.
    totals, squares : (neuron,)
        Sum of the values, and of their squares.
    """

    n_bins: Float[np.ndarray, " neuron"]
    totals: Float[np.ndarray, " neuron"]
    squares: Float[np.ndarray, " neuron"]


def moments(prepared: Prepared, observation: str) -> Moments:
    """Add up what was observed."""
    recording = prepared.recording
    found = Moments(*np.zeros((3, len(prepared.neurons))))
    for slab in read(recording.values, np.asarray(recording.lengths)):
        present = np.asarray(recording.observed)[slab.sequence, slab.bins, None]
        if recording.recorded is not None:
            present = present & np.asarray(recording.recorded)[slab.sequence]
        values = np.where(present, slab.values, 0.0)
        if observation == "bernoulli":
            values = np.minimum(values, 1)
        seen = np.broadcast_to(present, values.shape)
        parts = (seen.sum(0), values.sum(0), (values**2).sum(0))
        found = Moments(*(a + b for a, b in zip(found, parts, strict=True)))
    return found


def mean_values(
    found: Moments, neurons: np.ndarray, observation: str
) -> Float[np.ndarray, " neuron"]:
    """Return mean values per bin; a silent neuron gets half a spike."""
    if observation == "gaussian":
        return found.totals / found.n_bins
    silent = found.totals == 0
    if silent.any():
        names = ", ".join(str(n) for n in neurons[silent][:10])
        warnings.warn(
            f"switching.fit: {int(silent.sum())} neuron(s) never fire ({names}). "
            "Their rate is taken as half a spike per recording; leave them out with "
            "spikes.sel(neuron=spikes.sum('time') > 0).",
            UserWarning,
            stacklevel=3,
        )
    return np.maximum(found.totals, 0.5) / found.n_bins


def start_dispersion(found: Moments, observation: str) -> Float[np.ndarray, " neuron"]:
    """Return the variance of Gaussian values, or how far counts exceed Poisson."""
    mean = found.totals / found.n_bins
    variance = np.maximum(found.squares / found.n_bins - mean**2, 0)
    if observation == "gaussian":
        return np.maximum(variance, 1e-8)
    if observation == "negative_binomial":
        excess = (variance - mean) / np.maximum(mean, 1e-8) ** 2
        return np.clip(excess, 0.05, 10.0)
    return np.ones(len(mean))


def baseline_curvature(
    baseline: np.ndarray,
    rate: np.ndarray,
    dispersion: np.ndarray,
    link: str,
    observation: str,
) -> Float[np.ndarray, " neuron"]:
    """Return what a bin tells of the linear predictor of a neuron at its mean rate."""
    if observation == "categorical":
        return rate * (1 - rate)
    slope = np.asarray(LINKS[link].slope(jnp.asarray(baseline), jnp.asarray(rate)))
    variance = OBSERVATIONS[observation].variance(rate, dispersion)
    return slope**2 / np.maximum(np.asarray(variance), 1e-30)


def require_within_link(
    rate: np.ndarray, neurons: np.ndarray, link: str, observation: str
) -> None:
    """Raise if a neuron fires more than its link can say."""
    if link == "sigmoid" and observation == "poisson" and rate.max() >= 1:
        busiest = int(rate.argmax())
        raise invalid(
            "link",
            f"'sigmoid' with {rate[busiest]:.3g} spikes per bin in neuron "
            f"{neurons[busiest]}",
            "fewer than one spike per bin on average, which is the most it can say",
            "Take smaller bins, or link='softplus'.",
        )
