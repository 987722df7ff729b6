"""The measures with names and units: labelled arrays in, one Dataset per family out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.dimensions import require_dims
from neuromod.core.errors import invalid
from neuromod.reactivation.measures import cautions, components, density, paths
from neuromod.reactivation.measures.manifold import manifold_fit
from neuromod.reactivation.measures.transport import wasserstein

PATH = ("trial", "time", "space")
STATES = ("trial", "time", "unit")
OUTPUTS = ("trial", "time", "cell")


def path_table(
    positions: xr.DataArray,
    *,
    bounds: Any,
    lags: Sequence[int] | np.ndarray,
    n_bins: int = 11,
    shift: int = 0,
    periodic: bool = False,
) -> xr.Dataset:
    """Return how decoded positions move.

    Parameters
    ----------
    positions : (trial, time, space)
        Positions, with their units in ``attrs["units"]``.

    Other Parameters
    ----------------
    bounds : (space, 2)
        Lowest and highest value of each coordinate, for `coverage`.
    lags : (lag,)
        Delays in steps.
    n_bins
        Bins along each coordinate, for `coverage`.
    shift
        First steps that `within_trajectory_variance` drops.
    periodic
        Whether positions are angles.

    Returns
    -------
    Dataset
        ``step_length`` and ``within_trajectory_variance`` (trial); ``displacement``
        (lag, in seconds); ``displacement_slope``, ``coverage``,
        ``velocity_autocorrelation`` and ``reversals``; ``velocity_mean`` and
        ``velocity_sd`` (space).

    Examples
    --------
    >>> walk = xr.DataArray(
    ...     np.cumsum(np.random.default_rng(0).normal(0, 0.01, (5, 50, 2)), axis=1),
    ...     dims=["trial", "time", "space"],
    ...     coords={"time": 0.02 * np.arange(50)},
    ...     attrs={"units": "m"},
    ... )
    >>> table = path_table(walk, bounds=[[-1, 1], [-1, 1]], lags=[1, 2, 4])
    >>> table["lag"].values, round(float(table["displacement_slope"]))
    (array([0.02, 0.04, 0.08]), 1)
    """
    positions, spacing = _labelled(positions, PATH, "positions")
    values, unit = positions.values, _unit(positions)
    lags = np.asarray(lags)
    msd = paths.displacement(values, lags, periodic=periodic)
    velocity = paths.velocity_statistics(values, periodic=periodic)
    variance = paths.within_trajectory_variance(values, shift=shift, periodic=periodic)
    found = {
        "step_length": _variable(
            ("trial",),
            paths.step_length(values, periodic=periodic),
            f"{unit} per step",
            "mean step",
        ),
        "within_trajectory_variance": _variable(
            ("trial",), variance, f"{unit}^2", "variance within a trajectory"
        ),
        "coverage": _variable(
            (), paths.coverage(values, bounds, n_bins=n_bins), "1", "bins visited"
        ),
        "displacement": _variable(
            ("lag",), msd, f"{unit}^2", "mean squared displacement"
        ),
        "displacement_slope": _variable(
            (), paths.displacement_slope(msd, lags), "1", "exponent of displacement"
        ),
        "velocity_mean": _variable(
            ("space",), velocity.mean, f"{unit} per step", "mean velocity"
        ),
        "velocity_sd": _variable(
            ("space",), velocity.sd, f"{unit} per step", "spread of velocity"
        ),
        "velocity_autocorrelation": _variable(
            (), velocity.autocorrelation, "1", "memory of velocity over one step"
        ),
        "reversals": _variable((), velocity.reversals, "1", "share of turns back"),
    }
    dataset = _kept(positions, xr.Dataset(found), "trial", "space")
    lag = xr.Variable("lag", lags * spacing, {"units": "s", "long_name": "delay"})
    return dataset.assign_coords(lag=lag)


def density_table(
    quiescent: xr.DataArray | density.Uniform,
    awake: xr.DataArray,
    *,
    bounds: Any,
    first_step: int,
    stationary_after: int,
    seed: int,
    n_bins: int = 11,
    periodic: bool = False,
) -> xr.Dataset:
    """Return how far quiescent positions are from an awake reference.

    Parameters
    ----------
    quiescent : (trial, time, space)
        Decoded positions asleep, or a `Uniform` density.
    awake : (trial, time, space)
        The reference.

    Other Parameters
    ----------------
    bounds : (space, 2)
        Lowest and highest value of each coordinate.
    first_step, stationary_after
        The step of the walk at which ``awake`` begins, and the number of steps after
        which the walk is stationary, as the task tells; 0 and 0 for recordings.
    seed
        Of the draws.
    n_bins
        Bins along each coordinate of the histograms.
    periodic
        Whether positions are angles.

    Returns
    -------
    Dataset
        ``kl_kde`` and ``kl_histogram`` (nats), ``wasserstein`` (m or rad). Positions
        that do not spread in every direction have no density, and ``kl_kde`` is NaN.

    Raises
    ------
    InvalidInputError
        If the reference is transient.

    Examples
    --------
    >>> walk = xr.DataArray(
    ...     np.random.default_rng(0).uniform(-1, 1, (5, 50, 2)),
    ...     dims=["trial", "time", "space"],
    ...     attrs={"units": "m"},
    ... )
    >>> arena = {"bounds": [[-1, 1], [-1, 1]], "first_step": 0, "stationary_after": 0}
    >>> table = density_table(walk, walk, seed=0, **arena)
    >>> float(table["kl_histogram"])
    0.0
    """
    cautions.require_stationary(first_step, stationary_after)
    awake = require_dims(awake, PATH, "awake")
    reference = awake.values
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    if isinstance(quiescent, density.Uniform):
        values: Any = quiescent
        n_points = reference[..., 0].size
        drawn = quiescent.draw(n_points, np.random.default_rng(seed))[None]
    else:
        values = drawn = require_dims(quiescent, PATH, "quiescent").values
    kl = float("nan")
    if density.has_density(drawn, periodic=periodic):
        kl = density.kl_kde(values, reference, seed=seed, periodic=periodic)
    found = {
        "kl_kde": _variable((), kl, "nats", "divergence from awake (kernels)"),
        "kl_histogram": _variable(
            (),
            density.kl_histogram(values, reference, bounds, n_bins=n_bins),
            "nats",
            "divergence from awake (histogram)",
        ),
        "wasserstein": _variable(
            (),
            wasserstein(drawn, reference, seed=seed, periodic=periodic),
            _unit(awake),
            "distance from awake",
        ),
    }
    return xr.Dataset(found)


def manifold_table(outputs: xr.DataArray, code: Any, candidates: Any) -> xr.Dataset:
    """Return how near outputs are to the code of a position, at every time.

    Parameters
    ----------
    outputs : (trial, time, cell)
        What the network puts out.
    code
        The code, as for `manifold_fit`.
    candidates : (point, space)
        Positions to compare with.

    Returns
    -------
    Dataset
        ``cosine``, ``residual`` and ``amplitude`` (trial, time).
    """
    outputs = require_dims(outputs, OUTPUTS, "outputs")
    fit = manifold_fit(outputs.values, code, candidates)
    dims = ("trial", "time")
    found = {
        "cosine": _variable(dims, fit.cosine, "1", "cosine with the code"),
        "residual": _variable(dims, fit.residual, "1", "distance to the code"),
        "amplitude": _variable(dims, fit.amplitude, "1", "norm relative to the code's"),
    }
    return _kept(outputs, xr.Dataset(found), *dims)


def component_table(
    quiescent: xr.DataArray, awake: xr.DataArray, *, n_components: int = 10
) -> xr.Dataset:
    """Return whether sleep uses the directions of state space that waking uses.

    Parameters
    ----------
    quiescent, awake : (trial, time, unit)
        States of the network.
    n_components
        Number of principal components.

    Returns
    -------
    Dataset
        By component (latent): ``explained_variance_quiescent`` and
        ``explained_variance_awake``, each cloud's ratios along its own axes;
        ``quiescent_in_awake`` and ``awake_in_quiescent``, the share of the variance of
        one within the first axes of the other.
    """
    clouds = {
        name: require_dims(array, STATES, name)
        for name, array in (("quiescent", quiescent), ("awake", awake))
    }
    asleep, waking = (
        components.principal_components(cloud.values) for cloud in clouds.values()
    )
    dims = ("latent",)
    share = "share of variance"
    within = {
        "quiescent_in_awake": (clouds["quiescent"], waking),
        "awake_in_quiescent": (clouds["awake"], asleep),
    }
    found = {
        name: _variable(
            dims, components.capture(cloud.values, axes, n_components), "1", share
        )
        for name, (cloud, axes) in within.items()
    }
    for name, own in (("quiescent", asleep), ("awake", waking)):
        ratio = own.explained_variance_ratio[:n_components]
        found[f"explained_variance_{name}"] = _variable(dims, ratio, "1", share)
    return xr.Dataset(found, {"latent": np.arange(1, n_components + 1)})


def _labelled(
    array: Any, dims: Sequence[str], argument: str
) -> tuple[xr.DataArray, float]:
    """Return a DataArray in this order of dimensions, and its time step (s)."""
    labelled = require_dims(array, dims, argument)
    time = dimensions.require_time(labelled, argument)
    if len(time) < 2:
        raise invalid(argument, f"{len(time)} samples over time", "at least two")
    return labelled, dimensions.bin_size(time, argument)


def _unit(positions: xr.DataArray) -> str:
    return str(positions.attrs.get("units", "1"))


def _variable(dims: Sequence[str], values: Any, unit: str, name: str) -> xr.Variable:
    return xr.Variable(dims, values, {"units": unit, "long_name": name})


def _kept(source: xr.DataArray, found: xr.Dataset, *dims: str) -> xr.Dataset:
    """Return a Dataset with the coordinates that the source has along dimensions."""
    kept = {dim: source.coords[dim] for dim in dims if dim in source.coords}
    return found.assign_coords(kept)
