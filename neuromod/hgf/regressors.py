r"""Trajectories under the names of the toolbox, as regressors for EEG and fMRI.

For the tower of a binary input (level 1), its parent (2) and the parent that sets the
volatility of that (3):

| name | | |
|---|---|---|
| `mu`, `sa` | $\mu_k$, $1/\pi_k$ | belief and its variance |
| `muhat`, `sahat` | $\hat\mu_k$, $1/\hat\pi_k$ | prediction and its variance |
| `v` | $\Omega_k$ | variance gained in the step |
| `w` | $\Omega_k \hat\pi_k$ | weight of the volatility error |
| `da` | $\delta_1$, $\Delta_k$ | prediction error that level k sends up |
| `ud` | $\mu_k - \hat\mu_k$ | update |
| `psi` | $1/\pi_2$, $\hat\pi_{k-1}/\pi_k$ | precision weight of the error from below |
| `epsi` | $\psi_k\, da_{k-1}$ | precision-weighted prediction error |
| `wt` | | learning rate |
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.core.errors import invalid
from neuromod.hgf.inference import Series, Trajectories, errors
from neuromod.hgf.network import Network
from neuromod.hgf.nodes import BinaryInput

Trials = Float[Array, " time"]


def tower(network: Network) -> tuple[str, ...]:
    """Return the first binary input, its parent, and so on up."""
    binary = [node.name for node in network.nodes if isinstance(node, BinaryInput)]
    if not binary:
        raise invalid("network", "no binary input", "a tower that stands on one")
    found, family = [binary[0]], network.family
    above = family.value_parents[found[0]]
    while above:
        found.append(network.edges[above[0]].parent)
        above = family.volatility_parents[found[-1]]
    return tuple(found)


def regressors(
    network: Network, series: Series, found: Trajectories
) -> dict[str, Trials]:
    """Return the trajectories of a tower under the names of the toolbox.

    Parameters
    ----------
    network
        A network with a binary input.
    series
        Its data.
    found
        What `neuromod.hgf.inference.run` returned.

    Returns
    -------
    dict
        Names such as ``muhat1`` and ``epsi3``; each (time,).
    """
    levels = tower(network)
    error = errors(network, series, found)
    bottom = levels[0]
    value = series.values[network.inputs.index(bottom)]
    expected = found.predictions[bottom]
    result = {
        "u": value,
        "mu1": value,
        "sa1": jnp.zeros_like(value),
        "muhat1": expected.mean,
        "sahat1": expected.precision,
        "da1": value - expected.mean,
        "ud1": value - expected.mean,
        "wt1": _first_learning_rate(network, levels, value, found),
    }
    for k, name in enumerate(levels[1:], start=2):
        belief, predicted = found.beliefs[name], found.predictions[name]
        result[f"mu{k}"] = belief.mean
        result[f"sa{k}"] = 1 / belief.precision
        result[f"muhat{k}"] = predicted.mean
        result[f"sahat{k}"] = 1 / predicted.precision
        result[f"v{k}"] = predicted.volatility
        result[f"da{k}"] = error[name].volatility
        result[f"ud{k}"] = error[name].value
        if k < len(levels):
            result[f"w{k}"] = error[name].effective_precision
        _weigh(network, levels, k, found, result)
    return result


def _weigh(network, levels, k, found, result) -> None:
    """Add precision weight, weighted error and learning rate of a level."""
    psi = 1 / found.beliefs[levels[k - 1]].precision
    rate = psi
    if k > 2:
        below = found.predictions[levels[k - 2]]
        psi = psi * below.precision
        edge = network.edges[network.family.volatility_parents[levels[k - 2]][0]]
        rate = edge.strength * below.volatility * psi / 2
    result[f"psi{k}"] = psi
    result[f"epsi{k}"] = psi * result[f"da{k - 1}"]
    result[f"wt{k}"] = rate


def _first_learning_rate(network, levels, value, found) -> Trials:
    """Return the share of the error by which the probability moved."""
    first, belief = network[levels[1]].mean, found.beliefs[levels[1]].mean
    edge = network.edges[network.family.value_parents[levels[0]][0]]
    held = jnp.concatenate([jnp.reshape(jnp.asarray(first, belief.dtype), 1), belief])
    probability = jax.nn.sigmoid(edge.strength * held)
    rest = value - probability[1:]
    moved = jnp.diff(probability)
    return jnp.where(rest != 0, moved / jnp.where(rest != 0, rest, 1.0), 0.0)
