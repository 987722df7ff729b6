"""Linear recurrences against stored numbers."""

import functools

import jax
import jax.numpy as jnp

from neuromod import kernels
from tests.parity._format import Case, Fixture, Report

TOLERANCE = 1e-10
METHODS = ("sequential", "associative", "blocked")


def check_linear_scan(fixture: Fixture, report: Report) -> None:
    """Check every group, forwards and backwards, by every method."""
    for group in sorted({key.split("/")[0] for key in fixture.arrays if "/" in key}):
        with jax.enable_x64(True), report.case(fixture.name, group) as case:
            _check_group(fixture, group, case)


def _check_group(fixture: Fixture, group: str, case: Case) -> None:
    decay, drive = (jnp.asarray(fixture[f"{group}/{name}"]) for name in "ab")
    initial = None
    if f"{group}/h0" in fixture:
        initial = jnp.asarray(fixture[f"{group}/h0"])
    stored = [key for key in fixture.arrays if key.startswith(f"{group}/y")]
    if not stored:
        raise KeyError(f"{group}/y is missing")
    for key in stored:
        for method in METHODS:
            run = functools.partial(kernels.affine_scan, method=method)
            if key.endswith("_reset"):
                run = functools.partial(run, reset=jnp.asarray(fixture["reset"]))
            found = run(decay, drive, initial, reverse="_rev" in key)
            name = f"{key.split('/')[1]}, {method}"
            case.compare(name, found.states, fixture[key], TOLERANCE)
