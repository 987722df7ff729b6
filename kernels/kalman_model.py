"""A linear Gaussian state-space model, and what of it holds in each bin.

The equations stand in `neuromod.kernels.kalman`. Ragged and damaged recordings need no
equations of their own, because all of it can be said by the model itself:

- A channel that was not seen has H = 0 in its row, the variance 1 apart from all others
  and the residual 0: it tells nothing, and its log-density is left out.
- Where another sequence starts, the step before has F = 0, b = initial mean and
  Q = initial covariance: whatever came before, what follows is the initial state.
- In padding F = 1, b = 0 and Q = 0: the state after the last valid bin stays as it is.

`read` checks the arrays of one call, and `at_bin` says these things for one bin. That
is done in the loops, so that a constant model is not written out for every bin.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from neuromod.kernels.kalman_algebra import identity_like, symmetric
from neuromod.kernels.loop import Count, Flags

Observations = Float[Array, "time channel"]
Observed = Flags | Bool[Array, "time channel"]

# The number of axes of each part of a model where it is constant.
N_AXES = {
    "initial_mean": 1,
    "initial_covariance": 2,
    "transition": 2,
    "transition_covariance": 2,
    "observation": 2,
    "observation_covariance": 2,
    "transition_offset": 1,
}
MOVES = ("transition", "transition_covariance", "transition_offset")


class KalmanModel(NamedTuple):
    """The parameters of a linear Gaussian state-space model.

    All but the first two may change with time: they then have another axis in front.
    For a transition it counts the pairs of bins, entry t for the pair (t, t + 1); an
    entry more, at the end, leads on to the bin that follows. For an observation it
    counts the bins.

    Parameters
    ----------
    initial_mean, initial_covariance : (latent,) and (latent, latent)
        The state at the first bin.
    transition, transition_covariance : (latent, latent)
        F and Q of z_{t+1} = F z_t + b + N(0, Q).
    observation, observation_covariance : (channel, latent) and (channel, channel)
        H and R of y_t = H z_t + c + N(0, R). Of all covariances the symmetric part
        counts.
    transition_offset, observation_offset : (latent,) and (channel,)
        b and c; None is 0.
    """

    initial_mean: Array
    initial_covariance: Array
    transition: Array
    transition_covariance: Array
    observation: Array
    observation_covariance: Array
    transition_offset: Array | None = None
    observation_offset: Array | None = None


class Gaussian(NamedTuple):
    """A normal distribution: ``mean`` (latent), ``covariance`` (latent, latent)."""

    mean: Array
    covariance: Array


class Cuts(NamedTuple):
    """What a loop over the bins cuts: arrays with time in front, and None.

    ``model`` holds what of the model changes with time, ``residuals`` (time, channel)
    are y - c with 0 where there are none, ``seen`` tells which there are, ``valid``
    (time) is False in padding, and ``next_starts`` (time) is True where the next bin
    starts another sequence.
    """

    model: dict[str, Array]
    residuals: Array
    seen: Array | None
    valid: Array | None
    next_starts: Array | None


class Chain(NamedTuple):
    """The data of one call, checked: what is constant, and what a loop cuts."""

    constant: dict[str, Array]
    cuts: Cuts

    @property
    def initial(self) -> Gaussian:
        """The state that a sequence starts from."""
        return Gaussian(
            self.constant["initial_mean"], self.constant["initial_covariance"]
        )


class Bin(NamedTuple):
    """What holds in one bin: the model, with the transition out of it, and y - c."""

    transition: Array
    transition_offset: Array
    transition_covariance: Array
    observation: Array
    observation_covariance: Array
    residual: Array
    seen: Array | None


def read(
    model: KalmanModel,
    observations: Observations,
    observed: Observed | None,
    reset: Flags | None,
    length: Count | None,
) -> Chain:
    """Check the shapes and take out what was not seen."""
    _check(model, observations, observed, reset)
    n_bins = len(observations)
    valid = None if length is None else jnp.arange(n_bins) < length
    seen = _seen(observations, observed, valid)
    residuals = observations
    if model.observation_offset is not None:
        offsets = jnp.broadcast_to(model.observation_offset, observations.shape)
        residuals = residuals - offsets
    if seen is not None:
        residuals = jnp.where(seen, residuals, 0.0)
    next_starts = None if reset is None else _shift_back(jnp.asarray(reset))
    if next_starts is not None and valid is not None:
        next_starts &= _shift_back(valid)
    parts = _complete(model, n_bins)
    varying = {name: x for name, x in parts.items() if x.ndim > N_AXES[name]}
    constant = {name: x for name, x in parts.items() if name not in varying}
    return Chain(constant, Cuts(varying, residuals, seen, valid, next_starts))


def _seen(observations, observed, valid) -> Array | None:
    flags = [jnp.asarray(f) for f in (observed, valid) if f is not None]
    if not flags:
        return None
    flags = [f if f.ndim == 2 else f[:, None] for f in flags]
    seen = flags[0] if len(flags) == 1 else flags[0] & flags[1]
    return jnp.broadcast_to(seen, observations.shape)


def _shift_back(flags: Array) -> Array:
    """Tell at each bin what holds in the next, False in the last."""
    return jnp.concatenate([flags[1:], jnp.zeros(1, bool)])


def _complete(model: KalmanModel, n_bins: int) -> dict[str, Array]:
    """Put in the offset, symmetric covariances, and a transition out of every bin."""
    parts = model._asdict()
    del parts["observation_offset"]
    if parts["transition_offset"] is None:
        parts["transition_offset"] = jnp.zeros_like(model.initial_mean)
    for name, part in parts.items():
        if name.endswith("covariance"):
            parts[name] = symmetric(part)
        if name in MOVES and part.ndim > N_AXES[name]:
            missing = n_bins - len(part)
            padding = [(0, missing)] + [(0, 0)] * N_AXES[name]
            parts[name] = jnp.pad(parts[name], padding)
    return parts


def leads_on(model: KalmanModel, n_bins: int) -> bool:
    """Tell whether the model holds a transition out of the last bin."""
    parts = ((getattr(model, name), N_AXES[name]) for name in MOVES)
    return all(x is None or x.ndim == n or len(x) == n_bins for x, n in parts)


def at_bin(constant: dict[str, Array], cut: Cuts) -> Bin:
    """Return what holds in one bin."""
    parts = constant | cut.model
    F, b, Q, H, R = (parts[name] for name in Bin._fields[:5])
    if cut.seen is not None:
        H = jnp.where(cut.seen[:, None], H, 0.0)
        R = jnp.where(cut.seen[:, None] & cut.seen[None, :], R, identity_like(R))
    if cut.valid is not None:
        F = jnp.where(cut.valid, F, identity_like(F))
        b, Q = jnp.where(cut.valid, b, 0.0), jnp.where(cut.valid, Q, 0.0)
    if cut.next_starts is not None:
        F = jnp.where(cut.next_starts, 0.0, F)
        b = jnp.where(cut.next_starts, constant["initial_mean"], b)
        Q = jnp.where(cut.next_starts, constant["initial_covariance"], Q)
    return Bin(F, b, Q, H, R, cut.residuals, cut.seen)


def blank(values: Array, valid: Array | None) -> Array:
    """Put 0 into the padding."""
    if valid is None:
        return values
    return jnp.where(valid.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0)


def are_last(cuts: Cuts) -> Array:
    """Tell after which bins (time) nothing comes: the last valid one, and padding."""
    if cuts.valid is not None:
        return ~_shift_back(cuts.valid)
    n_bins = len(cuts.residuals)
    return jnp.arange(n_bins) == n_bins - 1


def _check(model, observations, observed, reset) -> None:
    if observations.ndim != 2 or 0 in observations.shape:
        raise ValueError(
            f"observations: got shape {observations.shape}, expected (time, channel) "
            "with at least one bin and channel. Use jax.vmap for several sequences."
        )
    n_bins, n_channels = observations.shape
    n_latents = model.initial_mean.shape[-1] if model.initial_mean.ndim else 0
    latent, channel = (n_latents,), (n_channels,)
    pairs, bins = [(n_bins - 1,), (n_bins,)], [(n_bins,)]
    expected = {
        "initial_mean": (model.initial_mean, latent, []),
        "initial_covariance": (model.initial_covariance, latent * 2, []),
        "transition": (model.transition, latent * 2, pairs),
        "transition_covariance": (model.transition_covariance, latent * 2, pairs),
        "transition_offset": (model.transition_offset, latent, pairs),
        "observation": (model.observation, channel + latent, bins),
        "observation_covariance": (model.observation_covariance, channel * 2, bins),
        "observation_offset": (model.observation_offset, channel, bins),
        "observed": (observed, (n_bins,), []),
        "reset": (reset, (n_bins,), []),
    }
    for argument, (array, shape, leading) in expected.items():
        shapes = [shape, *(time + shape for time in leading)]
        if argument == "observed":
            shapes.append((n_bins, n_channels))
        if array is not None and array.shape not in shapes:
            raise ValueError(
                f"{argument}: got shape {array.shape}, expected "
                f"{' or '.join(map(str, shapes))} with observations of shape "
                f"{observations.shape} and initial_mean of shape "
                f"{model.initial_mean.shape}."
            )
