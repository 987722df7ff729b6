"""Priors by name, and what was set of them as plain values."""

from typing import Any

import numpy as np

from neuromod.core import dimensions
from neuromod.core.errors import choice, invalid
from neuromod.switching.chain import ChainPrior
from neuromod.switching.lasso import GROUPS, Lasso
from neuromod.switching.one_hot import KINDS, OneHot
from neuromod.switching.priors import Gaussian, Prior, Ridge

PRIORS: dict[str, Prior] = {
    "none": Ridge(0.0),
    "ridge": Ridge(),
    "gaussian": Gaussian(),
    "lasso": Lasso(),
    "one_hot": OneHot(),
}


def resolve_prior(prior: object, observation: str, filters: np.ndarray) -> Prior:
    """Return the prior of that name, fit for what there is to fit.

    Parameters
    ----------
    prior
        A name of `PRIORS`, or a prior.
    observation
        What the GLMs explain.
    filters : (basis, lag)
        Basis of the couplings; without any, a one-hot prior has nothing to say.
    """
    if not isinstance(prior, Prior):
        prior = PRIORS[choice("prior", prior, PRIORS)]
    for name, field in prior.__dataclass_fields__.items():
        value = getattr(prior, name)
        left_open = value is None and field.default is None
        if not (isinstance(field.default, str) or left_open):
            dimensions.require_non_negative(value, f"prior.{name}")
    if isinstance(prior, OneHot):
        choice("prior.types", prior.types, KINDS)
    if isinstance(prior, Lasso):
        choice("prior.group", prior.group, GROUPS)
    if isinstance(prior, OneHot | Lasso):
        if observation == "categorical" and len(filters):
            raise invalid(
                "prior",
                f"{type(prior).__name__} on categorical choices",
                "one for neurons, or basis=None",
                "Pass basis=None and give past choices as inputs, or prior='ridge'.",
            )
        if not len(filters):
            return Ridge(prior.baseline_precision)
    return prior


def settings_of(prior: Prior) -> dict[str, Any]:
    """Return the name of a prior and its settings as plain values."""
    values = {name: getattr(prior, name) for name in prior.__dataclass_fields__}
    plain = {
        k: v if v is None or isinstance(v, str) else float(v) for k, v in values.items()
    }
    return {"name": type(prior).__name__, **plain}


def require_lapses(n_lapse_states: int, n_states: int, prior: Prior) -> None:
    """Raise unless some state listens, and the prior lets others not."""
    n_lapse_states = dimensions.require_integer(n_lapse_states, "n_lapse_states", 0)
    if n_lapse_states and n_lapse_states >= n_states:
        raise invalid(
            "n_lapse_states",
            n_lapse_states,
            f"fewer than n_states={n_states}, so that one state listens",
        )
    if n_lapse_states and not isinstance(prior, Ridge):
        raise invalid(
            "prior",
            f"{type(prior).__name__} with lapse states",
            "'ridge' or 'none', which tie no state that has weights to one that has "
            "none",
            "Pass prior='ridge'.",
        )


def resolve_chain_prior(concentration: float, stickiness: float) -> ChainPrior:
    """Return the prior of the transition probabilities, or raise."""
    concentration = dimensions.require_positive(concentration, "concentration")
    stickiness = dimensions.require_non_negative(stickiness, "stickiness")
    return ChainPrior(np.asarray(concentration), np.asarray(stickiness), np.ones(()))
