from typing import Any

import numpy as np
import pytest

from neuromod import errors, switching
from neuromod.switching import SwitchingGLM
from tests.switching.models import random_model, slow_rates


def test_counts_have_the_rates_of_their_states():
    model = random_model(seed=1, n_neurons=4)
    tree = switching.simulate(model, 1500, seed=0, bin_size=0.01)
    counts = tree["recording"]["spikes"].values.astype(float)
    states = tree["truth"]["state_sequence"].values
    rates = slow_rates(model, counts)[states, np.arange(1500)]
    # Pearson residuals of Poisson counts have mean 0 and variance 1.
    z = (counts - rates) / np.sqrt(rates)
    assert np.abs(z.mean(0)).max() < 4 / np.sqrt(1500)
    assert z.var() == pytest.approx(1, abs=0.08)


def test_the_chain_has_the_stated_transitions_and_start():
    model = random_model(n_states=3, stay=0.8)
    states = switching.simulate(model, 40, seed=2, n_sessions=300)["truth"][
        "state_sequence"
    ]
    paths = states.values.reshape(300, 40)
    stays = (paths[:, 1:] == paths[:, :-1]).mean()
    assert stays == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / paths.size))
    first = np.bincount(paths[:, 0], minlength=3) / 300
    np.testing.assert_allclose(first, model.initial, atol=4 * 0.5 / np.sqrt(300))


def test_sessions_are_independent_and_labelled():
    tree = switching.simulate(random_model(), 50, seed=0, n_sessions=2, bin_size=0.1)
    spikes = tree["recording"]["spikes"]
    assert spikes.attrs["bin_size"] == 0.1
    assert spikes["session"].values.tolist() == ["0"] * 50 + ["1"] * 50
    np.testing.assert_allclose(spikes["time"][:2], [0.05, 0.15])
    assert not np.array_equal(spikes[:50], spikes[50:])


def test_the_seed_decides():
    first, again, other = (
        switching.simulate(random_model(), 60, seed=s)["recording"]["spikes"].values
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_truth_names_every_axis():
    truth = switching.simulate(random_model(), 10, seed=0)["truth"]
    assert truth["weight"].dims == ("state", "neuron", "source_neuron", "basis")
    assert truth["transition_matrix"].dims == ("state", "state_to")
    np.testing.assert_allclose(truth["lag"], 0.02 * np.arange(1, 4))


def test_explosions_are_an_error():
    model = SwitchingGLM(
        initial=np.ones(1),
        transition_matrix=np.ones((1, 1)),
        bias=np.full((1, 2), 1.0),
        weight=np.full((1, 2, 2, 1), 5.0),
        basis=np.ones((1, 1)),
        link="exp",
    )
    with pytest.raises(errors.DivergedError, match="link='sigmoid'"):
        switching.simulate(model, 200, seed=0)


@pytest.mark.parametrize(
    "arguments", [{"n_steps": 0}, {"n_sessions": 0}, {"bin_size": 0.0}, {"seed": -1}]
)
def test_bad_arguments(arguments):
    settings = {"n_steps": 5, "seed": 0} | arguments
    with pytest.raises(errors.InvalidInputError, match=next(iter(arguments))):
        switching.simulate(random_model(), **settings)


def test_what_is_no_model_is_refused():
    result: Any = {"weight": 1}
    with pytest.raises(errors.InvalidInputError, match=r"model: got dict.*fit\.model"):
        switching.simulate(result, 10, seed=0)
