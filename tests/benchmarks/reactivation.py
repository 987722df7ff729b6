"""Time training and sleep of the reactivation networks beside PyTorch.

::

    python3.11 -m venv peer && peer/bin/pip install torch numpy
    python tests/benchmarks/reactivation.py --peer-python peer/bin/python \
        --out docs/benchmarks/reactivation.json

``training`` is the whole step that `reactivation.train` repeats, in float32: a new
batch of trials is drawn, and new noise, then come the run, the error, its gradient and
Adam. Both libraries draw their own batches, each in its fastest form; ``batch`` is that
drawing alone, with the code of every position, which training makes only where it needs
it.
``asleep`` is 200 steps of silence and the outputs of all of them. Ours runs as users
run it, through `core.training.fit_gradient`.

PyTorch (`tests.benchmarks._reactivation_torch`) runs eagerly, as a script and as a
trace, and its fastest counts. ``torch.compile`` of the run, whose loop it unrolls, did
not end within 400 s, and of the single step was slower than eager (0.22 s against 0.16
for head direction). From the same weights and trials, without noise, both must find the
same error and gradients. Each library has a process, all on one core with one thread,
and they take turns; figures are medians of the CPU time.

``memory`` is the peak of a process in which 100 trajectories of 128 units sleep for
``--sleep-steps`` steps and keep every thousandth.
"""

import argparse
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks._measure import ROOT, Worker, keep_to, machine, race, serve
from tests.benchmarks.kernels import Prepared


class Shape(NamedTuple):
    """Sizes of a network and of its batches; ``preset`` is what it is called in ours.

    ``gate`` is how many times as long the peer has to take.
    """

    name: str
    preset: str
    kind: str
    n_trials: int
    n_steps: int
    n_inputs: int
    n_units: int
    n_cells: int
    leak: float
    noise: float
    gate: float


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            "head direction", "head_direction", "vanilla",
            200, 100, 1, 128, 512, 0.5, 0.1, 2.0,
        ),
        Shape(
            "spatial", "spatial_navigation", "vanilla",
            200, 100, 2, 512, 512, 0.2, 0.01, 1.5,
        ),
        Shape(
            "gru", "spatial_navigation_gru", "gru",
            50, 100, 2, 512, 512, 0.2, 0.01, 1.2,
        ),
    )
}  # fmt: skip
WHATS = ("training", "batch", "asleep")
WAYS = ("eager", "script", "trace")
STEPS = 6
AGREEMENT = 1e-3
MEMORY_GATE = 2.0  # GiB
NAMES = {  # of ours by those of the peer; the parts of one matrix of its
    "vanilla": {
        "encoder": ["encoder"],
        "input": ["input_layer"],
        "recurrent": ["recurrent_layer"],
        "output": ["output_layer"],
    },
    "gru": {
        "encoder": ["encoder"],
        "input": ["update_input", "reset_input", "candidate_input"],
        "gates": ["update_recurrent", "reset_recurrent"],
        "candidate": ["candidate_recurrent"],
        "output": ["decoder"],
    },
}


def prepare_neuromod(
    shape: Shape, what: str, way: str, n_steps: int, folder: Path
) -> Callable[[], object]:
    """Return a function that does a work; parameters are those of the peer's."""
    import jax
    import optax

    from neuromod.core import training
    from neuromod.core.precision import in_precision
    from neuromod.reactivation import inference, presets
    from neuromod.reactivation.navigator import trainable
    from neuromod.reactivation.train import Loss

    make_task, recipe = presets.resolve(shape.preset, {"n_trials": shape.n_trials})
    built = recipe.build(make_task(0), jax.random.key(0))
    navigator = in_precision(built, "float32")
    task, key = navigator.task, jax.random.key(1)
    network = navigator.network
    sizes = task.n_steps, network.n_inputs, network.n_units, network.n_cells
    if sizes != shape[4:8] or (recipe.leak, recipe.recurrent_noise) != shape[8:10]:
        raise ValueError(f"{shape.name}: the preset has other sizes than the peer")
    if what == "batch":
        draw = jax.jit(lambda key: task.draw(key, shape.n_trials))
        return lambda: jax.block_until_ready(draw(key))
    if what == "agreement":
        return lambda: _leave(shape, navigator, folder)
    if what == "asleep":
        carry = navigator.first_states(key, shape.n_trials)
        conditions = inference.Conditions(noise_factor=2**0.5)

        @jax.jit
        def run(carry, key):
            return inference.run(
                built.network, None, carry, noise=key, n_steps=200,
                conditions=conditions,
            ).outputs  # fmt: skip

        return lambda: jax.block_until_ready(run(carry, key))
    loss = Loss(shape.n_trials, 1.0, ("input_noise", "output_noise"), None)
    optimiser = optax.adam(1e-3)
    return lambda: training.fit_gradient(
        loss, navigator, seed=0, n_steps=n_steps, optimiser=optimiser,
        trainable=trainable, progress=False,
    )  # fmt: skip


def _leave(shape: Shape, navigator: Any, folder: Path) -> None:
    """Leave weights and trials for the peer, with the error and its gradient."""
    import jax
    import jax.numpy as jnp

    from neuromod.reactivation.train import Loss

    silent = ("input_noise", "recurrent_noise", "output_noise")
    loss, key = Loss(shape.n_trials, 1.0, silent, None), jax.random.key(2)
    batch = navigator.task.draw(jax.random.split(key)[0], shape.n_trials)
    targets = jnp.swapaxes(batch.targets, 0, 1)

    @jax.jit
    def error(network):
        return loss(type(navigator)(network, navigator.task), key, 0)

    value, slopes = jax.value_and_grad(error)(navigator.network)
    told = {
        "error": value,
        "inputs": jnp.swapaxes(batch.inputs, 0, 1),
        "code": batch.code,
        "targets": targets,
    }
    for peer, names in NAMES[shape.kind].items():
        for start, layers in (("", navigator.network), ("slope_", slopes)):
            parts = [getattr(layers, name).weight for name in names]
            told[start + peer] = np.concatenate(parts)
    np.savez(folder / f"{shape.name}.npz", **told)


def serve_library(folder: Path, library: str) -> None:
    """Be the worker of one library."""
    keep_to(1)
    if library == "neuromod":
        # Now, for importing neuromod sets the XLA option, which the facts tell.
        importlib.import_module("neuromod.reactivation")
        prepare = prepare_neuromod
    else:
        prepare = importlib.import_module(
            "tests.benchmarks._reactivation_torch"
        ).prepare

    def task(name, what, way):
        return prepare(SHAPES[name], what, way, STEPS, folder)

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

    def ask(self, work: tuple[str, str]) -> dict[str, float]:
        """Let the worker run the work once more."""
        return self.worker.ask((*work, self.way))


def start_workers(peer_python: Path | None, folder: Path) -> dict[str, Worker]:
    """Start one process for each library."""
    environment = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", "XLA_FLAGS": ""}

    def start(library, python):
        command = [python, __file__, "--serve", library, "--folder", folder]
        return Worker(command, environment)

    workers = {"neuromod": start("neuromod", sys.executable)}
    if peer_python is not None:
        workers["torch"] = start("torch", peer_python)
    return workers


def agree(shape: Shape, workers: dict[str, Worker], folder: Path) -> float | None:
    """Return how far apart error and gradients are, relatively; refuse others."""
    if "torch" not in workers:
        return None
    for worker in workers.values():
        worker.ask((shape.name, "agreement", "eager"))
    apart = float(np.load(folder / f"{shape.name} apart.npy"))
    if not apart < AGREEMENT:
        sys.exit(f"{shape.name}: not the same numbers, relative difference {apart}")
    return apart


def measure(
    shape: Shape, what: str, workers: dict[str, Worker], rounds: int
) -> dict[str, Any]:
    """Time a work by every library in each of its ways."""
    contenders: dict[str, Any] = {"neuromod": InOneWay(workers["neuromod"], "")}
    if "torch" in workers:
        for way in ("eager",) if what == "batch" else WAYS:
            contenders[f"torch, {way}"] = InOneWay(workers["torch"], way)
    work = (shape.name, what)
    times = race(contenders, [work], rounds)[work]
    calls = STEPS if what == "training" else 1
    row: dict[str, Any] = {"shape": shape.name, "work": what}
    for key in ("cpu", "least cpu", "wall"):
        name = key.replace(" ", "_") + "_s"
        row[name] = {n: float(f"{t[key] / calls:.4g}") for n, t in times.items()}
    row["compile_s"] = {n: round(t["compile"], 2) for n, t in times.items()}
    return row


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare ours with the peer's fastest way."""
    verdicts = []
    for shape in SHAPES.values():
        found = {r["work"]: r["cpu_s"] for r in rows if r["shape"] == shape.name}
        best = {
            work: min((t, way) for way, t in times.items() if way != "neuromod")
            for work, times in found.items()
            if len(times) > 1
        }
        if "training" not in best:
            continue
        ours = {work: times["neuromod"] for work, times in found.items()}
        theirs = {work: t for work, (t, _) in best.items()}
        ratio = theirs["training"] / ours["training"]
        verdicts.append(
            {
                "shape": shape.name,
                "peer": best["training"][1],
                "ratio": round(ratio, 2),
                "gate": shape.gate,
                "holds": ratio >= shape.gate,
                "ratio_asleep": round(theirs["asleep"] / ours["asleep"], 2),
            }
        )
    return verdicts


def show(rows: list[dict[str, Any]], verdicts: list[dict[str, Any]]) -> None:
    """Print the table and the verdicts."""
    print(f"{'shape':15} {'work':9} {'contender':14} {'cpu s':>8} {'wall':>8} compile")
    for row in rows:
        for name, cpu in row["cpu_s"].items():
            wall, compiled = row["wall_s"][name], row["compile_s"][name]
            print(
                f"{row['shape']:15} {row['work']:9} {name:14} {cpu:8.4f} {wall:8.4f} "
                f"{compiled:7.2f}"
            )
    for v in verdicts:
        print(
            f"{v['shape']}: {v['ratio']} times faster than {v['peer']}, gate "
            f"{v['gate']}: {'holds' if v['holds'] else 'FAILS'} (asleep "
            f"{v['ratio_asleep']})"
        )


def sleep_long(n_steps: int) -> None:
    """Be the process that sleeps long, and print what it took."""
    keep_to(1)
    from neuromod import reactivation

    navigator = reactivation.untrained("head_direction", 0)
    every = max(1, n_steps // 1000)
    duration = n_steps * float(navigator.task.time_step)
    wall, cpu = time.perf_counter(), time.process_time()
    found = reactivation.sleep(
        navigator, duration, seed=0, n_trials=100, record_every=every
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = {
        "n_steps": n_steps,
        "n_trials": found.sizes["trial"],
        "n_units": navigator.network.n_units,
        "n_records": found.sizes["time"],
        "cpu_s": round(cpu, 1),
        "wall_s": round(wall, 1),
        "peak_GiB": round(kibibytes / 2**20, 3),
        "gate_GiB": MEMORY_GATE,
        "holds": kibibytes / 2**20 < MEMORY_GATE,
    }
    print(json.dumps(told))


def measure_memory(n_steps: int) -> dict[str, Any]:
    """Let a process of its own sleep long."""
    command = [sys.executable, __file__, "--serve-sleep", str(n_steps)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    done.check_returncode()
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run the race and write its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="a Python that has torch")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", choices=SHAPES, default=list(SHAPES))
    parser.add_argument(
        "--sleep-steps", type=int, default=1_000_000, help="0 leaves memory out"
    )
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--serve-sleep", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve_library(options.folder, options.serve)
    if options.serve_sleep:
        return sleep_long(options.serve_sleep)
    rows, apart = [], {}
    with tempfile.TemporaryDirectory() as name:
        workers = start_workers(options.peer_python, Path(name))
        for shape in (SHAPES[only] for only in options.only):
            apart[shape.name] = agree(shape, workers, Path(name))
            rows += [measure(shape, what, workers, options.rounds) for what in WHATS]
        for worker in workers.values():
            worker.close()
    verdicts = judge(rows)
    show(rows, verdicts)
    report = {
        "shapes": [shape._asdict() for shape in SHAPES.values()],
        "rounds": options.rounds,
        "verdicts": verdicts,
        "missing": [] if options.peer_python else ["torch"],
        "relative_differences": apart,
        "rows": rows,
        "workers": {name: worker.facts for name, worker in workers.items()},
        "machine": machine(),
    }
    for name, worker in workers.items():
        print(name, json.dumps(worker.facts))
    for missing in report["missing"]:
        print(f"{missing}: MISSING, not measured (give --peer-python)")
    if options.sleep_steps:
        report["memory"] = measure_memory(options.sleep_steps)
        print("memory", json.dumps(report["memory"]))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
