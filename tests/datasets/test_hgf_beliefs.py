"""Behaviour from which beliefs are read: the twin, and the rat as a learner."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from neuromod import datasets, hgf
from neuromod.core.errors import InvalidInputError
from tests.shared import shared

SMALL = {"n_subjects": 2, "n_trials": 320}  # one length: one compilation
simulate: Any = datasets.simulate_beliefs


@pytest.fixture(scope="module")
def twin():
    return simulate(seed=1, n_subjects=30, n_trials=320)


@pytest.fixture
def recording(monkeypatch):
    """Load the shared recording in place of a download."""
    monkeypatch.setenv("NEUROMOD_DATA", str(shared("data/choices")))
    return datasets.load_beliefs("rat_delayed_comparison", download=False)


def test_recording_has_the_schema_of_its_twin(recording, twin):
    (rat,) = recording["recording"].children.values()
    one = twin["recording"]["0"]
    for name in ("outcome", "response", "session", "trial"):
        assert rat[name].dims == one[name].dims == ("trial",)
        assert rat[name].dtype.kind == one[name].dtype.kind
        assert rat[name].attrs == one[name].attrs
    told = {"title", "source", "licence", "citation"}
    assert told <= set(recording.attrs)
    assert told <= set(twin.attrs)


def test_rat_chose_and_saw_what_the_choices_say(recording):
    trials = datasets.load_choices("rat_delayed_comparison")["recording"]
    rat = recording["recording"]["W053"].to_dataset()
    np.testing.assert_array_equal(rat["response"], trials["choices"].values[:, 0])
    np.testing.assert_array_equal(rat["outcome"], trials["correct_side"])
    np.testing.assert_array_equal(rat["session"], trials["session"])
    # The first sound is the louder one exactly where right was rewarded.
    np.testing.assert_array_equal(rat["s1"] > rat["s2"], rat["outcome"] == 1)
    assert np.unique(rat["trial"]).size == 20000


def test_a_set_without_choices_is_refused():
    with pytest.raises(InvalidInputError, match="rat_delayed_comparison"):
        datasets.load_beliefs("rat_ca1_wmaze")


def test_outcomes_follow_the_schedule(twin):
    probability = twin["truth"]["probability"].values
    assert set(probability[:160]) == {0.75}
    np.testing.assert_allclose(probability[160:190], 0.2)
    np.testing.assert_allclose(probability[190:220], 0.8)
    outcomes = [one["outcome"].values for one in twin["recording"].children.values()]
    assert all((outcome == outcomes[0]).all() for outcome in outcomes)
    spread = np.sqrt((probability * (1 - probability)).sum())
    assert abs((outcomes[0] - probability).sum()) < 4 * spread


def test_choices_have_the_odds_of_the_beliefs(twin):
    truth = twin["truth"]
    believed = truth["expected_mean"].sel(node="outcome").values
    odds = truth["response.inverse_temperature"].values[:, None] * np.log(
        believed / (1 - believed)
    )
    expected = 1 / (1 + np.exp(-odds))
    chosen = np.stack([c["response"] for c in twin["recording"].children.values()])
    assert abs((chosen - expected).sum()) < 4 * np.sqrt(
        (expected * (1 - expected)).sum()
    )
    # In each tenth of what is expected as well: the noise is that of a coin.
    for low in np.arange(0, 1, 0.1):
        now = (expected >= low) & (expected < low + 0.1)
        spread = np.sqrt((expected * (1 - expected))[now].sum())
        assert abs((chosen - expected)[now].sum()) < 4 * spread + 1e-9


def test_beliefs_are_those_of_the_parameters(twin):
    truth = twin["truth"]
    second, third = (
        float(truth[f"{x}.tonic_volatility"].sel(subject="4")) for x in ("x2", "x3")
    )
    here = hgf.filter(
        hgf.binary_three_level((second, third)), twin["recording"]["4"]["outcome"]
    )
    for name in ("expected_mean", "mean", "precision"):
        np.testing.assert_array_equal(truth[name].sel(subject="4"), here[name])


GROUP = ("group_mean", "group_sd")


def test_participants_are_drawn_around_the_group(twin):
    truth = twin["truth"].to_dataset()
    for name in truth["parameter"].values.tolist():
        values = truth[name].values
        values = np.log(values) if "temperature" in name else values
        mean, sd = (float(truth[k].sel(parameter=name)) for k in GROUP)
        assert abs(values.mean() - mean) < 4 * sd / np.sqrt(30)
        # Standard error of a standard deviation: sd / sqrt(2 n).
        assert abs(values.std(ddof=1) - sd) < 4 * sd / np.sqrt(60)


def test_seed_decides_everything():
    first, same, other = (simulate(seed=seed, **SMALL) for seed in (1, 1, 2))
    for group in ("recording/1", "truth"):
        xr.testing.assert_identical(first[group].to_dataset(), same[group].to_dataset())
    for group, name in (
        ("recording/0", "outcome"),
        ("recording/0", "response"),
        ("truth", "x2.tonic_volatility"),
    ):
        assert (first[group][name].values != other[group][name].values).any()
    with pytest.raises(TypeError, match="seed"):
        simulate()


def test_options_have_their_effect():
    truth = simulate(
        seed=0,
        **SMALL,
        stable_probability=0.6,
        volatile_probability=0.9,
        reversal_interval=40,
    )["truth"]
    expected = np.repeat([0.6, 0.1, 0.9, 0.1, 0.9], [160, 40, 40, 40, 40])
    np.testing.assert_allclose(truth["probability"], expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_subjects": 0}, "n_subjects: got 0"),
        ({"n_trials": 2.5}, "n_trials: got 2.5"),
        ({"seed": -1}, "seed: got -1"),
        ({"stable_probability": 1.0}, "stable_probability: got 1.0"),
        ({"volatile_probability": "x"}, "volatile_probability: got 'x'"),
        ({"reversal_interval": 0}, "reversal_interval: got 0"),
    ],
)
def test_bad_number_is_refused(wrong, message):
    with pytest.raises(InvalidInputError, match=message):
        simulate(**{"seed": 0, **SMALL, **wrong})
