r"""Running along tracks and through mazes.

The animal goes around a closed tour of straight lines, by its distance $s$ along them.
Its speed is an Ornstein-Uhlenbeck process with mean $\mu$, standard deviation
$\varsigma$ and coherence time $\tau$, which may turn it around for a while:

$$
v' = v + \frac{\Delta t}{\tau} (\mu - v) + \varsigma \sqrt{2 \Delta t / \tau}\; \xi,
\qquad s' = s + v' \Delta t .
$$

A tour to a place and back passes the same line twice.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod import kernels
from neuromod.core.dimensions import (
    require_finite,
    require_non_negative,
    require_positive,
)
from neuromod.core.errors import ShapeError, invalid
from neuromod.reactivation.motion import Bounds, Motion, Path, as_array, relax


class Tour(Motion):
    """Running around a closed tour.

    Parameters
    ----------
    corners : (corner, space)
        The corners (m) in the order in which they are reached; the last is followed
        by the first.

    Other Parameters
    ----------------
    time_step
        Duration of a step (s).
    speed_mean, speed_sd
        Mean and standard deviation of the speed (m/s); a mean of 0 is a walk without
        direction.
    speed_coherence_time
        Time (s) in which the speed changes.

    Raises
    ------
    InvalidInputError
        If a number is impossible, a corner follows itself, or a step is longer than
        a quarter of a lap.

    Examples
    --------
    >>> tour = Tour([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    >>> print(tour.place(jnp.array([0.25, 1.25])))
    [[0.25 0.  ]
     [1.   0.25]]
    """

    corners: Any = eqx.field(converter=as_array)
    time_step: Any = 0.05
    speed_mean: Any = 0.3
    speed_sd: Any = 0.1
    speed_coherence_time: Any = 0.7

    def __check_init__(self) -> None:
        shape = self.corners.shape
        if len(shape) != 2 or shape[0] < 2 or not shape[1]:
            got = f"shape {shape}"
            expected = "(corner, space), with two corners or more"
            raise invalid("corners", got, expected, kind=ShapeError)
        corners = np.asarray(self.corners)
        require_finite(corners, "corners")
        lengths = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
        if not lengths.all():
            raise invalid("corners", "a corner twice in a row", "it once")
        time_step = require_positive(self.time_step, "time_step", "s")
        require_finite(np.asarray(self.speed_mean), "speed_mean")
        spread = require_non_negative(self.speed_sd, "speed_sd", "m/s")
        step = (abs(float(self.speed_mean)) + 3 * spread) * time_step
        if step > lengths.sum() / 4:
            raise invalid(
                "corners",
                f"a tour of {lengths.sum():.3g} m",
                f"at least {4 * step:.3g} m, 4 steps",
                "Make it longer, or the steps shorter.",
            )
        time = require_positive(self.speed_coherence_time, "speed_coherence_time", "s")
        if time_step >= 2 * time:
            raise invalid(
                "time_step",
                f"{time_step} s",
                f"less than twice the speed_coherence_time of {time} s",
                "Longer steps overshoot, ever further.",
            )

    @property
    def bounds(self) -> Bounds:
        """The lowest and highest position of each axis (m)."""
        corners = np.asarray(self.corners)
        ends = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        return tuple(zip(*ends, strict=True))

    @property
    def n_inputs(self) -> int:
        """Number of inputs per step."""
        return self.corners.shape[-1]

    @property
    def stationary_after(self) -> int:
        """0: animals start anywhere on the tour, at their usual speed."""
        return 0

    def place(self, distance: Float[Array, "*batch"]) -> Float[Array, "*batch space"]:
        """Return the place at a distance (m) along the tour."""
        closed, reached = self._laid_out(distance.dtype)
        distance = jnp.mod(distance, reached[-1])
        return jnp.stack([jnp.interp(distance, reached, axis) for axis in closed.T], -1)

    def draw_places(self, key: PRNGKeyArray, n: int) -> Float[Array, "place space"]:
        """Draw places from everywhere along the tour alike."""
        _, reached = self._laid_out(jnp.float32)
        return self.place(jax.random.uniform(key, (n,), jnp.float32) * reached[-1])

    def draw(self, key: PRNGKeyArray, n_trials: int, n_steps: int) -> Path:
        """Draw paths."""
        keys = jax.random.split(key, 3)
        distance = jax.random.uniform(keys[0], (n_trials,))
        _, reached = self._laid_out(distance.dtype)
        lap, forgotten = reached[-1], self.time_step / self.speed_coherence_time
        spread = self.speed_sd / jnp.sqrt(1 - forgotten / 2)
        excess = spread * jax.random.normal(keys[1], (n_trials,))

        def advance(carry, noise):
            distance, excess = carry
            excess = relax(excess, noise, forgotten)
            step = (self.speed_mean + excess) * self.time_step
            distance = jnp.mod(distance + step, lap)
            return (distance, excess), distance

        noise = self.speed_sd * jax.random.normal(keys[2], (n_steps, n_trials))
        start = distance * lap
        found = kernels.scan(advance, (start, excess), noise, checkpoint=None)
        places = self.place(jnp.concatenate([start[None], found.outputs]).T)
        return Path(places[:, 0], jnp.diff(places, axis=1), places[:, 1:])

    def _laid_out(self, dtype: Any) -> tuple[Array, Array]:
        """Return the corners with the first at the end again, and how far each is."""
        corners = jnp.asarray(self.corners, dtype)
        closed = jnp.concatenate([corners, corners[:1]])
        lengths = jnp.linalg.norm(jnp.diff(closed, axis=0), axis=1)
        return closed, jnp.concatenate([jnp.zeros(1, dtype), jnp.cumsum(lengths)])
