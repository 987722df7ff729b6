"""Named data sets: real recordings, and simulated twins whose truth is known."""

if __name__ == "datasets":
    raise ImportError("this package is imported as neuromod.datasets")

from neuromod.datasets.beliefs import load_beliefs as load_beliefs
from neuromod.datasets.beliefs import simulate_beliefs as simulate_beliefs
from neuromod.datasets.choices import load_choices as load_choices
from neuromod.datasets.choices import simulate_choices as simulate_choices
from neuromod.datasets.movements import load_movements as load_movements
from neuromod.datasets.movements import simulate_arm as simulate_arm
from neuromod.datasets.registry import describe as describe
from neuromod.datasets.registry import load as load
from neuromod.datasets.registry import names as list
from neuromod.datasets.replay import simulate_replay as simulate_replay
from neuromod.datasets.spikes import load_spikes as load_spikes
from neuromod.datasets.stimulation_maps import (
    load_stimulation_maps as load_stimulation_maps,
)
from neuromod.datasets.stimulation_maps import (
    simulate_stimulation_maps as simulate_stimulation_maps,
)
from neuromod.datasets.store import fetch as fetch
from neuromod.datasets.store import status as status
from neuromod.datasets.switching import simulate_switching as simulate_switching
from neuromod.datasets.symbols import simulate_symbols as simulate_symbols

__all__ = [
    "describe",
    "fetch",
    "list",
    "load",
    "load_beliefs",
    "load_choices",
    "load_movements",
    "load_spikes",
    "load_stimulation_maps",
    "simulate_arm",
    "simulate_beliefs",
    "simulate_choices",
    "simulate_replay",
    "simulate_stimulation_maps",
    "simulate_switching",
    "simulate_symbols",
    "status",
]
