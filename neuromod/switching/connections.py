"""Which neurons are connected, with a stated rate of false discoveries."""

import numpy as np
import xarray as xr
from scipy.stats import chi2, false_discovery_control

from neuromod.core.errors import invalid
from neuromod.core.result import Result
from neuromod.switching.data import group, require_fit


def connections(fit: Result, *, false_discovery_rate: float = 0.05) -> xr.Dataset:
    """Choose the connections to report, so that few of them are false.

    With the one-hot prior the fit knows how likely each connection is absent; the
    likeliest ones are chosen for as long as that is the case for no more than the
    rate on average (Müller, Parmigiani, Robert & Rousseau, JASA 2004). Otherwise
    weights are held against their standard errors (Wald tests), and chosen by the
    procedure of Benjamini & Hochberg (1995).

    Parameters
    ----------
    fit
        Result of `neuromod.switching.fit`, with couplings.
    false_discovery_rate
        Expected fraction of the chosen connections that are false, between 0 and 1.

    Returns
    -------
    Dataset
        Per (state, neuron, source_neuron): ``is_connected``, its ``sign`` (-1 or 1),
        ``weight`` (summed over basis functions), and ``absence``: how likely there is
        none with the one-hot prior, else the adjusted p-value.

    Raises
    ------
    InvalidInputError
        If the rate is not between 0 and 1, or the fit has no couplings.

    Notes
    -----
    Both take the posterior of the states as known. A connection of a neuron with
    itself is none of the network where it has a filter of its own.
    """
    require_fit(fit)
    if not 0 < false_discovery_rate < 1:
        raise invalid(
            "false_discovery_rate", false_discovery_rate, "a number between 0 and 1"
        )
    found = group(fit.data, "parameters")
    weight = found["weight"].sum("basis")
    if found.sizes["basis"] == 0:
        raise invalid(
            "fit",
            "a hidden Markov model without couplings",
            "a fit with couplings",
            "Fit with a basis, for example basis='exponential'.",
        )
    possible = np.ones(weight.shape, bool)
    if len(fit.model.self_basis):
        own = np.arange(weight.sizes["neuron"])
        possible[:, own, own] = False
    if "connection_probability" in found:
        kinds = found["connection_probability"]
        absence = kinds.sel(connection="none").values
        chosen = _likeliest(absence, possible, false_discovery_rate)
        sign = kinds.sel(connection="excitatory") - kinds.sel(connection="inhibitory")
    else:
        absence = _adjusted(fit, possible)
        chosen = possible & (absence <= false_discovery_rate)
        sign = weight
    dims = ("state", "neuron", "source_neuron")
    return xr.Dataset(
        {
            "is_connected": (dims, chosen),
            "sign": (dims, np.where(sign.values < 0, -1, 1)),
            "weight": (dims, weight.values, weight.attrs),
            "absence": (dims, np.where(possible, absence, 1.0)),
        },
        coords={dim: found[dim].values for dim in dims},
        attrs={"false_discovery_rate": false_discovery_rate},
    )


def _likeliest(absence: np.ndarray, possible: np.ndarray, rate: float) -> np.ndarray:
    """Choose connections while the mean probability of absence is below the rate."""
    candidates = np.where(possible, absence, 2.0).ravel()
    order = np.argsort(candidates, kind="stable")
    mean = np.cumsum(candidates[order]) / np.arange(1, len(order) + 1)
    n_chosen = np.searchsorted(mean, rate, side="right")
    chosen = np.zeros(len(order), bool)
    chosen[order[:n_chosen]] = True
    return chosen.reshape(absence.shape) & possible


def _adjusted(fit: Result, possible: np.ndarray) -> np.ndarray:
    """Return Wald tests' p-values, adjusted for how many there are."""
    weight = group(fit.data, "parameters")["weight"].values
    error = group(fit.data, "uncertainty")["weight_standard_error"].values
    told = np.isfinite(error) & (error > 0)
    z = np.where(told, weight / np.where(told, error, 1.0), 0.0)
    p_value = chi2.sf((z**2).sum(-1), weight.shape[-1])
    adjusted = np.ones(p_value.shape)
    adjusted[possible] = false_discovery_control(p_value[possible])
    return adjusted
