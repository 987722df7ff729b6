"""The rate of false discoveries is what was asked for."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neuromod import datasets, errors, switching
from neuromod.switching.connections import _likeliest


@pytest.fixture(scope="module")
def recorded():
    return datasets.simulate_switching(
        seed=0, n_states=2, n_neurons=12, n_sessions=6, n_steps=1000
    )


@pytest.fixture(scope="module")
def fits(recorded):
    spikes = recorded["recording"]["spikes"]
    settings = {"seed": 0, "link": "sigmoid", "n_restarts": 2, "progress": False}
    return {
        prior: switching.fit(spikes, 2, prior=prior, **settings)
        for prior in ("one_hot", "none")
    }


def matched(fit, recorded):
    decoded = switching.decode(fit, recorded["recording"]["spikes"])
    order = switching.match_states(decoded, recorded["truth"]["state_sequence"])
    return recorded["truth"]["adjacency"].values[[order[s] for s in range(2)]]


@pytest.mark.parametrize("prior", ["one_hot", "none"])
@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_few_of_the_chosen_connections_are_false(prior, rate, fits, recorded):
    found = switching.connections(fits[prior], false_discovery_rate=rate)
    true = matched(fits[prior], recorded)
    chosen = found["is_connected"].values
    assert chosen.sum() > 0.5 * (true != 0).sum()
    wrong = (true[chosen] != found["sign"].values[chosen]).mean()
    # Three standard errors of a fraction of so many connections.
    assert wrong <= rate + 3 * np.sqrt(rate * (1 - rate) / chosen.sum())


def test_a_higher_rate_chooses_more(fits):
    n_chosen = [
        int(
            switching.connections(fits["one_hot"], false_discovery_rate=r)[
                "is_connected"
            ].sum()
        )
        for r in (0.001, 0.05, 0.5)
    ]
    assert n_chosen[0] < n_chosen[1] < n_chosen[2]


def test_the_mean_probability_of_absence_stays_below_the_rate():
    absence = np.array([[0.01, 0.9, 0.05], [0.2, 0.4, 0.03]])
    chosen = _likeliest(absence, np.ones((2, 3), bool), 0.08)
    np.testing.assert_array_equal(chosen, [[1, 0, 1], [1, 0, 1]])
    possible = np.array([[False, True, True], [True, True, True]])
    assert not _likeliest(absence, possible, 0.08)[0, 0]


def test_bad_input_is_refused(fits):
    nothing: Any = None
    with pytest.raises(errors.InvalidInputError, match="between 0 and 1"):
        switching.connections(fits["none"], false_discovery_rate=1.0)
    with pytest.raises(errors.NotFittedError):
        switching.connections(nothing)
    bare = fits["none"]
    parameters = bare.data["parameters"].to_dataset().isel(basis=slice(0, 0))
    tree = bare.data.copy()
    tree["parameters"] = type(tree)(parameters)
    with pytest.raises(errors.InvalidInputError, match="couplings"):
        switching.connections(replace(bare, data=tree))
