r"""The procedure and the objectives of the one-hot paper's own code.

It is here to be compared with, not to be used: `neuromod.switching.fit` with
``reference=True`` follows it step by step. It differs from exact EM in what it sees
and in what it maximises:

- an epoch goes through the sessions one by one: posterior of one session, 50 steps of
  Adam on that session alone, and its jumps overwrite the transition matrix;
- all states begin alike, and biases are shared by the states;
- the one-hot prior samples the kinds from a Gumbel-softmax distribution at each step,
  and asks for the density of the *plain* softmax under another one,

$$
\log q(a) = \log\Gamma(3) + 2\log\tau
  - 3\,\mathrm{logsumexp}_i(\log\pi_i - \tau\log a_i)
  + \sum_i \big(\log\pi_i - (\tau + 1)\log a_i\big)
$$

  into which it puts the preferences' probabilities where their logarithms belong, so
  that they can hardly differ. For $\tau < 1$ the density has no upper bound; logits are
  halved where a kind has become less likely than $e^{-20}$.

Two things are not followed: its forward-backward recursion clips what a state gives a
bin at 1e-16, which leaves nothing to tell states apart in populations of 60 neurons;
here the messages are exact. And its result depends on rounding, where states begin
alike and nothing is drawn: a random start of one part in a million stands in for that.

Li, Kim, Rodgers, Choi & Wu (2024), One-hot generalized linear model for switching
brain state discovery, ICLR; code of April 2025.
"""

import functools
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import gammaln, logsumexp
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod.switching import glm, inference
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import Values
from neuromod.switching.priors import Normal
from neuromod.switching.recording import Recording, rows_of

N_EPOCHS = 10
N_STEPS = 50
LEARNING_RATE = 0.01
TEMPERATURE = 0.2
STANDARD_DEVIATION = 1 / 3
LOWEST_LOG_TRANSITION = -8.0
LOWEST_LOG_KIND = -20.0
ROUNDING = 1e-6


def gumbel_softmax_log_density(
    log_probability: Float[Array, "*shape kind"],
    log_preference: Float[Array, "*shape kind"],
    temperature: float,
) -> Float[Array, "*shape"]:
    """Return the log density of points on the simplex (Maddison et al., 2017, eq. 5).

    Parameters
    ----------
    log_probability : (..., kind)
        Logarithm of the point.
    log_preference : (..., kind)
        Logarithm of the preferences, up to a constant.
    temperature
        Below 1 the density is unbounded at the corners.
    """
    n = log_probability.shape[-1]
    shifted = log_preference - temperature * log_probability
    each = (log_preference - (temperature + 1) * log_probability).sum(-1)
    constant = gammaln(jnp.asarray(float(n))) + (n - 1) * jnp.log(temperature)
    return constant - n * logsumexp(shifted, axis=-1) + each


def paper_log_prior(
    logits: Float[Array, "state neuron source_neuron kind"],
    preference_logits: Float[Array, "neuron source_neuron kind"],
    temperature: float,
) -> Float[Array, ""]:
    """Return what the paper's code adds for the kinds: probabilities for logarithms."""
    preference = jax.nn.softmax(preference_logits, axis=-1)
    log_kinds = jax.nn.log_softmax(logits, axis=-1)
    one = jnp.broadcast_to(preference[None], log_kinds.shape)
    return gumbel_softmax_log_density(log_kinds, one, temperature).sum()


def signed_weight(
    kinds: Float[Array, "*shape kind"], strength: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Return strengths with the sign of their kind (inhibitory, none, excitatory)."""
    return (kinds[..., 2] - kinds[..., 0]) * jax.nn.softplus(strength)


def hard_kinds(logits: Float[Array, "*shape kind"]) -> Float[Array, "*shape kind"]:
    """Return the likeliest kind as an indicator."""
    return jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=logits.dtype)


def tied_normal(
    weight: Float[Array, "state neuron coupling"],
) -> Normal:
    """Return the Gaussian prior around the mean over states, which is held fixed."""
    mean = jax.lax.stop_gradient(weight.mean(0, keepdims=True))
    mean = jnp.broadcast_to(mean, weight.shape)
    return Normal(mean, jnp.full_like(weight, STANDARD_DEVIATION**-2))


def objective(
    model: SwitchingGLM,
    posterior: inference.Posterior,
    expected_log_likelihood: Float[Array, ""],
) -> Float[Array, ""]:
    """Return what its M-step reports: the first term adds where it should multiply."""
    chain = (posterior.smoothed[:, 0] + jnp.log(model.initial)[None]).sum()
    chain += (
        posterior.transition_counts.sum(0) * jnp.log(model.transition_matrix)
    ).sum()
    return chain + expected_log_likelihood


def update_transition(
    counts: Float[Array, "state state_to"],
) -> Float[Array, "state state_to"]:
    """Return its closed-form update: log-probabilities are no lower than -8."""
    log_odds = jnp.log(counts / counts.sum(1, keepdims=True))
    return jax.nn.softmax(jnp.maximum(log_odds, LOWEST_LOG_TRANSITION), axis=1)


class Parameters(NamedTuple):
    """What Adam moves.

    Parameters
    ----------
    bias : (neuron,)
        Shared by the states.
    weight : (state, neuron, coupling)
        Couplings, or raw strengths with the one-hot prior.
    logits : (state, neuron, coupling, kind)
        Of the kinds.
    preference_logits : (neuron, coupling, kind)
        Of the pairs' preferences.
    """

    bias: Float[Array, " neuron"]
    weight: Float[Array, "state neuron coupling"]
    logits: Float[Array, "state neuron coupling kind"]
    preference_logits: Float[Array, "neuron coupling kind"]


OPTIMISER = optax.adam(LEARNING_RATE)


def with_parameters(
    model: SwitchingGLM, parameters: Parameters, weight: Array
) -> SwitchingGLM:
    """Return the model with the parameters that Adam moves."""
    bias = jnp.broadcast_to(parameters.bias[None], model.bias.shape)
    weight = jnp.reshape(weight, model.weight.shape)
    return eqx.tree_at(lambda m: (m.bias, m.weight), model, (bias, weight))


@functools.partial(jax.jit, static_argnames="prior")
def climb(
    model: SwitchingGLM,
    parameters: Parameters,
    moments: Any,
    rows: glm.Rows,
    weights: Float[Values, "row state"],
    key: PRNGKeyArray,
    *,
    prior: str,
) -> tuple[Parameters, Any]:
    """Take the steps of Adam on one session (M-step)."""

    def loss(parameters, key):
        weight = parameters.weight
        extra = jnp.zeros((), weight.dtype)
        if prior == "gaussian":
            extra = tied_normal(weight).log_density(weight).sum()
        if prior == "one_hot":
            noise = jax.random.gumbel(key, parameters.logits.shape, weight.dtype)
            kinds = jax.nn.softmax((parameters.logits + noise) / TEMPERATURE, axis=-1)
            weight = signed_weight(kinds, parameters.weight)
            extra = paper_log_prior(
                parameters.logits, parameters.preference_logits, TEMPERATURE
            )
        found = with_parameters(model, parameters, weight)
        explained = (weights * glm.evaluate(found, rows, weights).evidence).sum()
        return -(explained + extra)

    def step(carried, key):
        parameters, moments = carried
        gradient = jax.grad(loss)(parameters, key)
        change, moments = OPTIMISER.update(gradient, moments, parameters)
        moved = optax.apply_updates(parameters, change)
        parameters = cast("Parameters", moved)
        least = jax.nn.log_softmax(parameters.logits, axis=-1).min(-1, keepdims=True)
        logits = jnp.where(
            least < LOWEST_LOG_KIND, parameters.logits / 2, parameters.logits
        )
        return (parameters._replace(logits=logits), moments), None

    keys = jax.random.split(key, N_STEPS)
    return jax.lax.scan(step, (parameters, moments), keys)[0]


class Reached(NamedTuple):
    """Where the procedure ended.

    Parameters
    ----------
    model
        Parameters; with the one-hot prior every coupling has its likeliest kind.
    log_likelihoods, objectives
        After each epoch, summed over sessions as each was visited.
    kinds : (state, neuron, coupling, kind)
        Probability of every kind; None without the one-hot prior.
    """

    model: SwitchingGLM
    log_likelihoods: list[float]
    objectives: list[float]
    kinds: Array | None


def follow(
    blank: SwitchingGLM,
    recording: Recording,
    mean_count: Float[np.ndarray, " neuron"],
    prior: str,
    seed: int,
    bar: Any,
) -> Reached:
    """Run the whole procedure.

    Parameters
    ----------
    blank
        A model of the right shape.
    recording
        All sessions.
    mean_count : (neuron,)
        Where the biases begin: a rate, though they are no rates.
    prior
        "none", "gaussian" or "one_hot".
    seed
        Seed of the samples, and of what stands in for rounding.
    bar
        Progress bar, advanced by one for each session.
    """
    start, key = jax.random.split(jax.random.key(seed))
    n_states, n_neurons = blank.bias.shape
    n_couplings = blank.layout.n_edges
    shape = (n_states, n_neurons, n_couplings)
    dtype = jnp.asarray(blank.bias).dtype
    rounding = ROUNDING * jax.random.normal(start, shape, dtype)
    parameters = Parameters(
        jnp.asarray(mean_count, dtype),
        rounding,
        jnp.zeros((*shape, 3), dtype),
        jnp.zeros((*shape[1:], 3), dtype),
    )
    off = 0.02 / max(n_states - 1, 1)
    matrix = np.where(np.eye(n_states, dtype=bool), 0.98 if n_states > 1 else 1.0, off)
    model = eqx.tree_at(
        lambda m: m.transition_matrix, blank, jnp.asarray(matrix, dtype)
    )
    moments = OPTIMISER.init(parameters)
    sessions = [_session(recording, i) for i in range(len(recording.lengths))]
    rows = [rows_of(model, session) for session in sessions]
    log_likelihoods, objectives = [], []
    for _ in range(N_EPOCHS):
        log_likelihood = reported = 0.0
        for session, seen in zip(sessions, rows, strict=True):
            key, own = jax.random.split(key)
            model = with_parameters(model, parameters, _plain_weight(parameters, prior))
            evidence = inference.session_log_likelihoods(model, session)
            posterior = inference.expectation(model, evidence, session)
            weights = inference.observed_rows(posterior.smoothed, session)
            parameters, moments = climb(
                model, parameters, moments, seen, weights, own, prior=prior
            )
            matrix = update_transition(posterior.transition_counts.sum(0))
            model = eqx.tree_at(lambda m: m.transition_matrix, model, matrix)
            explained = (weights * glm.evaluate(model, seen, weights).evidence).sum()
            log_likelihood += float(posterior.log_likelihood.sum())
            reported += float(objective(model, posterior, explained))
            bar.update()
        log_likelihoods.append(log_likelihood)
        objectives.append(reported)
    weight = parameters.weight
    kinds = None
    if prior == "one_hot":
        kinds = jax.nn.softmax(parameters.logits, axis=-1)
        weight = signed_weight(hard_kinds(parameters.logits), weight)
    model = with_parameters(model, parameters, weight)
    return Reached(model, log_likelihoods, objectives, kinds)


def _plain_weight(parameters: Parameters, prior: str) -> Array:
    """Return the weights of the E-step: no samples."""
    if prior != "one_hot":
        return parameters.weight
    return signed_weight(jax.nn.softmax(parameters.logits, axis=-1), parameters.weight)


def _session(recording: Recording, index: int) -> Recording:
    """Return one session."""
    return jax.tree.map(lambda array: array[index : index + 1], recording)
