"""Knowing where one faces."""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx

from neuromod.core.dimensions import require_integer
from neuromod.reactivation.codes import Code, HeadDirectionCode
from neuromod.reactivation.motion import Motion
from neuromod.reactivation.motion_walk import HeadDirectionWalk
from neuromod.reactivation.tasks.task import Task, make_motion

MOTIONS: Mapping[str, type[Motion]] = {"walk": HeadDirectionWalk}


class HeadDirection(Task):
    """Turning on the spot, told by head-direction cells.

    Parameters
    ----------
    motion
        "walk", or a ready `HeadDirectionWalk`.
    n_steps
        Steps of a trial.
    n_cells, spread
        Number and width (rad) of head-direction cells, evenly around the circle.
    **options
        Of the motion: ``biased=True`` ...; see `HeadDirectionWalk`.

    Other Parameters
    ----------------
    duplicated_end
        Whether a second cell stands at pi, as in the published code.
    code
        A ready code, in the place of an even one.

    Raises
    ------
    InvalidInputError
        If an option is unknown or impossible.

    Examples
    --------
    >>> import jax
    >>> task = HeadDirection(n_cells=64, n_steps=50)
    >>> task.draw(jax.random.key(0), n_trials=5).targets.shape
    (5, 50, 64)
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
        spread: float = math.pi / 6,
        duplicated_end: bool = False,
        code: Code | None = None,
        **options: Any,
    ) -> None:
        self.n_steps = require_integer(n_steps, "n_steps")
        self.motion = make_motion(motion, MOTIONS, options)
        if code is None:
            code = HeadDirectionCode.regular(n_cells, spread, duplicated_end)
        self.code = code
