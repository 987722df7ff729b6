"""The record of where a result comes from, and checksums of what went in."""

import hashlib
import json
from datetime import datetime
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import neuromod
from neuromod.core import plain
from neuromod.core.errors import InvalidInputError
from neuromod.core.provenance import checksum, provenance, start


def record(**changes):
    return provenance(
        **{"seed": 3, "precision": "float64", "started": start()} | changes
    )


def test_holds_what_a_fit_depends_on():
    origin = record(inputs={"spikes": np.arange(3)})
    assert origin["versions"]["neuromod"] == neuromod.__version__
    assert origin["versions"]["jax"] is not None
    assert origin["seed"] == 3
    assert origin["precision"] == "float64"
    assert set(origin["xla"]) >= {"state", "flags"}
    assert origin["machine"]["platform"]
    assert origin["inputs"] == {"spikes": checksum(np.arange(3))}
    assert datetime.fromisoformat(origin["started"]).tzinfo is not None


def test_is_plain_and_tells_nothing_of_the_user():
    origin = record(seed=[1, 2])
    text = plain.dumps(plain.pack(origin, "provenance"))
    assert json.loads(text) == origin
    assert str(Path.home()) not in text


def test_measures_wall_and_processor_time():
    started = start()
    x = np.random.default_rng(0).random((300, 300))
    while start().cpu_seconds - started.cpu_seconds < 0.05:
        x = x @ x
        x /= x.max()
    origin = record(started=started)
    assert 0.05 <= origin["cpu_seconds"] < 10
    assert 0.01 <= origin["wall_seconds"] < 60


def test_seeds_are_plain_numbers():
    assert record(seed=np.int64(2))["seed"] == 2
    assert type(record(seed=np.int64(2))["seed"]) is int
    assert record(seed=np.arange(3))["seed"] == [0, 1, 2]
    assert record(seed=None)["seed"] is None


def test_an_unknown_precision_is_refused():
    with pytest.raises(InvalidInputError, match="Did you mean 'float64'"):
        record(precision="float65")


def labelled(**changes):
    parts = {"data": np.eye(2), "dims": ("time", "neuron"), "name": "spikes"}
    return xr.DataArray(**parts | {"coords": {"neuron": ["a", "b"]}} | changes)


SAME = [
    (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))),
    (np.arange(3, dtype="<i4"), np.arange(3, dtype=">i4")),
    (np.arange(3, dtype="f4"), jnp.arange(3, dtype="f4")),
    (np.array(["a", "bc"]), np.array(["a", "bc"], "U9")),
    (np.array(["a", "bc"]), np.array(["a", "bc"], object)),
    ({"a": [1], "b": [2]}, {"b": [2], "a": [1]}),
    (labelled(), labelled(attrs={"units": "Hz"})),
]

DIFFERENT = [
    np.arange(4),
    np.arange(4, dtype="i4"),
    np.arange(4.0),
    np.arange(4).reshape(2, 2),
    np.arange(4)[::-1],
    np.array(["0", "1"]),
    [np.arange(4)],
    [np.arange(2), np.arange(2, 4)],
    {"a": np.arange(4)},
    {"b": np.arange(4)},
    labelled(),
    labelled(dims=("neuron", "time"), coords={}),
    labelled(coords={"neuron": ["a", "c"]}),
    labelled(coords={}),
    labelled().to_dataset(),
    xr.DataTree.from_dict({"x": labelled().to_dataset()}),
    xr.DataTree.from_dict({"y": labelled().to_dataset()}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_content_has_one_checksum(one, other):
    assert checksum(one) == checksum(other)


def test_other_content_has_another():
    assert len({checksum(value) for value in DIFFERENT}) == len(DIFFERENT)


def test_a_path_stands_for_the_content_of_its_file(tmp_path):
    (tmp_path / "a").write_bytes(b"spikes")
    (tmp_path / "b").write_bytes(b"spikes")
    assert checksum(tmp_path / "a") == checksum(str(tmp_path / "b"))
    (tmp_path / "b").write_bytes(b"spikes!")
    assert checksum(tmp_path / "a") != checksum(tmp_path / "b")
    with pytest.raises(InvalidInputError, match="path of a file that exists"):
        checksum(tmp_path / "absent")


def test_is_a_sha256_that_stays_the_same():
    assert len(checksum(np.arange(3))) == 64
    header, numbers = b"i8(3,)", np.arange(3, dtype="<i8").tobytes()
    parts = (len(p).to_bytes(8, "little") + p for p in (header, numbers))
    assert checksum(np.arange(3)) == hashlib.sha256(b"".join(parts)).hexdigest()


def test_objects_are_refused():
    with pytest.raises(InvalidInputError, match="array of objects"):
        checksum(np.array([None]))
