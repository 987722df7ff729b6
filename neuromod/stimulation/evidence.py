r"""How well a process explains what was seen, whatever its offset and its scale.

At the coefficients $\hat\beta$ and scales $\hat s$ of `neuromod.stimulation.belief`,

$$
\log p = \log N(y; H \hat\beta, \hat s^2 C) -
\frac{\nu}{2} \Big( \log \hat s^2 + \frac{s_0^2}{\hat s^2} \Big) -
\frac{1}{2 \hat s^2} (\hat\beta - \beta_0)^T P (\hat\beta - \beta_0) .
$$

Both are where this is largest, so its slope along $C$ is the one with both held fixed.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from neuromod.stimulation.belief import Basis, Prior, Size, coefficients
from neuromod.stimulation.covariance import GaussianProcess
from neuromod.stimulation.gaussian_process import (
    Trials,
    log_marginal_likelihood,
    seen,
    trial_covariance,
)


def log_evidence(
    process: GaussianProcess,
    trials: Trials,
    basis: Basis,
    prior: Prior,
    *,
    size: Size = "learned",
) -> Float[Array, ""]:
    """Return the log density of what was seen, but for a constant.

    Parameters
    ----------
    process
        Of the map, in units of its scale.
    trials
        Each on a row of its own; responses and known functions in their columns.
    basis, prior
        What is known beforehand; values at candidates do not count.
    size
        As of `neuromod.stimulation.belief.believe`.
    """
    here = seen(trials)[:, None]
    columns = jnp.where(here, trials.response, 0.0)
    n_outputs = len(prior.scale)
    factor = jnp.linalg.cholesky(trial_covariance(process, trials))
    whitened = solve_triangular(factor, columns, lower=True)
    best = jax.lax.stop_gradient(coefficients(whitened, trials.n_seen, basis, prior))
    scale = jnp.sqrt(jnp.diag(best.covariance))
    responses, functions = columns[:, :n_outputs], columns[:, n_outputs:]
    if size == "largest":
        scale = jnp.where(here, responses, -jnp.inf).max(axis=0)
    left = (responses - functions @ best.coefficients) / scale[None]
    density = log_marginal_likelihood(
        process, trials._replace(response=left), jnp.zeros_like(left)
    )
    n_seen = trials.n_seen.astype(left.dtype)
    logs = jnp.log(scale)
    penalty = prior.n_prior * (logs + 0.5 * jnp.square(prior.scale / scale))
    moved = jnp.square(best.coefficients - basis.expected[:, None]) / scale[None] ** 2
    penalties = penalty + 0.5 * (basis.precision[:, None] * moved).sum(axis=0)
    return density - (n_seen * logs + penalties).sum()
