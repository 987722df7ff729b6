r"""Where the dynamics of a network stand still, or nearly.

A network without input and noise moves by $F(h)$ per step, $h' = h + F(h)$. From many
starts the speed

$$
q(h) = \tfrac12 \|F(h)\|^2
$$

is brought to a minimum (Sussillo & Barak, Neural Computation 2013): a *fixed point*
where it is 0, a *slow point* where it is not. The descent is that of Levenberg and
Marquardt: with $J = \partial F/\partial h$ a step $d$ solves

$$
(J^\top J + \lambda I)\, d = -J^\top F ,
$$

$\lambda$ growing where a step does not go down, and shrinking where it does. It doubles
the correct digits per step at a fixed point, and does not mind a curvature of 0 along
a line of them, as attractors of a continuous variable have.

A ReLU network without biases has $F(ch) = cF(h)$ for $c > 0$: speed falls all the way
to the origin, which is its only minimum. With ``relative=True`` what is brought to a
minimum is $q(h)/\|h\|^2$, where slow points of such a network show.

Near such a point a small deviation is multiplied by $I + J$ each step. It is stable if
all eigenvalues $\mu$ of $I + J$ have $|\mu| < 1$; along an eigenvector deviations last
$-1/\log|\mu|$ steps.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import ConvergenceWarning, ShapeError, invalid
from neuromod.core.precision import Precision, dtype, in_precision, precision_context
from neuromod.reactivation.measures.components import require_states

SAME_POINT = 1e-3
LEAST_GAIN = 1e-6
LEAST_DAMPING, FIRST_DAMPING, LARGEST_DAMPING = 1e-12, 1e-3, 1e8


class FixedPoints(NamedTuple):
    """Points of least speed, the slowest first.

    Parameters
    ----------
    states : (point, unit)
        Where they are.
    speed : (point,)
        Half the squared length of a step there; of relative speeds, divided by the
        squared length of the state.
    fixed : (point,)
        Whether the speed is below the tolerance; if not, a slow point.
    stable : (point,)
        Whether every deviation shrinks.
    eigenvalues : (point, unit)
        Complex, of the Jacobian of one step, the largest first.
    n_reached : (point,)
        Number of starts that ended there.
    """

    states: np.ndarray
    speed: np.ndarray
    fixed: np.ndarray
    stable: np.ndarray
    eigenvalues: np.ndarray
    n_reached: np.ndarray


def fixed_points(
    drift: Callable[[Any], Any],
    starts: Any,
    *,
    relative: bool = False,
    tolerance: float = 1e-16,
    separation: float | None = None,
    max_iterations: int = 200,
    precision: Precision = "float64",
) -> FixedPoints:
    """Find fixed and slow points of a network's dynamics from many starts.

    Parameters
    ----------
    drift
        ``drift(state (unit,)) -> (unit,)``, what one step adds without input and noise.
        If it is a PyTree (`jax.tree_util.Partial(function, network)`), its numbers
        are taken in the precision.
    starts : (..., unit)
        Where to begin: states that the network visits, all pooled.

    Other Parameters
    ----------------
    relative
        Divide the speed by the squared length of the state, for ReLU networks without
        biases.
    tolerance
        Largest speed of a fixed point; the descent ends there.
    separation
        Points nearer than this are one; None for 1e-3 of the starts' spread. With
        relative speeds only the direction of a state tells points apart.
    max_iterations
        Most steps of a descent.
    precision
        "float64" or "float32" (which needs a larger tolerance).

    Raises
    ------
    ShapeError
        If the drift has another shape than the state.
    InvalidInputError
        If numbers are missing, or a drift or a relative speed is not finite at a start.

    Warns
    -----
    ConvergenceWarning
        If a descent was still under way after its most steps.

    Examples
    --------
    >>> found = fixed_points(lambda h: 0.1 * (h - h**3), [[-2.0], [0.1], [0.9], [2.0]])
    >>> for place in found.states[:, 0].argsort():
    ...     print(f"{found.states[place, 0]:+.3f}", found.stable[place])
    -1.000 True
    -0.000 False
    +1.000 True
    """
    rows = require_states(starts, "starts")
    tolerance = require_positive(tolerance, "tolerance")
    max_iterations = require_integer(max_iterations, "max_iterations")
    if separation is None:
        spread = float(np.sqrt(rows.var(axis=0).sum()))
        separation = SAME_POINT * (spread or float(np.linalg.norm(rows[0])) or 1.0)
    with precision_context(precision):
        drift = in_precision(drift, precision)
        points = jnp.asarray(rows, dtype(precision))
        _require_shape(drift, points[0])
        ends = _descend(drift, points, relative, max_iterations, tolerance)
        at, speed, done = (np.asarray(part) for part in ends)
        _require_finite(speed, rows, relative)
        compared = _rescaled(at, rows) if relative else at
        kept, n_reached = _distinct(compared, speed, separation)
        jacobians = np.asarray(_jacobians(drift, jnp.asarray(at[kept])))
    if not done.all():
        text = (
            f"{int((~done).sum())} of {len(done)} descents were under way after "
            f"{max_iterations} steps. Raise max_iterations, or the tolerance."
        )
        warnings.warn(text, ConvergenceWarning, stacklevel=2)
    eigenvalues = np.linalg.eigvals(jacobians + np.eye(rows.shape[1]))
    size = np.abs(eigenvalues)
    ordered = np.take_along_axis(eigenvalues, np.argsort(-size, axis=1), axis=1)
    return FixedPoints(
        at[kept],
        speed[kept],
        speed[kept] < tolerance,
        size.max(axis=1) < 1,
        ordered.astype(complex),
        n_reached,
    )


class _Descent(NamedTuple):
    """A descent under way; damping is relative to the curvature's mean."""

    state: Any
    speed: Any
    damping: Any
    n_iterations: Any
    done: Any


@eqx.filter_jit
def _descend(
    drift: Any, starts: Any, relative: bool, max_iterations: int, tolerance: Any
) -> tuple[Any, Any, Any]:
    def step_at(state):
        step = drift(state)
        return step / jnp.sqrt(state @ state) if relative else step

    def speed_at(state):
        step = step_at(state)
        return step @ step / 2

    def advance(now: _Descent) -> _Descent:
        step, jacobian = step_at(now.state), jax.jacfwd(step_at)(now.state)
        curvature = jacobian.T @ jacobian
        damping = now.damping * jnp.trace(curvature) / len(curvature)
        damped = curvature + damping * jnp.eye(len(curvature), dtype=step.dtype)
        factor = jax.scipy.linalg.cho_factor(damped)
        state = now.state - jax.scipy.linalg.cho_solve(factor, jacobian.T @ step)
        speed = speed_at(state)
        better = speed < now.speed
        flat = better & (now.speed - speed < LEAST_GAIN * now.speed)
        stuck = now.damping > LARGEST_DAMPING
        return _Descent(
            jnp.where(better, state, now.state),
            jnp.where(better, speed, now.speed),
            jnp.maximum(jnp.where(better, 0.25, 4.0) * now.damping, LEAST_DAMPING),
            now.n_iterations + 1,
            flat | stuck | (jnp.where(better, speed, now.speed) < tolerance),
        )

    def descend(start):
        speed = speed_at(start)
        first = _Descent(
            start, speed, jnp.full((), FIRST_DAMPING, start.dtype), 0, speed < tolerance
        )
        last = jax.lax.while_loop(
            lambda now: ~now.done & (now.n_iterations < max_iterations), advance, first
        )
        return last.state, last.speed, last.done

    return jax.vmap(descend)(starts)


@eqx.filter_jit
def _jacobians(drift: Any, states: Any) -> Any:
    return jax.vmap(jax.jacfwd(drift))(states)


def _rescaled(states: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return states of the starts' mean length: of a ray, all points are one."""
    length = np.linalg.norm(states, axis=1, keepdims=True)
    return states / length * np.linalg.norm(starts, axis=1).mean()


def _distinct(
    states: np.ndarray, speed: np.ndarray, separation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return which points stand for all, slowest first, and how many each stands for.

    A point near one that is slower is counted there.
    """
    kept: list[int] = []
    n_reached: list[int] = []
    for i in np.argsort(speed, kind="stable"):
        away = np.linalg.norm(states[kept] - states[i], axis=1)
        if kept and away.min() < separation:
            n_reached[int(away.argmin())] += 1
        else:
            kept.append(int(i))
            n_reached.append(1)
    return np.array(kept), np.array(n_reached)


def _require_shape(drift: Callable[[Any], Any], state: Any) -> None:
    found = jax.eval_shape(drift, state)
    if getattr(found, "shape", None) != state.shape:
        raise invalid(
            "drift",
            f"a step of shape {getattr(found, 'shape', type(found).__name__)}",
            f"{state.shape}, as of a state",
            kind=ShapeError,
        )


def _require_finite(speed: np.ndarray, starts: np.ndarray, relative: bool) -> None:
    if not np.isfinite(speed).all():
        where = int(np.argmax(~np.isfinite(speed)))
        size = np.linalg.norm(starts[where])
        raise invalid(
            "starts",
            f"a speed that is not finite at start {where}, of length {size:.3g}",
            "starts where the dynamics are finite",
            "Relative speeds need states other than 0." if relative else "",
        )
