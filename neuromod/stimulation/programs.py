"""The compiled steps of a search: each is traced once for every room of trials."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from neuromod.stimulation import acquisition
from neuromod.stimulation.belief import Basis, Prior
from neuromod.stimulation.covariance import GaussianProcess, Points
from neuromod.stimulation.decide import (
    Course,
    Objective,
    Scene,
    belief_at,
    belief_of,
    promise,
    utility,
)
from neuromod.stimulation.evidence import log_evidence
from neuromod.stimulation.gaussian_process import (
    Posterior,
    Trials,
    append,
    posterior,
    revalue,
    widen,
)
from neuromod.stimulation.hyperparameters import fit
from neuromod.stimulation.layout import Block
from neuromod.stimulation.rows import Row
from neuromod.stimulation.rule import Rule, build, free_parameters


def _appended(
    process: GaussianProcess, known: Posterior, candidates: Points, row: Row
) -> Posterior:
    trial: Any = tuple(jnp.asarray(x) for x in row)
    return append(process, known, candidates, trial, jnp.zeros_like(trial[2]))


change_values = jax.jit(revalue, donate_argnums=1)
widen_room = jax.jit(widen, donate_argnums=1)
append_row = jax.jit(_appended, donate_argnums=1)
append_row_to_copy = jax.jit(_appended)
believe_all = jax.jit(belief_of, static_argnums=2)
believe_at = jax.jit(belief_at, static_argnums=4)
cosine = jax.jit(acquisition.cosine)
promise_all = jax.jit(promise, static_argnums=3)


@partial(jax.jit, static_argnums=2)
def utilities(
    known: Posterior, scene: Scene, rule: Rule, objective: Objective
) -> tuple[Array, Array]:
    """Return mean and deviation of the objective at every candidate."""
    found = belief_of(known, scene, rule)
    mean, scale = utility(found, rule, objective, found.mean.max(axis=0))
    sizes = jnp.sqrt(jnp.diag(found.covariance))
    return mean, scale * found.total_deviation[:, 0] / sizes[0]


@partial(jax.jit, static_argnums=2)
def utility_at(
    known: Posterior,
    scene: Scene,
    rule: Rule,
    objective: Objective,
    points: Points,
    basis: Array,
) -> Array:
    """Return the mean of the objective at other points."""
    best = belief_of(known, scene, rule).mean.max(axis=0)
    found = belief_at(known, scene, points, basis, rule)
    return utility(found, rule, objective, best)[0]


@jax.jit
def rebuild(process: GaussianProcess, trials: Trials, candidates: Points) -> Posterior:
    """Return what is known after trials."""
    n_columns = trials.response.shape[1]
    still = (
        jnp.zeros_like(trials.response),
        jnp.zeros((len(candidates.at), n_columns), trials.response.dtype),
    )
    return posterior(process, trials, candidates, still)


@jax.jit
def first(key: Array, allowed: Array) -> Array:
    """Return one of what is allowed, at random."""
    return acquisition.largest(key, jnp.zeros(len(allowed), jnp.float64), allowed)


@partial(jax.jit, static_argnums=6)
def most_promising(
    key: Array,
    known: Posterior,
    scene: Scene,
    allowed: Array,
    objective: Objective,
    course: Course,
    rule: Rule,
) -> Array:
    """Return the most promising candidate."""
    tie, draw = jax.random.split(key)
    promised = promise(draw, known, scene, rule, objective, course)
    return acquisition.largest(tie, promised, allowed)


@partial(jax.jit, static_argnums=(1, 2, 3))
def build_process(
    parameters: Array, rule: Rule, block: Block, moving: tuple[int, ...]
) -> GaussianProcess:
    """Return the process of a rule."""
    return build(parameters, rule, block, moving)


@partial(jax.jit, static_argnums=(4, 5, 6))
def fit_parameters(
    trials: Trials,
    basis: Basis,
    prior: Prior,
    start: Array,
    rule: Rule,
    block: Block,
    moving: tuple[int, ...],
) -> Array:
    """Return better parameters."""

    def log_density(parameters: Array) -> Array:
        process = build(parameters, rule, block, moving)
        return log_evidence(process, trials, basis, prior, size=rule.size)

    free = free_parameters(rule, block)
    return fit(log_density, free, start, rule.n_iterations).parameters
