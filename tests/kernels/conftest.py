"""Strict JAX for the mathematics: no silent promotion of type or rank."""

import jax
import jaxtyping
import pytest


@pytest.fixture(autouse=True)
def strict_jax():
    """Raise on implicit dtype and rank promotion."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def compilations():
    """Return a function that tells how many programs were compiled so far."""
    compiled = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield lambda: len(compiled)
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def float64():
    """Compute in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def own_errors_only():
    """Let our own checks speak, which the annotations forestall in the tests."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
