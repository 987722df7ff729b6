"""Which place the spikes stand for: decoders without and with memory.

`decode` takes each bin of time on its own; `decode_dynamics` follows the place through
time, and tells whether it stays, moves continuously or jumps. The equations stand in
`neuromod.reactivation.replay.inference`.
"""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import choice, invalid
from neuromod.core.sequences import stretches
from neuromod.io import align
from neuromod.reactivation.replay import inference, maps
from neuromod.reactivation.replay.inference import DYNAMICS
from neuromod.reactivation.replay.track import AXES, unit_of
from neuromod.reactivation.replay.tuning import read_counts, read_position


def decode(
    spikes: xr.DataArray,
    tuning: xr.DataArray,
    *,
    prior: Literal["uniform", "occupancy"] = "uniform",
) -> xr.DataArray:
    """Decode the place from the spikes of each bin alone.

    Parameters
    ----------
    spikes : (time, neuron)
        Spike counts of the neurons of the maps, in bins of any width.
    tuning : (neuron, position)
        Place maps (Hz) of `tuning_curves`.

    Other Parameters
    ----------------
    prior
        "uniform", or "occupancy": places are as likely as the animal was there.

    Returns
    -------
    DataArray (time, position)
        Probability of each bin of space.

    Raises
    ------
    ShapeError
        If the neurons are not those of the maps.
    InvalidInputError
        If counts are none, or a rate is not positive.

    Examples
    --------
    >>> tuning = xr.DataArray(
    ...     [[30.0, 10.0], [10.0, 30.0]],
    ...     {"neuron": ["a", "b"], "x": ("position", [0.0, 1.0])},
    ...     ("neuron", "position"),
    ... )
    >>> spikes = xr.DataArray(
    ...     [[0, 0], [1, 0]],
    ...     {"time": [0.0, 0.1], "neuron": ["a", "b"]},
    ...     ("time", "neuron"),
    ... )
    >>> print(decode(spikes, tuning).values.round(3))
    [[0.5  0.5 ]
     [0.75 0.25]]
    """
    choice("prior", prior, ("uniform", "occupancy"))
    counts, bin_size = read_counts(spikes)
    known = maps.read(tuning, counts)
    weight = np.ones(len(known.centres))
    if prior == "occupancy":
        if "occupancy" not in known.coords:
            raise invalid("prior", "'occupancy' for maps without it", "'uniform'")
        weight = known.coords["occupancy"].values
    evidence = _evidence(counts, known, bin_size)
    found = inference.posterior(evidence, jnp.log(jnp.asarray(weight, "f4")))
    return _labelled(np.asarray(found), ("time", "position"), counts, known)


def decode_dynamics(
    spikes: xr.DataArray,
    tuning: xr.DataArray,
    *,
    replay_speed: float,
    dwell_time: float = 0.1,
    dynamics: Sequence[str] = DYNAMICS,
    causal: bool = False,
) -> xr.DataArray:
    """Decode the place and how it moves, by a decoder with memory.

    Parameters
    ----------
    spikes, tuning
        As `decode` takes them. Where bins of time do not touch, or an ``event``, a
        ``session`` or a ``trial`` begins, the decoder starts anew.
    replay_speed
        Typical speed of continuous dynamics, in the unit of the maps per second: a
        step in a bin of time has this speed times its width as standard deviation.

    Other Parameters
    ----------------
    dwell_time
        Time (s) for which dynamics last on average.
    dynamics
        Some of "stationary", "continuous" and "fragmented".
    causal
        Whether each bin knows only those before it, as in a closed loop.

    Returns
    -------
    DataArray (time, state, position)
        Joint probability: the sum over ``position`` tells the dynamics (``state``),
        that over ``state`` the place.

    Raises
    ------
    ShapeError, InvalidInputError
        As `decode`; if there are no such dynamics.

    Examples
    --------
    >>> tuning = xr.DataArray(
    ...     [[30.0, 1.0, 1.0], [1.0, 1.0, 30.0]],
    ...     {"neuron": ["a", "b"], "x": ("position", [0.0, 1.0, 2.0])},
    ...     ("neuron", "position"),
    ... )
    >>> spikes = xr.DataArray(
    ...     [[2, 0], [2, 0], [3, 0]],
    ...     {"time": [0.0, 0.02, 0.04], "neuron": ["a", "b"]},
    ...     ("time", "neuron"),
    ... )
    >>> found = decode_dynamics(spikes, tuning, replay_speed=50.0)
    >>> str(found.sum("position").mean("time").idxmax("state").values)
    'stationary'
    """
    dynamics = _chosen(dynamics)
    speed = dimensions.require_positive(replay_speed, "replay_speed")
    dwell_time = dimensions.require_positive(dwell_time, "dwell_time", "s")
    counts, bin_size = read_counts(spikes)
    known = maps.read(tuning, counts)
    model = inference.chain(
        known.centres,
        known.direction,
        speed * bin_size,
        float(np.exp(-bin_size / dwell_time)),
        dynamics,
    )
    run = inference.track if causal else inference.smooth
    reset = jnp.asarray(starts(counts, bin_size))
    found = run(model, _evidence(counts, known, bin_size), reset)
    dims = ("time", "state", "position")
    return _labelled(np.asarray(found), dims, counts, known, state=list(dynamics))


def _chosen(dynamics: Sequence[str]) -> tuple[str, ...]:
    kinds = (dynamics,) if isinstance(dynamics, str) else tuple(dynamics)
    for kind in kinds:
        choice("dynamics", kind, DYNAMICS)
    if not kinds or len(set(kinds)) < len(kinds):
        raise invalid("dynamics", kinds, "at least one, each once")
    return kinds


def most_likely_position(posterior: xr.DataArray) -> xr.DataArray:
    """Return the place that is the most likely in each bin of time (time, space).

    Parameters
    ----------
    posterior : (time, position) or (time, state, position)
        Of `decode` or `decode_dynamics`. Maps of two directions of running tell of one
        place together.
    """
    marginal = probability_of_places(posterior)
    centres = maps.centres_of(marginal)
    along = {k: v for k, v in marginal.coords.items() if v.dims == ("time",)}
    return xr.DataArray(
        centres[marginal.values.argmax(axis=1)],
        {**along, "space": list(AXES[: centres.shape[1]])},
        ("time", "space"),
        "decoded_position",
        {"units": posterior.attrs.get("position_units", "unknown unit")},
    )


def probability_of_places(posterior: xr.DataArray) -> xr.DataArray:
    """Return the probability of each place (time, position), whatever else is decoded.

    Parameters
    ----------
    posterior
        As `most_likely_position` takes it: summed over dynamics and over directions of
        running.
    """
    marginal = posterior.sum("state") if "state" in posterior.dims else posterior
    marginal = dimensions.require_dims(marginal, ("time", "position"), "posterior")
    places, index = np.unique(maps.centres_of(marginal), axis=0, return_inverse=True)
    total = np.zeros((len(places), marginal.sizes["time"]), marginal.dtype)
    np.add.at(total, index.reshape(-1), marginal.values.T)
    coords = {k: v for k, v in marginal.coords.items() if v.dims == ("time",)}
    axes = dict(zip(AXES, (("position", x) for x in places.T), strict=False))
    dims, name = ("time", "position"), posterior.name
    return xr.DataArray(total.T, {**coords, **axes}, dims, name, posterior.attrs)


def decoding_error(
    posterior: xr.DataArray, position: xr.DataArray, *, scale: float | None = None
) -> xr.DataArray:
    """Return how far the most likely place is from where the animal was (time).

    Parameters
    ----------
    posterior
        As `most_likely_position` takes it.
    position : (time, space) or (time,)
        Where the animal was, on a clock of its own.
    scale
        Length of a pixel in cm, if the maps were made with one.

    Returns
    -------
    DataArray (time,)
        Distance; NaN where the animal was not seen.

    Raises
    ------
    InvalidInputError
        If units or dimensions of the two are not the same, or clocks do not overlap.
    """
    decoded = most_likely_position(posterior)
    place = read_position(position, scale)
    if unit_of(place) != decoded.attrs["units"]:
        raise invalid(
            "position",
            f"positions in {unit_of(place)}",
            f"positions in {decoded.attrs['units']}, as the maps",
            "Pass scale=, the length of a pixel in cm.",
        )
    if place.sizes["space"] != decoded.sizes["space"]:
        raise invalid(
            "position",
            f"{place.sizes['space']} axes",
            f"{decoded.sizes['space']}, as the maps",
        )
    away = decoded - align(place, decoded, "linear").drop_attrs()
    distance = (away**2).sum("space", skipna=False) ** 0.5
    attrs = {"units": decoded.attrs["units"], "long_name": "decoding error"}
    return distance.rename("decoding_error").assign_attrs(attrs)


def _evidence(counts: xr.DataArray, known: maps.Maps, bin_size: float):
    return inference.log_likelihoods(
        jnp.asarray(counts.values, "f4"), jnp.asarray(known.rates, "f4"), bin_size
    )


def starts(counts: xr.DataArray, bin_size: float) -> np.ndarray:
    """Tell at which bins another sequence begins."""
    begins = np.diff(counts["time"].values, prepend=-np.inf) > 1.5 * bin_size
    for part in (stretches(counts, "spikes") or {}).values():
        begins[part.start] = True
    if "event" in counts.coords:
        event = counts["event"].values
        begins[1:] |= event[1:] != event[:-1]
    return begins


def _labelled(
    values: np.ndarray,
    dims: tuple[str, ...],
    counts: xr.DataArray,
    known: maps.Maps,
    **coords: list[str],
) -> xr.DataArray:
    along = {k: v for k, v in counts.coords.items() if v.dims == ("time",)}
    attrs = {"units": "1", "long_name": "probability", "position_units": known.unit}
    return xr.DataArray(
        values, {**along, **known.coords, **coords}, dims, "posterior", attrs
    )
