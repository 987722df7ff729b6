"""Installed from the wheel or as editable, only ``neuromod`` can be imported."""

import subprocess
from pathlib import Path

import pytest

from tests.packaging.conftest import run

IMPORT_ALL = """
import importlib.resources
import neuromod.kernels, neuromod.datasets, neuromod.core.errors
assert neuromod.kernels.__name__ == "neuromod.kernels"
assert importlib.resources.files("neuromod").joinpath("py.typed").is_file()
print(neuromod.__file__)
"""


def imports(python: Path, module: str, cwd: Path) -> tuple[bool, str]:
    """Import a module in a new process; return whether it worked, and the error."""
    command = [str(python), "-c", f"import {module}"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    return done.returncode == 0, done.stderr


def test_every_package_is_found_from_another_folder(installed: Path, tmp_path: Path):
    assert run(installed, "-c", IMPORT_ALL, cwd=tmp_path).strip()


@pytest.mark.parametrize("name", ["kernels", "datasets", "tests", "docs"])
def test_nothing_else_leaks_to_the_top_level(
    installed: Path, tmp_path: Path, name: str
):
    worked, error = imports(installed, name, tmp_path)
    assert not worked
    assert f"No module named '{name}'" in error


@pytest.mark.parametrize("name", ["kernels", "datasets"])
def test_the_guard_answers_in_the_root_of_the_checkout(
    installed: Path, checkout: Path, name: str
):
    worked, error = imports(installed, name, checkout)
    assert not worked
    assert f"this package is imported as neuromod.{name}" in error


def test_imports_work_in_the_root_of_the_checkout(installed: Path, checkout: Path):
    assert run(installed, "-c", IMPORT_ALL, cwd=checkout).strip()


def test_the_command_stands_beside_python(installed: Path, tmp_path: Path):
    output = run(installed.with_name("neuromod"), "--help", cwd=tmp_path)
    assert "demo" in output
