"""PV-RNN: predictive-coding-inspired variational recurrent networks."""

from neuromod.pvrnn.encoder import with_encoder as with_encoder
from neuromod.pvrnn.error_regression import ErrorRegression as ErrorRegression
from neuromod.pvrnn.heads import GaussianHead as GaussianHead
from neuromod.pvrnn.heads import SoftmaxHead as SoftmaxHead
from neuromod.pvrnn.heads import TanhHead as TanhHead
from neuromod.pvrnn.heads import gaussian_head as gaussian_head
from neuromod.pvrnn.heads import softmax_head as softmax_head
from neuromod.pvrnn.heads import tanh_head as tanh_head
from neuromod.pvrnn.importing import (
    from_sensory_attenuation as from_sensory_attenuation,
)
from neuromod.pvrnn.layers import Affine as Affine
from neuromod.pvrnn.layers import Connection as Connection
from neuromod.pvrnn.layers import LatentLayer as LatentLayer
from neuromod.pvrnn.layers import LatentMap as LatentMap
from neuromod.pvrnn.model import PVRNN as PVRNN
from neuromod.pvrnn.model import hierarchy as hierarchy
from neuromod.pvrnn.modular import Tower as Tower
from neuromod.pvrnn.modular import modular as modular
from neuromod.pvrnn.objective import Objective as Objective
from neuromod.pvrnn.objective import convert as convert
from neuromod.pvrnn.presets import Preset as Preset
from neuromod.pvrnn.presets import preset as preset
from neuromod.pvrnn.running import generate as generate
from neuromod.pvrnn.running import reconstruct as reconstruct
from neuromod.pvrnn.running import regenerate as regenerate
from neuromod.pvrnn.train import sweep as sweep
from neuromod.pvrnn.train import train as train

__all__ = [
    "PVRNN",
    "Affine",
    "Connection",
    "ErrorRegression",
    "GaussianHead",
    "LatentLayer",
    "LatentMap",
    "Objective",
    "Preset",
    "SoftmaxHead",
    "TanhHead",
    "Tower",
    "convert",
    "gaussian_head",
    "generate",
    "hierarchy",
    "modular",
    "preset",
    "reconstruct",
    "regenerate",
    "softmax_head",
    "sweep",
    "tanh_head",
    "train",
    "with_encoder",
]
