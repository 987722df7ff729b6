r"""Sleep: a trained network in silence, driven by its own noise.

A network that was trained to stay on track *against* noise of variance $\sigma^2$ has
learned, near its optimum, to move up the gradient of the log probability of its waking
states, $\sigma^2 \nabla \log p(h)$. Without input, and with $g$ times that variance,
what is left is

$$
\Delta h = \sigma^2 \nabla \log p(h)\, \Delta t + \sqrt{g}\, \sigma\, \eta ,
$$

which visits states with the density $p^{2/g}$: for $g = 2$, a noise scale of
$\sqrt 2$, with that of waking. (Krishna, Bredenberg, Levenstein, Richards & Lajoie,
ICLR 2024.)
"""

import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core.dimensions import (
    require_integer,
    require_non_negative,
    require_positive,
)
from neuromod.core.errors import choice, invalid
from neuromod.core.result import Result
from neuromod.reactivation import noise
from neuromod.reactivation.inference import Carry, Conditions, begin, record
from neuromod.reactivation.navigator import Navigator, navigators_of
from neuromod.reactivation.telling import by_seed, labelled, told

SCHEMES = ("scaled", "same", "absolute", "zero")
INITIALS = ("code", "awake state")
DECODERS = ("top_k", "population_vector")


def sleep(
    network: Navigator | Result,
    duration: float,
    *,
    seed: int,
    noise_scale: float = 2**0.5,
    scheme: str = "scaled",
    initial: Any = "code",
    n_trials: int = 200,
    burn_in: float = 0.0,
    record_every: int = 1,
    adaptation: float | None = None,
    adaptation_time_constant: float | None = None,
    momentum: float | None = None,
    state_noise: float | None = None,
    decoder: str = "top_k",
    states: bool = False,
    outputs: bool = False,
) -> xr.Dataset:
    r"""Let a network sleep, and say where it believes to be.

    The network is not changed. What lies between two records is never stored, and
    outputs are decoded as they come: the length of sleep costs time alone.

    Parameters
    ----------
    network
        What `train` returned, or a `Navigator`. Networks of several seeds sleep one
        after another.
    duration
        Of what is recorded (s).
    seed
        Of the first places and the noise.

    Other Parameters
    ----------------
    noise_scale
        $\sqrt g$ times the noise of waking ("scaled"), or the noise per step itself
        ("absolute").
    scheme
        "scaled", "same" (as awake), "absolute" or "zero".
    initial
        "code": the states that encode new places. "awake state": the last states of
        waking trials of the task. Or an array (trial, unit).
    n_trials
        How many networks sleep, each by itself.
    burn_in
        Seconds before the first record.
    record_every
        Steps from one record to the next.
    adaptation, adaptation_time_constant
        Strength $b$, per unit of activity, and time constant (s) of a current that
        drives units away from where they stay.
    momentum
        $1 - \lambda$, in [0, 1): the share of every step that the next one repeats.
        Noise is lowered by $\sqrt\lambda$, which keeps the density (to first order
        in the step).
    state_noise
        Noise that grows by this much per unit of abs(h).
    decoder
        "top_k" (the mean of the three most active cells) or "population_vector".
    states, outputs
        Whether to keep the states of all units, and the outputs of all cells.

    Returns
    -------
    Dataset
        ``position`` (trial, time, space); ``state`` (trial, time, unit) and ``output``
        (trial, time, cell) if asked for. Before these, ``seed``, if the network was
        trained with several.

    Raises
    ------
    InvalidInputError
        If an argument has no such value.
    """
    navigators = navigators_of(network)
    any_one = next(iter(navigators.values()))
    time_step = float(any_one.task.time_step)
    record_every = require_integer(record_every, "record_every")
    n_records = _n_steps(duration, "duration", time_step) // record_every
    if n_records < 1:
        raise invalid("duration", duration, f"at least {record_every * time_step} s")
    n_before = _n_steps(burn_in, "burn_in", time_step) if burn_in else 0
    conditions = _conditions(
        any_one,
        choice("scheme", scheme, SCHEMES),
        noise_scale,
        (adaptation, adaptation_time_constant),
        momentum,
        state_noise,
    )
    asked = (choice("decoder", decoder, DECODERS), bool(states), bool(outputs))
    seed = require_integer(seed, "seed", minimum=0)
    n_trials = require_integer(n_trials, "n_trials")
    keys = jax.random.split(jax.random.key(seed))
    time = (n_before + record_every * np.arange(1, n_records + 1)) * time_step

    def night(navigator):
        carry = _start(navigator, initial, keys[0], n_trials, conditions)
        found = _asleep(
            navigator, carry, conditions, keys[1], n_before, n_records, record_every,
            asked,
        )  # fmt: skip
        return labelled(navigator, found, time)

    return by_seed({label: night(one) for label, one in navigators.items()})


def _n_steps(seconds: float, name: str, time_step: float) -> int:
    return round(float(require_positive(seconds, name)) / time_step)


def _conditions(
    navigator: Navigator,
    scheme: str,
    noise_scale: float,
    adaptation: tuple[float | None, float | None],
    momentum: float | None,
    state_noise: float | None,
) -> Conditions:
    noise_scale = require_non_negative(noise_scale, "noise_scale")
    awake = navigator.network.recurrent_noise
    factor = {"scaled": noise_scale, "same": 1.0, "zero": 0.0}.get(scheme)
    if factor is None:
        if not float(np.max(awake)) > 0:
            raise invalid(
                "scheme",
                "'absolute' for a network without recurrent noise",
                "a network with noise",
                "Set navigator.network.recurrent_noise, and sleep with scheme='same'.",
            )
        factor = noise_scale / awake
    friction = None
    if momentum is not None:
        if not 0 <= momentum < 1:
            raise invalid("momentum", momentum, "a number from 0 to below 1")
        friction = 1 - momentum
        factor = factor * noise.momentum_scale(friction)
    strength, constant = adaptation
    if strength is not None:
        if constant is None or not constant > 0 or not strength >= 0:
            raise invalid(
                "adaptation",
                f"{strength} with adaptation_time_constant {constant}",
                "a number >= 0, and a time constant above 0 (s)",
            )
        constant = constant / float(navigator.task.time_step)
        if constant < 1:
            raise invalid(
                "adaptation_time_constant", constant, "at least one time step"
            )
    if state_noise is not None:
        if not state_noise >= 0:
            raise invalid("state_noise", state_noise, "a number >= 0")
        warnings.warn(
            "reactivation.sleep: noise that depends on the state does not sample the "
            "waking density: that needs the drift half the divergence of the squared "
            "noise besides, which no network has learned.",
            UserWarning,
            stacklevel=3,
        )
    return Conditions(factor, strength, constant, friction, state_noise)


def _start(
    navigator: Navigator, initial: Any, key: Any, n_trials: int, conditions: Conditions
) -> Carry:
    if isinstance(initial, str):
        if choice("initial", initial, INITIALS) == "code":
            state = _encoded(navigator, key, n_trials)
        else:
            state = _last_awake(navigator, key, n_trials)
        return begin(state, conditions)
    state = jnp.asarray(initial, jnp.result_type(float))
    expected = (n_trials, navigator.network.n_units)
    if state.shape != expected or not bool(jnp.isfinite(state).all()):
        raise invalid(
            "initial", f"an array {state.shape}", f"finite numbers {expected}"
        )
    return begin(state, conditions)


@partial(jax.jit, static_argnums=2)
def _encoded(navigator: Navigator, key: Any, n_trials: int) -> Any:
    return navigator.first_states(key, n_trials).state


@partial(jax.jit, static_argnums=2)
def _last_awake(navigator: Navigator, key: Any, n_trials: int) -> Any:
    keys = jax.random.split(key)
    batch = navigator.task.draw(keys[0], n_trials)
    return navigator.awake(batch, keys[1]).states[-1]


@partial(jax.jit, static_argnums=(4, 5, 6, 7))
def _asleep(
    navigator: Navigator,
    carry: Carry,
    conditions: Conditions,
    key: Any,
    n_before: int,
    n_records: int,
    every: int,
    asked: tuple[str, bool, bool],
) -> Any:
    network = navigator.network

    if n_before:
        carry, _ = record(
            network, carry, lambda state: (), noise=key, n_records=1, every=n_before,
            conditions=conditions,
        )  # fmt: skip
    _, found = record(
        network, carry, lambda state: told(navigator, state, *asked), noise=key,
        n_records=n_records, every=every,
        first_step=n_before, conditions=conditions,
    )  # fmt: skip
    return found
