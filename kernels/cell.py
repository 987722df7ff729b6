"""Steps with parameters.

A `Cell` is what `neuromod.kernels.scan` runs when a model is more than a function:
it knows which carry it starts from, how its inputs are projected before they meet the
carry, and which noise a step takes. A new cell writes down `advance` and `initial`,
the others have defaults::

    carry_t, output_t = advance(carry_{t-1}, project(input_t), noise_t)

A cell is an Equinox module: its parameters are its fields, and it is differentiated,
vmapped and saved as any pytree.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key


class Cell(eqx.Module):
    """A step with parameters. Leading axes of carry and input are a batch."""

    @abc.abstractmethod
    def initial(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """Return the carry to start from, for a batch."""

    @abc.abstractmethod
    def advance(self, carry: Any, projected: Any, noise: Any = None) -> tuple[Any, Any]:
        """Take one step: return the next carry and the output."""

    def project(self, inputs: Any) -> Any:
        """Prepare inputs of any leading axes: what does not depend on the carry."""
        return inputs

    def draw(self, key: Key[Array, ""], carry: Any) -> Any:
        """Draw the noise of one step: standard normal, in the shape of the carry."""
        shape = jax.eval_shape(lambda: jax.tree.leaves(carry)[0])
        return jax.random.normal(key, shape.shape, shape.dtype)

    def __call__(self, carry: Any, inputs: Any, noise: Any = None) -> tuple[Any, Any]:
        """Project an input and take the step."""
        return self.advance(carry, self.project(inputs), noise)


def is_key(noise: Any) -> bool:
    """Tell whether noise is to be drawn, from a key or from keys (lane,)."""
    return isinstance(noise, jax.Array) and jnp.issubdtype(
        noise.dtype, jax.dtypes.prng_key
    )


def draw(step: Callable, key: Array, index: Any, carry: Any) -> Any:
    """Draw the noise of step ``index``; from keys (lane, ...) for each lane by itself.

    A cell draws numbers; a function gets the key of the step.
    """

    def of_lane(key, carry):
        key = jax.random.fold_in(key, index)
        return step.draw(key, carry) if isinstance(step, Cell) else key

    if isinstance(step, Cell):
        for _ in range(key.ndim):
            of_lane = jax.vmap(of_lane)
        return of_lane(key, carry)
    for _ in range(key.ndim):
        of_lane = jax.vmap(of_lane, in_axes=(0, None))
    return of_lane(key, carry)
