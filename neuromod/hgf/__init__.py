"""Predictive-coding networks: the generalised Hierarchical Gaussian Filter."""

from neuromod.hgf import deep as deep
from neuromod.hgf import deep_learning as deep_learning
from neuromod.hgf import responses as responses
from neuromod.hgf.builders import binary_three_level as binary_three_level
from neuromod.hgf.builders import binary_two_level as binary_two_level
from neuromod.hgf.builders import continuous_three_level as continuous_three_level
from neuromod.hgf.builders import continuous_two_level as continuous_two_level
from neuromod.hgf.categories import categorical as categorical
from neuromod.hgf.categories import dirichlet as dirichlet
from neuromod.hgf.deep import DeepNetwork as DeepNetwork
from neuromod.hgf.exponential_family import NormalLearner as NormalLearner
from neuromod.hgf.exponential_family import learn as learn
from neuromod.hgf.filter import filter as filter
from neuromod.hgf.network import Network as Network
from neuromod.hgf.nodes import BinaryInput as BinaryInput
from neuromod.hgf.nodes import Constant as Constant
from neuromod.hgf.nodes import ContinuousInput as ContinuousInput
from neuromod.hgf.nodes import ContinuousState as ContinuousState
from neuromod.hgf.nodes import Edge as Edge
from neuromod.hgf.nodes import drift as drift
from neuromod.hgf.nodes import noise as noise
from neuromod.hgf.nodes import observation as observation
from neuromod.hgf.nodes import probability as probability
from neuromod.hgf.nodes import volatility as volatility

__all__ = [
    "BinaryInput",
    "Constant",
    "ContinuousInput",
    "ContinuousState",
    "DeepNetwork",
    "Edge",
    "Network",
    "NormalLearner",
    "binary_three_level",
    "binary_two_level",
    "categorical",
    "continuous_three_level",
    "continuous_two_level",
    "deep",
    "deep_learning",
    "dirichlet",
    "drift",
    "filter",
    "learn",
    "noise",
    "observation",
    "probability",
    "responses",
    "volatility",
]
