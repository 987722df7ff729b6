r"""The vanilla network in continuous time: a stochastic differential equation.

A network steps through the time $\Delta t$ in which its inputs were counted. The
equation behind it,

$$
\tau\, dh = f(h, x)\, dt + \tau \sigma_\mathrm{sde}\, dW, \qquad
f = \phi(W_\mathrm{rec} h + W_\mathrm{in} x) - h ,
$$

with the network's noise per step $\sigma = \sigma_\mathrm{sde} \sqrt{\Delta t}$
(`neuromod.reactivation.noise`), can be solved as finely as one likes: the network
itself is its Euler-Maruyama solution with one step per $\Delta t$. What holds of the
equation but not of the network comes from its coarse step. The input $x$ stays what it
was, the change per $\Delta t$, and is held for as long.

Time is counted in $\Delta t$ here: $dh = (\Delta t / \tau) f\, dt + \sigma\, dW$.
The Brownian path is a tree (`diffrax.VirtualBrownianTree`): the same seed gives the
same path at every resolution, up to `MOST_SUBSTEPS`, and a finer solution is one of
the *same* trajectory. Noise is additive, so both solvers are of strong order 1, and
what Ito and Stratonovich understand by the equation is the same.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray

from neuromod import kernels
from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.reactivation.network import Network

SOLVERS = {"euler": diffrax.Euler, "heun": diffrax.Heun}
MOST_SUBSTEPS = 4096


def solve(
    network: Network,
    duration: float,
    *,
    seed: int,
    inputs: Any = None,
    initial: Any = None,
    n_substeps: int = 8,
    solver: str = "heun",
) -> xr.Dataset:
    """Solve a network's differential equation.

    Parameters
    ----------
    network
        Its noise must be Gaussian and recurrent, outside the activation function.
    duration
        In seconds.
    seed
        Of the Brownian path, which is the same for all ``n_substeps`` and solvers.

    Other Parameters
    ----------------
    inputs : (time, input)
        Change per time step of the network, one row for each; None for silence.
    initial : (unit,)
        The state at time 0, such as ``network.encode(code)``; None for zeros.
    n_substeps
        Steps of the solver per time step of the network. A power of two meets the
        nodes of the path, so that resolutions compare exactly.
    solver
        "euler" (which with one substep is the network itself) or "heun" (of order 2
        in what is not noise).

    Returns
    -------
    Dataset
        ``state`` (time, unit) at every time step of the network, and ``output`` (time,
        cell), without output noise.

    Raises
    ------
    InvalidInputError
        If an argument has no such value, or the noise of the network is none that a
        differential equation can have.

    Examples
    --------
    >>> from neuromod.reactivation.network import VanillaNetwork
    >>> network = VanillaNetwork.random(
    ...     jax.random.key(0), 2, 20, 10, recurrent_noise=0.02
    ... )
    >>> solve(network, 0.2, seed=0)["state"].shape
    (10, 20)
    """
    _require_equation(network)
    n_steps = _n_steps(duration, float(network.time_step))
    n_substeps = require_integer(n_substeps, "n_substeps")
    if n_substeps > MOST_SUBSTEPS:
        raise invalid("n_substeps", n_substeps, f"at most {MOST_SUBSTEPS}")
    choice("solver", solver, SOLVERS)
    key = jax.random.key(require_integer(seed, "seed", minimum=0))
    weight = network.encoder.weight
    if inputs is not None:
        inputs = _finite(inputs, "inputs", (n_steps, network.n_inputs), weight.dtype)
    state = np.zeros(network.n_units) if initial is None else initial
    state = _finite(state, "initial", (network.n_units,), weight.dtype)
    path = brownian_path(key, n_steps, network.n_units, weight.dtype)
    states = run(
        network,
        inputs,
        state,
        path,
        n_steps=n_steps,
        n_substeps=jnp.asarray(n_substeps),
        solver=solver,
    )
    time = np.arange(1, n_steps + 1) * float(network.time_step)
    return xr.Dataset(
        {
            "state": (("time", "unit"), np.asarray(states)),
            "output": (("time", "cell"), np.asarray(network.read_out(states))),
        },
        {"time": ("time", time, {"units": "s"})},
    )


def brownian_path(
    key: PRNGKeyArray, n_steps: int, n_units: int, dtype: Any
) -> diffrax.VirtualBrownianTree:
    """Return a Brownian motion of every unit; time is in steps of the network.

    Parameters
    ----------
    key
        Random key.
    n_steps
        How long it is at least. It ends at the next power of two, so that steps are
        nodes of the tree.
    n_units, dtype
        Of what is drawn.
    """
    end = 2.0 ** np.ceil(np.log2(n_steps))
    shape = jax.ShapeDtypeStruct((n_units,), dtype)
    return diffrax.VirtualBrownianTree(0.0, end, 1 / MOST_SUBSTEPS, shape, key)


@eqx.filter_jit
def run(
    network: Network,
    inputs: Float[Array, "time input"] | None,
    state: Float[Array, " unit"],
    path: diffrax.AbstractBrownianPath,
    *,
    n_steps: int,
    n_substeps: Any,
    solver: str,
) -> Float[Array, "time unit"]:
    """Return the state after each time step of the network.

    Parameters
    ----------
    network, n_substeps, solver
        As `solve` takes them; ``n_substeps`` as an array compiles once.
    inputs : (time, input)
        None for silence.
    state : (unit,)
        At time 0.
    path
        From `brownian_path`.
    n_steps
        Number of time steps of the network.
    """
    dtype = state.dtype
    scale = jnp.broadcast_to(jnp.asarray(network.recurrent_noise, dtype), state.shape)
    leak = jnp.asarray(network.leak, dtype)
    terms = diffrax.MultiTerm(
        diffrax.ODETerm(lambda t, h, x: leak * network.drive(h, x)),
        diffrax.ControlTerm(lambda t, h, x: lineax.DiagonalLinearOperator(scale), path),
    )
    substep = 1 / jnp.asarray(n_substeps, dtype)

    def advance(state, now):
        start, x = now
        solution = diffrax.diffeqsolve(
            terms,
            SOLVERS[solver](),
            start,
            start + 1,
            substep,
            state,
            args=x,
            max_steps=MOST_SUBSTEPS + 1,
        )
        found: Any = solution.ys
        state = found[-1]
        return state, state

    starts = jnp.arange(n_steps, dtype=dtype)
    return kernels.scan(advance, state, (starts, inputs), checkpoint=None).outputs


def _n_steps(duration: float, time_step: float) -> int:
    n_steps = round(require_positive(duration, "duration", "s") / time_step)
    if n_steps < 1:
        raise invalid("duration", duration, f"at least one time step, {time_step} s")
    return n_steps


def _require_equation(network: Network) -> None:
    """Raise unless the noise is a Brownian motion of the state."""
    if network.noise_law != "gaussian":
        raise invalid(
            "network",
            f"noise of law {network.noise_law!r}",
            "'gaussian'",
            "A mean per step has no limit for small steps: it is a bias of the units.",
        )
    if network.noise_inside or np.max(network.input_noise) > 0:
        raise invalid(
            "network",
            "noise inside the activation function",
            "recurrent noise outside of it",
            "White noise has no value that a function could be taken of.",
        )


def _finite(values: Any, argument: str, shape: tuple[int, ...], dtype: Any) -> Array:
    found = jnp.asarray(np.asarray(values), dtype)
    if found.shape != shape:
        raise invalid(
            argument, f"shape {found.shape}", f"shape {shape}", kind=ShapeError
        )
    if not bool(jnp.isfinite(found).all()):
        raise invalid(argument, "NaN or infinity", "finite numbers")
    return found
