import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod import kernels
from neuromod.switching import glm, inference
from tests.switching.models import (
    KINDS,
    random_counts,
    random_model,
    slow_log_likelihoods,
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def recording_of(counts, lengths=None):
    lengths = np.full(len(counts), counts.shape[1]) if lengths is None else lengths
    observed = np.arange(counts.shape[1])[None] < np.asarray(lengths)[:, None]
    return inference.Recording(
        jnp.asarray(counts), jnp.asarray(observed), jnp.asarray(lengths)
    )


def rows_of(model, recording, seed=0):
    """Features, counts and random posterior probabilities."""
    features = glm.features(recording.counts, model.basis)
    features = jnp.reshape(features, (-1, features.shape[-1]))
    counts = jnp.reshape(recording.counts, (features.shape[0], -1))
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.ones(model.n_states), len(features))
    return features, counts, jnp.asarray(weights)


def prior_of(model, ridge):
    return glm.Prior(jnp.asarray(ridge), jnp.full(model.n_neurons, -0.3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_basis", [1, 2])
def test_log_likelihoods_equal_plain_loops(kind, n_basis):
    model = random_model(kind=kind, n_basis=n_basis)
    counts = random_counts(n_steps=15)
    found = inference.session_log_likelihoods(model, recording_of(counts))
    expected = slow_log_likelihoods(model, counts[0])
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)


@pytest.mark.parametrize("entries", [7, 60])
def test_chunks_change_nothing(monkeypatch, entries):
    model, recording = random_model(), recording_of(random_counts(n_steps=33))
    rows = rows_of(model, recording)
    values = glm.coefficients(model)

    def evaluate():
        evidence = inference.session_log_likelihoods(model, recording)
        found = glm.statistics(model, values, rows, prior_of(model, 0.5))
        return [np.asarray(leaf) for leaf in jax.tree.leaves((evidence, found))]

    whole = evaluate()
    monkeypatch.setattr(glm, "CHUNK_ENTRIES", entries)
    for got, want in zip(evaluate(), whole, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_glms_against_finite_differences(kind):
    model, recording = random_model(kind=kind), recording_of(random_counts())
    rows, prior = rows_of(model, recording), prior_of(random_model(), 0.7)
    values = glm.coefficients(model)
    gradient = glm.statistics(model, values, rows, prior).gradient
    step = 1e-6
    for index in [(0, 0, 0), (1, 2, 1), (0, 1, 3)]:
        moved = [
            glm.objective(model, values.at[index].add(d), rows, prior)
            for d in (step, -step)
        ]
        slope = float((moved[0] - moved[1]).sum()) / (2 * step)
        assert float(gradient[index]) == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_information_of_the_canonical_link_is_the_negative_hessian():
    model = random_model(kind=("poisson", "exp"))
    rows = rows_of(model, recording_of(random_counts()))
    prior, values = prior_of(model, 0.7), glm.coefficients(model)
    found = glm.statistics(model, values, rows, prior).information

    def objective(own):
        moved = values.at[1, 2].set(own)
        return glm.objective(model, moved, rows, prior)[1, 2]

    hessian = jax.hessian(objective)(values[1, 2])
    np.testing.assert_allclose(found[1, 2], -hessian, rtol=1e-6)


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[3]])
def test_fisher_identity(kind):
    """The GLM gradient at the posterior is that of the log marginal likelihood."""
    model = random_model(kind=kind)
    recording = recording_of(random_counts(n_sessions=2, n_steps=25), [25, 18])

    def log_marginal(values):
        evidence = inference.session_log_likelihoods(
            glm.with_coefficients(model, values), recording
        )
        chain = (model.initial, model.transition_matrix)

        def of_session(evidence, observed, length):
            return kernels.hmm_log_likelihood(
                *chain, evidence, observed=observed, length=length
            )

        return jax.vmap(of_session)(
            evidence, recording.observed, recording.lengths
        ).sum()

    values = glm.coefficients(model)
    evidence = inference.session_log_likelihoods(model, recording)
    posterior = inference.expectation(
        model, evidence, recording.observed, recording.lengths
    )
    features, counts, _ = rows_of(model, recording)
    weights = jnp.reshape(posterior.smoothed, (-1, model.n_states))
    found = glm.statistics(
        model, values, (features, counts, weights), prior_of(model, 0.0)
    )
    expected = jax.grad(log_marginal)(values)
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-8, atol=1e-8)


def climb(model, recording, prior, n_iterations):
    """Run EM and return the model with the objectives on the way."""
    problem, objectives = inference.pose(recording, model.basis, prior), []
    for _ in range(n_iterations):
        found = inference.e_step(model, problem)
        objectives.append(float(found.objective))
        model = inference.m_step(model, problem, found.posterior).model
    return model, np.array(objectives)


@pytest.mark.parametrize(
    ("kind", "ridge", "n_states"),
    [
        (KINDS[0], 0.0, 3),
        (KINDS[1], 0.0, 3),  # whose GLMs are not concave
        (KINDS[3], 1.0, 1),
    ],
)
def test_em_never_lowers_the_objective(kind, ridge, n_states):
    model = random_model(kind=kind, n_states=n_states)
    recording = recording_of(random_counts(n_sessions=2, n_steps=60), [60, 41])
    model, objectives = climb(model, recording, prior_of(model, ridge), 15)
    gains = np.diff(objectives)
    assert gains.min() >= -1e-10 * abs(objectives[0])
    assert objectives[-1] - objectives[0] > 1.0
    np.testing.assert_allclose(np.asarray(model.transition_matrix).sum(1), 1)


def test_one_state_climbs_to_the_glm_optimum():
    model = random_model(n_states=1)
    recording = recording_of(random_counts(n_steps=200))
    prior = prior_of(model, 0.3)
    model, _ = climb(model, recording, prior, 12)
    rows = (rows_of(model, recording)[0], recording.counts[0], jnp.ones((200, 1)))
    values = glm.coefficients(model)
    gradient = glm.statistics(model, values, rows, prior).gradient
    assert np.abs(gradient).max() < 1e-6


def test_padding_changes_nothing():
    model, counts = random_model(), random_counts(n_steps=30)
    loud = np.concatenate([counts, np.full((1, 9, 3), 5.0)], axis=1)
    results = [
        climb(model, recording, prior_of(model, 1.0), 3)
        for recording in (recording_of(counts), recording_of(loud, [30]))
    ]
    np.testing.assert_allclose(*(r[1] for r in results), rtol=1e-12)
    np.testing.assert_allclose(*(r[0].weight for r in results), rtol=1e-9)


def test_a_thousand_neurons_do_not_underflow():
    model = random_model(n_neurons=1000, n_basis=0, n_lags=0)
    counts = random_counts(n_neurons=1000, n_steps=20)
    recording = recording_of(counts)
    evidence = inference.session_log_likelihoods(model, recording)
    posterior = inference.expectation(
        model, evidence, recording.observed, recording.lengths
    )
    assert evidence.max() < -800
    assert np.isfinite(posterior.log_likelihood).all()
    np.testing.assert_allclose(np.asarray(posterior.smoothed).sum(-1), 1, rtol=1e-10)


def test_an_unvisited_state_keeps_its_transitions():
    model = random_model(n_states=3)
    counts = jnp.zeros((3, 3)).at[0, 1].set(4.0).at[1, 0].set(2.0)
    posterior = inference.Posterior(jnp.zeros(1), jnp.full((1, 5, 3), 1 / 3), counts)
    updated = inference.maximise_chain(model, posterior)
    np.testing.assert_allclose(updated.transition_matrix[0], [0, 1, 0])
    np.testing.assert_allclose(updated.transition_matrix[2], model.transition_matrix[2])
