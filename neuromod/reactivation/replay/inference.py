r"""Where spikes say the animal is, and how that place moves: on arrays.

Neurons with maps $\lambda_n(x)$ (Hz) that fire independently give a bin of width
$\Delta$ with counts $k_n$ the log-likelihood of each place

$$
l(x) = \sum_n k_n \log(\lambda_n(x) \Delta) - \Delta \sum_n \lambda_n(x)
$$

up to what does not depend on $x$. Without memory its softmax is the posterior (Zhang,
Ginzburg, McNaughton & Sejnowski, J. Neurophysiology 1998).

With memory the place is the hidden state of a Markov chain together with the *dynamics*
by which it moves (Denovellis et al., eLife 2021):

- *stationary*: it stays where it is;
- *continuous*: it walks, $p(x'|x) \propto \exp(-|x' - x|^2 / 2 s^2)$ in one direction
  of running;
- *fragmented*: it jumps anywhere, $p(x'|x)$ uniform.

Dynamics persist with probability $q = e^{-\Delta/\tau}$ and else change to each of the
others alike. Where they change, the new ones tell how the place moves; from and to
fragmented ones it jumps. With fragmented dynamics alone the chain forgets, and its
posterior is that of the memoryless decoder.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from neuromod import kernels
from neuromod.kernels.loop import Count

Number = float | Float[Array, ""]

DYNAMICS = ("stationary", "continuous", "fragmented")


class Chain(NamedTuple):
    """A Markov chain of (dynamics, position): how it begins, and how it goes on.

    ``initial`` (dynamics * position,) and ``transition`` (the same twice).
    """

    initial: Array
    transition: Array


def log_likelihoods(
    counts: Float[Array, "time neuron"],
    rates: Float[Array, "neuron position"],
    bin_size: Number,
) -> Float[Array, "time position"]:
    """Return the log-likelihood of each place, up to a constant in each bin."""
    expected = rates * bin_size
    return counts @ jnp.log(expected) - jnp.sum(expected, axis=0)[None]


@jax.jit
def posterior(
    log_likelihood: Float[Array, "time position"], log_prior: Float[Array, " position"]
) -> Float[Array, "time position"]:
    """Return the probability of each place given one bin alone."""
    return jax.nn.softmax(log_likelihood + log_prior[None], axis=-1)


def chain(
    centres: np.ndarray,
    direction: np.ndarray,
    step: float,
    persistence: float,
    dynamics: Sequence[str] = DYNAMICS,
) -> Chain:
    """Build the chain of the decoder with memory.

    Parameters
    ----------
    centres : (position, space)
        Centres of the bins of space.
    direction : (position,)
        Direction of running of each; continuous dynamics keep to one.
    step
        Standard deviation of a step of the continuous dynamics.
    persistence
        Probability that dynamics stay for another bin of time.
    dynamics
        Some of `DYNAMICS`.

    Returns
    -------
    Chain
        In float32.
    """
    n_bins = len(centres)
    moves = {
        "stationary": np.eye(n_bins),
        "continuous": _walk(centres, direction, step),
        "fragmented": np.full((n_bins, n_bins), 1 / n_bins),
    }
    n_kinds = len(dynamics)
    change = (1 - persistence) / max(n_kinds - 1, 1)
    stay = persistence if n_kinds > 1 else 1.0
    blocks = [
        [
            (stay if before == after else change) * moves[_move(before, after)]
            for after in dynamics
        ]
        for before in dynamics
    ]
    initial = np.full(n_kinds * n_bins, 1 / (n_kinds * n_bins))
    return Chain(jnp.asarray(initial, "f4"), jnp.asarray(np.block(blocks), "f4"))


def _move(before: str, after: str) -> str:
    return "fragmented" if "fragmented" in (before, after) else after


def _walk(centres: np.ndarray, direction: np.ndarray, step: float) -> np.ndarray:
    squared = np.sum((centres[:, None] - centres[None]) ** 2, axis=-1)
    same = direction[:, None] == direction[None]
    weights = np.where(same, np.exp(-squared / (2 * step**2)), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


@jax.jit
def smooth(
    chain: Chain,
    log_likelihood: Float[Array, "time position"],
    reset: Bool[Array, " time"] | None = None,
    length: Count | None = None,
) -> Float[Array, "time dynamics position"]:
    """Return p(dynamics, place) of each bin given all of them."""
    evidence = _for_all_dynamics(chain, log_likelihood)
    found = kernels.hmm_smoother(*chain, evidence, reset=reset, length=length)
    return _apart(found.smoothed, log_likelihood)


@jax.jit
def track(
    chain: Chain,
    log_likelihood: Float[Array, "time position"],
    reset: Bool[Array, " time"] | None = None,
) -> Float[Array, "time dynamics position"]:
    """Return p(dynamics, place) of each bin given those up to it."""
    evidence = _for_all_dynamics(chain, log_likelihood)
    found = kernels.hmm_filter(*chain, evidence, reset=reset)
    return _apart(found.filtered, log_likelihood)


def _for_all_dynamics(chain: Chain, log_likelihood: Array) -> Array:
    return jnp.tile(log_likelihood, (1, len(chain.initial) // log_likelihood.shape[1]))


def _apart(posterior: Array, log_likelihood: Array) -> Array:
    n_steps, n_bins = log_likelihood.shape
    return posterior.reshape(n_steps, -1, n_bins)
