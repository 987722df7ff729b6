"""Replay in recordings: place maps, decoding, bursts, scores and shuffles."""

from neuromod.reactivation.replay.analysis import analyse as analyse
from neuromod.reactivation.replay.comparison import score_events as score_events
from neuromod.reactivation.replay.decoding import decode as decode
from neuromod.reactivation.replay.decoding import decode_dynamics as decode_dynamics
from neuromod.reactivation.replay.decoding import decoding_error as decoding_error
from neuromod.reactivation.replay.decoding import (
    most_likely_position as most_likely_position,
)
from neuromod.reactivation.replay.episodes import compare_paths as compare_paths
from neuromod.reactivation.replay.episodes import event_paths as event_paths
from neuromod.reactivation.replay.events import detect_events as detect_events
from neuromod.reactivation.replay.events import event_counts as event_counts
from neuromod.reactivation.replay.export import poisson_spikes as poisson_spikes
from neuromod.reactivation.replay.export import to_pynapple as to_pynapple
from neuromod.reactivation.replay.plot import plot_dynamics as plot_dynamics
from neuromod.reactivation.replay.plot import plot_event as plot_event
from neuromod.reactivation.replay.plot import plot_scores as plot_scores
from neuromod.reactivation.replay.plot import plot_tuning as plot_tuning
from neuromod.reactivation.replay.plot_episodes import (
    plot_model_and_animal as plot_model_and_animal,
)
from neuromod.reactivation.replay.simulate import (
    simulate_recording as simulate_recording,
)
from neuromod.reactivation.replay.track import centimetres as centimetres
from neuromod.reactivation.replay.track import linearise as linearise
from neuromod.reactivation.replay.track import speed as speed
from neuromod.reactivation.replay.track import velocity as velocity
from neuromod.reactivation.replay.tuning import (
    spatial_information as spatial_information,
)
from neuromod.reactivation.replay.tuning import tuning_curves as tuning_curves

__all__ = [
    "analyse",
    "centimetres",
    "compare_paths",
    "decode",
    "decode_dynamics",
    "decoding_error",
    "detect_events",
    "event_counts",
    "event_paths",
    "linearise",
    "most_likely_position",
    "plot_dynamics",
    "plot_event",
    "plot_model_and_animal",
    "plot_scores",
    "plot_tuning",
    "poisson_spikes",
    "score_events",
    "simulate_recording",
    "spatial_information",
    "speed",
    "to_pynapple",
    "tuning_curves",
    "velocity",
]
