"""Training: networks learn, side by side and alone, and go on to the same bits."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import neuromod as nm
from neuromod.core.errors import DivergedError, InvalidInputError, ShapeError
from neuromod.pvrnn import (
    Objective,
    gaussian_head,
    generate,
    hierarchy,
    reconstruct,
    regenerate,
    sweep,
    tanh_head,
    train,
    with_encoder,
)
from neuromod.pvrnn.adam import adam_by_trial

QUIET = {"progress": False}


def waves(n_trials=4, n_steps=20):
    """Return sines of several phases."""
    phase = np.linspace(0, 3, n_trials)[:, None, None]
    values = 0.7 * np.sin(np.arange(n_steps)[:, None] / 2 + phase)
    coords = {"channel": ["x"], "trial": list("abcdefgh"[:n_trials])}
    return xr.DataArray(values, coords, ("trial", "time", "channel"))


def build(key, **options):
    return hierarchy(key, [10, 5], [1, 1], [2, 4], [tanh_head(1)], **options)


@pytest.fixture(scope="module")
def trained():
    settings = {"n_steps": 300, "learning_rate": 1e-2, **QUIET}
    return train(waves(), build, seed=[0, 1], objective=Objective(0.01), **settings)


def test_a_network_comes_to_tell_its_trials(trained):
    loss = trained.data["history"]["loss"]
    assert loss.dims == ("seed", "step")
    assert (loss[:, -10:].mean("step") < 0.2 * loss[:, :3].mean("step")).all()
    told = reconstruct(trained.sel(seed=1), seed=0)
    assert list(told["trial"].values) == list("abcd")
    assert list(told["channel"].values) == ["x"]
    error = float(np.square(told["channel_value"] - waves()).mean())
    assert error < 0.1 * float(np.square(waves()).mean())


def test_the_history_is_the_loss_in_parts(trained):
    """With one head and w = .01, F = error + w (KL / Z) summed over layers."""
    told = trained.data["history"]
    parts = told["reconstruction"].sum("head") + 0.01 * told["divergence"].sum("layer")
    np.testing.assert_allclose(parts, told["loss"], rtol=1e-5)


def test_a_seed_alone_is_that_seed_among_others(trained):
    alone = train(waves(), build, seed=1, objective=Objective(0.01), n_steps=5, **QUIET)
    both = train(
        waves(), build, seed=[0, 1], objective=Objective(0.01), n_steps=5, **QUIET
    )
    for name in ("adaptive_mean", "adaptive_log_deviation"):
        one, other = (r.data["latent"][name].values for r in (alone, both.sel(seed=1)))
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=1e-6)
    one, other = (r.data["history"]["loss"].values for r in (alone, both.sel(seed=1)))
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_sweep_trains_every_meta_prior_as_if_alone():
    settings = {"seed": [0, 1], "n_steps": 30, "learning_rate": 1e-2, **QUIET}
    found = sweep(waves(), build, [0.1, 1e-3], **settings)
    assert list(found) == [0.1, 1e-3]
    alone = train(waves(), build, objective=Objective(1e-3), **settings)
    np.testing.assert_allclose(
        found[1e-3].data["history"]["loss"], alone.data["history"]["loss"], rtol=1e-4
    )
    divergence = {
        w: float(r.data["history"]["divergence"][:, -1].sum()) for w, r in found.items()
    }
    assert divergence[0.1] < divergence[1e-3]
    assert found[0.1].config["objective"]["meta_prior"] == 0.1


def test_the_first_meta_prior_may_stay():
    settings = {"seed": 0, "n_steps": 2, "objective": Objective(0.5, 0.7), **QUIET}
    found = sweep(waves(), build, [0.1], first=False, **settings)[0.1]
    assert found.config["objective"]["first_meta_prior"] == 0.7


def test_adaptive_vectors_start_where_they_are_asked_to():
    """One step of Adam moves every number by the learning rate."""
    rate, settings = 1e-3, {"seed": 0, "n_steps": 1, **QUIET}
    begun = {
        start: train(waves(), build, adaptive_start=start, **settings)
        for start in ("zero", "prior", "normal")
    }
    means = {s: r.data["latent"]["adaptive_mean"].values for s, r in begun.items()}
    assert np.abs(means["zero"]).max() <= rate * 1.01
    assert means["normal"].std() == pytest.approx(1, abs=0.15)
    divergence = {
        s: float(r.data["history"]["divergence"].sum()) for s, r in begun.items()
    }
    assert divergence["prior"] < 0.1 * divergence["zero"] < divergence["normal"]


def test_adaptive_vectors_have_a_learning_rate_of_their_own():
    settings = {"seed": 0, "n_steps": 1, **QUIET}
    moved = [
        np.asarray(
            train(waves(), build, adaptive_learning_rate=rate, **settings).data[
                "latent"
            ]["adaptive_mean"]
        )
        for rate in (1e-3, 0.05)
    ]
    np.testing.assert_allclose(moved[1], 50 * moved[0], rtol=1e-3)


def test_weights_decay_by_the_rate_times_themselves():
    settings = {"seed": 0, "n_steps": 1, "learning_rate": 1e-2, **QUIET}
    plain, decayed = (
        train(waves(), build, weight_decay=d, **settings) for d in (0.0, 0.5)
    )
    one, other = (
        np.asarray(r.model.layers[0].recurrent_weight, float) for r in (plain, decayed)
    )
    start = np.asarray(
        train(waves(), build, **settings | {"learning_rate": 1e-9})
        .model.layers[0]
        .recurrent_weight
    )
    np.testing.assert_allclose(one - other, 1e-2 * 0.5 * start, atol=1e-6)
    adaptive = [r.data["latent"]["adaptive_mean"].values for r in (plain, decayed)]
    np.testing.assert_array_equal(*adaptive)


def test_trials_may_have_a_state_of_their_own_to_start_from():
    settings = {"seed": 0, "n_steps": 60, "learning_rate": 1e-2, **QUIET}
    own = [
        train(
            waves(),
            build,
            initial_states="trial",
            objective=Objective(1.0, initial_penalty=penalty),
            **settings,
        )
        for penalty in (0.0, 10.0)
    ]
    free, held = (np.abs(r.data["latent"]["initial_potential"].values) for r in own)
    assert free.shape == (4, 15)
    assert held.mean() < 0.3 * free.mean()
    shared = train(waves(), build, objective=Objective(1.0), **settings)
    assert own[0].data["history"]["loss"][-1] < shared.data["history"]["loss"][-1]
    reconstructed = reconstruct(own[0], seed=0)["channel_value"]
    first = np.asarray(reconstructed[:, 0, 0])
    assert first.std() > 0.1


def test_an_encoder_learns_where_adaptive_vectors_belong():
    """With it, trials are told as well after fewer updates."""

    def encoding(key):
        return with_encoder(jax.random.fold_in(key, 1), build(key), 16)

    settings = {"seed": 0, "n_steps": 120, "learning_rate": 5e-3, **QUIET}
    with_it, without = (train(waves(), b, **settings) for b in (encoding, build))
    losses = [float(r.data["history"]["loss"][-10:].mean()) for r in (with_it, without)]
    assert losses[0] < losses[1]
    # What is stored is the sum of both, so that a run needs no encoder.
    error = reconstruct(with_it, seed=0)["channel_value"] - waves()
    told = float(with_it.data["history"]["reconstruction"][-10:].mean())
    assert float(np.square(error).sum()) == pytest.approx(told, rel=0.5)


def test_in_minibatches_adam_counts_for_each_trial():
    """As Adam on one trial alone, at the steps at which it is drawn."""
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(6, 3, 2, 4))  # step, time, trial, latent
    drawn = rng.random((6, 2)) < 0.6
    gradients = gradients * drawn[:, None, :, None]
    parameters = jnp.asarray(rng.normal(size=(3, 2, 4)), jnp.float32)
    ours = adam_by_trial(0.1)
    found, memory = parameters, ours.init(parameters)
    for gradient in gradients:
        update, memory = ours.update(jnp.asarray(gradient, jnp.float32), memory)
        found = optax.apply_updates(found, update)
    for trial in range(2):
        adam = optax.adam(0.1)
        want = parameters[:, trial]
        memory = adam.init(want)
        for gradient in gradients[drawn[:, trial]][:, :, trial]:
            update, memory = adam.update(jnp.asarray(gradient, jnp.float32), memory)
            want = optax.apply_updates(want, update)
        np.testing.assert_allclose(found[:, trial], want, rtol=1e-5)


def test_a_minibatch_moves_its_trials_alone():
    settings = {"seed": 0, "objective": Objective(0.1), **QUIET}
    found = train(waves(), build, n_batch=1, n_steps=1, **settings)
    moved = np.abs(found.data["latent"]["adaptive_mean"].values).max(axis=(1, 2)) > 0
    assert moved.sum() == 1
    long = train(waves(), build, n_batch=2, n_steps=400, learning_rate=1e-2, **settings)
    loss = long.data["history"]["loss"].values
    assert loss[-20:].mean() < 0.5 * loss[:5].mean()


def test_ragged_trials_with_gaps_train_as_if_the_rest_were_not_there():
    whole = waves()
    short = whole[0, :12]
    gaps = whole[1].copy()
    gaps[5:8] = np.nan
    settings = {"seed": 0, "n_steps": 40, "learning_rate": 1e-2, **QUIET}
    found = train([short, gaps], build, **settings)
    told = reconstruct(found, seed=0)["channel_value"]
    assert np.isnan(told[0, 12:]).all()
    assert np.isfinite(told[0, :12]).all()
    assert np.isfinite(told[1]).all()
    # The padding of the shorter one must not act: its numbers may be anything.
    alone = train(short, build, **settings | {"n_steps": 1})
    both = train([short, gaps], build, **settings | {"n_steps": 1})
    assert float(alone.data["history"]["loss"][0]) < float(
        both.data["history"]["loss"][0]
    )
    still = both.data["latent"]["adaptive_mean"].values[0, 12:]
    np.testing.assert_array_equal(still, 0)


def test_a_result_comes_back_from_a_file_and_runs_the_same(trained, tmp_path):
    one = trained.sel(seed=0)
    again = nm.load(one.save(tmp_path / "network.nc"))
    runs = [generate(r, 30, seed=0, n_trials=2) for r in (one, again)]
    assert runs[0].identical(runs[1])
    assert reconstruct(one, seed=0).identical(reconstruct(again, seed=0))


def test_a_trial_goes_on_from_its_first_steps(trained):
    """All that differs between trials is then what the first latents hold."""
    one = trained.sel(seed=0)
    made = regenerate(one, 19, seed=0, n_given=1)["channel_value"]
    assert made.shape == (4, 19, 1)
    assert float(made["time"][0]) == 1
    most = regenerate(one, 2, seed=0, n_given=18)["channel_value"]
    whole = waves()[:, 18:]
    assert float(np.abs(most.values - whole.values).mean()) < 0.35


def test_a_gaussian_head_learns_how_noisy_a_channel_is():
    rng = np.random.default_rng(0)
    noisy = waves(8) + xr.DataArray(
        rng.normal(size=(8, 20, 1)) * 0.1, dims=waves().dims
    )

    def with_variance(key):
        return hierarchy(key, [10], [1], [2], [gaussian_head(1)])

    settings = {"seed": 0, "n_steps": 800, "learning_rate": 1e-2, **QUIET}
    found = train(noisy, with_variance, objective=Objective(10.0), **settings)
    from neuromod.pvrnn import inference
    from neuromod.pvrnn.running import of_training

    network, adaptive = of_training(found)
    run = inference.run(network, adaptive, jnp.zeros_like(adaptive.mean))
    told = inference.outputs(network, run.activities)[0]
    residual = np.square(np.asarray(told[..., 0]) - noisy.values.swapaxes(0, 1))
    variance = np.exp(np.asarray(told[..., 1]))
    assert variance.mean() == pytest.approx(residual.mean(), rel=0.25)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": None}, "seed"),
        ({"seed": []}, "no seeds"),
        ({"n_steps": 0}, "n_steps"),
        ({"learning_rate": -1e-3}, "learning_rate"),
        ({"adaptive_learning_rate": 0}, "adaptive_learning_rate"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"adaptive_start": "priors"}, "prior"),
        ({"initial_states": "trials"}, "trial"),
        ({"n_batch": 9}, "at most the 4 trials"),
        ({"precision": "float16"}, "float32"),
        ({"network": lambda key: 3}, "PVRNN"),
        ({"network": lambda key: hierarchy(key, [5], [1], [2], [tanh_head(2)])}, "2"),
        ({"objective": Objective([0.1, 0.2, 0.3])}, "meta_prior"),
        ({"data": waves().where(waves()["trial"] != "b")}, "nothing but NaN"),
        ({"data": waves() / 0.0}, "infinite"),
        ({"data": waves().rename(channel="neuron")}, "channel"),
    ],
)
def test_bad_input_is_named(changes, words):
    given = {"data": waves(), "network": build, "seed": 0, "n_steps": 2, **QUIET}
    with (
        pytest.raises((InvalidInputError, ShapeError), match=words),
        np.errstate(all="ignore"),
    ):
        train(**(given | changes))


def test_a_loss_that_is_no_number_stops_training():
    with pytest.raises(DivergedError):
        train(waves(), build, seed=0, n_steps=200, learning_rate=1e6, **QUIET)


SCRIPT = """
    import sys
    from neuromod.pvrnn import Objective, train
    from tests.pvrnn.test_train import build, waves
    train(
        waves(), build, seed=[0, 1], n_steps=60_000, n_batch=2, progress=False,
        checkpoint=sys.argv[1], callback=lambda n, _: print(n, flush=True),
    )
"""


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A training of its own, and one that was interrupted and went on."""
    path = tmp_path_factory.mktemp("resumed") / "training.nc"
    told = []

    def stop(step, _):
        told.append(step)
        raise KeyboardInterrupt

    settings = {"seed": [0, 1], "n_steps": 4000, "n_batch": 2, **QUIET}
    whole = train(waves(), build, **settings)
    with pytest.raises(KeyboardInterrupt):
        train(waves(), build, checkpoint=path, callback=stop, **settings)
    again = train(waves(), build, checkpoint=path, **settings)
    return whole, again, told, path


def test_an_interrupted_training_goes_on_to_the_same_bits(interrupted):
    whole, again, told, _ = interrupted
    assert told[0] < 4000
    for one, other in zip(
        *(jax.tree.leaves(r.model) for r in (whole, again)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    for group in ("latent", "history"):
        one, other = (r.data[group].to_dataset() for r in (whole, again))
        assert one.equals(other)


def test_a_checkpoint_of_another_configuration_is_refused(interrupted):
    path = interrupted[3]
    settings = {"seed": [0, 1], "n_steps": 4000, "n_batch": 2, **QUIET}
    for changes in (
        {"objective": Objective(0.5)},
        {"data": waves(3)},
        {"learning_rate": 0.1},
        {"network": lambda key: hierarchy(key, [4], [1], [2], [tanh_head(1)])},
    ):
        given = {"data": waves(), "network": build} | settings | changes
        with pytest.raises(InvalidInputError, match="checkpoint"):
            train(**given, checkpoint=path)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path):
    """By kill -9, half a minute after it started to keep what it learns."""
    path = tmp_path / "training.nc"
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        deadline = time.monotonic() + 300
        while not path.exists():
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.kill(child.pid, signal.SIGKILL)
    settings = {"seed": [0, 1], "n_steps": 60_000, "n_batch": 2, **QUIET}
    again = train(waves(), build, checkpoint=path, **settings)
    whole = train(waves(), build, **settings)
    for one, other in zip(
        *(jax.tree.leaves(r.model) for r in (whole, again)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
