import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.errors import DivergedError, InvalidInputError, ShapeError
from neuromod.reactivation import levy
from neuromod.reactivation.field import AttractorField, FieldState
from neuromod.reactivation.field_motion import run, simulate

# Fast and coarse, for whatever is noisy.
COARSE = {
    "adaptation_time_constant": 0.02,
    "n_units_per_dimension": 64,
    "time_step": 2e-4,
}


def final_speed(found):
    """Mean speed (rad/s) over the last fifth of a run, along each axis."""
    late = found["displacement"][0, -found.sizes["time"] // 5 :]
    return np.asarray((late[-1] - late[0]) / float(late.time[-1] - late.time[0]))


def assert_stays(found, field):
    assert np.abs(found["displacement"]).max() < 1e-3
    np.testing.assert_allclose(found["amplitude"][0, -1], field.bump_height, rtol=1e-3)


def test_a_bump_without_noise_stays_where_it_is_at_its_height():
    for field in (AttractorField(0.0), AttractorField(0.5, inhibition=0.1)):
        assert_stays(simulate(field, 4.0, seed=0), field)


def test_a_bump_travels_by_itself_above_the_boundary_and_not_below():
    def speed(strength):
        field = AttractorField(strength)
        kicked = field.bump(0.3, lag=0.02)
        return final_speed(simulate(field, 4.0, seed=0, initial=kicked))[0]

    for strength in (0.0, 0.5, 0.9):
        assert abs(speed(strength)) < 0.02
        assert AttractorField(strength).travel_speed == 0
    # The theory is of first order in m = m_0 / 144, and at 1.1 the bump is still on
    # its way to its speed: 3 per cent for both.
    for strength in (1.1, 1.5, 2.0, 5.0):
        found, field = speed(strength), AttractorField(strength)
        assert found == pytest.approx(field.travel_speed, rel=0.03)
        quoted = 2 * 0.2 / 0.144 * (strength - strength**0.5) ** 0.5
        assert quoted > 1.2 * found


def test_travel_sets_in_with_the_square_root_of_the_strength():
    field = AttractorField(1.0001)
    expected = 0.2 / 0.144 * 0.0001**0.5
    assert field.travel_speed == pytest.approx(expected, rel=1e-3)


def test_on_a_torus_a_bump_stays_or_travels_away_from_its_adaptation():
    fields = [
        AttractorField(m, n_dimensions=2, n_units_per_dimension=48, time_step=2e-4)
        for m in (0.5, 1.5)
    ]
    assert_stays(simulate(fields[0], 0.8, seed=0), fields[0])
    kicked = fields[1].bump(lag=[0.0, -0.05])
    found = simulate(fields[1], 0.8, seed=0, initial=kicked)
    speed = final_speed(found)
    assert abs(speed[0]) < 0.01
    assert speed[1] == pytest.approx(-fields[1].travel_speed, rel=0.05)
    assert found["space"].values.tolist() == ["x", "y"]


def slow_run(field, state, n_steps, external):
    """Step by step in float64, by sums over all pairs of units."""
    places, a = field.preferred, field.connection_width
    offset = places[:, None] - places[None]
    square = (((offset + np.pi) % (2 * np.pi) - np.pi) ** 2).sum(axis=-1)
    weight = np.exp(-square / (2 * a**2)) / (np.sqrt(2 * np.pi) * a)
    weight = weight * field.connection_strength
    tau, slow = field.membrane_time_constant, field.adaptation_time_constant
    m, dt = field.adaptation_strength * tau / slow, field.time_step
    u, v = (np.array(part) for part in state)
    for step in range(n_steps):
        r = u**2 / (1 + field.inhibition * (u**2).sum())
        push = -u + weight @ r - v + external(step * dt)
        u, v = u + dt / tau * push, v + dt / slow * (-v + m * u)
    return u**2 / (1 + field.inhibition * (u**2).sum())


@pytest.mark.parametrize("n_dimensions", [1, 2])
def test_a_run_is_that_of_the_equations(n_dimensions):
    field = AttractorField(
        2.0, connection_width=0.5, n_dimensions=n_dimensions, n_units_per_dimension=14
    )
    ramp = np.linspace(0, 1, field.n_units)
    drawn = 0.5 * np.random.default_rng(0).normal(size=(2, field.n_units))
    state = FieldState(*drawn)
    with jax.enable_x64(True):
        found = run(
            field,
            state,
            None,
            n_records=30,
            external_input=lambda time: 100 * time * jnp.asarray(ramp),
            rates=True,
        )
    rate = slow_run(field, state, 30, lambda time: 100 * time * ramp)
    np.testing.assert_allclose(found.rate[-1], rate, rtol=1e-9)
    vector = (rate[:, None] * np.exp(1j * field.preferred)).sum(axis=0)
    np.testing.assert_allclose(found.position[-1], np.angle(vector), rtol=1e-8)


def test_an_input_takes_the_bump_along_and_turns_are_counted():
    field = AttractorField(0.0)
    turning = 4 * np.pi / 0.4

    def cue(time):
        return field.stimulus(turning * time, 1.0)

    found = simulate(field, 0.4, seed=0, external_input=cue)
    assert np.abs(found["position"]).max() <= np.pi
    travelled = found["displacement"][0, :, 0]
    lag = turning * travelled["time"] - travelled
    assert 0 < float(lag[-1]) < 0.2
    gone = (found["position"] - found["displacement"]) / (2 * np.pi)
    np.testing.assert_allclose(gone, np.round(gone), atol=1e-5)
    assert float(travelled[-1]) == pytest.approx(4 * np.pi, abs=0.2)


def many(field, seed=0, record_every=25, **options):
    """Many bumps, every 5 ms."""
    return simulate(
        field, 1.5, seed=seed, n_trials=64, record_every=record_every, **options
    )


def wander(strength, seed=0, **noise):
    """A field, and displacements (trial, time) once they are stationary."""
    field = AttractorField(strength, **COARSE, **noise)
    return field, many(field, seed)["displacement"].values[:, 60:, 0]


def test_thinning_leaves_out_records_and_changes_nothing():
    field = AttractorField(0.5, potential_noise=0.02, adaptation_noise=0.5, **COARSE)
    every, some = many(field).isel(time=slice(1, 60, 2)), many(field, record_every=50)
    for name in ("position", "displacement", "amplitude", "time"):
        np.testing.assert_allclose(
            some[name].isel(time=slice(30)), every[name], rtol=1e-4, atol=1e-4
        )


def test_noise_per_step_has_the_scale_of_its_equation():
    field = AttractorField(0.0, potential_noise=1e-3, **COARSE)
    found = many(field, initial=FieldState(*np.zeros((2, 64))))
    # Too little to excite anything, so that each unit is an AR(1) process; the largest
    # of 64 normal numbers is 2.37 deviations on average.
    fast = 2e-4 / 1e-3
    expected = 2.37 * 1e-3 * (fast / (1 - (1 - fast) ** 2)) ** 0.5
    assert float(found["amplitude"].mean()) == pytest.approx(expected, rel=0.01)


def diffusion_exponent(path):
    lags = np.array([2, 4, 8, 16, 32])
    squares = [np.mean((path[:, lag:] - path[:, :-lag]) ** 2) for lag in lags]
    return np.polyfit(np.log(lags), np.log(squares), 1)[0]


def test_motion_is_the_more_super_diffusive_the_nearer_the_boundary():
    slopes = [
        diffusion_exponent(wander(strength, potential_noise=0.02)[1])
        for strength in (0.0, 0.5, 0.9, 1.5)
    ]
    assert abs(slopes[0] - 1) < 0.1
    assert slopes[3] > 1.9
    assert min(np.diff(slopes)) > 0.1


def test_the_seed_decides_and_trials_differ():
    one, same, other = (
        wander(0.5, seed, potential_noise=0.02)[1] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert len(np.unique(np.stack([one, other])[:, :, -1])) == 128


def steps_of(path, lag=4):
    return (path[:, lag:] - path[:, :-lag])[:, ::lag].ravel()


def test_noise_in_adaptation_makes_a_levy_flight_near_the_boundary():
    noise = {"potential_noise": 0.005, "adaptation_noise": 1.0}
    found = {}
    for strength in (0.2, 0.8):
        field, path = wander(strength, **noise)
        steps = steps_of(path)
        index = float(levy.fit_stable(steps)["estimate"].sel(parameter="index"))
        # The tail ends at the width of the bump, which a fit of all steps feels.
        assert index == pytest.approx(field.levy_index, abs=0.15)
        found[strength] = np.mean(steps**4) / np.mean(steps**2) ** 2
    assert found[0.2] < 3.5 < 7 < found[0.8]


def test_noise_of_each_unit_by_itself_leaves_steps_gaussian():
    noise = {"potential_noise": 0.005, "adaptation_noise": 1.0}
    field, path = wander(0.8, independent_noise=True, **noise)
    index = levy.fit_stable(steps_of(path))["estimate"].sel(parameter="index")
    assert field.levy_index == 2
    assert index > 1.95
    _, still = wander(0.8, potential_noise=0.005)
    assert steps_of(path).std() > 2 * steps_of(still).std()


def test_the_index_of_theory_goes_from_two_to_one_at_the_boundary():
    of = [AttractorField(m, adaptation_noise=1.0).levy_index for m in (0.3, 0.8, 1.0)]
    np.testing.assert_allclose(of, [2.0, 1.4, 1.0])
    assert AttractorField(0.8).levy_index == 2
    assert np.isnan(AttractorField(1.2, adaptation_noise=1.0).levy_index)


def test_gradients_are_those_of_finite_differences():
    field = AttractorField(1.5, **COARSE)
    initial = field.bump(lag=0.05)

    @jax.jit
    def gone(strength):
        varied = AttractorField(strength, **COARSE)
        return run(varied, initial, None, n_records=4, record_every=10).displacement[
            -1, 0
        ]

    with jax.enable_x64(True):
        found = jax.grad(gone)(jnp.asarray(1.5))
        expected = (gone(1.5 + 1e-5) - gone(1.5 - 1e-5)) / 2e-5
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(InvalidInputError, match="n_dimensions: got 3"):
        AttractorField(n_dimensions=3)
    with pytest.raises(InvalidInputError, match="adaptation_strength: got -1"):
        AttractorField(-1)
    with pytest.raises(InvalidInputError, match="potential_noise: got nan"):
        AttractorField(potential_noise=np.nan)
    with pytest.raises(InvalidInputError, match="at least their spacing"):
        AttractorField(n_units_per_dimension=16)
    field = AttractorField(**COARSE)
    with pytest.raises(InvalidInputError, match="no bump can stand"):
        simulate(AttractorField(inhibition=1e4), 0.1, seed=0)
    with pytest.raises(InvalidInputError, match=r"duration: .* at least one record"):
        simulate(field, 1e-4, seed=0)
    with pytest.raises(ShapeError, match=r"initial: got shape \(3,\)"):
        simulate(field, 0.1, seed=0, initial=FieldState(np.zeros(3), np.zeros(3)))
    with pytest.raises(InvalidInputError, match="not finite"):
        simulate(
            field, 0.1, seed=0, initial=FieldState(np.full(64, np.nan), np.ones(64))
        )
    with pytest.raises(InvalidInputError, match="expected an AttractorField"):
        simulate("ring", 0.1, seed=0)


def test_activity_that_explodes_is_told():
    field = AttractorField(1.0, adaptation_noise=500.0, **COARSE)
    with pytest.raises(DivergedError, match="Lower adaptation_noise"):
        many(field)
