"""The race between worker processes, and a benchmark without its peer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks._measure import ROOT, Worker, race

SCRIPT = """
import sys, time
from tests.benchmarks._measure import serve
count = []
def task():
    count.append(0)
    time.sleep(0.2 if len(count) == 1 else 0.02)  # the first call compiles
def burn():
    end = time.process_time() + 0.01 * int(sys.argv[1])
    while time.process_time() < end:
        pass
serve({"sleep": task, ("burn", 1): burn}, {"factor": int(sys.argv[1])})
"""


@pytest.fixture
def workers(tmp_path):
    path = tmp_path / "worker.py"
    path.write_text(SCRIPT)
    found = {f: Worker([sys.executable, path, str(f)], {}) for f in (1, 4)}
    yield found
    for worker in found.values():
        worker.close()


def test_race(workers):
    assert workers[4].facts == {"factor": 4}
    table = race(workers, ["sleep", ("burn", 1)], rounds=3)
    sleep, burn = table["sleep"][1], table["burn", 1]
    assert sleep["compile"] >= 0.2
    assert 0.02 <= sleep["wall"] < 0.2
    assert sleep["cpu"] < 0.01
    assert 2 < burn[4]["cpu"] / burn[1]["cpu"] < 6


def test_a_worker_that_dies_is_an_error(tmp_path, capfd):
    with pytest.raises(RuntimeError, match="died: its error is above"):
        Worker([sys.executable, "-c", "raise SystemExit('no peer here')"])
    assert "no peer here" in capfd.readouterr().err


def test_a_missing_peer_is_told(tmp_path):
    """Never counted as beaten."""
    out = tmp_path / "figures" / "kernels.json"
    script = Path(ROOT, "tests", "benchmarks", "kernels.py")
    command = [sys.executable, script, "hmm", "--only", "filter", "--steps", "30"]
    command += ["--rounds", "1", "--out", out]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "dynamax: MISSING, not measured" in done.stdout
    report = json.loads(out.read_text())
    assert report["missing"] == ["dynamax"]
    flags = {name: facts["XLA_FLAGS"] for name, facts in report["workers"].items()}
    assert "small_while_loop" in flags["neuromod"]
    assert "small_while_loop" not in flags["neuromod without option"]
    assert len(report["rows"]) == 2
    assert all("dynamax" not in row["cpu_s"] for row in report["rows"])
