"""The XLA option: when it is set, who wins, and that it makes gradients fast."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from neuromod import _xla
from tests.core import canaries

ROOT = Path(__file__).resolve().parents[2]
OURS = f"--xla_backend_extra_options={_xla.OPTION}={_xla.THRESHOLD_BYTES}"
THEIRS = f"--xla_backend_extra_options={_xla.OPTION}=2048"
TELL = """
import json, os
from neuromod import _xla
print(json.dumps([_xla.state(), _xla.value(), os.environ.get("XLA_FLAGS", "")]))
"""
JAX = tuple(int(part) for part in version("jax").split(".")[:2])


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process that knows nothing of the option."""
    inherited = {
        name: text
        for name, text in os.environ.items()
        if name not in ("XLA_FLAGS", _xla.OPT_OUT)
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def told(code: str = "", **environment: str) -> list:
    """Return state, value and flags after ``code`` and the import of neuromod."""
    finished = run("-c", code + TELL, **environment)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_set_where_nothing_has_started():
    assert told() == ["set", 65536, OURS]


def test_set_after_the_import_of_jax_but_before_its_backend():
    assert told("import jax\n") == ["set", 65536, OURS]


def test_too_late_once_a_backend_runs():
    assert told("import jax; jax.devices()\n") == ["too late", None, ""]


@pytest.mark.parametrize("silence", ["1", "yes"])
def test_opted_out(silence: str):
    assert told(**{_xla.OPT_OUT: silence}) == ["opted out", None, ""]


@pytest.mark.parametrize("silence", ["", "0"])
def test_an_empty_opt_out_is_none(silence: str):
    assert told(**{_xla.OPT_OUT: silence})[0] == "set"


@pytest.mark.parametrize("threshold", [2048, 655360])
def test_the_value_of_the_user_wins(threshold: int):
    flags = f"--xla_backend_extra_options={_xla.OPTION}={threshold}"
    assert told(XLA_FLAGS=flags) == ["set by user", threshold, flags]


def test_the_last_of_several_values_counts():
    flags = f"{OURS} {THEIRS}"
    assert told(XLA_FLAGS=flags) == ["set by user", 2048, flags]


def test_other_flags_of_the_user_are_kept():
    flags = "--xla_force_host_platform_device_count=2"
    code = "import neuromod, jax; assert len(jax.devices()) == 2\n"
    assert told(code, XLA_FLAGS=flags) == ["set", 65536, f"{OURS} {flags}"]


def test_a_file_of_flags_is_left_alone(tmp_path: Path):
    file = tmp_path / "flags"
    file.write_text("--xla_force_host_platform_device_count=2")
    code = "import neuromod, jax; assert len(jax.devices()) == 2\n"
    expected = ["set by user", None, str(file)]
    assert told(code, XLA_FLAGS=str(file)) == expected


def test_child_processes_inherit_it():
    code = f"""
import subprocess, sys
import neuromod
command = [sys.executable, "-c", {TELL!r}]
print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
"""
    finished = run("-c", code)
    assert json.loads(finished.stdout) == ["set", 65536, OURS]


def test_the_import_starts_no_jax():
    code = "import sys, neuromod; print([m for m in sys.modules if 'jax' in m])"
    assert run("-c", code).stdout.strip() == "[]"


def test_jax_still_tells_whether_a_backend_runs():
    code = """
import jax
from neuromod import _xla
print(_xla.backend_started(), end=" ")
jax.devices()
print(_xla.backend_started())
"""
    assert run("-c", code).stdout.split() == ["False", "True"]


def test_gradients_are_fast_and_time_grows_linearly():
    finished = run("-m", "tests.core.canaries")
    measured = json.loads(finished.stdout)
    assert measured["option"] == "set"
    assert measured["gradient_to_forward"] < canaries.MAX_GRADIENT_TO_FORWARD
    assert measured["growth"] < canaries.MAX_GROWTH
    assert finished.returncode == 0


@pytest.mark.skipif(JAX >= (0, 12), reason="jax 0.12 folds the loop by itself")
def test_the_canary_fails_without_the_option():
    finished = run("-m", "tests.core.canaries", **{_xla.OPT_OUT: "1"})
    measured = json.loads(finished.stdout)
    assert measured["option"] == "opted out"
    assert measured["gradient_to_forward"] > 1.5 * canaries.MAX_GRADIENT_TO_FORWARD
    assert finished.returncode == 1


def test_the_option_works_beside_other_extra_options_of_the_user():
    flags = "--xla_backend_extra_options=xla_cpu_something_else=1"
    finished = run("-m", "tests.core.canaries", XLA_FLAGS=flags)
    measured = json.loads(finished.stdout)
    assert measured["threshold_bytes"] == 65536
    assert measured["gradient_to_forward"] < canaries.MAX_GRADIENT_TO_FORWARD
