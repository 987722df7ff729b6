"""Where EM begins: guesses of the hidden states, made from the counts alone.

States that start alike stay alike, and EM finds the optimum nearest to its start.
So every restart begins from other labels: the bins are clustered by their spike
counts, smoothed over a different window each time. Slow brain states show in long
windows, fast ones in short windows.
"""

import warnings

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.vq import kmeans2
from scipy.ndimage import uniform_filter1d

from neuromod.switching.inference import Recording
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import Values

WINDOWS = (25, 100, 10, 50, 400)
STAY = 0.95


def labels(
    counts: Float[np.ndarray, "session time neuron"],
    lengths: Int[np.ndarray, " session"],
    n_states: int,
    window: int,
    generator: np.random.Generator,
) -> Int[np.ndarray, "session time"]:
    """Cluster the bins by their smoothed counts (k-means on the square root).

    Parameters
    ----------
    counts
        Spikes per bin; what lies past a session's end is ignored.
    lengths
        Number of bins of each session.
    n_states
        Number of clusters.
    window
        Number of bins over which counts are averaged.
    generator
        Draws the first cluster centres.

    Returns
    -------
    (session, time)
        A cluster per bin.
    """
    valid = np.arange(counts.shape[1])[None] < lengths[:, None]
    smoothed = np.zeros(counts.shape)
    for session, length in enumerate(lengths):
        part = np.sqrt(counts[session, :length])
        smoothed[session, :length] = uniform_filter1d(part, window, axis=0)
    points = smoothed[valid]
    clusters = np.zeros(counts.shape[:2], dtype=int)
    centres = _spread_centres(points, n_states, generator)
    with warnings.catch_warnings():
        # Mostly silent recordings leave clusters empty; `responsibilities` copes.
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        clusters[valid] = kmeans2(points, centres, minit="matrix")[1]
    return clusters


def _spread_centres(points, n_centres, generator):
    """Draw centres far from one another (k-means++); ties become small noise."""
    scale = points.std() or 1.0
    centres = [points[generator.integers(len(points))]]
    while len(centres) < n_centres:
        nearest = np.min([((points - c) ** 2).sum(1) for c in centres], axis=0)
        if nearest.sum() > 0:
            index = generator.choice(len(points), p=nearest / nearest.sum())
            centres.append(points[index])
        else:
            noise = generator.normal(scale=1e-3 * scale, size=points.shape[1])
            centres.append(centres[0] + noise)
    return np.array(centres)


def responsibilities(
    clusters: Int[np.ndarray, "session time"],
    n_states: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, "session time state"]:
    """Soften hard labels at random, so that no two states begin empty or alike."""
    soft = generator.dirichlet(np.ones(n_states), size=clusters.shape)
    return 0.1 * soft + 0.9 * np.eye(n_states)[clusters]


def blank_model(
    n_states: int,
    baseline: Float[np.ndarray, " neuron"],
    recording: Recording,
    bases: tuple[Values, Values],
    observation: str,
    link: str,
) -> SwitchingGLM:
    """Return a model without couplings whose states are sticky and all alike."""
    basis, self_basis = bases
    shape = (n_states, len(baseline))
    off = (1 - STAY) / max(n_states - 1, 1)
    transition = np.full((n_states, n_states), off)
    np.fill_diagonal(transition, STAY if n_states > 1 else 1.0)
    n_inputs = recording.inputs.shape[-1]
    n_tilts = recording.transition_inputs.shape[-1]
    return SwitchingGLM(
        initial=np.full(n_states, 1 / n_states),
        transition_matrix=transition,
        bias=np.tile(baseline, (n_states, 1)),
        weight=np.zeros((*shape, len(baseline), len(basis))),
        basis=basis,
        input_weight=np.zeros((*shape, n_inputs)),
        self_weight=np.zeros((*shape, len(self_basis))),
        self_basis=self_basis,
        transition_weight=np.zeros((n_states, n_states, n_tilts)),
        dispersion=_dispersion(recording, shape, observation),
        observation=observation,
        link=link,
    )


def _dispersion(
    recording: Recording, shape: tuple[int, int], observation: str
) -> np.ndarray:
    """Return the variance of Gaussian values, or how far counts exceed Poisson."""
    values = np.asarray(recording.values)[np.asarray(recording.observed)]
    variance, mean = values.var(0), values.mean(0)
    if observation == "gaussian":
        return np.broadcast_to(np.maximum(variance, 1e-8), shape)
    if observation == "negative_binomial":
        excess = (variance - mean) / np.maximum(mean, 1e-8) ** 2
        return np.broadcast_to(np.clip(excess, 0.05, 10.0), shape)
    return np.ones(shape)
