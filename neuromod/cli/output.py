"""The folder that a command writes into, and what it puts there."""

import os
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neuromod.core.errors import invalid

if TYPE_CHECKING:
    from neuromod.core.provenance import Start
    from neuromod.core.report import Picture

Out = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write into."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace files that are already there.")
]


def require_writable(folder: Path, names: Iterable[str], force: bool) -> None:
    """Raise, before hours of work, if files could not be written in the end.

    Nothing is made: a command that fails leaves no empty folder.

    Raises
    ------
    InvalidInputError
        If ``folder`` is a file or cannot be made or written into, or one of ``names``
        exists and ``force`` is False.
    """
    there = next(p for p in [folder, *folder.absolute().parents] if p.exists())
    if not there.is_dir():
        raise invalid("--out", f"the file {str(there)!r}", "a folder")
    if not os.access(there, os.W_OK):
        raise invalid(
            "--out", f"{str(there)!r}, which is read-only", "a folder of yours"
        )
    there = [name for name in names if (folder / name).exists()]
    if there and not force:
        raise invalid(
            "--out",
            f"{str(folder)!r}, which already holds {', '.join(there)}",
            "a folder without them",
            "Name another, or replace them with --force.",
        )


def save_figures(pictures: Mapping[str, "Picture"], folder: Path) -> list[Path]:
    """Save figures as PNG files by their names, as sharp as print wants them."""
    paths = [folder / f"{name}.png" for name in pictures]
    for path, picture in zip(paths, pictures.values(), strict=True):
        picture.figure.savefig(path, dpi=300)
    return paths


def command_line() -> str:
    """Return the command that was typed, ready to be typed again."""
    return shlex.join(["neuromod", *sys.argv[1:]])


def origin(started: "Start", **facts: object) -> dict[str, object]:
    """Say what made a page: the command, given facts, times, versions, machine."""
    from neuromod.core.info import info

    return {
        "command": command_line(),
        **facts,
        "started": started.moment.isoformat(timespec="seconds"),
        "wall_seconds": time.perf_counter() - started.wall_seconds,
        "cpu_seconds": time.process_time() - started.cpu_seconds,
        **info().to_dict(),
    }


def told(*paths: Path) -> None:
    """Say which files were written."""
    for path in paths:
        typer.echo(f"wrote {path}")
