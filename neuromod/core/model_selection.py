r"""Which of several models most subjects of a population use, and how sure that is.

Every subject $n$ has a log evidence $\ell_{nk}$ (log marginal likelihood) of every
model $k$. *Random effects*: a subject's model $m_n$ is drawn from unknown frequencies
$r$,

$$
r \sim \mathrm{Dirichlet}(1, \ldots, 1), \qquad
p(m_n = k \mid r) = r_k, \qquad \log p(y_n \mid m_n = k) = \ell_{nk} .
$$

The posterior is approximated by $q(r)\, q(m)$ with $q(r) = \mathrm{Dirichlet}(\alpha)$
and attributions $g_{nk} = q(m_n = k)$ that are iterated to agree (Stephan et al. 2009,
equation 14),

$$
g_{nk} \propto \exp\big(\ell_{nk} + \psi(\alpha_k) - \psi(\textstyle\sum_j \alpha_j)
  \big), \qquad \alpha_k = 1 + \sum_n g_{nk} .
$$

The *exceedance probability* of a model is that of being the most frequent one. Were all
equally frequent, some would seem to be ahead by chance: the *Bayesian omnibus risk* is
the posterior probability of $r_k = 1/K$, and *protected* exceedance probabilities
average over both (Rigoux et al. 2014).

*Fixed effects*: all subjects use the same model, so that log evidences add up; a single
subject can decide (`group_bayes_factors`).

Both compare the models with each other, and cannot tell whether any of them is good.

References
----------
Stephan, Penny, Daunizeau, Moran & Friston (2009), NeuroImage 46: random effects.
Rigoux, Stephan, Friston & Daunizeau (2014), NeuroImage 84: omnibus risk, protection.
"""

import warnings

import numpy as np
import xarray as xr
from scipy.special import (
    digamma,
    entr,
    expit,
    gammainc,
    gammaincinv,
    gammaln,
    logsumexp,
)
from scipy.special import softmax as normalised_exp

from neuromod.core.dimensions import require_dims, require_real, require_unique
from neuromod.core.errors import ConvergenceWarning, invalid

# Of the concentrations, which are at least one.
TOLERANCE = 1e-10
MAX_ITERATIONS = 100_000


def select_models(log_evidence: xr.DataArray) -> xr.Dataset:
    """Estimate how frequent each model is in the population.

    Parameters
    ----------
    log_evidence : (subject, model)
        Log evidence (nats) of every model for every subject, each from the same data
        of that subject.

    Returns
    -------
    Dataset
        Of each model (model): ``concentration`` of the Dirichlet posterior, its
        ``expected_frequency`` and ``frequency_standard_deviation``,
        ``exceedance_probability`` and ``protected_exceedance_probability``. Of each
        subject, ``attribution`` (subject, model), the probability that it uses the
        model. Of all, ``omnibus_risk``, the probability that the models are equally
        frequent, and (nats) the ``free_energy`` and the ``null_log_evidence`` that it
        comes from.

    Raises
    ------
    ShapeError
        If it is no DataArray with the dimensions ``subject`` and ``model``.
    InvalidInputError
        If there are fewer than two models or no subject, labels occur twice, or an
        evidence is not finite.

    Warns
    -----
    ConvergenceWarning
        If the attributions did not settle.

    Notes
    -----
    Stephan et al. (2009); Rigoux et al. (2014). The approximation is exact where every
    subject's evidence is decisive, and too narrow where it is weak: for 16 subjects
    with differences of about 1 nat the standard deviation is half of what it should
    be, and the expected frequency is off by less than 0.1. The free energy is a
    lower bound of the log evidence of unequal frequencies, so the omnibus risk errs
    towards equality: evidences that tell nothing give 0.5 in theory, and more here.

    Examples
    --------
    >>> log_evidence = xr.DataArray(
    ...     [[-40.0, -45.0], [-38.0, -44.0], [-51.0, -50.0], [-44.0, -47.0]],
    ...     coords={"subject": list("abcd"), "model": ["HGF", "Rescorla-Wagner"]},
    ... )
    >>> found = select_models(log_evidence)
    >>> found["expected_frequency"].round(2).values.tolist()
    [0.77, 0.23]
    >>> found["exceedance_probability"].round(2).values.tolist()
    [0.93, 0.07]
    >>> found["protected_exceedance_probability"].round(2).values.tolist()
    [0.73, 0.27]
    """
    array = _require_evidence(log_evidence)
    values = array.values.astype(float)
    concentration, attribution = _fit(values)
    free_energy = _free_energy(values, concentration, attribution)
    null = float((logsumexp(values, axis=1) - np.log(values.shape[1])).sum())
    risk = expit(null - free_energy)
    total = concentration.sum()
    frequency = concentration / total
    exceedance = exceedance_probability(concentration)
    of_model = {
        "concentration": concentration,
        "expected_frequency": frequency,
        "frequency_standard_deviation": np.sqrt(
            frequency * (1 - frequency) / (total + 1)
        ),
        "exceedance_probability": exceedance,
        "protected_exceedance_probability": (
            exceedance * (1 - risk) + risk / len(exceedance)
        ),
    }
    found = xr.Dataset({name: ("model", v) for name, v in of_model.items()})
    found["attribution"] = (("subject", "model"), attribution)
    found["omnibus_risk"] = ((), risk)
    found["free_energy"] = ((), free_energy, {"units": "nats"})
    found["null_log_evidence"] = ((), null, {"units": "nats"})
    return found.assign_coords(array.coords)


def group_bayes_factors(log_evidence: xr.DataArray) -> xr.Dataset:
    """Compare models that all subjects share (fixed effects).

    Parameters
    ----------
    log_evidence : (subject, model)
        As for `select_models`.

    Returns
    -------
    Dataset
        Of each model (model): ``log_group_evidence`` (nats),
        ``log_group_bayes_factor`` (nats) against the best of the others, so that it is
        positive for the best model only, and ``posterior_probability`` if all were
        equally probable before.

    Raises
    ------
    ShapeError, InvalidInputError
        As for `select_models`.

    Notes
    -----
    Stephan et al. (2009), which shows how an outlier decides.

    Examples
    --------
    >>> log_evidence = xr.DataArray(
    ...     [[-40.0, -45.0], [-38.0, -44.0], [-51.0, -50.0], [-44.0, -47.0]],
    ...     coords={"subject": list("abcd"), "model": ["HGF", "Rescorla-Wagner"]},
    ... )
    >>> group_bayes_factors(log_evidence)["log_group_bayes_factor"].values.tolist()
    [13.0, -13.0]
    """
    array = _require_evidence(log_evidence)
    values = array.values.astype(float)
    total = values.sum(axis=0)
    best, second = np.sort(total)[[-1, -2]]
    rival = np.full_like(total, best)
    rival[total.argmax()] = second
    variables = {
        "log_group_evidence": ("model", total, {"units": "nats"}),
        "log_group_bayes_factor": ("model", total - rival, {"units": "nats"}),
        "posterior_probability": ("model", normalised_exp(total)),
    }
    found = xr.Dataset(variables)
    return found.assign_coords(array.isel(subject=0, drop=True).coords)


def exceedance_probability(concentration: np.ndarray) -> np.ndarray:
    r"""Return the probability of each component of a Dirichlet to be the largest.

    Parameters
    ----------
    concentration : (model,)
        $\alpha$, all positive.

    Returns
    -------
    (model,)
        Probabilities, which sum to one.

    Notes
    -----
    A Dirichlet is made of independent Gamma variables divided by their sum, so that,
    with their densities $f$ and distribution functions $F$,

    $$
    P(k \text{ is largest}) = \int f_k(x) \prod_{j \ne k} F_j(x)\, dx .
    $$

    On the axis $\log x$ the integrand is smooth and vanishes at both ends of the range
    of the largest variable: the trapezoidal rule is then exact to about ten digits.

    Examples
    --------
    >>> exceedance_probability(np.array([1.0, 1.0, 2.0])).round(4).tolist()
    [0.1944, 0.1944, 0.6111]
    """
    alpha = np.asarray(concentration, float)
    lowest = gammaincinv(alpha.max(), 1e-14)
    highest = gammaincinv(alpha.max(), 1 - 1e-14)
    log_x, step = np.linspace(np.log(lowest), np.log(highest), 1001, retstep=True)
    x = np.exp(log_x)[:, np.newaxis]
    density = np.exp(alpha * np.log(x) - x - gammaln(alpha))  # of log x
    below = gammainc(alpha, x)
    return step * (density / below * below.prod(axis=1, keepdims=True)).sum(axis=0)


def _fit(log_evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Iterate concentrations (model,) and attributions (subject, model)."""
    concentration = np.ones(log_evidence.shape[1])
    for _ in range(MAX_ITERATIONS):
        # The digamma of the sum is the same for all models.
        attribution = normalised_exp(log_evidence + digamma(concentration), axis=1)
        before, concentration = concentration, 1 + attribution.sum(axis=0)
        if np.abs(concentration - before).max() <= TOLERANCE:
            return concentration, attribution
    warnings.warn(
        f"select_models: the attributions had not settled after {MAX_ITERATIONS} "
        "iterations; the concentrations still moved by "
        f"{np.abs(concentration - before).max():.2g}. Are the evidences of some models "
        "all but the same?",
        ConvergenceWarning,
        stacklevel=3,
    )
    return concentration, attribution


def _free_energy(
    log_evidence: np.ndarray, concentration: np.ndarray, attribution: np.ndarray
) -> float:
    """Return the lower bound of the log evidence of all data (Rigoux et al. 2014)."""
    expected_log = digamma(concentration) - digamma(concentration.sum())
    joint = (attribution * (log_evidence + expected_log)).sum()
    log_normaliser = gammaln(concentration).sum() - gammaln(concentration.sum())
    # Of q(r) from the uniform prior, whose density is (K - 1)!.
    divergence = (
        ((concentration - 1) * expected_log).sum()
        - log_normaliser
        - gammaln(len(concentration))
    )
    return float(joint + entr(attribution).sum() - divergence)


def _require_evidence(log_evidence: object) -> xr.DataArray:
    array = require_dims(log_evidence, ("subject", "model"), "log_evidence")
    require_real(array.dtype, "log_evidence")
    for dim, least in (("subject", 1), ("model", 2)):
        if array.sizes[dim] < least:
            got = f"{array.sizes[dim]} {dim}(s)"
            raise invalid("log_evidence", got, f"at least {least}")
        if dim in array.coords:
            require_unique(array[dim].values, f"log_evidence.{dim}")
    finite = np.isfinite(array.values)
    if not finite.all():
        subject, model = (int(index) for index in np.argwhere(~finite)[0])
        raise invalid(
            "log_evidence",
            f"{int((~finite).sum())} value(s) that are not finite, the first "
            f"({array.values[subject, model]}) for subject {_label(array, 0, subject)} "
            f"and model {_label(array, 1, model)}",
            "a finite evidence of every model for every subject",
            "Fit it again, or leave that subject or model out for all.",
        )
    return array


def _label(array: xr.DataArray, axis: int, index: int) -> str:
    dim = array.dims[axis]
    return (
        repr(array[dim].values.tolist()[index]) if dim in array.coords else str(index)
    )
