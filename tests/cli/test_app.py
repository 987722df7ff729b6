"""What every command shares: help that costs nothing, errors in one line."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

import neuromod
from neuromod.cli.app import app
from neuromod.cli.errors import OneLineErrors
from neuromod.core.errors import (
    ChecksumError,
    ConvergenceWarning,
    DataFormatError,
    DatasetUnavailableError,
    DivergedError,
    InvalidInputError,
    ShapeError,
)

COMMANDS = [
    [],
    ["info"],
    ["demo"],
    ["switching"],
    *(["switching", verb] for verb in ("select", "fit", "plot", "score")),
    *(["switching", verb] for verb in ("smooth", "filter", "decode", "predict")),
    ["hgf"],
    *(["hgf", verb] for verb in ("filter", "fit", "group", "recover")),
    ["pvrnn"],
    *(["pvrnn", verb] for verb in ("train", "generate", "regress")),
    ["stimulation"],
    *(
        ["stimulation", verb]
        for verb in ("init", "run", "serve", "report", "replay", "resolve")
    ),
    ["reactivation"],
    *(["reactivation", verb] for verb in ("train", "sleep", "measure")),
]
HEAVY = ("jax", "xarray", "matplotlib", "scipy", "pandas", "h5netcdf", "pooch")


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "neuromod", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", **environment},
        check=False,
    )


def test_help_of_every_command_imports_nothing_heavy():
    code = (
        "import json, sys\n"
        "from typer.testing import CliRunner\n"
        "from neuromod.cli.app import app\n"
        f"for command in {COMMANDS!r}:\n"
        "    done = CliRunner().invoke(app, [*command, '--help'])\n"
        "    assert done.exit_code == 0, done.output\n"
        "    assert 'Usage: ' in done.output\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_a_terminal_of_80_columns(command):
    done = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(
        app, [*command, "--help"]
    )
    lines = done.output.splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= 80
    assert "…" not in done.output  # nothing cut


def test_every_command_is_tested_here():
    group = typer.main.get_command(app)
    names = [[]]
    for name, command in group.commands.items():
        names.append([name])
        names += [[name, verb] for verb in getattr(command, "commands", {})]
    assert sorted(names) == sorted(COMMANDS)


def test_version():
    done = run("--version")
    assert done.stdout == f"neuromod {neuromod.__version__}\n"
    assert done.returncode == 0


def test_no_command_shows_the_help():
    done = CliRunner().invoke(app, [])
    assert "switching" in done.output


def test_a_misspelt_option_is_a_usage_error():
    done = run("demo", "--sede", "1")
    assert done.returncode == 2
    assert "--seed" in done.stderr
    assert "Traceback" not in done.stderr


def toy(failure):
    """A command line whose one command fails in the given way."""
    root = typer.Typer(cls=OneLineErrors, pretty_exceptions_enable=False)

    @root.callback()
    def options(debug: Annotated[bool, typer.Option("--debug")] = False) -> None:
        """Root."""

    @root.command()
    def fail() -> None:
        failure()

    return root


def fails_with(error):
    def failure():
        raise error

    return failure


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInputError("n_states: got 0"), 2),
        (ShapeError("spikes: got 1 axis"), 2),
        (DivergedError("the likelihood became nan"), 2),
        (DataFormatError("x.npz: damaged"), 3),
        (ChecksumError("x.nc: damaged"), 3),
        (DatasetUnavailableError("no network"), 3),
        (FileNotFoundError(2, "No such file", "x.npz"), 3),
        (PermissionError(13, "Permission denied", "out"), 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_expected_errors_are_one_line(error, code):
    done = CliRunner().invoke(toy(fails_with(error)), ["fail"])
    assert done.exit_code == code
    assert done.stderr == f"error: {error}\n"
    assert done.stdout == ""


def test_debug_keeps_the_traceback():
    error = InvalidInputError("n_states: got 0")
    done = CliRunner().invoke(toy(fails_with(error)), ["--debug", "fail"])
    assert done.exit_code == 1
    assert done.exception is error


def test_a_defect_keeps_its_traceback():
    error = ZeroDivisionError()
    done = CliRunner().invoke(toy(fails_with(error)), ["fail"])
    assert done.exit_code == 1
    assert done.exception is error


def test_a_warning_is_one_line_and_does_not_stop():
    def warn():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("not converged", ConvergenceWarning, stacklevel=1)
        typer.echo("done")

    done = CliRunner().invoke(toy(warn), ["fail"])
    assert done.exit_code == 0
    assert done.stderr == "warning: not converged\n"
    assert done.stdout == "done\n"


def test_showing_warnings_is_restored():
    before = warnings.showwarning
    CliRunner().invoke(toy(lambda: None), ["fail"])
    assert warnings.showwarning is before


def test_an_interrupt_exits_with_130_and_no_traceback():
    code = (
        "from tests.cli.test_app import toy\n"
        "import time\n"
        "def wait():\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(60)\n"
        "toy(wait)(['fail'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == "\ninterrupted\n"
