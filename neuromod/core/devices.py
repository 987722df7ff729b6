"""What this process computes on, and what keeps it from being fast there."""

import logging
import os
from functools import cache

import jax

from neuromod import _xla

FOLDS_BY_ITSELF = (0, 12)
"""The jax version from which small loops are fast without the option."""


def n_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Return the size of the machine's memory, None where it cannot be asked."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


@cache
def xla_hint() -> None:
    """Log, once in a process, that gradients are slow and how to make them fast.

    Fitting verbs call it. It speaks only where it is so: on a CPU, with a jax that
    needs the XLA option, and when neuromod was imported too late to set it.
    """
    needs_option = jax.__version_info__ < FOLDS_BY_ITSELF
    if _xla.state() == "too late" and needs_option and jax.default_backend() == "cpu":
        logging.getLogger("neuromod").warning(
            "JAX was running before neuromod was imported, so gradients of small "
            "recurrent models are 20 to 35 times slower than they could be. Import "
            "neuromod before the first JAX computation (in a notebook: restart the "
            "kernel), or set XLA_FLAGS=--xla_backend_extra_options=%s=%d.",
            _xla.OPTION,
            _xla.THRESHOLD_BYTES,
        )
