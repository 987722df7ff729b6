"""Functions g through which a parent's value reaches its children.

A coupling is known by its name, so that a model can be saved. Its derivatives are
taken by JAX.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.core.errors import choice

Scalar = Float[Array, ""]


def _linear(x: Scalar) -> Scalar:
    return x


def _exp_half(x: Scalar) -> Scalar:
    return jnp.exp(x / 2)


COUPLINGS: dict[str, Callable[[Scalar], Scalar]] = {
    "linear": _linear,
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "exp_half": _exp_half,
    "softplus": jax.nn.softplus,
    "square": jnp.square,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
}
"""Every coupling by its name; ``exp_half`` is exp(x / 2)."""


def require_coupling(name: str) -> str:
    """Return the name of a coupling, or refuse it."""
    return choice("coupling", name, tuple(COUPLINGS))


def value(name: str, x: Scalar) -> Scalar:
    """Return g(x)."""
    return COUPLINGS[name](x)


def slopes(name: str, x: Scalar) -> tuple[Scalar, Scalar]:
    """Return the first and the second derivative of g at x."""
    if name == "linear":
        return jnp.ones_like(x), jnp.zeros_like(x)
    slope = jax.grad(COUPLINGS[name])
    return slope(x), jax.grad(slope)(x)
