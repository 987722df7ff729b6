"""Search for the stimulus that does most, in closed loop, and lose no trial."""

from neuromod.stimulation import emg as emg
from neuromod.stimulation.axes import Interval as Interval
from neuromod.stimulation.drive import run as run
from neuromod.stimulation.earlier import earlier_map as earlier_map
from neuromod.stimulation.earlier import known_trials as known_trials
from neuromod.stimulation.journal import read as read_journal
from neuromod.stimulation.limits import Limits as Limits
from neuromod.stimulation.limits import Stimulus as Stimulus
from neuromod.stimulation.lsl import Answers as Answers
from neuromod.stimulation.lsl import LSLRig as LSLRig
from neuromod.stimulation.lsl import Recording as Recording
from neuromod.stimulation.maps import array_of as array_of
from neuromod.stimulation.maps import simulate_world as simulate_world
from neuromod.stimulation.page.server import serve as serve
from neuromod.stimulation.plot import plot_convergence as plot_convergence
from neuromod.stimulation.plot import plot_map as plot_map
from neuromod.stimulation.plot import plot_session as plot_session
from neuromod.stimulation.presets import preset as preset
from neuromod.stimulation.replay import replay as replay
from neuromod.stimulation.report import report as report
from neuromod.stimulation.rig import NoResponseError as NoResponseError
from neuromod.stimulation.rig import ReplayRig as ReplayRig
from neuromod.stimulation.rig import Rig as Rig
from neuromod.stimulation.rig import RigLostError as RigLostError
from neuromod.stimulation.rule import Rule as Rule
from neuromod.stimulation.session import Ask as Ask
from neuromod.stimulation.session import Session as Session
from neuromod.stimulation.settings import Aim as Aim
from neuromod.stimulation.settings import Safe as Safe
from neuromod.stimulation.simulate import World as World
from neuromod.stimulation.simulate import noisy_world as noisy_world
from neuromod.stimulation.simulate import recorded_world as recorded_world
from neuromod.stimulation.simulate import simulate as simulate
from neuromod.stimulation.simulated_rig import SimulatedRig as SimulatedRig
from neuromod.stimulation.space import Space as Space
from neuromod.stimulation.state import Trial as Trial
from neuromod.stimulation.watch import Loss as Loss
from neuromod.stimulation.watch import Watch as Watch

__all__ = [
    "Aim",
    "Answers",
    "Ask",
    "Interval",
    "LSLRig",
    "Limits",
    "Loss",
    "NoResponseError",
    "Recording",
    "ReplayRig",
    "Rig",
    "RigLostError",
    "Rule",
    "Safe",
    "Session",
    "SimulatedRig",
    "Space",
    "Stimulus",
    "Trial",
    "Watch",
    "World",
    "array_of",
    "earlier_map",
    "emg",
    "known_trials",
    "noisy_world",
    "plot_convergence",
    "plot_map",
    "plot_session",
    "preset",
    "read_journal",
    "recorded_world",
    "replay",
    "report",
    "run",
    "serve",
    "simulate",
    "simulate_world",
]
