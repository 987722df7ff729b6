"""What is in the sdist and in the wheel is what git tracks, and nothing else."""

import tarfile
import tomllib
import zipfile
from pathlib import Path

import neuromod
from tests.packaging.conftest import ROOT

ROOTS = ("neuromod", "kernels", "datasets")
LINKS = {"neuromod/kernels", "neuromod/datasets"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def installed_name(tracked: str) -> str:
    """Return where a file of the checkout lies in the wheel."""
    return f"neuromod/{tracked}" if not tracked.startswith("neuromod/") else tracked


def test_every_package_is_listed():
    folders = [f for root in ROOTS for f in (ROOT / root).rglob("__init__.py")]
    found = {
        installed_name(f.relative_to(ROOT).as_posix()).removesuffix("/__init__.py")
        for f in folders
        if f.relative_to(ROOT).parts[:2] not in {tuple(li.split("/")) for li in LINKS}
    }
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert sorted(listed) == listed
    assert {name.replace("/", ".") for name in found} == set(listed)


def test_sdist_holds_all_that_git_tracks(sdist: Path, tracked: list[str]):
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    names = {m.name.partition("/")[2] for m in members if m.isfile()}
    made = {n for n in names if n.startswith("neuromod.egg-info/")}
    made |= {"PKG-INFO", "setup.cfg"}
    assert names - made == set(tracked) - LINKS - {".gitattributes", ".gitignore"}
    assert not [m.name for m in members if m.issym() or m.islnk()]


def test_wheel_from_the_sdist_holds_what_git_tracks(
    wheel_names: set[str], tracked: list[str]
):
    wanted = {
        installed_name(name)
        for name in tracked
        if name.startswith(tuple(f"{root}/" for root in ROOTS)) and name not in LINKS
    }
    assert {n for n in wheel_names if ".dist-info/" not in n} == wanted
    assert "neuromod/py.typed" in wanted
    assert "neuromod/kernels/__init__.py" in wanted


def test_wheel_is_small_and_pure_python(wheel: Path, wheel_names: set[str]):
    assert wheel.stat().st_size <= 2e6
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [n for n in wheel_names if n.endswith((".so", ".pyd", ".dylib"))]
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(n for n in wheel_names if n.endswith(".dist-info/WHEEL"))
        assert "Root-Is-Purelib: true" in archive.read(metadata).decode()


def test_the_version_is_the_same_everywhere():
    version = PROJECT["project"]["version"]
    assert neuromod.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text()


def test_core_dependencies_stay_few():
    assert len(PROJECT["project"]["dependencies"]) <= 17
