"""How a search goes: its settings, and the Gaussian process that follows from them."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from neuromod.stimulation.belief import Offset, Size
from neuromod.stimulation.covariance import (
    Component,
    Factor,
    Family,
    GaussianProcess,
)
from neuromod.stimulation.hyperparameters import Free, free
from neuromod.stimulation.layout import Block, membership, shares

Acquisition = Literal[
    "upper_confidence_bound",
    "expected_improvement",
    "probability_of_improvement",
    "thompson",
]
Model = Literal["joint", "flat", "bif", "bif_neural", "one_way", "one_way_2020"]
Bounds = tuple[float, float]


class Rule(NamedTuple):
    """How the search goes.

    Parameters
    ----------
    model
        "joint" searches the whole and its parts by one regression of all functions,
        "flat" the whole by one function, as if it had no parts; the others choose as
        published (`neuromod.stimulation.published`).
    family
        Of the covariances of the map.
    length_scale
        Over which a map changes, in units of the coordinates.
    noise
        Variance of the noise of a trial, in units of that of the map.
    interaction
        Share of a map's variance that is not a sum over its blocks.
    trend
        Share of the variance of each function that rises or falls across the array:
        maps of motor cortex have hot spots, and a side that does more than the other.
    scale, n_prior
        Size of the map before there are trials, and as many trials this counts for.
    logarithm
        Whether the map is that of the logarithm of responses.
    offset, size
        As of `neuromod.stimulation.belief.believe`.
    acquisition
        What a candidate is chosen by.
    first_weight, last_weight
        Deviations that a candidate is credited with (or that it must gain, if chosen
        by improvement), at the first trial and at the last one planned; in between
        it falls along a cosine.
    by_candidates
        Whether these weights are multiplied by the root of twice the logarithm of the
        number of candidates, or of planned trials if these are fewer: about the
        largest of so many independent draws.
    with_noise
        Whether these deviations are those of a trial, and not of its mean.
    by_visits
        Whether they are divided by the root of one more than the visits so far.
    refit
        After so many trials the parameters of the process are fitted anew, off the
        path of decisions; never if zero.
    n_iterations
        Of a fit, which starts where the last one ended.
    length_freedom, variance_freedom
        How far a fit may lead: deviations of the priors of the logarithms of length
        scales, and of variances and noise.
    length_bounds, noise_bounds, variance_bounds
        Between which a fit stays, with all between as good as any, if there are any.
    time_constant
        Over which the map drifts (s); what is older is forgotten.
    context_scale
        Over which the map changes with the context, in its units.
    degrees_of_freedom
        Of the noise: few make single outlying responses count for less.
    proportional_noise
        Whether the noise of a trial grows with the response that was expected.
    largest_surprise
        Responses further from what was expected are artefacts (deviations of a trial).
    """

    model: Model = "joint"
    family: Family = "matern32"
    length_scale: float = 1.8
    noise: float = 0.2
    interaction: float = 0.2
    trend: float = 0.7
    scale: float = 0.7
    n_prior: float = 4.0
    logarithm: bool = True
    offset: Offset = "learned"
    size: Size = "learned"
    acquisition: Acquisition = "upper_confidence_bound"
    first_weight: float = 1.8
    last_weight: float = 0.5
    by_candidates: bool = True
    with_noise: bool = False
    by_visits: bool = False
    refit: int = 0
    n_iterations: int = 10
    length_freedom: float = 0.6
    variance_freedom: float = 1.5
    length_bounds: Bounds | None = None
    noise_bounds: Bounds | None = None
    variance_bounds: Bounds | None = None
    time_constant: float = np.inf
    context_scale: float = 1.0
    degrees_of_freedom: float = np.inf
    proportional_noise: bool = False
    largest_surprise: float = np.inf


TREND_LENGTH = 8.0  # over which a trend changes, in length scales of the rule
GAIN_FREEDOM = 0.5  # deviation of the logarithm of what a part has of its function


def kind_of(rule: Rule) -> Rule:
    """Return a rule of the same kind, with all numbers as they are by default.

    Programs are compiled for a kind: rules of one kind share them.
    """
    kept = ("logarithm", "offset", "size", "acquisition", "with_noise", "by_visits")
    return Rule()._replace(**{name: getattr(rule, name) for name in kept})


def weights(rule: Rule, n_candidates: int, n_planned: int) -> tuple[float, float]:
    """Return the weights at the first trial and at the last one, in deviations."""
    n_draws = max(min(n_candidates, n_planned), 2)
    unit = float(np.sqrt(2 * np.log(n_draws))) if rule.by_candidates else 1.0
    return unit * rule.first_weight, unit * rule.last_weight


def free_parameters(rule: Rule, block: Block) -> Free:
    """Return what a fit may change: logarithms of lengths, variances, noise, gains."""
    rows = {}
    blocks = list(block.walk())
    for part, share in zip(blocks, shares(block, rule.interaction), strict=True):
        for j in part.dimensions:
            rows[f"length of {part.name}, {j}"] = _row(
                rule.length_scale, rule.length_bounds, rule.length_freedom
            )
        if _variances_are_free(rule, block):
            rows[f"variance of {part.name}"] = _row(
                share, rule.variance_bounds, rule.variance_freedom
            )
    for part in blocks:
        rows[f"noise of {part.name}"] = _row(
            rule.noise, rule.noise_bounds, rule.variance_freedom
        )
        if part is not block:
            rows[f"gain of {part.name}"] = _row(1.0, None, GAIN_FREEDOM)
    return free(**rows)


def _variances_are_free(rule: Rule, block: Block) -> bool:
    """Return whether variances tell more than the scale of the map."""
    return bool(block.parts) or rule.size == "largest"


def _row(start: float, bounds: Bounds | None, freedom: float) -> dict[str, float]:
    at = float(np.log(start))
    if bounds is None:
        return {"start": at, "mean": at, "deviation": freedom}
    low, high = (float(np.log(bound)) for bound in bounds)
    return {"start": at, "low": low, "high": high}


def build(
    parameters: Float[Array, " parameter"],
    rule: Rule,
    block: Block,
    moving: tuple[int, ...] = (),
) -> GaussianProcess:
    """Return the process of a rule.

    Parameters
    ----------
    parameters
        As `free_parameters` names them.
    rule, block
        The settings, and what is searched.
    moving
        Numbers of the coordinates that are not chosen: of time, if the map drifts,
        and of the context.
    """
    values = iter(jnp.exp(parameters))
    blocks = list(block.walk())
    factors = _factors(rule, moving, parameters.dtype)
    free = _variances_are_free(rule, block)
    near, far = [], []
    for part, share in zip(blocks, shares(block, rule.interaction), strict=True):
        lengths = jnp.stack([next(values) for _ in part.dimensions])
        size = next(values) if free else jnp.asarray(share, parameters.dtype)
        seen = part.dimensions
        near.append(
            Component((1 - rule.trend) * size, lengths, seen, rule.family, factors)
        )
        if rule.trend:
            across = jnp.full_like(lengths, TREND_LENGTH * rule.length_scale)
            far.append(Component(rule.trend * size, across, seen, "rbf", factors))
    noise, gain = [], []
    for part in blocks:
        noise.append(next(values))
        gain.append(jnp.ones_like(noise[0]) if part is block else next(values))
    has = jnp.asarray(membership(block), parameters.dtype)
    gains = has * jnp.stack(gain)[:, None]
    of_all = jnp.concatenate([gains] * (2 if rule.trend else 1), axis=1)
    offset = jnp.zeros(len(blocks), gains.dtype)
    return GaussianProcess((*near, *far), of_all, offset, jnp.stack(noise))


def _factors(
    rule: Rule, moving: tuple[int, ...], dtype: np.dtype
) -> tuple[Factor, ...]:
    drifts = bool(np.isfinite(rule.time_constant))
    time, context = moving[:drifts], moving[drifts:]
    factors: list[Factor] = []
    if time:
        constant = jnp.full(1, rule.time_constant, dtype)
        factors.append(Factor(constant, time, "matern12"))
    if context:
        scales = jnp.full(len(context), rule.context_scale, dtype)
        factors.append(Factor(scales, context, "rbf"))
    return tuple(factors)
