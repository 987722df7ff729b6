import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from neuromod.core.errors import InvalidInputError
from neuromod.reactivation.motion import draw_rayleigh, wrap
from neuromod.reactivation.motion_ou import OrnsteinUhlenbeck
from neuromod.reactivation.motion_recorded import Recording
from neuromod.reactivation.motion_tour import Tour
from neuromod.reactivation.motion_walk import Draws, HeadDirectionWalk, RandomWalk
from tests.reactivation.test_codes import assert_close, cases

KEY = jax.random.key(0)
N_TRIALS, N_STEPS = 300, 200
OPEN = OrnsteinUhlenbeck(box=(60.0, 60.0))
MOTIONS = [
    RandomWalk(),
    RandomWalk(biased=True),
    OrnsteinUhlenbeck(),
    HeadDirectionWalk(),
    HeadDirectionWalk(biased=True),
    Tour([[-1.0], [1.0]]),
    Recording(np.cumsum(np.ones((45, 1)), 0), (30, 12, 3), 0.1, ((0.0, 50.0),)),
]


@partial(jax.jit, static_argnums=(2, 3))
def draw(motion, key, n_trials, n_steps):
    return motion.draw(key, n_trials, n_steps)


follow = jax.jit(lambda motion, *numbers: motion.follow(*numbers))


def published(case, scalars):
    width, height, border, slow, drift, x, y, time_step, mean, sd, scale = scalars
    return RandomWalk(
        box=(width, height),
        biased=case.startswith("biased"),
        drift=drift,
        anchor=(x, y),
        time_step=time_step,
        turn_mean=mean,
        turn_sd=sd,
        speed_scale=scale,
        border=border,
        slow_factor=slow,
    )


def numbers(motion, n_trials, n_steps):
    """What a walk is made of, drawn by numpy: nothing has to be compiled."""
    generator = np.random.default_rng(0)
    shape = n_trials, n_steps
    return Draws(
        jnp.asarray(generator.uniform(-0.5, 0.5, (n_trials, 2)) * np.array(motion.box)),
        jnp.asarray(generator.uniform(0, 2 * np.pi, n_trials)),
        jnp.asarray(generator.normal(0, motion.turn_sd, shape)),
        jnp.asarray(generator.rayleigh(motion.speed_scale, shape)),
    )


def correlation(values, lag):
    """Correlation (time) with itself some steps later, over all of (trial, time)."""
    return np.corrcoef(values[:, lag:].ravel(), values[:, :-lag].ravel())[0, 1]


def drawn(motion, key=KEY):
    """Paths of one shape for all tests, which compile once for each motion."""
    n_steps = 9 if isinstance(motion, Recording) else N_STEPS
    return jax.tree.map(np.asarray, draw(motion, key, N_TRIALS, n_steps))


def test_the_walk_is_the_published_one():
    with jax.enable_x64(True):
        for name, case in cases("task_spatial.npz"):
            walk = follow(
                published(name, map(float, case["scalars"][:11])),
                Draws(
                    jnp.stack([case["draw/x0"], case["draw/y0"]], axis=-1),
                    *(jnp.asarray(case[f"draw/{key}"]) for key in ("hd0", "turn")),
                    jnp.asarray(case["draw/speed"]),
                ),
            )
            assert_close(walk.positions[:, 0], case["init_pos"])
            assert_close(walk.positions[:, 1:], case["target_pos"])
            assert_close(walk.inputs[:, 1:], case["input_v"])
            assert_close(walk.distances[:, 1:], case["ego_v"])
            apart = wrap(walk.headings[:, 1:] - case["target_hd"])
            assert_close(apart, np.zeros(apart.shape))


def test_turning_is_the_published_one():
    with jax.enable_x64(True):
        for name, case in cases("task_hd.npz"):
            time_step, mean, sd, _ = map(float, case["scalars"])
            walk = HeadDirectionWalk(name.startswith("biased"), time_step, mean, sd)
            path = follow(
                walk, *(jnp.asarray(case[f"draw/{k}"]) for k in ("hd0", "turn"))
            )
            assert_close(path.start, case["init_hd"])
            assert_close(path.inputs, case["input_angv"])
            apart = wrap(path.positions - case["target_hd"])
            assert_close(apart, np.zeros(apart.shape))
            assert ((path.positions >= -np.pi) & (path.positions < np.pi)).all()


def test_the_walk_is_that_of_a_slow_loop():
    """One agent, one step at a time, with the four walls in a list."""
    with jax.enable_x64(True):
        motion = RandomWalk(box=(0.5, 0.8), biased=True, drift=0.02, anchor=(0.2, 0.3))
        draws = numbers(motion, 3, 200)
        found = jax.tree.map(np.asarray, follow(motion, draws))
        draws = jax.tree.map(np.asarray, draws)
        n_slowed = 0
        for trial in range(3):
            place, heading = (
                np.array(draws.position[trial]),
                float(draws.heading[trial]),
            )
            for t in range(200):
                walls = [
                    0.25 - place[0],
                    0.4 - place[1],
                    0.25 + place[0],
                    0.4 + place[1],
                ]
                angle = heading - np.pi / 2 * np.argmin(walls)
                angle = (angle + np.pi) % (2 * np.pi) - np.pi
                distance, turn = float(draws.speed[trial, t]) * 0.02, 0.0
                if min(walls) < 0.03 and abs(angle) < np.pi / 2:
                    n_slowed += 1
                    distance, turn = 0.25 * distance, np.pi / 2 - abs(angle)
                    turn *= np.sign(angle)
                facing = np.array([np.cos(heading), np.sin(heading)])
                place = (
                    place + distance * facing + 0.02 * (np.array([0.2, 0.3]) - place)
                )
                heading += float(draws.turn[trial, t]) * 0.02 + turn
                np.testing.assert_allclose(found.positions[trial, t], place, atol=1e-9)
        assert n_slowed > 10


@pytest.mark.parametrize("motion", MOTIONS, ids=lambda m: type(m).__name__)
def test_steps_lead_from_the_start_to_every_position(motion):
    path = drawn(motion)
    assert path.start.shape == (N_TRIALS, motion.n_inputs)
    assert path.inputs.shape == path.positions.shape
    assert path.inputs.shape[::2] == path.start.shape
    reached = path.start[:, None] + path.inputs.cumsum(axis=1)
    apart = reached - path.positions
    if isinstance(motion, HeadDirectionWalk):
        apart = np.asarray(wrap(jnp.asarray(apart)))
    np.testing.assert_allclose(apart, 0, atol=1e-4)
    for axis, (low, high) in enumerate(motion.bounds):
        assert low - 0.1 <= path.positions[..., axis].min()
        assert path.positions[..., axis].max() <= high + 0.1


@pytest.mark.parametrize("motion", MOTIONS, ids=lambda m: type(m).__name__)
def test_the_same_key_draws_the_same_path_and_another_another(motion):
    one, again = drawn(motion), drawn(motion)
    other = drawn(motion, jax.random.key(1))
    np.testing.assert_array_equal(one.positions, again.positions)
    assert (one.start != other.start).any()


def test_the_walk_leaves_the_box_seldom_and_by_little():
    motion = RandomWalk(box=(1.6, 2.8))
    beyond = np.abs(drawn(motion).positions) - np.array([0.8, 1.4])
    outside = (beyond > 0).any(axis=-1)
    assert 0.003 < outside.mean() < 0.03
    assert beyond.max() < 8 * motion.speed_scale * motion.time_step


def test_no_wall_is_felt_without_a_border():
    walled = drawn(RandomWalk(box=(0.5, 0.5))).positions
    free = drawn(RandomWalk(box=(0.5, 0.5), border=0.0, slow_factor=1.0))
    assert (np.abs(walled) > 0.25).mean() < (np.abs(free.positions) > 0.25).mean()


def test_the_slow_factor_is_what_steps_at_a_wall_are_shortened_to():
    draws = numbers(RandomWalk(), N_TRIALS, 50)
    for slow_factor in (0.1, 0.5):
        walk = follow(RandomWalk(slow_factor=slow_factor), draws)
        share = np.asarray(walk.distances / (draws.speed * 0.02))
        slowed = np.abs(share - slow_factor) < 1e-4
        assert 0.005 < slowed.mean() < 0.1
        np.testing.assert_allclose(share[~slowed], 1, rtol=1e-4)


def test_a_biased_walk_gathers_at_its_anchor():
    motion = RandomWalk(biased=True, anchor=(0.4, -0.3))
    late = drawn(motion).positions[:, motion.stationary_after :]
    np.testing.assert_allclose(late.mean(axis=(0, 1)), [0.4, -0.3], atol=0.02)
    # The bias is a spring against steps without memory of more than their heading.
    assert late.std(axis=(0, 1)).max() < 0.4


def test_a_biased_walk_forgets_its_start_at_the_rate_of_the_drift():
    for drift in (0.02, 0.05):
        motion = RandomWalk(biased=True, drift=drift)
        path = drawn(motion)
        start = path.start.ravel()
        for t in (9, 39):
            now = path.positions[:, t].ravel()
            slope = (start @ now) / (start @ start)
            assert abs(slope - (1 - drift) ** (t + 1)) < 0.08
        assert motion.stationary_after == math.ceil(3 / drift)


def test_drift_is_per_step_whatever_the_time_step():
    still = {"biased": True, "speed_scale": 1e-6}
    path = drawn(RandomWalk(time_step=0.02, **still))
    other = drawn(RandomWalk(time_step=0.2, **still))
    np.testing.assert_allclose(path.positions, other.positions, atol=1e-4)
    np.testing.assert_allclose(path.positions[:, 9], 0.95**10 * path.start, atol=1e-4)


def test_unbiased_positions_are_stationary_when_they_are_said_to_be():
    motion = RandomWalk()
    after = motion.stationary_after
    many = [drawn(motion, jax.random.key(seed)).positions for seed in range(20)]
    at_wall = (np.abs(np.concatenate(many)) > 0.9).any(axis=-1).mean(axis=0)
    early, then, late = at_wall[:5], at_wall[after : after + 30], at_wall[-30:]
    assert early.mean() < late.mean() - 0.04
    assert abs(then.mean() - late.mean()) < 0.02


def test_speeds_of_the_walk_are_rayleigh_and_forgotten_at_once():
    inside = RandomWalk(box=(50.0, 50.0))
    steps = np.linalg.norm(drawn(inside).inputs, axis=-1)
    scale = inside.speed_scale * inside.time_step
    np.testing.assert_allclose(steps.mean(), scale * math.sqrt(np.pi / 2), rtol=0.01)
    np.testing.assert_allclose((steps**2).mean(), 2 * scale**2, rtol=0.02)
    assert abs(correlation(steps, 1)) < 0.02


def test_mirrored_numbers_make_a_mirrored_walk():
    motion = RandomWalk(box=(0.6, 0.6))
    draws = numbers(motion, N_TRIALS, 50)
    mirror = jnp.array([[1.0, -1.0]])
    mirrored = draws._replace(
        position=draws.position * mirror, heading=-draws.heading, turn=-draws.turn
    )
    np.testing.assert_allclose(
        follow(motion, mirrored).positions,
        follow(motion, draws).positions * mirror[None],
        atol=1e-5,
    )


def test_a_biased_head_turns_left_at_the_mean_of_absolute_turns():
    steps = {
        biased: drawn(HeadDirectionWalk(biased=biased)).inputs
        for biased in (False, True)
    }
    sd = 11.52 * 0.02
    assert abs(steps[False].mean()) < 0.01
    np.testing.assert_allclose(steps[True].mean(), sd * math.sqrt(2 / np.pi), rtol=0.02)
    np.testing.assert_array_equal(np.abs(steps[False]), steps[True])


def test_headings_are_everywhere_alike_from_the_first_on():
    path = drawn(HeadDirectionWalk(biased=True))
    for headings in (path.start, path.positions[:, 2]):
        around = stats.uniform(-np.pi, 2 * np.pi)
        assert stats.kstest(headings.ravel(), around.cdf)[1] > 1e-3


def test_smooth_motion_turns_with_the_spread_and_memory_of_its_equation():
    path = drawn(OPEN)
    heading = np.arctan2(path.inputs[..., 1], path.inputs[..., 0])
    turn = (np.diff(heading, axis=1) + np.pi) % (2 * np.pi) - np.pi
    rate = turn / OPEN.time_step
    forgotten = OPEN.time_step / OPEN.turn_coherence_time
    np.testing.assert_allclose(
        rate.std(), OPEN.turn_sd / math.sqrt(1 - forgotten / 2), rtol=0.02
    )
    for lag in (1, 2):
        assert abs(correlation(rate, lag) - (1 - forgotten) ** lag) < 0.02


def test_smooth_speeds_are_rayleigh_with_their_memory():
    path = drawn(OPEN)
    speed = np.linalg.norm(path.inputs, axis=-1) / OPEN.time_step
    forgotten = OPEN.time_step / OPEN.speed_coherence_time
    spread = 1 / math.sqrt(1 - forgotten / 2)

    def expected(z):
        rayleigh = OPEN.speed_scale * math.sqrt(-2 * stats.norm.logsf(z))
        return rayleigh * stats.norm.pdf(z, scale=spread)

    mean = integrate.quad(expected, -8, 8)[0]
    np.testing.assert_allclose(mean, OPEN.speed_scale * math.sqrt(np.pi / 2), rtol=0.02)
    np.testing.assert_allclose(speed.mean(), mean, rtol=0.02)
    normal = stats.norm.ppf(stats.rayleigh.cdf(speed, scale=OPEN.speed_scale))
    assert abs(normal.mean()) < 0.06
    np.testing.assert_allclose(normal.std(), spread, rtol=0.03)
    for lag in (1, 10, 20):
        assert abs(correlation(normal, lag) - (1 - forgotten) ** lag) < 0.03


def test_smooth_motion_stays_in_its_box_and_thigmotaxis_keeps_it_at_the_walls():
    near = []
    for thigmotaxis in (0.0, 1.0):
        motion = OrnsteinUhlenbeck(box=(0.5, 0.4), thigmotaxis=thigmotaxis)
        late = drawn(motion).positions[:, motion.stationary_after :]
        gap = np.array([0.25, 0.2]) - np.abs(late)
        assert gap.min() > -1e-6
        near.append((gap.min(axis=-1) < 0.05).mean())
    assert near[1] > 1.5 * near[0]


def test_walls_push_further_from_a_greater_distance():
    share = []
    for distance in (0.02, 0.2):
        motion = OrnsteinUhlenbeck(box=(1.0, 1.0), wall_distance=distance)
        share.append((np.abs(drawn(motion).positions) > 0.4).mean())
    assert share[1] < share[0]


def test_shorter_steps_are_the_same_motion():
    """As far in a second, on average, in 20 steps as in 50."""
    travelled = []
    for n_steps in (20, 50):
        motion = OrnsteinUhlenbeck(box=(9.0, 9.0), time_step=1 / n_steps)
        path = drawn(motion)
        distances = np.linalg.norm(path.positions[:, n_steps - 1] - path.start, axis=-1)
        travelled.append(np.square(distances).mean())
    np.testing.assert_allclose(*travelled, rtol=0.2)


def test_smooth_motion_goes_on_forwards():
    steps = drawn(OPEN).inputs
    along = np.einsum("nti,nti->nt", steps[:, 1:], steps[:, :-1])
    assert (along > 0).mean() > 0.98


def test_a_tour_is_where_its_lines_are():
    tour = Tour([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    lap = 2 + math.sqrt(2)
    found = tour.place(jnp.array([0.5, 1.0, 1 + math.sqrt(2) / 2, lap - 0.25, lap]))
    expected = [[0.5, 0], [1, 0], [0.5, 0.5], [0, 0.25], [0, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert tour.bounds == ((0, 1), (0, 1))


def test_a_tour_without_noise_goes_on_at_its_speed():
    tour = Tour([[0.0], [2.0]], speed_mean=0.5, speed_sd=0.0, time_step=0.1)
    path = drawn(tour)
    straight = np.abs(path.inputs) > 0.0499
    assert straight.mean() > 0.95
    assert {-1.0, 1.0} <= set(np.sign(path.inputs[straight]))
    back = drawn(Tour([[0.0], [2.0]], speed_mean=0.0, speed_sd=0.0))
    np.testing.assert_array_equal(back.inputs, 0)


def test_speeds_along_a_tour_have_their_mean_spread_and_memory():
    tour = Tour([[0.0], [90.0]], speed_mean=0.2, speed_sd=0.3)
    path = drawn(tour)
    with_sign = path.inputs[..., 0] / tour.time_step
    # Half of the animals are on their way back.
    there = np.abs(with_sign.mean(axis=1) - 0.2) < np.abs(with_sign.mean(axis=1) + 0.2)
    speed = np.where(there[:, None], with_sign, -with_sign)
    forgotten = tour.time_step / tour.speed_coherence_time
    np.testing.assert_allclose(speed.mean(), 0.2, atol=0.02)
    spread = 0.3 / math.sqrt(1 - forgotten / 2)
    np.testing.assert_allclose(speed.std(), spread, rtol=0.05)
    assert abs(correlation(speed, 10) - (1 - forgotten) ** 10) < 0.05


def test_windows_come_from_one_recording_each_and_all_alike():
    ramp = np.arange(30.0)[:, None]
    values = np.concatenate([ramp, 100 + ramp[:12], 200 + ramp[:3]])
    path = drawn(Recording(values, (30, 12, 3), 0.1, ((0.0, 300.0),)))
    np.testing.assert_array_equal(path.inputs, 1)
    first, counts = np.unique(path.start, return_counts=True)
    np.testing.assert_array_equal(first, [*range(21), 100, 101, 102])
    assert stats.chisquare(counts)[1] > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomWalk(box=(2.2,)), "box: got .2.2,., expected two sides"),
        (lambda: RandomWalk(box=(0.1, 2.0)), "a side of 0.1 m, expected at least"),
        (lambda: RandomWalk(box=3.0), "box: got 3.0, expected two sides"),
        (lambda: RandomWalk(biased=True, anchor=(2.0, 0.0)), "anchor: got"),
        (lambda: RandomWalk(anchor=(0.0,)), "anchor: got"),
        (lambda: RandomWalk(drift=1.5), "drift: got 1.5"),
        (lambda: RandomWalk(time_step=0.0), "time_step: got 0.0"),
        (lambda: RandomWalk(turn_sd=-1.0), "turn_sd: got -1.0"),
        (lambda: RandomWalk(slow_factor=np.nan), "slow_factor: got nan"),
        (lambda: HeadDirectionWalk(time_step=-1), "time_step: got -1"),
        (lambda: HeadDirectionWalk(turn_mean=np.nan), "turn_mean: got 1 values"),
        (lambda: Tour([[0.0], [9.0]], speed_mean=np.nan), "speed_mean: got 1 values"),
        (lambda: OrnsteinUhlenbeck(box=(0.2, 1.0)), "box: got a side of 0.2 m"),
        (lambda: OrnsteinUhlenbeck(thigmotaxis=1.5), "thigmotaxis: got 1.5"),
        (lambda: OrnsteinUhlenbeck(time_step=0.2), "less than twice the turn_"),
        (lambda: Tour([[0.0, 0.0]]), "corners: got shape"),
        (lambda: Tour([[0.0], [1.0], [1.0]]), "a corner twice in a row"),
        (lambda: Tour([[0.0], [0.01]]), "corners: got a tour of 0.02 m"),
        (lambda: Tour([[0.0], [9.0]], time_step=2.0), "speed_coherence_time of 0.7 s"),
        (lambda: Recording(np.zeros(3), (3,), 0.1, ()), "positions: got shape"),
        (lambda: Recording(np.zeros((3, 1)), (2,), 0.1, ((0, 1),)), "lengths: got 2"),
        (lambda: Recording(np.ones((3, 1)), (3,), 0.1, ((0, 0.5),)), "arena: got"),
        (lambda: Recording(np.ones((3, 1)), (3,), 0.1, ()), "arena: got 0 axes"),
        (lambda: MOTIONS[-1].draw(KEY, 2, 30), "n_steps: got 30, expected at most 29"),
    ],
)  # fmt: skip
def test_impossible_motion_is_refused(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_a_uniform_number_of_zero_is_no_infinite_speed():
    # Of this key's numbers, as a sweep found, one is 0: its logarithm is infinite.
    key, shape = jax.random.key(4), (2**20,)
    assert (jax.random.uniform(key, shape) == 0).any()
    assert jnp.isfinite(draw_rayleigh(key, shape)).all()
