"""Recurrent models of the brain, fitted to recordings and run forward, in JAX.

Importing neuromod loads no heavy library: each part is imported when it is first
used, as in ``nm.switching.fit(...)`` after ``import neuromod as nm``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from neuromod import _xla

if TYPE_CHECKING:
    from neuromod import core as core
    from neuromod import datasets as datasets
    from neuromod import hgf as hgf
    from neuromod import io as io
    from neuromod import kernels as kernels
    from neuromod import plants as plants
    from neuromod import pvrnn as pvrnn
    from neuromod import reactivation as reactivation
    from neuromod import stimulation as stimulation
    from neuromod import switching as switching
    from neuromod.core import errors as errors
    from neuromod.core.info import info as info
    from neuromod.core.result import Result as Result
    from neuromod.core.result import load as load

__version__ = "0.1.0"

__all__ = [
    "Result",
    "__version__",
    "core",
    "datasets",
    "errors",
    "hgf",
    "info",
    "io",
    "kernels",
    "load",
    "plants",
    "pvrnn",
    "reactivation",
    "stimulation",
    "switching",
]

_HOMES = {
    "Result": "neuromod.core.result",
    "info": "neuromod.core.info",
    "load": "neuromod.core.result",
}
_MODULES = {"errors": "neuromod.core.errors"}

_xla.set_option()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'neuromod' has no attribute {name!r}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        value = importlib.import_module(_MODULES.get(name, f"neuromod.{name}"))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
