"""Paths out of events, and the measures that an animal and a network share."""

import numpy as np
import pytest
import xarray as xr

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.reactivation import measures, replay
from neuromod.reactivation.replay.episodes import compare_paths, event_paths

BIN = 0.02


def decoded(places, *, event=None, spiking=None, unit="cm", time=None):
    """Return a posterior that is sure of these places (cm), and the spikes of it."""
    centres = np.arange(0.0, 100.0, 10.0)
    n_bins = len(places)
    certain = np.isclose(np.asarray(places)[:, None], centres).astype(float)
    coords = {
        "time": BIN * np.arange(n_bins) if time is None else time,
        "x": ("position", centres),
    }
    if event is not None:
        coords["event"] = "time", np.asarray(event)
    posterior = xr.DataArray(
        certain, coords, ("time", "position"), attrs={"position_units": unit}
    )
    counts = np.ones((n_bins, 2), int)
    counts[np.flatnonzero(np.zeros(n_bins) if spiking is None else ~spiking)] = 0
    along = {k: v for k, v in posterior.coords.items() if v.dims == ("time",)}
    spikes = xr.DataArray(counts, along, ("time", "neuron"), attrs={"bin_size": BIN})
    return posterior, spikes


def test_paths_are_cut_from_the_beginning_of_each_event_and_nothing_is_filled_in():
    event = [0] * 5 + [1] * 2 + [2] * 4
    places = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 0]
    paths = event_paths(*decoded(places, event=event), n_steps=2)
    assert paths.dims == ("trial", "time", "space")
    np.testing.assert_allclose(
        paths[..., 0], [[0.0, 0.1], [0.2, 0.3], [0.5, 0.6], [0.7, 0.8], [0.9, 0.0]]
    )
    assert paths["event"].values.tolist() == [0, 0, 1, 2, 2]
    np.testing.assert_allclose(paths["time"], [0.0, BIN])
    assert paths.attrs["units"] == "m"
    assert paths.attrs["share_used"] == pytest.approx(10 / 11)
    longer = event_paths(*decoded(places, event=event), n_steps=4)
    assert longer["event"].values.tolist() == [0, 2]


def test_no_path_crosses_a_silent_bin_or_a_gap():
    spiking = np.array([1, 1, 1, 0, 1, 1, 0, 1, 1, 1], bool)
    paths = event_paths(*decoded(10 * np.arange(10), spiking=spiking), n_steps=3)
    np.testing.assert_allclose(paths[..., 0], [[0.0, 0.1, 0.2], [0.7, 0.8, 0.9]])
    time = BIN * np.array([0, 1, 2, 3, 9, 10, 11, 12, 13, 14])
    paths = event_paths(*decoded(10 * np.arange(10), time=time), n_steps=3)
    np.testing.assert_allclose(paths[:, 0, 0], [0.0, 0.4, 0.7])


@pytest.mark.parametrize(("unit", "factor"), [("m", 1.0), ("mm", 1e-3)])
def test_places_are_told_in_metres(unit, factor):
    paths = event_paths(*decoded([0, 10], unit=unit), n_steps=2)
    assert float(paths[0, 1, 0]) == pytest.approx(10 * factor)


def test_what_was_decoded_of_a_recording_goes_into_the_tables_of_a_network():
    twin = replay.simulate_recording(seed=0, n_events=30, replay=1.0, n_laps=6)
    spikes = twin["recording"]["spikes"]
    place = twin["behaviour"]["position"]
    tuning = replay.tuning_curves(
        spikes.isel(time=spikes["block"].values == "run"),
        place,
        5.0,
        min_speed=5.0,
        direction=True,
    )
    counts = replay.event_counts(spikes, twin["truth"].to_dataset(), BIN)
    joint = replay.decode_dynamics(counts, tuning, replay_speed=800.0)
    paths = event_paths(joint, counts, n_steps=5)
    assert paths.sizes["trial"] > 30
    table = measures.path_table(paths, bounds=[[0.0, 2.05]], lags=[1, 2, 4])
    assert float(table["displacement_slope"]) > 1.5  # straight, at 8 m/s
    speed = float((table["displacement"][-1] ** 0.5) / table["lag"][-1])
    assert speed == pytest.approx(8.0, rel=0.2)
    apart = measures.density_table(
        paths,
        paths[::-1],
        bounds=[[0.0, 2.05]],
        first_step=0,
        stationary_after=0,
        seed=0,
    )
    assert float(apart["kl_histogram"]) == pytest.approx(0.0, abs=1e-12)


def test_maps_of_two_directions_tell_of_one_place_together():
    posterior = xr.DataArray(
        [[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]],
        {
            "time": [0.0, BIN],
            "x": ("position", [10.0, 20.0, 20.0, 30.0]),
            "direction": ("position", [1.0, 1.0, -1.0, -1.0]),
        },
        ("time", "position"),
        attrs={"position_units": "cm"},
    )
    place = replay.most_likely_position(posterior)
    np.testing.assert_allclose(place[:, 0], [20.0, 20.0])


def test_events_that_do_not_fit_are_refused():
    posterior, spikes = decoded(10 * np.arange(4), spiking=np.array([1, 1, 0, 1], bool))
    with pytest.raises(InvalidInputError, match="n_steps"):
        event_paths(posterior, spikes, n_steps=3)
    with pytest.raises(InvalidInputError, match="n_steps"):
        event_paths(posterior, spikes, n_steps=1)
    with pytest.raises(ShapeError, match="those that were decoded"):
        event_paths(posterior, spikes.isel(time=slice(3)), n_steps=2)
    with pytest.raises(InvalidInputError, match="scale="):
        event_paths(*decoded([0, 10], unit="px"), n_steps=2)


def walks(seed, *, n_trials=150, n_steps=17, step=0.01, time_step=0.1, n_axes=1):
    """Return Gaussian walks (m) from anywhere in the middle of [0, 1]."""
    generator = np.random.default_rng(seed)
    moved = generator.normal(0, step, (n_trials, n_steps, n_axes)).cumsum(axis=1)
    values = generator.uniform(0.3, 0.7, (n_trials, 1, n_axes)) + moved
    return xr.DataArray(
        values,
        {"time": time_step * np.arange(1, n_steps + 1)},
        ("trial", "time", "space"),
        attrs={"units": "m"},
    )


def test_each_condition_keeps_its_own_clock():
    awake, asleep = walks(0), walks(1, step=0.03, time_step=0.02, n_steps=10)
    found = compare_paths(
        {"awake": awake, "asleep": asleep}, bounds=[[0, 1]], seed=0, n_draws=50
    )
    assert found["condition"].values.tolist() == ["awake", "asleep"]
    np.testing.assert_allclose(found["time_step"], [0.1, 0.02])
    speeds = 0.01 * np.sqrt(2 / np.pi) / 0.1 * np.array([1, 15])
    np.testing.assert_allclose(found["speed"], speeds, rtol=0.05)
    np.testing.assert_allclose(found["speed_ratio"], [1, 15], rtol=0.05)
    assert found["lag"].values.tolist() == [1, 2, 4, 8, 16]
    late = found["displacement"].sel(condition="asleep", lag=[16])
    assert np.isnan(late).all()
    for name, step, time_step in (("awake", 0.01, 0.1), ("asleep", 0.03, 0.02)):
        one = found.sel(condition=name).dropna("lag")
        np.testing.assert_allclose(one["delay"], time_step * one["lag"])
        np.testing.assert_allclose(
            one["displacement"], step**2 * one["lag"].values, rtol=0.2
        )
    np.testing.assert_allclose(found["displacement_slope"], 1.0, atol=0.1)


def test_numbers_are_those_of_the_tables():
    awake, asleep = walks(0), walks(1, step=0.02)
    bounds = [[0.0, 1.0]]
    found = compare_paths(
        {"awake": awake, "asleep": asleep}, bounds=bounds, seed=3, n_bins=7, n_draws=20
    ).sel(condition="asleep")
    moved = measures.path_table(asleep, bounds=bounds, lags=[1, 2, 4, 8, 16], n_bins=7)
    assert float(found["step_length"]) == float(moved["step_length"].mean())
    np.testing.assert_allclose(found["displacement"], moved["displacement"])
    apart = measures.density_table(
        asleep, awake, bounds=bounds, first_step=0, stationary_after=0, seed=3, n_bins=7
    )
    for name in ("kl_histogram", "kl_kde", "wasserstein"):
        assert float(found[name]) == float(apart[name])
    shares = measures.histogram(asleep.values, bounds, n_bins=7)
    np.testing.assert_allclose(found["occupancy"], shares)
    assert found["step_length"].attrs["units"] == "m per step"
    np.testing.assert_allclose(found["x"], (np.arange(7) + 0.5) / 7)


def test_maps_of_an_arena_lie_where_their_centres_say():
    awake, asleep = (walks(seed, n_axes=2, n_trials=40) for seed in (0, 1))
    asleep[..., 1] = 0.05
    found = compare_paths(
        {"awake": awake, "asleep": asleep},
        bounds=[[0, 1], [0, 2]],
        seed=0,
        n_bins=4,
        n_draws=5,
    )
    asleep = found["occupancy"].sel(condition="asleep")
    assert (asleep["y"].values[asleep.values > 0] == 0.25).all()
    assert float(asleep.sum()) == pytest.approx(1.0)


def test_intervals_hold_the_number_and_shrink_with_trials():
    few, many = (
        compare_paths(
            {"awake": walks(0, n_trials=20), "asleep": walks(1, n_trials=n, n_steps=9)},
            bounds=[[0, 1]],
            seed=0,
            n_draws=100,
        ).sel(condition="asleep")
        for n in (20, 500)
    )
    for name in ("step_length", "displacement_slope"):
        tails = many[f"{name}_interval"].values
        assert tails[0] < float(many[name]) < tails[1]
        ratio = np.ptp(few[f"{name}_interval"].values) / np.ptp(tails)
        assert ratio == pytest.approx(5.0, rel=0.5)  # the root of 25 times as many
    again = compare_paths(
        {"awake": walks(0, n_trials=20), "asleep": walks(1, n_trials=20, n_steps=9)},
        bounds=[[0, 1]],
        seed=0,
        n_draws=100,
    ).sel(condition="asleep")
    assert again.identical(few)


@pytest.mark.parametrize(
    ("paths", "error", "says"),
    [
        ({"asleep": 0, "control": 1}, InvalidInputError, "'awake'"),
        ({"awake": 0}, InvalidInputError, "at least one other"),
    ],
)
def test_a_comparison_needs_waking_and_something_else(paths, error, says):
    given = {name: walks(seed) for name, seed in paths.items()}
    with pytest.raises(error, match=says):
        compare_paths(given, bounds=[[0, 1]], seed=0)


def test_paths_of_another_form_are_refused_by_their_name():
    given = {"awake": walks(0), "asleep": walks(1).isel(trial=0)}
    with pytest.raises(ShapeError, match=r"paths\['asleep'\]"):
        compare_paths(given, bounds=[[0, 1]], seed=0)
    given["asleep"] = walks(1).isel(time=slice(2))
    with pytest.raises(ShapeError, match=r"asleep.*at least three"):
        compare_paths(given, bounds=[[0, 1]], seed=0)
    given["asleep"] = walks(1) + 5.0
    with pytest.raises(InvalidInputError, match="outside the bounds"):
        compare_paths(given, bounds=[[0, 1]], seed=0)
