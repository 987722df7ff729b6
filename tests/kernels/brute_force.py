"""Hidden Markov models by enumerating every path, in plain float64 numpy."""

from dataclasses import dataclass
from itertools import product

import numpy as np


@dataclass
class Enumerated:
    """What an enumeration gives; names as in neuromod.kernels, padding is 0."""

    log_likelihood: float
    log_normalisers: np.ndarray
    filtered: np.ndarray
    smoothed: np.ndarray
    transition_posteriors: np.ndarray
    path: np.ndarray
    log_joint: float
    probability_of_path: dict[tuple[int, ...], float]


def enumerate_paths(
    initial,
    transition,
    log_likelihoods,
    observed=None,
    reset=None,
    length=None,
    lag=None,
) -> Enumerated:
    """Compute every posterior from the joint probabilities of all paths.

    With ``lag``, ``smoothed`` at bin t uses the evidence up to bin t + lag only.
    """
    n_bins, n_states = log_likelihoods.shape
    length = n_bins if length is None else int(length)
    observed = np.ones(n_bins, bool) if observed is None else np.asarray(observed)
    reset = np.zeros(n_bins, bool) if reset is None else np.asarray(reset).copy()
    reset[0] = True
    transition = np.asarray(transition, float)
    if transition.ndim == 2:
        transition = np.broadcast_to(transition, (n_bins, n_states, n_states))
    evidence = np.where(observed[:, None], log_likelihoods, 0.0).astype(float)
    paths = np.array(list(product(range(n_states), repeat=length)))
    bins = np.arange(length)

    prior = np.ones(len(paths))
    for t in bins:
        prior = prior * (
            np.asarray(initial, float)[paths[:, t]]
            if reset[t]
            else transition[t - 1][paths[:, t - 1], paths[:, t]]
        )
    per_bin = evidence[bins, paths]  # (path, time)

    def weights(until):
        """Return log sum and probabilities of the paths given bins before until."""
        with np.errstate(divide="ignore"):
            log = np.log(prior) + per_bin[:, :until].sum(axis=1)
        largest = log.max()
        w = np.exp(log - largest)
        return largest + np.log(w.sum()), w / w.sum()

    def marginal(probability, t):
        return np.bincount(paths[:, t], probability, n_states)

    totals = np.array([weights(t)[0] for t in range(length + 1)])
    everything, posterior = weights(length)
    filtered = np.zeros((n_bins, n_states))
    smoothed = np.zeros((n_bins, n_states))
    pairs = np.zeros((n_bins - 1, n_states, n_states))
    log_normalisers = np.zeros(n_bins)
    # Before any evidence the prior sums to 1 only if transition's rows do.
    log_normalisers[:length] = np.diff(totals)
    for t in bins:
        filtered[t] = marginal(weights(t + 1)[1], t)
        until = length if lag is None else min(t + 1 + lag, length)
        smoothed[t] = marginal(weights(until)[1], t)
        if t and not reset[t]:
            np.add.at(pairs[t - 1], (paths[:, t - 1], paths[:, t]), posterior)
    best = int(np.argmax(posterior))
    path = np.zeros(n_bins, int)
    path[:length] = paths[best]
    with np.errstate(divide="ignore"):
        log_joint = float(np.log(prior[best]) + per_bin[best].sum())
    chances = {
        tuple(int(s) for s in p): float(w)
        for p, w in zip(paths, posterior, strict=True)
    }
    return Enumerated(
        float(everything),
        log_normalisers,
        filtered,
        smoothed,
        pairs,
        path,
        log_joint,
        chances,
    )


def random_chain(seed, n_bins, n_states, *, varying=False, zeros=False, spread=2.0):
    """Draw (initial, transition, log_likelihoods), with zeros on request.

    The zeros leave a ring: from state i only to i and i + 1, starting in state 0.
    """
    rng = np.random.default_rng(seed)
    shape = (n_bins - 1, n_states) if varying else (n_states,)
    transition = rng.dirichlet(np.ones(n_states), size=shape)
    initial = rng.dirichlet(np.ones(n_states))
    if zeros:
        ring = np.eye(n_states) + np.roll(np.eye(n_states), 1, axis=1)
        transition = transition * (ring > 0)
        transition = transition / transition.sum(axis=-1, keepdims=True)
        initial = np.eye(n_states)[0]
    log_likelihoods = spread * rng.normal(size=(n_bins, n_states)) - 3.0
    return initial, transition, log_likelihoods


def log_space(initial, transition, log_likelihoods):
    """Filter and smooth in log space by loops in extended precision.

    Returns (log_likelihood, filtered, smoothed, transition_counts).
    """
    with np.errstate(divide="ignore"):
        start = np.log(np.asarray(initial, np.longdouble))
        jump = np.log(np.asarray(transition, np.longdouble))
    evidence = np.asarray(log_likelihoods, np.longdouble)
    n_bins, n_states = evidence.shape
    forward = np.empty_like(evidence)
    backward = np.zeros_like(evidence)
    forward[0] = start + evidence[0]
    for t in range(1, n_bins):
        for j in range(n_states):
            forward[t, j] = _log_sum(forward[t - 1] + jump[:, j]) + evidence[t, j]
    for t in range(n_bins - 2, -1, -1):
        for i in range(n_states):
            backward[t, i] = _log_sum(jump[i] + evidence[t + 1] + backward[t + 1])
    total = _log_sum(forward[-1])
    counts = np.zeros((n_states, n_states))
    for t in range(n_bins - 1):
        after = evidence[t + 1] + backward[t + 1] - total
        counts += np.exp(forward[t][:, None] + jump + after[None, :]).astype(float)
    filtered = [np.exp(f - _log_sum(f)).astype(float) for f in forward]
    smoothed = np.exp(forward + backward - total).astype(float)
    return float(total), np.array(filtered), smoothed, counts


def _log_sum(values):
    largest = values.max()
    if not np.isfinite(largest):
        return largest
    return largest + np.log(np.exp(values - largest).sum())
