"""What BoTorch does between two stimuli, as its documentation teaches it."""

import json
import sys
import time
import warnings
from collections.abc import Callable

import botorch
import gpytorch
import numpy as np
import torch
from botorch.acquisition import UpperConfidenceBound
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf_discrete

N_REPEATS = 3
warnings.simplefilter("ignore")


def fitted(x: torch.Tensor, y: torch.Tensor) -> SingleTaskGP:
    """Return a model with its parameters fitted anew."""
    model = SingleTaskGP(
        x,
        y,
        input_transform=Normalize(x.shape[1]),
        outcome_transform=Standardize(1),
    )
    fit_gpytorch_mll(gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def choose(model: SingleTaskGP, grid: torch.Tensor) -> None:
    """Find the most promising candidate."""
    with torch.no_grad():
        rule = UpperConfidenceBound(model, beta=4.0)
        optimize_acqf_discrete(rule, 1, grid, max_batch_size=4096)


def seconds(work: Callable[[], None]) -> float:
    """Return the CPU time of a call, the median of some."""
    times = []
    for _ in range(N_REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return sorted(times)[N_REPEATS // 2]


def main() -> None:
    """Time both ways on the data of a file."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    with np.load(sys.argv[1]) as stored:
        grid, x, y = (torch.from_numpy(stored[k]) for k in ("grid", "x", "y"))
    model = fitted(x, y)
    model.posterior(x[:1])

    def refit() -> None:
        choose(fitted(x, y), grid)

    def condition() -> None:
        more = model.condition_on_observations(x[:1], y[:1])
        choose(more, grid)

    found = {
        "refit": seconds(refit),
        "condition_on_observations": seconds(condition),
        "versions": {m.__name__: m.__version__ for m in (botorch, gpytorch, torch, np)},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
