"""Time training and error regression of PV-RNN beside PyTorch.

::

    python3.11 -m venv peer && peer/bin/pip install torch numpy
    python tests/benchmarks/pvrnn.py --peer-python peer/bin/python \
        --out docs/benchmarks/pvrnn.json

``epoch`` is one update of all weights and adaptive vectors at the shapes of the
sensory-attenuation study (48 trials of 200 steps, 15 units in each of two senses and
above them), ``toy`` that of one layer of 10 units (10 trials of 24 steps). PyTorch
(`tests.benchmarks._pvrnn_torch`) does it step by step in a Python loop over time, as
the public codes do, and with all taken out of the loop that can be, in several ways,
each told by itself. From the same numbers, in double precision, all must find our
loss and our gradients. Ours runs as users run it, through `core.training.fit_gradient`.

``regression`` are 50 updates of a window of 10 steps; ours also slides the window and
predicts. ``latency`` is that of 1000 steps in a row, each by itself. ``lanes`` are 14
toy networks at once against one. Each library has a process, all on one core with one
thread, and they take turns; figures are medians of the CPU time.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks._measure import ROOT, Worker, keep_to, machine, race, serve
from tests.benchmarks.kernels import Prepared

WAYS = (
    "step by step",
    "hoisted",
    "hoisted, compiled",
    "hoisted, adjoint",
)
WORKS = {"epoch": WAYS, "toy": ("toy",), "regression": WAYS[1:]}
GATES = {"step by step": 50.0, "hoisted": 1.5}
AGREEMENT = 1e-9
N_LANES, LANES_GATE = 14, 3.0
N_LATENCY, MEDIAN_GATE, LATE_GATE = 1000, 2.5e-3, 10e-3


def serve_library(path: Path, library: str) -> None:
    """Be the worker of one library."""
    keep_to(1)
    ours = library == "neuromod"
    if ours:
        importlib.import_module("neuromod.pvrnn")  # sets the XLA option
    name = "_pvrnn_shapes" if ours else "_pvrnn_torch"
    module = importlib.import_module(f"tests.benchmarks.{name}")

    def task(work: str, way: str) -> Callable[[], Any]:
        return module.prepare(work) if ours else module.prepare(work, way, path)

    names = ("neuromod", "jax", "jaxlib", "torch", "numpy")
    facts = {
        "versions": {n: sys.modules[n].__version__ for n in names if n in sys.modules},
        "python": platform.python_version(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "threads": 1,
    }
    serve(Prepared(task), facts)


class InOneWay:
    """A worker that is asked for a work, and does it in one way."""

    def __init__(self, worker: Worker, way: str) -> None:
        self.worker, self.way = worker, way

    def ask(self, work: str) -> dict[str, float]:
        """Let the worker run the work once more."""
        return self.worker.ask((work, self.way))


def start_workers(peer_python: Path | None, path: Path) -> dict[str, Worker]:
    """Start one process for each library."""
    environment = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "XLA_FLAGS": ""}

    def start(library: str, python: Any) -> Worker:
        command = [python, __file__, "--serve", library, "--path", path]
        return Worker(command, environment)

    workers = {"neuromod": start("neuromod", sys.executable)}
    if peer_python is not None:
        workers["torch"] = start("torch", peer_python)
    return workers


def agree(peer_python: Path | None, path: Path) -> dict[str, Any]:
    """Return how far the peer's losses and gradients are from ours; refuse others."""
    if peer_python is None:
        return {}
    program = (
        "import json, sys; sys.path[0] = sys.argv[2]\n"
        "from tests.benchmarks import _pvrnn_torch as peer\n"
        "ways = [*peer.WAYS, 'toy']\n"
        "print(json.dumps({way: peer.check(way, sys.argv[1]) for way in ways}))"
    )
    command = [peer_python, "-c", program, path, ROOT]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    apart = json.loads(done.stdout.splitlines()[-1])
    for way, found in apart.items():
        worst = max(v for k, v in found.items() if k != "loss")
        if not worst < AGREEMENT:
            sys.exit(f"{way}: not the same numbers, relative difference {worst}")
    return apart


def measure(work: str, workers: dict[str, Worker], rounds: int) -> dict[str, Any]:
    """Time a work by every library in each of its ways."""
    from tests.benchmarks._pvrnn_shapes import STEPS

    contenders: dict[str, Any] = {"neuromod": InOneWay(workers["neuromod"], "")}
    if "torch" in workers:
        for way in WORKS[work]:
            contenders[way] = InOneWay(workers["torch"], way)
    times = race(contenders, [work], rounds)[work]
    row: dict[str, Any] = {"work": work}
    for key in ("cpu", "least cpu", "wall"):
        name = key.replace(" ", "_") + "_s"
        row[name] = {
            n: float(f"{t[key] / (STEPS.get(work, 1) if n == 'neuromod' else 1):.4g}")
            for n, t in times.items()
        }
    row["compile_s"] = {n: round(t["compile"], 2) for n, t in times.items()}
    return row


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare ours with every way of the peer."""
    verdicts = []
    for row in rows:
        times = row["cpu_s"]
        for way in [way for way in times if way != "neuromod"]:
            kind = "hoisted" if way.startswith("hoisted") else way
            ratio = times[way] / times["neuromod"]
            gate = GATES.get(kind) if row["work"] == "epoch" else None
            verdicts.append(
                {
                    "work": row["work"],
                    "peer": way,
                    "ratio": round(ratio, 2),
                    "gate": gate,
                    "holds": None if gate is None else ratio >= gate,
                }
            )
    return verdicts


def latency() -> dict[str, Any]:
    """Time 1000 steps of error regression, each by itself."""
    from neuromod.pvrnn import ErrorRegression
    from tests.benchmarks._pvrnn_shapes import (
        CHANNELS,
        ITERATIONS,
        WINDOW,
        arm,
        settings,
    )

    build, objective, _ = settings("epoch")
    regression = ErrorRegression(
        build(_key(0)), objective, seed=0, window=WINDOW, n_iterations=ITERATIONS
    )
    rows = arm().values.reshape(-1, sum(CHANNELS))
    for row in rows[: 2 * WINDOW]:
        regression.step(row)
    cpu, wall = [], []
    for row in rows[:N_LATENCY]:
        begun = time.process_time(), time.perf_counter()
        regression.step(row)
        cpu.append(time.process_time() - begun[0])
        wall.append(time.perf_counter() - begun[1])
    told: dict[str, Any] = {"n_steps": N_LATENCY}
    for name, times in (("cpu", cpu), ("wall", wall)):
        told[f"{name}_median_s"] = float(np.median(times))
        told[f"{name}_99th_s"] = float(np.quantile(times, 0.99))
    holds = told["cpu_median_s"] <= MEDIAN_GATE and told["cpu_99th_s"] < LATE_GATE
    return told | {"gates_s": [MEDIAN_GATE, LATE_GATE], "holds": holds}


def lanes(rounds: int) -> dict[str, Any]:
    """Time 14 toy networks at once, and one."""
    from neuromod.core import models, training
    from neuromod.core.precision import in_precision
    from neuromod.pvrnn.adam import two_groups
    from neuromod.pvrnn.data import read
    from neuromod.pvrnn.trainee import Beginning, Loss, prepare, trained
    from tests.benchmarks._pvrnn_shapes import STEPS, cycles, settings

    build, objective, _ = settings("toy")
    trials = read(cycles())
    optimiser, loss = two_groups(1e-3, 1e-3, False, 0.0), Loss(None)
    begun = [
        in_precision(Beginning(build).trainee(objective, s, trials), "float32")
        for s in range(N_LANES)
    ]
    data = prepare(begun[0].network, trials)

    def train(several: bool) -> None:
        training.fit_gradient(
            loss,
            models.stack(begun) if several else begun[0],
            seed=list(range(N_LANES)) if several else 0,
            n_steps=STEPS["toy"],
            optimiser=optimiser,
            arguments=(data,),
            trainable=trained,
            progress=False,
        )

    times: dict[bool, list[float]] = {False: [], True: []}
    for k in range(rounds + 1):
        for several, found in times.items():
            begun_at = time.process_time()
            train(several)
            if k:  # the first one compiles
                found.append((time.process_time() - begun_at) / STEPS["toy"])
    one, all_ = (float(np.median(times[several])) for several in (False, True))
    return {
        "n_networks": N_LANES,
        "one_s": one,
        "all_s": all_,
        "ratio": round(all_ / one, 2),
        "gate": LANES_GATE,
        "holds": all_ / one < LANES_GATE,
    }


def alone(what: str, rounds: int) -> dict[str, Any]:
    """Let a process of its own measure."""
    command = [sys.executable, __file__, "--alone", what, "--rounds", str(rounds)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _key(seed: int) -> Any:
    import jax

    return jax.random.key(seed)


def show(rows: list[dict[str, Any]], verdicts: list[dict[str, Any]]) -> None:
    """Print the table and the verdicts."""
    print(f"{'work':11} {'contender':18} {'cpu ms':>9} {'wall ms':>9} compile")
    for row in rows:
        for name, cpu in row["cpu_s"].items():
            wall, compiled = row["wall_s"][name], row["compile_s"][name]
            print(
                f"{row['work']:11} {name:18} {1e3 * cpu:9.3f} {1e3 * wall:9.3f} "
                f"{compiled:7.2f}"
            )
    for v in verdicts:
        gate = "" if v["gate"] is None else f", gate {v['gate']}: {v['holds']}"
        print(f"{v['work']}: {v['ratio']} times faster than {v['peer']}{gate}")


def main() -> None:
    """Run the race and write its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="a Python that has torch")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        keep_to(1)
        print(
            json.dumps(
                latency() if options.alone == "latency" else lanes(options.rounds)
            )
        )
        return None
    if options.serve:
        return serve_library(options.path, options.serve)
    from tests.benchmarks._pvrnn_shapes import export

    with tempfile.TemporaryDirectory() as name:
        path = export(Path(name) / "shapes.npz")
        apart = agree(options.peer_python, path)
        workers = start_workers(options.peer_python, path)
        rows = [measure(work, workers, options.rounds) for work in WORKS]
        for worker in workers.values():
            worker.close()
    verdicts = judge(rows)
    show(rows, verdicts)
    report = {
        "rounds": options.rounds,
        "verdicts": verdicts,
        "missing": [] if options.peer_python else ["torch"],
        "agreement": apart,
        "rows": rows,
        "latency": alone("latency", options.rounds),
        "lanes": alone("lanes", options.rounds),
        "workers": {name: worker.facts for name, worker in workers.items()},
        "machine": machine(),
    }
    for name in ("latency", "lanes", "workers"):
        print(name, json.dumps(report[name]))
    for missing in report["missing"]:
        print(f"{missing}: MISSING, not measured (give --peer-python)")
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
