import numpy as np
import pytest

from neuromod.switching import starts, state_accuracy
from tests.switching.models import recording_of


def test_clusters_find_rates_that_change_slowly():
    generator = np.random.default_rng(0)
    truth = np.repeat([0, 1, 0, 1], 100)
    rates = np.where(truth[:, None] == 0, [3.0, 0.5], [0.5, 3.0])
    counts = generator.poisson(rates).astype(float)[None]
    found = starts.labels(counts, np.array([400]), 2, 10, generator)
    assert state_accuracy(found[0], truth) > 0.9


def test_what_lies_past_the_end_does_not_matter():
    counts = np.random.default_rng(1).poisson(1.0, (1, 60, 3)).astype(float)
    loud = np.concatenate([counts, np.full((1, 20, 3), 90.0)], axis=1)
    found = [
        starts.labels(c, np.array([60]), 3, 5, np.random.default_rng(2))[0, :60]
        for c in (counts, loud)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("n_states", [2, 4])
def test_silence_still_gives_states_that_differ(n_states):
    generator = np.random.default_rng(0)
    silent = np.zeros((1, 50, 3))
    found = starts.labels(silent, np.array([50]), n_states, 10, generator)
    soft = starts.responsibilities(found, n_states, generator)
    np.testing.assert_allclose(soft.sum(-1), 1)
    columns = soft[0].T
    for state in range(1, n_states):
        assert not np.allclose(columns[0], columns[state])


def test_the_blank_model_is_sticky_and_alike():
    model = starts.blank_model(
        3,
        np.array([0.1, -1.0]),
        np.ones(2),
        recording_of(np.zeros((1, 5, 2))),
        (np.ones((1, 2)), np.zeros((0, 0))),
        observation="poisson",
        link="exp",
    )
    np.testing.assert_allclose(np.diag(model.transition_matrix), 0.95)
    np.testing.assert_array_equal(model.bias, [[0.1, -1.0]] * 3)
    assert not model.weight.any()
