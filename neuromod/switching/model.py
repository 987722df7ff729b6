r"""A generalised linear model whose couplings switch with a hidden brain state.

A population of neurons is in one of a few hidden states. In each state the neurons
excite and inhibit one another through their own set of coupling filters:

$$
h_{t,m,b} = \sum_{k=1}^{K} \phi_{b,k}\, x_{t-k,m}, \qquad
\eta_{s,t,n} = \beta_{s,n} + \sum_{m,b} w_{s,n,m,b}\, h_{t,m,b}, \qquad
x_{t,n} \mid z_t = s \sim \mathrm{Poisson}\big(f(\eta_{s,t,n})\big)
$$

| symbol | meaning | shape |
|---|---|---|
| $x$ | spike counts per bin | (time, neuron) |
| $z$ | hidden state, a Markov chain | (time,) |
| $\phi$ | basis functions over past bins, the most recent first | (basis, lag) |
| $h$ | history: past spikes, never the present bin | (time, neuron, basis) |
| $\beta$ | bias, in the units of $\eta$ | (state, neuron) |
| $w$ | weight of a source neuron on a neuron | (state, neuron, source_neuron, basis) |
| $f$ | link: from $\eta$ to expected spikes per bin | |

With one state this is the Poisson (or Bernoulli) GLM; without a basis it is the
Poisson (or Bernoulli) hidden Markov model.

Li, Kim, Rodgers, Choi & Wu (2024), One-hot generalized linear model for switching
brain state discovery, ICLR.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from neuromod.core.errors import ShapeError, choice, invalid

Values = Array | np.ndarray

# Keeps the logarithm of a rate finite where a link underflows.
RATE_FLOOR = 1e-8


class Link(NamedTuple):
    """From the linear predictor to expected spikes per bin, and back."""

    rate: Callable[[Values], Array]
    inverse: Callable[[Values], Array]


class Observation(NamedTuple):
    """What one neuron emits in one bin, given its expected count."""

    log_probability: Callable[[Values, Values], Array]
    variance: Callable[[Values], Values]
    draw: Callable[[np.random.Generator, np.ndarray], np.ndarray]


def _sigmoid_rate(eta):
    return RATE_FLOOR + (1 - RATE_FLOOR) * jax.nn.sigmoid(eta)


def _sigmoid_inverse(rate):
    probability = jnp.clip((rate - RATE_FLOOR) / (1 - RATE_FLOOR), 1e-6, 1 - 1e-6)
    return jnp.log(probability) - jnp.log1p(-probability)


def _softplus_inverse(rate):
    return rate + jnp.log(-jnp.expm1(-rate))


LINKS: dict[str, Link] = {
    "softplus": Link(jax.nn.softplus, _softplus_inverse),
    "sigmoid": Link(_sigmoid_rate, _sigmoid_inverse),
    "exp": Link(jnp.exp, jnp.log),
}


def _poisson_log_probability(count, rate):
    return count * jnp.log(rate + RATE_FLOOR) - rate - gammaln(count + 1)


def _bernoulli_log_probability(count, rate):
    spiked = jnp.minimum(count, 1)
    silent = jnp.log(1 - rate + RATE_FLOOR)
    return spiked * jnp.log(rate + RATE_FLOOR) + (1 - spiked) * silent


def _poisson_draw(generator, rate):
    return generator.poisson(rate)


def _bernoulli_draw(generator, rate):
    return generator.random(rate.shape) < rate


OBSERVATIONS: dict[str, Observation] = {
    "poisson": Observation(_poisson_log_probability, lambda rate: rate, _poisson_draw),
    "bernoulli": Observation(
        _bernoulli_log_probability, lambda rate: rate * (1 - rate), _bernoulli_draw
    ),
}


class SwitchingGLM(eqx.Module):
    """Parameters of a switching GLM.

    Parameters
    ----------
    initial : (state,)
        Probability of each state in the first bin of a session.
    transition_matrix : (state, state_to)
        Probability of going from a state (row) to a state (column) in one bin.
    bias : (state, neuron)
        Baseline of the linear predictor.
    weight : (state, neuron, source_neuron, basis)
        Effect of a source neuron on a neuron, in units of the linear predictor per
        spike seen through a basis function.
    basis : (basis, lag)
        Basis functions over past bins; the first column is one bin back.
    observation
        "poisson" (spike counts) or "bernoulli" (spike or no spike).
    link
        "softplus", "sigmoid" (at most one expected spike per bin) or "exp" (can
        explode where neurons excite one another). Bernoulli takes "sigmoid" only.

    Raises
    ------
    ShapeError
        If the shapes do not fit together.
    InvalidInputError
        If a probability is negative, rows do not sum to one, or a name is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> model = SwitchingGLM(
    ...     initial=np.array([0.5, 0.5]),
    ...     transition_matrix=np.array([[0.95, 0.05], [0.05, 0.95]]),
    ...     bias=np.array([[-1.0, -1.0], [0.5, -1.0]]),
    ...     weight=np.zeros((2, 2, 2, 1)),
    ...     basis=np.ones((1, 1)),
    ... )
    >>> model.n_states, model.n_neurons
    (2, 2)
    """

    initial: Float[Values, " state"]
    transition_matrix: Float[Values, "state state_to"]
    bias: Float[Values, "state neuron"]
    weight: Float[Values, "state neuron source_neuron basis"]
    basis: Float[Values, "basis lag"]
    observation: str = eqx.field(static=True, default="poisson")
    link: str = eqx.field(static=True, default="softplus")

    def __check_init__(self) -> None:
        choice("observation", self.observation, OBSERVATIONS)
        choice("link", self.link, LINKS)
        if self.observation == "bernoulli" and self.link != "sigmoid":
            raise invalid(
                "link",
                repr(self.link),
                "'sigmoid' for Bernoulli observations, whose rate is a probability",
            )
        n_states, n_neurons = self.bias.shape
        expected = {
            "initial": (n_states,),
            "transition_matrix": (n_states, n_states),
            "weight": (n_states, n_neurons, n_neurons, self.basis.shape[0]),
        }
        for name, shape in expected.items():
            got = getattr(self, name).shape
            if got != shape:
                raise invalid(name, f"shape {got}", f"shape {shape}", kind=ShapeError)
        _require_distribution(self.initial, "initial")
        _require_distribution(self.transition_matrix, "transition_matrix")

    @property
    def n_states(self) -> int:
        """Number of hidden states."""
        return self.bias.shape[-2]

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return self.bias.shape[-1]

    @property
    def n_lags(self) -> int:
        """Number of past bins that the couplings reach back to."""
        return self.basis.shape[-1]


def _require_distribution(probabilities: Values, argument: str) -> None:
    # Inside jit or vmap there are no numbers to look at.
    if isinstance(probabilities, Tracer):
        return
    values = np.asarray(probabilities)
    if not (values >= 0).all() or not np.allclose(values.sum(-1), 1, atol=1e-4):
        raise invalid(
            argument,
            np.array2string(values, precision=3, threshold=10).replace("\n", ""),
            "probabilities >= 0 that sum to 1 along the last dimension",
        )


def history(
    counts: Float[Values, "time neuron"], basis: Float[Values, "basis lag"]
) -> Float[Array, "time neuron basis"]:
    """See the past spikes of every neuron through the basis functions.

    Spikes before the first bin count as zero, and the present bin is never used.
    """
    n_basis, n_lags = basis.shape
    n_steps, n_neurons = counts.shape
    start = jnp.zeros((n_steps, n_neurons, n_basis), jnp.asarray(counts).dtype)
    if start.size == 0 or n_lags == 0:
        return start
    padded = jnp.pad(jnp.asarray(counts), ((n_lags, 0), (0, 0)))

    def add_lag(k, total):
        past = jax.lax.dynamic_slice_in_dim(padded, n_lags - 1 - k, n_steps)
        return total + past[:, :, None] * jnp.asarray(basis)[None, None, :, k]

    return jax.lax.fori_loop(0, n_lags, add_lag, start)
