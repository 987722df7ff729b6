r"""What a map looks like so far, when its level and its size are not known beforehand.

Responses have offsets and scales that differ between muscles by orders of magnitude.
Both follow from the trials in closed form, so that nothing has to be fitted while an
animal waits. With $y = H \beta + s f$, and $C = L L^T$ the covariance of $f$ plus noise
at the trials, the coefficients $\beta$ of known functions $H$ (ones; maps of earlier
animals) have a normal prior of precision $P / s^2$ around $\beta_0$, and $s^2$ has a
scaled inverse chi-square one of $\nu$ degrees of freedom around $s_0^2$:

$$
\hat\beta = (Z_H^T Z_H + P)^{-1} (Z_H^T z_y + P \beta_0), \qquad
\hat s^2 = \frac{\nu s_0^2 + | z_y - Z_H \hat\beta |^2 +
(\hat\beta - \beta_0)^T P (\hat\beta - \beta_0)}{\nu + n},
$$

where $z_y = L^{-1} y$, $Z_H = L^{-1} H$. So a regression is carried along whose outputs
are the responses *and the known functions*; every trial that is appended updates all.
The uncertainty of $\beta$ is part of that of the map (Rasmussen & Williams 2006,
eq. 2.42). Several outputs (muscles) share the factor, and $s^2$ becomes their
covariance: an intrinsic model of coregionalisation, in closed form.
"""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float, Int

from neuromod.stimulation.gaussian_process import Posterior, seen

Offset = Literal["learned", "zero"]
Size = Literal["learned", "largest"]
UNKNOWN = 1e-8  # precision of a coefficient of which nothing is known yet


class Belief(NamedTuple):
    """What each candidate would give.

    Parameters
    ----------
    mean : (candidate, output)
        Expected, on the scale on which the responses were given to the regression.
    deviation : (candidate, output)
        Of the map, without the noise of a trial, were the coefficients known: what a
        search goes by, since what all candidates share tells none from another.
    total_deviation : (candidate, output)
        With the uncertainty of the coefficients.
    coefficients : (basis, output)
        Of the known functions.
    covariance : (output, output)
        Of the map around them.
    """

    mean: Float[Array, "candidate output"]
    deviation: Float[Array, "candidate output"]
    total_deviation: Float[Array, "candidate output"]
    coefficients: Float[Array, "basis output"]
    covariance: Float[Array, "output other_output"]


class Basis(NamedTuple):
    """Known functions that a map is made of.

    Parameters
    ----------
    at : (candidate, basis)
        Their values.
    expected : (basis,)
        Their coefficients before there are trials.
    precision : (basis,)
        Of these, in units of that of the map; 0 if they may be anything.
    """

    at: Float[Array, "candidate basis"]
    expected: Float[Array, " basis"]
    precision: Float[Array, " basis"]


class Prior(NamedTuple):
    """What is known beforehand, and what rows tell of noise and not of the map.

    Parameters
    ----------
    scale : (output,)
        Of the map, before there are trials.
    n_prior : ()
        As many trials it counts for.
    n_repeats : ()
        Rows of a stimulus that has another.
    scatter : (output, output)
        Of the rows of one stimulus around their mean, in units of the noise.
    """

    scale: Float[Array, " output"]
    n_prior: Float[Array, ""]
    n_repeats: Float[Array, ""]
    scatter: Float[Array, "output other_output"]


def constant(level: np.ndarray, n_levels: int, *, offset: Offset = "learned") -> Basis:
    """Return the basis of an offset for each level, or of none.

    Parameters
    ----------
    level : (candidate,)
        Of each candidate.
    n_levels
        How many there are.
    offset
        Whether it is "learned", or "zero".
    """
    n_basis = n_levels if offset == "learned" else 0
    at: Any = (level[:, None] == np.arange(n_basis)[None]).astype(float)
    none: Any = np.zeros(n_basis)
    return Basis(at, none, none)


def with_map(basis: Basis, earlier: Any, precision: float = 1.0, xp: Any = np) -> Basis:
    """Return a basis with a map of earlier animals, whose coefficient is near one.

    Parameters
    ----------
    basis
        What the map is made of besides.
    earlier : (candidate,)
        The map.
    precision
        Of its coefficient.
    xp
        numpy, or jax.numpy.
    """
    return Basis(
        xp.column_stack([basis.at, earlier]),
        xp.append(basis.expected, 1.0),
        xp.append(basis.precision, precision),
    )


def prior_of(scale: float, n_prior: float, n_outputs: int) -> Prior:
    """Return the prior of outputs that are of one size, before there are repeats."""
    values: Any = np.full(n_outputs, float(scale))
    none: Any = np.zeros((n_outputs, n_outputs))
    number: Any = np.asarray(float(n_prior))
    zero: Any = np.asarray(0.0)
    return Prior(values, number, zero, none)


def believe(
    known: Posterior, basis: Basis, prior: Prior, *, size: Size = "learned"
) -> Belief:
    """Return what is believed of a map.

    Parameters
    ----------
    known
        The regression of the responses and of the basis.
    basis
        Known functions, at the candidates.
    prior
        What is known beforehand.

    Other Parameters
    ----------------
    size
        Whether the scale is "learned", or the "largest" response so far.
    """
    n_outputs = len(prior.scale)
    fitted = coefficients(known.whitened, known.trials.n_seen, basis, prior)
    covariance = fitted.covariance
    if size == "largest":
        covariance = jnp.diag(jnp.square(_largest(known, prior.scale)))
    unexplained = basis.at - known.mean[:, n_outputs:]
    mean = known.mean[:, :n_outputs] + unexplained @ fitted.coefficients
    spread = cho_solve((fitted.factor, True), unexplained.T)
    total = known.variance + (unexplained.T * spread).sum(axis=0)
    scale = jnp.sqrt(jnp.diag(covariance))[None]
    deviation = jnp.sqrt(known.variance)[:, None] * scale
    total_deviation = jnp.sqrt(total)[:, None] * scale
    return Belief(mean, deviation, total_deviation, fitted.coefficients, covariance)


class Fitted(NamedTuple):
    """Coefficients and scale of a regression.

    Parameters
    ----------
    coefficients : (basis, output)
        Of the known functions.
    factor : (basis, basis)
        Of the precision of these.
    covariance : (output, output)
        Of the map.
    n_trials : ()
        What this counts on, the prior included and repeats apart.
    """

    coefficients: Float[Array, "basis output"]
    factor: Float[Array, "basis other_basis"]
    covariance: Float[Array, "output other_output"]
    n_trials: Float[Array, ""]


def coefficients(
    whitened: Float[Array, "capacity column"],
    n_seen: Int[Array, ""],
    basis: Basis,
    prior: Prior,
) -> Fitted:
    """Return the best coefficients, and the covariance of what they leave.

    Parameters
    ----------
    whitened : (capacity, output and basis)
        Responses and known functions at the trials, whitened.
    n_seen
        How many rows hold a trial.
    basis, prior
        As of `believe`.
    """
    n_outputs = len(prior.scale)
    values, functions = whitened[:, :n_outputs], whitened[:, n_outputs:]
    precision = functions.T @ functions + jnp.diag(basis.precision)
    unknown = jnp.where(jnp.diag(precision) > 0, 0.0, UNKNOWN)
    precision = precision + jnp.diag(unknown)
    factor = jnp.linalg.cholesky(precision)
    pull = (basis.precision * basis.expected)[:, None]
    found = cho_solve((factor, True), functions.T @ values + pull)
    left = values - functions @ found
    moved = jnp.sqrt(basis.precision)[:, None] * (found - basis.expected[:, None])
    n_trials = prior.n_prior - prior.n_repeats + n_seen.astype(left.dtype)
    prior_scatter = prior.n_prior * jnp.diag(jnp.square(prior.scale))
    scatter = left.T @ left + moved.T @ moved + prior_scatter - prior.scatter
    return Fitted(found, factor, scatter / n_trials, n_trials)


def _largest(known: Posterior, default: Array) -> Array:
    here = seen(known.trials)
    responses = known.trials.response[:, : len(default)]
    responses = jnp.where(here[:, None], responses, -jnp.inf)
    return jnp.where(here.any(), responses.max(axis=0), default)
