"""The scale of a map: invertible above its floor, in any unit the same."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neuromod.stimulation.scale import SHARE, floor_of, to_map, to_response

positive = st.floats(1e-12, 1e12)


@given(positive, positive, st.floats(1e-9, 1e9))
def test_the_floor_is_a_share_of_the_largest_in_any_unit(first, ratio, unit):
    largest = first * max(ratio, 1.0)
    floor = floor_of(np.float64(first), np.float64(largest))
    assert SHARE * largest / 2 * 0.999 < floor <= SHARE * largest * 1.001
    other = floor_of(np.float64(first * unit), np.float64(largest * unit))
    # At a power of two rounding may tell either way.
    ratio_of_both = other / (floor * unit)
    assert np.isclose(ratio_of_both, [0.5, 1, 2], rtol=1e-9).any()


def test_it_moves_when_the_largest_has_doubled_and_not_before():
    largest = np.array([1.0, 1.9, 2.0, 3.9, 4.0])
    floors = floor_of(np.ones(5), largest)
    np.testing.assert_allclose(floors / SHARE, [1, 1, 2, 2, 4])


def test_before_there_is_a_response_everything_is_alike():
    floor = floor_of(np.zeros(1), np.zeros(1))
    assert to_map(np.array([0.0, -3.0]), floor).tolist() == [0.0, 0.0]


def test_responses_come_back_and_nothing_is_below_nothing():
    response = np.array([0.0, 1e-6, 0.3, 70.0])
    np.testing.assert_allclose(
        to_response(to_map(response, 0.1), 0.1), response, atol=1e-9
    )
    assert to_response(np.array(-50.0), 0.1) == 0
