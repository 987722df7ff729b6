"""From a file to a report: does a belief help to predict a rat's choices?

The rat is told by two sounds which side will be rewarded, so there is nothing to
predict of the outcome; but what rats choose drifts (Roy et al., Neuron 2021). So the
network tracks how likely the rat itself chooses right, and the response model adds
that belief to the sounds: a habit. It is held against two nulls in sessions that it
has not seen: a coin with the bias of the sessions fitted, and the same model without
the belief. Each session's gain is one number, so that chance alone exceeds two
standard errors of their mean once in forty times.
"""

from typing import Any

import jax
import numpy as np
import pytest

import neuromod as nm
from neuromod import hgf
from neuromod.cli.report import render
from neuromod.core.precision import precision_context
from neuromod.core.report import Picture, Section
from neuromod.hgf.likelihood import log_likelihood
from neuromod.hgf.participants import Given, gather
from neuromod.hgf.responses import Response, bernoulli, flip, logit
from tests.shared import shared


class Listener(Response):
    """Weighs two sounds, a bias and a belief."""

    bias: Any = 0.0
    first: Any = 0.0
    second: Any = 0.0
    belief: Any = 0.0

    def log_odds(self, seen):
        sounds = self.first * seen.covariate("s1") + self.second * seen.covariate("s2")
        return self.bias + sounds + self.belief * logit(seen.probability)

    def log_probability(self, seen, response):
        return bernoulli(self.log_odds(seen), response)

    def simulate(self, seen, key):
        return flip(self.log_odds(seen), key)


WEIGHTS = ("bias", "first", "second", "belief")
HABIT = {f"response.{name}": hgf.Normal(0, 1) for name in WEIGHTS}
HABIT["x2.tonic_volatility"] = hgf.Normal(-4, 2)
# The same model with no room for the belief.
SOUNDS = {**HABIT, "response.belief": hgf.Normal(0, 1e-6)}
COVARIATES = ["s1", "s2"]


@pytest.fixture(scope="module")
def sessions():
    """Return the sessions to fit, and those left out, from all along the training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROMOD_DATA", str(shared("data/choices")))
        loaded = nm.datasets.load_beliefs("rat_delayed_comparison", download=False)
    rat = loaded["recording"]["W053"].to_dataset()
    rat = rat.assign(outcome=rat["response"])  # what is tracked is its own choice
    day = rat["session"].values.astype(int)
    return rat.isel(trial=day % 8 == 0), rat.isel(trial=day % 4 == 2)


def fit(table, priors):
    return hgf.fit(
        hgf.binary_two_level(),
        table,
        response=Listener(),
        priors=priors,
        covariates=COVARIATES,
        n_restarts=2,
        seed=0,
    )


@pytest.fixture(scope="module")
def habit(sessions):
    return fit(sessions[0], HABIT)


compiled = jax.jit(log_likelihood)


def nats(agent, table):
    """Return the log probability of every choice: (trial,)."""
    (behaviour,) = gather(agent, Given(table, covariates=COVARIATES)).behaviours
    with precision_context("float64"):
        return np.asarray(compiled(agent, behaviour))


def believed(agent, table):
    return hgf.filter(agent.network, table["outcome"], sessions=table["session"])


def gain(one, other, table):
    """Return the gain per trial over sessions: its mean and standard error."""
    difference = nats_by_session(one - other, table)
    return difference.mean(), difference.std(ddof=1) / np.sqrt(len(difference))


def nats_by_session(values, table):
    labels = table["session"].values
    return np.array([values[labels == label].mean() for label in np.unique(labels)])


def test_a_habit_predicts_choices_left_out(sessions, habit):
    train, test = sessions
    right = float(train["response"].mean())
    coin = np.log(np.where(test["response"] == 1, right, 1 - right))
    without = fit(train, SOUNDS)
    assert abs(without.data["parameters"]["response.belief"]) < 1e-5
    sounds = nats(without.model, test)
    found = nats(habit.model, test)
    for null in (coin, sounds):
        mean, error = gain(found, null, test)
        assert mean > 2 * error
    # What is chosen depends on which sound was louder, and on what was chosen before.
    parameters = habit.data["parameters"]
    assert parameters["response.first"] > 0 > parameters["response.second"]
    assert parameters["response.belief"] > 0


def test_the_score_of_the_fit_is_its_likelihood(sessions, habit):
    total = float(habit.data["scores"]["log_likelihood"])
    assert nats(habit.model, sessions[0]).sum() == pytest.approx(total, rel=1e-10)


def test_no_choice_is_known_before_it_is_made(sessions, habit):
    """Turn the last choice over: the odds of it, and of all before, stay."""
    table = sessions[1]
    turned = table.copy(deep=True)
    for name in ("outcome", "response"):
        turned[name][-1] = 1 - turned[name][-1]
    one, other = nats(habit.model, table), nats(habit.model, turned)
    np.testing.assert_array_equal(one[:-1], other[:-1])
    assert np.exp(one[-1]) + np.exp(other[-1]) == pytest.approx(1)


def test_saved_and_loaded_it_predicts_the_same(sessions, habit, tmp_path):
    path = habit.save(tmp_path / "rat.nc")
    loaded = nm.load(path, classes={"Listener": Listener})
    np.testing.assert_array_equal(
        nats(loaded.model, sessions[1]), nats(habit.model, sessions[1])
    )
    one, other = (believed(r.model, sessions[1]) for r in (habit, loaded))
    np.testing.assert_array_equal(one["mean"], other["mean"])


def test_plot_and_report(sessions, habit, tmp_path):
    day = slice(0, 250)
    beliefs = believed(habit.model, sessions[1]).isel(trial=day)
    chosen = sessions[1]["response"].isel(trial=day)
    network = habit.model.network
    axes = hgf.plot_trajectories(beliefs, responses=chosen, network=network)
    drawn = next(line for line in axes[-1].lines if len(line.get_ydata()) == 250)
    expected = beliefs["expected_mean"].sel(node="outcome")
    np.testing.assert_array_equal(drawn.get_ydata(), expected)
    picture = Picture(axes[0].figure, "Beliefs of a rat", "Curves of beliefs")
    section = Section("A habit", "Which side?", "The usual one.", [picture])
    page = render([section], tmp_path / "report.html").read_text("utf-8")
    assert "Beliefs of a rat" in page
    assert page.count("<img ") == 1
