r"""The least distance that positions asleep have to be moved to lie as awake ones.

$$
W_1(p, q) = \min_{\pi \in \Pi(p, q)} \mathbb{E}_{(x, y) \sim \pi}\, d(x, y)
$$

(metres or radians) over all ways $\pi$ to pair $p$ with $q$. Unlike a divergence it
knows how far apart places are and needs no bins.

In one dimension sorting solves it exactly. Otherwise, and on circles, equal numbers of
points are drawn from both and the best pairing is found exactly (assignment problem),
$d$ being the Euclidean distance, along the shorter way round where angles are meant.
Of $n$ points in the plane, two draws from one density are already about
$\sqrt{\log n / n}$ of its width apart: that much is no difference.
"""

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

from neuromod.core.dimensions import require_integer
from neuromod.reactivation.measures.positions import (
    pooled,
    require_pair,
    subsample,
    wrap,
)


def wasserstein(
    quiescent: Any,
    awake: Any,
    *,
    seed: int,
    periodic: bool = False,
    max_points: int = 1000,
) -> float:
    """Return the Wasserstein distance $W_1$ of positions asleep from those awake.

    Parameters
    ----------
    quiescent, awake : (trial, time, space)
        Positions (m), or angles (rad), all pooled.
    seed
        Of the points that are drawn.

    Other Parameters
    ----------------
    periodic
        Whether positions are angles.
    max_points
        Most points of each that are paired; time grows as its cube. In one dimension
        without a circle all points count.

    Examples
    --------
    >>> awake = np.random.default_rng(0).normal(size=(10, 50, 1))
    >>> round(wasserstein(awake + 0.3, awake, seed=0), 6)
    0.3
    """
    quiescent, awake = require_pair(quiescent, awake)
    max_points = require_integer(max_points, "max_points")
    generator = np.random.default_rng(require_integer(seed, "seed", minimum=0))
    a, b = pooled(quiescent), pooled(awake)
    if a.shape[1] == 1 and not periodic:
        return float(wasserstein_distance(a[:, 0], b[:, 0]))
    size = min(len(a), len(b), max_points)
    a, b = (subsample(points, size, generator) for points in (a, b))
    apart = a[:, None] - b[None]
    distance = np.linalg.norm(wrap(apart) if periodic else apart, axis=-1)
    return float(distance[linear_sum_assignment(distance)].mean())
