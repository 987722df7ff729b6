"""Settings of the whole suite."""

# First: the XLA option only has an effect before a JAX backend starts, and a test
# module that is collected earlier could start one.
import neuromod  # noqa: F401, I001

import os

import hypothesis
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
