r"""Time the gradient of the M-step beside the same gradient in PyTorch.

::

    python -m venv peer && peer/bin/pip install torch
    python tests/benchmarks/switching_step.py --peer-python peer/bin/python \
        --out docs/benchmarks/switching_step.json

The objective is the Poisson log-probability of every bin, state and neuron, weighted by
the posterior of the state and summed; the gradient is by biases and couplings. Ours is
`neuromod.switching.glm.differentiate`, which is what a fit runs. PyTorch's is written
in every way that could be fastest, and the fastest counts: by autograd, and in closed
form without it, on the whole recording and on chunks of rows that the cache holds, and
through ``torch.compile``. ``50 Adam steps`` is the M-step of the one-hot paper on one
session, by autograd: ours is the one of `neuromod.switching.reference`. Everything runs
on one core, each contender in a process of its own, in turn with the others; figures
are the least CPU time of a call.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks._measure import Worker, keep_to, machine, race, serve
from tests.benchmarks.kernels import Prepared

SHAPES = {  # bins, neurons, states
    "one session": (2_000, 20, 5),
    "30 sessions": (60_000, 20, 5),
    "100 neurons": (20_000, 100, 5),
}
LINKS = ("sigmoid", "softplus")
DTYPES = ("float32", "float64")
GRADIENT, ADAM = "gradient", "50 Adam steps"
OURS = "neuromod"
PEERS = (
    "closed form",
    "closed form, chunked",
    "closed form, compiled",
    "autograd",
    "autograd, chunked",
)
MEAN_COUNT = 0.46
RATE_FLOOR = 1e-8
PEER_CHUNK_ENTRIES = 400_000  # the best of 20, 50, 100 and 400 thousand
N_ADAM_STEPS, LEARNING_RATE = 50, 0.01
AGREEMENT = {"float32": 1e-5, "float64": 1e-10}


def tasks() -> list[tuple]:
    """List what is timed: work, shape, link, precision."""
    gradients = [
        (GRADIENT, shape, link, dtype)
        for shape in SHAPES
        for link in LINKS
        for dtype in DTYPES
    ]
    return gradients + [(ADAM, "one session", "sigmoid", dtype) for dtype in DTYPES]


def problem(shape: str, dtype: str) -> list[np.ndarray]:
    """Draw counts (bin, neuron), regressors, posterior and coefficients.

    A coefficient (state, neuron, regressor) belongs to a constant one or to the
    history of a neuron, its past five bins with exponentially falling weights.
    """
    n_bins, n_neurons, n_states = SHAPES[shape]
    rng = np.random.default_rng(0)
    counts = rng.poisson(MEAN_COUNT, (n_bins, n_neurons)).astype(float)
    basis = np.exp(-np.arange(5.0))
    regressors = np.ones((n_bins, 1 + n_neurons))
    padded = np.pad(counts, ((5, 0), (0, 0)))
    past = [padded[4 - lag : 4 - lag + n_bins] for lag in range(5)]
    regressors[:, 1:] = np.tensordot(basis / basis.sum(), past, axes=1)
    posterior = rng.dirichlet(np.full(n_states, 0.2), n_bins)
    coefficients = 0.3 * rng.normal(size=(n_states, n_neurons, 1 + n_neurons))
    arrays = (counts, regressors, posterior, coefficients)
    return [array.astype(dtype) for array in arrays]


Prepare = Callable[..., Callable[[], object]]


def of_neuromod(save: Callable[[tuple, np.ndarray], None]) -> Prepare:
    """Return a function that prepares a task with our gradient."""
    import jax
    import jax.numpy as jnp

    from neuromod.switching import SwitchingGLM, glm, reference
    from neuromod.switching.features import Features

    def prepare(work, shape, link, dtype):
        x64 = dtype == "float64"
        counts, regressors, posterior, coefficients = problem(shape, dtype)
        n_bins, n_neurons, n_states = SHAPES[shape]
        with jax.enable_x64(x64):
            model = SwitchingGLM(
                initial=np.full(n_states, 1 / n_states, dtype),
                transition_matrix=np.full((n_states, n_states), 1 / n_states, dtype),
                bias=coefficients[..., 0],
                weight=coefficients[..., 1:, None],
                basis=np.ones((1, 1), dtype),
                link=link,
            )
            own = jnp.zeros((n_bins, n_neurons, 0), dtype)
            base = jnp.zeros(n_bins, dtype)
            features = Features(jnp.asarray(regressors), own)
            rows = glm.Rows(features, counts, base, None)
            model, rows, posterior = jax.device_put((model, rows, posterior))
        if work == GRADIENT:
            arguments = (model, rows, posterior)

            def run():
                return glm.differentiate(*arguments)
        else:
            with jax.enable_x64(x64):
                parameters = reference.Parameters(
                    model.bias[0],
                    model.weight[..., 0],
                    jnp.zeros((n_states, n_neurons, n_neurons, 3), dtype),
                    jnp.zeros((n_neurons, n_neurons, 3), dtype),
                )
                moments = reference.OPTIMISER.init(parameters)
                key = jax.random.key(0)
            arguments = (model, parameters, moments, rows, posterior, key)

            def run():
                return reference.climb(*arguments, prior="none")

        def call():
            with jax.enable_x64(x64):
                return jax.block_until_ready(run())

        if work == GRADIENT:
            found = call()
            save((work, shape, link, dtype), np.asarray(found.gradient))
        return call

    return prepare


def of_torch(form: str, save: Callable[[tuple, np.ndarray], None]) -> Prepare:
    """Return a function that prepares a task with PyTorch, in one of its forms."""
    import torch

    torch.set_num_threads(1)
    gradients = {"closed form": torch.no_grad()(_closed_form), "autograd": _autograd}
    gradient = gradients[form.split(",")[0]]
    if form.endswith("compiled"):
        # Past its limit PyTorch would no longer compile for a further shape.
        torch._dynamo.config.recompile_limit = 4 * len(tasks())
        gradient = torch.compile(gradient, dynamic=False)

    def prepare(work, shape, link, dtype):
        counts, regressors, posterior, coefficients = map(
            torch.from_numpy, problem(shape, dtype)
        )
        n_bins, n_neurons, n_states = SHAPES[shape]
        flat = coefficients.reshape(n_states * n_neurons, -1).contiguous()
        rows = (counts, regressors, posterior)
        if work == ADAM:
            return _adam_steps(rows, coefficients, link)
        chunked = form.endswith(("chunked", "compiled"))
        size = PEER_CHUNK_ENTRIES // len(flat) if chunked else n_bins
        chunks = list(zip(*(torch.split(array, size) for array in rows), strict=True))

        def call():
            total = gradient(*chunks[0], flat, link)
            for chunk in chunks[1:]:
                total += gradient(*chunk, flat, link)
            return total

        save((work, shape, link, dtype), call().reshape(coefficients.shape).numpy())
        return call

    return prepare


def _closed_form(counts, regressors, posterior, coefficients, link):
    import torch
    from torch.nn.functional import softplus

    n_bins, n_states = posterior.shape
    eta = (regressors @ coefficients.T).view(n_bins, n_states, -1)
    if link == "softplus":
        rate = softplus(eta)
        slope = torch.expm1(-rate).neg_()
        rate.add_(RATE_FLOOR)
    else:
        slope = eta.sigmoid_().mul_(1 - RATE_FLOOR)
        rate = slope + 2 * RATE_FLOOR
        slope.addcmul_(slope, slope, value=-1 / (1 - RATE_FLOOR))
    score = torch.div(counts[:, None], rate, out=rate).sub_(1)
    score.mul_(slope).mul_(posterior[:, :, None])
    return score.view(n_bins, -1).T @ regressors


def _expected(counts, regressors, posterior, coefficients, link):
    import torch
    from torch.nn.functional import softplus

    eta = (regressors @ coefficients.T).view(*posterior.shape, -1)
    if link == "softplus":
        rate = softplus(eta)
    else:
        rate = RATE_FLOOR + (1 - RATE_FLOOR) * torch.sigmoid(eta)
    terms = counts[:, None] * torch.log(rate + RATE_FLOOR) - rate
    return torch.einsum("ts,tsn->", posterior, terms)


def _autograd(counts, regressors, posterior, coefficients, link):
    import torch

    at = coefficients.detach().requires_grad_()
    objective = _expected(counts, regressors, posterior, at, link)
    return torch.autograd.grad(objective, at)[0]


def _adam_steps(rows, coefficients, link):
    """Prepare the M-step of the paper: biases that the states share, and couplings."""
    import torch

    counts, regressors, posterior = rows
    n_states, n_neurons = coefficients.shape[:2]
    start = (coefficients[0, :, 0].clone(), coefficients[..., 1:].clone())

    def call():
        bias, weight = (array.clone().requires_grad_() for array in start)
        optimiser = torch.optim.Adam((bias, weight), lr=LEARNING_RATE)
        for _ in range(N_ADAM_STEPS):
            optimiser.zero_grad()
            shared = bias.expand(n_states, n_neurons)[..., None]
            joined = torch.cat([shared, weight], dim=-1).flatten(0, 1)
            (-_expected(counts, regressors, posterior, joined, link)).backward()
            optimiser.step()
        return weight

    return call


def serve_contender(name: str, folder: Path) -> None:
    """Be the worker of one contender; leave every gradient in the folder."""
    keep_to(1)

    def save(task, gradient):
        np.save(folder / _file(name, task), gradient)

    if name == OURS:
        prepare = of_neuromod(save)
    else:
        prepare = of_torch(name, save)
    libraries = [n for n in ("neuromod", "jax", "jaxlib", "torch") if n in sys.modules]
    facts = {
        "versions": {n: sys.modules[n].__version__ for n in libraries},
        "python": platform.python_version(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }
    serve(Prepared(prepare), facts)


def _file(name: str, task: tuple) -> str:
    return "_".join((name, *task)).replace(" ", "-").replace(",", "") + ".npy"


def start_workers(peer_python: Path, folder: Path) -> dict[str, Worker]:
    """Start one process for each contender."""

    def start(name):
        python = sys.executable if name == OURS else peer_python
        command = [python, __file__, "--serve", name, "--folder", folder]
        return Worker(command, {"OMP_NUM_THREADS": "1", "XLA_FLAGS": ""})

    return {name: start(name) for name in (OURS, *PEERS)}


def row(task: tuple, times: dict[str, dict], folder: Path) -> dict:
    """Give the times of one task, and how many times longer the best peer takes."""
    forms = [form for form in PEERS if form in times]
    fastest = min(forms, key=lambda form: times[form]["least cpu"])
    ours = times[OURS]["least cpu"]
    by_autograd = min(times[f]["least cpu"] for f in forms if f.startswith("autograd"))
    found = {
        "task": list(task),
        "least_cpu_s": {n: float(f"{t['least cpu']:.4g}") for n, t in times.items()},
        "fastest_peer": fastest,
        "times_neuromod": round(times[fastest]["least cpu"] / ours, 2),
        "autograd_times_neuromod": round(by_autograd / ours, 2),
    }
    if task[0] == GRADIENT:
        ours_is, peers_is = (
            np.load(folder / _file(name, task)) for name in (OURS, fastest)
        )
        error = np.abs(ours_is - peers_is).max() / np.abs(peers_is).max()
        found["relative_error"] = float(f"{error:.2g}")
        found["agrees"] = bool(error < AGREEMENT[task[-1]])
    return found


def spread(ratios: list[float]) -> dict[str, float]:
    """Sum up ratios."""
    if not ratios:
        return {}
    mean = round(float(np.exp(np.log(ratios).mean())), 2)
    return {"least": min(ratios), "geometric mean": mean, "most": max(ratios)}


def main() -> None:
    """Run the race and write its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="a Python that has PyTorch")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=(GRADIENT, ADAM))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve_contender(options.serve, options.folder)
    if options.peer_python is None:
        parser.error("--peer-python: a Python that has PyTorch")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workers = start_workers(options.peer_python, folder)
        found = []
        for task in tasks():
            if options.only and task[0] not in options.only:
                continue
            # All forms of the peer take the same steps of Adam.
            names = workers if task[0] == GRADIENT else (OURS, "autograd")
            chosen = {name: workers[name] for name in names}
            found.append(row(task, race(chosen, [task], options.rounds)[task], folder))
            print(json.dumps(found[-1]), flush=True)
        for worker in workers.values():
            worker.close()
    ratios = [each["times_neuromod"] for each in found if each["task"][0] == GRADIENT]
    report = {
        "rows": found,
        "gradient_times_neuromod": spread(ratios),
        "machine": machine(),
        "workers": {name: worker.facts for name, worker in workers.items()},
    }
    print(json.dumps(report["gradient_times_neuromod"]))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
