"""What a `SpikeTrains` promises, and what it refuses."""

import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError
from neuromod.io import SpikeTrains
from neuromod.io.reading import Reading
from tests.io.written import small


def test_unsigned_ticks_are_subtracted_without_wrapping():
    trains = SpikeTrains(
        np.array([5, 4_294_967_290], dtype=np.uint32),
        np.array([1, 0], dtype=np.uint8),
        np.array(["a", "b"]),
        rate=30_000.0,
    )
    assert trains.ticks.dtype == np.int64
    assert np.diff(trains.ticks[::-1]).tolist() == [-4_294_967_285]


def test_ticks_that_no_int64_holds_are_refused():
    with pytest.raises(InvalidInputError, match=r"In which unit are they\?"):
        SpikeTrains(np.array([2**63], dtype=np.uint64), np.array([0]), np.array(["a"]))


def test_events_stand_in_one_order_whatever_the_order_of_the_source():
    by_unit = SpikeTrains.from_events([1, 3, 1, 2], [5, 5, 4, 4], sample_rate=1e3)
    by_time = SpikeTrains.from_events([1, 1, 2, 3], [5, 4, 4, 5], sample_rate=1e3)
    assert by_unit.equals(by_time)
    assert by_unit.ticks.tolist() == [1, 1, 2, 3]
    assert by_unit.neurons.tolist() == [0, 1, 0, 1]


def test_events_far_apart_are_sorted_as_well():
    ticks = np.array([2**61, -(2**61)])
    trains = SpikeTrains(ticks, np.array([0, 1]), np.array([0, 1]))
    assert trains.ticks.tolist() == [-(2**61), 2**61]
    assert trains.neurons.tolist() == [1, 0]


def test_unsorted_times_are_refused_or_sorted_on_demand():
    with pytest.raises(InvalidInputError, match=r"2 s followed by 1 s in unit '7'"):
        SpikeTrains.from_events([2.0, 1.0], [7, 7])
    trains = SpikeTrains.from_events([2.0, 1.0], [7, 7], reading=Reading(sort=True))
    assert trains.times.tolist() == [1.0, 2.0]
    assert trains.notes["sorted"] == "by time"


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        (0.5, None, r"2 spikes outside the recording, the first at 0.3 s in unit '4'"),
        (None, 1.0, r"6 spikes outside the recording, the first at 1.2 s in unit '4'"),
    ],
)
def test_spikes_outside_the_limits_are_refused(start, stop, message):
    trains = small()
    with pytest.raises(InvalidInputError, match=message) as caught:
        SpikeTrains(
            np.r_[trains.ticks[:1], trains.ticks],
            np.r_[trains.neurons[:1], trains.neurons],
            trains.labels,
            trains.rate,
            start,
            stop,
        )
    assert "Two clocks?" in str(caught.value)
    assert "say start= and stop=" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start": np.nan}, "start: got nan s, expected a time"),
        ({"stop": np.inf}, "stop: got inf s, expected a time"),
        ({"start": 2.0, "stop": 1.0}, "more than the start of 2.0 s"),
        ({"rate": 0.0}, "rate: got 0.0"),
        ({"labels": np.array(["a", "a"])}, "'a' twice"),
        ({"labels": np.array([1, np.nan])}, "a missing label"),
        ({"neurons": np.array([0, 2])}, "the indices 0 to 2, expected 0 to 1"),
        ({"neurons": np.array([0])}, r"shape \(1,\), expected \(2,\)"),
        ({"ticks": np.array([0.5, 1.0])}, "from_events takes times in seconds"),
        ({"annotations": {"depth": np.arange(3)}}, "one entry for each of the 2"),
        ({"observed": (np.array([[0, 1]]),)}, "observed: got 1, expected 2"),
        ({"observed": (np.array([[1, 0]]),) * 2}, "ascend and do not overlap"),
        ({"observed": (np.array([0, 1]),) * 2}, "ascend and do not overlap"),
    ],
)
def test_construction_validates(fields, message):
    sound = {"ticks": [1, 2], "neurons": [0, 1], "labels": ["a", "b"]}
    arrays = {name: np.array(values) for name, values in sound.items()}
    with pytest.raises(InvalidInputError, match=message):
        SpikeTrains(**{**arrays, **fields})


def test_labels_are_whole_numbers_if_all_are_else_text():
    assert SpikeTrains.from_units({3.0: [0.1], "12": []}).labels.tolist() == [3, 12]
    mixed = SpikeTrains.from_units({3: [0.1], "CA1": [], 1.5: []})
    assert mixed.labels.tolist() == ["3", "CA1", "1.5"]
    assert SpikeTrains.from_units({"01": [0.1]}).labels.tolist() == ["01"]


def test_text_and_numbers_may_label_events_together():
    trains = SpikeTrains.from_events([0.1, 0.2], np.array([1, "b"], dtype=object))
    assert trains.labels.tolist() == ["1", "b"]


def test_silent_units_are_kept():
    trains = SpikeTrains.from_units({"a": [], "b": [0.1]})
    assert trains.n_spikes.values.tolist() == [0, 1]
    assert trains.bin(0.1, start=0.0, stop=0.2).values.tolist() == [[0, 0], [0, 1]]


def test_as_many_labels_as_units():
    with pytest.raises(InvalidInputError, match="labels: got 1, expected 2"):
        SpikeTrains.from_units([[0.1], [0.2]], labels=["a"])


def test_select_by_label_and_annotation():
    trains = small()
    chosen = trains.select(["12", 4.0])
    assert chosen.labels.tolist() == [12, 4]
    assert chosen.train(12).tolist() == [1.2, 2.999, 3.0]
    assert chosen.n_spikes.values.tolist() == [3, 4]
    assert chosen.annotations["quality"].tolist() == ["good", "good"]
    assert trains.select(quality="mua").labels.tolist() == [9]
    assert trains.select([9, 4], quality=["good", "noise"]).labels.tolist() == [4]
    with pytest.raises(InvalidInputError, match="Did you mean 'quality'"):
        trains.select(qualty="good")
    with pytest.raises(InvalidInputError, match="There are: 'good', 'mua'"):
        trains.select(quality="bad")


def test_exclude_says_so():
    left = small().exclude(["4", 7])
    assert left.labels.tolist() == [9, 12]
    assert left.notes["excluded"] == "4, 7"
    assert small().exclude([]).equals(small())


def test_crop_counts_what_it_drops_of_the_units_that_stay():
    cropped = small().crop(0.6, 1.2)
    assert cropped.ticks.tolist() == [600, 900, 1200, 1200]
    assert cropped.n_outside.tolist() == [2, 1, 0, 2]
    assert cropped.exclude(4).n_outside.sum() == 3
    assert cropped.limits == (0.6, 1.2)


def test_intervals_are_those_that_all_units_share():
    sets = ([[0, 2], [3, 9]], [[1, 4], [4, 5], [8, 9]], [[0, 9]])
    trains = SpikeTrains.from_units(
        [[1.5], [], []], observed=tuple(np.array(s, float) for s in sets)
    )
    assert trains.intervals.tolist() == [[1, 2], [3, 5], [8, 9]]
    assert trains.limits == (1.0, 9.0)
    assert trains.select([0]).intervals.tolist() == [[0, 2], [3, 9]]


def test_repr_is_a_summary():
    assert repr(small()) == (
        "<SpikeTrains: 4 units, 9 spikes, 0.3 to 3.05 s, clock 1000 Hz>"
    )
    apart = (np.array([[0.0, 1.0]]), np.array([[2.0, 3.0]]))
    assert "0.1 to 0.1 s" in repr(SpikeTrains.from_units([[0.1], []], observed=apart))


def test_equality_looks_at_everything_that_counts():
    trains = small()
    assert trains.equals(small())
    assert not trains.equals(trains.exclude(9))
    assert not trains.equals(trains.crop(0.3, 3.1))
    assert not trains.equals(trains.select([7, 4, 9, 12]))
