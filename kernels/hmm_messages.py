"""The two messages of a hidden Markov model, computed so that they stay finite.

The equations stand in `neuromod.kernels.hmm`; this module has the arithmetic.

Evidence from a thousand neurons has log-likelihoods near -1e5, far below what ``exp``
can represent, so a *shift* is taken off first: the largest log-likelihood of the bin,
among the states that can be reached. (Among all of them, an impossible state with the
best evidence would turn the weights of all others into 0.) The normaliser of the bin
is then ``scale * exp(shift)`` with a scale that is never 0::

    shift_t    = max_i { l_ti : predicted_ti > 0 }
    scale_t    = sum_i predicted_ti exp(l_ti - shift_t)
    filtered_t = predicted_t exp(l_t - shift_t) / scale_t

A state that cannot be reached can have any evidence, and its backward message, which
nothing normalises, can grow without bound. Both are cut at the largest number: the
posterior is 0 there whatever they are, while the derivative with respect to a
transition probability that happens to be 0 needs their values where they are moderate.

Shifts and log scales are summed apart and in pairs, so that the log-likelihood of a
long recording keeps the relative precision of its parts in float32.

Only what carries from bin to bin is computed in the loops; the rest is done for all
bins at once.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from neuromod.kernels.loop import Count, Flags
from neuromod.kernels.scan import scan

# Up to here a sum of products beats a matrix product inside a loop on a CPU; with 64
# states it takes five times longer.
FEW_STATES = 8
EXACT = lax.Precision.HIGHEST

Initial = Float[Array, " state"]
Transition = Float[Array, "state state_to"] | Float[Array, "pair state state_to"]
LogLikelihoods = Float[Array, "time state"]


class Chain(NamedTuple):
    """The data of one call: checked, with 0 for the evidence that is missing."""

    initial: Array
    transition: Array
    evidence: Array
    valid: Array | None
    reset: Flags | None


class Forward(NamedTuple):
    """The forward pass: (time, state), (time) and (time)."""

    filtered: Array
    shift: Array
    scale: Array


class Past(NamedTuple):
    """What the forward pass tells: (), (time) and (time, state)."""

    log_likelihood: Array
    log_normalisers: Array
    filtered: Array


class Future(NamedTuple):
    """What the backward pass adds.

    ``smoothed`` (time, state) is the posterior, ``starts`` (state) the sum of u at the
    first bins of sequences, and ``pairs`` the ``filtered_ti u_{t+1,j}`` of all pairs of
    bins (time - 1, state, state_to), or their sum. Times A they are the posteriors of
    the pairs; as they stand, the derivative of log p(y) with respect to A, also where A
    is 0. ``starts`` is that with respect to pi.
    """

    smoothed: Array
    starts: Array
    pairs: Array


def read(
    initial: Initial,
    transition: Transition,
    log_likelihoods: LogLikelihoods,
    observed: Flags | None,
    reset: Flags | None,
    length: Count | None,
) -> Chain:
    """Check the shapes and take out the evidence of bins that give none."""
    _check(initial, transition, log_likelihoods, observed, reset)
    n_bins = log_likelihoods.shape[0]
    valid = None if length is None else jnp.arange(n_bins) < length
    if reset is not None:
        reset = jnp.asarray(reset) if valid is None else valid & reset
    for used in (observed, valid):
        if used is not None:
            log_likelihoods = jnp.where(used[:, None], log_likelihoods, 0.0)
    return Chain(initial, transition, log_likelihoods, valid, reset)


def _check(initial, transition, log_likelihoods, observed, reset) -> None:
    if log_likelihoods.ndim != 2 or log_likelihoods.shape[0] == 0:
        raise ValueError(
            f"log_likelihoods: got shape {log_likelihoods.shape}, expected (time, "
            "state) with at least one bin. Use jax.vmap for several sequences."
        )
    n_bins, n_states = log_likelihoods.shape
    square = (n_states, n_states)
    varying = [(n_bins - 1, *square), (n_bins, *square)]
    expected = {
        "initial": (initial, [(n_states,)]),
        "transition": (transition, [square, *varying]),
        "observed": (observed, [(n_bins,)]),
        "reset": (reset, [(n_bins,)]),
    }
    for argument, (array, shapes) in expected.items():
        if array is not None and array.shape not in shapes:
            raise ValueError(
                f"{argument}: got shape {array.shape}, expected "
                f"{' or '.join(map(str, shapes))} with log_likelihoods of shape "
                f"{log_likelihoods.shape}."
            )


def advance(
    predicted: Array, transition: Array, evidence: Array
) -> tuple[Array, Forward]:
    """Weigh a prediction by the evidence of its bin, and predict the next bin."""
    reachable = jnp.where(predicted > 0, evidence, -jnp.inf)
    shift = lax.stop_gradient(jnp.max(reachable))  # it cancels from every result
    weights = predicted * likelihood(evidence, shift)
    scale = jnp.sum(weights)
    # Divided last, so that the loop need not wait for the scale to sum the products.
    predicted_next = _product(weights, transition) / scale
    return predicted_next, Forward(weights / scale, shift, scale)


def _product(vector: Array, matrix: Array) -> Array:
    """Multiply in a loop: as a sum, which XLA fuses into it, while that is small."""
    if len(vector) <= FEW_STATES:
        return jnp.sum(vector[:, None] * matrix, axis=0)
    return jnp.matmul(vector, matrix, precision=EXACT)


def likelihood(evidence: Array, shift: Array) -> Array:
    """Return exp(evidence - shift); 1 where no state explains the bin (both -inf)."""
    difference = evidence - shift
    difference = jnp.where(jnp.isnan(difference), 0.0, difference)
    largest = math.log(jnp.finfo(evidence.dtype).max) - 1
    return jnp.exp(jnp.minimum(difference, largest))


def cap(weights: Array) -> Array:
    """Cut at the largest number; not by `minimum`, whose slope there is NaN."""
    largest = jnp.finfo(weights.dtype).max
    return jnp.where(weights > largest, largest, weights)


def run_forward(chain: Chain, predicted: Array) -> tuple[Array, Forward]:
    """Return the prediction after the last bin, and the forward pass."""

    def step(predicted, inputs):
        evidence, own = inputs
        return advance(predicted, chain.transition if own is None else own, evidence)

    inputs = (chain.evidence, outgoing(chain.transition, len(chain.evidence)))
    predicted_next, forward, _ = scan(
        step,
        predicted,
        inputs,
        mask=chain.valid,
        reset=chain.reset,
        initial=chain.initial,
        checkpoint=None,
    )
    return predicted_next, forward


def run_past(chain: Chain, predicted: Array) -> tuple[Array, Past]:
    """Return the prediction after the last bin, and what the forward pass tells."""
    following, forward = run_forward(chain, predicted)
    return following, past(chain, forward)


def run_both(chain: Chain, *, summed: bool) -> tuple[Past, Future]:
    """Return what the forward and the backward pass tell."""
    _, forward = run_forward(chain, chain.initial)
    return past(chain, forward), run_backward(chain, forward, summed=summed)


def past(chain: Chain, forward: Forward) -> Past:
    """Take the logarithms of the normalisers, and sum them to log p(y)."""
    log_scale = jnp.log(fill(forward.scale, chain.valid))
    total = sum_pairwise(forward.shift) + sum_pairwise(log_scale)
    return Past(total, forward.shift + log_scale, forward.filtered)


def fill(scale: Array, valid: Array | None) -> Array:
    """Put 1, which weighs nothing, for the 0 that padding holds."""
    return scale if valid is None else jnp.where(valid, scale, 1.0)


def sum_pairwise(values: Float[Array, "time ..."]) -> Float[Array, "..."]:
    """Sum in pairs, then pairs of pairs: the error grows with the log of the length."""
    while len(values) > 1:
        half = (len(values) + 1) // 2
        padding = ((0, len(values) % 2), *((0, 0),) * (values.ndim - 1))
        values = values[:half] + jnp.pad(values[half:], padding)
    return values[0]


def run_backward(chain: Chain, forward: Forward, *, summed: bool) -> Future:
    """Return what the backward pass adds; the weights of the pairs summed or not."""

    def step(message, inputs):
        filtered, weight, own = inputs
        transition = chain.transition if own is None else own
        future = cap(weight * message)
        joint = filtered * message
        total = jnp.sum(joint)  # 1 but for rounding
        before = _product(future, transition.T)
        return cap(before), (joint / total, cap(future / total))

    inputs = (
        forward.filtered,
        future_weights(chain, forward),
        incoming(chain.transition, len(chain.evidence)),
    )
    _, (smoothed, future), _ = scan(
        step,
        jnp.ones_like(chain.initial),
        inputs,
        mask=chain.valid,
        reset=sequence_ends(chain),
        reverse=True,
        checkpoint=None,
    )
    starts = future[0]
    if chain.reset is not None:
        restarts = jnp.where(chain.reset[1:, None], future[1:], 0.0)
        starts = starts + jnp.sum(restarts, axis=0)
    weigh = sum_pair_weights if summed else pair_weights
    return Future(smoothed, starts, weigh(chain, forward.filtered, future))


def run_backward_lagged(chain: Chain, forward: Forward, lag: int) -> Array:
    """Return the backward messages (time, state) that reach ``lag`` bins ahead."""
    weights = future_weights(chain, forward)
    n_bins = len(weights)
    own = incoming(chain.transition, n_bins)
    last = jnp.zeros(n_bins, bool).at[-1].set(True)
    ends = sequence_ends(chain)
    if ends is not None:
        last |= ends
    if chain.valid is not None:
        last |= ~jnp.roll(chain.valid, -1)

    def step(_, message):
        future = cap(weights * message)
        if own is None:
            before = jnp.matmul(future, chain.transition.T, precision=EXACT)
        else:
            before = jnp.einsum("tij,tj->ti", own, future, precision=EXACT)
        before = cap(jnp.roll(before, -1, axis=0))
        return jnp.where(last[:, None], 1.0, before)

    return lax.fori_loop(0, lag, step, jnp.ones_like(weights))


def future_weights(chain: Chain, forward: Forward) -> Array:
    """Return exp(l_t) / c_t, which the backward message is multiplied with."""
    weights = likelihood(chain.evidence, forward.shift[:, None])
    weights = weights / fill(forward.scale, chain.valid)[:, None]
    return cap(weights)


def sequence_ends(chain: Chain) -> Array | None:
    """Tell at which bins a sequence ends because the next bin starts another."""
    if chain.reset is None:
        return None
    return jnp.concatenate([chain.reset[1:], jnp.ones(1, bool)])


def outgoing(transition: Array, n_bins: int) -> Array | None:
    """Return the transition out of each bin, zeros if unknown; None if constant."""
    if transition.ndim == 2:
        return None
    return jnp.pad(transition, ((0, n_bins - len(transition)), (0, 0), (0, 0)))


def incoming(transition: Array, n_bins: int) -> Array | None:
    """Return the transition into each bin, zeros for the first; None if constant."""
    if transition.ndim == 2:
        return None
    return jnp.pad(transition[: n_bins - 1], ((1, 0), (0, 0), (0, 0)))


def pair_weights(chain: Chain, filtered: Array, future: Array) -> Array:
    """Return ``filtered_ti u_{t+1,j}`` for each pair of bins."""
    weights = _before(chain, filtered)[:, :, None] * future[1:, None, :]
    return cap(weights)


def sum_pair_weights(chain: Chain, filtered: Array, future: Array) -> Array:
    """Return their sum over time."""
    weights = _sum_outer(_before(chain, filtered), future[1:])
    return cap(weights)


def _before(chain: Chain, filtered: Array) -> Array:
    """Return the past of each pair of bins; none where a sequence starts between."""
    if chain.reset is None:
        return filtered[:-1]
    return jnp.where(chain.reset[1:, None], 0.0, filtered[:-1])


def _sum_outer(before: Array, after: Array) -> Array:
    """Sum outer products over time, in blocks: one long sum drifts in float32."""
    block = max(1, min(512, len(before)))
    padding = ((0, -len(before) % block), (0, 0))
    before, after = (
        jnp.pad(x, padding).reshape(-1, block, x.shape[1]) for x in (before, after)
    )
    parts = jnp.einsum("bti,btj->bij", before, after, precision=EXACT)
    return jnp.sum(parts, axis=0)
