"""Imports go down only, and ``import neuromod`` brings nothing heavy with it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, run

HEAVY = (
    "equinox h5py jax matplotlib mne nilearn numpy pandas pyarrow pynapple pynwb scipy "
    "torch xarray"
).split()


def test_import_brings_nothing_heavy(tmp_path: Path):
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); import neuromod; "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert run(sys.executable, "-c", code, cwd=tmp_path).strip() == "[]"


def test_help_imports_no_jax(tmp_path: Path):
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); import neuromod.cli; "
        "print([m for m in ('jax', 'xarray', 'matplotlib') if m in sys.modules])"
    )
    assert run(sys.executable, "-c", code, cwd=tmp_path).strip() == "[]"


@pytest.fixture
def lint_imports():
    if not (ROOT / "neuromod" / "kernels").is_dir():
        pytest.skip("needs the links of a checkout: neuromod/kernels -> ../kernels")
    return Path(sys.executable).with_name("lint-imports")


def test_imports_go_down_only(lint_imports: Path):
    output = run(lint_imports, "--no-cache", cwd=ROOT)
    assert "imports go down only KEPT" in output


def test_an_import_that_goes_up_is_found(
    lint_imports: Path, checkout: Path, tmp_path: Path
):
    copy = shutil.copytree(checkout, tmp_path / "checkout", symlinks=True)
    with (copy / "kernels" / "__init__.py").open("a") as module:
        module.write("\nfrom neuromod.core import errors as errors\n")
    done = subprocess.run(
        [lint_imports, "--no-cache"], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "neuromod.kernels -> neuromod.core.errors" in done.stdout
