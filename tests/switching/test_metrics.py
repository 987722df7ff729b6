import itertools

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from neuromod import errors
from neuromod.switching import (
    adjusted_rand_index,
    circular_shift_test,
    dwell_times,
    match_states,
    occupancy,
    state_accuracy,
)

paths = st.lists(st.integers(0, 2), min_size=2, max_size=12)


@given(paths, st.randoms())
def test_accuracy_is_the_best_over_all_relabellings(states, random):
    labels = [random.randrange(3) for _ in states]
    best = max(
        np.mean(np.array(order)[states] == labels)
        for order in itertools.permutations(range(3))
    )
    assert state_accuracy(states, labels) == pytest.approx(best)


@given(paths, st.permutations(range(3)))
def test_names_of_states_do_not_matter(states, order):
    renamed = np.array(order)[states]
    assert state_accuracy(states, renamed) == 1
    assert adjusted_rand_index(states, renamed) == pytest.approx(1)


def test_adjusted_rand_index_by_counting_pairs():
    states, labels = [0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1]
    pairs = list(itertools.combinations(range(6), 2))
    same_state = np.array([states[a] == states[b] for a, b in pairs])
    same_label = np.array([labels[a] == labels[b] for a, b in pairs])
    together = (same_state & same_label).sum()
    expected = same_state.sum() * same_label.sum() / len(pairs)
    highest = (same_state.sum() + same_label.sum()) / 2
    index = (together - expected) / (highest - expected)
    assert adjusted_rand_index(states, labels) == pytest.approx(index)


def test_unrelated_partitions_have_no_adjusted_agreement():
    generator = np.random.default_rng(0)
    states, labels = generator.integers(0, 3, (2, 5000))
    assert abs(adjusted_rand_index(states, labels)) < 0.005


def test_matching():
    assert match_states([2, 2, 0, 1], [0, 0, 1, 1]) == {0: 1, 2: 0}


def test_circular_shifts_equal_plain_rolling():
    generator = np.random.default_rng(1)
    states, labels = generator.integers(0, 3, 40), generator.integers(0, 2, 40)
    found = circular_shift_test(states, labels, minimum_shift=4)
    null = [state_accuracy(np.roll(states, -k), labels) for k in range(4, 37)]
    np.testing.assert_allclose(found.null, null)
    assert found.agreement == state_accuracy(states, labels)
    assert found.percentile_99 == pytest.approx(np.quantile(null, 0.99))


def test_shifts_tell_coupled_slow_signals_from_uncoupled_ones():
    generator = np.random.default_rng(2)

    def slow():
        return np.repeat(generator.integers(0, 2, 60), 50)

    labels = slow()
    noisy = np.where(generator.random(3000) < 0.2, 1 - labels, labels)
    coupled = circular_shift_test(noisy, labels, minimum_shift=100)
    assert coupled.p_value < 0.01
    assert coupled.agreement > coupled.percentile_99
    uncoupled = circular_shift_test(slow(), labels, minimum_shift=100)
    assert uncoupled.p_value > 0.05


def test_dwell_times_end_at_a_session():
    states = xr.DataArray(
        [1, 1, 1, 0, 0],
        dims="time",
        coords={"session": ("time", ["a", "a", "b", "b", "b"])},
    )
    found = dwell_times(states, 0.1)
    np.testing.assert_allclose(found[1], [0.2, 0.1])
    np.testing.assert_allclose(found[0], [0.2])


def test_every_form_of_sessions_is_pooled():
    one = xr.DataArray([1, 1, 0], dims="time", name="state_sequence")
    tree = xr.DataTree.from_dict({"a": one.to_dataset(), "b": one.to_dataset()})
    for form in ([one, one], tree):
        found = dwell_times(form, 1.0)
        assert {k: v.tolist() for k, v in found.items()} == {0: [1, 1], 1: [2, 2]}
    probability = xr.DataArray([[1.0, 0.0]], dims=("time", "state"))
    other = xr.DataArray([[0.0, 1.0]], dims=("time", "state"))
    np.testing.assert_allclose(occupancy([probability, other]), [0.5, 0.5])


def test_occupancy():
    probability = xr.DataArray([[1.0, 0.0], [0.5, 0.5]], dims=("time", "state"))
    np.testing.assert_allclose(occupancy(probability), [0.75, 0.25])


@pytest.mark.parametrize(
    ("states", "labels", "message"),
    [
        ([0, 1], [0, 1, 1], "labels: got 3 bins.*neuromod.io.align"),
        ([0.5, 1.0], [0, 1], "whole numbers"),
        ([-1, 0], [0, 1], "labels >= 0"),
        ([], [], "at least one"),
    ],
)
def test_bad_labels_are_refused(states, labels, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        state_accuracy(states, labels)


def test_too_few_bins_to_shift():
    with pytest.raises(errors.InvalidInputError, match="at most 2 bins"):
        circular_shift_test([0, 1, 0, 1], [0, 1, 0, 1], minimum_shift=3)
