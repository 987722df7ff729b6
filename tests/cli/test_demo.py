"""The demo, end to end, as a user runs it."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import neuromod as nm
from neuromod.cli import demo
from neuromod.cli.app import app

FAMILIES = [
    path.name
    for path in Path(nm.__file__).parent.iterdir()
    if path.name != "cli" and (path / "demo.py").is_file()
]


def test_every_family_has_its_part():
    assert sorted(demo.TWINS) == sorted(FAMILIES)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "new" / "folder"
    done = subprocess.run(
        [sys.executable, "-m", "neuromod", "demo", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "80"},
        check=True,
    )
    return out, done.stdout


def test_it_says_where_the_report_is(ran):
    out, told = ran
    assert told.splitlines()[-1] == f"wrote {out / 'report.html'}"
    assert max(map(len, told.replace(str(out), "").splitlines())) <= 80


def test_it_says_how_much_came_back(ran):
    for met, judged in re.findall(r"(\d+) of (\d+) numbers as expected", ran[1]):
        assert met == judged


def test_every_family_tells_of_numbers_that_are_judged(ran):
    page = (ran[0] / "report.html").read_text("utf-8")
    assert page.count("✓ met") >= len(FAMILIES)
    assert "✗ not met" not in page
    assert page.count("<img ") >= len(FAMILIES)


def test_results_are_saved(ran):
    out, _ = ran
    saved = sorted(path.name for path in out.glob("*.nc"))
    assert {name.split("-")[0] for name in saved} == set(FAMILIES)
    for name in saved:
        assert nm.load(out / name).provenance["seed"] == 0


def test_it_does_not_replace_what_is_there(ran):
    out, _ = ran
    done = CliRunner().invoke(app, ["demo", "--out", str(out)])
    assert done.exit_code == 2
    assert "report.html" in done.stderr
    assert "--force" in done.stderr


@pytest.mark.parametrize("family", FAMILIES)
def test_the_code_that_the_page_shows_is_what_the_demo_ran(family):
    code = importlib.import_module(f"neuromod.{family}.demo").CODE
    for name, value in demo.TWINS[family].items():
        assert f"{name}={value}" in code
