import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from neuromod import hgf
from neuromod.core.errors import InvalidInputError
from neuromod.hgf import inference, responses
from neuromod.hgf.responses import score
from neuromod.hgf.responses.choices import BinaryChoice
from tests.hgf.test_inference import outcomes, series_of

N_TRIALS = 40
MISSED = 11


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def covariates(*names):
    generator = np.random.default_rng(3)
    return {name: jnp.asarray(generator.random(N_TRIALS)) for name in names}


@pytest.fixture(scope="module")
def seen():
    """Beliefs about outcomes of which one was not observed."""
    with jax.enable_x64(True):
        known = np.arange(N_TRIALS) != MISSED
        series = series_of(outcomes(N_TRIALS), observed=[known])
        network = hgf.binary_three_level((-2.0, -4.0))
        found = jax.jit(inference.run)(network, series)
        beside = covariates("reward0", "reward1", "true_probability")
        return responses.look(network, series, found, beside)


N_DRAWS = 4000


def repeated(seen, trials):
    """Return beliefs in which the trials with these numbers follow each other."""
    names = {"levels": (), "options": (), "above": ()}
    arrays = jax.tree.map(
        lambda x: jnp.asarray(np.asarray(x)[trials]), seen._replace(**names)
    )
    return arrays._replace(**{name: getattr(seen, name) for name in names})


def draws(model, seen, trials):
    return np.asarray(model.simulate(repeated(seen, trials), jax.random.key(1)))


CHOICES = [
    responses.unit_square_sigmoid(2.5),
    responses.unit_square_sigmoid(1.5, by_volatility=True),
    responses.softmax(3.0),
    responses.softmax(3.0, lapse=0.2),
    responses.softmax(3.0, rewards=True),
    responses.gaussian_threshold(),
    responses.gaussian_threshold(variance_as_deviation=True),
    responses.conditioned_hallucination(2.0),
    responses.conditioned_hallucination(2.0, 1.5, weighting="fixed"),
    responses.conditioned_hallucination(2.0, weighting="volatility"),
]
SCALES = [
    responses.gaussian_report(0.3, offset=0.2),
    responses.log_reaction_time(6.0, 0.1, 0.2, 0.3, 0.4, 0.2),
    responses.response_speed(0.5, 0.3, 0.2, 0.1),
    responses.response_speed(0.5, 0.3, 0.2, 0.1, "surprise"),
    responses.response_speed(0.5, 0.3, 0.2, 0.1, "precision"),
]


@pytest.mark.parametrize("model", CHOICES, ids=lambda m: type(m).__name__)
def test_probabilities_of_choices_add_to_one_and_are_drawn(model, seen):
    ones = jnp.ones(N_TRIALS)
    probability = np.asarray(jnp.exp(score(model, seen, ones)))
    other = np.asarray(jnp.exp(score(model, seen, 0 * ones)))
    np.testing.assert_allclose(probability + other, 1, rtol=1e-10)
    n_times = N_DRAWS // N_TRIALS
    drawn = draws(model, seen, np.tile(np.arange(N_TRIALS), n_times))
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    share = drawn.reshape(n_times, N_TRIALS).mean(0)
    z = (share - probability) / np.sqrt(probability * other / n_times)
    assert stats.chi2.sf((z**2).sum(), N_TRIALS) > 1e-4


@pytest.mark.parametrize("model", SCALES, ids=lambda m: type(m).__name__)
def test_densities_integrate_to_one_and_are_drawn(model, seen):
    trials = np.full(N_DRAWS, 7)
    drawn = draws(model, seen, trials)
    middle, width = drawn.mean(), drawn.std()
    grid = np.linspace(middle - 8 * width, middle + 8 * width, N_DRAWS)
    values = np.exp(score(model, repeated(seen, trials), jnp.asarray(grid)))
    assert integrate.trapezoid(values, grid) == pytest.approx(1, abs=1e-6)
    mean = integrate.trapezoid(grid * values, grid)
    variance = integrate.trapezoid((grid - mean) ** 2 * values, grid)
    assert middle == pytest.approx(mean, abs=4 * width / np.sqrt(N_DRAWS))
    assert width**2 == pytest.approx(variance, rel=4 * np.sqrt(2 / N_DRAWS))


def test_ratings_have_the_beta_density(seen):
    model = responses.beta_report(9.0)
    ratings = jnp.linspace(0, 1, N_TRIALS)
    mean = np.asarray(seen.expected_mean["outcome"])
    shrunk = 0.95 * (np.asarray(ratings) - 0.5) + 0.5
    want = stats.beta.logpdf(shrunk, 9 * mean, 9 * (1 - mean))
    np.testing.assert_allclose(model.log_probability(seen, ratings), want, rtol=1e-9)
    drawn = draws(model, seen, np.full(N_DRAWS, 7))
    assert ((drawn >= 0) & (drawn <= 1)).all()
    # The ratings are stretched by what their density shrinks them.
    spread = np.sqrt(mean[7] * (1 - mean[7]) / 10) / 0.95
    assert drawn.mean() == pytest.approx((mean[7] - 0.5) / 0.95 + 0.5, abs=spread / 15)
    assert drawn.std() == pytest.approx(spread, rel=0.05)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def test_volatility_multiplies_the_temperature(seen):
    mean, third = (np.asarray(seen.expected_mean[name]) for name in ("outcome", "x3"))
    exponent = 1.5 * np.exp(-third)
    want = mean**exponent / (mean**exponent + (1 - mean) ** exponent)
    model = responses.unit_square_sigmoid(1.5, by_volatility=True)
    got = np.exp(score(model, seen, jnp.ones(N_TRIALS)))
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("cls", [responses.softmax, responses.unit_square_sigmoid])
def test_a_lapse_mixes_in_a_coin(cls, seen):
    """Also where attention leaves no doubt, and in single precision."""
    ones = jnp.ones(N_TRIALS)
    attentive = np.exp(score(cls(3.0), seen, ones))
    got = np.exp(score(cls(3.0, lapse=0.2), seen, ones))
    np.testing.assert_allclose(got, 0.8 * attentive + 0.1, rtol=1e-12)
    sure = score(cls(1e5, lapse=0.2), seen, ones)
    assert set(np.round(np.exp(sure), 6)) <= {0.1, 0.5, 0.9}
    np.testing.assert_allclose(
        score(cls(3.0, lapse=0.0), seen, ones), np.log(attentive), rtol=1e-12
    )


def test_a_deviation_is_not_a_variance(seen):
    right = responses.gaussian_threshold().log_odds(seen)
    z = np.asarray(seen.mean["x2"]) * np.sqrt(np.asarray(seen.precision["x2"]))
    want = stats.norm.logcdf(z) - stats.norm.logcdf(-z)
    np.testing.assert_allclose(right, want, rtol=1e-8, atol=1e-12)


def test_reaction_times_follow_the_formula_without_the_terms_left_out(seen):
    """Marshall et al. 2016, term by term; an outcome not seen surprises nobody."""
    u = np.asarray(seen.value["outcome"])
    mean = np.asarray(seen.expected_mean["outcome"])
    bits = -np.log2(np.where(u == 1, mean, 1 - mean))
    bits[MISSED] = 0
    second, third = np.asarray(seen.mean["x2"]), np.asarray(seen.mean["x3"])
    bend = logistic(second) * (1 - logistic(second))
    terms = {
        "surprise": bits,
        "outcome": mean * (1 - mean),
        "estimation": bend / np.asarray(seen.precision["x2"]),
        "environment": bend * np.exp(third),
    }
    left_out = dict.fromkeys(terms)
    for name, term in terms.items():
        weights = left_out | {name: 0.7}
        model = responses.log_reaction_time(5.0, variance=0.04, **weights)
        got = score(model, seen, jnp.full(N_TRIALS, 6.0))
        want = stats.norm.logpdf(6.0, 5.0 + 0.7 * term, 0.2)
        np.testing.assert_allclose(got, want, rtol=1e-10, err_msg=name)
    two_levels = seen._replace(levels=seen.levels[:2])
    model = responses.log_reaction_time(5.0, 0.1, 0.2, 0.3)
    assert score(model, two_levels, jnp.ones(N_TRIALS)).shape == (N_TRIALS,)


def test_speed_depends_on_whether_the_cue_was_valid(seen):
    u, mean = np.asarray(seen.value["outcome"]), np.asarray(seen.expected_mean["x2"])
    mean = logistic(mean)
    want = np.where(u == 1, 0.5 + 0.2 * mean, 0.3 + 0.2 * (1 - mean))
    got = score(responses.response_speed(0.5, 0.3, 0.2, 0.1), seen, jnp.asarray(want))
    kept = np.arange(N_TRIALS) != MISSED
    np.testing.assert_allclose(
        got[kept], stats.norm.logpdf(0, 0, np.sqrt(0.1)), rtol=1e-10
    )


@pytest.mark.parametrize(
    "model",
    [
        CHOICES[3],
        CHOICES[7],
        SCALES[1],
        responses.beta_report(9.0),
    ],
    ids=lambda m: type(m).__name__,
)
def test_missing_responses_enter_neither_score_nor_gradient(model, seen):
    """Gradients against finite differences, with respect to every parameter."""
    generator = np.random.default_rng(4)
    complete = generator.integers(0, 2, N_TRIALS).astype(float)
    missing = generator.random(N_TRIALS) < 0.3
    column = jnp.asarray(np.where(missing, np.nan, complete))
    whole, masked = (score(model, seen, jnp.asarray(c)) for c in (complete, column))
    np.testing.assert_array_equal(masked, np.where(missing, 0.0, whole))
    values, rest = jax.tree.flatten(model)

    @jax.jit
    def total(values):
        return score(jax.tree.unflatten(rest, values), seen, column).sum()

    got = jax.grad(total)([jnp.asarray(value) for value in values])
    for i, value in enumerate(values):
        step = 1e-6 * value
        up, down = (
            total([*values[:i], value + sign * step, *values[i + 1 :]])
            for sign in (1, -1)
        )
        assert float(got[i]) == pytest.approx(float(up - down) / (2 * step), rel=1e-5)


def test_whole_numbers_are_responses_too(seen):
    ones = np.ones(N_TRIALS, int)
    model = responses.softmax(2.0)
    np.testing.assert_array_equal(
        score(model, seen, ones), score(model, seen, jnp.ones(N_TRIALS))
    )


def test_what_is_not_there_is_named(seen):
    model = responses.softmax(1.0, rewards=True)
    with pytest.raises(InvalidInputError, match="'reward1'"):
        model.log_probability(seen._replace(covariates={}), jnp.ones(N_TRIALS))
    with pytest.raises(InvalidInputError, match=r"2 levels.*3"):
        responses.unit_square_sigmoid(by_volatility=True).log_odds(
            seen._replace(levels=seen.levels[:2])
        )
    with pytest.raises(InvalidInputError, match="no binary input"):
        responses.softmax().log_odds(seen._replace(options=()))
    with pytest.raises(InvalidInputError, match="responses: got None"):
        score(responses.softmax(), seen, None)


def test_parameters_out_of_their_range_are_refused():
    with pytest.raises(InvalidInputError, match="'surprise'"):
        responses.response_speed(driver="surprize")
    with pytest.raises(InvalidInputError, match="'fixed'"):
        responses.conditioned_hallucination(weighting="fix")
    with pytest.raises(InvalidInputError, match="prior_weight"):
        responses.conditioned_hallucination(weighting="fixed")
    with pytest.raises(InvalidInputError, match=r"inverse_temperature.*-1"):
        responses.softmax(-1.0)
    with pytest.raises(InvalidInputError, match=r"lapse.*1\.5"):
        responses.softmax(lapse=1.5)
    with pytest.raises(InvalidInputError, match="variance"):
        responses.gaussian_report(0.0)


def test_ranges_name_fields_that_are_there():
    models = (getattr(responses, name) for name in responses.__all__)
    kinds = [m for m in models if isinstance(m, type) and m.__name__ != "Seen"]
    assert len(kinds) > 10
    for kind in kinds:
        fields = set(kind.__dataclass_fields__)
        assert set(kind.positive) | set(kind.unit_interval) <= fields
        assert "lapse" in kind.unit_interval or not issubclass(kind, BinaryChoice)


def test_one_of_the_users_own_is_a_few_lines(seen):
    class Optimist(responses.Response):
        bias: float

        def log_probability(self, seen, response):
            log_odds = responses.logit(seen.expected_mean["outcome"]) + self.bias
            return responses.bernoulli(log_odds, response)

        def simulate(self, seen, key):
            return jnp.ones_like(seen.expected_mean["outcome"])

    column = jnp.asarray(seen.value["outcome"]).at[3].set(jnp.nan)
    assert score(Optimist(0.1), seen, column)[3] == 0
