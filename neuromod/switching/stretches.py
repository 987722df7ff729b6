r"""Posteriors of long sessions, a stretch of time after another.

Over a whole session the messages of the hidden chain need several numbers per bin and
state besides those they return. Here the forward pass keeps one prediction for each
stretch, and the backward pass takes the stretches from the last to the first and
filters each of them again. The results are the same, to rounding.

The future reaches a stretch through its last bin: the likelihood $b$ of all later bins
given the state there counts like evidence of that bin. From the smoothed and the
predicted probabilities of the next stretch's first bin it is $b = A u$ with
$u_j = \gamma_j / p_j$; a state that cannot be reached has no part in any posterior.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from neuromod import kernels
from neuromod.core.programs import jit_many_kernels
from neuromod.switching.observations import Values


class Smoothed(NamedTuple):
    """What `neuromod.kernels.hmm_smoother` tells of a session.

    Parameters
    ----------
    log_likelihood
        Log marginal likelihood (nats).
    transition_counts : (state, state_to)
        Expected number of jumps.
    """

    log_likelihood: float
    transition_counts: Float[np.ndarray, "state state_to"]


def smooth(
    initial: Float[Values, " state"],
    transition: Float[Values, "state state_to"],
    evidence: Float[np.ndarray, "time state"],
    observed: Bool[np.ndarray, " time"],
    n_bins: int,
    into: Float[np.ndarray, "time state"],
) -> Smoothed:
    """Smooth one session.

    Parameters
    ----------
    initial : (state,)
        Probabilities of the first state.
    transition : (state, state_to)
        Probabilities of the jumps.
    evidence : (time, state)
        Log-likelihood of each bin in each state.
    observed : (time,)
        False where there is no evidence.
    n_bins
        Bins of a stretch.
    into : (time, state)
        Where the probability of each state given the whole session is written.
    """

    def stretch(start: int):
        here = slice(start, min(start + n_bins, len(evidence)))
        length = here.stop - here.start
        seen = np.zeros((n_bins, evidence.shape[1]), evidence.dtype)
        np.copyto(seen[:length], evidence[here], where=observed[here, None])
        return here, length, seen

    starts = range(0, len(evidence), n_bins)
    initial, transition = jnp.asarray(initial), jnp.asarray(transition)
    log_likelihood, predicted = 0.0, [initial]
    for start in starts:
        _, length, seen = stretch(start)
        past = kernels.hmm_filter(
            initial, transition, seen, length=length, predicted=predicted[-1]
        )
        log_likelihood += float(past.log_likelihood)
        predicted.append(past.predicted_next)
    counts = np.zeros(transition.shape, evidence.dtype)
    later, is_last = jnp.ones_like(predicted[0]), True
    for number in reversed(range(len(starts))):
        here, length, seen = stretch(starts[number])
        found = _smooth(predicted[number], transition, seen, length, later)
        into[here] = np.asarray(found.smoothed)[:length]
        counts += np.asarray(found.transition_counts)
        counts += 0 if is_last else np.asarray(found.jumps_out)
        later, is_last = found.later, False
    return Smoothed(log_likelihood, counts)


class _Stretch(NamedTuple):
    """Posteriors of a stretch, its jumps into the next, and u of its first bin."""

    smoothed: Float[Array, "time state"]
    transition_counts: Float[Array, "state state_to"]
    jumps_out: Float[Array, "state state_to"]
    later: Float[Array, " state"]


@jit_many_kernels
def _smooth(predicted, transition, evidence, length, later) -> _Stretch:
    """Smooth a stretch, given its prediction and u of the bin that follows."""
    onward = transition * later[None]
    future = onward.sum(axis=1)
    last = length - 1
    evidence = jnp.asarray(evidence).at[last].add(jnp.log(future))
    found = kernels.hmm_smoother(predicted, transition, evidence, length=length)
    possible = future[:, None] > 0
    shares = jnp.where(possible, onward / jnp.where(possible, future[:, None], 1), 0)
    first = found.smoothed[0]
    reached = predicted > 0
    return _Stretch(
        found.smoothed,
        found.transition_counts,
        found.smoothed[last][:, None] * shares,
        jnp.where(reached, first / jnp.where(reached, predicted, 1), 0),
    )
