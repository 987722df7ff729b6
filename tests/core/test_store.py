"""The store: values come back as they were, and damage is told."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from neuromod.core import store
from neuromod.core.errors import ChecksumError, DataFormatError, InvalidInputError


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 1.5, float("-inf"), 1j, "", "naïve", [], (), {}, {1: (2, [3])}],
)
def test_plain_values(value, tmp_path):
    found = store.read(store.write(tmp_path, "key", value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3)),
        np.array(2.0),
        np.array([True, False]),
        np.array(["a", "bcd"]),
        np.arange(3, dtype=np.int8),
        np.array([np.nan, -0.0]),
        np.array([1 + 2j], np.complex64),
        np.array(["2026-01-01", "NaT"], "M8[s]"),
        np.zeros((0, 3, 1000)),
        np.arange(600).reshape(2, 3, 100) % 2 == 0,
        np.array(["a", "bcd"] * 300),
        np.linspace(0, 1, 1000).astype(np.complex64),
    ],
)
def test_arrays(array, tmp_path):
    (found,) = store.read(store.write(tmp_path, "key", [array]))
    np.testing.assert_array_equal(found, array, strict=True)


@pytest.mark.parametrize("size", [3, 3000])
def test_jax_arrays_come_back_as_numpy(size, tmp_path):
    found = store.read(store.write(tmp_path, "key", {"w": jnp.arange(float(size))}))
    expected = np.arange(size, dtype=np.float32)
    assert type(found["w"]) is np.ndarray
    np.testing.assert_array_equal(found["w"], expected, strict=True)


def test_many_arrays(tmp_path):
    value = {n: np.full(2 if n % 50 else 2000, n) for n in range(2000)}
    found = store.read(store.write(tmp_path, "key", value))
    assert list(found) == list(value)
    for name, array in value.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_what_is_under_a_key_is_found_unless_damaged(tmp_path):
    assert store.find(tmp_path, "key") is None
    path = store.write(tmp_path, "key", 1)
    assert store.find(tmp_path, "key") == path
    path.write_bytes(path.read_bytes()[:-1])
    assert store.find(tmp_path, "key") is None
    with pytest.raises(ChecksumError, match="damaged"):
        store.read(path)
    store.write(tmp_path, "key", 2)
    assert store.read(path) == 2


def test_a_file_that_holds_something_else_is_told(tmp_path):
    path = store.write(tmp_path, "key", xr.Dataset({"x": 1}))
    with pytest.raises(DataFormatError, match="contradicts itself"):
        store.read(path.rename(tmp_path / f"key{store.RESULT}"))


@pytest.mark.parametrize(
    "value",
    [
        object(),
        [lambda: 0],
        {"a": {1, 2}},
        np.array([object()]),
        jnp.ones(2, "bfloat16"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(value, tmp_path):
    with pytest.raises(InvalidInputError):
        store.write(tmp_path, "key", value)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made(tmp_path):
    folder = store.folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert store.folder(folder) == folder
    store.write(folder, "key", 1)
    with pytest.raises(InvalidInputError, match="store: got the file"):
        store.folder(folder / f"key{store.VALUE}")
