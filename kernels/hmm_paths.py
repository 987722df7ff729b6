"""Hidden Markov models: whole paths of states, the best one and random ones.

Both are found by walking back along what a forward pass has left. If f_ti scores how
well the past fits state i at bin t, the path follows from its end::

    z_t = argmax_i ( f_ti + log A[i, z_{t+1}] )          (no second term at the end)

The best path (Viterbi, IEEE Trans. Inf. Theory 1967, doi:10.1109/TIT.1967.1054010) has
as score the log probability of the best way to get there, less that of the best
state::

    f_tj = l_tj + max_i ( f_{t-1,i} + log A_ij )         (log pi at the first bin)

A draw from the posterior p(z | y) has ``f = log filtered + g`` with independent Gumbel
noise g: the argmax of log weights plus Gumbel noise is a draw in proportion to the
weights (Maddison, Tarlow & Minka, NeurIPS 2014, arXiv:1411.0030), and the weights of
z_t given its successor are ``filtered_ti A[i, z_{t+1}]``.

The arguments are those of `neuromod.kernels.hmm_filter`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from neuromod.kernels import hmm_messages as messages
from neuromod.kernels.hmm_messages import (
    Chain,
    Initial,
    LogLikelihoods,
    Transition,
)
from neuromod.kernels.loop import Count, Flags
from neuromod.kernels.scan import scan


class HMMViterbi(NamedTuple):
    """The most probable ``path`` (time) and ``log_joint``, log p(path, y)."""

    path: Array
    log_joint: Array


@jax.jit
def hmm_viterbi(
    initial: Initial,
    transition: Transition,
    log_likelihoods: LogLikelihoods,
    *,
    observed: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
) -> HMMViterbi:
    """Find the most probable path of states; of equal ones, the first.

    Parameters
    ----------
    initial, transition, log_likelihoods, observed, reset, length
        As in `hmm_filter`.

    Returns
    -------
    HMMViterbi
        The path, and its log probability together with the evidence.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import hmm_viterbi
    >>> stay = jnp.array([[0.75, 0.25], [0.25, 0.75]])
    >>> evidence = jnp.log(jnp.array([[0.9, 0.1], [0.4, 0.6], [0.9, 0.1]]))
    >>> print(hmm_viterbi(jnp.array([0.5, 0.5]), stay, evidence).path)
    [0 0 0]
    """
    chain = messages.read(initial, transition, log_likelihoods, observed, reset, length)
    path = _walk_back(chain, _best_scores(chain))
    return HMMViterbi(path, _log_joint(chain, path))


@jax.jit
def hmm_sample(
    initial: Initial,
    transition: Transition,
    log_likelihoods: LogLikelihoods,
    *,
    key: Key[Array, ""],
    observed: Flags | None = None,
    reset: Flags | None = None,
    length: Count | None = None,
) -> Int[Array, " time"]:
    """Draw a path of states from the posterior p(z | y).

    Parameters
    ----------
    initial, transition, log_likelihoods, observed, reset, length
        As in `hmm_filter`.
    key
        Random key; ``jax.vmap`` over keys gives many paths from one filter pass.

    Returns
    -------
    path : (time,)
        The drawn states.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from neuromod.kernels import hmm_sample
    >>> never = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> evidence = jnp.array([[0.0, 0.0], [0.0, -jnp.inf], [0.0, 0.0]])
    >>> print(hmm_sample(jnp.array([0.5, 0.5]), never, evidence, key=jax.random.key(0)))
    [0 0 0]
    """
    chain = messages.read(initial, transition, log_likelihoods, observed, reset, length)
    _, forward = messages.run_forward(chain, chain.initial)
    noise = jax.random.gumbel(key, forward.filtered.shape, forward.filtered.dtype)
    return _walk_back(chain, jnp.log(forward.filtered) + noise)


def _best_scores(chain: Chain) -> Array:
    """Return the scores (time, state) of the best way to each state."""
    log_transition = jnp.log(chain.transition)
    best = jnp.max(chain.evidence, axis=1, keepdims=True)
    evidence = chain.evidence - jnp.where(best > -jnp.inf, best, 0.0)

    def step(predicted, inputs):
        evidence, own = inputs
        scores = predicted + evidence
        best = jnp.max(scores)
        # An impossible bin is left out, as the filter does.
        scores = jnp.where(best > -jnp.inf, scores - best, predicted)
        jumps = scores[:, None] + (log_transition if own is None else own)
        return jnp.max(jumps, axis=0), scores

    inputs = (evidence, messages.outgoing(log_transition, len(evidence)))
    _, scores, _ = scan(
        step,
        jnp.log(chain.initial),
        inputs,
        mask=chain.valid,
        reset=chain.reset,
        checkpoint=None,
    )
    return scores


def _walk_back(chain: Chain, scores: Array) -> Array:
    """Follow the best predecessors from the end of each sequence."""
    log_transition = jnp.log(chain.transition)

    def step(to_successor, inputs):
        scores, own = inputs
        state = jnp.argmax(scores + to_successor)
        return (log_transition if own is None else own)[:, state], state

    inputs = (scores, messages.incoming(log_transition, len(scores)))
    _, path, _ = scan(
        step,
        jnp.zeros_like(chain.initial),
        inputs,
        mask=chain.valid,
        reset=messages.sequence_ends(chain),
        reverse=True,
        checkpoint=None,
    )
    return path


def _log_joint(chain: Chain, path: Array) -> Array:
    """Return log p(path, y), gathered along the path."""
    bins = jnp.arange(len(path))
    starts = bins == 0 if chain.reset is None else (bins == 0) | chain.reset
    before = jnp.roll(path, 1)
    own = messages.incoming(chain.transition, len(path))
    jumps = chain.transition[before, path] if own is None else own[bins, before, path]
    prior = messages.fill(jnp.where(starts, chain.initial[path], jumps), chain.valid)
    evidence = chain.evidence[bins, path]
    return messages.sum_pairwise(jnp.log(prior)) + messages.sum_pairwise(evidence)
