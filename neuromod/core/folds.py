"""Which bins train and which test: folds of time series, cut in whole stretches.

Neighbouring bins of a recording resemble each other. Bins drawn at random would
therefore test a model on what it has all but seen, so folds are made of contiguous
stretches, and the training bins within a *gap* of a tested stretch are dropped: the
gap should be longer than the memory of the signal.

A stretch cut out of a session leaves a hole in it. `Fold.cut` gives back a list of
contiguous pieces, which every verb takes as ragged data: histories and chains restart
at each piece and nothing leaks through the hole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neuromod.core.dimensions import require_integer, require_time
from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.core.pieces import Data, Labelled, cut, split

Masks = tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of a recording into training and test bins.

    Parameters
    ----------
    label
        The number of the stretch, or the session (run, subject) left out.
    train, test : one array (time,) of truth values per sequence
        The bins to train on and to test on. Bins in neither lie in the gap.
    """

    label: str
    train: Masks
    test: Masks

    @property
    def n_train(self) -> int:
        """Number of training bins over all sequences."""
        return sum(int(mask.sum()) for mask in self.train)

    @property
    def n_test(self) -> int:
        """Number of test bins over all sequences."""
        return sum(int(mask.sum()) for mask in self.test)

    def cut(self, data: Data) -> tuple[list[Labelled], list[Labelled]]:
        """Cut data into contiguous pieces for training and for testing.

        Parameters
        ----------
        data
            The data that the folds were made for, or other data on the same bins.

        Returns
        -------
        train, test
            Two lists of pieces, in order of session and time.

        Raises
        ------
        ShapeError
            If the sequences have other lengths than those of the fold.
        """
        _, parts = split(data, "data")
        lengths = [part.sizes["time"] for part in parts]
        expected = [len(mask) for mask in self.test]
        if lengths != expected:
            raise invalid(
                "data",
                f"sequences of {lengths} bins",
                f"sequences of {expected} bins, as the folds were made for",
                "Make the folds from the same data.",
                ShapeError,
            )
        return cut(parts, self.train), cut(parts, self.test)

    def __repr__(self) -> str:
        dropped = sum(map(len, self.test)) - self.n_train - self.n_test
        return (
            f"Fold({self.label!r}: {self.n_train} bins to train, {self.n_test} to "
            f"test, {dropped} in the gap)"
        )


def blocked_folds(
    data: Data | int | Sequence[int],
    n_folds: int,
    *,
    gap: float = 0.0,
    within: Literal["session", "recording"] = "session",
) -> list[Fold]:
    """Divide time into folds of contiguous stretches, each tested once.

    Parameters
    ----------
    data
        A recording in any ragged form (DataArrays or Datasets with a ``time``
        coordinate), or just numbers of bins: of one sequence or of each.
    n_folds
        Number of folds, at least 2.
    gap
        Training bins at most this far from a tested one are dropped: in seconds,
        or in bins where ``data`` is a number of bins. Sequences whose times ascend
        from one to the next share one clock, and the gap reaches across them.
    within
        "session": every sequence is cut into ``n_folds`` stretches, and fold f tests
        the f-th of each. "recording": the sequences are laid end to end and cut as
        one, for sequences that are many and short, such as trials.

    Returns
    -------
    list of Fold
        In order of time.

    Raises
    ------
    InvalidInputError
        If a sequence has fewer bins than there are folds, or a fold has no training
        bin left.

    Examples
    --------
    >>> blocked_folds(10, 2, gap=1)
    [Fold('0': 4 bins to train, 5 to test, 1 in the gap), \
Fold('1': 4 bins to train, 5 to test, 1 in the gap)]
    """
    n_folds = require_integer(n_folds, "n_folds", minimum=2)
    choice("within", within, ("session", "recording"))
    labels, times = _clocks(data)
    gap = _require_gap(gap, whole=_is_lengths(data))
    lengths = [len(time) for time in times]
    for label, length in zip(labels, lengths, strict=True):
        if within == "session" and length < n_folds:
            raise invalid(
                "n_folds",
                f"{n_folds} folds of the {length} bins of sequence {label!r}",
                "at least one bin per fold in every sequence",
                "Use fewer folds, or within='recording' to cut across sequences.",
            )
    if sum(lengths) < n_folds:
        expected = "at least one bin per fold"
        raise invalid("n_folds", f"{n_folds} folds of {sum(lengths)} bins", expected)
    if within == "session":
        blocks = [_blocks(length, n_folds) for length in lengths]
    else:
        blocks = _unjoin(_blocks(sum(lengths), n_folds), lengths)
    return [
        _fold(str(f), [block == f for block in blocks], times, gap)
        for f in range(n_folds)
    ]


def leave_one_out(
    data: Data | Sequence[int],
    by: Sequence[str] | None = None,
    *,
    gap: float = 0.0,
) -> list[Fold]:
    """Leave out one session at a time, or one run or subject.

    Parameters
    ----------
    data
        Several sequences in any ragged form, or the number of bins of each.
    by
        The run or subject that each sequence belongs to, one label per sequence;
        by default every sequence is left out alone.
    gap
        As in `blocked_folds`; matters only for sequences on one clock.

    Returns
    -------
    list of Fold
        One per label, in the order of their first sequence.

    Raises
    ------
    InvalidInputError
        If there are not at least two labels, or a fold has no training bin left.
    ShapeError
        If the number of labels is not that of the sequences.

    Examples
    --------
    >>> folds = leave_one_out([100, 80, 120], by=["rat1", "rat1", "rat2"])
    >>> [(fold.label, fold.n_train, fold.n_test) for fold in folds]
    [('rat1', 120, 180), ('rat2', 180, 120)]
    """
    labels, times = _clocks(data)
    gap = _require_gap(gap, whole=_is_lengths(data))
    if by is not None and len(by) != len(times):
        expected = f"one label for each of the {len(times)} sequences"
        raise invalid("by", f"{len(by)} labels", expected, kind=ShapeError)
    owners = np.array(labels if by is None else [str(label) for label in by])
    groups = list(dict.fromkeys(owners.tolist()))
    if len(groups) < 2:
        raise invalid(
            "data" if by is None else "by",
            f"only {groups[0]!r} to leave out",
            "at least two sequences with different labels",
            "Use blocked_folds to divide one sequence.",
        )
    return [
        _fold(
            group,
            [np.full(len(t), o == group) for t, o in zip(times, owners, strict=True)],
            times,
            gap,
        )
        for group in groups
    ]


def _is_lengths(data: object) -> bool:
    if isinstance(data, list | tuple):
        return len(data) > 0 and all(isinstance(n, int | np.integer) for n in data)
    return isinstance(data, int | np.integer)


def _clocks(data: Data | int | Sequence[int]) -> tuple[tuple[str, ...], Masks]:
    """Return labels and times of the sequences; bins are counted if none is given."""
    if _is_lengths(data):
        given = data if isinstance(data, list | tuple) else [data]
        lengths = [require_integer(n, "data") for n in given]
        labels = tuple(str(i) for i in range(len(lengths)))
        return labels, tuple(np.arange(n, dtype=float) for n in lengths)
    labels, parts = split(data, "data")
    named = zip(labels, parts, strict=True)
    return labels, tuple(
        require_time(p["time"], f"data[{name!r}]") for name, p in named
    )


def _require_gap(gap: float, whole: bool) -> float:
    expected = "a whole number of bins >= 0" if whole else "seconds >= 0"
    try:
        number = float(gap)
    except (TypeError, ValueError):
        number = -1.0
    if not np.isfinite(number) or number < 0 or (whole and number % 1):
        raise invalid("gap", repr(gap), expected)
    return number


def _blocks(n_bins: int, n_folds: int) -> np.ndarray:
    """Number equal stretches of bins: (time,), ascending from 0."""
    return np.arange(n_bins) * n_folds // n_bins


def _unjoin(values: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    return np.split(values, np.cumsum(lengths)[:-1])


def _fold(label: str, test: list[np.ndarray], times: Masks, gap: float) -> Fold:
    near = _near(test, times, gap)
    fold = Fold(label, tuple(~mask for mask in near), tuple(test))
    if fold.n_train == 0:
        raise invalid(
            "gap",
            f"{gap:g}, which leaves no training bin in fold {label!r}",
            "a gap shorter than what is left beside the tested stretch",
            "Shorten the gap, or use other folds.",
        )
    return fold


def _near(test: list[np.ndarray], times: Masks, gap: float) -> list[np.ndarray]:
    """Mark the bins that lie within the gap of a tested one, and these themselves."""
    joined, lengths = np.concatenate(times), [len(time) for time in times]
    if (np.diff(joined) > 0).all():  # one clock for all
        return _unjoin(_within(np.concatenate(test), joined, gap), lengths)
    return [_within(mask, time, gap) for mask, time in zip(test, times, strict=True)]


def _within(test: np.ndarray, time: np.ndarray, gap: float) -> np.ndarray:
    if not test.any():
        return test
    tested = np.r_[-np.inf, time[test], np.inf]
    following = np.searchsorted(tested, time)
    distance = np.minimum(tested[following] - time, time - tested[following - 1])
    # A thousandth of a bin more: 5 bins of 0.02 s are not exactly 0.1 s.
    slack = 1e-3 * np.median(np.diff(time)) if len(time) > 1 else 0.0
    return distance <= gap + slack
