"""Small models and recordings that the tests of switching share."""

import numpy as np
import xarray as xr

from neuromod.switching import SwitchingGLM, exponential_basis

KINDS = (
    ("poisson", "softplus"),
    ("poisson", "sigmoid"),
    ("poisson", "exp"),
    ("bernoulli", "sigmoid"),
)


def random_model(
    seed=0, n_states=2, n_neurons=3, n_basis=1, n_lags=3, kind=KINDS[0], stay=0.9
) -> SwitchingGLM:
    generator = np.random.default_rng(seed)
    off = (1 - stay) / max(n_states - 1, 1)
    transition = np.full((n_states, n_states), off)
    np.fill_diagonal(transition, stay if n_states > 1 else 1.0)
    shape = (n_states, n_neurons, n_neurons, n_basis)
    bases = [exponential_basis(n_lags, 1.0 + 2 * i)[0] for i in range(n_basis)]
    return SwitchingGLM(
        initial=generator.dirichlet(np.ones(n_states)),
        transition_matrix=transition,
        bias=generator.normal(-0.5, 1.0, size=(n_states, n_neurons)),
        # Weak enough for the excitatory loops to die out.
        weight=generator.normal(0, 0.7 / np.sqrt(n_neurons), size=shape),
        basis=np.array(bases).reshape(n_basis, n_lags),
        observation=kind[0],
        link=kind[1],
    )


def random_counts(seed=0, n_steps=40, n_neurons=3, n_sessions=1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.poisson(0.7, size=(n_sessions, n_steps, n_neurons)).astype(float)


def as_recording(counts: np.ndarray, bin_size: float = 0.1) -> xr.DataArray:
    time = (np.arange(len(counts)) + 0.5) * bin_size
    return xr.DataArray(
        counts,
        dims=("time", "neuron"),
        coords={"time": time, "neuron": [f"n{i}" for i in range(counts.shape[1])]},
    )


def slow_rates(model: SwitchingGLM, counts: np.ndarray) -> np.ndarray:
    """Expected counts (state, time, neuron) by plain loops."""
    n_steps, n_neurons = counts.shape
    rates = np.zeros((model.n_states, n_steps, n_neurons))
    for s in range(model.n_states):
        for t in range(n_steps):
            for n in range(n_neurons):
                eta = model.bias[s, n]
                for m in range(n_neurons):
                    for b, filter_ in enumerate(model.basis):
                        for k, value in enumerate(filter_):
                            if t - 1 - k >= 0:
                                past = counts[t - 1 - k, m]
                                eta += model.weight[s, n, m, b] * value * past
                rates[s, t, n] = _rate(model.link, eta)
    return rates


def _rate(link: str, eta: float) -> float:
    if link == "softplus":
        return np.log1p(np.exp(eta))
    if link == "exp":
        return np.exp(eta)
    return (1 - 1e-8) / (1 + np.exp(-eta)) + 1e-8


def slow_log_likelihoods(model: SwitchingGLM, counts: np.ndarray) -> np.ndarray:
    """Log-probability (time, state) of each bin, by plain loops."""
    from scipy.special import gammaln

    rates = slow_rates(model, counts)
    if model.observation == "bernoulli":
        spiked = np.minimum(counts, 1)
        terms = spiked * np.log(rates + 1e-8)
        terms += (1 - spiked) * np.log(1 - rates + 1e-8)
    else:
        terms = counts * np.log(rates + 1e-8) - rates - gammaln(counts + 1)
    return terms.sum(-1).T
