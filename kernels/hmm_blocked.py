"""Hidden Markov models: all blocks of a recording filtered and smoothed side by side.

With few states, a step of the filter spends its time waiting: for a product, for its
sum, for a division. So time is cut into blocks that take their steps together, as the
lanes of vector instructions (`neuromod.kernels.hmm_lanes`), and on several devices if
the recording is sharded along time.

1. What each block does to a message, its element (`neuromod.kernels.hmm_elements`),
   is found by sending every state through the block: ``state`` times the work of a
   filter. But a chain forgets where it started. Once all rows of the elements are
   equal but for their scales, one row stands for all of them, and it goes on alone.
2. The elements, one small matrix for each block, are combined over the blocks. That
   gives the messages that enter each block, from the past and from the future.
3. All blocks run once forward and once backward from there.

With one block for each bin, the second step does all the work, in log2(time) rounds.

The largest log-likelihood of a bin is taken off before ``exp``: here the largest among
all states, so that no loop waits for an ``exp``. Where a state that cannot be reached
has by far the best evidence, what remains of the others may not be precise. A scale c_t
that is too small tells it, and the caller then computes everything again, bin by bin
(`neuromod.kernels.hmm_methods`).

Memory beside the results: three arrays of (time, state), one more of them for the
posteriors of pairs of bins, and a few of (state, state, block).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from neuromod.kernels import hmm_messages as messages
from neuromod.kernels.hmm_elements import (
    Element,
    accumulate,
    add_up,
    combine,
    largest,
    normalise,
    product,
    relative,
)
from neuromod.kernels.hmm_lanes import (
    Bins,
    Blocks,
    cut,
    from_lanes,
    unless,
    where,
)
from neuromod.kernels.hmm_messages import Chain, Future, Past

# After so many bins the rows of the elements are compared.
FORGOTTEN = 96

Messages = Float[Array, "state block"]
Lost = Bool[Array, ""]


class Borders(NamedTuple):
    """What enters the blocks: predictions of the first bins, and from behind.

    ``filtered`` are the messages at the last bins.
    """

    predicted: Messages
    filtered: Messages
    backward: Messages


class Forward(NamedTuple):
    """The forward pass in the layout of the blocks, and the ``last`` message of all."""

    filtered: Float[Array, "step state block"]
    scale: Float[Array, "step 1 block"]
    last: Float[Array, " state"]


def run_forward(
    chain: Chain, predicted: Array, n_blocks: int
) -> tuple[Lost, tuple[Array, Past]]:
    """Return whether precision was lost; the prediction after the end, and the past."""
    blocks = cut(chain, predicted, n_blocks)
    forward = _filter(blocks, _find_borders(blocks))
    following = _predict_next(chain, predicted, forward.last)
    return _is_lost(blocks, forward), (following, _past(chain, blocks, forward))


def run_both(
    chain: Chain, n_blocks: int, summed: bool
) -> tuple[Lost, tuple[Past, Future]]:
    """Return whether precision was lost; the past and the future."""
    blocks = cut(chain, chain.initial, n_blocks)
    borders = _find_borders(blocks)
    forward = _filter(blocks, borders)
    past = _past(chain, blocks, forward)
    smoothed, future, starts, pairs = _smooth(blocks, borders, forward, summed)
    n_bins = len(chain.evidence)
    if not summed:
        future = from_lanes(future, n_bins)
        pairs = messages.pair_weights(chain, past.filtered, future)
    found = past, Future(from_lanes(smoothed, n_bins), starts, pairs)
    return _is_lost(blocks, forward), found


def _find_borders(blocks: Blocks) -> Borders:
    """Combine the elements of the blocks to the messages between them."""
    entries = _entries(blocks)
    unscaled = jnp.zeros_like(entries[:, :1])
    elements = combine(Element(entries, unscaled), _elements(blocks))
    past = accumulate(elements)
    future = accumulate(elements, reverse=True)
    filtered = past.rows[0]  # as all rows: what is before the first bin is forgotten
    before = product(jnp.roll(filtered, 1, axis=1)[None], entries)[0]
    after = jnp.roll(future.log_scale[:, 0], -1, axis=1).at[:, -1].set(0.0)
    top = largest(jnp.where(filtered > 0, after, -jnp.inf), 0)
    backward = messages.likelihood(after, top)
    return Borders(
        before.at[:, 0].set(blocks.predicted),
        filtered,
        backward / add_up(filtered * backward, 0),
    )


def _entries(blocks: Blocks) -> Float[Array, "state state_to block"]:
    """Return what leads from the end of each block into the first bin of the next."""
    first = jax.tree.map(lambda x: x[0], blocks.bins)
    n_states, n_blocks = first.weights.shape
    rows = blocks.transition if first.transition is None else first.transition
    rows = unless(first.reset, rows, blocks.initial)
    identity = jnp.eye(n_states, dtype=rows.dtype)[..., None]
    rows = where(first.valid, rows, identity)
    rows = jnp.broadcast_to(rows, (n_states, n_states, n_blocks))
    return rows.at[..., 0].set(blocks.predicted[None])


def _elements(blocks: Blocks) -> Element:
    """Send every state through its block, and one for all where they are equal."""
    bins = blocks.bins
    n_steps, n_states, _ = bins.weights.shape

    def step(i, rows):
        now = jax.tree.map(lambda x: x[i], bins)
        return _weigh(now, _advance(blocks, now, rows), rows)

    def scaled_step(i, element):
        rows, total = step(i, element.rows)
        return Element(rows, relative(element.log_scale + jnp.log(total)))

    identity = jnp.eye(n_states, dtype=bins.weights.dtype)[..., None]
    rows, total = normalise(identity * bins.weights[0][None])
    element = Element(rows, relative(jnp.log(total)))
    if n_steps <= FORGOTTEN:
        return lax.fori_loop(1, n_steps, scaled_step, element)
    element = lax.fori_loop(1, FORGOTTEN, scaled_step, element)
    running = None if bins.valid is None else bins.valid[FORGOTTEN]
    forgotten = jnp.all(where(running, _are_equal(element.rows), True))
    stop = jnp.where(forgotten, FORGOTTEN, n_steps)
    element = lax.fori_loop(FORGOTTEN, stop, scaled_step, element)
    row = lax.fori_loop(stop, n_steps, lambda i, row: step(i, row)[0], element.rows[:1])
    alone = where(running, jnp.broadcast_to(row, element.rows.shape), element.rows)
    return element._replace(rows=jnp.where(forgotten, alone, element.rows))


def _are_equal(rows: Float[Array, "row state block"]) -> Bool[Array, "1 block"]:
    """Tell for each block whether all rows are equal up to rounding."""
    top, low = largest(rows, 0), -largest(-rows, 0)
    return jnp.all(top - low <= 16 * jnp.finfo(rows.dtype).eps * top, axis=1)


def _advance(blocks: Blocks, now: Bins, rows: Array) -> Array:
    """Predict the messages of a bin from those of the bin before it."""
    matrices = blocks.transition if now.transition is None else now.transition
    return unless(now.reset, product(rows, matrices), blocks.initial)


def _weigh(now: Bins, predicted: Array, rows: Array) -> tuple[Array, Array]:
    """Weigh predictions by the evidence; return the scales too."""
    weighted, total = normalise(predicted * now.weights[None])
    return where(now.valid, weighted, rows), where(now.valid, total, 1.0)


def _filter(blocks: Blocks, borders: Borders) -> Forward:
    """Run all blocks forward from the predictions of their first bins."""

    def step(rows, inputs):
        i, now = inputs
        predicted = _advance(blocks, now, rows)
        predicted = jnp.where(i == 0, borders.predicted[None], predicted)
        rows, scale = _weigh(now, predicted, rows)
        return rows, (where(now.valid, rows, 0.0)[0], scale[0])

    inputs = (jnp.arange(len(blocks.bins.weights)), blocks.bins)
    rows, found = lax.scan(step, borders.predicted[None], inputs)
    return Forward(*found, rows[0, :, -1])


def _is_lost(blocks: Blocks, forward: Forward) -> Lost:
    """Tell whether evidence that cannot be reached has hidden what can.

    Numbers that got lost are smaller than this scale by as much again.
    """
    limit = jnp.finfo(forward.scale.dtype).max ** -0.5
    return jnp.any(~(forward.scale >= limit))


def _past(chain: Chain, blocks: Blocks, forward: Forward) -> Past:
    """Bring the forward pass into the layout of the recording."""
    n_bins = len(chain.evidence)
    log_scale = jnp.log(forward.scale)
    parts = (blocks.bins.shift[:, 0], log_scale[:, 0])
    # Within the blocks first: those of a sharded recording stay where they are.
    totals = [messages.sum_pairwise(messages.sum_pairwise(part)) for part in parts]
    log_normalisers = from_lanes(blocks.bins.shift + log_scale, n_bins)[:, 0]
    return Past(sum(totals), log_normalisers, from_lanes(forward.filtered, n_bins))


def _predict_next(chain: Chain, predicted: Array, last: Array) -> Array:
    """Return the prediction of the bin that follows the last valid one."""
    n_bins = len(chain.evidence)
    count = n_bins if chain.valid is None else jnp.sum(chain.valid)
    matrix = chain.transition
    if matrix.ndim == 3:
        matrix = messages.outgoing(matrix, n_bins)[count - 1]
    following = jnp.matmul(last, matrix, precision=messages.EXACT)
    return following if chain.valid is None else jnp.where(count > 0, following, last)


def _smooth(blocks: Blocks, borders: Borders, forward: Forward, summed: bool):
    """Run all blocks backward from the messages that enter them from behind.

    Returns the posterior, and u at all bins or None; u at the starts of sequences,
    summed; and the summed weights of the pairs of bins or None.
    """
    bins = blocks.bins
    n_states = len(blocks.predicted)

    def step(carry, inputs):
        message, future, starts, pairs = carry
        now, filtered, scale = inputs
        matrices = blocks.transition if now.transition is None else now.transition
        if summed:
            pairs = pairs + filtered[:, None] * future[None]
        joint = filtered * message
        share = 1 / where(now.valid, add_up(joint, 0), 1.0)  # 1 but for rounding
        weighted = messages.cap(now.weights / scale * message)
        before = product(weighted[None], jnp.swapaxes(matrices, 0, 1))[0]
        before = unless(now.reset, messages.cap(before), 1.0)
        future = where(now.valid, messages.cap(weighted * share), 0.0)
        if now.reset is not None:
            starts = starts + jnp.where(now.reset, future, 0.0)
        carried = unless(now.reset, future, 0.0)
        message = where(now.valid, before, message)
        carry = (message, carried, starts, pairs)
        return carry, (joint * share, None if summed else future)

    nothing = jnp.zeros_like(borders.backward)
    pairs = jnp.zeros((n_states, *nothing.shape), nothing.dtype) if summed else None
    (_, first, starts, pairs), (smoothed, future) = lax.scan(
        step,
        (borders.backward, nothing, nothing, pairs),
        (bins, forward.filtered, forward.scale),
        reverse=True,
    )
    starts = jnp.sum(starts, axis=1) + first[:, 0]
    if summed:
        # Pairs within blocks, and those of the end of one and the start of the next.
        across = jnp.roll(first, -1, axis=1).at[:, -1].set(0.0)
        pairs = pairs + borders.filtered[:, None] * across[None]
        pairs = messages.cap(jnp.sum(pairs, axis=-1))
    return smoothed, future, starts, pairs
