"""Figures for a page, drawn by another process.

Drawing takes a good part of a second, in which a session in the same process would
decide more slowly; and the settings of matplotlib are global, so that a figure of the
user's that is drawn at the same time would change its look. A `Painter` therefore has a
process of its own, which reads what to draw from its standard input and answers with an
SVG: no pickles, arrays and plain values only.
"""

import os
import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import xarray as xr

import neuromod
from neuromod.core import plain
from neuromod.core.errors import SessionError
from neuromod.stimulation.page.desk import Snapshot
from neuromod.stimulation.settings import Settings, from_description

MAPS = ("expected", "uncertainty", "visits")
FIGURES = (*MAPS, "convergence")
SIZES = dict.fromkeys(MAPS, (4.2, 3.8)) | {"convergence": (4.2, 3.8)}
KEPT = 16  # figures


class Drawn(NamedTuple):
    """What the figures need of a session.

    Parameters
    ----------
    settings
        What it began with.
    beliefs, trials
        Its map and its history.
    point
        The best one, if there is any.
    """

    settings: Settings
    beliefs: xr.Dataset
    trials: xr.Dataset
    point: dict[str, Any] | None

    def map(self, *, level: str = "whole") -> xr.Dataset:
        """Return what is believed of every candidate."""
        return self.beliefs

    def history(self) -> xr.Dataset:
        """Return all trials."""
        return self.trials

    def best(self, *, level: str = "whole") -> dict[str, Any]:
        """Return the best point."""
        if self.point is None:
            raise SessionError("there is no valid trial yet")
        return self.point


class Painter:
    """Draws figures in a process of its own, which begins with the first one."""

    def __init__(self) -> None:
        self._lock, self._process, self._wanted = threading.Lock(), None, ""
        self._closed = False
        self._kept: dict[tuple[str, str, str], bytes] = {}

    def draw(self, snapshot: Snapshot, figure: str, output: str) -> bytes:
        """Return a figure as SVG.

        Parameters
        ----------
        snapshot
            Of the session.
        figure
            One of `FIGURES`.
        output
            Of which output.

        Raises
        ------
        SessionError
            If it could not be drawn, or a newer one was asked for meanwhile.
        """
        key = snapshot.version, figure, output
        self._wanted = snapshot.version
        with self._lock:
            if self._closed or self._wanted != snapshot.version:
                raise SessionError("this figure is not drawn any more")
            if key not in self._kept:
                while len(self._kept) >= KEPT:
                    del self._kept[next(iter(self._kept))]
                self._kept[key] = self._drawn(_packed(snapshot, figure, output))
            return self._kept[key]

    def close(self) -> None:
        """End the process, whatever it is at."""
        self._closed = True
        if (process := self._process) is not None:
            process.terminate()
        with self._lock:
            if self._process is not None:
                self._process.stdin.close()
                self._process.stdout.close()
                self._process.wait()
                self._process = None

    def _drawn(self, request: bytes) -> bytes:
        if self._process is None or self._process.poll() is not None:
            self._process = _start()
        _send(self._process.stdin, request)
        answer = _receive(self._process.stdout)
        if not answer.startswith(b"<"):
            raise SessionError(answer.decode() or "the figure could not be drawn")
        return answer


def _start() -> Any:
    root = str(Path(neuromod.__file__).parents[1])
    paths = [root, os.environ.get("PYTHONPATH", "")]
    more = {"MPLBACKEND": "svg", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {__name__} import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | more,
    )


def _packed(snapshot: Snapshot, figure: str, output: str) -> bytes:
    told = {
        "settings": snapshot.settings.describe(),
        "map": _arrays(snapshot.map),
        "history": _arrays(snapshot.history),
        "best": snapshot.best_point,
        "figure": figure,
        "output": output,
    }
    return plain.dumps(plain.pack(told, "figure")).encode()


def _arrays(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Return variables and coordinates as plain values."""
    return [
        {
            str(name): (tuple(map(str, one.dims)), one.values, dict(one.attrs))
            for name, one in some.items()
        }
        for some in (dataset.data_vars, dataset.coords)
    ]


def _send(stream: BinaryIO, content: bytes) -> None:
    try:
        stream.write(len(content).to_bytes(8, "big") + content)
        stream.flush()
    except BrokenPipeError:
        pass  # what is read next is empty


def _receive(stream: BinaryIO) -> bytes:
    """Return what was sent; nothing if the other end is gone."""
    return stream.read(int.from_bytes(stream.read(8), "big"))


def _answer(request: bytes) -> bytes:
    import matplotlib.pyplot as plt

    from neuromod.core import style
    from neuromod.stimulation.plot import plot_convergence, plot_map

    told = plain.unpack(plain.loads(request))
    settings = from_description(told["settings"])
    beliefs, trials = xr.Dataset(*told["map"]), xr.Dataset(*told["history"])
    drawn = Drawn(settings, beliefs, trials, told["best"])
    what, output = told["figure"], told["output"]
    buffer = BytesIO()
    with style.context():
        made, ax = plt.subplots(figsize=SIZES[what])
        if what in MAPS:
            plot_map(drawn, what=what, output=output, ax=ax)
        else:
            plot_convergence(drawn, output=output, ax=ax)
        made.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(made)
    content = buffer.getvalue()
    return content[content.index(b"<svg") :]


def main() -> None:
    """Answer until there is nothing more to be read."""
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed must not get among the answers
    while request := _receive(sys.stdin.buffer):
        try:
            answer = _answer(request)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}".encode()
        _send(stdout, answer)
