"""Keys: another key wherever a result could differ, the same one where it cannot."""

import functools
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import neuromod
from neuromod.core.errors import InvalidInputError
from neuromod.core.keys import keys
from neuromod.core.result import Result

ROOT = Path(__file__).resolve().parents[2]


def key(item=0, function=abs, **settings) -> str:
    return keys(function, {"a": item}, settings)["a"]


def spikes() -> xr.DataArray:
    return xr.DataArray(
        np.arange(6).reshape(3, 2),
        {"time": ("time", [0.0, 0.5, 1.0], {"units": "s"}), "neuron": ["a", "b"]},
        ("time", "neuron"),
        "spikes",
        {"bin_size": 0.5},
    )


class Point(NamedTuple):
    x: float
    y: float


class Other(NamedTuple):
    x: float
    y: float


class Model(eqx.Module):
    weight: jax.Array
    name: str

    def __call__(self, item):
        return self.weight * item


def result(rate: float, **provenance) -> Result:
    tree = xr.DataTree.from_dict({"parameters": xr.Dataset({"rate": rate})})
    return Result(None, tree, {}, provenance)


DIFFERENT = [
    0, 1, 0.0, -1.0, True, None, "0", "text", [0], (0,), {"a": 0}, {"b": 0}, {"a": 1},
    [0, [1]], [[0], 1], np.nan, np.inf, 1j,
    np.zeros(2), np.zeros(3), np.zeros((2, 1)), np.zeros(2, np.float32), jnp.zeros(2),
    np.int64(0), np.array(["a"]), np.array(["b"]), jax.random.key(0), jax.random.key(1),
    spikes(), spikes() + 1, spikes().rename("counts"), spikes().T,
    spikes().assign_attrs(bin_size=0.25), spikes().assign_coords(neuron=["a", "c"]),
    spikes().assign_coords(time=("time", [0.0, 0.5, 1.0], {"units": "ms"})),
    spikes().to_dataset(), xr.Dataset({"spikes": spikes(), "more": spikes()}),
    xr.DataTree.from_dict({"x": spikes().to_dataset()}),
    xr.DataTree.from_dict({"y": spikes().to_dataset()}),
    Point(0.0, 1.0), Point(1.0, 0.0), Other(0.0, 1.0), (0.0, 1.0),
    Model(jnp.zeros(2), "a"), Model(jnp.zeros(2), "b"), Model(jnp.ones(2), "a"),
    result(1.0), result(2.0),
]  # fmt: skip


def test_different_items_have_different_keys():
    found = [key(item) for item in DIFFERENT]
    assert len(set(found)) == len(DIFFERENT)
    assert all(len(one) == 64 and int(one, 16) >= 0 for one in found)


def test_equal_items_have_equal_keys():
    assert key(spikes()) == key(spikes().copy(deep=True))
    assert key(np.arange(4)) == key(np.arange(8)[:4])
    assert key(Model(jnp.ones(2), "a")) == key(Model(jnp.ones(2), "a"))
    # When and where something was fitted does not change what it is.
    assert key(result(1.0, wall_seconds=1)) == key(result(1.0, wall_seconds=2))


def test_tables_count_by_their_columns_index_and_cells():
    table = pd.DataFrame({"who": ["a", "b"], "choice": [1.0, np.nan]})
    changed = [
        table,
        table.rename(columns={"who": "subject"}),
        table.assign(choice=[1.0, 0.0]),
        table.astype({"choice": "float32"}),
        table.set_axis([1, 2]),
        table["choice"],
    ]
    assert len({key(item) for item in changed}) == len(changed)
    assert key(table) == key(table.copy())


def test_the_label_is_no_part_of_it():
    found = keys(abs, {"rat1": 1, "rat2": 1, "rat3": 2}, {})
    assert found["rat1"] == found["rat2"] != found["rat3"]


def test_settings_and_version_count(monkeypatch):
    assert key(n_states=2) != key(n_states=3) != key()
    before = key()
    monkeypatch.setattr(neuromod, "__version__", "999")
    assert key() != before


def test_paths_count_by_name_and_content(tmp_path):
    (tmp_path / "b").mkdir()
    first, second = tmp_path / "data.bin", tmp_path / "b" / "data.bin"
    first.write_bytes(b"spikes")
    second.write_bytes(b"spikes")
    before = key(first)
    assert key(second) == before
    assert key(str(first)) == before
    assert key(str(first)) != key("spikes")
    first.write_bytes(b"others")
    assert key(first) != before
    assert key(first.rename(tmp_path / "renamed.bin")) != key(second)


def test_folders_count_by_their_files(tmp_path):
    (tmp_path / "phy").mkdir()
    (tmp_path / "phy" / "spike_times.npy").write_bytes(b"1")
    before = key(tmp_path / "phy")
    (tmp_path / "phy" / "spike_clusters.npy").write_bytes(b"2")
    assert key(tmp_path / "phy") != before


def test_a_path_to_nothing_counts_by_its_name(tmp_path):
    assert key(tmp_path / "a") == key(tmp_path / "x" / "a") != key(tmp_path / "b")


def test_odd_texts_are_texts():
    assert key("a" * 10_000) != key("null \0 character") != key("")


# Functions.


def plain(x):
    return x + 1


def same_code_other_name(x):
    return x + 1


def make(constant, default=0):
    def function(x, offset=default):
        return x + constant + offset

    return function


def test_the_code_counts():
    functions = [
        plain, same_code_other_name, lambda x: x + 1, lambda x: x + 2, lambda x: x - 1,
        make(1), make(2), make(1, default=1), make("1"), make(np.ones(1)), np.add, abs,
        functools.partial(make(1), offset=1), functools.partial(make(1), offset=2),
        lambda x: x.mean, lambda x: x.sum, lambda x: [i for i in x],
        lambda x: [i + 1 for i in x], Model(jnp.ones(1), "a"), Model(jnp.zeros(1), "a"),
        spikes().mean, Model(jnp.ones(1), "a").__call__, make(plain), make(abs),
    ]  # fmt: skip
    assert len({key(function=f) for f in functions}) == len(functions)


def test_the_same_code_has_the_same_key():
    assert key(function=make(1)) == key(function=make(1))
    assert key(function=jax.jit(plain)) == key(function=plain)


def test_two_lambdas_on_one_line_differ():
    first, second = [lambda x: x + 1, lambda x: x + 2]
    assert key(function=first) != key(function=second)


def test_decorators_count():
    def scaled(by):
        def decorate(function):
            @functools.wraps(function)
            def wrapped(x):
                return by * function(x)

            return wrapped

        return decorate

    assert key(function=scaled(2)(plain)) != key(function=scaled(3)(plain))
    assert key(function=scaled(2)(plain)) != key(function=plain)


def define(source: str, name: str = "function"):
    namespace = {"__name__": "a_module", "np": np}
    exec(source, namespace)
    return namespace[name]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "N = 2\ndef function(x): return N * x",
            "N = 3\ndef function(x): return N * x",
        ),
        (
            "def helper(x): return x\ndef function(x): return helper(x)",
            "def helper(x): return -x\ndef function(x): return helper(x)",
        ),
        (
            "def f(x): return x\ndef g(x): return f(x)\ndef function(x): return g(x)",
            "def f(x): return 2\ndef g(x): return f(x)\ndef function(x): return g(x)",
        ),
        (
            "N = np.ones(2)\ndef function(x): return [N for _ in x]",
            "N = np.zeros(2)\ndef function(x): return [N for _ in x]",
        ),
        ("def function(x): return x", "def function(x):\n  'new'\n  return x * 2"),
    ],
)
def test_what_a_function_uses_of_its_module_counts(before, after):
    assert key(function=define(before)) == key(function=define(before))
    assert key(function=define(before)) != key(function=define(after))


def test_comments_and_places_do_not_count():
    before = define("def function(x): return x + 1")
    after = define("# moved\n\n\ndef function(x):  # here\n    return x + 1")
    assert key(function=before) == key(function=after)


def test_recursion_ends():
    def count(x):
        return 0 if x == 0 else count(x - 1)

    assert key(function=count) == key(function=count)
    recursive = define("def function(x): return function(x - 1)")
    assert key(function=recursive) == key(function=recursive)


def test_markers_among_defaults_are_no_obstacle():
    def function(x, given=object()):  # noqa: B008
        return given

    assert key(function=function) == key(function=function)


def test_globals_that_are_no_values_are_passed_over():
    source = "things = [object()]\ndef function(x): return things"
    assert key(function=define(source)) == key(function=define(source))


def test_keys_do_not_depend_on_the_process():
    code = (
        "from neuromod.core.keys import keys\n"
        "def function(x): return x in {'a', 'b', 'c', 'd'}\n"
        "print(keys(function, {'i': {'x': 1}}, {'n': 2})['i'])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


class Caller:
    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"item": object()}, r"items\['a'\]: got <object"),
        ({"item": [threading.Lock()]}, r"items\['a'\]\[0\]: got <unlocked"),
        ({"item": np.array([object()])}, "an array of objects"),
        ({"n": object()}, r"config\['n'\]: got <object"),
        (
            {"function": make(threading.Lock())},
            r"captured\['constant'\]: got <unlocked",
        ),
        ({"function": Caller()}, "an object of type Caller.*Define one by def"),
    ],
)
def test_what_has_no_content_is_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        key(**arguments)
