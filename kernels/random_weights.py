"""What the constructors of the cells share."""

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
    bound = 1 / math.sqrt(width)
    of_inputs, of_state = jax.random.split(key)

    def uniform(key, *shape):
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    return (
        uniform(of_inputs, n_gates, n_hidden, n_inputs),
        uniform(of_state, n_gates, *heads, width, width),
        jnp.zeros((n_gates, n_hidden)),
    )


def check_choice(argument: str, got: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless ``got`` is one of the choices."""
    if got not in choices:
        raise ValueError(f"{argument}: got {got!r}, expected one of {choices}.")


def refuse_noise(cell: object, remedy: str) -> None:
    """Raise ValueError: this cell takes no noise."""
    name = type(cell).__name__
    raise ValueError(f"noise: got some, expected none for this {name}. {remedy}")
