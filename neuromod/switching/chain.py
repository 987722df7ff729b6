r"""The hidden chain: its transition probabilities, and how they are learned.

Without inputs, the expected number of jumps $n_{ij}$ gives the transition matrix in
closed form, $A_{ij} \propto n_{ij} + \alpha - 1 + \kappa\,\delta_{ij}$: the maximum
under a Dirichlet distribution for every row (Fox et al., Ann. Appl. Stat. 2011, call
$\kappa$ the stickiness). With inputs every row is a multinomial regression of the jumps
on them, climbed by Newton steps that never lower its objective.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import Values

MAX_HALVINGS = 12


class ChainPrior(NamedTuple):
    """Prior on the transition probabilities.

    Parameters
    ----------
    concentration : ()
        Of the Dirichlet distribution of every row; 1 is flat.
    stickiness : ()
        Extra pseudo-jumps from every state to itself.
    precision : ()
        Inverse variance of the weights of the inputs.
    """

    concentration: Any
    stickiness: Any
    precision: Any

    def pseudo_counts(self, n_states: int) -> Float[Array, "state state_to"]:
        """Return the jumps that the prior adds to those seen."""
        flat = jnp.asarray(self.concentration) - 1
        return flat + self.stickiness * jnp.eye(n_states, dtype=flat.dtype)

    def log_density(self, model: SwitchingGLM) -> Float[Array, ""]:
        """Return the log density of the transition parameters, up to a constant."""
        pseudo = self.pseudo_counts(model.n_states)
        transition = jnp.asarray(model.transition_matrix)
        rows = jnp.where(
            pseudo != 0, pseudo * jnp.log(jnp.maximum(transition, 1e-300)), 0
        )
        squares = (jnp.asarray(model.transition_weight) ** 2).sum()
        return rows.sum() - 0.5 * self.precision * squares


def transitions(
    model: SwitchingGLM, inputs: Float[Values, "time transition_input"]
) -> Float[Array, "..."]:
    """Return the transition matrix, or one for every pair of bins.

    Parameters
    ----------
    model
        Parameters of the chain.
    inputs : (time, transition_input)
        Inputs of every bin; those of a bin act on the jump into it.
    """
    matrix = jnp.asarray(model.transition_matrix)
    if model.transition_weight.shape[-1] == 0:
        return matrix
    tilt = jnp.einsum("ijk,tk->tij", model.transition_weight, inputs[1:])
    return jax.nn.softmax(jnp.log(matrix)[None] + tilt, axis=-1)


def update_initial(
    smoothed: Float[Values, "session time state"],
) -> Float[Array, " state"]:
    """Return how often sessions begin in each state."""
    initial = jnp.asarray(smoothed)[:, 0].mean(0)
    return initial / initial.sum()


def update_static(
    model: SwitchingGLM, counts: Float[Array, "state state_to"], prior: ChainPrior
) -> SwitchingGLM:
    """Set the transition matrix in closed form; an unvisited state keeps its row."""
    counts = jnp.maximum(counts + prior.pseudo_counts(model.n_states), 0)
    totals = counts.sum(axis=1, keepdims=True)
    visited = totals > 1e-10
    found = counts / jnp.where(visited, totals, 1)
    matrix = jnp.where(visited, found, jnp.asarray(model.transition_matrix))
    return eqx.tree_at(lambda m: m.transition_matrix, model, matrix)


def update_driven(
    model: SwitchingGLM,
    jumps: Float[Array, "pair state state_to"],
    inputs: Float[Array, "pair transition_input"],
    prior: ChainPrior,
) -> SwitchingGLM:
    """Take a Newton step of the regression of jumps on inputs.

    Parameters
    ----------
    model
        Parameters before the step.
    jumps : (pair, state, state_to)
        Posterior probability of every jump; 0 where there is none.
    inputs : (pair, transition_input)
        Inputs of the bin that is jumped into.
    prior
        Prior of matrix and weights.
    """
    n_states = model.n_states
    regressors = jnp.concatenate([jnp.ones_like(inputs[:, :1]), inputs], axis=1)
    n_features = regressors.shape[1]
    matrix = jnp.asarray(model.transition_matrix)
    tiny = jnp.finfo(matrix.dtype).tiny
    values = jnp.concatenate(
        [jnp.log(jnp.maximum(matrix, tiny))[..., None], model.transition_weight],
        axis=-1,
    )
    pseudo = prior.pseudo_counts(n_states)
    precision = jnp.full(n_features, prior.precision, matrix.dtype).at[0].set(0)

    def of_row(values, jumps, pseudo):
        """Climb one row; values (state_to, feature), jumps (pair, state_to)."""
        leaving = jumps.sum(1)

        def objective(values):
            log_odds = jax.nn.log_softmax(regressors @ values.T, axis=1)
            base = jax.nn.log_softmax(values[:, 0])
            penalty = 0.5 * (precision[None] * values**2).sum()
            return (jumps * log_odds).sum() + (pseudo * base).sum() - penalty

        slope = jax.grad(objective)(values)
        probability = jax.nn.softmax(regressors @ values.T, axis=1)
        weighted = leaving[:, None] * probability
        eye = jnp.eye(n_states, dtype=values.dtype)
        same = jnp.einsum("tj,tf,tg->jfg", weighted, regressors, regressors)
        cross = jnp.einsum(
            "ti,tj,tf,tg->ifjg", weighted, probability, regressors, regressors
        )
        curvature = eye[:, None, :, None] * same[:, :, None] - cross
        side = n_states * n_features
        curvature = jnp.reshape(curvature, (side, side))
        added = jnp.tile(precision, n_states) + 1e-6 * (1 + leaving.sum())
        step = jnp.linalg.solve(curvature + jnp.diag(added), jnp.ravel(slope))
        step = jnp.reshape(step, values.shape)
        now = objective(values)

        def halve(carried):
            n, size, _ = carried
            return n + 1, size / 2, objective(values + size / 2 * step)

        def unfinished(carried):
            return (carried[0] <= MAX_HALVINGS) & ~(carried[2] >= now)

        _, size, reached = jax.lax.while_loop(unfinished, halve, (0, 2.0, -jnp.inf))
        return values + jnp.where(reached >= now, size, 0.0) * step

    moved = jax.vmap(of_row, in_axes=(0, 1, 0))(values, jumps, pseudo)
    matrix = jax.nn.softmax(moved[..., 0], axis=1)
    return eqx.tree_at(
        lambda m: (m.transition_matrix, m.transition_weight),
        model,
        (matrix, moved[..., 1:]),
    )
