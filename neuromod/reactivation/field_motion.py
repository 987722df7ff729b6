r"""The motion of a bump: an adaptive attractor field run forward.

One step of Euler and Maruyama for the equations of `neuromod.reactivation.field`. The
excitation $J * r$ is a product of Fourier transforms, and the first coefficients of the
rates,

$$
\hat r_1 = \sum_j r_j\, e^{-i z_j} ,
$$

have as their angles the population vector: the bump is decoded in every step at no
cost, turns are counted as they come, and of a long run only what is asked for is
stored.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key, PRNGKeyArray

from neuromod import kernels
from neuromod.core.dimensions import require_finite, require_integer, require_positive
from neuromod.core.errors import DivergedError, ShapeError, invalid
from neuromod.reactivation.field import AttractorField, FieldState


class Track(NamedTuple):
    """What is recorded of a bump.

    Parameters
    ----------
    position : (time, space)
        Where it is, in (-pi, pi].
    displacement : (time, space)
        How far it has come, turns counted.
    amplitude : (time,)
        The largest potential.
    rate : (time, unit)
        None if not asked for.
    """

    position: Array
    displacement: Array
    amplitude: Array
    rate: Array | None


class Moving(NamedTuple):
    """What one step leaves to the next.

    Parameters
    ----------
    potential, adaptation
        Of every unit, on the grid.
    spectrum
        Fourier transform of the rates.
    position : (space,)
        Of the bump.
    turns : (space,)
        How often it went round.
    """

    potential: Array
    adaptation: Array
    spectrum: Array
    position: Array
    turns: Array


def simulate(
    field: AttractorField,
    duration: float,
    *,
    seed: int,
    initial: FieldState | None = None,
    external_input: Callable[[Any], Any] | None = None,
    n_trials: int = 1,
    record_every: int = 10,
    rates: bool = False,
) -> xr.Dataset:
    """Let a field's bump move, and say where it was.

    Parameters
    ----------
    field
        The field.
    duration
        In seconds.
    seed
        Of the noise.

    Other Parameters
    ----------------
    initial
        Potential and adaptation at time 0; None for a bump at rest at 0
        (`AttractorField.bump`).
    external_input
        From the time (s) to the input of every unit (unit,), in jax: for example
        ``lambda time: field.stimulus(2.0 * time)``. None for none.
    n_trials
        Number of independent runs.
    record_every
        Steps from one record to the next. What lies between is never stored, and
        turns are counted at every step.
    rates
        Whether to record the rates of all units too.

    Returns
    -------
    Dataset
        ``position`` (trial, time, space), the angle of the population vector;
        ``displacement`` (trial, time, space) from where it began, turns counted;
        ``amplitude`` (trial, time), the largest potential; with ``rates`` also
        ``rate`` (trial, time, unit) and ``preferred`` (unit, space).

    Raises
    ------
    InvalidInputError
        If an argument has no such value, or inhibition leaves no bump.
    DivergedError
        If activity grows without bound.

    Examples
    --------
    >>> field = AttractorField(0.5, potential_noise=0.02)
    >>> found = simulate(field, 0.1, seed=0)
    >>> found["position"].dims, found.sizes["time"]
    (('trial', 'time', 'space'), 100)
    """
    if not isinstance(field, AttractorField):
        raise invalid("field", type(field).__name__, "an AttractorField")
    record_every = require_integer(record_every, "record_every")
    n_trials = require_integer(n_trials, "n_trials")
    seed = require_integer(seed, "seed", minimum=0)
    spacing = record_every * float(field.time_step)
    n_records = round(require_positive(duration, "duration", "s") / spacing)
    if n_records < 1:
        raise invalid("duration", duration, f"at least one record, {spacing:.3g} s")
    start = _start(field, initial)
    noisy = max(field.potential_noise, field.adaptation_noise) > 0
    keys = jax.random.split(jax.random.key(seed), n_trials)
    found = _run_trials(
        field, start, keys, n_records, record_every, external_input, bool(rates), noisy
    )
    if not np.isfinite(found.amplitude).all():
        raise DivergedError(
            "reactivation.simulate: activity grew without bound. Lower "
            "adaptation_noise or time_step."
        )
    return _dataset(field, found, spacing)


def _start(field: AttractorField, initial: FieldState | None) -> FieldState:
    if initial is None and not np.isfinite(field.bump_height):
        raise invalid(
            "field.inhibition",
            f"{field.inhibition}, against which no bump can stand",
            "less",
            "Or set connection_strength higher.",
        )
    state = FieldState(*(field.bump() if initial is None else initial))
    for part in state:
        if np.shape(part) != (field.n_units,):
            raise invalid(
                "initial",
                f"shape {np.shape(part)}",
                f"shape ({field.n_units},)",
                kind=ShapeError,
            )
        require_finite(np.asarray(part), "initial")
    return state


@partial(jax.jit, static_argnums=(3, 4, 5, 6, 7))
def _run_trials(
    field: AttractorField,
    start: FieldState,
    keys: Key[Array, " trial"],
    n_records: int,
    record_every: int,
    external_input: Any,
    rates: bool,
    noisy: bool,
) -> Track:
    def one(key):
        return run(
            field,
            start,
            key if noisy else None,
            n_records=n_records,
            record_every=record_every,
            external_input=external_input,
            rates=rates,
        )

    return jax.vmap(one)(keys)


def _dataset(field: AttractorField, found: Track, spacing: float) -> xr.Dataset:
    def named(dims, values, long_name, units="1"):
        attrs = {"long_name": long_name, "units": units}
        return (*dims,), np.asarray(values), attrs

    trial = ("trial", "time")
    where, far = found.position, found.displacement
    variables = {
        "position": named((*trial, "space"), where, "bump position", "rad"),
        "displacement": named((*trial, "space"), far, "bump displacement", "rad"),
        "amplitude": named(trial, found.amplitude, "largest potential"),
    }
    if found.rate is not None:
        places = field.preferred
        variables["rate"] = named((*trial, "unit"), found.rate, "rate")
        variables["preferred"] = named(("unit", "space"), places, "best place", "rad")
    time = spacing * np.arange(1, found.amplitude.shape[1] + 1)
    dataset = xr.Dataset(variables, {"time": ("time", time, {"units": "s"})})
    if field.n_dimensions == 2:
        dataset = dataset.assign_coords(space=["x", "y"])
    return dataset


def run(
    field: AttractorField,
    initial: FieldState,
    key: PRNGKeyArray | None,
    *,
    n_records: int,
    record_every: int = 1,
    external_input: Callable[[Any], Any] | None = None,
    rates: bool = False,
) -> Track:
    """Run a field and track its bump; what lies between records is never stored.

    Parameters
    ----------
    field, external_input, rates
        As `simulate` takes them.
    initial
        Potential and adaptation at time 0.
    key
        Random key; None for no noise.
    n_records, record_every
        How often to record, and how many steps lie from one record to the next.
    """
    dtype = jnp.result_type(float)
    field = jax.tree.map(lambda x: jnp.asarray(x, dtype), field)
    start = _begin(field, jax.tree.map(lambda x: jnp.asarray(x, dtype), initial))
    advance = _stepper(field)

    def of_step(index):
        if external_input is None:
            return jnp.zeros((), dtype)
        time = field.time_step * index.astype(dtype)
        return jnp.asarray(external_input(time), dtype).reshape(field.shape)

    def record(moving, number):
        moving = kernels.scan(
            advance,
            moving,
            of_step,
            noise=key,
            n_steps=record_every,
            first_step=number * record_every,
            checkpoint=None,
        ).carry
        return moving, _told(field, start, moving, rates)

    numbers = jnp.arange(n_records, dtype=jnp.int32)
    return kernels.scan(record, start, numbers, checkpoint=None).outputs


def _begin(field: AttractorField, initial: FieldState) -> Moving:
    potential, adaptation = (part.reshape(field.shape) for part in initial)
    spectrum = jnp.fft.rfftn(field.rate(potential))
    position = _centre(spectrum)
    turns = jnp.zeros(position.shape, jnp.int32)
    return Moving(potential, adaptation, spectrum, position, turns)


def _stepper(field: AttractorField) -> Callable[..., tuple[Moving, tuple[()]]]:
    """Return the step of Euler and Maruyama, with noise if it is given a key."""
    coupling = jnp.fft.rfftn(field.connections)
    fast = field.time_step / field.membrane_time_constant
    slow = field.time_step / field.adaptation_time_constant
    share = field.adaptation_gain * field.adaptation_noise * jnp.sqrt(slow)
    if field.independent_noise:
        share = share * (2 * np.sqrt(np.pi) * field.connection_width)
    of_slow = field.shape if field.independent_noise else ()
    n_slow = math.prod(of_slow)

    def step(moving, external, key=None):
        potential, adaptation, spectrum, before, turns = moving
        excitation = jnp.fft.irfftn(coupling * spectrum, field.shape)
        after = potential + fast * (excitation - adaptation - potential + external)
        tired = adaptation + slow * (field.adaptation_gain * potential - adaptation)
        if key is not None:
            drawn = jax.random.normal(key, (field.n_units + n_slow,), after.dtype)
            noise = drawn[: field.n_units].reshape(field.shape)
            after = after + field.potential_noise * jnp.sqrt(fast) * noise
            tired = tired + share * potential * drawn[field.n_units :].reshape(of_slow)
        spectrum = jnp.fft.rfftn(field.rate(after))
        position = _centre(spectrum)
        passed = jnp.round((before - position) / (2 * np.pi)).astype(jnp.int32)
        return Moving(after, tired, spectrum, position, turns + passed), ()

    return step


def _told(field: AttractorField, start: Moving, moving: Moving, rates: bool) -> Track:
    turned = 2 * np.pi * moving.turns.astype(moving.position.dtype)
    return Track(
        moving.position,
        moving.position + turned - start.position,
        moving.potential.max(),
        field.rate(moving.potential).ravel() if rates else None,
    )


def _centre(spectrum: Array) -> Float[Array, " space"]:
    """Return the angles of the first Fourier coefficients of the rates."""
    rows = np.eye(spectrum.ndim, dtype=int)
    first = jnp.stack([spectrum[tuple(row)] for row in rows])
    return jnp.arctan2(first.imag, -first.real)  # units begin at -pi
