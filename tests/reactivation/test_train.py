"""Training: networks learn, seeds side by side, from file to file."""

import numpy as np
import pytest

import neuromod as nm
from neuromod import reactivation
from neuromod.core.errors import InvalidInputError

SMALL = {"n_steps": 60, "n_units": 24, "n_trials": 16, "progress": False}


@pytest.fixture(scope="module")
def trained():
    task = reactivation.HeadDirection(n_cells=16, n_steps=10)
    return reactivation.train(task, seed=[0, 1], learning_rate=3e-3, **SMALL)


def test_the_error_falls(trained):
    loss = trained.data["history"]["loss"]
    assert loss.dims == ("seed", "step")
    assert (loss[:, -10:].mean("step") < 0.6 * loss[:, :3].mean("step")).all()


def test_only_weights_are_learned(trained):
    model = trained.sel(seed=1).model
    fresh = reactivation.untrained(
        reactivation.HeadDirection(n_cells=16, n_steps=10), 1, n_units=24
    )
    for name, layer in fresh.network.layers().items():
        assert not np.array_equal(layer.weight, model.network.layers()[name].weight)
    preferred = fresh.task.code.preferred
    np.testing.assert_allclose(model.task.code.preferred, preferred, atol=1e-6)
    noise = float(model.network.recurrent_noise)
    assert noise == pytest.approx(fresh.network.recurrent_noise)


@pytest.mark.parametrize("many", [False, True])
def test_a_result_comes_back_from_a_file_and_sleeps_the_same(trained, tmp_path, many):
    one = trained if many else trained.sel(seed=0)
    again = nm.load(one.save(tmp_path / "network.nc"))
    night = [reactivation.sleep(r, 0.2, seed=0, n_trials=3) for r in (one, again)]
    assert night[0].identical(night[1])
    assert night[0]["position"].dims[0] == ("seed" if many else "trial")


def test_a_recipe_is_what_its_settings_say():
    gated = reactivation.untrained("demo", 0, kind="gru", n_units=8, leak=0.5)
    assert type(gated.network).__name__ == "GRUNetwork"
    assert gated.network.leak == pytest.approx(0.5)
    with pytest.raises(InvalidInputError, match="n_units"):
        reactivation.untrained("demo", 0, n_unit=8)
    with pytest.raises(InvalidInputError, match="demo"):
        reactivation.train("dmo", seed=0)
    with pytest.raises(InvalidInputError, match="leak"):
        reactivation.untrained("demo", 0, leak=1.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": None}, "seed"),
        ({"seed": []}, "no seeds"),
        ({"recurrent_noise": -0.1}, "recurrent_noise: got -0.1"),
        ({"n_steps": 0}, "n_steps"),
        ({"n_units": 2.5}, "n_units"),
        ({"learning_rate": -1e-3}, "learning_rate"),
        ({"loss_factor": "cells"}, "n_cells"),
        ({"schedule": "cos"}, "cosine"),
        ({"precision": "float16"}, "float32"),
        ({"task": 5}, "a function of the seed"),
    ],
)
def test_bad_input_is_named(changes, words):
    with pytest.raises(InvalidInputError, match=words):
        reactivation.train(**({"task": "demo", "seed": 0} | changes))


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A training of its own, and one that was interrupted and went on."""
    task = reactivation.HeadDirection(n_cells=16, n_steps=10)
    path = tmp_path_factory.mktemp("resumed") / "training.nc"
    told = []

    def stop(step, _):
        told.append(step)
        raise KeyboardInterrupt

    recipe = {"seed": 3, "schedule": "cosine", **SMALL, "n_steps": 400}
    whole = reactivation.train(task, **recipe)
    with pytest.raises(KeyboardInterrupt):
        reactivation.train(task, checkpoint=path, callback=stop, **recipe)
    again = reactivation.train(task, checkpoint=path, **recipe)
    return whole, again, told


def test_an_interrupted_training_goes_on_to_the_same_bits(resumed):
    whole, again, told = resumed
    assert told[0] < 400
    one, other = (r.model.network.layers() for r in (whole, again))
    for name, layer in one.items():
        np.testing.assert_array_equal(layer.weight, other[name].weight)
    assert whole.data["history"].to_dataset().equals(again.data["history"].to_dataset())
