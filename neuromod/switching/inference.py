r"""Pure functions on arrays: posteriors, and the steps of exact EM.

Expectation-maximisation climbs the marginal likelihood of all sessions together:

- E-step: the forward-backward messages of the hidden chain, exactly, per session;
- M-step: the chain (`neuromod.switching.chain`), and one step of each GLM weighted by
  the posterior (`neuromod.switching.glm`, `neuromod.switching.priors`), taken back
  where it would lower the objective.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod import kernels
from neuromod.core.programs import jit_many_kernels
from neuromod.switching import chain, glm
from neuromod.switching.bins import Bins, bins_of
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import OBSERVATIONS, Values
from neuromod.switching.priors import Quadratic
from neuromod.switching.recording import Recording


class Posterior(NamedTuple):
    """What the messages say of the hidden states.

    Parameters
    ----------
    log_likelihood : (session,)
        Log marginal likelihood of each session (nats).
    smoothed : (session, time, state)
        Probability of each state given the whole session.
    transition_counts : (session, state, state_to)
        Expected number of transitions.
    jumps : (session, pair, state, state_to)
        Probability of every transition; only where inputs drive them, else None.
    """

    log_likelihood: Float[Array, " session"]
    smoothed: Float[Array, "session time state"]
    transition_counts: Float[Array, "session state state_to"]
    jumps: Float[Array, "session pair state state_to"] | None


class Problem(NamedTuple):
    """Everything that EM holds fixed.

    Parameters
    ----------
    recording
        Values and inputs.
    bins
        What the GLMs see of them.
    prior
        Prior on the coefficients.
    chain_prior
        Prior on the transition probabilities.
    """

    recording: Recording
    bins: Bins
    prior: Any
    chain_prior: chain.ChainPrior


@functools.partial(jit_many_kernels, static_argnums=0)
def per_session(
    kernel: Callable,
    model: SwitchingGLM,
    evidence: Float[Array, "session time state"],
    recording: Recording,
) -> Any:
    """Run a kernel for hidden Markov chains over every session."""

    def of_session(evidence, observed, length, inputs):
        transition = chain.transitions(model, inputs)
        return kernel(
            model.initial, transition, evidence, observed=observed, length=length
        )

    return jax.vmap(of_session)(
        evidence,
        jnp.asarray(recording.observed),
        jnp.asarray(recording.lengths),
        jnp.asarray(recording.transition_inputs),
    )


def run(
    kernel: Callable,
    model: SwitchingGLM,
    recording: Recording,
    bins: Bins | None = None,
) -> Any:
    """Run a kernel over the evidence that the bins of a recording give.

    Fit and verbs call it alike: the same programs give the same bits.
    """
    evidence = session_log_likelihoods(model, recording, bins)
    return per_session(kernel, model, evidence, recording)


def session_log_likelihoods(
    model: SwitchingGLM, recording: Recording, bins: Bins | None = None
) -> Float[Array, "session time state"]:
    """Return how well every state explains every bin of padded sessions."""
    bins = bins_of(model, recording) if bins is None else bins
    shape = (*recording.observed.shape, model.n_states)
    weights = jnp.zeros((shape[0] * shape[1], shape[2]), model.bias.dtype)
    return jnp.reshape(bins.evaluate(model, weights).evidence, shape)


def smoother_with_jumps(*arguments: Any, **settings: Any) -> kernels.HMMSmoother:
    """Smooth, and keep the probability of every jump."""
    return kernels.hmm_smoother(*arguments, **settings, transition_posteriors=True)


def expectation(
    model: SwitchingGLM,
    evidence: Float[Array, "session time state"],
    recording: Recording,
) -> Posterior:
    """Run the forward-backward messages of every session (E-step)."""
    driven = model.transition_weight.shape[-1] > 0
    kernel = smoother_with_jumps if driven else kernels.hmm_smoother
    messages = per_session(kernel, model, evidence, recording)
    return Posterior(
        messages.log_likelihood,
        messages.smoothed,
        messages.transition_counts,
        messages.transition_posteriors if driven else None,
    )


@jit_many_kernels
def maximise_chain(
    model: SwitchingGLM,
    posterior: Posterior,
    recording: Recording,
    prior: chain.ChainPrior,
) -> SwitchingGLM:
    """Set initial and transition probabilities (M-step)."""
    initial = chain.update_initial(posterior.smoothed)
    model = eqx.tree_at(lambda m: m.initial, model, initial)
    if posterior.jumps is None:
        counts = posterior.transition_counts.sum(0)
        return chain.update_static(model, counts, prior)
    n_states = model.n_states
    jumps = jnp.reshape(posterior.jumps, (-1, n_states, n_states))
    inputs = jnp.asarray(recording.transition_inputs)[:, 1:]
    flat = jnp.reshape(inputs, (-1, inputs.shape[-1]))
    return chain.update_driven(model, jumps, flat, prior)


@jit_many_kernels
def observed_rows(
    smoothed: Float[Values, "session time state"], recording: Recording
) -> Float[Array, "row state"]:
    """Return how much each bin counts for the GLMs of each state.

    A bin whose values are not known tells them nothing.
    """
    weights = jnp.where(jnp.asarray(recording.observed)[..., None], smoothed, 0)
    return jnp.reshape(weights, (-1, weights.shape[-1]))


class Proposal(NamedTuple):
    """Parameters that a step proposes.

    Parameters
    ----------
    model
        The parameters.
    prior_state
        What the prior would know.
    gain : (state, group)
        How much the prior's part of the objective would grow.
    """

    model: SwitchingGLM
    prior_state: Any
    gain: Float[Array, "state group"]


@jit_many_kernels
def propose(
    model: SwitchingGLM,
    prior: Any,
    prior_state: Any,
    statistics: glm.Statistics,
    information: Float[Array, "state group coefficient other"],
    caution: Float[Values, "state group"],
) -> Proposal:
    """Step every GLM by its prior; caution multiplies the curvature it reckons with."""
    values = glm.grouped(model, glm.coefficients(model))
    steeper = information * jnp.asarray(caution)[..., None, None]
    quadratic = Quadratic(values, statistics.gradient, steeper)
    step = prior.step(prior_state, quadratic)
    moved = glm.with_coefficients(model, glm.ungrouped(model, step.values))
    if OBSERVATIONS[model.observation].dispersed:
        curvature = jnp.maximum(statistics.dispersion_curvature, 1e-3)
        change = statistics.dispersion_gradient / (curvature * caution)
        dispersion = model.dispersion * jnp.exp(jnp.clip(change, -1, 1))
        moved = eqx.tree_at(lambda m: m.dispersion, moved, dispersion)
    return Proposal(moved, step.state, step.gain)


@jit_many_kernels
def total_gain(
    weights: Float[Array, "row state"],
    before: Float[Array, "row state"],
    after: Float[Array, "row state"],
    proposal: Proposal,
) -> Float[Array, ""]:
    """Return by how much a proposal raises the objective of all GLMs together.

    Parameters
    ----------
    weights : (row, state)
        Posterior probabilities.
    before, after : (row, state)
        How well every state explained every bin, and does now.
    proposal
        What is proposed.

    Returns
    -------
    ()
        The gain relative to the objective, so that rounding can be told from a fall.
    """
    counted = weights > 0
    old = jnp.where(counted, weights * before, 0).sum()
    new = jnp.where(counted, weights * after, 0).sum()
    return (new - old + proposal.gain.sum()) / (1 + jnp.abs(old))


@jit_many_kernels
def gains(
    prior: Any,
    before: Float[Array, "state neuron"],
    after: Float[Array, "state neuron"],
    proposal: Proposal,
) -> Float[Array, "state group"]:
    """Return by how much a proposal raises the objective of every GLM.

    Relative to all objectives, as `total_gain` is.
    """
    gain = after - before
    if glm.is_joint(proposal.model):
        gain = gain.sum(-1, keepdims=True)
    gain = (gain + proposal.gain) / (1 + jnp.abs(before.sum()))
    # What is shared by all GLMs may cost one of them what others gain.
    return gain if prior.separable else jnp.full_like(gain, gain.sum())


@jit_many_kernels
def start_prior(
    prior: Any, model: SwitchingGLM, baseline: Float[Values, " neuron"]
) -> Any:
    """Return what a prior knows before any data."""
    return prior.start(model, baseline)


@jit_many_kernels
def learn(
    prior: Any,
    proposal: Proposal,
    information: Float[Array, "state group coefficient other"],
) -> Any:
    """Learn what all GLMs share from their new coefficients."""
    values = glm.grouped(proposal.model, glm.coefficients(proposal.model))
    quadratic = Quadratic(values, jnp.zeros_like(values), information)
    return prior.learn(proposal.prior_state, quadratic)


@jit_many_kernels
def log_prior(
    model: SwitchingGLM, prior_state: Any, prior: Any, chain_prior: chain.ChainPrior
) -> Float[Array, ""]:
    """Return the priors' part of the objective."""
    values = glm.grouped(model, glm.coefficients(model))
    of_glms = prior.log_density(prior_state, values)
    return of_glms + chain_prior.log_density(model)
