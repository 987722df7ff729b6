"""Switching GLMs: brain states and connectivity from spike trains."""

from neuromod.switching.align import align_states as align_states
from neuromod.switching.basis import b_spline_basis as b_spline_basis
from neuromod.switching.basis import exponential_basis as exponential_basis
from neuromod.switching.basis import lag_basis as lag_basis
from neuromod.switching.basis import raised_cosine_basis as raised_cosine_basis
from neuromod.switching.connections import connections as connections
from neuromod.switching.fit import fit as fit
from neuromod.switching.goodness import co_smoothing as co_smoothing
from neuromod.switching.goodness import posterior_predictive as posterior_predictive
from neuromod.switching.goodness import time_rescaling as time_rescaling
from neuromod.switching.lasso import Lasso as Lasso
from neuromod.switching.likelihood import log_likelihood as log_likelihood
from neuromod.switching.metrics import ShiftTest as ShiftTest
from neuromod.switching.metrics import adjusted_rand_index as adjusted_rand_index
from neuromod.switching.metrics import circular_shift_test as circular_shift_test
from neuromod.switching.metrics import dwell_times as dwell_times
from neuromod.switching.metrics import match_states as match_states
from neuromod.switching.metrics import occupancy as occupancy
from neuromod.switching.metrics import state_accuracy as state_accuracy
from neuromod.switching.model import SwitchingGLM as SwitchingGLM
from neuromod.switching.one_hot import OneHot as OneHot
from neuromod.switching.peri_event import peri_event as peri_event
from neuromod.switching.plot import plot_connectivity as plot_connectivity
from neuromod.switching.plot import plot_convergence as plot_convergence
from neuromod.switching.plot import plot_filters as plot_filters
from neuromod.switching.plot import plot_rates as plot_rates
from neuromod.switching.plot import plot_states as plot_states
from neuromod.switching.plot import plot_transitions as plot_transitions
from neuromod.switching.plot_checks import plot_selection as plot_selection
from neuromod.switching.plot_checks import plot_time_rescaling as plot_time_rescaling
from neuromod.switching.plot_events import plot_dwell_times as plot_dwell_times
from neuromod.switching.plot_events import plot_peri_event as plot_peri_event
from neuromod.switching.plot_network import plot_edges as plot_edges
from neuromod.switching.plot_network import plot_preferences as plot_preferences
from neuromod.switching.predict import decode as decode
from neuromod.switching.predict import filter as filter
from neuromod.switching.predict import predict as predict
from neuromod.switching.predict import sample_states as sample_states
from neuromod.switching.predict import score as score
from neuromod.switching.predict import smooth as smooth
from neuromod.switching.priors import Gaussian as Gaussian
from neuromod.switching.priors import Ridge as Ridge
from neuromod.switching.select import select as select
from neuromod.switching.simulate import simulate as simulate
from neuromod.switching.stream import make_stepper as make_stepper

__all__ = [
    "Gaussian",
    "Lasso",
    "OneHot",
    "Ridge",
    "ShiftTest",
    "SwitchingGLM",
    "adjusted_rand_index",
    "align_states",
    "b_spline_basis",
    "circular_shift_test",
    "co_smoothing",
    "connections",
    "decode",
    "dwell_times",
    "exponential_basis",
    "filter",
    "fit",
    "lag_basis",
    "log_likelihood",
    "make_stepper",
    "match_states",
    "occupancy",
    "peri_event",
    "plot_connectivity",
    "plot_convergence",
    "plot_dwell_times",
    "plot_edges",
    "plot_filters",
    "plot_peri_event",
    "plot_preferences",
    "plot_rates",
    "plot_selection",
    "plot_states",
    "plot_time_rescaling",
    "plot_transitions",
    "posterior_predictive",
    "predict",
    "raised_cosine_basis",
    "sample_states",
    "score",
    "select",
    "simulate",
    "smooth",
    "state_accuracy",
    "time_rescaling",
]
