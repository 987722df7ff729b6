"""Finding one's way in a box."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax

from neuromod.core.dimensions import require_integer
from neuromod.reactivation.codes import Code, PlaceCode
from neuromod.reactivation.motion import Motion
from neuromod.reactivation.motion_ou import OrnsteinUhlenbeck
from neuromod.reactivation.motion_walk import RandomWalk
from neuromod.reactivation.tasks.task import Task, make_motion

MOTIONS: Mapping[str, type[Motion]] = {
    "walk": RandomWalk,
    "ornstein_uhlenbeck": OrnsteinUhlenbeck,
}


class SpatialNavigation(Task):
    """Navigation in a box, told by place cells.

    Parameters
    ----------
    motion
        "walk" (the published walk, `RandomWalk`) or "ornstein_uhlenbeck" (smooth, as
        rats move); or a ready motion.
    n_steps
        Steps of a trial.
    n_cells, cell_width
        Number and width (m) of place cells, with centres anywhere in the box.
    seed
        Of the centres.
    **options
        Of the motion: ``box=(2.2, 2.2)`` (m), ``biased=True``, ``anchor=(0.0, 0.0)``
        ...; see `RandomWalk` and `OrnsteinUhlenbeck`.

    Other Parameters
    ----------------
    kind
        Of the place code: "softmax", "gaussian" or "difference".
    code
        A ready code, in the place of one that is drawn.

    Raises
    ------
    InvalidInputError
        If an option is unknown or impossible.

    Examples
    --------
    >>> task = SpatialNavigation(biased=True, n_cells=100, cell_width=0.3, n_steps=60)
    >>> batch = task.draw(jax.random.key(0), n_trials=5)
    >>> batch.code.shape, batch.inputs.shape, batch.targets.shape
    ((5, 100), (5, 60, 2), (5, 60, 100))
    >>> task.stationary_after
    60
    """

    motion: Motion
    code: Code
    n_steps: int = eqx.field(static=True)

    def __init__(
        self,
        motion: Motion | str = "walk",
        *,
        n_steps: int = 100,
        n_cells: int = 512,
        cell_width: float = 0.2,
        kind: str = "softmax",
        seed: int = 0,
        code: Code | None = None,
        **options: Any,
    ) -> None:
        self.n_steps = require_integer(n_steps, "n_steps")
        self.motion = make_motion(motion, MOTIONS, options)
        if code is None:
            key = jax.random.key(require_integer(seed, "seed", minimum=0))
            box = tuple(high - low for low, high in self.motion.bounds)
            code = PlaceCode.random(key, n_cells, box, cell_width, kind=kind)
        self.code = code
