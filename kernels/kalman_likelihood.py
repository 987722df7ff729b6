"""The likelihood of a linear Gaussian state-space model, with its derivative.

What a change of the prediction N(m_t, P_t) of one bin does to the log-likelihood of
everything from there on is told by a vector and a matrix, the score and the information
of the prediction::

    d log p(y) = l_t' dm_t + tr( (l_t l_t' - L_t) dP_t ) / 2

They obey a backward recursion that needs no inverse but that of S (Bryson & Frazier
1963; de Jong, Biometrika 1989, doi:10.1093/biomet/76.1.65), with A = F (1 - K H)::

    l_t = H' S^-1 v + A' l_{t+1}            L_t = H' S^-1 H + A' L_{t+1} A

By Fisher's identity the derivative of log p(y) is the posterior mean of the derivative
of log p(z, y), and with g = F' l_{t+1}, G = F' L_{t+1} F, filtered m and P, smoothed
mean s = m + P g, and the errors u = S^-1 v - K' g and U = S^-1 + K' G K all of it is::

    d/dF = l_{t+1} s' - L_{t+1} F P       d/db = l_{t+1}     d/dQ = (l l' - L)_{t+1} / 2
    d/dH = u s' - K' (1 - G P)            d/dc = u           d/dR = (u u' - U) / 2

(Koopman & Shephard, Biometrika 1992, doi:10.1093/biomet/79.4.823.) Nothing is divided
by Q or R, so that it also holds where they are singular. The rule is linear in the
changes, which gives the gradient as well as the forward derivative, and it is a
function of the passes that can be differentiated once more.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.kernels import kalman_messages as messages
from neuromod.kernels.hmm_messages import sum_pairwise
from neuromod.kernels.kalman_algebra import (
    EXACT,
    congruence,
    identity_like,
    product,
    symmetric,
)
from neuromod.kernels.kalman_messages import Method, Recursion, Update
from neuromod.kernels.kalman_model import (
    Bin,
    Chain,
    Gaussian,
    KalmanModel,
    Observations,
    Observed,
    at_bin,
    read,
)
from neuromod.kernels.loop import Count, Flags


@functools.partial(jax.jit, static_argnames="method")
def kalman_log_likelihood(
    model: KalmanModel,
    observations: Observations,
    *,
    observed: Observed | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    method: Method = "auto",
) -> Float[Array, ""]:
    """Compute log p(y), to be differentiated as often and in any mode as needed.

    Its derivative with respect to every part of the model and the observations is
    computed by one forward and one backward pass, and not by differentiating the
    forward loop.

    Parameters
    ----------
    model, observations, observed, reset, length, method
        As in `kalman_filter`.

    Returns
    -------
    log_likelihood
        log p(y), the same number as `kalman_filter` gives.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import KalmanModel, kalman_log_likelihood
    >>> one = jnp.eye(1)
    >>> walk = KalmanModel(jnp.zeros(1), one, one, one, one, one)
    >>> slope = jax.grad(kalman_log_likelihood)(walk, jnp.array([[4.0], [7.0]]))
    >>> print(f"{slope.initial_mean[0]:.3f} {slope.observation_covariance[0, 0]:.3f}")
    3.000 2.000
    """
    chain = read(model, observations, observed, reset, length)
    return _log_likelihood(chain, messages.choose_for(method, observations))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _log_likelihood(chain: Chain, method: str) -> Array:
    _, updates = messages.run_forward(chain, method)
    return sum_pairwise(updates.log_normaliser)


@_log_likelihood.defjvp
def _differentiate(method: str, primals: tuple[Chain], tangents: tuple[Chain]):
    (chain,), (tangent,) = primals, tangents
    _, updates = messages.run_forward(chain, method)
    first, constant, cuts = _run_scores(chain, updates, method)
    change = (
        _contract(constant, tangent.constant)
        + _contract(cuts, (tangent.cuts.model, tangent.cuts.residuals))
        + _contract((first.mean, _of_covariance(first)), tuple(tangent.initial))
    )
    return sum_pairwise(updates.log_normaliser), change


def _contract(slopes, changes) -> Array:
    products = jax.tree.map(lambda x, y: jnp.sum(x * y), slopes, changes)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))


def _of_covariance(score: Gaussian) -> Array:
    """Return (l l' - L) / 2, the derivative with respect to a covariance."""
    return (_outer(score.mean, score.mean) - score.covariance) / 2


def _outer(left: Array, right: Array) -> Array:
    return left[:, None] * right[None, :]


def _run_scores(chain: Chain, updates: Update, method: str):
    """Return the score of the first bin, and the derivatives along the chain.

    The latter are with respect to what is constant, summed over time, and to what
    changes: the parts of the model and the residuals.
    """

    def part(cut, updated):
        own = at_bin(chain.constant, cut)
        H, F = own.observation, own.transition
        remain = identity_like(F) - product(updated.gain, H)
        weighted = product(H.T, updated.precision)
        offset = product(weighted, updated.innovation)
        information = symmetric(product(weighted, H))
        return Recursion(product(F, remain).T, offset, information)

    def output(_, after, now, cut, updated):
        def parts(constant, model, residuals):
            own = cut._replace(model=model, residuals=residuals)
            return at_bin(constant, own)._replace(seen=None)

        own, pull = jax.vjp(parts, chain.constant, cut.model, cut.residuals)
        return pull(_slopes(own, updated, after))

    inputs = (chain.cuts, updates)
    first, slopes = messages.run_backward(part, output, inputs, method)
    return first, jax.tree.map(_sum_over_time, slopes[0]), slopes[1:]


def _slopes(own: Bin, updated: Update, after: Gaussian) -> Bin:
    """Return the derivative with respect to what holds in one bin."""
    F, gain = own.transition, updated.gain
    mean, covariance = updated.filtered
    score, information = after
    g = product(F.T, score)
    smoothed = mean + product(covariance, g)
    error = product(updated.precision, updated.innovation) - product(gain.T, g)
    through = product(F, covariance)
    blind = gain.T - product(gain.T, F.T, information, through)
    spread = updated.precision + congruence(product(F, gain).T, information)
    return Bin(
        _outer(score, smoothed) - product(information, through),
        score,
        _of_covariance(after),
        _outer(error, smoothed) - blind,
        _of_covariance(Gaussian(error, spread)),
        -error,
        None,
    )


def _sum_over_time(values: Array) -> Array:
    """Sum over the first axis, in blocks: one long sum drifts in float32."""
    block = min(512, len(values))
    padding = [(0, -len(values) % block)] + [(0, 0)] * (values.ndim - 1)
    blocks = jnp.pad(values, padding).reshape(-1, block, *values.shape[1:])
    ones = jnp.ones(block, values.dtype)
    return jnp.sum(jnp.einsum("bt...,t->b...", blocks, ones, precision=EXACT), axis=0)
