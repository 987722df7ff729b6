"""Check the kernels against stored numbers: ``python tests/parity/kernels.py FOLDER``.

The folder has the format of ``shared/reference/kernels`` (its README): arrays under
``group/name``, and a name without a group shared by all groups of its file. A file is
known by its arrays, then by its name.
"""

import functools
import sys
from pathlib import Path

if __name__ == "__main__":  # the script's own folder would shadow the package `kernels`
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax
import jax.numpy as jnp
import numpy as np

from neuromod import kernels
from tests.parity._format import Fixture, Report, run
from tests.parity._kernels_cells import check_leaky, check_torch_cells
from tests.parity._kernels_kalman import check_kalman
from tests.parity._kernels_linear import check_linear_scan

TOLERANCE = 1e-10
OTHER_METHODS = ("blocked", "associative")
UNBUILT = (
    "delta_rule",
    "diag_ssm",
    "mesa",
    "newton_rnn",
)


def check(fixture: Fixture, report: Report) -> None:
    """Check one file."""
    names = {key.rpartition("/")[2] for key in fixture.arrays}
    stem = fixture.name.removesuffix(".npz")
    if "log_lik_obs" in names or stem.startswith("hmm"):
        with jax.enable_x64(True):
            check_hmm(fixture, report)
    elif "weight_hh_l0" in names or stem.startswith("torch_cells"):
        check_torch_cells(fixture, report)
    elif {"alpha", "sigma", "eps"} <= names or stem.startswith("leaky_noisy_rnn"):
        check_leaky(fixture, report)
    elif {"y_fwd", "y_rev"} & names or stem.startswith("linear_scan"):
        check_linear_scan(fixture, report)
    elif {"F", "Q", "H", "R"} <= names or stem.startswith("kalman"):
        check_kalman(fixture, report)
    elif stem.startswith(UNBUILT):
        fixture.asked.update(fixture.arrays)
        with report.case(fixture.name, "file") as case:
            case.state("unbuilt", "no kernel of this kind yet")
    else:
        raise ValueError("neither its arrays nor its name tell what this file is")


def check_hmm(fixture: Fixture, report: Report) -> None:
    """Check every group of a file of hidden Markov models."""
    for group in sorted({key.split("/")[0] for key in fixture.arrays if "/" in key}):
        with report.case(fixture.name, group) as case:
            check_hmm_group(fixture, group, case)


def check_hmm_group(fixture, group, case) -> None:
    """Compare likelihood, posteriors, best path and gradient of one group."""
    names = ("pi", "A", "log_lik_obs")
    chain = [jnp.asarray(inherited(fixture, group, name)) for name in names]
    seen = np.ones(len(chain[2]), bool)
    if f"{group}/mask" in fixture:
        seen = fixture[f"{group}/mask"]
    observed = jnp.asarray(seen)
    filtered = kernels.hmm_filter(*chain, observed=observed)
    smooth = functools.partial(
        kernels.hmm_smoother, *chain, observed=observed, transition_posteriors=True
    )
    smoothed = smooth()
    best = kernels.hmm_viterbi(*chain, observed=observed)
    log_likelihood, gradient = jax.value_and_grad(kernels.hmm_log_likelihood, 2)(
        *chain, observed=observed
    )

    stored = fixture[f"{group}/loglik"]
    # The stored posteriors of long recordings end in exp(log joint - log p(y)), which
    # rounds in proportion to log p(y).
    posterior = max(TOLERANCE, 30 * np.finfo(float).eps * float(abs(stored)))
    gamma = fixture[f"{group}/gamma"]
    case.compare("loglik", smoothed.log_likelihood, stored, TOLERANCE)
    case.compare("loglik of the filter", filtered.log_likelihood, stored, TOLERANCE)
    case.compare("loglik with gradient", log_likelihood, stored, TOLERANCE)
    case.compare("gamma", smoothed.smoothed, gamma, posterior)
    case.compare("gradient", gradient, gamma * seen[:, None], posterior)
    results = {
        "filtered": (filtered.filtered, posterior),
        "xi": (smoothed.transition_posteriors, posterior),
        "xi_sum": (smoothed.transition_counts, posterior),
        "viterbi": (best.path, 0),
        "viterbi_logp": (best.log_joint, TOLERANCE),
    }
    for name in present(fixture, group):
        got, tolerance = results[name]
        case.compare(name, got, fixture[f"{group}/{name}"], tolerance)
    for method in OTHER_METHODS:
        other = smooth(method=method)
        case.compare(f"loglik, {method}", other.log_likelihood, stored, TOLERANCE)
        case.compare(f"gamma, {method}", other.smoothed, gamma, posterior)
        counts = smoothed.transition_counts
        case.compare(f"xi, {method}", other.transition_counts, counts, posterior)


def present(fixture: Fixture, group: str) -> list[str]:
    """Name the results that a group may hold: some go together, one pair must be."""

    def held(*names):
        return [name for name in names if f"{group}/{name}" in fixture]

    pairs = held("xi", "xi_sum") or ["xi"]
    path = ["viterbi", "viterbi_logp"] if held("viterbi", "viterbi_logp") else []
    return held("filtered") + pairs + path


def inherited(fixture: Fixture, group: str, name: str) -> np.ndarray:
    """Return an input of a group, or of the group it varies, or of the whole file.

    ``tiny_missing`` varies ``tiny`` and holds only what differs.
    """
    parts = group.split("_")
    owners = ["_".join(parts[:n]) + "/" for n in range(len(parts), 0, -1)] + [""]
    for owner in owners:
        if owner + name in fixture:
            return fixture[owner + name]
    return fixture[f"{group}/{name}"]


if __name__ == "__main__":
    run(check)
