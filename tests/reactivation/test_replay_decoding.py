"""Decoders of place: against brute force, against each other, against the truth."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from neuromod import io
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.reactivation import replay

STEP = 0.02


def maps(rates, x=None):
    rates = np.asarray(rates, float)
    x = np.arange(rates.shape[1], dtype=float) if x is None else x
    coords = {"neuron": np.arange(len(rates)), "x": ("position", x)}
    attrs = {"position_units": "cm", "position_bin_size": 1.0}
    return xr.DataArray(rates, coords, ("neuron", "position"), attrs=attrs)


def spikes(counts, **along_time):
    counts = np.asarray(counts)
    time = (np.arange(len(counts)) + 0.5) * STEP
    coords = {"time": time, "neuron": np.arange(counts.shape[1])}
    coords |= {k: ("time", v) for k, v in along_time.items()}
    return xr.DataArray(counts, coords, ("time", "neuron"), attrs={"bin_size": STEP})


def tiling(n_places=12, peak=150.0):
    """Return maps of as many neurons as places, each firing mainly in its own."""
    offset = np.arange(n_places)[:, None] - np.arange(n_places)
    return maps(0.5 + peak * np.exp(-(offset**2) / 2))


def visits(places, n_places=12, n_spikes=3):
    counts = np.zeros((len(places), n_places), int)
    counts[np.arange(len(places)), places] = n_spikes
    return spikes(counts)


def test_the_memoryless_decoder_is_bayes_rule():
    generator = np.random.default_rng(0)
    rates = generator.uniform(1, 60, (4, 5))
    counts = generator.integers(0, 4, (6, 4))
    likelihood = stats.poisson.pmf(counts[:, :, None], rates * STEP).prod(axis=1)
    expected = likelihood / likelihood.sum(axis=1, keepdims=True)
    found = replay.decode(spikes(counts), maps(rates))
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    assert found.dims == ("time", "position")


def test_without_evidence_the_occupancy_is_what_is_believed():
    tuning = maps(np.full((2, 3), 10.0)).assign_coords(
        occupancy=("position", [1.0, 2.0, 5.0])
    )
    silent = spikes(np.zeros((1, 2), int))
    prior = replay.decode(silent, tuning, prior="occupancy")
    np.testing.assert_allclose(prior[0], [0.125, 0.25, 0.625], rtol=1e-5)
    np.testing.assert_allclose(replay.decode(silent, tuning)[0], 1 / 3, rtol=1e-5)


def test_the_decoder_with_memory_is_a_sum_over_all_paths():
    generator = np.random.default_rng(1)
    rates = generator.uniform(1, 60, (3, 3))
    counts = generator.integers(0, 3, (4, 3))
    speed, dwell, kinds = 40.0, 0.1, ("stationary", "continuous", "fragmented")
    found = replay.decode_dynamics(
        spikes(counts), maps(rates), replay_speed=speed, dwell_time=dwell
    )
    likelihood = stats.poisson.pmf(counts[:, :, None], rates * STEP).prod(axis=1)
    walk = np.exp(-(np.subtract.outer(range(3), range(3)) ** 2) / (2 * 0.8**2))
    walk /= walk.sum(axis=1, keepdims=True)
    stay = np.exp(-STEP / dwell)

    def jump(before, after):
        (kind, place), (next_kind, next_place) = before, after
        change = stay if kind == next_kind else (1 - stay) / 2
        if "fragmented" in (kind, next_kind):
            return change / 3
        if next_kind == "continuous":
            return change * walk[place, next_place]
        return change * (place == next_place)

    states = list(itertools.product(kinds, range(3)))
    matrix = np.array([[jump(a, b) for b in states] for a in states])
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    weights = likelihood[:, [place for _, place in states]]
    expected = np.zeros((4, 9))
    for path in itertools.product(range(9), repeat=4):
        probability = np.prod([matrix[a, b] for a, b in itertools.pairwise(path)])
        probability *= np.prod([weights[t, s] for t, s in enumerate(path)])
        expected[range(4), path] += probability
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.values.reshape(4, 9), expected, atol=1e-5)
    assert found.dims == ("time", "state", "position")
    assert found["state"].values.tolist() == list(kinds)


def test_with_fragmented_dynamics_alone_there_is_no_memory():
    generator = np.random.default_rng(2)
    counts = spikes(generator.integers(0, 4, (10, 12)))
    alone = replay.decode_dynamics(
        counts, tiling(), replay_speed=100.0, dynamics="fragmented"
    )
    memoryless = replay.decode(counts, tiling())
    np.testing.assert_allclose(alone.sel(state="fragmented"), memoryless, atol=1e-5)


@pytest.mark.parametrize(
    ("places", "kind"),
    [
        ([5] * 10, "stationary"),
        (range(1, 11), "continuous"),
        ([0, 7, 2, 11, 4, 9, 1, 10, 3, 8], "fragmented"),
    ],
)
def test_dynamics_are_told_from_how_the_place_moves(places, kind):
    found = replay.decode_dynamics(visits(list(places)), tiling(), replay_speed=60.0)
    share = found.sum("position").mean("time")
    assert float(share.sel(state=kind)) > 0.7


def test_a_slow_walk_does_not_explain_a_fast_sweep():
    sweep = visits([0, 3, 6, 9, 6, 3, 0, 3, 6, 9])
    slow, fast = (
        replay.decode_dynamics(sweep, tiling(), replay_speed=v).sum("position")
        for v in (25.0, 150.0)
    )
    share = [float(f.sel(state="continuous").mean()) for f in (slow, fast)]
    assert share[0] < 0.1 < 0.4 < share[1]


def test_dynamics_that_last_are_not_left_for_one_odd_bin():
    odd = visits([5, 5, 5, 5, 0, 5, 5, 5, 5])
    short, long = (
        replay.decode_dynamics(
            odd,
            tiling(),
            replay_speed=25.0,
            dwell_time=dwell_time,
            dynamics=("stationary", "fragmented"),
        ).sum("position")
        for dwell_time in (0.03, 30.0)
    )
    jumping = [found.sel(state="fragmented").values for found in (short, long)]
    assert min(jumping[0][4], jumping[1][4]) > 0.95
    # Either a jump there and back, or one kind of dynamics for everything.
    assert jumping[0][1] < 0.5 < jumping[1][1]


def test_a_causal_decoder_does_not_know_what_comes():
    counts = visits([2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    settings = {"replay_speed": 60.0}
    smooth = replay.decode_dynamics(counts, tiling(), **settings)
    causal = replay.decode_dynamics(counts, tiling(), **settings, causal=True)
    np.testing.assert_allclose(causal[-1], smooth[-1], atol=1e-5)
    assert float(abs(causal[1] - smooth[1]).max()) > 0.05
    other = visits([2, 3, 4, 11, 0, 8, 1, 7, 2, 9])
    again = replay.decode_dynamics(other, tiling(), **settings, causal=True)
    np.testing.assert_allclose(again[:3], causal[:3], atol=1e-6)


@pytest.mark.parametrize("boundary", ["gap", "event", "session"])
def test_every_event_starts_anew(boundary):
    both = visits([2, 3, 4, 5, 6, 9, 8, 7, 6, 5])
    if boundary == "gap":
        time = both["time"].values + np.repeat([0.0, 5.0], 5)
        both = both.assign_coords(time=time)
    else:
        both = both.assign_coords({boundary: ("time", np.repeat([0, 1], 5))})
    found = replay.decode_dynamics(both, tiling(), replay_speed=60.0)
    alone = replay.decode_dynamics(visits([9, 8, 7, 6, 5]), tiling(), replay_speed=60.0)
    np.testing.assert_allclose(found[5:], alone, atol=1e-6)


def test_the_order_of_neurons_does_not_matter():
    counts = visits([1, 4, 8])
    mixed = counts.isel(neuron=np.random.default_rng(0).permutation(12))
    np.testing.assert_allclose(
        replay.decode(counts, tiling()), replay.decode(mixed, tiling()), atol=1e-6
    )


def test_running_that_the_maps_have_not_seen_is_decoded():
    twin = replay.simulate_recording(seed=4, n_events=1, n_laps=12, n_neurons=30)
    position = twin["behaviour"]["position"]
    counts = twin["recording"]["spikes"]
    counts = counts.isel(time=(counts["block"] == "run").values)
    tuning = replay.tuning_curves(
        counts.sel(time=slice(0, 60)), position, 5.0, min_speed=5.0
    )
    later = io.read_spikes(counts.sel(time=slice(60, None)), bin_size=0.2)
    posterior = replay.decode(later, tuning)
    error = replay.decoding_error(posterior, position)
    assert float(error.median()) < 5.0
    assert error.attrs["units"] == "cm"
    place = replay.most_likely_position(posterior)
    assert place.dims == ("time", "space")
    assert set(np.unique(place)) <= set(tuning["x"].values)


def test_maps_in_centimetres_are_not_compared_with_pixels():
    twin = replay.simulate_recording(seed=4, n_events=1, n_laps=2, n_neurons=5)
    pixels = (twin["behaviour"]["position"] * 2.0).assign_attrs(units="px")
    counts = twin["recording"]["spikes"]
    tuning = replay.tuning_curves(counts, pixels, 5.0, min_speed=5.0, scale=0.5)
    posterior = replay.decode(counts[:100], tuning)
    with pytest.raises(InvalidInputError, match="scale="):
        replay.decoding_error(posterior, pixels)
    assert replay.decoding_error(posterior, pixels, scale=0.5).notnull().any()


@pytest.mark.parametrize(
    ("tuning", "error", "says"),
    [
        (tiling().isel(neuron=slice(3)), ShapeError, "the same neurons"),
        (tiling() * 0, InvalidInputError, "rates > 0"),
        (tiling() * np.nan, InvalidInputError, "finite"),
        (tiling().drop_vars("x"), InvalidInputError, "coordinate `x`"),
        (tiling().rename(position="space"), ShapeError, "tuning"),
    ],
)
def test_bad_maps_are_refused(tuning, error, says):
    with pytest.raises(error, match=says):
        replay.decode(visits([1, 2]), tuning)


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"replay_speed": 0.0}, "replay_speed"),
        ({"dwell_time": -1.0}, "dwell_time"),
        ({"dynamics": "continous"}, "Did you mean 'continuous'"),
        ({"dynamics": ()}, "at least one"),
        ({"dynamics": ("stationary", "stationary")}, "each once"),
    ],
)
def test_bad_settings_of_the_decoder_are_refused(keywords, says):
    with pytest.raises(InvalidInputError, match=says):
        replay.decode_dynamics(
            visits([1, 2]), tiling(), **{"replay_speed": 50.0, **keywords}
        )
    with pytest.raises(InvalidInputError, match="'uniform'"):
        replay.decode(visits([1, 2]), tiling(), prior="occupancy")
