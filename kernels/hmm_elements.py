"""Hidden Markov models: what a stretch of time does to a message.

Whatever the state before a stretch of bins, the bins turn it into a message behind
them. The messages from all states are the rows of the *element* of the stretch::

    M_ij = p(y in the stretch, z_last = j | z_before = i)        (state, state_to)

and two stretches in a row have the product of their matrices. Products are
associative, so the messages at all ends of stretches can be found in parallel::

    p(y_0 .. y_t, z_t)    = the row of  M_0 M_1 ... M_t           (all rows are equal)
    p(y_t+1 .. | z_t = i) = the sum of row i of  M_t+1 M_t+2 ...

Likelihoods of many bins are far too small for any number, and those of different rows
can be as far apart. So every row is kept with the sum 1 (the maximum 0, in logarithms)
and the logarithm of what it was divided by. Of these only the differences between rows
matter, and their maximum is kept at 0: in float32 the logarithms of long stretches
would not resolve them.

Arrays here have the stretches as their last axis, over which loops are vectorised.
"""

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# Up to so many states, sums over states are written out: XLA fuses them into the loop.
FEW_STATES = 8
EXACT = lax.Precision.HIGHEST

Rows = Float[Array, "row state block"]
Matrices = Float[Array, "state state_to #block"]  # one for each block, or for all


class Element(NamedTuple):
    """Rows that sum to 1, and the logarithm of their scales."""

    rows: Rows
    log_scale: Float[Array, "row 1 block"]


def add_up(values: Array, axis: int = -2) -> Array:
    """Sum over states and keep the axis."""
    if values.shape[axis] > FEW_STATES:
        return jnp.sum(values, axis, keepdims=True)
    return functools.reduce(operator.add, _slices(values, axis))


def largest(values: Array, axis: int = -2) -> Array:
    """Return the maximum over states and keep the axis."""
    if values.shape[axis] > FEW_STATES:
        return jnp.max(values, axis, keepdims=True)
    return functools.reduce(jnp.maximum, _slices(values, axis))


def _slices(values: Array, axis: int) -> list[Array]:
    return [lax.index_in_dim(values, i, axis) for i in range(values.shape[axis])]


def product(rows: Rows, matrices: Matrices) -> Rows:
    """Multiply rows with the matrix of their stretch, or with the one for all."""
    n_states = len(matrices)
    if n_states <= FEW_STATES:
        terms = [rows[:, i, None] * matrices[None, i] for i in range(n_states)]
        return functools.reduce(operator.add, terms)
    if matrices.shape[-1] == 1:
        return jnp.einsum("rib,ij->rjb", rows, matrices[..., 0], precision=EXACT)
    return jnp.einsum("rib,ijb->rjb", rows, matrices, precision=EXACT)


def normalise(rows: Rows) -> tuple[Rows, Array]:
    """Divide rows by their sums, those of 0 by 1; return the sums too."""
    total = add_up(rows)
    return rows * (1 / jnp.where(total > 0, total, 1.0)), total


def relative(log_scale: Float[Array, "row 1 block"]) -> Float[Array, "row 1 block"]:
    """Shift logarithms so that the largest is 0."""
    top = largest(log_scale, 0)
    return log_scale - jnp.where(top > -jnp.inf, top, 0.0)


def combine(earlier: Element, later: Element) -> Element:
    """Return the element of two stretches in a row."""
    scale = jnp.swapaxes(later.log_scale, 0, 1)
    # Relative to the states that the earlier rows reach: others may have any scale.
    top = largest(jnp.where(earlier.rows > 0, scale, -jnp.inf))
    difference = jnp.where(top > -jnp.inf, jnp.minimum(scale - top, 0.0), 0.0)
    rows, total = normalise(product(earlier.rows * jnp.exp(difference), later.rows))
    log_scale = earlier.log_scale + top + jnp.log(total)
    return Element(rows, relative(log_scale))


def accumulate(elements: Element, *, reverse: bool = False) -> Element:
    """Combine each element with all before it, or with all after it in ``reverse``.

    In log2(block) rounds. Each joins what is twice as far away, all over the blocks at
    once: more products than a tree of halves takes, but one round to compile.
    """
    n_blocks = elements.rows.shape[-1]
    places = jnp.arange(n_blocks)

    def join(i, elements):
        other = places + (1 << i) * (1 if reverse else -1)
        found = jax.tree.map(
            lambda x: x[..., jnp.clip(other, 0, n_blocks - 1)], elements
        )
        pair = (elements, found) if reverse else (found, elements)
        inside = (other >= 0) & (other < n_blocks)
        choose = functools.partial(jnp.where, inside[None, None])
        return jax.tree.map(choose, combine(*pair), elements)

    with jax.named_scope("rounds"):
        return lax.fori_loop(0, (n_blocks - 1).bit_length(), join, elements)
