import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod import kernels
from neuromod.switching import chain, em, glm, inference
from neuromod.switching.bins import bins_of
from neuromod.switching.information import (
    ROWS_OF_A_STEP,
    choose,
    count,
    effective_share,
    inform,
)
from neuromod.switching.priors import Ridge
from neuromod.switching.recording import rows_of
from tests.switching.models import (
    KINDS,
    flat_chain,
    random_model,
    random_values,
    recording_of,
    slow_log_likelihoods,
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def random_weights(model, recording, seed=0):
    """Random posterior probabilities (row, state)."""
    generator = np.random.default_rng(seed)
    n_rows = recording.observed.size
    return jnp.asarray(generator.dirichlet(np.ones(model.n_states), n_rows))


def problem_of(model, recording, prior=None):
    prior = Ridge(jnp.asarray(0.0)) if prior is None else prior
    return inference.Problem(recording, bins_of(model, recording), prior, flat_chain())


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: "-".join(k))
def test_log_likelihoods_equal_plain_loops(kind):
    model = random_model(kind=kind, n_basis=2, n_inputs=2)
    values = random_values(kind, n_steps=15)
    inputs = np.random.default_rng(1).normal(size=(1, 15, 2))
    found = inference.session_log_likelihoods(model, recording_of(values, None, inputs))
    expected = slow_log_likelihoods(model, values[0], inputs[0])
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


def test_a_filter_of_its_own_replaces_the_self_weight():
    model = random_model(n_own=2)
    values = random_values(KINDS[0], n_steps=15)
    found = inference.session_log_likelihoods(model, recording_of(values))
    np.testing.assert_allclose(found[0], slow_log_likelihoods(model, values[0]))


@pytest.mark.parametrize("entries", [7, 60])
def test_chunks_change_nothing(monkeypatch, entries):
    model, recording = random_model(n_own=1), recording_of(random_values(KINDS[0]))
    rows, weights = (
        rows_of(model, recording),
        random_weights(model, recording),
    )

    def compute():
        results = [
            jax.jit(function.__wrapped__)(model, rows, weights)
            for function in (glm.evaluate, glm.differentiate, glm.expect)
        ]
        every = choose(weights, len(weights)).rows
        results.append(jax.jit(inform.__wrapped__)(model, rows, every, weights))
        return [np.asarray(leaf) for leaf in jax.tree.leaves(results)]

    whole = compute()
    monkeypatch.setattr(glm, "CHUNK_ENTRIES", entries)
    monkeypatch.setattr(glm, "FEWEST_ROWS", 1)
    for got, want in zip(compute(), whole, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


def objective_at(model, rows, weights, values):
    moved = glm.with_coefficients(model, glm.ungrouped(model, values))
    return glm.evaluate(moved, rows, weights).objective


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: "-".join(k))
def test_derivatives_against_differences(kind):
    model = random_model(kind=kind, n_inputs=1, n_own=0 if "cat" in kind[0] else 2)
    inputs = np.random.default_rng(1).normal(size=(1, 40, 1))
    recording = recording_of(random_values(kind), None, inputs)
    rows, weights = (
        rows_of(model, recording),
        random_weights(model, recording),
    )
    values = glm.grouped(model, glm.coefficients(model))
    found = glm.differentiate(model, rows, weights)
    step, last = 1e-6, values.shape[-1] - 1
    for index in [(0, 0, 0), (1, values.shape[1] - 1, 1), (0, 0, 2), (0, 0, last)]:
        moved = [
            objective_at(model, rows, weights, values.at[index].add(d)).sum()
            for d in (step, -step)
        ]
        slope = float(moved[0] - moved[1]) / (2 * step)
        assert float(found.gradient[index]) == pytest.approx(slope, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kind", [KINDS[4], KINDS[5]], ids=lambda k: k[0])
def test_derivatives_by_the_dispersion(kind):
    model = random_model(kind=kind)
    recording = recording_of(random_values(kind))
    rows, weights = (
        rows_of(model, recording),
        random_weights(model, recording),
    )

    def objective(log_dispersion):
        moved = jax.tree.map(jnp.asarray, model)
        moved = eqx.tree_at(lambda m: m.dispersion, moved, jnp.exp(log_dispersion))
        return glm.evaluate(moved, rows, weights).objective.sum()

    at = jnp.log(jnp.asarray(model.dispersion))
    found = glm.differentiate(model, rows, weights)
    np.testing.assert_allclose(
        found.dispersion_gradient, jax.jit(jax.grad(objective))(at), rtol=1e-8
    )
    hessian = jax.jit(jax.hessian(objective))(at)
    second = np.diag(np.asarray(hessian).reshape(at.size, at.size))
    np.testing.assert_allclose(
        found.dispersion_curvature.ravel(), -second, rtol=1e-7, atol=1e-9
    )


def informed(model, rows, weights, before, n_draws):
    """Return the information under some weights, of rows chosen by those before."""
    chosen = choose(before, n_draws)
    return np.asarray(inform(model, rows, chosen.rows, count(chosen, weights)))


@pytest.mark.parametrize(
    "kind", [KINDS[2], KINDS[3], KINDS[5], KINDS[6]], ids=lambda k: k[0]
)
def test_information_of_canonical_links_is_the_negative_hessian(kind):
    model = random_model(kind=kind)
    recording = recording_of(random_values(kind))
    rows, weights = (
        rows_of(model, recording),
        random_weights(model, recording),
    )
    values = glm.grouped(model, glm.coefficients(model))
    found = informed(model, rows, weights, weights, len(weights))
    group = values.shape[1] - 1

    def objective(own):
        moved = values.at[1, group].set(own)
        return objective_at(model, rows, weights, moved)[1].sum()

    hessian = jax.jit(jax.hessian(objective))(values[1, group])
    np.testing.assert_allclose(found[1, group], -hessian, rtol=2e-6, atol=1e-6)


def test_a_sample_of_the_rows_estimates_the_information():
    model = random_model(n_own=2)
    recording = recording_of(random_values(KINDS[0], n_steps=6000))
    rows, weights = (
        rows_of(model, recording),
        random_weights(model, recording),
    )
    exact = informed(model, rows, weights, weights, len(weights))
    guess = informed(model, rows, weights, weights, ROWS_OF_A_STEP)
    assert not np.array_equal(exact, guess)
    scale = np.sqrt(np.diagonal(exact, axis1=-2, axis2=-1)) + 1e-12
    relative = (guess - exact) / (scale[..., None] * scale[..., None, :])
    assert np.abs(relative).max() < 0.15
    # Rows that were chosen by other weights still estimate the same, less precisely.
    others = jnp.asarray(np.random.default_rng(1).uniform(0.5, 1.5, weights.shape))
    worn = informed(model, rows, weights, weights * others, ROWS_OF_A_STEP)
    relative = (worn - exact) / (scale[..., None] * scale[..., None, :])
    assert np.abs(relative).max() < 0.2
    chosen = choose(weights * others, ROWS_OF_A_STEP)
    share = float(effective_share(count(chosen, weights)))
    assert 0.5 < share < float(effective_share(count(chosen, weights * others)))
    # The diagonal, where the neuron has its own filter, is no coefficient.
    assert (guess[:, 0, 3] == 0).all()


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[3], KINDS[6]], ids=lambda k: k[0])
def test_fisher_identity(kind):
    """The GLM gradient at the posterior is that of the log marginal likelihood."""
    model = random_model(kind=kind, n_tilts=1)
    values = random_values(kind, n_sessions=2, n_steps=25)
    tilts = np.random.default_rng(2).normal(size=(2, 25, 1))
    recording = recording_of(values, [25, 18], None, tilts)

    def log_marginal(values):
        moved = glm.with_coefficients(model, glm.ungrouped(model, values))
        evidence = inference.session_log_likelihoods(moved, recording)
        return inference.per_session(
            kernels.hmm_log_likelihood, moved, evidence, recording
        ).sum()

    at = glm.grouped(model, glm.coefficients(model))
    evidence = inference.session_log_likelihoods(model, recording)
    posterior = inference.expectation(model, evidence, recording)
    weights = inference.observed_rows(posterior.smoothed, recording)
    rows = rows_of(model, recording)
    found = glm.differentiate(model, rows, weights).gradient
    expected = jax.jit(jax.grad(log_marginal))(at)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


class Quiet:
    def set_postfix_str(self, text):
        """Show nothing."""


def climb(model, problem, n_iterations, baseline=-0.3):
    """Run EM and return where it ended, and the objectives on the way."""
    baseline = jnp.full(model.n_neurons, baseline)
    state = inference.start_prior(problem.prior, model, baseline)
    run = em.climb(em.Climber(model, state), problem, n_iterations, 1e-12, Quiet())
    return run.end.model, np.array(run.objectives)


@pytest.mark.parametrize(
    ("kind", "ridge", "n_states"),
    [
        (KINDS[0], 0.0, 3),
        (KINDS[1], 0.0, 3),  # whose GLMs are not concave
        (KINDS[3], 1.0, 1),
        (KINDS[4], 0.1, 2),
        (KINDS[5], 0.1, 2),
        (KINDS[6], 0.1, 2),
    ],
    ids=lambda v: v[0] + v[1] if isinstance(v, tuple) else str(v),
)
def test_em_never_lowers_the_objective(kind, ridge, n_states):
    model = random_model(kind=kind, n_states=n_states)
    values = random_values(kind, n_sessions=2, n_steps=60)
    recording = recording_of(values, [60, 41])
    prior = Ridge(jnp.asarray(ridge))
    model, objectives = climb(model, problem_of(model, recording, prior), 15)
    gains = np.diff(objectives)
    assert gains.min() >= -1e-10 * abs(objectives[0])
    assert objectives[-1] - objectives[0] > 1.0
    np.testing.assert_allclose(np.asarray(model.transition_matrix).sum(1), 1)


def test_driven_transitions_never_lower_the_objective_and_find_their_weights():
    truth = random_model(n_neurons=4, stay=0.8, n_tilts=1, seed=5)
    generator = np.random.default_rng(0)
    tilts = generator.normal(size=(4, 500, 1))
    states = np.zeros((4, 500), int)
    for session in range(4):
        matrices = np.asarray(chain.transitions(truth, tilts[session]))
        for t in range(1, 500):
            row = matrices[t - 1, states[session, t - 1]]
            states[session, t] = generator.choice(2, p=row)
    rates = np.array([0.3, 3.0])[states][..., None]
    values = generator.poisson(rates, size=(4, 500, 4)).astype(float)
    recording = recording_of(values, None, None, tilts)
    start = random_model(n_neurons=4, n_tilts=1, seed=1, n_basis=0, n_lags=0)
    bias = np.log(np.expm1(np.tile([[0.3], [3.0]], 4)))
    start = eqx.tree_at(
        lambda m: (m.bias, m.transition_weight), start, (bias, np.zeros((2, 2, 1)))
    )
    problem = problem_of(start, recording, Ridge(jnp.asarray(1.0)))
    found, objectives = climb(start, problem, 25)
    assert np.diff(objectives).min() >= -1e-9 * abs(objectives[0])
    odds = np.diff(np.asarray(found.transition_weight)[..., 0], axis=1)[:, 0]
    true = np.diff(truth.transition_weight[..., 0], axis=1)[:, 0]
    np.testing.assert_allclose(odds, true, atol=0.35)


def test_one_state_climbs_to_the_glm_optimum():
    model = random_model(n_states=1)
    recording = recording_of(random_values(KINDS[0], n_steps=200))
    prior = Ridge(jnp.asarray(0.3))
    problem = problem_of(model, recording, prior)
    model, _ = climb(model, problem, 12)
    values = glm.grouped(model, glm.coefficients(model))
    gradient = glm.differentiate(model, problem.bins.rows, jnp.ones((200, 1))).gradient
    centred = values.at[..., 0].add(0.3)
    assert np.abs(gradient - 0.3 * centred).max() < 1e-6


def test_padding_changes_nothing():
    model, counts = random_model(), random_values(KINDS[0], n_steps=30)
    loud = np.concatenate([counts, np.full((1, 9, 3), 5.0)], axis=1)
    results = [
        climb(model, problem_of(model, recording, Ridge(jnp.asarray(1.0))), 3)
        for recording in (recording_of(counts), recording_of(loud, [30]))
    ]
    np.testing.assert_allclose(*(r[1] for r in results), rtol=1e-12)
    np.testing.assert_allclose(*(r[0].weight for r in results), rtol=1e-9)


def test_absent_neurons_give_no_evidence_and_learn_from_other_sessions():
    model = random_model()
    values = random_values(KINDS[0], n_sessions=2)
    recorded = np.array([[True, True, True], [True, False, True]])
    with_gap = recording_of(values, recorded=recorded)
    whole = recording_of(values)
    without, full = (
        inference.session_log_likelihoods(model, r) for r in (with_gap, whole)
    )
    np.testing.assert_allclose(without[0], full[0])
    rows, weights = rows_of(model, with_gap), random_weights(model, with_gap)
    gradient = glm.differentiate(model, rows, weights).gradient[:, 1]
    first = recording_of(values[:1])
    alone = glm.differentiate(model, rows_of(model, first), weights[:40])
    np.testing.assert_allclose(gradient, alone.gradient[:, 1], rtol=1e-10)


def test_a_thousand_neurons_do_not_underflow():
    model = random_model(n_neurons=1000, n_basis=0, n_lags=0)
    recording = recording_of(random_values(KINDS[0], n_neurons=1000, n_steps=20))
    evidence = inference.session_log_likelihoods(model, recording)
    posterior = inference.expectation(model, evidence, recording)
    assert evidence.max() < -800
    assert np.isfinite(posterior.log_likelihood).all()
    np.testing.assert_allclose(np.asarray(posterior.smoothed).sum(-1), 1, rtol=1e-10)


def test_an_unvisited_state_keeps_its_transitions():
    model = random_model(n_states=3)
    counts = jnp.zeros((3, 3)).at[0, 1].set(4.0).at[1, 0].set(2.0)
    updated = chain.update_static(model, counts, flat_chain())
    np.testing.assert_allclose(updated.transition_matrix[0], [0, 1, 0])
    np.testing.assert_allclose(updated.transition_matrix[2], model.transition_matrix[2])


def test_stickiness_and_concentration_add_pseudo_jumps():
    model, counts = random_model(), jnp.array([[6.0, 4.0], [2.0, 8.0]])
    prior = flat_chain()._replace(concentration=jnp.asarray(2.0), stickiness=3.0)
    updated = chain.update_static(model, counts, prior)
    expected = np.array([[10 / 15, 5 / 15], [3 / 15, 12 / 15]])
    np.testing.assert_allclose(updated.transition_matrix, expected)
