r"""Maps of stimuli that are made of parts, whose truth is known, and how to score.

The published test functions of hierarchical search have a response of two or three
coordinates, the *parent*, and one of each coordinate alone, the *children* (Guerra et
al., arXiv 2505.11294, and its code). On $[0, 2]^2$ in steps of 2 / 31, with
$d = x_1 - x_2$:

| name | children | parent |
|---|---|---|
| `synthetic3` | `wave 1`, `wave 2` | $(f_1 + f_2) / (d^2 + 2)$ |
| `synthetic_tests` | `hill`, `plateau` | $(f_1 + f_2) / (d^2 + 3/2)$ |
| `modular_2d` | `hill` from 1 to 3, `wave 1` | $(f_1 + f_2) / (d^2 + 5)$ |
| `power` | $\sin x$, $\tanh x$ | $((f_1 + f_2) / 2)^p$ |
| `half_power` | the same | $(f_1^p + f_2) / 2$ |
| `product` | the same | $f_1 + f_2 + e f_1 f_2$ |
| `weighted` | the same | $b_1 f_1 + b_2 f_2$ |

where `wave c` is $2 + \sin(2 \pi x) / (x - c)$, `hill` is $2 - (x - 2)^2$ and
`plateau` is $2 - (x - 1/2)^4$; and on $[0, 4]^3$ in steps of 4 / 9 `three`:
$f_1 = -(x - 2)^5$, $f_2 = \sin^3 x$, $f_3 = (\ln(x + 1) + 1) / (x + 1)$ and
$(f_1 + f_2 + f_3)^2 + 2$.

A method is scored after each query, by what it would recommend and what it knows:

| score | meaning |
|---|---|
| `recommended` | true map where the mean is largest, from 0 at its minimum to 1 |
| `exploitation` | the same of the candidate that was just stimulated |
| `parent_r2` | squared correlation of mean and truth, as published |
| `parent_upright_r2` | the same, but 0 if the correlation is negative |
| `parent_raw_r2` | $1 - \sum (m - f)^2 / \sum (f - \bar f)^2$ of the mean $m$ itself |
| `child_r2`, `child_upright_r2` | the first two of children, on average over them |

A squared correlation is what an affine map of the mean explains; it cannot tell a map
from its negative. The upright one is for maps that may not be turned over, and the raw
one sees scale and offset too.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.stimulation.parts import Belief, Method, Observed, Parts, parts_of


class Problem(NamedTuple):
    """What stimuli, and parts of them alone, would do.

    Parameters
    ----------
    parts
        The candidates, and the sites of their parts.
    mean : (candidate,)
        The true map.
    children : tuple of (site,)
        The true map of each part alone, NaN where it is not known.
    noise
        Standard deviation of a trial; of a proportional one, over its mean.
    proportional
        Whether trials are the mean times a gamma variable, instead of the mean and a
        normal one.
    """

    parts: Parts
    mean: np.ndarray
    children: tuple[np.ndarray, ...]
    noise: float
    proportional: bool = False


Curve = Callable[[np.ndarray], np.ndarray]


class _Published(NamedTuple):
    children: tuple[Curve, ...]
    parent: Callable[..., np.ndarray]
    start: tuple[float, ...] = (0.0, 0.0)
    width: float = 2.0
    n_sites: int = 32


def _wave(x: np.ndarray, centre: int) -> np.ndarray:
    return 2 + 2 * np.pi * np.sinc(2 * (x - centre))


def _hill(x: np.ndarray) -> np.ndarray:
    return 2 - (x - 2) ** 2


def _plateau(x: np.ndarray) -> np.ndarray:
    return 2 - (x - 0.5) ** 4


def _near(spread: float) -> Callable[..., np.ndarray]:
    """Return the sum of two children, which falls as their sites part."""
    return lambda f, x: (f[0] + f[1]) / ((x[0] - x[1]) ** 2 + spread)


def _synthetic3() -> _Published:
    return _Published((partial(_wave, centre=1), partial(_wave, centre=2)), _near(2))


def _synthetic_tests() -> _Published:
    return _Published((_hill, _plateau), _near(1.5))


def _modular_2d() -> _Published:
    return _Published((_hill, partial(_wave, centre=1)), _near(5), (1.0, 0.0))


def _power(exponent: float = 2.0) -> _Published:
    return _Published(CURVES, lambda f, x: ((f[0] + f[1]) / 2) ** exponent)


def _half_power(exponent: float = 2.0) -> _Published:
    return _Published(CURVES, lambda f, x: (f[0] ** exponent + f[1]) / 2)


def _product(strength: float = 1.0) -> _Published:
    return _Published(CURVES, lambda f, x: f[0] + f[1] + strength * f[0] * f[1])


def _weighted(first: float = 1.0, second: float = 1.0) -> _Published:
    return _Published(CURVES, lambda f, x: first * f[0] + second * f[1])


def _three() -> _Published:
    children: tuple[Curve, ...] = (
        lambda x: -((x - 2) ** 5),
        lambda x: np.sin(x) ** 3,
        lambda x: (np.log(x + 1) + 1) / (x + 1),
    )
    return _Published(
        children, lambda f, x: (f[0] + f[1] + f[2]) ** 2 + 2, (0.0,) * 3, 4.0, 10
    )


CURVES: tuple[Curve, ...] = (np.sin, np.tanh)
PUBLISHED: dict[str, Callable[..., _Published]] = {
    "synthetic3": _synthetic3,
    "synthetic_tests": _synthetic_tests,
    "modular_2d": _modular_2d,
    "power": _power,
    "half_power": _half_power,
    "product": _product,
    "weighted": _weighted,
    "three": _three,
}


def problem(name: str, *, noise: float = 0.1, **settings: float) -> Problem:
    """Return a published test function.

    Parameters
    ----------
    name
        As in the table of this module.
    noise
        Standard deviation of a trial.
    **settings
        Of `power` and `half_power` the ``exponent`` (2), of `product` the ``strength``
        e (1), of `weighted` the weights ``first`` and ``second`` (1).

    Examples
    --------
    >>> problem("product", strength=0.5).mean.shape
    (1024,)
    """
    build = PUBLISHED[choice("name", name, PUBLISHED)]
    for setting in settings:
        choice(f"settings of {name}", setting, inspect.signature(build).parameters)
    found = build(**settings)
    axes = [np.linspace(low, low + found.width, found.n_sites) for low in found.start]
    x = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(len(axes), -1)
    mean = found.parent([f(row) for f, row in zip(found.children, x, strict=True)], x)
    children = tuple(f(axis) for f, axis in zip(found.children, axes, strict=True))
    parts = parts_of(x.T, tuple((j,) for j in range(len(axes))))
    return Problem(parts, mean, children, noise)


def pairs(table: np.ndarray, positions: np.ndarray, variation: float = 0.3) -> Problem:
    """Return the problem of which two sites to stimulate one after the other.

    A site with itself tells what it does alone.

    Parameters
    ----------
    table : (site, site)
        Mean response to each ordered pair, NaN where it cannot be had.
    positions : (site, space)
        Where the sites lie.
    variation
        Standard deviation of a trial, over its mean.

    Examples
    --------
    >>> found = pairs(np.array([[1.0, 2.0], [np.nan, 3.0]]), np.eye(2))
    >>> found.mean.tolist(), found.parts.at.shape
    ([1.0, 2.0, 3.0], (3, 4))
    """
    if table.shape != (len(positions), len(positions)):
        expected = f"(site, site) of the {len(positions)} positions"
        raise invalid("table", f"shape {table.shape}", expected, kind=ShapeError)
    first, second = np.nonzero(np.isfinite(table))
    n = positions.shape[1]
    at = np.concatenate([positions[first], positions[second]], axis=1)
    parts = parts_of(at, (tuple(range(n)), tuple(range(n, 2 * n))))
    alone = np.diag(table)
    children = tuple(
        np.array([alone[(positions == site).all(axis=1)][0] for site in sites])
        for sites in parts.sites
    )
    return Problem(parts, table[first, second], children, variation, True)


def simulate(
    method: Method,
    problem: Problem,
    n_queries: int,
    *,
    seed: int,
    n_initial: int = 3,
    n_sessions: int = 1,
    exact_parts: bool = False,
    sites: np.ndarray | None = None,
) -> xr.Dataset:
    """Simulate searches, each scored after every query.

    Before the first query each part alone is tried at some sites drawn at random, and
    one candidate is stimulated, by which the search comes to know the parent; these
    trials have no score.

    Parameters
    ----------
    method
        How to search.
    problem
        What stimuli would do.
    n_queries
        Trials of a session that are scored.
    seed
        Of all draws.
    n_initial
        Sites of each part that are tried alone.
    n_sessions
        Sessions, each with draws of its own.
    exact_parts
        Whether parts alone are seen without noise.
    sites : (session, part, trial)
        Which sites are tried alone, instead of some at random.

    Returns
    -------
    xarray.Dataset
        The scores, and the ``candidate`` that was stimulated: (session, query).
    """
    with jax.enable_x64(True):
        noisy = not exact_parts

        @jax.jit
        def run(key: Array, given: Array | None) -> dict[str, Array]:
            alone, rest = jax.random.split(key)
            drawing, trying = jax.random.split(alone)
            tried = draw_sites(drawing, problem, n_initial) if given is None else given
            observed = try_sites(trying, problem, tried, noisy=noisy)
            return _session(method, problem, observed, n_queries, rest)

        root = jax.random.key(require_integer(seed, "seed", minimum=0))
        keys = jax.random.split(root, n_sessions)
        # One after the other: Cholesky factors side by side have hung on processors.
        found = [
            jax.device_get(run(key, None if sites is None else jnp.asarray(sites[k])))
            for k, key in enumerate(keys)
        ]
    dims = ("session", "query")
    return xr.Dataset(
        {name: (dims, np.stack([f[name] for f in found])) for name in found[0]},
        {"query": np.arange(1, n_queries + 1)},
    )


def _session(
    method: Method,
    problem: Problem,
    observed: tuple[Observed, ...],
    n_queries: int,
    key: Array,
) -> dict[str, Array]:
    """Return the scores of a session, and the candidates of its queries."""
    first, run = jax.random.split(key)
    mean = jnp.asarray(problem.mean)

    def query(state: Any, key: Array) -> tuple[Any, Array]:
        tie, draw = jax.random.split(key)
        chosen = method.choose(tie, state, jnp.ones(len(mean), bool))
        response = _trial(draw, mean[chosen], problem)
        return method.learn(state, chosen, response), chosen

    def scored(state: Any, key: Array) -> tuple[Any, dict[str, Array]]:
        state, chosen = query(state, key)
        return state, scores(problem, method.believe(state), chosen)

    state, _ = query(method.begin(observed, n_queries + 1), first)
    return jax.lax.scan(scored, state, jax.random.split(run, n_queries))[1]


def draw_sites(key: Array, problem: Problem, n_initial: int) -> Array:
    """Return different sites (part, trial), drawn from those that are known."""
    keys = jax.random.split(key, len(problem.children))
    return jnp.stack(
        [
            jax.random.choice(
                one, np.flatnonzero(np.isfinite(truth)), (n_initial,), replace=False
            )
            for one, truth in zip(keys, problem.children, strict=True)
        ]
    )


def try_sites(
    key: Array, problem: Problem, sites: Array, *, noisy: bool
) -> tuple[Observed, ...]:
    """Return a trial of each part alone at each of its sites (part, trial)."""
    keys = jax.random.split(key, len(sites))
    means = [
        jnp.asarray(truth)[site]
        for truth, site in zip(problem.children, sites, strict=True)
    ]
    return tuple(
        Observed(site, _trial(one, mean, problem) if noisy else mean)
        for one, site, mean in zip(keys, sites, means, strict=True)
    )


def _trial(key: Array, mean: Array, problem: Problem) -> Array:
    if problem.proportional:
        shape = 1 / problem.noise**2
        return mean * jax.random.gamma(key, shape, mean.shape, mean.dtype) / shape
    return mean + problem.noise * jax.random.normal(key, mean.shape, mean.dtype)


def scores(problem: Problem, belief: Belief, chosen: Array) -> dict[str, Array]:
    """Return the scores after a query.

    Parameters
    ----------
    problem
        With the truth.
    belief
        What the method knows.
    chosen : ()
        The candidate that was stimulated.
    """
    mean = jnp.asarray(problem.mean)
    height = (mean - mean.min()) / (mean.max() - mean.min())
    squared = jnp.square(mean - belief.mean).sum()
    found = {
        "candidate": chosen,
        "recommended": height[jnp.argmax(belief.mean)],
        "exploitation": height[chosen],
        "parent_raw_r2": 1 - squared / jnp.square(mean - mean.mean()).sum(),
        **_correlations("parent", [(belief.mean, mean)]),
    }
    if not belief.parts:
        return found
    known = [np.isfinite(truth) for truth in problem.children]
    children = [
        (believed[here], jnp.asarray(truth[here]))
        for believed, truth, here in zip(
            belief.parts, problem.children, known, strict=True
        )
    ]
    return found | _correlations("child", children)


def _correlations(name: str, maps: list[tuple[Array, Array]]) -> dict[str, Array]:
    found = jnp.stack([correlation(*pair) for pair in maps])
    return {
        f"{name}_r2": jnp.square(found).mean(),
        f"{name}_upright_r2": jnp.square(jnp.maximum(found, 0.0)).mean(),
    }


def correlation(one: Array, other: Array) -> Array:
    """Return the correlation of two maps; 0 if one is constant."""
    one, other = one - one.mean(), other - other.mean()
    size = jnp.sqrt(jnp.square(one).sum() * jnp.square(other).sum())
    return jnp.where(size > 0, one @ other / jnp.where(size > 0, size, 1.0), 0.0)
