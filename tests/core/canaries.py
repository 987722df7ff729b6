"""Two speed canaries of the installed JAX, as ratios that noise hardly moves.

Small recurrent models live or die by how XLA's CPU backend compiles their loops:

- *gradient to forward*: the gradient of a five-state chain takes a few times its
  forward pass if the loop is folded into one kernel, 40 times if not (jax 0.10 and
  0.11 without the option of ``neuromod._xla``);
- *growth*: twice the steps take twice the time, four times where every step
  rewrites the whole output (jaxlib 0.11.1).

Run in a fresh process: ``python -m tests.core.canaries`` prints them as JSON and
exits with 1 if one of them is out of bounds.
"""

import neuromod  # isort: skip  # first: the option must precede the backend

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from neuromod import _xla

MAX_GRADIENT_TO_FORWARD = 10.0
MAX_GROWTH = 3.0
N_STATES = 5
N_STEPS = 10_000


def filtered(transition: jax.Array, likelihood: jax.Array):
    """Filter a chain: its log likelihood and the messages (time, state)."""

    def step(message, emission):
        joint = (message @ transition) * emission
        scale = joint.sum()
        return joint / scale, (joint / scale, jnp.log(scale))

    start = jnp.full(N_STATES, 1 / N_STATES, likelihood.dtype)
    _, (messages, log_scales) = jax.lax.scan(step, start, likelihood)
    return log_scales.sum(), messages


def cpu_seconds(function: Callable, *arguments: jax.Array) -> float:
    """Return the process CPU time of one call, compilation apart.

    The median over rounds of many calls: one call is so short that the time of
    XLA's threads can be charged to its neighbour.
    """

    def round_seconds(n_calls: int) -> float:
        start = time.process_time()
        for _ in range(n_calls):
            jax.block_until_ready(function(*arguments))
        return time.process_time() - start

    round_seconds(1)
    n_calls = 1
    while round_seconds(n_calls) < 0.05:
        n_calls *= 2
    return statistics.median(round_seconds(n_calls) for _ in range(5)) / n_calls


def measure() -> dict[str, Any]:
    """Measure both ratios."""
    with jax.enable_x64(True):
        transition = 0.1 / N_STATES + 0.9 * jnp.eye(N_STATES)
        key = jax.random.key(0)
        likelihood = 0.1 + jax.random.uniform(key, (2 * N_STEPS, N_STATES))
        half = likelihood[:N_STEPS]
        forward = jax.jit(filtered)
        gradient = jax.jit(jax.grad(lambda a, b: filtered(a, b)[0], argnums=(0, 1)))
        seconds = cpu_seconds(forward, transition, half)
        return {
            "gradient_to_forward": cpu_seconds(gradient, transition, half) / seconds,
            "growth": cpu_seconds(forward, transition, likelihood) / seconds,
            "forward_ns_per_step": 1e9 * seconds / N_STEPS,
            "jax": jax.__version__,
            "neuromod": neuromod.__version__,
            "option": _xla.state(),
            "threshold_bytes": _xla.value(),
        }


if __name__ == "__main__":
    measured = measure()
    print(json.dumps(measured))
    sys.exit(
        measured["gradient_to_forward"] > MAX_GRADIENT_TO_FORWARD
        or measured["growth"] > MAX_GROWTH
    )
