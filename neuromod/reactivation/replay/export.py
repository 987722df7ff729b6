"""A network as if it were recorded: spikes, for the tools of recordings."""

from typing import Any

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import InvalidInputError, invalid
from neuromod.io import SpikeTrains


def poisson_spikes(
    rates: xr.DataArray, *, seed: int, time_step: float | None = None
) -> SpikeTrains:
    """Draw spikes of independent Poisson processes with given rates.

    Parameters
    ----------
    rates : (time, unit)
        Rates in Hz, constant in the bin of ``time_step`` around each time. Activity
        that has another unit, or is negative, has to be scaled or rectified first.
    seed
        Of the spikes.

    Other Parameters
    ----------------
    time_step
        Width of a bin (s); by default the spacing of ``time``.

    Returns
    -------
    neuromod.io.SpikeTrains
        ``.bin(bin_size)`` gives counts, ``neuromod.io.write_nwb(path, trains, ...)`` a
        file, `to_pynapple` a TsGroup.

    Raises
    ------
    ShapeError
        If dimensions are not (time, unit).
    InvalidInputError
        If a rate is negative or not finite, or times are not regular.

    Examples
    --------
    >>> rates = xr.DataArray(
    ...     np.full((1000, 2), 40.0), {"time": np.arange(1000) * 0.01}, ("time", "unit")
    ... )
    >>> trains = poisson_spikes(rates, seed=0)
    >>> (trains.n_spikes / 10.0).values.round(-1)
    array([40., 40.])
    """
    rates = dimensions.require_dims(rates, ("time", "unit"), "rates")
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    time = dimensions.require_time(rates, "rates")
    values = rates.values.astype(float)
    dimensions.require_finite(values, "rates")
    if values.min() < 0:
        raise invalid(
            "rates",
            f"the negative rate {values.min():.3g}",
            "rates >= 0 Hz",
            "Rectify them: rates.clip(min=0).",
        )
    step = dimensions.bin_size(time, "rates") if time_step is None else time_step
    step = dimensions.require_positive(step, "time_step", "s")
    generator = np.random.default_rng(seed)
    counts = generator.poisson(values * step)
    bins, units = (np.repeat(i, counts.reshape(-1)) for i in _indices(counts.shape))
    spikes = time[bins] + step * (generator.random(len(bins)) - 0.5)
    order = np.argsort(spikes, kind="stable")
    labels = rates["unit"].values if "unit" in rates.coords else None
    return SpikeTrains.from_events(
        spikes[order],
        units[order],
        labels=range(values.shape[1]) if labels is None else labels,
        start=time[0] - step / 2,
        stop=time[-1] + step / 2,
        source="Poisson spikes of rates",
    )


def _indices(shape: tuple[int, ...]) -> np.ndarray:
    return np.indices(shape).reshape(len(shape), -1)


def to_pynapple(trains: SpikeTrains) -> Any:
    """Return spike trains as a pynapple TsGroup, whose keys count the units.

    Raises
    ------
    InvalidInputError
        If pynapple is not installed.
    """
    try:
        import pynapple
    except ImportError as error:
        raise InvalidInputError(
            "to_pynapple needs pynapple, which is not installed: pip install pynapple"
        ) from error
    start, stop = trains.limits
    support = pynapple.IntervalSet(start, stop)
    times = trains.to_dict().values()
    group = {i: pynapple.Ts(t, time_support=support) for i, t in enumerate(times)}
    labels = trains.labels.astype(str)
    return pynapple.TsGroup(group, time_support=support, metadata={"label": labels})
