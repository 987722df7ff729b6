"""How beliefs are updated: the schemes, by name.

Three families of numbers live under the name HGF, and they differ by several nats on a
session of 320 trials. Every network therefore says which it computes.

The *update* of a node with volatility children:

- ``ehgf``: the mean first, from the predicted precision; then the precision, from a
  second prediction at the new mean, by an amount that is never negative (the "safe"
  update of the toolboxes; Weber et al., eLife 2024);
- ``ehgf_swap``: the mean first, then the precision by the standard formula;
- ``standard``: the precision first, then the mean (Mathys et al., Front. Hum.
  Neurosci. 2011); where volatility is high the precision can turn negative;
- ``unbounded``: two quadratic expansions of the variational energy, blended; the
  precision is always positive, but the mean can run away.

The *approximation* of every node:

- ``mean_field``: a prediction takes its parents' means for known (the published HGF);
- ``relaxed``: the parents' variances enter the prediction.

``compatibility="pyhgf"`` follows that package where it departs from the equations
(`QUIRKS`), so that its numbers can be reproduced.
"""

from typing import Literal

from neuromod.core.errors import choice

Update = Literal["ehgf", "ehgf_swap", "standard", "unbounded"]
Approximation = Literal["mean_field", "relaxed"]

UPDATES: tuple[Update, ...] = ("ehgf", "ehgf_swap", "standard", "unbounded")
APPROXIMATIONS: tuple[Approximation, ...] = ("mean_field", "relaxed")

QUIRKS = {
    "slope_at_previous_mean": "g' and g'' are taken at the parent's stored mean",
    "input_times_interval": "the prediction of an input is multiplied by the interval",
    "noise_times_interval": "so is the noise that a parent sets",
    "first_child_only": "the unbounded update sees its first volatility child alone, "
    "and neither its value children nor whether there was an observation",
    "error_shared": "the volatility error is divided by the number of its parents",
    "probability_without_strength": "the prediction of a binary input ignores the "
    "strength of its edges",
    "always_informed": "states count as observed while all inputs are missing",
    "alone_in_second_prediction": "the second prediction of ehgf and unbounded drops "
    "the child's other volatility parents",
    "drift_without_interval": "the strength of a drift enters the posterior without "
    "the interval",
    "autoconnection_of_mean_alone": "the autoconnection is not raised to the power "
    "of the interval, and leaves the variance as it was",
    "bounded_lambert": "the argument of Lambert's W is cut at the largest number",
}
"""What ``compatibility="pyhgf"`` does otherwise than the equations."""

COMPATIBILITY: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "pyhgf": frozenset(QUIRKS),
    # The independent reference for irregular times mends this alone.
    "pyhgf_without_interval": frozenset(QUIRKS) - {"input_times_interval"},
}


def require_update(name: str) -> str:
    """Return the name of an update, or refuse it."""
    return choice("update", name, UPDATES)


def require_approximation(name: str) -> str:
    """Return the name of an approximation, or refuse it."""
    return choice("approximation", name, APPROXIMATIONS)


def require_compatibility(name: str) -> str:
    """Return the name of a set of quirks, or refuse it."""
    return choice("compatibility", name, tuple(COMPATIBILITY))
