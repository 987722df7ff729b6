"""Response models: from beliefs to choices, ratings and reaction times."""

from neuromod.hgf.responses.choices import (
    ConditionedHallucination as ConditionedHallucination,
)
from neuromod.hgf.responses.choices import GaussianThreshold as GaussianThreshold
from neuromod.hgf.responses.choices import Softmax as Softmax
from neuromod.hgf.responses.choices import UnitSquareSigmoid as UnitSquareSigmoid
from neuromod.hgf.responses.choices import (
    UnitSquareSigmoidVolatility as UnitSquareSigmoidVolatility,
)
from neuromod.hgf.responses.continuous import BetaReport as BetaReport
from neuromod.hgf.responses.continuous import GaussianReport as GaussianReport
from neuromod.hgf.responses.continuous import LogReactionTime as LogReactionTime
from neuromod.hgf.responses.continuous import ResponseSpeed as ResponseSpeed
from neuromod.hgf.responses.response import Response as Response
from neuromod.hgf.responses.response import Seen as Seen

__all__ = [
    "BetaReport",
    "ConditionedHallucination",
    "GaussianReport",
    "GaussianThreshold",
    "LogReactionTime",
    "Response",
    "ResponseSpeed",
    "Seen",
    "Softmax",
    "UnitSquareSigmoid",
    "UnitSquareSigmoidVolatility",
]
