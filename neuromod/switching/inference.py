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
import numpy as np
from jaxtyping import Array, Float

from neuromod import kernels
from neuromod.core.programs import jit_many_kernels
from neuromod.switching import chain, glm, stretches
from neuromod.switching.bins import Bins, Streamed, bins_of
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import OBSERVATIONS, Values
from neuromod.switching.priors import Quadratic
from neuromod.switching.recording import Recording

ROWS_AT_ONCE = 1 << 16


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

    log_likelihood: Float[Values, " session"]
    smoothed: Float[Values, "session time state"]
    transition_counts: Float[Values, "session state state_to"]
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
    evidence: Float[Values, "session time state"],
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
) -> Float[Values, "session time state"]:
    """Return how well every state explains every bin of padded sessions."""
    bins = bins_of(model, recording) if bins is None else bins
    shape = (*recording.observed.shape, model.n_states)
    weights = np.zeros((shape[0] * shape[1], shape[2]), model.bias.dtype)
    return bins.evaluate(model, weights).evidence.reshape(shape)


def smooth(
    model: SwitchingGLM, recording: Recording, bins: Bins | None = None
) -> Float[Values, "session time state"]:
    """Return the probability of each state of each bin given the whole session."""
    bins = bins_of(model, recording) if bins is None else bins
    evidence = session_log_likelihoods(model, recording, bins)
    if isinstance(bins, Streamed) and not _is_driven(model):
        return _expectation_in_stretches(model, evidence, recording, bins).smoothed
    return per_session(kernels.hmm_smoother, model, evidence, recording).smoothed


def smoother_with_jumps(*arguments: Any, **settings: Any) -> kernels.HMMSmoother:
    """Smooth, and keep the probability of every jump."""
    return kernels.hmm_smoother(*arguments, **settings, transition_posteriors=True)


def expectation(
    model: SwitchingGLM,
    evidence: Float[Values, "session time state"],
    recording: Recording,
    bins: Bins | None = None,
) -> Posterior:
    """Run the forward-backward messages of every session (E-step).

    What is read from disk is smoothed a stretch at a time, unless inputs drive the
    jumps: those are kept, and are more than all messages.
    """
    if isinstance(bins, Streamed) and not _is_driven(model):
        return _expectation_in_stretches(model, evidence, recording, bins)
    driven = _is_driven(model)
    kernel = smoother_with_jumps if driven else kernels.hmm_smoother
    messages = per_session(kernel, model, evidence, recording)
    return Posterior(
        messages.log_likelihood,
        messages.smoothed,
        messages.transition_counts,
        messages.transition_posteriors if driven else None,
    )


def _is_driven(model: SwitchingGLM) -> bool:
    return model.transition_weight.shape[-1] > 0


def _expectation_in_stretches(
    model: SwitchingGLM,
    evidence: Float[Values, "session time state"],
    recording: Recording,
    bins: Streamed,
) -> Posterior:
    """Run the messages of a recording that is larger than memory."""
    evidence = np.asarray(evidence)
    smoothed = np.zeros_like(evidence)
    found = []
    for number, length in enumerate(np.asarray(recording.lengths).tolist()):
        of_session = stretches.smooth(
            model.initial,
            model.transition_matrix,
            evidence[number, :length],
            np.asarray(recording.observed)[number, :length],
            bins.slabs.n_bins,
            smoothed[number, :length],
        )
        found.append(of_session)
    return Posterior(
        np.array([of_session.log_likelihood for of_session in found]),
        smoothed,
        np.stack([of_session.transition_counts for of_session in found]),
        None,
    )


def maximise_chain(
    model: SwitchingGLM,
    posterior: Posterior,
    recording: Recording,
    prior: chain.ChainPrior,
) -> SwitchingGLM:
    """Set initial and transition probabilities (M-step)."""
    # A program is given what it needs: it may copy all that it is given.
    first = posterior._replace(smoothed=posterior.smoothed[:, :1])
    return _maximise_chain(model, first, recording, prior)


@jit_many_kernels
def _maximise_chain(
    model: SwitchingGLM,
    posterior: Posterior,
    recording: Recording,
    prior: chain.ChainPrior,
) -> SwitchingGLM:
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


def observed_rows(
    smoothed: Float[Values, "session time state"], recording: Recording
) -> Float[Values, "row state"]:
    """Return how much each bin counts for the GLMs of each state.

    A bin whose values are not known tells them nothing.
    """
    observed = np.asarray(recording.observed)
    seen = smoothed
    if not observed.all():
        seen = smoothed * observed[..., None].astype(smoothed.dtype)
    return seen.reshape(-1, smoothed.shape[-1])


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


def explained(
    weights: Float[Values, "row state"], evidence: Float[Values, "row state"]
) -> float:
    """Return the evidence of all bins, averaged over their states (nats).

    Parameters
    ----------
    weights : (row, state)
        Posterior probabilities.
    evidence : (row, state)
        How well every state explains every bin.
    """
    weights, evidence = np.asarray(weights), np.asarray(evidence)
    total = 0.0
    for start in range(0, len(weights), ROWS_AT_ONCE):
        here = slice(start, start + ROWS_AT_ONCE)
        # What cannot be, and is not, would be 0 times infinity.
        products = np.where(weights[here] > 0, weights[here] * evidence[here], 0)
        total += float(products.sum(dtype=float))
    return total


def total_gain(before: float, after: float, proposal: Proposal) -> float:
    """Return by how much a proposal raises the objective of all GLMs together.

    Parameters
    ----------
    before, after
        What the GLMs explained, and do now (`explained`).
    proposal
        What is proposed.

    Returns
    -------
    float
        The gain relative to the objective, so that rounding can be told from a fall.
    """
    of_prior = float(np.asarray(proposal.gain).sum())
    return (after - before + of_prior) / (1 + abs(before))


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
