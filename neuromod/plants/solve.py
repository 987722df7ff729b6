"""The integration of plants over time, with and without noise.

Without noise, in steps of the output by Heun's rule (of order 2), or in steps as long
as a tolerance allows (Tsitouras 5). With noise, by Heun's rule in steps of the output:
noise is additive, so this is of strong order 1, and what Ito and Stratonovich
understand by the equation is the same. The Brownian path is a tree
(`diffrax.VirtualBrownianTree`): one key gives one path at every step size.
"""

from typing import Any, Protocol, TypeVar, runtime_checkable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

RESOLUTION = 2.0**-14  # s: no step of a path is shorter
MOST_STEPS = 100_000  # between two outputs, on average, under a tolerance

S = TypeVar("S")


@runtime_checkable
class Plant(Protocol[S]):
    """A forward model: how its state changes."""

    @property
    def n_regions(self) -> int:
        """How many regions there are."""
        ...

    def drift(self, state: S, current: Float[Array, " region"]) -> S:
        """Return how a state changes in a second, but for noise."""
        ...

    def diffusion(self, increment: Float[Array, " region"]) -> S:
        """Return how a state changes with a Brownian motion of each region."""
        ...


def brownian_path(
    key: PRNGKeyArray, duration: float, n_regions: int, dtype: Any
) -> diffrax.VirtualBrownianTree:
    """Return a Brownian motion of every region, in seconds.

    Parameters
    ----------
    key
        Random key.
    duration
        How long it is at least (s). It ends at the next power of two, so that steps of
        such a length are nodes of the tree.
    n_regions, dtype
        Of what is drawn.
    """
    end = 2.0 ** np.ceil(np.log2(duration))
    shape = jax.ShapeDtypeStruct((n_regions,), dtype)
    return diffrax.VirtualBrownianTree(0.0, end, RESOLUTION, shape, key)


@eqx.filter_jit
def solve(
    plant: Plant[S],
    start: S,
    times: Float[Array, " time"],
    *,
    stimulation: diffrax.AbstractPath | None = None,
    path: diffrax.AbstractPath | None = None,
    tolerance: float | Float[Array, ""] | None = None,
) -> S:
    """Return the states of a plant at times.

    Parameters
    ----------
    plant
        Equations and their parameters.
    start
        The state at the first of the times.
    times : (time,)
        At least two (s), ascending.

    Other Parameters
    ----------------
    stimulation
        The current of each region (uA) over time, such as a
        `diffrax.LinearInterpolation`; None for no current.
    path
        From `brownian_path`; None for no noise.
    tolerance
        Relative and absolute, of the potentials (as an array it compiles once); None
        to step from time to time. Not with noise.

    Examples
    --------
    >>> from neuromod.plants import JansenRit
    >>> column = JansenRit()
    >>> states = solve(column, column.silence(), jnp.linspace(0.0, 0.1, 101))
    >>> states.potential.shape
    (101, 3, 1)
    """
    still = jnp.zeros(plant.n_regions, times.dtype)

    def drift(time: Any, state: S, _: Any) -> S:
        current = still if stimulation is None else stimulation.evaluate(time)
        return plant.drift(state, current)

    terms: diffrax.AbstractTerm = diffrax.ODETerm(drift)
    if path is not None:
        each = lineax.FunctionLinearOperator(plant.diffusion, still)
        noise = diffrax.ControlTerm(lambda *_: each, path)
        terms = diffrax.MultiTerm(terms, noise)
    solver, controller, n_steps = diffrax.Heun(), diffrax.StepTo(ts=times), len(times)
    if tolerance is not None:
        solver, n_steps = diffrax.Tsit5(), MOST_STEPS
        controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)
    solution = diffrax.diffeqsolve(
        terms,
        solver,
        times[0],
        times[-1],
        None if tolerance is None else times[1] - times[0],
        start,
        stepsize_controller=controller,
        saveat=diffrax.SaveAt(ts=times),
        max_steps=n_steps,
    )
    found: Any = solution.ys
    return found
