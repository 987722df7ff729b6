r"""What a search goes by: how much each candidate promises.

The *objective* is what is to be large: one output, less $\lambda$ times the largest of
some others, each relative to the best that is expected of it anywhere,

$$
u(x) = m_t(x) - \lambda \max_{o \neq t} m_o(x), \qquad
\mathrm{Var}\,u = v(x)\, w^T B w, \quad w = e_t - \lambda e_{o^*(x)},
$$

with $v$ the variance that all outputs share, and $B$ their covariance. Of logarithms
"relative to the best" is a difference, else a ratio.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from neuromod.stimulation import acquisition
from neuromod.stimulation.belief import Basis, Belief, Prior, believe
from neuromod.stimulation.covariance import GaussianProcess, Points, covariance
from neuromod.stimulation.gaussian_process import Posterior, predict
from neuromod.stimulation.rule import Rule


class Scene(NamedTuple):
    """What is searched, and what is known of it beforehand.

    Parameters
    ----------
    process
        Of the map, in units of its scale.
    candidates
        What could be stimulated.
    basis, prior
        As of `neuromod.stimulation.belief.believe`.
    """

    process: GaussianProcess
    candidates: Points
    basis: Basis
    prior: Prior


class Objective(NamedTuple):
    """What is to be large.

    Parameters
    ----------
    target
        Number of the output.
    penalty
        What the largest of the others counts for.
    others : (output,)
        Which outputs count against it.
    """

    target: Int[Array, ""]
    penalty: Float[Array, ""]
    others: Bool[Array, " output"]


class Course(NamedTuple):
    """How far a search is.

    Parameters
    ----------
    weight
        Deviations that a candidate is credited with now, or that it must gain.
    n_visits : (candidate,)
        Trials of each candidate.
    """

    weight: Float[Array, ""]
    n_visits: Int[Array, " candidate"]


def only(target: int, n_outputs: int) -> Objective:
    """Return the objective of one output alone."""
    number: Any = np.asarray(target)
    nothing: Any = np.asarray(0.0)
    none: Any = np.zeros(n_outputs, bool)
    return Objective(number, nothing, none)


def belief_of(known: Posterior, scene: Scene, rule: Rule) -> Belief:
    """Return what is believed of a map by a rule."""
    return believe(known, scene.basis, scene.prior, size=rule.size)


def belief_at(
    known: Posterior,
    scene: Scene,
    points: Points,
    basis: Float[Array, "point basis"],
    rule: Rule,
) -> Belief:
    """Return what is believed of other points, where the basis has these values."""
    n_columns = known.whitened.shape[1]
    still = jnp.zeros((len(points.at), n_columns), known.mean.dtype)
    mean, variance = predict(scene.process, known, points, still)
    elsewhere = known._replace(mean=mean, variance=variance)
    return believe(
        elsewhere, scene.basis._replace(at=basis), scene.prior, size=rule.size
    )


def utility(
    found: Belief, rule: Rule, objective: Objective, best: Float[Array, " output"]
) -> tuple[Float[Array, " candidate"], Float[Array, " candidate"]]:
    """Return the mean of the objective, and its scale, at every candidate.

    Parameters
    ----------
    found
        What is believed of them.
    rule, objective
        How is searched, and for what.
    best : (output,)
        The largest that is expected of each output.
    """
    mean, between = found.mean, found.covariance
    if rule.logarithm:
        mean = mean - best[None]
    else:
        size = jnp.where(best > 0, best, 1.0)
        mean = mean / size[None]
        between = between / (size[:, None] * size[None, :])
    rivals = jnp.where(objective.others[None], mean, -jnp.inf)
    rival = jnp.argmax(rivals, axis=1)
    has_rival = objective.others.any()
    penalty = jnp.where(has_rival, objective.penalty, 0.0)
    against = jnp.take_along_axis(mean, rival[:, None], axis=1)[:, 0]
    target = objective.target
    variances = (
        between[target, target]
        - 2 * penalty * between[target][rival]
        + jnp.square(penalty) * jnp.diag(between)[rival]
    )
    scale = jnp.sqrt(jnp.maximum(variances, 0.0))
    return mean[:, target] - penalty * jnp.where(has_rival, against, 0.0), scale


def promise(
    key: PRNGKeyArray,
    known: Posterior,
    scene: Scene,
    rule: Rule,
    objective: Objective,
    course: Course,
) -> Float[Array, " candidate"]:
    """Return how much each candidate promises.

    Parameters
    ----------
    key
        Of a draw from the posterior, if the rule asks for one.
    known
        What is known after the trials so far.
    scene, rule, objective, course
        What is searched, how, for what, and how far it is.
    """
    found = belief_of(known, scene, rule)
    mean, scale = utility(found, rule, objective, found.mean.max(axis=0))
    variance = known.variance
    if rule.with_noise:
        variance = variance + scene.process.noise[scene.candidates.level]
    deviation = scale * jnp.sqrt(variance)
    if rule.by_visits:
        deviation = deviation / jnp.sqrt(1.0 + course.n_visits.astype(mean.dtype))
    if rule.acquisition == "upper_confidence_bound":
        return acquisition.upper_confidence_bound(mean, deviation, course.weight)
    if rule.acquisition == "thompson":
        between = covariance(scene.process, scene.candidates, scene.candidates)
        between = between - known.cross.T @ known.cross
        drawn = acquisition.thompson(key, jnp.zeros_like(mean), between)
        return mean + drawn * scale
    improve = (
        acquisition.expected_improvement
        if rule.acquisition == "expected_improvement"
        else acquisition.probability_of_improvement
    )
    best = jnp.where(course.n_visits > 0, mean, -jnp.inf).max()
    return improve(mean, deviation, best, course.weight * scale)
