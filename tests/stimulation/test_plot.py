"""Figures show every site where it lies, with what is believed of it."""

from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PatchCollection

from neuromod.core.errors import InvalidInputError
from neuromod.stimulation import Interval, Rule, Space, array_of
from neuromod.stimulation.plot import plot_convergence, plot_map, plot_session
from neuromod.stimulation.settings import settings
from tests.stimulation.test_session import limits

FIXED = {"amplitude": 50.0, "pulse_width": 200.0, "frequency": 300.0}
ARRAY = array_of(4, 4, corners=False)
LABELS = [str(k) for k in range(len(ARRAY))]
POSITIONS = dict(zip(LABELS, map(tuple, ARRAY), strict=True))


class Told(NamedTuple):
    """What is said of a session that there never was."""

    settings: Any
    beliefs: xr.Dataset
    trials: xr.Dataset
    point: dict[str, Any]

    def map(self, *, level="whole"):
        return self.beliefs

    def history(self):
        return self.trials

    def best(self, *, level="whole"):
        return self.point


def told(space, points, trials=(), outputs=("response",), units=""):
    """Say of candidate k that its response is k, and whatever of trials.

    Trials are points with their fate; the response of each is its number.
    """
    n = len(points)
    given = {"seed": 0, "outputs": outputs, "n_planned": 10, "rule": Rule()}
    more = dict.fromkeys(("aim", "safe", "earlier")) | {"context": (), "known": ()}
    expected = np.arange(n, dtype=float)[:, None] * np.ones(len(outputs))
    counts = [sum(p == q and f == "valid" for q, f in trials) for p in points]
    both, units = ("candidate", "output"), {"units": units} if units else {}
    beliefs = xr.Dataset(
        {
            "expected": (both, expected, units),
            "low": (both, expected - 1 - expected / n, units),
            "high": (both, expected + 1 + expected / n, units),
            "n_visits": ("candidate", np.array(counts, int)),
            "promise": ("candidate", -np.arange(n, dtype=float)),
        },
        {name: ("candidate", [p[name] for p in points]) for name in points[0]}
        | {"output": list(outputs)},
    )
    fates = [fate for _, fate in trials]
    response = np.arange(1.0, len(trials) + 1)[:, None] * np.ones(len(outputs))
    response[~np.isin(fates, ("valid", "excluded"))] = np.nan
    history = xr.Dataset(
        {
            "response": (
                ("query", "output"),
                response,
                units,
            ),
            "fate": ("query", np.array(fates, str)),
            "level": ("query", np.array(["whole"] * len(trials), str)),
            "best": ("query", np.array([str(k // 3) for k in range(len(trials))], str)),
            "best_expected": ("query", np.arange(float(len(trials)))),
        },
        {name: ("query", [p[name] for p, _ in trials]) for name in points[0]}
        | {"query": np.arange(1, len(trials) + 1), "output": list(outputs)},
    )
    begun = settings(space, limits(), **given, **more)
    return Told(begun, beliefs, history, points[-1])


def array(trials=(), amplitudes=None, **options):
    """Say something of an array without corners, at one amplitude or several."""
    axes = {"electrode": LABELS} | ({"amplitude": amplitudes} if amplitudes else {})
    fixed = {k: v for k, v in FIXED.items() if k not in axes}
    space = Space(axes, POSITIONS, fixed=fixed)
    trials = [(space[k], fate) for k, fate in trials]
    return told(space, [space[k] for k in range(len(space))], trials, **options)


def sites(ax) -> PatchCollection:
    (found,) = (c for c in ax.collections if isinstance(c, PatchCollection))
    return found


def centres(ax):
    return np.array([path.get_extents().get_points().mean(0) for path in paths(ax)])


def paths(ax):
    return sites(ax).get_paths()


def explained(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def crosses(ax):
    (found,) = (c for c in ax.collections if c.get_label() == "failed trial")
    return found.get_offsets()


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_electrodes_are_drawn_where_they_lie_with_the_first_row_on_top():
    ax = plot_map(array())
    assert np.allclose(centres(ax), ARRAY[:, ::-1])
    assert np.allclose(sites(ax).get_array(), range(12))
    assert ax.yaxis_inverted()
    assert ax.get_xlabel() == "Column (pitches)"
    assert ax.get_aspect() == 1


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ("expected", np.arange(12.0)),
        ("uncertainty", 1 + np.arange(12.0) / 12),
        ("visits", np.eye(12)[3] * 2),
        ("promise", -np.arange(12.0)),
    ],
)
def test_each_kind_of_map_shows_its_values_under_its_name(what, values):
    session = array([(3, "valid"), (3, "valid"), (4, "rejected")], units="mV")
    ax = plot_map(session, what=what)
    assert np.allclose(sites(ax).get_array(), values)
    label = ax.figure.axes[-1].get_ylabel()
    names = {
        "expected": "Expected response (mV)",
        "uncertainty": "Uncertainty (±, 95 %) of response (mV)",
        "visits": "Valid trials",
        "promise": "Promise",
    }
    assert label == names[what]


def test_tried_sites_have_a_dot_or_their_number():
    session = array([(3, "valid"), (3, "valid"), (5, "valid")])
    ax = plot_map(session)
    (dots,) = (c for c in ax.collections if c.get_label() == "tried")
    assert np.allclose(dots.get_offsets(), ARRAY[[3, 5], ::-1])
    ax = plot_map(session, what="visits")
    numbers = {tuple(t.get_position()): t.get_text() for t in ax.texts}
    assert numbers == {tuple(ARRAY[3, ::-1]): "2", tuple(ARRAY[5, ::-1]): "1"}


def test_failed_trials_are_crossed_and_others_ringed():
    fates = [(0, "valid"), (1, "excluded"), (1, "rejected"), (2, "pending")]
    ax = plot_map(array([*fates, (7, "unresolved")]))
    assert np.allclose(crosses(ax), ARRAY[[1], ::-1] + [0.3, -0.3])
    rings = {
        tuple(p.get_center()): p.get_edgecolor() for p in ax.patches if not p.get_fill()
    }
    # Two wait, and the best one, the last of all, is ringed in another colour.
    assert set(rings) == {tuple(ARRAY[k, ::-1]) for k in (2, 7, 11)}
    assert len(set(rings.values())) == 2
    assert explained(ax) == [
        "tried",
        "failed trial",
        "waits for its response",
        "best site",
    ]


def test_a_session_without_trials_has_nothing_to_explain():
    ax = plot_map(array())
    assert ax.get_legend() is None
    assert not ax.patches


def test_of_several_amplitudes_the_best_is_shown_and_all_trials_are_counted():
    # Candidates: electrode 0 at 20 and at 40 uA, electrode 1 at 20 ...
    session = array([(0, "valid"), (1, "valid")], amplitudes=[20.0, 40.0])
    assert np.allclose(sites(plot_map(session)).get_array(), np.arange(1, 24, 2))
    visits = sites(plot_map(session, what="visits")).get_array()
    assert visits.tolist() == [2] + [0] * 11


def test_what_is_not_finite_is_grey_and_takes_no_colour():
    session = array()
    session.beliefs["high"][4] = np.inf
    shown = sites(plot_map(session, what="uncertainty"))
    assert np.ma.getmaskarray(shown.get_array()).tolist() == [k == 4 for k in range(12)]
    assert shown.get_clim()[1] < 2
    assert shown.cmap.get_bad()[:3].tolist() == pytest.approx([0.9] * 3, abs=0.01)


def test_a_row_of_electrodes_is_drawn_as_a_row():
    space = Space(
        {"electrode": ["a", "b", "c"]}, {"a": [0], "b": [2], "c": [4]}, fixed=FIXED
    )
    ax = plot_map(told(space, [space[k] for k in range(3)]))
    assert np.allclose(centres(ax), [[0, 0], [2, 0], [4, 0]])
    assert ax.get_xlabel() == "Position (pitches)"


def test_pairs_are_a_matrix_whose_rows_are_the_first_electrodes():
    names = ("electrode_a", "electrode_b")
    space = Space(
        dict.fromkeys(names, LABELS[:3]),
        POSITIONS,
        fixed=FIXED,
        valid=lambda point: point[names[0]] != point[names[1]],
    )
    points = [space[k] for k in range(len(space))]
    ax = plot_map(told(space, points, [(points[1], "valid")]))
    assert np.allclose(centres(ax), [[1, 0], [2, 0], [0, 1], [2, 1], [0, 2], [1, 2]])
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("Electrode a", "Electrode b")
    (best,) = (p for p in ax.patches if not p.get_fill())
    assert np.allclose(best.get_center(), [1, 2])
    assert [t.get_text() for t in ax.get_xticklabels()] == LABELS[:3]


def test_two_axes_that_are_intervals_are_drawn_by_their_values():
    axes = {"amplitude": Interval(0.0, 100.0), "frequency": Interval(10.0, 30.0)}
    fixed = {"electrodes": ["1"], "pulse_width": 200.0}
    points = [
        {"amplitude": 10.0, "frequency": 20.0},
        {"amplitude": 50.0, "frequency": 12.0},
    ]
    ax = plot_map(told(Space(axes, fixed=fixed), points))
    assert np.allclose(centres(ax), [[20, 10], [12, 50]])
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("Amplitude (µA)", "Frequency (Hz)")


def line(trials=()):
    axes = {"frequency": [30.0, 10.0, 20.0]}
    fixed = {"electrodes": ["1"], "pulse_width": 200.0, "amplitude": 50.0}
    space = Space(axes, fixed=fixed)
    points = [space[k] for k in range(3)]
    return told(space, points, [(points[k], fate) for k, fate in trials])


def test_one_axis_without_electrodes_is_a_line_with_its_band_and_trials():
    ax = plot_map(line([(1, "valid"), (0, "rejected"), (2, "valid")]))
    expected = ax.lines[0]
    assert expected.get_xdata().tolist() == [10, 20, 30]
    assert expected.get_ydata().tolist() == [1, 2, 0]
    band, dots = ax.collections
    edges = band.get_paths()[0].get_extents()
    assert (edges.x0, edges.x1) == (10, 30)
    assert edges.y1 == pytest.approx(2 + 1 + 2 / 3)
    assert dots.get_offsets().tolist() == [[10, 1], [20, 3]]
    assert ax.lines[1].get_xdata() == [20, 20]  # the best
    assert ax.get_xlabel() == "Frequency (Hz)"


def test_visits_of_a_line_are_bars():
    ax = plot_map(line([(1, "valid"), (1, "valid")]), what="visits")
    heights = {b.get_x() + b.get_width() / 2: b.get_height() for b in ax.patches}
    assert heights == pytest.approx({30: 0, 10: 2, 20: 0})


def test_the_course_has_all_trials_and_what_was_expected_of_the_best():
    fates = ["valid", "rejected", "valid", "valid", "excluded", "pending"]
    ax = plot_convergence(array(list(enumerate(fates)), units="mV"))
    valid, failed = ax.collections
    assert valid.get_offsets().tolist() == [[1, 1], [3, 3], [4, 4]]
    assert failed.get_offsets()[:, 0].tolist() == [2, 5]
    course, changes = ax.lines
    assert course.get_ydata().tolist() == [0, 1, 2, 3, 4, 5]
    assert course.get_drawstyle() == "steps-post"
    assert changes.get_xdata().tolist() == [4]  # where another one became the best
    assert ax.get_ylabel() == "Response (mV)"
    assert ax.get_xlabel() == "Trial"


def test_of_another_output_only_the_responses_are_known():
    trials = [(0, "valid"), (1, "valid")]
    session = array(trials, outputs=("FDI", "EDC"))
    assert len(plot_convergence(session).lines) == 1
    ax = plot_convergence(session, output="EDC")
    assert not ax.lines
    assert ax.get_ylabel() == "Response of EDC"


def test_a_course_without_trials_is_empty():
    ax = plot_convergence(array())
    assert not ax.lines
    assert ax.get_legend() is None


def test_what_there_is_not_is_refused():
    with pytest.raises(InvalidInputError, match="visits"):
        plot_map(array(), what="visit")
    with pytest.raises(InvalidInputError, match="output"):
        plot_map(array(), output="FDI")
    with pytest.raises(InvalidInputError, match="output"):
        plot_convergence(array(), output="FDI")


def test_the_whole_session_is_drawn_on_four_axes_with_one_legend():
    session = array([(0, "valid"), (1, "rejected"), (2, "pending")])
    axes = plot_session(session)
    assert [ax.get_title(loc="left") for ax in axes] == list("abcd")
    assert [ax.get_legend() for ax in axes] == [None] * 4
    (legend,) = axes[0].figure.legends
    told = {text.get_text() for text in legend.get_texts()}
    assert {"best site", "tried", "valid trial", "failed trial"} <= told
    _, own = plt.subplots(1, 4)
    assert plot_session(session, axes=own)[2] is own[2]
    assert own[0].get_legend() is not None
    ax = own[0]
    assert plot_map(session, ax=ax) is ax
