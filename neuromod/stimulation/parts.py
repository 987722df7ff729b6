"""Candidates that are made of parts, and how a search of them is driven.

A pair of electrodes has two parts, each of which could be stimulated alone. The
*sites* of a part are the different values that its coordinates take among the
candidates; any subset of their product can be searched.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from neuromod.core.errors import ShapeError, invalid


class Parts(eqx.Module):
    """Candidates, and the sites of their parts.

    Parameters
    ----------
    at : (candidate, dimension)
        Where candidates lie.
    sites : tuple of (site, seen)
        Where the sites of each part lie, in its own coordinates.
    site_of : (part, candidate)
        Numbers of the sites that candidates are made of.
    dimensions
        Numbers of the coordinates of each part.
    """

    at: Float[Array, "candidate dimension"]
    sites: tuple[Float[Array, "_ _"], ...]
    site_of: Int[Array, "part candidate"]
    dimensions: tuple[tuple[int, ...], ...] = eqx.field(static=True)


class Observed(NamedTuple):
    """What was seen of a part alone.

    Parameters
    ----------
    site : (trial,)
        Numbers of its sites.
    response : (trial,)
        What came of them.
    """

    site: Int[Array, " trial"]
    response: Float[Array, " trial"]


class Belief(NamedTuple):
    """What a search knows.

    Parameters
    ----------
    mean, deviation : (candidate,)
        Of the response to each candidate, in units of the method.
    parts : tuple of (site,)
        Means of each part, but for scale and offset; none, if it models none.
    """

    mean: Float[Array, " candidate"]
    deviation: Float[Array, " candidate"]
    parts: tuple[Float[Array, " _"], ...] = ()


class Method(NamedTuple):
    """How a search goes, one trial after the other.

    Parameters
    ----------
    begin
        From what was seen of each part alone, and the number of trials to come, to a
        state.
    choose
        From a key, the state, and what is allowed (candidate,) to the number of a
        candidate.
    learn
        From the state, a candidate and its response to the next state.
    believe
        From the state to what is known.
    """

    begin: Callable[[tuple[Observed, ...], int], Any]
    choose: Callable[[Array, Any, Array], Array]
    learn: Callable[[Any, Array, Array], Any]
    believe: Callable[[Any], Belief]


def parts_of(at: Any, dimensions: tuple[tuple[int, ...], ...]) -> Parts:
    """Return candidates and the sites of their parts.

    Parameters
    ----------
    at : (candidate, dimension)
        Where candidates lie.
    dimensions
        Numbers of the coordinates of each part; each of one part and one only.

    Examples
    --------
    >>> pairs = [[0.0, 5.0], [0.0, 6.0], [1.0, 6.0]]
    >>> parts = parts_of(pairs, ((0,), (1,)))
    >>> [site.tolist() for site in parts.sites], parts.site_of.tolist()
    ([[[0.0], [1.0]], [[5.0], [6.0]]], [[0, 0, 1], [0, 1, 1]])
    """
    rows: Any = np.asarray(at, float)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        expected = "finite coordinates (candidate, dimension)"
        raise invalid("at", f"shape {rows.shape}", expected, kind=ShapeError)
    if sorted(j for seen in dimensions for j in seen) != list(range(rows.shape[1])):
        expected = f"each of the {rows.shape[1]} coordinates in one part"
        raise invalid("dimensions", dimensions, expected)
    found = [
        np.unique(rows[:, list(seen)], axis=0, return_inverse=True)
        for seen in dimensions
    ]
    sites: Any = tuple(site for site, _ in found)
    site_of: Any = np.stack([which.reshape(-1) for _, which in found])
    return Parts(rows, sites, site_of, tuple(dimensions))


def arrays(parts: Parts) -> Parts:
    """Return the same on the device, as exact as the context allows."""
    return jax.tree.map(jnp.asarray, parts)
