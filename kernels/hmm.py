"""Hidden Markov models: filtering, smoothing and the likelihood.

A state ``z_t`` in 0 .. S - 1 starts from pi, jumps with the probabilities A and gives
evidence, of which only its log-likelihood in each state matters here::

    p(z_0 = i)                 = pi_i       initial         (state)
    p(z_{t+1} = j | z_t = i)   = A_ij       transition      (state, state_to)
    log p(y_t | z_t = i)       = l_ti       log_likelihoods (time, state)

The forward message is the filtered posterior, normalised at every bin so that nothing
underflows; the normalisers c_t = p(y_t | y_0..t-1) give the likelihood of everything::

    predicted_t = filtered_{t-1} A          (pi at the first bin)
    filtered_t  = predicted_t exp(l_t) / c_t             log p(y) = sum_t log c_t

The backward message b_t is the likelihood of the rest, relative to its prediction::

    u_t = exp(l_t) b_t / c_t                b_{t-1} = A u_t      (b = 1 at the last bin)

and the two meet in the posteriors of a state and of a pair of states::

    smoothed_t = filtered_t b_t
    p(z_t = i, z_{t+1} = j | y) = filtered_ti A_ij u_{t+1,j}

(Rabiner, Proc. IEEE 1989, doi:10.1109/5.18626.) The same two messages are the
derivative of log p(y): with respect to l they give ``smoothed``, to A the sum of
``filtered_t u_{t+1}`` and to pi ``u_0`` (`neuromod.kernels.hmm_likelihood`).

Every function takes the same description of the data:

- ``transition`` is one matrix, or one for each pair of bins: entry t for the pair
  (t, t + 1). An entry more, at the end, leads on to the bin that follows.
- ``observed`` (time): where it is False the chain moves on without evidence.
- ``reset`` (time): where it is True another sequence starts from ``initial``, and
  nothing jumps into it.
- ``length``: the bins from there on are padding; their results are 0.

A log-likelihood may be -inf, but neither +inf nor NaN. Evidence that is impossible in
every state that can be reached makes the log-likelihood of everything -inf; the
posteriors then leave that bin out. A posterior probability below the smallest number of
the precision (1e-38 in float32) is 0.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.kernels import hmm_messages as messages
from neuromod.kernels import hmm_methods as methods
from neuromod.kernels.hmm_messages import (
    Initial,
    LogLikelihoods,
    Transition,
)
from neuromod.kernels.hmm_methods import Method
from neuromod.kernels.loop import Count, Flags


class HMMStep(NamedTuple):
    """One bin: ``filtered`` (state), ``predicted_next`` (state), ``log_normaliser``."""

    filtered: Array
    predicted_next: Array
    log_normaliser: Array


class HMMFilter(NamedTuple):
    """What the past tells about each state.

    ``log_likelihood`` is log p(y), ``log_normalisers`` (time) are its parts
    log p(y_t | y_0..t-1), ``filtered`` (time, state) is p(z_t | y_0..t), and
    ``predicted_next`` (state) is the prior of the bin after the last valid one, with
    which the next chunk goes on. It is None where no transition leads there.
    """

    log_likelihood: Array
    log_normalisers: Array
    filtered: Array
    predicted_next: Array | None


class HMMFixedLagSmoother(NamedTuple):
    """What the past and the next bins tell: ``smoothed`` is p(z_t | y_0..t+lag)."""

    log_likelihood: Array
    log_normalisers: Array
    filtered: Array
    smoothed: Array


class HMMSmoother(NamedTuple):
    """What the whole recording tells about each state.

    ``smoothed`` (time, state) is p(z_t | y), ``transition_counts`` (state, state_to)
    the expected number of jumps, and ``transition_posteriors`` (time - 1, state,
    state_to) their parts from each pair of bins, None if not asked for.
    """

    log_likelihood: Array
    log_normalisers: Array
    filtered: Array
    smoothed: Array
    transition_counts: Array
    transition_posteriors: Array | None


@jax.jit
def hmm_step(
    predicted: Initial,
    transition: Float[Array, "state state_to"],
    log_likelihoods: Float[Array, " state"],
) -> HMMStep:
    """Take in the evidence of one bin and predict the next: the streaming filter.

    Parameters
    ----------
    predicted : (state,)
        Prior of this bin: ``initial`` for the first, then ``predicted_next``.
    transition : (state, state_to)
        Probabilities of the jump to the next bin.
    log_likelihoods : (state,)
        Evidence of this bin; zeros if it was not observed.

    Returns
    -------
    HMMStep
        What `hmm_filter` gives at this bin: it runs the same step.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import hmm_step
    >>> stay = jnp.array([[0.75, 0.25], [0.25, 0.75]])
    >>> now = hmm_step(jnp.array([0.5, 0.5]), stay, jnp.array([0.0, -jnp.inf]))
    >>> print(now.filtered, now.predicted_next)
    [1. 0.] [0.75 0.25]
    """
    following, forward = messages.advance(predicted, transition, log_likelihoods)
    log_normaliser = forward.shift + jnp.log(forward.scale)
    return HMMStep(forward.filtered, following, log_normaliser)


@functools.partial(jax.jit, static_argnames=("method", "n_blocks"))
def hmm_filter(
    initial: Initial,
    transition: Transition,
    log_likelihoods: LogLikelihoods,
    *,
    observed: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    predicted: Initial | None = None,
    method: Method = "auto",
    n_blocks: int | None = None,
) -> HMMFilter:
    """Compute p(z_t | y_0..t), what the past tells about each state.

    Parameters
    ----------
    initial : (state,)
        Probabilities of the first state.
    transition : (state, state_to) or (time - 1, state, state_to)
        Probabilities of the jumps; with ``time`` entries the last one leads on.
    log_likelihoods : (time, state)
        Log-likelihood of the evidence of each bin in each state.

    Other parameters
    ----------------
    observed : (time,)
        False where there is no evidence.
    reset : (time,)
        True where another sequence starts.
    length
        Number of valid bins.
    predicted : (state,)
        Prior of the first bin where the data continue a sequence: ``predicted_next``
        of the chunk before. ``initial`` then is only where a reset goes back to.
    method
        "sequential": bin after bin; "blocked": blocks of time side by side, for
        recordings that are long or sharded along time; "associative": all bins at once
        in log2(time) rounds, for accelerators. "auto" is the fastest: see "Which method
        when" in the guide.
    n_blocks
        Number of blocks of the method "blocked": by default as many as keep the vector
        instructions of a CPU busy.

    Returns
    -------
    HMMFilter
        The filtered posterior, the likelihood and the prior of the next chunk.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or there is no such method.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import hmm_filter
    >>> stay = jnp.array([[0.75, 0.25], [0.25, 0.75]])
    >>> evidence = jnp.log(jnp.array([[1.0, 0.0], [0.5, 0.5]]))
    >>> print(hmm_filter(jnp.array([0.5, 0.5]), stay, evidence).filtered)
    [[1.   0.  ]
     [0.75 0.25]]
    """
    chain = messages.read(initial, transition, log_likelihoods, observed, reset, length)
    plan = methods.plan(method, n_blocks, log_likelihoods)
    predicted = initial if predicted is None else predicted
    following, past = methods.forward(chain, predicted, plan)
    leads_on = transition.ndim == 2 or len(transition) == len(log_likelihoods)
    return HMMFilter(*past, following if leads_on else None)


@functools.partial(
    jax.jit, static_argnames=("transition_posteriors", "method", "n_blocks")
)
def hmm_smoother(
    initial: Initial,
    transition: Transition,
    log_likelihoods: LogLikelihoods,
    *,
    observed: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
    transition_posteriors: bool = False,
    method: Method = "auto",
    n_blocks: int | None = None,
) -> HMMSmoother:
    """Compute p(z_t | y), what everything tells about each state, and the jumps.

    Parameters
    ----------
    initial, transition, log_likelihoods, observed, reset, length, method, n_blocks
        As in `hmm_filter`.
    transition_posteriors
        Return the posterior of each pair of bins too: (time - 1) * state**2 numbers.

    Returns
    -------
    HMMSmoother
        The smoothed and filtered posteriors, and the expected number of each jump.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import hmm_smoother
    >>> stay = jnp.array([[0.75, 0.25], [0.25, 0.75]])
    >>> evidence = jnp.log(jnp.array([[0.5, 0.5], [1.0, 0.0]]))
    >>> print(hmm_smoother(jnp.array([0.5, 0.5]), stay, evidence).smoothed)
    [[0.75 0.25]
     [1.   0.  ]]
    """
    chain = messages.read(initial, transition, log_likelihoods, observed, reset, length)
    plan = methods.plan(method, n_blocks, log_likelihoods)
    summed = transition.ndim == 2 and not transition_posteriors
    past, future = methods.both(chain, plan, summed=summed)
    weights = future.pairs
    matrices = transition if transition.ndim == 2 else transition[: len(weights)]
    matrices = jnp.broadcast_to(matrices, weights.shape)
    # Not the bare product: where A is 0 the weight can overflow.
    jumps = jnp.where(matrices > 0, matrices * weights, 0.0)
    return HMMSmoother(
        *past,
        smoothed=future.smoothed,
        transition_counts=jumps if summed else jnp.sum(jumps, axis=0),
        transition_posteriors=jumps if transition_posteriors else None,
    )


@functools.partial(jax.jit, static_argnames="lag")
def hmm_fixed_lag_smoother(
    initial: Initial,
    transition: Transition,
    log_likelihoods: LogLikelihoods,
    *,
    lag: int,
    observed: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
) -> HMMFixedLagSmoother:
    """Compute p(z_t | y_0..t+lag), what can be known ``lag`` bins after the event.

    All bins take a backward step at once, ``lag`` times.

    Parameters
    ----------
    initial, transition, log_likelihoods, observed, reset, length
        As in `hmm_filter`.
    lag
        Number of bins after t that may be used; 0 gives the filter.

    Returns
    -------
    HMMFixedLagSmoother
        The posteriors and the likelihood.

    Raises
    ------
    ValueError
        If ``lag`` is negative, or the shapes do not fit together.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import hmm_fixed_lag_smoother
    >>> stay = jnp.array([[0.75, 0.25], [0.25, 0.75]])
    >>> evidence = jnp.log(jnp.array([[0.5, 0.5], [1.0, 0.0]]))
    >>> half = jnp.array([0.5, 0.5])
    >>> print(hmm_fixed_lag_smoother(half, stay, evidence, lag=0).smoothed)
    [[0.5 0.5]
     [1.  0. ]]
    """
    if lag < 0:
        raise ValueError(f"lag: got {lag}, expected a number of bins >= 0.")
    chain = messages.read(initial, transition, log_likelihoods, observed, reset, length)
    _, forward = messages.run_forward(chain, initial)
    message = messages.run_backward_lagged(chain, forward, lag)
    joint = forward.filtered * message
    total = messages.fill(jnp.sum(joint, axis=1), chain.valid)
    smoothed = joint / total[:, None]
    return HMMFixedLagSmoother(*messages.past(chain, forward), smoothed)
