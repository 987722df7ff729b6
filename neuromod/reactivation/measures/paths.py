r"""How decoded positions move: steps, spread, coverage, displacement, velocity.

Positions are $x_t$ (trial, time, space), in metres or, with ``periodic=True``, angles
in radians wrapped to $[-\pi, \pi)$. Time is counted in steps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import ShapeError, invalid
from neuromod.reactivation.measures.density import histogram, histogram_kl
from neuromod.reactivation.measures.positions import (
    pooled,
    require_pair,
    require_positions,
    steps_of,
    unwrapped,
    wrap,
)


def step_length(positions: Any, *, periodic: bool = False) -> np.ndarray:
    r"""Return the mean step of each trajectory, $\langle\|x_{t+1}-x_t\|\rangle_t$.

    Parameters
    ----------
    positions : (trial, time, space)
        Positions (m), or angles (rad).
    periodic
        Whether they are angles: a step is the shorter way round.

    Returns
    -------
    (trial,)
        Metres or radians per step.

    Examples
    --------
    >>> step_length(np.array([[[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]]))
    array([2.5])
    """
    array = require_positions(positions, n_steps=2)
    return np.linalg.norm(steps_of(array, periodic), axis=-1).mean(axis=1)


def within_trajectory_variance(
    positions: Any, *, shift: int = 0, periodic: bool = False
) -> np.ndarray:
    r"""Return the trace of each trajectory's covariance over time.

    $$
    \sum_d \frac{1}{T - s - 1} \sum_{t \ge s} (x_{td} - \bar x_d)^2
    $$

    Parameters
    ----------
    positions : (trial, time, space)
        Positions (m), or angles (rad), which are unwrapped.
    shift
        Number $s$ of first steps that are dropped.
    periodic
        Whether positions are angles.

    Returns
    -------
    (trial,)
        Square metres or square radians.

    Examples
    --------
    >>> within_trajectory_variance(np.array([[[9.0], [0.0], [2.0]]]), shift=1)
    array([2.])
    """
    shift = require_integer(shift, "shift", minimum=0)
    array = require_positions(positions, n_steps=shift + 2)[:, shift:]
    return unwrapped(array, periodic).var(axis=1, ddof=1).sum(axis=-1)


def coverage(positions: Any, bounds: Any, *, n_bins: int = 11) -> float:
    """Return the share of the arena's bins that any trajectory visits.

    Parameters
    ----------
    positions : (trial, time, space)
        Positions (m), or wrapped angles (rad), all pooled.
    bounds : (space, 2)
        Lowest and highest value of each coordinate; of angles `CIRCLE`.
    n_bins
        Number of bins along each.

    Examples
    --------
    >>> coverage(np.array([[[0.1], [0.2], [0.9]]]), [[0, 1]], n_bins=4)
    0.5
    """
    return float((histogram(positions, bounds, n_bins=n_bins) > 0).mean())


def displacement(
    positions: Any, lags: Sequence[int] | np.ndarray, *, periodic: bool = False
) -> np.ndarray:
    r"""Return mean squared displacements $\langle\|x_{t+\Delta}-x_t\|^2\rangle_t$.

    Parameters
    ----------
    positions : (trial, time, space)
        Positions (m), or angles (rad), which are unwrapped.
    lags : (lag,)
        The delays $\Delta$ in steps, each shorter than a trajectory.
    periodic
        Whether positions are angles.

    Returns
    -------
    (lag,)
        Square metres or radians, the mean over trajectories and where they begin.

    Examples
    --------
    >>> displacement(np.array([[[0.0], [1.0], [2.0], [3.0]]]), [1, 2])
    array([1., 4.])
    """
    array = require_positions(positions, n_steps=2)
    lags = _require_lags(lags, array.shape[1])
    path = unwrapped(array, periodic)
    return np.array([(_change(path, lag) ** 2).sum(axis=-1).mean() for lag in lags])


def displacement_slope(
    displacements: Any,
    lags: Sequence[int] | np.ndarray,
    *,
    between: tuple[float, float] | None = None,
) -> float:
    r"""Return the exponent $\alpha$ of $\mathrm{MSD}(\Delta) \propto \Delta^\alpha$.

    The slope of $\log \mathrm{MSD}$ on $\log\Delta$ by least squares: 1 for diffusion,
    2 for straight motion, less than 1 where walls or an attractor hold the path back.

    Parameters
    ----------
    displacements : (lag,)
        Mean squared displacements.
    lags : (lag,)
        Their delays in steps.
    between
        First and last delay that count; None for all.

    Returns
    -------
    float
        NaN for a path that does not move at one of these delays.

    Examples
    --------
    >>> displacement_slope([2.0, 8.0, 32.0], [1, 2, 4])
    2.0
    """
    values, delays = np.asarray(displacements, float), np.asarray(lags, float)
    if values.ndim != 1 or values.shape != delays.shape:
        raise invalid(
            "displacements",
            f"shape {values.shape}",
            f"one for each of {delays.size} lags",
            kind=ShapeError,
        )
    if not (values >= 0).all() or not (delays > 0).all():
        raise invalid("displacements", "negative or missing numbers", "numbers >= 0")
    first, last = between or (delays.min(), delays.max())
    kept = (delays >= first) & (delays <= last)
    if kept.sum() < 2:
        raise invalid("between", f"({first}, {last})", "a range of at least two lags")
    if not values[kept].all():
        return float("nan")
    return float(np.polyfit(np.log(delays[kept]), np.log(values[kept]), 1)[0])


class Velocities(NamedTuple):
    r"""Steps $v_t = x_{t+1} - x_t$ of all trajectories, summed up.

    Parameters
    ----------
    mean, sd : (space,)
        Of each coordinate (m or rad per step).
    autocorrelation
        $\langle (v_t - \bar v)\cdot(v_{t+1} - \bar v)\rangle /
        \langle \|v_t - \bar v\|^2 \rangle$; NaN if every step is the same.
    reversals
        Share of turns with $v_t \cdot v_{t+1} < 0$, of all between two steps that
        move; NaN if none does.
    """

    mean: np.ndarray
    sd: np.ndarray
    autocorrelation: float
    reversals: float


def velocity_statistics(positions: Any, *, periodic: bool = False) -> Velocities:
    """Return mean, spread, memory and reversals of the steps.

    Parameters
    ----------
    positions : (trial, time, space)
        Positions (m), or angles (rad).
    periodic
        Whether they are angles: a step is the shorter way round.

    Examples
    --------
    >>> found = velocity_statistics(np.array([[[0.0], [1.0], [0.0], [1.0]]]))
    >>> found.reversals, found.mean.round(2)
    (1.0, array([0.33]))
    """
    array = require_positions(positions, n_steps=3)
    velocity = steps_of(array, periodic)
    mean = velocity.mean(axis=(0, 1))
    about = velocity - mean
    turns = (velocity[:, 1:] * velocity[:, :-1]).sum(axis=-1)
    moves = (velocity != 0).any(axis=-1)
    both = moves[:, 1:] & moves[:, :-1]
    power = (about**2).sum(axis=-1).mean()
    memory = (about[:, 1:] * about[:, :-1]).sum(axis=-1).mean()
    varies = power > np.finfo(float).eps ** 2 * np.square(array).max()
    return Velocities(
        mean,
        velocity.std(axis=(0, 1)),
        float(memory / power) if varies else float("nan"),
        float((turns[both] < 0).mean()) if both.any() else float("nan"),
    )


def displacement_divergence(
    quiescent: Any,
    awake: Any,
    lags: Sequence[int] | np.ndarray,
    *,
    n_bins: int = 20,
    epsilon: float = 1e-4,
    periodic: bool = False,
) -> np.ndarray:
    r"""Return how unlike awake motion quiescent motion is at each delay.

    The lengths $\|x_{t+\Delta} - x_t\|$ asleep and awake are binned from 0 to the
    longest, and

    $$
    D(\Delta) = \frac{\mathrm{KL}(\text{quiescent} \,\|\, \text{awake})}
    {\mathrm{KL}(\text{frozen} \,\|\, \text{awake})} ,
    $$

    a frozen path having all its mass at length 0: 0 where sleep moves as the animal
    did, 1 where it might as well stand still (after Levenstein et al. 2024).

    Parameters
    ----------
    quiescent, awake : (trial, time, space)
        Positions (m), or angles (rad), which are unwrapped.
    lags : (lag,)
        The delays in steps.

    Other Parameters
    ----------------
    n_bins
        Number of bins of a length.
    epsilon
        What is added to the share of each bin.
    periodic
        Whether positions are angles.

    Returns
    -------
    (lag,)

    Raises
    ------
    InvalidInputError
        If the awake path itself is frozen at a delay.
    """
    quiescent, awake = require_pair(quiescent, awake, n_steps=2)
    n_bins = require_integer(n_bins, "n_bins", minimum=2)
    lags = _require_lags(lags, min(quiescent.shape[1], awake.shape[1]))
    paths = [unwrapped(path, periodic) for path in (quiescent, awake)]
    frozen = np.eye(n_bins)[0]
    found = []
    for lag in lags:
        lengths = [np.linalg.norm(_change(path, lag), axis=-1) for path in paths]
        longest = max(length.max() for length in lengths)
        if not lengths[1].any():
            raise invalid("awake", f"a path frozen over {lag} steps", "one that moves")
        shares = [_shares(length, n_bins, longest) for length in lengths]
        still = histogram_kl(frozen, shares[1], epsilon=epsilon)
        found.append(histogram_kl(*shares, epsilon=epsilon) / still)
    return np.array(found)


def reach_time(
    positions: Any, target: Any, radius: float, *, periodic: bool = False
) -> np.ndarray:
    r"""Return the first step with $\|x_t - \text{target}\| \le \text{radius}$.

    Parameters
    ----------
    positions : (trial, time, space)
        Positions (m), or angles (rad).
    target : (space,)
        Where to.
    radius
        How near (m or rad) is there.
    periodic
        Whether positions are angles.

    Returns
    -------
    (trial,)
        Steps; infinity for a trajectory that never gets there.

    Examples
    --------
    >>> reach_time(np.array([[[0.0], [1.0], [2.0]], [[0.0], [0.0], [0.0]]]), [2.0], 0.5)
    array([ 2., inf])
    """
    array = require_positions(positions)
    target = np.asarray(target, dtype=float)
    if target.shape != array.shape[-1:] or not np.isfinite(target).all():
        raise invalid(
            "target",
            str(target.tolist()),
            f"{array.shape[-1]} finite coordinates",
            kind=ShapeError,
        )
    radius = require_positive(radius, "radius")
    away = array - target
    near = np.linalg.norm(wrap(away) if periodic else away, axis=-1) <= radius
    return np.where(near.any(axis=1), near.argmax(axis=1), np.inf)


def _change(path: np.ndarray, lag: int) -> np.ndarray:
    return path[:, lag:] - path[:, :-lag]


def _shares(lengths: np.ndarray, n_bins: int, longest: float) -> np.ndarray:
    counts, _ = np.histogram(pooled(lengths[..., None]), n_bins, (0, longest))
    return counts / counts.sum()


def _require_lags(lags: Any, n_steps: int) -> np.ndarray:
    array = np.asarray(lags)
    whole = array.ndim == 1 and array.size and array.dtype.kind in "iu"
    if not whole or array.min() < 1 or array.max() >= n_steps:
        raise invalid(
            "lags",
            f"{np.asarray(lags).tolist()}",
            f"whole numbers of steps from 1 to {n_steps - 1}",
            "Delays are shorter than the trajectories.",
        )
    return array
