"""The filter one bin at a time: which state the brain is in, while it is recorded.

In plain numpy: to hand a bin to a compiled program and to wait for its answer takes
several times longer than the arithmetic.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from neuromod.core.errors import ShapeError, invalid
from neuromod.core.precision import Precision, precision_context
from neuromod.core.result import Result
from neuromod.switching import glm
from neuromod.switching.data import require_fit
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import LINKS, OBSERVATIONS, Observation, Values


class StreamState(NamedTuple):
    """All that the past says, for the next bin.

    Parameters
    ----------
    past : (lag, neuron)
        The last bins, the most recent first.
    filtered : (state,)
        Probability of each state in the last bin.
    begun
        False before the first bin.
    """

    past: Float[np.ndarray, "lag neuron"]
    filtered: Float[np.ndarray, " state"]
    begun: bool


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
    """The filter of a fit, for one bin at a time.

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
        Plain arrays in and out. Nothing is compiled, and nothing grows with the number
        of bins.

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
    dtype, terms = np.dtype(precision), _terms(model, precision)
    sizes = {
        "values": model.n_neurons,
        "inputs": model.layout.n_inputs,
        "transition_inputs": model.n_transition_inputs,
    }
    start = StreamState(
        np.zeros((max(model.n_lags, 1), model.n_neurons), dtype), terms.initial, False
    )

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
        return _step(terms, state, *given)

    return Stepper(start, step)


class Terms(NamedTuple):
    """The parameters of a model in the order in which a step uses them.

    Parameters
    ----------
    initial : (state,)
        Probability of each state in the first bin.
    matrix, log_matrix : (state, state_to)
        The transition matrix, and its logarithm.
    tilt : (state, state_to, transition_input)
        Effect of inputs on the log-odds of a jump.
    common : (state and neuron, common)
        Weights of what all neurons see.
    own : (state, neuron, self_basis)
        Weights of a neuron's own history.
    dispersion : (state, neuron)
        Of the observation.
    basis, self_basis : (basis, lag)
        What the history is seen through.
    recurrent
        Whether the history tilts the jumps.
    rate, observation
        Link and observation.
    """

    initial: np.ndarray
    matrix: np.ndarray
    log_matrix: np.ndarray
    tilt: np.ndarray
    common: np.ndarray
    own: np.ndarray
    dispersion: np.ndarray
    basis: np.ndarray
    self_basis: np.ndarray
    recurrent: bool
    rate: Callable
    observation: Observation


def _terms(model: SwitchingGLM, dtype: Precision) -> Terms:
    with precision_context(dtype):
        split = glm.split_coefficients(model, glm.coefficients(model))
        common, own = (np.array(part, dtype) for part in split)
    matrix = np.asarray(model.transition_matrix, dtype)
    with np.errstate(divide="ignore"):
        log_matrix = np.log(matrix)
    return Terms(
        np.asarray(model.initial, dtype),
        matrix,
        log_matrix,
        np.asarray(model.transition_weight, dtype),
        common.reshape(-1, common.shape[-1]),
        own,
        np.asarray(model.dispersion, dtype),
        np.asarray(model.basis, dtype),
        np.asarray(model.self_basis, dtype),
        model.recurrent,
        LINKS[model.link].rate,
        OBSERVATIONS[model.observation],
    )


def _step(
    terms: Terms,
    state: StreamState,
    values: np.ndarray,
    inputs: np.ndarray,
    transition_inputs: np.ndarray,
) -> StreamStep:
    """Take in one bin: predict its state, weigh that by the evidence."""
    seen = _seen(state.past, terms.basis).ravel()
    predicted = terms.initial
    if state.begun:
        if terms.recurrent:
            transition_inputs = np.concatenate([transition_inputs, seen])
        predicted = state.filtered @ _transition(terms, transition_inputs)
    missing = bool(np.isnan(values).any())
    if missing:
        values = np.where(np.isnan(values), 0, values)
        filtered, log_likelihood = predicted, 0.0
    else:
        evidence = _evidence(terms, state.past, seen, values, inputs)
        filtered, log_likelihood = _weigh(predicted, evidence)
    past = np.concatenate([values[None], state.past[:-1]])
    return StreamStep(StreamState(past, filtered, True), filtered, log_likelihood)


def _transition(terms: Terms, inputs: np.ndarray) -> np.ndarray:
    """Return the probabilities of the jump into this bin."""
    if not inputs.size:
        return terms.matrix
    log_odds = terms.log_matrix + terms.tilt @ inputs
    odds = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _evidence(terms: Terms, past, seen, values, inputs) -> np.ndarray:
    """Return how well every state explains one bin."""
    common = np.concatenate([np.ones(1, values.dtype), inputs, seen])
    eta = (terms.common @ common).reshape(terms.dispersion.shape)
    if terms.own.shape[-1]:
        eta = eta + (terms.own * _seen(past, terms.self_basis)).sum(-1)
    rate, observation = terms.rate(eta), terms.observation
    explained = observation.log_probability(values, rate, terms.dispersion).sum(-1)
    return np.asarray(explained + observation.log_base(values).sum())


def _weigh(predicted: np.ndarray, evidence: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the probability of each state, and the log-probability of the bin."""
    with np.errstate(divide="ignore"):
        joint = np.log(predicted) + evidence
    shift = joint.max()
    if np.isneginf(shift):  # No state explains the bin: it tells nothing of them.
        return predicted, -np.inf
    weights = np.exp(joint - shift)
    scale = weights.sum()
    return weights / scale, float(shift + np.log(scale))


def _seen(past: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """See the past (lag, neuron) through basis functions: (neuron, basis)."""
    return past[: basis.shape[1]].T @ basis.T
