"""Exact expectation-maximisation from several starting points."""

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from neuromod.core.errors import DivergedError
from neuromod.core.progress import progress_bar
from neuromod.core.slabs import Slabs
from neuromod.switching import glm, inference, starts
from neuromod.switching.inference import Problem, Proposal
from neuromod.switching.information import (
    ROWS_OF_A_BOUND,
    ROWS_OF_A_STEP,
    ROWS_OF_ERRORS,
    Chosen,
    choose,
    count,
    effective_share,
)
from neuromod.switching.inputs import input_sizes
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import Values
from neuromod.switching.priors import Prior, Ridge

SCORING_STEPS_AT_START = 3
NOISE_AT_START = 1.0
EARLY = 100.0
# A step that lowers an objective is tried again as if the data curved this much more.
CAUTION = 8.0
MOST_CAUTION = 8
# What rounding may take off an objective, relative to all of them.
ROUNDING = {"float64": 1e-12, "float32": 1e-5}
# Rows that no more than this share of does the work are chosen anew.
WORN = 0.5
# What a prior knows at the start need not fit the parameters yet.
FEWEST_ITERATIONS = 3


class Climber(NamedTuple):
    """Where a climb is.

    Parameters
    ----------
    model
        Parameters.
    prior_state
        What the prior has learned.
    """

    model: SwitchingGLM
    prior_state: Any


class Restart(NamedTuple):
    """One climb: where it ended, how, and from which iteration with its own prior."""

    end: Climber
    log_likelihoods: list[float]
    objectives: list[float]
    converged: bool
    prior_from: int = 0


class Race(NamedTuple):
    """All climbs, and which of them went to the end."""

    runs: list[Restart]
    kept: int


class Finish(NamedTuple):
    """The model with its states numbered by the time spent in them, lapses last.

    Parameters
    ----------
    end
        Parameters and what the prior has learned, as numpy arrays.
    smoothed : (session, time, state)
        Posterior probabilities of the states.
    information : (state, group, coefficient, coefficient)
        Fisher information of every GLM.
    order : (state,)
        Where each state stood before.
    """

    end: Climber
    smoothed: Float[np.ndarray, "session time state"]
    information: Float[np.ndarray, "state group coefficient other"]
    order: Int[np.ndarray, " state"]


def starting_points(
    blank: SwitchingGLM,
    problem: Problem,
    baseline: Float[np.ndarray, " neuron"],
    guesses: Iterable[Float[np.ndarray, "session time state"]],
) -> list[Climber]:
    """Fit one model to every guess of the states."""
    start = Climber(blank, inference.start_prior(problem.prior, blank, baseline))
    return [fit_to(guess, start, problem) for guess in guesses]


def fit_to(
    guess: Float[np.ndarray, "session time state"], climber: Climber, problem: Problem
) -> Climber:
    """Take a few steps of the GLMs towards a guess of the states."""
    bins, recording = problem.bins, problem.recording
    weights = guess.astype(recording.inputs.dtype)
    weights = inference.observed_rows(weights, recording)
    evidence = bins.evaluate(climber.model, weights).evidence
    explained = inference.explained(weights, evidence)
    for _ in range(SCORING_STEPS_AT_START):
        statistics = bins.differentiate(climber.model, weights)
        chosen = choose(weights, ROWS_OF_A_STEP)
        information = bins.inform(climber.model, weights, chosen)
        ascent = ascend(climber, problem, weights, explained, statistics, information)
        explained = ascent.explained
        climber = Climber(ascent.proposal.model, ascent.proposal.prior_state)
    return climber


def starts_around_one_glm(
    blank: SwitchingGLM,
    problem: Problem,
    baseline: Float[np.ndarray, " neuron"],
    seed: int,
    n_restarts: int,
) -> list[Climber]:
    """Fit the GLM of one state, and add noise to its coefficients in every state.

    States of behaviour differ in how inputs are weighed, which clusters of the
    choices do not show (Ashwood et al. 2022). The noise moves the linear predictor
    alike through every input, whatever its unit.
    """
    start = Climber(blank, inference.start_prior(problem.prior, blank, baseline))
    shape = (*problem.recording.observed.shape, blank.n_states)
    same = fit_to(np.full(shape, 1 / blank.n_states), start, problem)
    generator = np.random.default_rng(seed)
    values = np.asarray(glm.coefficients(same.model))
    free = glm.is_free(blank).reshape(values.shape)
    width = np.full(values.shape[-1], NOISE_AT_START)
    width[1 : 1 + blank.layout.n_inputs] /= input_sizes(problem.recording)
    climbers = []
    for _ in range(n_restarts):
        noise = generator.normal(0, width, values.shape).astype(values.dtype)
        noisy = jnp.asarray(np.where(free, values + noise, 0))
        climbers.append(same._replace(model=glm.with_coefficients(same.model, noisy)))
    return climbers


def race_from_starts(
    blank: SwitchingGLM,
    problem: Problem,
    baseline: Float[np.ndarray, " neuron"],
    values: Values | Slabs,
    seed: int,
    n_restarts: int,
    max_iterations: int,
    tolerance: float,
    progress: bool,
) -> Race:
    """Climb from every starting point, and to the end from the best of them.

    Most of a climb is spent on its last thousandth. So every restart stops while its
    iterations still gain a little, and only the one that got highest goes on. Until
    then the couplings have a ridge: a sparse prior would rule connections out before
    the states have found their places.
    """
    smooth = isinstance(problem.prior, Ridge)
    first = problem if smooth else problem._replace(prior=_ridge_like(problem.prior))
    n_restarts = n_restarts if blank.n_states > 1 else 1
    if blank.layout.n_inputs and not blank.layout.n_edges:
        climbers = starts_around_one_glm(blank, first, baseline, seed, n_restarts)
    else:
        lengths = np.asarray(problem.recording.lengths)
        guesses = starts.guesses(values, lengths, blank.n_states, seed, n_restarts)
        climbers = starting_points(blank, first, baseline, guesses)
    early = tolerance * (1.0 if smooth and len(climbers) == 1 else EARLY)
    runs = []
    with progress_bar(len(climbers), "fit", "start", shown=progress) as bar:
        for climber in climbers:
            runs.append(climb(climber, first, max_iterations, early, bar))
            bar.update()
        best = int(np.argmax([run.objectives[-1] for run in runs]))
        if early > tolerance:
            end = runs[best].end
            if not smooth:
                end = end._replace(
                    prior_state=inference.start_prior(problem.prior, blank, baseline)
                )
            # Even where the race has used all up the prior that was asked for counts.
            used = len(runs[best].objectives) - 1
            left = max(max_iterations - used, 0 if smooth else FEWEST_ITERATIONS)
            rest = climb(end, problem, left, tolerance, bar)
            runs[best] = joined(runs[best], rest, same_prior=smooth)
    return Race(runs, best)


def _ridge_like(prior: Any) -> Ridge:
    return Ridge(jnp.asarray(prior.baseline_precision))


def go_on(
    model: SwitchingGLM,
    problem: Problem,
    baseline: Float[np.ndarray, " neuron"],
    max_iterations: int,
    tolerance: float,
    progress: bool,
) -> Race:
    """Climb on from parameters that were fitted before."""
    start = Climber(model, inference.start_prior(problem.prior, model, baseline))
    with progress_bar(1, "fit", "start", shown=progress) as bar:
        return Race([climb(start, problem, max_iterations, tolerance, bar)], 0)


def joined(first: Restart, rest: Restart, same_prior: bool) -> Restart:
    """Join two climbs of which the second begins where the first ended."""
    # A prior that begins without knowledge has no objective there yet.
    objectives = first.objectives[:-1] + rest.objectives
    if not same_prior:
        objectives[len(first.objectives) - 1] = first.objectives[-1]
    return rest._replace(
        log_likelihoods=first.log_likelihoods[:-1] + rest.log_likelihoods,
        objectives=objectives,
        prior_from=0 if same_prior else len(first.objectives),
    )


def climb(
    climber: Climber,
    problem: Problem,
    max_iterations: int,
    tolerance: float,
    bar: tqdm,
) -> Restart:
    """Iterate until an iteration gains less than the tolerance (nats per bin)."""
    recording, bins = problem.recording, problem.bins
    n_bins = int(np.asarray(recording.observed).sum())
    shape = (*recording.observed.shape, climber.model.n_states)
    log_likelihoods: list[float] = []
    objectives: list[float] = []
    chosen, anew = None, False
    evidence = inference.session_log_likelihoods(climber.model, recording, bins)
    for iteration in itertools.count():
        model = climber.model
        posterior = inference.expectation(model, evidence, recording, bins)
        log_likelihoods.append(float(np.asarray(posterior.log_likelihood).sum()))
        prior = _log_prior(climber, problem)
        objectives.append(log_likelihoods[-1] + prior)
        if not np.isfinite(objectives[-1]):
            raise DivergedError(
                f"switching.fit: the objective became {objectives[-1]} in iteration "
                f"{iteration}. Try prior='ridge', or link='softplus' where the "
                "exponential link overflows."
            )
        bar.set_postfix_str(f"{log_likelihoods[-1] / n_bins:.4f} nats/bin")
        gain = objectives[-1] - objectives[-2] if iteration else np.inf
        # Other rows move the bound: their first gain is not the climb's.
        settled = iteration >= FEWEST_ITERATIONS and not anew
        converged = bool(settled and gain < tolerance * n_bins)
        if converged or iteration == max_iterations:
            break
        weights = inference.observed_rows(posterior.smoothed, recording)
        moved = inference.maximise_chain(
            model, posterior, recording, problem.chain_prior
        )
        explained = inference.explained(weights, evidence.reshape(weights.shape))
        # Of a long recording nothing stays that is not needed again.
        del posterior, evidence
        statistics = bins.differentiate(model, weights)
        before, chosen = chosen, _chosen(chosen, weights, problem.prior)
        anew = chosen is not before and not isinstance(problem.prior, Ridge)
        information = bins.inform(model, weights, chosen)
        climber = climber._replace(model=moved)
        ascent = ascend(climber, problem, weights, explained, statistics, information)
        climber = Climber(
            ascent.proposal.model,
            inference.learn(problem.prior, ascent.proposal, information),
        )
        # The next iteration reads it, which the linter does not see.
        evidence = ascent.evidence.reshape(shape)  # noqa: F841
        del ascent
    return Restart(climber, log_likelihoods, objectives, converged)


def _chosen(before: Chosen | None, weights: Values, prior: Prior) -> Chosen:
    """Choose the rows that tell how the objective curves.

    Where the curvature is part of the objective they stay the same as long as they
    can: others would move it up and down by more than an iteration gains.
    """
    if isinstance(prior, Ridge):
        return choose(weights, ROWS_OF_A_STEP)
    if before is None:
        return choose(weights, ROWS_OF_A_BOUND)
    some = len(before.rows) < len(weights)
    if some and effective_share(count(before, weights)) < WORN:
        return choose(weights, ROWS_OF_A_BOUND)
    return before


def _log_prior(climber: Climber, problem: Problem) -> float:
    found = inference.log_prior(
        climber.model, climber.prior_state, problem.prior, problem.chain_prior
    )
    return float(found)


class Ascent(NamedTuple):
    """A step that does not lower the objective, and what the bins say after it."""

    proposal: Proposal
    evidence: Float[Values, "row state"]
    explained: float


def ascend(
    climber: Climber,
    problem: Problem,
    weights: Float[Values, "row state"],
    explained: float,
    statistics: glm.Statistics,
    information: Float[jax.Array, "state group coefficient other"],
) -> Ascent:
    """Step all GLMs; if that falls short, those that fell more cautiously."""
    bins, prior = problem.bins, problem.prior
    caution = np.ones(statistics.gradient.shape[:2], weights.dtype)
    rounding = ROUNDING[str(weights.dtype)]
    before = None
    for attempt in range(MOST_CAUTION + 1):
        proposal = inference.propose(
            climber.model, prior, climber.prior_state, statistics, information, caution
        )
        found = bins.evaluate(proposal.model, weights)
        reached = inference.explained(weights, found.evidence)
        gain = inference.total_gain(explained, reached, proposal)
        if attempt == MOST_CAUTION or gain >= -rounding:
            break
        if before is None:
            before = bins.evaluate(climber.model, weights).objective
        gains = inference.gains(prior, before, found.objective, proposal)
        fell = ~(np.asarray(gains) >= 0)
        caution = np.where(fell, CAUTION * caution, caution)
    return Ascent(proposal, found.evidence, reached)


def finish(climber: Climber, problem: Problem) -> Finish:
    """Number the states by the time spent in them; add posterior and information."""
    recording, bins = problem.recording, problem.bins
    time_spent = np.asarray(inference.smooth(climber.model, recording, bins)).sum(
        (0, 1)
    )
    n_listening = climber.model.n_states - climber.model.n_lapse_states
    lapses = np.arange(climber.model.n_states) >= n_listening
    order = np.lexsort((-time_spent, lapses))
    model = reorder(jax.tree.map(np.asarray, climber.model), order)
    end = Climber(model, problem.prior.reorder(climber.prior_state, order))
    smoothed = inference.smooth(model, recording, bins)
    weights = inference.observed_rows(smoothed, recording)
    information = bins.inform(model, weights, choose(weights, ROWS_OF_ERRORS))
    return Finish(end, np.asarray(smoothed), np.asarray(information), order)


def reorder(model: SwitchingGLM, order: Any) -> SwitchingGLM:
    """Number the states of a model in another order."""
    return SwitchingGLM(
        initial=model.initial[order],
        transition_matrix=model.transition_matrix[np.ix_(order, order)],
        bias=model.bias[order],
        weight=model.weight[order],
        basis=model.basis,
        input_weight=model.input_weight[order],
        self_weight=model.self_weight[order],
        self_basis=model.self_basis,
        transition_weight=model.transition_weight[np.ix_(order, order)],
        dispersion=model.dispersion[order],
        n_lapse_states=model.n_lapse_states,
        recurrent=model.recurrent,
        observation=model.observation,
        link=model.link,
    )
