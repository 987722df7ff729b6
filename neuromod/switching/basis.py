"""Basis functions over past bins: how a spike's influence fades with time.

Each is an array of shape (basis, lag) whose first column is one bin back. Every
basis function sums to one, so that a weight is the total effect of one spike.
"""

import numpy as np
from jaxtyping import Float
from scipy.interpolate import BSpline

from neuromod.core import dimensions
from neuromod.core.errors import ShapeError, choice, invalid

# Of a regressor: single precision holds the sum of its squares over a recording.
LARGEST = 1e12


def exponential_basis(
    n_lags: int = 5, time_constant: float = 1.0
) -> Float[np.ndarray, "basis lag"]:
    """Return one exponential decay.

    Parameters
    ----------
    n_lags
        Number of past bins.
    time_constant
        Number of bins after which the influence has fallen to 1/e.

    Returns
    -------
    (basis, lag)
        A single basis function that sums to one.

    Raises
    ------
    InvalidInputError
        If a number is not positive.

    Examples
    --------
    >>> exponential_basis(3).round(3)
    array([[0.665, 0.245, 0.09 ]])
    """
    n_lags = dimensions.require_integer(n_lags, "n_lags")
    decay = dimensions.require_positive(time_constant, "time_constant", "bins")
    influence = np.exp(-np.arange(n_lags) / decay)
    return influence[None] / influence.sum()


def raised_cosine_basis(
    n_basis: int = 3, n_lags: int = 10
) -> Float[np.ndarray, "basis lag"]:
    """Return cosine bumps that widen with the lag (Pillow et al., 2008).

    Parameters
    ----------
    n_basis
        Number of bumps.
    n_lags
        Number of past bins; at least ``n_basis``.

    Returns
    -------
    (basis, lag)
        Bumps on a logarithmic lag axis; each sums to one.

    Raises
    ------
    InvalidInputError
        If there are fewer lags than basis functions.

    Examples
    --------
    >>> raised_cosine_basis(2, 6).round(2).shape
    (2, 6)
    """
    n_basis = dimensions.require_integer(n_basis, "n_basis")
    n_lags = dimensions.require_integer(n_lags, "n_lags", minimum=n_basis)
    warped = np.log1p(np.arange(n_lags))
    centres = np.linspace(0, warped[-1], n_basis)
    width = max(centres[1] - centres[0], 1e-9) if n_basis > 1 else 1e9
    phase = np.clip((warped - centres[:, None]) * np.pi / (2 * width), -np.pi, np.pi)
    bumps = (1 + np.cos(phase)) / 2
    return bumps / bumps.sum(axis=1, keepdims=True)


def b_spline_basis(
    n_basis: int = 4, n_lags: int = 10, degree: int = 3
) -> Float[np.ndarray, "basis lag"]:
    """Return B-splines on evenly spaced knots.

    Parameters
    ----------
    n_basis
        Number of splines; more than ``degree``.
    n_lags
        Number of past bins; at least ``n_basis``.
    degree
        Degree of the polynomial pieces.

    Returns
    -------
    (basis, lag)
        Overlapping bumps; each sums to one.

    Raises
    ------
    InvalidInputError
        If there are fewer lags than basis functions, or too few of those.

    Examples
    --------
    >>> b_spline_basis(4, 8).shape
    (4, 8)
    """
    degree = dimensions.require_integer(degree, "degree", minimum=0)
    n_basis = dimensions.require_integer(n_basis, "n_basis", minimum=degree + 1)
    n_lags = dimensions.require_integer(n_lags, "n_lags", minimum=n_basis)
    inner = np.linspace(0, 1, n_basis - degree + 1)
    knots = np.r_[np.zeros(degree), inner, np.ones(degree)]
    middle = (np.arange(n_lags) + 0.5) / n_lags
    bumps = BSpline.design_matrix(middle, knots, degree).toarray().T
    return bumps / bumps.sum(axis=1, keepdims=True)


def lag_basis(n_lags: int = 5) -> Float[np.ndarray, "basis lag"]:
    """Return one basis function for every past bin: a free filter.

    Parameters
    ----------
    n_lags
        Number of past bins.

    Examples
    --------
    >>> lag_basis(2)
    array([[1., 0.],
           [0., 1.]])
    """
    return np.eye(dimensions.require_integer(n_lags, "n_lags"))


BASES = {
    "exponential": exponential_basis,
    "raised_cosine": raised_cosine_basis,
    "b_spline": b_spline_basis,
    "lags": lag_basis,
}


def resolve(basis: object, argument: str = "basis") -> Float[np.ndarray, "basis lag"]:
    """Turn what the user passed as ``basis`` into an array, or raise."""
    if basis is None:
        return np.zeros((0, 0))
    if isinstance(basis, str):
        return BASES[choice(argument, basis, BASES)]()
    array = _as_array(basis, argument)
    if array.ndim != 2 or 0 in array.shape:
        raise invalid(
            argument,
            f"shape {array.shape}",
            "shape (basis, lag), the first lag one bin back",
            "A single filter of K lags has shape (1, K): pass basis[None].",
            ShapeError,
        )
    dimensions.require_finite(array, argument)
    dimensions.require_scale(array.T, argument, LARGEST)
    return array.astype(float)


def _as_array(basis: object, argument: str) -> np.ndarray:
    try:
        array = np.asarray(basis)
    except ValueError as error:
        raise invalid(
            argument,
            "rows of unequal length",
            "shape (basis, lag)",
            "Fill the shorter ones up with zeros.",
            ShapeError,
        ) from error
    dimensions.require_real(array.dtype, argument)
    return array
