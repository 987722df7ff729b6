"""Scores and shuffles: what each measures, what each keeps, level and power."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.reactivation import replay
from neuromod.reactivation.replay import inference, scores, shuffles

N_DRAWS = 59
N_PLACES, N_STEPS = 20, 7


CENTRES = np.arange(N_PLACES, dtype=np.float32)[:, None]
LINES = scores.lines_between(scores.ends_of_lines(CENTRES, 1.0))


def posterior(places):
    """Return a posterior that is certain of a place in each bin; none where < 0."""
    table = np.zeros((N_STEPS, N_PLACES), np.float32)
    for time, place in enumerate(places):
        table[time, place] = place >= 0
    return jnp.asarray(table)


@jax.jit
def shares(table, width, length):
    lines, places = jnp.asarray(LINES), jnp.asarray(CENTRES)
    band = scores.bands(lines, places, length, N_STEPS, width)
    return scores.line_scores(table, band)


def best_line(table, width, length):
    found = np.asarray(shares(table, width, length))
    return found.max(), LINES[found.argmax()]


@jax.jit
def correlation(table):
    return scores.weighted_correlation(table, jnp.asarray(CENTRES[:, 0]))


def test_a_straight_sweep_lies_on_a_line_and_tells_its_ends():
    score, line = best_line(posterior([3, 5, 7, 9, 11, 13, 15]), 0.1, 7)
    assert score == pytest.approx(1.0)
    np.testing.assert_allclose(line[:, 0], [3, 15])


def test_bins_without_spikes_and_padding_do_not_count():
    sweep = posterior([3, 6, -1, 12, 15, -1, -1])
    score, line = best_line(sweep, 0.1, 5)
    assert score == pytest.approx(1.0)
    np.testing.assert_allclose(line[:, 0], [3, 15])


def test_the_line_score_is_the_best_of_all_lines():
    generator = np.random.default_rng(0)
    table = generator.dirichlet(np.ones(20) * 0.3, 7).astype(np.float32)
    best = 0.0
    for start in range(20):
        for stop in range(20):
            along = np.linspace(start, stop, 7)
            inside = abs(np.arange(20) - along[:, None]) <= 1.22
            best = max(best, (table * inside).sum() / 7)
    assert best_line(jnp.asarray(table), 1.22, 7)[0] == pytest.approx(best, rel=1e-5)


def test_ends_of_lines_are_as_far_apart_as_asked():
    plane = np.stack(np.meshgrid(range(8), range(8)), axis=-1).reshape(-1, 2) * 1.0
    ends = scores.ends_of_lines(plane, 3.0)
    between = np.linalg.norm(ends[:, None] - ends[None], axis=-1)
    assert between[between > 0].min() >= 3.0
    nearest = np.linalg.norm(plane[:, None] - ends[None], axis=-1).min(axis=1)
    assert nearest.max() < 3.0


def test_the_weighted_correlation_is_that_of_time_and_place():
    generator = np.random.default_rng(1)
    table = generator.dirichlet(np.ones(20) * 0.3, 7).astype(np.float32)
    time, place = np.meshgrid(range(7), range(20), indexing="ij")
    covariance = np.cov(time.ravel(), place.ravel(), aweights=table.ravel())
    expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert float(correlation(jnp.asarray(table))) == pytest.approx(expected, abs=1e-5)
    assert float(correlation(posterior([9, 7, -1, 3]))) == pytest.approx(-1, abs=1e-5)
    assert float(correlation(posterior([4, 4]))) == 0.0


def test_padding_does_not_change_the_share_of_continuous_dynamics():
    chain = inference.chain(CENTRES, np.zeros(N_PLACES), 2.0, 0.8)
    evidence = np.zeros((9, N_PLACES), np.float32)
    evidence[:5] = np.random.default_rng(2).normal(size=(5, N_PLACES))
    share = jax.jit(scores.continuous_share)
    alone = share(chain, jnp.asarray(evidence[:5]), 5)
    padded = share(chain, jnp.asarray(evidence), 5)
    assert float(padded) == pytest.approx(float(alone), rel=1e-5)


def shuffle(kind, counts, seed=0, event=0, direction=None, n_places=6):
    generator = np.random.default_rng(3)
    rates = jnp.asarray(generator.uniform(1, 50, (counts.shape[1], n_places)), "f4")
    direction = np.zeros(n_places) if direction is None else direction
    padded = shuffles.events_of([counts, np.ones((7, counts.shape[1]), int)])
    one = jax.tree.map(lambda x: x[0], padded)

    @jax.jit
    def run(key):
        rings = shuffles.rings_of(jnp.asarray(direction, "f4"))
        own = jax.random.fold_in(key, event)
        shuffled = shuffles.shuffled(kind, key, own, one, rates, 0.02, rings)
        return shuffled.log_likelihood, shuffles.evidence(one.counts, rates, 0.02)[0]

    return tuple(map(np.asarray, run(jax.random.key(seed))))


COUNTS = np.random.default_rng(4).poisson(0.7, (5, 8))


def sorted_rows(table):
    return table[np.lexsort(table.T)]


def test_shuffled_time_bins_are_the_same_bins_with_padding_at_the_end():
    found, plain = shuffle("time_bins", COUNTS)
    assert not np.allclose(found, plain)
    np.testing.assert_allclose(
        sorted_rows(found[:5]), sorted_rows(plain[:5]), rtol=1e-5
    )
    np.testing.assert_allclose(found[5:], plain[5:])
    other, _ = shuffle("time_bins", COUNTS, event=1)
    assert not np.allclose(found, other)


def test_a_circular_shift_turns_each_bin_within_its_direction_of_running():
    direction = np.array([-1, -1, -1, -1, 1, 1])
    found, plain = shuffle("circular_position", COUNTS, direction=direction)
    shifts = []
    for turned, row in zip(found[:5], plain[:5], strict=True):
        for ring in (slice(0, 4), slice(4, 6)):
            errors = [
                abs(np.roll(row[ring], s) - turned[ring]).max()
                for s in range(ring.stop - ring.start)
            ]
            assert min(errors) < 1e-5
            shifts.append(int(np.argmin(errors)))
    assert len(set(shifts)) > 1


def test_spikes_change_neurons_as_poisson_neurons_given_all_totals():
    counts = np.array([[1, 1], [2, 0]])
    event = jax.tree.map(lambda x: x[0], shuffles.events_of([counts, counts[[0]]]))
    keys = jax.random.split(jax.random.key(1), 4000)
    exchange = jax.jit(jax.vmap(lambda key: shuffles._exchanged(key, event)))
    drawn = np.asarray(exchange(keys))
    np.testing.assert_allclose(drawn.sum(axis=1), 0 * drawn[:, 0] + [3, 1])
    np.testing.assert_allclose(drawn.sum(axis=2), 2.0)
    # One of four spikes is the second neuron's, and in the first bin half of the time.
    assert (drawn[:, 0, 1] == 1).mean() == pytest.approx(0.5, abs=0.04)


def test_maps_are_dealt_out_once_for_all_events_of_a_session():
    one, plain = shuffle("cell_identity", COUNTS, event=0)
    other, _ = shuffle("cell_identity", COUNTS, event=1)
    again, _ = shuffle("cell_identity", COUNTS, seed=1)
    np.testing.assert_array_equal(one, other)
    assert not np.allclose(one, plain)
    assert not np.allclose(one, again)
    # What no spikes tell, that of padding, is the sum of all maps: the same.
    np.testing.assert_allclose(one[5:], plain[5:], rtol=1e-5)


@pytest.fixture(scope="module")
def mixed():
    """Return 220 events without replay and then 24 with it, scored; and the truth."""
    quiet, loud = (
        replay.simulate_recording(
            seed=5,
            n_events=n_events,
            replay=share,
            n_neurons=24,
            n_laps=12,
            track_length=100.0,
            replay_speed=500.0,
        )
        for n_events, share in ((220, 0.0), (24, 1.0))
    )
    spikes = quiet["recording"]["spikes"]
    tuning = replay.tuning_curves(
        spikes.isel(time=(spikes["block"] == "run").values),
        quiet["behaviour"]["position"],
        5.0,
        min_speed=5.0,
    )
    during = [
        replay.event_counts(
            twin["recording"]["spikes"], twin["truth"].to_dataset(), 0.02
        )
        for twin in (quiet, loud)
    ]
    during[1] = during[1].assign_coords(
        event=during[1]["event"] + 220, time=during[1]["time"] + 1000
    )
    counts = xr.concat(during, "time")
    settings = {"replay_speed": 500.0, "n_shuffles": N_DRAWS}
    # As strict as within a test, which else would compile everything again.
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        found = replay.score_events(counts, tuning, seed=0, **settings)
    return found, loud["truth"].to_dataset(), (counts, tuning, settings)


def test_without_replay_p_values_are_uniform(mixed):
    p_value = mixed[0]["p_value"].isel(event=slice(220))
    spread = np.random.default_rng(0).uniform(0, 1 / (N_DRAWS + 1), 220)
    for kind in shuffles.EXACT:
        for name in ("line", "weighted_correlation", "continuous"):
            found = p_value.sel(shuffle=kind, statistic=name).values
            # Lines that stand still score alike in every order: p = 1 more often.
            side = "greater" if (kind, name) == ("time_bins", "line") else "two-sided"
            if side == "two-sided":
                assert stats.kstest(found - spread, "uniform").pvalue > 0.001
            assert 0.005 < (found <= 0.05).mean() < 0.1
            assert (found <= 0.5).mean() < 0.6


def test_with_replay_most_events_are_told_from_each_shuffle(mixed):
    found = mixed[0]["p_value"].isel(event=slice(220, None)) <= 0.05
    power = found.mean("event")
    assert float(power.sel(statistic="line").min()) > 0.7
    assert float(power.sel(statistic="weighted_correlation").min()) > 0.7
    assert float(power.sel(statistic="continuous", shuffle="time_bins")) > 0.5


def test_lines_have_the_velocity_of_the_replay(mixed):
    found, truth, _ = mixed
    velocity = found["line_velocity"].isel(event=slice(220, None), space=0).values
    assert (np.sign(velocity) == np.sign(truth["velocity"].values)).mean() > 0.9
    error = abs(velocity - truth["velocity"].values)
    assert np.median(error) < 0.2 * 500.0
    r = found["correlation"].isel(event=slice(220, None)).values
    assert (np.sign(r) == np.sign(velocity)).mean() > 0.9


def test_numbers_of_the_session_are_those_of_its_events(mixed):
    found = mixed[0]
    np.testing.assert_allclose(
        found["session_score"], found["score"].mean("event"), rtol=1e-5
    )
    np.testing.assert_allclose(
        found["session_null"].mean("draw"), found["null_mean"].mean("event"), rtol=1e-5
    )
    reached = (found["session_null"] >= found["session_score"]).sum("draw")
    np.testing.assert_allclose(
        found["session_p_value"], (1 + reached) / (1 + N_DRAWS), atol=1e-9
    )
    share = (found["p_value"] <= 0.05).mean("event")
    np.testing.assert_allclose(found["share_significant"], share)
    assert float(found["p_value"].min()) == pytest.approx(1 / (N_DRAWS + 1))


def test_the_seed_alone_decides_on_the_shuffles(mixed):
    found, _, (counts, tuning, settings) = mixed
    again, other = (
        replay.score_events(counts, tuning, seed=seed, **settings) for seed in (0, 1)
    )
    xr.testing.assert_identical(again, found)
    np.testing.assert_array_equal(other["score"], found["score"])
    assert not np.allclose(other["null_mean"], found["null_mean"], atol=1e-4)


def sweep(places, n_neurons, time=0.0, event=0):
    """Return three spikes of one neuron in each bin of an event."""
    counts = np.zeros((len(places), n_neurons), int)
    counts[np.arange(len(places)), places] = 3
    coords = {"neuron": np.arange(n_neurons)}
    coords["time"] = time + (np.arange(len(places)) + 0.5) * 0.02
    coords["event"] = "time", np.full(len(places), event)
    attrs = {"bin_size": 0.02}
    return xr.DataArray(counts, coords, ("time", "neuron"), attrs=attrs)


def test_maps_of_both_directions_tell_forward_from_reverse_replay():
    offset = np.arange(10)[:, None] - np.arange(10)
    field = 0.5 + 80 * np.exp(-(offset**2) / 2)
    rates = np.block([[field, np.full((10, 10), 0.5)], [np.full((10, 10), 0.5), field]])
    tuning = xr.DataArray(
        rates,
        {
            "neuron": np.arange(20),
            "x": ("position", np.tile(np.arange(10.0), 2)),
            "direction": ("position", np.repeat([-1.0, 1.0], 10)),
        },
        ("neuron", "position"),
        attrs={"position_bin_size": 0.5},
    )
    forward, reverse = np.arange(10, 20), np.arange(19, 9, -1)
    backward = np.arange(9, -1, -1)  # forward in the other direction
    events = xr.concat(
        [
            sweep(places, 20, time=10.0 * i, event=i)
            for i, places in enumerate([forward, reverse, backward])
        ],
        "time",
    )
    found = replay.score_events(
        events,
        tuning,
        replay_speed=50.0,
        seed=0,
        shuffles=("cell_identity", "time_bins"),
        n_shuffles=39,
    )
    order = found["direction"] * found["line_velocity"].isel(space=0)
    assert np.sign(order.values).tolist() == [1, -1, 1]
    of_direction = found.sel(statistic="running_direction")
    assert (of_direction["score"] > 0.9).all()
    assert (of_direction["p_value"].sel(shuffle="cell_identity") <= 0.05).all()
    for name in ("p_value", "session_p_value", "share_significant"):
        assert np.isnan(of_direction[name].sel(shuffle="time_bins")).all()
        assert found[name].sel(statistic="line").notnull().all()


def test_a_straight_sweep_across_an_arena_is_found_with_its_velocity():
    x, y = (a.ravel() * 10.0 for a in np.meshgrid(range(6), range(6)))
    away = (x - x[:, None]) ** 2 + (y - y[:, None]) ** 2
    tuning = xr.DataArray(
        0.5 + 80 * np.exp(-away / 200),
        {"neuron": np.arange(36), "x": ("position", x), "y": ("position", y)},
        ("neuron", "position"),
        attrs={"position_bin_size": 10.0, "position_units": "cm"},
    )
    diagonal = sweep([0, 7, 14, 21, 28, 35], 36)
    found = replay.score_events(
        diagonal,
        tuning,
        replay_speed=700.0,
        seed=0,
        shuffles="time_bins",
        n_shuffles=39,
        band=8.0,
    )
    assert found["statistic"].values.tolist() == ["line", "continuous"]
    velocity = found["line_velocity"].isel(event=0)
    np.testing.assert_allclose(velocity, 500.0, rtol=0.25)
    assert velocity.attrs["units"] == "cm/s"
    assert (found["p_value"] <= 0.05).all()
    with pytest.raises(InvalidInputError, match="no ring"):
        replay.score_events(
            diagonal, tuning, replay_speed=1.0, seed=0, shuffles="circular_position"
        )


@pytest.mark.parametrize(
    ("keywords", "error", "says"),
    [
        ({"shuffles": "cell_identitty"}, InvalidInputError, "'cell_identity'"),
        ({"shuffles": ()}, InvalidInputError, "at least one"),
        ({"n_shuffles": 0}, InvalidInputError, "n_shuffles"),
        ({"seed": -1}, InvalidInputError, "seed"),
        ({"band": 0.0}, InvalidInputError, "band"),
        ({"replay_speed": np.nan}, InvalidInputError, "replay_speed"),
        ({"dwell_time": 0.0}, InvalidInputError, "dwell_time"),
    ],
)
def test_bad_settings_of_the_scores_are_refused(mixed, keywords, error, says):
    counts, tuning, _ = mixed[2]
    with pytest.raises(error, match=says):
        replay.score_events(
            counts, tuning, **{"replay_speed": 500.0, "seed": 0, **keywords}
        )


def test_counts_that_do_not_say_which_event_they_are_of_are_refused(mixed):
    counts, tuning, _ = mixed[2]
    with pytest.raises(ShapeError, match="event_counts"):
        replay.score_events(
            counts.drop_vars("event"), tuning, replay_speed=500.0, seed=0
        )
