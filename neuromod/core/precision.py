"""Single or double precision, chosen by each verb and for as long as it runs.

JAX computes in float32 unless told otherwise. What needs float64 (Gaussian-process
linear algebra, exact likelihood fits) asks for it inside the verb that needs it, so
that nothing changes for the rest of the program: the library never touches JAX's
global configuration.
"""

from contextlib import AbstractContextManager
from typing import Literal

import jax
import numpy as np

from neuromod.core.errors import choice

Precision = Literal["float32", "float64"]

PRECISIONS: tuple[Precision, ...] = ("float32", "float64")


def precision_context(precision: Precision) -> AbstractContextManager[None]:
    """Compute in the given precision inside a ``with`` block.

    Contexts nest, and end when an exception leaves them. They hold for the thread
    that entered them: a thread started inside starts with the precision of the
    whole process.

    Parameters
    ----------
    precision
        "float32" or "float64".

    Raises
    ------
    InvalidInputError
        If it is neither.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> with precision_context("float64"):
    ...     print(jnp.ones(3).dtype)
    float64
    """
    return jax.enable_x64(dtype(precision) == np.float64)


def dtype(precision: Precision) -> np.dtype:
    """Return the type of the floating-point numbers of a precision."""
    return np.dtype(choice("precision", precision, PRECISIONS))
