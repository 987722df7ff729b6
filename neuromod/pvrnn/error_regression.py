"""Error regression while data come in: a window of adaptive vectors that moves along.

At every step of the world the newest observation enters a window of the last ones. The
adaptive vectors of the window follow the gradient of its free energy for some
iterations, with all weights held; the network then runs from the state before the
window through the window, and from there on its prior, which is the prediction. As long
as fewer steps have been seen than the window holds, the rest of it is masked, so that
one program serves all steps.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import DivergedError, ShapeError, choice, invalid
from neuromod.pvrnn.layers import Normal
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.objective import Objective
from neuromod.pvrnn.window import Plan, advance, empty

WARM_STARTS = ("prior", "copy", "random", "encoder")
WarmStart = Literal["prior", "copy", "random", "encoder"]


class Regression(NamedTuple):
    """What a step has found; axes of a single trial are left out.

    Parameters
    ----------
    prediction : (time, channel)
        Of the steps to come, from the prior.
    reconstruction : (time, channel)
        Of the window; its last ``n_seen`` steps before it is full come first.
    loss : (iteration,)
        The free energy before every update.
    posterior, prior : means and deviations (time, latent)
        Of the window.
    n_seen
        Steps of the window that were seen.
    """

    prediction: Any
    reconstruction: Any
    loss: Any
    posterior: Normal
    prior: Normal
    n_seen: int


class ErrorRegression:
    """Infers the causes of data as they come, and predicts what comes next.

    Parameters
    ----------
    network
        A trained `PVRNN`.
    objective
        What is descended; its meta-prior need not be that of training.
    seed
        Of the noise.
    window, n_iterations
        Steps that are explained, and updates per step.

    Other Parameters
    ----------------
    learning_rate
        Of Adam.
    n_predicted
        Steps of the prediction.
    n_samples
        Draws of the noise whose mean gradient is followed.
    warm_start
        Where the adaptive vectors of a new step start: at its "prior", as a "copy" of
        those of the step before, at "random" ones (standard normal), or where the
        "encoder" of the network says.
    optimiser_state
        "reset" at every step, or "kept".
    n_draws
        Runs after the iterations, with latents that are drawn from posterior and prior,
        whose mean is the prediction; the published codes draw once. With 0 there is a
        single run with all latents at their means, which is not quite the mean of runs.
    initial
        Adaptive vectors (latent,) of the first step, means and then log deviations;
        zero if omitted.
    n_trials
        Trials that are explained side by side; then everything has the axis trial
        after time.

    Raises
    ------
    InvalidInputError
        If an argument or an observation cannot be used.

    Examples
    --------
    >>> from neuromod.pvrnn import Objective, hierarchy, tanh_head
    >>> network = hierarchy(jax.random.key(0), [10], [1], [2], [tanh_head(2)])
    >>> regression = ErrorRegression(
    ...     network, Objective(0.01), seed=0, window=5, n_iterations=3, n_predicted=4
    ... )
    >>> found = regression.step(np.array([0.5, np.nan]))
    >>> found.prediction.shape, found.n_seen
    ((4, 2), 1)
    """

    def __init__(
        self,
        network: PVRNN,
        objective: Objective,
        *,
        seed: int,
        window: int = 10,
        n_iterations: int = 50,
        learning_rate: float = 0.09,
        n_predicted: int = 1,
        n_samples: int = 1,
        warm_start: WarmStart = "prior",
        optimiser_state: Literal["reset", "kept"] = "reset",
        n_draws: int = 0,
        initial: tuple[Any, Any] | None = None,
        n_trials: int | None = None,
    ) -> None:
        self.network, self.objective = network, objective
        self.window = require_integer(window, "window")
        self.n_trials = n_trials
        self._n = 1 if n_trials is None else require_integer(n_trials, "n_trials")
        self._plan = Plan(
            self.window,
            require_integer(n_iterations, "n_iterations"),
            float(require_positive(learning_rate, "learning_rate")),
            require_integer(n_predicted, "n_predicted"),
            require_integer(n_samples, "n_samples"),
            choice("warm_start", warm_start, WARM_STARTS),
            choice("optimiser_state", optimiser_state, ("reset", "kept")) == "kept",
            require_integer(n_draws, "n_draws", minimum=0),
        )
        if warm_start == "encoder" and network.encoder is None:
            raise invalid(
                "warm_start",
                "'encoder' for a network without one",
                "a network of `with_encoder`",
            )
        self._key = jax.random.key(require_integer(seed, "seed", minimum=0))
        self._initial = self._first(initial)
        self.reset()

    def reset(self) -> None:
        """Forget all observations."""
        self._window = empty(self._plan, self.network, self._n, self._initial)

    def step(self, observation: Any, mask: Any = None) -> Regression:
        """Take in an observation.

        Parameters
        ----------
        observation : (channel,) or (trial, channel)
            What was seen; NaN is missing.
        mask : like the observation
            What counts; all that is no NaN if omitted.

        Raises
        ------
        ShapeError
            If it has another shape.
        InvalidInputError
            If all of the window would be masked.
        DivergedError
            If the free energy stopped being a number; the state is that before.
        """
        values, known = self._checked(observation, mask)
        found, window = advance(
            self._plan,
            self.network,
            self.objective,
            self._window,
            self._key,
            jnp.asarray(values),
            jnp.asarray(known),
        )
        loss = np.asarray(found.loss)
        if not np.isfinite(loss).all():
            value = loss[~np.isfinite(loss)][0]
            raise DivergedError(
                f"pvrnn.ErrorRegression: a free energy of {value} in step "
                f"{int(self._window.n_done)}. Lower the learning rate."
            )
        self._window = window
        n_seen = min(int(window.n_done), self.window)
        told = jax.tree.map(self._of_trial, found._replace(loss=None))
        return Regression(
            told.prediction,
            told.reconstruction,
            loss,
            told.posterior,
            told.prior,
            n_seen,
        )

    def _of_trial(self, array: Any) -> np.ndarray:
        """Return an array without the axis of a single trial."""
        array = np.asarray(array)
        return array[:, 0] if self.n_trials is None else array

    def _first(self, initial: Any) -> tuple[np.ndarray, np.ndarray] | None:
        if initial is None:
            return None
        mean, log_deviation = (np.asarray(part, float) for part in initial)
        shapes = (self.network.n_latents,), (self._n, self.network.n_latents)
        for part in (mean, log_deviation):
            if part.shape not in shapes:
                expected = f"twice {shapes[0]}"
                raise invalid(
                    "initial", f"shape {part.shape}", expected, kind=ShapeError
                )
        return mean, log_deviation

    def _checked(self, observation: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
        values = np.asarray(observation, float)
        shape = (self.network.n_channels,)
        shape = shape if self.n_trials is None else (self._n, *shape)
        if values.shape != shape:
            raise invalid(
                "observation", f"shape {values.shape}", f"{shape}", kind=ShapeError
            )
        known = np.isfinite(values)
        if np.isinf(values).any():
            raise invalid("observation", "an infinite value", "finite ones, or NaN")
        if mask is not None:
            asked = np.asarray(mask, bool)
            if asked.shape != shape:
                got = f"shape {asked.shape}"
                raise invalid("mask", got, f"{shape}", kind=ShapeError)
            known = known & asked
        full = int(self._window.n_done) >= self.window
        if not known.any() and not bool(self._window.observed[full:].any()):
            raise invalid(
                "mask",
                f"nothing to see in the last {self.window} steps",
                "at least one value in the window",
                "Give a longer window, or wait with regression until data come.",
            )
        shape = self._n, -1
        return np.where(known, values, 0).reshape(shape), known.reshape(shape)
