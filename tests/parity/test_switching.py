import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from neuromod.switching import inference
from tests.parity import switching as runner
from tests.parity._format import check_folder
from tests.shared import shared
from tests.switching.models import slow_log_likelihoods, slow_rates


def verdicts(folder: Path) -> dict[str, str]:
    report = check_folder(folder, partial(runner.check, folder=folder))
    return {f"{line['file']}:{line['case']}": line["verdict"] for line in report.lines}


def test_stored_numbers_are_reproduced():
    found = verdicts(shared("reference/switching"))
    assert "fail" not in found.values(), found
    passed = [name.split(":")[1] for name, v in found.items() if v == "pass"]
    assert {
        "history",
        "poisson_sigmoid",
        "poisson_softplus",
        "poisson_exp",
        "bernoulli_sigmoid",
        "conv",
        "conv_onehot",
        "true parameters",
    } <= set(passed)


def test_the_runner_sees_a_wrong_library(monkeypatch):
    right = inference.session_log_likelihoods

    def wrong(model, recording):
        return right(model, recording) * 1.0001

    monkeypatch.setattr(inference, "session_log_likelihoods", wrong)
    found = verdicts(shared("reference/switching"))
    assert found["fixture_N10_S3_T2000.npz:poisson_exp"] == "fail"


def enumerate_paths(initial, transition, evidence):
    """Exact messages by summing over every path."""
    import itertools

    n_steps, n_states = evidence.shape
    paths = np.array(list(itertools.product(range(n_states), repeat=n_steps)))
    joint = np.log(initial)[paths[:, 0]] + evidence[0, paths[:, 0]]
    for t in range(1, n_steps):
        joint += np.log(transition)[paths[:, t - 1], paths[:, t]]
        joint += evidence[t, paths[:, t]]
    total = np.logaddexp.reduce(joint)
    weight = np.exp(joint - total)
    gamma = np.array(
        [
            [weight[paths[:, t] == s].sum() for s in range(n_states)]
            for t in range(n_steps)
        ]
    )
    xi = np.zeros((n_steps - 1, n_states, n_states))
    for t in range(n_steps - 1):
        np.add.at(xi[t], (paths[:, t], paths[:, t + 1]), weight)
    best = joint.argmax()
    return total, gamma, xi, paths[best], joint[best]


def own_fixture(n_neurons=2, n_states=2, n_steps=5, n_lags=2) -> dict[str, Any]:
    """A fixture of another size, made by loops and enumeration alone."""
    from tests.switching.models import random_model

    model = random_model(4, n_states, n_neurons, 1, n_lags, ("poisson", "softplus"))
    generator = np.random.default_rng(0)
    counts = generator.poisson(0.8, (n_steps, n_neurons)).astype(np.uint8)
    bias = model.bias[0]
    shared_bias = model.__class__(
        **{n: getattr(model, n) for n in model.__dataclass_fields__}
        | {"bias": np.tile(bias, (n_states, 1))}
    )
    evidence = slow_log_likelihoods(shared_bias, counts.astype(float))
    initial, transition = model.initial, model.transition_matrix
    total, gamma, xi, path, joint = enumerate_paths(initial, transition, evidence)
    filtered = np.array(
        [
            enumerate_paths(initial, transition, evidence[: t + 1])[1][-1]
            for t in range(n_steps)
        ]
    )
    past = np.array(
        [
            sum(
                model.basis[0, k] * counts[t - 1 - k].astype(float)
                for k in range(n_lags)
                if t - 1 - k >= 0
            )
            + np.zeros(n_neurons)
            for t in range(n_steps)
        ]
    )
    rates = slow_rates(shared_bias, counts.astype(float))
    slope = (counts[None] / (rates + 1e-8) - 1) * (1 - np.exp(-rates))
    weighted = gamma.T[:, :, None] * slope
    floored = np.exp(np.maximum(np.log(xi.sum(0) / xi.sum((0, 2))[:, None]), -8))
    expected = float((gamma * evidence).sum())
    chain = (gamma[0] + np.log(initial)).sum() + (xi.sum(0) * np.log(transition)).sum()
    tag = "poisson_softplus__"
    weight = model.weight[..., 0]
    return {
        "spikes": counts,
        "states_true": path.astype(np.int8),
        "basis_recent_first": model.basis[0],
        "convolved_spikes": past,
        "weight": weight,
        "adjacency": np.sign(weight).astype(np.int8),
        "strength": np.abs(weight),
        "bias": bias,
        "transition_matrix": transition,
        "init_p": initial,
        f"{tag}loglik_per_state": evidence,
        f"{tag}rates_first50": rates[:, :50],
        f"{tag}gamma": gamma,
        f"{tag}filtered": filtered,
        f"{tag}xi_sum": xi.sum(0),
        f"{tag}xi_first100": xi[:100],
        f"{tag}log_marginal": np.array(total),
        f"{tag}viterbi": path.astype(np.int8),
        f"{tag}viterbi_log_joint": np.array(joint),
        f"{tag}expected_loglik": np.array(expected),
        f"{tag}mstep_objective_ref": np.array(chain + expected),
        f"{tag}grad_weight": np.einsum("stn,tm->snm", weighted, past),
        f"{tag}grad_bias": weighted.sum((0, 1)),
        f"{tag}transition_update": floored / floored.sum(1, keepdims=True),
    }


@pytest.fixture
def own_folder(tmp_path) -> Path:
    np.savez(tmp_path / "another.npz", **own_fixture())
    return tmp_path


def test_other_sizes_and_names_are_understood(own_folder):
    found = verdicts(own_folder)
    assert set(found.values()) == {"pass"}, found
    assert "another.npz:poisson_softplus" in found


@pytest.mark.parametrize("change", ["missing", "unknown", "wrong"])
def test_what_is_not_right_fails(own_folder, change):
    arrays = own_fixture()
    if change == "missing":
        del arrays["poisson_softplus__gamma"]
    if change == "unknown":
        arrays["poisson_softplus__novelty"] = np.zeros(3)
    if change == "wrong":
        arrays["poisson_softplus__gamma"][2, 0] += 1e-5
    np.savez(own_folder / "another.npz", **arrays)
    assert "fail" in verdicts(own_folder).values()


def test_a_damaged_file_fails(own_folder):
    path = own_folder / "another.npz"
    path.write_bytes(path.read_bytes()[:-200])
    assert set(verdicts(own_folder).values()) == {"fail"}


def test_a_simulation_without_scores_is_data(tmp_path):
    source = shared("reference/switching/sim_N20_S5_seed0.npz")
    shutil.copy(source, tmp_path / "sim_other.npz")
    assert set(verdicts(tmp_path).values()) == {"data"}
    scores = {"true_parameters": {"test_ll_per_bin": -16.5, "state_acc_test": 0.98}}
    (tmp_path / "sim_other_scores.json").write_text(json.dumps(scores))
    assert set(verdicts(tmp_path).values()) == {"fail"}


def test_nothing_is_left_in_double_precision(own_folder):
    verdicts(own_folder)
    assert jax.numpy.ones(1).dtype == np.float32
