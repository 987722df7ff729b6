"""Recordings in and out: spikes and behaviour from any format, as named arrays."""

from neuromod.io.align import align as align
from neuromod.io.behaviour import read_behaviour as read_behaviour
from neuromod.io.binning import bin_spikes as bin_spikes
from neuromod.io.nwb_writing import write_nwb as write_nwb
from neuromod.io.read import read_spike_trains as read_spike_trains
from neuromod.io.read import read_spikes as read_spikes
from neuromod.io.spike_trains import SpikeTrains as SpikeTrains

__all__ = [
    "SpikeTrains",
    "align",
    "bin_spikes",
    "read_behaviour",
    "read_spike_trains",
    "read_spikes",
    "write_nwb",
]
