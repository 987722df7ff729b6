"""Hidden Markov models beside dynamax's.

The smoother is compared twice, because dynamax's public call always gives the
posteriors of the transitions: ``smoother`` is its inside without them beside ours,
which has the expected counts in any case. Ours is timed in blocks of time, too, beside
the same call of dynamax.
"""

import functools
from collections.abc import Callable

import numpy as np

N_STATES = 5
WORK = (
    "filter",
    "smoother",
    "smoother, blocked",
    "smoother and transitions",
    "viterbi",
    "gradient",
    "gradient, blocked",
)


def tasks(steps: list[int]) -> list[tuple]:
    """List what is timed: work, precision, number of steps."""
    return [(w, d, n) for w in WORK for d in ("float32", "float64") for n in steps]


def chain(n_steps: int, dtype: str) -> list[np.ndarray]:
    """Draw a chain of persistent states with evidence that tells them apart."""
    rng = np.random.default_rng(0)
    transition = 0.95 * np.eye(N_STATES) + 0.05 / N_STATES
    initial = np.full(N_STATES, 1 / N_STATES)
    evidence = 2 * rng.normal(size=(n_steps, N_STATES)) - 50
    return [x.astype(dtype) for x in (initial, transition, evidence)]


def of_neuromod() -> Callable[..., Callable[[], object]]:
    """Return a function that prepares a task with our kernels."""
    import jax

    from neuromod import kernels

    def blocked(function):
        return functools.partial(function, method="blocked")

    parameters = (0, 1, 2)
    functions = {
        "filter": kernels.hmm_filter,
        "smoother": kernels.hmm_smoother,
        "smoother, blocked": blocked(kernels.hmm_smoother),
        "smoother and transitions": kernels.hmm_smoother,
        "viterbi": kernels.hmm_viterbi,
        "gradient": jax.grad(kernels.hmm_log_likelihood, parameters),
        "gradient, blocked": jax.grad(blocked(kernels.hmm_log_likelihood), parameters),
    }
    return _preparer(functions)


def of_dynamax() -> Callable[..., Callable[[], object]]:
    """Return a function that prepares a task with dynamax."""
    import jax
    from dynamax import hidden_markov_model as peer

    def log_likelihood(*chain):
        return peer.hmm_filter(*chain).marginal_loglik

    def without_transitions(*chain):
        return peer.hmm_smoother.__wrapped__(*chain, None, False)

    functions = {
        "filter": peer.hmm_filter,
        "smoother": without_transitions,
        "smoother, blocked": without_transitions,
        "smoother and transitions": peer.hmm_smoother,
        "viterbi": peer.hmm_posterior_mode,
        "gradient": jax.grad(log_likelihood, (0, 1, 2)),
        "gradient, blocked": jax.grad(log_likelihood, (0, 1, 2)),
    }
    return _preparer(functions)


def _preparer(functions: dict) -> Callable[..., Callable[[], object]]:
    import jax

    def prepare(work: str, dtype: str, n_steps: int):
        function = jax.jit(functions[work])
        with jax.enable_x64(dtype == "float64"):
            arrays = jax.device_put(chain(n_steps, dtype))

        def call():
            with jax.enable_x64(dtype == "float64"):
                jax.block_until_ready(function(*arrays))

        return call

    return prepare
