r"""Priors on the coefficients of the GLMs, and the step that each makes of the data.

Around the present coefficients $\theta$ a GLM's log-likelihood is, to second order,

$$
\ell(\theta + \delta) \approx \ell(\theta) + g^\top \delta
  - \tfrac12 \delta^\top H \delta
$$

with gradient $g$ and Fisher information $H$. A prior turns that into new coefficients
(`Prior.step`), and learns from them what all GLMs share (`Prior.learn`). The dense
coefficients (bias, inputs, own history) have a Gaussian prior everywhere; priors differ
in what they say of the couplings:

- `Ridge`: weights are Gaussian around zero; precision 0 is maximum likelihood;
- `Gaussian`: the weights of a pair of neurons are Gaussian around a mean that the
  states share; how far they stray is learned;
- `neuromod.switching.lasso.Lasso`: weights are Laplacian, most of them exactly zero;
- `neuromod.switching.one_hot.OneHot`: every connection is inhibitory, absent or
  excitatory, drawn from preferences of the pair that the states share.
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float

from neuromod.switching import glm
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.observations import Values

# Keeps a direction that neither data nor prior tell from running away.
DAMPING = {"float64": 1e-9, "float32": 1e-6}


def damping(
    information: Float[Array, "*lead size size"],
) -> Float[Array, "*lead size"]:
    """Return what to add to a diagonal: as little for an input in volts as in mV."""
    diagonal = jnp.diagonal(information, axis1=-2, axis2=-1)
    size = jnp.where(diagonal > 0, diagonal, 1)
    return DAMPING[str(information.dtype)] * size


class Step(NamedTuple):
    """What a prior makes of the data.

    Parameters
    ----------
    values : (state, group, coefficient)
        New coefficients: a maximum or a posterior mean.
    state
        What the prior knows now.
    gain : (state, group)
        How much the prior's part of the objective has grown.
    """

    values: Float[Array, "state group coefficient"]
    state: Any
    gain: Float[Array, "state group"]


class Quadratic(NamedTuple):
    """The objectives of all GLMs to second order around some coefficients.

    Parameters
    ----------
    values : (state, group, coefficient)
        Where.
    gradient : (state, group, coefficient)
        First derivative.
    information : (state, group, coefficient, coefficient)
        Negative second derivative.
    """

    values: Float[Array, "state group coefficient"]
    gradient: Float[Array, "state group coefficient"]
    information: Float[Array, "state group coefficient other"]


class Prior(eqx.Module):
    """What is thought of the coefficients before seeing data."""

    @abc.abstractmethod
    def start(self, model: SwitchingGLM, baseline: Float[Values, " neuron"]) -> Any:
        """Return what is known before any data.

        Parameters
        ----------
        model
            Tells how many coefficients there are.
        baseline : (neuron,)
            Mean of the biases.
        """

    @abc.abstractmethod
    def step(self, state: Any, quadratic: Quadratic) -> Step:
        """Find new coefficients, given what all GLMs share."""

    @abc.abstractmethod
    def learn(self, state: Any, quadratic: Quadratic) -> Any:
        """Learn what all GLMs share, given their coefficients."""

    @abc.abstractmethod
    def log_density(
        self, state: Any, values: Float[Array, "state group coefficient"]
    ) -> Float[Array, ""]:
        """Return the prior's part of the objective (nats)."""

    @abc.abstractmethod
    def reorder(self, state: Any, order: Any) -> Any:
        """Number the states in another order."""

    @property
    def separable(self) -> bool:
        """Whether the GLMs can be stepped one by one."""
        return True


class Normal(NamedTuple):
    """Independent normal distributions.

    Parameters
    ----------
    mean, precision : (state, group, coefficient)
        Precision is the inverse variance; 0 where nothing is known.
    """

    mean: Float[Array, "state group coefficient"]
    precision: Float[Array, "state group coefficient"]

    def log_density(self, values: Array) -> Float[Array, "state group"]:
        """Return the logarithm of the density, without its constant where flat."""
        scale = jnp.where(self.precision > 0, self.precision, 2 * jnp.pi)
        constant = 0.5 * jnp.log(scale / (2 * jnp.pi))
        squares = self.precision * (values - self.mean) ** 2
        return (constant - 0.5 * squares).sum(-1)


def as_diagonal(values: Float[Array, "*lead size"]) -> Float[Array, "*lead size size"]:
    """Return diagonal matrices."""
    size = values.shape[-1]
    eye = jnp.reshape(
        jnp.eye(size, dtype=bool), (1,) * (values.ndim - 1) + (size, size)
    )
    return jnp.where(eye, values[..., None], 0)


def solve_positive(
    matrix: Float[Array, "*lead size size"], right: Float[Array, "*lead size column"]
) -> Float[Array, "*lead size column"]:
    """Solve linear equations with positive definite matrices."""
    return cho_solve((jnp.linalg.cholesky(matrix), True), right)


def climb(normal: Normal, quadratic: Quadratic) -> Float[Array, "..."]:
    """Go to the top of a quadratic with a normal prior."""
    values, gradient, information = quadratic
    curvature = information + as_diagonal(normal.precision + damping(information))
    slope = gradient - normal.precision * (values - normal.mean)
    return values + solve_positive(curvature, slope[..., None])[..., 0]


def posterior_variance(
    normal: Normal, quadratic: Quadratic
) -> Float[Array, "state group coefficient"]:
    """Return the variance of every coefficient around the top."""
    information = quadratic.information
    precision = as_diagonal(normal.precision + damping(information))
    inverse = jnp.linalg.inv(information + precision)
    return jnp.diagonal(inverse, axis1=-2, axis2=-1)


def dense_normal(
    model: SwitchingGLM, baseline: Float[Values, " neuron"], precision: Array
) -> Normal:
    """Return normal distributions around the baseline, and around 0 for the rest."""
    values = jnp.zeros_like(glm.coefficients(model))
    mean = glm.grouped(model, values.at[..., 0].set(jnp.asarray(baseline)[None]))
    return Normal(
        mean, jnp.broadcast_to(jnp.asarray(precision, mean.dtype), mean.shape)
    )


class Ridge(Prior):
    """Weights are Gaussian around zero, biases around a baseline the states share.

    Parameters
    ----------
    precision
        Inverse variance; 0 is maximum likelihood.

    Examples
    --------
    >>> Ridge().precision, Ridge(0.0).precision
    (1.0, 0.0)
    """

    precision: float | Array = 1.0

    def start(self, model: SwitchingGLM, baseline: Values) -> Normal:
        """Return the prior itself: it learns nothing."""
        return dense_normal(model, baseline, jnp.asarray(self.precision))

    def step(self, state: Normal, quadratic: Quadratic) -> Step:
        """Take a Newton step."""
        values = climb(state, quadratic)
        gain = state.log_density(values) - state.log_density(quadratic.values)
        return Step(values, state, gain)

    def learn(self, state: Normal, quadratic: Quadratic) -> Normal:
        """Return what was known."""
        return state

    def log_density(self, state: Normal, values: Array) -> Array:
        """Return the log density, without its constant where flat."""
        return state.log_density(values).sum()

    def reorder(self, state: Normal, order: Any) -> Normal:
        """Number the states in another order."""
        return Normal(state.mean[order], state.precision[order])


class Tied(NamedTuple):
    """What the tied Gaussian knows.

    Parameters
    ----------
    normal
        The prior of every coefficient.
    is_edge : (coefficient,)
        Which of them are couplings.
    variance
        How far weights stray from their mean over states, squared.
    mean_variance
        How far those means stray from zero, squared.
    """

    normal: Normal
    is_edge: Bool[Array, " coefficient"]
    variance: Float[Array, ""]
    mean_variance: Float[Array, ""]


class Gaussian(Prior):
    r"""The weights of a pair are Gaussian around a mean that the states share.

    $w_s \sim N(w_0, \sigma^2)$ and $w_0 \sim N(0, \tau^2)$. The means are learned, and
    so are both widths, by empirical Bayes: from how far the estimates lie apart and how
    uncertain each of them is (MacKay, Neural Computation 1992).

    Parameters
    ----------
    standard_deviation
        $\sigma$, in units of the linear predictor; learned if None. The paper holds it
        at 1/3.
    baseline_precision
        Precision of the dense coefficients around their baseline.
    """

    standard_deviation: float | Array | None = None
    baseline_precision: float | Array = 1.0

    def start(self, model: SwitchingGLM, baseline: Values) -> Tied:
        """Begin with wide priors around zero."""
        dense = dense_normal(model, baseline, jnp.asarray(self.baseline_precision))
        width = 1.0 if self.standard_deviation is None else self.standard_deviation
        variance = jnp.asarray(width, dense.mean.dtype) ** 2
        layout = model.layout
        one = jnp.arange(layout.n_coefficients) >= layout.n_dense
        is_edge = jnp.tile(one, dense.mean.shape[-1] // layout.n_coefficients)
        precision = jnp.where(is_edge[None, None], 1 / (variance + 1), dense.precision)
        normal = Normal(dense.mean, precision)
        return Tied(normal, is_edge, variance, jnp.ones_like(variance))

    def step(self, state: Tied, quadratic: Quadratic) -> Step:
        """Take a Newton step towards the shared means."""
        found = Ridge().step(state.normal, quadratic)
        return found._replace(state=state)

    def learn(self, state: Tied, quadratic: Quadratic) -> Tied:
        """Estimate the shared means, and both widths."""
        normal, is_edge = state.normal, state.is_edge
        weights, n_states = quadratic.values, quadratic.values.shape[0]
        n_edges = jnp.where(is_edge[None], jnp.ones_like(weights[0]), 0).sum()
        n_edges = jnp.maximum(n_edges, 1)
        certainty = n_states / state.variance + 1 / state.mean_variance
        mean = weights.sum(0) / state.variance / certainty
        spread = posterior_variance(normal, quadratic)
        squares = (weights - mean[None]) ** 2 + spread + 1 / certainty
        variance, mean_variance = state.variance, mean**2 + 1 / certainty
        if self.standard_deviation is None:
            total = jnp.where(is_edge[None, None], squares, 0).sum()
            variance = total / (n_states * n_edges)
        mean_variance = jnp.where(is_edge[None], mean_variance, 0).sum() / n_edges
        floor = jnp.asarray(1e-8, weights.dtype)
        variance = jnp.maximum(variance, floor)
        return Tied(
            Normal(
                jnp.where(is_edge[None, None], mean[None], normal.mean),
                jnp.where(is_edge[None, None], 1 / variance, normal.precision),
            ),
            is_edge,
            variance,
            jnp.maximum(mean_variance, floor),
        )

    def log_density(self, state: Tied, values: Array) -> Array:
        """Return the log density of the weights and of their means."""
        mean = state.normal.mean[0]
        constant = jnp.log(2 * jnp.pi * state.mean_variance)
        of_means = -0.5 * (mean**2 / state.mean_variance + constant)
        total = state.normal.log_density(values).sum()
        return total + jnp.where(state.is_edge[None], of_means, 0).sum()

    def reorder(self, state: Tied, order: Any) -> Tied:
        """Number the states in another order."""
        return state._replace(normal=Ridge().reorder(state.normal, order))
