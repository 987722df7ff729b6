"""Strict JAX for the mathematics: no silent promotion of type or rank."""

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_jax():
    """Raise on implicit dtype and rank promotion, in double precision."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield
