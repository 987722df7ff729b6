"""An encoder that reads the data and tells adaptive vectors where to start.

Two recurrent networks read all channels of a trial, with a mark for each that is
missing, forwards and backwards in time, and an affine map makes adaptive vectors of
what both hold. What is free is then only the rest: adaptive vectors are the encoder's
plus their own (semi-amortised inference: Kim et al., ICML 2018, arXiv:1802.02550). In
error regression the encoder reads the window, and new adaptive vectors start near where
the iterations would have to bring them.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod import kernels
from neuromod.core.dimensions import require_integer
from neuromod.kernels import GRU
from neuromod.pvrnn.energy import Data
from neuromod.pvrnn.latents import Adaptive
from neuromod.pvrnn.layers import Affine
from neuromod.pvrnn.model import PVRNN


class Encoder(eqx.Module):
    """Two recurrent networks and what is read from both.

    Parameters
    ----------
    forwards, backwards
        Networks that read 2 x channel numbers at every step: values, 0 where missing,
        and whether they are known.
    readout
        From the units of both to means and log deviations of all latents.
    """

    forwards: GRU
    backwards: GRU
    readout: Affine

    def __call__(
        self, values: Float[Array, "time trial twice_channel"]
    ) -> tuple[Array, Array]:
        """Return adaptive means and log deviations (time, trial, latent)."""
        n_trials = values.shape[1]

        def read(network: GRU, inputs: Array) -> Array:
            begin = network.initial((n_trials,))
            return kernels.scan(network, begin, inputs, checkpoint=None).outputs

        ahead = read(self.forwards, values)
        back = read(self.backwards, values[::-1])[::-1]
        told = self.readout(jnp.concatenate([ahead, back], axis=-1))
        n = told.shape[-1] // 2
        return told[..., :n], told[..., n:]


def with_encoder(key: PRNGKeyArray, network: PVRNN, n_units: int = 32) -> PVRNN:
    """Give a network an encoder with random weights.

    Parameters
    ----------
    key
        Random key.
    network
        The network.
    n_units
        Of each of the two directions.

    Examples
    --------
    >>> from neuromod.pvrnn import hierarchy, tanh_head
    >>> def build(key):
    ...     network = hierarchy(key, [10], [1], [2], [tanh_head(2)])
    ...     return with_encoder(jax.random.fold_in(key, 1), network)
    >>> build(jax.random.key(0)).encoder.readout.weight.shape
    (2, 64)
    """
    n_units = require_integer(n_units, "n_units")
    keys = jax.random.split(key, 3)
    n_inputs = 2 * network.n_channels
    ahead, back = (GRU.random(k, n_inputs, n_units) for k in keys[:2])
    readout = Affine.random(keys[2], 2 * network.n_latents, 2 * n_units)
    encoder = Encoder(ahead, back, readout)
    return PVRNN(network.layers, network.connections, network.heads, encoder)


def encoded(network: PVRNN, data: Data, adaptive: Adaptive) -> Adaptive:
    """Return adaptive vectors with what the encoder of a network adds to them."""
    if network.encoder is None:
        return adaptive
    mean, log_deviation = network.encoder(data.inputs)
    return adaptive._replace(
        mean=adaptive.mean + mean,
        log_deviation=adaptive.log_deviation + log_deviation,
    )
