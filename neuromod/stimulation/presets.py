"""Rules that were published, by name.

`bonizzato_primate` and `bonizzato_rat` have the fixed hyper-parameters of
OptimizeNeurostim (Bonizzato et al., Cell Reports Medicine 2023): Matern-5/2, no offset,
an upper confidence bound whose weight counts in largest responses so far. Those that
end in `fitted` fit length scales within bounds after every trial, and the noise, as its
second variant does.
"""

from neuromod.core.errors import choice
from neuromod.stimulation.rule import Rule

_FIXED = Rule(
    model="flat",
    family="matern52",
    noise=1e-3,
    trend=0.0,
    logarithm=False,
    offset="zero",
    size="largest",
    scale=1.0,
    n_prior=1.0,
    by_candidates=False,
)
_FITTED = _FIXED._replace(
    length_scale=1.0, noise=1e-4, refit=1, variance_bounds=(1e-4, 1e4), with_noise=True
)
PRESETS = {
    "bonizzato_primate": _FIXED._replace(
        length_scale=3.0, first_weight=4.0, last_weight=4.0
    ),
    "bonizzato_rat": _FIXED._replace(
        length_scale=5.0, first_weight=3.0, last_weight=3.0
    ),
    "bonizzato_primate_fitted": _FITTED._replace(
        first_weight=4.0,
        last_weight=4.0,
        length_bounds=(0.1, 3.0),
        noise_bounds=(0.009**2, 0.011**2),
    ),
    "bonizzato_rat_fitted": _FITTED._replace(
        first_weight=3.0,
        last_weight=3.0,
        length_bounds=(0.02, 5.0),
        noise_bounds=(1e-8, 0.05**2),
    ),
}


def preset(name: str) -> Rule:
    """Return a published rule.

    Examples
    --------
    >>> preset("bonizzato_rat").length_scale
    5.0
    """
    return PRESETS[choice("name", name, PRESETS)]
