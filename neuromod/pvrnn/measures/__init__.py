"""The field's numbers of PV-RNN: what is explained, made up, foreseen and answered."""

from neuromod.pvrnn.measures.information import Transfer as Transfer
from neuromod.pvrnn.measures.information import lead as lead
from neuromod.pvrnn.measures.information import transfer_entropy as transfer_entropy
from neuromod.pvrnn.measures.lyapunov import lyapunov_exponents as lyapunov_exponents
from neuromod.pvrnn.measures.response import (
    accuracy_and_complexity as accuracy_and_complexity,
)
from neuromod.pvrnn.measures.response import latent_response as latent_response
from neuromod.pvrnn.measures.symbols import block_divergence as block_divergence
from neuromod.pvrnn.measures.symbols import legal_fraction as legal_fraction
from neuromod.pvrnn.measures.symbols import read_symbols as read_symbols
from neuromod.pvrnn.measures.symbols import transition_matrix as transition_matrix

__all__ = [
    "Transfer",
    "accuracy_and_complexity",
    "block_divergence",
    "latent_response",
    "lead",
    "legal_fraction",
    "lyapunov_exponents",
    "read_symbols",
    "transfer_entropy",
    "transition_matrix",
]
