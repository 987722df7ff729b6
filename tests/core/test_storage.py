"""The file: everything comes back, all damage is found, nothing foreign is believed."""

import importlib
import os
import struct
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path

import equinox as eqx
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import neuromod
from neuromod.core import envelope, storage
from neuromod.core.errors import (
    ChecksumError,
    DataFormatError,
    InvalidInputError,
    ShapeError,
)
from neuromod.core.result import Result
from tests.core import fuzz_result, hostile, kill_result
from tests.core.tiny import CLASSES, tiny_result

ROOT = Path(__file__).resolve().parents[2]


def result_of(**groups):
    return Result(None, xr.DataTree.from_dict(groups), {}, {})


def column(values, **coords):
    return xr.Dataset(
        {"x": ("n", values)}, coords={k: ("n", v) for k, v in coords.items()}
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.nc"


EVERY_TYPE = {
    "half": np.array([1, np.nan, -0.0], "f2"),
    "single": np.array([1, np.inf, -np.inf], "f4"),
    "payload": np.array([0x7FF8000000000123, 0xFFF0000000000001, 1], "u8").view("f8"),
    "big_endian": np.array([1, 2, 3], ">f8"),
    "byte": np.array([-128, 0, 127], "i1"),
    "long": np.array([0, 1, 2**64 - 1], "u8"),
    "truth": np.array([True, False, True]),
    "complex": np.array([1 + 2j, np.nan, -0.0j], "c8"),
    "text": np.array(["", "é", "日本語"]),
    "objects": np.array(["rat 1", "", "é"], object),
    "raw": np.array([b"a", b"\xff\x00b", b""]),
    "date": np.array(["2020-01-01", "NaT", "1969-12-31"], "M8[ns]"),
    "day": np.array(["2020-01-01", "NaT", "1969-12-31"], "M8[s]"),
    "span": np.array([1, -2, "NaT"], "m8[ms]"),
}


def everything():
    latent = xr.Dataset(
        {name: ("n", values) for name, values in EVERY_TYPE.items()},
        coords={
            "n": pd.Index(["a", "b", "c"]),
            "depth": ("n", [0.1, 0.2, 0.3], {"units": "mm"}),
            "when": np.datetime64("2020-01-01T12:00:00.123456789", "ns"),
        },
        attrs={
            "none": None,
            "truth": True,
            "nested": {"a": (1, [2.5, {"b": float("inf")}])},
            "when": datetime(2020, 1, 1, tzinfo=UTC),
            "edges": np.array([0.1, 0.2], "f4"),
        },
    )
    latent["number"] = np.float32(0.1)
    latent["word"] = "é"
    latent["empty"] = (("q", "n"), np.zeros((0, 3), "f4"))
    latent["empty_text"] = ("q", np.zeros(0, "U3"))
    latent["name with spaces (1)"] = ("n", np.arange(3))
    below = xr.Dataset({"y": (("n", "state"), np.eye(3, 2))}, {"state": ["s1", "s2"]})
    odd = xr.Dataset({"x": (("a", "b"), np.eye(2))})
    odd["a"] = (("a", "b"), np.arange(4.0).reshape(2, 2))
    groups = {"latent": latent, "latent/below": below, "odd": odd}
    groups["no_arrays"] = xr.Dataset(attrs={"note": "é"})
    tree = xr.DataTree.from_dict(groups, name="whole")
    tree.attrs["log_likelihood"] = -1.5
    return tree


def test_every_type_label_and_attribute_comes_back(path):
    tree = everything()
    Result(None, tree, {}, {}).save(path)
    back = neuromod.load(path).data
    xr.testing.assert_identical(back, tree)
    for node in tree.subtree:
        for name, variable in node.variables.items():
            other = back[node.path].variables[name]
            assert other.dtype == variable.dtype, name
            if variable.dtype != object:
                assert other.values.tobytes() == variable.values.tobytes(), name
    attributes = back["latent"].attrs
    assert type(attributes["nested"]["a"]) is tuple
    assert attributes["edges"].dtype == "f4"


def test_other_programs_open_the_file_by_its_path(path):
    tree = everything()
    Result(None, tree, {"n_states": 3}, {}).save(path)
    with xr.open_datatree(path, engine="h5netcdf") as opened:
        latent = opened["latent"]
        for name in ("single", "payload", "long", "truth", "date", "day", "depth"):
            np.testing.assert_array_equal(latent[name], tree["latent"][name])
        assert latent["text"].values.tolist() == ["", "é", "日本語"]
        assert latent["n"].values.tolist() == ["a", "b", "c"]
        assert latent["truth"].dtype == bool
        assert "depth" in latent.coords
        np.testing.assert_array_equal(opened["latent/below"]["y"], np.eye(3, 2))
        assert not opened.dataset.sizes
        assert list(opened.attrs) == ["neuromod"]
        assert '"config":{"n_states":3}' in opened.attrs["neuromod"]


def test_arrays_lie_in_the_file_whole_and_unfiltered(path):
    import h5py

    tiny_result().save(path)

    def check(name, item):
        if isinstance(item, h5py.Dataset):
            assert item.chunks is None, name
            assert item.id.get_create_plist().get_nfilters() == 0, name

    with h5py.File(path) as file:
        file.visititems(check)
        assert file["model/layers[0].weight"].shape == (4, 4)


def test_the_same_result_gives_the_same_bytes(path):
    tiny_result().save(path)
    first = path.read_bytes()
    tiny_result().save(path)
    assert path.read_bytes() == first


REFUSED = [
    (column(np.array(["a", None], object)), r"data\['g'\]\['x'\]: .*objects.*astype"),
    (xr.Dataset(attrs={"f": len}), r"data\['g'\].attrs\['f'\]: .*'len'.*keep its name"),
    (xr.Dataset({"x": ("n", [1], {"f": {1}})}), r"\['x'\].attrs\['f'\]: .*type set"),
    (xr.Dataset({"a\nb": 1}), r"name 'a\\nb', expected printable text without '/'"),
    (xr.Dataset({1: 1}), "name 1, expected printable text"),
    (xr.Dataset({"x": ("a/b", [1])}), "dimension of .*name 'a/b'"),
    (xr.Dataset({"x ": 1}), "name 'x '"),
    (column(pd.Categorical(["a"])), "pandas type category.*astype"),
    (
        xr.Dataset({"x": ("n", [1.0, 2.0])}).assign_coords(
            xr.Coordinates.from_pandas_multiindex(
                pd.MultiIndex.from_tuples([(0, 1), (0, 2)], names=["i", "j"]), "n"
            )
        ),
        "MultiIndex.*reset_index",
    ),
]


@pytest.mark.parametrize(("dataset", "message"), REFUSED)
def test_what_would_not_come_back_is_refused(path, dataset, message):
    with pytest.raises(InvalidInputError, match=message):
        result_of(g=dataset).save(path)
    assert not path.exists()


@pytest.mark.filterwarnings("ignore:Duplicate dimension")
def test_twice_the_same_dimension_is_refused(path):
    square = xr.Dataset({"x": (("state", "state"), np.eye(2))})
    with pytest.raises(ShapeError, match="state_to"):
        result_of(g=square).save(path)


def test_bad_group_names_are_refused(path):
    with pytest.raises(InvalidInputError, match=r"'run.1', expected a name without"):
        result_of(**{"run.1": xr.Dataset()}).save(path)
    with pytest.raises(InvalidInputError, match="at most 6"):
        result_of(**{"/".join("a" * 8): xr.Dataset()}).save(path)
    with pytest.raises(ShapeError, match=r"'x' at the root.*Name the group"):
        storage.write(path, {"/": column([1])}, {})


def test_too_many_arrays_are_refused(path, monkeypatch):
    monkeypatch.setattr(storage, "MAX_ARRAYS", 1)
    with pytest.raises(InvalidInputError, match="Stack arrays of one kind"):
        result_of(g=column([1], a=[2])).save(path)


def test_a_library_that_changes_numbers_is_noticed(path, monkeypatch):
    right = storage._netcdf_variable

    def rounded(name, entry, numbers):
        return right(name, entry, numbers) * 0

    monkeypatch.setattr(storage, "_netcdf_variable", rounded)
    with pytest.raises(DataFormatError, match="netCDF library changed the array 'x'"):
        result_of(g=column([1.0, 2.0])).save(path)
    assert not path.exists()


def test_every_single_bit_counts(path):
    """Flip each bit of a whole small file, and load it."""
    result_of(latent=xr.Dataset({"x": ("n", [1.0])})).save(path)
    found = 0
    with open(path, "r+b", buffering=0) as file:
        content = file.read()
        for position, byte in enumerate(content):
            for bit in range(8):
                file.seek(position)
                file.write(bytes([byte ^ 1 << bit]))
                try:
                    neuromod.load(path)
                except DataFormatError:
                    found += 1
            file.seek(position)
            file.write(bytes([byte]))
    assert found == 8 * len(content)
    assert neuromod.load(path).data["latent/x"].item() == 1.0


def test_a_file_cut_short_at_any_place_is_damaged(path):
    tiny_result().save(path)
    content = path.read_bytes()
    lengths = {*range(1, 600), *range(600, len(content), 97), len(content) - 1}
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises(ChecksumError, match="Restore it from a copy"):
            neuromod.load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ChecksumError, match="1 bytes longer"):
        neuromod.load(path)


def plain_netcdf():
    return bytes(xr.Dataset({"x": ("n", [1.0])}).to_netcdf(None, engine="h5netcdf"))


def png():
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0\0")
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged: it ends within its header"),
        (b"time,neuron\n0.1,3\n", "no result of neuromod.*Result.save"),
        ("Grüße".encode("utf-16"), "no result of neuromod"),
        (png(), "no result of neuromod"),
        (plain_netcdf(), "netCDF or HDF5: open it with xarray"),
        (b"CDF\x01" + bytes(1000), "netCDF or HDF5: open it with xarray"),
        (bytes(5000), "no result of neuromod"),
    ],
)
def test_foreign_files_are_told_apart(path, content, message):
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=message):
        neuromod.load(path)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(InvalidInputError, match="a file that exists"):
            neuromod.load(path)


def test_a_mistyped_path_names_the_nearest(tmp_path, monkeypatch):
    tiny_result().save(tmp_path / "session.nc")
    with pytest.raises(InvalidInputError) as error:
        neuromod.load(tmp_path / "sesion.nc")
    assert f"Did you mean {str(tmp_path / 'session.nc')!r}?" in str(error.value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=r"Did you mean 'session\.nc'"):
        neuromod.load("sesion.nc")
    with pytest.raises(InvalidInputError, match=r"a file that exists$"):
        neuromod.load("x.nc_other_thing_entirely")
    with pytest.raises(InvalidInputError, match="The folder 'fits' cannot be read"):
        neuromod.load(Path("fits") / "session.nc")


def test_a_later_version_says_how_to_read_it(path, monkeypatch):
    monkeypatch.setattr(envelope, "SCHEMA", 2)
    tiny_result().save(path)
    monkeypatch.undo()
    with pytest.raises(DataFormatError, match=r"schema 2.*reads schema 1.*pip install"):
        neuromod.load(path)


def test_a_model_of_an_unknown_class_says_how_to_pass_it(path):
    tiny_result().save(path)
    with pytest.raises(DataFormatError, match=r"classes=\{'TinyNetwork': TinyNetwork"):
        neuromod.load(path)


PREDICT = """
import sys
import numpy as np
import neuromod
from tests.core.tiny import CLASSES
fit = neuromod.load(sys.argv[1], CLASSES)
sys.stdout.write(np.asarray(fit.model(np.ones(4, "f4"))).tobytes().hex())
"""


def test_predicts_the_same_bits_in_another_process(path):
    result = tiny_result(seed=3)
    result.save(path)
    here = np.asarray(result.model(np.ones(4, "f4"))).tobytes().hex()
    assert eqx.tree_equal(neuromod.load(path, CLASSES).model, result.model)
    with start(PREDICT, path) as process:
        assert process.stdout.read() == here


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills processes")
def test_killed_in_the_middle_of_saves_by_two_processes(path):
    """A few of the kills of which ``python -m tests.core.kill_result`` does many."""
    for _ in range(6):
        told = kill_result.strike(path, rounds=10)
        if told["saves_hit"]:
            break
    assert told["saves_hit"] > 0, "no kill hit a save"
    assert told["different_saves_seen"] > 1, "no save was finished"
    kill_result.result_of(1).save(path)
    assert os.listdir(path.parent) == ["fit.nc"]


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_a_hostile_maker_gets_an_error_or_plain_data(kind, tmp_path):
    """A few of the cases of which ``python -m tests.core.fuzz_result`` runs many."""
    for case in range(6):
        outcome = fuzz_result.run_case(tmp_path, kind, seed=case)
        assert outcome["verdict"] in fuzz_result.GOOD, outcome
        assert outcome["cpu_seconds"] < 5, outcome


def wrong_error(*_):
    raise KeyError("groups")


def writes(path, _):
    path.with_name("HACKED").touch()


@pytest.mark.parametrize(
    ("load", "verdict"),
    [
        (wrong_error, "wrong error"),
        (writes, "did something"),
        (lambda *_: os.system("true"), "did something"),
        (lambda *_: importlib.import_module(hostile.BAIT), "did something"),
        (lambda *_: compile("1 + 1", "file", "eval"), "did something"),
        (lambda *_: None, "no result"),
        (lambda *_: result_of(), "damage not noticed"),
    ],
)
def test_the_fuzzer_notices_what_must_not_happen(tmp_path, monkeypatch, load, verdict):
    fuzz_result.run_case(tmp_path, "cut_short", 0)
    monkeypatch.setattr(neuromod, "load", load)
    assert fuzz_result.run_case(tmp_path, "cut_short", 0)["verdict"] == verdict
    sys.modules.pop(hostile.BAIT, None)
