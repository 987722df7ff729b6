"""The Kalman filter and smoother beside dynamax's, both one bin after another."""

from collections.abc import Callable

import numpy as np

SIZES = (2, 4, 8)  # of the latent state
N_CHANNELS = 2
WORK = ("filter", "smoother", "gradient")


def tasks(steps: list[int]) -> list[tuple]:
    """List what is timed: work, size of the state, precision, number of steps."""
    precisions = ("float32", "float64")
    return [
        (w, s, d, n) for w in WORK for s in SIZES for d in precisions for n in steps[:1]
    ]


def model(n_latents: int, n_steps: int, dtype: str) -> list[np.ndarray]:
    """Draw slowly rotating latents, seen through noise, and observations."""
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(n_latents, n_latents)))
    arrays = (
        np.zeros(n_latents),
        np.eye(n_latents),
        0.95 * rotation,
        0.1 * np.eye(n_latents),
        rng.normal(size=(N_CHANNELS, n_latents)),
        0.5 * np.eye(N_CHANNELS),
        rng.normal(size=(n_steps, N_CHANNELS)),
    )
    return [x.astype(dtype) for x in arrays]


def of_neuromod() -> Callable[..., Callable[[], object]]:
    """Return a function that prepares a task with our kernels."""
    import jax

    from neuromod import kernels

    def of(function):
        def run(*arrays):
            *parts, observations = arrays
            names = (
                "initial_mean",
                "initial_covariance",
                "transition",
                "transition_covariance",
                "observation",
                "observation_covariance",
            )
            return function(
                kernels.KalmanModel(**dict(zip(names, parts, strict=True))),
                observations,
            )

        return run

    return _preparer(
        {
            "filter": of(kernels.kalman_filter),
            "smoother": of(kernels.kalman_smoother),
            "gradient": jax.grad(of(kernels.kalman_log_likelihood), tuple(range(6))),
        }
    )


def of_dynamax() -> Callable[..., Callable[[], object]]:
    """Return a function that prepares a task with dynamax."""
    import jax
    from dynamax.linear_gaussian_ssm.inference import (
        lgssm_filter,
        lgssm_smoother,
        make_lgssm_params,
    )

    def of(function):
        def run(*arrays):
            *parts, observations = arrays
            return function(make_lgssm_params(*parts), observations)

        return run

    def log_likelihood(*arrays):
        return of(lgssm_filter)(*arrays).marginal_loglik

    return _preparer(
        {
            "filter": of(lgssm_filter),
            "smoother": of(lgssm_smoother),
            "gradient": jax.grad(log_likelihood, tuple(range(6))),
        }
    )


def _preparer(functions: dict) -> Callable[..., Callable[[], object]]:
    import jax

    def prepare(work: str, n_latents: int, dtype: str, n_steps: int):
        function = jax.jit(functions[work])
        with jax.enable_x64(dtype == "float64"):
            arrays = jax.device_put(model(n_latents, n_steps, dtype))

        def call():
            with jax.enable_x64(dtype == "float64"):
                jax.block_until_ready(function(*arrays))

        return call

    return prepare
