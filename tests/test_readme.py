"""What README, CONTRIBUTING and CHANGELOG show is true: their blocks are run.

The blocks of Python of a page are executed one after the other. A block of text that
follows one of Python is what it prints.
Commands of the shell are looked up: the command exists and takes these options.
"""

import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEMO = (
    "python3 -m venv .venv && .venv/bin/pip install -e . "
    "&& .venv/bin/neuromod demo --out demo/"
)
TESTS = (
    'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/pytest'
)


def blocks(name: str) -> list[tuple[str, str]]:
    """Return the language and the text of each fenced block."""
    return BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))


def commands(name: str) -> list[str]:
    """Return the lines of all shell blocks, without comments."""
    lines = "".join(text for language, text in blocks(name) if language == "sh")
    return [line for raw in lines.splitlines() if (line := raw.split(" #")[0].strip())]


def execute(source: str, where: str, names: dict) -> str:
    """Run a block; return what it prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(source, where, "exec"), names)
    return printed.getvalue()


def run_in_turn(found: list[tuple[str, str]], where: str) -> int:
    """Run the Python among some blocks in one namespace; return how many printed."""
    names: dict = {"__name__": where}
    compared = 0
    for (language, text), following in zip(found, [*found[1:], ("", "")], strict=True):
        if language == "python":
            printed = execute(text, where, names)
            if following[0] == "text":
                assert printed == following[1]
                compared += 1
    return compared


def test_readme_prints_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_in_turn(blocks("README.md"), "README.md") >= 1


def test_samples_of_the_changelog_print_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = blocks("CHANGELOG.md")
    samples = sum(language == "python" for language, _ in found)
    assert run_in_turn(found, "CHANGELOG.md") == samples >= 5


def test_readme_has_the_two_commands_of_a_fresh_machine():
    shown = commands("README.md")
    assert (shown.count(DEMO), shown.count(TESTS)) == (1, 1)
    # The integration run reads its commands from the one line with this text.
    text = (ROOT / "README.md").read_text()
    assert text.count('".[test]"') == 1


def test_commands_of_contributing_are_those_of_the_integration_run():
    run = (ROOT / ".ci" / "run").read_text()
    from_readme = TESTS.split(" && ")
    unknown = [c for c in commands("CONTRIBUTING.md") if c not in run]
    assert unknown == from_readme


COMMANDS = sorted({c for name in ("README.md", "CHANGELOG.md") for c in commands(name)})


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c.startswith("neuromod ")] or ["neuromod"]
)
def test_commands_of_the_shell_exist(command):
    words = command.split()[1:]
    options = [word for word in words if word.startswith("--")]
    verbs = [word for word in words if re.fullmatch(r"[a-z]+", word)]
    code = "import sys; from neuromod.cli import main; sys.exit(main())"
    help_ = subprocess.run(
        [sys.executable, "-c", code, *verbs[:2], "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert help_.returncode == 0, help_.stderr
    assert [option for option in options if option not in help_.stdout] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_lead_somewhere(name):
    text = (ROOT / name).read_text()
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    targets += re.findall(r'(?:src|href)="(?!https?:)([^"#]+)', text)
    assert [target for target in targets if not (ROOT / target).exists()] == []
