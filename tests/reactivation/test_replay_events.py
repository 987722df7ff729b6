"""Population bursts: all that were put in are found, and each limit leaves some out."""

import numpy as np
import pytest
import xarray as xr

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.reactivation import replay

STEP = 0.005


@pytest.fixture(scope="module")
def twin():
    return replay.simulate_recording(
        seed=0, n_events=30, n_laps=4, event_duration=(0.15, 0.25)
    )


@pytest.fixture(scope="module")
def resting(twin):
    spikes = twin["recording"]["spikes"]
    return spikes.isel(time=(spikes["block"] == "rest").values)


def bursts(*stretches, n_neurons=6, n_steps=2000):
    """Return spikes of all neurons in every bin of some stretches, and nowhere else."""
    counts = np.zeros((n_steps, n_neurons), int)
    for first, last, n_active in stretches:
        counts[first:last, :n_active] = 1
    time = (np.arange(n_steps) + 0.5) * STEP
    return xr.DataArray(counts, {"time": time}, ("time", "neuron"))


def test_every_burst_is_found_where_it_is(twin, resting):
    # A tenth of this rest is bursts, which makes the standard deviation large.
    events = replay.detect_events(resting, threshold=2.0)
    truth = twin["truth"].to_dataset()
    assert events.sizes["event"] == truth.sizes["event"] == events.attrs["n_candidates"]
    assert float(abs(events["start"] - truth["start"]).max()) < 0.04
    assert float(abs(events["stop"] - truth["stop"]).max()) < 0.04
    assert (events["start"] < events["peak"]).all()
    assert (events["peak"] < events["stop"]).all()
    assert (events["peak_rate"] >= 2.0).all()
    inside = resting.sel(time=slice(float(events["start"][0]), events["stop"][0]))
    assert int(events["n_spikes"][0]) == int(inside.sum())
    assert int(events["n_active"][0]) == int((inside.sum("time") > 0).sum())


@pytest.mark.parametrize(
    ("limit", "n_events"),
    [
        ({}, 3),
        ({"min_duration": 0.15}, 2),
        ({"max_duration": 0.25}, 2),
        ({"min_active": 6}, 2),
        ({"threshold": 4.0}, 2),
        ({"smoothing": 0.5}, 0),
    ],
)
def test_each_limit_leaves_some_out(limit, n_events):
    spikes = bursts((200, 215, 6), (600, 640, 5), (1200, 1260, 6))
    events = replay.detect_events(spikes, **limit)
    assert events.sizes["event"] == n_events
    assert events.attrs["n_candidates"] >= n_events


def test_bursts_of_a_running_animal_are_none_and_do_not_raise_the_mean():
    spikes = bursts((200, 230, 6), (1000, 1030, 6))
    time = spikes["time"].values
    speed = xr.DataArray(np.where(time > 4.0, 30.0, 1.0), {"time": time}, "time")
    events = replay.detect_events(spikes, speed=speed, max_speed=5.0)
    assert events["peak"].values == pytest.approx([1.075], abs=0.03)
    calm = replay.detect_events(spikes, speed=speed, max_speed=50.0)
    assert calm.sizes["event"] == 2
    # All the more above the mean, since half of the spikes do not count.
    assert float(events["peak_rate"][0]) != float(calm["peak_rate"][0])
    unseen = speed.where(abs(speed["time"] - 1.05) > 0.2)
    none = replay.detect_events(spikes, speed=unseen, max_speed=5.0)
    assert none.sizes["event"] == none.attrs["n_candidates"] == 0


def test_a_burst_at_the_very_end_is_an_event():
    events = replay.detect_events(bursts((1970, 2000, 6)))
    assert events["stop"].values == pytest.approx([10.0])


def test_no_event_crosses_a_gap():
    spikes = bursts((390, 410, 6), (800, 820, 6))
    time = spikes["time"].values
    parted = spikes.assign_coords(time=np.where(time > 2.0, time + 60.0, time))
    whole = replay.detect_events(spikes)
    halves = replay.detect_events(parted, min_duration=0.05)
    assert whole.sizes["event"] == 2
    assert halves.sizes["event"] == 3
    assert (halves["stop"] - halves["start"] < 0.2).all()


def test_counts_of_events_are_the_spikes_within(resting):
    events = replay.detect_events(resting)
    fine = replay.event_counts(resting, events, 0.005)
    wide = replay.event_counts(resting, events, 0.02)
    totals = fine.groupby("event").sum()
    assert totals.sum("neuron").values.tolist() == events["n_spikes"].values.tolist()
    lost = int(fine.sum() - wide.sum())
    assert 0 <= lost < 0.1 * int(fine.sum())
    first = fine[fine["event"] == 0][:4].sum("time")
    np.testing.assert_array_equal(first, wide[0])
    assert wide["time"].values[0] == pytest.approx(float(events["start"][0]) + 0.01)


@pytest.mark.parametrize(
    ("start", "stop", "bin_size", "says"),
    [
        ([1.0], [1.1], 0.013, "whole multiple"),
        ([1.0], [1.05], 0.02, "at least three bins"),
        ([9.9], [10.2], 0.02, "outside of the spikes"),
        ([-1.0], [0.2], 0.02, "outside of the spikes"),
        ([1.0, 1.05], [1.1, 1.2], 0.02, "overlap"),
        ([np.nan], [1.2], 0.02, "finite"),
        ([], [], 0.02, "Lower the threshold"),
    ],
)
def test_events_that_cannot_be_counted_are_refused(start, stop, bin_size, says):
    events = xr.Dataset({"start": ("event", start), "stop": ("event", stop)})
    with pytest.raises(InvalidInputError, match=says):
        replay.event_counts(bursts(), events, bin_size)


def test_an_event_across_a_gap_is_refused():
    spikes = bursts().drop_isel(time=np.arange(200, 210))
    events = xr.Dataset({"start": ("event", [0.9]), "stop": ("event", [1.2])})
    with pytest.raises(InvalidInputError, match="across a gap"):
        replay.event_counts(spikes, events, 0.02)
    with pytest.raises(ShapeError, match="no start"):
        replay.event_counts(spikes, events.drop_vars("start"), 0.02)


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"smoothing": 0.001}, "bins of at most"),
        ({"threshold": -1.0}, "threshold"),
        ({"min_duration": 0.5, "max_duration": 0.1}, "max_duration"),
        ({"min_active": 0}, "min_active"),
        ({"max_speed": 5.0}, "both, or neither"),
    ],
)
def test_bad_settings_of_the_detection_are_refused(keywords, says):
    with pytest.raises(InvalidInputError, match=says):
        replay.detect_events(bursts((200, 220, 6)), **keywords)
