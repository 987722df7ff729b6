import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.animation import PillowWriter
from PIL import Image

from neuromod.core.errors import InvalidInputError
from neuromod.reactivation import (
    HeadDirection,
    LinearTrack,
    SpatialNavigation,
    untrained,
)
from neuromod.reactivation.animation import INWARDS, _moments, _Stage, animate


@pytest.fixture(scope="module")
def plane():
    return untrained(SpatialNavigation(n_cells=64), 0, n_units=8)


@pytest.fixture(scope="module")
def night(plane):
    return a_night(plane, n_trials=2)


def a_night(navigator, n_trials=1):
    """Return positions and outputs as `sleep` tells them: half a second after 0.1 s."""
    rng = np.random.default_rng(0)
    shape = n_trials, 25
    found = {
        name: (("trial", "time", dim), rng.uniform(-0.3, 0.5, (*shape, n)))
        for name, dim, n in (
            ("position", "space", len(navigator.task.bounds)),
            ("output", "cell", navigator.task.code.n_cells),
        )
    }
    time = 0.1 + 0.02 * np.arange(1, 26)
    return xr.Dataset(found, {"time": ("time", time, {"units": "s"})})


def staged(navigator):
    """Return a night of a network and its stage, with a trail of three records."""
    run = a_night(navigator).isel(trial=0)
    return run, _Stage.of(navigator, run, 0.055)


def film(navigator, night, path, **options):
    """Write a small film without a progress bar."""
    options = {"progress": False, "dots_per_inch": 30, **options}
    return animate(navigator, night, path, **options)


def duration(path):
    """Return the number of frames of a GIF, and how long it lasts (s)."""
    with Image.open(path) as image:
        lengths = []
        for frame in range(image.n_frames):
            image.seek(frame)
            lengths.append(image.info["duration"] / 1000)
    return image.n_frames, sum(lengths)


def test_speed_and_frame_rate_set_what_each_frame_shows():
    time = 0.02 * np.arange(1, 51)
    np.testing.assert_array_equal(_moments(time, 0.02), np.arange(50))
    np.testing.assert_array_equal(_moments(time, 0.1), np.arange(0, 50, 5))
    np.testing.assert_array_equal(_moments(time, 0.01)[:6], [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(_moments(time[:1], 0.1), [0])


def test_a_gif_lasts_as_long_as_the_night(plane, night, tmp_path):
    path = film(plane, night, tmp_path / "night.gif", frame_rate=10)
    assert path == tmp_path / "night.gif"
    n_frames, seconds = duration(path)
    assert n_frames == 5
    assert seconds == pytest.approx(0.5)
    # Pillow joins frames that are alike, and keeps their time.
    slow = film(plane, night, tmp_path / "slow.GIF", frame_rate=10, speed=0.5)
    assert duration(slow)[1] == pytest.approx(1.0)


def test_ten_seconds_are_less_than_three_megabytes(plane, night, tmp_path):
    path = animate(plane, night, tmp_path / "night.gif", progress=False)
    n_frames, seconds = duration(path)
    assert n_frames == 10
    assert path.stat().st_size / seconds < 0.3e6


def test_trials_differ(plane, night, tmp_path):
    films = [
        film(plane, night, tmp_path / f"{trial}.gif", trial=trial, frame_rate=2)
        for trial in (0, 1, 1)
    ]
    first, second, again = (path.read_bytes() for path in films)
    assert first != second
    assert second == again


def test_a_frame_shows_the_place_its_trail_and_the_cells(plane):
    run, stage = staged(plane)
    stage.show(10)
    artists, places = stage.artists, run["position"].values
    np.testing.assert_array_equal(artists["here"].get_xydata()[0], places[10])
    segments = artists["trail"].get_segments()
    np.testing.assert_array_equal(segments[-1], places[9:11])
    assert len(segments) == 2
    faded = artists["trail"].get_color()[:, 3]
    np.testing.assert_allclose(faded, [1 - 0.04 / 0.055, 1 - 0.02 / 0.055])
    cells = artists["cells"]
    np.testing.assert_array_equal(cells.get_array(), run["output"].values[10])
    np.testing.assert_array_equal(cells.get_offsets(), plane.task.code.centres)
    assert artists["clock"].get_text() == "Asleep, 0.32 s"
    stage.show(11)
    np.testing.assert_array_equal(artists["here"].get_xydata()[0], places[11])


def test_headings_run_round_a_circle_older_ones_further_in():
    navigator = untrained(HeadDirection(n_cells=64), 0, n_units=8)
    run, stage = staged(navigator)
    stage.show(10)
    heading = run["position"].values[8:11, 0]
    (here,) = stage.artists["here"].get_xydata()
    np.testing.assert_allclose(np.arctan2(*here[::-1]), heading[2], rtol=1e-5)
    oldest = stage.artists["trail"].get_segments()[0][0]
    np.testing.assert_allclose(np.hypot(*oldest), 1 - INWARDS * 0.04 / 0.055, rtol=1e-5)
    np.testing.assert_allclose(np.arctan2(*oldest[::-1]), heading[0], rtol=1e-5)
    around = stage.artists["cells"].get_offsets()
    np.testing.assert_allclose(np.hypot(*around.T), 1, rtol=1e-6)


def test_cells_of_a_track_are_as_high_as_they_are_active():
    navigator = untrained(LinearTrack(n_cells=64), 0, n_units=8)
    run, stage = staged(navigator)
    stage.show(10)
    told = np.stack([navigator.task.code.centres[:, 0], run["output"].values[10]])
    np.testing.assert_array_equal(stage.artists["cells"].get_offsets(), told.T)
    place = float(run["position"][10, 0])
    assert stage.artists["here"].get_xydata()[0].tolist() == [place, 0]


def test_a_day_is_called_awake(plane, night):
    awake = night.assign(true_position=night["position"])
    stage = _Stage.of(plane, awake.isel(trial=0), 1.0)
    stage.show(0)
    assert stage.artists["clock"].get_text() == "Awake, 0.12 s"


def test_a_failure_leaves_the_old_film_and_nothing_else(
    plane, night, tmp_path, monkeypatch
):
    path = tmp_path / "night.gif"
    path.write_bytes(b"old")
    grab, n_grabbed = PillowWriter.grab_frame, []

    def fails(self, **kwargs):
        grab(self, **kwargs)
        n_grabbed.append(1)
        if len(n_grabbed) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(PillowWriter, "grab_frame", fails)
    with pytest.raises(KeyboardInterrupt):
        film(plane, night, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert not plt.get_fignums()


def test_an_mp4_is_made_by_ffmpeg(plane, night, tmp_path):
    program = tmp_path / "ffmpeg"
    program.write_text('#!/bin/sh\nfor last; do :; done\ncat > "$last"\n')
    program.chmod(0o755)
    with mpl.rc_context({"animation.ffmpeg_path": str(program)}):
        path = film(plane, night, tmp_path / "night.mp4", frame_rate=10)
    width, height = 192, 96  # 6.4 x 3.2 inches of 30 dots
    assert path.stat().st_size == 5 * width * height * 4


def test_without_ffmpeg_an_mp4_is_refused_with_the_remedy(plane, night, tmp_path):
    with (
        mpl.rc_context({"animation.ffmpeg_path": "no-such-ffmpeg"}),
        pytest.raises(InvalidInputError, match=r"'night\.gif'; or install ffmpeg"),
    ):
        film(plane, night, tmp_path / "night.mp4")
    assert not list(tmp_path.iterdir())


def test_bad_input_is_told(plane, night, tmp_path):
    path = tmp_path / "night.gif"
    refused = {
        "Keep it.*outputs=True": {"asleep": night.drop_vars("output")},
        "asleep: got a list": {"asleep": []},
        "trial: got 2, expected a trial from 0 to 1": {"trial": 2},
        "speed": {"speed": 0.0},
        "frame_rate": {"frame_rate": np.inf},
        "trail": {"trail": -1.0},
        "path: got '.avi'": {"path": tmp_path / "night.avi"},
        "folder that exists": {"path": tmp_path / "no" / "night.gif"},
    }
    for text, change in refused.items():
        given = {"asleep": night, "path": path, **change}
        with pytest.raises(InvalidInputError, match=text):
            animate(plane, **given, progress=False)
    broken = xr.where(night > 0, night, np.nan)
    with pytest.raises(InvalidInputError, match="not finite"):
        film(plane, broken, path)
    assert not list(tmp_path.iterdir())
