"""Error regression while data come in: a window of adaptive vectors that moves along.

At every step of the world the newest observation enters a window of the last ones. The
adaptive vectors of the window follow the gradient of its free energy for some
iterations, with all weights held; the network then runs from the state before the
window through the window, and from there on its prior, which is the prediction. As long
as fewer steps have been seen than the window holds, the rest of it is masked, so that
one program serves all steps.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import DivergedError, ShapeError, choice, invalid
from neuromod.kernels.normal import standard_normal
from neuromod.pvrnn import stepwise
from neuromod.pvrnn.energy import encode
from neuromod.pvrnn.inference import outputs
from neuromod.pvrnn.latents import Adaptive, scaled, start
from neuromod.pvrnn.layers import Normal
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.objective import Objective
from neuromod.pvrnn.regression import regress

WARM_STARTS = ("prior", "copy", "random")


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
    posterior : means and deviations (time, latent)
        Of the window.
    n_seen
        Steps of the window that were seen.
    """

    prediction: Any
    reconstruction: Any
    loss: Any
    posterior: Normal
    n_seen: int


class _Window(NamedTuple):
    """All that the next step depends on."""

    n_done: Array
    potentials: tuple[Any, ...]  # before the window
    after_first: tuple[Any, ...]  # after its first step
    upcoming: tuple[Array, Array]  # adaptive vectors at the prior of the next step
    adaptive: Adaptive
    memory: Any
    values: Array
    observed: Array


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
        those of the step before, or at "random" ones (standard normal).
    optimiser_state
        "reset" at every step, or "kept".
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
        warm_start: Literal["prior", "copy", "random"] = "prior",
        optimiser_state: Literal["reset", "kept"] = "reset",
        initial: tuple[Any, Any] | None = None,
        n_trials: int | None = None,
    ) -> None:
        self.network, self.objective = network, objective
        self.window = require_integer(window, "window")
        self.n_trials = n_trials
        self._n = 1 if n_trials is None else require_integer(n_trials, "n_trials")
        self._plan = _Plan(
            self.window,
            require_integer(n_iterations, "n_iterations"),
            float(require_positive(learning_rate, "learning_rate")),
            require_integer(n_predicted, "n_predicted"),
            require_integer(n_samples, "n_samples"),
            choice("warm_start", warm_start, WARM_STARTS),
            choice("optimiser_state", optimiser_state, ("reset", "kept")) == "kept",
        )
        self._key = jax.random.key(require_integer(seed, "seed", minimum=0))
        self._initial = initial
        self.reset()

    def reset(self) -> None:
        """Forget all observations."""
        network, n = self.network, self._n
        shape = self.window, n, network.n_latents
        zeros = jnp.zeros(shape)
        first = (zeros[0], zeros[0])
        if self._initial is not None:
            first = tuple(
                jnp.broadcast_to(jnp.asarray(a, zeros.dtype), zeros[0].shape)
                for a in self._initial
            )
        potentials = start(network, n)
        adaptive = Adaptive(zeros, zeros)
        known = jnp.zeros((self.window, n, network.n_channels))
        self._state = _Window(
            jnp.int32(0),
            potentials,
            potentials,
            first,
            adaptive,
            self._plan.optimiser.init(adaptive),
            known,
            known.astype(bool),
        )

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
        given = self.network, self.objective, self._state, self._key
        found, state = _advance(self._plan, *given, values, known)
        loss = np.asarray(found.loss)
        if not np.isfinite(loss).all():
            value = loss[~np.isfinite(loss)][0]
            raise DivergedError(
                f"pvrnn.ErrorRegression: a free energy of {value} in step "
                f"{int(self._state.n_done)}. Lower the learning rate."
            )
        self._state = state
        n_seen = min(int(state.n_done), self.window)
        prediction, reconstruction, posterior = (
            found.prediction,
            found.reconstruction,
            found.posterior,
        )
        if self.n_trials is None:
            prediction, reconstruction = prediction[:, 0], reconstruction[:, 0]
            posterior = Normal(posterior.mean[:, 0], posterior.deviation[:, 0])
        return Regression(
            np.asarray(prediction),
            np.asarray(reconstruction),
            loss,
            Normal(*map(np.asarray, posterior)),
            n_seen,
        )

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
        if not known.any() and not bool(self._state.observed[1:].any()):
            raise invalid(
                "mask",
                f"nothing to see in the last {self.window} steps",
                "at least one value in the window",
                "Give a longer window, or wait with regression until data come.",
            )
        shape = self._n, -1
        return np.where(known, values, 0).reshape(shape), known.reshape(shape)


class _Plan(NamedTuple):
    window: int
    n_iterations: int
    learning_rate: float
    n_predicted: int
    n_samples: int
    warm_start: str
    keeps_memory: bool

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam."""
        return optax.adam(self.learning_rate)


@partial(eqx.filter_jit)
def _advance(
    plan: _Plan,
    network: PVRNN,
    objective: Objective,
    state: _Window,
    key: Array,
    observation: Array,
    known: Array,
) -> tuple[Regression, _Window]:
    keys = jax.random.split(jax.random.fold_in(key, state.n_done), 4)
    state = _moved(plan, network, state, keys[0], observation, known)
    n_seen = jnp.minimum(state.n_done, plan.window)
    n_trials, dtype = observation.shape[0], state.adaptive.mean.dtype
    starts = state.n_done <= plan.window
    valid = jnp.broadcast_to(
        (jnp.arange(plan.window) < n_seen)[:, None], (plan.window, n_trials)
    )
    data = encode(network, state.values, state.observed, valid)
    of_window = plan.window, n_trials, network.n_latents
    samples = () if plan.n_samples == 1 else (plan.n_samples,)
    noise = standard_normal(keys[1], (plan.n_iterations, *samples, *of_window), dtype)
    found = regress(
        network,
        objective,
        state.adaptive,
        data,
        noise,
        plan.optimiser,
        potentials=state.potentials,
        starts=starts,
        memory=state.memory if plan.keeps_memory else None,
    )
    noise = standard_normal(keys[2], of_window, dtype)
    reached, posterior = stepwise.run(
        network, found.adaptive, scaled(network, noise), state.potentials
    )
    activities = tuple(None if u is None else jnp.tanh(u) for u in reached)
    last = tuple(None if u is None else u[n_seen - 1] for u in reached)
    hold = Normal(*(part[n_seen - 1] for part in posterior))
    noise = standard_normal(keys[3], (plan.n_predicted, *of_window[1:]), dtype)
    coming, *_ = stepwise.generate(network, noise, last, starts=False, hold=hold)
    state = state._replace(
        after_first=tuple(None if u is None else u[0] for u in reached),
        upcoming=_at_prior(network, last),
        adaptive=found.adaptive,
        memory=found.memory,
    )
    told = (_decoded(network, activity) for activity in (coming, activities))
    return Regression(*told, found.loss, posterior, 0), state


def _decoded(network: PVRNN, activities: tuple[Any, ...]) -> Array:
    heads = zip(network.heads, outputs(network, activities), strict=True)
    return jnp.concatenate([head.decode(told) for head, told in heads], axis=-1)


def _at_prior(network: PVRNN, potentials: tuple[Any, ...]) -> tuple[Array, Array]:
    """Return adaptive vectors whose posterior is the prior after potentials."""
    like = next(u for u in potentials if u is not None)
    found = []
    for layer, potential in zip(network.layers, potentials, strict=True):
        zeros = jnp.zeros((*like.shape[:-1], layer.n_latents), like.dtype)
        mean, log_deviation = zeros, zeros
        if layer.prior is not None:
            activity = jnp.tanh(potential)
            mean = layer.prior.mean(activity)
            log_deviation = layer.prior.log_deviation(activity)
            if layer.posterior is not None:
                mean = mean - layer.posterior.mean(activity)
                log_deviation = log_deviation - layer.posterior.log_deviation(activity)
        found.append((mean, log_deviation))
    means, logs = zip(*found, strict=True)
    return jnp.concatenate(means, axis=-1), jnp.concatenate(logs, axis=-1)


def _moved(
    plan: _Plan,
    network: PVRNN,
    state: _Window,
    key: Array,
    observation: Array,
    known: Array,
) -> _Window:
    """Return the window with room for a new step, and the step in it."""
    full = state.n_done >= plan.window
    place = jnp.minimum(state.n_done, plan.window - 1)

    def slid(rows: Array) -> Array:
        return jnp.where(full, jnp.roll(rows, -1, axis=0), rows)

    def pick(one: Any, other: Any) -> Any:
        return None if one is None else jnp.where(full, one, other)

    flags = np.array([layer.is_constant for layer in network.layers])
    constant = jnp.asarray(flags[network.latent_layers])

    def with_new(rows: Array, new: Array) -> Array:
        moved = slid(rows).at[place].set(new)
        # What is constant stays what it is at the first step.
        keep = jnp.broadcast_to(constant & full, rows[0].shape)
        return moved.at[0].set(jnp.where(keep, rows[0], moved[0]))

    adaptive = state.adaptive
    new = _new(plan, state, key, place)
    adaptive = Adaptive(
        *(with_new(rows, n) for rows, n in zip(adaptive[:2], new, strict=True))
    )

    def moments(leaf: Array) -> Array:
        if jnp.shape(leaf) != adaptive.mean.shape:
            return leaf
        return with_new(leaf, jnp.zeros_like(leaf[0]))

    return _Window(
        state.n_done + 1,
        tuple(map(pick, state.after_first, state.potentials)),
        state.after_first,
        state.upcoming,
        adaptive,
        jax.tree.map(moments, state.memory),
        slid(state.values).at[place].set(observation.astype(state.values.dtype)),
        slid(state.observed).at[place].set(known),
    )


def _new(plan: _Plan, state: _Window, key: Array, place: Array) -> tuple[Array, Array]:
    """Return where the adaptive vectors of the new step start."""
    if plan.warm_start == "prior":
        return state.upcoming
    first = state.n_done == 0
    if plan.warm_start == "copy":
        last = jnp.minimum(state.n_done, plan.window) - 1
        rows = (a[last] for a in state.adaptive[:2])
    else:
        shape = 2, *state.adaptive.mean.shape[1:]
        rows = standard_normal(key, shape, state.adaptive.mean.dtype)
    old, new = zip(*zip(state.upcoming, rows, strict=True), strict=True)
    return tuple(jnp.where(first, a, b) for a, b in zip(old, new, strict=True))
