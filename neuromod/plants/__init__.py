"""Forward models that more than one family needs: what a brain would do.

A plant is a model of tissue that is run forward and never fitted here: the networks of
neural masses that a stimulation session is rehearsed on, or that make recordings whose
truth is known. Equations are pure functions of a state; `solve` integrates them by
`diffrax`, `simulate` does so from arrays with named dimensions.
"""

from neuromod.plants.jansen_rit import JansenRit as JansenRit
from neuromod.plants.jansen_rit import State as State
from neuromod.plants.simulate import simulate as simulate
from neuromod.plants.solve import brownian_path as brownian_path
from neuromod.plants.solve import solve as solve

__all__ = ["JansenRit", "State", "brownian_path", "simulate", "solve"]
