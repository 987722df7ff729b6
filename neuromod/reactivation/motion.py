r"""Motion: how an animal moves, and what its body tells it about that.

A network that finds its way is told where it starts, and then only how far each step
goes: $x_{t+1} = x_t + \Delta x_t$. A motion draws such paths, many at once, as pure
functions of a random key:

| motion | |
|---|---|
| `RandomWalk` | the published walk in a box, with or without a bias to a place |
| `OrnsteinUhlenbeck` | smooth motion in a box, with the constants of rats |
| `HeadDirectionWalk` | turning on the spot |
| `Tour` | running along a track or through a maze |
| `Recording` | what animals did |
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Values = Array | np.ndarray
Bounds = tuple[tuple[float, float], ...]


class Path(NamedTuple):
    """Where animals were, and how they got there.

    Parameters
    ----------
    start : (trial, space)
        The position before the first step (m, or rad).
    inputs : (trial, time, input)
        Each step: the change of position (m, or rad).
    positions : (trial, time, space)
        The position after each step.
    """

    start: Float[Array, "trial space"]
    inputs: Float[Array, "trial time input"]
    positions: Float[Array, "trial time space"]


class Motion(eqx.Module):
    """What every motion has; steps take ``time_step`` seconds."""

    time_step: eqx.AbstractVar[Any]

    @property
    @abc.abstractmethod
    def bounds(self) -> Bounds:
        """The lowest and highest position of each axis (m, or rad)."""

    @property
    @abc.abstractmethod
    def n_inputs(self) -> int:
        """Number of inputs per step, which is that of spatial axes."""

    @property
    @abc.abstractmethod
    def stationary_after(self) -> int:
        """Number of steps after which positions no longer show how they started."""

    @abc.abstractmethod
    def draw(self, key: PRNGKeyArray, n_trials: int, n_steps: int) -> Path:
        """Draw paths of ``n_steps`` steps each."""


def wrap(angle: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Return angles (rad) in [-pi, pi).

    Examples
    --------
    >>> print(wrap(jnp.array([0.5, 4.0])).round(2))
    [ 0.5  -2.28]
    """
    return jnp.mod(angle + np.pi, 2 * np.pi) - np.pi


def as_array(given: Any) -> Values:
    """Return an array as it is, and what is none as an array of floats."""
    is_array = isinstance(given, jax.Array | np.ndarray)
    return given if is_array else np.asarray(given, float)


def draw_rayleigh(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draw from a Rayleigh distribution of scale 1; every number is finite.

    `jax.random.rayleigh` takes the logarithm of a uniform number, which is 0 once in
    2^23 draws of float32: sooner or later in every training.
    """
    uniform = jax.random.uniform(key, shape)
    return jnp.sqrt(-2 * jnp.log(jnp.maximum(uniform, 2.0**-24)))


def relax(
    value: Float[Array, "*batch"], noise: Float[Array, "*batch"], forgotten: Any
) -> Float[Array, "*batch"]:
    """Take one step of an Ornstein-Uhlenbeck process around 0.

    Parameters
    ----------
    value
        Where it is.
    noise
        Normal numbers, with the standard deviation of the process.
    forgotten
        Time step over coherence time.
    """
    return value - forgotten * value + jnp.sqrt(2 * forgotten) * noise
