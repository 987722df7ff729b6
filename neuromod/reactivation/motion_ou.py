r"""Smooth motion of a foraging rat.

Speed and turning are Ornstein-Uhlenbeck processes. With independent standard normal
$\xi$, every step of duration $\Delta t$ turns the velocity by $\omega\,\Delta t$ and
changes its size,

$$
\omega' = \omega - \frac{\Delta t}{\tau_\omega}\,\omega
  + \sigma_\omega \sqrt{2 \Delta t / \tau_\omega}\; \xi_\omega, \qquad
z' = z - \frac{\Delta t}{\tau_v}\, z + \sqrt{2 \Delta t / \tau_v}\; \xi_v,
$$

where the normal variable $z = \Phi^{-1}\big(1 - e^{-v^2 / 2 b^2}\big)$ makes the speed
$v$ a Rayleigh variable of scale $b$. Nearer than $d$ to a wall, at the distance
$(1 - c) d$, the animal is pushed away from it in two ways. A spring with the constant
$(b/d)^2$ changes its velocity, and a belt of the speed
$b\,(1 - \sqrt{1 - c^2})$ shifts its position while it goes on as before; they act with
the weights $3 (1 - \zeta)^2$ and $6 \zeta^2$. High thigmotaxis $\zeta$ therefore keeps
it at the walls. An animal that runs into a wall bounces off with half the speed $b$.

These are the steps of RatInABox, with its constants, which were fitted to rats. They
are steps of size $\Delta t$ and no exact solution: the spread of $\omega$ is
$\sigma_\omega / \sqrt{1 - \Delta t / 2 \tau_\omega}$, and its correlation over $k$
steps $(1 - \Delta t / \tau_\omega)^k$.

George, Rastogi, de Cothi, Clopath, Stachenfeld & Barry (2024), RatInABox, a toolkit
for modelling locomotion and neuronal activity in continuous environments, eLife 13,
doi:10.7554/eLife.85274.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod import kernels
from neuromod.core.dimensions import require_non_negative, require_positive
from neuromod.core.errors import invalid
from neuromod.reactivation.motion import Bounds, Motion, Path, draw_rayleigh, relax
from neuromod.reactivation.motion_walk import (
    box_bounds,
    require_box,
    sides,
    steps_across,
)

MARGIN = 1e-6


class Moving(NamedTuple):
    """``position`` (m), ``velocity`` (m/s), both (trial, space), ``turn`` (rad/s)."""

    position: Float[Array, "trial space"]
    velocity: Float[Array, "trial space"]
    turn: Float[Array, " trial"]


class OrnsteinUhlenbeck(Motion):
    """Smooth motion in a box.

    Parameters
    ----------
    box
        Width and height (m); the middle is the origin.

    Other Parameters
    ----------------
    time_step
        Duration of a step (s).
    speed_scale
        Scale b of the Rayleigh distribution of speeds (m/s); their mean is 1.25 b.
    speed_coherence_time
        Time (s) in which the speed changes.
    turn_sd
        Standard deviation of turning (rad/s).
    turn_coherence_time
        Time (s) in which turning changes.
    thigmotaxis
        How much the animal keeps to the walls, from 0 to 1.
    wall_distance
        Distance (m) at which walls begin to push.

    Raises
    ------
    InvalidInputError
        If a number is impossible, the box too small for the steps, or the time step
        too long for what changes in it.

    Examples
    --------
    >>> motion = OrnsteinUhlenbeck(box=(1.0, 1.0))
    >>> path = motion.draw(jax.random.key(0), n_trials=100, n_steps=200)
    >>> speed = jnp.linalg.norm(path.inputs, axis=-1).mean() / motion.time_step
    >>> print(path.positions.shape, speed.round(1), "m/s")
    (100, 200, 2) 0.1 m/s
    """

    box: Any = eqx.field(default=(2.2, 2.2), converter=sides)
    time_step: Any = 0.05
    speed_scale: Any = 0.08
    speed_coherence_time: Any = 0.7
    turn_sd: Any = 120 * math.pi / 180
    turn_coherence_time: Any = 0.08
    thigmotaxis: Any = 0.5
    wall_distance: Any = 0.1

    def __check_init__(self) -> None:
        time_step = require_positive(self.time_step, "time_step", "s")
        scale = require_positive(self.speed_scale, "speed_scale", "m/s")
        require_non_negative(self.turn_sd, "turn_sd", "rad/s")
        distance = require_positive(self.wall_distance, "wall_distance", "m")
        require_box(self.box, 2 * (distance + 3 * scale * time_step))
        if not require_non_negative(self.thigmotaxis, "thigmotaxis") <= 1:
            raise invalid("thigmotaxis", self.thigmotaxis, "a number from 0 to 1")
        for name in ("speed_coherence_time", "turn_coherence_time"):
            time = require_positive(getattr(self, name), name, "s")
            if time_step >= 2 * time:
                raise invalid(
                    "time_step",
                    f"{time_step} s",
                    f"less than twice the {name} of {time} s",
                    "Longer steps overshoot, ever further.",
                )

    @property
    def bounds(self) -> Bounds:
        """The lowest and highest position of each axis (m)."""
        return box_bounds(self.box)

    @property
    def n_inputs(self) -> int:
        """Number of inputs per step."""
        return len(self.box)

    @property
    def stationary_after(self) -> int:
        """Number of steps in which animals could cross the box.

        They start everywhere alike, and have to find the walls first.
        """
        return steps_across(self.box, float(self.speed_scale) * float(self.time_step))

    def draw(self, key: PRNGKeyArray, n_trials: int, n_steps: int) -> Path:
        """Draw paths."""
        start_key, turn_key, speed_key = jax.random.split(key, 3)
        start = self._start(start_key, n_trials)
        shape = n_steps, n_trials
        noise = jax.random.normal(turn_key, shape), jax.random.normal(speed_key, shape)
        found = kernels.scan(self._advance, start, noise, checkpoint=None)
        steps, positions = (jnp.swapaxes(array, 0, 1) for array in found.outputs)
        return Path(start.position, steps, positions)

    def _start(self, key: PRNGKeyArray, n_trials: int) -> Moving:
        keys = jax.random.split(key, 4)
        half = self._half(jnp.result_type(float))
        position = jax.random.uniform(keys[0], (n_trials, len(self.box)), minval=-1)
        speed = self.speed_scale * draw_rayleigh(keys[1], (n_trials,))
        heading = jax.random.uniform(keys[2], (n_trials,), maxval=2 * np.pi)
        forgotten = self.time_step / self.turn_coherence_time
        spread = self.turn_sd / jnp.sqrt(1 - forgotten / 2)
        turn = spread * jax.random.normal(keys[3], (n_trials,))
        return Moving(position * half[None], _vector(speed, heading), turn)

    def _advance(self, now: Moving, noise: tuple[Array, Array]):
        half = self._half(now.position.dtype)[None]
        forgotten = self.time_step / self.turn_coherence_time
        turn = relax(now.turn, self.turn_sd * noise[0], forgotten)
        heading = jnp.arctan2(now.velocity[:, 1], now.velocity[:, 0])
        velocity = _vector(
            self._next_speed(jnp.linalg.norm(now.velocity, axis=-1), noise[1]),
            heading + turn * self.time_step,
        )
        push, shift = self._walls(now.position, half)
        velocity = velocity + push * self.time_step
        step = (velocity + shift) * self.time_step
        beyond = jnp.abs(now.position + step) > half
        bounced = jnp.where(beyond, -velocity, velocity)
        size = jnp.linalg.norm(bounced, axis=-1, keepdims=True)
        bounced = bounced * (self.speed_scale / 2 / size)
        hits = beyond.any(axis=-1, keepdims=True)
        velocity = jnp.where(hits, bounced, velocity)
        step = jnp.where(hits, bounced * self.time_step, step)
        position = jnp.clip(now.position + step, -half, half)
        return Moving(position, velocity, turn), (position - now.position, position)

    def _next_speed(
        self, speed: Float[Array, " trial"], noise: Float[Array, " trial"]
    ) -> Float[Array, " trial"]:
        below = -jnp.expm1(-jnp.square(speed / self.speed_scale) / 2)
        normal = ndtri(jnp.clip(below, MARGIN, 1 - MARGIN))
        normal = relax(normal, noise, self.time_step / self.speed_coherence_time)
        return self.speed_scale * jnp.sqrt(-2 * jnp.log(ndtr(-normal)))

    def _walls(self, position: Array, half: Array) -> tuple[Array, Array]:
        """Return the acceleration and the velocity by which walls push."""
        distance, scale = self.wall_distance, self.speed_scale
        near = [
            jnp.clip(1 - gap / distance, 0, 1)
            for gap in (half + position, half - position)
        ]
        spring = scale**2 / distance * (near[0] - near[1])
        low, high = (1 - jnp.sqrt(1 - jnp.square(c)) for c in near)
        belt = scale * (low - high)
        return 3 * (1 - self.thigmotaxis) ** 2 * spring, 6 * self.thigmotaxis**2 * belt

    def _half(self, dtype: Any) -> Float[Array, " space"]:
        return jnp.asarray(self.box, dtype) / 2


def _vector(size: Array, heading: Array) -> Float[Array, "trial space"]:
    return jnp.stack([size * jnp.cos(heading), size * jnp.sin(heading)], axis=-1)
