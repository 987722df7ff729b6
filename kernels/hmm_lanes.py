"""Hidden Markov models: the layout of blocks of time that run side by side.

A recording (time, state) is cut into blocks of equal length, which become the last,
contiguous axis: (step, state, block). The steps of all blocks are then taken together,
as the lanes of vector instructions. Bins that are missing from the last blocks are
filled in and not valid.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from neuromod.kernels import hmm_messages as messages
from neuromod.kernels.hmm_elements import largest
from neuromod.kernels.hmm_messages import Chain

# So many steps at a time change the layout: they fit into the nearest cache.
TILE = 32


class Bins(NamedTuple):
    """The bins of all blocks; None for flags or transitions that are not needed.

    ``weights`` are exp(l - shift), and ``transition`` leads into each bin.
    """

    weights: Float[Array, "step state block"]
    shift: Float[Array, "step 1 block"]
    valid: Bool[Array, "step 1 block"] | None
    reset: Bool[Array, "step 1 block"] | None
    transition: Float[Array, "step state state_to block"] | None


class Blocks(NamedTuple):
    """A chain cut into blocks, and the prediction of its first bin."""

    bins: Bins
    initial: Float[Array, "1 state 1"]
    transition: Float[Array, "state state_to 1"] | None
    predicted: Float[Array, " state"]


def cut(chain: Chain, predicted: Array, n_blocks: int) -> Blocks:
    """Cut time into blocks."""
    n_bins = len(chain.evidence)
    evidence = to_lanes(chain.evidence, n_blocks)
    shift = largest(evidence)
    # Where no state explains the bin, all weigh 1: it is left out.
    weights = jnp.exp(jnp.where(shift > -jnp.inf, evidence - shift, 0.0))
    valid, reset = chain.valid, chain.reset
    if valid is None and n_bins % n_blocks:
        valid = jnp.ones(n_bins, bool)
    if reset is not None:
        predicted = jnp.where(reset[0], chain.initial, predicted)
        reset = reset.at[0].set(False)
    own = messages.incoming(chain.transition, n_bins)
    bins = Bins(
        weights,
        shift,
        None if valid is None else _cut_at_once(valid[:, None], n_blocks),
        None if reset is None else _cut_at_once(reset[:, None], n_blocks),
        None if own is None else _cut_at_once(own, n_blocks),
    )
    constant = chain.transition[..., None] if own is None else None
    return Blocks(bins, chain.initial[None, :, None], constant, predicted)


def _cut_at_once(x: Array, n_blocks: int) -> Array:
    x = jnp.pad(x, ((0, -len(x) % n_blocks), *((0, 0),) * (x.ndim - 1)))
    return jnp.moveaxis(x.reshape(n_blocks, -1, *x.shape[1:]), 0, -1)


def to_lanes(
    x: Float[Array, "time state"], n_blocks: int
) -> Float[Array, "step state block"]:
    """Bring an array into the layout of the blocks, filled up by zeros.

    A tile at a time: XLA would fuse one transposition into all that reads its result.
    """
    n_states = x.shape[1]
    x = jnp.pad(x, ((0, -len(x) % n_blocks), (0, 0))).reshape(n_blocks, -1)
    width = _tile(x.shape[1] // n_states) * n_states

    def step(carry, i):
        return carry, lax.dynamic_slice_in_dim(x, i * width, width, axis=1).T

    _, tiles = lax.scan(step, None, jnp.arange(x.shape[1] // width))
    return tiles.reshape(-1, n_states, n_blocks)


def from_lanes(
    x: Float[Array, "step state block"], n_bins: int
) -> Float[Array, "time state"]:
    """Bring an array back into the layout of the recording, a tile at a time."""
    n_steps, n_states, n_blocks = x.shape
    width = _tile(n_steps) * n_states
    tiles = x.reshape(-1, width, n_blocks)

    def step(i, joined):
        return lax.dynamic_update_slice_in_dim(joined, tiles[i].T, i * width, axis=1)

    joined = jnp.zeros((n_blocks, n_steps * n_states), x.dtype)
    joined = lax.fori_loop(0, len(tiles), step, joined)
    return joined.reshape(-1, n_states)[:n_bins]


def _tile(n_steps: int) -> int:
    return next(k for k in range(TILE, 0, -1) if n_steps % k == 0)


def where(flags: Array | None, chosen: Array, other: Any) -> Array:
    """Choose by flags (1, block); take the first if there are none."""
    return chosen if flags is None else jnp.where(_like(flags, chosen), chosen, other)


def unless(flags: Array | None, chosen: Array, other: Any) -> Array:
    """Take the other where there are flags (1, block)."""
    return chosen if flags is None else jnp.where(_like(flags, chosen), other, chosen)


def _like(flags: Array, values: Array) -> Array:
    return flags.reshape((1,) * (values.ndim - 2) + flags.shape)
