"""Check neuromod.switching against stored numbers.

``python tests/parity/switching.py FOLDER`` reads every ``*.npz`` of the folder in
the format that its README describes, and prints one JSON line per case.
"""

import json
import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # a script's own folder must not shadow packages
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax
import jax.numpy as jnp
import numpy as np

from neuromod import kernels
from neuromod.switching import chain, glm, inference, preferences, reference
from neuromod.switching.features import history
from neuromod.switching.model import SwitchingGLM
from neuromod.switching.priors import Normal
from neuromod.switching.recording import rows_of
from tests.parity._format import Fixture, Report, run

TIGHT = 1e-10
# A float64 log-domain recursion ends in rounding of 4e-10.
MESSAGES = 1e-8
SCORES = 2e-4  # the scores are stored rounded


def check(fixture: Fixture, report: Report, folder: Path) -> None:
    """Tell the kind of file by its arrays, and check every case in it."""
    with jax.enable_x64(True):
        if "n_train" in fixture:
            return _check_simulation(fixture, report, folder)
        if "convolved_spikes" in fixture:
            return _check_fixture(fixture, report)
    raise ValueError("neither a fixture nor a simulation")


def _tags(fixture: Fixture) -> list[str]:
    ending = "__log_marginal"
    return [k.removesuffix(ending) for k in fixture.arrays if k.endswith(ending)]


def _check_fixture(fixture: Fixture, report: Report) -> None:
    with report.case(fixture.name, "history") as case:
        basis = fixture["basis_recent_first"][None]
        counts = fixture["spikes"].astype(float)
        past = history(counts, basis)[..., 0]
        case.compare("convolved_spikes", past, fixture["convolved_spikes"], TIGHT)
    with report.case(fixture.name, "generator") as case:
        weight = fixture["adjacency"] * fixture["strength"]
        case.compare("weight", weight, fixture["weight"], TIGHT)
        fixture["states_true"]  # the simulated path; no test case
    for tag in _tags(fixture):
        _check_tag(fixture, report, tag)
    if any(k.startswith("conv__") for k in fixture.arrays):
        _check_lagwise(fixture, report)
    if any(k.startswith("conv_onehot__") for k in fixture.arrays):
        _check_lagwise_onehot(fixture, report)
    if "gaussprior__mean" in fixture:
        _check_gaussian_prior(fixture, report)
    if "onehotprior__adjacency_logits" in fixture:
        _check_one_hot_prior(fixture, report)


def _check_gaussian_prior(fixture: Fixture, report: Report) -> None:
    """Check the prior that ties the states, as exact EM and the reference use it."""

    def stored(suffix):
        return fixture[f"gaussprior__{suffix}"]

    with report.case(fixture.name, "gaussprior") as case:
        weight = jnp.asarray(fixture["weight"])
        case.compare("mean", weight.mean(0), stored("mean"), TIGHT)
        precision = jnp.full_like(weight, float(stored("std")) ** -2)

        def log_density(weight, mean):
            normal = Normal(jnp.broadcast_to(mean[None], weight.shape), precision)
            return normal.log_density(weight).sum()

        mean = jnp.asarray(stored("mean"))
        case.compare("logprob", log_density(weight, mean), stored("logprob"), TIGHT)
        tied = reference.tied_normal(weight).log_density(weight).sum()
        case.compare("logprob, reference", tied, stored("logprob"), TIGHT)
        gradient = jax.grad(log_density)(weight, mean)
        case.compare("grad_weight", gradient, stored("grad_weight"), TIGHT)
        gradient = jax.grad(lambda w: reference.tied_normal(w).log_density(w).sum())(
            weight
        )
        case.compare("grad_weight, reference", gradient, stored("grad_weight"), TIGHT)
        around_zero = log_density(weight, jnp.zeros_like(mean))
        case.compare("zero mean", around_zero, stored("logprob_zero_mean"), TIGHT)


def _check_one_hot_prior(fixture: Fixture, report: Report) -> None:
    """Check the densities of kinds, and the weights that they give."""

    def stored(suffix):
        return fixture[f"onehotprior__{suffix}"]

    with report.case(fixture.name, "onehotprior") as case:
        logits = jnp.asarray(stored("adjacency_logits"))
        preference = jnp.asarray(stored("prior_logits"))
        log_kinds = jax.nn.log_softmax(logits, axis=-1)
        asked = jnp.broadcast_to(preference[None], logits.shape)
        prefix = "onehotprior__logdensity_tau"
        for key in [k for k in fixture.arrays if k.startswith(prefix)]:
            text = key.removeprefix(prefix)
            found = reference.gumbel_softmax_log_density(log_kinds, asked, float(text))
            case.compare(f"density at {text}", found, fixture[key], TIGHT)
            added = reference.paper_log_prior(logits, preference, float(text))
            want = stored(f"paper_code_sum_tau{text}")
            case.compare(f"paper's sum at {text}", added, want, TIGHT)
        kinds = jnp.exp(log_kinds)
        cross = preferences.cross_term(kinds, jax.nn.log_softmax(preference)[None])
        entropy = preferences.entropy(kinds)
        for name, found in (("categorical_cross_term", cross), ("entropy", entropy)):
            want = stored(name)
            found = found if np.shape(want) else found.sum()
            case.compare(name, found, want, TIGHT)
        raw = jnp.asarray(stored("strength_raw"))
        soft = reference.signed_weight(kinds, raw)
        hard = reference.signed_weight(reference.hard_kinds(logits), raw)
        case.compare("weight_softmax", soft, stored("weight_softmax"), TIGHT)
        case.compare("weight_hard", hard, stored("weight_hard"), TIGHT)


def _check_tag(fixture: Fixture, report: Report, tag: str) -> None:
    """Check one observation and link at the stored parameters."""

    def stored(suffix):
        return fixture[f"{tag}__{suffix}"]

    with report.case(fixture.name, tag) as case:
        observation, link = tag.split("_", 1)
        weight = fixture["weight"][..., None]
        bias = np.tile(fixture["bias"], (len(weight), 1))
        model = _model(fixture, bias, weight, fixture["basis_recent_first"][None])
        model = SwitchingGLM(
            **_fields(model) | {"observation": observation, "link": link}
        )
        counts = fixture["spikes"].astype(float)
        recording = _recording(counts[None])
        evidence = inference.session_log_likelihoods(model, recording)
        case.compare("loglik_per_state", evidence[0], stored("loglik_per_state"), TIGHT)
        _compare_rates(case, model, counts, stored("rates_first50"))
        posterior = inference.expectation(model, evidence, recording)
        _compare_messages(case, stored, model, evidence[0], posterior)
        _compare_m_step(case, stored, model, recording, posterior)


def _fields(model: SwitchingGLM) -> dict:
    return {name: getattr(model, name) for name in model.__dataclass_fields__}


def _model(fixture, bias, weight, basis) -> SwitchingGLM:
    n_states = len(bias)
    initial = (
        fixture["init_p"] if "init_p" in fixture else np.full(n_states, 1 / n_states)
    )
    return SwitchingGLM(
        initial=initial,
        transition_matrix=fixture["transition_matrix"].astype(float),
        bias=bias,
        weight=weight,
        basis=basis,
    )


def _recording(counts: np.ndarray) -> inference.Recording:
    n_sessions, n_steps, _ = counts.shape
    observed = np.ones((n_sessions, n_steps), dtype=bool)
    nothing = np.zeros((n_sessions, n_steps, 0))
    lengths = np.full(n_sessions, n_steps)
    return inference.Recording(counts, observed, lengths, nothing, nothing)


def _compare_rates(case, model, counts, stored) -> None:
    recording = _recording(counts[None, : stored.shape[1]])
    rows = rows_of(model, recording)
    for state in range(model.n_states):
        chosen = np.eye(model.n_states)[np.full(stored.shape[1], state)]
        found = glm.expect(model, rows, chosen)
        case.compare(f"rates of state {state}", found, stored[state], TIGHT)


def _compare_messages(case, stored, model, evidence, posterior) -> None:
    chain = (model.initial, model.transition_matrix, evidence)
    case.compare("gamma", posterior.smoothed[0], stored("gamma"), MESSAGES)
    case.compare(
        "xi_sum", posterior.transition_counts.sum(0), stored("xi_sum"), MESSAGES
    )
    log_marginal = posterior.log_likelihood[0]
    case.compare("log_marginal", log_marginal, stored("log_marginal"), TIGHT)
    filtered = kernels.hmm_filter(*chain).filtered
    case.compare("filtered", filtered, stored("filtered"), MESSAGES)
    path = kernels.hmm_viterbi(*chain)
    case.compare("viterbi", path.path, stored("viterbi"), 0)
    joint = stored("viterbi_log_joint")
    case.compare("viterbi_log_joint", path.log_joint, joint, TIGHT)
    first = stored("xi_first100")
    pairs = kernels.hmm_smoother(
        *chain, transition_posteriors=True
    ).transition_posteriors
    case.compare("xi_first100", pairs[: len(first)], first, MESSAGES)


def _compare_m_step(case, stored, model, recording, posterior) -> None:
    rows = rows_of(model, recording)
    weights = inference.observed_rows(posterior.smoothed, recording)
    found = glm.differentiate(model, rows, weights)
    expected = (weights * glm.evaluate(model, rows, weights).evidence).sum()
    case.compare("expected_loglik", expected, stored("expected_loglik"), MESSAGES)
    reported = reference.objective(model, posterior, expected)
    want = stored("mstep_objective_ref")
    case.compare("mstep_objective_ref", reported, want, MESSAGES)
    weight = found.gradient[..., 1:]
    case.compare("grad_weight", weight, stored("grad_weight"), MESSAGES)
    bias = found.gradient[..., 0].sum(0)
    case.compare("grad_bias", bias, stored("grad_bias"), MESSAGES)
    _compare_transitions(case, model, posterior, stored("transition_update"))


def _compare_transitions(case, model, posterior, update) -> None:
    """Compare the reference's floored update, and the exact one where no floor acts."""
    counts = posterior.transition_counts.sum(0)
    found = reference.update_transition(counts)
    case.compare("transition_update", found, update, MESSAGES)
    exact = chain.update_static(model, counts, chain.ChainPrior(1.0, 0.0, 1.0))
    floored = np.exp(np.maximum(np.log(np.asarray(exact.transition_matrix)), -8))
    floored /= floored.sum(1, keepdims=True)
    case.compare("transition_update of EM", floored, update, MESSAGES)


def _check_lagwise(fixture: Fixture, report: Report) -> None:
    """Check a free weight for every lag; the last stored lag is the latest bin."""
    with report.case(fixture.name, "conv") as case:
        weight = fixture["conv__kernel"][..., ::-1]
        model = _model(fixture, fixture["conv__bias"], weight, np.eye(weight.shape[-1]))
        recording = _recording(fixture["spikes"].astype(float)[None])
        evidence = inference.session_log_likelihoods(model, recording)
        want = fixture["conv__loglik_per_state"]
        case.compare("loglik_per_state", evidence[0], want, TIGHT)
        _compare_rates(case, model, recording.values[0], fixture["conv__mean_first50"])
        posterior = inference.expectation(model, evidence, recording)
        gamma = fixture["conv__gamma"]
        case.compare("gamma", posterior.smoothed[0], gamma, MESSAGES)
        path = kernels.hmm_viterbi(model.initial, model.transition_matrix, evidence[0])
        case.compare("viterbi", path.path, fixture["conv__viterbi"], 0)
        _compare_transitions(case, model, posterior, fixture["conv__transition_update"])


def _check_lagwise_onehot(fixture: Fixture, report: Report) -> None:
    """Check weights that share a kernel per pair, with free self-history."""
    with report.case(fixture.name, "conv_onehot") as case:
        pair = fixture["conv_onehot__weight_hard_with_diag_masked"]
        weight = pair[..., None] * fixture["conv_onehot__kernel_simplex"][None]
        own = np.arange(weight.shape[1])
        weight[:, own, own] += fixture["conv_onehot__diag_kernel"]
        model = _model(
            fixture,
            fixture["conv_onehot__bias"],
            weight[..., ::-1],
            np.eye(weight.shape[-1]),
        )
        recording = _recording(fixture["spikes"].astype(float)[None])
        evidence = inference.session_log_likelihoods(model, recording)
        want = fixture["conv_onehot__loglik_per_state"]
        case.compare("loglik_per_state", evidence[0], want, TIGHT)
        rates = fixture["conv_onehot__mean_first50"]
        _compare_rates(case, model, recording.values[0], rates)


def _check_simulation(fixture: Fixture, report: Report, folder: Path) -> None:
    """Score the true parameters on the held-out sequences, where scores are stored."""
    scores = folder / fixture.name.replace(".npz", "_scores.json")
    if not scores.exists():
        return _report_data(fixture, report)
    stored = json.loads(scores.read_text())["true_parameters"]
    for key in ("adjacency", "strength", "adjacency_prior"):
        fixture[key]
    n_train = int(fixture["n_train"])
    weight = fixture["weight"].astype(float)
    bias = np.tile(fixture["bias"].astype(float), (len(weight), 1))
    basis = fixture["basis_recent_first"].astype(float)[None]
    counts = fixture["spikes"][n_train:].astype(float)
    states = fixture["states_true"][n_train:]
    with report.case(fixture.name, "true parameters") as case:
        model = _model(fixture, bias, weight[..., None], basis)
        matrix = np.asarray(model.transition_matrix)
        matrix = matrix / matrix.sum(1, keepdims=True)
        fields = _fields(model) | {"link": "sigmoid", "transition_matrix": matrix}
        model, recording = SwitchingGLM(**fields), _recording(counts)
        evidence = inference.session_log_likelihoods(model, recording)
        found = inference.expectation(model, evidence, recording)
        per_bin = found.log_likelihood.sum() / states.size
        case.compare("test_ll_per_bin", per_bin, stored["test_ll_per_bin"], SCORES)
        accuracy = (np.asarray(found.smoothed).argmax(-1) == states).mean()
        case.compare("state_acc_test", accuracy, stored["state_acc_test"], SCORES)


def _report_data(fixture: Fixture, report: Report) -> None:
    fixture.asked.update(fixture.arrays)
    with report.case(fixture.name, "simulation") as case:
        case.state("data", "a simulation without stored scores")


if __name__ == "__main__":
    run(partial(check, folder=Path(sys.argv[-1])))
