r"""Simulated populations whose couplings switch with a hidden brain state.

The twin of the spike recordings: the same ``recording``, and the ``truth`` behind it.
The parameters are drawn as in the simulations of the one-hot GLM paper. Every pair of
neurons has a preferred kind of connection, most often none; in each state the pair
draws its kind from that preference, so the states share most of their wiring:

$$
p_{n,m} \sim \mathrm{Dirichlet}\big(2\,[\tfrac{c}{2},\, 1-c,\, \tfrac{c}{2}]\big),
\qquad a_{s,n,m} \in \{-1, 0, +1\} \sim \mathrm{Categorical}(p_{n,m}), \qquad
w_{s,n,m} = a_{s,n,m} \log(1 + 3u), \quad u \sim U(0, 1)
$$

where $c$ is the probability of a connection. (The paper takes the arg max of a
Gumbel-softmax sample, which at any temperature is a draw from that categorical
distribution.) A spike acts on later bins through one decaying exponential. The rate
is a sigmoid, so no neuron expects more than one spike per bin and nothing explodes.

Li, Kim, Rodgers, Choi & Wu (2024), One-hot generalized linear model for switching
brain state discovery, ICLR.
"""

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import invalid

CONNECTIONS = ["inhibitory", "none", "excitatory"]
CITATION = (
    "Li, Kim, Rodgers, Choi & Wu (2024) One-hot generalized linear model for "
    "switching brain state discovery. ICLR."
)
CONCENTRATION = 2.0
MAXIMUM_BIAS = 0.05


def simulate_switching(
    *,
    seed: int,
    n_states: int = 5,
    n_neurons: int = 20,
    n_sessions: int = 50,
    n_steps: int = 2000,
    bin_size: float = 0.02,
    n_lags: int = 5,
    connection_probability: float = 0.2,
    stay_probability: float = 0.98,
) -> xr.DataTree:
    """Simulate a population that switches between brain states.

    Parameters
    ----------
    seed
        Seed of the parameters, the states and the spikes.
    n_states, n_neurons
        Size of the model.
    n_sessions
        Number of sessions; states and history start anew in each.
    n_steps
        Number of bins per session.

    Other Parameters
    ----------------
    bin_size
        Width of a bin in seconds.
    n_lags
        Number of past bins over which a spike acts.
    connection_probability
        Expected share of the pairs of neurons that are connected, half of them by
        excitation.
    stay_probability
        Probability of staying in a state from one bin to the next; the others are
        equally likely to follow, and to be first.

    Returns
    -------
    xarray.DataTree
        ``recording`` holds ``spikes`` (time, neuron), with a ``session`` coordinate
        along time if there are several. ``truth`` holds ``state_sequence`` (time),
        the model's parameters (``weight``, ``bias``, ``transition_matrix``,
        ``initial``, ``basis_function``), ``adjacency`` and ``strength`` (state,
        neuron, source_neuron) and ``adjacency_prior`` (neuron, source_neuron,
        connection).

    Raises
    ------
    InvalidInputError
        If a number is out of its range.

    Examples
    --------
    >>> data = simulate_switching(
    ...     seed=0, n_states=2, n_neurons=3, n_sessions=1, n_steps=100
    ... )
    >>> dict(data["recording"]["spikes"].sizes)
    {'time': 100, 'neuron': 3}
    """
    # Inside, so that listing the data sets does not have to load jax.
    from neuromod.switching.basis import exponential_basis
    from neuromod.switching.model import SwitchingGLM
    from neuromod.switching.simulate import simulate

    n_states = dimensions.require_integer(n_states, "n_states")
    n_neurons = dimensions.require_integer(n_neurons, "n_neurons")
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    connected = require_probability(connection_probability, "connection_probability")
    stay = require_probability(stay_probability, "stay_probability")
    generator = np.random.default_rng(seed)
    truth = _draw_couplings(generator, n_states, n_neurons, connected)
    bias = generator.uniform(-MAXIMUM_BIAS, MAXIMUM_BIAS, n_neurons)
    model = SwitchingGLM(
        initial=np.full(n_states, 1 / n_states),
        transition_matrix=sticky_matrix(n_states, stay),
        bias=np.tile(bias, (n_states, 1)),
        weight=(truth["adjacency"] * truth["strength"]).values[..., None],
        basis=exponential_basis(n_lags),
        observation="poisson",
        link="sigmoid",
    )
    tree = simulate(model, n_steps, seed=seed, n_sessions=n_sessions, bin_size=bin_size)
    tree["truth"] = xr.DataTree(tree["truth"].to_dataset().merge(truth))
    tree.attrs = {
        "title": f"Simulated switching GLM: {n_states} states, {n_neurons} neurons",
        "source": f"neuromod.datasets.simulate_switching(seed={seed}, ...)",
        "licence": "none needed: simulated",
        "citation": CITATION,
    }
    return tree


def _draw_couplings(
    generator: np.random.Generator, n_states: int, n_neurons: int, connected: float
) -> xr.Dataset:
    """Draw which neurons are connected in which state, how, and how strongly."""
    expected = np.array([connected / 2, 1 - connected, connected / 2])
    pairs = (n_neurons, n_neurons)
    prior = generator.dirichlet(CONCENTRATION * expected, size=pairs)
    below = prior.cumsum(-1)
    drawn = generator.uniform(size=(n_states, *pairs))
    adjacency = 0 + (drawn > below[..., 0]) + (drawn > below[..., 1]) - 1
    strength = np.log1p(3 * generator.uniform(size=(n_states, *pairs)))
    coupled = ("state", "neuron", "source_neuron")
    return xr.Dataset(
        {
            "adjacency": xr.DataArray(adjacency, dims=coupled),
            "strength": xr.DataArray(strength, dims=coupled),
            "adjacency_prior": xr.DataArray(
                prior, dims=("neuron", "source_neuron", "connection")
            ),
        },
        coords={"connection": CONNECTIONS},
    )


def sticky_matrix(n_states: int, stay: float) -> np.ndarray:
    """Return a transition matrix whose states stay, or else go anywhere alike."""
    if n_states == 1:
        return np.ones((1, 1))
    leave = (1 - stay) / (n_states - 1)
    return np.where(np.eye(n_states, dtype=bool), stay, leave)


def require_probability(value: float, argument: str) -> float:
    """Return a probability between 0 and 1, or raise."""
    if isinstance(value, int | float | np.number) and 0 < value < 1:
        return float(value)
    raise invalid(argument, repr(value), "a probability between 0 and 1")
