"""The theory's two terms on networks that obey or break it, and fixed points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.errors import ConvergenceWarning, InvalidInputError, ShapeError
from neuromod.reactivation import measures
from neuromod.reactivation.score_check import score_check, split_test
from tests.shared import shared

VARIANCE = 0.01
SEPARATION = 2.0


def gaussian(n_samples, seed, sd=(1.0, 0.5)):
    draws = np.random.default_rng(seed).normal(size=(n_samples, len(sd)))
    return draws * sd


def mixture(n_samples, seed):
    """Two unit clouds at -2 and 2 of the first axis."""
    side = np.random.default_rng(seed + 100).choice([-1, 1], n_samples)
    return gaussian(n_samples, seed, (1.0, 1.0)) + SEPARATION * np.stack(
        [side, 0 * side], axis=1
    )


def mixture_score(x):
    toward = SEPARATION * np.tanh(SEPARATION * x[:, 0])
    return -x + np.stack([toward, 0 * toward], axis=1)


def embedded(x, n_units=8, seed=0):
    """Rotate two dimensions into many."""
    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n_units, n_units)))
    return x @ axes[: x.shape[-1]]


# --- the first term


def test_a_drift_that_is_the_score_of_a_gaussian_is_recognised():
    sd = (1.0, 0.5)
    awake, states = gaussian(5000, 0, sd), gaussian(1000, 1, sd)
    drift = -VARIANCE * states / np.square(sd)
    found = score_check(awake, states, drift, seed=0, n_components=2)
    assert found.r_squared > 0.9
    assert found.slope == pytest.approx(VARIANCE, rel=0.12)
    assert found.captured == pytest.approx(1)
    exact = score_check(
        awake, states, drift, seed=0, n_components=2, density="gaussian"
    )
    assert exact.r_squared > 0.99
    assert exact.slope == pytest.approx(VARIANCE, rel=0.05)


def test_kernels_follow_a_mixture_where_one_gaussian_cannot():
    awake, states = mixture(5000, 0), mixture(1000, 1)
    drift = VARIANCE * mixture_score(states)
    found = score_check(awake, states, drift, seed=0, n_components=2)
    assert found.r_squared > 0.85
    assert found.slope == pytest.approx(VARIANCE, rel=0.25)
    narrow = score_check(awake, states, drift, seed=0, n_components=2, bandwidth=0.2)
    assert narrow.slope < found.slope  # wide kernels flatten the score
    ellipsoid = score_check(
        awake, states, drift, seed=0, n_components=2, density="gaussian"
    )
    assert ellipsoid.r_squared < found.r_squared - 0.2


@pytest.mark.parametrize("density", ["kernel", "gaussian"])
def test_a_rotation_is_no_score(density):
    """It keeps the density and is a gradient of nothing."""
    awake, states = gaussian(5000, 0, (1.0, 1.0)), gaussian(1000, 1, (1.0, 1.0))
    turning = VARIANCE * states @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    found = score_check(awake, states, turning, seed=0, n_components=2, density=density)
    assert found.r_squared < 0.01
    assert abs(found.slope) < 0.1 * VARIANCE


def test_components_are_found_in_many_units():
    awake, states = embedded(gaussian(4000, 0)), embedded(gaussian(500, 1))
    drift = embedded(-VARIANCE * gaussian(500, 1) / [1.0, 0.25])
    beside = VARIANCE * np.random.default_rng(5).normal(size=8)
    for change, captured in ((drift, 1.0), (drift + beside, 0.7)):
        found = score_check(
            awake, states, change, seed=0, n_components=None, density="gaussian"
        )
        assert found.score.shape == (500, 2)
        assert (found.captured > 0.999) == (captured == 1)
    plain = score_check(awake, states, drift, seed=0, n_components=1)
    assert plain.score.shape == (500, 1)
    assert plain.captured < 0.5


def test_intervals_hold_the_truth_and_widen_where_trials_are_alike():
    awake, states = gaussian(4000, 0), gaussian(400, 1)
    shared_part = np.random.default_rng(2).normal(size=(20, 1, 2))
    drift = -VARIANCE * states.reshape(20, 20, 2) / [1.0, 0.25]
    drift = drift + 3 * VARIANCE * shared_part
    settings = {"seed": 0, "n_components": 2, "density": "gaussian"}
    apart = score_check(awake, states, drift.reshape(400, 2), **settings)
    alike = score_check(awake, states.reshape(20, 20, 2), drift, **settings)
    assert alike.slope == pytest.approx(apart.slope)
    assert alike.slope_interval[0] < VARIANCE < alike.slope_interval[1]
    low, high = alike.r_squared_interval
    assert low < alike.r_squared < high
    narrower = score_check(
        awake, states, drift.reshape(400, 2), **settings, confidence=0.5
    )
    assert np.ptp(narrower.slope_interval) < np.ptp(apart.slope_interval)
    few = score_check(awake, states, drift.reshape(400, 2), **settings, n_bootstrap=10)
    assert not np.array_equal(few.slope_interval, apart.slope_interval)


def test_states_of_one_trial_are_resampled_together():
    """Of trials that differ as wholes, the interval is as wide as trials are few."""
    awake, states = gaussian(4000, 0), gaussian(400, 1).reshape(10, 40, 2)
    gain = np.linspace(0.5, 1.5, 10)[:, None, None]
    drift = -VARIANCE * gain * states / [1.0, 0.25]
    settings = {"seed": 0, "n_components": 2, "density": "gaussian"}
    together = score_check(awake, states, drift, **settings)
    pooled = states.reshape(-1, 2), drift.reshape(-1, 2)
    alone = score_check(awake, *pooled, **settings)
    assert np.ptp(together.slope_interval) > 2 * np.ptp(alone.slope_interval)


def test_the_kernel_s_score_is_the_gradient_of_its_log_density():
    points, at = gaussian(50, 0), gaussian(5, 1)
    factor = 0.4
    precision = np.linalg.inv(factor**2 * np.cov(points.T))

    def log_density(x):
        away = x - points
        return np.log(
            np.exp(-np.einsum("nd,de,ne->n", away, precision, away) / 2).sum()
        )

    step = 1e-5 * np.eye(2)
    expected = [
        [(log_density(x + e) - log_density(x - e)) / 2e-5 for e in step] for x in at
    ]
    found = measures.kernel_score(points, at, bandwidth=factor)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_subsamples_follow_the_seed():
    awake, states = gaussian(2000, 0), gaussian(50, 1)
    settings = {"n_components": 2, "max_points": 200}
    one, again, other = (
        score_check(awake, states, -states, seed=seed, **settings) for seed in (0, 0, 1)
    )
    assert one.slope == again.slope != other.slope


def test_bad_input_of_the_score_check_is_refused():
    awake, states = gaussian(100, 0), gaussian(20, 1)
    good = {"seed": 0, "n_components": 2}
    with pytest.raises(ShapeError, match="drift"):
        score_check(awake, states, states[:10], **good)
    with pytest.raises(ShapeError, match="states"):
        score_check(awake, states[:, :1], states, **good)
    with pytest.raises(InvalidInputError, match="drift"):
        score_check(awake, states, 0 * states, **good)
    with pytest.raises(InvalidInputError, match="not finite"):
        score_check(awake, np.nan * states, states, **good)
    with pytest.raises(InvalidInputError, match="at most 2"):
        score_check(awake, states, states, seed=0, n_components=3)
    apart = np.stack([awake[:, 0], 0 * awake[:, 0]], axis=1)
    with pytest.raises(InvalidInputError, match="outside the components"):
        score_check(apart, states, states * [0, 1], seed=0, n_components=1)
    with pytest.raises(InvalidInputError, match="density"):
        score_check(awake, states, states, **good, density="kernels")
    with pytest.raises(InvalidInputError, match="confidence"):
        score_check(awake, states, states, **good, confidence=95)
    flat = awake * [1.0, 0.0]
    with pytest.raises(InvalidInputError, match="Use fewer components"):
        score_check(flat, states, states, **good)


# --- the second term

N_UNITS, N_CELLS, N_SAMPLES = 12, 4, 600


def obedient(bend=0.0, blind=0.0, seed=0):
    """A linear code of two inputs, tracked exactly; what is off it is taken away.

    ``bend`` adds a part that is quadratic in the input, ``blind`` one that the readout
    does not see.
    """
    generator = np.random.default_rng(seed)
    readout = generator.normal(size=(N_CELLS, N_UNITS))
    slope = generator.normal(size=(N_CELLS, 2))
    into = np.linalg.pinv(readout) @ slope
    on_manifold = into @ np.linalg.pinv(into)
    null = np.linalg.svd(readout)[2][-1]

    def drift(state, inputs):
        signal = jnp.asarray(into, state.dtype) @ inputs
        aside = jnp.asarray(null, state.dtype) * (
            blind * inputs[0] + bend * jnp.sum(inputs**2)
        )
        back = jnp.asarray(on_manifold - np.eye(N_UNITS), state.dtype) @ state
        return signal + aside + 0.5 * back

    place = generator.normal(size=(N_SAMPLES, 2))
    noise = 0.1 * generator.normal(size=(N_SAMPLES, N_UNITS))
    inputs = 0.1 * generator.normal(size=(N_SAMPLES, 2))
    given = {
        "states": place @ into.T + noise,
        "inputs": inputs,
        "readout": readout,
        "code_changes": inputs @ slope.T,
        "noise": noise,
        "seed": 0,
    }
    return drift, given, np.trace(np.eye(N_UNITS) - on_manifold) / N_UNITS


def test_a_network_that_obeys_splits_as_the_theory_says():
    drift, given, off_manifold = obedient()
    found = split_test(drift, **given)
    assert found.signal_slope == pytest.approx(1)
    assert found.signal_r_squared == pytest.approx(1)
    assert found.output_slope == pytest.approx(1)
    assert found.output_r_squared == pytest.approx(1)
    assert found.linearity == pytest.approx(1)
    assert found.cosine < 1e-6
    assert found.chance_cosine < 1e-6
    # Half of what is off the manifold goes each step.
    assert found.denoising == pytest.approx(0.5 * off_manifold, rel=0.05)
    assert abs(found.noise_in_signal) < 0.05


def test_what_the_readout_does_not_see_shows_in_the_states_alone():
    drift, given, _ = obedient(blind=1.0)
    found = split_test(drift, **given)
    assert found.output_r_squared == pytest.approx(1)
    assert found.signal_r_squared < 0.9
    assert found.linearity == pytest.approx(1)
    # The part beside the code lies where the first term works.
    assert found.cosine > 0.05


def test_a_response_that_is_not_proportional_is_found():
    drift, given, _ = obedient(bend=20.0)
    assert split_test(drift, **given).linearity < 0.9


def test_a_first_term_that_knows_the_input_is_found():
    """Drift along the code: the cosine rises above that of shuffled samples."""
    drift, given, _ = obedient()
    along = np.linalg.pinv(given["readout"])

    def told(state, inputs):
        ahead = jnp.asarray(along @ given["readout"], state.dtype) @ state
        return drift(state, inputs) + 0.1 * ahead

    given["states"] = given["states"] + 30 * (given["code_changes"] @ along.T)
    found = split_test(told, **given)
    assert found.cosine > found.chance_cosine + 0.1


def test_a_second_term_that_sees_the_noise_is_found():
    drift, given, _ = obedient()
    inputs = np.abs(given["inputs"])

    def gated(state, inputs):
        aside = jnp.asarray(np.eye(N_UNITS)[0], state.dtype)
        return drift(state, inputs) + aside * state[0] * jnp.sum(inputs)

    blind = split_test(drift, **{**given, "inputs": inputs})
    seeing = split_test(gated, **{**given, "inputs": inputs})
    assert seeing.noise_in_signal > blind.noise_in_signal + 0.005


def test_a_network_without_noise_takes_none_away():
    drift, given, _ = obedient()
    found = split_test(drift, **{**given, "noise": 0 * given["noise"]})
    assert np.isnan([found.denoising, found.noise_in_signal]).all()
    assert found.signal_r_squared == pytest.approx(1)


def test_the_cutoff_leaves_out_what_is_hardly_read():
    drift, given, _ = obedient()
    weak = given["readout"].copy()
    left, values, right = np.linalg.svd(weak, full_matrices=False)
    values[-1] = 1e-3 * values[0]
    given["readout"] = (left * values) @ right
    drowned = split_test(drift, **given, cutoff=1e-6)
    kept = split_test(drift, **given, cutoff=0.1)
    assert kept.signal_slope == pytest.approx(1)
    assert drowned.signal_slope < 0.1
    assert kept.output_r_squared == pytest.approx(drowned.output_r_squared)


def test_precision_is_that_of_the_steps():
    drift, given, _ = obedient()
    double, single = (
        split_test(drift, **given, precision=p) for p in ("float64", "float32")
    )
    np.testing.assert_allclose(single, double, atol=1e-3)
    assert single != double


def test_bad_input_of_the_split_test_is_refused():
    drift, given, _ = obedient()
    with pytest.raises(ShapeError, match="readout"):
        split_test(drift, **{**given, "readout": given["readout"].T})
    with pytest.raises(ShapeError, match="code_changes"):
        split_test(drift, **{**given, "code_changes": given["code_changes"][:9]})
    with pytest.raises(ShapeError, match="inputs"):
        split_test(drift, **{**given, "inputs": given["inputs"][:9]})
    with pytest.raises(InvalidInputError, match="noise"):
        split_test(drift, **{**given, "noise": np.nan * given["noise"]})
    with pytest.raises(InvalidInputError, match="code_changes"):
        split_test(drift, **{**given, "code_changes": 0 * given["code_changes"]})
    with pytest.raises(InvalidInputError, match="change no step"):
        split_test(lambda state, inputs: -state, **given)


# --- fixed points


def double_well(h):
    return 0.1 * (h - h**3)


def test_all_fixed_points_of_a_double_well_and_how_stable_they_are():
    starts = np.linspace(-2, 2, 41).reshape(-1, 1)
    found = measures.fixed_points(double_well, starts)
    order = found.states[:, 0].argsort()
    np.testing.assert_allclose(found.states[order, 0], [-1, 0, 1], atol=1e-7)
    assert found.fixed.all()
    assert found.stable[order].tolist() == [True, False, True]
    np.testing.assert_allclose(found.eigenvalues[order, 0], [0.8, 1.1, 0.8])
    assert found.n_reached.sum() == 41


def test_eigenvalues_of_a_spiral_are_those_of_its_matrix():
    turn = np.array([[0.9, -0.3, 0.0], [0.3, 0.9, 0.0], [0.0, 0.0, 0.5]])
    centre = np.array([1.0, 2.0, 3.0])

    def drift(h):
        return jnp.asarray(turn - np.eye(3), h.dtype) @ (
            h - jnp.asarray(centre, h.dtype)
        )

    found = measures.fixed_points(drift, np.random.default_rng(0).normal(size=(5, 3)))
    np.testing.assert_allclose(found.states, centre[None], atol=1e-6)
    assert found.n_reached.tolist() == [5]
    size = np.abs(found.eigenvalues[0])
    np.testing.assert_allclose(size, [np.hypot(0.9, 0.3)] * 2 + [0.5])
    assert found.stable.tolist() == [True]


def test_slow_points_are_minima_of_the_speed_that_is_not_zero():
    """After a saddle-node has gone: dx = 0.01 + x^2, slowest at 0."""

    def drift(h):
        return jnp.stack([0.01 + h[0] ** 2, -0.5 * h[1]])

    found = measures.fixed_points(drift, [[-0.5, 1.0], [0.4, -1.0]])
    np.testing.assert_allclose(found.states, [[0, 0]], atol=1e-3)
    assert not found.fixed.any()
    np.testing.assert_allclose(found.speed, 0.01**2 / 2, rtol=1e-4)
    assert measures.fixed_points(drift, [[-0.5, 1.0]], tolerance=1e-3).fixed.all()


def test_points_of_a_line_attractor_are_kept_apart_as_far_as_asked():
    def drift(h):
        return jnp.stack([0.0 * h[0], -0.2 * h[1]])

    starts = np.stack([np.linspace(0, 1, 11), np.ones(11)], axis=1)
    every = measures.fixed_points(drift, starts)
    assert len(every.states) == 11
    np.testing.assert_allclose(every.eigenvalues, [[1.0, 0.8]] * 11)
    coarse = measures.fixed_points(drift, starts, separation=0.25)
    assert len(coarse.states) < 6
    assert coarse.n_reached.sum() == 11


def test_relative_speed_finds_what_a_network_without_biases_hides():
    """Its speed falls to the origin; directions that hardly move are found instead."""
    weight = np.diag([0.999, 0.5])

    def drift(h):
        return 0.2 * (jax.nn.relu(jnp.asarray(weight, h.dtype) @ h) - h)

    starts = np.array([[1.0, 0.1], [2.0, 0.3], [0.5, 0.05]])
    plain = measures.fixed_points(drift, starts)
    np.testing.assert_allclose(plain.states, 0, atol=1e-4)
    found = measures.fixed_points(drift, starts, relative=True)
    assert len(found.states) == 1
    assert abs(found.states[0, 1] / found.states[0, 0]) < 1e-3
    np.testing.assert_allclose(found.speed, (0.2 * 0.001) ** 2 / 2, rtol=1e-3)
    with pytest.raises(InvalidInputError, match="other than 0"):
        measures.fixed_points(drift, np.zeros((1, 2)), relative=True)


def test_a_trained_network_has_slow_states_where_it_sleeps():
    """A ring of slow points; a random network has none in those directions."""
    with np.load(shared("reference/reactivation/trained_small.npz")) as stored:
        weight, encoder = stored["hd_noisy/wrec"], stored["hd_noisy/enc"]
        cells = stored["hd/cells"]
    headings = np.linspace(-np.pi, np.pi, 8, endpoint=False)
    code = np.exp((np.cos(headings[:, None] - cells) - 1) / (np.pi / 6) ** 2)
    states = code @ encoder.T
    for _ in range(60):
        states = 0.5 * (states + np.maximum(states @ weight.T, 0))

    def step(weight, h):
        return 0.5 * (jax.nn.relu(weight @ h) - h)

    generator = np.random.default_rng(0)
    other = generator.uniform(-1, 1, weight.shape) / len(weight) ** 0.5
    slowest = [
        measures.fixed_points(
            jax.tree_util.Partial(step, w), states, relative=True, max_iterations=400
        ).speed
        for w in (weight, other)
    ]
    assert len(slowest[0]) >= 3
    assert slowest[0].max() < 1e-4 < slowest[1].min()


def test_single_precision_reaches_what_it_can():
    found = measures.fixed_points(
        double_well, [[0.9]], precision="float32", tolerance=1e-12
    )
    assert found.states.dtype == np.float32
    np.testing.assert_allclose(found.states, 1, atol=1e-5)


def test_descents_that_are_cut_short_are_told():
    with pytest.warns(ConvergenceWarning, match="1 of 1 descents"):
        measures.fixed_points(double_well, [[0.3]], max_iterations=1)


def test_bad_starts_are_refused():
    with pytest.raises(ShapeError, match="drift"):
        measures.fixed_points(lambda h: h[:1], np.ones((3, 2)))
    with pytest.raises(InvalidInputError, match="starts"):
        measures.fixed_points(lambda h: -h, [[np.nan]])
    with pytest.raises(InvalidInputError, match="finite"):
        measures.fixed_points(lambda h: 1 / h, [[0.0]])
    with pytest.raises(InvalidInputError, match="tolerance"):
        measures.fixed_points(lambda h: -h, [[1.0]], tolerance=0)
