"""Small models and recordings that the tests of switching share."""

import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.special import gammaln, logsumexp

from neuromod.switching import SwitchingGLM, exponential_basis
from neuromod.switching.chain import ChainPrior
from neuromod.switching.recording import Recording

KINDS = (
    ("poisson", "softplus"),
    ("poisson", "sigmoid"),
    ("poisson", "exp"),
    ("bernoulli", "sigmoid"),
    ("negative_binomial", "softplus"),
    ("gaussian", "identity"),
    ("categorical", "softmax"),
)


def random_model(
    seed=0,
    n_states=2,
    n_neurons=3,
    n_basis=1,
    n_lags=3,
    kind=KINDS[0],
    stay=0.9,
    n_inputs=0,
    n_own=0,
    n_tilts=0,
) -> SwitchingGLM:
    generator = np.random.default_rng(seed)
    off = (1 - stay) / max(n_states - 1, 1)
    transition = np.full((n_states, n_states), off)
    np.fill_diagonal(transition, stay if n_states > 1 else 1.0)
    pairs = (n_states, n_neurons)
    bases = [exponential_basis(n_lags, 1.0 + 2 * i)[0] for i in range(n_basis)]
    initial = generator.dirichlet(np.ones(n_states))
    bias = generator.normal(-0.5, 1.0, size=pairs)
    # Weak enough for the excitatory loops to die out.
    width = 0.7 / np.sqrt(n_neurons)
    weight = generator.normal(0, width, size=(*pairs, n_neurons, n_basis))
    return SwitchingGLM(
        initial=initial,
        transition_matrix=transition,
        bias=bias,
        weight=weight,
        basis=np.array(bases).reshape(n_basis, n_lags),
        input_weight=generator.normal(0, 0.5, size=(*pairs, n_inputs)),
        self_weight=generator.normal(-0.5, 0.3, size=(*pairs, n_own)),
        self_basis=np.eye(n_own),
        transition_weight=generator.normal(size=(n_states, n_states, n_tilts)),
        dispersion=generator.uniform(0.3, 0.8, size=pairs),
        observation=kind[0],
        link=kind[1],
    )


def random_counts(seed=0, n_steps=40, n_neurons=3, n_sessions=1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.poisson(0.7, size=(n_sessions, n_steps, n_neurons)).astype(float)


def random_values(kind, seed=0, n_steps=40, n_neurons=3, n_sessions=1) -> np.ndarray:
    """Values (session, time, neuron) that an observation can take."""
    generator = np.random.default_rng(seed)
    shape = (n_sessions, n_steps)
    if kind[0] == "gaussian":
        return generator.normal(size=(*shape, n_neurons))
    if kind[0] == "categorical":
        return np.eye(n_neurons + 1)[generator.integers(0, n_neurons + 1, shape)][
            ..., 1:
        ]
    return random_counts(seed, n_steps, n_neurons, n_sessions)


def recording_of(values, lengths=None, inputs=None, tilts=None, recorded=None):
    n_sessions, n_steps = values.shape[:2]
    lengths = np.full(n_sessions, n_steps) if lengths is None else np.asarray(lengths)
    nothing = np.zeros((n_sessions, n_steps, 0))
    arrays = [
        values,
        np.arange(n_steps)[None] < lengths[:, None],
        lengths,
        nothing if inputs is None else inputs,
        nothing if tilts is None else tilts,
    ]
    if recorded is not None:
        arrays.append(recorded)
    return Recording(*(jnp.asarray(array) for array in arrays))


def flat_chain() -> ChainPrior:
    return ChainPrior(jnp.asarray(1.0), jnp.asarray(0.0), jnp.asarray(1.0))


def as_recording(counts: np.ndarray, bin_size: float = 0.1) -> xr.DataArray:
    time = (np.arange(len(counts)) + 0.5) * bin_size
    return xr.DataArray(
        counts,
        dims=("time", "neuron"),
        coords={"time": time, "neuron": [f"n{i}" for i in range(counts.shape[1])]},
    )


def slow_predictors(model: SwitchingGLM, values, inputs=None) -> np.ndarray:
    """Linear predictors (state, time, neuron) by plain loops."""
    n_steps, n_neurons = values.shape
    eta = np.zeros((model.n_states, n_steps, n_neurons))
    for s in range(model.n_states):
        for t in range(n_steps):
            for n in range(n_neurons):
                eta[s, t, n] = model.bias[s, n]
                if inputs is not None:
                    eta[s, t, n] += model.input_weight[s, n] @ inputs[t]
                for b, own in enumerate(model.self_basis):
                    seen = _seen(own, values[:, n], t)
                    eta[s, t, n] += model.self_weight[s, n, b] * seen
                for m in range(n_neurons):
                    if m == n and len(model.self_basis):
                        continue
                    for b, filter_ in enumerate(model.basis):
                        seen = _seen(filter_, values[:, m], t)
                        eta[s, t, n] += model.weight[s, n, m, b] * seen
    return eta


def _seen(filter_: np.ndarray, values: np.ndarray, t: int) -> float:
    return sum(v * values[t - 1 - k] for k, v in enumerate(filter_) if t - 1 - k >= 0)


def slow_rates(model: SwitchingGLM, values, inputs=None) -> np.ndarray:
    """Expected values (state, time, neuron) by plain loops."""
    eta = slow_predictors(model, values, inputs)
    if model.link == "softplus":
        return np.log1p(np.exp(eta))
    if model.link == "exp":
        return np.exp(eta)
    if model.link == "identity":
        return eta
    if model.link == "softmax":
        first = np.zeros_like(eta[..., :1])
        total = logsumexp(np.concatenate([first, eta], -1), axis=-1, keepdims=True)
        return np.exp(eta - total)
    return (1 - 1e-8) / (1 + np.exp(-eta)) + 1e-8


def slow_log_likelihoods(model: SwitchingGLM, values, inputs=None) -> np.ndarray:
    """Log-probability (time, state) of each bin, by plain loops."""
    rates = slow_rates(model, values, inputs)
    dispersion = model.dispersion[:, None]
    if model.observation == "bernoulli":
        spiked = np.minimum(values, 1)
        terms = spiked * np.log(rates + 1e-8)
        terms += (1 - spiked) * np.log(1 - rates + 1e-8)
    elif model.observation == "negative_binomial":
        size = 1 / dispersion
        terms = gammaln(values + size) - gammaln(size) - gammaln(values + 1)
        terms = terms + size * np.log(size / (size + rates))
        terms = terms + values * np.log(rates / (size + rates))
    elif model.observation == "gaussian":
        terms = -0.5 * (
            (values - rates) ** 2 / dispersion + np.log(2 * np.pi * dispersion)
        )
    elif model.observation == "categorical":
        terms = values * np.log(rates)
        first = 1 - values.sum(-1)
        return (terms.sum(-1) + first * np.log(1 - rates.sum(-1))).T
    else:
        terms = values * np.log(rates + 1e-8) - rates - gammaln(values + 1)
    return terms.sum(-1).T
