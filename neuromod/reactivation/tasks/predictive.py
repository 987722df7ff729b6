"""Predicting what comes next, from glimpses of what is there.

A predictive network is not told where it starts and left alone: it sees its place, as
the code of the position, at one of ``n_masked + 1`` steps and nothing (zeros) at the
others, and it predicts the codes of the next ``n_rollout`` positions at once. Networks
that are trained to predict several steps ahead form maps that replay (Levenstein,
Efremov, Henha Eyono, Peyrache & Richards 2024, bioRxiv 2024.04.28.591528).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import invalid
from neuromod.reactivation.codes import Code
from neuromod.reactivation.motion import Motion, Values
from neuromod.reactivation.tasks.task import Batch, Task


class Predictive(Task):
    """Another task, its inputs glimpses of the place, its targets what comes next.

    Of trials of the task with the positions x(0), x(1) ... step t shows

    - the change of position, x(t + 1) - x(t), and beside it the code of x(t) if t is
      a multiple of ``n_masked + 1``, else zeros;
    - as the target the codes of x(t + 1) ... x(t + n_rollout), one after another.

    Parameters
    ----------
    task
        Any other task.
    n_masked
        Steps without sight between two glimpses.
    n_rollout
        How many positions are predicted at once.

    Examples
    --------
    >>> import jax
    >>> from neuromod.reactivation.tasks.spatial import SpatialNavigation
    >>> task = Predictive(SpatialNavigation(n_cells=50), n_masked=4, n_rollout=3)
    >>> batch = task.draw(jax.random.key(0), n_trials=5, n_steps=20)
    >>> batch.inputs.shape, batch.targets.shape
    ((5, 20, 52), (5, 20, 150))
    """

    task: Task
    n_masked: int = eqx.field(default=0, static=True)
    n_rollout: int = eqx.field(default=1, static=True)

    def __check_init__(self) -> None:
        if not isinstance(self.task, Task) or isinstance(self.task, Predictive):
            raise invalid("task", type(self.task).__name__, "a task that is not one")
        require_integer(self.n_masked, "n_masked", minimum=0)
        require_integer(self.n_rollout, "n_rollout")

    @property
    def motion(self) -> Motion:
        """The motion of the task."""
        return self.task.motion

    @property
    def n_steps(self) -> int:
        """Steps of a trial."""
        return self.task.n_steps

    @property
    def code(self) -> Code:
        """The code of what is predicted."""
        return RolloutCode(self.task.code, self.n_rollout)

    @property
    def n_inputs(self) -> int:
        """Number of inputs per step: the motion's, and one for each cell."""
        return self.task.n_inputs + self.task.code.n_cells

    def draw(
        self,
        key: PRNGKeyArray,
        n_trials: int,
        n_steps: int | None = None,
        *,
        skip: int = 0,
    ) -> Batch:
        """Draw trials; see `Task.draw`."""
        n_steps = self.n_steps if n_steps is None else n_steps
        n_steps = require_integer(n_steps, "n_steps")
        n_ahead = n_steps + self.n_rollout - 1
        batch = self.task.draw(key, n_trials, n_ahead, skip=skip)
        seen = jnp.concatenate(
            [batch.code[:, None], batch.targets[:, : n_steps - 1]], 1
        )
        shown = jnp.arange(n_steps) % (self.n_masked + 1) == 0
        glimpses = jnp.where(shown[None, :, None], seen, 0)
        ahead = [batch.targets[:, j : j + n_steps] for j in range(self.n_rollout)]
        return Batch(
            jnp.tile(batch.code, (1, self.n_rollout)),
            jnp.concatenate([batch.inputs[:, :n_steps], glimpses], axis=-1),
            jnp.concatenate(ahead, axis=-1),
            batch.positions[:, :n_steps],
        )


class RolloutCode(Code):
    """The code of several positions in a row, one block of cells for each.

    A single position is told as that of an animal that stays there: the same in all
    blocks. What is read is the first block, the next position.

    Parameters
    ----------
    code
        The code of one position.
    n_blocks
        Number of positions.
    """

    code: Code
    n_blocks: int = eqx.field(static=True)

    @property
    def periodic(self) -> bool:
        """Whether positions are angles."""
        return self.code.periodic

    @property
    def n_cells(self) -> int:
        """Number of cells in all blocks."""
        return self.n_blocks * self.code.n_cells

    def activation(
        self, position: Float[Values, "*batch space"]
    ) -> Float[Array, "*batch cell"]:
        """Return the activity of all cells at positions."""
        told = self.code.activation(position)
        return jnp.concatenate([told] * self.n_blocks, axis=-1)

    def decode(
        self,
        activation: Float[Values, "*batch cell"],
        method: str = "top_k",
        n_active: int = 3,
    ) -> Float[Array, "*batch space"]:
        """Return the next positions that activations tell; see `Code.decode`."""
        return self.code.decode(activation[..., : self.code.n_cells], method, n_active)

    def distance(
        self, a: Float[Values, "*batch space"], b: Float[Values, "*batch space"]
    ) -> Float[Array, "*batch"]:
        """Return how far two positions are from each other."""
        return self.code.distance(a, b)
