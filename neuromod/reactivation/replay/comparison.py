r"""Does the animal replay? Events scored against shuffles, one by one and together.

The p value of an event is the share of its own shuffles that score at least as well,
the event itself counted in,

$$
p = \frac{1 + \#\{s^* \ge s\}}{1 + n} ,
$$

which is never 0. That of a session compares the mean score of all events with that of
whole shuffled sessions in the same way: it tells whether there is replay at all, in one
number, without choosing events. A session without replay has p values that are uniform,
and 5 % of its events below 0.05.
"""

from collections.abc import Sequence

import jax
import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import ShapeError, choice, invalid
from neuromod.reactivation.replay import inference, maps, scoring
from neuromod.reactivation.replay.shuffles import EXACT, SHUFFLES, Event, events_of
from neuromod.reactivation.replay.track import AXES
from neuromod.reactivation.replay.tuning import read_counts

# Scores that a shuffle leaves as they are cannot be compared with it.
UNTOUCHED = {"running_direction": ("time_bins", "circular_position")}
# Equal scores differ by rounding where a shuffle changes the order of a sum.
ROUNDING = 1e-5


def score_events(
    spikes: xr.DataArray,
    tuning: xr.DataArray,
    *,
    replay_speed: float,
    seed: int,
    band: float | None = None,
    dwell_time: float = 0.1,
    shuffles: Sequence[str] = EXACT,
    n_shuffles: int = 500,
) -> xr.Dataset:
    """Score events, and compare each and all of them with shuffles.

    Parameters
    ----------
    spikes : (time, neuron)
        Spike counts of events with their number ``event`` along time, as `event_counts`
        makes them.
    tuning : (neuron, position)
        Place maps (Hz) of `tuning_curves`.
    replay_speed
        Typical speed of continuous dynamics, as `decode_dynamics` takes it.
    seed
        Of the shuffles.

    Other Parameters
    ----------------
    band
        Half the width of the band around a line, in the unit of the maps; three bins of
        space by default.
    dwell_time
        Time (s) for which dynamics last, as `decode_dynamics` takes it.
    shuffles
        Some of "cell_identity", "time_bins", "poisson" and, on a track,
        "circular_position", which finds more than there is
        (`neuromod.reactivation.replay.shuffles`).
    n_shuffles
        Number of draws of each.

    Returns
    -------
    Dataset
        ``score`` (event, statistic) with ``p_value``, ``null_mean`` and ``null_sd``
        (shuffle, event, statistic); of the session ``session_score`` (statistic),
        ``session_null`` (shuffle, draw, statistic), ``session_p_value`` and
        ``share_significant`` (events with p <= 0.05) (shuffle, statistic); of the best
        line ``line_start``, ``line_stop`` and ``line_velocity`` (event, space); on a
        track the signed ``correlation`` (event), and with maps of two directions the
        ``direction`` (event) of running that they stand for, > 0 or < 0. Its product
        with the velocity is positive in forward replay, negative in reverse. NaN where
        a shuffle leaves a statistic as it is.

    Raises
    ------
    ShapeError
        If neurons are not those of the maps, or there is no ``event``.
    InvalidInputError
        If there is no such shuffle, or it does not fit the maps.
    """
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    n_shuffles = dimensions.require_integer(n_shuffles, "n_shuffles")
    counts, bin_size = read_counts(spikes)
    known = maps.read(tuning, counts)
    kinds = _kinds(shuffles, known)
    if band is None:
        band = 3 * float(tuning.attrs.get("position_bin_size", np.nan))
    band = dimensions.require_positive(band, "band")
    dwell_time = dimensions.require_positive(dwell_time, "dwell_time", "s")
    step = dimensions.require_positive(replay_speed, "replay_speed") * bin_size
    chain = inference.chain(
        known.centres, known.direction, step, float(np.exp(-bin_size / dwell_time))
    )
    model = scoring.model(known, bin_size, band, chain)
    labels, events = _events(counts)
    observed, null = scoring.score(
        model, events, jax.random.key(seed), kinds=kinds, n_draws=n_shuffles
    )
    null = np.moveaxis(np.asarray(null), 0, 1)
    found = _compared(np.asarray(observed.statistics), null, model, kinds)
    found = found.assign_coords(event=labels)
    return found.merge(_described(observed, model, known, np.asarray(events.length)))


def _kinds(shuffles: Sequence[str], known: maps.Maps) -> tuple[str, ...]:
    kinds = (shuffles,) if isinstance(shuffles, str) else tuple(shuffles)
    for kind in kinds:
        choice("shuffles", kind, SHUFFLES)
    if not kinds or len(set(kinds)) < len(kinds):
        raise invalid("shuffles", kinds, "at least one, each once")
    if "circular_position" in kinds and not known.is_linear:
        raise invalid(
            "shuffles",
            "'circular_position' for maps of two dimensions, which are no ring",
            "others, or maps along a track",
        )
    return kinds


def _events(counts: xr.DataArray) -> tuple[np.ndarray, Event]:
    """Return the labels of events and their spikes."""
    if "event" not in counts.coords or counts["event"].dims != ("time",):
        raise invalid(
            "spikes",
            "no coordinate `event` along time",
            "counts of events",
            "event_counts(spikes, events, bin_size) makes them.",
            ShapeError,
        )
    labels, index = np.unique(counts["event"].values, return_inverse=True)
    return labels, events_of([counts.values[index == i] for i in range(len(labels))])


def _compared(
    score: np.ndarray, null: np.ndarray, model: scoring.Model, kinds: tuple[str, ...]
) -> xr.Dataset:
    """Compare scores (event, statistic) with (shuffle, event, draw, statistic)."""
    testable = np.array(
        [[k not in UNTOUCHED.get(s, ()) for s in model.statistics] for k in kinds]
    )
    p_value = np.where(testable[:, None], _p_value(score, null, axis=2), np.nan)
    mean, whole = score.mean(axis=0), null.mean(axis=1)
    session = np.where(testable, _p_value(mean, whole, axis=1), np.nan)
    share = np.where(testable, (p_value <= 0.05).mean(axis=1), np.nan)
    of_event = ("shuffle", "event", "statistic")
    of_session = ("shuffle", "statistic")
    return xr.Dataset(
        {
            "score": (("event", "statistic"), score),
            "p_value": (of_event, p_value),
            "null_mean": (of_event, null.mean(axis=2)),
            "null_sd": (of_event, null.std(axis=2)),
            "session_score": (("statistic",), mean),
            "session_null": (("shuffle", "draw", "statistic"), whole),
            "session_p_value": (of_session, session),
            "share_significant": (of_session, share),
        },
        {"statistic": list(model.statistics), "shuffle": list(kinds)},
    )


def _p_value(score: np.ndarray, null: np.ndarray, axis: int) -> np.ndarray:
    """Return the share of draws that reach the score, itself counted in."""
    reached = null >= np.expand_dims(score, axis - 1) - ROUNDING
    return (1 + reached.sum(axis=axis)) / (1 + null.shape[axis])


def _described(
    observed: scoring.Scores,
    model: scoring.Model,
    known: maps.Maps,
    lengths: np.ndarray,
) -> xr.Dataset:
    """Return the best line and the signed numbers of each event."""
    lines = np.asarray(model.lines)[np.asarray(observed.line)]
    duration = (lengths - 1) * model.bin_size
    place = ("event", "space")
    length, rate = {"units": known.unit}, {"units": f"{known.unit}/s"}
    moved = (lines[:, 1] - lines[:, 0]) / duration[:, None]
    described = xr.Dataset(
        {
            "line_start": (place, lines[:, 0], length),
            "line_stop": (place, lines[:, 1], length),
            "line_velocity": (place, moved, rate),
        },
        {"space": list(AXES[: known.centres.shape[1]])},
    )
    if known.is_linear:
        described["correlation"] = "event", np.asarray(observed.correlation)
    if known.is_directional:
        described["direction"] = "event", np.asarray(observed.direction)
    return described
