import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from neuromod import hgf
from neuromod.core.errors import InvalidInputError
from neuromod.hgf import inference, responses
from neuromod.hgf.categories import outcomes as table
from neuromod.hgf.responses import score
from tests.hgf.test_inference import outcomes, series_of
from tests.hgf.test_responses import N_DRAWS, N_TRIALS, repeated, seen

__all__ = ["seen"]


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def look(network, series):
    return responses.look(network, series, jax.jit(inference.run)(network, series))


CHOICE = responses.softmax(3.0)
TIME = responses.log_reaction_time(6.0, 0.3, variance=0.04)
BOTH = responses.joint(log_time=TIME, choice=CHOICE)


def columns():
    """Choices and times, each missing on trials of its own."""
    generator = np.random.default_rng(8)
    choice = generator.integers(0, 2, N_TRIALS).astype(float)
    time = generator.normal(6, 0.3, N_TRIALS)
    choice[[2, 9]], time[[2, 14]] = np.nan, np.nan
    return {"choice": jnp.asarray(choice), "log_time": jnp.asarray(time)}


def test_columns_add_up_and_miss_trials_of_their_own(seen):
    done = columns()
    parts = [score(CHOICE, seen, done["choice"]), score(TIME, seen, done["log_time"])]
    got = score(BOTH, seen, done)
    np.testing.assert_allclose(got, parts[0] + parts[1], rtol=1e-12)
    assert got[2] == 0
    assert got[9] == parts[1][9] != 0
    assert got[14] == parts[0][14] != 0


def test_gradients_pass_missing_trials(seen):
    done = columns()

    @jax.jit
    def total(temperature, weight):
        model = responses.joint(
            choice=responses.softmax(temperature),
            log_time=responses.log_reaction_time(6.0, weight, variance=0.04),
        )
        return score(model, seen, done).sum()

    got = jax.grad(total, (0, 1))(3.0, 0.3)
    slow = [
        (total(3.0 + 1e-6, 0.3) - total(3.0 - 1e-6, 0.3)) / 2e-6,
        (total(3.0, 0.3 + 1e-6) - total(3.0, 0.3 - 1e-6)) / 2e-6,
    ]
    np.testing.assert_allclose(got, slow, rtol=1e-6)


def test_columns_are_drawn_by_their_models_and_apart(seen):
    trials = np.tile(np.arange(N_TRIALS), N_DRAWS // N_TRIALS)
    drawn = BOTH.simulate(repeated(seen, trials), jax.random.key(3))
    assert set(drawn) == {"choice", "log_time"}
    choice, time = (
        np.asarray(drawn[name]).reshape(-1, N_TRIALS) for name in ("choice", "log_time")
    )
    p = np.exp(np.asarray(score(CHOICE, seen, jnp.ones(N_TRIALS))))
    assert ((choice - p).sum() ** 2) < 16 * N_DRAWS * (p * (1 - p)).mean()
    noise = time - time.mean(0)
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    together = (noise * (choice - p)).mean()
    assert abs(together) < 4 * 0.2 * 0.5 / np.sqrt(N_DRAWS)
    # A copy, whose parts were sorted, draws the same.
    again = jax.tree.map(lambda x: x, BOTH)
    again = again.simulate(repeated(seen, trials), jax.random.key(3))
    np.testing.assert_array_equal(again["choice"], drawn["choice"])


def test_perception_is_a_part_without_a_column(seen):
    model = responses.joint(choice=CHOICE, perception=responses.bayes_optimal())
    choice = columns()["choice"]
    want = score(CHOICE, seen, choice) - seen.surprise["outcome"]
    np.testing.assert_allclose(score(model, seen, {"choice": choice}), want, rtol=1e-12)


def test_columns_that_do_not_fit_are_named(seen):
    done = columns()
    with pytest.raises(InvalidInputError, match=r"'time'.*'log_time'"):
        score(BOTH, seen, {"choice": done["choice"], "time": done["log_time"]})
    with pytest.raises(InvalidInputError, match=r"no column 'log_time'"):
        score(BOTH, seen, {"choice": done["choice"]})
    with pytest.raises(InvalidInputError, match=r"mapping from 'choice', 'log_time'"):
        score(BOTH, seen, done["choice"])
    with pytest.raises(InvalidInputError, match="choice"):
        responses.joint(choice="softmax")
    with pytest.raises(InvalidInputError, match="at least one"):
        responses.joint()


KNOWN = np.arange(N_TRIALS) % 4 != 1


def perceived(kind):
    """Return a network of each kind, its inputs and those that were observed."""
    generator = np.random.default_rng(9)
    if kind == "binary":
        u = outcomes(N_TRIALS)
        return hgf.binary_three_level((-2.0, -4.0)), series_of(u, observed=[KNOWN])
    if kind == "continuous":
        u = generator.normal(0, 1, N_TRIALS).cumsum()
        network = hgf.continuous_two_level((0.0, -2.0), input_precision=4.0)
        return network, series_of(u, observed=[KNOWN])
    which = jax.nn.one_hot(jnp.asarray(generator.integers(0, 3, N_TRIALS)), 3)
    return hgf.categorical(3), table(which, jnp.asarray(KNOWN))


@pytest.mark.parametrize("kind", ["binary", "continuous", "categorical"])
def test_perception_scores_the_inputs_that_were_observed(kind):
    network, series = perceived(kind)
    seen = look(network, series)
    likelihood, squares = np.zeros(N_TRIALS), np.zeros(N_TRIALS)
    for name in network.inputs:
        u, mean = np.asarray(seen.value[name]), np.asarray(seen.expected_mean[name])
        squares += stats.norm.logpdf(u, mean, np.sqrt(0.7))
        if kind == "continuous":
            variance = 1 / 4 + 1 / np.asarray(seen.expected_precision["x1"])
            likelihood += stats.norm.logpdf(u, mean, np.sqrt(variance))
        else:
            likelihood += stats.bernoulli.logpmf(u.astype(int), mean)
    nothing = jnp.full(N_TRIALS, jnp.nan)
    for model, want in (
        (responses.bayes_optimal(), likelihood),
        (responses.squared_error(0.7), squares),
    ):
        got = score(model, seen, None)
        np.testing.assert_allclose(got, np.where(KNOWN, want, 0), rtol=1e-10)
        np.testing.assert_array_equal(score(model, seen, nothing), got)
        assert np.isnan(model.simulate(seen, jax.random.key(0))).all()


def test_without_volatility_parents_perception_is_the_likelihood_of_the_data():
    """The joint normal density of all observations of a random walk."""
    generator = np.random.default_rng(10)
    data = generator.normal(0, 1, N_TRIALS)
    network = hgf.Network(
        [
            hgf.ContinuousInput("a", precision=2.0),
            hgf.ContinuousState("x", mean=0.3, precision=0.5, tonic_volatility=-1.0),
        ],
        [hgf.observation("x", "a", 1.5)],
    )
    seen = look(network, series_of(data))
    steps = np.arange(1, N_TRIALS + 1)
    walk = 1 / 0.5 + np.exp(-1.0) * np.minimum(steps[:, None], steps[None])
    covariance = 1.5**2 * walk + np.eye(N_TRIALS) / 2.0
    mean = np.full(N_TRIALS, 1.5 * 0.3)
    want = stats.multivariate_normal.logpdf(data, mean, covariance)
    got = score(responses.bayes_optimal(), seen, None).sum()
    assert float(got) == pytest.approx(want, rel=1e-10)
