"""Counts in bins: exact at the edges, honest at the ends, small in memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromod.core.errors import InvalidInputError
from neuromod.core.sequences import gather
from neuromod.io import SpikeTrains, bin_spikes
from tests.io.written import small


def test_spikes_on_an_edge_belong_to_the_bin_that_begins_there():
    edges = np.arange(1000) * 600
    on_ticks = SpikeTrains.from_events(edges, np.zeros(1000, int), sample_rate=30e3)
    in_seconds = SpikeTrains.from_units([edges / 30e3])
    for trains in (on_ticks, in_seconds):
        counts = trains.bin(0.02, start=0.0, stop=20.0)
        assert counts.dtype == np.uint8
        assert (counts.values == 1).all()


@given(
    st.lists(st.integers(0, 10_000), max_size=50),
    st.sampled_from([0.001, 0.0025, 0.02, 1 / 30, 1 / 7, 0.3]),
    st.sampled_from([1000.0, 30_000.0, 24_414.0625]),
    st.integers(0, 2000),
)
def test_bins_agree_with_rational_arithmetic(ticks, bin_size, rate, start):
    from fractions import Fraction

    trains = SpikeTrains.from_events(
        np.array(sorted(ticks), int), np.zeros(len(ticks), int), labels=[0],
        sample_rate=rate,
    )  # fmt: skip
    stop = start + 12_000
    counts = trains.bin(bin_size, start=start / rate, stop=stop / rate)
    size = Fraction(bin_size * rate).limit_denominator(10_000)
    expected = np.zeros(counts.sizes["time"], int)
    for tick in ticks:
        index = (Fraction(tick) - start) / size
        if 0 <= index < len(expected):
            expected[int(index)] += 1
    np.testing.assert_array_equal(counts.values[:, 0], expected)
    assert len(expected) == 12_000 // size
    assert int(counts.sum()) + counts.attrs["n_spikes_outside"] == len(ticks)


def test_time_is_the_centre_on_the_clock_of_the_recording():
    counts = small().bin(0.5)
    np.testing.assert_allclose(counts.time, [0.55, 1.05, 1.55, 2.05, 2.55], rtol=1e-15)
    assert counts.time.attrs == {"units": "s", "long_name": "bin centre"}
    assert counts.attrs["units"] == "spikes"
    assert counts.attrs["bin_size"] == 0.5
    assert counts.attrs["clock_rate"] == 1000.0
    assert counts.attrs["limits"] == "from the stated start to the stated stop"
    assert counts.attrs["source"] == "small"


def test_the_last_incomplete_bin_is_dropped_and_told():
    counts = small().bin(0.5)
    assert counts.attrs["stop"] == 2.8
    assert counts.attrs["dropped_duration"] == 0.25
    assert counts.attrs["n_spikes_outside"] == 2
    assert int(counts.sum()) == 7


def test_without_stated_limits_edges_are_multiples_of_the_bin_size():
    counts = bin_spikes({"a": [7.31, 8.05]}, 0.25)
    assert counts.values.ravel().tolist() == [1, 0, 0, 1]
    assert counts.attrs["start"] == 7.25
    assert counts.attrs["limits"] == "from the first spike to the last spike"
    assert counts.attrs["n_spikes_outside"] == 0
    other = bin_spikes({"b": [7.1]}, 0.25)
    assert (counts.time[0] - other.time[0]) / 0.25 == pytest.approx(1.0)


def test_negative_times_are_binned_like_others():
    counts = bin_spikes([[-0.31, -0.3, 0.0]], 0.1, start=-0.4, stop=0.1)
    assert counts.values.ravel().tolist() == [1, 1, 0, 0, 1]
    free = bin_spikes([[-0.31, 0.0]], 0.1)
    assert free.attrs["start"] == -0.4


@pytest.mark.parametrize(
    ("n_spikes", "dtype"), [(255, "u1"), (256, "u2"), (65_535, "u2"), (65_536, "i4")]
)
def test_the_type_is_the_smallest_that_holds_the_maximum(n_spikes, dtype):
    times = np.full(n_spikes, 0.25)
    counts = bin_spikes({"busy": times, "quiet": [0.35]}, 0.1)
    assert counts.dtype == dtype
    assert counts.values.tolist() == [[n_spikes, 0], [0, 1]]


def test_epochs_become_sessions_that_restart():
    epochs = {"run": (0.3, 1.3), "rest": (1.4, 3.0)}
    counts = bin_spikes(small(), 0.3, epochs=epochs)
    assert counts.session.values.tolist() == ["run"] * 3 + ["rest"] * 5
    np.testing.assert_allclose(counts.time[[0, 3]], [0.45, 1.55])
    assert counts.attrs["dropped_duration"] == pytest.approx(0.2)
    assert counts.attrs["n_spikes_outside"] == 9 - int(counts.sum())
    assert counts.values[:3].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    sequences = gather(counts, "spikes", ("time", "neuron"))
    assert sequences.labels == ("run", "rest")
    assert sequences.lengths.tolist() == [3, 5]


def test_epochs_in_a_list_and_as_trials():
    counts = bin_spikes(small(), 0.3, epochs=[(0.3, 0.9), (0.9, 1.5)], boundary="trial")
    assert counts.trial.values.tolist() == ["0", "0", "1", "1"]
    assert "session" not in counts.coords


def test_epochs_of_pynapple():
    nap = pytest.importorskip("pynapple")
    epochs = nap.IntervalSet([0.3, 1.2], [0.9, 1.8])
    counts = bin_spikes(small(), 0.3, epochs=epochs)
    assert counts.session.values.tolist() == ["0", "0", "1", "1"]
    assert counts.sum("neuron").values.tolist() == [1, 1, 2, 1]


def test_a_pause_in_the_observation_is_no_silence():
    intervals = np.array([[0.0, 1.0], [5.0, 5.05], [7.0, 8.0]])
    trains = SpikeTrains.from_units([[0.5, 7.5], [0.6]], observed=(intervals,) * 2)
    counts = trains.bin(0.5)
    assert counts.session.values.tolist() == ["0", "0", "2", "2"]
    np.testing.assert_allclose(counts.time, [0.25, 0.75, 7.25, 7.75])
    assert counts.attrs["dropped_duration"] == pytest.approx(0.05)
    assert counts.attrs["limits"].startswith("intervals in which all units")
    apart = SpikeTrains.from_units(
        [[0.5], [7.5]], observed=(intervals[:1], intervals[2:])
    )
    with pytest.raises(InvalidInputError, match=r"never observed at.*include="):
        apart.bin(0.5)


@pytest.mark.parametrize(
    ("epochs", "message"),
    [
        ([(0.3, 1.0), (0.9, 2.0)], "epochs that do not overlap"),
        ([(1.0, 0.5)], "start < stop in seconds"),
        ([(np.nan, 0.5)], "start < stop in seconds"),
        ([(0.3, np.inf)], "start < stop in seconds"),
        ([(0.0, 1.0)], r"within the recording \(0.3 to 3.05 s\).*another zero"),
        ([(0.3, 0.4)], "bin_size: got 0.3 s for a stretch of 0.1 s"),
        ([], "at least one"),
        ([0.3, 1.0], r"As in epochs=\[\(0.0, 10.0\)"),
        (3.0, "for each epoch"),
        ({"a": ("x", "y")}, "for each epoch"),
    ],
)
def test_bad_epochs_are_refused(epochs, message):
    with pytest.raises(InvalidInputError, match=message):
        bin_spikes(small(), 0.3, epochs=epochs)


def test_boundary_has_two_names():
    with pytest.raises(InvalidInputError, match="Did you mean 'session'"):
        bin_spikes(small(), 0.3, epochs=[(0.3, 1.0)], boundary="sesion")


def test_counts_are_no_spike_times():
    with pytest.raises(InvalidInputError, match="read_spikes takes counts as they are"):
        bin_spikes(small().bin(0.3), 0.3)


def test_annotations_become_coordinates():
    assert small().bin(0.3).quality.values.tolist() == ["good", "good", "mua", "good"]


def test_memory_beside_the_result_is_bounded():
    rng = np.random.default_rng(0)
    ticks = np.sort(rng.integers(0, 600_000, 1_200_000))
    trains = SpikeTrains.from_events(
        ticks, rng.integers(0, 50, len(ticks)), sample_rate=1e3, stop=600.0, start=0.0
    )
    tracemalloc.start()
    counts = trains.bin(0.001)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert int(counts.sum(dtype=np.int64)) == 1_200_000
    assert peak < counts.nbytes + counts.time.nbytes + 60e6
