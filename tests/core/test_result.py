"""A result: what it takes, what it tells, how one of many seeds is chosen."""

import re
from dataclasses import FrozenInstanceError

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import neuromod
from neuromod.core import models
from neuromod.core.errors import InvalidInputError, NotFittedError, ShapeError
from neuromod.core.result import Result
from tests.core.tiny import CLASSES, TinyLayer, tiny_network, tiny_result

SEEDS = [3, 7, 9]
CYCLE = {}
CYCLE["itself"] = CYCLE


def over_seeds(log_likelihood=None, dims=("seed", "iteration")):
    """A fit over three seeds, each with its own layer."""
    layers = [TinyLayer(jnp.eye(2) * seed, jnp.full(2, float(seed))) for seed in SEEDS]
    parameters = xr.Dataset(
        {"gain": (("seed", "unit"), np.outer(SEEDS, [1.0, 10.0]))}, {"seed": SEEDS}
    )
    history = xr.Dataset(coords={"seed": SEEDS})
    if log_likelihood is not None:
        history["log_likelihood"] = (dims, np.array(log_likelihood))
    groups = {"parameters": parameters, "history": history, "truth": parameters * 0}
    groups["observed_data"] = xr.Dataset({"spikes": ("time", [0, 1])})
    data = xr.DataTree.from_dict(groups)
    return Result(models.stack(layers), data, {"n": 1}, {"seed": SEEDS})


def test_is_what_neuromod_exports():
    assert neuromod.Result is Result
    with pytest.raises(FrozenInstanceError):
        tiny_result().model = None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": xr.Dataset()}, r"data: got a Dataset.*DataTree.from_dict"),
        ({"data": xr.DataTree(xr.Dataset({"x": 1}))}, "'x' at the root of the tree"),
        ({"config": [1]}, "config: got a list, expected a dict"),
        ({"config": {"f": np.mean}}, r"config\['f'\]: got the function.*keep its name"),
        ({"config": CYCLE}, "config: got a value that holds itself"),
        ({"provenance": {"x": object()}}, r"provenance\['x'\]: .*object"),
        ({"data": xr.DataTree.from_dict({"model": xr.Dataset()})}, "Rename it"),
    ],
)
def test_bad_parts_are_refused_at_once(changes, message):
    parts = {"model": None, "data": xr.DataTree(), "config": {}, "provenance": {}}
    with pytest.raises(InvalidInputError, match=message):
        Result(**parts | changes)


def test_weak_types_become_strong_ones():
    """A half-precision input decides the type of what a weak number is added to."""
    weak = jnp.asarray(0.1)
    assert (weak + jnp.float16(1)).dtype == "float16"
    model = Result(TinyLayer(weak, weak), xr.DataTree(), {}, {}).model
    assert (model.weight + jnp.float16(1)).dtype == "float32"
    assert model.weight == weak


def test_save_and_load_keep_everything(tmp_path):
    result = tiny_result()
    assert result.save(tmp_path / "fit.nc") == tmp_path / "fit.nc"
    back = neuromod.load(str(tmp_path / "fit.nc"), CLASSES)
    xr.testing.assert_identical(back.data, result.data)
    assert eqx.tree_equal(back.model, result.model, typematch=True)
    assert back.config == result.config
    assert back.config["bounds"] == (0.0, float("inf"))
    assert back.provenance == result.provenance


def test_one_seed_is_chosen_in_data_and_model():
    one = over_seeds().sel(seed=7)
    np.testing.assert_array_equal(one.data["parameters/gain"], [7.0, 70.0])
    assert one.data["parameters"]["seed"].item() == 7
    np.testing.assert_array_equal(one.model.weight, np.eye(2) * 7)
    np.testing.assert_array_equal(one.model.bias, [7, 7])
    assert one.provenance["seed"] == 7
    assert one.seeds is None
    np.testing.assert_array_equal(one.data["observed_data/spikes"], [0, 1])


def test_seeds_without_labels_are_counted():
    result = over_seeds()
    groups = {"parameters": result.data["parameters"].to_dataset().drop_vars("seed")}
    one = Result(result.model, xr.DataTree.from_dict(groups), {}, {}).sel(seed=1)
    np.testing.assert_array_equal(one.data["parameters/gain"], [7.0, 70.0])
    np.testing.assert_array_equal(one.model.bias, [7, 7])


def test_an_unknown_seed_is_refused():
    with pytest.raises(InvalidInputError, match=r"seed: got 4, expected .*\[3, 7, 9\]"):
        over_seeds().sel(seed=4)
    with pytest.raises(InvalidInputError, match="over one seed"):
        tiny_result().sel(seed=0)


@pytest.mark.parametrize(
    ("log_likelihood", "dims", "best"),
    [
        ([-3.0, -1.0, -2.0], ("seed",), 7),
        # What counts is the last value, not the highest on the way to it.
        ([[-9, -3], [-1, -8], [-9, -2]], ("seed", "iteration"), 9),
        ([[-9, -3, np.nan], [-9, -8, -4], [-9, np.nan, np.nan]], None, 3),
        ([[-np.inf, -3], [-1, np.inf], [np.nan, np.nan]], None, 7),
        # Of several restarts the best one is that of its seed.
        ([[[-9, -3], [-9, -7]], [[-9, -5], [-9, -2]], [[-9, -4]] * 2], "restart", 7),
    ],
)
def test_the_best_seed_ends_with_the_highest_log_likelihood(log_likelihood, dims, best):
    if dims == "restart":
        dims = ("seed", "restart", "iteration")
    result = over_seeds(log_likelihood, dims or ("seed", "iteration"))
    assert result.best().provenance["seed"] == best
    np.testing.assert_array_equal(result.best().model.bias, [best, best])


def test_the_order_of_dimensions_does_not_matter():
    log_likelihood = np.array([[-9, -3], [-1, -8], [-9, -2]]).T
    assert (
        over_seeds(log_likelihood, ("iteration", "seed"))
        .best()
        .data["parameters/seed"]
        .item()
        == 9
    )


def test_a_result_of_one_seed_is_its_own_best():
    result = tiny_result()
    assert result.best() is result


def test_without_log_likelihood_there_is_no_best():
    with pytest.raises(NotFittedError, match=r"no log_likelihood.*result.sel\(seed"):
        over_seeds().best()
    with pytest.raises(NotFittedError, match=r"no finite log_likelihood.*fit again"):
        over_seeds([np.nan, -np.inf, np.inf], ("seed",)).best()


def test_a_model_without_seed_axis_is_refused():
    result = over_seeds()
    with pytest.raises(ShapeError, match=r"shape \(2, 2\).*3 seeds.*models.stack"):
        Result(TinyLayer(jnp.eye(2), jnp.ones(2)), result.data, {}, {})


def test_many_seeds_are_saved_and_loaded(tmp_path):
    result = over_seeds([-3.0, -1.0, -2.0], ("seed",))
    back = neuromod.load(result.save(tmp_path / "fit.nc"), CLASSES)
    assert back.seeds == SEEDS
    assert eqx.tree_equal(back.model, result.model, typematch=True)
    assert eqx.tree_equal(back.best().model, result.sel(seed=7).model, typematch=True)


def test_repr_tells_model_arrays_scores_and_origin():
    lines = repr(tiny_result()).splitlines()
    assert lines[0] == "Result: TinyNetwork"
    assert lines[1].strip() == "latent: belief (time 5, state 2)"
    assert lines[2].strip() == "parameters: rate (neuron 2)"
    assert lines[3].strip() == "scores: log_likelihood -12.5"
    assert lines[4].strip() == "origin: seed 0"
    assert repr(over_seeds()).startswith("Result: TinyLayer, 3 seeds")


def test_repr_stays_short():
    many = xr.Dataset({f"variable_{i}": ("n", [0]) for i in range(99)})
    result = Result(None, xr.DataTree.from_dict({"latent": many}), {}, {})
    assert max(map(len, repr(result).splitlines())) <= 104
    assert repr(result).startswith("Result: no model")


def test_html_escapes_what_it_shows():
    result = Result(None, xr.DataTree(), {"<b>": "<script>"}, {})
    html = result._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;" in html


def test_summary_tables_parameters_scores_and_convergence():
    parameters = xr.Dataset(
        {
            "rate": (("state", "neuron"), np.array([[1.0, 2.0], [0.5, np.nan]], "f4")),
            "kind": ("neuron", ["fast", "slow"]),
            "gain": 3.0,
        }
    )
    parameters["rate"].attrs["units"] = "Hz"
    history = xr.Dataset(attrs={"converged": True, "n_iterations": 57})
    data = xr.DataTree.from_dict({"parameters": parameters, "history": history})
    data.attrs["bits_per_spike"] = 0.123456789
    text = Result(None, data, {}, {"seed": 4, "wall_seconds": 3.21}).summary()
    assert "origin: seed 4, seconds 3.21" in text
    rows = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert ["rate", "state 2 x neuron 2", "float32", "0.5 to 2 Hz"] in rows
    assert ["kind", "neuron 2", "<U4"] in rows
    assert ["gain", "one number", "float64", "3"] in rows
    assert ["bits_per_spike", "0.123457"] in rows
    assert ["converged", "True"] in rows
    assert ["n_iterations", "57"] in rows


def test_to_dataframe_is_one_row_per_number():
    table = tiny_result().to_dataframe("latent")
    assert list(table.columns) == ["variable", "time", "state", "value"]
    assert len(table) == 10
    rest = table[(table.state == "rest") & (table.value == 1)]
    assert rest.time.tolist() == [0.02]


def test_to_dataframe_mixes_dimensions():
    dataset = xr.Dataset({"a": ("n", [1.0, 2.0]), "b": ("m", [3]), "c": 4.0})
    table = Result(None, xr.DataTree.from_dict({"g/h": dataset}), {}, {}).to_dataframe(
        "g/h"
    )
    assert table.value.tolist() == [1, 2, 3, 4]
    assert table.variable.tolist() == ["a", "a", "b", "c"]
    assert table.n.tolist()[:2] == [0, 1]
    assert table.m.isna().tolist() == [True, True, False, True]


def test_to_dataframe_of_nothing_is_empty():
    result = Result(None, xr.DataTree.from_dict({"latent": xr.Dataset()}), {}, {})
    assert list(result.to_dataframe("latent").columns) == ["variable", "value"]
    with pytest.raises(InvalidInputError, match="Did you mean 'latent'"):
        result.to_dataframe("latents")


def test_the_model_of_a_result_runs():
    assert tiny_result().model(np.ones(4, "f4")).shape == (4,)
    assert isinstance(tiny_network(), eqx.Module)
