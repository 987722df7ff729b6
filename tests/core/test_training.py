"""The training loop: optax's numbers, the same bits, whatever interrupts it."""

import os
import signal
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tqdm import tqdm

from neuromod.core import progress, training, training_loop
from neuromod.core.errors import (
    ChecksumError,
    DataFormatError,
    DivergedError,
    InvalidInputError,
    ShapeError,
)
from neuromod.core.models import select, stack
from neuromod.core.training import fit_gradient
from neuromod.core.training_checkpoint import optimiser_digest

ROOT = Path(__file__).resolve().parents[2]
ADAM = optax.adam(0.01)
N_STEPS = 40
WEIGHT = np.random.default_rng(0).normal(size=(2, 3))
DATA = np.random.default_rng(1).normal(size=(3,))


class Model(eqx.Module):
    weight: jax.Array
    scale: jax.Array
    count: jax.Array
    power: float = 2.0

    def __call__(self, x):
        return jnp.tanh(self.weight @ x) * self.scale


def model(shift=0.0):
    return Model(jnp.asarray(WEIGHT + shift), jnp.asarray(1.5), jnp.asarray(3))


def weight_only(model):
    no = jax.tree.map(lambda _: False, model)
    return eqx.tree_at(lambda m: m.weight, no, True)


def loss(model, key, step, data, blow_up=-1):
    """A random loss with metrics; it is no number from the step `blow_up` on."""
    noise = jax.random.normal(key, (3,))
    error = model(data + 0.1 * noise) - 0.3
    value = jnp.mean(jnp.abs(error) ** model.power)
    value += 0.1 * jnp.mean(model.weight**2)
    bad = (step >= blow_up) & (blow_up >= 0)
    return jnp.where(bad, jnp.nan, value), {"noise": noise, "step": step}


def fit(parameters=None, **settings):
    settings = {"seed": 0, "n_steps": N_STEPS, "optimiser": ADAM, **settings}
    settings = {"arguments": (DATA, np.int32(-1)), "progress": False, **settings}
    return fit_gradient(settings.pop("loss", loss), parameters or model(), **settings)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def short_pieces(monkeypatch):
    """Pieces of one step, however fast the machine is."""
    monkeypatch.setattr(training, "SECONDS_PER_PIECE", 0.0)


@pytest.fixture(scope="module")
def whole():
    with jax.enable_x64(True):
        return fit()


def assert_same_bits(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


def assert_close(first, second, rtol=1e-12):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol)


# The numbers.


def test_it_takes_the_steps_of_a_plain_loop_of_optax(whole):
    now, held = eqx.partition(model(), eqx.is_inexact_array)
    state = ADAM.init(now)

    @jax.jit
    def gradient(now, key, step):
        def objective(now):
            return loss(eqx.combine(now, held), key, step, DATA)

        return jax.value_and_grad(objective, has_aux=True)(now)

    for step in range(N_STEPS):
        key = jax.random.fold_in(jax.random.key(0), step)
        (value, metrics), slope = gradient(now, key, step)
        updates, state = ADAM.update(slope, state, now)
        now = optax.apply_updates(now, updates)
        assert_close(whole.history["loss"][step], value)
        assert_close(whole.history["noise"][step], metrics["noise"])
    assert_close(
        (whole.parameters.weight, whole.parameters.scale), jax.tree.leaves(now)
    )
    assert_close(whole.optimiser_state, state)
    np.testing.assert_array_equal(whole.history["step"], np.arange(N_STEPS))
    assert whole.n_steps == N_STEPS
    assert np.asarray(whole.parameters.weight).dtype == np.float64


def test_only_floating_point_arrays_are_trained(whole):
    assert int(whole.parameters.count) == 3
    assert whole.parameters.power == 2.0
    assert float(whole.parameters.scale) != 1.5


def test_trainable_selects_what_is_trained():
    found = fit(trainable=weight_only)
    assert float(found.parameters.scale) == 1.5
    assert np.all(np.asarray(found.parameters.weight) != WEIGHT)
    # The optimiser remembers nothing of what is held.
    shapes = {leaf.shape for leaf in jax.tree.leaves(found.optimiser_state)}
    assert shapes == {(), (2, 3)}
    assert len(jax.tree.leaves(found.optimiser_state)) == 3


def test_the_default_optimiser_is_adam_at_a_thousandth():
    found = fit(optimiser=None, n_steps=1)
    moved = np.abs(np.asarray(found.parameters.weight) - WEIGHT)
    np.testing.assert_allclose(moved, 1e-3, rtol=1e-4)


def test_the_given_parameters_are_left_alone():
    start = model()
    fit(start, n_steps=2)
    np.testing.assert_array_equal(start.weight, WEIGHT)


def test_the_history_holds_the_steps_asked_for(whole):
    rare = fit(record_every=7)
    np.testing.assert_array_equal(rare.history["step"], np.arange(0, N_STEPS, 7))
    np.testing.assert_array_equal(rare.history["loss"], whole.history["loss"][::7])
    assert_same_bits(rare.parameters, whole.parameters)


def test_float32_stays_float32():
    with jax.enable_x64(False):
        found = fit(n_steps=3)
        assert found.parameters.weight.dtype == found.history["loss"].dtype == "float32"


# Several seeds.


def test_seeds_side_by_side_are_each_alone(whole):
    starts = [model(), model(0.1), model()]
    found = fit(stack(starts), seed=[0, 1, 7])
    assert found.history["loss"].shape == (3, N_STEPS)
    assert found.history["noise"].shape == (3, N_STEPS, 3)
    for i, seed in enumerate((0, 1, 7)):
        alone = fit(starts[i], seed=seed)
        assert_close(select(found.parameters, i), alone.parameters, 1e-10)
        assert_close(found.history["loss"][i], alone.history["loss"], 1e-10)
    assert_close(found.history["loss"][0], whole.history["loss"], 1e-10)
    assert not np.any(found.history["noise"][0] == found.history["noise"][2])


def test_hyper_parameters_differ_between_lanes_of_one_seed():
    starts = [eqx.tree_at(lambda m: m.scale, model(), jnp.asarray(s)) for s in (1.0, 2)]
    found = fit(stack(starts), seed=[5, 5], trainable=weight_only)
    np.testing.assert_array_equal(found.parameters.scale, [1.0, 2.0])
    np.testing.assert_array_equal(found.history["noise"][0], found.history["noise"][1])
    assert np.all(found.history["loss"][0] != found.history["loss"][1])


# Pieces, programs, progress.


def test_pieces_of_any_length_give_the_same_bits(monkeypatch, whole, short_pieces):
    told = []
    assert_same_bits(fit(callback=lambda step, _: told.append(step)), whole)
    assert told == list(range(1, N_STEPS + 1))
    monkeypatch.setattr(training, "SECONDS_PER_PIECE", 1e9)
    told.clear()
    assert_same_bits(fit(callback=lambda step, _: told.append(step)), whole)
    assert told == [1, 2, 10, N_STEPS]


def test_callbacks_see_the_last_step(whole, short_pieces):
    told = {}
    fit(
        record_every=N_STEPS,
        callback=lambda step, metrics: told.update({step: metrics}),
    )
    for step, metrics in told.items():
        assert metrics["loss"] == whole.history["loss"][step - 1]
        np.testing.assert_array_equal(
            metrics["noise"], whole.history["noise"][step - 1]
        )


def test_one_program_serves_all_pieces_and_calls(short_pieces):
    traced = []

    def traced_loss(*given):
        traced.append(1)
        return loss(*given)

    fit(loss=traced_loss)
    fit(model(0.1), loss=traced_loss, seed=1, arguments=(2 * DATA, np.int32(-1)))
    assert len(traced) == 1


def test_progress_shows_the_loss_and_where_it_stands(
    monkeypatch, capsys, whole, tmp_path, short_pieces
):
    # tqdm reads TQDM_DISABLE, which the suite sets, when it is imported.
    shown = partial(tqdm, disable=False, mininterval=0)
    monkeypatch.setattr(progress, "tqdm", shown)
    path = tmp_path / "told.nc"
    fit(progress=True, n_steps=30, checkpoint=path)
    fit(progress=True, checkpoint=path)
    told = capsys.readouterr().err
    assert f"loss {whole.history['loss'][-1]:.4g}" in told
    assert "31/40" in told
    assert "40/40" in told
    assert "training: " in told


# Checkpoints.


class Stop(Exception):
    pass


def stop_at(last, kind=Stop):
    def callback(step, _):
        if step == last:
            raise kind

    return callback


@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt])
@pytest.mark.parametrize("seed", [0, [0, 1]])
def test_an_interrupted_training_goes_on_to_the_same_bits(
    tmp_path, kind, seed, short_pieces
):
    path = tmp_path / "kept.nc"
    start = model() if seed == 0 else stack([model(), model(0.1)])
    for last in (1, 13):
        with pytest.raises(kind):
            fit(start, seed=seed, checkpoint=path, callback=stop_at(last, kind))
    begun = []
    found = fit(
        start, seed=seed, checkpoint=path, callback=lambda step, _: begun.append(step)
    )
    assert begun[0] == 13
    assert_same_bits(found, fit(start, seed=seed))


def test_an_interrupt_within_a_piece_loses_only_that_piece(
    tmp_path, monkeypatch, whole, short_pieces
):
    path, advance = tmp_path / "kept.nc", training_loop.Course.advance
    n_calls = []

    def interrupted(course, state, n):
        n_calls.append(n)
        found = advance(course, state, n)
        if len(n_calls) == 9:  # the new state exists, and is never assigned
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(training_loop.Course, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(checkpoint=path)
    begun = []
    found = fit(checkpoint=path, callback=lambda step, _: begun.append(step))
    assert begun[0] == 8
    assert_same_bits(found, whole)


def test_a_training_killed_in_the_middle_goes_on_to_the_same_bits(tmp_path):
    command = [sys.executable, "-m", "tests.core.test_training", str(tmp_path / "k.nc")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        # It saves after each step: the kill meets it in the middle of one.
        assert process.stdout.readline() == "15\n"
        time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    begun = []
    found = long_fit(tmp_path / "k.nc", lambda step, _: begun.append(step))
    assert 15 <= begun[0] < 1000
    assert_same_bits(found, long_fit())


def long_fit(checkpoint=None, callback=None):
    return fit(n_steps=1000, checkpoint=checkpoint, callback=callback)


def test_more_steps_continue_and_finished_ones_are_only_read(tmp_path, whole):
    path = tmp_path / "kept.nc"
    fit(n_steps=15, record_every=1, checkpoint=path)
    assert_same_bits(fit(checkpoint=path), whole)
    before = path.stat().st_mtime_ns
    assert_same_bits(fit(checkpoint=path), whole)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(
        InvalidInputError, match=r"n_steps: got 20, expected .* the 40 st"
    ):
        fit(n_steps=20, checkpoint=path)


def test_the_state_of_an_optimiser_with_a_key_is_kept(tmp_path):
    noisy = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(3)), optax.sgd(0.01))
    path = tmp_path / "kept.nc"
    fit(optimiser=noisy, n_steps=2, checkpoint=path)
    found = fit(optimiser=noisy, n_steps=4, checkpoint=path).parameters
    assert_same_bits(found, fit(optimiser=noisy, n_steps=4).parameters)


def test_saves_come_at_intervals(tmp_path, monkeypatch, short_pieces):
    saved = []
    write = training.Checkpoint.write
    monkeypatch.setattr(
        training.Checkpoint, "write", lambda s, *a: saved.append(a[1]) or write(s, *a)
    )
    fit(checkpoint=tmp_path / "rarely.nc")
    assert saved == [1, N_STEPS]
    monkeypatch.setattr(training, "SECONDS_PER_SAVE", 0.0)
    fit(n_steps=5, checkpoint=tmp_path / "often.nc")
    assert saved[2:] == [1, 2, 3, 4, 5, 5]


@pytest.fixture
def two_files(tmp_path, monkeypatch, short_pieces):
    """A checkpoint after 4 steps, and beside it one after 3."""
    with monkeypatch.context() as patch:
        patch.setattr(training, "SECONDS_PER_SAVE", 0.0)
        with pytest.raises(Stop):
            fit(checkpoint=tmp_path / "kept.nc", callback=stop_at(4))
    assert {p.name for p in tmp_path.iterdir()} == {"kept.nc", "kept.nc.previous"}
    return tmp_path / "kept.nc", tmp_path / "kept.nc.previous"


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("gone", [False, True])
def test_the_file_before_stands_in_for_a_damaged_or_missing_one(two_files, whole, gone):
    path, _ = two_files
    path.unlink() if gone else damage(path)
    begun = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = fit(checkpoint=path, callback=lambda step, _: begun.append(step))
    assert begun[0] == 3
    assert_same_bits(found, whole)
    messages = [str(w.message) for w in told]
    assert len(messages) == (0 if gone else 1)
    assert all("is damaged" in m and "kept.nc.previous" in m for m in messages)


def test_damage_without_a_file_before_is_an_error(two_files):
    path, previous = two_files
    damage(path)
    damage(previous)
    with pytest.raises(ChecksumError, match="previous"), pytest.warns(match="damaged"):
        fit(checkpoint=path)
    previous.unlink()
    with pytest.raises(ChecksumError, match="damaged"):
        fit(checkpoint=path)


def other_loss(*given):
    return loss(*given)[0] + 1, loss(*given)[1]


def loss_alone(*given):
    return loss(*given)[0]


class Weighted(eqx.Module):
    weight: jax.Array

    def __call__(self, *given):
        value, metrics = loss(*given)
        return self.weight * value, metrics


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint of five steps."""
    path = tmp_path_factory.mktemp("written") / "kept.nc"
    with jax.enable_x64(True):
        fit(checkpoint=path, n_steps=5)
    return path


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"record_every": 2}, "record_every"),
        ({"optimiser": optax.adam(0.02)}, "optimiser"),
        ({"optimiser": optax.adam(0.01, b2=0.99)}, "optimiser"),
        ({"shift": 1e-9}, "start"),
        ({"arguments": (DATA + 1e-9, np.int32(-1))}, "arguments"),
        ({"trainable": weight_only}, "optimiser, start"),
        ({"loss": other_loss}, "loss"),
        ({"loss": Weighted(np.float64(1.0))}, "loss"),
        ({"loss": loss_alone}, "metrics"),
    ],
)
def test_a_checkpoint_of_other_arguments_is_refused(written, changed, named):
    before = written.read_bytes()
    settings = dict(changed)
    start = model(settings.pop("shift", 0.0))
    with pytest.raises(InvalidInputError, match=f"checkpoint: .*of another {named}, e"):
        fit(start, **settings, checkpoint=written)
    assert written.read_bytes() == before


def test_optimisers_are_told_apart_by_what_they_captured():
    def told(optimiser):
        return optimiser_digest(optimiser, {"w": jnp.ones(3)})

    def cosine(n):
        return optax.adam(optax.cosine_decay_schedule(0.01, n))

    inject = optax.inject_hyperparams(optax.sgd)
    different = [cosine(20), cosine(40), inject(0.1), inject(0.2), optax.sgd(0.1)]
    different += [optax.MultiSteps(optax.sgd(0.1), n) for n in (2, 3)]
    assert len(set(map(told, different))) == len(different)
    assert told(cosine(20)) == told(cosine(20))


def test_a_file_of_something_else_is_refused_and_kept(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary")
    with pytest.raises(DataFormatError, match="no result of neuromod"):
        fit(checkpoint=path)
    assert path.read_text() == "dear diary"


def test_a_folder_that_is_missing_is_told_before_the_work(tmp_path):
    told = []
    with pytest.raises(InvalidInputError, match="folder that exists"):
        fit(checkpoint=tmp_path / "no" / "a.nc", callback=lambda *a: told.append(a))
    assert not told


# What diverges, and what is refused.


def square(parameters, key, step):
    return parameters["x"] ** 2


def root(parameters, key, step):
    return jnp.sqrt(jnp.maximum(parameters["x"], 0.0))


def test_a_loss_that_is_no_number_stops_before_the_step(tmp_path, whole, short_pieces):
    path = tmp_path / "kept.nc"
    diverging = {"arguments": (DATA, np.int32(23)), "checkpoint": path}
    match = r"a loss of nan in step 23 of seed 0\. Lower the learning rate"
    for _ in range(2):  # the second time from the checkpoint
        with pytest.raises(DivergedError, match=match) as told:
            fit(**diverging)
        found = told.value.trained
        assert found.n_steps == 23
        assert_same_bits(found.parameters, fit(n_steps=23).parameters)
        assert_same_bits(found.history["loss"], whole.history["loss"][:23])


def test_a_diverging_seed_is_named():
    starts = {"x": jnp.asarray([1.0, 1e150])}
    fast = optax.sgd(1e10)
    with pytest.raises(DivergedError, match=r"step 1 of seed 8\b") as told:
        fit(starts, seed=[7, 8], loss=square, optimiser=fast, arguments=())
    assert told.value.trained.history["loss"].shape == (2, 1)
    assert np.isfinite(told.value.trained.parameters["x"]).all()


def test_a_gradient_that_is_no_number_diverges():
    # The step of 1 from 1/4 ends at -3/4, where max(x, 0) is 0: 0/0 in the slope.
    with pytest.raises(DivergedError, match="whose gradient is not finite in step 1"):
        fit({"x": jnp.asarray(0.25)}, loss=root, optimiser=optax.sgd(1.0), arguments=())


def test_an_update_to_infinity_diverges():
    def growing(parameters, key, step):
        x = parameters["x"]
        return (x - jax.lax.stop_gradient(x)) * jnp.where(step > 2, 1e300, 1.0)

    with pytest.raises(
        DivergedError, match=r"an update to what is not .* step 3"
    ) as told:
        fit(
            {"x": jnp.asarray(1.0)},
            loss=growing,
            optimiser=optax.sgd(1e10),
            arguments=(),
        )
    assert float(told.value.trained.parameters["x"]) == 1 - 3e10


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_start_that_is_not_finite_is_refused(value):
    with pytest.raises(InvalidInputError, match=r"parameters: got a loss of nan|inf"):
        fit(model(value))


def test_a_start_without_a_gradient_is_refused():
    with pytest.raises(
        InvalidInputError, match="whose gradient is not finite in step 0"
    ):
        fit({"x": jnp.asarray(0.0)}, loss=root, arguments=())


@pytest.mark.parametrize(
    ("wrong", "named", "kind"),
    [
        ({"n_steps": 0}, "n_steps", InvalidInputError),
        ({"record_every": 0}, "record_every", InvalidInputError),
        ({"seed": -1}, "seed", InvalidInputError),
        ({"seed": 0.5}, "seed", InvalidInputError),
        ({"seed": []}, "seed", InvalidInputError),
        (
            {"seed": [0, 1]},
            "parameters: got an array of shape .* for 2 seeds",
            ShapeError,
        ),
        ({"seed": [0, 1, 2]}, "leading axis of 3", ShapeError),
        ({"trainable": lambda m: (True,)}, "trainable", InvalidInputError),
        ({"trainable": lambda m: False}, "parameters: got none", InvalidInputError),
        (
            {"loss": lambda m, *_: m.weight},
            "loss: got an array of shape .2, 3.",
            ShapeError,
        ),
        ({"loss": lambda m, *_: m.count}, "loss: got .* type int", ShapeError),
        ({"loss": lambda *a: (loss_alone(*a), {"loss": 1})}, "loss", InvalidInputError),
        ({"loss": lambda *a: (loss_alone(*a), 1.0)}, "a dict", InvalidInputError),
        ({"arguments": ({1, 2},)}, "arguments: got .* hashed", InvalidInputError),
    ],
)
def test_bad_input_is_refused(wrong, named, kind):
    with pytest.raises(kind, match=named):
        fit(**wrong)


if __name__ == "__main__":
    training.SECONDS_PER_PIECE = training.SECONDS_PER_SAVE = 0.0
    with jax.enable_x64(True):
        long_fit(sys.argv[1], lambda step, _: step == 15 and print(step, flush=True))
