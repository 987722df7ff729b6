r"""A bump of activity that adaptation pushes on: the adaptive attractor field.

Units stand on a ring, or on a torus of two dimensions, and each prefers a place $z$
there. Neighbours excite one another, and all inhibit all, so that activity gathers in
a bump, which may stand anywhere. Adaptation $V$ tires the units under it:

$$
\tau \dot u = -u + J * r - V + I + \sigma_u \sqrt{\tau}\, \xi_u, \qquad
\tau_v \dot V = -V + m u + \sigma_m u \sqrt{\tau_v}\, \xi_v, \qquad
r = \frac{u^2}{1 + k \sum u^2},
$$

$$
J(d) = \frac{J_0}{\sqrt{2 \pi} a}\, e^{-d^2 / 2 a^2}, \qquad
m = m_0 \frac{\tau}{\tau_v}, \qquad
\sigma_m = m \gamma .
$$

| symbol | name | |
|---|---|---|
| $u$, $V$, $r$ | potential, adaptation, rate of each unit | (unit,) |
| $\tau$, $\tau_v$ | `membrane_time_constant`, `adaptation_time_constant` | s |
| $m_0$ | `adaptation_strength`, relative to where the bump begins to travel | |
| $J_0$, $a$ | `connection_strength`, `connection_width` | , rad |
| $k$ | `inhibition` | |
| $\sigma_u$, $\gamma$ | `potential_noise`, `adaptation_noise` | |
| $\mu = 1 - m_0$ | `distance_to_boundary` | |

**Where it travels.** The bump is $u = A e^{-d^2 / 4 a^2}$ (`bump_height`). Moved by a
little, it feels the adaptation that it left behind push with $m$, while that follows
at the rate $1 / \tau_v$: for $m > \tau / \tau_v$, which is $m_0 > 1$, it escapes and
travels by itself. In the frame of a bump with speed $w / \tau_v$, adaptation is
$\hat V(q) = m \hat u(q) / (1 - i q w)$, and what it does along the one direction in
which the bump is free, that of $u u'$, must balance the motion:

$$
\frac{1}{m_0} = \Big\langle \frac{1}{1 + q^2 w^2} \Big\rangle , \qquad
\text{over } q \text{ with density} \propto q^2 e^{-3 a^2 q^2 / 2},
\qquad \text{so that near } m_0 = 1 \quad
w \approx a \sqrt{m_0 - 1} .
$$

`travel_speed` solves that, and is within a few per cent as long as $m$ is small. (The
closed form that is often quoted, $w = 2 a \sqrt{m_0 - \sqrt{m_0}}$, takes $V$ for a
shifted copy of $u$, and is too large: by $\sqrt 2$ at the boundary, by a quarter
beyond.)

**How it wanders.** Below the boundary noise moves the bump, and adaptation makes the
motion persist, the longer the smaller $\mu$ is. Noise in adaptation, one $\xi_v(t)$ for
all units, makes the strength itself fluctuate by the share $\gamma$: the bump runs when
it is above the boundary and rests when it is below. The distance $D$ by which
adaptation lags behind follows the equation on the left and whatever noise there is
besides, so that its tail, and that of the steps, is a power law (`levy_index`), until
the lag reaches the width of the bump:

$$
\tau_v\, dD = -\mu D\, dt - \gamma \sqrt{\tau_v}\, D\, dW, \qquad
\alpha = \min(2,\; 1 + 2 \mu / \gamma^2) .
$$

Noise of its own for each unit (``independent_noise``), with
$\sigma_m = 2 \sqrt\pi\, m a \gamma$ as in the published code, averages out over the
bump and moves it besides: steps stay Gaussian, however strong it is. (Dong et al.,
NeurIPS 2021; Chu et al., eLife 2024, doi:10.7554/eLife.87055; Ji et al., Nature
Communications 2026.)
"""

import dataclasses
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float
from scipy import integrate, optimize

from neuromod.core.dimensions import (
    require_integer,
    require_non_negative,
    require_positive,
)
from neuromod.core.errors import invalid
from neuromod.reactivation.motion import wrap


class FieldState(NamedTuple):
    """Potential and adaptation of every unit, each (unit,)."""

    potential: Any
    adaptation: Any


class AttractorField(eqx.Module):
    """A ring or a torus of units with adaptation.

    Parameters
    ----------
    adaptation_strength
        m_0: below 1 the bump stays by itself, above it travels.
    n_dimensions
        1 for a ring, 2 for a torus.
    n_units_per_dimension
        Units along each dimension; their spacing must not exceed the width of the
        connections.

    Other Parameters
    ----------------
    membrane_time_constant, adaptation_time_constant
        In seconds.
    connection_strength, connection_width
        J_0, and a in radians, which must be small against the ring (2 pi).
    inhibition
        k. Small k makes a high bump, which noise moves less.
    potential_noise
        Per square root of a membrane time constant.
    adaptation_noise
        gamma, relative to the adaptation strength.
    independent_noise
        Whether every unit's adaptation has a noise of its own.
    time_step
        In seconds.

    Raises
    ------
    InvalidInputError
        If a number is out of its range.

    Examples
    --------
    >>> field = AttractorField(1.5)
    >>> round(field.bump_height, 3), round(field.travel_speed, 2), field.n_units
    (0.671, 1.09, 128)
    """

    adaptation_strength: Any = 1.0
    membrane_time_constant: Any = 0.001
    adaptation_time_constant: Any = 0.144
    connection_strength: Any = 4.0
    connection_width: Any = 0.2
    inhibition: Any = 8.1
    potential_noise: Any = 0.0
    adaptation_noise: Any = 0.0
    time_step: Any = 1e-4
    independent_noise: bool = eqx.field(default=False, static=True)
    n_dimensions: int = eqx.field(default=1, static=True)
    n_units_per_dimension: int = eqx.field(default=128, static=True)

    def __check_init__(self) -> None:
        if self.n_dimensions not in (1, 2):
            raise invalid("n_dimensions", self.n_dimensions, "1 or 2")
        require_integer(self.n_units_per_dimension, "n_units_per_dimension", 4)
        numbers = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if not f.metadata.get("static")
            and not isinstance(getattr(self, f.name), Tracer)
        }
        for name, value in numbers.items():
            free = name.endswith("noise") or name == "adaptation_strength"
            (require_non_negative if free else require_positive)(value, name)
        width, spacing = numbers.get("connection_width", np.inf), 1 / self._density
        if width < spacing:
            raise invalid(
                "connection_width",
                f"{width} rad for units {spacing:.3g} rad apart",
                "at least their spacing",
                "Set n_units_per_dimension higher.",
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of units along each dimension."""
        return (self.n_units_per_dimension,) * self.n_dimensions

    @property
    def n_units(self) -> int:
        """Number of all units."""
        return math.prod(self.shape)

    @property
    def preferred(self) -> Float[np.ndarray, "unit space"]:
        """The preferred place of each unit, in [-pi, pi)."""
        line = np.arange(self.n_units_per_dimension) / self._density - np.pi
        grid = np.meshgrid(*[line] * self.n_dimensions, indexing="ij")
        return np.stack([axis.ravel() for axis in grid], axis=1)

    @property
    def _density(self) -> float:
        return self.n_units_per_dimension / (2 * np.pi)

    @property
    def distance_to_boundary(self) -> Any:
        """Mu: positive where the bump stays by itself."""
        return 1 - self.adaptation_strength

    @property
    def adaptation_gain(self) -> Any:
        """The steady adaptation per potential, m."""
        ratio = self.membrane_time_constant / self.adaptation_time_constant
        return self.adaptation_strength * ratio

    @property
    def levy_index(self) -> float:
        """The stable index that theory gives to steps; NaN above the boundary."""
        if self.distance_to_boundary < 0:
            return np.nan
        if self.independent_noise or not self.adaptation_noise > 0:
            return 2.0
        ratio = self.distance_to_boundary / self.adaptation_noise**2
        return float(min(2.0, 1 + 2 * ratio))

    @property
    def bump_height(self) -> float:
        """The potential at the top of a bump at rest; NaN where no bump can be."""
        width, n = self.connection_width, self.n_dimensions
        units = self._density * width * np.sqrt(np.pi)  # under the square of the bump
        excitation = self.connection_strength / (np.sqrt(2 * np.pi) * width) * units**n
        inhibition = self.inhibition * (np.sqrt(2) * units) ** n
        half = excitation / (1 + self.adaptation_gain) / 2
        square = half**2 - inhibition
        return float((half + square**0.5) / inhibition) if square >= 0 else np.nan

    @property
    def travel_speed(self) -> float:
        """The speed (rad/s) at which the bump travels by itself; 0 below the boundary.

        To a relative error of about m / 2: strong adaptation widens the bump too.
        """
        if self.adaptation_strength <= 1:
            return 0.0

        lost = 1 - 1 / self.adaptation_strength

        def excess(spread):  # of 1 - <1 / (1 + q^2 w^2)>, where w^2 = 3 a^2 spread
            def moment(q):
                return q**4 / (1 + spread * q**2) * np.exp(-(q**2) / 2)

            mean = integrate.quad(moment, 0, np.inf)[0] / (np.pi / 2) ** 0.5
            return spread * mean - lost

        spread: Any = optimize.brentq(excess, lost / 6, self.adaptation_strength)
        reach = self.connection_width * (3 * spread) ** 0.5
        return float(reach / self.adaptation_time_constant)

    @property
    def connections(self) -> Float[Array, "*shape"]:
        """The connections from the first unit to every unit, on the grid."""
        offset = self.preferred - self.preferred[:1]
        square = (wrap(jnp.asarray(offset, jnp.result_type(float))) ** 2).sum(axis=1)
        width = self.connection_width
        peak = self.connection_strength / (np.sqrt(2 * np.pi) * width)
        return peak * jnp.exp(-square / (2 * width**2)).reshape(self.shape)

    def rate(self, potential: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return the rate of every unit: its square, divided by all of them."""
        square = potential**2
        return square / (1 + self.inhibition * square.sum())

    def stimulus(self, position: Any, height: Any = 10.0) -> Float[Array, " unit"]:
        """Return a Gaussian of the shape of a bump, e.g. an input from the senses.

        Parameters
        ----------
        position : (space,) or ()
            Its place.
        height
            Its value there.
        """
        preferred = jnp.asarray(self.preferred, jnp.result_type(float))
        position = jnp.broadcast_to(
            jnp.asarray(position, preferred.dtype), (self.n_dimensions,)
        )
        square = (wrap(preferred - position[None]) ** 2).sum(axis=1)
        return height * jnp.exp(-square / (4 * self.connection_width**2))

    def bump(self, position: Any = 0.0, *, lag: Any = 0.0) -> FieldState:
        """Return a bump at rest, with its adaptation ``lag`` behind it.

        Parameters
        ----------
        position, lag : (space,) or ()
            In radians. Above the boundary, a bump with a lag sets out at once.
        """
        height = self.bump_height
        behind = jnp.asarray(position) - jnp.asarray(lag)
        return FieldState(
            self.stimulus(position, height),
            self.stimulus(behind, height * self.adaptation_gain),
        )
