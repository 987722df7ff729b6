"""Spike recordings by name: counts in bins, what the animal did, and what to beware of.

What is known of a recording beside its file (units that are noise, blocks of
behaviour, licence, citation) stands in ``registry.toml``; how files are read and
spikes are binned is `neuromod.io`'s business. Both clocks stay the recording's own:
nothing is interpolated, and `neuromod.io.align` joins the two where that is wanted.
"""

from collections.abc import Iterable

import numpy as np
import xarray as xr

from neuromod import io
from neuromod.datasets import registry, store
from neuromod.datasets.registry import attributes
from neuromod.io.reading import several

RECOMMENDED = "recommended"
UNLABELLED = "unlabelled"


def load_spikes(
    name: str,
    *,
    bin_size: float = 0.25,
    exclude: str | int | Iterable[str | int] | None = RECOMMENDED,
    behaviour: str | Iterable[str] | None = RECOMMENDED,
    download: bool = True,
) -> xr.DataTree:
    """Load a spike recording, downloading it if it is not here.

    Parameters
    ----------
    name
        A set of `list` with spikes, such as "rat_ca1_wmaze".
    bin_size
        Width of a bin in seconds. The default of 250 ms suits brain states in sparse
        hippocampal firing; couplings between neurons need bins of about 20 ms.
    exclude
        Label of a unit to leave out, or several. By default ("recommended") those
        that ``describe(name).exclude`` names, which are known to be noise (unit 19 of
        "rat_ca1_wmaze"); None keeps every unit.

    Other Parameters
    ----------------
    behaviour
        Name of the signal to read into ``behaviour``, or several; by default
        ("recommended") those that ``describe(name).behaviour`` names. None reads none.
    download
        Whether the network may be used.

    Returns
    -------
    xarray.DataTree
        ``recording`` holds ``spikes`` (time, neuron), and ``block`` along time ("run",
        "rest", or "unlabelled" outside of any) where blocks are known. ``behaviour``
        holds the signals on their own clock, within the limits of the recording; where
        the signals are positions, as ``position`` (time, space). Title, source,
        licence, citation and known faults (``quality``) are in ``attrs``.

    Raises
    ------
    DatasetUnavailableError
        If it is not on this machine and cannot be downloaded.
    ChecksumError
        If the file is not the one that was published or first downloaded.
    InvalidInputError
        If there is no such set, unit or signal.
    """
    entry = registry.describe(name)
    path = store.obtain(entry, download=download)
    trains = io.read_spike_trains(path, exclude=_chosen(exclude, entry.exclude))
    recording = xr.Dataset({"spikes": io.bin_spikes(trains, bin_size)})
    if entry.blocks:
        start = trains.limits[0]
        labels = _block_labels(recording["time"].values - start, entry.blocks)
        recording = recording.assign_coords(block=("time", labels))
    tree = xr.DataTree.from_dict({"recording": recording})
    names = _chosen(behaviour, entry.behaviour)
    if names:
        signals = io.read_behaviour(path, names, crop=trains, intervals=None)
        tree["behaviour"] = xr.DataTree(_signed(signals))
    tree.attrs = attributes(entry)
    return tree


def _chosen(given: object, recommended: Iterable) -> list:
    """Return the recommended names, or those given: none, one or several."""
    use_recommended = isinstance(given, str) and given == RECOMMENDED
    return several(recommended if use_recommended else given)


def _block_labels(
    seconds: np.ndarray, blocks: Iterable[tuple[str, float, float]]
) -> np.ndarray:
    """Label each bin by the block in which its centre lies."""
    labels = np.full(len(seconds), UNLABELLED, dtype=object)
    for label, start, stop in blocks:
        labels[(seconds >= start) & (seconds < stop)] = label
    return labels.astype(str)


def _signed(signals: xr.Dataset) -> xr.Dataset:
    """Turn unsigned samples into floats, whose differences can be negative."""
    unsigned = {k: v.astype(float) for k, v in signals.items() if v.dtype.kind == "u"}
    return signals.assign(unsigned)
