"""The Kalman filter and smoother: states that move linearly, with Gaussian noise.

A hidden state z (latent) moves and is observed as y (channel) by::

    z_0     ~ N(initial mean, initial covariance)        at the first bin
    z_{t+1} = F z_t + b + N(0, Q)                        transition
    y_t     = H z_t + c + N(0, R)                        observation

The filter predicts, and weighs the prediction N(m, P) by what it did not foresee, the
innovation v (Kalman, J. Basic Eng. 1960, doi:10.1115/1.3662552)::

    v = y - c - H m         S = H P H' + R               K = P H' S^-1
    filtered   = N(m + K v, P - K S K')                  p(z_t | y_0..t)
    prediction = N(F m + b, F P F' + Q)                  from the filtered m and P
    log p(y)   = sum_t log N(v_t; 0, S_t)

The smoother walks back. Given its successor, a state depends on the past alone, and so
the posterior of the successor becomes its own (Rauch, Tung & Striebel, AIAA J. 1965,
doi:10.2514/3.3166)::

    p(z_t | z_{t+1}, y_0..t) = N(G z_{t+1} + o, C)       G = P F' (F P F' + Q)^-1
    smoothed_t = N(G m_{t+1} + o, G P_{t+1} G' + C)      from the smoothed m and P
    Cov(z_{t+1}, z_t | y) = P_{t+1} G'

Every function takes the same description of the data:

- ``model`` (`KalmanModel`), whose parts are constant or change with time.
- ``observations`` (time, channel), finite where they were seen.
- ``observed`` (time) or (time, channel): False where nothing was seen, also in some
  channels only; what stands there is not read.
- ``reset`` (time): where it is True another sequence starts from the initial state.
- ``length``: the bins from there on are padding; their results are 0.
- ``method``: "sequential" walks from bin to bin, "associative" joins neighbouring bins
  in parallel (`neuromod.kernels.kalman_messages`). "auto" takes the first, except for
  1e4 bins or more on a GPU.

Covariances may be singular: a state can be known, or move without noise. Where an
innovation has no variance at all, the rounding of the precision stands in for it.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from neuromod.kernels import kalman_messages as messages
from neuromod.kernels.hmm_messages import sum_pairwise
from neuromod.kernels.kalman_algebra import product
from neuromod.kernels.kalman_messages import Method
from neuromod.kernels.kalman_model import (
    Chain,
    Gaussian,
    KalmanModel,
    Observations,
    Observed,
    are_last,
    at_bin,
    blank,
    leads_on,
    read,
)
from neuromod.kernels.loop import Count, Flags


class KalmanStep(NamedTuple):
    """One bin: ``filtered`` and ``predicted_next`` (`Gaussian`), ``log_normaliser``."""

    filtered: Gaussian
    predicted_next: Gaussian
    log_normaliser: Array


class KalmanFilter(NamedTuple):
    """What the past tells about each state.

    ``log_likelihood`` is log p(y), ``log_normalisers`` (time) are its parts
    log p(y_t | y_0..t-1), ``filtered_means`` (time, latent) and
    ``filtered_covariances`` (time, latent, latent) are those of p(z_t | y_0..t), and
    ``predicted_next`` (`Gaussian`) is the prior of the bin after the last valid one,
    with which the next chunk goes on. It is None where no transition leads there.
    """

    log_likelihood: Array
    log_normalisers: Array
    filtered_means: Array
    filtered_covariances: Array
    predicted_next: Gaussian | None


class KalmanSmoother(NamedTuple):
    """What the whole recording tells about each state.

    To the parts of `KalmanFilter` come ``smoothed_means`` (time, latent) and
    ``smoothed_covariances`` (time, latent, latent) of p(z_t | y), and
    ``cross_covariances`` (time - 1, latent, latent), entry t being
    Cov(z_{t+1}, z_t | y); None if not asked for.
    """

    log_likelihood: Array
    log_normalisers: Array
    filtered_means: Array
    filtered_covariances: Array
    smoothed_means: Array
    smoothed_covariances: Array
    cross_covariances: Array | None


@jax.jit
def kalman_step(
    model: KalmanModel,
    predicted: Gaussian,
    observation: Float[Array, " channel"],
    *,
    observed: Bool[Array, ""] | Bool[Array, " channel"] | None = None,
) -> KalmanStep:
    """Take in the observation of one bin and predict the next: the streaming filter.

    Parameters
    ----------
    model
        The parameters that hold in this bin.
    predicted
        Prior of this bin: the initial state for the first, then ``predicted_next``.
    observation : (channel,)
        What was observed.
    observed : () or (channel,)
        False where nothing was.

    Returns
    -------
    KalmanStep
        What `kalman_filter` gives at this bin: it runs the same step.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import Gaussian, KalmanModel, kalman_step
    >>> one = jnp.eye(1)
    >>> walk = KalmanModel(jnp.zeros(1), one, one, one, one, one)
    >>> now = kalman_step(walk, Gaussian(jnp.zeros(1), one), jnp.array([4.0]))
    >>> print(f"{now.filtered.mean[0]:.3f} {now.predicted_next.covariance[0, 0]:.3f}")
    2.000 1.500
    """
    flags = None if observed is None else jnp.asarray(observed)[None]
    chain = read(model, observation[None], flags, None, None)
    own = at_bin(chain.constant, jax.tree.map(lambda x: x[0], chain.cuts))
    updated = messages.update(predicted, own)
    following = messages.predict(updated.filtered, own)
    return KalmanStep(updated.filtered, following, updated.log_normaliser)


@functools.partial(jax.jit, static_argnames="method")
def kalman_filter(
    model: KalmanModel,
    observations: Observations,
    *,
    observed: Observed | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    predicted: Gaussian | None = None,
    method: Method = "auto",
) -> KalmanFilter:
    """Compute p(z_t | y_0..t), what the past tells about each state.

    Parameters
    ----------
    model
        The parameters, constant or changing with time.
    observations : (time, channel)
        What was observed.

    Other parameters
    ----------------
    observed : (time,) or (time, channel)
        False where nothing was.
    reset : (time,)
        True where another sequence starts.
    length
        Number of valid bins.
    predicted
        Prior of the first bin where the data continue a sequence: ``predicted_next``
        of the chunk before. The model's initial state then is only where a reset goes
        back to.
    method
        "sequential", "associative", or "auto" for the faster one.

    Returns
    -------
    KalmanFilter
        The filtered posterior, the likelihood and the prior of the next chunk.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the method is unknown.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import KalmanModel, kalman_filter
    >>> one = jnp.eye(1)
    >>> walk = KalmanModel(jnp.zeros(1), one, one, one, one, one)
    >>> found = kalman_filter(walk, jnp.array([[4.0], [7.0]]))
    >>> print([f"{mean:.3f}" for mean in found.filtered_means[:, 0]])
    ['2.000', '5.000']
    """
    chain = read(model, observations, observed, reset, length)
    start = predicted
    if start is not None and reset is not None:
        again = jnp.asarray(reset)[0]
        start = jax.tree.map(
            lambda x, y: jnp.where(again, x, y), chain.initial, predicted
        )
    method = messages.choose_for(method, observations)
    following, updates = messages.run_forward(chain, method, start)
    known = leads_on(model, len(observations))
    return KalmanFilter(*_common(chain, updates), following if known else None)


@functools.partial(jax.jit, static_argnames=("cross_covariances", "method"))
def kalman_smoother(
    model: KalmanModel,
    observations: Observations,
    *,
    observed: Observed | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    cross_covariances: bool = False,
    method: Method = "auto",
) -> KalmanSmoother:
    """Compute p(z_t | y), what everything tells about each state.

    Parameters
    ----------
    model, observations, observed, reset, length, method
        As in `kalman_filter`.
    cross_covariances
        Return the covariance of each state with its successor too.

    Returns
    -------
    KalmanSmoother
        The smoothed and filtered posteriors, and the likelihood.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import KalmanModel, kalman_smoother
    >>> one = jnp.eye(1)
    >>> walk = KalmanModel(jnp.zeros(1), one, one, one, one, one)
    >>> found = kalman_smoother(walk, jnp.array([[4.0], [7.0]]))
    >>> print([f"{mean:.3f}" for mean in found.smoothed_means[:, 0]])
    ['3.000', '5.000']
    """
    chain = read(model, observations, observed, reset, length)
    method = messages.choose_for(method, observations)
    _, updates = messages.run_forward(chain, method)

    def part(cut, filtered, last):
        return messages.condition(filtered, at_bin(chain.constant, cut), last)

    def output(part, after, now, *_):
        cross = product(after.covariance, part.matrix.T) if cross_covariances else None
        return now, cross

    inputs = (chain.cuts, updates.filtered, are_last(chain.cuts))
    _, (smoothed, cross) = messages.run_backward(part, output, inputs, method)
    return KalmanSmoother(
        *_common(chain, updates),
        smoothed_means=blank(smoothed.mean, chain.cuts.valid),
        smoothed_covariances=blank(smoothed.covariance, chain.cuts.valid),
        cross_covariances=None if cross is None else cross[:-1],
    )


def _common(
    chain: Chain, updates: messages.Update
) -> tuple[Array, Array, Array, Array]:
    """Return what all results begin with."""
    return (
        sum_pairwise(updates.log_normaliser),
        updates.log_normaliser,
        blank(updates.filtered.mean, chain.cuts.valid),
        blank(updates.filtered.covariance, chain.cuts.valid),
    )
