"""Numbers that tell how good a fit is: agreement of states, and what chance gives.

States carry no names, so an estimate is compared with labels only after matching
(Hungarian assignment), and always beside a null. Brain states and behaviour are
both slow: two unrelated slow signals agree by accident, and the honest null for
that is a circular shift, which keeps how slow each of them is.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from neuromod.core import dimensions
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.sequences import stretches


def confusion(states: object, labels: object) -> np.ndarray:
    """Count how often each state coincides with each label.

    Parameters
    ----------
    states, labels : (time,)
        Whole numbers >= 0.

    Returns
    -------
    (state, label)
        Number of bins.

    Raises
    ------
    ShapeError
        If the lengths differ.
    """
    states, labels = _whole(states, "states"), _whole(labels, "labels")
    if states.shape != labels.shape:
        raise invalid(
            "labels",
            f"{labels.shape[0]} bins",
            f"{states.shape[0]} bins as in states",
            "Put both on one clock with neuromod.io.align.",
            ShapeError,
        )
    counts = np.zeros((states.max() + 1, labels.max() + 1), dtype=int)
    np.add.at(counts, (states, labels), 1)
    return counts


def match_states(states: object, labels: object) -> dict[int, int]:
    """Match states to labels so that most bins agree (Hungarian assignment).

    Parameters
    ----------
    states, labels : (time,)
        Estimated states and what they are compared with.

    Returns
    -------
    dict
        From state to label; states beyond the number of labels are left out.

    Examples
    --------
    >>> match_states([0, 0, 1, 1, 1], [1, 1, 0, 0, 1])
    {0: 1, 1: 0}
    """
    counts = confusion(states, labels)
    rows, columns = linear_sum_assignment(-counts)
    return {int(a): int(b) for a, b in zip(rows, columns, strict=True)}


def state_accuracy(states: object, labels: object) -> float:
    """Return the fraction of bins that agree after the best matching.

    Examples
    --------
    >>> state_accuracy([0, 0, 1, 1, 1], [1, 1, 0, 0, 1])
    0.8
    """
    counts = confusion(states, labels)
    return _matched(counts) / int(counts.sum())


def adjusted_rand_index(states: object, labels: object) -> float:
    """Return the agreement of two partitions, 0 for chance, without any matching.

    Hubert & Arabie (1985), Comparing partitions, J. Classification 2.

    Examples
    --------
    >>> adjusted_rand_index([0, 0, 1, 1], [1, 1, 0, 0])
    1.0
    """
    counts = confusion(states, labels).astype(float)

    def pairs(n):
        return float((n * (n - 1) / 2).sum())

    together, total = pairs(counts), pairs(counts.sum())
    by_state, by_label = pairs(counts.sum(1)), pairs(counts.sum(0))
    expected = by_state * by_label / total if total else 0.0
    highest = (by_state + by_label) / 2
    if highest == expected:
        return 1.0
    return (together - expected) / (highest - expected)


class ShiftTest(NamedTuple):
    """Agreement of states with labels, beside circular shifts of the states.

    Parameters
    ----------
    agreement
        Fraction of bins that agree after the best matching.
    null : (shift,)
        The same for every circular shift that was compared, each matched anew.
    p_value
        Fraction of shifts that agree at least as well (the true one counted in).
    percentile_99
        99th percentile of the null.
    """

    agreement: float
    null: np.ndarray
    p_value: float
    percentile_99: float


def circular_shift_test(
    states: object, labels: object, *, minimum_shift: int = 1
) -> ShiftTest:
    """Compare the agreement of states and labels with all their circular shifts.

    Every shift of at least ``minimum_shift`` bins in either direction is compared,
    so the null is exact and needs no seed.

    Parameters
    ----------
    states, labels : (time,)
        Whole numbers >= 0.
    minimum_shift
        Smallest shift in bins; longer than the signals' own memory is sensible.

    Returns
    -------
    ShiftTest
        The agreement, the null distribution and its p-value.

    Raises
    ------
    InvalidInputError
        If no shift is left.
    """
    counts = confusion(states, labels)
    states, labels = _whole(states, "states"), _whole(labels, "labels")
    n_bins = len(states)
    minimum_shift = dimensions.require_integer(minimum_shift, "minimum_shift")
    if 2 * minimum_shift > n_bins:
        raise invalid("minimum_shift", minimum_shift, f"at most {n_bins // 2} bins")
    # Counts of every (state, label) pair at every shift: circular correlations.
    of_states = np.fft.rfft(_one_hot(states), axis=0)
    of_labels = np.fft.rfft(_one_hot(labels), axis=0)
    products = of_states[:, :, None] * of_labels.conj()[:, None, :]
    tables = np.rint(np.fft.irfft(products, n=n_bins, axis=0)).astype(int)
    shifted = tables[minimum_shift : n_bins - minimum_shift + 1]
    null = np.array([_matched(table) for table in shifted]) / n_bins
    agreement = _matched(counts) / n_bins
    p_value = (1 + int((null >= agreement).sum())) / (1 + len(null))
    return ShiftTest(agreement, null, p_value, float(np.quantile(null, 0.99)))


def occupancy(probabilities: Any) -> xr.DataArray:
    """Return the fraction of time spent in each state.

    Parameters
    ----------
    probabilities : (time, state)
        Smoothed state probabilities, in any form that `smooth` returns.
    """
    return xr.concat(_parts(probabilities), "time").mean("time").rename("occupancy")


def dwell_times(states: Any, bin_size: float) -> dict[int, np.ndarray]:
    """Return the durations (s) of all visits to each state.

    Parameters
    ----------
    states : (time,)
        A state per bin, in any form that `decode` returns; a visit ends where a
        session or trial does.
    bin_size
        Width of a bin in seconds.

    Examples
    --------
    >>> states = xr.DataArray([0, 0, 1, 0], dims="time")
    >>> {k: v.tolist() for k, v in dwell_times(states, 0.5).items()}
    {0: [1.0, 0.5], 1: [0.5]}
    """
    visits: dict[int, list[float]] = {}
    for part in _parts(states):
        for bins in (stretches(part, "states") or {"0": slice(None)}).values():
            values = part.values[bins]
            edges = np.flatnonzero(np.diff(values, prepend=-1, append=-1))
            for start, stop in pairwise(edges):
                visits.setdefault(int(values[start]), []).append(int(stop - start))
    return {state: bin_size * np.array(n) for state, n in sorted(visits.items())}


def _parts(found: Any) -> list[xr.DataArray]:
    """Return what a verb gave back as a list, one array per session."""
    if isinstance(found, xr.DataTree):
        return [next(iter(c.to_dataset().values())) for c in found.children.values()]
    return list(found) if isinstance(found, list | tuple) else [found]


def _matched(counts: np.ndarray) -> int:
    rows, columns = linear_sum_assignment(-counts)
    return int(counts[rows, columns].sum())


def _one_hot(values: np.ndarray) -> np.ndarray:
    return np.eye(values.max() + 1)[values]


def _whole(values: object, argument: str) -> np.ndarray:
    array = np.asarray(getattr(values, "values", values))
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iub":
        raise invalid(
            argument,
            f"an array of shape {array.shape} and type {array.dtype}",
            "whole numbers along time, at least one",
            kind=ShapeError,
        )
    if array.min() < 0:
        raise invalid(argument, f"the label {array.min()}", "labels >= 0")
    return array.astype(int)
