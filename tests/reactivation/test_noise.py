import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from neuromod.core.errors import InvalidInputError
from neuromod.reactivation import noise

KEY = jax.random.key(0)
ADAPTATION = {"leak": 0.2, "adaptation_strength": 1.0, "adaptation_time_constant": 8.0}


@pytest.mark.parametrize(
    ("law", "mean", "deviation"), [("gaussian", 0, 1), ("uniform01", 0.5, 12**-0.5)]
)
def test_each_law_has_its_mean_and_deviation(law, mean, deviation):
    drawn = noise.draw(KEY, (300, 300), law, jnp.float32)
    assert drawn.dtype == jnp.float32
    error = 5 * deviation / 300
    assert float(drawn.mean()) == pytest.approx(mean, abs=error)
    assert float(drawn.std()) == pytest.approx(deviation, abs=error)


def test_uniform_noise_has_no_tails():
    drawn = noise.draw(KEY, (10_000,), "uniform01", jnp.float32)
    assert 0 <= float(drawn.min()) < float(drawn.max()) < 1
    assert float(jnp.abs(noise.draw(KEY, (10_000,), "gaussian", jnp.float32)).max()) > 3


def test_noise_per_step_is_that_of_the_paper_and_back():
    assert noise.step_noise(0.01 / 0.02**0.5, 0.02) == pytest.approx(0.01)
    assert noise.step_noise(0.1 / 0.02**0.5, 0.02) == pytest.approx(0.1)
    assert noise.sde_noise(noise.step_noise(0.3, 0.004), 0.004) == pytest.approx(0.3)


def test_noise_per_step_makes_the_same_diffusion_at_every_step():
    generator = np.random.default_rng(0)
    for time_step in (0.1, 0.01):
        steps = generator.normal(size=(round(1 / time_step), 20_000))
        ends = (noise.step_noise(0.5, time_step) * steps).sum(axis=0)
        assert ends.std() == pytest.approx(0.5, rel=0.02)


def test_sleep_of_an_exact_score_has_the_langevin_variance():
    # The half widths are those of the third digit, and three standard errors or more:
    # lanes * steps * (1 - q^2) / (1 + q^2) independent samples, of 2 / n variance.
    variances = np.array([1.0, 0.1, 0.02, 0.01])
    predicted = [noise.langevin_variance(0.01, c, 2.0) for c in variances]
    assert [f"{v:.3g}" for v in predicted] == ["1.01", "0.105", "0.0267", "0.02"]
    kept = np.float32(1 - 0.01 / variances)[:, None]
    scale = np.float32(noise.quiescent_scale(2.0) * 0.1)
    generator = np.random.default_rng(1)
    n_lanes, n_before, n_steps = 40_000, 450, 1500
    state, total = np.zeros((4, n_lanes), np.float32), 0.0
    for step in range(n_before + n_steps):
        drawn = scale * generator.standard_normal(n_lanes, np.float32)
        state = kept * state + drawn
        if step >= n_before:
            total = total + np.einsum("ij,ij->i", state, state) / n_lanes
    found = total / n_steps
    errors = np.abs(np.asarray(found) / np.asarray(predicted) - 1)
    assert (errors < [5e-3, 2e-3, 1.5e-3, 1.5e-3]).all(), (found, predicted)


def test_twice_the_noise_is_exact_on_the_manifold_and_once_off_it():
    assert noise.langevin_variance(1e-4, 1.0, 2.0) == pytest.approx(1.0, rel=1e-4)
    assert noise.langevin_variance(0.01, 0.01, 1.0) == pytest.approx(0.01)
    assert noise.langevin_variance(0.01, 0.01, 2.0) == pytest.approx(0.02)


def adaptation_factor(relaxation, leak, adaptation_strength, adaptation_time_constant):
    """Ratio of variances, without and with: h is an ARMA(2, 1) process."""
    kept, slow = 1 - relaxation, 1 - 1 / adaptation_time_constant
    total = kept + slow
    product = kept * slow + leak * adaptation_strength / adaptation_time_constant
    above = (1 + product) * (1 + slow**2) - 2 * slow * total
    below = (1 - product) * ((1 + product) ** 2 - total**2)
    return below / above / (1 - kept**2)


def test_adaptation_takes_the_noise_of_its_closed_form():
    for relaxation in (0.02, 0.3, 1.0):
        found = noise.preserving_scale(relaxation, **ADAPTATION)
        assert found**2 == pytest.approx(adaptation_factor(relaxation, **ADAPTATION))
    assert noise.preserving_scale(0.02, **ADAPTATION) > 1.5


def test_momentum_takes_the_noise_of_its_closed_form_and_its_limit():
    for friction in (0.2, 0.6, 1.0):
        for relaxation in (0.05, 0.4):
            found = noise.preserving_scale(relaxation, friction=friction)
            above = friction * (4 - 2 * friction - relaxation)
            below = (2 - friction) * (2 - relaxation)
            assert found**2 == pytest.approx(above / below)
        slow = noise.preserving_scale(1e-5, friction=friction)
        assert slow == pytest.approx(noise.momentum_scale(friction), rel=1e-4)


def test_small_steps_of_adaptation_are_the_ornstein_uhlenbeck_process():
    def error(step):
        found = noise.preserving_scale(
            0.1 * step,
            leak=0.2 * step,
            adaptation_strength=0.5,
            adaptation_time_constant=8 / step,
        )
        return abs(found**2 - 1 - (0.2 * 0.5 / 0.1) / (1 + 8 * (0.1 + 0.2 * 0.5)))

    assert error(0.1) < 0.02
    assert error(0.01) / error(0.1) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("options", [{"friction": 0.4}, ADAPTATION])
def test_scaled_noise_keeps_the_variance_of_a_simulated_direction(options):
    relaxation, n_lanes = 0.2, 200_000
    matrix = noise.linear_mode(relaxation, **options).astype(np.float32)
    scale = np.float32(noise.preserving_scale(relaxation, **options))
    generator = np.random.default_rng(2)
    plain, state = np.zeros((2, n_lanes), np.float32), np.zeros((3, n_lanes))
    for _ in range(80):
        drawn = generator.standard_normal(n_lanes, np.float32)
        plain = (1 - relaxation) * plain + drawn
        state = matrix @ state
        state[:2] += scale * drawn
    assert state[0].var() == pytest.approx(plain.var(), rel=0.01)
    unscaled = state[0].var() / scale**2
    assert abs(unscaled / plain.var() - 1) > 0.1


def test_the_stationary_covariance_solves_its_equation():
    generator = np.random.default_rng(3)
    matrix = 0.3 * generator.normal(size=(3, 3))
    cause = generator.normal(size=(3, 3))
    found = noise.stationary_covariance(matrix, cause @ cause.T)
    iterated = np.zeros((3, 3))
    for _ in range(2000):
        iterated = matrix @ iterated @ matrix.T + cause @ cause.T
    np.testing.assert_allclose(found, iterated, rtol=1e-8)


def test_what_has_no_stationary_density_is_refused():
    with pytest.raises(InvalidInputError, match=r"eigenvalue of size 1.1"):
        noise.stationary_covariance([[1.1]], [[1.0]])
    with pytest.raises(InvalidInputError, match=r"relaxation: got .* 0 per step"):
        noise.preserving_scale(0.0)
    with pytest.raises(InvalidInputError, match=r"epsilon: .* less than 2"):
        noise.langevin_variance(0.3, 0.1)
    with pytest.raises(InvalidInputError, match=r"temperature: .*>= 0"):
        noise.quiescent_scale(-1.0)
    with pytest.raises(InvalidInputError, match=r"time_step: .*> 0 s"):
        noise.step_noise(0.1, 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_has_the_moments_of_its_law_and_no_memory(dtype):
    with jax.enable_x64(True):
        drawn = np.asarray(
            noise.draw(jax.random.key(3), (2001, 501), "gaussian", dtype)
        )
        even = np.asarray(
            noise.draw(jax.random.key(3), (2001, 501), "uniform01", dtype)
        )
    assert str(drawn.dtype) == dtype
    n = drawn.size
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert (
            abs((drawn.astype(float) ** power).mean() - moment)
            < 4 * (variance / n) ** 0.5
        )
    assert stats.kstest(even.ravel(), "uniform").pvalue > 0.001
    assert even.min() >= 0
    assert even.max() < 1
    for one, other in (
        (drawn[1:], drawn[:-1]),
        (drawn[:, 1:], drawn[:, :-1]),
        (drawn[:1000], drawn[1000:2000]),  # the two words of one hash
    ):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / one.size**0.5


def test_noise_of_different_keys_has_nothing_in_common():
    keys = jax.random.split(jax.random.key(0), 3)
    rows = jax.vmap(lambda key: noise.draw(key, (9999,), "gaussian", "float32"))(keys)
    alone = noise.draw(keys[1], (9999,), "gaussian", "float32")
    np.testing.assert_array_equal(rows[1], alone)
    correlation = np.corrcoef(np.asarray(rows))[np.triu_indices(3, 1)]
    assert (abs(correlation) < 0.04).all()
    old_style = noise.draw(jax.random.PRNGKey(7), (5,), "gaussian", "float32")
    np.testing.assert_array_equal(
        old_style, noise.draw(jax.random.key(7), (5,), "gaussian", "float32")
    )
