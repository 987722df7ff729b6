"""Participants who do what a model says, and fits of them."""

from typing import Any

import jax
import numpy as np

from neuromod.core import cohort
from neuromod.core.precision import Precision, dtype, in_precision, precision_context
from neuromod.hgf.agent import Agent
from neuromod.hgf.fit import climb
from neuromod.hgf.likelihood import Behaviour
from neuromod.hgf.parameters import Space
from neuromod.hgf.participants import Participants
from neuromod.hgf.responding import behave


def outcomes_only(agent: Agent) -> Agent:
    """Return an agent that asks for no responses."""
    from neuromod.hgf.responses import bayes_optimal

    return Agent(agent.network, bayes_optimal())


def draw_parameters(
    free: Space, n_subjects: int, random: np.random.Generator
) -> np.ndarray:
    """Draw free parameters (subject, parameter) from their prior, on the native scale.

    Parameters
    ----------
    free
        The free parameters.
    n_subjects
        How many participants to draw them for.
    random
        Source of random numbers.
    """
    deviates = random.standard_normal((n_subjects, len(free.names)))
    return np.asarray(free.mean) + np.asarray(free.sd) * deviates


def simulate_responses(
    agent: Agent,
    free: Space,
    design: Participants,
    native: np.ndarray,
    seed: Any,
    precision: Precision,
) -> tuple[Participants, np.ndarray]:
    """Draw the responses of participants to the outcomes of a design.

    Parameters
    ----------
    agent
        Holds what is not free.
    free
        The free parameters.
    design
        What participants see, in turn if there are fewer designs than participants.
    native : (subject, parameter)
        The parameters of each.
    seed
        Of the responses.
    precision
        "float64" or "float32".

    Returns
    -------
    participants, diverged : (subject,)
        What each saw and did, and whether beliefs diverged.
    """
    numbers = dtype(precision)
    n_subjects, n_designs = len(native), len(design.behaviours)
    seeds = np.random.SeedSequence(seed).generate_state(n_subjects)
    padded = design.padded
    with precision_context(precision):
        items = []
        for i in range(n_subjects):
            held = in_precision((agent, free, padded[i % n_designs]), precision)
            items.append((*held, native[i].astype(numbers), np.uint32(seeds[i])))
        made = cohort.lanes(_simulate, items)
    behaviours, trials = [], []
    for i, responses in enumerate(made):
        which = i % n_designs
        length = design.lengths[which]
        cut = jax.tree.map(lambda values, n=length: np.asarray(values)[:n], responses)
        behaviours.append(design.behaviours[which]._replace(responses=cut))
        trials.append(design.trials[which])
    labels = tuple(str(i) for i in range(n_subjects))
    simulated = Participants(labels, tuple(behaviours), tuple(trials))
    return simulated, np.array([_has_gaps(one) for one in behaviours])


def _simulate(item: Any) -> Any:
    agent, free, behaviour, native, seed = item
    series, _, covariates, mask, reset = behaviour
    told = free.insert(agent, native)
    return behave(told, series, jax.random.key(seed), covariates, mask, reset)


def _has_gaps(behaviour: Behaviour) -> bool:
    leaves = jax.tree.leaves(behaviour.responses)
    return not all(np.isfinite(leaf).all() for leaf in leaves)


def refit(
    agent: Agent,
    free: Space,
    participants: Participants,
    seed: Any,
    n_restarts: int,
    precision: Precision,
) -> dict[str, np.ndarray]:
    """Fit participants as `neuromod.hgf.fit` does (`neuromod.hgf.fit.climb`)."""
    with precision_context(precision):
        return climb(
            agent,
            free,
            participants,
            seed=seed,
            prior_weight=1.0,
            n_restarts=n_restarts,
            max_iterations=200,
            tolerance=1e-10,
            precision=precision,
        )
