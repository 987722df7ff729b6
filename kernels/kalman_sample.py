"""Draws of the hidden states of a linear Gaussian state-space model, given the data.

Given its successor, a state depends on the past alone, so that a path is drawn from its
end: the last state from its filtered posterior, then each one given the one after it
(Carter & Kohn, Biometrika 1994, doi:10.1093/biomet/81.3.541; Frühwirth-Schnatter, J.
Time Ser. Anal. 1994)::

    z_t = G z_{t+1} + o + C^(1/2) noise_t

with the G, o and C of the smoother (`neuromod.kernels.kalman`): the same recursion, run
with noise in place of a covariance.
"""

import functools

import jax
from jaxtyping import Array, Float, Key

from neuromod.kernels import kalman_messages as messages
from neuromod.kernels.kalman_algebra import product, root
from neuromod.kernels.kalman_messages import Method, Recursion
from neuromod.kernels.kalman_model import (
    KalmanModel,
    Observations,
    Observed,
    are_last,
    at_bin,
    blank,
    read,
)
from neuromod.kernels.loop import Count, Flags


@functools.partial(jax.jit, static_argnames="method")
def kalman_sample(
    model: KalmanModel,
    observations: Observations,
    *,
    key: Key[Array, ""],
    observed: Observed | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    method: Method = "auto",
) -> Float[Array, "time latent"]:
    """Draw a path of states from the posterior p(z | y).

    With nothing observed it is a draw from the model itself.

    Parameters
    ----------
    model, observations, observed, reset, length, method
        As in `kalman_filter`.
    key
        Random key; ``jax.vmap`` over keys gives many paths from one filter pass.

    Returns
    -------
    path : (time, latent)
        The drawn states; 0 in the padding.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or the method is unknown.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import KalmanModel, kalman_sample
    >>> one = jnp.eye(1)
    >>> still = KalmanModel(jnp.zeros(1), 0 * one, one, 0 * one, one, one)
    >>> print(kalman_sample(still, jnp.array([[4.0], [7.0]]), key=jax.random.key(0)))
    [[0.]
     [0.]]
    """
    chain = read(model, observations, observed, reset, length)
    method = messages.choose_for(method, observations)
    _, updates = messages.run_forward(chain, method)

    def part(cut, filtered, last, noise):
        own = messages.condition(filtered, at_bin(chain.constant, cut), last)
        offset = own.offset + product(root(own.covariance), noise)
        return Recursion(own.matrix, offset, None)

    def output(part, after, now, *_):
        return now.mean

    mean = updates.filtered.mean
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    inputs = (chain.cuts, updates.filtered, are_last(chain.cuts), noise)
    _, path = messages.run_backward(part, output, inputs, method)
    return blank(path, chain.cuts.valid)
