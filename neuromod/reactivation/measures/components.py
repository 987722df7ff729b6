r"""Whether sleep uses the same directions of state space as waking does.

The principal axes $u_i$ of states $h$ (unit) are the eigenvectors of their covariance
$C$, its eigenvalues $\lambda_1 \ge \lambda_2 \ge \dots$ the variances along them. The
shape of each cloud by itself is told by the explained-variance ratios

$$
\lambda_i / \textstyle\sum_j \lambda_j ,
$$

but two clouds may have the same ratios along different axes. So the variance of one is
also measured along the axes of the other: the share within the first $k$ of them is

$$
\frac{\sum_{i \le k} u_i^\top C' u_i}{\operatorname{tr} C'} ,
$$

$C'$ being the covariance of the other cloud about its own mean.
"""

from typing import Any, NamedTuple

import numpy as np

from neuromod.core.dimensions import require_finite, require_integer, require_real
from neuromod.core.errors import ShapeError, invalid


class Components(NamedTuple):
    """The principal axes of a cloud of states.

    Parameters
    ----------
    mean : (unit,)
        Its centre.
    axes : (latent, unit)
        Orthonormal, by falling variance; the largest entry of each is positive.
    explained_variance_ratio : (latent,)
        Share of the variance along each; sums to 1.
    """

    mean: np.ndarray
    axes: np.ndarray
    explained_variance_ratio: np.ndarray


def principal_components(states: Any) -> Components:
    """Return the principal axes of states.

    Parameters
    ----------
    states : (..., unit)
        States of a network, all pooled.

    Raises
    ------
    ShapeError
        If there are fewer than two states.
    InvalidInputError
        If numbers are missing, or the states do not vary.

    Examples
    --------
    >>> found = principal_components([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    >>> found.mean, found.explained_variance_ratio
    (array([2., 0.]), array([1., 0.]))
    """
    rows = require_states(states, "states")
    values, vectors = np.linalg.eigh(_covariance(rows, "states"))
    axes = vectors[:, ::-1].T
    peak = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    variance = np.maximum(values[::-1], 0.0)
    return Components(
        rows.mean(axis=0), axes * np.sign(peak), variance / variance.sum()
    )


def project(states: Any, components: Components, n_components: int) -> np.ndarray:
    r"""Return the coordinates $u_i \cdot (h - \bar h)$ of states on the first axes.

    Parameters
    ----------
    states : (..., unit)
        States of a network.
    components
        Of the awake states, as a rule: their mean is subtracted.
    n_components
        Number of axes.

    Returns
    -------
    (..., latent)
    """
    array = np.asarray(states)
    require_states(array, "states", len(components.mean))
    n_components = _require_number(n_components, components)
    return (array - components.mean) @ components.axes[:n_components].T


def capture(states: Any, components: Components, n_components: int) -> np.ndarray:
    """Return the share of the states' variance within the first k axes, k = 1, 2, ...

    Parameters
    ----------
    states : (..., unit)
        States of a network, all pooled.
    components
        Of other states: awake for quiescent ones, and back.
    n_components
        Number of axes.

    Returns
    -------
    (latent,)
        Rises to at most 1.

    Examples
    --------
    >>> awake = principal_components([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    >>> capture([[0.0, 0.0], [3.0, 1.0], [3.0, -1.0]], awake, 2)
    array([0.75, 1.  ])
    """
    rows = require_states(states, "states", len(components.mean))
    n_components = _require_number(n_components, components)
    covariance = _covariance(rows, "states")
    axes = components.axes[:n_components]
    along = np.einsum("iu,uv,iv->i", axes, covariance, axes, optimize=True)
    return along.cumsum() / np.trace(covariance)


def require_states(
    states: Any, argument: str, n_columns: int | None = None
) -> np.ndarray:
    """Return pooled states (sample, unit) in float64, or raise."""
    array = np.asarray(states)
    require_real(array.dtype, argument)
    wrong = array.ndim < 2 or array.size == 0
    if wrong or (n_columns is not None and array.shape[-1] != n_columns):
        width = "unit" if n_columns is None else str(n_columns)
        expected = f"rows (..., {width}), at least one"
        raise invalid(argument, f"shape {array.shape}", expected, kind=ShapeError)
    require_finite(array, argument)
    return array.reshape(-1, array.shape[-1]).astype(float)


def _covariance(rows: np.ndarray, argument: str) -> np.ndarray:
    if len(rows) < 2:
        raise invalid(argument, "one state", "at least two", kind=ShapeError)
    about = rows - rows.mean(axis=0)
    covariance = about.T @ about / (len(rows) - 1)
    if not np.trace(covariance) > 0:
        raise invalid(argument, "states that are all the same", "states that vary")
    return covariance


def _require_number(n_components: int, components: Components) -> int:
    n_components = require_integer(n_components, "n_components")
    if n_components > len(components.axes):
        raise invalid("n_components", n_components, f"at most {len(components.axes)}")
    return n_components
