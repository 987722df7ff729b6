"""A night as a film: where a network believes to be, and what its cells do meanwhile.

Frames are drawn one after another and nothing is shown: a film is a file, a GIF or, if
ffmpeg is there, an MP4.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from neuromod.core.atomic import write_atomically
from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import choice, invalid
from neuromod.core.progress import progress_bar
from neuromod.core.result import Result
from neuromod.core.style import PALETTE, context, figure
from neuromod.reactivation.navigator import Navigator, navigator_of
from neuromod.reactivation.plot_arena import (
    SEQUENTIAL,
    arena_of,
    centres_of,
    draw_arena,
    place_label,
    require_run,
)

WRITERS = {".gif": "pillow", ".mp4": "ffmpeg"}
SIZE = (6.4, 3.2)  # inches; at 80 and 100 dots per inch whole and even, as MP4 wants
HERE = PALETTE[1]
INWARDS = 0.35  # how far a trail on a circle spirals inwards
LEAST = 1e-12  # of a scale, where all cells are silent


def animate(
    network: Navigator | Result,
    asleep: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    trial: int = 0,
    speed: float = 1.0,
    frame_rate: float = 20.0,
    trail: float = 1.0,
    dots_per_inch: int = 80,
    progress: bool = True,
) -> Path:
    """Write a film of one night of a network.

    Parameters
    ----------
    network
        What `train` returned (of one seed), or a `Navigator`.
    asleep
        What `sleep` returned with ``outputs=True``; of a part, take
        ``asleep.sel(time=slice(2, 5))``. What `wake` returned will do as well.
    path
        The file to write: ``.gif``, or ``.mp4``, which needs ffmpeg.

    Other Parameters
    ----------------
    trial
        Number of the trial.
    speed
        Times real time: 0.5 is half as fast.
    frame_rate
        Frames per second of the film. A GIF counts in hundredths of a second.
    trail
        How long the path stays behind the place (s of the network's time).
    dots_per_inch
        Of a film of 6.4 x 3.2 inches.
    progress
        Whether to show a progress bar.

    Returns
    -------
    pathlib.Path
        The file written. On the left the place that is decoded, with its trail: in an
        arena; on a circle, where older places lie further in; or along a track, where
        older ones lie further up. On the right the activity of every cell at its
        centre.

    Raises
    ------
    InvalidInputError
        If an argument has no such value, the outputs were not kept, the folder of
        ``path`` does not exist, or there is no ffmpeg for an MP4.

    Examples
    --------
    >>> from neuromod.reactivation import sleep, untrained
    >>> network = untrained("demo", 0)
    >>> asleep = sleep(network, 0.1, seed=0, n_trials=1, outputs=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     animate(network, asleep, Path(folder) / "night.gif", progress=False).name
    'night.gif'
    """
    navigator = navigator_of(network)
    run = require_run(asleep, "asleep", navigator, "output")
    trial = require_integer(trial, "trial", minimum=0)
    if trial >= run.sizes["trial"]:
        raise invalid("trial", trial, f"a trial from 0 to {run.sizes['trial'] - 1}")
    speed = require_positive(speed, "speed")
    frame_rate = require_positive(frame_rate, "frame_rate", "per second")
    trail = require_positive(trail, "trail", "s")
    writer = writer_of(Path(path), frame_rate)
    moments = _moments(run["time"].values, speed / frame_rate)
    dots = require_integer(dots_per_inch, "dots_per_inch")

    def write(file: Any) -> None:
        # Writers want a name of their own: the file is whole before it is ours.
        with tempfile.TemporaryDirectory() as folder, context():
            part = Path(folder) / f"film{Path(path).suffix.lower()}"
            stage = _Stage.of(navigator, run.isel(trial=trial), trail)
            bar = progress_bar(
                len(moments), "reactivation.animate", "frame", shown=progress
            )
            try:
                with bar, writer.saving(stage.figure, str(part), dots):
                    for moment in moments:
                        stage.show(moment)
                        writer.grab_frame()
                        bar.update()
            finally:
                stage.close()
            file.write(part.read_bytes())

    return write_atomically(path, write)


def writer_of(path: Path, frame_rate: float) -> Any:
    """Return matplotlib's writer for this kind of file, or raise if there is none."""
    from matplotlib import animation

    name = WRITERS[choice("path", path.suffix.lower(), WRITERS)]
    if not animation.writers.is_available(name):
        raise invalid(
            "path",
            f"{str(path)!r}, and no ffmpeg",
            "a .gif, or ffmpeg on the PATH",
            f"Write a GIF: {path.with_suffix('.gif').name!r}; or install ffmpeg "
            "(apt install ffmpeg, conda install ffmpeg, brew install ffmpeg).",
        )
    writer: Any = animation.writers[name]
    return writer(fps=frame_rate)


def _moments(time: np.ndarray, step: float) -> np.ndarray:
    """Return the index of the record that each frame shows, ``step`` seconds apart."""
    n_frames = int((time[-1] - time[0]) / step + 1e-6) + 1
    at = time[0] + step * np.arange(n_frames)
    return np.searchsorted(time, at + 1e-6 * step, side="right") - 1


class _Stage(NamedTuple):
    """A figure whose artists move from frame to frame.

    Parameters
    ----------
    figure
        Of two axes.
    view
        How the arena is drawn.
    time : (time,)
        Of the records (s).
    places : (time, space)
        Decoded positions.
    activity : (time, cell)
        Of all cells.
    centres : (cell, space)
        Where each cell is most active.
    trail
        How long a place is shown (s).
    title
        What the network does.
    artists
        The place, its trail, the cells and the clock.
    """

    figure: Any
    view: "_View"
    time: np.ndarray
    places: np.ndarray
    activity: np.ndarray
    centres: np.ndarray
    trail: float
    title: str
    artists: dict[str, Any]

    @classmethod
    def of(cls, navigator: Navigator, run: xr.Dataset, trail: float) -> "_Stage":
        """Return the stage of one night, before the first frame."""
        from matplotlib.collections import LineCollection

        view = VIEWS[arena_of(navigator)]
        activity, centres = run["output"].values, centres_of(navigator)
        scale = min(0.0, activity.min()), max(np.quantile(activity, 0.999), LEAST)
        fig, (left, right) = figure(1, 2, SIZE)
        look: dict[str, Any] = {"cmap": SEQUENTIAL, "clim": (0, scale[1]), "lw": 0}
        at = view.cells(centres, activity[0])
        cells = right.scatter(*at.T, s=26, c=activity[0], **look)
        artists = {
            "trail": left.add_collection(LineCollection([], linewidth=1.6)),
            "here": left.plot([], [], "o", color=HERE, ms=7, zorder=4)[0],
            "cells": cells,
            "clock": left.set_title(" ", loc="left"),
        }
        view.dress(left, right, navigator, cells, (trail, scale))
        right.set_title("What its cells say", loc="left")
        fig.draw_without_rendering()
        fig.set_layout_engine("none")  # once, or every frame would do it again
        title = "Awake" if "true_position" in run else "Asleep"
        told = run["time"].values, run["position"].values, activity
        return cls(fig, view, *told, centres, trail, title, artists)

    def show(self, moment: int) -> None:
        """Draw the record of a moment."""
        now = self.time[moment]
        recent = (self.time > now - self.trail) & (self.time <= now)
        share = (now - self.time[recent]) / self.trail
        points = self.view.places(self.places[recent], share)
        pieces = np.stack([points[:-1], points[1:]], axis=1)
        colours = np.zeros((len(pieces), 4))
        colours[:, 3] = 1 - share[:-1]
        self.artists["trail"].set(segments=list(pieces), color=colours)
        self.artists["here"].set_data(*points[-1:].T)
        activity = self.activity[moment]
        at = self.view.cells(self.centres, activity)
        self.artists["cells"].set(array=activity, offsets=at)
        self.artists["clock"].set_text(f"{self.title}, {now:.2f} s")

    def close(self) -> None:
        """Forget the figure."""
        import matplotlib.pyplot as plt

        plt.close(self.figure)


class _View(NamedTuple):
    """How a kind of arena is drawn.

    Parameters
    ----------
    places
        Where places (time, space) are drawn, whose age is a share of the trail's
        length: (time, 2).
    cells
        Where cells with these centres (cell, space) and activities are: (cell, 2).
    dress
        Draws what does not move.
    """

    places: Callable[[np.ndarray, np.ndarray], np.ndarray]
    cells: Callable[[np.ndarray, np.ndarray], np.ndarray]
    dress: Callable[..., None]


def _dress_plane(left: Any, right: Any, navigator: Navigator, cells: Any, _: Any):
    draw_arena(left, navigator)
    draw_arena(right, navigator, cells=False)
    right.set_ylabel("")
    right.tick_params(labelleft=False)
    _colour_bar(right, cells)


def _dress_circle(left: Any, right: Any, _: Navigator, cells: Any, __: Any) -> None:
    circle = _on_circle(np.linspace(-np.pi, np.pi, 181))
    labels = {0.0: "0", np.pi / 2: "π/2", np.pi: "π", -np.pi / 2: "−π/2"}
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": "0.3"}
    for ax in (left, right):
        ax.plot(*circle.T, color="0.85", linewidth=0.8, zorder=0)
        for (x, y), label in zip(
            1.2 * _on_circle(np.array(list(labels))), labels.values(), strict=True
        ):
            ax.text(x, y, label, fontsize="small", **look)
        ax.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal")
        ax.set_axis_off()
    _colour_bar(right, cells)


def _dress_track(
    left: Any, right: Any, navigator: Navigator, _: Any, scales: Any
) -> None:
    trail, (lowest, highest) = scales
    limits = np.asarray(navigator.task.bounds, float)[0]
    for ax in (left, right):
        ax.set(xlabel=place_label(navigator), xlim=limits)
    left.set(ylabel="Time ago (s)", ylim=(-0.05, 1))
    left.yaxis.set_major_formatter(lambda share, _: f"{share * trail:.2g}")
    right.set(ylabel="Activity", ylim=(lowest, 1.1 * highest))


def _colour_bar(ax: Any, cells: Any) -> None:
    bar = ax.figure.colorbar(cells, ax=ax, shrink=0.8, aspect=20)
    bar.set_label("Activity of the cells")
    bar.outline.set_visible(False)


def _on_circle(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _spiral(places: np.ndarray, share: np.ndarray) -> np.ndarray:
    return (1 - INWARDS * share)[:, None] * _on_circle(places[:, 0])


def _beside(along: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.stack([along[:, 0], other], axis=1)


VIEWS = {
    "plane": _View(lambda places, _: places, lambda at, _: at, _dress_plane),
    "circle": _View(_spiral, lambda at, _: _on_circle(at[:, 0]), _dress_circle),
    "track": _View(_beside, _beside, _dress_track),
}
