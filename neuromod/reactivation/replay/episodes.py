r"""An animal's rest beside a network's sleep: the same measures for both.

What a network says asleep are paths (trial, time, space) in metres, of one length. What
an animal's bursts say are probabilities of places, bin by bin, in events of many
lengths, some bins without a spike. `event_paths` makes paths of them by cutting alone:
nothing is filled in. `compare_paths` measures such paths against those awake, whoever's
they are, so that both stand in one figure (`plot_model_and_animal`).

Two things are to be kept in mind. Time: a bin of a rest event is 20 ms, a step of a
network is what it was in training; so displacements are told over seconds, and the
speed of each condition beside that of waking. And noise: the place decoded from few
spikes errs, anew in each bin, by $\epsilon$, which alone makes

$$
\langle |x_{t+\Delta} - x_t|^2 \rangle = 2 \langle \epsilon^2 \rangle
$$

at every delay, and a fast "path" with an exponent of 0. So the same events decoded with
maps that were dealt out anew among the neurons belong into the comparison, as an
untrained network does into that of a network.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import ShapeError, invalid
from neuromod.reactivation.measures import paths as motion
from neuromod.reactivation.measures.density import histogram, histogram_kl
from neuromod.reactivation.measures.positions import require_bounds
from neuromod.reactivation.measures.tables import PATH, density_table, path_table
from neuromod.reactivation.replay.decoding import most_likely_position, starts
from neuromod.reactivation.replay.tuning import read_counts

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
REFERENCE = "awake"
TAILS = (0.025, 0.975)
OF_DENSITY = ("kl_histogram", "kl_kde", "wasserstein")
OF_PATHS = ("step_length", "displacement_slope", "coverage")
WITH_INTERVAL = ("step_length", "displacement_slope", "kl_histogram")


def event_paths(
    posterior: xr.DataArray, spikes: xr.DataArray, *, n_steps: int
) -> xr.DataArray:
    """Cut what events say into paths of one length, in metres.

    A path is ``n_steps`` bins in a row, each with spikes, of one event. Events give as
    many as fit, one after the other; what is left over, bins without a spike (which
    say only where the neurons are silent) and shorter stretches are left out, and
    ``attrs["share_used"]`` tells how much of all bins has stayed.

    Parameters
    ----------
    posterior : (time, position) or (time, state, position)
        What `decode` or `decode_dynamics` found; the place is the most likely one.
    spikes : (time, neuron)
        The counts that were decoded, as `event_counts` makes them.
    n_steps
        Bins of a path.

    Returns
    -------
    DataArray (trial, time, space)
        Places in m, with the ``event`` of each path along ``trial``.

    Raises
    ------
    ShapeError
        If the spikes are not those that were decoded.
    InvalidInputError
        If places are not in m, cm or mm, or no stretch is as long.

    Examples
    --------
    >>> posterior = xr.DataArray(
    ...     np.eye(5),
    ...     {"time": 0.02 * np.arange(5), "x": ("position", 10.0 * np.arange(5))},
    ...     ("time", "position"),
    ...     attrs={"position_units": "cm"},
    ... )
    >>> spikes = xr.DataArray(
    ...     [[1], [2], [0], [1], [1]], {"time": posterior.time}, ("time", "neuron")
    ... )
    >>> event_paths(posterior, spikes, n_steps=2)[..., 0].values
    array([[0. , 0.1],
           [0.3, 0.4]])
    """
    n_steps = dimensions.require_integer(n_steps, "n_steps", minimum=2)
    counts, bin_size = read_counts(spikes)
    place = most_likely_position(posterior)
    if not np.array_equal(place["time"].values, counts["time"].values):
        raise invalid(
            "spikes",
            "counts at other times than the posterior",
            "those that were decoded",
            kind=ShapeError,
        )
    unit = place.attrs["units"]
    if unit not in METRES:
        raise invalid(
            "posterior",
            f"places in {unit}",
            "places in m, cm or mm",
            "Give tuning_curves the scale of the camera: scale=, cm per pixel.",
        )
    spiking = counts.values.sum(axis=1) > 0
    kept = _whole(starts(counts, bin_size), spiking, n_steps)
    if not kept.any():
        raise invalid(
            "n_steps",
            n_steps,
            "fewer",
            "No event has as many bins with spikes in a row.",
        )
    values = METRES[unit] * place.values[kept]
    coords = {
        "time": ("time", bin_size * np.arange(n_steps), {"units": "s"}),
        "space": place["space"].values,
    }
    if "event" in counts.coords:
        coords["event"] = "trial", counts["event"].values[kept][::n_steps]
    return xr.DataArray(
        values.reshape(-1, n_steps, values.shape[1]),
        coords,
        PATH,
        "position",
        {
            "units": "m",
            "long_name": "decoded position",
            "share_used": float(kept.mean()),
        },
    )


def _whole(begins: np.ndarray, spiking: np.ndarray, n_steps: int) -> np.ndarray:
    """Tell which bins belong to a whole path."""
    after_silence = np.r_[False, ~spiking[:-1]]
    run = np.cumsum(begins | ~spiking | after_silence)
    _, first, which, length = np.unique(
        run, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.arange(len(run)) - first[which]
    return spiking & ((rank // n_steps + 1) * n_steps <= length[which])


def compare_paths(
    paths: Mapping[str, xr.DataArray],
    *,
    bounds: Any,
    seed: int,
    n_bins: int = 11,
    n_draws: int = 200,
) -> xr.Dataset:
    """Measure paths asleep, and their controls, against those awake.

    Parameters
    ----------
    paths : each (trial, time, space)
        By the name of the condition: "awake" and others, such as "asleep", each with
        a time step and a number of steps of its own; in m.
    bounds : (space, 2)
        Lowest and highest value of each coordinate (m).
    seed
        Of the draws.

    Other Parameters
    ----------------
    n_bins
        Bins along each coordinate.
    n_draws
        Times that trials are drawn anew, with replacement, for the intervals.

    Returns
    -------
    Dataset (condition)
        ``occupancy`` (position): the share of each bin, whose centres are ``x``
        (``y``). ``step_length`` (m), ``time_step`` (s), ``speed`` (m/s) and
        ``speed_ratio``, how many times that of waking it is. ``displacement`` (lag),
        the mean squared one (m^2), at the ``delay`` (s) of each ``lag`` in steps, and
        its exponent ``displacement_slope``; NaN at lags that are too long for a
        condition. ``coverage``; ``kl_histogram``, ``kl_kde`` (nats) and
        ``wasserstein`` (m) from waking. ``step_length_interval``,
        ``displacement_slope_interval`` and ``kl_histogram_interval`` (quantile) hold
        95 % of the draws.

    Raises
    ------
    ShapeError
        If paths are no (trial, time, space) of at least three steps.
    InvalidInputError
        If there is no "awake" or nothing beside it, or more than 5 % of the places are
        out of bounds.

    Examples
    --------
    >>> walk = xr.DataArray(
    ...     np.random.default_rng(0).uniform(0, 1, (40, 10, 1)),
    ...     dims=["trial", "time", "space"],
    ...     coords={"time": 0.1 * np.arange(10)},
    ...     attrs={"units": "m"},
    ... )
    >>> night = walk.assign_coords(time=0.02 * np.arange(10))
    >>> found = compare_paths({"awake": walk, "asleep": night}, bounds=[[0, 1]], seed=0)
    >>> print(found["speed_ratio"].values.round(1))
    [1. 5.]
    """
    if REFERENCE not in paths or len(paths) < 2:
        raise invalid("paths", list(paths), f"{REFERENCE!r} and at least one other")
    checked = {
        name: dimensions.require_dims(path, PATH, f"paths[{name!r}]")
        for name, path in paths.items()
    }
    for name, path in checked.items():
        if path.sizes["time"] < 3:
            got = f"{path.sizes['time']} steps"
            raise invalid(f"paths[{name!r}]", got, "at least three", kind=ShapeError)
    n_axes = checked[REFERENCE].sizes["space"]
    bounds = require_bounds(bounds, n_axes)
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    n_draws = dimensions.require_integer(n_draws, "n_draws")
    found = [
        _measured(path, checked[REFERENCE], bounds, seed, n_bins, n_draws)
        for path in checked.values()
    ]
    table = xr.concat(found, "condition", join="outer", combine_attrs="override")
    table = table.assign_coords(condition=list(checked))
    speed = table["step_length"] / table["time_step"]
    ratio = speed / speed.sel(condition=REFERENCE)
    edges = [np.linspace(low, high, n_bins + 1) for low, high in bounds]
    middles = np.meshgrid(*((e[1:] + e[:-1]) / 2 for e in edges), indexing="ij")
    centres = {
        name: ("position", middle.reshape(-1), {"units": "m"})
        for name, middle in zip(("x", "y", "z"), middles, strict=False)
    }
    return table.assign(
        speed=speed.assign_attrs(units="m/s", long_name="speed"),
        speed_ratio=ratio.drop_vars("condition").assign_attrs(
            units="1", long_name="speed relative to waking"
        ),
    ).assign_coords(centres)


def _measured(
    path: xr.DataArray,
    awake: xr.DataArray,
    bounds: np.ndarray,
    seed: int,
    n_bins: int,
    n_draws: int,
) -> xr.Dataset:
    lags = 2 ** np.arange(np.ceil(np.log2(path.sizes["time"]))).astype(int)
    moved = path_table(path, bounds=bounds, lags=lags, n_bins=n_bins)
    apart = density_table(
        path,
        awake,
        bounds=bounds,
        first_step=0,
        stationary_after=0,
        seed=seed,
        n_bins=n_bins,
    )
    time = path["time"].values
    shares = histogram(path.values, bounds, n_bins=n_bins)
    table = xr.Dataset(
        {
            "occupancy": ("position", shares.reshape(-1), {"units": "1"}),
            "time_step": ((), float(np.median(np.diff(time))), {"units": "s"}),
            "displacement": ("lag", moved["displacement"].values, {"units": "m^2"}),
        },
        {"lag": lags, "delay": ("lag", moved["lag"].values, {"units": "s"})},
    ).reset_coords("delay")
    table = table.assign({name: apart[name] for name in OF_DENSITY})
    for name in OF_PATHS:
        table[name] = moved[name].mean(keep_attrs=True)
    reference = histogram(awake.values, bounds, n_bins=n_bins)
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(n_draws):
        again = generator.integers(len(path), size=len(path))
        drawn.append(_numbers(path.values[again], reference, bounds, lags, n_bins))
    tails = np.quantile(drawn, TAILS, axis=0)
    for name, tail in zip(WITH_INTERVAL, tails.T, strict=True):
        table[f"{name}_interval"] = "quantile", tail
    return table.assign_coords(quantile=list(TAILS))


def _numbers(
    values: np.ndarray,
    reference: np.ndarray,
    bounds: np.ndarray,
    lags: np.ndarray,
    n_bins: int,
) -> tuple[float, float, float]:
    """Return what `WITH_INTERVAL` names."""
    displacement = motion.displacement(values, lags)
    return (
        float(motion.step_length(values).mean()),
        motion.displacement_slope(displacement, lags),
        histogram_kl(histogram(values, bounds, n_bins=n_bins), reference),
    )
