"""Response models: from beliefs to choices, ratings and reaction times."""

from neuromod.hgf.responses.choices import (
    ConditionedHallucination as conditioned_hallucination,
)
from neuromod.hgf.responses.choices import GaussianThreshold as gaussian_threshold
from neuromod.hgf.responses.choices import Softmax as softmax
from neuromod.hgf.responses.choices import UnitSquareSigmoid as unit_square_sigmoid
from neuromod.hgf.responses.columns import Joint as joint
from neuromod.hgf.responses.continuous import BetaReport as beta_report
from neuromod.hgf.responses.continuous import GaussianReport as gaussian_report
from neuromod.hgf.responses.continuous import LogReactionTime as log_reaction_time
from neuromod.hgf.responses.continuous import ResponseSpeed as response_speed
from neuromod.hgf.responses.options import SoftmaxChoice as softmax_choice
from neuromod.hgf.responses.perception import BayesOptimal as bayes_optimal
from neuromod.hgf.responses.perception import SquaredError as squared_error
from neuromod.hgf.responses.response import Response as Response
from neuromod.hgf.responses.response import Seen as Seen
from neuromod.hgf.responses.response import bernoulli as bernoulli
from neuromod.hgf.responses.response import flip as flip
from neuromod.hgf.responses.response import logit as logit
from neuromod.hgf.responses.response import look as look
from neuromod.hgf.responses.response import normal as normal
from neuromod.hgf.responses.response import score as score
from neuromod.hgf.responses.response import spread as spread

__all__ = [
    "Response",
    "Seen",
    "bayes_optimal",
    "bernoulli",
    "beta_report",
    "conditioned_hallucination",
    "flip",
    "gaussian_report",
    "gaussian_threshold",
    "joint",
    "log_reaction_time",
    "logit",
    "look",
    "normal",
    "response_speed",
    "score",
    "softmax",
    "softmax_choice",
    "spread",
    "squared_error",
    "unit_square_sigmoid",
]
