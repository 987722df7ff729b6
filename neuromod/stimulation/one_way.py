r"""Search of stimuli with parts, as published earlier: parts inform the whole.

Level 1 is a Gaussian process of each part $k$, of trials of that part alone (one
electrode of a pair). Level 2 is one of the whole, whose mean before its trials is a
weighted sum of what level 1 found (Laferriere et al., IEEE TNSRE 2020, as the code
GP-BCI does it),

$$
y = \sum_k a_k \mu_k(x^{(k)}) + g(x) + e, \qquad
g \sim \mathrm{GP}\Bigl(0, \sum_k s_k^2\, \mathrm{Mat}_{5/2}(|x^{(k)} - x'^{(k)}| / \ell_k)\Bigr).
$$

The weights $a_k$ start at $1 / K$ and are fitted after each trial together with
$\ell_k$ and $s_k^2$, which start at what level 1 found and stay within bounds, and with
the noise. First the best sites of each part are tried with the best of the others, all
of them; from then on a candidate is *drawn* with probability
$\propto \exp\bigl((\mu + \kappa \sigma) / T\bigr)$: at a low temperature $T$ nearly the
most promising one. Responses count in units of the largest of a part alone.

Nothing goes back: level 1 stays as it was before the first trial of the whole. The
other form of a one-way hierarchy, `neuromod.stimulation.bif.ONE_WAY`, has no weights and
no bounds. Not told by the source: the range of the noise; the units in which the
variances of $g$ lie within their bounds, which are taken to be those of responses here,
so that wholes which differ from the sum of their parts by much more than .05 are
learned slowly (widen `variance_bounds` for these); the prior of the weights.
"""  # noqa: E501

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from neuromod.stimulation import acquisition
from neuromod.stimulation.covariance import Component, GaussianProcess, Points
from neuromod.stimulation.gaussian_process import (
    Trials,
    add,
    empty,
    log_marginal_likelihood,
    posterior,
)
from neuromod.stimulation.hyperparameters import Free, fit, free
from neuromod.stimulation.parts import Belief, Method, Observed, Parts, arrays

Bounds = tuple[float, float]


class OneWay(NamedTuple):
    """Settings of the search.

    Parameters
    ----------
    weight
        Deviations that a candidate is credited with.
    temperature
        Of the draw, in units of the largest response of a part alone.
    n_best
        Sites of each part that are tried first with those of the others.
    length_bounds
        Of length scales, in units of the coordinates.
    variance_bounds
        Of level 2.
    noise_bounds
        Variance of the noise of a trial, of both levels.
    weight_freedom
        Deviation of the prior of the weights.
    n_iterations
        Of a fit, which starts where the last one ended.
    """

    weight: float = 2.0
    temperature: float = 0.001
    n_best: int = 3
    length_bounds: Bounds = (0.3, 3.0)
    variance_bounds: Bounds = (5e-4, 1e-3)
    noise_bounds: Bounds = (1e-4, 1.0)
    weight_freedom: float = 0.5
    n_iterations: int = 10


FIRST_VARIANCE_BOUNDS = (1e-3, 10.0)


class State(NamedTuple):
    """What is known.

    Parameters
    ----------
    means : tuple of (site,)
        Of level 1, in units of responses.
    size : ()
        The largest response of a part alone.
    parameters
        Of level 2: logarithms of length scales, of variances and of the noise, and
        weights.
    trials
        Of candidates.
    chosen : (trial,)
        Numbers of their candidates.
    waiting : (candidate,)
        Which are tried before all others.
    mean, deviation : (candidate,)
        Of the map, over the largest response of a part alone.
    """

    means: tuple[Float[Array, " site"], ...]
    size: Float[Array, ""]
    parameters: Float[Array, " parameter"]
    trials: Trials
    chosen: Int[Array, " trial"]
    waiting: Bool[Array, " candidate"]
    mean: Float[Array, " candidate"]
    deviation: Float[Array, " candidate"]


def begin(
    settings: OneWay, parts: Parts, observed: tuple[Observed, ...], n_trials: int
) -> State:
    """Return what is known before the first candidate.

    Parameters
    ----------
    settings
        Of the search.
    parts
        The candidates.
    observed
        What was seen of each part alone.
    n_trials
        Candidates to come, at most.
    """
    size = jnp.stack([jnp.abs(seen.response).max() for seen in observed]).max()
    first = [
        _first_level(settings, sites, seen._replace(response=seen.response / size))
        for sites, seen in zip(parts.sites, observed, strict=True)
    ]
    means = tuple(mean for mean, _ in first)
    found = jnp.stack([parameters for _, parameters in first])
    n_parts = len(means)
    variances = jnp.clip(found[:, 1], *np.log(settings.variance_bounds))
    noise = jnp.log(jnp.exp(found[:, 2]).mean())
    weights = jnp.full(n_parts, 1 / n_parts)
    parameters = jnp.concatenate([found[:, 0], variances, noise[None], weights])
    n_candidates, n_dimensions = parts.at.shape
    best = [
        jax.lax.top_k(mean, min(settings.n_best, len(mean)))[0][-1] for mean in means
    ]
    waiting = jnp.stack(
        [
            (mean >= least)[sites]
            for mean, least, sites in zip(means, best, parts.site_of, strict=True)
        ]
    ).all(axis=0)
    state = State(
        means,
        size,
        parameters,
        jax.tree.map(jnp.asarray, empty(n_trials, n_dimensions)),
        jnp.zeros(n_trials, int),
        waiting,
        jnp.zeros(n_candidates),
        jnp.zeros(n_candidates),
    )
    return _predicted(parts, state)


def choose(
    settings: OneWay, key: Array, state: State, allowed: Bool[Array, " candidate"]
) -> Int[Array, ""]:
    """Return a candidate that is allowed, drawn by how much it promises."""
    promised = acquisition.upper_confidence_bound(
        state.mean, state.deviation, jnp.asarray(settings.weight)
    )
    waiting = state.waiting & allowed
    possible = jnp.where(waiting.any(), waiting, allowed)
    odds = jnp.where(possible, promised / settings.temperature, -jnp.inf)
    return jax.random.categorical(key, odds)


def learn(
    settings: OneWay,
    parts: Parts,
    state: State,
    candidate: Int[Array, ""],
    response: Float[Array, ""],
) -> State:
    """Return what is known after one more trial."""
    i = state.trials.n_seen
    none, one = jnp.asarray(0), jnp.ones(())
    seen = (response / state.size)[None]
    state = state._replace(
        trials=add(state.trials, parts.at[candidate], none, seen, one),
        chosen=state.chosen.at[i].set(candidate),
        waiting=state.waiting.at[candidate].set(False),
    )
    maps = _maps(parts, state)

    def log_density(parameters: Array) -> Array:
        process, weights = _second_process(parameters, parts.dimensions)
        expected = (maps @ weights)[state.chosen][:, None]
        return log_marginal_likelihood(process, state.trials, expected)

    free = _second_free(settings, len(state.means))
    found = fit(log_density, free, state.parameters, settings.n_iterations)
    return _predicted(parts, state._replace(parameters=found.parameters))


def weights(state: State) -> Float[Array, " part"]:
    """Return how much of each part the whole has."""
    return state.parameters[-len(state.means) :]


def believe(state: State) -> Belief:
    """Return what is known, in units of responses."""
    return Belief(
        state.size * state.mean,
        state.size * state.deviation,
        tuple(state.size * mean for mean in state.means),
    )


def method(settings: OneWay, parts: Parts) -> Method:
    """Return a search with these settings."""

    def learned(state: State, candidate: Array, response: Array) -> State:
        return learn(settings, arrays(parts), state, candidate, response)

    return Method(
        lambda observed, n_trials: begin(settings, arrays(parts), observed, n_trials),
        partial(choose, settings),
        learned,
        believe,
    )


def _first_level(
    settings: OneWay, sites: Array, observed: Observed
) -> tuple[Array, Array]:
    """Return the mean of a part at its sites, and its parameters."""
    n = len(observed.site)
    trials = Trials(
        Points(sites[observed.site], jnp.zeros(n, int)),
        observed.response[:, None],
        jnp.ones(n),
        jnp.asarray(n),
    )
    seen = tuple(range(sites.shape[1]))

    def process(parameters: Array) -> GaussianProcess:
        length, variance, noise = jnp.exp(parameters)
        part = Component(variance, jnp.full(len(seen), length), seen)
        return GaussianProcess((part,), jnp.ones((1, 1)), jnp.zeros(1), noise[None])

    still = jnp.zeros((n, 1))
    open_ = free(
        length=_row(settings.length_bounds),
        variance=_row(FIRST_VARIANCE_BOUNDS),
        noise=_row(settings.noise_bounds),
    )
    found = fit(
        lambda parameters: log_marginal_likelihood(process(parameters), trials, still),
        open_,
        jnp.asarray(open_.start),
        settings.n_iterations,
    ).parameters
    at = Points(sites, jnp.zeros(len(sites), int))
    known = posterior(process(found), trials, at, (still, jnp.zeros((len(sites), 1))))
    return known.mean[:, 0], found


def _row(bounds: Bounds) -> dict[str, float]:
    low, high = (float(np.log(bound)) for bound in bounds)
    return {"start": (low + high) / 2, "low": low, "high": high}


def _second_free(settings: OneWay, n_parts: int) -> Free:
    weight = {
        "start": 1 / n_parts,
        "mean": 1 / n_parts,
        "deviation": settings.weight_freedom,
    }
    numbers = range(n_parts)
    return free(
        **{f"length of {k}": _row(settings.length_bounds) for k in numbers},
        **{f"variance of {k}": _row(settings.variance_bounds) for k in numbers},
        noise=_row(settings.noise_bounds),
        **{f"weight of {k}": weight for k in numbers},
    )


def _second_process(
    parameters: Array, dimensions: tuple[tuple[int, ...], ...]
) -> tuple[GaussianProcess, Array]:
    n_parts = len(dimensions)
    values = jnp.exp(parameters[:-n_parts])
    components = tuple(
        Component(values[n_parts + k], jnp.full(len(seen), values[k]), seen)
        for k, seen in enumerate(dimensions)
    )
    process = GaussianProcess(
        components, jnp.ones((1, n_parts)), jnp.zeros(1), values[-1:]
    )
    return process, parameters[-n_parts:]


def _maps(parts: Parts, state: State) -> Float[Array, "candidate part"]:
    """Return what level 1 tells of the parts of each candidate."""
    rows = [mean[sites] for mean, sites in zip(state.means, parts.site_of, strict=True)]
    return jnp.stack(rows, axis=1)


def _predicted(parts: Parts, state: State) -> State:
    process, weights = _second_process(state.parameters, parts.dimensions)
    expected = _maps(parts, state) @ weights
    at = Points(parts.at, jnp.zeros(len(parts.at), int))
    prior = expected[state.chosen][:, None], expected[:, None]
    known = posterior(process, state.trials, at, prior)
    deviation = jnp.sqrt(known.variance)
    return state._replace(mean=known.mean[:, 0], deviation=deviation)
