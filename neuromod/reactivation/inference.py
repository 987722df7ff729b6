r"""A network run forward, awake and asleep.

Every run is the same step. With the drive $f$ of the network
(`neuromod.reactivation.network`), the noise $\sigma\xi_t$ and the options of sleep,

$$
v' = (1 - \lambda) v + \alpha f(h, x; -a) + \kappa \sigma \xi, \qquad
h' = h + v', \qquad
a' = (1 - 1 / \tau_a)\, a + (b / \tau_a)\, h .
$$

Awake, $\kappa = 1$, there is no adaptation ($b = 0$) and no momentum ($\lambda = 1$, so
that $v'$ is the step itself). Asleep the input is silent, and the noise stronger:
$\kappa = \sqrt{2}$ turns the drive, if it is the gradient of the log probability of
being awake in $h$, into Langevin sampling of the waking states (Krishna et al. 2024).
Adaptation $a$ is subtracted inside the activation function; momentum with
$\lambda < 1$ remembers the last step (Levenstein et al. 2024; Casco-Rodriguez et al.
2026).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neuromod import kernels
from neuromod.kernels.cell import is_key
from neuromod.reactivation import noise as noise_
from neuromod.reactivation.network import Network

State = Float[Array, "*trial unit"]


class Conditions(NamedTuple):
    """What differs between waking and sleep; the default is waking.

    Parameters
    ----------
    noise_factor : ()
        $\\kappa$, times the recurrent noise of the network.
    adaptation_strength, adaptation_time_constant : ()
        $b$, and $\\tau_a$ in steps; None for no adaptation.
    friction : ()
        $\\lambda$, in (0, 1]: the share of the last step that is forgotten. None for 1.
    state_noise : ()
        Standard deviation that is added to the noise for each unit of |h|; None for
        noise that does not depend on the state.
    """

    noise_factor: Any = 1.0
    adaptation_strength: Any = None
    adaptation_time_constant: Any = None
    friction: Any = None
    state_noise: Any = None


AWAKE = Conditions()


class Carry(NamedTuple):
    """What one step leaves to the next; all (*trial, unit), None if not in use."""

    state: Any
    velocity: Any = None
    adaptation: Any = None


class Noise(NamedTuple):
    """Numbers drawn beforehand, not yet scaled; each (time, *trial, ...) or None."""

    inputs: Any = None
    recurrent: Any = None
    output: Any = None


class Run(NamedTuple):
    """A run: ``states`` (time, *trial, unit), ``outputs`` (time, *trial, cell)."""

    states: Array
    outputs: Array
    carry: Carry


def begin(state: State, conditions: Conditions = AWAKE) -> Carry:
    """Return the carry before the first step: at rest, and not adapted."""
    still = jnp.zeros_like(state)
    return Carry(
        state,
        None if conditions.friction is None else still,
        None if conditions.adaptation_strength is None else still,
    )


def step(
    network: Network,
    conditions: Conditions,
    carry: Carry,
    inputs: Float[Array, "*trial input"] | None,
    drawn: State | None,
) -> Carry:
    """Take one step.

    Parameters
    ----------
    network, conditions
        Who runs, and whether awake.
    carry
        Where it is.
    inputs : (*trial, input)
        With their noise; None for silence.
    drawn : (*trial, unit)
        Noise that is not yet scaled; None for none.
    """
    state, velocity, adaptation = carry
    pushed = _scaled(network, conditions, state, drawn)
    terms = [] if adaptation is None else [-adaptation]
    if network.noise_inside and pushed is not None:
        terms.append(pushed)
    drive = network.drive(state, inputs, sum(terms) if terms else None)
    moved = jnp.asarray(network.leak, state.dtype) * drive
    if velocity is not None:
        moved = (1 - jnp.asarray(conditions.friction, state.dtype)) * velocity + moved
    if pushed is not None and not network.noise_inside:
        moved = moved + pushed
    if adaptation is not None:
        rate = 1 / jnp.asarray(conditions.adaptation_time_constant, state.dtype)
        strength = jnp.asarray(conditions.adaptation_strength, state.dtype)
        adaptation = adaptation + rate * (strength * state - adaptation)
    return Carry(state + moved, None if velocity is None else moved, adaptation)


def _scaled(network: Network, conditions: Conditions, state: Any, drawn: Any) -> Any:
    if drawn is None:
        return None
    scale = jnp.asarray(network.recurrent_noise, state.dtype)
    if conditions.state_noise is not None:
        scale = scale + jnp.asarray(conditions.state_noise, state.dtype) * abs(state)
    return jnp.asarray(conditions.noise_factor, state.dtype) * scale * drawn


def run(
    network: Network,
    inputs: Float[Array, "time *trial input"] | None,
    carry: Carry,
    *,
    noise: Any = None,
    n_steps: int | None = None,
    first_step: Any = 0,
    conditions: Conditions = AWAKE,
    checkpoint: int | None = None,
) -> Run:
    """Run a network and keep every step.

    Parameters
    ----------
    network
        The network; it is not changed.
    inputs : (time, *trial, input)
        None for silence.
    carry
        Where it begins (`begin`).

    Other Parameters
    ----------------
    noise
        A random key, from which every step draws its own; `Noise` that was drawn
        before; None for none at all.
    n_steps
        Number of steps, where no inputs tell it.
    first_step
        Number of the first step in the stream that these are a part of.
    conditions
        Waking or sleep.
    checkpoint
        Steps per chunk that the gradient computes again instead of storing.
    """
    if inputs is not None:
        n_steps = len(inputs)
    of_step = noise if isinstance(noise, Noise) else Noise()
    keys: Any = (None,) * 3
    if is_key(noise):
        keys = jax.random.split(jnp.asarray(noise), 3)
    has_recurrent = keys[1] is not None and not _is_zero(network.recurrent_noise)
    has_recurrent |= keys[1] is not None and conditions.state_noise is not None
    has_input = keys[0] is not None and not _is_zero(network.input_noise)
    trials, dtype = carry.state.shape[:-1], carry.state.dtype

    def draw(key, shape):
        return noise_.draw(key, shape, network.noise_law, dtype)

    def advance(carry, now, key=None):
        x, drawn_input, drawn = now
        if key is not None:
            one, two = jax.random.split(key)
            drawn = draw(one, carry.state.shape) if has_recurrent else None
            if has_input:
                drawn_input = draw(two, (*trials, network.n_inputs))
        if drawn_input is not None:
            told = jnp.asarray(network.input_noise, dtype) * drawn_input
            x = told if x is None else x + told
        carry = step(network, conditions, carry, x, drawn)
        return carry, carry.state

    end, states, _ = kernels.scan(
        advance,
        carry,
        (inputs, of_step.inputs, of_step.recurrent),
        noise=keys[1] if has_recurrent or has_input else None,
        n_steps=n_steps,
        first_step=first_step,
        checkpoint=checkpoint,
    )
    return Run(states, read(network, states, keys[2], of_step.output), end)


def read(network: Network, states: Any, key: Any = None, drawn: Any = None) -> Array:
    """Return outputs (..., cell) of states (..., unit), with output noise if given."""
    outputs = network.read_out(states)
    if drawn is None and key is not None and not _is_zero(network.output_noise):
        drawn = noise_.draw(key, outputs.shape, "gaussian", outputs.dtype)
    if drawn is None:
        return outputs
    return outputs + jnp.asarray(network.output_noise, outputs.dtype) * drawn


def record(
    network: Network,
    carry: Carry,
    function: Callable[[State], Any],
    *,
    noise: Any,
    n_records: int,
    every: int = 1,
    first_step: Any = 0,
    conditions: Conditions = AWAKE,
) -> tuple[Carry, Any]:
    """Run a network in silence and keep a function of every so many-th state.

    What lies between is never stored, so that the length of a run costs time alone.

    Parameters
    ----------
    network, carry, noise, first_step, conditions
        As for `run`; ``noise`` is a key or None.
    function
        Of a state (*trial, unit), such as its decoded place.
    n_records, every
        How often, and how many steps lie from one to the next.

    Returns
    -------
    Carry, (record, ...)
        Where it ended, and what was kept.
    """

    def one(carry, number):
        end = run(
            network,
            None,
            carry,
            noise=noise,
            n_steps=every,
            first_step=first_step + number * every,
            conditions=conditions,
        ).carry
        return end, function(end.state)

    numbers = jnp.arange(n_records, dtype=jnp.int32)
    found = kernels.scan(one, carry, numbers, checkpoint=None)
    return found.carry, found.outputs


def _is_zero(scale: Any) -> bool:
    """Tell whether there is no noise, as far as that is known beforehand."""
    return isinstance(scale, int | float) and scale == 0
