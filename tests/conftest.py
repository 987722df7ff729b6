"""Settings of the whole suite."""

import atexit
import os
import shutil
import tempfile

# First: a program that one process of the run has compiled, no other has to compile
# again. The first process starts the others, and removes the folder when it ends.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="neuromod-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], True)

# Then: the XLA option only has an effect before a JAX backend starts, and a test
# module that is collected earlier could start one.
import hypothesis
import matplotlib
import pytest

import neuromod  # noqa: F401

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
