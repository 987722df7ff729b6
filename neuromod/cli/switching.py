"""``neuromod switching``: brain states of a spike recording, from the shell.

``fit`` reads a recording and saves a Result beside its figures and a report. The
other commands apply a saved Result to the same or another recording of the same
neurons. They are named after the verbs of `neuromod.switching`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuromod.cli.output import (
    Force,
    Out,
    command_line,
    require_writable,
    save_figures,
    told,
)
from neuromod.cli.reading import (
    CHOOSING,
    Fitted,
    Recording,
    as_fitted,
    gathering,
    read_as_fitted,
    read_data,
    reading,
)
from neuromod.cli.switching_options import MODEL, arguments
from neuromod.cli.switching_section import FIGURES, code, draw, section
from neuromod.cli.switching_select import select

if TYPE_CHECKING:
    from neuromod.core.result import Result

RESULT, REPORT = "result.nc", "report.html"
FILES = [REPORT, *(f"{name}.png" for name in FIGURES)]

app = typer.Typer(
    no_args_is_help=True,
    help="Brain states and connectivity from spike trains (GLM-HMM).",
)


@app.command()
@gathering("settings", MODEL)
@gathering("which", CHOOSING)
@reading
def fit(
    file: Recording,
    states: Annotated[
        int,
        typer.Option(
            "--states", "-k", min=1, metavar="K", help="Number of hidden states."
        ),
    ],
    how: dict[str, Any],
    which: dict[str, Any],
    drives: dict[str, Path],
    settings: dict[str, Any],
    out: Out = Path("fits"),
    force: Force = False,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the starting points.")
    ] = 0,
) -> None:
    """Fit hidden brain states to a recording: result, figures, report."""
    from neuromod import switching as family

    require_writable(out, [RESULT, *FILES], force)
    wanted = arguments(settings)
    data = read_data(file, drives, **which, **how)
    result = family.fit(**data, n_states=states, seed=seed, **wanted)
    typer.echo(result.summary())
    out.mkdir(parents=True, exist_ok=True)
    told(result.save(out / RESULT))
    width = {"bin_size": float(data["spikes"].attrs["bin_size"])}
    lines = code(RESULT, file, {**width, **which, **how}, drives)
    _write_report(result, data, file, out, lines)


app.command()(select)


@app.command()
@reading
def plot(
    result: Fitted,
    file: Recording,
    how: dict[str, Any],
    drives: dict[str, Path],
    out: Out = Path("fits"),
    force: Force = False,
) -> None:
    """Draw the figures and write the report of a saved fit again."""
    require_writable(out, FILES, force)
    fitted, data = _apply_to(result, file, drives, how)
    out.mkdir(parents=True, exist_ok=True)
    lines = code(str(result), file, {**as_fitted(fitted), **how}, drives)
    _write_report(fitted, data, file, out, lines)


@app.command()
@reading
def score(
    result: Fitted,
    file: Recording,
    how: dict[str, Any],
    drives: dict[str, Path],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a table.")
    ] = False,
) -> None:
    """Score a recording, best a held-out one, by its marginal likelihood."""
    from neuromod import switching as family

    fitted, data = _apply_to(result, file, drives, how, quiet=as_json)
    found = family.score(fitted, **data)
    numbers = {str(k): float(v) for k, v in found.data_vars.items() if v.ndim == 0}
    if as_json:
        typer.echo(json.dumps(numbers, indent=2))
        return
    for name, value in numbers.items():
        typer.echo(f"{name:24} {value:14.6g} {found[name].attrs['units']}")


def _per_bin(verb: str, text: str) -> None:
    """Make the command of a verb that gives one value (or row) per bin."""

    @reading
    def command(
        result: Fitted,
        file: Recording,
        how: dict[str, Any],
        drives: dict[str, Path],
        out: Annotated[
            Path,
            typer.Option(
                "--out",
                "-o",
                metavar="FILE",
                help="File to write: .nc (netCDF) or .csv.",
            ),
        ],
        force: Force = False,
    ) -> None:
        from neuromod import switching as family
        from neuromod.cli.tables import require_known_suffix, write

        require_known_suffix(out)
        require_writable(out.parent, [out.name], force)
        fitted, data = _apply_to(result, file, drives, how)
        found = getattr(family, verb)(fitted, **data)
        out.parent.mkdir(parents=True, exist_ok=True)
        told(write(found, out))

    app.command(verb, help=text)(command)


_per_bin("smooth", "Probability of each state given the whole recording.")
_per_bin("filter", "Probability of each state given the spikes so far.")
_per_bin("decode", "The most probable path of states (Viterbi).")
_per_bin("predict", "Expected count of each bin given all spikes before it.")


def _apply_to(
    path: Path,
    file: Path,
    drives: Mapping[str, Path],
    how: Mapping[str, Any],
    quiet: bool = False,
) -> tuple["Result", dict[str, Any]]:
    import neuromod

    fitted = neuromod.load(path)
    return fitted, read_as_fitted(fitted, file, drives, quiet=quiet, **how)


def _write_report(
    fitted: "Result", data: Mapping[str, Any], file: Path, out: Path, lines: str
) -> None:
    from neuromod.cli.report import render

    pictures = draw(fitted, data)
    told(*save_figures(pictures, out))
    part = section(fitted, data, pictures, lines)
    made = {"command": command_line(), "recording": file, **fitted.provenance}
    told(render([part], out / REPORT, f"Brain states of {file.name}", made))
