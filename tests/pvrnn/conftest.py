"""Strict JAX for the mathematics: no silent promotion of type or rank."""

import jax
import pytest

WITHIN_OPTAX = {
    "test_areas",
    "test_arm",
    "test_chain",
    "test_error_regression",
    "test_planning",
    "test_train",
    "test_vrnn",
}
"""Modules that train, or regress: optax breaks under strict promotion."""


@pytest.fixture(autouse=True)
def strict_jax(request):
    """Raise on implicit dtype and rank promotion."""
    if request.module.__name__.rpartition(".")[2] in WITHIN_OPTAX:
        yield
        return
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
