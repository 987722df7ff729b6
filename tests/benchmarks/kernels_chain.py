"""A chain of three levels of beliefs: what the gradient of a small model costs.

Each level predicts, is corrected by the error of the level below, and passes its own
error up: some thirty dependent scalar operations per step, with exponentials and
divisions, as in hierarchical models of learning. Nothing here can run in parallel.
"""

from collections.abc import Callable

WORK = ("forward", "gradient", "gradient, stored in chunks")


def tasks(steps: list[int]) -> list[tuple]:
    """List what is timed: work, precision, number of steps."""
    return [(w, d, n) for w in WORK for d in ("float32", "float64") for n in steps]


def of_neuromod() -> Callable[..., Callable[[], object]]:
    """Return a function that prepares a task with our loop."""
    import jax
    import jax.numpy as jnp

    from neuromod import kernels

    def step(parameters, beliefs, outcome):
        mean, precision = beliefs
        coupling, tonic = parameters
        volatility = jnp.exp(coupling[1] * mean[1] + tonic[0])
        predicted = 1 / (1 / precision[0] + volatility)
        expected = jax.nn.sigmoid(mean[0])
        error = outcome - expected
        first = predicted + expected * (1 - expected)
        low = mean[0] + error / first
        surprise = (1 / first + (low - mean[0]) ** 2) * predicted - 1
        drift = jnp.exp(tonic[1])
        second = 1 / (1 / precision[1] + drift)
        weight = coupling[1] * volatility * predicted
        above = second + 0.5 * weight * (weight + (2 * weight - coupling[1]) * surprise)
        above = jnp.maximum(above, 0.1 * second)
        high = mean[1] + 0.5 * weight / above * surprise
        loss = -jnp.log(jnp.where(outcome > 0.5, expected, 1 - expected) + 1e-6)
        return (jnp.stack([low, high]), jnp.stack([first, above])), loss

    def run(parameters, outcomes, checkpoint):
        start = (jnp.zeros_like(parameters[0]), jnp.ones_like(parameters[0]))
        bound = lambda beliefs, outcome: step(parameters, beliefs, outcome)  # noqa: E731
        losses = kernels.scan(bound, start, outcomes, checkpoint=checkpoint).outputs
        return jnp.sum(losses)

    def prepare(work: str, dtype: str, n_steps: int):
        function = jax.jit(
            run if work == "forward" else jax.grad(run), static_argnums=2
        )
        checkpoint = 100 if work == WORK[2] else None
        with jax.enable_x64(dtype == "float64"):
            key = jax.random.key(0)
            outcomes = jax.random.bernoulli(key, 0.7, (n_steps,)).astype(dtype)
            parameters = (jnp.array([1.0, 1.0], dtype), jnp.array([-3.0, -4.0], dtype))

        def call():
            with jax.enable_x64(dtype == "float64"):
                jax.block_until_ready(function(parameters, outcomes, checkpoint))

        return call

    return prepare
