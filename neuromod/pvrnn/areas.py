"""Recordings of many areas (ECoG, EEG) as a network with a module for each of them.

Every area has a layer of its own, with units and latents, which tells the channels of
that area; an association layer above them lets areas go together, and the executive
latents are one cause for a whole trial, such as a state of consciousness or an
individual. Trained on segments of a recording, the network is a digital twin of it:
`neuromod.pvrnn.intervene` and `traverse` change it in one place (virtual drugs), and
error regression follows the recording as it comes.

Sizes and time constants are those that are told of Takahashi, Idei, Komatsu, Tani,
Tomita & Yamashita, npj Digital Medicine 2025, doi:10.1038/s41746-025-01444-1: 10
latents and 2 steps in areas, 3 latents and 4 steps above them, one for a segment.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from neuromod.core.dimensions import require_integer, require_positive
from neuromod.core.errors import did_you_mean, invalid
from neuromod.pvrnn.heads import gaussian_head, tanh_head
from neuromod.pvrnn.model import PVRNN
from neuromod.pvrnn.modular import Tower, modular

Areas = Mapping[str, Sequence[str]]
HALF_RANGE = 0.8  # what half the range of a recording becomes


def of_areas(
    key: PRNGKeyArray,
    areas: Areas,
    *,
    n_units: int = 20,
    n_latents: int = 10,
    n_association_units: int = 20,
    n_association_latents: int = 3,
    learns_variance: bool = False,
) -> PVRNN:
    """Build a network with a module for each area, with random weights.

    Parameters
    ----------
    key
        Random key.
    areas
        The channels of each area by its name; the network tells them in this order.

    Other Parameters
    ----------------
    n_units, n_latents
        Of every area.
    n_association_units, n_association_latents
        Of the layer above them.
    learns_variance
        Whether channels have a Gaussian head, which learns how noisy they are.

    Examples
    --------
    >>> import jax
    >>> network = of_areas(jax.random.key(0), {"V1": ["e1", "e2"], "PFC": ["e7"]})
    >>> network.n_channels, network.n_latents
    (3, 24)
    """
    make = gaussian_head if learns_variance else tanh_head
    tower = Tower([n_units], [n_latents], [2.0])
    senses = {name: (tower, make(len(chosen), name)) for name, chosen in areas.items()}
    association = Tower([n_association_units], [n_association_latents], [4.0])
    return modular(key, senses, association, bias="trained", prior_bias=True)


def segments(
    recording: Any,
    areas: Areas,
    *,
    n_steps: int,
    half_range: float | None = None,
    reference: bool = True,
) -> xr.DataArray:
    """Cut a recording into trials for a network of areas.

    Parameters
    ----------
    recording
        A `mne.io.Raw` or `mne.Epochs`, a file that MNE reads (FIF, EDF, EEGLAB ...), or
        a DataArray (time, channel) with names of channels.
    areas
        The channels of each area by its name.
    n_steps
        Steps of each trial; what is left over at the end is not used. Of epochs, at
        most their length.

    Other Parameters
    ----------------
    half_range
        What becomes 0.8, in units of the recording (V); values beyond 1.25 times that
        are told by nothing and become missing. If omitted, four standard deviations of
        all that is chosen.
    reference
        Whether the median over the chosen channels is subtracted at every step.

    Returns
    -------
    xarray.DataArray
        (trial, time, channel), time in s from the start of each trial, channels area by
        area, with the coordinate ``region``; ``attrs["half_range"]`` tells the scale.

    Raises
    ------
    InvalidInputError
        If a channel is not there, or no whole trial.
    """
    n_steps = require_integer(n_steps, "n_steps", minimum=2)
    chosen = [name for names in areas.values() for name in names]
    if not chosen or len(set(chosen)) < len(chosen):
        raise invalid("areas", f"the channels {chosen}", "at least one, all unlike")
    values, names, step = _read(recording)
    missing = [name for name in chosen if name not in names]
    if missing:
        remedy = did_you_mean(missing[0], names)
        raise invalid("areas", f"the channel {missing[0]!r}", "one recorded", remedy)
    values = values[..., [names.index(name) for name in chosen]]
    if reference:
        values = values - _median(values)
    n_whole = values.shape[1] // n_steps
    if not n_whole:
        raise invalid("n_steps", n_steps, f"at most the {values.shape[1]} recorded")
    values = values[:, : n_whole * n_steps].reshape(-1, n_steps, len(chosen))
    if half_range is None:
        half_range = float(4 * np.nanstd(values))
    half_range = float(require_positive(half_range, "half_range"))
    scaled = HALF_RANGE * values / half_range
    scaled[np.abs(scaled) > 1] = np.nan
    regions = [area for area, channels in areas.items() for _ in channels]
    return xr.DataArray(
        scaled,
        {
            "trial": np.arange(len(scaled)),
            "time": ("time", step * np.arange(n_steps), {"units": "s"}),
            "channel": chosen,
            "region": ("channel", regions),
        },
        ("trial", "time", "channel"),
        attrs={"half_range": half_range, "long_name": "potential / half range x 0.8"},
    )


def _median(values: np.ndarray) -> np.ndarray:
    """Return the median over channels; where all are missing that is missing too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        return np.nanmedian(values, axis=-1, keepdims=True)


def _read(recording: Any) -> tuple[np.ndarray, list[str], float]:
    """Return values (epoch, time, channel), names and the seconds of a step."""
    if isinstance(recording, xr.DataArray):
        named = recording.transpose("time", "channel")
        times = named["time"].values if "time" in named.coords else np.arange(2.0)
        names = [str(name) for name in named["channel"].values]
        return named.values[None], names, float(times[1] - times[0])
    import mne  # slow to import, and only needed here

    if isinstance(recording, str | os.PathLike):
        recording = mne.io.read_raw(Path(recording), verbose="error")
    if isinstance(recording, mne.io.BaseRaw):
        # What is marked as bad is missing.
        found = recording.get_data(reject_by_annotation="NaN", verbose="error")
        whole = np.asarray(found)[None]
    elif isinstance(recording, mne.BaseEpochs):
        whole = recording.get_data(verbose="error")
    else:
        expected = "an MNE recording, a file of one, or a DataArray (time, channel)"
        raise invalid("recording", type(recording).__name__, expected)
    values = np.swapaxes(np.asarray(whole, float), 1, 2)
    return values, list(recording.ch_names), 1 / float(recording.info["sfreq"])
