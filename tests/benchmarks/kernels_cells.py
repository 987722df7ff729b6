"""Time the recurrent cells beside PyTorch's.

Both run the same work on the same shapes: a sequence (time, batch, input) through one
layer, forward, and forward and backward of the sum of the squared outputs with respect
to all parameters. PyTorch's are its own modules (``torch.nn.RNN``, ``GRU``, ``LSTM``),
each library in a process of its own.
"""

import os
import platform
from collections.abc import Callable

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


def of_neuromod(n_threads: int) -> tuple[Callable[..., Callable[[], object]], dict]:
    """Return a function that prepares a task, and facts."""
    import jax
    import jax.numpy as jnp

    from neuromod import kernels

    cells = {"RNN": kernels.LeakyRNN, "GRU": kernels.GRU, "LSTM": kernels.LSTM}

    def loss(cell, inputs):
        outputs = kernels.scan(cell, cell.initial(inputs.shape[1:2]), inputs).outputs
        return jnp.sum(outputs**2)

    def forward(cell, inputs):
        return kernels.scan(cell, cell.initial(inputs.shape[1:2]), inputs).outputs

    functions = {
        "forward": jax.jit(forward),
        "forward and backward": jax.jit(jax.value_and_grad(loss)),
    }

    def prepare(kind, n_hidden, batch, n_steps, what):
        key = jax.random.key(0)
        cell = cells[kind].random(key, N_INPUTS, n_hidden)
        inputs = jax.random.normal(key, (n_steps, batch, N_INPUTS))
        return lambda: jax.block_until_ready(functions[what](cell, inputs))

    return prepare, {"jax": jax.__version__, "XLA_FLAGS": os.environ["XLA_FLAGS"]}


def of_torch(n_threads: int) -> tuple[Callable[..., Callable[[], object]], dict]:
    """Return a function that prepares a task, and facts."""
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

    facts = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    return prepare, facts | {"python": platform.python_version()}
