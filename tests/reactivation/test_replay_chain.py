"""From a recording to an answer, and from a network to a recording."""

from datetime import datetime

import numpy as np
import pytest
import xarray as xr

from neuromod import io
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.reactivation import replay
from tests.shared import shared

# Seconds of the recording, and pixels: the README beside it.
RUN, REST = (9.0, 979.0), (985.0, 1968.0)
TRACK = [[145.0, 148.0], [473.0, 397.0]]


@pytest.fixture(scope="module")
def recording():
    path = shared("data/spikes/rat_ca1_linear_track_run_rest.npz")
    trains = io.read_spike_trains(path)
    position = io.read_behaviour(path, "position", crop=trains)["position"]
    start = trains.limits[0]
    spikes = trains.bin(0.005)
    spikes = spikes.assign_coords(time=spikes["time"] - start)
    position = position.assign_coords(time=position["time"] - start)
    return spikes, position.astype(float)


def test_held_out_running_of_a_rat_is_decoded(recording):
    spikes, position = recording
    running = spikes.sel(time=slice(*RUN))
    along = replay.linearise(position, TRACK)
    minute = (running["time"].values // 60).astype(int)
    tuning = replay.tuning_curves(
        running.isel(time=minute % 2 == 0), along, 10.0, min_speed=20.0
    )
    wide = io.read_spikes(running, bin_size=0.25)
    speed = io.align(replay.speed(along), wide, "linear").values
    odd = (wide["time"].values // 60).astype(int) % 2 == 1
    held_out = wide.isel(time=odd & (speed >= 20.0))
    posterior = replay.decode(held_out, tuning)
    error = float(replay.decoding_error(posterior, along).median())
    decoded = replay.most_likely_position(posterior).values
    generator = np.random.default_rng(0)
    true = io.align(along, held_out, "linear").values
    chance = [
        np.median(abs(generator.permutation(decoded)[:, 0] - true)) for _ in range(20)
    ]
    assert error < 0.4 * min(chance)
    assert error < 50.0  # of 412 pixels
    bits = replay.spatial_information(tuning)
    assert float(bits.max()) > 1.0


def test_a_recording_of_run_and_rest_is_analysed_in_one_call(recording):
    spikes, position = recording
    tree = replay.analyse(
        spikes,
        position,
        10.0,
        min_speed=20.0,
        seed=0,
        run=RUN,
        rest=REST,
        track=TRACK,
        shuffles="time_bins",
        n_shuffles=19,
        posteriors=True,
    )
    events, posteriors = tree["events"], tree["posteriors"]
    n_events = events.sizes["event"]
    assert n_events > 100
    assert float(events["start"].min()) > REST[0]
    assert (events["n_active"] >= 5).all()
    p_value = events["p_value"]
    assert p_value.dims == ("shuffle", "event", "statistic")
    assert ((p_value >= 0.05) & (p_value <= 1.0)).all()
    np.testing.assert_allclose(posteriors["place"].sum("position"), 1.0, atol=1e-3)
    np.testing.assert_allclose(posteriors["dynamics"].sum("state"), 1.0, atol=1e-3)
    assert set(posteriors["event"].values) == set(range(n_events))
    assert events["line_velocity"].attrs["units"] == "px/s"
    share = posteriors["dynamics"].sel(state="continuous").groupby("event").mean()
    score = events["score"].sel(statistic="continuous")
    np.testing.assert_allclose(score, share, atol=1e-3)
    compression = tree.attrs["replay_speed"] / tree["tuning"]["tuning"].run_speed
    assert compression == pytest.approx(20.0)


@pytest.fixture(scope="module")
def twin():
    return replay.simulate_recording(seed=0, n_events=6, n_laps=2, n_neurons=12)


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"run": "walk"}, "'run'"),
        ({"rest": (5.0, 1.0)}, "a label, or"),
        ({"rest": "rest", "events": xr.Dataset()}, "start"),
        ({"rest": (1e4, 2e4)}, "those of the spikes"),
        ({"bin_size": 0.007}, "whole multiple"),
        ({"compression": 0.0}, "compression"),
        ({"seed": 0.5}, "seed"),
        ({"scale": 0.5}, "positions in cm"),
        ({"run": None}, "a label, or"),
        ({"min_speed": 500.0}, "never faster"),
    ],
)
def test_bad_settings_of_the_analysis_are_refused(twin, keywords, says):
    spikes = twin["recording"]["spikes"]
    position = twin["behaviour"]["position"]
    with pytest.raises(InvalidInputError, match=says):
        replay.analyse(
            spikes, position, 5.0, **{"min_speed": 5.0, "seed": 0, **keywords}
        )


def test_a_label_needs_blocks_along_time(twin):
    spikes = twin["recording"]["spikes"].drop_vars("block")
    position = twin["behaviour"]["position"]
    with pytest.raises(InvalidInputError, match="coordinate `block`"):
        replay.analyse(spikes, position, 5.0, min_speed=5.0, seed=0)


def test_a_rest_without_bursts_says_how_to_find_some(twin):
    spikes = twin["recording"]["spikes"]
    silent = spikes.where(spikes["block"] == "run", 0)
    with pytest.raises(InvalidInputError, match="Lower the threshold"):
        replay.analyse(
            silent, twin["behaviour"]["position"], 5.0, min_speed=5.0, seed=0
        )


def test_the_twin_has_as_many_replays_as_asked_for():
    for share, number in ((0.0, 0), (0.5, 5), (1.0, 10)):
        truth = replay.simulate_recording(
            seed=1, n_events=10, replay=share, n_laps=1, n_neurons=3
        )["truth"]
        assert int(truth["is_replay"].sum()) == number
        assert ((truth["velocity"] != 0) == truth["is_replay"]).all()
    with pytest.raises(InvalidInputError, match="share"):
        replay.simulate_recording(seed=1, replay=1.5)


@pytest.fixture(scope="module")
def network():
    """Return rates of two units: one is constant, one fires in the second half."""
    time = np.arange(4000) * 0.01
    rates = np.stack([np.full(4000, 20.0), 50.0 * (time >= 20.0)], axis=1)
    coords = {"time": time, "unit": ["a", "b"]}
    return xr.DataArray(rates, coords, ("time", "unit"), attrs={"units": "Hz"})


def test_spikes_of_a_network_have_its_rates(network):
    trains = replay.poisson_spikes(network, seed=0)
    halves = trains.bin(20.0)
    expected = np.array([[400.0, 0.0], [400.0, 1000.0]])
    assert (abs(halves.values - expected) <= 4 * np.sqrt(expected)).all()
    assert halves["neuron"].values.tolist() == ["a", "b"]
    counts = trains.bin(0.1).values[:, 0]
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.2)
    again, other = (replay.poisson_spikes(network, seed=s) for s in (0, 1))
    assert trains.equals(again)
    assert not trains.equals(other)


def test_a_wider_step_makes_more_spikes(network):
    few = replay.poisson_spikes(network, seed=0)
    many = replay.poisson_spikes(network[::2], seed=0, time_step=0.02)
    sparse = replay.poisson_spikes(network[::2], seed=0, time_step=0.01)
    totals = [float(trains.n_spikes.sum()) for trains in (few, many, sparse)]
    assert totals[1] == pytest.approx(totals[0], rel=0.15)
    assert totals[2] == pytest.approx(totals[0] / 2, rel=0.15)


def test_spikes_of_a_network_go_to_pynapple_and_nwb(network, tmp_path):
    pytest.importorskip("pynapple")
    pytest.importorskip("pynwb")
    trains = replay.poisson_spikes(network, seed=0)
    group = replay.to_pynapple(trains)
    assert group["label"].tolist() == ["a", "b"]
    for key, times in enumerate(trains.to_dict().values()):
        np.testing.assert_allclose(group[key].t, times, atol=1e-8)
    path = io.write_nwb(
        tmp_path / "network.nwb",
        trains,
        session_description="spikes of a network",
        identifier="network",
        session_start_time=datetime(2025, 1, 1),
    )
    assert io.read_spike_trains(path).equals(trains)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda r: r - 10.0, InvalidInputError, "Rectify"),
        (lambda r: r.where(r > 0), InvalidInputError, "finite"),
        (lambda r: r.rename(unit="cell"), ShapeError, "rates"),
        (lambda r: r.isel(time=[0, 1, 5]), InvalidInputError, "regular grid"),
        (lambda r: r.isel(time=[0]), InvalidInputError, "time_step"),
    ],
)
def test_bad_rates_are_refused(network, change, error, says):
    with pytest.raises(error, match=says):
        replay.poisson_spikes(change(network), seed=0)
