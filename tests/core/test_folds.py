"""Folds: every bin tested once, none trained on that is near, pieces contiguous."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.core.folds import blocked_folds, leave_one_out

BIN = 0.02


def recording(n_bins: int, start: float = 0.0) -> xr.DataArray:
    """Return a recording whose values are its bin numbers."""
    time = start + (np.arange(n_bins) + 0.5) * BIN
    return xr.DataArray(
        np.arange(n_bins, dtype=float)[:, np.newaxis],
        dims=("time", "neuron"),
        coords={"time": time, "neuron": ["a"]},
        attrs={"bin_size": BIN},
    )


def long_array(**lengths: int) -> xr.DataArray:
    """Return one long array with a session coordinate, each starting at 0 s."""
    joined = xr.concat([recording(n) for n in lengths.values()], "time")
    labels = np.repeat(list(lengths), list(lengths.values()))
    return joined.assign_coords(session=("time", labels))


@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=4),
    n_folds=st.integers(2, 6),
    gap=st.integers(0, 3),
    within=st.sampled_from(["session", "recording"]),
)
def test_every_bin_is_tested_once_and_trained_on_unless_near(
    lengths, n_folds, gap, within
):
    try:
        folds = blocked_folds(lengths, n_folds, gap=gap, within=within)
    except InvalidInputError:
        short = n_folds > (min(lengths) if within == "session" else sum(lengths))
        assert short or gap > 0
        return
    for sequence, length in enumerate(lengths):
        tested = sum(fold.test[sequence].astype(int) for fold in folds)
        np.testing.assert_array_equal(tested, np.ones(length))
        for fold in folds:
            test, train = fold.test[sequence], fold.train[sequence]
            bins = np.arange(length)
            distance = np.abs(bins[:, None] - bins[test]).min(1, initial=length + gap)
            # Exactly the bins farther away than the gap train.
            np.testing.assert_array_equal(train, distance > gap)


@given(
    length=st.integers(10, 200),
    n_folds=st.integers(2, 5),
    gap=st.integers(0, 2),
    start=st.sampled_from([0.0, -3.7, 1e4, 1.7e9]),
)
def test_seconds_and_bins_mean_the_same_wherever_the_clock_starts(
    length, n_folds, gap, start
):
    in_bins = blocked_folds(length, n_folds, gap=gap)
    in_seconds = blocked_folds(recording(length, start), n_folds, gap=gap * BIN)
    for a, b in zip(in_bins, in_seconds, strict=True):
        np.testing.assert_array_equal(a.train[0], b.train[0])
        np.testing.assert_array_equal(a.test[0], b.test[0])


@given(lengths=st.permutations([20, 31, 47]), n_folds=st.integers(2, 5))
def test_the_order_of_sessions_changes_nothing_but_the_order(lengths, n_folds):
    folds = blocked_folds(lengths, n_folds, gap=2)
    for fold, sorted_fold in zip(
        folds, blocked_folds(sorted(lengths), n_folds, gap=2), strict=True
    ):
        for a, b in zip(sorted(fold.test, key=len), sorted_fold.test, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_fold_is_the_fth_stretch_of_every_session():
    folds = blocked_folds([10, 15], 5)
    for f, fold in enumerate(folds):
        assert fold.label == str(f)
        np.testing.assert_array_equal(np.flatnonzero(fold.test[0]), [2 * f, 2 * f + 1])
        np.testing.assert_array_equal(
            np.flatnonzero(fold.test[1]), np.arange(3 * f, 3 * f + 3)
        )


def test_within_recording_cuts_across_sequences():
    folds = blocked_folds([1, 1, 1, 1], 2, within="recording")
    tested = [[bool(mask[0]) for mask in fold.test] for fold in folds]
    assert tested == [[True, True, False, False], [False, False, True, True]]


def test_the_gap_reaches_across_sequences_on_one_clock_only():
    one_clock = [recording(10), recording(10, start=10 * BIN)]
    own_clocks = [recording(10), recording(10)]
    for parts, n_train in ((one_clock, 7), (own_clocks, 10)):
        folds = blocked_folds(parts, 2, gap=3 * BIN, within="recording")
        assert [fold.n_train for fold in folds] == [n_train, n_train]


def test_cut_returns_contiguous_pieces_with_their_times_and_names():
    data = long_array(a=10, b=6)
    train, test = blocked_folds(data, 3, gap=BIN)[1].cut(data)
    np.testing.assert_array_equal([len(piece) for piece in test], [3, 2])
    values = [piece.values[:, 0].tolist() for piece in train]
    assert values == [[0, 1, 2], [8, 9], [0], [5]]
    assert [str(piece.session[0].item()) for piece in train] == ["a", "a", "b", "b"]
    np.testing.assert_allclose(train[1].time, [8.5 * BIN, 9.5 * BIN])
    assert train[0].attrs["bin_size"] == BIN
    assert train[0].dims == ("time", "neuron")


def test_every_ragged_form_gives_the_same_folds():
    parts = {"a": recording(9), "b": recording(14)}
    tree = xr.DataTree.from_dict(
        {name: part.to_dataset(name="spikes") for name, part in parts.items()}
    )
    forms = [long_array(a=9, b=14), list(parts.values()), tree]
    expected = [
        piece.values for piece in blocked_folds(forms[0], 3)[0].cut(forms[0])[0]
    ]
    for data in forms:
        for piece, values in zip(
            blocked_folds(data, 3)[0].cut(data)[0], expected, strict=True
        ):
            assert isinstance(piece, xr.DataArray)
            np.testing.assert_array_equal(piece.values, values)


def test_datasets_are_cut_whole():
    data = recording(10).to_dataset(name="spikes")
    data["position"] = ("time", np.arange(10.0))
    tree = xr.DataTree.from_dict({"day1": data})
    for form in (data, tree):
        _, (test,) = blocked_folds(form, 2)[1].cut(form)
        np.testing.assert_array_equal(test["position"], np.arange(5.0, 10.0))
        np.testing.assert_array_equal(test["spikes"][:, 0], np.arange(5.0, 10.0))


def test_other_data_on_the_same_bins_can_be_cut():
    folds = blocked_folds(recording(10), 2)
    _, (test,) = folds[0].cut(recording(10) * 10)
    assert test.values[:, 0].tolist() == [0, 10, 20, 30, 40]
    with pytest.raises(ShapeError, match=r"sequences of \[11\].*from the same data"):
        folds[0].cut(recording(11))


def test_leave_one_session_out():
    data = long_array(a=5, b=7, c=6)
    folds = leave_one_out(data)
    assert [fold.label for fold in folds] == ["a", "b", "c"]
    assert [fold.n_test for fold in folds] == [5, 7, 6]
    assert [fold.n_train for fold in folds] == [13, 11, 12]
    train, test = folds[1].cut(data)
    assert [len(piece) for piece in train] == [5, 6]
    assert [len(piece) for piece in test] == [7]


def test_leave_one_subject_out():
    folds = leave_one_out([5, 7, 6], by=["rat2", "rat1", "rat2"])
    assert [fold.label for fold in folds] == ["rat2", "rat1"]
    assert [fold.n_test for fold in folds] == [11, 7]


def test_a_gap_between_sessions_of_one_clock():
    data = [recording(10), recording(10, start=10 * BIN)]
    assert leave_one_out(data, gap=4 * BIN)[0].n_train == 6


def test_the_repr_counts_bins():
    assert repr(blocked_folds(10, 2, gap=2)[0]) == (
        "Fold('0': 3 bins to train, 5 to test, 2 in the gap)"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 5), "5 folds of the 4 bins of sequence '0'.*Use fewer folds"),
        (([20, 3], 5), "5 folds of the 3 bins of sequence '1'.*within='recording'"),
        ((10, 1), "n_folds: got 1, expected a whole number >= 2"),
        ((0, 2), "data: got 0"),
        (([], 2), "data: got no sequence at all"),
        (("spikes", 2), "data: got str, expected a DataArray or Dataset"),
        ((np.ones(10), 2), "data: got ndarray.*Wrap it: xarray.DataArray"),
        ((xr.DataArray(np.ones(5), dims="time"), 2), "no time coordinate.*Add one"),
        ((xr.DataArray(np.ones(5), dims="trial"), 2), r"dimensions \(trial\)"),
        (([recording(5), np.ones(5)], 2), r"data\['1'\]: got ndarray"),
        (([recording(5), recording(0)], 2), r"data\['1'\]: got 0 bins"),
    ],
)
def test_bad_data_is_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        blocked_folds(*arguments)


@pytest.mark.parametrize(
    ("gap", "message"),
    [
        (-1, "gap: got -1, expected a whole number of bins"),
        (1.5, "gap: got 1.5, expected a whole number of bins"),
        (np.nan, "gap: got nan"),
        ("1 s", "gap: got '1 s'"),
        (5, "5, which leaves no training bin in fold '0'.*Shorten the gap"),
    ],
)
def test_a_bad_gap_is_refused(gap, message):
    with pytest.raises(InvalidInputError, match=message):
        blocked_folds(10, 2, gap=gap)


def test_seconds_may_be_a_fraction():
    assert blocked_folds(recording(10), 2, gap=1.5 * BIN)[0].n_train == 4


@pytest.mark.parametrize("within", ["sesion", "Session"])
def test_unknown_ways_to_cut_are_mended(within):
    with pytest.raises(InvalidInputError, match="Did you mean 'session'"):
        blocked_folds(10, 2, within=within)


def test_a_label_for_two_stretches_is_refused():
    data = recording(6).assign_coords(session=("time", list("aabbaa")))
    with pytest.raises(InvalidInputError, match="session: got the label"):
        blocked_folds(data, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([5, 6], ["a"]), "by: got 1 labels, expected one label for each of the 2"),
        (([5, 6], ["a", "a"]), "only 'a' to leave out.*Use blocked_folds"),
        (([5],), "only '0' to leave out"),
    ],
)
def test_too_few_to_leave_out(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        leave_one_out(*arguments)
