"""Hidden Markov models: which way the messages are computed.

- "sequential": bin after bin, with no assumption at all.
- "blocked": blocks of time side by side (`neuromod.kernels.hmm_blocked`), on a CPU the
  lanes of its vector instructions.
- "associative": one block for each bin, combined in log2(time) rounds: for
  accelerators, on which a step costs ten microseconds however small it is.
- "auto": what is the fastest for such a chain.

Two of them take the largest log-likelihood of a bin among all states as its scale. If
that hides the states that can be reached, they tell so, and the sequential way gives
the result: the time of both, but never another number. Derivatives *through* the
messages are those of the sequential way, too; the first derivative of the likelihood
is made of the messages themselves, whichever way they were found.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from neuromod.kernels import hmm_blocked as blocked
from neuromod.kernels import hmm_messages as messages
from neuromod.kernels.hmm_messages import Chain, Future, Past
from neuromod.kernels.methods import choose

Method = Literal["auto", "sequential", "blocked", "associative"]

# Four vector instructions at a time hide what each of them waits for.
BYTES_OF_LANES = 128
KNOWN = ("sequential", "blocked", "associative")
# On a CPU blocks win at most a factor of two, and take four times as long to compile:
# they have to be asked for. From so many bins on, and up to so many states, an
# accelerator takes rounds.
ASSOCIATIVE_BINS, ASSOCIATIVE_STATES = 10_000, 32


class Plan(NamedTuple):
    """A method, and how many blocks of time it takes."""

    method: str
    n_blocks: int


def plan(method: str, n_blocks: int | None, log_likelihoods: Array) -> Plan:
    """Check a method and its number of blocks, or choose them."""
    n_bins, n_states = log_likelihoods.shape
    if n_blocks is not None and method != "blocked":
        raise ValueError(
            f"n_blocks: got {n_blocks} with method {method!r}, expected None. Leave "
            "it out, or choose the method 'blocked'."
        )
    if n_blocks is not None and not 1 <= n_blocks <= n_bins:
        raise ValueError(
            f"n_blocks: got {n_blocks}, expected a number from 1 to that of the bins, "
            f"{n_bins}."
        )
    enough = ASSOCIATIVE_BINS if n_states <= ASSOCIATIVE_STATES else None
    method = choose(method, KNOWN, n_bins, enough)
    if n_blocks is None:
        lanes = BYTES_OF_LANES // log_likelihoods.dtype.itemsize
        n_blocks = n_bins if method == "associative" else min(lanes, n_bins)
    return Plan(method, n_blocks)


def forward(chain: Chain, predicted: Array, plan: Plan) -> tuple[Array, Past]:
    """Return the prediction after the last bin, and what the forward pass tells."""
    if plan.method == "sequential":
        return messages.run_past(chain, predicted)

    def run(chain, predicted):
        return blocked.run_forward(chain, predicted, plan.n_blocks)

    return _or_exactly(run, messages.run_past)(chain, predicted)


def both(chain: Chain, plan: Plan, *, summed: bool) -> tuple[Past, Future]:
    """Return what both passes tell, with the weights of the pairs summed or not."""

    def run_exactly(chain):
        return messages.run_both(chain, summed=summed)

    if plan.method == "sequential":
        return run_exactly(chain)

    def run(chain):
        return blocked.run_both(chain, plan.n_blocks, summed)

    return _or_exactly(run, run_exactly)(chain)


def _or_exactly(run: Callable[..., tuple], run_exactly: Callable) -> Callable:
    """Follow a function that may lose precision, and tells, by one that cannot.

    In a loop that runs once or never: under `jax.vmap` a condition would always
    compute both.
    """

    @jax.custom_jvp
    def compute(*arguments: Any) -> Any:
        lost, found = run(*arguments)

        def again(_):
            with jax.named_scope("bin_by_bin"):
                return jnp.zeros_like(lost), run_exactly(*arguments)

        return lax.while_loop(lambda state: state[0], again, (lost, found))[1]

    @compute.defjvp
    def differentiate(primals, tangents):
        return jax.jvp(run_exactly, primals, tangents)

    return compute
