import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats
import xarray as xr
from matplotlib.patches import FancyArrowPatch

from neuromod import hgf
from neuromod.core.errors import InvalidInputError, NotFittedError, ShapeError
from neuromod.core.result import Result
from neuromod.hgf.plot import plot_trajectories
from neuromod.hgf.plot_checks import (
    plot_model_selection,
    plot_recovery,
    plot_stability,
)
from neuromod.hgf.plot_fits import plot_group, plot_posterior
from neuromod.hgf.plot_network import DIAMETER, levels, plot_network, role

OUTCOMES = np.array([1, 1, 0, np.nan, np.nan, 1, 0, 1, np.nan, 1])
CHOICES = np.array([1, 0, 0, 1, np.nan, 1, 0, 1, 1, 1.0])
MISSING = [[2.5, 4.5], [7.5, 8.5]]  # the edges of the runs of missing trials
NAMES = ["x2.tonic_volatility", "response.inverse_temperature"]


@pytest.fixture(scope="module")
def network():
    return hgf.binary_three_level((-2.0, -4.0), 0.5)


@pytest.fixture(scope="module")
def beliefs(network):
    return hgf.filter(network, OUTCOMES)


@pytest.fixture(scope="module")
def values():
    data = xr.DataArray(
        [0.1, 0.3, np.nan, 0.2], dims="time", coords={"time": [0.0, 0.5, 1.0, 1.5]}
    )
    return data, hgf.filter(hgf.continuous_two_level(input_precision=4.0), data)


def drawn(ax, label):
    """Return the line or dots with a label, as (x, y)."""
    handles, labels = ax.get_legend_handles_labels()
    artist = handles[labels.index(label)]
    if hasattr(artist, "get_offsets"):
        return np.asarray(artist.get_offsets()).T
    return np.array(artist.get_data())


def assert_band(ax, mean, sd):
    ys = np.concatenate([path.vertices[:, 1] for path in ax.collections[0].get_paths()])
    expected = np.sort(np.concatenate([mean - sd, mean + sd]))
    np.testing.assert_allclose(np.unique(ys.round(9)), np.unique(expected.round(9)))


def spans(ax):
    """Return where patches stand that are as high as the axes: missing trials."""
    patches = [p for p in ax.patches if p.get_height() == 1]
    return [[p.get_x(), p.get_x() + p.get_width()] for p in patches]


def a_result(**groups):
    scales = {NAMES[0]: {"scale": "identity"}, NAMES[1]: {"scale": "log"}}
    return Result(None, xr.DataTree.from_dict(groups), {"parameters": scales}, {})


def a_posterior():
    rng = np.random.default_rng(0)
    dims = ("chain", "draw")
    values = rng.normal(-3, 0.5, (2, 200)), np.exp(rng.normal(1, 0.3, (2, 200)))
    return xr.Dataset({n: (dims, v) for n, v in zip(NAMES, values, strict=True)})


def a_group():
    rng = np.random.default_rng(1)
    native = np.array([-3.0, 1.0]) + 0.1 * rng.normal(size=(2, 100, 2))
    subjects = native[..., None] + rng.normal(size=(2, 1, 2, 3))
    dims = ("chain", "draw")
    variables = {
        NAMES[0]: ((*dims, "subject"), subjects[:, :, 0]),
        NAMES[1]: ((*dims, "subject"), np.exp(subjects[:, :, 1])),
        "group_mean": ((*dims, "parameter"), native),
        "group_sd": ((*dims, "parameter"), np.full(native.shape, 0.7)),
    }
    coords = {"subject": ["ann", "bob", "eve"], "parameter": NAMES}
    return xr.Dataset(variables, coords)


def a_recovery():
    dims = ("parameter", "subject")
    true = np.array([[-4.0, -3.0, -2.0, -1.0], [1.0, 2.0, 3.0, 4.0]])
    error = np.array([[0.1, -0.1, 0.1, -0.1], [1.0, 1.0, np.nan, 1.0]])
    variables = {
        "true": (dims, true),
        "estimate": (dims, true + error),
        "standard_error": (dims, np.full(true.shape, 0.25)),
    }
    return xr.Dataset(variables, {"parameter": NAMES})


def a_selection():
    variables = {
        "expected_frequency": ("model", [0.6, 0.3, 0.1]),
        "frequency_standard_deviation": ("model", [0.2, 0.1, 0.05]),
        "protected_exceedance_probability": ("model", [0.9, 0.08, 0.02]),
    }
    return xr.Dataset(variables, {"model": ["three levels", "two levels", "delta"]})


def a_map():
    surprise = np.full((2, 3, 4), 90.0)
    surprise[0, 2, 3], surprise[1, 0, 0], surprise[1, 2, 1] = np.nan, np.inf, 250.0
    dims = ("scheme", "tonic_volatility_2", "tonic_volatility_3")
    coords = {
        "scheme": ["ehgf", "unbounded"],
        dims[1]: [-6.0, -4.0, -2.0],
        dims[2]: [-8.0, -6.0, -4.0, -2.0],
    }
    return xr.Dataset({"surprise": (dims, surprise)}, coords, {"chance": 100.0})


def test_every_plot_takes_and_returns_axes(network, beliefs):
    several = {
        plot_trajectories: (beliefs, 3),
        plot_posterior: (a_result(posterior=a_posterior()), 2),
        plot_group: (a_result(posterior=a_group()), 2),
        plot_recovery: (a_recovery(), 2),
        plot_stability: (a_map(), 2),
    }
    for plot, (given, n_panels) in several.items():
        own = plot(given)
        assert len(own) == n_panels
        assert own[-1].get_xlabel(), plot
        assert own[0].get_ylabel(), plot
        theirs = plt.figure().subplots(n_panels)
        assert all(
            a is b for a, b in zip(plot(given, axes=theirs), theirs, strict=True)
        )
        with pytest.raises(ShapeError, match="axes: got 1"):
            plot(given, axes=theirs[0])
    for plot, given in {
        plot_network: network,
        plot_model_selection: a_selection(),
    }.items():
        assert plot(given).figure is not None
        ax = plt.figure().add_subplot()
        assert plot(given, ax=ax) is ax


def test_own_figures_have_the_style_and_the_users_keep_theirs(beliefs):
    with mpl.rc_context({"axes.titlesize": 17.0}):
        own = plot_trajectories(beliefs)
        theirs = plot_trajectories(beliefs, axes=plt.figure().subplots(3))
    assert own[0].title.get_fontsize() != 17.0
    assert theirs[0].title.get_fontsize() == 17.0


def test_states_are_drawn_with_their_uncertainty_from_the_top(beliefs):
    axes = plot_trajectories(beliefs)
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles == ["x3", "x2", "outcome"]
    for ax, name in zip(axes[:2], titles, strict=False):
        one = beliefs.sel(node=name)
        trials, mean = ax.lines[0].get_data()
        np.testing.assert_array_equal(trials, beliefs["trial"])
        np.testing.assert_array_equal(mean, one["mean"])
        assert_band(ax, one["mean"].values, one["precision"].values ** -0.5)
    assert axes[-1].get_xlabel() == "Trial"


def test_a_binary_input_shows_prediction_outcomes_and_responses(beliefs):
    ax = plot_trajectories(beliefs, responses=CHOICES)[-1]
    expected = beliefs["expected_mean"].sel(node="outcome")
    np.testing.assert_array_equal(drawn(ax, "predicted probability")[1], expected)
    np.testing.assert_array_equal(drawn(ax, "outcome")[1], OUTCOMES)
    heights = drawn(ax, "response")[1]
    np.testing.assert_array_equal(heights > 1, CHOICES == 1)
    np.testing.assert_array_equal(heights < 0, CHOICES == 0)
    low, high = ax.get_ylim()
    assert low < np.nanmin(heights)
    assert np.nanmax(heights) < high


def test_missing_trials_are_shaded_in_every_panel(beliefs):
    for ax in plot_trajectories(beliefs):
        np.testing.assert_allclose(spans(ax), MISSING)


def test_a_state_is_shaded_only_where_no_input_was_seen():
    network = hgf.categorical(2)
    data = np.array([[1.0, 0.0], [np.nan, 1.0], [np.nan, np.nan], [0.0, 1.0]])
    axes = plot_trajectories(hgf.filter(network, data), network=network)
    shaded = {ax.get_title(loc="left").split(",")[0]: spans(ax) for ax in axes}
    assert list(shaded) == [
        "volatility",
        *("log_odds_0", "log_odds_1"),
        *("category_0", "category_1"),
    ]
    np.testing.assert_allclose(shaded["category_0"], [[0.5, 2.5]])
    for name in ("category_1", "log_odds_0", "volatility"):
        np.testing.assert_allclose(shaded[name], [[1.5, 2.5]])


def test_a_continuous_input_shows_its_prediction_and_data_over_time(values):
    data, found = values
    ax = plot_trajectories(found, responses=[1.0, 2.0, 3.0, 4.0])[-1]
    one = found.sel(node="value")
    assert_band(
        ax, one["expected_mean"].values, one["expected_precision"].values ** -0.5
    )
    np.testing.assert_array_equal(drawn(ax, "observed"), [data["time"], data])
    np.testing.assert_array_equal(drawn(ax, "response")[1], [1, 2, 3, 4])
    assert ax.get_xlabel() == "Time (s)"
    np.testing.assert_allclose(spans(ax), [[0.75, 1.25]])


def test_the_network_tells_levels_roles_and_the_factor_on_the_variance(
    network, beliefs
):
    axes = plot_trajectories(beliefs, network=network)
    assert axes[0].get_title(loc="left") == "x3, log-volatility of x2"
    assert axes[1].get_title(loc="left") == "x2, log-odds of outcome"
    right = axes[0].child_axes[0]
    assert right.yaxis.get_major_formatter()(2.0, 0) == "×2.7"  # exp(0.5 * 2)
    assert not axes[1].child_axes


def test_nodes_are_drawn_in_the_order_asked_for(beliefs):
    axes = plot_trajectories(beliefs, nodes=["outcome", "x3"])
    assert [ax.get_title(loc="left") for ax in axes] == ["outcome", "x3"]


def test_what_trajectories_refuse(beliefs):
    with pytest.raises(InvalidInputError, match="Did you mean 'outcome'"):
        plot_trajectories(beliefs, nodes=["outcom"])
    with pytest.raises(ShapeError, match=r"responses: got shape \(3,\)"):
        plot_trajectories(beliefs, responses=[0, 1, 1])
    with pytest.raises(InvalidInputError, match="0, 1, or NaN"):
        plot_trajectories(beliefs, responses=CHOICES / 2)
    with pytest.raises(InvalidInputError, match="without 'precision'"):
        plot_trajectories(beliefs.drop_vars("precision"))


def two_branches():
    return hgf.Network(
        [
            hgf.BinaryInput("outcome"),
            hgf.ContinuousInput("reaction", precision=4.0),
            hgf.ContinuousState("x1"),
            hgf.ContinuousState("x2"),
            hgf.ContinuousState("x3", tonic_drift=0.25),
        ],
        [
            hgf.probability("x1", "outcome"),
            hgf.observation("x2", "reaction", -0.5, "tanh"),
            hgf.volatility("x3", "x1"),
            hgf.volatility("x3", "x2", 0.7),
        ],
    )


def skipping():
    """Return a network whose top acts on its bottom, past the node between."""
    return hgf.Network(
        [
            hgf.ContinuousInput("u"),
            hgf.ContinuousState("x1"),
            hgf.ContinuousState("x2"),
        ],
        [hgf.observation("x1", "u"), hgf.drift("x2", "x1"), hgf.noise("x2", "u")],
    )


def nodes_of(ax):
    """Return the centre of each node, in the order of the network."""
    return np.array([c.get_offsets()[0] for c in ax.collections])


def arrows_of(ax):
    return {p.get_label(): p for p in ax.patches if isinstance(p, FancyArrowPatch)}


def test_levels_are_the_longest_way_down():
    assert levels(skipping()) == {"u": 0, "x1": 1, "x2": 2}
    assert levels(hgf.categorical(2))["volatility"] == 2
    assert role(skipping(), "x2") == "drift of x1, log-variance of noise of u"


@pytest.mark.parametrize(
    "network",
    [
        hgf.binary_three_level(),
        hgf.continuous_three_level(),
        hgf.categorical(4),
        two_branches(),
        skipping(),
    ],
    ids=["binary", "continuous", "categorical", "branches", "skipping"],
)
def test_nodes_stand_apart_and_parents_above_their_children(network):
    ax = plot_network(network)
    at = dict(zip(network.names, nodes_of(ax), strict=True))
    assert all(at[edge.parent][1] > at[edge.child][1] for edge in network.edges)
    distance = [
        np.hypot(*(at[a] - at[b]))
        for a in at
        for b in at
        if network.names.index(a) < network.names.index(b)
    ]
    assert min(distance) > 1.5 * DIAMETER
    assert len({round(at[name][1], 6) for name in network.inputs}) == 1


def test_shared_parents_stand_in_the_middle_and_children_below_theirs():
    at = nodes_of(plot_network(hgf.categorical(3)))[:, 0]
    np.testing.assert_allclose(at[:3], at[3:6], atol=1e-6)
    np.testing.assert_allclose(at[6], at[4], atol=1e-6)


def test_branches_do_not_cross():
    crossed = hgf.Network(
        two_branches().nodes[::-1],  # another order of nodes
        [
            hgf.probability("x2", "outcome"),
            hgf.observation("x1", "reaction"),
            hgf.volatility("x3", "x1"),
            hgf.volatility("x3", "x2"),
        ],
    )
    at = dict(zip(crossed.names, nodes_of(plot_network(crossed))[:, 0], strict=True))
    assert np.sign(at["x2"] - at["x1"]) == np.sign(at["outcome"] - at["reaction"])


def way_of(ax, label):
    """Return the line that an arrow follows, (point, xy)."""
    ax.figure.canvas.draw()
    arrow = arrows_of(ax)[label]
    path = arrow.get_transform().transform_path(arrow.get_path())
    line = path.to_polygons(closed_only=False)[0]
    return ax.transData.inverted().transform(line)


def test_a_long_edge_goes_round_the_node_between():
    ax = plot_network(skipping())
    distance = np.hypot(*(way_of(ax, "x2->u.noise") - nodes_of(ax)[1]).T)
    assert distance.min() > 0.5 * DIAMETER


def test_edges_are_told_apart_by_line_and_text():
    ax = plot_network(two_branches())
    lines = {label: arrow.get_linestyle() for label, arrow in arrows_of(ax).items()}
    assert lines == {
        "x1->outcome.probability": "-",
        "x2->reaction.observation": "-",
        "x3->x1.volatility": "--",
        "x3->x2.volatility": "--",
    }
    written = [text.get_text() for text in ax.texts]
    assert written.count("α = −0.5, tanh") == 1
    assert written.count("κ = 0.7") == 1
    assert sum("=" in text for text in written) == 2  # strengths of 1 are not told
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    kinds = ["binary input", "continuous input", "state", "value", "volatility"]
    assert legend == kinds


def test_inputs_are_squares_and_states_circles():
    ax = plot_network(two_branches())
    corners = [len(c.get_paths()[0].vertices) for c in ax.collections]
    assert max(corners[:2]) <= 5 < min(corners[2:])
    assert not np.allclose(
        ax.collections[0].get_facecolor(), ax.collections[1].get_facecolor()
    )


def test_values_are_written_when_asked_for():
    def told(values):
        return "\n".join(
            t.get_text() for t in plot_network(two_branches(), values=values).texts
        )

    assert "ω" not in told(False)
    assert told(True).count("ω = −4") == 3
    assert told(True).count("ρ = 0.25") == 1
    assert told(True).count("π = 4") == 1


def test_two_edges_between_the_same_nodes_part():
    network = hgf.Network(
        [
            hgf.ContinuousInput("u"),
            hgf.ContinuousState("x1"),
            hgf.ContinuousState("x2"),
        ],
        [hgf.observation("x1", "u"), hgf.drift("x2", "x1"), hgf.volatility("x2", "x1")],
    )
    ax = plot_network(network)
    drift, volatility = (
        way_of(ax, f"x2->x1.{kind}")[:, 0] for kind in ("drift", "volatility")
    )
    assert np.abs(drift + volatility).max() < 0.01
    assert np.abs(drift).max() > 0.1 * DIAMETER


def test_posterior_shows_draws_median_and_interval():
    posterior = a_posterior()
    axes = plot_posterior(a_result(posterior=posterior))
    for ax, name in zip(axes, NAMES, strict=True):
        draws = posterior[name].values.ravel()
        area = sum(p.get_width() * p.get_height() for p in ax.patches)
        assert area == pytest.approx(1)
        centre = sum(
            p.get_width() * p.get_height() * (p.get_x() + p.get_width() / 2)
            for p in ax.patches
        )
        assert centre == pytest.approx(draws.mean(), abs=0.03)
        assert drawn(ax, "median")[0][0] == pytest.approx(np.median(draws))
        low, high = np.quantile(draws, [0.05, 0.95])
        np.testing.assert_allclose(drawn(ax, "90 % interval")[0], [low, high])
        title = f"{np.median(draws):.3g} [{low:.3g}, {high:.3g}]".replace("-", "−")
        assert ax.get_title(loc="left") == title
        assert ax.get_xlabel() == name
        assert "prior" not in ax.get_legend_handles_labels()[1]


def test_priors_are_densities_on_their_own_support():
    n_draws = 2000
    normal = scipy.stats.norm.ppf((np.arange(n_draws) + 0.5) / n_draws)
    prior = xr.Dataset(
        {
            NAMES[0]: ("draw_prior", normal - 3),
            NAMES[1]: ("draw_prior", np.exp(normal)),
        }
    )
    posterior = a_posterior()
    posterior[NAMES[1]] = posterior[NAMES[1]] - posterior[NAMES[1]].min() + 0.01
    axes = plot_posterior(a_result(posterior=posterior, prior=prior))
    sd = np.sqrt(1 + n_draws**-0.4)  # of the prior and of the kernel that smooths it
    grid, density = drawn(axes[0], "prior")
    expected = scipy.stats.norm.pdf(grid, -3, sd)
    np.testing.assert_allclose(density, expected, atol=2e-3)
    grid, density = drawn(axes[1], "prior")
    assert grid.min() < 0
    assert not density[grid <= 0].any()
    drawn_from = grid > float(prior[NAMES[1]].min())
    expected = scipy.stats.lognorm.pdf(grid[drawn_from], sd)
    np.testing.assert_allclose(density[drawn_from], expected, atol=2e-3)


def test_a_prior_of_shares_vanishes_outside_0_and_1():
    rng = np.random.default_rng(3)
    share = 1 / (1 + np.exp(-rng.normal(size=(2, 300))))
    name = "learner.learning_rate"
    posterior = xr.Dataset({name: (("chain", "draw"), share)})
    prior = xr.Dataset({name: ("draw_prior", share.ravel())})
    (ax,) = plot_posterior(a_result(posterior=posterior, prior=prior))
    grid, density = drawn(ax, "prior")
    assert grid.min() < 0 < 1 < grid.max()
    assert not density[(grid <= 0) | (grid >= 1)].any()
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=0.01)


def test_what_was_not_learnt_is_marked():
    told = xr.Dataset(
        {"identified": ("parameter", [True, False])}, {"parameter": NAMES}
    )
    axes = plot_posterior(a_result(posterior=a_posterior(), identifiability=told))
    assert [("as the prior" in ax.get_title(loc="left")) for ax in axes] == [
        False,
        True,
    ]
    colours = [ax.patches[0].get_facecolor()[:3] for ax in axes]
    assert colours[0] != colours[1]


def test_parameters_are_chosen_and_refused():
    result = a_result(posterior=a_posterior())
    (ax,) = plot_posterior(result, parameters=NAMES[1])
    assert ax.get_xlabel() == NAMES[1]
    with pytest.raises(InvalidInputError, match=r"Did you mean 'x2\.tonic"):
        plot_posterior(result, parameters=["x2.tonic_volatilty"])
    with pytest.raises(NotFittedError):
        plot_posterior(a_result(history=a_posterior()))
    with pytest.raises(InvalidInputError, match="plot_posterior"):
        plot_group(result)


def test_group_shows_each_subject_around_the_group():
    posterior = a_group()
    axes = plot_group(a_result(posterior=posterior))
    for ax, name in zip(axes, NAMES, strict=True):
        draws = posterior[name].values.reshape(-1, 3)
        mean, rows = drawn(ax, "subject: mean, 90 % interval")
        np.testing.assert_allclose(mean, draws.mean(0))
        np.testing.assert_array_equal(rows, [0, 1, 2])
        ends = np.array([s[:, 0] for s in ax.collections[0].get_segments()])
        np.testing.assert_allclose(ends, np.quantile(draws, [0.05, 0.95], axis=0).T)
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["ann", "bob", "eve"]


def test_group_is_brought_to_the_scale_of_the_subjects():
    posterior = a_group()
    axes = plot_group(a_result(posterior=posterior))
    native = posterior["group_mean"].mean(("chain", "draw")).values
    for i, back in enumerate([lambda x: x, np.exp]):
        assert drawn(axes[i], "group mean")[0][0] == pytest.approx(back(native[i]))
        outer, inner = axes[i].patches
        ends = [outer.get_x(), outer.get_x() + outer.get_width()]
        np.testing.assert_allclose(ends, back(native[i] + np.array([-0.7, 0.7])))
        draws = posterior["group_mean"].values[..., i]
        ends = [inner.get_x(), inner.get_x() + inner.get_width()]
        np.testing.assert_allclose(ends, back(np.quantile(draws, [0.05, 0.95])))


def test_recovery_tells_correlation_and_error():
    recovered = a_recovery()
    first, second = plot_recovery(recovered)
    dots = first.containers[0]
    np.testing.assert_allclose(dots[0].get_xdata(), recovered["true"][0])
    np.testing.assert_allclose(dots[0].get_ydata(), recovered["estimate"][0])
    bars = np.array([s[:, 1] for s in dots[2][0].get_segments()])
    np.testing.assert_allclose(np.diff(bars, axis=1), 0.5)
    x, y = first.lines[-1].get_data()
    np.testing.assert_array_equal(x, y)
    r = np.corrcoef(recovered["true"][0], recovered["estimate"][0])[0, 1]
    assert first.get_title(loc="left") == f"{NAMES[0]}\nr = {r:.2f}, RMSE = 0.1"
    expected = f"{NAMES[1]}\nr = 1.00, RMSE = 1, 1 failed"
    assert second.get_title(loc="left") == expected


def test_selection_writes_its_bars():
    selection = a_selection()
    ax = plot_model_selection(selection)
    names = ("expected_frequency", "protected_exceedance_probability")
    for bars, name in zip(ax.containers[:2], names, strict=True):
        np.testing.assert_allclose([b.get_width() for b in bars], selection[name])
    (errors,) = ax.containers[2][2]
    ends = np.array([segment[:, 0] for segment in errors.get_segments()])
    np.testing.assert_allclose(ends, [[0.4, 0.8], [0.2, 0.4], [0.05, 0.15]])
    written = [float(text.get_text()) for text in ax.texts]
    assert written == [0.6, 0.3, 0.1, 0.9, 0.08, 0.02]
    np.testing.assert_allclose(drawn(ax, "all equal")[0], 1 / 3)
    low, high = ax.get_ylim()
    assert low > high  # the first model on top


def test_stability_hatches_failures_and_crosses_runaways():
    first, second = plot_stability(a_map())
    values = [ax.collections[0].get_array() for ax in (first, second)]
    np.testing.assert_array_equal(np.argwhere(values[0].mask), [[2, 3]])
    np.testing.assert_array_equal(np.argwhere(values[1].mask), [[0, 0]])
    assert values[0][0, 0] == 90 - 100
    assert first.collections[0].get_clim() == (-10, 10)
    hatched = first.collections[1]
    assert hatched.get_hatch()
    centre = hatched.get_paths()[0].vertices[:4].mean(0)
    np.testing.assert_allclose(centre, [-2, -2])  # x: x3, y: x2
    assert len(first.collections[-1].get_offsets()) == 0
    np.testing.assert_allclose(second.collections[-1].get_offsets(), [[-6, -2]])


def test_a_map_without_chance_level_is_refused():
    given = a_map()
    del given.attrs["chance"]
    with pytest.raises(InvalidInputError, match="no attribute 'chance'"):
        plot_stability(given)
    with pytest.raises(
        InvalidInputError, match="a Dataset without 'expected_frequency'"
    ):
        plot_model_selection(a_recovery())
