"""What a bug report needs, as text and as JSON."""

import json

from typer.testing import CliRunner

import neuromod as nm
from neuromod.cli.app import app


def test_info_prints_the_table():
    done = CliRunner().invoke(app, ["info"])
    assert done.exit_code == 0
    assert done.stdout == f"{nm.info()}\n"
    assert nm.__version__ in done.stdout


def test_info_prints_json():
    done = CliRunner().invoke(app, ["info", "--json"])
    assert json.loads(done.stdout) == nm.info().to_dict()
