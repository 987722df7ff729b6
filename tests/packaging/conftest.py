"""The distributions, built once from what git knows of the checkout."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: object, cwd: Path) -> str:
    """Run a command; fail the test with what it printed if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        output = (done.stdout + done.stderr)[-3000:]
        pytest.fail(f"{' '.join(words)} ended with {done.returncode}:\n{output}")
    return done.stdout


@pytest.fixture(scope="session")
def tracked() -> list[str]:
    """Every file that git tracks and that is still there."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs a git checkout: what belongs in the wheel is what git knows")
    names = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    return [n for n in names if n and ((ROOT / n).exists() or (ROOT / n).is_symlink())]


@pytest.fixture(scope="session")
def checkout(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, so that no build touches the real checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


@pytest.fixture(scope="session")
def distributions(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist and the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "-n", "-o", folder, checkout, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def sdist(distributions: Path) -> Path:
    return next(distributions.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    return next(distributions.glob("*.whl"))


@pytest.fixture(scope="session")
def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def new_environment(folder: Path, *install: object) -> Path:
    """Make a virtual environment with one installation; return its Python.

    The dependencies are not installed again: a .pth file puts this environment's
    packages behind the new one's own.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(python, "-c", where, cwd=folder).strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps")
    run(*pip, "--no-index", "--no-build-isolation", *install, cwd=folder)
    return python


@pytest.fixture(scope="session", params=["wheel", "editable"])
def installed(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python in which neuromod is installed from the wheel or as editable."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "wheel":
        return new_environment(folder, request.getfixturevalue("wheel"))
    return new_environment(folder, "-e", request.getfixturevalue("checkout"))
