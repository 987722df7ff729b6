r"""A task: to know where one is, from the first place and the steps since.

Of every trial a network is shown the code $p(x_0)$ of the place where it starts, and
then the steps $\Delta x_t$ alone. After each it has to tell the code $p(x_{t+1})$ of
the place that it has come to.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import choice, did_you_mean, invalid
from neuromod.reactivation.codes import Code, Factors
from neuromod.reactivation.motion import Bounds, Motion


class Batch(NamedTuple):
    """Trials of a task.

    Parameters
    ----------
    code : (trial, cell)
        Code of the position at the start.
    inputs : (trial, time, input)
        What is told at each step: the change of position.
    targets : (trial, time, cell)
        Code of the position after each step.
    positions : (trial, time, space)
        The position itself (m, or rad).
    factors : features (trial, time, feature), mixing (feature, cell)
        Whose product the targets are, where the code is one.
    """

    code: Float[Array, "trial cell"]
    inputs: Float[Array, "trial time input"]
    targets: Float[Array, "trial time cell"]
    positions: Float[Array, "trial time space"]
    factors: Factors | None = None


class Task(eqx.Module):
    """A motion, and the code in which it is told.

    A task is a pytree: it may be traced, and is saved with the network that it
    trained.
    """

    code: eqx.AbstractVar[Code]
    motion: eqx.AbstractVar[Motion]
    n_steps: eqx.AbstractVar[int]

    @property
    def time_step(self) -> Any:
        """Duration of a step (s)."""
        return self.motion.time_step

    @property
    def n_inputs(self) -> int:
        """Number of inputs per step."""
        return self.motion.n_inputs

    @property
    def bounds(self) -> Bounds:
        """The lowest and highest position of each axis (m, or rad)."""
        return self.motion.bounds

    @property
    def stationary_after(self) -> int:
        """Number of steps after which positions no longer show how they started."""
        return self.motion.stationary_after

    def draw(
        self,
        key: PRNGKeyArray,
        n_trials: int,
        n_steps: int | None = None,
        *,
        skip: int = 0,
    ) -> Batch:
        """Draw trials.

        Parameters
        ----------
        key
            Random key.
        n_trials
            Number of trials.
        n_steps
            Steps of each; those of the task if omitted.
        skip
            Steps that were taken before the trial begins; after ``stationary_after``
            of them it begins where the animal is in the long run.
        """
        n_trials = require_integer(n_trials, "n_trials")
        n_steps = self.n_steps if n_steps is None else n_steps
        n_steps = require_integer(n_steps, "n_steps")
        skip = require_integer(skip, "skip", minimum=0)
        path = self.motion.draw(key, n_trials, skip + n_steps)
        positions = path.positions[:, skip:]
        start = path.positions[:, skip - 1] if skip else path.start
        return Batch(
            self.code.activation(start),
            path.inputs[:, skip:],
            self.code.activation(positions),
            positions,
            self.code.factors(positions),
        )


def make_motion(
    motion: Motion | str,
    known: Mapping[str, type[Motion]],
    options: Mapping[str, Any],
) -> Motion:
    """Return a motion as it is, or the one of a name with its options.

    Raises
    ------
    InvalidInputError
        If the name or an option is unknown, or options come with a ready motion.
    """
    if isinstance(motion, Motion):
        if options:
            raise invalid(
                next(iter(options)),
                "a value beside a ready motion",
                "nothing",
                f"Give it to {type(motion).__name__}(...).",
            )
        return motion
    cls = known[choice("motion", motion, known)]
    names = [field.name for field in fields(cls)]
    for name in options:
        if name not in names:
            raise invalid(
                name,
                "an unknown argument",
                "one of " + ", ".join(names),
                did_you_mean(name, names),
            )
    return cls(**options)
