"""Kill two processes in the middle of saving to one path, again and again.

Whatever the moment of the kill, the file must be whole: the values of one save, never
of two and never half of one. Run it at length by

    python -m tests.core.kill_result --rounds 200 --out FILE.json

which kills two processes in each round, loads the file all the while and once after,
and tells how many loads were whole and how often a save left a temporary file behind,
that is, was really hit.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

import neuromod
from neuromod.core.result import Result

ROOT = Path(__file__).resolve().parents[2]


def result_of(i: int) -> Result:
    """Make a result whose size and every value tell its number."""
    dataset = xr.Dataset({"x": ("n", np.full(50_000 + 1000 * (i % 5), i))})
    return Result(None, xr.DataTree.from_dict({"g": dataset}), {"i": i}, {})


def number_of(result: Result) -> int:
    """Return the number of a result, after checking that it is whole."""
    values, i = result.data["g/x"].values, result.config["i"]
    assert len(values) == 50_000 + 1000 * (i % 5)
    assert (values == i).all()
    return i


def save_for_ever(path: Path) -> None:
    """Fork two processes that save to one path, for every line read; wait for both."""
    result_of(0).save(path)
    for _ in sys.stdin:
        savers = []
        for i in (0, 1):
            savers.append(os.fork())
            while savers[-1] == 0:
                result_of(i).save(path)
                i += 2
        print(*savers, flush=True)
        for saver in savers:
            os.waitpid(saver, 0)
        print("gone", flush=True)


def strike(path: Path, rounds: int) -> dict[str, int]:
    """Kill both savers in every round, at different moments; count what was seen."""
    told = {"rounds": rounds, "kills": 0, "whole_loads": 0, "saves_hit": 0}
    seen = set()
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--save", str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        for round_ in range(rounds):
            process.stdin.write("once more\n")
            process.stdin.flush()
            savers = process.stdout.readline().split()
            until = time.monotonic() + 0.2 + 0.037 * (round_ % 10)
            while time.monotonic() < until:
                seen.add(number_of(neuromod.load(path)))
                told["whole_loads"] += 1
            for saver in savers:
                os.kill(int(saver), signal.SIGKILL)
                told["kills"] += 1
            assert process.stdout.readline() == "gone\n"
            seen.add(number_of(neuromod.load(path)))
            told["whole_loads"] += 1
            told["saves_hit"] += bool(leftovers(path))
        process.stdin.close()
    return {**told, "different_saves_seen": len(seen)}


def leftovers(path: Path) -> set[str]:
    """Name the temporary files that lie beside the file."""
    return set(os.listdir(path.parent)) - {path.name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--save", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.save is not None:
        return save_for_ever(asked.save)
    with tempfile.TemporaryDirectory() as folder:
        found = strike(Path(folder) / "fit.nc", asked.rounds)
    packages = ("numpy", "xarray", "h5netcdf")
    versions = {"python": sys.version.split()[0], "neuromod": neuromod.__version__}
    found["versions"] = versions | {name: version(name) for name in packages}
    text = json.dumps(found, indent=1)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
