"""Lanes: one program for many items, the same numbers as one after the other."""

import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.cohort import lanes
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.core.precision import precision_context

ROOT = Path(__file__).resolve().parents[2]
TARGET = jnp.array([1.0, -2.0, 0.5])


class Item(eqx.Module):
    data: jax.Array
    name: str = eqx.field(static=True, default="x")


def descend(item):
    """Fit three numbers by gradient descent from a captured start, until it is good."""
    start = jnp.zeros(3)

    def loss(x):
        return ((x - TARGET * item["scale"]) ** 2).sum() + (x * item["data"]).mean()

    def step(state):
        x, count = state
        return x - 0.1 * jax.grad(loss)(x), count + 1

    def go_on(state):
        x, count = state
        return (jnp.abs(jax.grad(loss)(x)).max() > item["tolerance"]) & (count < 500)

    # The gradient at a constant that all devices share, outside the loop too.
    x, count = jax.lax.while_loop(go_on, step, (start - jax.grad(loss)(start), 0))
    return {"x": x, "count": count, "gradient": jax.grad(loss)(start)}


def items(count: int) -> dict[str, dict]:
    generator = np.random.default_rng(0)
    return {
        f"rat{n}": {
            "scale": np.float32(1 + n),
            "data": generator.normal(size=3).astype(np.float32),
            "tolerance": np.float32(10.0 ** -(1 + n % 4)),
        }
        for n in range(count)
    }


def require_equal_to_a_loop(found, count: int) -> None:
    one = jax.jit(descend)
    assert list(found) == list(items(count))
    counts = set()
    for label, item in items(count).items():
        expected = one(item)
        np.testing.assert_allclose(found[label]["x"], expected["x"], rtol=1e-5)
        np.testing.assert_allclose(
            found[label]["gradient"], expected["gradient"], rtol=1e-5
        )
        assert found[label]["count"] == expected["count"]
        counts.add(int(expected["count"]))
    assert len(counts) > 2


@pytest.mark.parametrize("batch_size", [None, 1, 3, 100])
def test_the_same_numbers_as_a_loop(batch_size):
    found = lanes(descend, items(7), batch_size=batch_size)
    require_equal_to_a_loop(found, 7)
    assert all(
        isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(found)
    )


def test_the_same_numbers_on_eight_devices():
    code = (
        "import jax\n"
        "from tests.core import test_lanes as t\n"
        "assert len(jax.devices()) == 8\n"
        "for count, batch in ((11, None), (11, 4), (3, None), (16, None)):\n"
        "    t.require_equal_to_a_loop(\n"
        "        t.lanes(t.descend, t.items(count), batch_size=batch), count)\n"
        "def where(x):\n"
        "    return jax.lax.axis_index('lane') + 0 * x\n"
        "print([int(d) for d in t.lanes(where, list(t.np.zeros(16, int)))])\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == str([n // 2 for n in range(16)])


def test_it_is_compiled_once_for_all_batches_and_calls():
    traced = []

    def function(x):
        traced.append(x.shape)
        return x.sum()

    for _ in range(2):
        found = lanes(
            function, [np.full(4, n, np.float32) for n in range(5)], batch_size=2
        )
        assert [float(total) for total in found] == [0.0, 4.0, 8.0, 12.0, 16.0]
    assert traced == [(4,)]


def test_a_list_comes_back_as_a_list_and_a_dict_with_its_labels():
    assert lanes(jnp.negative, [np.float32(1), np.float32(2)]) == [-1, -2]
    assert lanes(jnp.negative, {7: np.float32(1)}) == {7: -1}


def test_modules_keep_their_structure():
    def double(item):
        return Item(2 * item.data, item.name)

    found = lanes(double, [Item(jnp.ones(2)), Item(jnp.zeros(2))])
    assert isinstance(found[0], Item)
    assert found[0].data.tolist() == [2.0, 2.0]


def test_each_item_has_its_own_random_key():
    drawn = lanes(jax.random.normal, list(jax.random.split(jax.random.key(0), 3)))
    assert len({float(x) for x in drawn}) == 3
    assert drawn[1] == jax.random.normal(jax.random.split(jax.random.key(0), 3)[1])


def test_precision_is_that_of_the_context():
    work = [np.ones(2), np.zeros(2)]
    assert lanes(jnp.exp, work)[0].dtype == np.float32
    with precision_context("float64"):
        found = lanes(jnp.exp, work)
    assert found[0].dtype == np.float64
    np.testing.assert_allclose(found[0], np.exp(1.0), rtol=1e-15)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (
            {"x": np.ones(4), "y": np.ones(2)},
            r"items\['odd'\]\['x'\]: got an array of shape \(4,\) and type float64, "
            r"expected an array of shape \(3,\) and type float64 as in items\['rat1'\]"
            r"\. Pad or select to one shape, or use cohort\.map",
        ),
        (
            {"x": np.ones(3, np.float32), "y": np.ones(2)},
            r"items\['odd'\]\['x'\]: .* type float32",
        ),
        ({"x": np.ones(3)}, r"items\['odd'\]\['y'\]: got nothing"),
        (
            {"x": np.ones(3), "y": np.ones(2), "z": np.ones(1)},
            r"items\['odd'\]\['z'\]: .* expected nothing",
        ),
    ],
)
def test_the_odd_item_is_named(odd, message):
    first = {"x": np.ones(3), "y": np.ones(2)}
    with pytest.raises(ShapeError, match=message):
        lanes(lambda item: item["x"], {"rat1": first, "rat2": first, "odd": odd})


def test_another_static_field_is_another_structure():
    with pytest.raises(ShapeError, match=r"items\[1\]: got the structure"):
        lanes(lambda item: item.data, [Item(jnp.ones(1)), Item(jnp.ones(1), "y")])


def add(x):
    return x


class Holder(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((add, []), "items: got none"),
        ((add, [1.0, 2.0]), r"items\[0\]: got 1.0 of type float, expected an array"),
        ((add, [{"a": "text"}]), r"items\[0\]\['a'\]: got 'text' of type str"),
        ((Holder(jnp.ones(1)), [np.ones(1)]), "type Holder that holds arrays.*Wrap"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        lanes(*arguments)


def test_batches_have_at_least_one_item():
    with pytest.raises(InvalidInputError, match="batch_size: got 0"):
        lanes(add, [np.ones(1)], batch_size=0)
