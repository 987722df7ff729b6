"""PV-RNN: predictive-coding-inspired variational recurrent networks."""

from neuromod.core.plot_training import plot_loss as plot_loss
from neuromod.pvrnn import measures as measures
from neuromod.pvrnn.areas import of_areas as of_areas
from neuromod.pvrnn.areas import segments as segments
from neuromod.pvrnn.arm import Arm as Arm
from neuromod.pvrnn.arm import simulate_arm as simulate_arm
from neuromod.pvrnn.closed_loop import run_closed_loop as run_closed_loop
from neuromod.pvrnn.data import recorded as recorded
from neuromod.pvrnn.encoder import with_encoder as with_encoder
from neuromod.pvrnn.error_regression import ErrorRegression as ErrorRegression
from neuromod.pvrnn.following import follow as follow
from neuromod.pvrnn.heads import GaussianHead as GaussianHead
from neuromod.pvrnn.heads import SoftmaxHead as SoftmaxHead
from neuromod.pvrnn.heads import TanhHead as TanhHead
from neuromod.pvrnn.heads import gaussian_head as gaussian_head
from neuromod.pvrnn.heads import softmax_head as softmax_head
from neuromod.pvrnn.heads import tanh_head as tanh_head
from neuromod.pvrnn.importing import (
    from_sensory_attenuation as from_sensory_attenuation,
)
from neuromod.pvrnn.interventions import intervene as intervene
from neuromod.pvrnn.interventions import scaled_meta_prior as scaled_meta_prior
from neuromod.pvrnn.interventions import traverse as traverse
from neuromod.pvrnn.layers import Affine as Affine
from neuromod.pvrnn.layers import Connection as Connection
from neuromod.pvrnn.layers import LatentLayer as LatentLayer
from neuromod.pvrnn.layers import LatentMap as LatentMap
from neuromod.pvrnn.machine import Machine as Machine
from neuromod.pvrnn.machine import branching_cycle as branching_cycle
from neuromod.pvrnn.machine import machine as machine
from neuromod.pvrnn.machine import simulate_machine as simulate_machine
from neuromod.pvrnn.model import PVRNN as PVRNN
from neuromod.pvrnn.model import hierarchy as hierarchy
from neuromod.pvrnn.modular import Tower as Tower
from neuromod.pvrnn.modular import modular as modular
from neuromod.pvrnn.objective import Objective as Objective
from neuromod.pvrnn.objective import convert as convert
from neuromod.pvrnn.planning import plan as plan
from neuromod.pvrnn.plot import plot_activity as plot_activity
from neuromod.pvrnn.plot import plot_components as plot_components
from neuromod.pvrnn.plot import plot_latents as plot_latents
from neuromod.pvrnn.plot import plot_reconstruction as plot_reconstruction
from neuromod.pvrnn.plot_regression import plot_regression as plot_regression
from neuromod.pvrnn.plot_sweep import plot_sweep as plot_sweep
from neuromod.pvrnn.plot_sweep import plot_traverse as plot_traverse
from neuromod.pvrnn.prediction import prediction_error as prediction_error
from neuromod.pvrnn.presets import Preset as Preset
from neuromod.pvrnn.presets import preset as preset
from neuromod.pvrnn.running import generate as generate
from neuromod.pvrnn.running import reconstruct as reconstruct
from neuromod.pvrnn.running import regenerate as regenerate
from neuromod.pvrnn.train import sweep as sweep
from neuromod.pvrnn.train import train as train
from neuromod.pvrnn.training_results import objective_of as objective_of
from neuromod.pvrnn.vrnn import VRNN as VRNN
from neuromod.pvrnn.vrnn_training import predict_vrnn as predict_vrnn
from neuromod.pvrnn.vrnn_training import train_vrnn as train_vrnn

__all__ = [
    "PVRNN",
    "VRNN",
    "Affine",
    "Arm",
    "Connection",
    "ErrorRegression",
    "GaussianHead",
    "LatentLayer",
    "LatentMap",
    "Machine",
    "Objective",
    "Preset",
    "SoftmaxHead",
    "TanhHead",
    "Tower",
    "branching_cycle",
    "convert",
    "follow",
    "from_sensory_attenuation",
    "gaussian_head",
    "generate",
    "hierarchy",
    "intervene",
    "machine",
    "measures",
    "modular",
    "objective_of",
    "of_areas",
    "plan",
    "plot_activity",
    "plot_components",
    "plot_latents",
    "plot_loss",
    "plot_reconstruction",
    "plot_regression",
    "plot_sweep",
    "plot_traverse",
    "predict_vrnn",
    "prediction_error",
    "preset",
    "reconstruct",
    "recorded",
    "regenerate",
    "run_closed_loop",
    "scaled_meta_prior",
    "segments",
    "simulate_arm",
    "simulate_machine",
    "softmax_head",
    "sweep",
    "tanh_head",
    "train",
    "train_vrnn",
    "traverse",
    "with_encoder",
]
