"""Recurrences as pure functions on pytrees: the ground every model stands on.

`scan` is the loop over time that all models run in, with cells from `LeakyRNN` to
`LSTM`. `affine_scan` and its kin are linear recurrences. The ``hmm_`` functions are the
exact inference of hidden Markov models, the ``kalman_`` functions that of linear
Gaussian state-space models. Nothing here knows a model's name, reads a file or needs
more than JAX and Equinox; every function can be jitted, differentiated and vmapped,
takes masks for ragged sequences, and streams: what it returns at the end of one chunk
goes into the next.
"""

if __name__ == "kernels":
    raise ImportError("this package is imported as neuromod.kernels")

from neuromod.kernels.affine import AffineScan as AffineScan
from neuromod.kernels.affine import affine_scan as affine_scan
from neuromod.kernels.affine import matrix_affine_scan as matrix_affine_scan
from neuromod.kernels.affine_cell import AffineCell as AffineCell
from neuromod.kernels.affine_cell import LeakyIntegrator as LeakyIntegrator
from neuromod.kernels.cell import Cell as Cell
from neuromod.kernels.cumulative import Cumulative as Cumulative
from neuromod.kernels.cumulative import cumulative_max as cumulative_max
from neuromod.kernels.cumulative import cumulative_sum as cumulative_sum
from neuromod.kernels.cumulative import exponential_average as exponential_average
from neuromod.kernels.cumulative import time_since as time_since
from neuromod.kernels.devices import over_devices as over_devices
from neuromod.kernels.events import Events as Events
from neuromod.kernels.gates import GRU as GRU
from neuromod.kernels.gates import LSTM as LSTM
from neuromod.kernels.gates import LSTMState as LSTMState
from neuromod.kernels.hmm import HMMFilter as HMMFilter
from neuromod.kernels.hmm import HMMFixedLagSmoother as HMMFixedLagSmoother
from neuromod.kernels.hmm import HMMSmoother as HMMSmoother
from neuromod.kernels.hmm import HMMStep as HMMStep
from neuromod.kernels.hmm import hmm_filter as hmm_filter
from neuromod.kernels.hmm import hmm_fixed_lag_smoother as hmm_fixed_lag_smoother
from neuromod.kernels.hmm import hmm_smoother as hmm_smoother
from neuromod.kernels.hmm import hmm_step as hmm_step
from neuromod.kernels.hmm_likelihood import (
    hmm_log_likelihood as hmm_log_likelihood,
)
from neuromod.kernels.hmm_paths import HMMViterbi as HMMViterbi
from neuromod.kernels.hmm_paths import hmm_sample as hmm_sample
from neuromod.kernels.hmm_paths import hmm_viterbi as hmm_viterbi
from neuromod.kernels.kalman import KalmanFilter as KalmanFilter
from neuromod.kernels.kalman import KalmanSmoother as KalmanSmoother
from neuromod.kernels.kalman import KalmanStep as KalmanStep
from neuromod.kernels.kalman import kalman_filter as kalman_filter
from neuromod.kernels.kalman import kalman_smoother as kalman_smoother
from neuromod.kernels.kalman import kalman_step as kalman_step
from neuromod.kernels.kalman_likelihood import (
    kalman_log_likelihood as kalman_log_likelihood,
)
from neuromod.kernels.kalman_model import Gaussian as Gaussian
from neuromod.kernels.kalman_model import KalmanModel as KalmanModel
from neuromod.kernels.kalman_sample import kalman_sample as kalman_sample
from neuromod.kernels.latent import LatentMTRNN as LatentMTRNN
from neuromod.kernels.latent import LatentOutput as LatentOutput
from neuromod.kernels.normal import standard_normal as standard_normal
from neuromod.kernels.outputs import Fold as Fold
from neuromod.kernels.rnn import MTRNN as MTRNN
from neuromod.kernels.rnn import LeakyRNN as LeakyRNN
from neuromod.kernels.rnn import MTRNNState as MTRNNState
from neuromod.kernels.scan import Scan as Scan
from neuromod.kernels.scan import ScanInfo as ScanInfo
from neuromod.kernels.scan import make_stepper as make_stepper
from neuromod.kernels.scan import scan as scan

__all__ = [
    "GRU",
    "LSTM",
    "MTRNN",
    "AffineCell",
    "AffineScan",
    "Cell",
    "Cumulative",
    "Events",
    "Fold",
    "Gaussian",
    "HMMFilter",
    "HMMFixedLagSmoother",
    "HMMSmoother",
    "HMMStep",
    "HMMViterbi",
    "KalmanFilter",
    "KalmanModel",
    "KalmanSmoother",
    "KalmanStep",
    "LSTMState",
    "LatentMTRNN",
    "LatentOutput",
    "LeakyIntegrator",
    "LeakyRNN",
    "MTRNNState",
    "Scan",
    "ScanInfo",
    "affine_scan",
    "cumulative_max",
    "cumulative_sum",
    "exponential_average",
    "hmm_filter",
    "hmm_fixed_lag_smoother",
    "hmm_log_likelihood",
    "hmm_sample",
    "hmm_smoother",
    "hmm_step",
    "hmm_viterbi",
    "kalman_filter",
    "kalman_log_likelihood",
    "kalman_sample",
    "kalman_smoother",
    "kalman_step",
    "make_stepper",
    "matrix_affine_scan",
    "over_devices",
    "scan",
    "standard_normal",
    "time_since",
]
