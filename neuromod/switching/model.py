r"""A generalised linear model whose couplings switch with a hidden brain state.

A population of neurons is in one of a few hidden states. In each state the neurons
excite and inhibit one another through their own set of coupling filters, and what the
animal sees or does drives them through the state's own weights:

$$
h_{t,m,b} = \sum_{k=1}^{K} \phi_{b,k}\, x_{t-k,m}, \qquad
\eta_{s,t,n} = \beta_{s,n} + \sum_i v_{s,n,i}\, u_{t,i}
  + \sum_{m,b} w_{s,n,m,b}\, h_{t,m,b}, \qquad
x_{t,n} \mid z_t = s \sim \mathrm{Poisson}\big(f(\eta_{s,t,n})\big)
$$

The state is a Markov chain. Its jumps may depend on inputs of their own, which tilt
the odds of the states that follow:

$$
p(z_{t+1} = j \mid z_t = i) \propto A_{ij}
  \exp\big(\textstyle\sum_i r_{ij,i}\, q_{t+1,i}\big)
$$

| symbol | meaning | shape |
|---|---|---|
| $x$ | spike counts per bin, or choices per trial | (time, neuron) |
| $z$ | hidden state | (time,) |
| $\phi$ | basis functions over past bins, the most recent first | (basis, lag) |
| $h$ | history: past spikes, never the present bin | (time, neuron, basis) |
| $\beta$ | bias, in the units of $\eta$ | (state, neuron) |
| $u$, $v$ | inputs, and their weights | (time, input), (state, neuron, input) |
| $w$ | weight of a source neuron on a neuron | (state, neuron, source_neuron, basis) |
| $f$ | link: from $\eta$ to the expected value | |
| $A$ | transition matrix | (state, state_to) |
| $q$, $r$ | inputs of a jump, and their weights | (state, state_to, input) |

With a basis for a neuron's own history, its weight on itself is replaced by a filter
of its own. In a **lapse state** there is nothing but the bias: whatever happens, the
animal guesses. A **recurrent** chain listens to the neurons: their history $h_{t+1}$
follows the other inputs of a jump in $q_{t+1}$. With one state this is the plain GLM;
without couplings it is the hidden Markov model with the same observations; with
choices and inputs it is the GLM-HMM of behaviour.

Li, Kim, Rodgers, Choi & Wu (2024), One-hot generalized linear model for switching
brain state discovery, ICLR. Ashwood et al. (2022), Mice alternate between discrete
strategies during perceptual decision-making, Nature Neuroscience 25,
doi:10.1038/s41593-021-01007-z.
"""

import equinox as eqx
import numpy as np
from jax.core import Tracer
from jaxtyping import Float

from neuromod.core.errors import ShapeError, invalid
from neuromod.switching.features import Layout
from neuromod.switching.observations import OBSERVATIONS, Values, resolve_link


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

    Other Parameters
    ----------------
    input_weight : (state, neuron, input)
        Effect of an input of the same bin; no inputs if omitted.
    self_weight : (state, neuron, self_basis)
        Effect of a neuron's own past; part of ``weight`` if omitted.
    self_basis : (self_basis, lag)
        Basis functions of the neurons' own past.
    transition_weight : (state, state_to, transition_input)
        Effect of inputs on the log-odds of a jump; none if omitted.
    dispersion : (state, neuron)
        Of negative-binomial counts, or the variance of Gaussian values.
    n_lapse_states
        How many of the states, the last ones, have a bias and no weights.
    recurrent
        Whether the last transition inputs are the history of every source neuron.
    observation
        A name in `neuromod.switching.observations`: "poisson" (spike counts),
        "bernoulli" (spike or no spike; a choice of two), "negative_binomial",
        "gaussian" or "categorical" (``neuron`` then counts the options after the
        first).
    link
        "softplus", "sigmoid" (at most one expected spike per bin), "exp" (can
        explode where neurons excite one another), "identity" or "softmax"; the
        observation's first if omitted.

    Raises
    ------
    ShapeError
        If the shapes do not fit together.
    InvalidInputError
        If a probability is negative, rows do not sum to one, a dispersion is not
        positive, or a name is unknown.

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
    input_weight: Float[Values, "state neuron input"]
    self_weight: Float[Values, "state neuron self_basis"]
    self_basis: Float[Values, "self_basis self_lag"]
    transition_weight: Float[Values, "state state_to transition_input"]
    dispersion: Float[Values, "state neuron"]
    n_lapse_states: int = eqx.field(static=True)
    recurrent: bool = eqx.field(static=True)
    observation: str = eqx.field(static=True)
    link: str = eqx.field(static=True)

    def __init__(
        self,
        initial: Values,
        transition_matrix: Values,
        bias: Values,
        weight: Values,
        basis: Values,
        *,
        input_weight: Values | None = None,
        self_weight: Values | None = None,
        self_basis: Values | None = None,
        transition_weight: Values | None = None,
        dispersion: Values | None = None,
        n_lapse_states: int = 0,
        recurrent: bool = False,
        observation: str = "poisson",
        link: str | None = None,
    ) -> None:
        self.n_lapse_states, self.recurrent = n_lapse_states, recurrent
        self.observation = observation
        self.link = resolve_link(link, observation)
        self.initial, self.transition_matrix = initial, transition_matrix
        self.bias, self.weight, self.basis = bias, weight, basis
        n_states, n_neurons = bias.shape
        dtype = bias.dtype
        absent = np.zeros((n_states, n_neurons, 0), dtype)
        self.input_weight = absent if input_weight is None else input_weight
        self.self_weight = absent if self_weight is None else self_weight
        self.self_basis = np.zeros((0, 0), dtype) if self_basis is None else self_basis
        self.transition_weight = (
            np.zeros((n_states, n_states, 0), dtype)
            if transition_weight is None
            else transition_weight
        )
        self.dispersion = np.ones_like(bias) if dispersion is None else dispersion

    def __check_init__(self) -> None:
        n_states, n_neurons = self.bias.shape
        expected = {
            "initial": (n_states,),
            "transition_matrix": (n_states, n_states),
            "weight": (n_states, n_neurons, n_neurons, self.basis.shape[0]),
            "input_weight": (n_states, n_neurons, self.input_weight.shape[-1]),
            "self_weight": (n_states, n_neurons, self.self_basis.shape[0]),
            "transition_weight": (
                *(n_states, n_states),
                self.transition_weight.shape[-1],
            ),
            "dispersion": (n_states, n_neurons),
        }
        for name, shape in expected.items():
            got = getattr(self, name).shape
            if got != shape:
                raise invalid(name, f"shape {got}", f"shape {shape}", kind=ShapeError)
        n_recurrent = self.n_neurons * len(self.basis) if self.recurrent else 0
        if self.transition_weight.shape[-1] < n_recurrent:
            raise invalid(
                "transition_weight",
                f"{self.transition_weight.shape[-1]} transition inputs",
                f"at least the {n_recurrent} of a recurrent chain",
                kind=ShapeError,
            )
        _require_lapses(self)
        _require_distribution(self.initial, "initial")
        _require_distribution(self.transition_matrix, "transition_matrix")
        if OBSERVATIONS[self.observation].dispersed:
            _require_positive(self.dispersion, "dispersion")

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
        """Number of past bins that the history reaches back to."""
        return max(self.basis.shape[-1], self.self_basis.shape[-1])

    @property
    def n_transition_inputs(self) -> int:
        """Number of inputs of a jump that do not come from the neurons."""
        n_inputs = self.transition_weight.shape[-1]
        return n_inputs - self.recurrent * self.n_neurons * len(self.basis)

    @property
    def layout(self) -> Layout:
        """How the coefficients of one GLM are laid out."""
        return Layout(
            n_inputs=self.input_weight.shape[-1],
            n_own=self.self_weight.shape[-1],
            n_sources=self.n_neurons if self.weight.shape[-1] else 0,
            n_basis=self.weight.shape[-1],
        )


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


def _require_lapses(model: SwitchingGLM) -> None:
    """Raise unless the last states are free of weights, as they are said to be."""
    n_lapse = model.n_lapse_states
    if not 0 <= n_lapse < model.n_states and n_lapse:
        raise invalid(
            "n_lapse_states",
            n_lapse,
            f"fewer than the {model.n_states} states, so that one listens",
        )
    for name in ("weight", "input_weight", "self_weight"):
        values = getattr(model, name)
        if n_lapse == 0 or isinstance(values, Tracer):
            continue
        if np.any(np.asarray(values)[-n_lapse:]):
            raise invalid(
                name,
                f"weights in the last {n_lapse} states",
                "none in lapse states",
                "Set them to zero, or leave out n_lapse_states.",
            )


def _require_positive(values: Values, argument: str) -> None:
    if isinstance(values, Tracer):
        return
    if not (np.asarray(values) > 0).all():
        raise invalid(argument, f"{np.min(values):.3g}", "numbers > 0")
