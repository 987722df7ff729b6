"""Agents that act: what they do, see and believe fits together."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from neuromod import hgf
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.hgf import inference
from neuromod.hgf.acting import BernoulliBandit, interact, play
from neuromod.hgf.agent import Agent
from neuromod.hgf.likelihood import Behaviour, log_likelihood
from neuromod.hgf.responding import behave, respond
from neuromod.hgf.responses.response import Response
from neuromod.hgf.tasks import bandit
from tests.hgf.test_inference import outcomes, series_of

N_TRIALS = 200


class ChooseArm(Response):
    """Softmax over the rewards that are expected of two arms."""

    inverse_temperature: Any = 1.0

    positive: ClassVar[tuple[str, ...]] = ("inverse_temperature",)

    def log_odds(self, seen):
        zero, one = (seen.expected_mean[f"arm_{i}"] for i in (0, 1))
        return self.inverse_temperature * (one - zero)

    def log_probability(self, seen, response):
        sign = jnp.where(response > 0.5, 1.0, -1.0)
        return jax.nn.log_sigmoid(sign * self.log_odds(seen))

    def simulate(self, seen, key):
        odds = self.log_odds(seen)
        return jnp.where(jax.random.logistic(key, odds.shape) < odds, 1.0, 0.0)


class Hindsight(ChooseArm):
    """Looks at what came."""

    def log_odds(self, seen):
        return seen.value["arm_0"]


NETWORK = bandit(2, volatility="constant", tonic_volatility=(-3.0, 0.0))
AGENT = Agent(NETWORK, ChooseArm(6.0))
CHANCES = np.where(np.arange(N_TRIALS)[:, None] < N_TRIALS // 2, [0.2, 0.8], [0.8, 0.2])


@pytest.fixture(scope="module")
def played():
    return play(AGENT, BernoulliBandit(CHANCES), N_TRIALS, seed=1)


def test_a_softmax_agent_earns_more_than_chance(played):
    earned = played["inputs"].mean("input").mean()
    # Chance is 0.5 of a reward per trial, with a standard error of 0.035.
    assert earned > 0.5 + 4 * 0.5 / np.sqrt(N_TRIALS)
    best = CHANCES.argmax(axis=1)
    assert (played["actions"].values == best).mean() > 0.7
    indifferent = Agent(NETWORK, ChooseArm(1e-9))
    other = play(indifferent, BernoulliBandit(CHANCES), N_TRIALS, seed=1)
    assert (other["actions"].values == best).mean() == pytest.approx(0.5, abs=0.15)


def test_only_the_chosen_arm_is_seen_and_the_other_one_only_ages(played):
    chosen = played["actions"].values.astype(int)
    seen = ~np.isnan(played["inputs"].values)
    np.testing.assert_array_equal(seen, chosen[:, None] == [0, 1])
    for arm in (0, 1):
        left = np.flatnonzero(chosen[1:] != arm) + 1
        state = played.sel(node=f"log_odds_{arm}")
        mean, variance = state["mean"].values, 1 / state["precision"].values
        np.testing.assert_array_equal(mean[left], mean[left - 1])
        aged = variance[left - 1] + np.exp(-3.0)
        np.testing.assert_allclose(variance[left], aged, rtol=1e-10)


def test_actions_depend_on_what_was_expected_before_the_outcome(played):
    with jax.enable_x64(True):
        environment = BernoulliBandit(CHANCES)
        actions, series, found = jax.jit(interact, static_argnums=2)(
            AGENT, environment, N_TRIALS, jax.random.key(1)
        )
        # What it believed while it acted is what the filter finds afterwards.
        again = jax.jit(inference.run)(NETWORK, series)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, again
        )
        nats = jax.jit(log_likelihood)(AGENT, Behaviour(series, actions, {}))
    np.testing.assert_array_equal(played["actions"], actions)
    filtered = hgf.filter(NETWORK, played["inputs"])
    for name in filtered.data_vars:
        np.testing.assert_array_equal(played[name], filtered[name])
    one, zero = (filtered["expected_mean"].sel(node=f"arm_{i}").values for i in (1, 0))
    odds = 6 * (one - zero) * np.where(actions == 1, 1, -1)
    np.testing.assert_allclose(nats, -np.log1p(np.exp(-odds)), rtol=1e-9)


def test_the_same_seed_plays_the_same_game(played):
    environment = BernoulliBandit(CHANCES)
    assert played.identical(play(AGENT, environment, N_TRIALS, seed=1))
    other = play(AGENT, environment, N_TRIALS, seed=2)
    assert (played["actions"] != other["actions"]).any()


def test_time_steps_and_covariates_reach_the_agent():
    class Bonus(ChooseArm):
        def log_odds(self, seen):
            return seen.covariate("bonus")

    bonus = np.where(np.arange(20) % 2, 50.0, -50.0)
    found = play(
        Agent(NETWORK, Bonus()),
        BernoulliBandit(CHANCES),
        20,
        seed=0,
        covariates={"bonus": bonus},
        time_steps=np.full(20, 3.0),
    )
    np.testing.assert_array_equal(found["actions"], bonus > 0)
    arm = found.sel(node="log_odds_1")
    aged = 1 / arm["precision"][1].item() + 3 * np.exp(-3.0)
    assert 1 / arm["precision"][2].item() == pytest.approx(aged)


def test_responses_to_given_outcomes_have_the_probabilities_of_the_model():
    network = hgf.binary_two_level()
    agent = Agent(network, hgf.responses.unit_square_sigmoid(2.0))
    values = outcomes(12)
    values[5] = np.nan
    data = xr.DataArray(values, dims="time", coords={"time": np.arange(12) / 2})
    sessions = np.repeat([0, 1], 6)
    drawn = respond(agent, data, seed=0, n_draws=4000, sessions=sessions)
    assert drawn.dims == ("draw", "time")
    np.testing.assert_array_equal(drawn["time"], data["time"])
    p = hgf.filter(network, values, sessions=sessions)["expected_mean"]
    p = p.sel(node="outcome").values
    want = p**2 / (p**2 + (1 - p) ** 2)
    error = 4 * np.sqrt(want * (1 - want) / 4000)
    assert (np.abs(drawn.mean("draw") - want) < error).all()
    once = respond(agent, data, seed=0, sessions=sessions)
    assert once.dims == ("time",)
    np.testing.assert_array_equal(once, respond(agent, data, seed=0, sessions=sessions))
    key = jax.random.split(jax.random.key(0), 1)[0]
    with jax.enable_x64(True):
        seen = ~np.isnan(values)
        series = series_of(np.where(seen, values, 0), observed=(seen,))
        reset = np.arange(12) == 6
        pure = jax.jit(behave)(agent, series, key, None, None, reset)
    np.testing.assert_array_equal(once, pure)


def test_what_cannot_be_known_when_acting_is_refused():
    with pytest.raises(InvalidInputError, match=r"'arm_0'.*expected_mean"):
        play(Agent(NETWORK, Hindsight()), BernoulliBandit(CHANCES), 5, seed=0)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"n_trials": 0}, InvalidInputError, "n_trials"),
        ({"seed": -1}, InvalidInputError, "seed"),
        ({"covariates": {"a": [1.0]}}, ShapeError, r"'a'.*\(5,\)"),
        ({"agent": Agent("network", ChooseArm())}, InvalidInputError, "a Network"),
        ({"environment": lambda *_: jnp.ones(3)}, ShapeError, r"\(3,\).*'arm_1'"),
    ],
)
def test_bad_input_is_refused_by_name(settings, kind, message):
    usual = {
        "agent": AGENT,
        "environment": BernoulliBandit(CHANCES),
        "n_trials": 5,
        "seed": 0,
    }
    with pytest.raises(kind, match=message):
        play(**(usual | settings))


def test_outcomes_that_an_input_cannot_take_are_refused():
    with pytest.raises(InvalidInputError, match=r"0\.5 at trial 0 .*'arm_0'"):
        play(AGENT, lambda *_: jnp.array([0.5, jnp.nan]), 5, seed=0)
