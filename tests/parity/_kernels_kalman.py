"""Linear Gaussian state-space models against stored numbers."""

import jax
import jax.numpy as jnp

from neuromod import kernels
from tests.parity._format import Case, Fixture, Report

TOLERANCE = 1e-10
METHODS = ("sequential", "associative")
FIELDS = {  # of the model, by the names that the format has for them
    "initial_mean": "m0",
    "initial_covariance": "P0",
    "transition": "F",
    "transition_covariance": "Q",
    "transition_offset": "b",
    "observation": "H",
    "observation_covariance": "R",
    "observation_offset": "c",
}
RESULTS = {
    "filtered_mean": "filtered_means",
    "filtered_cov": "filtered_covariances",
    "smoothed_mean": "smoothed_means",
    "smoothed_cov": "smoothed_covariances",
    "smoothed_cross_cov": "cross_covariances",
}


def check_kalman(fixture: Fixture, report: Report) -> None:
    """Check every group by every method."""
    for group in sorted({key.split("/")[0] for key in fixture.arrays if "/" in key}):
        with jax.enable_x64(True), report.case(fixture.name, group) as case:
            _check_group(fixture, group, case)


def _check_group(fixture: Fixture, group: str, case: Case) -> None:
    def read(name):
        return jnp.asarray(fixture[_owner(fixture, group, name)])

    model = kernels.KalmanModel(**{field: read(n) for field, n in FIELDS.items()})
    observations, observed = read("y"), None
    if f"{group}/mask" in fixture:
        observed = jnp.asarray(fixture[f"{group}/mask"])
    stored = fixture[f"{group}/loglik"]
    names = [name for name in RESULTS if f"{group}/{name}" in fixture]
    if not {"filtered_mean", "smoothed_mean"} <= set(names):
        raise KeyError(f"filtered_mean or smoothed_mean of {group!r} is missing")
    filtered = kernels.kalman_filter(model, observations, observed=observed)
    value = kernels.kalman_log_likelihood(model, observations, observed=observed)
    case.compare("loglik of the filter", filtered.log_likelihood, stored, TOLERANCE)
    case.compare("loglik", value, stored, TOLERANCE)
    for method in METHODS:
        smoothed = kernels.kalman_smoother(
            model,
            observations,
            observed=observed,
            method=method,
            cross_covariances=True,
        )
        case.compare(f"loglik, {method}", smoothed.log_likelihood, stored, TOLERANCE)
        for name in names:
            got = getattr(smoothed, RESULTS[name])
            want = fixture[f"{group}/{name}"]
            case.compare(f"{name}, {method}", got, want, TOLERANCE)


def _owner(fixture: Fixture, group: str, name: str) -> str:
    """Return where an input of a group stands: there, or in the group it varies."""
    parts = group.split("_")
    owners = ["_".join(parts[:n]) + "/" for n in range(len(parts), 0, -1)] + [""]
    found = (owner + name for owner in owners if owner + name in fixture)
    return next(found, f"{group}/{name}")
