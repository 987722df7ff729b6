from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.special import expit

from neuromod import datasets, switching
from neuromod.core.errors import DataFormatError, InvalidInputError
from neuromod.datasets import registry
from tests.shared import shared

NAME = "rat_delayed_comparison"
SMALL = {"n_states": 3, "n_sessions": 4, "n_trials": 60}
FIT = {"observation": "bernoulli", "basis": None, "seed": 0, "progress": False}
simulate: Any = datasets.simulate_choices


@pytest.fixture
def recording(monkeypatch):
    """Load the shared recording in place of a download."""
    monkeypatch.setenv("NEUROMOD_DATA", str(shared("data/choices")))
    return datasets.load(NAME)


@pytest.fixture(scope="module")
def twin():
    return simulate(seed=1)


def schema(tree):
    """Describe what a function of a recording relies on."""
    recording = tree["recording"].to_dataset()
    return {
        "variables": {
            str(name): (variable.dims, variable.dtype.kind, variable.attrs)
            for name, variable in recording.data_vars.items()
        },
        "coords": {str(name): c.dims for name, c in recording.coords.items()},
        "neuron": recording["neuron"].values.tolist(),
        "time": recording["time"].attrs,
        "told": {"title", "source", "licence", "citation"} <= set(tree.attrs),
    }


def test_recording_has_the_schema_of_its_twin(recording, twin):
    assert schema(recording) == schema(twin)


def test_rat_w053(recording):
    trials = recording["recording"].to_dataset()
    chosen, inputs = trials["choices"].values[:, 0], trials["inputs"]
    assert trials["choices"].sizes == {"time": 20000, "neuron": 1}
    assert len(np.unique(trials["session"])) == 80
    assert (chosen == trials["correct_side"]).mean() == pytest.approx(0.6445, abs=1e-9)
    labels = inputs["input"].values
    s1, s2, choice, side, reward = (inputs.sel(input=name).values for name in labels)
    np.testing.assert_array_equal(s1 > s2, trials["correct_side"].values == 1)
    known = choice != 0
    assert (~known).sum() == 2091
    np.testing.assert_array_equal(side[known] == choice[known], reward[known] == 1)
    # Known where the row before is the trial before.
    np.testing.assert_array_equal(
        choice[1:][known[1:]], (2 * chosen - 1)[:-1][known[1:]]
    )
    starts = np.flatnonzero(trials["time"].values == 0)
    assert len(starts) == 80
    assert trials["session"].values[starts].tolist() == [str(i) for i in range(80)]
    assert recording.attrs["licence"] == "MIT, (c) 2019 Nicholas A. Roy"
    assert "Akrami" in recording.attrs["citation"]
    assert "2091 trials" in recording.attrs["quality"]


def test_rat_w053_is_predicted_in_sessions_left_out(recording):
    trials = recording["recording"].to_dataset()
    # The rat learns: sessions of one age are no sample of another.
    turn = trials["session"].values.astype(int) % 4
    train, test = trials.isel(time=turn == 0), trials.isel(time=turn == 2)
    fit = switching.fit(
        train["choices"], 2, inputs=train["inputs"], n_restarts=2, **FIT
    )
    score = switching.score(fit, test["choices"], inputs=test["inputs"])
    assert score["bits_per_bin"] > 0.05
    weights = fit.data["parameters"]["input_weight"].mean("state").sel(neuron="right")
    assert weights.sel(input="s1") > 0.2
    assert weights.sel(input="s2") < -0.2


def test_history_is_that_of_the_simulated_choices(twin):
    trials = twin["recording"].to_dataset()
    shape = (40, 250)
    choices = 2 * trials["choices"].values.reshape(shape) - 1
    side = 2 * trials["correct_side"].values.reshape(shape) - 1
    stimulus, previous, strategy = (
        trials["inputs"].sel(input=name).values.reshape(shape)
        for name in ("stimulus", "previous_choice", "win_stay_lose_switch")
    )
    assert (previous[:, 0] == 0).all()
    assert (strategy[:, 0] == 0).all()
    np.testing.assert_array_equal(previous[:, 1:], choices[:, :-1])
    won = choices[:, :-1] == side[:, :-1]
    stay_or_switch = np.where(won, choices[:, :-1], -choices[:, :-1])
    np.testing.assert_array_equal(strategy[:, 1:], stay_or_switch)
    assert (np.sign(stimulus) * side >= 0).all()
    assert stimulus.var() == pytest.approx(1, abs=0.05)
    assert (stimulus == 0).mean() == pytest.approx(0.2, abs=0.02)


def test_choices_have_the_odds_of_their_strategy(twin):
    trials, truth = twin["recording"].to_dataset(), twin["truth"].to_dataset()
    states = truth["state_sequence"].values
    eta = truth["bias"].values[states, 0]
    eta = eta + (truth["input_weight"].values[states, 0] * trials["inputs"].values).sum(
        -1
    )
    expected, choices = expit(eta), trials["choices"].values[:, 0]
    for state in range(3):
        now = states == state
        spread = np.sqrt((expected * (1 - expected))[now].sum())
        assert abs((choices - expected)[now].sum()) < 4 * spread
    rightward = [choices[states == state].mean() for state in range(3)]
    assert rightward[1] < 0.25 < rightward[0] < 0.75 < rightward[2]
    right = choices == trials["correct_side"].values
    assert right[states == 0].mean() > 0.1 + right[states > 0].mean()
    stays = (states[1:] == states[:-1])[np.diff(trials["time"].values) > 0]
    assert stays.mean() == pytest.approx(0.98, abs=0.005)


def test_seed_decides_everything():
    first, same, other = (simulate(seed=seed, **SMALL) for seed in (1, 1, 2))
    for group in ("recording", "truth"):
        xr.testing.assert_identical(first[group].to_dataset(), same[group].to_dataset())
    for group, name in (("recording", "choices"), ("truth", "bias")):
        assert (first[group][name].values != other[group][name].values).any()
    with pytest.raises(TypeError, match="seed"):
        simulate()


def test_options_have_their_effect():
    restless = simulate(
        seed=0, n_states=5, n_sessions=2, n_trials=100, stay_probability=0.1
    )
    truth = restless["truth"].to_dataset()
    assert truth["strategy"].values.tolist() == [
        "engaged", "biased left", "biased right", "perseverating",
        "win-stay lose-switch",
    ]  # fmt: skip
    assert restless["recording"]["choices"].sizes["time"] == 200
    assert np.mean(np.diff(truth["state_sequence"]) != 0) > 0.8
    weight = truth["input_weight"].sel(neuron="right")
    assert weight.sel(input="previous_choice").values.argmax() == 3
    assert weight.sel(input="win_stay_lose_switch").values.argmax() == 4
    single = simulate(seed=0, n_states=1, n_sessions=1, n_trials=10)["truth"]
    assert single["transition_matrix"].values.tolist() == [[1]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_states": 0}, "n_states: got 0, expected a whole number >= 1"),
        ({"n_states": 6}, "n_states: got 6, expected at most 5 strategies"),
        ({"n_sessions": 0}, "n_sessions: got 0"),
        ({"n_trials": 2.5}, "n_trials: got 2.5"),
        ({"seed": -1}, "seed: got -1"),
        ({"stay_probability": 1.0}, "stay_probability: got 1.0, expected a probab"),
    ],
)
def test_bad_number_is_refused(wrong, message):
    with pytest.raises(InvalidInputError, match=message):
        simulate(**{"seed": 0, **SMALL, **wrong})


def test_a_fit_finds_weights_and_strategies(twin):
    trials, truth = twin["recording"].to_dataset(), twin["truth"].to_dataset()
    choices, inputs = trials["choices"], trials["inputs"]
    states = truth["state_sequence"].values
    fit = switching.fit(choices, 3, inputs=inputs, n_restarts=2, **FIT)
    order = switching.match_states(
        switching.decode(fit, choices, inputs=inputs).values, states
    )
    matched = [order[state] for state in range(3)]
    parameters, uncertainty = fit.data["parameters"], fit.data["uncertainty"]
    for name in ("bias", "input_weight"):
        error = parameters[name].values - truth[name].values[matched]
        # Standard errors take the states as known, so they are lower bounds.
        z = error / uncertainty[f"{name}_standard_error"].values
        assert np.abs(z).max() < 4
        assert np.sqrt((z**2).mean()) < 1.6
    stay = np.diag(fit.model.transition_matrix)
    np.testing.assert_allclose(stay, 0.98, atol=0.015)
    names = ("initial", "transition_matrix", "bias", "weight", "input_weight")
    model = switching.SwitchingGLM(
        **{name: truth[name].values for name in names},
        basis=truth["basis_function"].values,
        observation="bernoulli",
    )
    best = replace(fit, model=model)

    def accuracy(result):
        return switching.state_accuracy(
            switching.smooth(result, choices, inputs=inputs).values.argmax(1), states
        )

    assert accuracy(best) > 0.9
    assert accuracy(fit) > accuracy(best) - 0.01


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Write another file in place of the recording, of whatever size."""
    entry = replace(registry.entries()[NAME], bytes=None)
    monkeypatch.setattr(registry, "entries", lambda: {NAME: entry})
    monkeypatch.setenv("NEUROMOD_DATA", str(tmp_path))
    history = np.zeros((5, 2))
    arrays = {
        "choice": np.array([0, 1, 1, 0, 1], np.int8),
        "correct_side": np.zeros(5, np.int8),
        "session_length": np.array([2, 3], np.int32),
        **dict.fromkeys(("s1", "s2", "prev_choice"), history),
        **dict.fromkeys(("prev_correct_side", "prev_reward"), history),
    }

    def write(**changes):
        changed = {k: v for k, v in (arrays | changes).items() if v is not None}
        np.savez(tmp_path / entry.basename, **changed)

    return write


def test_sessions_are_as_long_as_the_file_says(file):
    file()
    trials = datasets.load(NAME)["recording"].to_dataset()
    assert trials["session"].values.tolist() == ["0", "0", "1", "1", "1"]
    assert trials["time"].values.tolist() == [0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"s1": None}, r"no arrays \['s1'\], expected the arrays"),
        ({"choice": np.zeros(4)}, r"'choice' of shape \(4,\), expected shape \(5,\)"),
        ({"s2": np.zeros(5)}, r"'s2' of shape \(5,\), expected shape \(5, 2\)"),
        ({"session_length": np.array([2, 2])}, r"expected shape \(4,\) as its sess"),
    ],
)
def test_file_that_does_not_fit_together_is_refused(file, changes, message):
    file(**changes)
    with pytest.raises(DataFormatError, match=message):
        datasets.load(NAME)
