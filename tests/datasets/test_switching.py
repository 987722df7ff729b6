from typing import Any

import numpy as np
import pytest
import xarray as xr

from neuromod import datasets
from neuromod.core.errors import InvalidInputError
from tests.datasets.conftest import SMALL
from tests.shared import shared

simulate: Any = datasets.simulate_switching
PAPER = {"n_states": 5, "n_neurons": 20, "n_sessions": 5, "n_steps": 2000}


@pytest.fixture(scope="module")
def paper_sized():
    """Simulate as the paper does, at a fresh seed and with fewer sessions."""
    return simulate(seed=11, **PAPER)


def test_schema(small):
    spikes = small["recording"]["spikes"]
    assert spikes.dims == ("time", "neuron")
    assert spikes.shape == (100, 4)
    assert spikes.attrs["bin_size"] == 0.02
    assert spikes["session"].dims == ("time",)
    truth = small["truth"]
    coupled = ("state", "neuron", "source_neuron")
    assert truth["state_sequence"].dims == ("time",)
    assert truth["adjacency"].dims == coupled
    assert truth["strength"].dims == coupled
    assert truth["weight"].dims == (*coupled, "basis")
    assert truth["bias"].dims == ("state", "neuron")
    assert truth["transition_matrix"].dims == ("state", "state_to")
    assert truth["basis_function"].dims == ("basis", "lag")
    assert truth["adjacency_prior"].dims == ("neuron", "source_neuron", "connection")
    assert truth["connection"].values.tolist() == ["inhibitory", "none", "excitatory"]


def test_the_docstring_names_what_truth_holds(small):
    told = datasets.simulate_switching.__doc__.split("``truth`` holds")[1]
    told = told.split("Raises")[0]
    missing = [n for n in small["truth"].data_vars if f"``{n}``" not in told]
    assert missing == []


def test_truth_is_what_the_spikes_were_drawn_from(small):
    truth = small["truth"]
    weight = truth["weight"].isel(basis=0, drop=True)
    xr.testing.assert_allclose(weight, truth["adjacency"] * truth["strength"])
    np.testing.assert_allclose(truth["adjacency_prior"].sum("connection"), 1)
    transitions = truth["transition_matrix"].values
    np.testing.assert_allclose(transitions.sum(axis=1), 1)
    np.testing.assert_allclose(np.diag(transitions), 0.98)
    assert np.ptp(truth["bias"].values, axis=0).max() == 0  # shared by the states
    basis = np.exp(-np.arange(5)) / np.exp(-np.arange(5)).sum()
    np.testing.assert_allclose(truth["basis_function"].values, basis[None])


def test_seed_decides_everything(small):
    same = simulate(seed=1, **SMALL)
    xr.testing.assert_identical(small["truth"].to_dataset(), same["truth"].to_dataset())
    xr.testing.assert_identical(
        small["recording"]["spikes"], same["recording"]["spikes"]
    )
    other = simulate(seed=2, **SMALL)
    assert (small["recording"]["spikes"] != other["recording"]["spikes"]).any()
    assert (small["truth"]["strength"] != other["truth"]["strength"]).all()
    with pytest.raises(TypeError, match="seed"):
        simulate()


def test_options_have_their_effect(small):
    changed = simulate(
        seed=1, n_states=3, n_neurons=20, n_sessions=1, n_steps=200, bin_size=0.1,
        n_lags=9, connection_probability=0.9, stay_probability=0.1,
    )  # fmt: skip
    recording, truth = changed["recording"], changed["truth"]
    assert abs(truth["adjacency"]).mean() > 0.8
    assert np.mean(np.diff(truth["state_sequence"]) != 0) > 0.8
    assert np.mean(np.diff(small["truth"]["state_sequence"]) != 0) < 0.2
    assert truth["basis_function"].sizes["lag"] == 9
    assert recording["spikes"].attrs["bin_size"] == 0.1
    assert recording["time"][0] == pytest.approx(0.05)
    assert "session" not in recording.coords


def test_one_state_is_a_plain_glm():
    single = simulate(seed=0, n_states=1, n_neurons=2, n_sessions=1, n_steps=10)
    assert single["truth"]["transition_matrix"].values.tolist() == [[1]]
    assert (single["truth"]["state_sequence"] == 0).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_states": 0}, "n_states: got 0, expected a whole number >= 1"),
        ({"n_neurons": 2.5}, "n_neurons: got 2.5"),
        ({"n_sessions": 0}, "n_sessions: got 0"),
        ({"n_steps": -1}, "n_steps: got -1"),
        ({"n_lags": 0}, "n_lags: got 0"),
        ({"seed": -1}, "seed: got -1"),
        ({"bin_size": 0}, "bin_size: got 0"),
        ({"stay_probability": 1.5}, "stay_probability: got 1.5, expected a probab"),
        ({"connection_probability": 0}, "connection_probability: got 0, expected"),
        ({"connection_probability": "x"}, "connection_probability: got 'x', expec"),
    ],
)
def test_bad_number_is_refused(wrong, message):
    with pytest.raises(InvalidInputError, match=message):
        simulate(**{"seed": 0, **SMALL, **wrong})


def test_statistics_are_those_of_the_paper(paper_sized):
    """Compare with the expectations of the generating distributions."""
    truth = paper_sized["truth"]
    adjacency, strength = truth["adjacency"].values, truth["strength"].values
    # Half a spike per bin, were it not for the couplings.
    assert 0.40 < paper_sized["recording"]["spikes"].mean() < 0.60
    assert 0.76 < (adjacency == 0).mean() < 0.84
    assert 0.07 < (adjacency == 1).mean() < 0.13
    # Integral of log(1 + 3u) over (0, 1), and its supremum.
    assert strength.mean() == pytest.approx(4 / 3 * np.log(4) - 1, abs=0.02)
    assert 1.37 < strength.max() < np.log(4)
    states = truth["state_sequence"].values.reshape(5, 2000)
    assert stays(states) == pytest.approx(0.98, abs=0.005)
    assert len(set(states[:, 0])) > 1  # drawn from the initial distribution


def test_states_share_most_of_their_wiring(paper_sized):
    """A pair's kind in two states agrees more often than for unrelated pairs."""
    kind = paper_sized["truth"]["adjacency"].values
    shares = [(kind == k).mean() for k in (-1, 0, 1)]
    assert np.mean(kind[0] == kind[1]) > np.square(shares).sum() + 0.05


def test_statistics_are_those_of_the_reference_simulation(paper_sized):
    with np.load(shared("reference/switching/sim_N20_S5_seed0.npz")) as reference:
        theirs, states = reference["spikes"].reshape(-1, 20), reference["states_true"]
        adjacency, strength = reference["adjacency"], reference["strength"]
    ours, truth = paper_sized["recording"]["spikes"].values, paper_sized["truth"]
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.06)
    assert fano(ours) == pytest.approx(fano(theirs), abs=0.1)
    none = (truth["adjacency"].values == 0).mean()
    assert none == pytest.approx((adjacency == 0).mean(), abs=0.04)
    assert truth["strength"].values.mean() == pytest.approx(strength.mean(), abs=0.03)
    mine = truth["state_sequence"].values.reshape(5, 2000)
    assert stays(mine) == pytest.approx(stays(states), abs=0.005)


def fano(counts):
    return np.mean(counts.var(axis=0) / counts.mean(axis=0))


def stays(states):
    return np.mean(states[:, 1:] == states[:, :-1])
