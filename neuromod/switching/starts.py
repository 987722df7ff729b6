"""Where EM begins: guesses of the hidden states, made from the counts alone.

States that start alike stay alike, and EM finds the optimum nearest to its start.
So every restart begins from other labels: the bins are clustered by their spike
counts, smoothed over a different window each time. Slow brain states show in long
windows, fast ones in short windows.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.vq import kmeans2, vq
from scipy.ndimage import uniform_filter1d

from neuromod.core.slabs import Slab, Slabs, read, with_neighbours
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import Values
from neuromod.switching.recording import Recording

WINDOWS = (25, 100, 10, 50, 400)
STAY = 0.95
# Clusters are found in this many bins at most, which tell enough of them.
MOST_POINTS = 100_000


def guesses(
    values: Values | Slabs,
    lengths: Int[np.ndarray, " session"],
    n_states: int,
    seed: int,
    n_restarts: int,
) -> Iterator[Float[np.ndarray, "session time state"]]:
    """Guess the states' probabilities, once for every restart.

    Parameters
    ----------
    values : (session, time, neuron)
        Spikes per bin; what lies past a session's end is ignored.
    lengths
        Number of bins of each session.
    n_states
        Number of states.
    seed, n_restarts
        Seed and number of the guesses.
    """
    for restart in range(n_restarts):
        generator = np.random.default_rng([seed, restart])
        window = WINDOWS[restart % len(WINDOWS)]
        clusters = labels(values, lengths, n_states, window, generator)
        yield responsibilities(clusters, n_states, generator)


def labels(
    values: Values | Slabs,
    lengths: Int[np.ndarray, " session"],
    n_states: int,
    window: int,
    generator: np.random.Generator,
) -> Int[np.ndarray, "session time"]:
    """Cluster the bins by their smoothed counts (k-means on the square root).

    Parameters
    ----------
    values, lengths, n_states
        As in `guesses`.
    window
        Number of bins over which counts are averaged.
    generator
        Draws the first cluster centres.

    Returns
    -------
    (session, time)
        A cluster per bin.
    """
    stride = -(-int(lengths.sum()) // MOST_POINTS)
    points = np.concatenate(
        [
            smoothed[-slab.bins.start % stride :: stride]
            for slab, smoothed in _smoothed(values, lengths, window)
        ]
    )
    with warnings.catch_warnings():
        # Mostly silent recordings leave clusters empty; `responsibilities` copes.
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        centres = kmeans2(
            points, _spread_centres(points, n_states, generator), minit="matrix"
        )[0]
    clusters = np.zeros(values.shape[:2], dtype=int)
    for slab, smoothed in _smoothed(values, lengths, window):
        clusters[slab.sequence, slab.bins] = vq(smoothed, centres)[0]
    return clusters


def _smoothed(values, lengths, window) -> Iterator[tuple[Slab, np.ndarray]]:
    """Give the smoothed square root of the counts, slab by slab."""
    for slab, before, after in with_neighbours(read(values, lengths), window):
        seen = np.concatenate([before, slab.values, after]).astype(float)
        root = np.sign(seen) * np.sqrt(np.abs(seen))
        smoothed = uniform_filter1d(root, window, axis=0)
        yield slab, smoothed[len(before) : len(before) + len(slab.values)]


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
    dispersion: Float[np.ndarray, " neuron"],
    recording: Recording,
    bases: tuple[Values, Values],
    **settings: Any,
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
        dispersion=np.tile(dispersion, (n_states, 1)),
        **settings,
    )
