"""Running along a track, through a T-maze and around a triangle.

Place cells stand along the way, as densely as the animal runs there.
"""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.reactivation.codes import Code, PlaceCode
from neuromod.reactivation.motion import Motion
from neuromod.reactivation.motion_tour import Tour
from neuromod.reactivation.tasks.task import Task, make_motion


class LinearTrack(Task):
    """Running back and forth on a linear track; positions have one axis.

    Parameters
    ----------
    length
        Of the track (m); its middle is the origin.
    n_steps
        Steps of a trial.
    n_cells, cell_width
        Number and width (m) of place cells.
    seed
        Of their centres.
    **options
        Of the motion: ``speed_mean=0.3`` (m/s), ``time_step=0.05`` (s) ...; see `Tour`.

    Other Parameters
    ----------------
    motion, code
        Ready ones, in the place of those described.

    Examples
    --------
    >>> task = LinearTrack(length=1.0, n_cells=50)
    >>> task.draw(jax.random.key(0), n_trials=5).positions.shape, task.bounds
    ((5, 100, 1), ((-0.5, 0.5),))
    """

    motion: Motion
    code: Code
    n_steps: int = eqx.field(static=True)

    def __init__(
        self,
        length: float = 2.0,
        *,
        n_steps: int = 100,
        n_cells: int = 128,
        cell_width: float = 0.1,
        seed: int = 0,
        motion: Motion | None = None,
        code: Code | None = None,
        **options: Any,
    ) -> None:
        self.n_steps = require_integer(n_steps, "n_steps")
        end = require_positive(length, "length", "m") / 2
        self.motion = _tour(motion, [[-end], [end]], options)
        self.code = code or _along(self.motion, seed, n_cells, cell_width)


class TMaze(Task):
    r"""Alternation in a T-maze: up the stem, into one arm, back, into the other arm.

    ::

        (-arm, stem) ----- (0, stem) ----- (arm, stem)
                               |
                             (0, 0)

    On the stem, only what came before tells which arm is next.

    Parameters
    ----------
    stem, arm
        Lengths of the stem and of each arm (m).
    n_steps, n_cells, cell_width, seed, **options, motion, code
        As `LinearTrack` takes them.

    Examples
    --------
    >>> TMaze(stem=1.0, arm=0.5).bounds
    ((-0.5, 0.5), (0.0, 1.0))
    """

    motion: Motion
    code: Code
    n_steps: int = eqx.field(static=True)

    def __init__(
        self,
        stem: float = 1.0,
        arm: float = 0.5,
        *,
        n_steps: int = 100,
        n_cells: int = 128,
        cell_width: float = 0.1,
        seed: int = 0,
        motion: Motion | None = None,
        code: Code | None = None,
        **options: Any,
    ) -> None:
        self.n_steps = require_integer(n_steps, "n_steps")
        stem, arm = require_positive(stem, "stem", "m"), require_positive(arm, "arm")
        foot, junction = [0.0, 0.0], [0.0, stem]
        corners = [foot, junction, [-arm, stem], junction]
        corners += [foot, junction, [arm, stem], junction]
        self.motion = _tour(motion, corners, options)
        self.code = code or _along(self.motion, seed, n_cells, cell_width)


class Triangle(Task):
    """Running around an equilateral triangle.

    Parameters
    ----------
    side
        Length of a side (m); the middle of the triangle is the origin.
    n_steps, n_cells, cell_width, seed, **options, motion, code
        As `LinearTrack` takes them.

    Examples
    --------
    >>> Triangle(side=1.0).bounds[0]
    (-0.5, 0.5)
    """

    motion: Motion
    code: Code
    n_steps: int = eqx.field(static=True)

    def __init__(
        self,
        side: float = 1.0,
        *,
        n_steps: int = 100,
        n_cells: int = 128,
        cell_width: float = 0.1,
        seed: int = 0,
        motion: Motion | None = None,
        code: Code | None = None,
        **options: Any,
    ) -> None:
        self.n_steps = require_integer(n_steps, "n_steps")
        half = require_positive(side, "side", "m") / 2
        height = np.sqrt(3) * half
        corners = [[-half, -height / 3], [half, -height / 3], [0.0, 2 * height / 3]]
        self.motion = _tour(motion, corners, options)
        self.code = code or _along(self.motion, seed, n_cells, cell_width)


def _tour(motion: Motion | None, corners: Any, options: Any) -> Motion:
    if motion is not None:
        return make_motion(motion, {}, options)
    return make_motion("tour", {"tour": Tour}, {"corners": corners, **options})


def _along(tour: Any, seed: int, n_cells: int, width: float) -> Code:
    key = jax.random.key(require_integer(seed, "seed", minimum=0))
    places = tour.draw_places(key, require_integer(n_cells, "n_cells"))
    return PlaceCode(places, width)
