r"""Exact Gaussian-process regression that takes one trial at a time.

What is known after $n$ trials is the factor $L L^T = K + \Sigma$ of their covariance,
the whitened residuals $z = L^{-1} (y - b)$ and, for all points that could be stimulated
next, $V = L^{-1} k(X, G)$: the mean there is $b + V^T z$ and the variance
$k(g, g) - \sum_i V_{ig}^2$. One more trial adds a row to each:

$$
l = L^{-1} k(X, x), \quad d^2 = k(x, x) + \sigma^2 - l^T l, \quad
v = \frac{k(x, G) - l^T V}{d}, \quad \zeta = \frac{y - b - l^T z}{d},
$$

in $O(n^2 + n m)$ instead of $O(n^3 + n^2 m)$. All arrays have room for `capacity`
trials, and rows that are not there yet are rows of the unit matrix: shapes do not
change as trials come, so nothing is compiled again.

Several outputs (muscles) that are seen in every trial share all of this but $z$.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float, Int

from neuromod.stimulation.covariance import (
    GaussianProcess,
    Points,
    covariance,
    variance,
)


class Trials(NamedTuple):
    """What was stimulated, and what came of it, with room for more.

    Parameters
    ----------
    points : (capacity,)
        The stimuli.
    response : (capacity, output)
        What came of them.
    noise : (capacity,)
        Multiplies the variance of the noise: 1 / n for the mean of n trials.
    n_seen : ()
        How many there are.
    """

    points: Points
    response: Float[Array, "capacity output"]
    noise: Float[Array, " capacity"]
    n_seen: Int[Array, ""]


class Posterior(NamedTuple):
    """What is known after some trials.

    Parameters
    ----------
    trials
        The trials.
    factor : (capacity, capacity)
        Of the covariance of what was seen.
    whitened : (capacity, output)
        Residuals, whitened by the factor.
    cross : (capacity, candidate)
        Covariance of trials and candidates, whitened.
    mean : (candidate, output)
        Of what would be seen at each candidate.
    variance : (candidate,)
        Of the same, without noise.
    """

    trials: Trials
    factor: Float[Array, "capacity capacity"]
    whitened: Float[Array, "capacity output"]
    cross: Float[Array, "capacity candidate"]
    mean: Float[Array, "candidate output"]
    variance: Float[Array, " candidate"]


def empty(capacity: int, n_dimensions: int, n_outputs: int = 1) -> Trials:
    """Return room for trials."""
    rows: Any = np.zeros((capacity, n_dimensions))
    levels: Any = np.zeros(capacity, int)
    response: Any = np.zeros((capacity, n_outputs))
    noise: Any = np.ones(capacity)
    none: Any = np.zeros((), int)
    return Trials(Points(rows, levels), response, noise, none)


def seen(trials: Trials) -> Bool[Array, " capacity"]:
    """Return which rows hold a trial."""
    return jnp.arange(len(trials.noise)) < trials.n_seen


def add(
    trials: Trials,
    at: Float[Array, " dimension"],
    level: Int[Array, ""],
    response: Float[Array, " output"],
    noise: Float[Array, ""],
) -> Trials:
    """Return trials with one more."""
    i = trials.n_seen
    points = Points(
        trials.points.at.at[i].set(at), trials.points.level.at[i].set(level)
    )
    return Trials(
        points,
        trials.response.at[i].set(response),
        trials.noise.at[i].set(noise),
        i + 1,
    )


def posterior(
    process: GaussianProcess,
    trials: Trials,
    candidates: Points,
    prior_mean: tuple[Array, Array],
) -> Posterior:
    """Return what is known after trials.

    Parameters
    ----------
    process
        The prior.
    trials
        What was seen.
    candidates
        Where something is asked.
    prior_mean
        What is added to the offset of the process at the trials (capacity, output),
        and at the candidates (candidate, output).
    """
    here = seen(trials)
    factor = _factor(process, trials)
    expected = process.offset[trials.points.level][:, None] + prior_mean[0]
    residual = jnp.where(here[:, None], trials.response - expected, 0.0)
    between = covariance(process, trials.points, candidates)
    between = jnp.where(here[:, None], between, 0.0)
    whitened = solve_triangular(factor, residual, lower=True)
    cross = solve_triangular(factor, between, lower=True)
    mean = process.offset[candidates.level][:, None] + prior_mean[1]
    left = variance(process, candidates) - jnp.square(cross).sum(axis=0)
    return Posterior(
        trials,
        factor,
        whitened,
        cross,
        mean + cross.T @ whitened,
        jnp.maximum(left, 0.0),
    )


def append(
    process: GaussianProcess,
    known: Posterior,
    candidates: Points,
    trial: tuple[Array, Array, Array, Array],
    prior_mean: Float[Array, " output"],
) -> Posterior:
    """Return what is known after one more trial.

    Parameters
    ----------
    process, known, candidates
        As they were.
    trial
        The stimulus (dimension,), its level, the response (output,), and what
        multiplies the variance of its noise.
    prior_mean : (output,)
        What is added to the offset of the process at the stimulus.
    """
    at, level, response, noise = trial
    one = Points(at[None], level[None])
    i = known.trials.n_seen
    to_trials = covariance(process, known.trials.points, one)[:, 0]
    to_trials = jnp.where(seen(known.trials), to_trials, 0.0)
    row = solve_triangular(known.factor, to_trials, lower=True)
    left = variance(process, one)[0] + process.noise[level] * noise - row @ row
    deviation = jnp.sqrt(jnp.maximum(left, TINY))
    to_candidates = covariance(process, one, candidates)[0]
    cross = (to_candidates - row @ known.cross) / deviation
    residual = response - process.offset[level] - prior_mean
    whitened = (residual - row @ known.whitened) / deviation
    return Posterior(
        add(known.trials, at, level, response, noise),
        known.factor.at[i].set(row.at[i].set(deviation)),
        known.whitened.at[i].set(whitened),
        known.cross.at[i].set(cross),
        known.mean + cross[:, None] * whitened[None, :],
        jnp.maximum(known.variance - jnp.square(cross), 0.0),
    )


def revalue(
    process: GaussianProcess,
    known: Posterior,
    response: Float[Array, "capacity output"],
    candidates: Points,
) -> Posterior:
    """Return what would be known if all responses had been others, at the same points.

    Parameters
    ----------
    process, known, candidates
        As they were, without a prior mean.
    response : (capacity, output)
        The other responses.
    """
    trials = known.trials._replace(response=response)
    expected = process.offset[trials.points.level][:, None]
    residual = jnp.where(seen(trials)[:, None], response - expected, 0.0)
    whitened = solve_triangular(known.factor, residual, lower=True)
    # In this order each row of the cross covariance is read once, from end to end.
    mean = process.offset[candidates.level][:, None] + (whitened.T @ known.cross).T
    return known._replace(trials=trials, whitened=whitened, mean=mean)


def widen(known: Posterior, cross: Float[Array, "capacity candidate"]) -> Posterior:
    """Return the same with room for more trials.

    Parameters
    ----------
    known
        What is known.
    cross : (capacity, candidate)
        Zeros, where the covariance of trials and candidates is to be.
    """
    capacity = len(cross)

    def longer(rows: Array, filler: int) -> Array:
        after = (0, capacity - len(rows), 0)
        within = [(0, 0, 0)] * (rows.ndim - 1)
        return jax.lax.pad(rows, jnp.asarray(filler, rows.dtype), [after, *within])

    trials = known.trials
    points = Points(longer(trials.points.at, 0), longer(trials.points.level, 0))
    trials = Trials(
        points, longer(trials.response, 0), longer(trials.noise, 1), trials.n_seen
    )
    n = len(known.factor)
    factor = jnp.eye(capacity, dtype=known.factor.dtype).at[:n, :n].set(known.factor)
    return known._replace(
        trials=trials,
        factor=factor,
        whitened=longer(known.whitened, 0),
        cross=cross.at[:n].set(known.cross),
    )


def predict(
    process: GaussianProcess,
    known: Posterior,
    points: Points,
    prior_mean: Float[Array, "point output"],
) -> tuple[Float[Array, "point output"], Float[Array, " point"]]:
    """Return mean and variance of what would be seen at other points.

    Parameters
    ----------
    process, known
        The prior, and what is known.
    points
        Where.
    prior_mean : (point, output)
        What is added to the offset of the process there.
    """
    between = covariance(process, known.trials.points, points)
    between = jnp.where(seen(known.trials)[:, None], between, 0.0)
    cross = solve_triangular(known.factor, between, lower=True)
    mean = process.offset[points.level][:, None] + prior_mean
    left = variance(process, points) - jnp.square(cross).sum(axis=0)
    return mean + cross.T @ known.whitened, jnp.maximum(left, 0.0)


def log_marginal_likelihood(
    process: GaussianProcess,
    trials: Trials,
    prior_mean: Float[Array, "capacity output"],
) -> Float[Array, ""]:
    """Return the log density of what was seen, summed over outputs."""
    expected = process.offset[trials.points.level][:, None] + prior_mean
    residual = jnp.where(seen(trials)[:, None], trials.response - expected, 0.0)
    density = _log_density(trial_covariance(process, trials), residual)
    n_numbers = jnp.where(seen(trials)[:, None], 1.0, jnp.zeros_like(residual)).sum()
    return density - 0.5 * np.log(2 * np.pi) * n_numbers


TINY = 1e-300


def trial_covariance(process: GaussianProcess, trials: Trials) -> Array:
    """Return the covariance of what was seen, noise included."""
    here = seen(trials)
    between = covariance(process, trials.points, trials.points)
    between = jnp.where(here[:, None] & here[None, :], between, 0.0)
    noise = process.noise[trials.points.level] * trials.noise
    return between + jnp.diag(jnp.where(here, noise, 1.0))


def _factor(process: GaussianProcess, trials: Trials) -> Array:
    return jnp.linalg.cholesky(trial_covariance(process, trials))


@partial(jax.custom_vjp)
def _log_density(covariances: Array, residual: Array) -> Array:
    """Return the log density of residuals (row, output), but for 2 pi."""
    return _log_density_and_rest(covariances, residual)[0]


def _log_density_and_rest(
    covariances: Array, residual: Array
) -> tuple[Array, tuple[Array, Array]]:
    factor = jnp.linalg.cholesky(covariances)
    solved = cho_solve((factor, True), residual)
    n_outputs = residual.shape[1]
    logarithms = n_outputs * jnp.log(jnp.diag(factor)).sum()
    return -0.5 * jnp.vdot(residual, solved) - logarithms, (factor, solved)


def _slopes(kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    """Return the slopes: half of alpha alpha^T - K^-1, and minus alpha."""
    factor, solved = kept
    inverse = cho_solve((factor, True), jnp.eye(len(factor), dtype=factor.dtype))
    of_covariance = 0.5 * (solved @ solved.T - solved.shape[1] * inverse)
    return slope * of_covariance, -slope * solved


_log_density.defvjp(_log_density_and_rest, _slopes)
