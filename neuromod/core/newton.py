r"""The minimum of a smooth function of few parameters, from many places at once.

Newton's method with a damped step: each lane solves

$$
(|H| + \lambda I)\, d = -g,
$$

where $|H|$ has the eigenvalues of the matrix of second derivatives without their signs,
so that $d$ goes down at a saddle too. A step that does not go down is taken back and
$\lambda$ grows; one that does lets it shrink (Nocedal & Wright, Numerical Optimization,
2006, ch. 3.4). All lanes run in one program, until the last has converged.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

LONGEST_STEP = 3.0
LARGEST_DAMPING = 1e10


class Minimum(NamedTuple):
    """Where a lane ended.

    Parameters
    ----------
    at : (parameter,)
        The point.
    value : ()
        The function there.
    gradient : (parameter,)
        Its gradient.
    curvature : (parameter, parameter)
        Its second derivatives.
    n_iterations : ()
        Number of steps that were tried.
    converged : ()
        Whether a full Newton step would gain less than the tolerance.
    """

    at: Float[Array, " parameter"]
    value: Float[Array, ""]
    gradient: Float[Array, " parameter"]
    curvature: Float[Array, "parameter parameter_to"]
    n_iterations: Int[Array, ""]
    converged: Bool[Array, ""]


class State(NamedTuple):
    """A descent under way: the lowest point found, and how far the next step dares."""

    found: Minimum
    damping: Array


def minimise(
    derivatives: Callable[[Any], tuple[Any, Any, Any]],
    start: Float[Array, " parameter"],
    *,
    max_iterations: int = 100,
    tolerance: float = 1e-10,
) -> Minimum:
    """Go down from a point; `jax.vmap` over points goes down from all at once.

    Parameters
    ----------
    derivatives
        Returns the value, gradient and second derivatives at a point. Points where
        they are not finite are avoided.
    start : (parameter,)
        Where to begin; in units in which 1 is far.
    max_iterations
        Most steps.
    tolerance
        Ends where a full Newton step would gain less.

    Examples
    --------
    >>> import jax
    >>> def derivatives(x):
    ...     f = lambda x: jnp.sum((x - 2.0) ** 4 + x**2)
    ...     return f(x), jax.grad(f)(x), jax.hessian(f)(x)
    >>> round(float(minimise(derivatives, jnp.zeros(1)).at[0]), 1)
    1.2
    """
    state = begin(start)
    return proceed(
        derivatives, state, max_iterations=max_iterations, tolerance=tolerance
    ).found


def begin(start: Float[Array, " parameter"]) -> State:
    """Return a descent before its first step, which stays: it looks where it is."""
    n = start.shape[-1]
    first = Minimum(
        start,
        jnp.asarray(jnp.inf, start.dtype),
        jnp.zeros(n, start.dtype),
        jnp.eye(n, dtype=start.dtype),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), bool),
    )
    return State(first, jnp.asarray(1e-3, start.dtype))


def proceed(
    derivatives: Callable[[Any], tuple[Any, Any, Any]],
    state: State,
    *,
    max_iterations: Any,
    tolerance: Any,
) -> State:
    """Go on with a descent until it has converged or made its most steps.

    Parameters
    ----------
    derivatives, max_iterations, tolerance
        As for `minimise`; the steps made before count.
    state
        Where it is.
    """

    def proposed(state: State) -> tuple[Array, Array]:
        found = state.found
        eigenvalues, vectors = jnp.linalg.eigh(found.curvature)
        size = jnp.abs(eigenvalues) + state.damping
        along = -(vectors.T @ found.gradient) / jnp.maximum(size, 1e-12)
        step = vectors @ along
        length = jnp.sqrt(jnp.sum(step**2))
        step = step * jnp.minimum(1.0, LONGEST_STEP / jnp.maximum(length, 1e-12))
        return found.at + step, step

    def advance(state: State) -> State:
        found = state.found
        at, step = proposed(state)
        value, gradient, curvature = derivatives(at)
        finite = jnp.isfinite(value) & jnp.isfinite(gradient).all()
        finite = finite & jnp.isfinite(curvature).all()
        better = finite & (value <= found.value)
        there = Minimum(at, value, gradient, curvature, *found[4:])
        kept = jax.tree.map(lambda a, b: jnp.where(better, a, b), there, found)
        damping = jnp.where(better, state.damping / 4, state.damping * 4 + 1e-3)
        converged = _gain(kept) < tolerance
        stuck = ~better & (jnp.max(jnp.abs(step)) < 1e-9)
        done = converged | stuck
        kept = kept._replace(n_iterations=found.n_iterations + 1, converged=done)
        return State(kept, jnp.minimum(damping, LARGEST_DAMPING))

    def going(state: State) -> Array:
        found = state.found
        return ~found.converged & (found.n_iterations < max_iterations)

    return jax.lax.while_loop(going, advance, state)


def _gain(found: Minimum) -> Array:
    """Return what a full Newton step would gain."""
    eigenvalues, vectors = jnp.linalg.eigh(found.curvature)
    along = vectors.T @ found.gradient
    return jnp.sum(along**2 / jnp.maximum(jnp.abs(eigenvalues), 1e-12)) / 2
