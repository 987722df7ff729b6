"""Single or double precision, chosen by each verb and for as long as it runs.

JAX computes in float32 unless told otherwise. What needs float64 (Gaussian-process
linear algebra, exact likelihood fits) asks for it inside the verb that needs it, so
that nothing changes for the rest of the program: the library never touches JAX's
global configuration.
"""

from contextlib import AbstractContextManager
from typing import Any, Literal

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


def in_precision(tree: Any, precision: Precision) -> Any:
    """Return a tree whose every number is a numpy array of a precision.

    What holds no numbers (truth values, functions) stays as it is.

    Parameters
    ----------
    tree
        Any PyTree.
    precision
        "float32" or "float64".

    Examples
    --------
    >>> found = in_precision({"rate": 1, "seen": np.array([True])}, "float32")
    >>> found["rate"].dtype, found["seen"].dtype
    (dtype('float32'), dtype('bool'))
    """
    kind = dtype(precision)

    def convert(leaf):
        array = np.asarray(leaf)
        return array.astype(kind) if array.dtype.kind in "fiu" else leaf

    return jax.tree.map(convert, tree)
