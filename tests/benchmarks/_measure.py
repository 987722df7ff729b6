"""What the benchmarks share: time the same work in several processes, side by side.

Contenders often cannot live in one process: a peer has its own environment, and an XLA
option holds for a whole process. So each runs in a worker that waits for the name of a
task on its input, and the script asks the workers in turn, round after round: whatever
else the machine does meets all of them alike. Time is the CPU time of the worker's
process, which waiting for a busy machine does not add to; compilation is apart.

A worker is the same script, started with other arguments::

    serve({"filter": lambda: jax.block_until_ready(run(x))})    # in the worker
    times = race({"ours": Worker([sys.executable, ...])}, ["filter"], rounds=9)

This module imports nothing but the standard library: a peer's Python runs it too.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_SECONDS = 0.05


def serve(tasks: Mapping[Any, Callable[[], Any]], facts: Mapping[str, Any]) -> None:
    """Answer on stdout: first the facts, then for each task named on stdin its times.

    Names are strings, or tuples of what JSON holds. The first time that a task is named
    it is compiled; its answer is
    ``{"compile": s}``. Then it is called for about `SAMPLE_SECONDS` and the answer is
    ``{"cpu": s, "wall": s}`` for one call.
    """
    calls: dict[Any, int] = {}
    print(json.dumps(dict(facts)), flush=True)
    for line in sys.stdin:
        name = json.loads(line)
        name = tuple(name) if isinstance(name, list) else name
        if name in calls:
            answer = _time(tasks[name], calls[name])
        else:
            first = _time(tasks[name], 1)
            calls[name] = max(1, int(SAMPLE_SECONDS / _time(tasks[name], 1)["wall"]))
            answer = {"compile": first["wall"]}
        print(json.dumps(answer), flush=True)


def keep_to(n_cores: int) -> None:
    """Let this process run on so many cores; to be called before it loads a library.

    XLA has no setting for its number of threads: it takes as many as there are cores.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[-n_cores:])


def _time(task: Callable[[], Any], calls: int) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        task()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"cpu": cpu / calls, "wall": wall / calls}


@dataclass
class Worker:
    """A process that runs `serve`, with what it told about itself."""

    command: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [str(part) for part in self.command],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(self.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts = self._read()

    def ask(self, task: Any) -> dict[str, float]:
        """Let the worker run one task once more."""
        print(json.dumps(task), file=self.process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            self.close()
            raise RuntimeError(f"the worker {self.command} died: its error is above")
        return json.loads(line)


def race(
    workers: Mapping[Any, Worker], tasks: Sequence[Any], rounds: int
) -> dict[Any, dict[Any, dict[str, float]]]:
    """Time every task in every worker, in turn.

    By task and worker: the median CPU and wall times of one call (s), the least CPU
    time, and the time to compile.
    """
    table = {}
    for task in tasks:
        compiled = {name: w.ask(task)["compile"] for name, w in workers.items()}
        samples = [{n: w.ask(task) for n, w in workers.items()} for _ in range(rounds)]
        table[task] = {
            name: {
                "cpu": median(sample[name]["cpu"] for sample in samples),
                "least cpu": min(sample[name]["cpu"] for sample in samples),
                "wall": median(sample[name]["wall"] for sample in samples),
                "compile": compiled[name],
            }
            for name in workers
        }
    return table


def machine() -> dict[str, Any]:
    """Tell what the figures were measured on."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()
