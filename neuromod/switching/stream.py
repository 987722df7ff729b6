"""The filter one bin at a time: which state the brain is in, while it is recorded."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from neuromod import kernels
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.precision import precision_context
from neuromod.core.result import Result
from neuromod.switching import chain, glm
from neuromod.switching.data import require_fit
from neuromod.switching.features import Features
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import Values


class StreamState(NamedTuple):
    """All that the past says, for the next bin.

    Parameters
    ----------
    past : (lag, neuron)
        The last bins, the most recent first.
    filtered : (state,)
        Probability of each state in the last bin.
    begun : ()
        False before the first bin.
    """

    past: Float[Values, "lag neuron"]
    filtered: Float[Values, " state"]
    begun: Bool[Values, ""]


class StreamStep(NamedTuple):
    """What one bin tells.

    Parameters
    ----------
    state
        To be passed in with the next bin.
    probability : (state,)
        Probability of each state given all bins so far.
    log_likelihood
        Log-probability of this bin given those before it (nats).
    """

    state: StreamState
    probability: np.ndarray
    log_likelihood: float


class Stepper(NamedTuple):
    """The filter of a fit, compiled for one bin at a time.

    Parameters
    ----------
    start
        The state before the first bin of a session.
    step
        ``step(state, values, inputs=None, transition_inputs=None)`` takes in the values
        (neuron,) of the next bin; NaN in any of them marks a missing bin.
    """

    start: StreamState
    step: Callable[..., StreamStep]


def make_stepper(fit: Result) -> Stepper:
    """Make a filter that takes one bin at a time, as `filter` takes them all.

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`.

    Returns
    -------
    Stepper
        Plain arrays in and out. Nothing is compiled after this call, and nothing
        grows with the number of bins.

    Raises
    ------
    NotFittedError
        If it is no such Result.
    ShapeError
        On a step, if there are more or fewer values or inputs than in the fit.

    Examples
    --------
    >>> from neuromod import datasets, switching
    >>> spikes = datasets.simulate_switching(
    ...     seed=0, n_states=2, n_neurons=6, n_sessions=2, n_steps=500
    ... )["recording"]["spikes"]
    >>> result = switching.fit(spikes, n_states=2, seed=0, progress=False)
    >>> stepper = switching.make_stepper(result)
    >>> state = stepper.start
    >>> for counts in spikes.values[:3]:
    ...     state, probability, _ = stepper.step(state, counts)
    >>> probability.shape
    (2,)
    """
    require_fit(fit)
    model, precision = fit.model, fit.config["precision"]
    dtype = np.dtype(precision)
    model = jax.tree.map(lambda array: np.asarray(array, dtype), model)
    sizes = {
        "values": model.n_neurons,
        "inputs": model.layout.n_inputs,
        "transition_inputs": model.n_transition_inputs,
    }
    start = StreamState(
        np.zeros((max(model.n_lags, 1), model.n_neurons), dtype),
        np.asarray(model.initial, dtype),
        np.zeros((), bool),
    )
    blank = [np.zeros(size, dtype) for size in sizes.values()]

    @jax.jit
    def advance(state, values, inputs, transition_inputs):
        # The parameters are constants of the program: handing them in takes longer
        # than to compute with them.
        return _step(model, state, values, inputs, transition_inputs)

    with precision_context(precision):
        start = jax.tree.map(jnp.asarray, start)
        jax.block_until_ready(advance(start, *blank))

    def step(
        state: StreamState,
        values: Values,
        inputs: Values | None = None,
        transition_inputs: Values | None = None,
    ) -> StreamStep:
        given = [
            np.asarray(() if array is None else array, dtype)
            for array in (values, inputs, transition_inputs)
        ]
        for (name, size), array in zip(sizes.items(), given, strict=True):
            if array.shape != (size,):
                raise invalid(
                    name,
                    f"shape {array.shape}",
                    f"({size},)",
                    "Pass one number for each of the fit's, in its order.",
                    ShapeError,
                )
        with precision_context(precision):
            moved, told = advance(state, *given)
        # One look at the device, which has to be waited for.
        found = np.asarray(told)
        return StreamStep(moved, found[:-1], float(found[-1]))

    return Stepper(start, step)


def _step(
    model: SwitchingGLM,
    state: StreamState,
    values: Float[Values, " neuron"],
    inputs: Float[Values, " input"],
    transition_inputs: Float[Values, " transition_input"],
) -> tuple[StreamState, Float[Array, " told"]]:
    """Take in one bin; tell the states' probabilities and the bin's log-likelihood."""
    missing = jnp.isnan(values).any()
    values = jnp.where(jnp.isnan(values), 0, values)
    evidence = jnp.where(missing, 0, _evidence(model, state.past, values, inputs))
    if model.recurrent:
        seen = jnp.ravel(_seen(state.past, model.basis))
        transition_inputs = jnp.concatenate([transition_inputs, seen])
    jump = jnp.stack([transition_inputs, transition_inputs])
    transition = jnp.reshape(chain.transitions(model, jump), (model.n_states, -1))
    predicted = jnp.where(state.begun, state.filtered @ transition, model.initial)
    found = kernels.hmm_step(predicted, transition, evidence)
    past = jnp.concatenate([values[None], state.past[:-1]])
    log_likelihood = jnp.where(missing, 0, found.log_normaliser)
    told = jnp.concatenate([found.filtered, log_likelihood[None]])
    return StreamState(past, found.filtered, jnp.ones((), bool)), told


def _evidence(model: SwitchingGLM, past, values, inputs) -> Float[Array, " state"]:
    """Return how well every state explains one bin."""
    couplings = jnp.ravel(_seen(past, model.basis))
    common = jnp.concatenate([jnp.ones(1, values.dtype), inputs, couplings])
    features = Features(common[None], _seen(past, model.self_basis)[None])
    features = jax.lax.optimization_barrier(features)
    rows = glm.Rows(features, values[None], None)
    weights = jnp.zeros((1, model.n_states), values.dtype)
    return glm.evaluate(model, rows, weights).evidence[0]


def _seen(
    past: Float[Values, "lag neuron"], basis: Float[Values, "basis lag"]
) -> Float[Array, "neuron basis"]:
    """See the past through basis functions."""
    return jnp.asarray(past)[: basis.shape[1]].T @ basis.T
