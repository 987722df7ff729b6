from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from neuromod.core import models
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.core.precision import in_precision
from neuromod.reactivation.codes import HeadDirectionCode, PlaceCode
from neuromod.reactivation.motion_ou import OrnsteinUhlenbeck
from neuromod.reactivation.motion_recorded import Recording
from neuromod.reactivation.motion_tour import Tour
from neuromod.reactivation.motion_walk import HeadDirectionWalk, RandomWalk
from neuromod.reactivation.tasks import (
    HeadDirection,
    LinearTrack,
    Predictive,
    Recorded,
    SpatialNavigation,
    TMaze,
    Triangle,
)

KEY = jax.random.key(0)
N_TRIALS, N_STEPS, N_CELLS = 20, 30, 40


def recording(n=200, time_step=0.05, start=0.0, radius=1.0, **coords):
    time = start + np.arange(n) * time_step
    values = radius * np.stack([np.cos(time), np.sin(time)], axis=1)
    axes = {"time": time, **coords}
    return xr.DataArray(values, dims=("time", "space"), coords=axes)


SMALL = {"n_cells": N_CELLS, "n_steps": N_STEPS}
TASKS = {
    "spatial": SpatialNavigation(**SMALL),
    "biased": SpatialNavigation(biased=True, kind="difference", **SMALL),
    "smooth": SpatialNavigation("ornstein_uhlenbeck", **SMALL),
    "head": HeadDirection(biased=True, **SMALL),
    "track": LinearTrack(**SMALL),
    "maze": TMaze(**SMALL),
    "triangle": Triangle(**SMALL),
    "recorded": Recorded(recording(), **SMALL),
    "predictive": Predictive(SpatialNavigation(**SMALL), n_masked=4, n_rollout=3),
}
every_task = pytest.mark.parametrize("name", TASKS)


@partial(jax.jit, static_argnums=(2, 3))
def draw(task, key, n_trials=N_TRIALS, n_steps=None):
    return task.draw(key, n_trials, n_steps)


@every_task
def test_a_batch_has_the_shapes_that_the_task_tells(name):
    task = TASKS[name]
    batch = jax.eval_shape(partial(task.draw, n_trials=7), KEY)
    n_cells = task.code.n_cells
    assert batch.code.shape == (7, n_cells)
    assert batch.inputs.shape == (7, N_STEPS, task.n_inputs)
    assert batch.targets.shape == (7, N_STEPS, n_cells)
    assert batch.positions.shape == (7, N_STEPS, len(task.bounds))
    assert float(task.time_step) > 0


@every_task
def test_a_task_may_be_traced_and_mapped_over_keys(name):
    def mapped(task, keys):
        return jax.vmap(lambda key: task.draw(key, 2, 3).positions)(keys)

    keys = jax.random.split(KEY, 3)
    found = jax.eval_shape(mapped, TASKS[name], keys)
    assert found.shape == (3, 2, 3, len(TASKS[name].bounds))


@pytest.mark.parametrize("name", ["biased", "head", "maze", "recorded"])
def test_the_targets_are_the_code_of_where_the_steps_lead(name):
    task = TASKS[name]
    batch = draw(task, KEY)
    start = batch.positions[:, :1] - batch.inputs[:, :1]
    reached = start + jnp.cumsum(batch.inputs, axis=1)
    apart = task.code.distance(reached, batch.positions)
    np.testing.assert_allclose(apart, 0, atol=1e-4)
    at = jnp.concatenate([start, batch.positions], axis=1)
    told = jnp.concatenate([batch.code[:, None], batch.targets], axis=1)
    np.testing.assert_allclose(task.code.activation(at), told, rtol=2e-3, atol=1e-5)
    apart = task.code.distance(task.code.decode(told), at)
    assert apart.mean() < 0.3


@every_task
def test_a_task_is_built_again_from_its_fields_to_the_same_bits(name, monkeypatch):
    for cls in (
        *(SpatialNavigation, HeadDirection, LinearTrack, TMaze, Triangle, Recorded),
        *(RandomWalk, HeadDirectionWalk, OrnsteinUhlenbeck, Tour, Recording),
        *(Predictive, PlaceCode, HeadDirectionCode),
    ):
        home = f"{cls.__module__}:{cls.__name__}"
        monkeypatch.setitem(models.MODEL_CLASSES, cls.__name__, home)
    for task in (TASKS[name], in_precision(TASKS[name], "float64")):
        again = models.rebuild(*models.take_apart(task), {})
        for one, other in zip(*map(jax.tree.leaves, (task, again)), strict=True):
            np.testing.assert_array_equal(one, other)
        assert again.bounds == task.bounds
        assert again.stationary_after == task.stationary_after


def test_tasks_of_several_seeds_run_side_by_side():
    tasks = [
        in_precision(SpatialNavigation(seed=seed, **SMALL), "float32")
        for seed in range(3)
    ]
    stack = models.stack(tasks)
    batches = jax.jit(jax.vmap(lambda task: task.draw(KEY, 4)))(stack)
    at = batches.positions[0]
    np.testing.assert_array_equal(batches.positions[2], at)
    for task, targets in zip(tasks, batches.targets, strict=True):
        np.testing.assert_allclose(
            task.code.activation(at), targets, rtol=1e-4, atol=1e-8
        )
    assert stack.code.n_cells == N_CELLS


def test_the_defaults_are_the_published_ones():
    task = SpatialNavigation()
    assert task.code.n_cells == 512
    assert (task.code.width, task.code.kind, task.code.surround) == (0.2, "softmax", 2)
    assert (task.n_steps, task.time_step, task.n_inputs) == (100, 0.02, 2)
    np.testing.assert_allclose(task.bounds, ((-1.1, 1.1),) * 2)
    walk = task.motion
    assert (walk.turn_mean, walk.turn_sd, walk.border) == (0, 11.52, 0.03)
    assert (walk.slow_factor, walk.drift, walk.anchor) == (0.25, 0.05, (0, 0))
    np.testing.assert_allclose(walk.speed_scale, 0.817, atol=1e-3)
    heads = HeadDirection()
    assert (heads.code.n_cells, heads.n_steps, heads.time_step) == (512, 100, 0.02)
    np.testing.assert_allclose(heads.code.spread, np.pi / 6)
    assert heads.stationary_after == 0


def test_cells_are_redrawn_for_another_seed():
    one, again, other = (SpatialNavigation(seed=s, n_cells=9) for s in (0, 0, 1))
    np.testing.assert_array_equal(one.code.centres, again.code.centres)
    assert (one.code.centres != other.code.centres).all()


def test_options_reach_the_motion():
    task = SpatialNavigation(biased=True, anchor=(0.5, 0.0), box=(3.0, 2.0), n_cells=9)
    assert task.bounds == ((-1.5, 1.5), (-1.0, 1.0))
    assert jnp.abs(task.code.centres[:, 1]).max() <= 1
    assert (task.motion.anchor, task.stationary_after) == ((0.5, 0.0), 60)
    assert HeadDirection(turn_sd=1.0).motion.turn_sd == 1
    assert LinearTrack(speed_mean=0.1).motion.speed_mean == 0.1
    ready = OrnsteinUhlenbeck(box=(1.0, 1.0))
    assert SpatialNavigation(ready).motion is ready


def test_codes_are_chosen_or_brought():
    code = PlaceCode(np.zeros((3, 2)), 0.1, "gaussian")
    assert SpatialNavigation(code=code).code is code
    assert SpatialNavigation(kind="gaussian", n_cells=3).code.kind == "gaussian"
    heads = HeadDirection(n_cells=5, duplicated_end=True).code
    np.testing.assert_allclose(heads.preferred[[0, -1]], [-np.pi, np.pi])


def height(x):
    """How far below the top of the triangle."""
    return np.sqrt(3) / 3 - x[..., 1]


def test_mazes_are_where_their_lines_are():
    for name, on_line in (
        ("track", lambda x: np.abs(x[..., 0]) <= 1),
        (
            "maze",
            lambda x: (
                ((np.abs(x[..., 0]) < 1e-5) & (x[..., 1] >= 0) & (x[..., 1] <= 1))
                | (np.isclose(x[..., 1], 1, atol=1e-5) & (np.abs(x[..., 0]) <= 0.5))
            ),
        ),
        (
            "triangle",
            lambda x: (
                np.isclose(x[..., 1], -np.sqrt(3) / 6, atol=1e-5)
                | np.isclose(np.abs(x[..., 0]), height(x) / 3**0.5, atol=1e-5)
            ),
        ),
    ):
        task = TASKS[name]
        assert on_line(np.asarray(task.code.centres)).all(), name
        there = np.asarray(task.motion.place(jnp.linspace(0, 7, 100)))
        assert on_line(there).all(), name
        ends = np.stack([there.min(axis=0), there.max(axis=0)], axis=1)
        np.testing.assert_allclose(ends, task.bounds, atol=0.1)


def test_the_arms_of_a_t_maze_are_visited_in_turn():
    x = np.asarray(TMaze(n_cells=9).motion.place(jnp.linspace(0, 12, 400))[:, 0])
    in_arm = np.abs(x) > 0.4
    sides = np.sign(x[np.flatnonzero(in_arm[1:] & ~in_arm[:-1]) + 1])
    np.testing.assert_array_equal(sides, [-1, 1, -1, 1])


def test_recordings_are_taken_in_every_ragged_form():
    parts = [recording(50, radius=0.5), recording(80, start=1.0)]
    long = xr.concat(
        [
            part.assign_coords(session=("time", [name] * len(part)))
            for name, part in zip("ab", parts, strict=True)
        ],
        dim="time",
    )
    children = {
        name: p.to_dataset(name="at") for name, p in zip("ab", parts, strict=True)
    }
    forms = [parts, long, xr.DataTree.from_dict(children), long.chunk(time=20)]
    found = [Recorded(form, n_cells=9, n_steps=20) for form in forms]
    for task in found:
        assert task.motion.lengths == (50, 80)
        np.testing.assert_allclose(task.time_step, 0.05)
        np.testing.assert_array_equal(task.motion.positions, found[0].motion.positions)
        np.testing.assert_array_equal(task.code.centres, found[0].code.centres)
    radius = jnp.linalg.norm(draw(found[0], KEY).positions, axis=-1)
    np.testing.assert_allclose(radius, radius[:, :1] * np.ones((1, 20)), rtol=1e-5)
    assert 0.2 < (radius[:, 0] > 0.9).mean() < 0.95


def test_an_arena_may_be_larger_than_what_was_visited():
    arena = ((-2.0, 2.0), (-3.0, 1.5))
    assert Recorded(recording(), arena=arena, n_cells=9).bounds == arena
    own = Recorded(recording(), n_cells=9).bounds
    np.testing.assert_allclose(own, ((-1, 1), (-1, 1)), atol=0.01)


def test_cells_stand_where_the_animal_was_however_long_it_sat_there():
    moving = recording(200)
    resting = xr.DataArray(
        np.tile([[1.0, 0.0]], (2000, 1)),
        dims=("time", "space"),
        coords={"time": 10 + np.arange(2000) * 0.05},
    )
    whole = xr.concat([moving, resting], dim="time")
    centres = Recorded(whole, n_cells=400, cell_width=0.1).code.centres
    away = np.linalg.norm(centres - np.array([[1.0, 0.0]]), axis=1) > 0.5
    assert away.mean() > 0.7
    assert np.abs(np.linalg.norm(centres, axis=1) - 1).max() < 0.15


def test_a_predictive_task_shows_glimpses_and_asks_for_what_comes_next():
    task = TASKS["predictive"]
    batch, whole = draw(task, KEY), draw(task.task, KEY, N_TRIALS, N_STEPS + 2)
    np.testing.assert_array_equal(batch.inputs[..., :2], whole.inputs[:, :N_STEPS])
    glimpses, shown = batch.inputs[..., 2:], np.arange(N_STEPS) % 5 == 0
    assert (glimpses[:, ~shown] == 0).all()
    before = jnp.concatenate([whole.code[:, None], whole.targets], axis=1)
    np.testing.assert_array_equal(glimpses[:, shown], before[:, :N_STEPS][:, shown])
    for ahead in range(3):
        block = batch.targets[..., ahead * N_CELLS : (ahead + 1) * N_CELLS]
        np.testing.assert_array_equal(block, whole.targets[:, ahead : N_STEPS + ahead])
    np.testing.assert_array_equal(batch.positions, whole.positions[:, :N_STEPS])


def test_without_masking_a_predictive_task_always_shows_the_place():
    inputs = draw(Predictive(TASKS["recorded"]), KEY).inputs
    np.testing.assert_allclose(inputs[..., 2:].sum(axis=-1), 1, rtol=1e-5)


def test_a_rollout_code_reads_the_next_position():
    code = TASKS["predictive"].code
    single, at = TASKS["spatial"].code, jnp.linspace(-1, 1, 12).reshape(6, 2)
    told = code.activation(at)
    np.testing.assert_allclose(told, jnp.tile(single.activation(at), (1, 3)), rtol=1e-5)
    later = told.at[:, N_CELLS:].set(0)
    np.testing.assert_allclose(code.decode(later), single.decode(told[:, :N_CELLS]))
    assert code.distance(at, at + 1).shape == (6,)
    assert not code.periodic
    assert Predictive(TASKS["head"]).code.periodic


def gap(values, at=17):
    values = values.copy()
    values[at] = np.nan
    return values


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: SpatialNavigation("wlak"), InvalidInputError, "Did you mean 'walk'?"),
        (
            lambda: SpatialNavigation(drfit=1),
            InvalidInputError,
            "Did you mean 'drift'?",
        ),
        (
            lambda: SpatialNavigation("ornstein_uhlenbeck", biased=True),
            InvalidInputError,
            "biased: got an unknown argument",
        ),
        (
            lambda: SpatialNavigation(RandomWalk(), biased=True),
            InvalidInputError,
            r"Give it to RandomWalk\(...\)",
        ),
        (
            lambda: SpatialNavigation(box=(0.1, 0.1)),
            InvalidInputError,
            "box: got a side of 0.1 m",
        ),
        (lambda: SpatialNavigation(n_steps=0), InvalidInputError, "n_steps: got 0"),
        (lambda: SpatialNavigation(seed=-1), InvalidInputError, "seed: got -1"),
        (lambda: HeadDirection(n_cells=0), InvalidInputError, "n_cells: got 0"),
        (lambda: LinearTrack(length=-1), InvalidInputError, "length: got -1"),
        (lambda: Triangle(side=np.nan), InvalidInputError, "side: got nan"),
        (lambda: TASKS["head"].draw(KEY, 0), InvalidInputError, "n_trials: got 0"),
        (lambda: TASKS["head"].draw(KEY, 1, 0), InvalidInputError, "n_steps: got 0"),
        (
            lambda: Predictive(TASKS["predictive"]),
            InvalidInputError,
            "task: got Predictive",
        ),
        (lambda: Predictive(TASKS["head"], n_masked=-1), InvalidInputError, "n_masked"),
        (
            lambda: Recorded(gap(recording()), n_cells=9),
            InvalidInputError,
            "positions: got 1 times at which the position is missing",
        ),
        (lambda: Recorded(None), ShapeError, "positions: got NoneType"),
        (
            lambda: Recorded(recording().rename(space="spcae"), n_cells=9),
            ShapeError,
            "Did you mean 'space'?",
        ),
        (
            lambda: Recorded(recording(), arena=((-0.5, 0.5), (-1.0, 1.0))),
            InvalidInputError,
            "arena: got .-0.5, 0.5. m, expected at least",
        ),
        (
            lambda: Recorded(recording(80)),
            InvalidInputError,
            "n_steps: got 100, expected at most 79",
        ),
        (
            lambda: Recorded([recording(), recording(time_step=0.1)]),
            InvalidInputError,
            "recordings at steps of 0.05 s to 0.1 s",
        ),
        (
            lambda: Recorded(recording().isel(time=[*range(100), *range(110, 180)])),
            InvalidInputError,
            "expected a regular grid",
        ),
        (lambda: Recorded(recording(1)), ShapeError, "positions: got a single time"),
    ],
)
def test_bad_tasks_are_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()
