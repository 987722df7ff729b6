"""The parity runner of the kernels: on the shared numbers, and that it can fail."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuromod import kernels
from tests.kernels.brute_force import enumerate_paths, log_space, random_chain
from tests.parity import _kernels_kalman, _kernels_linear
from tests.parity import kernels as runner
from tests.parity._format import check_folder, run
from tests.parity.kernels import check
from tests.shared import shared


def test_shared_numbers(monkeypatch):
    """By one method: the script takes them all, which is a minute of compilation.

    That all methods agree, the tests of the kernels tell.
    """
    monkeypatch.setattr(runner, "OTHER_METHODS", ())
    for part in (_kernels_kalman, _kernels_linear):
        monkeypatch.setattr(part, "METHODS", part.METHODS[:1])
    report = check_folder(shared("reference/kernels"), check)
    assert not report.failed, report.lines
    hmm = [line for line in report.lines if line["file"] == "hmm.npz"]
    assert hmm
    assert all(line["verdict"] == "pass" for line in hmm)


def enumerated(chain, **options):
    """Return what the format stores of a small chain, by enumeration."""
    want = enumerate_paths(*chain, **options)
    return {
        "loglik": want.log_likelihood,
        "gamma": want.smoothed,
        "xi": want.transition_posteriors,
    }, {"viterbi": want.path, "viterbi_logp": want.log_joint}


@pytest.fixture
def arrays():
    """Return a file with other groups and sizes than the shared one."""
    initial, transition, evidence = random_chain(0, 4, 2)
    varying = random_chain(1, 4, 2, varying=True)[1]
    seen = np.array([True, False, True, True])
    plain, plain_path = enumerated((initial, transition, evidence))
    other, other_path = enumerated((initial, varying, evidence))
    missing, _ = enumerated((initial, transition, evidence), observed=seen)
    long = random_chain(2, 30, 3, spread=20)
    log_likelihood, filtered, smoothed, counts = log_space(*long)
    groups = {
        "ab": plain | plain_path | {"A": transition, "log_lik_obs": evidence},
        "ab_moving": other | other_path | {"A": varying},
        "ab_holes": missing | {"mask": seen},
        "run": {
            "pi": long[0],
            "A": long[1],
            "log_lik_obs": long[2],
            "loglik": log_likelihood,
            "gamma": smoothed,
            "filtered": filtered,
            "xi_sum": counts,
        },
    }
    flat = {f"{g}/{k}": np.asarray(v) for g, a in groups.items() for k, v in a.items()}
    return flat | {"pi": initial}


@pytest.fixture
def checked(tmp_path):
    """Return a function that writes arrays, checks the folder and gives the lines."""

    def write_and_check(arrays, name="hmm.npz"):
        np.savez(tmp_path / name, **arrays)
        return check_folder(tmp_path, check)

    return write_and_check


def test_other_groups_and_sizes(arrays, checked):
    report = checked(arrays)
    assert not report.failed, report.lines
    assert [line["case"] for line in report.lines] == [
        "ab",
        "ab_holes",
        "ab_moving",
        "run",
    ]
    assert all(line["relative"] < 1e-12 for line in report.lines)


def test_known_by_its_arrays(arrays, checked):
    assert not checked(arrays, "another_name.npz").failed


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("hmm_filter", "filtered"),
        ("hmm_smoother", "smoothed"),
        ("hmm_smoother", "transition_counts"),
        ("hmm_viterbi", "log_joint"),
    ],
)
def test_a_wrong_function_is_seen(function, field, arrays, checked, monkeypatch):
    right = getattr(kernels, function)

    def wrong(*args, **options):
        result = right(*args, **options)
        return result._replace(**{field: getattr(result, field) * (1 + 1e-8)})

    monkeypatch.setattr(kernels, function, wrong)
    assert checked(arrays).failed


@pytest.mark.parametrize("factor", [1 + 1e-8, np.nan])
def test_a_wrong_likelihood_is_seen(factor, arrays, checked, monkeypatch):
    right = kernels.hmm_log_likelihood
    monkeypatch.setattr(
        kernels, "hmm_log_likelihood", lambda *a, **k: right(*a, **k) * factor
    )
    report = checked(arrays)
    assert [line["verdict"] for line in report.lines] == ["fail"] * 4
    assert "loglik with gradient" in report.lines[0]["reason"]


@pytest.mark.parametrize(
    "key",
    ["pi", "ab/A", "run/log_lik_obs", "run/xi_sum", "ab/gamma", "ab/viterbi_logp"],
)
def test_a_missing_array_is_a_failure(key, arrays, checked):
    del arrays[key]
    report = checked(arrays)
    assert report.failed
    reasons = " ".join(line.get("reason", "") for line in report.lines)
    assert "is missing" in reasons


def test_what_is_not_understood_is_a_failure(arrays, checked):
    report = checked(arrays | {"ab/entropy": np.zeros(3)})
    assert report.lines[-1]["reason"] == "arrays not understood: ab/entropy"
    assert report.failed


def test_an_unknown_file_is_a_failure(checked):
    assert checked({"x": np.zeros(3)}, "mystery.npz").failed


def test_a_kind_without_a_kernel_is_told(checked):
    report = checked({"x": np.zeros(3)}, "mesa.npz")
    assert [line["verdict"] for line in report.lines] == ["unbuilt"]
    assert not report.failed


def test_an_empty_folder_is_a_failure(tmp_path):
    assert check_folder(tmp_path, check).failed


@pytest.mark.parametrize("name", ["hmm.npz", "kalman.npz"])
@pytest.mark.parametrize("keep", [0, 100, -30])
def test_a_truncated_file_is_a_failure(name, keep, arrays, checked, tmp_path):
    np.savez(tmp_path / name, **arrays)
    raw = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(raw[:keep])
    assert check_folder(tmp_path, check).failed


def test_the_script_runs_from_anywhere(arrays, tmp_path):
    """One JSON line per case on stdout; the exit status tells."""
    script = Path(__file__).with_name("kernels.py")
    one_group = {k: v for k, v in arrays.items() if k.startswith(("ab/", "pi"))}
    np.savez(tmp_path / "hmm.npz", **one_group)
    (tmp_path / "mesa.npz").write_bytes(b"PK damaged")
    command = [sys.executable, script, tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["verdict"] for line in lines] == ["pass", "fail"]
    assert done.returncode == 1, done.stderr


def test_the_exit_status_of_a_good_folder(arrays, tmp_path):
    np.savez(tmp_path / "hmm.npz", **arrays)
    with pytest.raises(SystemExit) as done:
        run(check, [str(tmp_path)])
    assert done.value.code == 0


def test_the_script_needs_a_folder():
    with pytest.raises(SystemExit, match=r"usage: python .* FOLDER"):
        run(check, [])


@pytest.mark.parametrize(
    ("stem", "function"),
    [
        ("leaky_noisy_rnn", "scan"),
        ("linear_scan", "affine_scan"),
        ("kalman", "kalman_smoother"),
    ],
)
def test_other_kinds_are_checked_and_their_faults_seen(
    stem, function, checked, monkeypatch
):
    """Under another name; not with an array less, nor with a wrong function."""
    with np.load(shared(f"reference/kernels/{stem}.npz")) as stored:
        arrays = dict(stored)
    assert not checked(arrays, "another_name.npz").failed
    name = next(n for n in arrays if n.endswith(("/y", "/y_fwd", "/smoothed_mean")))
    less = {n: a for n, a in arrays.items() if n != name}
    if "/y_" not in name:  # one of several results, none of which must be there
        assert checked(less, "another_name.npz").failed
    right = getattr(kernels, function)

    def wrong(*args, **options):
        found = right(*args, **options)
        leaf = 1 if function == "scan" else 0 if function == "affine_scan" else 4
        return found._replace(**{found._fields[leaf]: found[leaf] * (1 + 1e-6)})

    monkeypatch.setattr(kernels, function, wrong)
    assert checked(arrays, "another_name.npz").failed
