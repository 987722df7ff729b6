"""The peer of the PV-RNN benchmark: training and error regression in PyTorch.

::

    torch-python tests/benchmarks/_pvrnn_torch.py shapes.npz

The shapes are those of the sensory-attenuation study, in the `WAYS` of
`tests.benchmarks._pvrnn_torch_networks`. Weights, adaptive vectors, noise and data come
from a file that `tests.benchmarks._pvrnn_shapes.export` writes, with the loss and its
gradients, so that every way is first checked in double precision. What is timed, in
single precision and one thread, draws its own noise. Error regression is its iterations
alone: the slide and the prediction, which ours makes too, are left out.

Needs numpy and torch alone. One line of JSON tells all.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks._pvrnn_torch_networks import (
    LAYERS,
    WAYS,
    Given,
    Hoisted,
    StepByStep,
    Toy,
)

LEARNING_RATE = 1e-3
ITERATIONS, REGRESSION_RATE = 50, 0.09


def optimiser_of(network: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    """Return Adam: of the straightforward one as it comes, of others fused."""
    fused = None if isinstance(network, StepByStep) else True
    return torch.optim.Adam(network.parameters(), rate, fused=fused)


def epoch(network: torch.nn.Module, data: torch.Tensor) -> Callable[[], Any]:
    """Return a function that does an epoch of full-batch training."""
    optimiser = optimiser_of(network, LEARNING_RATE)

    def train():
        optimiser.zero_grad(set_to_none=True)
        network(data).backward()
        optimiser.step()

    return train


def window_of(network: Hoisted, given: Given) -> tuple[torch.Tensor, ...]:
    """Let a network have the adaptive vectors of a window alone; return its data."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    network.mean = torch.nn.Parameter(given["window/adaptive_mean"].clone())
    network.log = torch.nn.Parameter(given["window/adaptive_log_deviation"].clone())
    lower = torch.cat([given["window/sense_0_0"], given["window/sense_1_0"]], -1)
    return given["window/data"], given["window/association_0"], lower


def regress(network: Hoisted, given: Given) -> Callable[[], Any]:
    """Return a function that explains a window: the iterations alone, no prediction."""
    data, *first = window_of(network, given)

    def explain():
        both = [network.mean, network.log]
        optimiser = torch.optim.Adam(both, REGRESSION_RATE, fused=True)
        for _ in range(ITERATIONS):
            optimiser.zero_grad(set_to_none=True)
            network(data, first=first).backward()
            optimiser.step()

    return explain


@cache
def read(path: str | Path, kind: torch.dtype) -> Given:
    """Return the arrays of a file."""
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]).to(kind) for name in file.files}


def check(way: str, path: str | Path) -> dict[str, float]:
    """Return loss, and relative differences of losses and gradients from the file."""
    if way == "toy":
        given = read(path, torch.float64)
        toy = Toy(given)
        loss = toy(given["toy/data"], given["toy/noise"])
        loss.backward()
        slopes = {f"toy/weight/{k}": v.grad for k, v in toy.weights.items()}
        slopes |= {
            "toy/adaptive_mean": toy.mean.grad,
            "toy/adaptive_log_deviation": toy.log.grad,
        }
        return _told(loss, slopes, given, "toy/")
    given = read(path, torch.float64)
    network = WAYS[way](given)
    loss = network(given["data"], given["noise"])
    loss.backward()
    slopes = {
        "adaptive_mean": network.mean.grad,
        "adaptive_log_deviation": network.log.grad,
    }
    for name, layer in zip(LAYERS, network.layers, strict=True):
        parts = (
            layer.recurrent,
            layer.latent,
            layer.above,
            layer.prior_mean,
            layer.prior_log,
        )
        names = "recurrent", "latent", "above", "prior_mean", "prior_log_deviation"
        for part, its in zip(parts, names, strict=True):
            slopes[f"{name}/{its}"] = part.weight.grad
    for name, head in zip(LAYERS, network.heads, strict=False):
        slopes[f"{name}/head"] = head.weight.grad
    told = _told(loss, slopes, given, "")
    if isinstance(network, Hoisted):
        data, *first = window_of(network, given)
        loss = network(data, given["window/noise"], first)
        told["window"] = abs(float(loss.detach() / given["window/loss"]) - 1)
    return told


def _told(loss, slopes, given, prefix) -> dict[str, float]:
    want = {name: given[f"gradient/{name}"] for name in slopes}
    worst = max(
        float((slopes[name] - want[name]).abs().max() / want[name].abs().max())
        for name in slopes
    )
    apart = abs(float(loss.detach() / given[f"{prefix}loss"]) - 1)
    return {"loss": float(loss.detach()), "loss_apart": apart, "gradients_apart": worst}


def prepare(work: str, way: str, path: str | Path) -> Callable[[], Any]:
    """Return a function that does a work once, in single precision.

    Parameters
    ----------
    work
        "epoch", "toy" or "regression".
    way
        One of `WAYS`; the toy network has but one.
    path
        A file of `tests.benchmarks._pvrnn_shapes.export`.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    given = read(path, torch.float32)
    if work == "toy":
        return epoch(Toy(given), given["toy/data"])
    network = WAYS[way](given)
    if work == "regression":
        return regress(network, given)
    return epoch(network, given["data"])


def measure(function: Callable[[], Any], n_repeats: int) -> dict[str, float]:
    """Return medians of CPU and wall time (s) of a call, and the time of the first."""
    begun = time.perf_counter()
    function()
    first = time.perf_counter() - begun
    times = []
    for _ in range(n_repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = map(statistics.median, zip(*times, strict=True))
    return {"cpu": cpu, "wall": wall, "first": first}


def main() -> None:
    """Check, measure and print one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", help="of tests.benchmarks._pvrnn_shapes.export")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    for way in (*options.ways, "toy"):
        works = ["toy"] if way == "toy" else ["epoch"]
        if "hoisted" in way:
            works.append("regression")
        report[way] = {"check": check(way, options.path)}
        for work in works:
            function = prepare(work, way, options.path)
            report[way][work] = measure(function, options.repeats)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
