"""Models are taken apart and built again, by classes that are asked for by name."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from neuromod.core import models
from neuromod.core.errors import DataFormatError, InvalidInputError
from tests.core.tiny import CLASSES, TinyLayer, tiny_network


class Fields(eqx.Module):
    a: object
    b: object = eqx.field(static=True, default=None)


class Scaled(eqx.Module):
    """Not a model that its fields describe: it changes what it is given."""

    weight: jax.Array

    def __init__(self, weight):
        self.weight = weight * 2


class Sized(eqx.Module):
    weight: jax.Array

    def __init__(self, n):
        self.weight = jnp.ones(n)


class Checked(eqx.Module):
    probability: jax.Array

    def __check_init__(self):
        if self.probability.shape != (3,):
            raise ValueError("three, please")


def round_trip(model, n_seeds=None, **classes):
    packed, dataset = models.take_apart(model, n_seeds)
    known = {"Fields": Fields, "Checked": Checked, **CLASSES, **classes}
    return models.rebuild(packed, dataset, known)


def test_nested_models_come_back_equal():
    model = tiny_network()
    back = round_trip(model)
    assert eqx.tree_equal(back, model, typematch=True)
    assert type(back.scale) is np.ndarray
    assert isinstance(back.layers[1].weight, jax.Array)


@pytest.mark.parametrize(
    "value",
    [
        None,
        (1, "a", (None, True)),
        [0.5, float("inf")],
        {"x": jnp.arange(3), "y": {"z": np.array(["run", "rest"])}},
        jnp.zeros((0, 3)),
        jnp.asarray([True, False]),
        np.array(1 + 2j),
        jnp.array([1, 2], jnp.uint8),
        jnp.array([1.0], jnp.float16),
    ],
)
def test_every_kind_of_field_comes_back(value):
    model = Fields(value, (1, "static", None))
    back = round_trip(model)
    assert eqx.tree_equal(back, model, typematch=True)
    assert back.b == model.b


def test_double_precision_survives_outside_its_context():
    with jax.enable_x64(True):
        model = Fields(jnp.asarray([1 / 3]))
    back = round_trip(model)
    assert back.a.dtype == "float64"
    assert float(back.a[0]) == 1 / 3


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Fields(jax.nn.relu), "model.a: got the function.*'relu'.*keep its name"),
        (Fields(1, lambda x: x), "model.b: got the function.*keep its name"),
        (Fields([object()]), r"model.a\[0\]: got .* of type object"),
        (Fields(jax.random.key(0)), "model.a: got a random key.*key_data"),
        (Scaled(jnp.ones(2)), "Scaled .*another model.*take its fields as they are"),
        (Sized(3), "Sized .*refuses its fields"),
        (Callable, "function or class"),
    ],
)
def test_what_cannot_be_built_again_is_refused(model, message):
    with pytest.raises(InvalidInputError, match=message):
        models.take_apart(model)


def test_two_classes_of_one_name_are_refused():
    class Fields(eqx.Module):
        a: object

    other = globals()["Fields"](Fields(1))
    with pytest.raises(InvalidInputError, match=r"two classes named 'Fields'.*another"):
        models.take_apart(other)


def test_a_class_with_the_name_of_one_of_ours_is_refused(monkeypatch):
    monkeypatch.setitem(models.MODEL_CLASSES, "Fields", "neuromod.somewhere:Fields")
    with pytest.raises(InvalidInputError, match="Give your class another name"):
        models.take_apart(Fields(1))


def test_our_own_class_has_to_be_listed(monkeypatch):
    monkeypatch.setattr(Fields, "__module__", "neuromod.somewhere")
    with pytest.raises(InvalidInputError, match=r"MODEL_CLASSES.*List it there"):
        models.take_apart(Fields(1))


def test_every_listed_class_is_where_the_list_says():
    for name in models.MODEL_CLASSES:
        cls = models._find_class(name, {})
        assert cls.__name__ == name
        assert issubclass(cls, eqx.Module)
        assert models.MODEL_CLASSES[name] == f"{cls.__module__}:{cls.__qualname__}"


@pytest.mark.parametrize("name", ["Unknown", "os:system", "builtins.eval", "", 3])
def test_unknown_classes_are_never_imported(name):
    packed = {"seeds": None, "root": {"$model": {"class": name, "fields": {}}}}
    with pytest.raises(DataFormatError, match=r"class .* pass it: neuromod.load"):
        models.rebuild(packed, xr.Dataset(), {})


def test_what_a_class_raises_is_our_error():
    packed, dataset = models.take_apart(Checked(jnp.ones(3)))
    damaged = dataset.isel({"probability:0": slice(2)})
    with pytest.raises(DataFormatError, match="Checked refuses its fields: three"):
        models.rebuild(packed, damaged, {"Checked": Checked})
    packed["root"]["$model"]["fields"] = {"other": 1}
    with pytest.raises(DataFormatError, match="Checked refuses its fields"):
        models.rebuild(packed, dataset, {"Checked": Checked})


def test_a_stack_is_built_seed_by_seed():
    each = [Checked(jnp.arange(3.0) + seed) for seed in range(4)]
    stacked = models.stack(each)
    assert stacked.probability.shape == (4, 3)
    back = round_trip(stacked, 4)
    assert eqx.tree_equal(back, stacked, typematch=True)
    assert eqx.tree_equal(models.select(back, 2), each[2], typematch=True)


def test_a_stack_keeps_numpy_arrays_and_plain_values():
    stacked = models.stack([tiny_network(seed) for seed in range(3)])
    assert type(stacked.scale) is np.ndarray
    assert stacked.time_constant == 0.3
    assert eqx.tree_equal(round_trip(stacked, 3), stacked, typematch=True)


@pytest.mark.parametrize("seeds", [0, 2, 10**12])
def test_a_wrong_number_of_seeds_raises(seeds):
    packed, dataset = models.take_apart(TinyLayer(jnp.ones((3, 2)), jnp.ones(3)))
    with pytest.raises(DataFormatError, match="seeds"):
        models.rebuild({**packed, "seeds": seeds}, dataset, CLASSES)
