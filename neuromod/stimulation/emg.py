"""From the electromyogram around a stimulus to one number: how much it made move.

The published way (Bonizzato et al. 2023): high-pass, rectify, low-pass, and the largest
value within a window after the stimulus, less the mean before it if that is asked for.
Filters run forwards and backwards, so that nothing is delayed.
"""

import numpy as np
from scipy import signal

from neuromod.core.dimensions import require_finite, require_positive
from neuromod.core.errors import ShapeError, invalid

ORDER = 4


def envelope(
    emg: np.ndarray,
    sampling_rate: float,
    *,
    high_pass: float = 70.0,
    low_pass: float = 30.0,
) -> np.ndarray:
    """Return the rectified and smoothed electromyogram.

    Parameters
    ----------
    emg : (..., time)
        Traces.
    sampling_rate
        Samples per second (Hz).
    high_pass, low_pass
        Corner frequencies before and after rectifying (Hz).

    Raises
    ------
    InvalidInputError
        If a corner is not below half the sampling rate, or a trace is too short.

    Examples
    --------
    >>> t = np.arange(2000) / 2000
    >>> burst = np.where(abs(t - 0.5) < 0.1, np.sin(2 * np.pi * 150 * t), 0.0)
    >>> found = envelope(burst, 2000.0)
    >>> round(float(found[1000]), 2), abs(round(float(found[200]), 2))
    (0.63, 0.0)
    """
    emg = np.asarray(emg, float)
    require_finite(emg, "emg")
    rate = require_positive(sampling_rate, "sampling_rate", "Hz")
    for name, corner in (("high_pass", high_pass), ("low_pass", low_pass)):
        if not 0 < corner < rate / 2:
            raise invalid(name, f"{corner:g} Hz", f"between 0 and {rate / 2:g} Hz")
    shortest = 3 * (2 * ORDER + 1)
    if emg.shape[-1] <= shortest:
        got, expected = f"{emg.shape[-1]} samples", f"more than {shortest}"
        raise invalid("emg", got, expected, kind=ShapeError)
    up = signal.butter(ORDER, high_pass, "highpass", fs=rate, output="sos")
    down = signal.butter(ORDER, low_pass, "lowpass", fs=rate, output="sos")
    return signal.sosfiltfilt(down, np.abs(signal.sosfiltfilt(up, emg)))


def response(
    emg: np.ndarray,
    sampling_rate: float,
    stimulus_time: float,
    window: tuple[float, float],
    *,
    baseline: tuple[float, float] | None = None,
    high_pass: float = 70.0,
    low_pass: float = 30.0,
) -> np.ndarray:
    """Return the largest value of the envelope within a window after a stimulus.

    Parameters
    ----------
    emg : (..., time)
        Traces.
    sampling_rate
        Samples per second (Hz).
    stimulus_time
        When the stimulus began, from the first sample (s).
    window
        Where the response is, from the stimulus (s).

    Other Parameters
    ----------------
    baseline
        Whose mean is subtracted, from the stimulus (s), such as (-0.035, 0.0).
    high_pass, low_pass
        As of `envelope`.

    Raises
    ------
    InvalidInputError
        If a window is not within the trace.
    """
    smooth = envelope(emg, sampling_rate, high_pass=high_pass, low_pass=low_pass)
    n_samples = smooth.shape[-1]
    inside = _samples(window, "window", stimulus_time, sampling_rate, n_samples)
    largest = smooth[..., inside].max(axis=-1)
    if baseline is None:
        return largest
    before = _samples(baseline, "baseline", stimulus_time, sampling_rate, n_samples)
    return largest - smooth[..., before].mean(axis=-1)


def _samples(
    window: tuple[float, float],
    name: str,
    stimulus_time: float,
    sampling_rate: float,
    n_samples: int,
) -> slice:
    first, last = (round((stimulus_time + t) * sampling_rate) for t in window)
    if not 0 <= first < last <= n_samples:
        length = n_samples / sampling_rate
        got = f"{window} s around a stimulus at {stimulus_time:g} s"
        raise invalid(name, got, f"within the {length:g} s of the trace, not empty")
    return slice(first, last)
