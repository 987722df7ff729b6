r"""Codes: how a population of cells tells a place or a heading, and is read again.

A place $x$ (m) is told by $n$ place cells with centres $c_i$ and width $\sigma$. With
$q_i(s) = \mathrm{softmax}_i\big({-|x - c_i|^2} / (2 s \sigma^2)\big)$ the code is

| kind | activation of cell $i$ | |
|---|---|---|
| softmax | $q_i(1)$ | the cells sum to 1 |
| gaussian | $\exp({-|x - c_i|^2} / (2 \sigma^2))$ | each has the peak 1 |
| difference | $(D_i + \lvert \min_j D_j \rvert) / \sum_k (D_k + \lvert \min_j D_j \rvert)$, where $D_i = q_i(1) - q_i(s)$ | a centre, and a surround $s$ times as wide in variance |

and a heading $\theta$ (rad) by cells with preferred headings $\theta_i$ and spread
$\kappa$, $\exp\big((\cos(\theta - \theta_i) - 1) / \kappa^2\big)$, with the peak 1.

Two decoders go back. "top_k" is the mean of the centres of the most active cells;
it looks at ranks alone, so it cannot tell a weak code, or none, from a strong one.
"population_vector" is the mean of all centres, weighted by the activity above 0.
Headings are averaged on the circle.

Sorscher, Mel, Ganguli & Ocko (2019), A unified theory for the origin of grid cells
through the lens of pattern formation, NeurIPS 32.
"""  # noqa: E501

import abc
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray
from scipy import special

from neuromod.core.dimensions import (
    require_finite,
    require_integer,
    require_positive,
)
from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.reactivation.motion import Values, as_array, wrap

KINDS = ("softmax", "gaussian", "difference")
DECODERS = ("top_k", "population_vector")


class Factors(NamedTuple):
    """A code as a product: ``features`` of positions, ``mixing`` of them by cells.

    Parameters
    ----------
    features : (..., feature)
        Few functions of the position.
    mixing : (feature, cell)
        How much of each is in the activation of a cell.
    """

    features: Float[Array, "*batch feature"]
    mixing: Float[Array, "feature cell"]


class Code(eqx.Module):
    """What every code can do: tell positions by activations, and read them again."""

    @property
    @abc.abstractmethod
    def periodic(self) -> bool:
        """Whether positions are angles."""

    @property
    @abc.abstractmethod
    def n_cells(self) -> int:
        """Number of cells."""

    @abc.abstractmethod
    def activation(
        self, position: Float[Values, "*batch space"]
    ) -> Float[Array, "*batch cell"]:
        """Return the activity of all cells at positions."""

    def factors(self, position: Float[Values, "*batch space"]) -> Factors | None:
        """Return the activity at positions as a product; None if it is not one."""
        return None

    @abc.abstractmethod
    def decode(
        self,
        activation: Float[Values, "*batch cell"],
        method: str = "top_k",
        n_active: int = 3,
    ) -> Float[Array, "*batch space"]:
        """Return the positions that activations tell.

        Parameters
        ----------
        activation : (..., cell)
            Activity of the cells, or what a network says in their place.
        method
            "top_k" or "population_vector".
        n_active
            How many of the most active cells "top_k" looks at.
        """

    @abc.abstractmethod
    def distance(
        self, a: Float[Values, "*batch space"], b: Float[Values, "*batch space"]
    ) -> Float[Array, "*batch"]:
        """Return how far two positions are from each other."""


class PlaceCode(Code):
    """Place cells.

    Parameters
    ----------
    centres : (cell, space)
        Where each cell is most active (m).
    width
        Standard deviation of a place field (m).
    kind
        "softmax", "gaussian" or "difference".
    surround
        Variance of the surround over that of the centre, of "difference".

    Raises
    ------
    InvalidInputError
        If a number is not finite, a width not positive, or a name unknown.

    Examples
    --------
    >>> code = PlaceCode.random(jax.random.key(0), 300, (2.0, 2.0), 0.1)
    >>> told = code.activation(np.array([[0.5, -0.5]], np.float32))
    >>> told.shape, bool(code.distance(code.decode(told), np.array([0.5, -0.5])) < 0.1)
    ((1, 300), True)
    """

    centres: Any = eqx.field(converter=as_array)
    width: Any
    kind: str = eqx.field(default="softmax", static=True)
    surround: Any = 2.0

    def __check_init__(self) -> None:
        if self.centres.ndim != 2 or not self.centres.size:
            got = f"shape {self.centres.shape}"
            raise invalid("centres", got, "(cell, space)", kind=ShapeError)
        require_finite(np.asarray(self.centres), "centres")
        require_positive(self.width, "width", "m")
        choice("kind", self.kind, KINDS)
        if require_positive(self.surround, "surround") <= 1:
            raise invalid("surround", self.surround, "more than 1, that of the centre")

    @classmethod
    def random(
        cls,
        key: PRNGKeyArray,
        n_cells: int,
        box: tuple[float, ...],
        width: float,
        **fields: Any,
    ) -> "PlaceCode":
        """Draw centres from everywhere in a box alike.

        Parameters
        ----------
        key
            Random key.
        n_cells
            Number of cells.
        box : (space,)
            Sides of the box (m); its middle is the origin.
        width
            Standard deviation of a place field (m).
        **fields
            ``kind`` and ``surround``.
        """
        # In single precision always: the same cells for the same key.
        shape = require_integer(n_cells, "n_cells"), len(box)
        places = jax.random.uniform(key, shape, jnp.float32, -0.5, 0.5)
        return cls(places * jnp.asarray(box, jnp.float32)[None], width, **fields)

    @property
    def periodic(self) -> bool:
        """False: positions are places."""
        return False

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.centres.shape[-2]

    def activation(
        self, position: Float[Values, "*batch space"]
    ) -> Float[Array, "*batch cell"]:
        """Return the activity of all cells at positions (m)."""
        position = jnp.asarray(position)
        centres = jnp.asarray(self.centres, position.dtype)
        # One axis at a time: differences of (..., cell, space) are never stored.
        squares = sum(
            jnp.square(jnp.subtract.outer(position[..., axis], centres[:, axis]))
            for axis in range(centres.shape[1])
        )
        closeness = -squares / (2 * self.width**2)
        if self.kind == "gaussian":
            return jnp.exp(closeness)
        if self.kind == "softmax":
            return jax.nn.softmax(closeness)
        around = jax.nn.softmax(closeness / self.surround)
        difference = jax.nn.softmax(closeness) - around
        raised = difference + jnp.abs(difference.min(axis=-1, keepdims=True))
        return raised / raised.sum(axis=-1, keepdims=True)

    def decode(
        self,
        activation: Float[Values, "*batch cell"],
        method: str = "top_k",
        n_active: int = 3,
    ) -> Float[Array, "*batch space"]:
        """Return the positions (m) that activations tell; see `Code.decode`."""
        return _mean_at(jnp.asarray(activation), self.centres, method, n_active)

    def distance(
        self, a: Float[Values, "*batch space"], b: Float[Values, "*batch space"]
    ) -> Float[Array, "*batch"]:
        """Return the distance (m) of two positions."""
        return jnp.linalg.norm(jnp.asarray(a) - jnp.asarray(b), axis=-1)


class HeadDirectionCode(Code):
    """Head-direction cells; a heading is a position with one axis, in radians.

    Parameters
    ----------
    preferred : (cell,)
        The heading at which each cell is most active (rad).
    spread
        Width of the tuning (rad): near its peak, the standard deviation.

    Raises
    ------
    InvalidInputError
        If a number is not finite, or the spread not positive.

    Examples
    --------
    >>> code = HeadDirectionCode.regular(60, 0.5)
    >>> told = code.activation(np.array([3.1], np.float32))
    >>> print(code.decode(told, "population_vector").round(2))
    [3.1]
    """

    preferred: Any = eqx.field(converter=as_array)
    spread: float = eqx.field(
        static=True, converter=lambda x: float(require_positive(x, "spread", "rad"))
    )

    def __check_init__(self) -> None:
        if self.preferred.ndim != 1 or not self.preferred.size:
            got = f"shape {self.preferred.shape}"
            raise invalid("preferred", got, "(cell,)", kind=ShapeError)
        require_finite(np.asarray(self.preferred), "preferred")

    @classmethod
    def regular(
        cls, n_cells: int, spread: float, duplicated_end: bool = False
    ) -> "HeadDirectionCode":
        """Space the cells evenly around the circle.

        Parameters
        ----------
        n_cells
            Number of cells.
        spread
            Width of the tuning (rad).
        duplicated_end
            Whether the last cell stands at pi, where the first one, at -pi, does
            already, as in the published code.
        """
        n_cells = require_integer(n_cells, "n_cells")
        headings = np.linspace(-np.pi, np.pi, n_cells, endpoint=duplicated_end)
        return cls(headings, spread)

    @property
    def periodic(self) -> bool:
        """True: positions are angles."""
        return True

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.preferred.shape[-1]

    def activation(
        self, position: Float[Values, "*batch space"]
    ) -> Float[Array, "*batch cell"]:
        """Return the activity of all cells at headings (rad)."""
        position = jnp.asarray(position)
        preferred = jnp.asarray(self.preferred, position.dtype)
        apart = jnp.subtract.outer(position[..., 0], preferred)
        return jnp.exp((jnp.cos(apart) - 1) / self.spread**2)

    def factors(self, position: Float[Values, "*batch space"]) -> Factors:
        r"""Return the Fourier series of the activity at headings (rad).

        With modified Bessel functions it is, up to the rounding of the numbers,
        $e^{-z} \big(I_0(z) + 2 \sum_k I_k(z) \cos k(\theta - \theta_i)\big)$, where
        $z = 1 / \kappa^2$.
        """
        heading = jnp.asarray(position)[..., 0]
        dtype = heading.dtype
        shares = _harmonics(self.spread, float(jnp.finfo(dtype).eps))
        orders = jnp.arange(len(shares), dtype=dtype)
        angles = jnp.multiply.outer(heading, orders)
        turned = jnp.multiply.outer(orders, jnp.asarray(self.preferred, dtype))
        shares = jnp.asarray(shares, dtype)[:, None]
        return Factors(
            jnp.concatenate([jnp.cos(angles), jnp.sin(angles[..., 1:])], axis=-1),
            jnp.concatenate([shares * jnp.cos(turned), (shares * jnp.sin(turned))[1:]]),
        )

    def decode(
        self,
        activation: Float[Values, "*batch cell"],
        method: str = "top_k",
        n_active: int = 3,
    ) -> Float[Array, "*batch space"]:
        """Return the headings (rad) that activations tell; see `Code.decode`."""
        preferred = jnp.asarray(self.preferred)
        unit_vectors = jnp.stack([jnp.cos(preferred), jnp.sin(preferred)], axis=-1)
        mean = _mean_at(jnp.asarray(activation), unit_vectors, method, n_active)
        return jnp.arctan2(mean[..., 1:], mean[..., :1])

    def distance(
        self, a: Float[Values, "*batch space"], b: Float[Values, "*batch space"]
    ) -> Float[Array, "*batch"]:
        """Return the angle (rad) between two headings."""
        return jnp.abs(wrap(jnp.asarray(a) - jnp.asarray(b)))[..., 0]


def _harmonics(spread: float, smallest: float) -> np.ndarray:
    """Return the Fourier series of the tuning of a cell, as far as it can be seen."""
    concentration = spread**-2
    n_orders = math.ceil(10 * max(1, math.sqrt(concentration))) + 10
    shares = 2 * special.ive(np.arange(n_orders), concentration)
    shares[0] /= 2
    left_out = np.cumsum(shares[::-1])[::-1]
    return shares[left_out > smallest]


def _mean_at(
    activation: Float[Array, "*batch cell"],
    points: Values,
    method: str,
    n_active: int,
) -> Float[Array, "*batch axis"]:
    """Return the mean of the points of the cells that are active."""
    points = jnp.asarray(points, activation.dtype)
    if choice("method", method, DECODERS) == "top_k":
        n_cells = points.shape[0]
        if require_integer(n_active, "n_active") > n_cells:
            raise invalid(
                "n_active", n_active, f"at most the {n_cells} cells of the code"
            )
        return points[lax.top_k(activation, n_active)[1]].mean(axis=-2)
    weights = jnp.maximum(activation, 0)
    total = weights.sum(axis=-1, keepdims=True)
    # Where no cell is active all are alike: nothing is told, and nothing is NaN.
    shares = jnp.where(total > 0, weights, 1) / jnp.where(
        total > 0, total, activation.shape[-1]
    )
    return jnp.matmul(shares, points, precision=lax.Precision.HIGHEST)
