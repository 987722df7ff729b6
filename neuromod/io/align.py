"""Bringing a signal onto the times of another: said, not silent.

Two float time axes hardly ever have a number in common, so that the inner join with
which xarray combines arrays loses most samples without a word. `align` asks instead
by which rule a value is found for each wanted time, and how far away it may come
from; where there is none it leaves NaN, and counts.
"""

from typing import Literal, TypeVar

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import choice, invalid

METHODS = ("nearest", "linear", "previous", "mean")
Signal = TypeVar("Signal", xr.DataArray, xr.Dataset)


def align(
    signal: Signal,
    to: xr.DataArray | xr.Dataset | np.ndarray,
    method: Literal["nearest", "linear", "previous", "mean"] = "nearest",
    *,
    tolerance: float | None = None,
    min_overlap: float = 0.5,
) -> Signal:
    """Find a value of a signal for each of the given times.

    Parameters
    ----------
    signal : (time, ...)
        What to align; a Dataset is aligned variable by variable, and what has no
        ``time`` in it stays as it is.
    to : (time, ...)
        Where to: counts, another signal, or times (s).
    method
        "nearest": the sample nearest in time. "linear": interpolated between the
        samples before and after (wrong for angles, which wrap). "previous": the last
        sample at or before, which a causal decoder may know. "mean": the mean of the
        samples in the bin around each time.

    Other Parameters
    ----------------
    tolerance
        How far (s) the samples that are used may lie away: by default two sampling
        intervals of the signal; half a bin of ``to`` for "mean".
    min_overlap
        The least share of times for which there has to be a value; less is taken for
        two clocks and refused.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        The signal at the times of ``to`` as floats, with the coordinates that ``to``
        has along time. NaN where no sample lies within the tolerance, and where the
        samples that do are NaN themselves; ``attrs`` say at how many times the one
        (``n_without_partner``) and the other (``n_missing``), and method and
        tolerance (s).

    Raises
    ------
    InvalidInputError
        If the times do not overlap (enough), or the signal is no number.

    Examples
    --------
    >>> speed = xr.DataArray([0.0, 2.0, 4.0], {"time": [0.0, 1.0, 2.0]}, "time")
    >>> align(speed, np.array([0.5, 1.0]), "linear").values
    array([1., 2.])
    """
    choice("method", method, METHODS)
    if isinstance(signal, xr.Dataset):
        return _align_dataset(signal, to, method, tolerance, min_overlap)
    if not isinstance(signal, xr.DataArray) or "time" not in signal.dims:
        raise invalid("signal", type(signal).__name__, "a DataArray along `time`")
    signal = signal.transpose("time", ...)
    if signal.dtype.kind not in "biuf":
        raise invalid(
            "signal",
            f"values of type {signal.dtype}",
            "numbers",
            "Give each category a number, or select with signal.sel.",
        )
    if np.isinf(signal.values).any():
        raise invalid("signal", "infinite values", "numbers, or NaN where missing")
    own = dimensions.require_time(signal, "signal")
    wanted, coords = _wanted(to)
    reach = _tolerance(tolerance, own, to, method)
    _require_overlap(own, wanted, reach)
    values, found = _RULES[method](own, signal.values.astype(float), wanted, reach)
    if found.mean() < min_overlap:
        raise invalid(
            "to",
            f"times of which only {found.mean():.1%} have a sample of the signal "
            f"within {reach:.4g} s",
            f"at least {min_overlap:.0%}",
            "Do both count from the same zero? If the signal is really missing there, "
            "say min_overlap=0.",
        )
    missing = np.isnan(values).reshape(len(values), -1).any(axis=1)
    values[~found] = np.nan
    others = {k: v for k, v in signal.coords.items() if "time" not in v.dims}
    return xr.DataArray(
        values,
        coords={**others, **coords},
        dims=signal.dims,
        name=signal.name,
        attrs={
            **signal.attrs,
            "align_method": method,
            "align_tolerance": reach,
            "n_without_partner": int((~found).sum()),
            "n_missing": int((missing & found).sum()),
        },
    )


def _align_dataset(dataset, to, method, tolerance, min_overlap) -> xr.Dataset:
    variables = {
        name: align(variable, to, method, tolerance=tolerance, min_overlap=min_overlap)
        if "time" in variable.dims
        else variable
        for name, variable in dataset.data_vars.items()
    }
    return xr.Dataset(variables, attrs=dataset.attrs)


def _wanted(to) -> tuple[np.ndarray, dict]:
    """Return the wanted times and the coordinates that come with them."""
    if isinstance(to, xr.DataArray | xr.Dataset):
        if "time" not in to.coords:
            raise invalid("to", "no time coordinate", "a coordinate `time` in seconds")
        wanted = to["time"].values
        coords = {k: v for k, v in to.coords.items() if v.dims == ("time",)}
    else:
        wanted = np.asarray(to)
        coords = {"time": ("time", wanted)}
    if wanted.ndim != 1 or not len(wanted) or wanted.dtype.kind not in "iuf":
        raise invalid(
            "to", f"times of shape {wanted.shape} and type {wanted.dtype}",
            "(time,) in seconds, at least one",
        )  # fmt: skip
    dimensions.require_finite(wanted, "to")
    return wanted.astype(float), coords


def _tolerance(tolerance, own: np.ndarray, to, method: str) -> float:
    if tolerance is not None:
        return dimensions.require_positive(tolerance, "tolerance", "s")
    if method == "mean":
        bin_size = getattr(to, "attrs", {}).get("bin_size")
        if bin_size is None:
            wanted = _wanted(to)[0]
            bin_size = np.median(np.diff(wanted)) if len(wanted) > 1 else np.nan
        reach = float(bin_size) / 2
    else:
        reach = 2 * float(np.median(np.diff(own))) if len(own) > 1 else np.nan
    if not reach > 0:
        raise invalid(
            "tolerance", "none, for a single sample", "how far (s) a sample may lie"
        )
    return reach


def _require_overlap(own: np.ndarray, wanted: np.ndarray, reach: float) -> None:
    if own[-1] + reach < wanted.min() or wanted.max() + reach < own[0]:
        offset = wanted.min() - own[0]
        raise invalid(
            "signal",
            f"times from {own[0]:.6g} to {own[-1]:.6g} s",
            f"some overlap with {wanted.min():.6g} to {wanted.max():.6g} s",
            "Two clocks? If both began together, shift one: signal.assign_coords("
            f"time=signal.time + {offset:.6g}).",
        )


def _nearest(own, values, wanted, reach):
    after = np.clip(np.searchsorted(own, wanted), 1, max(len(own) - 1, 1))
    after = np.minimum(after, len(own) - 1)
    before = np.maximum(after - 1, 0)
    partner = np.where(wanted - own[before] <= own[after] - wanted, before, after)
    return values[partner], np.abs(own[partner] - wanted) <= reach


def _previous(own, values, wanted, reach):
    partner = np.searchsorted(own, wanted, side="right") - 1
    found = (partner >= 0) & (wanted - own[np.maximum(partner, 0)] <= reach)
    return values[np.maximum(partner, 0)], found


def _linear(own, values, wanted, reach):
    before = np.searchsorted(own, wanted, side="right") - 1
    exact = (before >= 0) & (own[np.maximum(before, 0)] == wanted)
    after = np.where(exact, before, before + 1)
    inside = (before >= 0) & (after < len(own))
    before, after = np.maximum(before, 0), np.minimum(after, len(own) - 1)
    gap = np.where(own[after] > own[before], own[after] - own[before], 1.0)
    weight = ((wanted - own[before]) / gap).reshape(-1, *[1] * (values.ndim - 1))
    near = (wanted - own[before] <= reach) & (own[after] - wanted <= reach)
    # At an exact sample the other one has weight 0, and may be missing (NaN).
    blended = values[before] + np.where(
        weight == 0, 0.0, weight * (values[after] - values[before])
    )
    return blended, inside & near


def _mean(own, values, wanted, reach):
    low = np.searchsorted(own, wanted - reach)
    high = np.searchsorted(own, wanted + reach)
    missing = np.isnan(values)
    total = _running(np.where(missing, 0.0, values))
    number = _running((~missing).astype(float))
    summed, n_samples = total[high] - total[low], number[high] - number[low]
    values = summed / np.where(n_samples > 0, n_samples, np.nan)
    return values, high > low


def _running(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])


_RULES = {
    "nearest": _nearest,
    "linear": _linear,
    "previous": _previous,
    "mean": _mean,
}
