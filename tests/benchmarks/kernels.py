"""Time the hidden Markov kernels beside dynamax's.

::

    python -m venv peer && peer/bin/pip install dynamax
    python tests/benchmarks/kernels.py --peer-python peer/bin/python \
        --out docs/benchmarks/kernels.json

Each library's own functions run on the same arrays, one thread each: ours as a user
gets them and without the XLA option that importing neuromod sets, dynamax's with
and without that option. The smoother is compared twice, because dynamax's public call
always gives the posteriors of the transitions: ``smoother`` is its inside without them
beside ours, which has the expected counts in any case.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from tests.benchmarks._measure import ONE_THREAD, Worker, machine, race, serve

N_STATES = 5
WORK = ("filter", "smoother", "smoother and transitions", "viterbi", "gradient")
OPTION = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=65536"


def chain(n_bins: int, dtype: str) -> list[np.ndarray]:
    """Draw a chain of persistent states with evidence that tells them apart."""
    rng = np.random.default_rng(0)
    transition = 0.95 * np.eye(N_STATES) + 0.05 / N_STATES
    initial = np.full(N_STATES, 1 / N_STATES)
    evidence = 2 * rng.normal(size=(n_bins, N_STATES)) - 50
    return [x.astype(dtype) for x in (initial, transition, evidence)]


def functions_of_neuromod() -> dict:
    """Name our functions by the work they do."""
    import jax

    from neuromod import kernels

    return {
        "filter": kernels.hmm_filter,
        "smoother": kernels.hmm_smoother,
        "smoother and transitions": kernels.hmm_smoother,
        "viterbi": kernels.hmm_viterbi,
        "gradient": jax.grad(kernels.hmm_log_likelihood, (0, 1, 2)),
    }


def functions_of_dynamax() -> dict:
    """Name dynamax's functions by the work they do."""
    import jax
    from dynamax import hidden_markov_model as peer

    def log_likelihood(*chain):
        return peer.hmm_filter(*chain).marginal_loglik

    def without_transitions(*chain):
        return peer.hmm_smoother.__wrapped__(*chain, None, False)

    return {
        "filter": peer.hmm_filter,
        "smoother": without_transitions,
        "smoother and transitions": peer.hmm_smoother,
        "viterbi": peer.hmm_posterior_mode,
        "gradient": jax.grad(log_likelihood, (0, 1, 2)),
    }


LIBRARIES = {"neuromod": functions_of_neuromod, "dynamax": functions_of_dynamax}


def serve_library(library: str, bins: list[int]) -> None:
    """Be the worker of one library."""
    functions = LIBRARIES[library]()
    import jax

    def task(work: str, dtype: str, n_bins: int):
        function = jax.jit(functions[work])
        with jax.enable_x64(dtype == "float64"):
            arrays = jax.device_put(chain(n_bins, dtype))

        def call():
            with jax.enable_x64(dtype == "float64"):
                jax.block_until_ready(function(*arrays))

        return call

    facts = {
        "versions": {n: sys.modules[n].__version__ for n in (library, "jax", "jaxlib")},
        "python": platform.python_version(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }
    serve({name: task(*name) for name in tasks(bins)}, facts)


def tasks(bins: list[int]) -> list[tuple[str, str, int]]:
    """List what is timed."""
    return [(w, d, b) for w in WORK for d in ("float32", "float64") for b in bins]


def start_workers(peer_python: Path | None, bins: list[int]) -> dict[str, Worker]:
    """Start one process for each contender."""

    def start(python, library, environment):
        arguments = ["--serve", library, "--bins", *map(str, bins)]
        return Worker([python, __file__, *arguments], environment)

    without = {"XLA_FLAGS": ONE_THREAD, "NEUROMOD_NO_XLA_OPTION": "1"}
    workers = {
        "neuromod": start(sys.executable, "neuromod", {"XLA_FLAGS": ONE_THREAD}),
        "neuromod without option": start(sys.executable, "neuromod", without),
    }
    if peer_python is not None:
        option = {"XLA_FLAGS": f"{OPTION} {ONE_THREAD}"}
        workers["dynamax with option"] = start(peer_python, "dynamax", option)
        workers["dynamax"] = start(peer_python, "dynamax", without)
    return workers


def rows(table: dict, workers: list[str]) -> list[dict]:
    """Give times per bin, and how many times longer each takes than neuromod."""

    def nanoseconds(times, kind, n_bins):
        return {w: round(1e9 * times[w][kind] / n_bins, 1) for w in workers}

    return [
        {
            "work": work,
            "dtype": dtype,
            "n_bins": n_bins,
            "cpu_ns_per_bin": nanoseconds(times, "cpu", n_bins),
            "least_cpu_ns_per_bin": nanoseconds(times, "least cpu", n_bins),
            "wall_ns_per_bin": nanoseconds(times, "wall", n_bins),
            "compile_s": {w: round(times[w]["compile"], 2) for w in workers},
            "ratio_to_neuromod": {
                w: round(times[w]["cpu"] / times["neuromod"]["cpu"], 2) for w in workers
            },
        }
        for (work, dtype, n_bins), times in table.items()
    ]


def show(found: list[dict], workers: list[str]) -> None:
    """Print the table."""
    print("CPU ns per bin (times neuromod's; least ns per bin)")
    print(" | ".join([f"{'':42}", *(f"{w:>24}" for w in workers)]))
    for row in found:
        name = f"{row['work']}, {row['dtype']}, {row['n_bins']} bins"
        cells = (
            f"{row['cpu_ns_per_bin'][w]:8.1f} ({row['ratio_to_neuromod'][w]:5.2f}; "
            f"{row['least_cpu_ns_per_bin'][w]:6.1f})"
            for w in workers
        )
        print(" | ".join([f"{name:42}", *(f"{cell:>24}" for cell in cells)]))


def main() -> None:
    """Run the race and write its figures."""
    parser = argparse.ArgumentParser(description="Time our kernels beside dynamax's.")
    parser.add_argument("--peer-python", type=Path, help="a Python that has dynamax")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--bins", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", choices=LIBRARIES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve_library(options.serve, options.bins)
    workers = start_workers(options.peer_python, options.bins)
    table = race(workers, tasks(options.bins), options.rounds)
    for worker in workers.values():
        worker.close()
    found = rows(table, list(workers))
    report = {
        "machine": machine(),
        "workers": {name: worker.facts for name, worker in workers.items()},
        "missing": [] if options.peer_python else ["dynamax"],
        "n_states": N_STATES,
        "rounds": options.rounds,
        "rows": found,
    }
    show(found, list(workers))
    for name, worker in workers.items():
        print(f"{name}: {worker.facts}")
    for name in report["missing"]:
        print(f"{name}: MISSING, not measured (give --peer-python)")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
