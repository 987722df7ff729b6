"""The root of the command line and the commands that hang from it."""

from typing import Annotated

import typer

import neuromod
from neuromod.cli import demo, hgf, info, pvrnn, reactivation, stimulation, switching
from neuromod.cli.errors import OneLineErrors

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.add_typer(switching.app, name="switching")
app.add_typer(hgf.app, name="hgf")
app.add_typer(reactivation.app, name="reactivation")
app.add_typer(pvrnn.app, name="pvrnn")
app.add_typer(stimulation.app, name="stimulation")
app.command()(info.info)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"neuromod {neuromod.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of every error.")
    ] = False,
) -> None:
    """Recurrent models of the brain, fitted to recordings and run forward."""


def main() -> None:
    """Run the command line on the process's arguments."""
    app(prog_name="neuromod")
