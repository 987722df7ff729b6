"""Tutorials run, and their notebooks hold the outputs of the text as it stands.

Here a tutorial's cells run in this process, one after the other, with those that shrink
its data. `docs/run_tutorials.py` runs them in full and writes the notebooks.
"""

import importlib.util
import re
from pathlib import Path

import matplotlib
import nbformat
import pytest

from neuromod.core.errors import ConvergenceWarning
from tests.shared import shared

DOCS = Path(__file__).resolve().parents[1] / "docs"
SPEC = importlib.util.spec_from_file_location("tutorials", DOCS / "run_tutorials.py")
tutorials = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tutorials)

LARGEST = 1_000_000  # bytes
NAMES = tutorials.names()
HOW = "Run python docs/run_tutorials.py"
# A path of somebody's machine, in a message or an address of a file.
ABSOLUTE = re.compile(
    r"(?<![\w/.:<])/(?:home|root|tmp|Users|usr|opt|work|var)/\S+|file://"
)


def notebook(name: str) -> nbformat.NotebookNode:
    return nbformat.read(DOCS / "tutorials" / f"{name}.ipynb", as_version=4)


def told(cell: nbformat.NotebookNode) -> list[str]:
    """Return all that the outputs of a cell say in words."""
    texts = []
    for output in cell.get("outputs", []):
        texts += [output.get("text", "")]
        texts += [v for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return texts


def test_every_text_has_a_notebook_and_every_notebook_a_text():
    found = sorted(path.stem for path in (DOCS / "tutorials").glob("*.ipynb"))
    assert found == NAMES
    assert len(NAMES) >= 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning"
)
def test_tutorial_runs_on_little(name, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("NEUROMOD_DATA", str(shared("data")))
    monkeypatch.chdir(tmp_path)
    program = tutorials.program(name, fast=True)
    assert len(program.cells) > len(tutorials.program(name).cells), "nothing is shrunk"
    names = {"__name__": name}
    with matplotlib.rc_context():
        for number, cell in enumerate(tutorials.code(program)):
            exec(compile(cell.source, f"{name}, cell {number}", "exec"), names)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_that_of_its_text(name):
    written, kept = tutorials.program(name), notebook(name)
    stands = written.metadata["code_sha256"]
    assert kept.metadata["code_sha256"] == stands, f"{HOW} {name}"
    # The hash is that of what was run, not just a line that was copied.
    assert tutorials.code_hash(kept) == stands
    prose = [[c.source for c in n.cells] for n in (kept, written)]
    assert prose[0] == prose[1], f"{HOW} --text {name}"


@pytest.mark.parametrize("name", NAMES)
def test_notebook_was_run_whole_and_without_complaint(name):
    cells = tutorials.code(notebook(name))
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert [o for o in outputs if o.get("name") == "stderr"] == []
    assert [o for o in outputs if o.output_type == "error"] == []


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_small_and_of_no_machine(name):
    assert (DOCS / "tutorials" / f"{name}.ipynb").stat().st_size < LARGEST
    kept = notebook(name)
    paths = [m for c in kept.cells for t in told(c) for m in ABSOLUTE.findall(t)]
    assert paths == []
    assert set(kept.metadata) == {"kernelspec", "language_info", "code_sha256"}
    assert [dict(c.metadata) for c in kept.cells if c.metadata] == []


def test_changed_code_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setattr(tutorials, "FOLDER", tmp_path)
    source = tmp_path / "a.py"
    source.write_text("# %% [markdown]\n# Text\n\n# %%\nprint(1)\n")
    first = tutorials.program("a")
    nbformat.write(first, tmp_path / "a.ipynb")
    source.write_text(source.read_text().replace("Text", "Prose"))
    tutorials.keep_outputs(tutorials.program("a"), "a")
    source.write_text(source.read_text().replace("print(1)", "print(2)"))
    changed = tutorials.program("a")
    assert changed.metadata["code_sha256"] != first.metadata["code_sha256"]
    with pytest.raises(SystemExit, match="run it in full"):
        tutorials.keep_outputs(changed, "a")
