"""From a recording to an answer in one call: maps, events, scores and p values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import choice, invalid
from neuromod.reactivation.replay.comparison import score_events
from neuromod.reactivation.replay.decoding import decode, decode_dynamics
from neuromod.reactivation.replay.events import detect_events, event_counts
from neuromod.reactivation.replay.shuffles import EXACT
from neuromod.reactivation.replay.track import linearise, speed
from neuromod.reactivation.replay.tuning import (
    read_counts,
    read_position,
    spatial_information,
    tuning_curves,
)


def analyse(
    spikes: xr.DataArray,
    position: xr.DataArray,
    position_bin_size: float,
    *,
    min_speed: float,
    seed: int,
    run: Any = "run",
    rest: Any = "rest",
    bin_size: float = 0.02,
    track: Any = None,
    scale: float | None = None,
    smoothing: float | None = None,
    direction: bool = False,
    events: xr.Dataset | None = None,
    compression: float = 20.0,
    shuffles: Sequence[str] = EXACT,
    n_shuffles: int = 500,
    posteriors: bool = False,
) -> xr.DataTree:
    """Look for replay in a recording: maps from running, events at rest, their scores.

    Parameters
    ----------
    spikes : (time, neuron)
        Spike counts of the whole recording in fine bins (5 ms).
    position : (time, space) or (time,)
        Where the animal was, on a clock of its own.
    position_bin_size, min_speed
        Side of a bin of space, and the speed from which on the animal runs: below it,
        events are looked for. In cm if there is a ``scale``, else in the unit of the
        positions.
    seed
        Of the shuffles.

    Other Parameters
    ----------------
    run, rest
        When maps are made, and where events are looked for: a label of the coordinate
        ``block`` along the time of the spikes, or one or several (start, stop) in s.
    bin_size
        Width of a bin of time (s) within events, a whole multiple of that of the
        spikes.
    track : (point, space) or list of them
        Corners of the track, in the unit of the positions, onto which `linearise`
        projects them; without it maps have the dimensions of the positions.
    scale
        Length of a pixel in cm.
    smoothing, direction
        Of the maps, as `tuning_curves` takes them.
    events
        ``start`` and ``stop`` (s) along ``event``; those of `detect_events` by default.
    compression
        How many times faster than the animal ran continuous dynamics are.
    shuffles, n_shuffles
        As `score_events` takes them.
    posteriors
        Whether to keep what was decoded.

    Returns
    -------
    DataTree
        ``tuning`` (the maps, and their ``spatial_information``), ``events`` (what
        `detect_events` and `score_events` tell of each and of all) and, if asked for,
        ``posteriors``: ``place`` (time, position) and ``dynamics`` (time, state), with
        the ``event`` along time.

    Raises
    ------
    ShapeError
        If dimensions are not those above.
    InvalidInputError
        If there is no such block, no event, no running, or a number is out of range.

    Examples
    --------
    >>> from neuromod.reactivation import replay
    >>> twin = replay.simulate_recording(seed=0, n_events=6, n_neurons=20, n_laps=6)
    >>> found = replay.analyse(
    ...     twin["recording"]["spikes"],
    ...     twin["behaviour"]["position"],
    ...     5.0,
    ...     min_speed=5.0,
    ...     seed=0,
    ...     n_shuffles=19,
    ... )
    >>> found["events"]["session_p_value"].sel(statistic="line").values
    array([0.05, 0.05, 0.05])
    """
    counts, _ = read_counts(spikes)
    place = read_position(position, scale)
    along = position if track is None else linearise(position, track)
    faster = dimensions.require_positive(compression, "compression")
    # Checked here, since looking for events takes longer than to misspell a number.
    dimensions.require_integer(seed, "seed", minimum=0)
    running = counts.isel(time=_within(counts, run, "run"))
    tuning = tuning_curves(
        running,
        along,
        position_bin_size,
        min_speed=min_speed,
        smoothing=smoothing,
        scale=scale,
        direction=direction,
    )
    if events is None:
        resting = counts.isel(time=_within(counts, rest, "rest"))
        events = detect_events(resting, speed=speed(place), max_speed=min_speed)
    during = event_counts(counts, events, bin_size)
    replay_speed = faster * tuning.attrs["run_speed"]
    scored = score_events(
        during,
        tuning,
        replay_speed=replay_speed,
        seed=seed,
        shuffles=shuffles,
        n_shuffles=n_shuffles,
    )
    found = {
        "tuning": xr.Dataset(
            {"tuning": tuning, "spatial_information": spatial_information(tuning)}
        ),
        "events": events.drop_vars("event", errors="ignore").merge(scored),
    }
    if posteriors:
        dynamics = decode_dynamics(during, tuning, replay_speed=replay_speed)
        found["posteriors"] = xr.Dataset(
            {"place": decode(during, tuning), "dynamics": dynamics.sum("position")}
        )
    tree = xr.DataTree.from_dict(found)
    tree.attrs = {
        "seed": seed,
        "n_shuffles": n_shuffles,
        "bin_size": bin_size,
        "min_speed": min_speed,
        "replay_speed": replay_speed,
    }
    return tree


def _within(counts: xr.DataArray, when: Any, argument: str) -> np.ndarray:
    """Tell which bins are in a block, or in intervals."""
    time = counts["time"].values
    if isinstance(when, str):
        if "block" not in counts.coords:
            raise invalid(
                argument,
                repr(when),
                "(start, stop) in s",
                "A label needs a coordinate `block` along the time of the spikes.",
            )
        labels = counts["block"].values.astype(str)
        choice(argument, when, np.unique(labels).tolist())
        return labels == when
    try:
        intervals = np.atleast_2d(np.asarray(when, float))
    except (TypeError, ValueError):
        intervals = np.zeros((0, 0))
    ordered = intervals.shape[1:] == (2,) and (intervals[:, 0] < intervals[:, 1]).all()
    if not ordered:
        raise invalid(argument, repr(when), "a label, or (start, stop) in s")
    inside = np.any((time >= intervals[:, :1]) & (time < intervals[:, 1:]), axis=0)
    if not inside.any():
        raise invalid(
            argument,
            repr(when),
            f"times within {time[0]:.6g} to {time[-1]:.6g} s, those of the spikes",
        )
    return np.asarray(inside)
