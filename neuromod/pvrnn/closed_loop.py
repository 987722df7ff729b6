"""Error regression in a loop with a world: predictions act, and change what comes.

There is no command beside the prediction: the world brings about what the network
foresees, as far as it can, and what then comes explains the latents (active inference).
"""

from typing import Any, Protocol

import numpy as np
import xarray as xr

from neuromod.core.dimensions import require_integer
from neuromod.core.progress import progress_bar
from neuromod.pvrnn.error_regression import ErrorRegression
from neuromod.pvrnn.following import Log


class Environment(Protocol):
    """What a closed loop needs of a world; `Arm` is one."""

    channels: list[str]

    def reset(self) -> None:
        """Go back to the beginning."""
        ...

    def observe(self) -> np.ndarray:
        """Return what is sensed now (channel,)."""
        ...

    def act(self, command: Any) -> None:
        """Go one step on, towards a prediction (channel,)."""
        ...


def run_closed_loop(
    regression: ErrorRegression,
    environment: Environment,
    n_steps: int,
    *,
    progress: bool = True,
) -> xr.Dataset:
    """Let a network act on what it predicts, and explain what comes of it.

    Parameters
    ----------
    regression
        What predicts; it forgets what it saw before.
    environment
        The world; it is put back to its beginning.
    n_steps
        Steps of the world.
    progress
        Whether to show a progress bar.

    Returns
    -------
    xarray.Dataset
        As of `neuromod.pvrnn.follow`, of one trial; and the ``context`` (trial, time)
        if the environment has one.

    Examples
    --------
    >>> import jax
    >>> from neuromod.pvrnn import Arm, Objective, hierarchy, tanh_head
    >>> network = hierarchy(jax.random.key(0), [10], [1], [2], [tanh_head(5)])
    >>> regression = ErrorRegression(network, Objective(0.01), seed=0, n_iterations=5)
    >>> run = run_closed_loop(regression, Arm(), 6, progress=False)
    >>> run["observation"].shape, str(run["context"].values[0, 0])
    ((1, 6, 5), 'self')
    """
    n_steps = require_integer(n_steps, "n_steps")
    regression.reset()
    environment.reset()
    log, contexts = Log(regression), []
    with progress_bar(n_steps, "closed loop", "step", shown=progress) as bar:
        for _ in range(n_steps):
            observation = environment.observe()
            contexts.append(getattr(environment, "context", None))
            found = regression.step(observation)
            log.add(observation, found)
            environment.act(found.prediction[0])
            bar.update(1)
    time = np.arange(n_steps, dtype=float)
    whole = log.dataset(time, environment.channels).expand_dims(trial=1)
    if contexts[0] is None:
        return whole
    return whole.assign_coords(context=(("trial", "time"), [contexts]))
