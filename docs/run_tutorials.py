"""Run the tutorials in full, and write each as a notebook with its outputs:

    .venv/bin/python docs/run_tutorials.py [NAME ...]

A tutorial is a text, ``docs/tutorials/NAME.py``, in jupytext's percent format. From it
come two programs. The notebook ``NAME.ipynb``, which people read, has every cell but
those tagged "fast"; it is executed here and holds the hash of its code, so that a test
can tell that its outputs are those of the text as it stands. The tests run every cell,
in order: a cell tagged "fast" shrinks what the cells before it prepared (a short
stretch, few starts), and leaves what is done with it as it is.

Where the prose alone has changed, ``--text`` writes it anew and keeps the outputs.
Recordings are read from the folder that ``NEUROMOD_DATA`` names, else from ``shared``
beside the checkout.
"""

import argparse
import base64
import hashlib
import os
import tempfile
from io import BytesIO
from pathlib import Path

import jupytext
from nbformat import NotebookNode, read, v4, write
from PIL import Image

FOLDER = Path(__file__).resolve().parent / "tutorials"
SHARED = FOLDER.parents[2] / "shared" / "data"
LONGEST_CELL = 1800  # s
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main() -> None:
    """Refresh the tutorials of these names, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", default=names())
    parser.add_argument("--text", action="store_true", help="keep outputs of same code")
    arguments = parser.parse_args()
    for name in arguments.names:
        notebook = program(name)
        if arguments.text:
            keep_outputs(notebook, name)
        else:
            execute(notebook)
        path = FOLDER / f"{name}.ipynb"
        write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


def names() -> list[str]:
    """Return the names of all tutorials."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def program(name: str, *, fast: bool = False) -> NotebookNode:
    """Return the cells of a tutorial, without outputs."""
    written = jupytext.read(FOLDER / f"{name}.py", fmt="py:percent")
    kept = [
        c for c in written.cells if fast or "fast" not in c.metadata.get("tags", [])
    ]
    cells = []
    for number, cell in enumerate(kept):
        new = v4.new_code_cell if cell.cell_type == "code" else v4.new_markdown_cell
        cells.append(new(cell.source, id=f"cell-{number}"))
    notebook = v4.new_notebook(cells=cells, metadata=METADATA)
    notebook.metadata["code_sha256"] = code_hash(notebook)
    return notebook


def code(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells that are run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def code_hash(notebook: NotebookNode) -> str:
    """Return the SHA-256 of the code, cell by cell."""
    text = "\n# %%\n".join(cell.source for cell in code(notebook))
    return hashlib.sha256(text.encode()).hexdigest()


def execute(notebook: NotebookNode) -> None:
    """Run all cells in a folder that is gone afterwards."""
    # Inside, since the tests run cells without a kernel.
    from nbclient import NotebookClient

    data = Path(os.environ.get("NEUROMOD_DATA", SHARED)).resolve()
    os.environ |= {
        "NEUROMOD_DATA": str(data),
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore:IProgress",  # tqdm's, where there are no ipywidgets
    }
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=LONGEST_CELL,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute()
    notebook.metadata.update(METADATA)  # the kernel has told its version
    for cell in code(notebook):
        cell.outputs = [output for output in cell.outputs if is_shown(output)]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])


def smaller(png: str) -> str:
    """Return a picture in 256 colours, which take a third of the space."""
    found = BytesIO()
    with Image.open(BytesIO(base64.b64decode(png))) as picture:
        picture.convert("RGB").quantize(256).save(found, "PNG", optimize=True)
    return base64.b64encode(found.getvalue()).decode()


def is_shown(output: NotebookNode) -> bool:
    """Return whether readers see it: all but the artists that plot calls return."""
    return output.output_type != "execute_result" or "text/html" in output.data


def keep_outputs(notebook: NotebookNode, name: str) -> None:
    """Take over the outputs of the last full run of the same code."""
    last = read(FOLDER / f"{name}.ipynb", as_version=4)
    if last.metadata["code_sha256"] != notebook.metadata["code_sha256"]:
        raise SystemExit(
            f"{name}: the code has changed; run it in full, without --text"
        )
    for cell, before in zip(code(notebook), code(last), strict=True):
        cell.outputs, cell.execution_count = before.outputs, before.execution_count


if __name__ == "__main__":
    main()
