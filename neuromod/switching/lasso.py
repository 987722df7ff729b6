r"""The lasso: weights are Laplacian, and most of them exactly zero.

$\log p(w) = -\lambda \sum_g \sqrt{|g|}\, \lVert w_g \rVert_2$ over groups $g$: the
basis functions of one connection, or those of a pair of neurons in all states, which
then appear and vanish together. A group of one is the absolute value. Block coordinate
descent on the quadratic of the likelihood visits one source neuron after another
(Yuan & Lin, J. R. Stat. Soc. B 2006; Friedman et al., J. Stat. Softw. 2010).
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from neuromod.switching import glm
from neuromod.switching.edges import Edges, eliminate_dense
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import Values
from neuromod.switching.priors import Prior, Quadratic, Step

GROUPS = ("connection", "pair")
SWEEPS = 10


class LassoState(NamedTuple):
    """What the lasso knows.

    Parameters
    ----------
    baseline : (state, group, dense)
        Mean of the dense coefficients.
    possible : (source, group)
        False where there is no such connection.
    """

    baseline: Float[Array, "state group dense"]
    possible: Bool[Array, "source group"]


class Lasso(Prior):
    """Weights are Laplacian around zero.

    Parameters
    ----------
    strength
        The penalty per unit of weight; 0 is none.
    group
        What appears and vanishes together: "connection" (the basis functions of one
        connection in one state) or "pair" (those in all states).
    baseline_precision
        Precision of the dense coefficients around their baseline.

    Examples
    --------
    >>> Lasso(strength=5.0).group
    'connection'
    """

    strength: float | Array = 5.0
    group: str = eqx.field(static=True, default="connection")
    baseline_precision: float | Array = 1.0

    def start(self, model: SwitchingGLM, baseline: Values) -> LassoState:
        """Return what stays as it is: the lasso learns nothing."""
        layout = model.layout
        n_neurons = model.n_neurons
        shape = (model.n_states, n_neurons, layout.n_dense)
        dense = jnp.zeros(shape, model.bias.dtype)
        free = glm.is_free(model)[0, :, layout.n_dense :]
        free = free.reshape(n_neurons, layout.n_sources, layout.n_basis).all(-1)
        dense = dense.at[..., 0].set(jnp.asarray(baseline)[None])
        return LassoState(dense, jnp.asarray(free.T))

    def step(self, state: LassoState, quadratic: Quadratic) -> Step:
        """Sweep over the sources a few times."""
        precision = jnp.asarray(self.baseline_precision, quadratic.values.dtype)
        edges = eliminate_dense(quadratic, state.baseline, precision)
        n_dense = state.baseline.shape[-1]
        weights = jnp.moveaxis(quadratic.values[..., n_dense:], -1, 0)

        def sweep(_, weights):
            return _sweep(self, edges, state.possible, weights)

        weights = jax.lax.fori_loop(0, SWEEPS, sweep, weights)
        values = edges.complete(weights)
        before = self._part(state, quadratic.values)
        return Step(values, state, self._part(state, values) - before)

    def learn(self, state: LassoState, quadratic: Quadratic) -> LassoState:
        """Return what was known."""
        return state

    def log_density(self, state: LassoState, values: Array) -> Array:
        """Return the log density, up to a constant."""
        return self._part(state, values).sum()

    def _part(self, state: LassoState, values) -> Float[Array, "state group"]:
        n_dense = state.baseline.shape[-1]
        dense = ((values[..., :n_dense] - state.baseline) ** 2).sum(-1)
        weights = jnp.moveaxis(values[..., n_dense:], -1, 0)
        weights = jnp.reshape(weights, (state.possible.shape[0], -1, *dense.shape))
        size = self._norm(weights)
        if self.group == "pair":
            # Shared by the states, so each of them carries its part.
            size = jnp.broadcast_to(size, (*size.shape[:1], *dense.shape))
            size = size / dense.shape[0]
        return -0.5 * self.baseline_precision * dense - self.strength * size.sum(0)

    def _norm(self, weights: Array) -> Float[Array, "source one group"]:
        """Return the size of every group of weights (source, basis, state, group)."""
        axes = (1,) if self.group == "connection" else (1, 2)
        size = 1
        for axis in axes:
            size *= weights.shape[axis]
        squares = (weights**2).sum(axes, keepdims=True)[:, 0]
        return jnp.sqrt(size * squares)

    def reorder(self, state: LassoState, order: Any) -> LassoState:
        """Number the states in another order."""
        return state._replace(baseline=state.baseline[order])

    @property
    def separable(self) -> bool:
        """Whether the GLMs can be stepped one by one."""
        return self.group == "connection"


def _sweep(prior: Lasso, edges: Edges, possible, weights):
    """Update the weights of one source neuron after another."""
    n_sources = possible.shape[0]
    n_basis = weights.shape[0] // max(n_sources, 1)
    pulled = jnp.einsum("esgf,fsg->esg", edges.information, weights)

    def visit(source, carried):
        weights, pulled = carried
        first = source * n_basis
        own = jax.lax.dynamic_slice_in_dim(edges.information, first, n_basis)
        old = jax.lax.dynamic_slice_in_dim(weights, first, n_basis)
        square = jax.lax.dynamic_slice_in_dim(own, first, n_basis, axis=3)
        # The largest eigenvalue is at most the largest sum of a row.
        bound = jnp.abs(square).sum(-1).max(0, keepdims=True)
        axes = (0,) if prior.group == "connection" else (0, 1)
        bound = bound.max(axes[1:], keepdims=True) if len(axes) > 1 else bound
        bound = jnp.maximum(bound, 1e-12)
        slope = jax.lax.dynamic_slice_in_dim(edges.linear - pulled, first, n_basis)
        target = slope + bound * old
        size = 1
        for axis in axes:
            size *= target.shape[axis]
        length = jnp.sqrt((target**2).sum(axes, keepdims=True))
        threshold = prior.strength * jnp.sqrt(float(size))
        kept = jnp.maximum(1 - threshold / jnp.maximum(length, 1e-30), 0)
        new = jnp.where(possible[source][None, None], kept * target / bound, 0)
        change = jnp.einsum("esgf,esg->fsg", own, new - old)
        weights = jax.lax.dynamic_update_slice_in_dim(weights, new, first, 0)
        return weights, pulled + change

    return jax.lax.fori_loop(0, n_sources, visit, (weights, pulled))[0]
