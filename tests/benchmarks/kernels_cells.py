"""The recurrent cells beside PyTorch's.

Both run one layer over a sequence (time, batch, input): forward, and forward and
backward of the sum of the squared outputs with respect to all parameters. PyTorch's are
its own modules (``torch.nn.RNN``, ``GRU``, ``LSTM``).
"""

from collections.abc import Callable
from math import exp, log

KINDS = ("RNN", "GRU", "LSTM")
PASSES = ("forward", "forward and backward")
N_INPUTS = 64
SHAPES = (  # hidden, batch, time
    (128, 1, 100),
    (128, 64, 100),
    (128, 200, 100),
    (128, 64, 1000),
    (512, 1, 100),
    (512, 64, 100),
    (512, 200, 100),
)


def tasks() -> list[tuple]:
    """List what is timed."""
    return [
        (kind, *shape, what) for kind in KINDS for shape in SHAPES for what in PASSES
    ]


def of_neuromod() -> Callable[..., Callable[[], object]]:
    """Return a function that prepares a task with our cells."""
    import jax
    import jax.numpy as jnp

    from neuromod import kernels

    cells = {"RNN": kernels.LeakyRNN, "GRU": kernels.GRU, "LSTM": kernels.LSTM}

    def forward(cell, inputs):
        return kernels.scan(cell, cell.initial(inputs.shape[1:2]), inputs).outputs

    def loss(cell, inputs):
        return jnp.sum(forward(cell, inputs) ** 2)

    functions = dict(zip(PASSES, (forward, jax.value_and_grad(loss)), strict=True))

    def prepare(kind, n_hidden, batch, n_steps, what):
        key, function = jax.random.key(0), jax.jit(functions[what])
        cell = cells[kind].random(key, N_INPUTS, n_hidden)
        inputs = jax.random.normal(key, (n_steps, batch, N_INPUTS))
        return lambda: jax.block_until_ready(function(cell, inputs))

    return prepare


def of_torch(n_threads: int) -> Callable[..., Callable[[], object]]:
    """Return a function that prepares a task with PyTorch's modules."""
    import torch

    torch.set_num_threads(n_threads)

    def prepare(kind, n_hidden, batch, n_steps, what):
        torch.manual_seed(0)
        network = getattr(torch.nn, kind)(N_INPUTS, n_hidden)
        inputs = torch.randn(n_steps, batch, N_INPUTS)

        def forward():
            with torch.no_grad():
                network(inputs)

        def both():
            network.zero_grad(set_to_none=True)
            (network(inputs)[0] ** 2).sum().backward()

        return forward if what == "forward" else both

    return prepare


def summary(
    rows: list[dict], clock: str, ours: str, peer: str
) -> dict[str, dict[str, float]]:
    """Give, for each kind and pass, how many times longer the peer takes than ours."""
    found = {}
    for kind in KINDS:
        for what in PASSES:
            ratios = [
                row[clock][peer] / row[clock][ours]
                for row in rows
                if (row["task"][0], row["task"][-1]) == (kind, what)
            ]
            mean = exp(sum(map(log, ratios)) / len(ratios))
            least = round(min(ratios), 2)
            found[f"{kind}, {what}"] = {
                "geometric mean": round(mean, 2),
                "least": least,
            }
    return found
