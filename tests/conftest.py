"""Settings of the whole suite."""

import os

# Idle threads of a linear-algebra library spin, and the workers have the cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# First: the XLA option only has an effect before a JAX backend starts, and a test
# module that is collected earlier could start one.
import neuromod  # noqa: F401, I001

from pathlib import Path

import hypothesis
import jax
import matplotlib
import pytest

os.environ.setdefault("TQDM_DISABLE", "1")
matplotlib.use("agg")

# Machines are shared, so no example has a deadline; integration runs are repeatable.
hypothesis.settings.register_profile(
    "neuromod", deadline=None, derandomize=os.environ.get("CI") == "true"
)
hypothesis.settings.load_profile("neuromod")


@pytest.fixture(autouse=True)
def close_figures():
    """Close what a test drew."""
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(autouse=True, scope="module")
def forget_compiled():
    """Let go of compiled programs before the system's limit on mappings is reached.

    Each program of XLA takes several of the 65,530 memory mappings that Linux grants a
    process by default; beyond them the next compilation crashes the interpreter.
    """
    yield
    if _n_mappings() > 20_000:
        jax.clear_caches()


def _n_mappings():
    maps = Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else 0
