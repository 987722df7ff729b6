"""Predictive-coding networks: the generalised Hierarchical Gaussian Filter."""

from neuromod.hgf import baselines as baselines
from neuromod.hgf import deep as deep
from neuromod.hgf import deep_couplings as deep_couplings
from neuromod.hgf import deep_learning as deep_learning
from neuromod.hgf import responses as responses
from neuromod.hgf.acting import BernoulliBandit as BernoulliBandit
from neuromod.hgf.acting import play as play
from neuromod.hgf.agent import Agent as Agent
from neuromod.hgf.baselines import PearceHall as PearceHall
from neuromod.hgf.baselines import RescorlaWagner as RescorlaWagner
from neuromod.hgf.baselines import RescorlaWagnerDual as RescorlaWagnerDual
from neuromod.hgf.baselines import SuttonK1 as SuttonK1
from neuromod.hgf.builders import binary_three_level as binary_three_level
from neuromod.hgf.builders import binary_two_level as binary_two_level
from neuromod.hgf.builders import continuous_three_level as continuous_three_level
from neuromod.hgf.builders import continuous_two_level as continuous_two_level
from neuromod.hgf.categories import categorical as categorical
from neuromod.hgf.categories import dirichlet as dirichlet
from neuromod.hgf.clusters import cluster as cluster
from neuromod.hgf.comparison import compare as compare
from neuromod.hgf.comparison import loo as loo
from neuromod.hgf.comparison import select_models as select_models
from neuromod.hgf.comparison import waic as waic
from neuromod.hgf.contexts import switch as switch
from neuromod.hgf.deep import DeepNetwork as DeepNetwork
from neuromod.hgf.exponential_family import NormalLearner as NormalLearner
from neuromod.hgf.exponential_family import learn as learn
from neuromod.hgf.filter import filter as filter
from neuromod.hgf.fit import fit as fit
from neuromod.hgf.group_difference import power as power
from neuromod.hgf.ideal import HiddenMarkov as HiddenMarkov
from neuromod.hgf.ideal import Kalman as Kalman
from neuromod.hgf.importers import from_pyhgf as from_pyhgf
from neuromod.hgf.importers import from_tapas as from_tapas
from neuromod.hgf.learner import Learner as Learner
from neuromod.hgf.network import Network as Network
from neuromod.hgf.nodes import BinaryInput as BinaryInput
from neuromod.hgf.nodes import Constant as Constant
from neuromod.hgf.nodes import ContinuousInput as ContinuousInput
from neuromod.hgf.nodes import ContinuousState as ContinuousState
from neuromod.hgf.nodes import Edge as Edge
from neuromod.hgf.nodes import VolatileState as VolatileState
from neuromod.hgf.nodes import drift as drift
from neuromod.hgf.nodes import noise as noise
from neuromod.hgf.nodes import observation as observation
from neuromod.hgf.nodes import probability as probability
from neuromod.hgf.nodes import volatility as volatility
from neuromod.hgf.parameters import default_priors as default_priors
from neuromod.hgf.plot import plot_trajectories as plot_trajectories
from neuromod.hgf.plot_checks import plot_model_selection as plot_model_selection
from neuromod.hgf.plot_checks import plot_recovery as plot_recovery
from neuromod.hgf.plot_checks import plot_stability as plot_stability
from neuromod.hgf.plot_fits import plot_group as plot_group
from neuromod.hgf.plot_fits import plot_posterior as plot_posterior
from neuromod.hgf.plot_network import plot_network as plot_network
from neuromod.hgf.priors import LogitNormal as LogitNormal
from neuromod.hgf.priors import LogNormal as LogNormal
from neuromod.hgf.priors import Normal as Normal
from neuromod.hgf.recovery import prior_predictive as prior_predictive
from neuromod.hgf.recovery import recover as recover
from neuromod.hgf.recovery import recover_models as recover_models
from neuromod.hgf.regressors import tapas_trajectories as tapas_trajectories
from neuromod.hgf.responding import behave as behave
from neuromod.hgf.responding import respond as respond
from neuromod.hgf.results import agent_of as agent_of
from neuromod.hgf.sample import sample as sample
from neuromod.hgf.simulate import simulate as simulate
from neuromod.hgf.tasks import bandit as bandit
from neuromod.hgf.tasks import categorical_transitions as categorical_transitions
from neuromod.hgf.tasks import many_cues as many_cues
from neuromod.hgf.tasks import route as route
from neuromod.hgf.tasks import route_transitions as route_transitions
from neuromod.hgf.tasks import switching as switching
from neuromod.hgf.tasks import two_branch as two_branch

__all__ = [
    "Agent",
    "BernoulliBandit",
    "BinaryInput",
    "Constant",
    "ContinuousInput",
    "ContinuousState",
    "DeepNetwork",
    "Edge",
    "HiddenMarkov",
    "Kalman",
    "Learner",
    "LogNormal",
    "LogitNormal",
    "Network",
    "Normal",
    "NormalLearner",
    "PearceHall",
    "RescorlaWagner",
    "RescorlaWagnerDual",
    "SuttonK1",
    "VolatileState",
    "agent_of",
    "bandit",
    "baselines",
    "behave",
    "binary_three_level",
    "binary_two_level",
    "categorical",
    "categorical_transitions",
    "cluster",
    "compare",
    "continuous_three_level",
    "continuous_two_level",
    "deep",
    "deep_couplings",
    "deep_learning",
    "default_priors",
    "dirichlet",
    "drift",
    "filter",
    "fit",
    "from_pyhgf",
    "from_tapas",
    "learn",
    "loo",
    "many_cues",
    "noise",
    "observation",
    "play",
    "plot_group",
    "plot_model_selection",
    "plot_network",
    "plot_posterior",
    "plot_recovery",
    "plot_stability",
    "plot_trajectories",
    "power",
    "prior_predictive",
    "probability",
    "recover",
    "recover_models",
    "respond",
    "responses",
    "route",
    "route_transitions",
    "sample",
    "select_models",
    "simulate",
    "switch",
    "switching",
    "tapas_trajectories",
    "two_branch",
    "volatility",
    "waic",
]
