r"""The no-U-turn sampler: how chains move.

The sampler moves a position $z$ with a momentum $p$ along trajectories of the energy

$$
H(z, p) = -\log \pi(z) + \tfrac{1}{2} p^\top p, \qquad \dot z = L p, \qquad
\dot p = L^\top \nabla \log \pi(z),
$$

where $L L^\top$ approaches the covariance of the draws (diagonal or dense) during
warm-up. A trajectory doubles, forwards or backwards in time, until it turns back on
itself or its energy error exceeds 1000 (a *divergence*); the next draw is one of its
points, by their weights $e^{-H}$ (Hoffman & Gelman 2014; Betancourt 2017, A.3.2 and
A.4.2). Step and $L$ adapt in Stan's windows, which numpyro builds.

Each chain is a small machine whose next step is always one leapfrog. So chains run side
by side in one loop and none waits for a longer trajectory of another; the density is
compiled once; and the loop may stop after any step without a change to any bit.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpyro.infer.hmc_util import build_adaptation_schedule

from neuromod.core.programs import jit_many_kernels

DIVERGENCE = 1000.0
"""An error of the energy, in nats, after which a trajectory is given up."""


class Point(NamedTuple):
    """Where a chain is, how it moves, and the density there."""

    position: Array
    momentum: Array
    log_density: Array
    gradient: Array


class Tree(NamedTuple):
    """A stretch of a trajectory, and the point drawn from it."""

    proposal: Point
    log_weight: Array
    momentum_sum: Array


class _Adaptation(NamedTuple):
    """Nesterov's dual averaging of the log step, and Welford's sums for the scale."""

    log_step: Array
    log_step_mean: Array
    error: Array
    centre: Array
    n_errors: Array
    target: Array
    scale: Array
    n_points: Array
    mean: Array
    squares: Array


class Chain(NamedTuple):
    """A trajectory that grows from `left` to `right`, and what was learned before."""

    left: Point
    right: Point
    tree: Tree
    depth: Array
    edge: Point
    subtree: Tree
    n_leaves: Array
    forwards: Array
    marks: Array
    mark_sums: Array
    energy: Array
    acceptance: Array
    n_steps: Array
    finished: Array
    diverging: Array
    n_finished: Array
    key: Array
    adaptation: _Adaptation


class Settings(NamedTuple):
    """What a program is compiled for."""

    n_warmup: int
    max_tree_depth: int
    dense_mass: bool


@lru_cache(maxsize=16)
def compiled(
    log_density: Callable[..., Any], unravel: Callable, settings: Settings
) -> Callable[..., Any]:
    """Return the program that moves all chains by some leapfrogs."""
    windows = _windows(settings.n_warmup)

    def move(chain: Chain, arguments: tuple) -> tuple[Chain, Array]:
        def density(flat: Array) -> Array:
            return jnp.reshape(log_density(unravel(flat), *arguments), ())

        # One call for all random words of a step: each takes long to compile.
        n_words = len(chain.edge.position) + 6
        key = jax.random.wrap_key_data(chain.key, impl="threefry2x32")
        words = jax.random.bits(key, (n_words,), jnp.uint32)
        chain = chain._replace(key=words[:2])
        return _extend(chain, jax.value_and_grad(density), words[2:5]), words[5:]

    @jax.vmap
    def renew(chain: Chain, words: Array) -> Chain:
        return _choose(chain.finished, _renew(chain, words, settings, windows), chain)

    def advance(chains: Chain, kept: Any, n_steps: Any, arguments: tuple) -> Any:
        n_chains, n_draws = kept["lp"].shape
        last = settings.n_warmup + n_draws

        def body(carry: Any) -> Any:
            i, chains, kept = carry
            moved, words = jax.vmap(lambda c: move(c, arguments))(chains)
            moved = jax.vmap(_choose)(chains.n_finished < last, moved, chains)
            keep = moved.finished & (moved.n_finished >= settings.n_warmup)
            place = jnp.where(keep, moved.n_finished - settings.n_warmup, n_draws)
            at = (jnp.arange(n_chains), place)
            record = jax.vmap(_record)(moved)
            kept = {k: v.at[at].set(record[k], mode="drop") for k, v in kept.items()}
            end = moved.finished.any()
            return i + 1, lax.cond(end, renew, lambda c, _: c, moved, words), kept

        def unfinished(carry: Any) -> Array:
            return (carry[0] < n_steps) & (carry[1].n_finished < last).any()

        return lax.while_loop(unfinished, body, (jnp.int32(0), chains, kept))[1:]

    return jit_many_kernels(advance)


def _windows(n_warmup: int) -> tuple[np.ndarray, np.ndarray]:
    """Tell which trajectories of the warm-up count for the scale, and which end one."""
    counts, ends = np.zeros((2, n_warmup + 1), bool)
    for window in build_adaptation_schedule(n_warmup)[1:-1]:
        counts[window.start : window.end + 1] = True
        ends[window.end] = True
    return counts, ends


def begin(
    flat: Any, seed: int, n_draws: int, target: float, settings: Settings
) -> tuple[Chain, dict[str, Array]]:
    """Return chains before their first step, and room for what they draw."""
    (n_chains, n_parameters), real = flat.shape, flat.dtype

    def rows(value: Any, *shape: int, kind: Any = real) -> Any:
        return np.full((n_chains, *shape), value, kind)

    zero, still = rows(0), rows(0, n_parameters)
    none, no = rows(0, kind=np.int32), rows(False, kind=bool)
    scale = rows(np.eye(n_parameters), n_parameters, n_parameters)
    scale = scale if settings.dense_mass else still + 1
    marks = rows(0, settings.max_tree_depth, n_parameters)
    adaptation = _Adaptation(
        zero, zero, zero, rows(math.log(10.0)), zero, rows(target),
        scale, zero, still, np.zeros_like(scale),
    )  # fmt: skip
    tree = Tree(point := Point(flat, still, zero, still), zero, still)
    keys: Any = np.random.SeedSequence(seed).generate_state(2 * n_chains, np.uint32)
    chains = Chain(
        point, point, tree, none, point, tree, none, no, marks, marks,
        zero, zero, none, no, no, none - 1, keys.reshape(n_chains, 2), adaptation,
    )  # fmt: skip
    records = jax.eval_shape(jax.vmap(_record), chains)
    shapes = {k: (n_chains, n_draws, *r.shape[1:]) for k, r in records.items()}
    kept: Any = {k: np.zeros(shapes[k], r.dtype) for k, r in records.items()}
    return chains, kept


def _record(chain: Chain) -> dict[str, Array]:
    proposal = chain.tree.proposal
    return {
        "position": proposal.position,
        "lp": proposal.log_density,
        "energy": _energy(proposal),
        "diverging": chain.diverging,
        "n_steps": chain.n_steps,
        "tree_depth": chain.depth,
        "acceptance_rate": chain.acceptance / chain.n_steps.astype(chain.energy.dtype),
        "step_size": jnp.exp(chain.adaptation.log_step),
    }


def _extend(chain: Chain, evaluate: Callable, words: Array) -> Chain:
    """Add one leapfrog to a trajectory, and all that it completes."""
    log_uniform = jnp.log(_uniform(words, real := chain.energy.dtype))
    # The first step of all goes nowhere: it evaluates the density at the start.
    starting = chain.n_finished < 0
    sign = jnp.where(starting, 0.0, jnp.where(chain.forwards, 1.0, -1.0)).astype(real)
    step = sign * jnp.exp(chain.adaptation.log_step)
    leaf = _leapfrog(chain.edge, step, chain.adaptation.scale, evaluate)
    error = _energy(leaf) - chain.energy
    error = jnp.where(error == error, error, jnp.inf)
    diverging = (error > DIVERGENCE) & ~starting
    grown = Tree(leaf, -error, leaf.momentum)
    subtree = _join(chain.subtree, grown, log_uniform[0], biased=False)
    marks, sums, turning = _mark(chain, leaf.momentum, subtree.momentum_sum)
    grown = chain._replace(
        edge=leaf,
        subtree=subtree,
        n_leaves=chain.n_leaves + 1,
        marks=marks,
        mark_sums=sums,
        acceptance=chain.acceptance + jnp.minimum(1.0, jnp.exp(-error)),
        n_steps=chain.n_steps + 1,
        diverging=diverging,
    )
    doubled, ended = _double(grown, log_uniform[1], words[2])
    stopped = turning | diverging
    whole = (grown.n_leaves == 1 << chain.depth) & ~stopped
    chain = _choose(whole, doubled, grown)
    proposal = _choose(starting, leaf, chain.tree.proposal)
    return chain._replace(
        finished=starting | stopped | (whole & ended),
        tree=chain.tree._replace(proposal=proposal),
    )


def _double(chain: Chain, log_uniform: Array, word: Array) -> tuple[Chain, Array]:
    """Join a complete subtree to its trajectory; tell if that ends it."""
    left = _choose(chain.forwards, chain.left, chain.edge)
    right = _choose(chain.forwards, chain.edge, chain.right)
    tree = _join(chain.tree, chain.subtree, log_uniform, biased=True)
    depth = chain.depth + 1
    turning = _is_turning(left.momentum, right.momentum, tree.momentum_sum)
    forwards = word >> 31 == 1
    edge = _choose(forwards, right, left)
    chain = chain._replace(left=left, right=right, tree=tree, depth=depth)
    return _sprout(chain, edge, forwards), turning | (depth == chain.marks.shape[0])


def _sprout(chain: Chain, edge: Point, forwards: Array) -> Chain:
    """Begin a subtree without leaves at one end of a trajectory."""
    none, still = jnp.zeros_like(chain.n_leaves), jnp.zeros_like(edge.momentum)
    empty = Tree(edge, jnp.full_like(chain.energy, -jnp.inf), still)
    return chain._replace(edge=edge, forwards=forwards, subtree=empty, n_leaves=none)


def _renew(chain: Chain, words: Array, settings: Settings, windows: tuple) -> Chain:
    """Begin the next trajectory, with a new momentum, after adapting to the last."""
    adapted = _adapt(chain, settings, windows)
    adapting = (chain.n_finished >= 0) & (chain.n_finished < settings.n_warmup)
    zero, none = jnp.zeros_like(chain.energy), jnp.zeros_like(chain.depth)
    uniform = _uniform(words[1:], chain.energy.dtype)
    momentum = math.sqrt(2) * lax.erf_inv(2 * uniform - 1)
    point = chain.tree.proposal._replace(momentum=momentum)
    chain = chain._replace(
        left=point,
        right=point,
        tree=Tree(point, zero, momentum),
        depth=none,
        energy=_energy(point),
        acceptance=zero,
        n_steps=none,
        finished=jnp.zeros_like(chain.finished),
        n_finished=chain.n_finished + 1,
        adaptation=_choose(adapting, adapted, chain.adaptation),
    )
    return _sprout(chain, point, words[0] >> 31 == 1)


def _adapt(chain: Chain, settings: Settings, windows: tuple) -> _Adaptation:
    """Learn from a trajectory (Hoffman & Gelman 2014, eq. 6; Stan's regularisation)."""
    old, trajectory = chain.adaptation, jnp.clip(chain.n_finished, 0, settings.n_warmup)
    acceptance = _record(chain)["acceptance_rate"]
    n = old.n_errors + 1
    error = old.error + (old.target - acceptance - old.error) / (n + 10)
    log_step = old.centre - jnp.sqrt(n) / 0.05 * error
    mean_step = old.log_step_mean + n**-0.75 * (log_step - old.log_step_mean)
    last = trajectory == settings.n_warmup - 1
    stepped = old._replace(
        log_step=jnp.where(last, mean_step, log_step),
        log_step_mean=mean_step,
        error=error,
        n_errors=n,
    )
    position, m = chain.tree.proposal.position, old.n_points + 1
    before = position - old.mean
    mean = old.mean + before / m
    outer = jnp.outer if settings.dense_mass else jnp.multiply
    squares = old.squares + outer(before, position - mean)
    counted = stepped._replace(n_points=m, mean=mean, squares=squares)
    covariance = (squares * m / jnp.maximum(m - 1, 1) + 5e-3 * _unit(squares)) / (m + 5)
    root = jnp.linalg.cholesky if settings.dense_mass else jnp.sqrt
    again = jax.tree.map(jnp.zeros_like, counted)._replace(
        log_step=log_step,
        centre=math.log(10.0) + log_step,
        target=old.target,
        scale=root(covariance),
    )
    counts, ends = (jnp.asarray(flags)[trajectory] for flags in windows)
    return _choose(ends, again, _choose(counts, counted, stepped))


def _unit(matrix: Array) -> Array:
    one = jnp.ones_like(matrix)
    return one if matrix.ndim == 1 else jnp.diag(jnp.diag(one))


def _uniform(words: Array, real: Any) -> Array:
    """Return numbers within (0, 1), symmetric and without the ends in any precision."""
    return ((words >> 9).astype(real) + 0.5) * 2.0**-23


def _leapfrog(point: Point, step: Array, scale: Array, evaluate: Any) -> Point:
    half = point.momentum + step / 2 * _times(scale.T, point.gradient)
    position = point.position + step * _times(scale, half)
    log_density, gradient = evaluate(position)
    momentum = half + step / 2 * _times(scale.T, gradient)
    return Point(position, momentum, log_density, gradient)


def _times(scale: Array, vector: Array) -> Array:
    return scale * vector if scale.ndim == 1 else scale @ vector


def _energy(point: Point) -> Array:
    return jnp.sum(point.momentum**2) / 2 - point.log_density


def _choose(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _join(old: Tree, new: Tree, log_uniform: Array, *, biased: bool) -> Tree:
    """Join two stretches; biased, the proposal rather moves on to the new one."""
    log_weight = jnp.logaddexp(old.log_weight, new.log_weight)
    against = old.log_weight if biased else log_weight
    proposal = _choose(
        log_uniform < new.log_weight - against, new.proposal, old.proposal
    )
    return Tree(proposal, log_weight, old.momentum_sum + new.momentum_sum)


def _is_turning(first: Array, last: Array, momentum_sum: Array) -> Array:
    """Tell if a stretch comes back at either end (Betancourt 2017, A.4.2)."""
    way = momentum_sum - (first + last) / 2
    return (jnp.sum(way * first, -1) <= 0) | (jnp.sum(way * last, -1) <= 0)


def _mark(chain: Chain, momentum: Array, total: Array) -> tuple[Array, Array, Array]:
    """Tell if a leaf completes a balanced stretch of its subtree that turns.

    Leaf n, counted from 0, is the last of as many such stretches as n ends in ones in
    binary. Their first leaves are even, and are marked at the place that tells how
    many ones they have otherwise: one place per depth is enough (Phan et al. 2019).
    """
    n = chain.n_leaves
    top = lax.population_count(n >> 1)
    n_stretches = lax.population_count((~n & (n + 1)) - 1)
    place = jnp.arange(len(chain.marks), dtype=n.dtype)
    here = ((place == top) & (n % 2 == 0))[:, None]
    marks = jnp.where(here, momentum[None], chain.marks)
    sums = jnp.where(here, total[None], chain.mark_sums)
    within = total[None] - sums + marks
    last = jnp.broadcast_to(momentum, marks.shape)
    ends_here = (place <= top) & (place > top - n_stretches)
    return marks, sums, (_is_turning(marks, last, within) & ends_here).any()
