"""Linear Gaussian state-space models as one joint normal distribution, in numpy."""

from dataclasses import dataclass

import numpy as np

from neuromod.kernels.kalman_model import N_AXES, KalmanModel


@dataclass
class Dense:
    """What the joint distribution gives; names as in neuromod.kernels, padding is 0."""

    log_likelihood: float
    log_normalisers: np.ndarray
    filtered_means: np.ndarray
    filtered_covariances: np.ndarray
    smoothed_means: np.ndarray
    smoothed_covariances: np.ndarray
    cross_covariances: np.ndarray
    predicted_next: tuple[np.ndarray, np.ndarray]


def condition_jointly(
    model, observations, observed=None, reset=None, length=None
) -> Dense:
    """Compute every posterior by conditioning the distribution of all states."""
    n_bins, n_channels = observations.shape
    length = n_bins if length is None else int(length)
    seen = np.ones((n_bins, n_channels), bool)
    if observed is not None:
        seen &= np.reshape(observed, (n_bins, -1))
    parts = every_bin(model, n_bins, n_channels)
    mean, covariance = joint_prior(parts, length, reset)
    n = mean.shape[1]

    def given(until):
        """Return log p, means and covariances given the bins before until."""
        where = [(t, e) for t in range(until) for e in range(n_channels) if seen[t, e]]
        H = np.zeros((len(where), mean.size))
        for i, (t, e) in enumerate(where):
            H[i, t * n : t * n + n] = parts["observation"][t, e]
        R = np.array(
            [
                [parts["observation_covariance"][t, e, f] * (t == s) for s, f in where]
                for t, e in where
            ]
        ).reshape(len(where), len(where))
        y = np.array([observations[i] - parts["observation_offset"][i] for i in where])
        v = y - H @ mean.ravel()
        S = H @ covariance @ H.T + R
        K = np.linalg.solve(S, H @ covariance).T
        log_p = -(np.linalg.slogdet(2 * np.pi * S)[1] + v @ np.linalg.solve(S, v)) / 2
        blocks = (covariance - K @ H @ covariance).reshape(len(mean), n, len(mean), n)
        return log_p, mean + (K @ v).reshape(mean.shape), blocks

    filtered = [given(t + 1) for t in range(length)]
    log_p, means, blocks = given(length)
    result = Dense(
        log_p,
        np.zeros(n_bins),
        np.zeros((n_bins, n)),
        np.zeros((n_bins, n, n)),
        np.zeros((n_bins, n)),
        np.zeros((n_bins, n, n)),
        np.zeros((n_bins - 1, n, n)),
        (means[length], blocks[length, :, length]),
    )
    result.log_normalisers[:length] = np.diff([0.0] + [f[0] for f in filtered])
    for t in range(length):
        result.filtered_means[t] = filtered[t][1][t]
        result.filtered_covariances[t] = filtered[t][2][t, :, t]
        result.smoothed_means[t] = means[t]
        result.smoothed_covariances[t] = blocks[t, :, t]
        if t:
            result.cross_covariances[t - 1] = blocks[t, :, t - 1]
    return result


def every_bin(model, n_bins, n_channels) -> dict[str, np.ndarray]:
    """Return each part of the model with a first axis of time (but the initial)."""
    parts = model._asdict()
    n = len(parts["initial_mean"])
    for name, size in (("transition_offset", n), ("observation_offset", n_channels)):
        if parts[name] is None:
            parts[name] = np.zeros(size)
    for name, n_axes in (N_AXES | {"observation_offset": 1}).items():
        if not name.startswith("initial") and parts[name].ndim == n_axes:
            parts[name] = np.broadcast_to(parts[name], (n_bins, *parts[name].shape))
    return parts


def joint_prior(parts, length, reset):
    """Return mean and covariance of the valid states and the one that follows."""
    n = len(parts["initial_mean"])
    mean = np.zeros((length + 1, n))
    covariance = np.zeros((length + 1, n, length + 1, n))
    for t in range(length + 1):
        starts = t == 0 or (reset is not None and t < length and reset[t])
        mean[t] = parts["initial_mean"]
        covariance[t, :, t] = parts["initial_covariance"]
        if starts:
            continue
        if t > len(parts["transition"]):  # no transition leads there
            break
        F, Q = (parts[name][t - 1] for name in ("transition", "transition_covariance"))
        mean[t] = F @ mean[t - 1] + parts["transition_offset"][t - 1]
        covariance[t, :, :t] = np.einsum("ij,jtk->itk", F, covariance[t - 1, :, :t])
        covariance[:t, :, t] = np.moveaxis(covariance[t, :, :t], 0, -1)
        covariance[t, :, t] = F @ covariance[t - 1, :, t - 1] @ F.T + Q
    return mean, covariance.reshape(mean.size, mean.size)


def random_model(seed, n_bins, n_latents, n_channels, *, varying=0, offsets=True):
    """Draw a model and observations.

    With ``varying`` all parts change with time, the transitions with one entry for each
    pair of bins (-1) or one more (1).
    """
    rng = np.random.default_rng(seed)

    def covariance(n, leading):
        root = rng.normal(size=(*leading, n, n))
        return root @ np.swapaxes(root, -1, -2) / n + 0.2 * np.eye(n)

    pairs = () if not varying else (n_bins - (varying < 0),)
    bins = (n_bins,) if varying else ()
    model = KalmanModel(
        initial_mean=rng.normal(size=n_latents),
        initial_covariance=covariance(n_latents, ()),
        transition=rng.normal(size=(*pairs, n_latents, n_latents)) / n_latents**0.5,
        transition_covariance=covariance(n_latents, pairs),
        observation=rng.normal(size=(*bins, n_channels, n_latents)),
        observation_covariance=covariance(n_channels, bins),
        transition_offset=rng.normal(size=(*pairs, n_latents)) if offsets else None,
        observation_offset=rng.normal(size=(*bins, n_channels)) if offsets else None,
    )
    return model, rng.normal(size=(n_bins, n_channels)) * 2
