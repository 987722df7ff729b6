r"""Learning a normal distribution from its sufficient statistics.

All that matters of data from a normal distribution is the mean of some functions of
them, the *sufficient statistics*: $T(x) = (x, x^2)$ for numbers, and $x$ with the lower
triangle of $x x^\top$, row by row, for vectors of length $d$. An observer who expects
$\xi$ of them, as surely as if $\nu$ observations had said so, moves

$$
\xi \leftarrow \xi + \frac{T(x) - \xi}{1 + \nu} .
$$

If $\nu$ grows by one each time, that is the running mean. A fixed $\nu$ forgets, with a
memory of about $1 + \nu$ observations. Or each statistic is followed by a small HGF
(`small_filter`), whose belief $\mu_i$ moves by a share of the error that depends on how
volatile the statistic has been. Read backwards, the shares tell what $\nu$ is:

$$
\nu = \mathrm{mean}_i \frac{T_i(x) - \hat\mu_i}{\mu_i - \hat\mu_i} - 1 .
$$

With $m$ and $\Sigma$ the mean and covariance that $\xi$ stands for, the next
observation has Student's $t$ distribution with $\nu + 1$ degrees of freedom,

$$
p(x) = \frac{\Gamma\big(\frac{\nu + 1 + d}{2}\big)}{\Gamma\big(\frac{\nu + 1}{2}\big)}
\, \big|(\nu + 1)\,\pi\,\Sigma\big|^{-1/2}
\Big(1 + \frac{(x - m)^\top \Sigma^{-1} (x - m)}{\nu + 1}\Big)^{-(\nu + 1 + d)/2},
$$

(Mathys and Weber, IWAI 2020). The package pyhgf drops the $-1$, and expects of a
statistic its last value plus the belief; so does ``compatibility="pyhgf"``.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float

from neuromod import kernels
from neuromod.core.errors import choice, invalid
from neuromod.hgf import inference, nodes
from neuromod.hgf.inference import Series, Trajectories
from neuromod.hgf.network import Network
from neuromod.hgf.posterior import Datum
from neuromod.hgf.prediction import Prediction, per_interval, predict

LEARNING = ("fixed", "hgf-1", "hgf-2", "hgf-3")
LITERAL_VOLATILITY = -4.0  # of the node that holds a statistic in pyhgf

Data = Float[Array, " time"] | Float[Array, "time dimension"]
Trials = Float[Array, " time"]
Expected = Float[Array, " statistic"]


def statistics(x: Array, dimension: int | None = None) -> Array:
    """Return the statistics (..., statistic) of ``x``, (...,) or (..., dimension)."""
    if dimension is None:
        return jnp.stack([x, x**2], axis=-1)
    rows, columns = np.tril_indices(dimension)
    return jnp.concatenate([x, x[..., rows] * x[..., columns]], axis=-1)


def expected_statistics(mean: Array, covariance: Array) -> Expected:
    """Return what a normal distribution, of numbers or vectors, lets expect."""
    if jnp.ndim(mean) == 0:
        return jnp.stack([mean, mean**2 + covariance])
    second = covariance + jnp.outer(mean, mean)
    return jnp.concatenate([mean, second[np.tril_indices(len(mean))]])


def moments(expected: Expected, dimension: int | None = None) -> tuple[Array, Array]:
    """Return the mean () or (dimension,), and the variance or covariance."""
    if dimension is None:
        return expected[0], expected[1] - expected[0] ** 2
    mean = expected[:dimension]
    rows, columns = np.tril_indices(dimension)
    below = expected[dimension:] - mean[rows] * mean[columns]
    empty = jnp.zeros((dimension, dimension), expected.dtype)
    return mean, empty.at[rows, columns].set(below).at[columns, rows].set(below)


def log_predictive(
    x: Array, expected: Expected, nu: Float[Array, ""], dimension: int | None = None
) -> Float[Array, ""]:
    """Return the log density of the next observation at ``x``, () or (dimension,)."""
    mean, covariance = moments(expected, dimension)
    freedom, length = nu + 1, dimension or 1
    if dimension is None:
        square, log_determinant = (x - mean) ** 2 / covariance, jnp.log(covariance)
    else:
        root = jnp.linalg.cholesky(covariance)
        scaled = jax.scipy.linalg.solve_triangular(root, x - mean, lower=True)
        square = jnp.sum(scaled**2)
        log_determinant = 2 * jnp.sum(jnp.log(jnp.diagonal(root)))
    norm = gammaln((freedom + length) / 2) - gammaln(freedom / 2)
    norm = norm - (length * jnp.log(freedom * jnp.pi) + log_determinant) / 2
    return norm - (freedom + length) / 2 * jnp.log1p(square / freedom)


def small_filter(n_states: int, **settings: Any) -> Network:
    """Build the HGF of a statistic: an input, its state, the volatility of that, ...

    The parameters are the defaults; ``settings`` go to the `Network`. To choose them,
    build a network of this form: each may be an array with a value for every statistic.
    """
    names = [f"x{i + 1}" for i in range(n_states)]
    edges = [nodes.observation("x1", "statistic")]
    edges += [nodes.volatility(names[i + 1], names[i]) for i in range(n_states - 1)]
    states = [nodes.ContinuousState(name) for name in names]
    return Network([nodes.ContinuousInput("statistic"), *states], edges, **settings)


class NormalLearner(eqx.Module):
    """An observer who learns a normal distribution.

    Parameters
    ----------
    dimension
        Length of one observation; None if it is a number.
    learning
        "fixed", or "hgf-1", "hgf-2", "hgf-3": by small HGFs with so many states.
    nu : ()
        For how many observations the belief stands: always, or before the first one.
    statistics : (statistic,)
        Expected before the first observation; None for those of a standard normal.
    network
        The small HGF, if not that of `small_filter`.

    Examples
    --------
    >>> print(learn(NormalLearner(nu=3.0), jnp.array([4.0])).statistics)
    [[1.   4.75]]
    """

    dimension: int | None = eqx.field(static=True)
    learning: str = eqx.field(static=True)
    nu: Any
    statistics: Any
    network: Network | None

    def __init__(
        self,
        dimension: int | None = None,
        learning: str = "fixed",
        nu: Any = 3.0,
        statistics: Any = None,
        network: Network | None = None,
    ) -> None:
        if dimension is not None and not (isinstance(dimension, int) and dimension > 0):
            raise invalid("dimension", repr(dimension), "a whole number >= 1, or None")
        self.dimension = dimension
        self.learning = choice("learning", learning, LEARNING)
        self.nu = nodes.number(nu, "learner", "nu")
        if isinstance(self.nu, np.ndarray) and not (self.nu > -1).all():
            raise invalid("nu", nu, "a number above -1")
        self.statistics = _first_statistics(statistics, dimension)
        self.network = _network(network, learning)


def _first_statistics(given: Any, dimension: int | None) -> Any:
    length = dimension or 1
    rows, columns = np.tril_indices(length)
    standard = np.concatenate([np.zeros(length), (rows == columns).astype(float)])
    given = nodes.number(standard if given is None else given, "learner", "statistics")
    if given.shape != standard.shape:
        raise invalid("statistics", f"shape {given.shape}", f"{standard.shape}")
    return given


def _network(given: Network | None, learning: str) -> Network | None:
    n_states = LEARNING.index(learning)
    if given is None:
        return small_filter(n_states) if n_states else None
    wanted = ["observation", "volatility", "volatility"][:n_states]
    if [edge.kind for edge in given.edges] != wanted:
        raise invalid("network", given, f"the form of small_filter for {learning!r}")
    return given


class Learned(NamedTuple):
    """What was learned.

    Parameters
    ----------
    statistics, nu : (time, statistic), (time,)
        Expected after each observation, and for how many observations they stand.
    surprise : (time,)
        Of each observation before it came (nats); 0 where there was none.
    trajectories
        Of the small filters, each entry (time, statistic); None if there are none.
    """

    statistics: Float[Array, "time statistic"]
    nu: Trials
    surprise: Trials
    trajectories: Trajectories | None


def learn(
    learner: NormalLearner,
    x: Data,
    observed: Bool[Array, " time"] | None = None,
    intervals: Trials | None = None,
) -> Learned:
    """Learn from observations.

    Parameters
    ----------
    learner
        Who learns.
    x : (time,) or (time, dimension)
        Observations; anything where there was none.
    observed : (time,)
        Where there was one; None for always. Elsewhere the expected statistics and
        ``nu`` stay; the small filters age, as any state does.
    intervals : (time,)
        Time since the step before, for the small filters; None for one unit each.
    """
    wanted = () if learner.dimension is None else (learner.dimension,)
    if x.ndim == 0 or x.shape[1:] != wanted:
        raise invalid("x", f"shape {x.shape}", f"{('time', *wanted)}")
    first = jnp.asarray(learner.statistics, x.dtype), jnp.asarray(learner.nu, x.dtype)
    # A missing value may be NaN; any number stands in for it, unless pyhgf's is wanted.
    literal = learner.network is not None and learner.network.compatibility != "none"
    known = observed if observed is None or x.ndim == 1 else observed[:, None]
    seen = x if known is None or literal else jnp.where(known, x, 0.0)
    given = statistics(seen, learner.dimension)
    counts, found = jnp.broadcast_to(first[1], x.shape[:1]), None
    if learner.network is not None:
        counts, found = _drive(learner.network, literal, given, observed, intervals)

    def advance(carry, now):
        value, count, known = now
        after = carry[0] + (value - carry[0]) / (1 + count), count
        if known is not None:
            after = jax.tree.map(lambda a, b: jnp.where(known, a, b), after, carry)
        return after, (after, carry)

    after, before = kernels.scan(advance, first, (given, counts, observed)).outputs
    density = jax.vmap(lambda x, xi, nu: log_predictive(x, xi, nu, learner.dimension))
    nats = -density(seen, *before)
    nats = nats if observed is None else jnp.where(observed, nats, 0.0)
    return Learned(after[0], counts if literal else after[1], nats, found)


def _drive(network, literal, given, *when) -> tuple[Any, Trajectories]:
    """Return for how many observations the small filters stand, and their beliefs."""
    shape = given.shape[1:]
    network = jax.tree.map(lambda x: jnp.broadcast_to(jnp.asarray(x), shape), network)
    follow = _follow_literally if literal else _follow
    each = jax.vmap(follow, in_axes=(0, 1, None, None), out_axes=1)
    counts, found = each(network, given, *when)
    return counts.mean(axis=1), found


def _follow(network, values, observed, intervals) -> tuple[Any, Trajectories]:
    """Follow one statistic. The gain of its state is a ratio of precisions."""
    found = inference.run(network, Series((values,), (observed,), intervals))
    edge = network.edges[0]
    told = edge.strength**2 * found.predictions[edge.child].precision
    return found.beliefs[edge.parent].precision / told - 1, found


def _follow_literally(network, values, observed, intervals) -> tuple[Any, Trajectories]:
    """Follow one statistic as pyhgf does, which holds it in a state of its own.

    Its messages are those of an input with another value and precision at each step.
    """
    edge = network.edges[0]
    variance = 1 / network[edge.child].precision

    def advance(carry, now):
        (beliefs, last), (value, known, interval) = carry, now
        above = predict(network, beliefs, interval)
        expected = last + above[edge.child].mean
        gained = per_interval(jnp.exp(LITERAL_VOLATILITY), interval)
        precision = weight = gain = conditional = 1 / (variance + gained)
        if network.is_relaxed(network[edge.child]):
            slope = per_interval(edge.strength, interval)
            spread = slope**2 / above[edge.parent].precision
            precision = 1 / (variance + gained + spread)
            told = 1 / variance - precision
            weight = conditional * told / (conditional + told)
            gain = conditional / variance / (conditional + told)
        told = above[edge.child].mean + gain / weight * (value - expected)
        equivalent = eqx.tree_at(lambda n: n[edge.child].precision, network, weight)
        data = {edge.child: Datum(told, known)}
        after, predicted = inference.step(equivalent, beliefs, data, interval)
        moved = after[edge.parent].mean - predicted[edge.parent].mean
        own = Prediction(expected, precision, conditional, variance, gained)
        found = Trajectories(after, predicted | {edge.child: own})
        return (after, value), ((value - expected) / moved, found)

    first = inference.start(network), jnp.zeros_like(values[0])
    return kernels.scan(advance, first, (values, observed, intervals)).outputs
