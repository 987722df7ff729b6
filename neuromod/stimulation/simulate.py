r"""Whole sessions simulated: how well would a rule have done on a known map?

A world draws single trials of each candidate: those that were recorded
(`recorded_world`), or the mean times a gamma variable of mean 1 and some coefficient of
variation (`noisy_world`). `simulate` runs many sessions in one program, each with a
first candidate at random.

Two scores tell how it went (Bonizzato et al. 2023), with $m$ the true mean map, $x_q$
the candidate of query $q$, and $b_q$ the one, of those tested so far, that is believed
to be best:

$$
\\text{exploitation}_q = m[x_q] / \\max m, \\qquad
\\text{exploration}_q = m[b_q] / \\max m .
$$
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, invalid
from neuromod.stimulation import acquisition
from neuromod.stimulation.belief import constant, prior_of, with_map
from neuromod.stimulation.covariance import Points
from neuromod.stimulation.decide import Course, Scene, belief_of, only, promise
from neuromod.stimulation.evidence import log_evidence
from neuromod.stimulation.gaussian_process import Trials, append, empty, posterior
from neuromod.stimulation.hyperparameters import fit
from neuromod.stimulation.layout import flat
from neuromod.stimulation.rule import Rule, build, free_parameters, weights
from neuromod.stimulation.scale import floor_of, to_map


class World(NamedTuple):
    """What a stimulus would do.

    Parameters
    ----------
    mean : (candidate,)
        The true map.
    trials : (candidate, trial)
        Single trials to draw from, or factors of the mean.
    n_valid : (candidate,)
        How many of them are trials.
    """

    mean: np.ndarray
    trials: np.ndarray
    n_valid: np.ndarray


def recorded_world(trials: np.ndarray) -> World:
    """Return the world of recorded trials (candidate, trial), NaN where there is none.

    Examples
    --------
    >>> recorded_world(np.array([[1.0, 3.0], [4.0, np.nan]])).mean
    array([2., 4.])
    """
    trials = np.asarray(trials, float)
    valid = np.isfinite(trials)
    if trials.ndim != 2 or not valid.any(axis=1).all():
        expected = "(candidate, trial) with a trial of each candidate"
        raise invalid("trials", f"shape {trials.shape}", expected, kind=ShapeError)
    order = np.argsort(~valid, axis=1, kind="stable")
    sorted_ = np.take_along_axis(np.where(valid, trials, 0.0), order, axis=1)
    n_valid = valid.sum(axis=1)
    return World(sorted_.sum(axis=1) / n_valid, sorted_, n_valid)


def noisy_world(
    mean: np.ndarray, variation: float, *, seed: int, n_trials: int = 200
) -> World:
    """Return a world of trials drawn around a map (candidate,).

    Parameters
    ----------
    mean : (candidate,)
        The map, of positive numbers.
    variation
        Standard deviation of a trial over its mean.
    seed
        Of the draws.
    n_trials
        That are drawn of each candidate.
    """
    mean = np.asarray(mean, float)
    shape = 1 / variation**2
    rng = np.random.default_rng(require_integer(seed, "seed", minimum=0))
    drawn = rng.gamma(shape, 1 / shape, (len(mean), n_trials))
    return World(mean, mean[:, None] * drawn, np.full(len(mean), n_trials))


def simulate(
    world: World,
    coordinates: np.ndarray,
    rule: Rule,
    n_queries: int,
    *,
    seed: int,
    n_sessions: int = 1,
    earlier: np.ndarray | None = None,
) -> xr.Dataset:
    """Simulate sessions of a rule.

    Parameters
    ----------
    world
        What stimuli do.
    coordinates : (candidate, dimension)
        Where candidates lie.
    rule
        How to search.
    n_queries
        Trials of a session.
    seed
        Of all draws.
    n_sessions
        Sessions, each with draws of its own.
    earlier : (candidate,)
        What earlier animals make expect, on the scale of the map (of logarithms, if
        the rule takes them).

    Returns
    -------
    xarray.Dataset
        ``exploration``, ``exploitation``, and the ``candidate`` that was stimulated:
        (session, query).

    Examples
    --------
    >>> grid = np.stack(np.meshgrid(range(4), range(4)), -1).reshape(-1, 2)
    >>> world = noisy_world(1.0 + grid.sum(axis=1), 0.2, seed=0)
    >>> found = simulate(world, grid, Rule(), 12, seed=0, n_sessions=5)
    >>> dict(found.sizes), bool(found["exploration"][:, -1].mean() > 0.8)
    ({'session': 5, 'query': 12}, True)
    """
    if len(coordinates) != len(world.mean):
        got = f"{len(coordinates)} for {len(world.mean)} candidates"
        raise invalid("coordinates", got, "one for each", kind=ShapeError)
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(seed), n_sessions)
        given = jax.tree.map(jnp.asarray, world)
        at = jnp.asarray(coordinates, jnp.float64)
        maps = np.zeros((len(at), 0)) if earlier is None else np.asarray(earlier)
        columns = jnp.asarray(maps, jnp.float64).reshape(len(at), -1)
        run = _sessions(rule, n_queries)
        stimulated, believed = jax.device_get(run(keys, given, at, columns))
    share = world.mean / world.mean.max()
    dims = ("session", "query")
    return xr.Dataset(
        {
            "exploration": (dims, share[believed]),
            "exploitation": (dims, share[stimulated]),
            "candidate": (dims, stimulated),
        },
        {"query": np.arange(1, n_queries + 1)},
    )


@lru_cache(maxsize=8)  # programs take memory mappings, of which a process has few
def _sessions(rule: Rule, n_queries: int) -> Any:
    one = partial(_session, rule=rule, n_queries=n_queries)
    # One after the other: on a processor nothing is gained by side by side.
    return jax.jit(
        lambda keys, world, at, earlier: jax.lax.map(
            lambda key: one(key, world, at, earlier), keys
        )
    )


def _session(
    key: Array,
    world: World,
    at: Array,
    earlier: Array,
    *,
    rule: Rule,
    n_queries: int,
) -> tuple[Array, Array]:
    """Return the candidates stimulated and believed best, after each query."""
    n_candidates, n_dimensions = at.shape
    whole = flat(n_dimensions)
    level = np.zeros(n_candidates, int)
    basis = jax.tree.map(jnp.asarray, constant(level, 1, offset=rule.offset))
    for column in earlier.T:
        basis = with_map(basis, column, xp=jnp)
    prior = jax.tree.map(jnp.asarray, prior_of(rule.scale, rule.n_prior, 1))
    candidates = Points(at, jnp.asarray(level))
    start = jnp.asarray(free_parameters(rule, whole).start)
    scene = Scene(build(start, rule, whole), candidates, basis, prior)
    first_and_last = map(jnp.asarray, weights(rule, n_candidates, n_queries))
    first_weight, last_weight = first_and_last
    n_columns = 1 + basis.at.shape[1]
    room = jax.tree.map(jnp.asarray, empty(n_queries, n_dimensions, n_columns))
    everything, objective = jnp.ones(n_candidates, bool), only(0, 1)
    objective = jax.tree.map(jnp.asarray, objective)

    def known_of(process: Any, trials: Trials) -> Any:
        still = jnp.zeros_like(trials.response), jnp.zeros((n_candidates, n_columns))
        return posterior(process, trials, candidates, still)

    def on_map(trials: Trials, before: Array, floor: Array) -> Trials:
        responses = jnp.maximum(jnp.exp(trials.response[:, :1]) - before, 0.0)
        values = to_map(responses, floor, jnp)
        return trials._replace(response=trials.response.at[:, :1].set(values))

    def here_and_now(process: Any, known: Any, tried: Array) -> Scene:
        """Return the scene, with what repeats tell of the noise."""
        seen = jnp.arange(n_queries) < known.trials.n_seen
        count = seen.astype(at.dtype)
        value = jnp.where(seen, known.trials.response[:, 0], 0.0)
        n_tried = jnp.zeros(n_candidates).at[tried].add(count, mode="drop")
        total = jnp.zeros(n_candidates).at[tried].add(value, mode="drop")
        mean = (total / jnp.maximum(n_tried, 1.0)).at[tried].get(mode="clip")
        scatter = jnp.where(seen, jnp.square(value - mean), 0.0).sum()
        return scene._replace(
            process=process,
            prior=prior._replace(
                n_repeats=jnp.maximum(n_tried - 1.0, 0.0).sum(),
                scatter=scatter[None, None] / process.noise[0],
            ),
        )

    def refitted(process: Any, parameters: Array, known: Any) -> Any:
        def log_density(tried: Array) -> Array:
            tried_process = build(tried, rule, whole)
            return log_evidence(
                tried_process, known.trials, basis, prior, size=rule.size
            )

        free = free_parameters(rule, whole)
        found = fit(log_density, free, parameters, rule.n_iterations).parameters
        process = build(found, rule, whole)
        return process, found, known_of(process, known.trials)

    def query(carry: Any, keys: Any) -> Any:
        process, parameters, known, n_visits, first, largest, tried = carry
        n_done = known.trials.n_seen
        tie, draw, sample = keys
        weight = acquisition.cosine(
            first_weight, last_weight, n_done, jnp.asarray(n_queries)
        )
        course = Course(weight, n_visits)
        here = here_and_now(process, known, tried)
        promised = promise(sample, known, here, rule, objective, course)
        if not earlier.shape[1]:
            promised = jnp.where(n_done == 0, 0.0, promised)
        chosen = acquisition.largest(tie, promised, everything)
        which = jax.random.randint(draw, (), 0, world.n_valid[chosen])
        response = world.trials[chosen, which]
        before = floor_of(first, largest, jnp)
        first = jnp.where(first > 0, first, jnp.maximum(response, 0.0))
        largest = jnp.maximum(largest, response)
        if rule.logarithm:
            floor = floor_of(first, largest, jnp)
            known = jax.lax.cond(
                floor == before,
                lambda known: known,
                lambda known: known_of(process, on_map(known.trials, before, floor)),
                known,
            )
            response = to_map(response, floor, jnp)
        columns = jnp.concatenate([response[None], basis.at[chosen]])
        trial = at[chosen], jnp.asarray(0), columns, jnp.ones(())
        known = append(process, known, candidates, trial, jnp.zeros(n_columns))
        if rule.refit:
            process, parameters, known = jax.lax.cond(
                (n_done + 1) % rule.refit == 0,
                refitted,
                lambda *given: given,
                process,
                parameters,
                known,
            )
        n_visits = n_visits.at[chosen].add(1)
        tried = tried.at[n_done].set(chosen)
        here = here_and_now(process, known, tried)
        mean = belief_of(known, here, rule).mean[:, 0]
        best = jnp.argmax(jnp.where(n_visits > 0, mean, -jnp.inf))
        carry = process, parameters, known, n_visits, first, largest, tried
        return carry, (chosen, best)

    begin = (
        scene.process,
        start,
        known_of(scene.process, room),
        jnp.zeros(n_candidates, int),
        jnp.zeros(()),
        jnp.zeros(()),
        jnp.full(n_queries, n_candidates),
    )
    keys = jax.random.split(key, (n_queries, 3))
    each: Any = keys[:, 0], keys[:, 1], keys[:, 2]
    _, found = jax.lax.scan(query, begin, each)
    return found
