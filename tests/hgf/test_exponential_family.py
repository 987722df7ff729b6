import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from neuromod import errors, hgf
from neuromod.hgf import exponential_family as family
from neuromod.hgf.exponential_family import NormalLearner, log_predictive, small_filter

COVARIANCE = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 0.5]])
LEARNING = pytest.mark.parametrize("learning", family.LEARNING)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def draw(n_steps, dimension=None, seed=0):
    shape = (n_steps,) if dimension is None else (n_steps, dimension)
    return jnp.asarray(np.random.default_rng(seed).normal(0.5, 1.2, shape))


learn = jax.jit(family.learn)


def test_statistics_and_moments_are_inverse():
    mean = jnp.array([1.0, -2.0, 0.5])
    expected = family.expected_statistics(mean, jnp.asarray(COVARIANCE))
    found = family.moments(expected, 3)
    np.testing.assert_allclose(found[0], mean)
    np.testing.assert_allclose(found[1], COVARIANCE, atol=1e-14)
    alone = family.moments(family.expected_statistics(jnp.array(3.0), jnp.array(4.0)))
    assert tuple(map(float, alone)) == (3.0, 4.0)


def test_statistics_go_row_by_row():
    x = jnp.array([[2.0, 3.0, 5.0]])
    want = [[2, 3, 5, 4, 6, 9, 10, 15, 25]]
    np.testing.assert_array_equal(family.statistics(x, 3), want)
    np.testing.assert_array_equal(family.statistics(jnp.array([3.0])), [[3, 9]])


def test_a_count_that_grows_gives_the_running_mean():
    # A state that never moves and starts as sure as one observation counts them all.
    states = [hgf.ContinuousState("x1", mean=0.0, tonic_volatility=-80.0)]
    inputs = [hgf.ContinuousInput("statistic")]
    network = hgf.Network([*inputs, *states], [hgf.observation("x1", "statistic")])
    learner = NormalLearner(learning="hgf-1", statistics=[0.0, 0.0], network=network)
    x = draw(200)
    found = learn(learner, x)
    n = np.arange(1.0, 201.0)
    np.testing.assert_allclose(found.nu, n, rtol=1e-10)
    want = np.cumsum(family.statistics(x), axis=0) / (n[:, None] + 1)
    np.testing.assert_allclose(found.statistics, want, rtol=1e-10)


def test_a_fixed_count_forgets_exponentially():
    x, nu = draw(50), 4.0
    found = learn(NormalLearner(nu=nu), x)
    kept = nu / (1 + nu)
    weights = kept ** np.arange(49, -1, -1) / (1 + nu)
    first = np.array([0.0, 1.0]) * kept**50
    want = first + weights @ np.asarray(family.statistics(x))
    np.testing.assert_allclose(found.statistics[-1], want, rtol=1e-12)
    np.testing.assert_array_equal(found.nu, np.full(50, nu))


def test_expected_statistics_are_the_beliefs_if_they_start_there():
    network = small_filter(1)
    learner = NormalLearner(learning="hgf-1", statistics=[0.0, 0.0], network=network)
    found = learn(learner, draw(100))
    beliefs = found.trajectories.beliefs["x1"].mean
    np.testing.assert_allclose(found.statistics, beliefs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("learning", family.LEARNING[1:])
def test_the_count_is_the_ratio_of_error_and_update(learning):
    x = draw(60)
    found = learn(NormalLearner(learning=learning), x)
    belief = found.trajectories.beliefs["x1"].mean
    expected = found.trajectories.predictions["x1"].mean
    ratio = (family.statistics(x) - expected) / (belief - expected)
    np.testing.assert_allclose(found.nu, ratio.mean(axis=1) - 1, rtol=1e-8)
    assert len(found.trajectories.beliefs) == int(learning[-1])


def test_a_change_lowers_the_count():
    x = draw(200) + jnp.where(jnp.arange(200) < 150, 0.0, 4.0)
    found = learn(NormalLearner(learning="hgf-2"), x)
    assert found.nu[155:165].mean() < 0.8 * found.nu[140:150].mean()


def test_each_statistic_may_have_its_own_parameters():
    def network(tonic):
        state = hgf.ContinuousState("x1", tonic_volatility=tonic)
        return hgf.Network(
            [hgf.ContinuousInput("statistic"), state],
            [hgf.observation("x1", "statistic")],
        )

    x = draw(30)
    tonic = jnp.array([-2.0, -7.0])
    learner = NormalLearner(learning="hgf-1", network=network(tonic))
    mixed = learn(learner, x).trajectories.beliefs["x1"].mean
    for i in range(2):
        learner = NormalLearner(learning="hgf-1", network=network(tonic[i]))
        alone = learn(learner, x).trajectories.beliefs["x1"].mean
        np.testing.assert_allclose(mixed[:, i], alone[:, i])


@pytest.mark.parametrize("nu", [0.5, 3.0, 40.0])
def test_predictive_density(nu):
    expected = family.expected_statistics(jnp.array(0.7), jnp.array(2.5))

    def density(x):
        return np.exp(log_predictive(jnp.asarray(x), expected, jnp.asarray(nu)))

    found, _ = integrate.quad(density, -np.inf, np.inf, limit=200)
    assert found == pytest.approx(1.0, abs=1e-6)
    x = np.linspace(-5, 5, 11)
    want = stats.t.logpdf(x, df=nu + 1, loc=0.7, scale=np.sqrt(2.5))
    got = [log_predictive(jnp.asarray(v), expected, jnp.asarray(nu)) for v in x]
    np.testing.assert_allclose(got, want, rtol=1e-10)


def test_predictive_density_of_vectors():
    mean, nu = jnp.array([1.0, -2.0, 0.5]), 3.0
    expected = family.expected_statistics(mean, jnp.asarray(COVARIANCE))
    student = stats.multivariate_t(np.asarray(mean), COVARIANCE, df=nu + 1)
    for x in draw(5, 3):
        got = log_predictive(x, expected, jnp.asarray(nu), 3)
        assert got == pytest.approx(student.logpdf(np.asarray(x)), rel=1e-10)


def test_predictive_density_is_normal_for_large_counts():
    expected = family.expected_statistics(jnp.array(0.7), jnp.array(2.5))
    got = log_predictive(jnp.array(2.0), expected, jnp.array(1e7))
    assert got == pytest.approx(stats.norm.logpdf(2.0, 0.7, np.sqrt(2.5)), rel=1e-6)


def test_a_vector_of_one_number():
    x = draw(20)
    alone = learn(NormalLearner(), x)
    vector = learn(NormalLearner(1), x[:, None])
    for a, b in zip(alone[:3], vector[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_surprise_is_of_what_was_expected_before():
    x = draw(3)
    found = learn(NormalLearner(nu=2.0), x)
    first = -stats.t.logpdf(float(x[0]), df=3.0)
    assert found.surprise[0] == pytest.approx(first)
    want = -log_predictive(x[2], found.statistics[1], found.nu[1])
    assert found.surprise[2] == pytest.approx(float(want))


@LEARNING
@pytest.mark.parametrize("dimension", [None, 2])
def test_missing_steps_leave_everything(learning, dimension):
    x = draw(20, dimension)
    observed = jnp.ones(20, bool).at[jnp.array([0, 7, 8, 19])].set(False)
    known = observed if dimension is None else observed[:, None]
    found = learn(
        NormalLearner(dimension, learning), jnp.where(known, x, jnp.nan), observed
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    for missing, before in ((7, 6), (8, 6), (19, 18)):
        np.testing.assert_array_equal(
            found.statistics[missing], found.statistics[before]
        )
        assert found.nu[missing] == found.nu[before]
        assert found.surprise[missing] == 0
    assert found.nu[0] == 3.0
    np.testing.assert_array_equal(
        found.statistics[0], NormalLearner(dimension).statistics
    )


def test_missing_steps_with_a_fixed_count_are_as_if_left_out():
    x = draw(20)
    observed = jnp.arange(20) % 3 != 1
    some = learn(NormalLearner(), x, observed)
    without = learn(NormalLearner(), x[observed])
    np.testing.assert_allclose(some.statistics[observed], without.statistics)
    np.testing.assert_allclose(some.surprise[observed], without.surprise)


def total(nu, first, tonic_volatility, x, observed, learning):
    network = None
    if learning != "fixed":
        states = [
            hgf.ContinuousState("x1", tonic_volatility=tonic_volatility),
            hgf.ContinuousState("x2"),
        ]
        network = hgf.Network(
            [hgf.ContinuousInput("statistic"), *states],
            [hgf.observation("x1", "statistic"), hgf.volatility("x2", "x1")],
        )
    learner = NormalLearner(None, learning, nu, first, network)
    return family.learn(learner, x, observed).surprise.sum()


@pytest.mark.parametrize("learning", ["fixed", "hgf-2"])
def test_gradients(learning):
    observed = jnp.arange(30) % 5 != 2
    x = jnp.where(observed, draw(30), jnp.nan)
    at = (jnp.array(3.0), jnp.array([0.1, 1.5]), jnp.array(-3.0))
    of = jax.jit(lambda parameters: total(*parameters, x, observed, learning))
    slope = jax.flatten_util.ravel_pytree(jax.jit(jax.grad(of))(at))[0]
    flat, shaped = jax.flatten_util.ravel_pytree(at)
    for i in range(len(flat)):
        step = jnp.zeros_like(flat).at[i].set(1e-5)
        above, below = (float(of(shaped(flat + sign * step))) for sign in (1, -1))
        assert slope[i] == pytest.approx((above - below) / 2e-5, rel=1e-6, abs=1e-8)


def test_many_at_once():
    many = jnp.stack([draw(20, seed=seed) for seed in range(3)])
    learner = NormalLearner(learning="hgf-2")
    together = jax.vmap(family.learn, in_axes=(None, 0))(learner, many)
    for i in range(3):
        alone = learn(learner, many[i])
        np.testing.assert_allclose(together.surprise[i], alone.surprise, rtol=1e-12)


@LEARNING
def test_single_precision(learning):
    x = np.asarray(draw(50, 2))
    learner = NormalLearner(2, learning)
    double = learn(learner, jnp.asarray(x))
    with jax.enable_x64(False):
        single = learn(learner, jnp.asarray(x, "float32"))
        assert single.surprise.dtype == jnp.float32
        np.testing.assert_allclose(single.surprise, double.surprise, rtol=5e-4)


def test_a_learner_can_be_built_again():
    learner = NormalLearner(2, "hgf-2", nu=5.0)
    again = NormalLearner(
        **{name: getattr(learner, name) for name in learner.__dataclass_fields__}
    )
    assert jax.tree.structure(again) == jax.tree.structure(learner)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimension": 0}, "dimension"),
        ({"learning": "hgf-4"}, "hgf-3"),
        ({"nu": -1.0}, "above -1"),
        ({"dimension": 2, "statistics": [0.0, 1.0]}, r"\(5,\)"),
        ({"network": small_filter(1)}, "fixed"),
        ({"learning": "hgf-2", "network": small_filter(1)}, "hgf-2"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        NormalLearner(**arguments)


def test_data_of_another_dimension_are_refused():
    with pytest.raises(errors.InvalidInputError, match="x: got shape"):
        family.learn(NormalLearner(2), draw(5, 3))


def slow_pyhgf(x, observed):
    """A state with its own volatility, which holds each statistic, below one state."""
    aged = np.exp(-4.0)
    given = np.stack([x, x**2], axis=1)
    last, mean, precision = np.zeros(2), np.zeros(2), np.ones(2)
    expected, found = np.array([0.0, 1.0]), []
    for value, seen in zip(given, observed, strict=True):
        error = value - last - mean
        before, weight = mean, 1 / (1 + aged)
        precision = 1 / (1 / precision + aged)
        if seen:
            precision = precision + weight
            mean = mean + weight / precision * error
        with np.errstate(divide="ignore", invalid="ignore"):
            nu = np.mean(error / (mean - before))
        if seen:
            expected = expected + (value - expected) / (1 + nu)
        last = value
        found.append((*expected, nu))
    return np.array(found)


def test_pyhgf_expects_the_last_statistic_again():
    x, observed = np.asarray(draw(60)), np.arange(60) % 7 != 4
    network = small_filter(1, compatibility="pyhgf")
    learner = NormalLearner(learning="hgf-1", network=network)
    found = learn(learner, jnp.asarray(x), jnp.asarray(observed))
    want = slow_pyhgf(x, observed)
    np.testing.assert_allclose(found.statistics, want[:, :2], rtol=1e-9)
    assert not np.isfinite(want[~observed, 2]).any()
    np.testing.assert_allclose(found.nu, want[:, 2], rtol=1e-9)
