r"""The error of what states tell, and its gradient, without the outputs of all steps.

The outputs $o = W h + b$ of all steps are the largest array of training: 512 cells for
128 units. `readout_error` never stores them. Where a code is a product of few features
of the position (`codes.Factors`), $y = M^\top f$, it never computes them either. With
rows $g = (h, f, 1)$ and their columns $V = (W, -M, b)$,

$$
\sum \lVert o - y \rVert^2 = \sum \lVert V^\top g \rVert^2
= \Big\langle V V^\top, \sum g g^\top \Big\rangle ,
$$

whose work and gradient grow with the square of the number of rows, not with the cells.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float

from neuromod import kernels
from neuromod.reactivation.codes import Factors
from neuromod.reactivation.network import Network

# Outputs of so many bytes stay in a cache between their making and their gradient.
CACHED_BYTES = 2**20
HIGHEST = Precision.HIGHEST


def readout_error(
    network: Network,
    states: Float[Array, "time *trial unit"],
    targets: Float[Array, "time *trial cell"],
    factors: Factors | None = None,
) -> Float[Array, ""]:
    """Return the mean squared error of what states tell, without noise.

    It is that of `neuromod.reactivation.inference.read`, but a gradient is found with
    the error itself, a few steps at a time. Only reverse mode goes through it, once.

    Parameters
    ----------
    network
        Whose ``read_out`` it is.
    states : (time, *trial, unit)
        Of a run.
    targets : (time, *trial, cell)
        What the outputs should be; nothing is differentiated by them.
    factors : features (time, *trial, feature), mixing (feature, cell)
        Whose product the targets are; used where that is less work.
    """
    if factors is not None and _is_less_work(network, factors):
        return _error_of_factors(network, states, factors)
    return _readout_error((network, states), targets)


def _is_less_work(network: Network, factors: Factors) -> bool:
    """Compare the numbers multiplied per step, forward and back."""
    n_rows = network.n_units + len(factors.mixing) + 1
    return 2 * n_rows**2 < 3 * network.n_units * network.n_cells


def _error_of_factors(network: Network, states: Array, factors: Factors) -> Array:
    n_units, dtype = network.n_units, states.dtype
    bias = network.read_out(jnp.zeros((1, n_units), dtype))
    weights = network.read_out(jnp.eye(n_units, dtype=dtype)) - bias
    columns = jnp.concatenate([weights, -factors.mixing.astype(dtype), bias])
    one = jnp.ones((*states.shape[:-1], 1), dtype)
    rows = jnp.concatenate([states, factors.features.astype(dtype), one], axis=-1)
    rows = rows.reshape(-1, rows.shape[-1])
    # A small difference of large numbers: no device may round its products.
    products = jnp.matmul(columns, columns.T, precision=HIGHEST)
    return jnp.vdot(products, _gram(rows)) / (len(rows) * network.n_cells)


@jax.custom_vjp
def _gram(rows: Float[Array, "row column"]) -> Float[Array, "column column"]:
    """Return the sum of the outer squares of all rows."""
    return jnp.matmul(rows.T, rows, precision=HIGHEST)


def _gram_slope(rows: Array, slope: Array) -> tuple[Array]:
    # One product, where the rule for products would make two.
    return (jnp.matmul(rows, slope + slope.T, precision=HIGHEST),)


_gram.defvjp(lambda rows: (_gram(rows), rows), _gram_slope)


@eqx.filter_custom_vjp
def _readout_error(given: tuple[Network, Array], targets: Array) -> Array:
    network, states = given
    return jnp.mean((network.read_out(states) - targets) ** 2)


@_readout_error.def_fwd
def _error_and_slopes(
    perturbed: Any, given: tuple[Network, Array], targets: Array
) -> tuple[Array, Any]:
    """Return the error, and its slopes by the network and the states."""
    network, states = given
    size = _steps_at_once(targets)

    def of_part(given, targets):
        network, states = given
        return jnp.sum((network.read_out(states) - targets) ** 2) / whole

    def advance(total, part):
        states, targets = part
        value, slopes = eqx.filter_value_and_grad(of_part)((network, states), targets)
        return jax.tree.map(jnp.add, total, (value, slopes[0])), slopes[1]

    def cut(x):
        return x.reshape(-1, size, *x.shape[1:])

    whole = jnp.asarray(targets.size, states.dtype)
    none = jax.tree.map(jnp.zeros_like, eqx.filter(network, eqx.is_inexact_array))
    total = jnp.zeros((), states.dtype), none
    found = kernels.scan(advance, total, (cut(states), cut(targets)), checkpoint=None)
    error, by_network = found.carry
    return error, (by_network, found.outputs.reshape(states.shape))


@_readout_error.def_bwd
def _slopes(slopes: Any, factor: Array, perturbed: Any, given: Any, targets: Any):
    return jax.tree.map(lambda slope: factor * slope, slopes)


def _steps_at_once(targets: Array) -> int:
    """Return how many steps are read out together: they divide time."""
    n_steps = len(targets)
    of_step = targets.nbytes // n_steps
    sizes = (k for k in range(1, n_steps + 1) if n_steps % k == 0)
    return max((k for k in sizes if k * of_step <= CACHED_BYTES), default=1)
