r"""The scale on which a map is believed: the logarithm of responses above a floor.

The deviation of single responses grows about as their mean. On the scale

$$
v = \log(\max(y, 0) + c)
$$

it is the same everywhere but near the floor $c$, below which responses are not told
apart: a trial in which nothing moved is no reason to leave a site for good. The floor
is a share of the largest response so far, and moves when that has doubled since the
first one: seldom, and in any unit at the same trials.
"""

from typing import Any

import numpy as np

SHARE = 0.05  # of the largest response


def floor_of(first: Any, largest: Any, xp: Any = np) -> Any:
    """Return the floor.

    Parameters
    ----------
    first
        The first response above zero; 0 if there was none.
    largest
        The largest so far.
    xp
        numpy, or jax.numpy.
    """
    seen = first > 0
    base = xp.where(seen, first, 1.0)
    ratio = xp.where(seen, largest, 1.0) / base
    doublings = xp.floor(xp.log2(xp.maximum(ratio, 1.0)))
    return xp.where(seen, SHARE * base * xp.exp2(doublings), 1.0)


def to_map(response: Any, floor: Any, xp: Any = np) -> Any:
    """Return responses on the scale of the map.

    Examples
    --------
    >>> to_response(to_map(np.array([-1.0, 0.0, 3.0]), 0.1), 0.1).round(6).tolist()
    [0.0, 0.0, 3.0]
    """
    return xp.log(xp.maximum(response, 0.0) + floor)


def to_response(value: Any, floor: Any) -> Any:
    """Return responses whose scale on the map is this."""
    return np.maximum(np.exp(value) - floor, 0.0)
