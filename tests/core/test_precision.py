"""Precision: what it changes, for how long, and for whom."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError
from neuromod.core.precision import (
    PRECISIONS,
    dtype,
    in_precision,
    precision_context,
)


def current() -> np.dtype:
    return jnp.ones(1).dtype


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_block_computes_in_it(precision):
    with precision_context(precision):
        assert current() == dtype(precision) == np.dtype(precision)
        array = jax.jit(lambda x: x + 1)(np.ones(3))
    assert array.dtype == np.dtype(precision)
    assert current() == np.float32


def test_double_precision_resolves_what_single_cannot():
    def step(x):
        return (x + jnp.asarray(1e-10)) - x

    with precision_context("float32"):
        assert step(jnp.asarray(1.0)) == 0
    with precision_context("float64"):
        assert float(step(jnp.asarray(1.0))) == pytest.approx(1e-10, rel=1e-5)


def test_contexts_nest():
    with precision_context("float64"):
        with precision_context("float32"):
            assert current() == np.float32
            with precision_context("float64"):
                assert current() == np.float64
            assert current() == np.float32
        assert current() == np.float64
    assert current() == np.float32


def test_an_exception_ends_it():
    with pytest.raises(RuntimeError, match="inside"):
        with precision_context("float64"):
            raise RuntimeError("inside")
    assert current() == np.float32


def test_a_jitted_function_serves_both():
    traced = []

    @jax.jit
    def double(x):
        traced.append(x.dtype)
        return 2 * x

    for _ in range(2):
        for precision in PRECISIONS:
            with precision_context(precision):
                assert double(np.ones(2)).dtype == dtype(precision)
    assert traced == [np.float32, np.float64]


def test_threads_do_not_disturb_each_other():
    entered, seen = threading.Barrier(2), {}

    def work(precision):
        with precision_context(precision):
            entered.wait(timeout=10)
            seen[precision] = current()
            entered.wait(timeout=10)

    threads = [threading.Thread(target=work, args=(p,)) for p in PRECISIONS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {p: np.dtype(p) for p in PRECISIONS}


def test_a_thread_started_inside_does_not_inherit_it():
    seen = []
    with precision_context("float64"):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert seen == [np.float32]


@pytest.mark.parametrize("wrong", ["double", 64, None, np.float64])
def test_anything_else_is_refused(wrong):
    with pytest.raises(InvalidInputError, match=r"precision: got .* 'float64'"):
        precision_context(wrong)


@pytest.mark.parametrize("misspelt", ["flaot64", "Float64"])
def test_a_misspelt_name_is_mended(misspelt):
    with pytest.raises(InvalidInputError, match="Did you mean 'float64'"):
        precision_context(misspelt)


def test_the_process_keeps_its_configuration():
    before = jax.config.jax_enable_x64
    with precision_context("float64"):
        pass
    assert jax.config.jax_enable_x64 == before


@pytest.mark.parametrize("precision", PRECISIONS)
def test_numbers_of_a_tree_take_it_and_all_else_stays(precision):
    tree = {"one": 2, "many": jnp.arange(3), "seen": np.array([True]), "act": max}
    found = in_precision([tree, None], precision)
    one, many = found[0]["one"], found[0]["many"]
    assert one.dtype == many.dtype == np.dtype(precision)
    assert one == 2
    np.testing.assert_array_equal(many, [0, 1, 2])
    assert found[0]["seen"] is tree["seen"]
    assert found[0]["act"] is max
    assert found[1] is None
