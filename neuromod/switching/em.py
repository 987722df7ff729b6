"""Exact expectation-maximisation from several starting points."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from neuromod import kernels
from neuromod.core.errors import DivergedError
from neuromod.core.progress import progress_bar
from neuromod.switching import starts
from neuromod.switching.inference import (
    Posterior,
    Problem,
    Recording,
    e_step,
    m_step,
    run,
)
from neuromod.switching.model import SwitchingGLM

SCORING_STEPS_AT_START = 3
EARLY = 100.0


class Restart(NamedTuple):
    """One climb: where it ended and how it got there."""

    model: SwitchingGLM
    log_likelihoods: list[float]
    objectives: list[float]
    converged: bool


class Finish(NamedTuple):
    """The model with its states numbered by the time spent in them.

    Parameters
    ----------
    model
        Parameters as numpy arrays.
    smoothed : (session, time, state)
        Posterior probabilities of the states.
    bias_error, weight_error
        Standard errors in the shapes of ``bias`` and ``weight``, which take the state
        posterior as known; infinite where the data tell nothing.
    """

    model: SwitchingGLM
    smoothed: Float[np.ndarray, "session time state"]
    bias_error: Float[np.ndarray, "state neuron"]
    weight_error: Float[np.ndarray, "state neuron source_neuron basis"]


def starting_points(
    blank: SwitchingGLM,
    recording: Recording,
    problem: Problem,
    seed: int,
    n_restarts: int,
) -> list[SwitchingGLM]:
    """Make one model per restart, each from other clusters of the bins."""
    counts, lengths = np.asarray(recording.counts), np.asarray(recording.lengths)
    precision = problem.feature_rows.dtype
    blank = jax.tree.map(lambda a: jnp.asarray(a, precision), blank)
    models = []
    for restart in range(n_restarts if blank.n_states > 1 else 1):
        generator = np.random.default_rng([seed, restart])
        window = starts.WINDOWS[restart % len(starts.WINDOWS)]
        clusters = starts.labels(counts, lengths, blank.n_states, window, generator)
        soft = starts.responsibilities(clusters, blank.n_states, generator)
        guess = Posterior(
            log_likelihood=jnp.zeros(len(lengths), precision),
            smoothed=jnp.asarray(soft, precision),
            transition_counts=jnp.asarray(blank.transition_matrix),
        )
        model = blank
        for _ in range(SCORING_STEPS_AT_START):
            model = m_step(model, problem, guess).model
        models.append(model)
    return models


def race(
    models: list[SwitchingGLM],
    problem: Problem,
    max_iterations: int,
    tolerance: float,
    progress: bool,
) -> list[Restart]:
    """Climb from every starting point, and to the end from the best of them.

    Most of a climb is spent on its last thousandth. So every restart stops while its
    iterations still gain a little, and only the one that got highest goes on.
    """
    early = tolerance * (EARLY if len(models) > 1 else 1.0)
    runs = []
    with progress_bar(len(models), "fit", "start", shown=progress) as bar:
        for model in models:
            runs.append(climb(model, problem, max_iterations, early, bar))
            bar.update()
        if early > tolerance:
            best = best_of(runs)
            left = max_iterations - len(runs[best].objectives) + 1
            rest = climb(runs[best].model, problem, left, tolerance, bar)
            runs[best] = _joined(runs[best], rest)
    return runs


def best_of(runs: list[Restart]) -> int:
    """Return which restart got highest."""
    return int(np.argmax([run.objectives[-1] for run in runs]))


def _joined(first: Restart, rest: Restart) -> Restart:
    # The second climb begins where the first ended, so that point stands in both.
    return rest._replace(
        log_likelihoods=first.log_likelihoods[:-1] + rest.log_likelihoods,
        objectives=first.objectives[:-1] + rest.objectives,
    )


def climb(
    model: SwitchingGLM,
    problem: Problem,
    max_iterations: int,
    tolerance: float,
    bar: tqdm,
) -> Restart:
    """Iterate until an iteration gains less than the tolerance (nats per bin)."""
    n_bins = int(np.asarray(problem.recording.observed).sum())
    log_likelihoods: list[float] = []
    objectives: list[float] = []
    for iteration in itertools.count():
        found = e_step(model, problem)
        log_likelihoods.append(float(found.log_likelihood))
        objectives.append(float(found.objective))
        if not np.isfinite(objectives[-1]):
            raise DivergedError(
                f"switching.fit: the log-likelihood became {objectives[-1]} in "
                f"iteration {iteration}. Try ridge=1.0, or link='softplus' where the "
                "exponential link overflows."
            )
        bar.set_postfix_str(f"{log_likelihoods[-1] / n_bins:.4f} nats/bin")
        gain = objectives[-1] - objectives[-2] if iteration else np.inf
        converged = bool(gain < tolerance * n_bins)
        if converged or iteration == max_iterations:
            break
        model = m_step(model, problem, found.posterior).model
    return Restart(model, log_likelihoods, objectives, converged)


def finish(model: SwitchingGLM, problem: Problem) -> Finish:
    """Number the states by the time spent in them; add posterior and errors."""
    posterior = e_step(model, problem).posterior
    information = np.asarray(m_step(model, problem, posterior).information)
    time_spent = np.asarray(posterior.smoothed).sum((0, 1))
    order = np.argsort(-time_spent, kind="stable")
    model = jax.tree.map(np.asarray, model)
    ordered = SwitchingGLM(
        initial=model.initial[order],
        transition_matrix=model.transition_matrix[np.ix_(order, order)],
        bias=model.bias[order],
        weight=model.weight[order],
        basis=model.basis,
        observation=model.observation,
        link=model.link,
    )
    errors = _standard_errors(information[order])
    weight_error = errors[..., 1:].reshape(model.weight.shape)
    found = run(kernels.hmm_smoother, ordered, problem.recording).smoothed
    return Finish(ordered, np.asarray(found), errors[..., 0], weight_error)


def _standard_errors(information: np.ndarray) -> np.ndarray:
    """Invert the information; infinite where the data do not tell a coefficient."""
    values, vectors = np.linalg.eigh(information)
    told = values > 1e-12 * values[..., -1:]
    inverse = np.where(told, 1 / np.where(told, values, 1.0), 0.0)
    variance = (vectors**2 * inverse[..., None, :]).sum(-1)
    untold = (vectors**2 * ~told[..., None, :]).sum(-1) > 1e-6
    return np.sqrt(np.where(untold, np.inf, variance))
