"""Load thousands of damaged and hostile result files, and tell what became of each.

Damaged files (cut short, a bit flipped) must be refused. Hostile ones, whose maker
computed the checksum anew, must be refused or give plain data; and whatever is in
them, loading must not crash, hang, take memory without bound, run code, import what
the file names, or raise an error that is not ours. Run it at length by

    python -m tests.core.fuzz_result --cases 2000 --seed 0 --out FILE.json

which loads every case in a child process that is watched from outside. A case can be
run again alone: its kind and its seed determine it.
"""

import argparse
import faulthandler
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import neuromod
from neuromod.core.errors import DataFormatError
from neuromod.core.result import Result
from tests.core.hostile import BAIT, DAMAGE, KINDS, make_case
from tests.core.tiny import CLASSES

GOOD = ("refused", "plain data")
SECONDS_ALLOWED = 60
MEMORY_ALLOWED = 2 * 1024**3  # above what the process takes before the first case


def run_case(folder: Path, kind: str, seed: int) -> dict[str, Any]:
    """Load one case, and return its verdict, its error and its CPU seconds."""
    path = folder / "case.nc"
    path.write_bytes(make_case(folder, kind, seed))
    before = set(folder.iterdir())
    _events.clear()
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(SECONDS_ALLOWED)
    started, detail = time.process_time(), ""
    try:
        with _watched():
            result = neuromod.load(path, CLASSES)
            repr(result)
        verdict = "plain data" if isinstance(result, Result) else "no result"
    except DataFormatError as error:
        verdict, detail = "refused", f"{type(error).__name__}: {error}"
    except BaseException as error:
        verdict, detail = "wrong error", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    seconds = time.process_time() - started
    if verdict == "plain data" and kind in DAMAGE:
        verdict = "damage not noticed"
    if _events or BAIT in sys.modules or set(folder.iterdir()) != before:
        verdict, detail = "did something", str(_events[:5])
    return {
        "kind": kind,
        "seed": seed,
        "verdict": verdict,
        "cpu_seconds": round(seconds, 4),
        "detail": detail[-300:],
    }


class _OutOfTime(BaseException):
    """No Exception, which `neuromod.load` would take for its file's fault."""


def _out_of_time(*_: object) -> None:
    raise _OutOfTime(f"{SECONDS_ALLOWED} s are over")


# What the interpreter is asked to do while a file is loaded, told by an audit hook.
_events: list[str] = []
_watching = False


@contextmanager
def _watched() -> Iterator[None]:
    global _watching
    _watching = True
    try:
        yield
    finally:
        _watching = False


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    running = event.startswith(("os.", "subprocess.", "socket.", "pickle.", "shutil."))
    harmless = event in ("os.listdir", "os.scandir")
    writing = event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
    text = event == "compile" or (event == "import" and arguments[0] == BAIT)
    if (running and not harmless) or writing or text:
        _events.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_note)


def work(first: int, n_cases: int, seed: int) -> None:
    """Run cases until done, telling of each; called in a child."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in KINDS:  # what is imported and compiled only once
            run_case(folder, kind, -1)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _limit_memory()
        for number in range(first, n_cases):
            kind = list(KINDS)[number % len(KINDS)]
            # Ends the process even if it hangs in foreign code.
            faulthandler.dump_traceback_later(2 * SECONDS_ALLOWED, exit=True)
            outcome = run_case(folder, kind, seed * 10**9 + number)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
            print(json.dumps({**outcome, "grown_mb": grown / 1024}), flush=True)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_ALLOWED
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def watch(n_cases: int, seed: int) -> list[dict[str, Any]]:
    """Run all cases in children; a child that dies is a finding."""
    outcomes: list[dict[str, Any]] = []
    while len(outcomes) < n_cases:
        first = str(len(outcomes))
        arguments = ["--from", first, "--cases", str(n_cases), "--seed", str(seed)]
        child = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for line in child.stdout:
            outcomes.append(json.loads(line))
            if len(outcomes) % 200 == 0:
                print(f"{len(outcomes)} of {n_cases}", file=sys.stderr, flush=True)
        if child.wait() != 0 and len(outcomes) < n_cases:
            died = {"kind": "?", "seed": len(outcomes), "cpu_seconds": 0, "grown_mb": 0}
            outcomes.append({**died, "verdict": "crashed", "detail": child.returncode})
    return outcomes


def report(outcomes: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    tally = Counter(f"{o['kind']}: {o['verdict']}" for o in outcomes)
    packages = ("numpy", "xarray", "h5py", "h5netcdf", "jax", "equinox")
    return {
        "versions": {
            "python": sys.version.split()[0],
            "neuromod": neuromod.__version__,
            **{name: version(name) for name in packages},
        },
        "seed": seed,
        "cases": len(outcomes),
        "verdicts": dict(sorted(tally.items())),
        "slowest": sorted(outcomes, key=lambda o: o["cpu_seconds"])[-3:],
        "memory_growth_mb": round(max(o["grown_mb"] for o in outcomes)),
        "bad": [o for o in outcomes if o["verdict"] not in GOOD],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--from", type=int, dest="first", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.first is not None:
        work(asked.first, asked.cases, asked.seed)
        return
    found = report(watch(asked.cases, asked.seed), asked.seed)
    text = json.dumps(found, indent=1)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n")
    sys.exit(bool(found["bad"]))


if __name__ == "__main__":
    main()
