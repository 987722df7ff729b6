r"""Search of stimuli with parts, as published: two levels that inform each other.

Every part $k$ of a stimulus (a *child*) has a Gaussian process of its own sites $z$,
the whole (the *parent*) has one of all candidates $x = (x^{(1)}, \dots, x^{(K)})$
(bidirectional information flow; Guerra et al., arXiv 2505.11294, as its code does it):

- **Up.** Children tell the promise of their sites,
  $a_k(z) = \mu_k(z) + \gamma \sigma_k(z) / \sqrt{q_k(z)}$:
  $m(x) \propto \frac{1}{K} \sum_k a_k(x^{(k)})$, divided by the size of its maximum,
  is the parent's mean before its trials, and the children's length scales are where
  each fit of its own starts.
- **Query.** The candidate with the largest
  $\mu(x) + \kappa \sigma(x) / \sqrt{q(x)}$; the first one, before which nothing is
  known of the parent, with the largest $m$.
- **Down.** The response $r$ is split into shares $w_k r$, which join the children's
  trials as if each part alone had been stimulated,
  $w_k \propto \exp(a_k(x^{(k)}) / \max_z a_k(z))$ with the promises before this query.

$q$ are visits, of parts as of wholes, from 1 on; deviations are those of a trial, noise
included. After each trial every process takes some steps of Adam up its marginal
likelihood, from where it stood; there are no priors over hyper-parameters. Parameters
are the softplus of what is stepped, from zero: .693 each; noise has a floor.

Without the downward half (`ONE_WAY`) children keep what was seen of their parts alone,
and the first candidate is drawn at random: what the same code calls the conventional
hierarchy. Decisions that a reader would not guess, kept because results depend on them:

- Children have a constant mean and a variance that are fitted; the parent has neither.
  Its covariance is a sum of Matern-5/2 of unit variance over parts, so that its
  variance is $K$ whatever children learned, and its responses are standardised while
  $m$ lies about between 0 and 1.
- A child's trials of its part alone are rescaled to [0, 1] among themselves (a single
  one is 1), and so are its shares (a single one stays): then both count as one scale.
- With two children a share lies between .27 and .73 of the response if promises are
  positive. Of a negative response shares are negative; if no site of a child has a
  positive promise the ratio of two negative numbers turns its order over.
- $m$ is of promises, not of means: where little is known much is expected.
- The first response is the parent's alone. Standardised means by the deviation of a
  sample (over $n - 1$); a single response is 0.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from neuromod.stimulation import acquisition
from neuromod.stimulation.bif_fit import (
    child_process,
    parent_process,
    rescaled,
    standardised,
    stepped,
)
from neuromod.stimulation.covariance import Family, Points
from neuromod.stimulation.gaussian_process import (
    Trials,
    add,
    empty,
    log_marginal_likelihood,
    posterior,
    seen,
)
from neuromod.stimulation.parts import Belief, Method, Observed, Parts, arrays


class Published(NamedTuple):
    """Settings of the published search.

    Parameters
    ----------
    parent_weight, child_weight
        Deviations that a candidate, and a site, is credited with.
    n_steps
        Of Adam after each trial.
    parent_rate, child_rate
        Of its learning.
    child_family
        Of children's covariances.
    top_down
        Whether children learn from responses to the whole.
    child_prior
        Whether the parent expects what children promise.
    by_visits
        Whether deviations are divided by the root of visits.
    first_at_random
        Whether the first candidate is drawn, instead of the most promising.
    """

    parent_weight: float = 7.5
    child_weight: float = 2.0
    n_steps: int = 10
    parent_rate: float = 0.01
    child_rate: float = 0.1
    child_family: Family = "matern12"
    top_down: bool = True
    child_prior: bool = True
    by_visits: bool = True
    first_at_random: bool = False


NEURAL = Published(parent_weight=8.0, child_weight=4.0, n_steps=15)
ONE_WAY = Published(top_down=False, first_at_random=True)


class Child(NamedTuple):
    """What is known of a part.

    Parameters
    ----------
    raw : (4,)
        Offset, and length scale, variance and noise before the softplus.
    trials
        Its own, then shares of the responses to wholes; as they came.
    n_own : ()
        How many are its own.
    n_visits : (site,)
        As part of a whole, and one more.
    mean, promise : (site,)
        What is expected, and with the weighted deviation.
    """

    raw: Float[Array, " parameter"]
    trials: Trials
    n_own: Int[Array, ""]
    n_visits: Int[Array, " site"]
    mean: Float[Array, " site"]
    promise: Float[Array, " site"]


class State(NamedTuple):
    """What is known of candidates and of their parts.

    Parameters
    ----------
    children
        Of each part.
    raw : (part and noise,)
        Length scales and noise of the parent, before the softplus.
    trials
        Of candidates; as they came.
    chosen : (trial,)
        Numbers of their candidates.
    n_visits : (candidate,)
        And one more.
    expected : (candidate,)
        What children make expect.
    mean, deviation : (candidate,)
        Of a trial, in deviations of the responses so far.
    """

    children: tuple[Child, ...]
    raw: Float[Array, " parameter"]
    trials: Trials
    chosen: Int[Array, " trial"]
    n_visits: Int[Array, " candidate"]
    expected: Float[Array, " candidate"]
    mean: Float[Array, " candidate"]
    deviation: Float[Array, " candidate"]


def begin(
    settings: Published,
    parts: Parts,
    observed: tuple[Observed, ...],
    n_trials: int,
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
    children = tuple(
        _child(settings, sites, seen_alone, n_trials)
        for sites, seen_alone in zip(parts.sites, observed, strict=True)
    )
    n_candidates, n_dimensions = parts.at.shape
    nothing = jnp.zeros(n_candidates)
    return State(
        children,
        jnp.zeros(len(children) + 1),
        jax.tree.map(jnp.asarray, empty(n_trials, n_dimensions)),
        jnp.zeros(n_trials, int),
        jnp.ones(n_candidates, int),
        _expected(settings, parts, children),
        nothing,
        nothing,
    )


def promise(settings: Published, state: State) -> Float[Array, " candidate"]:
    """Return how much each candidate promises."""
    bound = acquisition.upper_confidence_bound(
        state.mean,
        _by_visits(settings, state.deviation, state.n_visits),
        jnp.asarray(settings.parent_weight),
    )
    first = jnp.zeros_like(bound) if settings.first_at_random else state.expected
    return jnp.where(state.trials.n_seen == 0, first, bound)


def choose(
    settings: Published, key: Array, state: State, allowed: Bool[Array, " candidate"]
) -> Int[Array, ""]:
    """Return the number of the most promising candidate that is allowed.

    Of equals one is drawn.
    """
    return acquisition.largest(key, promise(settings, state), allowed)


def learn(
    settings: Published,
    parts: Parts,
    state: State,
    candidate: Int[Array, ""],
    response: Float[Array, ""],
) -> State:
    """Return what is known after one more trial."""
    children = state.children
    if settings.top_down:
        sites = parts.site_of[:, candidate]
        share = response * shares(children, sites)

        def shared(children: tuple[Child, ...]) -> tuple[Child, ...]:
            return tuple(
                _shared(settings, at, child, sites[k], share[k])
                for k, (at, child) in enumerate(zip(parts.sites, children, strict=True))
            )

        # The first response tells of the parent alone.
        later = state.trials.n_seen > 0
        children = jax.lax.cond(later, shared, lambda given: given, children)
    i = state.trials.n_seen
    none, one = jnp.asarray(0), jnp.ones(())
    state = state._replace(
        children=children,
        trials=add(state.trials, parts.at[candidate], none, response[None], one),
        chosen=state.chosen.at[i].set(candidate),
        n_visits=state.n_visits.at[candidate].add(1),
        expected=_expected(settings, parts, children),
    )
    return _refitted_parent(settings, parts, state)


def shares(
    children: tuple[Child, ...], sites: Int[Array, " part"]
) -> Float[Array, " part"]:
    """Return what share of a response each part is credited with."""
    promised = [
        child.promise[site] / child.promise.max()
        for child, site in zip(children, sites, strict=True)
    ]
    return jax.nn.softmax(jnp.stack(promised))


def believe(state: State) -> Belief:
    """Return what is known."""
    return Belief(
        state.mean, state.deviation, tuple(child.mean for child in state.children)
    )


def method(settings: Published, parts: Parts) -> Method:
    """Return a search with these settings."""

    def learned(state: State, candidate: Array, response: Array) -> State:
        return learn(settings, arrays(parts), state, candidate, response)

    return Method(
        lambda observed, n_trials: begin(settings, arrays(parts), observed, n_trials),
        partial(choose, settings),
        learned,
        believe,
    )


def _by_visits(settings: Published, deviation: Array, n_visits: Array) -> Array:
    return deviation / jnp.sqrt(n_visits) if settings.by_visits else deviation


def _expected(
    settings: Published, parts: Parts, children: tuple[Child, ...]
) -> Float[Array, " candidate"]:
    """Return what children make expect of candidates."""
    if not settings.child_prior:
        return jnp.zeros(len(parts.at))
    of_each = [
        child.promise[sites]
        for child, sites in zip(children, parts.site_of, strict=True)
    ]
    promised = jnp.stack(of_each).mean(axis=0)
    return promised / jnp.abs(promised.max())


def _child(
    settings: Published, sites: Array, observed: Observed, n_trials: int
) -> Child:
    n_own = len(observed.site)
    room = empty(n_own + n_trials, sites.shape[1])
    room = jax.tree.map(jnp.asarray, room)
    trials = Trials(
        Points(room.points.at.at[:n_own].set(sites[observed.site]), room.points.level),
        room.response.at[:n_own, 0].set(observed.response),
        room.noise,
        jnp.asarray(n_own),
    )
    nothing = jnp.zeros(len(sites))
    child = Child(
        jnp.zeros(4),
        trials,
        jnp.asarray(n_own),
        jnp.ones(len(sites), int),
        nothing,
        nothing,
    )
    return _predicted(settings, sites, child, _pooled(child))


def _shared(
    settings: Published, sites: Array, child: Child, site: Array, response: Array
) -> Child:
    """Return a child that knows of one more share, refitted."""
    none, one = jnp.asarray(0), jnp.ones(())
    child = child._replace(
        trials=add(child.trials, sites[site], none, response[None], one),
        n_visits=child.n_visits.at[site].add(1),
    )
    trials = _pooled(child)
    build = partial(child_process, n_seen=sites.shape[1], family=settings.child_family)
    still = jnp.zeros_like(trials.response)
    raw = stepped(
        lambda raw: log_marginal_likelihood(build(raw), trials, still),
        child.raw,
        trials.n_seen,
        settings.n_steps,
        settings.child_rate,
    )
    return _predicted(settings, sites, child._replace(raw=raw), trials)


def _pooled(child: Child) -> Trials:
    """Return a child's own trials and its shares, each rescaled to [0, 1]."""
    trials = child.trials
    response = trials.response[:, 0]
    own = jnp.arange(len(response)) < child.n_own
    pooled = jnp.where(
        own,
        rescaled(response, own, jnp.ones_like(response)),
        rescaled(response, seen(trials) & ~own, response),
    )
    return trials._replace(response=pooled[:, None])


def _predicted(
    settings: Published, sites: Array, child: Child, trials: Trials
) -> Child:
    process = child_process(child.raw, sites.shape[1], settings.child_family)
    still = jnp.zeros_like(trials.response), jnp.zeros((len(sites), 1))
    at = Points(sites, jnp.zeros(len(sites), int))
    known = posterior(process, trials, at, still)
    deviation = jnp.sqrt(known.variance + process.noise)
    mean = known.mean[:, 0]
    promise = acquisition.upper_confidence_bound(
        mean,
        _by_visits(settings, deviation, child.n_visits),
        jnp.asarray(settings.child_weight),
    )
    return child._replace(mean=mean, promise=promise)


def _refitted_parent(settings: Published, parts: Parts, state: State) -> State:
    """Return the parent fitted from its children's length scales, and what it tells."""
    trials = standardised(state.trials)
    expected = state.expected[state.chosen][:, None]
    build = partial(parent_process, dimensions=parts.dimensions)
    lengths = jnp.stack([child.raw[1] for child in state.children])
    raw = stepped(
        lambda raw: log_marginal_likelihood(build(raw), trials, expected),
        jnp.concatenate([lengths, state.raw[-1:]]),
        trials.n_seen,
        settings.n_steps,
        settings.parent_rate,
    )
    process = build(raw)
    at = Points(parts.at, jnp.zeros(len(parts.at), int))
    known = posterior(process, trials, at, (expected, state.expected[:, None]))
    deviation = jnp.sqrt(known.variance + process.noise)
    return state._replace(raw=raw, mean=known.mean[:, 0], deviation=deviation)
