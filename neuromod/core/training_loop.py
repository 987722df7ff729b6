"""The compiled loop of gradient descent: how a state goes on by some steps.

All arrays are arguments of the program and all else is compiled into it, so that one
program serves all calls of one structure. It looks at every loss, gradient and update:
before one that is not finite it stops, and the state stays what it was.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from neuromod.core.errors import ShapeError, invalid

LEAST_ROOM = 1024
"""Rows of the shortest history."""


class State(NamedTuple):
    """All that the next step depends on, and what is told of the steps before."""

    n_done: Array
    trained: Any
    optimiser_state: Any
    history: dict[str, Array]  # (step, seed?, ...)
    metrics: dict[str, Array]  # (seed?, ...) of the last step, even if not finite
    finite: Array  # (seed?, what): its loss, its gradient, the parameters after it


class Course(NamedTuple):
    """What stays the same while the state goes on; all that differs between calls."""

    program: "_Program"
    keys: Array
    arrays: Any
    every: int

    def begin(self, trained: Any, n_steps: int) -> State:
        """Return the state before the first step, with room for the history."""
        begun = self.program.begin(trained, self.keys, self.arrays)
        memory, metrics, finite = begun
        n_rows = _room(n_steps, self.every)
        return State(
            jnp.int32(0),
            trained,
            memory,
            {k: jnp.zeros((n_rows, *v.shape), v.dtype) for k, v in metrics.items()},
            {k: jnp.zeros(v.shape, v.dtype) for k, v in metrics.items()},
            jnp.ones(finite.shape, bool),
        )

    def advance(self, state: State, n_steps: int) -> State:
        """Go on by some steps, or to the one before what is not finite."""
        counts = jnp.int32(n_steps), jnp.int32(self.every)
        return self.program.advance(state, self.keys, self.arrays, *counts)

    def shortened(self, state: State, n_done: int) -> State:
        """Return a state whose history ends after some steps."""
        n_rows = _n_rows(n_done, self.every)
        return state._replace(history={k: v[:n_rows] for k, v in state.history.items()})

    def lengthened(self, state: State, n_steps: int) -> State:
        """Return a state whose history has room for some steps."""
        n_rows = _room(n_steps, self.every)
        room = {
            k: jnp.zeros((n_rows, *v.shape[1:]), v.dtype).at[: len(v)].set(v)
            for k, v in state.history.items()
        }
        return state._replace(history=room)


def _n_rows(n_steps: int, every: int) -> int:
    return -(-n_steps // every)


def _room(n_steps: int, every: int) -> int:
    """Return for how many rows there is room: one program serves many n_steps."""
    return max(LEAST_ROOM, 1 << (_n_rows(n_steps, every) - 1).bit_length())


class _Program(NamedTuple):
    """The functions of one structure; their arrays are arguments."""

    begin: Callable[..., tuple[Any, dict[str, Any], Any]]
    advance: Callable[..., State]


@lru_cache(maxsize=16)
def compiled(
    optimiser: optax.GradientTransformation,
    several: bool,
    structure: Any,
    constants: tuple,
) -> _Program:
    """Return the functions of one structure; the last ones used are remembered."""

    def one(
        trained: Any, memory: Any, key: Array, n_done: Array, arrays: Any
    ) -> tuple[Any, Any, dict[str, Array], Array]:
        others = jax.tree.unflatten(structure, constants)
        loss, held, arguments = eqx.combine(arrays, others)
        key = jax.random.fold_in(key, n_done)

        def objective(trained: Any) -> tuple[Array, dict[str, Array]]:
            found = loss(eqx.combine(trained, held), key, n_done, *arguments)
            return _with_metrics(found)

        graded = jax.value_and_grad(objective, has_aux=True)
        (value, metrics), gradient = graded(trained)
        updates, memory = optimiser.update(gradient, memory, trained)
        trained = optax.apply_updates(trained, updates)
        finite = jnp.stack([_all_finite(t) for t in (value, gradient, trained)])
        return trained, memory, metrics, finite

    # Within the loop it is a part of it; jitted, the loss is traced only once.
    step = jax.jit(jax.vmap(one, (0, 0, 0, None, (None, 0, None))) if several else one)

    def begin(trained: Any, keys: Array, arrays: Any) -> tuple[Any, Any, Any]:
        memory = (jax.vmap(optimiser.init) if several else optimiser.init)(trained)
        memory = jax.tree.map(strong, memory)
        shapes = jax.eval_shape(step, trained, memory, keys, jnp.int32(0), arrays)
        return memory, *shapes[2:]

    def advance(
        state: State, keys: Array, arrays: Any, n_steps: Array, every: Array
    ) -> State:
        def body(carry: tuple[Array, State]) -> tuple[Array, State]:
            i, now = carry
            given = now.trained, now.optimiser_state
            *moved, metrics, finite = step(*given, keys, now.n_done, arrays)
            good = finite.all()
            kept = jax.tree.map(partial(lax.select, good), tuple(moved), given)
            return i + 1, State(
                n_done=now.n_done + good.astype(jnp.int32),
                trained=kept[0],
                optimiser_state=kept[1],
                history=_recorded(now, metrics, every),
                metrics=metrics,
                finite=finite,
            )

        def unfinished(carry: tuple[Array, State]) -> Array:
            return (carry[0] < n_steps) & carry[1].finite.all()

        state = state._replace(finite=jnp.ones_like(state.finite))
        return lax.while_loop(unfinished, body, (jnp.int32(0), state))[1]

    # Without donation: an interrupt must find the state from before the piece whole.
    return _Program(begin, jax.jit(advance))


def _with_metrics(found: Any) -> tuple[Array, dict[str, Array]]:
    value, metrics = found if isinstance(found, tuple) else (found, {})
    value = jnp.asarray(value)
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        got = f"an array of shape {value.shape} and type {value.dtype}"
        raise invalid("loss", got, "a real number", "Average it.", ShapeError)
    if not isinstance(metrics, dict) or "loss" in metrics:
        expected = "a dict of arrays by other names than 'loss'"
        raise invalid("loss", f"the metrics {metrics!r:.80}", expected)
    return value, {"loss": value, **{k: jnp.asarray(v) for k, v in metrics.items()}}


def _all_finite(tree: Any) -> Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def _recorded(state: State, metrics: Any, every: Array) -> dict[str, Array]:
    """Return the history with a further row, if one is due."""
    place, rest = jnp.divmod(state.n_done, every)
    place = jnp.where(rest == 0, place, jnp.iinfo(jnp.int32).max)
    return {
        name: rows.at[place].set(metrics[name], mode="drop")
        for name, rows in state.history.items()
    }


def strong(leaf: Any) -> Array:
    """Return an array whose type cannot change in the loop, as that of 1.0 could."""
    array = jnp.asarray(leaf)
    return jnp.array(array, array.dtype)
