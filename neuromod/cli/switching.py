"""``neuromod switching``: brain states of a spike recording, from the shell.

``fit`` reads a recording and saves a Result beside its figures and a report. The
other commands apply a saved Result to the same or another recording of the same
neurons. They are named after the verbs of `neuromod.switching`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

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
    Fitted,
    Recording,
    as_fitted,
    read,
    read_as_fitted,
    reading,
)
from neuromod.cli.switching_section import FIGURES

if TYPE_CHECKING:
    from neuromod.core.precision import Precision
    from neuromod.core.result import Result

RESULT, REPORT = "result.nc", "report.html"
FILES = [REPORT, *(f"{name}.png" for name in FIGURES)]

app = typer.Typer(
    no_args_is_help=True,
    help="Brain states and connectivity from spike trains (GLM-HMM).",
)


def _fitting(*names: str, text: str, **limits: Any) -> Any:
    panel = "How the model is fitted"
    return typer.Option(*names, help=text, rich_help_panel=panel, **limits)


@app.command()
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
    out: Out = Path("fits"),
    force: Force = False,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the starting points.")
    ] = 0,
    bin_size: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Width of a bin (s); that of the file, or 0.02 for spike times.",
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="UNIT", help="Unit to keep; may be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="UNIT", help="Unit to leave out; may be repeated."),
    ] = None,
    basis: Annotated[
        str,
        _fitting(metavar="NAME", text="exponential, raised_cosine or none."),
    ] = "exponential",
    observation: Annotated[
        str,
        _fitting(metavar="NAME", text="poisson or bernoulli."),
    ] = "poisson",
    link: Annotated[
        str | None, _fitting(metavar="NAME", text="softplus, sigmoid or exp.")
    ] = None,
    prior: Annotated[
        str, _fitting(metavar="NAME", text="one_hot, gaussian, lasso, ridge or none.")
    ] = "one_hot",
    restarts: Annotated[
        int, _fitting(metavar="N", text="Starting points; the best end is kept.", min=1)
    ] = 4,
    max_iterations: Annotated[
        int, _fitting(metavar="N", text="Most iterations of each.", min=1)
    ] = 200,
    tolerance: Annotated[
        float,
        _fitting(metavar="X", text="Least gain per iteration (nats/bin)."),
    ] = 1e-6,
    precision: Annotated[
        str, _fitting(metavar="NAME", text="float64 or float32.")
    ] = "float64",
) -> None:
    """Fit hidden brain states to a recording: result, figures, report."""
    from neuromod import switching as family

    require_writable(out, [RESULT, *FILES], force)
    filters = _basis(basis)
    how = {"bin_size": bin_size, "include": include, "exclude": exclude, **how}
    spikes = read(file, **how)
    result = family.fit(
        spikes,
        states,
        seed=seed,
        basis=filters,
        observation=observation,
        link=link,
        prior=prior,
        n_restarts=restarts,
        max_iterations=max_iterations,
        tolerance=tolerance,
        precision=cast("Precision", precision),
    )
    typer.echo(result.summary())
    out.mkdir(parents=True, exist_ok=True)
    told(result.save(out / RESULT))
    how["bin_size"] = bin_size or float(spikes.attrs["bin_size"])
    _write_report(result, spikes, file, out, RESULT, how)


@app.command()
@reading
def plot(
    result: Fitted,
    file: Recording,
    how: dict[str, Any],
    out: Out = Path("fits"),
    force: Force = False,
) -> None:
    """Draw the figures and write the report of a saved fit again."""
    require_writable(out, FILES, force)
    fitted, spikes = _apply_to(result, file, how)
    out.mkdir(parents=True, exist_ok=True)
    how = {**as_fitted(fitted), **how}
    _write_report(fitted, spikes, file, out, str(result), how)


@app.command()
@reading
def score(
    result: Fitted,
    file: Recording,
    how: dict[str, Any],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a table.")
    ] = False,
) -> None:
    """Score a recording, best a held-out one, by its marginal likelihood."""
    from neuromod import switching as family

    fitted, spikes = _apply_to(result, file, how, quiet=as_json)
    found = family.score(fitted, spikes)
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
        fitted, spikes = _apply_to(result, file, how)
        found = getattr(family, verb)(fitted, spikes)
        out.parent.mkdir(parents=True, exist_ok=True)
        told(write(found, out))

    app.command(verb, help=text)(command)


_per_bin("smooth", "Probability of each state given the whole recording.")
_per_bin("filter", "Probability of each state given the spikes so far.")
_per_bin("decode", "The most probable path of states (Viterbi).")
_per_bin("predict", "Expected count of each bin given all spikes before it.")


def _basis(name: str) -> str | None:
    from neuromod.core.errors import choice
    from neuromod.switching.basis import BASES

    return None if choice("--basis", name, [*BASES, "none"]) == "none" else name


def _apply_to(
    path: Path, file: Path, how: Mapping[str, Any], quiet: bool = False
) -> tuple["Result", Any]:
    import neuromod

    fitted = neuromod.load(path)
    return fitted, read_as_fitted(fitted, file, quiet=quiet, **how)


def _write_report(
    fitted: "Result",
    spikes: Any,
    file: Path,
    out: Path,
    result: str,
    how: Mapping[str, Any],
) -> None:
    from neuromod.cli.report import render
    from neuromod.cli.switching_section import code, draw, section

    pictures = draw(fitted, spikes)
    told(*save_figures(pictures, out))
    part = section(fitted, spikes, pictures, code(result, file, how))
    made = {"command": command_line(), "recording": file, **fitted.provenance}
    told(render([part], out / REPORT, f"Brain states of {file.name}", made))
