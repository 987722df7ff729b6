import itertools
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from neuromod import hgf
from neuromod.core.errors import InvalidInputError
from neuromod.hgf import baselines, inference, responses
from neuromod.hgf.data import prepare
from tests.hgf.test_inference import outcomes, series_of

N_TRIALS = 24
N_VALID = 20
MISSING = np.array([False, True] * 5 + [True, True, False, True] + [True] * 10)
INTERVALS = np.random.default_rng(5).uniform(0.0, 2.0, N_TRIALS)
TWO = {"inputs": ("left", "right")}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


class Slow:
    """A learner of one input in plain numbers: three functions and a start."""

    def __init__(self, start, update, mean=lambda s: s[0], predict=lambda s, t: s):
        self.start, self.update, self.mean = start, update, mean
        self.predict = predict

    def run(self, values, observed, reset, intervals):
        state, before, after = self.start, [], []
        for value, seen, anew, interval in zip(
            values, observed, reset, intervals, strict=True
        ):
            state = self.predict(self.start if anew else state, interval)
            before.append(self.mean(state))
            if seen:
                state = self.update(state, value)
            after.append(self.mean(state))
        return np.array(before), np.array(after)


def slow_rescorla_wagner():
    return Slow((0.4,), lambda s, u: (s[0] + 0.3 * (u - s[0]),))


def slow_dual():
    def update(state, u):
        error = u - state[0]
        return (state[0] + (0.4 if error > 0 else 0.1) * error,)

    return Slow((0.5,), update)


def slow_pearce_hall():
    def update(state, u):
        value, associability = state
        error = u - value
        return value + 0.6 * associability * error, 0.7 * associability + 0.3 * abs(
            error
        )

    return Slow((0.5, 0.8), update)


def slow_sutton():
    """The paper's form, with beta and the noise level 2.5."""

    def update(state, u):
        value, beta, trace = state
        error = u - value
        beta = beta + 1.5 * error * trace
        gain = np.exp(beta) / (2.5 + np.exp(beta))
        return value + gain * error, beta, (trace + gain * error) * max(1 - gain, 0)

    return Slow((0.5, np.log(2.5 * 0.3 / 0.7), 0.2), update)


def slow_kalman():
    def update(state, u):
        mean, variance = state
        precision = 1 / variance + 1 / 0.8
        return mean + (u - mean) / (0.8 * precision), 1 / precision

    return Slow((0.5, 0.6), update, predict=lambda s, t: (s[0], s[1] + 0.2 * t))


def slow_hidden_markov():
    transition = np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.05, 0.05, 0.9]])
    one = np.array([0.9, 0.5, 0.2])

    def update(belief, u):
        weights = belief * (one if u else 1 - one)
        return weights / weights.sum()

    return Slow(
        np.array([0.5, 0.3, 0.2]),
        update,
        mean=lambda b: b @ one,
        predict=lambda b, _: b @ transition,
    )


LEARNERS = {
    "RescorlaWagner": ({"learning_rate": 0.3, "initial_value": 0.4}, "rescorla_wagner"),
    "RescorlaWagnerDual": (
        {"learning_rate_positive": 0.4, "learning_rate_negative": 0.1},
        "dual",
    ),
    "PearceHall": (
        {"salience": 0.6, "associability_rate": 0.3, "initial_associability": 0.8},
        "pearce_hall",
    ),
    "SuttonK1": (
        {"meta_learning_rate": 1.5, "initial_gain": 0.3, "initial_trace": 0.2},
        "sutton",
    ),
    "Kalman": (
        {"process_variance": 0.2, "input_variance": 0.8, "initial_variance": 0.6},
        "kalman",
    ),
    "HiddenMarkov": (
        {
            "switch_probability": [0.2, 0.4, 0.1],
            "probabilities": [0.9, 0.5, 0.2],
            "initial_contexts": [0.5, 0.3, 0.2],
        },
        "hidden_markov",
    ),
}


def made(name, **settings):
    return getattr(baselines, name)(**LEARNERS[name][0], **settings)


def two_inputs():
    """Two inputs with missing outcomes, four trials of padding, and two sessions."""
    columns = [outcomes(N_TRIALS, seed) for seed in (1, 2)]
    columns[1] = np.where(MISSING, columns[1], np.nan)
    for column in columns:
        column[N_VALID:] = np.nan
    series = series_of(*columns, observed=(None, MISSING), intervals=INTERVALS)
    reset = np.arange(N_TRIALS) == 12
    return series, jnp.arange(N_TRIALS) < N_VALID, jnp.asarray(reset)


@jax.jit
def run_seen(learner, series, mask, reset):
    seen = learner.see(series, mask=mask, reset=reset)
    return seen._replace(levels=(), options=())


run_trajectories = jax.jit(baselines.trajectories)


def see(learner, series, mask=None, reset=None):
    return jax.tree.map(np.asarray, run_seen(learner, series, mask, reset))


def trajectories(learner, values):
    """Return what one input's trajectories are on fully observed outcomes."""
    found = run_trajectories(learner, series_of(values))
    return {name: np.asarray(table)[:, 0] for name, table in found.items()}


@pytest.mark.parametrize("name", LEARNERS)
def test_each_input_follows_the_equations(name):
    series, mask, reset = two_inputs()
    seen = see(made(name, **TWO), series, mask, reset)
    slow = globals()["slow_" + LEARNERS[name][1]]()
    for i, which in enumerate(TWO["inputs"]):
        known = np.ones(N_TRIALS, bool) if i == 0 else MISSING
        values, when = np.asarray(series.values[i]), slice(0, N_VALID)
        before, after = slow.run(
            values[when], known[when], np.asarray(reset)[when], INTERVALS[when]
        )
        np.testing.assert_allclose(seen.expected_mean[which][when], before, rtol=1e-12)
        np.testing.assert_allclose(seen.mean[which][when], after, rtol=1e-12)
        nats = -np.log(np.where(values[when] > 0.5, before, 1 - before))
        nats = np.where(known[when], nats, 0)
        np.testing.assert_allclose(seen.surprise[which][when], nats, rtol=1e-12)
        assert not seen.surprise[which][N_VALID:].any()
        assert np.isfinite(seen.expected_mean[which]).all()


def free(learner):
    """Return the fields that hold parameters."""
    return [
        f.name
        for f in fields(learner)
        if f.name not in ("inputs", "binary", "initial_contexts")
    ]


@pytest.mark.parametrize("name", LEARNERS)
def test_gradients_agree_with_differences_in_a_batch(name):
    series, mask, reset = two_inputs()
    learner = made(name, **TWO)
    names = free(learner)
    sizes = np.cumsum([np.size(getattr(learner, field)) for field in names])
    at = np.concatenate([np.ravel(getattr(learner, field)) for field in names])

    def total(flat):
        parts = jnp.split(flat, sizes[:-1])
        given = {
            field: part.reshape(np.shape(getattr(learner, field)))
            for field, part in zip(names, parts, strict=True)
        }
        if name == "HiddenMarkov":
            given["initial_contexts"] = learner.initial_contexts
        model = type(learner)(**given, **TWO)
        seen = model.see(series, mask=mask, reset=reset)
        # The mean after the last trial, too, has to carry its slope.
        return sum(seen.surprise[k].sum() + seen.mean[k].sum() for k in learner.inputs)

    step = 1e-6
    moved = at + step * np.concatenate([np.eye(len(at)), -np.eye(len(at))])
    slope = jax.jit(jax.jacfwd(total))(jnp.asarray(at))
    up, down = jnp.split(jax.jit(jax.vmap(total))(jnp.asarray(moved)), 2)
    np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-6, atol=1e-8)
    assert np.count_nonzero(slope) == len(at)


def expected(learner, values=None, **series):
    values = outcomes(N_TRIALS, 3) if values is None else values
    found = see(learner, series_of(values, **series))
    return found.expected_mean[learner.inputs[0]]


def test_rules_that_do_not_adapt_are_rescorla_and_wagners():
    usual = expected(baselines.RescorlaWagner(0.24))
    for same in (
        baselines.RescorlaWagnerDual(0.24, 0.24),
        baselines.PearceHall(0.6, 0.0, 0.4),
        baselines.SuttonK1(0.0, initial_gain=0.24),
    ):
        np.testing.assert_allclose(expected(same), usual, rtol=1e-12)
    for other in (
        baselines.RescorlaWagnerDual(0.24, 0.3),
        baselines.PearceHall(0.6, 0.1, 0.4),
        baselines.SuttonK1(0.5, initial_gain=0.24),
    ):
        assert not np.allclose(expected(other), usual)


def test_associability_is_the_size_of_the_last_error():
    values = outcomes(N_TRIALS, 3)
    learner = baselines.PearceHall(0.7, 1.0, 0.3)
    found = trajectories(learner, values)
    error = values - expected(learner)
    np.testing.assert_allclose(found["value_prediction_error"], error)
    np.testing.assert_allclose(found["associability"], abs(error))
    rate = 0.7 * np.concatenate([[0.3], abs(error)[:-1]])
    np.testing.assert_allclose(found["learning_rate"], rate, rtol=1e-9)


def test_a_gain_grows_while_errors_keep_their_sign():
    def gain(values):
        return trajectories(baselines.SuttonK1(4.0), values)["gain"]

    steady = gain(np.repeat([1.0, 0.0], [4, 4]))
    assert (np.diff(steady[:4]) > 0).all()
    assert (np.diff(gain(np.tile([1.0, 0.0], 4))) < 0).all()


def test_a_value_that_stays_is_a_running_mean():
    values = np.random.default_rng(0).normal(size=N_TRIALS)
    learner = baselines.Kalman(0.0, 1.0, 1e12, binary=False)
    mean = see(learner, series_of(values)).mean["outcome"]
    want = np.cumsum(values) / np.arange(1, N_TRIALS + 1)
    np.testing.assert_allclose(mean, want, atol=1e-9)


def test_the_kalman_learner_is_a_network_of_one_state():
    values, seen = np.random.default_rng(0).normal(size=N_TRIALS), MISSING
    series = series_of(values, observed=(seen,), intervals=INTERVALS)
    learner = baselines.Kalman(0.2, 0.8, 0.6, initial_value=1.5, binary=False)
    network = hgf.Network(
        [
            hgf.ContinuousInput("outcome", precision=1 / 0.8),
            hgf.ContinuousState(
                "x", mean=1.5, precision=1 / 0.6, tonic_volatility=np.log(0.2)
            ),
        ],
        [hgf.observation("x", "outcome")],
    )
    found, belief = see(learner, series), inference.run(network, series).beliefs["x"]
    np.testing.assert_allclose(found.mean["outcome"], belief.mean, rtol=1e-10)
    np.testing.assert_allclose(found.precision["outcome"], belief.precision, rtol=1e-10)


def test_surprise_of_the_kalman_learner_is_that_of_the_whole_series():
    values = np.random.default_rng(0).normal(size=12)
    learner = baselines.Kalman(0.2, 0.8, 0.6, initial_value=0.3, binary=False)
    found = see(learner, series_of(values))
    steps = np.arange(1, 13)
    walk = 0.6 + 0.2 * np.minimum(steps[:, None], steps)
    density = stats.multivariate_normal(np.full(12, 0.3), walk + 0.8 * np.eye(12))
    total = found.surprise["outcome"].sum()
    np.testing.assert_allclose(total, -density.logpdf(values), rtol=1e-10)


def enumerated(values, observed, probabilities, transition, initial):
    """Return the predictions of each outcome by summing over all paths of contexts."""
    n_trials, n_inputs = values.shape
    predictions = np.zeros((n_trials, n_inputs))
    for trial in range(n_trials):
        joint, evidence = np.zeros(n_inputs), 0.0
        for path in itertools.product(range(len(initial)), repeat=trial + 2):
            weight = initial[path[0]]
            for one, other in itertools.pairwise(path):
                weight = weight * transition[one, other]
            for k, context in enumerate(path[1:-1]):
                one = probabilities[context]
                likelihood = np.where(values[k] > 0.5, one, 1 - one)
                weight = weight * np.where(observed[k], likelihood, 1).prod()
            joint += weight * probabilities[path[-1]]
            evidence += weight
        predictions[trial] = joint / evidence
    return predictions


def test_beliefs_about_contexts_are_the_sum_over_all_paths():
    values, observed = outcomes(8, 1)[:, None], np.arange(8)[:, None] != 3
    learner = baselines.HiddenMarkov(
        [0.1, 0.3], [0.8, 0.35], initial_contexts=[0.9, 0.1]
    )
    transition = np.array([[0.9, 0.1], [0.3, 0.7]])
    rates = np.array([[0.8], [0.35]])
    want = enumerated(values, observed, rates, transition, np.array([0.9, 0.1]))
    found = expected(learner, values[:, 0], observed=(observed[:, 0],))
    np.testing.assert_allclose(found, want[:, 0], rtol=1e-12)


def test_one_context_may_hold_for_all_inputs():
    values = np.stack([outcomes(6, seed) for seed in (4, 5)], axis=1)
    chosen = np.array([0, 1, 1, 0, 0, 1])
    observed = chosen[:, None] == np.arange(2)
    rates = np.array([[0.8, 0.2], [0.3, 0.9]])
    learner = baselines.HiddenMarkov(0.2, rates, **TWO)
    transition = np.array([[0.8, 0.2], [0.2, 0.8]])
    want = enumerated(values, observed, rates, transition, np.array([0.5, 0.5]))
    series = series_of(*values.T, observed=tuple(observed.T))
    found = see(learner, series).expected_mean
    for i, name in enumerate(TWO["inputs"]):
        np.testing.assert_allclose(found[name], want[:, i], rtol=1e-12)
    contexts = run_trajectories(learner, series)
    total = contexts["context_0"] + contexts["context_1"]
    np.testing.assert_allclose(total, np.ones((6, 2)), rtol=1e-12)


def test_what_no_context_explains_teaches_nothing():
    certain = baselines.HiddenMarkov(0.0, [1.0, 1.0], initial_contexts=[0.7, 0.3])
    values = np.array([1.0, 0.0, 1.0])
    found = trajectories(certain, values)
    np.testing.assert_allclose(found["context_0"], 0.7)
    np.testing.assert_allclose(found["expected_mean"], 1 - 1e-6)


def test_outcomes_may_be_any_numbers():
    values = np.array([10.0, 30.0, 20.0])
    rewards = baselines.RescorlaWagner(0.5, initial_value=20.0, binary=False)
    seen = see(rewards, series_of(values))
    np.testing.assert_allclose(seen.expected_mean["outcome"], [20, 15, 22.5])
    nats = (values - [20, 15, 22.5]) ** 2 / 2 + np.log(2 * np.pi) / 2
    np.testing.assert_allclose(seen.surprise["outcome"], nats)
    with pytest.raises(InvalidInputError, match=r"data: got 10.*0 or 1"):
        prepare(baselines.RescorlaWagner(), values)
    assert prepare(rewards, values).series.values[0].tolist() == values.tolist()


def test_a_learning_rate_is_found_again_from_choices():
    truth, n_people = 0.25, 20
    generator = np.random.default_rng(1)
    good = np.repeat([0.85, 0.15, 0.85, 0.15], 60)
    series = series_of((generator.random(240) < good).astype(float))
    model = responses.unit_square_sigmoid(2.0)

    @jax.jit
    def draw(keys):
        seen = baselines.RescorlaWagner(truth).see(series)
        return jax.vmap(lambda key: model.simulate(seen, key))(keys)

    @jax.jit
    @jax.vmap
    def fits(rate):
        seen = baselines.RescorlaWagner(rate).see(series)
        return jax.vmap(lambda y: model.log_probability(seen, y).sum())(choices)

    choices = draw(jax.random.split(jax.random.key(0), n_people))
    grid = np.linspace(0.05, 0.6, 23)
    found = grid[np.asarray(fits(jnp.asarray(grid))).argmax(axis=0)]
    assert abs(found.mean() - truth) < 3 * found.std() / np.sqrt(n_people)
    assert found.std() < 0.1


def test_single_precision_agrees():
    values = outcomes(N_TRIALS, 3)
    double = expected(made("SuttonK1"))
    with jax.enable_x64(False):
        series = inference.Series((values.astype("float32"),), (None,), None)
        single = see(made("SuttonK1"), series).expected_mean["outcome"]
        assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=1e-4)


def test_one_of_the_users_own_is_a_few_lines():
    class Forgetting(baselines.ValueLearner):
        learning_rate: Any = 0.2
        retention: Any = 0.9

        def predict(self, state, interval):
            return {"value": self.retention * state["value"]}

        def update(self, state, outcome, observed):
            error = outcome - state["value"]
            after = {"value": state["value"] + self.learning_rate * error}
            return baselines.hold(observed, after, state)

    found = expected(Forgetting(0.5, 0.8), np.ones(3))
    np.testing.assert_allclose(found, [0.4, 0.56, 0.624])


BAD = {
    "RescorlaWagner": [
        ({"learning_rate": 1.2}, r"learning_rate: got 1.2.*0 to 1"),
        ({"learning_rate": "fast"}, r"learning_rate: got 'fast'"),
        ({"initial_value": -1.0}, r"initial_value: got -1.0.*0 to 1"),
        ({"inputs": ("a", "a")}, r"inputs: .*each once"),
        ({"inputs": ("a.b",)}, r"name: .*dot"),
    ],
    "PearceHall": [({"salience": -0.1}, r"salience: got -0.1.*>= 0")],
    "SuttonK1": [
        ({"initial_gain": 1.0}, r"initial_gain: got 1.0.*below 1"),
        ({"initial_trace": np.nan}, r"initial_trace: got nan.*finite"),
    ],
    "Kalman": [({"input_variance": 0.0}, r"input_variance: got 0.0.*above 0")],
    "HiddenMarkov": [
        ({"probabilities": [0.5]}, r"probabilities: got shape \(1,\).*two contexts"),
        ({"probabilities": [0.5, 2.0]}, r"probabilities: .*0 to 1"),
        ({"probabilities": np.ones((2, 3))}, r"\(context, 1\)"),
        ({"switch_probability": [0.1] * 3}, r"switch_probability: got shape \(3,\)"),
        ({"initial_contexts": [0.9, 0.2]}, r"initial_contexts: .*add up to 1"),
        ({"initial_contexts": [1.0]}, r"initial_contexts: got shape \(1,\)"),
        ({"binary": False}, r"binary: got False"),
    ],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_parameters_are_named(name):
    for settings, message in BAD[name]:
        with pytest.raises(InvalidInputError, match=message):
            getattr(baselines, name)(**settings)


def test_an_unknown_input_is_named():
    with pytest.raises(InvalidInputError, match=r"input: got 'lift'.*'left'"):
        made("Kalman", **TWO)["lift"]
