"""Peak memory of a long gradient, in a process of its own.

``python -m tests.kernels.memory`` differentiates a network of 128 units through 1e6
steps. Its inputs are drawn in the step and its loss is summed in the loop, so nothing
of the length of time has to be stored but a carry per chunk. It prints, as JSON, by how
many MiB the peak of the resident memory rose above what the process had after its
imports, and the norm of the gradient.
"""

import neuromod  # isort: skip  # first: the option must precede the backend

import json
import resource
import sys

import jax
import jax.numpy as jnp

from neuromod import kernels

N_STEPS, N_HIDDEN = 1_000_000, 128


def peak_mib() -> float:
    """Return the peak of this process's resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(n_steps: int) -> None:
    key = jax.random.key(0)
    cell = kernels.LeakyRNN.random(key, N_HIDDEN, N_HIDDEN, leak=0.1)
    before = peak_mib()

    def draw(t):
        return jax.random.normal(jax.random.fold_in(key, t), (N_HIDDEN,))

    @jax.jit
    @jax.value_and_grad
    def gradient(cell):
        total = kernels.Fold(lambda loss, y: loss + jnp.mean(y**2), jnp.float32(0))
        start = cell.initial()
        return kernels.scan(cell, start, draw, n_steps=n_steps, outputs=total).outputs

    value, slope = jax.block_until_ready(gradient(cell))
    norm = float(jnp.linalg.norm(slope.recurrent_weight))
    rise = round(peak_mib() - before, 1)
    told = {"n_steps": n_steps, "rise_mib": rise, "loss": float(value), "norm": norm}
    print(json.dumps(told | {"neuromod": neuromod.__version__}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else N_STEPS)
