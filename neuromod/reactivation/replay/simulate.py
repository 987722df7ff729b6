"""A recording in which it is known what is replay: the twin of a real one."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from neuromod.core import dimensions
from neuromod.core.errors import invalid

FIELD_WIDTH = 10.0  # cm, standard deviation of a place field
RUNNING_SPEED = 25.0  # cm/s
PAUSE = 2.0  # s at each end of the track
BACKGROUND = 0.1  # Hz
PEAK_RATES = (5.0, 20.0)  # Hz
FRAME_RATE = 30.0  # of the camera, Hz


def simulate_recording(
    *,
    seed: int,
    n_events: int = 40,
    replay: float = 0.5,
    n_neurons: int = 40,
    n_laps: int = 20,
    track_length: float = 200.0,
    replay_speed: float = 800.0,
    event_rate: float = 6.0,
    event_duration: tuple[float, float] = (0.15, 0.25),
    bin_size: float = 0.005,
) -> xr.DataTree:
    """Simulate an animal that runs on a track and then rests, replaying or not.

    Neurons are Poisson, with one Gaussian place field each. In a replay the place moves
    at a constant speed from somewhere, forth or back; in another event every neuron
    fires at a constant rate, so that the population bursts in no order.

    Parameters
    ----------
    seed
        Of everything.

    Other Parameters
    ----------------
    n_events
        Number of bursts at rest, one every second and a half.
    replay
        Share of them that are replays.
    n_neurons
        Number of place cells.
    n_laps
        Number of runs from one end to the other, forth and back in turn.
    track_length
        In cm.
    replay_speed
        Speed of replays (cm/s); a fifth more or less in each.
    event_rate
        Mean rate (Hz) of a neuron within an event.
    event_duration
        Shortest and longest duration of an event (s).
    bin_size
        Width of the bins of the spike counts (s).

    Returns
    -------
    DataTree
        ``recording`` with ``spikes`` (time, neuron) and ``block`` along time ("run",
        "rest"), ``behaviour`` with ``position`` (time, space) in cm, and ``truth`` with
        ``start``, ``stop``, ``is_replay`` and ``velocity`` (cm/s, 0 where it is none)
        of each event, and the ``centre`` (cm) and ``peak_rate`` (Hz) of each field.

    Raises
    ------
    InvalidInputError
        If a number is out of range.

    Examples
    --------
    >>> twin = simulate_recording(seed=0, n_events=4, n_laps=2)
    >>> int(twin["truth"]["is_replay"].sum())
    2
    """
    seed = dimensions.require_integer(seed, "seed", minimum=0)
    n_events = dimensions.require_integer(n_events, "n_events")
    n_neurons = dimensions.require_integer(n_neurons, "n_neurons")
    n_laps = dimensions.require_integer(n_laps, "n_laps")
    for name, value in (
        ("track_length", track_length),
        ("replay_speed", replay_speed),
        ("event_rate", event_rate),
        ("bin_size", bin_size),
    ):
        dimensions.require_positive(value, name)
    if not 0 <= replay <= 1:
        raise invalid("replay", replay, "a share between 0 and 1")
    generator = np.random.default_rng(seed)
    fields = _Fields(
        np.sort(generator.uniform(0, track_length, n_neurons)),
        generator.uniform(*PEAK_RATES, n_neurons),
    )
    n_run = round(n_laps * (track_length / RUNNING_SPEED + PAUSE) / bin_size)
    n_rest = round((1.5 * n_events + 1.5) / bin_size)
    time = (np.arange(n_run + n_rest) + 0.5) * bin_size
    place = _laps(time[:n_run], track_length)
    rates = np.full((len(time), n_neurons), BACKGROUND)
    rates[:n_run] += fields.rates(place)
    events = _events(
        generator, n_run * bin_size, n_events, replay, replay_speed, event_duration
    )
    for start, stop, velocity in zip(*events, strict=True):
        inside = (time > start) & (time < stop)
        rates[inside] = event_rate
        if velocity:
            rates[inside] = _sweep(
                generator, fields, time[inside] - start, velocity, track_length
            )
            rates[inside] *= event_rate / rates[inside].mean()
    counts = generator.poisson(rates * bin_size).astype(np.uint8)
    return _tree(counts, time, bin_size, n_run, place, events, fields)


class _Fields(NamedTuple):
    centre: np.ndarray
    peak: np.ndarray

    def rates(self, place: np.ndarray) -> np.ndarray:
        """Return rates (time, neuron) at places (time,)."""
        offset = (place[:, None] - self.centre) / FIELD_WIDTH
        return self.peak * np.exp(-(offset**2) / 2)


class _Events(NamedTuple):
    start: np.ndarray
    stop: np.ndarray
    velocity: np.ndarray


def _laps(time: np.ndarray, length: float) -> np.ndarray:
    """Run forth and back, with a pause at each end."""
    duration = length / RUNNING_SPEED
    lap, since = np.divmod(time, duration + PAUSE)
    part = np.minimum(since / duration, 1.0)
    return length * np.where(lap % 2 == 0, part, 1 - part)


def _events(
    generator: np.random.Generator,
    begin: float,
    n_events: int,
    share: float,
    speed: float,
    duration: tuple[float, float],
) -> _Events:
    start = begin + 1.5 * (np.arange(n_events) + 1)
    stop = start + generator.uniform(*duration, n_events)
    is_replay = generator.permutation(n_events) < round(share * n_events)
    sign = generator.choice([-1.0, 1.0], n_events)
    velocity = is_replay * sign * speed * generator.uniform(0.8, 1.2, n_events)
    return _Events(start, stop, velocity)


def _sweep(
    generator: np.random.Generator,
    fields: _Fields,
    since: np.ndarray,
    velocity: float,
    length: float,
) -> np.ndarray:
    """Return the rates of a replay that stays on the track."""
    way = velocity * since[-1]
    free = max(length - abs(way), 0.0)
    begin = generator.uniform(0, free) + max(-way, 0.0)
    place = np.clip(begin + velocity * since, 0, length)
    return fields.rates(place) + BACKGROUND


def _tree(
    counts: np.ndarray,
    time: np.ndarray,
    bin_size: float,
    n_run: int,
    place: np.ndarray,
    events: _Events,
    fields: _Fields,
) -> xr.DataTree:
    block = np.where(np.arange(len(time)) < n_run, "run", "rest")
    spikes = xr.DataArray(
        counts,
        {"time": time, "neuron": np.arange(counts.shape[1]), "block": ("time", block)},
        ("time", "neuron"),
        attrs={"units": "spikes", "long_name": "spike count", "bin_size": bin_size},
    )
    frames = np.arange(0, time[-1], 1 / FRAME_RATE)
    where = np.interp(frames, time[:n_run], place)
    position = xr.DataArray(
        where[:, None],
        {"time": frames, "space": ["x"]},
        ("time", "space"),
        attrs={"units": "cm"},
    )
    seconds = {"units": "s"}
    truth = xr.Dataset(
        {
            "start": ("event", events.start, seconds),
            "stop": ("event", events.stop, seconds),
            "is_replay": ("event", events.velocity != 0),
            "velocity": ("event", events.velocity, {"units": "cm/s"}),
            "centre": ("neuron", fields.centre, {"units": "cm"}),
            "peak_rate": ("neuron", fields.peak, {"units": "Hz"}),
        }
    )
    return xr.DataTree.from_dict(
        {
            "recording": xr.Dataset({"spikes": spikes}),
            "behaviour": xr.Dataset({"position": position}),
            "truth": truth,
        }
    )
