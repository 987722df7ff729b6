"""What a loop keeps of the outputs of its steps."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from neuromod.kernels.loop import select


class Fold(NamedTuple):
    """Outputs summed up as they come: ``total = function(total, output)`` from start.

    Masked steps add nothing; a reset does not start it again.
    """

    function: Callable[[Any, Any], Any]
    start: Any


Outputs = Literal["all", "last"] | int | Fold


def check(asked: Outputs) -> None:
    """Raise ValueError unless ``asked`` says what to keep."""
    if isinstance(asked, Fold) or asked in ("all", "last"):
        return
    if isinstance(asked, int) and not isinstance(asked, bool) and asked >= 1:
        return
    raise ValueError(
        f"outputs: got {asked!r}, expected 'all', 'last', a number k >= 1 for every "
        "k-th, or a Fold."
    )


def is_reduced(asked: Outputs) -> bool:
    """Tell whether less is kept than all outputs."""
    return asked != "all"


def start(asked: Outputs, run: Callable[[], Any]) -> Any:
    """Return what is kept before the first step; ``run`` gives the shapes of all."""
    if isinstance(asked, Fold):
        return jax.tree.map(jnp.asarray, asked.start)
    if asked == "last":
        return jax.tree.map(lambda y: jnp.zeros(y.shape[1:], y.dtype), run())
    return None


def collect(
    asked: Outputs, kept: Any, outputs: Any, valid: Array | None, reverse: bool
) -> tuple[Any, Any]:
    """Take in the outputs (time, ...) of a chunk; return what is kept, and its rows."""
    if isinstance(asked, Fold):
        return _fold(asked.function, kept, outputs, valid, reverse), None
    if asked == "last":
        return _last(kept, outputs, valid, reverse), None
    if asked == "all":
        return kept, outputs
    return kept, jax.tree.map(lambda y: y[asked - 1 :: asked], outputs)


def _fold(function, kept, outputs, valid, reverse):
    def add(total, now):
        output, is_valid = now
        after = function(total, output)
        return after if is_valid is None else select(is_valid, after, total), None

    return lax.scan(add, kept, (outputs, valid), reverse=reverse)[0]


def _last(kept, outputs, valid, reverse):
    if not len(jax.tree.leaves(outputs)[0]):
        return kept
    if valid is None:
        return jax.tree.map(lambda y: y[0 if reverse else -1], outputs)
    last = jnp.argmax(valid) if reverse else len(valid) - 1 - jnp.argmax(valid[::-1])
    return select(valid[last], jax.tree.map(lambda y: y[last], outputs), kept)


def join(asked: Outputs, kept: Any, rows: Any, n_steps: int) -> Any:
    """Return what was asked for, from the rows (chunk, row, ...) of all chunks."""
    if isinstance(asked, Fold) or asked == "last":
        return kept
    n_rows = n_steps if asked == "all" else n_steps // asked
    return jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:])[:n_rows], rows)
