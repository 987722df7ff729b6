"""Figures of replay: what is drawn is what was found."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from neuromod.core.errors import InvalidInputError
from neuromod.reactivation import replay
from neuromod.reactivation.replay.decoding import probability_of_places
from neuromod.reactivation.replay.episodes import compare_paths
from neuromod.reactivation.replay.plot import (
    peak_order,
    plot_dynamics,
    plot_event,
    plot_scores,
    plot_tuning,
)
from neuromod.reactivation.replay.plot_episodes import plot_model_and_animal

BIN = 0.02


@pytest.fixture(scope="module")
def twin():
    return replay.simulate_recording(
        seed=0, n_events=5, replay=1.0, n_neurons=15, n_laps=4
    )


@pytest.fixture(scope="module")
def tuning(twin):
    spikes = twin["recording"]["spikes"]
    place = twin["behaviour"]["position"]
    running = spikes.isel(time=spikes["block"].values == "run")
    how = {"min_speed": 5.0, "direction": True}
    return replay.tuning_curves(running, place, 10.0, **how)


@pytest.fixture(scope="module")
def counts(twin):
    events = twin["truth"].to_dataset()
    return replay.event_counts(twin["recording"]["spikes"], events, BIN)


@pytest.fixture(scope="module")
def posterior(counts, tuning):
    return replay.decode(counts, tuning)


@pytest.fixture(scope="module")
def joint(counts, tuning):
    return replay.decode_dynamics(counts, tuning, replay_speed=800.0)


@pytest.fixture(scope="module")
def scored():
    """Return scores in the form of `score_events`."""
    generator = np.random.default_rng(0)
    lines = generator.uniform(0, 200, (2, 5, 1))
    of_session = ("shuffle", "statistic")
    return xr.Dataset(
        {
            "session_score": ("statistic", [0.5, 0.4]),
            "session_null": (
                ("shuffle", "draw", "statistic"),
                generator.normal(0.3, 0.05, (2, 19, 2)),
            ),
            "session_p_value": (of_session, [[0.05, 0.25], [0.05, np.nan]]),
            "line_start": (("event", "space"), lines[0]),
            "line_stop": (("event", "space"), lines[1]),
        },
        {
            "event": np.arange(5),
            "space": ["x"],
            "statistic": ["line", "running_direction"],
            "shuffle": ["cell_identity", "time_bins"],
        },
    )


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_maps_are_sorted_by_their_peaks_and_side_by_side_for_each_direction(tuning):
    ax = plot_tuning(tuning)
    up, down = ax.collections
    order = peak_order(tuning)
    rates = tuning / tuning.max("position").clip(min=1.0)
    for mesh, way in ((up, 1.0), (down, -1.0)):
        part = rates.isel(position=tuning["direction"].values == way, neuron=order)
        np.testing.assert_allclose(mesh.get_array().reshape(part.shape), part.values)
    both = [mesh.get_array().reshape(len(order), -1) for mesh in (up, down)]
    nearer = np.argmax([values.max(axis=1) for values in both], axis=0)
    places = [
        tuning["x"].values[tuning["direction"].values == way] for way in (1.0, -1.0)
    ]
    peaks = [
        places[way][both[way][row].argmax()] for row, way in enumerate(nearer.tolist())
    ]
    assert (np.diff(peaks) >= 0).all()
    left, right = (mesh.get_datalim(ax.transData) for mesh in (up, down))
    assert left.x1 < right.x0
    labels = [float(tick.get_text()) for tick in ax.get_xticklabels()]
    for box, way in ((left, 1.0), (right, -1.0)):
        edge = tuning["x"].values[tuning["direction"].values == way][0] - 5.0
        inside = [
            (tick - box.x0 + edge, label)
            for tick, label in zip(ax.get_xticks(), labels, strict=True)
            if box.x0 <= tick <= box.x1
        ]
        assert len(inside) >= 2
        np.testing.assert_allclose(*zip(*inside, strict=True), atol=1e-9)
    assert ax.get_xlabel() == "Position (cm)"


def test_maps_of_both_directions_together_are_one_picture(twin):
    spikes = twin["recording"]["spikes"]
    place = twin["behaviour"]["position"]
    tuning = replay.tuning_curves(spikes, place, 5.0, min_speed=5.0)
    ax = plot_tuning(tuning)
    assert len(ax.collections) == 1
    assert len(ax.texts) == 0
    # With a field each, the order of peaks is that of the fields.
    centres = twin["truth"]["centre"].values[peak_order(tuning)]
    assert np.corrcoef(centres, np.arange(len(centres)))[0, 1] > 0.9


def test_maps_of_an_arena_are_no_rows(twin):
    place = twin["behaviour"]["position"]
    plane = xr.concat([place, place], "space").assign_coords(space=["x", "y"])
    tuning = replay.tuning_curves(
        twin["recording"]["spikes"], plane, 20.0, min_speed=5.0
    )
    with pytest.raises(InvalidInputError, match="unstack"):
        plot_tuning(tuning)


def test_an_event_is_drawn_with_its_line_above_its_spikes(
    twin, posterior, tuning, scored
):
    spikes = twin["recording"]["spikes"]
    above, below = plot_event(posterior, 2, spikes, tuning, scored=scored)
    part = posterior.isel(time=posterior["event"].values == 2)
    chance = probability_of_places(part)
    drawn = above.collections[0].get_array().reshape(-1, len(part))
    np.testing.assert_allclose(drawn, chance.values.T)
    np.testing.assert_allclose(drawn.sum(axis=0), 1.0, atol=1e-5)
    time, place = above.lines[0].get_data()
    start, stop = (
        float(scored[k].sel(event=2, space="x")) for k in ("line_start", "line_stop")
    )
    np.testing.assert_allclose(place, [start, stop])
    np.testing.assert_allclose(time, [10.0, 20.0 * len(part) - 10.0])
    fired = below.collections[0].get_offsets()
    begin = float(part["time"][0]) - BIN / 2
    inside = spikes.sel(time=slice(begin, begin + BIN * len(part)))
    assert len(fired) == int((inside > 0).sum())
    # A replay is a slope of spikes: neurons are in the order of their fields.
    velocity = float(twin["truth"]["velocity"][2])
    slope = np.corrcoef(fired[:, 0], fired[:, 1])[0, 1]
    assert slope * np.sign(velocity) > 0.8
    assert above.get_xlim() == below.get_xlim()


def test_an_event_takes_the_place_of_given_axes(twin, posterior, tuning):
    figure, axes = plt.subplots(1, 2)
    spikes = twin["recording"]["spikes"]
    above, below = plot_event(posterior, 0, spikes, tuning, ax=axes[1])
    assert above.figure is below.figure is figure
    assert len(above.lines) == 0
    assert axes[1] not in figure.axes
    assert above.get_position().y0 > below.get_position().y1
    assert above.get_position().x0 > axes[0].get_position().x1
    with pytest.raises(InvalidInputError, match="subplots"):
        plot_event(posterior, 0, spikes, tuning, ax=figure.add_axes((0, 0, 1, 1)))


def test_an_event_that_is_not_there_is_named(twin, posterior, tuning):
    how = (twin["recording"]["spikes"], tuning)
    with pytest.raises(InvalidInputError, match="one of 0 to 4"):
        plot_event(posterior, 5, *how)
    with pytest.raises(InvalidInputError, match="coordinate `event`"):
        plot_event(posterior.drop_vars("event"), 0, *how)


def test_dynamics_are_lines_that_sum_to_one(joint):
    dynamics = joint.sum("position")
    ax = plot_dynamics(joint, 1)
    part = dynamics.isel(time=dynamics["event"].values == 1)
    labels = [line.get_label() for line in ax.lines]
    assert labels == ["stationary", "continuous", "fragmented"]
    values = np.array([line.get_ydata() for line in ax.lines])
    np.testing.assert_allclose(values, part.transpose("state", "time"))
    np.testing.assert_allclose(values.sum(axis=0), 1.0, atol=1e-4)
    np.testing.assert_allclose(ax.lines[0].get_xdata()[:2], [10.0, 30.0], atol=1e-6)
    for one, other in zip(plot_dynamics(dynamics, 1).lines, ax.lines, strict=True):
        np.testing.assert_array_equal(one.get_ydata(), other.get_ydata())


def test_scores_stand_among_their_shuffles_with_p_values(scored):
    ax = plot_scores(scored, "line")
    observed = float(scored["session_score"].sel(statistic="line"))
    assert ax.lines[0].get_xdata()[0] == pytest.approx(observed)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        "cell identity",
        "time bins",
    ]
    for row, patch in enumerate(ax.patches):
        assert patch.get_data().baseline == 1 - row  # the first at the top
        height, edges, baseline = patch.get_data()
        null = scored["session_null"].sel(statistic="line").isel(shuffle=row).values
        expected, _ = np.histogram(null, edges)
        np.testing.assert_allclose(
            height - baseline, 0.75 * expected / expected.max(), atol=1e-9
        )
        assert expected.sum() == 19
    assert [text.get_text() for text in ax.texts] == ["p = 0.050", "p = 0.050"]


def test_a_shuffle_that_leaves_a_score_as_it_is_says_so(scored):
    ax = plot_scores(scored, "running_direction")
    told = [text.get_text() for text in ax.texts]
    assert told[0] == "p = 0.25"
    assert told[1] == "leaves it as it is"
    assert len(ax.patches) == 1
    with pytest.raises(InvalidInputError, match="running_direction"):
        plot_scores(scored, "correlation")


def walks(seed, step, time_step, n_axes=1):
    generator = np.random.default_rng(seed)
    moved = generator.normal(0, step, (40, 9, n_axes)).cumsum(axis=1)
    return xr.DataArray(
        0.5 + moved,
        {"time": time_step * np.arange(9)},
        ("trial", "time", "space"),
        attrs={"units": "m"},
    )


def compared(n_axes=1, **changes):
    paths = {
        "awake": walks(0, 0.02, 0.1, n_axes),
        "asleep": walks(1, 0.04, 0.02, n_axes),
        "control": walks(2, 0.05, 0.02, n_axes),
    }
    bounds = [[0.0, 1.0]] * n_axes
    return compare_paths(paths | changes, bounds=bounds, seed=0, n_bins=5, n_draws=20)


def test_model_and_animal_stand_in_one_figure():
    animal, model = compared(), compared(asleep=walks(3, 0.02, 0.1))
    axes = plot_model_and_animal(animal, model, labels=("rat", "network"))
    assert axes.shape == (2, 3)
    for ax, table, title in zip(
        axes[0, :2], (animal, model), ("Rat", "Network"), strict=True
    ):
        assert ax.get_title(loc="left") == title
        assert len(ax.patches) == 3
        for patch, name in zip(ax.patches, ("awake", "asleep", "control"), strict=True):
            shares = table["occupancy"].sel(condition=name)
            np.testing.assert_allclose(patch.get_data().values, shares)
            edges = patch.get_data().edges
            np.testing.assert_allclose(edges, np.arange(6) / 5, atol=1e-9)
    lines = axes[0, 2].lines
    assert len(lines) == 6
    asleep = model.sel(condition="asleep")
    np.testing.assert_allclose(lines[4].get_xdata(), asleep["delay"])
    np.testing.assert_allclose(lines[4].get_ydata(), asleep["displacement"])
    slope = float(asleep["displacement_slope"])
    assert lines[4].get_label() == f"network asleep, {slope:.1f}"
    assert lines[1].get_color() == lines[4].get_color() != lines[0].get_color()
    for ax, variable in (
        (axes[1, 0], "step_length"),
        (axes[1, 1], "kl_histogram"),
        (axes[1, 2], "coverage"),
    ):
        values = [c.lines[0].get_ydata()[0] for c in ax.containers]
        expected = np.concatenate([animal[variable], model[variable]])
        np.testing.assert_allclose(values, expected)
    told = [tick.get_text() for tick in axes[1, 0].get_xticklabels()]
    ratio = float(animal["speed_ratio"].sel(condition="asleep"))
    assert told[0] == f"Rat\n20 ms, × {ratio:.1f}"
    assert told[1].startswith("Network\n100 ms, ×")
    assert ratio == pytest.approx(10, rel=0.3)


def test_an_arena_is_a_map_of_sleep_with_contours_of_waking():
    table = compared(n_axes=2)
    axes = plot_model_and_animal(table, table)
    mesh = axes[0, 0].collections[0].get_array().reshape(5, 5)
    asleep = table["occupancy"].sel(condition="asleep").values.reshape(5, 5)
    np.testing.assert_allclose(mesh, asleep.T)
    assert axes[0, 0].get_aspect() == 1.0


def test_sleep_has_to_be_in_both():
    table = compared()
    with pytest.raises(InvalidInputError, match=r"model.*asleep"):
        plot_model_and_animal(table, table.sel(condition=["awake", "control"]))
