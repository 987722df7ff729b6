"""What the user did wrong in one line; what we did wrong with its traceback.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a defect of neuromod: please report it with the traceback |
| 2 | an argument, an option or the data cannot be used |
| 3 | a file or data set is damaged, missing or of another format |
| 130 | interrupted with Ctrl-C |
"""

import warnings
from typing import Any

import typer
from typer.core import TyperGroup

from neuromod.core.errors import (
    ConvergenceWarning,
    DataFormatError,
    DatasetUnavailableError,
    NeuromodError,
)

USAGE, FILE, INTERRUPTED = 2, 3, 130


def exit_code(error: NeuromodError | OSError) -> int:
    """Return what the process says about an error to whoever started it."""
    of_file = isinstance(error, DataFormatError | DatasetUnavailableError | OSError)
    return FILE if of_file else USAGE


class OneLineErrors(TyperGroup):
    """A group of commands whose expected errors are told in one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; with ``--debug`` errors keep their traceback."""
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            # A fit that warns has still been made, whatever the environment says.
            warnings.simplefilter("default", ConvergenceWarning)
            try:
                return super().invoke(ctx)
            except (NeuromodError, OSError) as error:
                if ctx.params["debug"]:
                    raise
                _tell("error", error)
                raise typer.Exit(exit_code(error)) from None
            except KeyboardInterrupt:
                if ctx.params["debug"]:
                    raise
                typer.secho("\ninterrupted", err=True)
                raise typer.Exit(INTERRUPTED) from None


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    _tell("warning", message)


def _tell(kind: str, message: object) -> None:
    colour = {"error": typer.colors.RED, "warning": typer.colors.YELLOW}[kind]
    told = typer.style(f"{kind}:", fg=colour, bold=True)
    typer.echo(f"{told} {message}", err=True)
