"""Networks of columns run forward, from arrays with named dimensions."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core.dimensions import (
    require_dims,
    require_finite,
    require_integer,
    require_positive,
    require_time,
)
from neuromod.core.errors import ShapeError, invalid
from neuromod.core.precision import (
    Precision,
    dtype,
    in_precision,
    precision_context,
)
from neuromod.plants.jansen_rit import JansenRit
from neuromod.plants.solve import RESOLUTION, brownian_path, solve

MAY_BE_ZERO = ("input_rate", "input_noise", "n_synapses")
ANY_SIGN = ("connectivity", "stimulation_gain", "half_potential")


def simulate(
    plant: JansenRit,
    duration: float,
    *,
    seed: int,
    stimulation: xr.DataArray | None = None,
    lead_field: xr.DataArray | None = None,
    time_step: float = 1e-3,
    tolerance: float | None = None,
    precision: Precision = "float32",
) -> xr.Dataset:
    """Simulate a network of columns, from the state in which all potentials are zero.

    Parameters
    ----------
    plant
        The network.
    duration
        In seconds.
    seed
        Of the noise of its input.

    Other Parameters
    ----------------
    stimulation : (time, region)
        Current (uA), linear between samples that cover all of the duration.
    lead_field : (channel, region)
        What each sensor sees of each column.
    time_step
        Between two outputs, and the step of the integration if there is noise or no
        tolerance (s).
    tolerance
        Relative and absolute (mV), of the potentials; None to integrate in equal
        steps. Not with noise.
    precision
        "float32" or "float64".

    Returns
    -------
    Dataset
        ``potential`` (time, region) of the pyramidal cells (mV), their ``firing_rate``
        (time, region) (Hz), and, with a lead field, ``sensor`` (time, channel).

    Raises
    ------
    InvalidInputError
        If an argument has no such value.
    ShapeError
        If regions do not match.

    Examples
    --------
    >>> found = simulate(JansenRit(input_rate=220.0), 2.0, seed=0)
    >>> late = found["potential"].sel(time=slice(1.0, None)).isel(region=0)
    >>> crossings = np.diff(np.sign(late - late.mean())) > 0
    >>> int(crossings.sum())  # within a second
    11
    """
    _require_plant(plant)
    times = _times(duration, time_step)
    key = jax.random.key(require_integer(seed, "seed", minimum=0))
    is_noisy = bool((np.asarray(plant.input_noise) > 0).any())
    if tolerance is not None:
        require_positive(tolerance, "tolerance")
    if is_noisy and tolerance is not None:
        raise invalid("tolerance", tolerance, "none where there is noise")
    if is_noisy and time_step < RESOLUTION:
        expected = f"at least {RESOLUTION:g} s where there is noise"
        raise invalid("time_step", time_step, expected)
    current = _stimulation(stimulation, plant.n_regions, times[-1])
    seen = _lead_field(lead_field, plant.n_regions)
    labels = _labels(stimulation, lead_field)
    with precision_context(precision):
        kind = dtype(precision)
        model = jax.tree.map(jnp.asarray, in_precision(plant, precision))
        path = brownian_path(key, times[-1], model.n_regions, kind)
        states = solve(
            model,
            model.silence(),
            jnp.asarray(times, kind),
            stimulation=_path(current, kind),
            path=path if is_noisy else None,
            tolerance=None if tolerance is None else jnp.asarray(tolerance, kind),
        )
        potential = np.asarray(model.potential(states))
        rate = np.asarray(model.firing_rate(states))
    dims = ("time", "region")
    what = "of the pyramidal cells"
    found = xr.Dataset(
        {
            "potential": (dims, potential, _told("mV", f"potential {what}")),
            "firing_rate": (dims, rate, _told("Hz", f"firing rate {what}")),
        },
        {"time": ("time", times, {"units": "s"}), **labels},
    )
    if seen is not None:
        found["sensor"] = (("time", "channel"), potential @ seen.to_numpy().T)
        found = found.assign_coords(seen.drop_vars("region", errors="ignore").coords)
        found["sensor"].attrs = {"units": "mV", "long_name": "what sensors see"}
        found["sensor"].attrs |= seen.attrs
    return found


def _told(units: str, long_name: str) -> dict[str, str]:
    return {"units": units, "long_name": long_name}


def _times(duration: float, time_step: float) -> np.ndarray:
    step = require_positive(time_step, "time_step", "s")
    n_steps = round(require_positive(duration, "duration", "s") / step)
    if n_steps < 1:
        raise invalid("duration", duration, f"at least one time step, {step:g} s")
    return np.arange(n_steps + 1) * step


def _require_plant(plant: JansenRit) -> None:
    if not isinstance(plant, JansenRit):
        raise invalid("plant", type(plant).__name__, "a JansenRit")
    for name, value in vars(plant).items():
        array = np.asarray(value)
        require_finite(array, name)
        least = -np.inf if name in ANY_SIGN else 0
        if array.min() < least or (array.min() == least and name not in MAY_BE_ZERO):
            expected = "zero or more" if name in MAY_BE_ZERO else "more than zero"
            raise invalid(name, float(array.min()), expected)


def _stimulation(
    given: xr.DataArray | None, n_regions: int, end: float
) -> tuple[np.ndarray, np.ndarray] | None:
    if given is None:
        return None
    array = require_dims(given, ("time", "region"), "stimulation")
    _require_regions(array, "stimulation", n_regions)
    time = require_time(array, "stimulation")
    if len(time) < 2 or time[0] > 0 or time[-1] < end * (1 - 1e-9):
        got = f"from {time[0]:g} to {time[-1]:g} s" if len(time) else "no sample"
        raise invalid("stimulation.time", got, f"samples from 0 to {end:g} s")
    require_finite(array.to_numpy(), "stimulation")
    return time, array.to_numpy()


def _lead_field(given: xr.DataArray | None, n_regions: int) -> xr.DataArray | None:
    if given is None:
        return None
    array = require_dims(given, ("channel", "region"), "lead_field")
    _require_regions(array, "lead_field", n_regions)
    require_finite(array.to_numpy(), "lead_field")
    return array


def _require_regions(array: xr.DataArray, argument: str, n_regions: int) -> None:
    if array.sizes["region"] != n_regions:
        got = f"{array.sizes['region']} regions"
        expected = f"the {n_regions} of the plant"
        raise invalid(argument, got, expected, kind=ShapeError)


def _labels(*given: xr.DataArray | None) -> dict[str, Any]:
    """Return the labels of regions, which must be the same wherever they are."""
    found = [a["region"] for a in given if a is not None and "region" in a.coords]
    for other in found[1:]:
        if not np.array_equal(found[0], other):
            expected = "the regions of the stimulation, in their order"
            raise invalid("lead_field", "other regions", expected, kind=ShapeError)
    return {"region": found[0]} if found else {}


def _path(
    current: tuple[np.ndarray, np.ndarray] | None, kind: np.dtype
) -> diffrax.LinearInterpolation | None:
    if current is None:
        return None
    time, values = (jnp.asarray(array, kind) for array in current)
    return diffrax.LinearInterpolation(time, values)
