"""Where a number would mislead: what is refused, and what is said.

A divergence of decoded positions compares densities of *some* position for each output,
whatever the output was. It means what it says only if

- the reference is stationary: a biased walk that starts anywhere takes a while to
  gather at its anchor, and while it does, an untrained network comes as near to it
  as a trained one;
- outputs are codes of positions at all, near them in direction and in strength.
"""

import warnings
from typing import Any

import numpy as np

from neuromod.core.dimensions import require_integer
from neuromod.core.errors import invalid

LEAST_COSINE = 0.5
LEAST_AMPLITUDE = 0.3


class MisleadingWarning(UserWarning):
    """A number is right, and does not mean what it seems to."""


def require_stationary(first_step: int, stationary_after: int) -> None:
    """Raise unless an awake reference begins where positions are stationary.

    Parameters
    ----------
    first_step
        The first step of the walk that is used.
    stationary_after
        Number of steps after which positions are stationary, as the task tells.

    Raises
    ------
    InvalidInputError
        If it begins before.
    """
    first_step = require_integer(first_step, "first_step", minimum=0)
    if first_step < require_integer(stationary_after, "stationary_after", minimum=0):
        raise invalid(
            "awake",
            f"positions from step {first_step} on, of a walk that is stationary after "
            f"{stationary_after}",
            "a stationary reference",
            "Walk for longer, and drop the transient: "
            f"awake.isel(time=slice({stationary_after - first_step}, None)).",
        )


def caution_manifold(cosine: Any, amplitude: Any) -> list[str]:
    """Warn where outputs are too far from the code for decoded positions to mean much.

    Parameters
    ----------
    cosine, amplitude : any shape
        As `manifold_fit` gives them; their means count.

    Returns
    -------
    list of str
        What it warned of.

    Warns
    -----
    MisleadingWarning
        If the mean cosine is below 0.5, or the mean amplitude below 0.3.
    """
    told = []
    for name, value, least in (
        ("cosine with the code", float(np.mean(cosine)), LEAST_COSINE),
        ("amplitude relative to the code", float(np.mean(amplitude)), LEAST_AMPLITUDE),
    ):
        if not value >= least:
            told.append(
                f"outputs have a mean {name} of {value:.2f}, less than {least}: "
                "decoded positions, and all that is computed from them, say little "
                "here. Look at the outputs; more training or less noise may help."
            )
    return _warned(told)


def caution_divergence(trained: Any, untrained: Any) -> list[str]:
    """Warn where the divergence does not tell a trained network from an untrained one.

    Parameters
    ----------
    trained, untrained : (seed,)
        Divergences (nats) of their decoded positions from the same reference.

    Returns
    -------
    list of str
        What it warned of.

    Warns
    -----
    MisleadingWarning
        If some untrained network is as near to the reference as some trained one.
    """
    worst, best = float(np.max(trained)), float(np.min(untrained))
    if worst < best:
        return []
    text = (
        f"an untrained network reaches a divergence of {best:.2f} nats, a trained "
        f"one {worst:.2f}: this number alone does not show reactivation. Compare "
        "cosine to the code, step length and within-trajectory variance."
    )
    return _warned([text])


def _warned(told: list[str]) -> list[str]:
    for text in told:
        warnings.warn(text, MisleadingWarning, stacklevel=3)
    return told
