"""Which way a recursion is computed where it is left to us."""

from collections.abc import Collection

import jax


def choose(
    method: str, known: Collection[str], n_steps: int, enough: int | None
) -> str:
    """Return the method that "auto" stands for: associative from ``enough`` steps on.

    Sequential on a CPU, or where ``enough`` is None, whatever the number of steps.
    """
    if method == "auto":
        many = enough is not None and n_steps >= enough
        parallel = many and jax.default_backend() != "cpu"
        return "associative" if parallel else "sequential"
    if method not in known:
        raise ValueError(
            f"method: got {method!r}, expected 'auto' or one of {', '.join(known)}."
        )
    return method
