r"""The walks that the published networks were trained on.

In a box of a given size, a step of `RandomWalk` from $x_t$ with the heading $\theta_t$
is

$$
\Delta x_t = s_t\, v_t\, \Delta t\, (\cos\theta_t, \sin\theta_t)
  \;[\; + \lambda (a - x_t) \;], \qquad
\theta_{t+1} = \theta_t + \omega_t \Delta t + w_t,
$$

with a speed $v_t \sim \mathrm{Rayleigh}(b)$ and a turn
$\omega_t \sim \mathcal N(\mu, \varsigma^2)$, both new at every step. Nearer to a wall
than the border, and facing it by the angle $\phi$ from its outward normal
($|\phi| < \pi/2$), the animal slows down, $s_t < 1$, and turns along it,
$w_t = \mathrm{sign}(\phi)(\pi/2 - |\phi|)$. It looks before it steps: a step may end a
little beyond the wall. The term in brackets biases a walk towards an anchor $a$, by
the share $\lambda$ of the distance *per step*, whatever the time step: the walk
forgets where it started within $1/\lambda$ steps, and gathers around the anchor.

`HeadDirectionWalk` turns by $\omega_t \Delta t$ at every step; biased, by its absolute
value, and so always to the left.

Erdem & Hasselmo (2012), A goal-directed spatial navigation model using forward
trajectory planning based on grid cells, European Journal of Neuroscience 35,
doi:10.1111/j.1460-9568.2012.08015.x. Krishna, Bredenberg, Levenstein, Richards &
Lajoie (2024), Sufficient conditions for offline reactivation in recurrent neural
networks, ICLR.
"""

import math
from typing import Any, NamedTuple

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
from neuromod.reactivation.motion import Bounds, Motion, Path, draw_rayleigh, wrap

N_RELAXATIONS = 3


class Draws(NamedTuple):
    """The random numbers of a walk.

    Parameters
    ----------
    position : (trial, space)
        Where it starts (m).
    heading : (trial,)
        Where it faces (rad).
    turn : (trial, time)
        Turn of each step (rad/s).
    speed : (trial, time)
        Speed of each step (m/s).
    """

    position: Float[Array, "trial space"]
    heading: Float[Array, " trial"]
    turn: Float[Array, "trial time"]
    speed: Float[Array, "trial time"]


class Walk(NamedTuple):
    """A walk step by step.

    Parameters
    ----------
    inputs : (trial, time, space)
        Change of position in each step (m).
    positions : (trial, time, space)
        Position after each step (m).
    headings : (trial, time)
        Where it faces in each step (rad), in [-pi, pi).
    distances : (trial, time)
        Length of each step by the animal's own doing, without the bias (m).
    """

    inputs: Float[Array, "trial time space"]
    positions: Float[Array, "trial time space"]
    headings: Float[Array, "trial time"]
    distances: Float[Array, "trial time"]


def sides(box: Any) -> tuple[Any, ...]:
    """Return the sides of a box as a tuple."""
    if isinstance(box, tuple):
        return box
    if np.ndim(box) != 1:
        raise invalid("box", repr(box), "two sides (m), such as (2.2, 2.2)")
    return tuple(float(side) for side in box)


def require_box(box: tuple[Any, ...], room: float) -> None:
    """Raise unless a box has two sides, and is no smaller than the walk in it."""
    if len(box) != 2:
        raise invalid("box", box, "two sides (m)", kind=ShapeError)
    for side in box:
        if require_positive(side, "box", "m") < room:
            raise invalid(
                "box",
                f"a side of {float(side):.3g} m",
                f"at least {room:.3g} m, which the steps and the border along the "
                "walls take",
                "Enlarge the box, or shorten the steps: a smaller speed_scale or "
                "time_step.",
            )


def box_bounds(box: tuple[Any, ...]) -> Bounds:
    """Return the bounds of a box around the origin."""
    return tuple((-float(side) / 2, float(side) / 2) for side in box)


def steps_across(box: tuple[Any, ...], scale: float) -> int:
    """Return in how many steps of Rayleigh lengths a box is crossed.

    Animals that start everywhere alike have found the walls by then, and linger there.
    """
    return math.ceil(max(map(float, box)) / (scale * math.sqrt(math.pi / 2)))


class RandomWalk(Motion):
    """The published random walk in a box.

    Parameters
    ----------
    box
        Width and height (m); the middle is the origin.
    biased
        Whether every step is drawn towards the anchor.

    Other Parameters
    ----------------
    drift
        Share of the distance to the anchor that a step of a biased walk covers.
    anchor
        Where a biased walk gathers (m).
    time_step
        Duration of a step (s).
    turn_mean, turn_sd
        Mean and standard deviation of turns (rad/s).
    speed_scale
        Scale b of the Rayleigh distribution of speeds (m/s); their mean is 1.25 b.
    border
        Distance from a wall within which the animal slows down and turns (m).
    slow_factor
        What its speed is multiplied with there.

    Raises
    ------
    InvalidInputError
        If a number is impossible, or the box too small for the steps.

    Examples
    --------
    >>> walk = RandomWalk(biased=True, anchor=(0.5, 0.5))
    >>> path = walk.draw(jax.random.key(0), n_trials=200, n_steps=100)
    >>> print(path.positions.shape, path.positions[:, -1].mean(axis=0).round(1))
    (200, 100, 2) [0.5 0.5]
    """

    box: Any = eqx.field(default=(2.2, 2.2), converter=sides)
    biased: bool = eqx.field(default=False, static=True)
    drift: Any = 0.05
    anchor: Any = (0.0, 0.0)
    time_step: Any = 0.02
    turn_mean: Any = 0.0
    turn_sd: Any = 11.52
    speed_scale: Any = 0.26 * math.pi
    border: Any = 0.03
    slow_factor: Any = 0.25

    def __check_init__(self) -> None:
        step = require_positive(self.time_step, "time_step", "s")
        step *= require_positive(self.speed_scale, "speed_scale", "m/s")
        require_finite(np.asarray(self.turn_mean), "turn_mean")
        require_non_negative(self.turn_sd, "turn_sd", "rad/s")
        require_non_negative(self.slow_factor, "slow_factor")
        border = require_non_negative(self.border, "border", "m")
        # 99 of 100 steps are shorter than 3 scales.
        require_box(self.box, 2 * (border + 3 * step))
        if not require_non_negative(self.drift, "drift") <= 1:
            raise invalid("drift", self.drift, "a share from 0 to 1")
        if np.shape(self.anchor) != (2,):
            raise invalid("anchor", self.anchor, "a place (x, y)", kind=ShapeError)
        inside = np.abs(np.array(self.anchor)) <= np.array(self.box) / 2
        if self.biased and not inside.all():
            raise invalid("anchor", self.anchor, f"a place in the box {self.box} m")

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
        """Number of steps until the walk is stationary.

        Biased, 3 relaxation times; else those in which the animal could cross the box.
        """
        if self.biased and self.drift > 0:
            return math.ceil(N_RELAXATIONS / float(self.drift))
        return steps_across(self.box, float(self.speed_scale) * float(self.time_step))

    def draw(self, key: PRNGKeyArray, n_trials: int, n_steps: int) -> Path:
        """Draw paths; they start after a first step that is thrown away."""
        walk = self.follow(self.draw_numbers(key, n_trials, n_steps + 1))
        return Path(walk.positions[:, 0], walk.inputs[:, 1:], walk.positions[:, 1:])

    def draw_numbers(self, key: PRNGKeyArray, n_trials: int, n_steps: int) -> Draws:
        """Draw what `follow` takes."""
        keys = jax.random.split(key, 4)
        half = jnp.asarray(self.box, jnp.result_type(float)) / 2
        shape = n_trials, n_steps
        position = jax.random.uniform(keys[0], (n_trials, len(self.box)), minval=-1)
        return Draws(
            position * half[None],
            jax.random.uniform(keys[1], (n_trials,), maxval=2 * np.pi),
            self.turn_mean + self.turn_sd * jax.random.normal(keys[2], shape),
            self.speed_scale * draw_rayleigh(keys[3], shape),
        )

    def follow(self, draws: Draws) -> Walk:
        """Return the walk that random numbers make, step by step."""
        dtype = draws.position.dtype
        half = jnp.asarray(self.box, dtype) / 2
        anchor = jnp.asarray(self.anchor, dtype)

        def advance(carry, now):
            (x, y), heading = carry
            turn, distance = now
            gap_x, gap_y = half[0] - jnp.abs(x), half[1] - jnp.abs(y)
            normal = jnp.where(
                gap_x <= gap_y,
                jnp.where(x > 0, 0, np.pi),
                jnp.where(y > 0, np.pi / 2, -np.pi / 2),
            )
            facing = wrap(heading - normal)
            slows = jnp.minimum(gap_x, gap_y) < self.border
            slows &= jnp.abs(facing) < np.pi / 2
            distance = jnp.where(slows, self.slow_factor * distance, distance)
            along = jnp.sign(facing) * (np.pi / 2 - jnp.abs(facing))
            step = distance * jnp.cos(heading), distance * jnp.sin(heading)
            if self.biased:
                step = (
                    step[0] + self.drift * (anchor[0] - x),
                    step[1] + self.drift * (anchor[1] - y),
                )
            place = x + step[0], y + step[1]
            turned = wrap(heading + turn + jnp.where(slows, along, 0))
            return (place, turned), (step, place, heading, distance)

        # An array for each axis: whole lanes of trials, without strides.
        carry = tuple(draws.position.T), wrap(draws.heading)
        numbers = draws.turn.T * self.time_step, draws.speed.T * self.time_step
        found = kernels.scan(advance, carry, numbers, checkpoint=None)
        steps, places, headings, distances = found.outputs
        return Walk(_trials(steps), _trials(places), headings.T, distances.T)


def _trials(axes: tuple[Float[Array, "time trial"], ...]) -> Array:
    """Join what was found for each axis, as (trial, time, space)."""
    return jnp.stack([axis.T for axis in axes], axis=-1)


class HeadDirectionWalk(Motion):
    """Random turns on the spot.

    Parameters
    ----------
    biased
        Whether all turns go to the left.
    time_step
        Duration of a step (s).
    turn_mean, turn_sd
        Mean and standard deviation of turns (rad/s), before their sign is lost.

    Examples
    --------
    >>> path = HeadDirectionWalk(biased=True).draw(jax.random.key(0), 2, 50)
    >>> path.inputs.shape, bool((path.inputs > 0).all())
    ((2, 50, 1), True)
    """

    biased: bool = eqx.field(default=False, static=True)
    time_step: Any = 0.02
    turn_mean: Any = 0.0
    turn_sd: Any = 11.52

    def __check_init__(self) -> None:
        require_positive(self.time_step, "time_step", "s")
        require_finite(np.asarray(self.turn_mean), "turn_mean")
        require_non_negative(self.turn_sd, "turn_sd", "rad/s")

    @property
    def bounds(self) -> Bounds:
        """The circle, from -pi to pi (rad)."""
        return ((-math.pi, math.pi),)

    @property
    def n_inputs(self) -> int:
        """Number of inputs per step."""
        return 1

    @property
    def stationary_after(self) -> int:
        """0: headings are everywhere alike from the first on."""
        return 0

    def draw(self, key: PRNGKeyArray, n_trials: int, n_steps: int) -> Path:
        """Draw paths."""
        keys = jax.random.split(key)
        heading = jax.random.uniform(keys[0], (n_trials,), maxval=2 * np.pi)
        turn = jax.random.normal(keys[1], (n_trials, n_steps))
        return self.follow(heading, self.turn_mean + self.turn_sd * turn)

    def follow(
        self, heading: Float[Array, " trial"], turn: Float[Array, "trial time"]
    ) -> Path:
        """Return the path that random numbers make.

        Parameters
        ----------
        heading : (trial,)
            Where it faces at first (rad).
        turn : (trial, time)
            Turn of each step (rad/s).
        """
        steps = (jnp.abs(turn) if self.biased else turn) * self.time_step

        def advance(heading, step):
            heading = wrap(heading + step)
            return heading, heading

        start = wrap(heading)
        # Wrapped at every step, so that long paths do not lose digits.
        headings = kernels.scan(advance, start, steps.T, checkpoint=None).outputs
        return Path(start[:, None], steps[..., None], headings.T[..., None])
