"""What a bug report says, and that it says nothing about the user."""

import json
import logging
import os
import platform
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import jax
import pytest

import neuromod as nm
from neuromod import _xla
from neuromod.core import devices
from neuromod.core import info as info_module
from neuromod.core.info import OPTIONAL, REQUIRED, info

ROOT = Path(__file__).resolve().parents[2]
NO_REPORT = {"test", "lint", "docs", "bench"}


def run(code: str, **environment: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def names(requirements: list[str]) -> set[str]:
    return {requirement.split(">")[0].split("[")[0] for requirement in requirements}


def test_it_lists_what_the_project_depends_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(REQUIRED) == names(project["dependencies"]) | {"jaxlib"}
    extras = project["optional-dependencies"]
    user = [extras[extra] for extra in extras if extra not in NO_REPORT]
    assert set(OPTIONAL) == {name for listed in user for name in names(listed)}


def test_versions_are_those_that_run():
    found = info()
    assert found.versions["python"] == platform.python_version()
    assert found.versions["neuromod"] == nm.__version__
    assert found.versions["jax"] == jax.__version__
    assert found.versions["h5netcdf"] == version("h5netcdf")


def test_an_absent_extra_is_told(monkeypatch):
    monkeypatch.setattr(info_module, "OPTIONAL", ("no-such-package",))
    found = info()
    assert found.extras == {"no-such-package": None}
    assert "no-such-package (extra)  -" in repr(found)


def test_a_missing_dependency_is_told(monkeypatch):
    monkeypatch.setattr(info_module, "REQUIRED", ("no-such-package",))
    assert "no-such-package missing" in " ".join(repr(info()).split())


def test_plain_values_survive_json():
    plain = info().to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["devices"]["count"] == len(jax.devices())
    assert plain["xla"]["state"] == _xla.state()
    assert plain["xla"]["threshold_bytes"] == _xla.value()
    assert plain["machine"]["cores"] == devices.n_cores() >= 1
    assert plain["machine"]["memory_gib"] > 0


def test_the_table_has_a_line_for_everything():
    lines = dict(line.split("  ", 1) for line in repr(info()).splitlines())
    assert lines["jax"].strip() == jax.__version__
    assert "cpu" in lines["devices"]
    assert {"cache", "platform", "machine", "XLA_FLAGS"} <= set(lines)


def test_notebooks_get_an_escaped_table(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=<b>&")
    html = info()._repr_html_()
    assert html.startswith("<table>")
    assert "--xla_dump_to=&lt;b&gt;&amp;" in html
    assert f"<td>{jax.__version__}</td>" in html


@pytest.mark.parametrize("before", ["", "import jax; jax.devices(); "])
def test_it_works_before_and_after_jax_starts(before):
    code = "import neuromod as nm; print(nm.info().xla['state'])"
    state = run(before + code, XLA_FLAGS="").strip()
    assert state == ("too late" if before else "set")


def test_the_extras_are_not_imported():
    code = (
        "import sys, neuromod as nm; nm.info(); "
        "print({'pynwb', 'pyarrow', 'matplotlib', 'xarray'} & set(sys.modules))"
    )
    assert run(code).strip() == "set()"


def test_a_backend_that_fails_is_told_and_raises_nothing():
    code = (
        "import neuromod as nm; i = nm.info(); "
        "print(i.devices['count'], i.devices['backend']); print(i)"
    )
    first = run(code, JAX_PLATFORMS="nonsense").splitlines()[0]
    assert first.startswith("0 RuntimeError: Unable to initialize backend 'nonsense'")


def test_nothing_tells_who_the_user_is():
    code = "import neuromod as nm; print(nm.info()); print(nm.info().to_dict())"
    home = "/home/somebody-secret"
    text = run(
        code,
        HOME=home,
        XLA_FLAGS=f"--xla_dump_to={home}/dump",
        NEUROMOD_CACHE=f"{home}/cache",
    )
    assert "somebody-secret" not in text
    assert "--xla_dump_to=~/dump" in text
    assert "~/cache" in text
    assert platform.node() not in text.split()


def test_the_cache_is_that_of_the_datasets(monkeypatch, tmp_path):
    from neuromod.datasets.store import download_folder

    for folder in (str(tmp_path), ""):
        monkeypatch.setenv(info_module.CACHE, folder)
        assert download_folder() == info_module.cache_folder() / "datasets"
    assert info_module.cache_folder().name == "neuromod"


@pytest.fixture
def hint(monkeypatch, caplog):
    """Ask for the hint, in a given state of the option."""

    def ask(state="too late", version=(0, 10, 2), backend="cpu") -> list[str]:
        caplog.clear()
        monkeypatch.setattr(_xla, "_state", state)
        monkeypatch.setattr(jax, "__version_info__", version)
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        with caplog.at_level(logging.WARNING, logger="neuromod"):
            devices.xla_hint()
        return [record.getMessage() for record in caplog.records]

    devices.xla_hint.cache_clear()
    yield ask
    devices.xla_hint.cache_clear()


def test_the_hint_names_the_remedy_once(hint):
    (message,) = hint()
    assert "Import neuromod before the first JAX computation" in message
    assert f"{_xla.OPTION}={_xla.THRESHOLD_BYTES}" in message
    assert hint() == []


@pytest.mark.parametrize("state", ["set", "set by user", "opted out"])
def test_no_hint_where_somebody_decided(hint, state):
    assert hint(state=state) == []


def test_no_hint_where_it_would_be_wrong(hint):
    assert hint(version=(0, 12, 0)) == []
    devices.xla_hint.cache_clear()
    assert hint(backend="gpu") == []


def test_the_hint_reaches_a_user_without_logging():
    code = (
        "import jax; jax.devices()\n"
        "import neuromod\n"
        "from neuromod.core.devices import xla_hint\n"
        "jax.__version_info__ = (0, 10, 2)\n"
        "xla_hint(); xla_hint()\n"
    )
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert finished.stderr.count("Import neuromod before") == 1


def test_memory_that_cannot_be_asked(monkeypatch):
    def refuse(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", refuse)
    assert devices.memory_bytes() is None
    assert repr(info()).count("GiB") == 0


def test_cores_where_affinity_is_unknown(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert devices.n_cores() == os.cpu_count()
