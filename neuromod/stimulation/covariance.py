r"""How alike the responses to two points are: sums of latent functions.

A response is a sum of latent functions of the stimulus,

$$
y = b_v + \sum_c g_{vc} f_c(x) + e, \qquad f_c \sim \mathrm{GP}(0, k_c), \quad
e \sim N(0, \sigma_v^2),
$$

where $v$ is the *level* of the trial: what of the whole stimulus it was. A flat model
has one level and one function of all dimensions. Two electrodes that are stimulated
together have a function each and one of both; trials of one electrode alone are levels
of their own, which share its function. Each covariance falls with the distance
$r^2 = \sum_j (x_j - x'_j)^2 / \ell_j^2$ over the dimensions that its function sees:

| family | $k(r) / s^2$ |
|---|---|
| `matern12` | $e^{-r}$ |
| `matern32` | $(1 + \sqrt 3 r)\, e^{-\sqrt 3 r}$ |
| `matern52` | $(1 + \sqrt 5 r + 5 r^2 / 3)\, e^{-\sqrt 5 r}$ |
| `rbf` | $e^{-r^2 / 2}$ |

A function may also change over what is not chosen, such as time or the state of the
brain: its covariance is then multiplied by one over each of these (`Factor`). Over time
$e^{-|t - t'| / \tau}$ (`matern12`) forgets at the rate $1 / \tau$.

(Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, ch. 4.)
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Family = Literal["matern12", "matern32", "matern52", "rbf"]


class Points(NamedTuple):
    """Stimuli, and of which level the response to each is.

    Parameters
    ----------
    at : (point, dimension)
        The stimuli.
    level : (point,)
        Numbers of levels; 0 is the whole stimulus.
    """

    at: Float[Array, "point dimension"]
    level: Int[Array, " point"]


def points(at: Any, level: Any) -> Points:
    """Return stimuli and their levels, of arrays of any kind."""
    return Points(at, level)


class Factor(eqx.Module):
    """How alike two responses are that differ in something.

    Parameters
    ----------
    length_scale : (dimension,)
        Over which they become unlike, for every dimension that counts.
    dimensions
        Numbers of these dimensions.
    family
        "matern12", "matern32", "matern52" or "rbf".
    """

    length_scale: Float[Array, " seen"]
    dimensions: tuple[int, ...] = eqx.field(static=True)
    family: Family = eqx.field(static=True, default="matern12")


class Component(eqx.Module):
    """One latent function.

    Parameters
    ----------
    variance : ()
        Its variance.
    length_scale : (dimension,)
        Over which it changes, for every dimension that it sees.
    dimensions
        Numbers of the dimensions that it sees.
    family
        "matern12", "matern32", "matern52" or "rbf".
    factors
        What it changes over besides.
    """

    variance: Float[Array, ""]
    length_scale: Float[Array, " seen"]
    dimensions: tuple[int, ...] = eqx.field(static=True)
    family: Family = eqx.field(static=True, default="matern52")
    factors: tuple[Factor, ...] = ()


class GaussianProcess(eqx.Module):
    """A sum of latent functions, seen with noise at one or several levels.

    Parameters
    ----------
    components
        The latent functions.
    gain : (level, component)
        How much of each function a level has.
    offset : (level,)
        What a level has without any.
    noise : (level,)
        Variance of the noise of one trial.
    """

    components: tuple[Component, ...]
    gain: Float[Array, "level component"]
    offset: Float[Array, " level"]
    noise: Float[Array, " level"]


def covariance(
    process: GaussianProcess, one: Points, other: Points
) -> Float[Array, "point other"]:
    """Return the covariance of what is seen at two sets of points, without noise."""
    total = jnp.zeros((len(one.at), len(other.at)), one.at.dtype)
    for number, component in enumerate(process.components):
        gain = process.gain[:, number]
        shared = gain[one.level][:, None] * gain[other.level][None, :]
        total = total + shared * of_component(component, one.at, other.at)
    return total


def variance(process: GaussianProcess, points: Points) -> Float[Array, " point"]:
    """Return the variance of what is seen at points, without noise."""
    variances = jnp.stack([c.variance for c in process.components])
    return jnp.square(process.gain)[points.level] @ variances


def of_component(
    component: Component,
    one: Float[Array, "point dimension"],
    other: Float[Array, "other dimension"],
) -> Float[Array, "point other"]:
    """Return the covariance of a latent function at two sets of points."""
    likeness = component.variance * _alike(component, one, other)
    for factor in component.factors:
        likeness = likeness * _alike(factor, one, other)
    return likeness


def _alike(part: Component | Factor, one: Array, other: Array) -> Array:
    square = jnp.zeros((len(one), len(other)), one.dtype)
    for length, j in zip(part.length_scale, part.dimensions, strict=True):
        apart = one[:, j][:, None] - other[:, j][None, :]
        square = square + jnp.square(apart / length)
    return FAMILIES[part.family](square)


def _distance(square: Array) -> Array:
    """Return the root, whose slope at zero is zero and not infinite."""
    apart = square > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)


def _matern12(square: Array) -> Array:
    return jnp.exp(-_distance(square))


def _matern32(square: Array) -> Array:
    r = np.sqrt(3.0) * _distance(square)
    return (1 + r) * jnp.exp(-r)


def _matern52(square: Array) -> Array:
    r = np.sqrt(5.0) * _distance(square)
    return (1 + r + jnp.square(r) / 3) * jnp.exp(-r)


def _rbf(square: Array) -> Array:
    return jnp.exp(-square / 2)


FAMILIES: dict[str, Callable[[Array], Array]] = {
    "matern12": _matern12,
    "matern32": _matern32,
    "matern52": _matern52,
    "rbf": _rbf,
}
