import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from neuromod.core.errors import InvalidInputError, NotFittedError, ShapeError
from neuromod.reactivation import (
    HeadDirection,
    LinearTrack,
    SpatialNavigation,
    untrained,
)
from neuromod.reactivation.measures import (
    FixedPoints,
    component_table,
    histogram,
    principal_components,
    project,
)
from neuromod.reactivation.plot import AWAKE, TRUE, plot_occupancy, plot_trajectories
from neuromod.reactivation.plot_controls import (
    COLOURS,
    MEASURES,
    SEEDS_BELOW,
    plot_controls,
    plot_displacement,
)
from neuromod.reactivation.plot_states import plot_components, plot_fixed_points

N_UNITS = 8
CONDITIONS = ["awake", "asleep", "untrained", "noiseless", "uniform"]
LAGS = np.array([0.02, 0.04, 0.08, 0.16])


@pytest.fixture(scope="module")
def plane():
    return untrained(SpatialNavigation(n_cells=64), 0, n_units=N_UNITS)


@pytest.fixture(scope="module")
def circle():
    return untrained(HeadDirection(n_cells=64), 0, n_units=N_UNITS)


@pytest.fixture(scope="module")
def track():
    return untrained(LinearTrack(n_cells=64), 0, n_units=N_UNITS)


def a_run(navigator, seed=0, awake=False, n_trials=5, n_steps=30, spread=0.4):
    """Return positions and states as `wake` and `sleep` tell them."""
    rng = np.random.default_rng(seed)
    n_space = len(navigator.task.bounds)
    shape = n_trials, n_steps
    steps = rng.normal(0, spread / n_steps**0.5, (*shape, n_space))
    path = steps.cumsum(axis=1)
    dims = ("trial", "time", "space")
    found = {"position": (dims, np.clip(path, -1, 1), {"units": "m"})}
    if awake:
        found["true_position"] = (dims, 0.9 * found["position"][1], {"units": "m"})
    states = rng.normal(size=(*shape, N_UNITS)) * np.arange(N_UNITS, 0, -1)
    found["state"] = (("trial", "time", "unit"), states)
    time = 0.02 * np.arange(1, n_steps + 1) + (0 if awake else 1)
    return xr.Dataset(found, {"time": ("time", time, {"units": "s"})})


def measured(n_seeds=3):
    """Return a table as `measure` returns it; the untrained network is far away."""
    rng = np.random.default_rng(0)
    means = {
        "cosine": [0.98, 0.95, 0.2, 0.99, np.nan],
        "kl_histogram": [0.03, 0.3, 1.5, 4.0, 3.0],
        "captured": [0.9, 0.85, 0.1, 0.5, np.nan],
        "step_length": [0.02, 0.02, 0.5, 0.0, np.nan],
        "within_trajectory_variance": [0.05, 0.02, 0.3, 1e-3, np.nan],
        "displacement_slope": [0.9, 0.6, 0.1, np.nan, np.nan],
    }
    factor = 1 + 0.02 * rng.uniform(-1, 1, (len(CONDITIONS), n_seeds))
    attrs = {"units": "1", "long_name": "a number"}
    dims = ("condition", "seed")
    found = xr.Dataset(
        {n: (dims, np.array(v)[:, None] * factor, attrs) for n, v in means.items()},
        {"condition": CONDITIONS, "seed": np.arange(n_seeds), "lag": LAGS},
    )
    found["kl_histogram"].attrs = {"units": "nats", "long_name": "divergence"}
    law = np.array([1.0, 0.5, 3.0, 0.0, np.nan])[:, None, None] * LAGS**0.7
    found["displacement"] = ((*dims, "lag"), law * factor[..., None], {"units": "m^2"})
    return with_intervals(found)


def with_intervals(found):
    """Add what is twice the standard error, and infinite of one seed."""
    for name in list(found.data_vars):
        sd = found[name].std("seed", ddof=1) if found.sizes["seed"] > 1 else np.inf
        reach = xr.DataArray([-2.0, 2.0], dims="quantile") * sd
        found[f"{name}_interval"] = found[name].mean("seed", skipna=False) + reach
    return found


def colour_of(line):
    return to_rgba(line.get_color())


def lines_of(ax, colour):
    return [line for line in ax.lines if colour_of(line) == to_rgba(colour)]


def assert_squares(collection, shares):
    """The colours of a mesh tell these shares, one row after another."""
    np.testing.assert_allclose(np.ravel(collection.get_array()), np.ravel(shares.T))


def test_every_plot_takes_and_returns_axes(plane):
    awake, asleep = a_run(plane, awake=True), a_run(plane, 1)
    several = {
        plot_trajectories: ((plane, awake, asleep), {}, 2),
        plot_occupancy: ((plane,), {"awake": awake, "asleep": asleep}, 2),
        plot_components: ((plane, awake, asleep), {}, 3),
        plot_controls: ((measured(),), {}, len(MEASURES)),
    }
    for plot, (given, named, n_panels) in several.items():
        own = plot(*given, **named)
        assert len(own) == n_panels
        assert all(ax.get_xlabel() and ax.get_title(loc="left") for ax in own), plot
        assert own[0].get_ylabel() or plot is plot_controls
        theirs = plt.figure().subplots(1, n_panels)
        drawn = plot(*given, axes=theirs, **named)
        assert all(a is b for a, b in zip(drawn, theirs, strict=True))
        with pytest.raises(ShapeError, match="axes: got 1"):
            plot(*given, axes=theirs[0], **named)
    for plot, given in {
        plot_displacement: (measured(),),
        plot_fixed_points: (plane, awake, some_points()),
    }.items():
        assert plot(*given).get_title(loc="left")
        ax = plt.figure().add_subplot()
        assert plot(*given, ax=ax) is ax


def test_no_text_of_a_figure_lies_on_another(plane, circle, track):
    def visible(figure):
        for ax in figure.axes:
            titles = [ax.title, ax._left_title, ax._right_title]
            yield from [*titles, ax.xaxis.label, ax.yaxis.label, *ax.texts]

    def of_figures():
        for navigator in (plane, circle, track):
            runs = a_run(navigator, awake=True), a_run(navigator, 1)
            yield plot_trajectories(navigator, *runs)[0].figure
            yield plot_occupancy(navigator, awake=runs[0], asleep=runs[1])[0].figure
            yield plot_components(navigator, *runs)[0].figure
        found = measured()
        found["kl_histogram"].attrs["long_name"] = "divergence from awake (histogram)"
        found["captured"].attrs["long_name"] = "variance within 10 components of waking"
        yield plot_controls(found)[0].figure

    for figure in of_figures():
        figure.draw_without_rendering()
        boxes = [t.get_window_extent() for t in visible(figure) if t.get_text()]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
            assert (box.min >= 0).all()
            assert (box.max <= figure.bbox.max + 1).all()


def test_paths_awake_are_grey_with_the_true_ones_dashed(plane):
    awake = a_run(plane, awake=True)
    (ax,) = plot_trajectories(plane, awake, n_trials=3)
    told, true = lines_of(ax, AWAKE), lines_of(ax, TRUE)
    assert len(told) == len(true) == 3
    for trial in range(3):
        np.testing.assert_array_equal(
            told[trial].get_xydata(), awake["position"][trial]
        )
        np.testing.assert_array_equal(
            true[trial].get_xydata(), awake["true_position"][trial]
        )
        assert true[trial].is_dashed()
        assert not told[trial].is_dashed()


def test_paths_asleep_are_coloured_by_time_on_one_scale(plane):
    early, late = a_run(plane, 1), a_run(plane, 2)
    late["time"] = late["time"] + 5
    axes = plot_trajectories(plane, early, late, n_trials=2, titles=["one", "two"])
    assert [ax.get_title(loc="left") for ax in axes] == ["one", "two"]
    for ax, run in zip(axes, (early, late), strict=True):
        (lines,) = [c for c in ax.collections if isinstance(c, LineCollection)]
        time = run["time"].values
        np.testing.assert_array_equal(lines.get_array(), np.tile(time[1:], 2))
        assert lines.get_clim() == (early["time"][0], late["time"][-1])
        np.testing.assert_array_equal(
            lines.get_segments()[0], run["position"].values[0, :2]
        )
        starts = ax.collections[-1].get_offsets()
        np.testing.assert_array_equal(starts, run["position"].values[:2, 0])


def test_an_arena_has_its_walls_and_its_cells(plane):
    (ax,) = plot_trajectories(plane, a_run(plane))
    (wall,) = ax.patches
    (low, high), _ = plane.task.bounds
    assert (wall.get_x(), wall.get_width()) == (low, high - low)
    np.testing.assert_array_equal(
        ax.collections[0].get_offsets(), plane.task.code.centres
    )
    assert ax.get_aspect() == 1


def test_angles_are_cut_where_they_go_round(circle, track):
    run = a_run(circle, n_trials=1, n_steps=4)
    angle = np.array([3.0, 3.1, -3.1, -3.0])
    run["position"].values[0, :, 0] = angle
    (ax,) = plot_trajectories(circle, run)
    (line,) = ax.lines
    time = run["time"].values
    np.testing.assert_array_equal(line.get_ydata(), [3.0, 3.1, np.nan, -3.1, -3.0])
    np.testing.assert_array_equal(line.get_xdata()[[0, 1, 3, 4]], time)
    assert ax.get_ylabel() == "Heading (rad)"
    far = a_run(track, n_trials=1, n_steps=2)
    far["position"].values[0, :, 0] = [-1.0, 1.0]
    far["position"] = 4 * far["position"]
    (ax,) = plot_trajectories(track, far)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [-4.0, 4.0])
    assert ax.get_ylabel() == "Position (m)"


def test_maps_of_occupancy_share_bins_and_colours(plane):
    runs = {"awake": a_run(plane, awake=True), "fast_asleep": a_run(plane, 1)}
    axes = plot_occupancy(plane, n_bins=7, **runs)
    shares = [
        histogram(run["position"].values, plane.task.bounds, n_bins=7)
        for run in runs.values()
    ]
    for ax, share in zip(axes, shares, strict=True):
        (mesh,) = ax.collections
        assert_squares(mesh, share)
        assert mesh.get_clim() == (0, max(share.max() for share in shares))
    assert axes[1].get_title(loc="left") == "Fast asleep"
    # A place in the upper left is drawn there.
    corner = a_run(plane, n_trials=1, n_steps=2)
    corner["position"].values[:] = (-1.0, 1.0)
    (ax,) = plot_occupancy(plane, n_bins=7, there=corner)
    drawn = np.reshape(ax.collections[0].get_array(), (7, 7))
    assert drawn[-1, 0] == 1


def test_occupancy_of_one_coordinate_is_a_line_with_chance(circle):
    runs = {"awake": a_run(circle, awake=True), "asleep": a_run(circle, 1)}
    (ax,) = plot_occupancy(circle, n_bins=9, **runs)
    for steps, run in zip(ax.patches, runs.values(), strict=True):
        share = histogram(run["position"].values, circle.task.bounds, n_bins=9)
        np.testing.assert_array_equal(steps.get_data().values, share)
    (chance,) = ax.lines
    np.testing.assert_allclose(chance.get_ydata(), 1 / 9)


def test_states_lie_in_the_plane_of_waking(plane):
    awake, asleep = a_run(plane, awake=True), a_run(plane, 1)
    axes = plot_components(plane, awake, asleep, n_components=4)
    components = principal_components(awake["state"].values)
    for ax, run in zip(axes, (awake, asleep), strict=False):
        (cloud,) = ax.collections
        expected = project(run["state"].values, components, 2).reshape(-1, 2)
        np.testing.assert_array_equal(cloud.get_offsets(), expected)
        away = np.linalg.norm(run["position"].values, axis=-1)
        np.testing.assert_allclose(cloud.get_array(), away.ravel(), atol=1e-7)
        assert (ax.get_xlim(), ax.get_ylim()) == (
            axes[0].get_xlim(),
            axes[0].get_ylim(),
        )
    table = component_table(asleep["state"], awake["state"], n_components=4)
    drawn = {line.get_label(): line.get_ydata() for line in axes[2].lines}
    own = table["explained_variance_awake"].values.cumsum()
    np.testing.assert_array_equal(drawn["awake, own"], own)
    within = table["quiescent_in_awake"].values
    np.testing.assert_array_equal(drawn["asleep, of waking"], within)


def test_colour_tells_the_heading_or_the_place_on_a_track(circle, track):
    for navigator, label in ((circle, "heading"), (track, "position")):
        awake, asleep = a_run(navigator, awake=True), a_run(navigator, 1)
        axes = plot_components(navigator, awake, asleep)
        cloud = axes[1].collections[0]
        told = asleep["position"].values.ravel()
        np.testing.assert_array_equal(cloud.get_array(), told)
        assert cloud.get_clim() == tuple(navigator.task.bounds[0])
        (bar,) = [ax for ax in axes[0].figure.axes if ax not in axes]
        assert label in bar.get_ylabel()


def test_colours_of_headings_meet_where_the_circle_closes(circle):
    run = a_run(circle)
    colours = plot_components(circle, run, run)[0].collections[0].get_cmap()
    np.testing.assert_allclose(colours(0.0), colours(1.0), atol=0.02)


def some_points():
    rng = np.random.default_rng(3)
    states = rng.normal(size=(3, N_UNITS))
    fixed, stable = np.array([True, True, False]), np.array([True, False, True])
    eigenvalues = np.zeros((3, N_UNITS), complex)
    return FixedPoints(states, np.zeros(3), fixed, stable, eigenvalues, np.ones(3))


def test_points_are_filled_where_the_network_rests_and_hollow_where_it_is_slow(plane):
    awake, points = a_run(plane, awake=True), some_points()
    ax = plot_fixed_points(plane, awake, points)
    dots = project(points.states, principal_components(awake["state"].values), 2)
    drawn = {c.get_label(): c for c in ax.collections}
    for label, row in {"fixed, stable": 0, "fixed, unstable": 1, "slow": 2}.items():
        np.testing.assert_allclose(drawn[label].get_offsets(), dots[row : row + 1])
    assert len(drawn["slow"].get_facecolor()) == 0
    assert len(drawn["fixed, stable"].get_facecolor()) == 1
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["awake", "slow", "fixed, stable", "fixed, unstable"]


def test_points_have_the_colour_of_the_place_that_they_tell(circle):
    awake, points = a_run(circle, awake=True), some_points()
    ax = plot_fixed_points(circle, awake, points)
    output = circle.network.read_out(jax.numpy.asarray(points.states, "float32"))
    heading = np.asarray(circle.task.code.decode(output))[:, 0]
    (bar,) = [other for other in ax.figure.axes if other is not ax]
    mapped = plot_components(circle, awake, awake)[0].collections[0]
    expected = mapped.to_rgba(heading)
    slow = {c.get_label(): c for c in ax.collections}["slow"]
    np.testing.assert_allclose(slow.get_edgecolor()[0], expected[2])
    assert bar.get_ylabel() == "Decoded heading (rad)"


def test_points_come_labelled_too(plane):
    awake, points = a_run(plane, awake=True), some_points()
    labelled = xr.Dataset(
        {
            "state": (("point", "unit"), points.states),
            "fixed": ("point", points.fixed),
            "stable": ("point", points.stable),
        }
    )
    drawn = [plot_fixed_points(plane, awake, p) for p in (points, labelled)]
    a, b = ({c.get_label(): c.get_offsets() for c in ax.collections} for ax in drawn)
    assert list(a) == list(b)
    for label in a:
        np.testing.assert_array_equal(a[label], b[label])


def test_controls_stand_in_their_order_with_seeds_mean_and_interval():
    table = measured()
    axes = plot_controls(table, measures=["cosine", "kl_histogram"])
    for ax, name in zip(axes, ("cosine", "kl_histogram"), strict=True):
        bottom, top = ax.get_ylim()
        assert bottom > top  # the first condition is above
        dots = {
            tuple(c.get_facecolor()[0][:3]): c
            for c in ax.collections
            if not isinstance(c, LineCollection) and len(c.get_offsets())
        }
        found = dots[to_rgba(COLOURS["asleep"])[:3]].get_offsets()
        np.testing.assert_array_equal(found[:, 0], table[name].values[1])
        np.testing.assert_allclose(found[:, 1], 1 + SEEDS_BELOW)
        (bar,) = [c for c in ax.containers if c.lines[0].get_ydata()[0] == 1]
        mean = float(table[name][1].mean())
        np.testing.assert_allclose(bar.lines[0].get_xydata(), [[mean, 1]])
        ends = bar.lines[2][0].get_segments()[0][:, 0]
        np.testing.assert_allclose(ends, table[f"{name}_interval"].values[1])
    assert [t.get_text() for t in axes[0].get_yticklabels()] == CONDITIONS
    waking = [line for line in axes[0].lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(waking[0].get_xdata(), float(table["cosine"][0].mean()))
    # A dash for chance, which has no cosine.
    assert [(t.get_text(), t.get_position()[1]) for t in axes[0].texts] == [("–", 4)]
    assert not axes[1].texts
    assert axes[1].get_xlabel() == "nats"


def test_a_wide_measure_is_logarithmic_with_zeros_at_the_edge():
    table = measured()
    axes = plot_controls(table, measures=["cosine", "step_length", "kl_histogram"])
    assert [ax.get_xscale() for ax in axes] == ["linear", "linear", "log"]
    wide = table.copy(deep=True)
    wide["step_length"].loc[{"condition": "untrained"}] *= 10
    axes = plot_controls(wide, measures=["cosine", "step_length"])
    ax = axes[1]
    assert ax.get_xscale() == "log"
    still = [
        c
        for c in ax.collections
        if not isinstance(c, LineCollection)
        and len(c.get_offsets())
        and c.get_offsets()[0][0] == ax.get_xlim()[0]
    ]
    assert [c.get_offsets()[0][1] for c in still] == [3 + SEEDS_BELOW]
    legend = axes[0].figure.legends[0]
    assert legend.get_texts()[-1].get_text() == "0"


def test_one_seed_has_no_interval():
    (ax,) = plot_controls(measured(1), measures="cosine")
    for bar in ax.containers:
        (segment,) = bar.lines[2][0].get_segments()
        assert np.ptp(segment[:, 0]) == 0


def test_a_divergence_that_shows_nothing_says_so():
    table = measured()
    named = ["kl_histogram", "cosine"]
    titles = [ax.get_title(loc="left") for ax in plot_controls(table, measures=named)]
    assert titles == ["Divergence", "A number"]
    table["kl_histogram"].loc[{"condition": "untrained"}] /= 6
    titles = [ax.get_title(loc="left") for ax in plot_controls(table, measures=named)]
    assert titles == ["Divergence\n⚠ untrained is as near", "A number"]


def test_displacement_tells_its_exponent_beside_laws_of_one_and_two():
    table = measured()
    ax = plot_displacement(table)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    slopes = table["displacement_slope"].mean("seed").values
    moving = [f"{c} ({s:.2f})" for c, s in zip(CONDITIONS[:3], slopes, strict=False)]
    assert texts == [*moving, "slope 1", "slope 2"]  # what stands still is left out
    drawn = {c.get_label(): c for c in ax.containers}
    bar = drawn[moving[1]]
    mean = table["displacement"].mean("seed")[1]
    np.testing.assert_allclose(bar.lines[0].get_xydata(), np.stack([LAGS, mean]).T)
    ends = np.array([s[:, 1] for s in bar.lines[2][0].get_segments()])
    expected = table["displacement_interval"].sel(condition="asleep")
    np.testing.assert_allclose(ends, expected.transpose("lag", "quantile"))
    for line in ax.lines[-2:]:
        exponent = np.diff(np.log(line.get_ydata())) / np.diff(np.log(LAGS))
        np.testing.assert_allclose(exponent, int(line.get_label()[-1]))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert "m²" in ax.get_ylabel()


def test_bad_input_is_told(plane, circle):
    awake, asleep = a_run(plane, awake=True), a_run(plane, 1)
    broken = asleep.copy(deep=True)
    broken["position"].values[0, 0, 0] = np.nan
    several = asleep.expand_dims(seed=[4, 5])
    outside = asleep.copy(deep=True)
    outside["position"].values[:] = 5.0
    stateless = awake.drop_vars("state")
    points = some_points()
    wrong = points._replace(states=points.states[:, 1:])
    table = measured()
    shown = [  # kind, text, plot, what it is given
        (NotFittedError, "network", plot_trajectories, [None, awake]),
        (InvalidInputError, "at least one", plot_trajectories, [plane]),
        (InvalidInputError, r"runs\[1\].*list", plot_trajectories, [plane, awake, []]),
        (InvalidInputError, "not finite", plot_trajectories, [plane, broken]),
        (ShapeError, r"sel\(seed=4\)", plot_trajectories, [plane, several]),
        (ShapeError, "2 coordinates", plot_trajectories, [circle, awake]),
        (InvalidInputError, "datasets", plot_occupancy, [plane]),
        (InvalidInputError, "states=True", plot_components, [plane, stateless, asleep]),
        (InvalidInputError, "points", plot_fixed_points, [plane, awake, [1]]),
        (ShapeError, "7 units", plot_fixed_points, [plane, awake, wrong]),
        (InvalidInputError, "measured", plot_controls, [awake]),
        (InvalidInputError, "'awake'", plot_controls, [table.isel(condition=[1])]),
        (InvalidInputError, "displacement", plot_displacement, [table[["cosine"]]]),
    ]
    for kind, text, plot, given in shown:
        with pytest.raises(kind, match=text):
            plot(*given)
    options = [
        ("n_trials", plot_trajectories, [plane, awake], {"n_trials": 0}),
        ("titles", plot_trajectories, [plane, awake], {"titles": ["a", "b"]}),
        ("outside", plot_occupancy, [plane], {"asleep": outside}),
        ("n_bins", plot_occupancy, [plane], {"asleep": asleep, "n_bins": 0}),
        ("n_components", plot_components, [plane, awake, asleep], {"n_components": 0}),
        ("'cosine'", plot_controls, [table], {"measures": ["cosin"]}),
        ("measures", plot_controls, [table], {"measures": []}),
    ]
    for text, plot, given, named in options:
        with pytest.raises(InvalidInputError, match=text):
            plot(*given, **named)
