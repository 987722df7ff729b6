"""What importing costs, and that every public name is there."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import neuromod
from neuromod import core

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    "equinox", "h5netcdf", "h5py", "jax", "matplotlib", "mne", "nilearn", "numpy",
    "pandas", "pooch", "pyarrow", "pynapple", "pynwb", "scipy", "torch", "tqdm",
    "typer", "xarray",
}  # fmt: skip


def python(code: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def imported(code: str) -> set[str]:
    """Return the top-level packages that ``code`` imports in a fresh process."""
    tell = "import json, sys; print(json.dumps([m.split('.')[0] for m in sys.modules]))"
    return set(json.loads(python(f"{code}\n{tell}")))


def cpu_seconds(code: str) -> float:
    """Return the least CPU time of several fresh processes that run ``code``."""
    tell = "\nimport os; t = os.times(); print(t.user + t.system)"
    return min(float(python(code + tell)) for _ in range(3))


def test_importing_neuromod_imports_nothing_heavy():
    assert imported("import neuromod") & HEAVY == set()


def test_errors_are_light():
    assert imported("import neuromod.core.errors") & HEAVY == set()


def test_workers_are_light():
    code = "import neuromod.core.worker, neuromod.core.pool"
    assert imported(code) & HEAVY == set()


def test_importing_neuromod_takes_less_than_jax():
    jax = cpu_seconds("import jax")
    assert cpu_seconds("import neuromod") < 0.5 * jax
    assert cpu_seconds("import jax, neuromod") < 1.5 * jax


def test_kernels_need_jax_and_nothing_heavier():
    heavy = imported("import neuromod.kernels; neuromod.kernels.hmm_filter") & HEAVY
    assert "jax" in heavy
    # Equinox beside what jax itself needs.
    assert heavy <= imported("import jax") | {"equinox"}


def test_every_public_name_is_there():
    for name in neuromod.__all__:
        assert getattr(neuromod, name) is not None
    for name in core.__all__:
        assert getattr(core, name) is not None
    assert set(neuromod.__all__) == set(dir(neuromod))
    assert set(core.__all__) == set(dir(core))


@pytest.mark.parametrize(
    "package",
    ["core", "kernels", "io", "switching", "hgf", "reactivation", "datasets", "cli"],
)
def test_every_package_has_a_face_of_literal_names(package):
    file = ROOT / "neuromod" / package / "__init__.py"
    assigned = [
        node.value
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign)
        and [ast.unparse(target) for target in node.targets] == ["__all__"]
    ]
    assert len(assigned) == 1, f"no literal __all__ in {file}"
    names = ast.literal_eval(assigned[0])
    assert len(names) == len(set(names))  # their order is checked by ruff
    module = __import__(f"neuromod.{package}", fromlist=["*"])
    for name in names:
        assert hasattr(module, name), f"neuromod.{package}.{name}"


def test_the_short_names_are_those_of_core():
    assert neuromod.Result is core.Result
    assert neuromod.load is core.load
    assert neuromod.errors is core.errors
    assert neuromod.info is core.info.info
    assert callable(core.cohort.map)


@pytest.mark.parametrize("module", [neuromod, core])
@pytest.mark.parametrize("name", ["swithcing", "numpy"])
def test_an_unknown_name_is_an_error(module, name):
    with pytest.raises(AttributeError, match=f"'{module.__name__}' has no attribute"):
        getattr(module, name)


def test_parts_are_loaded_once():
    assert neuromod.core is core
    assert core.validation is core.validation
