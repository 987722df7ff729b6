"""Time the Hierarchical Gaussian Filter beside pyhgf.

::

    python3.12 -m venv peer && peer/bin/pip install pyhgf==0.3.2 numpyro
    python tests/benchmarks/hgf.py --peer-python peer/bin/python \
        --out docs/benchmarks/hgf.json

The network has three levels and binary outcomes, eHGF, mean-field, float64. ``forward``
is the total surprise at 10,000 outcomes, ``trajectories`` the beliefs and predictions
of all nodes, ``gradient`` the total surprise at 10,000 choices with its slopes in both
tonic volatilities and the inverse temperature, ``subjects`` the same for 100
participants of 320 trials at once, ``draws`` the posterior of one participant by NUTS.

Each library runs in processes of its own, with and without the XLA option that
importing neuromod sets, and pyhgf with either CPU runtime of its XLA: its fastest
counts. So do its own calls and compiled functions that keep only what they
need, and gradients taken backwards and forwards. All contenders must return the same
numbers. Everything runs on one core, the contenders in turn; figures are medians of
the CPU time of a call.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks._measure import ROOT, Worker, keep_to, machine, race, serve
from tests.benchmarks.kernels import OPTION, Prepared

STEPS, SUBJECTS, TRIALS = 10_000, 100, 320
PARAMETERS = (-3.0, -6.0, 2.0)  # tonic volatilities of x2 and x3, inverse temperature
AGREEMENT = 1e-8
N_WARMUP, N_DRAWS = 500, 1000

BOTH_WAYS = ("forwards", "backwards")
WORKS = {  # what is timed, and in which ways by each library; ours first as it ships
    "forward": {"neuromod": ("jit",), "pyhgf": ("input_data", "jit")},
    "trajectories": {
        "neuromod": ("run and surprise", "run"),
        "pyhgf": ("input_data", "jit", "chosen columns"),
    },
    "gradient": {"neuromod": BOTH_WAYS, "pyhgf": ("input_data", *BOTH_WAYS)},
    "subjects": {"neuromod": BOTH_WAYS, "pyhgf": BOTH_WAYS},
}
TAUGHT = {  # by the peer's documentation
    "forward": ("input_data", "jit"),
    "trajectories": ("input_data",),
    "gradient": ("input_data", "backwards"),
    "subjects": ("backwards",),
}
GATES = {"forward": 1.3, "trajectories": 15.0, "gradient": 8.0, "subjects": 4.0}
SHIPPED, WITHOUT = "neuromod", "neuromod without option"
# Importing pyhgf before jax asks for XLA's old CPU runtime, where its scan is fastest.
OLD, THUNKS = (f"--xla_cpu_use_thunk_runtime={value}" for value in ("false", "true"))
PEERS = {
    "pyhgf": OLD,
    "pyhgf, new runtime": THUNKS,
    "pyhgf, new runtime with option": f"{OPTION} {THUNKS}",
}


def problem(work: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw parameters, outcomes that reverse every 40 trials, and choices."""
    shape = (SUBJECTS, TRIALS) if work == "subjects" else (STEPS,)
    rng = np.random.default_rng(0)
    probability = np.where(np.arange(shape[-1]) // 40 % 2, 0.2, 0.8)
    outcomes, choices = (rng.random((2, *shape)) < probability).astype(float)
    apart = 0.2 * rng.normal(size=(*shape[:-1], 3))
    parameters = np.array(PARAMETERS) + (apart if work == "subjects" else 0)
    return parameters, outcomes, choices


def prepare_neuromod(
    work: str, way: str, parameters: Any, outcomes: Any, choices: Any
) -> tuple[Callable[[], Any], Callable[[Any], list]]:
    """Return a function that does the work, and one that lists the arrays of a result.

    Its parameters are those of `tests.benchmarks._hgf_pyhgf.prepare`.
    """
    import jax

    from neuromod import hgf
    from neuromod.hgf import inference, likelihood
    from neuromod.hgf.agent import Agent
    from neuromod.hgf.parameters import space

    def believe(parameters, outcomes):
        network = hgf.binary_three_level((parameters[0], parameters[1]))
        series = inference.Series((outcomes,), (None,), None)
        return network, series, inference.run(network, series)

    def columns(parameters, outcomes):
        return _columns(believe(parameters, outcomes)[-1])

    def columns_and_surprise(parameters, outcomes):
        believed = believe(parameters, outcomes)
        return _columns(believed[-1]), inference.surprise(*believed)

    def outcome_surprise(parameters, outcomes):
        return inference.surprise(*believe(parameters, outcomes))["outcome"].sum()

    agent = Agent(hgf.binary_three_level(), hgf.responses.unit_square_sigmoid())
    names = ("x2.tonic_volatility", "x3.tonic_volatility")
    priors: dict[Any, Any] = {name: hgf.Normal(0.0, 1.0) for name in names}
    priors["response.inverse_temperature"] = hgf.LogNormal(0.0, 1.0)
    free = space(agent, priors)

    def choice_surprise(differentiate):
        def call(parameters, outcomes, choices):
            series = inference.Series((outcomes,), (None,), None)
            behaviour = likelihood.Behaviour(series, choices, {})
            objective = likelihood.Objective(agent, free, behaviour, 0.0)
            beta = parameters[2]
            value, slopes = differentiate(
                objective, parameters.at[2].set(jax.numpy.log(beta))
            )
            return -value, -slopes.at[2].divide(beta)

        return call

    arguments, arrays = (parameters, outcomes), list
    if work == "forward":
        function = outcome_surprise
    elif work == "trajectories":
        function = {"run": columns, "run and surprise": columns_and_surprise}[way]
        arrays = {"run": list, "run and surprise": lambda found: list(found[0])}[way]
    else:
        function = choice_surprise(
            {
                "forwards": likelihood.value_and_gradient,
                "backwards": lambda f, at: jax.value_and_grad(lambda x: f(x))(at),
            }[way]
        )
        function = function if parameters.ndim == 1 else jax.vmap(function)
        arguments = (parameters, outcomes, choices)
    compiled, arguments = jax.jit(function), jax.device_put(arguments)
    return lambda: jax.block_until_ready(compiled(*arguments)), arrays


def _columns(found: Any) -> list:
    """List beliefs and predictions in the order of the peer's."""
    states, names = ("x2", "x3"), ("outcome", "x2", "x3")
    moments = ("mean", "precision")
    return [getattr(found.beliefs[n], key) for key in moments for n in states] + [
        getattr(found.predictions[n], key) for key in moments for n in names
    ]


def serve_library(folder: Path, library: str, contender: str) -> None:
    """Be the worker of one contender; leave what each task returns in the folder."""
    keep_to(1)
    if library == "neuromod":
        # Now, for it sets the XLA option, which the facts tell.
        importlib.import_module("neuromod.hgf")
        prepare = prepare_neuromod
    else:
        from tests.benchmarks._hgf_pyhgf import prepare

    def task(work, way):
        call, arrays = prepare(work, way, *problem(work))
        path = _path(folder, work, contender, way)

        def first_time_saved():
            found = call()
            if not path.exists():
                flat = [np.ravel(part) for part in arrays(_as_list(found))]
                np.save(path, np.concatenate(flat))
            return found

        return first_time_saved

    libraries = {m: sys.modules[m] for m in (library, "jax", "jaxlib")}
    facts = {
        "versions": {name: m.__version__ for name, m in libraries.items()},
        "python": platform.python_version(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }
    serve(Prepared(task), facts)


def _as_list(found: Any) -> Any:
    return [found] if getattr(found, "ndim", None) == 0 else found


def _path(folder: Path, work: str, contender: str, way: str) -> Path:
    return folder / f"{work} {contender} {way}.npy"


def _environment(flags: str) -> dict[str, str]:
    settings = {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    return settings | {"XLA_FLAGS": flags}


def start_workers(peer_python: Path | None, folder: Path) -> dict[str, Worker]:
    """Start one process for each contender."""

    def start(library, contender, python, environment):
        command = [python, __file__, "--serve", library, contender, "--folder", folder]
        return Worker(command, environment)

    plain = _environment("")
    without = plain | {"NEUROMOD_NO_XLA_OPTION": "1"}
    workers = {
        SHIPPED: start("neuromod", SHIPPED, sys.executable, plain),
        WITHOUT: start("neuromod", WITHOUT, sys.executable, without),
    }
    if peer_python is not None:
        for name, flags in PEERS.items():
            workers[name] = start("pyhgf", name, peer_python, _environment(flags))
    return workers


class InOneWay:
    """A worker that is asked for a work, and does it in one way."""

    def __init__(self, worker: Worker, way: str) -> None:
        self.worker, self.way = worker, way

    def ask(self, work: str) -> dict[str, float]:
        """Let the worker run the work once more."""
        return self.worker.ask((work, self.way))


def measure(
    work: str, workers: dict[str, Worker], rounds: int, folder: Path
) -> list[dict[str, Any]]:
    """Time a work by every contender in each of its ways; refuse other numbers."""
    contenders: dict[tuple[str, str], Any] = {
        (name, way): InOneWay(worker, way)
        for name, worker in workers.items()
        for way in WORKS[work]["pyhgf" if name in PEERS else "neuromod"]
    }
    times = race(contenders, [work], rounds)[work]
    found = {key: np.load(_path(folder, work, *key)) for key in contenders}
    ours = found[SHIPPED, WORKS[work]["neuromod"][0]]
    apart = {
        key: float(np.max(np.abs(theirs - ours) / np.maximum(np.abs(ours), 1)))
        for key, theirs in found.items()
    }
    if not max(apart.values()) < AGREEMENT:
        sys.exit(f"{work}: not the same numbers, relative differences {apart}")
    n_steps = SUBJECTS * TRIALS if work == "subjects" else STEPS
    return [
        {
            "work": work,
            "contender": key[0],
            "way": key[1],
            "cpu_ns_per_step": round(times[key]["cpu"] / n_steps * 1e9, 1),
            "least_cpu_ns_per_step": round(times[key]["least cpu"] / n_steps * 1e9, 1),
            "wall_ns_per_step": round(times[key]["wall"] / n_steps * 1e9, 1),
            "compile_s": round(times[key]["compile"], 2),
            "relative_difference": float(f"{apart[key]:.1g}"),
        }
        for key in contenders
    ]


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare ours as it ships with the peer.

    `ratio` is to the peer's fastest of the ways that its documentation teaches: its own
    trajectories, gradients by `jax.value_and_grad`. `ratio_of_fastest` is to all that
    could be made of it.
    """
    verdicts = []
    for work, gate in GATES.items():
        times = {
            (row["contender"], row["way"]): row["cpu_ns_per_step"]
            for row in rows
            if row["work"] == work
        }
        if not any(name in PEERS for name, _ in times):
            continue
        ours = times[SHIPPED, WORKS[work]["neuromod"][0]]
        peers = {key: t for key, t in times.items() if key[0] in PEERS}
        taught = [key for key in peers if key[1] in TAUGHT[work]]
        rival = min(taught, key=lambda key: times[key])
        fastest = min(peers, key=lambda key: times[key])
        verdicts.append(
            {
                "work": work,
                "neuromod_ns": ours,
                "peer": ", ".join(rival),
                "peer_ns": times[rival],
                "ratio": round(times[rival] / ours, 2),
                "gate": gate,
                "holds": times[rival] / ours >= gate,
                "fastest": ", ".join(fastest),
                "ratio_of_fastest": round(times[fastest] / ours, 2),
            }
        )
    return verdicts


def show(rows: list[dict[str, Any]], verdicts: list[dict[str, Any]]) -> None:
    """Print both tables."""
    print(f"{'work':13} {'contender':40}  cpu ns/step      wall compile s")
    for row in rows:
        name = f"{row['contender']}, {row['way']}"
        print(
            f"{row['work']:13} {name:40} {row['cpu_ns_per_step']:12.1f} "
            f"{row['wall_ns_per_step']:9.1f} {row['compile_s']:9.2f}"
        )
    for v in verdicts:
        print(
            f"{v['work']}: {v['ratio']} times {v['peer']}, gate {v['gate']}: "
            f"{'holds' if v['holds'] else 'FAILS'} "
            f"(fastest peer: {v['fastest']}, {v['ratio_of_fastest']})"
        )


def serve_draws(source: Path, library: str, way: str) -> None:
    """Be the process that draws from a posterior, and print what it found."""
    keep_to(1)
    with np.load(source) as file:
        outcomes, choices = file["input"].ravel().astype(float), file["response"]
    side = "_hgf_draws" if library == "neuromod" else "_hgf_pyhgf"
    sample = importlib.import_module(f"tests.benchmarks.{side}").sample
    found = sample(outcomes, choices, way, N_WARMUP, N_DRAWS)
    print(json.dumps(found | {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}))


def measure_draws(peer_python: Path | None, source: Path) -> dict[str, Any]:
    """Draw from the posterior of one participant by every contender, one by one."""
    ours = (sys.executable, "neuromod", "forwards", "")
    contenders: dict[str, tuple] = {"neuromod, forwards": ours}
    if peer_python is not None:
        # As pyhgf comes, which is its fastest by the gradients above.
        for way in BOTH_WAYS:
            contenders[f"pyhgf, {way}"] = (peer_python, "pyhgf", way, PEERS["pyhgf"])
    found = {}
    for name, (python, library, way, flags) in contenders.items():
        command = [python, __file__, "--draw", library, way, "--participant", source]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | _environment(flags)
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True
        )
        done.check_returncode()
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, json.dumps(found[name]), flush=True)
    return found


def main() -> None:
    """Run the race and write its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="a Python that has pyhgf")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="*", choices=WORKS, default=list(WORKS))
    parser.add_argument(
        "--participant", type=Path, help="an .npz file with input and response: draws"
    )
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--draw", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve_library(options.folder, *options.serve)
    if options.draw:
        return serve_draws(options.participant, *options.draw)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        workers = start_workers(options.peer_python, Path(name))
        for work in options.only:
            rows += measure(work, workers, options.rounds, Path(name))
        for worker in workers.values():
            worker.close()
    verdicts = judge(rows)
    show(rows, verdicts)
    report = {
        "parameters": PARAMETERS,
        "rounds": options.rounds,
        "verdicts": verdicts,
        "missing": [] if options.peer_python else ["pyhgf"],
        "rows": rows,
        "workers": {name: worker.facts for name, worker in workers.items()},
        "machine": machine(),
    }
    for name, worker in workers.items():
        print(name, json.dumps(worker.facts))
    for missing in report["missing"]:
        print(f"{missing}: MISSING, not measured (give --peer-python)")
    if options.participant:
        report["draws"] = measure_draws(options.peer_python, options.participant)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
