"""Time each library's way to the same likelihood, from the same parameters.

::

    python tests/benchmarks/switching_peers.py --choices rat_W053.npz \
        --population sim_N20_S5.npz --python dynamax=PATH --python nemos=PATH \
        --starts 2 --seconds 30 --out docs/benchmarks/switching_peers.json

and once more with ``--only population --seconds 150``, where nemos needs longer. Every
peer runs in an environment of its own, on one core, in float64 and by maximum
likelihood. All climb the same marginal likelihood from the same drawn parameters; the
parameters that a peer passes through are scored here, so that all numbers are one
library's. The figure is the CPU time (compilation apart) until the log-likelihood is
within 1e-3 nats per bin of the best that anyone found from that start; who ended in
another optimum never gets there. Tasks that are not run (``--only``) keep the rows that
the file has.

- ``choices, sessions``: three states of a rat's choices (Bernoulli, five inputs), one
  chain per session. The sessions differ in length, which dynamax does not take.
- ``choices, one chain``: the same with all trials in one chain, which it does.
- ``one neuron``: two states of one neuron's counts, which the past of 20 neurons drives
  (Poisson, softplus). dynamax has no such model.
- ``population``: five states of 20 neurons that drive one another. nemos has the code,
  but no public verb that takes it.

``ssm`` is no peer: the release in the package registry (0.0.1) has no observations that
inputs drive. "dynamax, tuned" takes 10 steps of Adam in each M-step where dynamax's own
choice is 50, at three times the learning rate.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from neuromod import kernels
from neuromod.switching import SwitchingGLM, inference
from neuromod.switching.recording import Recording
from tests.benchmarks import switching_peers_climbs as climbs
from tests.benchmarks._measure import ROOT, machine
from tests.benchmarks.switching_peers_climbs import PARAMETERS, Arrays

NEAR = 1e-3
INPUTS = ("s1", "s2", "prev_choice", "prev_correct_side", "prev_reward")
N_SESSIONS = 4
N_POINTS = 40
STAY = 0.95
WHO = {
    "choices, sessions": ("neuromod", "nemos"),
    "choices, one chain": ("neuromod", "nemos", "dynamax", "dynamax, tuned"),
    "one neuron": ("neuromod", "nemos"),
    "population": ("neuromod", "nemos"),
}


def problems(choices: Path, population: Path) -> dict[str, Arrays]:
    """Read what is fitted.

    A problem holds values (bin, neuron), inputs (bin, input), lengths of sessions,
    and whether the inputs are the past of the neurons themselves.
    """
    with np.load(choices) as file:
        values = file["choice"].astype(float)[:, None]
        inputs = np.stack([file[name][:, 0].astype(float) for name in INPUTS], axis=1)
        lengths = file["session_length"].astype(int)
    of_choices = {"values": values, "inputs": inputs, "counts": np.array(False)}
    with np.load(population) as file:
        spikes = file["spikes"][:N_SESSIONS].astype(float)
        basis = file["basis_recent_first"].astype(float)
    past = np.concatenate([_past(session, basis) for session in spikes])
    counts = np.concatenate(spikes)
    whole = np.full(N_SESSIONS, spikes.shape[1])
    of_neurons = {"inputs": past, "lengths": whole, "counts": np.array(True)}
    one_chain = np.array([len(values)])
    found = {
        "choices, sessions": of_choices | {"lengths": lengths, "n_states": 3},
        "choices, one chain": of_choices | {"lengths": one_chain, "n_states": 3},
        "one neuron": of_neurons | {"values": counts[:, :1], "n_states": 2},
        "population": of_neurons | {"values": counts, "n_states": 5},
    }
    return {name: {k: np.asarray(v) for k, v in p.items()} for name, p in found.items()}


def _past(counts: np.ndarray, basis: np.ndarray) -> np.ndarray:
    n_bins, n_lags = len(counts), len(basis)
    padded = np.pad(counts, ((n_lags, 0), (0, 0)))
    lags = [padded[n_lags - 1 - lag :][:n_bins] for lag in range(n_lags)]
    return np.tensordot(basis, lags, axes=1)


def start(problem: Arrays, seed: int) -> Arrays:
    """Draw the parameters that all climb from: rates near the mean, sticky states."""
    rng = np.random.default_rng(seed)
    n_states, n_neurons = int(problem["n_states"]), problem["values"].shape[1]
    mean = problem["values"].mean(0)
    inverse = np.log(np.expm1(mean)) if problem["counts"] else np.log(mean / (1 - mean))
    transition = np.full((n_states, n_states), (1 - STAY) / (n_states - 1))
    np.fill_diagonal(transition, STAY)
    shape = (n_states, n_neurons, problem["inputs"].shape[1])
    return {
        "initial": np.full(n_states, 1 / n_states),
        "transition": transition,
        "bias": inverse + 0.3 * rng.normal(size=shape[:2]),
        "weight": 0.3 * rng.normal(size=shape),
    }


def model_of(
    problem: Arrays,
    initial: np.ndarray,
    transition: np.ndarray,
    bias: np.ndarray,
    weight: np.ndarray,
) -> SwitchingGLM:
    """Return our model with these parameters."""
    n_states, n_neurons = bias.shape
    return SwitchingGLM(
        initial=initial,
        transition_matrix=transition,
        bias=bias,
        weight=np.zeros((n_states, n_neurons, n_neurons, 0)),
        basis=np.zeros((0, 0)),
        input_weight=weight,
        observation="poisson" if problem["counts"] else "bernoulli",
    )


def recording_of(problem: Arrays) -> Recording:
    """Pad the sessions to one length."""
    lengths = problem["lengths"]
    ends = np.cumsum(lengths)

    def padded(array):
        full = np.zeros((len(lengths), lengths.max(), array.shape[1]))
        for session, (end, length) in enumerate(zip(ends, lengths, strict=True)):
            full[session, :length] = array[end - length : end]
        return full

    observed = np.arange(lengths.max())[None] < lengths[:, None]
    values, inputs = padded(problem["values"]), padded(problem["inputs"])
    return Recording(values, observed, lengths, inputs, np.zeros((*observed.shape, 0)))


def score(problem: Arrays, found: Arrays) -> np.ndarray:
    """Return the log-likelihood at every set of parameters (nats per bin)."""
    with jax.enable_x64(True):
        recording = jax.device_put(recording_of(problem))
        scores = []
        for parameters in zip(*(found[name] for name in PARAMETERS), strict=True):
            model = jax.device_put(model_of(problem, *parameters))
            each = inference.run(kernels.hmm_log_likelihood, model, recording)
            scores.append(float(each.sum()))
    return np.array(scores) / len(problem["values"])


def run(
    climb: str, python: str | Path, problem: Arrays, seconds: float
) -> tuple[Arrays, dict]:
    """Let a library climb, in a process of its own; return its trace and versions."""
    with tempfile.TemporaryDirectory() as name:
        asked, answered = Path(name, "problem.npz"), Path(name, "trace.npz")
        np.savez(asked, allow_pickle=False, **problem)
        command = [python, climbs.__file__, climb, asked, answered]
        done = subprocess.run(
            [*map(str, command), "--seconds", str(seconds)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        with np.load(answered) as file:
            return dict(file), json.loads(done.stdout.splitlines()[-1])


def curve(problem: Arrays, found: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Return CPU seconds and log-likelihood (nats per bin) along a climb."""
    scores = score(problem, found)
    if "log_likelihood" not in found:
        return found["cpu"], scores
    own = found["log_likelihood"] / len(problem["values"])
    if abs(own[-1] - scores[-1]) > 1e-9:
        raise RuntimeError(f"scored {scores[-1]}, but the climb told {own[-1]}")
    return found["cpu"], own


def compare(curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, dict]:
    """Tell when each came near the best that any found."""
    best = max(values.max() for _, values in curves.values())
    found = {}
    for name, (cpu, values) in curves.items():
        near = np.flatnonzero(values >= best - NEAR)
        chosen = np.unique(np.geomspace(1, len(cpu), N_POINTS).astype(int)) - 1
        found[name] = {
            "cpu_s_to_near_the_best": round(float(cpu[near[0]]), 4)
            if len(near)
            else None,
            "iterations_to_near_the_best": int(near[0]) if len(near) else None,
            "highest_nats_per_bin": round(float(values.max()), 6),
            "below_the_best": round(float(best - values.max()), 6),
            "cpu_s": round(float(cpu[-1]), 3),
            "iterations": len(cpu) - 1,
            "curve_cpu_s": cpu[chosen].round(4).tolist(),
            "curve_nats_per_bin": values[chosen].round(6).tolist(),
        }
    return found


def summarise(rows: list[dict]) -> dict[str, dict[str, Any]]:
    """Tell, by task and climb, how often it came near and how long it took."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        for name, each in row["climbs"].items():
            times = found.setdefault(row["task"], {}).setdefault(name, [])
            times.append(each["cpu_s_to_near_the_best"])
    return {
        task: {
            name: {
                "came_near": f"{sum(t is not None for t in times)} of {len(times)}",
                "median_cpu_s_of_those": _median(times),
            }
            for name, times in climbs.items()
        }
        for task, climbs in found.items()
    }


def _median(times: list[float | None]) -> float | None:
    known = [time for time in times if time is not None]
    return round(float(np.median(known)), 4) if known else None


def _kept(options: argparse.Namespace) -> tuple[list[dict], dict]:
    """Return the rows and versions of tasks that are not run anew."""
    if options.out is None or not options.out.exists():
        return [], {}
    before = json.loads(options.out.read_text())
    rows = [row for row in before["rows"] if row["task"] not in options.only]
    return rows, before["versions"] if rows else {}


def main() -> None:
    """Run all climbs and write the curves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--choices", type=Path, required=True)
    parser.add_argument("--population", type=Path, required=True)
    parser.add_argument(
        "--python", action="append", default=[], metavar="LIBRARY=PATH", type=str
    )
    parser.add_argument("--only", nargs="+", choices=WHO, default=list(WHO))
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60, help="of CPU, at most")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in options.python)
    pythons["neuromod"] = sys.executable
    libraries = {name.split(",")[0] for names in WHO.values() for name in names}
    missing = sorted(libraries - set(pythons))
    for library in missing:
        print(f"{library}: MISSING, not measured")
    whole = problems(options.choices, options.population)
    rows, versions = _kept(options)
    for task in options.only:
        for seed in range(options.starts):
            problem = whole[task] | start(whole[task], seed)
            curves, compiled = {}, {}
            for climb in WHO[task]:
                library = climb.split(",")[0]
                if library in missing:
                    continue
                found, told = run(climb, pythons[library], problem, options.seconds)
                versions[library] = told
                curves[climb] = curve(problem, found)
                compiled[climb] = round(float(found["compile"]), 2)
                print(task, seed, climb, f"{curves[climb][1].max():.6f}", flush=True)
            row = {"task": task, "start": seed, "n_bins": len(problem["values"])}
            row |= {"climbs": compare(curves), "compile_s": compiled}
            row["most_cpu_s"] = options.seconds
            rows.append(row)
            for climb, each in row["climbs"].items():
                told = {k: v for k, v in each.items() if not k.startswith("curve")}
                print(task, seed, climb, json.dumps(told), flush=True)
    report = {
        "near_nats_per_bin": NEAR,
        "summary": summarise(rows),
        "rows": rows,
        "missing": missing,
        "versions": versions,
        "machine": machine(),
    }
    print(json.dumps(report["summary"], indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
