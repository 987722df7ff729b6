"""What every family shares: names and checks, results, validation, cohorts.

Its modules are imported when they are first used, as in
``nm.core.cohort.map(...)`` after ``import neuromod as nm``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuromod.core import calibration as calibration
    from neuromod.core import cohort as cohort
    from neuromod.core import diagnostics as diagnostics
    from neuromod.core import dimensions as dimensions
    from neuromod.core import errors as errors
    from neuromod.core import evidence as evidence
    from neuromod.core import info as info
    from neuromod.core import model_selection as model_selection
    from neuromod.core import precision as precision
    from neuromod.core import provenance as provenance
    from neuromod.core import report as report
    from neuromod.core import sampling as sampling
    from neuromod.core import sequences as sequences
    from neuromod.core import style as style
    from neuromod.core import training as training
    from neuromod.core import validation as validation
    from neuromod.core.cohort import CohortResult as CohortResult
    from neuromod.core.devices import xla_hint as xla_hint
    from neuromod.core.precision import precision_context as precision_context
    from neuromod.core.result import Result as Result
    from neuromod.core.result import load as load

__all__ = [
    "CohortResult",
    "Result",
    "calibration",
    "cohort",
    "diagnostics",
    "dimensions",
    "errors",
    "evidence",
    "info",
    "load",
    "model_selection",
    "precision",
    "precision_context",
    "provenance",
    "report",
    "sampling",
    "sequences",
    "style",
    "training",
    "validation",
    "xla_hint",
]

_HOMES = {
    "CohortResult": "cohort",
    "Result": "result",
    "load": "result",
    "precision_context": "precision",
    "xla_hint": "devices",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'neuromod.core' has no attribute {name!r}")
    module = importlib.import_module(f"neuromod.core.{_HOMES.get(name, name)}")
    value = getattr(module, name) if name in _HOMES else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
