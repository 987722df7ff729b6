import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from neuromod import hgf
from neuromod.core.errors import InvalidInputError
from neuromod.hgf import inference, responses
from neuromod.hgf.responses.response import look
from tests.hgf.test_inference import outcomes, series_of

N_TRIALS = 40


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def seen():
    network, series = (
        hgf.binary_three_level((-2.0, -4.0)),
        series_of(outcomes(N_TRIALS)),
    )
    generator = np.random.default_rng(3)
    names = ("reward0", "reward1", "true_probability")
    covariates = {n: jnp.asarray(generator.random(N_TRIALS)) for n in names}
    return look(network, series, inference.run(network, series), covariates)


CHOICES = [
    responses.UnitSquareSigmoid(2.5),
    responses.UnitSquareSigmoidVolatility(),
    responses.Softmax(3.0),
    responses.Softmax(3.0, rewards=True),
    responses.GaussianThreshold(),
    responses.GaussianThreshold(variance_as_deviation=True),
    responses.ConditionedHallucination(2.0),
    responses.ConditionedHallucination(2.0, 1.5, "fixed"),
    responses.ConditionedHallucination(2.0, weighting="volatility"),
]
SCALES = [
    (responses.GaussianReport(0.3, offset=0.2), (-np.inf, np.inf)),
    (responses.LogReactionTime(6.0, 0.1, 0.2, 0.3, 0.4, 0.2), (-np.inf, np.inf)),
    (responses.ResponseSpeed(0.5, 0.3, 0.2, 0.1), (-np.inf, np.inf)),
    (responses.ResponseSpeed(0.5, 0.3, 0.2, 0.1, "surprise"), (-np.inf, np.inf)),
    (responses.ResponseSpeed(0.5, 0.3, 0.2, 0.1, "precision"), (-np.inf, np.inf)),
]


@pytest.mark.parametrize("model", CHOICES, ids=lambda m: type(m).__name__)
def test_probabilities_of_choices_add_to_one_and_are_drawn(model, seen):
    ones = jnp.ones(N_TRIALS)
    probability = jnp.exp(model.log_probability(seen, ones))
    other = jnp.exp(model.log_probability(seen, 0 * ones))
    np.testing.assert_allclose(probability + other, 1, rtol=1e-10)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda key: model.simulate(seen, key))(keys)
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0), probability, atol=0.04)


@pytest.mark.parametrize(("model", "range_"), SCALES)
def test_densities_integrate_to_one_and_are_drawn(model, range_, seen):
    trial = 7
    one = jax.tree.map(lambda x: x[trial : trial + 1], seen._replace(levels=()))
    one = one._replace(levels=seen.levels)

    def density(x):
        return float(jnp.exp(model.log_probability(one, jnp.array([x])))[0])

    keys = jax.random.split(jax.random.key(1), 4000)
    drawn = np.asarray(jax.vmap(lambda key: model.simulate(one, key))(keys))[:, 0]
    middle, width = drawn.mean(), drawn.std()
    grid = np.linspace(middle - 8 * width, middle + 8 * width, 400)
    values = [density(x) for x in grid]
    assert integrate.trapezoid(values, grid) == pytest.approx(1, abs=1e-6)
    mean = integrate.trapezoid(grid * values, grid)
    assert middle == pytest.approx(mean, abs=4 * width / np.sqrt(4000))


def test_ratings_have_the_beta_density(seen):
    model = responses.BetaReport(9.0)
    ratings = jnp.linspace(0, 1, N_TRIALS)
    mean = np.asarray(seen.expected_mean["outcome"])
    shrunk = 0.95 * (np.asarray(ratings) - 0.5) + 0.5
    want = stats.beta.logpdf(shrunk, 9 * mean, 9 * (1 - mean))
    np.testing.assert_allclose(model.log_probability(seen, ratings), want, rtol=1e-9)
    drawn = model.simulate(seen, jax.random.key(0))
    assert ((drawn >= 0) & (drawn <= 1)).all()


def test_a_deviation_is_not_a_variance(seen):
    right = responses.GaussianThreshold().log_odds(seen)
    z = np.asarray(seen.mean["x2"]) * np.sqrt(np.asarray(seen.precision["x2"]))
    want = stats.norm.logcdf(z) - stats.norm.logcdf(-z)
    np.testing.assert_allclose(right, want, rtol=1e-8, atol=1e-12)


def test_what_is_not_there_is_named(seen):
    model = responses.Softmax(1.0, rewards=True)
    with pytest.raises(InvalidInputError, match="'reward1'"):
        model.log_probability(seen._replace(covariates={}), jnp.ones(N_TRIALS))
    with pytest.raises(InvalidInputError, match=r"2 levels.*3"):
        responses.UnitSquareSigmoidVolatility().log_odds(
            seen._replace(levels=seen.levels[:2])
        )
    with pytest.raises(InvalidInputError, match="'surprise'"):
        responses.ResponseSpeed(driver="surprize")
    with pytest.raises(InvalidInputError, match="'fixed'"):
        responses.ConditionedHallucination(weighting="fix")


def test_one_of_the_users_own_is_a_few_lines(seen):
    class Optimist(responses.Response):
        bias: float

        def log_probability(self, seen, response):
            return jnp.log(seen.expected_mean["outcome"]) + self.bias

        def simulate(self, seen, key):
            return jnp.ones_like(seen.expected_mean["outcome"])

    assert Optimist(0.1).log_probability(seen, seen.value["outcome"]).shape == (40,)
