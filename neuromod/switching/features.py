r"""What the GLMs regress on in each bin.

In this order: a constant one; the inputs of the bin; the neuron's own history, seen
through its own basis; and the history of every source neuron. The last are the
couplings, the **edges** of the network; the first three together are **dense**: every
neuron has them, and no prior asks whether they exist.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.switching.observations import Values


class Layout(NamedTuple):
    """How the coefficients of one GLM are laid out.

    Parameters
    ----------
    n_inputs, n_own, n_sources, n_basis
        Number of inputs, of basis functions of a neuron's own history, of source
        neurons, and of basis functions of the couplings.
    """

    n_inputs: int
    n_own: int
    n_sources: int
    n_basis: int

    @property
    def n_dense(self) -> int:
        """Number of coefficients that are not couplings."""
        return 1 + self.n_inputs + self.n_own

    @property
    def n_edges(self) -> int:
        """Number of coupling coefficients."""
        return self.n_sources * self.n_basis

    @property
    def n_coefficients(self) -> int:
        """Number of all coefficients."""
        return self.n_dense + self.n_edges


class Features(NamedTuple):
    """Regressors of some bins.

    Parameters
    ----------
    common : (row, common)
        One, inputs and couplings: the same for all neurons.
    own : (row, neuron, self_basis)
        The history of the neuron itself.
    """

    common: Float[Array, "row common"]
    own: Float[Array, "row neuron self_basis"]


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
