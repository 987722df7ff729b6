"""Hidden Markov models: the likelihood with its derivative.

By Fisher's identity the derivative of log p(y) is the posterior mean of the derivative
of log p(z, y), and the forward and backward messages hold all of it::

    d log p(y) =   sum_t,i  smoothed_ti                  d l_ti
                 + sum_t,ij filtered_ti u_{t+1,j}        d A_ij
                 + sum_i    u_0i                         d pi_i

The factors of dA and dpi are the posteriors without their A_ij and pi_i, so that they
are right where those are 0. The rule is linear in the changes, which gives the gradient
as well as the forward derivative, and it is a function of the messages that can be
differentiated once more.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.kernels import hmm_messages as messages
from neuromod.kernels.hmm_messages import (
    Chain,
    Initial,
    LogLikelihoods,
    Transition,
)
from neuromod.kernels.loop import Count, Flags


@jax.jit
def hmm_log_likelihood(
    initial: Initial,
    transition: Transition,
    log_likelihoods: LogLikelihoods,
    *,
    observed: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
) -> Float[Array, ""]:
    """Compute log p(y), to be differentiated as often and in any mode as needed.

    Its derivative is computed by one forward and one backward pass, whose results it
    is, and not by differentiating the forward loop. Entries of ``initial`` and
    ``transition`` are taken as free numbers: the derivative does not know that they
    sum to 1. It is right where they are 0.

    Parameters
    ----------
    initial, transition, log_likelihoods, observed, reset, length
        As in `hmm_filter`.

    Returns
    -------
    log_likelihood
        log p(y), the same number as `hmm_filter` gives.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import hmm_log_likelihood
    >>> stay = jnp.array([[0.75, 0.25], [0.25, 0.75]])
    >>> evidence = jnp.log(jnp.array([[0.5, 0.5], [1.0, 0.0]]))
    >>> half = jnp.array([0.5, 0.5])
    >>> print(jax.grad(hmm_log_likelihood, 2)(half, stay, evidence))
    [[0.75 0.25]
     [1.   0.  ]]
    """
    return _log_likelihood(
        messages.read(initial, transition, log_likelihoods, observed, reset, length)
    )


@jax.custom_jvp
def _log_likelihood(chain: Chain) -> Array:
    _, forward = messages.run_forward(chain)
    return messages.log_likelihood(forward, chain.valid)


@_log_likelihood.defjvp
def _differentiate(primals: tuple[Chain], tangents: tuple[Chain]):
    (chain,), (tangent,) = primals, tangents
    _, forward = messages.run_forward(chain)
    backward = messages.run_backward(chain, forward)
    constant = chain.transition.ndim == 2
    pairs = messages.pair_weights(chain, forward, backward, summed=constant)
    starts = backward.future[0]
    if chain.reset is not None:
        restarts = jnp.where(chain.reset[1:, None], backward.future[1:], 0.0)
        starts = starts + jnp.sum(restarts, axis=0)
    change = (
        jnp.sum(backward.smoothed * tangent.evidence)
        + jnp.sum(pairs * tangent.transition[: None if constant else len(pairs)])
        + jnp.sum(starts * tangent.initial)
    )
    return messages.log_likelihood(forward, chain.valid), change
