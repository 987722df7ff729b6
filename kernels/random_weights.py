"""What the constructors of the cells share."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key


def random_weights(
    key: Key[Array, ""],
    n_gates: int,
    n_inputs: int,
    n_hidden: int,
    n_heads: int | None,
) -> tuple[Array, Array, Array]:
    """Draw input and recurrent weights between +- 1 / sqrt(n_hidden); biases are 0.

    With heads, the bound is that of the units of one head.
    """
    if n_heads is not None and n_hidden % n_heads:
        raise ValueError(
            f"n_heads: got {n_heads}, expected a divisor of n_hidden = {n_hidden}."
        )
    width = n_hidden // (n_heads or 1)
    heads = () if n_heads is None else (n_heads,)
    of_inputs = (n_gates, n_hidden, n_inputs)
    of_state = (n_gates, *heads, width, width)
    bound = 1 / math.sqrt(width)
    return *_uniform(key, bound, (of_inputs, of_state)), jnp.zeros((n_gates, n_hidden))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _uniform(
    key: Key[Array, ""], bound: float, shapes: tuple[tuple[int, ...], ...]
) -> list[Array]:
    """Draw all arrays at once: XLA takes a fifth of a second for each draw."""
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))
    drawn = jax.random.uniform(key, ends[-1:], minval=-bound, maxval=bound)
    parts = jnp.split(drawn, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def check_choice(argument: str, got: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless ``got`` is one of the choices."""
    if got not in choices:
        raise ValueError(f"{argument}: got {got!r}, expected one of {choices}.")


def refuse_noise(cell: object, remedy: str) -> None:
    """Raise ValueError: this cell takes no noise."""
    name = type(cell).__name__
    raise ValueError(f"noise: got some, expected none for this {name}. {remedy}")
