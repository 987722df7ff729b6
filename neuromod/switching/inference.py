r"""Pure functions on arrays: posteriors, and the steps of exact EM.

Expectation-maximisation climbs the marginal likelihood of all sessions together:

- E-step: the forward-backward messages of the hidden chain, exactly, per session;
- M-step: the chain in closed form, and one step of each GLM weighted by the posterior
  (`neuromod.switching.glm`), so that no iteration lowers the objective.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from neuromod import kernels
from neuromod.switching import glm
from neuromod.switching.model import SwitchingGLM, Values


class Recording(NamedTuple):
    """Spike counts of all sessions, padded to one length.

    Parameters
    ----------
    counts : (session, time, neuron)
        Spikes per bin; 0 where missing or past the end.
    observed : (session, time)
        False where a bin is missing or past the end.
    lengths : (session,)
        Number of bins of each session.
    """

    counts: Float[Values, "session time neuron"]
    observed: Bool[Values, "session time"]
    lengths: Int[Values, " session"]


class Posterior(NamedTuple):
    """What the messages say of the hidden states.

    Parameters
    ----------
    log_likelihood : (session,)
        Log marginal likelihood of each session (nats).
    smoothed : (session, time, state)
        Probability of each state given the whole session.
    transition_counts : (state, state_to)
        Expected number of transitions, summed over sessions.
    """

    log_likelihood: Float[Array, " session"]
    smoothed: Float[Array, "session time state"]
    transition_counts: Float[Array, "state state_to"]


class Problem(NamedTuple):
    """Everything that EM holds fixed.

    Parameters
    ----------
    recording
        The spike counts.
    feature_rows : (row, feature)
        What the GLMs regress on, the bins of all sessions one after another.
    prior
        Gaussian prior on the coefficients.
    """

    recording: Recording
    feature_rows: Float[Array, "row feature"]
    prior: glm.Prior


@jax.jit
def pose(
    recording: Recording, basis: Float[Values, "basis lag"], prior: glm.Prior
) -> Problem:
    """Compute the features of a recording once, for all iterations."""
    found = glm.features(recording.counts, basis)
    return Problem(recording, jnp.reshape(found, (-1, found.shape[-1])), prior)


def session_log_likelihoods(
    model: SwitchingGLM, recording: Recording
) -> Float[Array, "session time state"]:
    """Return `glm.log_likelihoods` of padded sessions."""
    feature_rows = glm.features(recording.counts, model.basis)
    n_sessions, n_steps, n_features = feature_rows.shape
    rows = glm.log_likelihoods(
        model,
        jnp.reshape(feature_rows, (-1, n_features)),
        jnp.reshape(jnp.asarray(recording.counts), (n_sessions * n_steps, -1)),
    )
    return jnp.reshape(rows, (n_sessions, n_steps, -1))


def per_session(
    kernel: Callable,
    model: SwitchingGLM,
    evidence: Float[Array, "session time state"],
    observed: Bool[Values, "session time"],
    lengths: Int[Values, " session"],
) -> Any:
    """Run a kernel for hidden Markov chains over every session."""

    def of_session(evidence, observed, length):
        return kernel(
            model.initial,
            model.transition_matrix,
            evidence,
            observed=observed,
            length=length,
        )

    return jax.vmap(of_session)(evidence, observed, lengths)


@functools.partial(jax.jit, static_argnums=0)
def run(kernel: Callable, model: SwitchingGLM, recording: Recording) -> Any:
    """Run a kernel over the evidence that a recording gives.

    Fit and verbs call it alike: the same program gives the same bits.
    """
    evidence = session_log_likelihoods(model, recording)
    return per_session(kernel, model, evidence, recording.observed, recording.lengths)


def expectation(
    model: SwitchingGLM,
    evidence: Float[Array, "session time state"],
    observed: Bool[Values, "session time"],
    lengths: Int[Values, " session"],
) -> Posterior:
    """Run the forward-backward messages of every session (E-step)."""
    messages = per_session(kernels.hmm_smoother, model, evidence, observed, lengths)
    return Posterior(
        messages.log_likelihood,
        messages.smoothed,
        messages.transition_counts.sum(0),
    )


def maximise_chain(model: SwitchingGLM, posterior: Posterior) -> SwitchingGLM:
    """Set initial and transition probabilities in closed form (M-step)."""
    counts = posterior.transition_counts
    totals = counts.sum(axis=1, keepdims=True)
    visited = totals > 1e-10
    transition = jnp.where(
        visited, counts / jnp.where(visited, totals, 1), model.transition_matrix
    )
    initial = posterior.smoothed[:, 0].mean(0)
    return eqx.tree_at(
        lambda m: (m.initial, m.transition_matrix),
        model,
        (initial / initial.sum(), transition),
    )


class Expectation(NamedTuple):
    """What the E-step finds: the posterior, and how good the parameters are.

    Parameters
    ----------
    posterior
        Posterior of the hidden states.
    log_likelihood : ()
        Log marginal likelihood of all sessions (nats).
    objective : ()
        The same plus the log prior; the quantity that EM never lowers.
    """

    posterior: Posterior
    log_likelihood: Float[Array, ""]
    objective: Float[Array, ""]


@jax.jit
def e_step(model: SwitchingGLM, problem: Problem) -> Expectation:
    """Run the messages of all sessions at the model's parameters."""
    recording, feature_rows, prior = problem
    n_sessions, n_steps = recording.observed.shape
    count_rows = jnp.reshape(recording.counts, (n_sessions * n_steps, -1))
    evidence = glm.log_likelihoods(model, feature_rows, count_rows)
    evidence = jnp.reshape(evidence, (n_sessions, n_steps, -1))
    posterior = expectation(model, evidence, recording.observed, recording.lengths)
    total = posterior.log_likelihood.sum()
    penalty = glm.log_prior(glm.coefficients(model), prior).sum()
    return Expectation(posterior, total, total + penalty)


@jax.jit
def m_step(
    model: SwitchingGLM, problem: Problem, posterior: Posterior
) -> glm.Maximisation:
    """Climb the expected log-likelihood: the chain to its top, each GLM one step."""
    recording, feature_rows, prior = problem
    n_rows = feature_rows.shape[0]
    count_rows = jnp.reshape(recording.counts, (n_rows, -1))
    # A bin whose counts are not known tells the GLMs nothing.
    observed = jnp.asarray(recording.observed)[..., None]
    weights = jnp.where(observed, posterior.smoothed, 0)
    rows = (feature_rows, count_rows, jnp.reshape(weights, (n_rows, -1)))
    return glm.maximise(maximise_chain(model, posterior), rows, prior)
