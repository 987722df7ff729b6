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

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.kernels import hmm_messages as messages
from neuromod.kernels import hmm_methods as methods
from neuromod.kernels.hmm_messages import (
    Chain,
    Initial,
    LogLikelihoods,
    Transition,
)
from neuromod.kernels.hmm_methods import Method, Plan
from neuromod.kernels.loop import Count, Flags


@functools.partial(jax.jit, static_argnames=("method", "n_blocks"))
def hmm_log_likelihood(
    initial: Initial,
    transition: Transition,
    log_likelihoods: LogLikelihoods,
    *,
    observed: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    method: Method = "auto",
    n_blocks: int | None = None,
) -> Float[Array, ""]:
    """Compute log p(y), to be differentiated as often and in any mode as needed.

    Its derivative is computed by one forward and one backward pass, whose results it
    is, and not by differentiating the forward loop. Entries of ``initial`` and
    ``transition`` are taken as free numbers: the derivative does not know that they
    sum to 1. It is right where they are 0.

    Parameters
    ----------
    initial, transition, log_likelihoods, observed, reset, length, method, n_blocks
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
    chain = messages.read(initial, transition, log_likelihoods, observed, reset, length)
    return _log_likelihood(methods.plan(method, n_blocks, log_likelihoods), chain)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _log_likelihood(plan: Plan, chain: Chain) -> Array:
    _, past = methods.forward(chain, chain.initial, plan)
    return past.log_likelihood


@_log_likelihood.defjvp
def _differentiate(plan: Plan, primals: tuple[Chain], tangents: tuple[Chain]):
    (chain,), (tangent,) = primals, tangents
    constant = chain.transition.ndim == 2
    past, future = methods.both(chain, plan, summed=constant)
    into = slice(None) if constant else slice(len(future.pairs))
    change = (
        jnp.sum(future.smoothed * tangent.evidence)
        + jnp.sum(future.pairs * tangent.transition[into])
        + jnp.sum(future.starts * tangent.initial)
    )
    return past.log_likelihood, change
