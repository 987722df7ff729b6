r"""Sorting observations into clusters whose number nobody knows.

Each cluster is a normal distribution that is learned as in
`neuromod.hgf.exponential_family`: its expected statistics $\xi_j$ stand for
$\nu_j = \nu + n_j$ observations, $n_j$ of which were given to it, the others being the
prior's; one more moves them by $(T(x) - \xi_j) / (1 + \nu_j)$. With Student's $t$
density $t_j$ of the next observation this is the exact Bayesian learning of a mean and
a covariance. What comes next is from a cluster with the probabilities of a Chinese
restaurant: from one of the old as often as it was met before, from a new one in
proportion to the *concentration* $\alpha$. After $n$ observations

$$
p(x) = \sum_j \frac{n_j}{\alpha + n}\, t_j(x) + \frac{\alpha}{\alpha + n}\, t_0(x),
$$

with the prior's density $t_0$. The observation is then given to the cluster that most
probably made it, the largest term of the sum, for good: exact inference of a Dirichlet
process mixture but for that choice (SUGS: Wang and Dunson, J. Comput. Graph. Stat.
2011; the rational model of categories: Anderson, Psychol. Rev. 1991). The density
$p(x)$ is smooth in $\alpha$ and in the prior as long as the choices stay the same, so
it can be maximised by its gradient.

The number of clusters is bounded, as arrays need a size; when all are in use, $\alpha$
drops out and the sum is over the old ones.

The package pyhgf does otherwise. It draws 20,000 candidates for each new cluster from
a fixed base distribution, takes a weighted mean of the best 1,000 by a product of
scores that come from no model (how specific, how isolated, how near to the spread),
and weighs a normal density, as if means and variances were known. That depends on a
random key, has no density of the data that could be compared or fitted, and no
gradient. Here the new cluster's density is integrated over the prior in closed form.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float, Int

from neuromod import kernels
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.precision import Precision, in_precision, precision_context
from neuromod.hgf.exponential_family import (
    NormalLearner,
    log_predictive,
    moments,
    statistics,
)
from neuromod.hgf.nodes import positive

Observations = Float[Array, " time"] | Float[Array, "time dimension"]
PerCluster = Float[Array, "time cluster"]


class Clustered(NamedTuple):
    """Which cluster each observation was given to, and what was learned of them.

    Parameters
    ----------
    assignment : (time,)
        Number of the cluster, in the order of their first observations; -1 where
        nothing was observed.
    probability : (time, cluster)
        That the observation was from this cluster, the next new one among them; 0
        where nothing was observed.
    log_density : (time,)
        Of each observation before it came (nats); 0 where there was none.
    counts : (time, cluster)
        Observations that the clusters were given, after each trial.
    statistics : (time, cluster, statistic)
        Expected of each cluster then; the prior's of those without observations.
    """

    assignment: Int[Array, " time"]
    probability: PerCluster
    log_density: Float[Array, " time"]
    counts: PerCluster
    statistics: Float[Array, "time cluster statistic"]


def assign(
    prior: NormalLearner,
    x: Observations,
    concentration: Float[Array, ""] | float = 1.0,
    n_clusters: int = 10,
    observed: Bool[Array, " time"] | None = None,
) -> Clustered:
    """Sort observations into clusters, one after another.

    Parameters
    ----------
    prior
        What is expected of a new cluster, and for how many observations that stands.
    x : (time,) or (time, dimension)
        Observations; anything where there was none.
    concentration : ()
        Alpha: how readily a new cluster is opened.
    n_clusters
        The most there may be.
    observed : (time,)
        Where there was an observation; None for always.
    """
    dimension = prior.dimension
    known = jnp.ones(x.shape[0], bool) if observed is None else observed
    shown = known if dimension is None else known[:, None]
    seen = jnp.where(shown, x, 0.0)
    first = jnp.asarray(prior.statistics, x.dtype)
    nu, alpha = (jnp.asarray(v, x.dtype) for v in (prior.nu, concentration))
    density = jax.vmap(log_predictive, (None, 0, 0, None))

    def advance(carry, now):
        counts, expected = carry
        value, told, known = now
        prior_log = _log_prior(counts, alpha)
        joint = prior_log + density(value, expected, nu + counts, dimension)
        total = jax.nn.logsumexp(joint)
        chosen = jnp.argmax(joint)
        given = jnp.where(known, jax.nn.one_hot(chosen, n_clusters, dtype=x.dtype), 0.0)
        moved = (told[None] - expected) / (1 + nu + counts)[:, None]
        after = counts + given, expected + given[:, None] * moved
        return after, Clustered(
            jnp.where(known, chosen, -1),
            jnp.where(known, jnp.exp(joint - total), 0.0),
            jnp.where(known, total, 0.0),
            *after,
        )

    empty = jnp.zeros(n_clusters, x.dtype)
    start = empty, jnp.tile(first, (n_clusters, 1))
    return kernels.scan(
        advance, start, (seen, statistics(seen, dimension), known)
    ).outputs


def _log_prior(counts: Array, concentration: Array) -> Array:
    """Return the log probabilities of the clusters before an observation."""
    in_use = counts > 0
    first_free = (jnp.cumsum(~in_use) == 1) & ~in_use
    weight = jnp.where(in_use, counts, concentration)
    log_weight = jnp.where(in_use | first_free, jnp.log(weight), -jnp.inf)
    return log_weight - jax.nn.logsumexp(log_weight)


def cluster(
    data: Any,
    prior: NormalLearner,
    *,
    concentration: float = 1.0,
    n_clusters: int = 10,
    observed: Any = None,
    precision: Precision = "float64",
) -> xr.Dataset:
    r"""Sort observations into clusters, one after another, and learn each of them.

    Parameters
    ----------
    data : (trial,) or (trial, dimension)
        Observations; NaN is missing.
    prior
        What is expected of a new cluster: its ``statistics`` are those of all clusters
        together, with the variance of their means, and ``nu`` times that variance is
        the sum of squares to expect within one. A ``nu`` well below 1 lets clusters be
        narrow and far apart.

    Other Parameters
    ----------------
    concentration
        How readily a new cluster is opened (alpha).
    n_clusters
        The most there may be.
    observed : (trial,)
        False where an observation does not count.
    precision
        "float64" or "float32".

    Returns
    -------
    Dataset
        ``assignment`` (trial), -1 where nothing was observed; ``log_density`` (trial)
        of each observation before it came, in nats, 0 where nothing was observed;
        ``probability`` and ``count`` (trial, cluster); ``mean`` (trial, cluster) or
        (trial, cluster, dimension) and ``variance``, or ``covariance`` (..., dimension,
        dimension_to), after each trial: NaN of clusters without observations.
        The attribute ``n_in_use`` tells how many clusters there were in the end.

    Raises
    ------
    InvalidInputError
        If the prior is not of the "fixed" kind with ``nu`` above 0, the concentration
        not positive, the number of clusters below 1, or an observation infinite.
    ShapeError
        If the data do not have the prior's dimension.

    Examples
    --------
    >>> from neuromod import hgf
    >>> prior = hgf.NormalLearner(nu=0.02, statistics=[0.0, 50.0])
    >>> found = cluster([5.1, 4.8, -5.2, 5.0, -4.7], prior)
    >>> found["assignment"].values
    array([0, 0, 1, 0, 1])
    """
    _check(prior, concentration, n_clusters)
    values, known, dimension, coordinate = _prepared(data, prior, observed)
    with precision_context(precision):
        found = _assign(
            in_precision(prior, precision),
            jnp.asarray(values, precision),
            jnp.asarray(concentration, precision),
            n_clusters,
            known,
        )
        mean, spread = _moments(found.statistics, prior.dimension)
        found, mean, spread = jax.tree.map(np.asarray, (found, mean, spread))
    return _named(found, mean, spread, (dimension, coordinate))


_assign = jax.jit(assign, static_argnums=3)


@jax.jit(static_argnums=1)
def _moments(expected: Array, dimension: int | None) -> tuple[Array, Array]:
    each = jax.vmap(jax.vmap(lambda xi: moments(xi, dimension)))
    return each(expected)


def _check(prior: NormalLearner, concentration: Any, n_clusters: Any) -> None:
    if prior.learning != "fixed":
        raise invalid("prior", f"learning={prior.learning!r}", "learning='fixed'")
    positive(prior.nu, "prior", "nu")
    positive(concentration, "clusters", "concentration")
    if not isinstance(n_clusters, int) or n_clusters < 1:
        raise invalid("n_clusters", repr(n_clusters), "a whole number >= 1")


def _prepared(data: Any, prior: NormalLearner, observed: Any) -> tuple:
    """Return the values, where there are any, and how the trials are called."""
    values = np.asarray(data, float)
    wanted = () if prior.dimension is None else (prior.dimension,)
    if values.ndim == 0 or not len(values) or values.shape[1:] != wanted:
        raise invalid(
            "data", f"shape {values.shape}", f"{('trial', *wanted)}", kind=ShapeError
        )
    missing = np.isnan(values)
    known = ~(missing if values.ndim == 1 else missing.any(axis=1))
    if observed is not None:
        marked = np.asarray(observed)
        if marked.shape != known.shape:
            raise invalid(
                "observed", f"shape {marked.shape}", f"{known.shape}", kind=ShapeError
            )
        known = known & marked.astype(bool)
    if np.isinf(values[known]).any():
        raise invalid("data", "an infinite number", "finite numbers, NaN if missing")
    if isinstance(data, xr.DataArray):
        name = data.dims[0]
        return values, known, str(name), data[name].values
    return values, known, "trial", np.arange(len(values))


def _named(found: Clustered, mean, spread, trials: tuple) -> xr.Dataset:
    dimension, coordinate = trials
    per_cluster, vector = (dimension, "cluster"), mean.ndim > 2
    in_use = found.counts > 0

    def of_clusters(values, *dims):
        shape = in_use.shape + (1,) * (values.ndim - 2)
        return (*per_cluster, *dims), np.where(in_use.reshape(shape), values, np.nan)

    axes = ("dimension", "dimension_to") if vector else ()
    variables = {
        "assignment": (dimension, found.assignment),
        "log_density": (dimension, found.log_density, {"units": "nats"}),
        "probability": (per_cluster, found.probability),
        "count": (per_cluster, found.counts.astype(int)),
        "mean": of_clusters(mean, *axes[:1]),
        ("covariance" if vector else "variance"): of_clusters(spread, *axes),
    }
    n_in_use = {"n_in_use": int(in_use[-1].sum())}
    return xr.Dataset(variables, {dimension: coordinate}, n_in_use)
