"""Place maps: spikes over time, where the animal ran, in the unit that is known."""

import numpy as np
import pytest
import xarray as xr

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.reactivation import replay

STEP = 0.02


def recording(place, counts, step=STEP):
    """Return spikes and positions (time, space) sampled at the same times."""
    place = np.asarray(place, float).reshape(len(place), -1)
    time = np.arange(len(place)) * step
    axes = list("xyz")[: place.shape[1]]
    position = xr.DataArray(
        place, {"time": time, "space": axes}, ("time", "space"), attrs={"units": "px"}
    )
    spikes = xr.DataArray(
        np.asarray(counts).reshape(len(place), -1), {"time": time}, ("time", "neuron")
    )
    return spikes.assign_attrs(bin_size=step), position


def laps(n_steps=6000):
    """Run forth and back between 0 and 100 at 25 per second."""
    return (
        50 + 50 * np.arcsin(np.sin(np.arange(n_steps) * STEP * np.pi / 4)) * 2 / np.pi
    )


def spikes_at(place, seed=0):
    generator = np.random.default_rng(seed)
    rate = 40 * np.exp(-((place - 30) ** 2) / 200)
    return generator.poisson(rate * STEP)


def test_a_map_is_spikes_over_time():
    place = laps()
    spikes, position = recording(place, spikes_at(place))
    tuning = replay.tuning_curves(
        spikes, position, 10.0, min_speed=5.0, smoothing=0.0, min_rate=1e-6
    )
    fast = replay.speed(position).values >= 5.0
    for centre, rate, time in zip(
        tuning["x"].values, tuning.values[0], tuning["occupancy"].values, strict=True
    ):
        inside = fast & (np.floor(place / 10) == np.floor(centre / 10))
        assert time == pytest.approx(inside.sum() * STEP)
        expected = spikes.values[inside].sum() / (inside.sum() * STEP)
        assert rate == pytest.approx(max(expected, 1e-6))
    assert tuning.attrs["units"] == "Hz"


def test_smoothing_leaves_a_constant_rate_constant_up_to_the_ends():
    place = laps()
    spikes, position = recording(place, np.ones(len(place), int))
    tuning = replay.tuning_curves(spikes, position, 5.0, min_speed=5.0, smoothing=15.0)
    np.testing.assert_allclose(tuning.values, 1 / STEP)


def test_smoothing_spreads_a_field():
    place = laps()
    spikes, position = recording(place, spikes_at(place))
    sharp, wide = (
        replay.tuning_curves(spikes, position, 5.0, min_speed=5.0, smoothing=s)
        for s in (0.0, 15.0)
    )
    assert float(wide.max()) < 0.8 * float(sharp.max())
    bits = [float(replay.spatial_information(t)[0]) for t in (sharp, wide)]
    assert bits[1] < bits[0]


def test_maps_of_the_twin_are_its_fields():
    twin = replay.simulate_recording(seed=3, n_events=1, n_laps=30, n_neurons=12)
    spikes = twin["recording"]["spikes"]
    position = twin["behaviour"]["position"]
    tuning = replay.tuning_curves(
        spikes.isel(time=(spikes["block"] == "run").values),
        position,
        4.0,
        min_speed=5.0,
    )
    centre, peak = twin["truth"]["centre"].values, twin["truth"]["peak_rate"].values
    # A Gaussian of 10 cm seen through one of 4 cm is wider, and lower.
    width = np.hypot(10.0, 4.0)
    offset = tuning["x"].values - centre[:, None]
    inside = np.abs(tuning["x"].values - 100) < 80
    expected = 0.1 + peak[:, None] * 10 / width * np.exp(-(offset**2) / 2 / width**2)
    error = (tuning.values - expected)[:, inside]
    assert np.sqrt(np.mean(error**2)) < 0.06 * expected.max()
    assert abs(error.mean()) < 0.1


def test_what_happens_while_the_animal_is_slow_does_not_count():
    place = np.concatenate([laps(2000), np.full(2000, laps(2000)[-1])])
    counts = np.r_[np.zeros(2000, int), np.ones(2000, int)]
    spikes, position = recording(place, counts)
    moving, all_of_it = (
        replay.tuning_curves(spikes, position, 10.0, min_speed=s, smoothing=0.0)
        for s in (10.0, 0.0)
    )
    assert float(moving.max()) < 2.0
    assert float(all_of_it.max()) > 30.0


def test_without_a_scale_pixels_stay_pixels_and_with_one_they_become_centimetres():
    place = laps()
    spikes, position = recording(place, spikes_at(place))
    pixels = replay.tuning_curves(spikes, position, 10.0, min_speed=5.0)
    scaled = replay.tuning_curves(spikes, position, 5.0, min_speed=2.5, scale=0.5)
    assert pixels.attrs["position_units"] == pixels["x"].attrs["units"] == "px"
    assert scaled.attrs["position_units"] == scaled["x"].attrs["units"] == "cm"
    np.testing.assert_allclose(scaled["x"], pixels["x"] * 0.5)
    np.testing.assert_allclose(scaled.values, pixels.values)
    assert scaled.attrs["run_speed"] == pytest.approx(pixels.attrs["run_speed"] / 2)


def test_directions_of_running_have_maps_of_their_own():
    place = laps()
    forth = np.gradient(place) > 0
    spikes, position = recording(place, forth.astype(int))
    tuning = replay.tuning_curves(
        spikes, position.isel(space=0), 10.0, min_speed=10.0, direction=True
    )
    rates = tuning.sel(neuron=0).groupby("direction").mean()
    assert float(rates.sel(direction=1)) > 45
    assert float(rates.sel(direction=-1)) < 5
    one = replay.tuning_curves(spikes, position, 10.0, min_speed=10.0)
    assert tuning.sizes["position"] == 2 * one.sizes["position"]


def test_a_map_of_the_plane_has_the_bins_that_were_visited():
    angle = np.arange(8000) * STEP
    ring = np.stack([50 + 40 * np.cos(angle), 50 + 40 * np.sin(angle)], axis=1)
    spikes, position = recording(ring, (ring[:, 0] > 80).astype(int))
    tuning = replay.tuning_curves(spikes, position, 10.0, min_speed=5.0)
    radius = np.hypot(tuning["x"] - 50, tuning["y"] - 50)
    assert float(radius.min()) > 25
    assert tuning.sizes["position"] < 50
    image = tuning.set_index(position=["x", "y"]).unstack()
    assert int(image.notnull().sum()) == tuning.sizes["position"]
    assert float(image.sel(neuron=0).max("y").idxmax("x")) > 80


def test_bins_that_were_hardly_visited_are_left_out():
    place = np.r_[laps(), np.linspace(laps()[-1], 200, 60)]
    spikes, position = recording(place, np.zeros(len(place), int))
    few, all_of_them = (
        replay.tuning_curves(spikes, position, 10.0, min_speed=5.0, min_occupancy=t)
        for t in (1.0, 0.01)
    )
    assert float(few["x"].max()) < 110 < float(all_of_them["x"].max())


def test_a_spike_of_a_neuron_that_fires_in_one_of_four_places_tells_two_bits():
    tuning = xr.DataArray(
        [[8.0, 1e-12, 1e-12, 1e-12], [3.0, 3.0, 3.0, 3.0]],
        {"occupancy": ("position", np.full(4, 2.0))},
        ("neuron", "position"),
    )
    bits = replay.spatial_information(tuning).values
    np.testing.assert_allclose(bits, [2.0, 0.0], atol=1e-9)


def test_positions_are_projected_onto_the_nearest_branch_of_a_track():
    points = [[2, 1], [9, 8], [5, -3], [20, 40], [np.nan, 0]]
    _, position = recording(points, np.zeros(5, int))
    branches = [[[0, 0], [10, 0], [10, 10]], [[0, -4], [10, -4]]]
    along = replay.linearise(position, branches, gap=5.0, max_distance=3.0)
    np.testing.assert_allclose(along, [2, 18, 30, np.nan, np.nan])
    assert along.attrs["units"] == "px"
    whole = replay.linearise(position, branches[0])
    np.testing.assert_allclose(whole, [2, 18, 5, 20, np.nan])


def test_speed_is_that_of_the_run_and_unknown_where_nobody_saw():
    time = np.arange(600) / 30
    walk = np.stack([3 * time, 4 * time], axis=1)
    walk[300:400] = np.nan
    _, position = recording(walk, np.zeros(600, int), step=1 / 30)
    found = replay.speed(position)
    np.testing.assert_allclose(found[50:250], 5.0, rtol=1e-6)
    assert np.isnan(found[330:370]).all()
    assert found.attrs["units"] == "px/s"


def test_flicker_of_the_camera_is_not_fast():
    generator = np.random.default_rng(0)
    place = 50 + generator.integers(0, 2, 3000)
    _, position = recording(place, np.zeros(3000, int), step=1 / 30)
    rough, smooth = (
        float(replay.speed(position, smoothing=s).mean()) for s in (0.01, 0.5)
    )
    assert smooth < 0.1 * rough


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda s, p: ((s.rename(neuron="unit"), p), {}), ShapeError, "spikes"),
        (lambda s, p: ((s.where(s.time > 1), p), {}), InvalidInputError, "finite"),
        (lambda s, p: ((s - 1.0, p), {}), InvalidInputError, "negative count"),
        (lambda s, p: ((s, p.values), {}), ShapeError, "position"),
        (lambda s, p: ((s, p / 0), {}), InvalidInputError, "infinite"),
        (
            lambda s, p: ((s, p.assign_coords(time=p.time + 1e4)), {}),
            InvalidInputError,
            "Two clocks",
        ),
        (lambda s, p: ((s, p), {"min_speed": 1e4}), InvalidInputError, "never faster"),
        (lambda s, p: ((s, p), {"scale": -1.0}), InvalidInputError, "scale"),
        (lambda s, p: ((s, p), {"min_rate": 0.0}), InvalidInputError, "min_rate"),
        (lambda s, p: ((s, p), {"smoothing": -1.0}), InvalidInputError, "smoothing"),
        (lambda s, p: ((s, p), {"min_occupancy": 1e4}), InvalidInputError, "no bin"),
        (
            lambda s, p: ((s, xr.concat([p, p], "space")), {"direction": True}),
            InvalidInputError,
            "linearise",
        ),
        (
            lambda s, p: ((s, p.assign_attrs(units="cm")), {"scale": 0.5}),
            InvalidInputError,
            "positions in cm",
        ),
    ],
)
def test_bad_input_to_maps_is_refused(change, error, says):
    place = laps(1000)
    spikes, position = recording(place, spikes_at(place))
    arguments, keywords = change(spikes, position.drop_vars("space"))
    with pytest.raises(error, match=says):
        replay.tuning_curves(*arguments, 10.0, **{"min_speed": 5.0, **keywords})


def test_bad_tracks_are_refused():
    _, position = recording(np.zeros((4, 2)), np.zeros(4, int))
    with pytest.raises(ShapeError, match="at least two corners"):
        replay.linearise(position, [[0, 0]])
    with pytest.raises(InvalidInputError, match="same corner twice"):
        replay.linearise(position, [[0, 0], [0, 0], [1, 1]])
