r"""Learning how probable each of several categories is.

A categorical filter of $K$ categories is $K$ binary filters side by side: on every
trial category $i$ either came ($u_i = 1$) or not, and a state of its own holds the
log-odds of that. One more state sets the volatility of all of them, so that the whole
filter speeds up when the world changes::

                    volatility
                   /    |     \
        log_odds_0  log_odds_1  log_odds_2        K states
             |          |           |
        category_0  category_1  category_2        K binary inputs

The beliefs $\hat\mu_i$ are independent and need not add up to one. What they amount to
as a belief about a categorical distribution follows from how far they move. A Dirichlet
distribution that has counted $\nu$ trials moves the probability of category $i$ by the
share $1 / (1 + \nu)$ of the error; read backwards, with $s$ the logistic function and
$\mu_i$ the log-odds after the trial,

$$
\nu_i = \frac{u_i - \hat\mu_i}{s(\mu_i) - \hat\mu_i} - 1,\qquad
\alpha_i = 1 + \nu_i\, \hat\mu_i .
$$

$\alpha$ is the *concentration*: large where the filter has become sure and slow. How
much a trial changed it is the divergence (Bayesian surprise)

$$
\mathrm{KL}(\alpha' \Vert \alpha) = \log\Gamma(\alpha'_+) - \log\Gamma(\alpha_+)
+ \sum_i \big[\log\Gamma(\alpha_i) - \log\Gamma(\alpha'_i)
+ (\alpha'_i - \alpha_i)(\psi(\alpha'_i) - \psi(\alpha'_+))\big]
$$

from what it was, $\alpha'$, to what it is, where $+$ is the sum and $\psi$ the
derivative of $\log\Gamma$. The surprise of a trial is that of its $K$ outcomes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gamma, gammaln
from jaxtyping import Array, Bool, Float

from neuromod.core.errors import invalid
from neuromod.hgf.inference import Series, Trajectories, binary_surprise
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput, ContinuousState, probability, volatility

Categories = Float[Array, " category"]
Trials = Float[Array, " time"]
Table = Float[Array, "time category"]


class Dirichlet(NamedTuple):
    """What a categorical filter believed of all categories together.

    Parameters
    ----------
    concentration : (time, category)
        After each trial.
    divergence : (time,)
        By how much the trial changed it (nats).
    surprise : (time,)
        Of the outcome under what was expected (nats).
    probability : (time, category)
        Of each category after the trial; they need not add up to one.
    """

    concentration: Table
    divergence: Trials
    surprise: Trials
    probability: Table


def categorical(
    n_categories: int,
    *,
    mean: Any = None,
    precision: Any = 1.0,
    tonic_volatility: Any = -4.0,
    volatility_parent: ContinuousState | None = None,
    coupling: Any = 1.0,
    **settings: Any,
) -> Network:
    """Build the network of a categorical filter.

    Parameters
    ----------
    n_categories
        K, at least 2.
    mean, precision, tonic_volatility : () or (category,)
        Of the log-odds of each category (`ContinuousState`). The mean is that of K
        equally probable categories if it is None.
    volatility_parent
        The state that sets the volatility of all of them; by default one with mean 0,
        precision 1 and tonic volatility -4.
    coupling : () or (category,)
        Strength with which it does.

    Other Parameters
    ----------------
    **settings
        Of the `Network`: its update, approximation and so on.

    Raises
    ------
    InvalidInputError
        If there are fewer than two categories, or not one value for each.

    Examples
    --------
    >>> network = categorical(3, tonic_volatility=-3.0)
    >>> network.inputs
    ('category_0', 'category_1', 'category_2')
    >>> network.states
    ('log_odds_0', 'log_odds_1', 'log_odds_2', 'volatility')
    """
    n = _require_count(n_categories)
    own = {
        "mean": one_for_each(-np.log(n - 1.0) if mean is None else mean, n, "mean"),
        "precision": one_for_each(precision, n, "precision"),
        "tonic_volatility": one_for_each(tonic_volatility, n, "tonic_volatility"),
    }
    couplings = one_for_each(coupling, n, "coupling")
    above = volatility_parent or ContinuousState("volatility")
    inputs = [BinaryInput(f"category_{i}") for i in range(n)]
    states = [
        ContinuousState(f"log_odds_{i}", **{key: own[key][i] for key in own})
        for i in range(n)
    ]
    pairs = zip(states, inputs, strict=True)
    edges = [probability(state.name, outcome.name) for state, outcome in pairs]
    edges += [volatility(above.name, states[i].name, couplings[i]) for i in range(n)]
    return Network([*inputs, *states, above], edges, **settings)


def _require_count(n_categories: Any) -> int:
    whole = isinstance(n_categories, int | np.integer)
    if not whole or isinstance(n_categories, bool) or n_categories < 2:
        raise invalid("n_categories", repr(n_categories), "a whole number >= 2")
    return int(n_categories)


def one_for_each(value: Any, count: int, argument: str) -> list[Any]:
    """Return one value for each of so many, from one number or so many.

    Parameters
    ----------
    value : () or (count,)
        The number, or the numbers.
    count
        How many there shall be.
    argument
        What the value is called, for errors.

    Raises
    ------
    InvalidInputError
        If there is not one number, or one for each.
    """
    shape = np.shape(value)
    if shape not in ((), (count,)):
        raise invalid(
            argument, f"shape {shape}", f"one number, or one for each of {count}"
        )
    return [value[i] if shape else value for i in range(count)]


def outcomes(
    table: Table,
    observed: Bool[Array, " time"] | None = None,
    intervals: Trials | None = None,
) -> Series:
    """Return trials as the series that the network runs over.

    Parameters
    ----------
    table : (time, category)
        1 in the column of the category that came, else 0; anything where nothing was
        observed.
    observed : (time,)
        Where there was an observation; None where always.
    intervals : (time,)
        Time since the trial before; None for one unit each.

    Examples
    --------
    >>> series = outcomes(jax.nn.one_hot(jnp.array([2, 0, 0]), 3))
    >>> len(series.values), series.values[0].tolist()
    (3, [0.0, 1.0, 1.0])
    """
    n_categories = table.shape[1]
    columns = tuple(table[:, i] for i in range(n_categories))
    return Series(columns, (observed,) * n_categories, intervals)


def dirichlet(network: Network, series: Series, found: Trajectories) -> Dirichlet:
    """Return the Dirichlet beliefs that the trajectories amount to.

    A trial that was not observed, or that moved some belief not at all, leaves the
    concentration as it was; its divergence is 0, and so is the surprise of a trial
    that was not observed. (With ``compatibility="pyhgf"`` such trials give infinite
    concentrations, and the divergence is not finite beyond concentrations of 171.)

    Parameters
    ----------
    network
        As `categorical` builds it.
    series
        What came in (`outcomes`).
    found
        What `neuromod.hgf.inference.run` returned.
    """
    parents = [
        network.edges[network.family.value_parents[name][0]].parent
        for name in network.inputs
    ]
    observed = _observed(series)
    expected = jnp.stack([found.predictions[n].mean for n in network.inputs], axis=-1)
    log_odds = jnp.stack([found.beliefs[name].mean for name in parents], axis=-1)
    after = jax.nn.sigmoid(log_odds)
    outcome = jnp.stack(series.values, axis=-1)
    if network.compatibility != "none":
        return _literal(outcome, expected, after)
    outcome = jnp.where(observed[:, None], outcome, expected)
    moved = observed & jnp.all(after != expected, axis=-1)
    now = _concentration(outcome, expected, after, moved)
    before, held = _hold(now, moved)
    change = jnp.where(moved, divergence(before, held), 0.0)
    nats = binary_surprise(outcome, expected).sum(axis=-1)
    return Dirichlet(held, change, jnp.where(observed, nats, 0.0), after)


def _observed(series: Series) -> Bool[Array, " time"]:
    """Tell on which trials every category was observed."""
    known = [observed for observed in series.observed if observed is not None]
    if not known:
        return jnp.ones(series.values[0].shape, bool)
    return jnp.all(jnp.stack(known), axis=0)


def _concentration(outcome: Table, expected: Table, after: Table, moved: Any) -> Table:
    """Return the concentration that each trial shows; 1 where it shows none."""
    usable = moved[:, None]
    # The inner choice keeps the derivative of what is not chosen finite.
    step = jnp.where(usable, after - expected, 1.0)
    count = (outcome - expected) / step - 1
    return jnp.where(usable, count * expected + 1, 1.0)


def _hold(table: Table, moved: Bool[Array, " time"]) -> tuple[Table, Table]:
    """Return the table before and after each trial: its last row that counts, or 1."""
    n_steps, n_categories = table.shape
    rows = jnp.concatenate([jnp.ones((1, n_categories), table.dtype), table])
    counted = jnp.where(moved, jnp.arange(1, n_steps + 1), 0)
    last = jax.lax.cummax(counted)
    first = jnp.zeros(1, last.dtype)
    return rows[jnp.concatenate([first, last[:-1]])], rows[last]


def divergence(
    before: Float[Array, "*batch category"], after: Float[Array, "*batch category"]
) -> Float[Array, "*batch"]:
    """Return the divergence of one Dirichlet distribution from another (nats).

    Parameters
    ----------
    before, after : (..., category)
        Concentrations of the distribution whose expectation is taken, and of the other.

    Examples
    --------
    >>> print(divergence(jnp.array([1.0, 1.0]), jnp.array([1.0, 1.0])))
    0.0
    """
    total, other = before.sum(axis=-1), after.sum(axis=-1)
    each = gammaln(after) - gammaln(before)
    each = each + (before - after) * (digamma(before) - digamma(total)[..., None])
    return gammaln(total) - gammaln(other) + each.sum(axis=-1)


def _literal(outcome: Table, expected: Table, after: Table) -> Dirichlet:
    """Return what pyhgf computes, with its infinities and NaN."""
    now = ((outcome - expected) / (after - expected) - 1) * expected + 1
    first = jnp.ones_like(now[:1])
    change = _literal_divergence(jnp.concatenate([first, now[:-1]]), now)
    nats = binary_surprise(outcome, jnp.clip(expected, 1e-6, 1 - 1e-6)).sum(axis=-1)
    return Dirichlet(now, change, nats, after)


def _literal_divergence(before: Table, after: Table) -> Trials:
    total, other = before.sum(axis=-1), after.sum(axis=-1)
    each = jnp.log(gamma(after) / gamma(before))
    each = each + (before - after) * (digamma(before) - digamma(total)[..., None])
    return jnp.log(gamma(total) / gamma(other)) + each.sum(axis=-1)
