r"""What is thought of a parameter before its data are seen.

Every parameter is estimated on a scale where its prior is normal, its *native* scale:
itself (`Normal`), its logarithm (`LogNormal`, for what is positive) or its log-odds
(`LogitNormal`, for what lies between 0 and 1),

$$
\theta = T(z), \qquad z \sim \mathcal{N}(m, s^2).
$$

Maxima, curvatures and group distributions are all taken over $z$ (Daunizeau et al.,
PLoS ONE 2010; Mathys et al., Front. Hum. Neurosci. 2014).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from neuromod.core.dimensions import require_positive
from neuromod.core.errors import invalid


def _exp(native: Any) -> Any:
    # NumPy's where there is nothing to trace: it has nothing to compile.
    return np.exp(native) if isinstance(native, np.ndarray) else jnp.exp(native)


def _logistic(native: Any) -> Any:
    return expit(native) if isinstance(native, np.ndarray) else jax.nn.sigmoid(native)


TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda native: native,
    "log": _exp,
    "logit": _logistic,
}
"""From the native scale to the parameter, by the name of the scale."""


class Prior:
    """A normal distribution of a parameter on its native scale.

    Parameters
    ----------
    mean, sd
        On the native scale.

    Raises
    ------
    InvalidInputError
        If the mean is not finite, or the standard deviation not above 0.
    """

    scale: ClassVar[str]

    def __init__(self, mean: Any, sd: Any) -> None:
        self.mean = _finite(mean)
        self.sd = require_positive(sd, "sd")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.mean:g}, {self.sd:g})"


class Normal(Prior):
    """A parameter that may be any number.

    Parameters
    ----------
    mean, sd
        Of the parameter.

    Examples
    --------
    >>> Normal(-3, 2)
    Normal(-3, 2)
    """

    scale: ClassVar[str] = "identity"


class LogNormal(Prior):
    """A positive parameter.

    Parameters
    ----------
    mean, sd
        Of the parameter's logarithm.

    Examples
    --------
    >>> LogNormal(0, 1)
    LogNormal(0, 1)
    """

    scale: ClassVar[str] = "log"


class LogitNormal(Prior):
    """A parameter between 0 and 1.

    Parameters
    ----------
    mean, sd
        Of the parameter's log-odds.

    Examples
    --------
    >>> LogitNormal(0, 1)
    LogitNormal(0, 1)
    """

    scale: ClassVar[str] = "logit"


def _finite(mean: Any) -> float:
    try:
        value = float(mean)
    except (TypeError, ValueError):
        value = float("nan")
    if not np.isfinite(value):
        raise invalid("mean", repr(mean), "a finite number")
    return value
