"""How positions move: reference numbers, walks of known law, circles, bad input."""

import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.reactivation import measures
from tests.reactivation.test_measures_density import cases, wrapped

LAGS = [1, 2, 4, 8, 16]


def walk(n_trials=60, n_steps=600, n_dimensions=2, seed=0, sd=0.1, drift=0.0):
    steps = np.random.default_rng(seed).normal(
        drift, sd, (n_trials, n_steps, n_dimensions)
    )
    return steps.cumsum(axis=1)


def test_steps_and_variance_are_the_reference_s():
    for case in cases().values():
        for name in ("awake", "quiescent"):
            np.testing.assert_allclose(
                measures.step_length(case[name]),
                case[f"stepwise_distance_{name}"],
                rtol=1e-12,
            )
        variance = measures.within_trajectory_variance(
            case["quiescent"], shift=int(case["shift"])
        )
        np.testing.assert_allclose(
            variance.mean(), case["output_variance_quiescent"], rtol=1e-12
        )


def test_the_first_steps_are_dropped_from_the_variance():
    path = walk(n_trials=2, n_steps=50)
    path[:, :10] += 100
    late = measures.within_trajectory_variance(path, shift=10)
    expected = [np.trace(np.cov(trial[10:].T)) for trial in path]
    np.testing.assert_allclose(late, expected)
    assert (measures.within_trajectory_variance(path) > 10 * late).all()


def test_brownian_motion_has_slope_one_and_straight_motion_two():
    path = walk()
    msd = measures.displacement(path, LAGS)
    np.testing.assert_allclose(msd, 2 * 0.1**2 * np.array(LAGS), rtol=0.05)
    assert measures.displacement_slope(msd, LAGS) == pytest.approx(1, abs=0.03)
    straight = np.linspace(0, 1, 50)[None, :, None] * np.array([3.0, 4.0])
    ballistic = measures.displacement(straight, LAGS)
    assert measures.displacement_slope(ballistic, LAGS) == pytest.approx(2)


def test_the_range_of_the_slope_counts():
    lags = np.array([1, 2, 4, 8])
    msd = np.array([1.0, 2.0, 8.0, 32.0])
    assert measures.displacement_slope(msd, lags, between=(2, 8)) == pytest.approx(2)
    assert measures.displacement_slope(msd, lags, between=(1, 2)) == pytest.approx(1)
    assert 1 < measures.displacement_slope(msd, lags) < 2
    with pytest.raises(InvalidInputError, match="between"):
        measures.displacement_slope(msd, lags, between=(3, 4))


def test_a_path_round_the_circle_is_unwrapped():
    path = walk(n_trials=20, n_steps=300, n_dimensions=1, sd=0.05, drift=0.1)
    angles = wrapped(path)
    for measure, settings in (
        (measures.displacement, {"lags": LAGS}),
        (measures.step_length, {}),
        (measures.within_trajectory_variance, {}),
    ):
        round_the_circle = measure(angles, **settings, periodic=True)
        np.testing.assert_allclose(round_the_circle, measure(path, **settings))
        assert not np.allclose(round_the_circle, measure(angles, **settings))
    on_line, on_circle = (
        measures.velocity_statistics(path),
        measures.velocity_statistics(angles, periodic=True),
    )
    for one, other in zip(on_line, on_circle, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)


def test_a_uniform_cloud_covers_the_arena_and_a_corner_its_share():
    everywhere = np.random.default_rng(0).uniform(-1, 1, (10, 1000, 2))
    bounds = [[-1, 1], [-1, 1]]
    assert measures.coverage(everywhere, bounds) == 1
    # The lower left quarter of 10 x 10 bins.
    quarter = (everywhere - 1) / 2
    assert measures.coverage(quarter, bounds, n_bins=10) == 0.25
    assert measures.coverage(everywhere[:1, :1], bounds) == 1 / 121


def test_velocity_statistics_of_walks_of_known_law():
    path = walk(n_trials=200, drift=0.05)
    found = measures.velocity_statistics(path)
    np.testing.assert_allclose(found.mean, 0.05, atol=0.002)
    np.testing.assert_allclose(found.sd, 0.1, rtol=0.02)
    assert found.autocorrelation == pytest.approx(0, abs=0.01)
    # A biased step of mean 0.5 sd keeps its direction more often than not.
    free = measures.velocity_statistics(walk(n_trials=200))
    assert free.reversals == pytest.approx(0.5, abs=0.01)
    assert found.reversals < 0.45
    # White noise around a point: differences have an autocorrelation of -1/2.
    jitter = measures.velocity_statistics(np.diff(path, axis=1))
    assert jitter.autocorrelation == pytest.approx(-0.5, abs=0.02)


def test_an_autoregressive_velocity_keeps_its_memory():
    noise = np.random.default_rng(0).normal(size=(100, 500, 2))
    velocity = np.zeros_like(noise)
    for t in range(1, 500):
        velocity[:, t] = 0.7 * velocity[:, t - 1] + noise[:, t]
    found = measures.velocity_statistics(velocity[:, 50:].cumsum(axis=1))
    assert found.autocorrelation == pytest.approx(0.7, abs=0.02)
    assert found.reversals < 0.35


def test_what_does_not_move_has_no_slope_and_no_memory():
    frozen = np.full((2, 30, 2), 0.3)
    found = measures.velocity_statistics(frozen)
    assert np.isnan(found.reversals)
    assert np.isnan(found.autocorrelation)
    np.testing.assert_array_equal(found.sd, 0)
    msd = measures.displacement(frozen, LAGS)
    np.testing.assert_array_equal(msd, 0)
    assert np.isnan(measures.displacement_slope(msd, LAGS))
    straight = np.arange(30.0).reshape(1, 30, 1)
    assert np.isnan(measures.velocity_statistics(straight).autocorrelation)


def test_motion_like_the_animal_s_is_at_0_and_a_frozen_one_at_1():
    awake, again = walk(), walk(seed=1)
    alike = measures.displacement_divergence(again, awake, LAGS)
    assert alike.shape == (len(LAGS),)
    assert (alike < 0.02).all()
    frozen = measures.displacement_divergence(0 * awake, awake, LAGS)
    np.testing.assert_allclose(frozen, 1)
    slow = measures.displacement_divergence(0.5 * again, awake, LAGS)
    assert ((slow > alike) & (slow < 1)).all()
    with pytest.raises(InvalidInputError, match="awake: got a path frozen"):
        measures.displacement_divergence(awake, 0 * awake, LAGS)


def test_displacements_on_a_circle_are_compared_unwrapped():
    path, again = (
        walk(n_dimensions=1, sd=0.5, seed=seed, n_steps=200) for seed in (0, 1)
    )
    settings = {"lags": LAGS, "n_bins": 10, "epsilon": 1e-3}
    on_line = measures.displacement_divergence(again, path, **settings)
    on_circle = measures.displacement_divergence(
        wrapped(again), wrapped(path), **settings, periodic=True
    )
    np.testing.assert_allclose(on_circle, on_line, rtol=1e-6)
    finer = measures.displacement_divergence(again, path, **{**settings, "n_bins": 40})
    assert not np.allclose(finer, on_line)


def test_reach_time_is_the_first_step_near_the_target():
    path = np.array([[[3.0], [2.0], [0.2], [3.0], [0.0]], [[3.0]] * 5])
    np.testing.assert_array_equal(measures.reach_time(path, [0.0], 0.5), [2, np.inf])
    np.testing.assert_array_equal(measures.reach_time(path, [0.0], 0.1), [4, np.inf])
    np.testing.assert_array_equal(
        measures.reach_time(path, [-3.0], 0.5, periodic=True), [0, 0]
    )
    with pytest.raises(ShapeError, match="target"):
        measures.reach_time(path, [0.0, 0.0], 0.5)
    with pytest.raises(InvalidInputError, match="radius"):
        measures.reach_time(path, [0.0], -1)


MEASURES = {
    "step_length": lambda x: measures.step_length(x),
    "within_trajectory_variance": lambda x: measures.within_trajectory_variance(x),
    "coverage": lambda x: measures.coverage(x, [[-9, 9], [-9, 9]]),
    "displacement": lambda x: measures.displacement(x, [1]),
    "velocity_statistics": lambda x: measures.velocity_statistics(x),
    "displacement_divergence": lambda x: measures.displacement_divergence(x, x, [1]),
    "reach_time": lambda x: measures.reach_time(x, [0, 0], 1),
    "wasserstein": lambda x: measures.wasserstein(x, x, seed=0),
}


@pytest.mark.parametrize("name", MEASURES)
def test_missing_numbers_and_wrong_dimensions_are_refused(name):
    positions = walk(n_trials=2, n_steps=20)
    MEASURES[name](positions)
    missing = positions.copy()
    missing[0, 3, 1] = np.nan
    with pytest.raises(InvalidInputError, match="not finite"):
        MEASURES[name](missing)
    with pytest.raises(ShapeError, match="trial, time, space"):
        MEASURES[name](positions[0])
    with pytest.raises(ShapeError, match="trial, time, space"):
        MEASURES[name](positions[:, :0])


def test_lags_longer_than_a_trajectory_are_refused():
    positions = walk(n_trials=2, n_steps=20)
    for lags in ([0], [20], [1.5], []):
        with pytest.raises(InvalidInputError, match="lags"):
            measures.displacement(positions, lags)
    with pytest.raises(InvalidInputError, match="shift"):
        measures.within_trajectory_variance(positions, shift=-1)
    with pytest.raises(ShapeError, match="at least 22 samples"):
        measures.within_trajectory_variance(positions, shift=20)
    with pytest.raises(ShapeError, match="displacements"):
        measures.displacement_slope([1.0, 2.0], [1, 2, 3])
    with pytest.raises(InvalidInputError, match="displacements"):
        measures.displacement_slope([1.0, np.nan], [1, 2])
