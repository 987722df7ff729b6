"""Time the kernels, beside their peers.

::

    python -m venv peer && peer/bin/pip install dynamax
    python tests/benchmarks/kernels.py hmm --peer-python peer/bin/python \
        --out docs/benchmarks/kernels_hmm.json

The parts are ``hmm`` and ``kalman`` (beside dynamax), ``cells`` (beside PyTorch) and
``chain`` (the gradient of a small model beside its own forward pass). Each library runs
its own functions on the same work in a process of its own, in turn with the others:
ours as a user gets them and without the XLA option that importing neuromod sets, a peer
on JAX with and without it.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks._measure import Worker, keep_to, machine, race, serve

OPTION = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=65536"
PEERS = {"hmm": "dynamax", "kalman": "dynamax", "cells": "torch", "chain": None}


def tasks(options: argparse.Namespace) -> list[tuple]:
    """List what is timed."""
    module = _module(options.part)
    chosen = module.tasks(*([] if options.part == "cells" else [options.steps]))
    return [task for task in chosen if not options.only or task[0] in options.only]


def _module(part: str) -> Any:
    return importlib.import_module(f"tests.benchmarks.kernels_{part}")


class Prepared(dict):
    """The tasks of a worker, prepared when they are asked for."""

    def __init__(self, prepare: Callable[..., Callable[[], object]]) -> None:
        super().__init__()
        self.prepare = prepare

    def __missing__(self, task: tuple) -> Callable[[], object]:
        self[task] = self.prepare(*task)
        return self[task]


def serve_library(library: str, options: argparse.Namespace) -> None:
    """Be the worker of one library."""
    keep_to(options.threads)
    module = _module(options.part)
    arguments = (options.threads,) if library == "torch" else ()
    prepare = getattr(module, f"of_{library}")(*arguments)
    names = (library, "jax", "jaxlib")
    facts = {
        "versions": {n: sys.modules[n].__version__ for n in names if n in sys.modules},
        "python": platform.python_version(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "threads": options.threads,
    }
    serve(Prepared(prepare), facts)


def start_workers(options: argparse.Namespace) -> dict[str, Worker]:
    """Start one process for each contender."""
    peer = PEERS[options.part]

    def start(python, library, environment):
        arguments = [options.part, "--serve", library, "--threads", options.threads]
        command = [python, __file__, *map(str, arguments)]
        threads = {"OMP_NUM_THREADS": str(options.threads)}
        return Worker(command, environment | threads)

    without = {"XLA_FLAGS": "", "NEUROMOD_NO_XLA_OPTION": "1"}
    workers = {"neuromod": start(sys.executable, "neuromod", {"XLA_FLAGS": ""})}
    if options.part != "cells":  # too large to be folded, with the option or without
        workers["neuromod without option"] = start(sys.executable, "neuromod", without)
    if options.peer_python is not None and peer is not None:
        workers[peer] = start(options.peer_python, peer, without)
        if peer == "dynamax":
            option = {"XLA_FLAGS": OPTION}
            workers["dynamax with option"] = start(options.peer_python, peer, option)
    return workers


def rows(table: dict, workers: list[str]) -> list[dict]:
    """Give the times of one call, and how many times longer each takes than ours."""

    def of(times, kind):
        return {w: float(f"{times[w][kind]:.4g}") for w in workers}

    return [
        {
            "task": list(task),
            "cpu_s": of(times, "cpu"),
            "least_cpu_s": of(times, "least cpu"),
            "wall_s": of(times, "wall"),
            "compile_s": of(times, "compile"),
            "times_neuromod": {
                w: round(times[w]["cpu"] / times["neuromod"]["cpu"], 2) for w in workers
            },
        }
        for task, times in table.items()
    ]


def show(found: list[dict], workers: list[str]) -> None:
    """Print the table."""
    print("CPU ms per call (times neuromod's)")
    print(" | ".join([f"{'':44}", *(f"{w:>24}" for w in workers)]))
    for row in found:
        name = ", ".join(map(str, row["task"]))
        cells = (
            f"{1e3 * row['cpu_s'][w]:10.3f} ({row['times_neuromod'][w]:5.2f})"
            for w in workers
        )
        print(" | ".join([f"{name:44}", *(f"{cell:>24}" for cell in cells)]))


def main() -> None:
    """Run the race and write its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=PEERS)
    parser.add_argument("--peer-python", type=Path, help="a Python that has the peer")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--steps", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--only", nargs="+", help="such as: LSTM, or smoother")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve_library(options.serve, options)
    peer = PEERS[options.part]
    workers = start_workers(options)
    table = race(workers, tasks(options), options.rounds)
    for worker in workers.values():
        worker.close()
    found = rows(table, list(workers))
    report = {
        "machine": machine(),
        "workers": {name: worker.facts for name, worker in workers.items()},
        "missing": [] if peer is None or peer in workers else [peer],
        "rounds": options.rounds,
        "rows": found,
    }
    show(found, list(workers))
    if options.part == "cells" and peer in workers:
        clock = "cpu_s" if options.threads == 1 else "wall_s"
        summary = _module("cells").summary
        report["summary"] = summary(found, clock, "neuromod", peer)
        print(json.dumps(report["summary"], indent=1))
    for name in report["missing"]:
        print(f"{name}: MISSING, not measured (give --peer-python)")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
