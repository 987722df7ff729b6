"""Noisy networks that learn where they are, and replay it when they sleep."""

from neuromod.core.plot_training import plot_loss as plot_loss
from neuromod.reactivation import measures as measures
from neuromod.reactivation import noise as noise
from neuromod.reactivation import replay as replay
from neuromod.reactivation.animation import animate as animate
from neuromod.reactivation.codes import HeadDirectionCode as HeadDirectionCode
from neuromod.reactivation.codes import PlaceCode as PlaceCode
from neuromod.reactivation.controls import measure as measure
from neuromod.reactivation.field import AttractorField as AttractorField
from neuromod.reactivation.navigator import Navigator as Navigator
from neuromod.reactivation.network import GRUNetwork as GRUNetwork
from neuromod.reactivation.network import VanillaNetwork as VanillaNetwork
from neuromod.reactivation.plot import plot_occupancy as plot_occupancy
from neuromod.reactivation.plot import plot_trajectories as plot_trajectories
from neuromod.reactivation.plot_controls import plot_controls as plot_controls
from neuromod.reactivation.plot_controls import plot_displacement as plot_displacement
from neuromod.reactivation.plot_states import plot_components as plot_components
from neuromod.reactivation.plot_states import plot_fixed_points as plot_fixed_points
from neuromod.reactivation.presets import Recipe as Recipe
from neuromod.reactivation.presets import untrained as untrained
from neuromod.reactivation.sleep import sleep as sleep
from neuromod.reactivation.tasks import HeadDirection as HeadDirection
from neuromod.reactivation.tasks import LinearTrack as LinearTrack
from neuromod.reactivation.tasks import Predictive as Predictive
from neuromod.reactivation.tasks import Recorded as Recorded
from neuromod.reactivation.tasks import SpatialNavigation as SpatialNavigation
from neuromod.reactivation.tasks import TMaze as TMaze
from neuromod.reactivation.tasks import Triangle as Triangle
from neuromod.reactivation.theory import check_theory as check_theory
from neuromod.reactivation.theory import fixed_points as fixed_points
from neuromod.reactivation.train import train as train
from neuromod.reactivation.wake import wake as wake

__all__ = [
    "AttractorField",
    "GRUNetwork",
    "HeadDirection",
    "HeadDirectionCode",
    "LinearTrack",
    "Navigator",
    "PlaceCode",
    "Predictive",
    "Recipe",
    "Recorded",
    "SpatialNavigation",
    "TMaze",
    "Triangle",
    "VanillaNetwork",
    "animate",
    "check_theory",
    "fixed_points",
    "measure",
    "measures",
    "noise",
    "plot_components",
    "plot_controls",
    "plot_displacement",
    "plot_fixed_points",
    "plot_loss",
    "plot_occupancy",
    "plot_trajectories",
    "replay",
    "sleep",
    "train",
    "untrained",
    "wake",
]
