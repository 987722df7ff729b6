r"""Lyapunov exponents of a network that runs from its prior.

Two copies of a network that start $\delta$ apart and draw the same noise are
$\delta e^{\lambda t}$ apart after $t$ steps. Without noise ($z$ at the mean of the
prior) a positive $\lambda$ is deterministic chaos, by which a network can imitate
chance; with noise common to both it tells whether noise alone makes paths part. Changes
are carried along by the derivative of a step, and made orthonormal by a QR
decomposition at every step, so that several exponents come out, the largest first
(Benettin et al., Meccanica 1980).
"""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from neuromod import kernels
from neuromod.core.dimensions import require_integer
from neuromod.core.errors import invalid
from neuromod.core.result import Result
from neuromod.kernels.normal import standard_normal
from neuromod.pvrnn import stepwise
from neuromod.pvrnn.latents import scaled, split
from neuromod.pvrnn.layers import Normal
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.running import only_network


def lyapunov_exponents(
    model: PVRNN | Result,
    *,
    seed: int,
    n_exponents: int = 1,
    noise: bool = False,
    n_steps: int = 2000,
    burn_in: int = 200,
    n_trials: int = 1,
) -> xr.DataArray:
    """Return the largest Lyapunov exponents of a network's prior.

    Parameters
    ----------
    model
        A `PVRNN`, or the `Result` of one seed.
    seed
        Of the first potentials and of the noise.
    n_exponents
        How many, at most the number of units.
    noise
        Whether latents are drawn, with noise common to both copies; else they are at
        the mean of the prior.

    Other Parameters
    ----------------
    n_steps, burn_in
        Steps over which growth is averaged, and steps before them.
    n_trials
        Paths from potentials that are drawn anew (standard normal).

    Returns
    -------
    xarray.DataArray
        (trial, parameter) in nats per step, "exponent 1" the largest.

    Examples
    --------
    >>> from neuromod.pvrnn import hierarchy, tanh_head
    >>> network = hierarchy(jax.random.key(0), [10], [1], [2], [tanh_head(1)])
    >>> lyapunov_exponents(network, seed=0, n_steps=100, burn_in=50).shape
    (1, 1)
    """
    network = only_network(model)
    n_exponents = require_integer(n_exponents, "n_exponents")
    n_units = sum(layer.n_units for layer in network.layers)
    if n_exponents > n_units:
        raise invalid("n_exponents", n_exponents, f"at most the {n_units} units")
    counts = [
        require_integer(n, name)
        for n, name in ((n_steps, "n_steps"), (n_trials, "n_trials"))
    ]
    burn_in = require_integer(burn_in, "burn_in", minimum=0)
    key = jax.random.key(require_integer(seed, "seed", minimum=0))
    keys = jax.random.split(key, 3)
    first = standard_normal(keys[0], (counts[1], n_units))
    tangents = jax.random.normal(keys[1], (n_units, n_exponents))
    shape = counts[1], burn_in + counts[0], network.n_latents
    drawn = standard_normal(keys[2], shape) if noise else jnp.zeros(shape)
    grown = _growth(network, first, tangents, drawn)
    found = np.asarray(grown)[:, burn_in:].mean(axis=1)
    return xr.DataArray(
        found,
        {"parameter": [f"exponent {k + 1}" for k in range(n_exponents)]},
        ("trial", "parameter"),
        attrs={"units": "nats per step", "long_name": "Lyapunov exponent"},
    )


@jax.jit
def _growth(network: PVRNN, first: Array, tangents: Array, noise: Array) -> Array:
    """Return the log growth (trial, time, exponent) at every step."""
    return jax.vmap(lambda u, eps: _along(network, u, tangents, eps))(first, noise)


def _along(network: PVRNN, first: Array, tangents: Array, noise: Array) -> Array:
    def advance(carry, eps):
        potential, latents, directions = carry

        def onward(potential):
            return _step(network, potential, latents, eps)

        after, push, drawn = jax.linearize(onward, potential, has_aux=True)
        grown = jax.vmap(push, 1, 1)(directions)
        directions, upper = jnp.linalg.qr(grown)
        logs = jnp.log(jnp.maximum(jnp.abs(jnp.diagonal(upper)), 1e-30))
        return (after, drawn, directions), logs

    directions, _ = jnp.linalg.qr(tangents.astype(first.dtype))
    latents = jnp.zeros(network.n_latents, first.dtype)
    begin = first, latents, directions
    return kernels.scan(advance, begin, noise, checkpoint=None).outputs


def _step(
    network: PVRNN, potential: Array, latents: Array, noise: Array
) -> tuple[Array, Array]:
    """Return potentials and latents (all layers side by side) after a step."""
    sizes = [layer.n_units for layer in network.layers]
    own = split(potential, sizes)
    potentials = tuple(u[None] if n else None for u, n in zip(own, sizes, strict=True))
    n_latents = [layer.n_latents for layer in network.layers]
    before = tuple(z[None] for z in split(latents, n_latents))
    eps = split(scaled(network, noise[None]), n_latents)

    def prior(i, past):
        layer = network.layers[i]
        if layer.prior is not None:
            return layer.prior(past)
        zeros = jnp.zeros((1, layer.n_latents), noise.dtype)
        return Normal(zeros, jnp.ones_like(zeros))

    after, _ = stepwise.step(network, stepwise.State(potentials, before), prior, eps)
    flat = [u[0] for u in after.potentials if u is not None]
    return jnp.concatenate(flat), jnp.concatenate([z[0] for z in after.latents])
