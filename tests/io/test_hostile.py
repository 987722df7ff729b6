"""Files made to hurt: refused by our error, at once, and in little memory."""

import io as streams
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib

import h5py
import numpy as np
import pytest

from neuromod import io
from neuromod.core.errors import DataFormatError, InvalidInputError, NeuromodError
from tests.io import written

TERABYTE = 2**40


@pytest.fixture(autouse=True)
def _little_time_and_memory():
    tracemalloc.start()
    begin = time.perf_counter()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - begin < 20
    assert peak < 200e6


def npy(shape: object, dtype: str = "<f8", data: bytes = b"") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n"
    size = struct.pack("<H", len(header))
    return b"\x93NUMPY\x01\x00" + size + header.encode() + data


def npz(path, members: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            npy((TERABYTE,)),
            "0 bytes of data, expected 8796093022208 bytes for",
        ),
        (npy((-1,)), "0 bytes of data"),
        (npy((3,), data=bytes(23)), "23 bytes of data, expected 24"),
        (npy((3,), data=bytes(25)), "25 bytes of data, expected 24"),
        (npy((TERABYTE,), "|V0"), "does not parse"),
        (npy((1,), "|O", bytes(8)), r"pickled Python objects.*can run code"),
        (npy("(" * 5000), "does not parse"),
        (npy("print(1)"), "does not parse"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "does not parse"),
        (b"\x93NUMPY\x03\x00\x02\x00\x00\x00{}", "version .3, 0. of the npy format"),
        (b"no array at all", "does not parse"),
    ],
)
def test_npy_headers_that_promise_what_is_not_there(content, message, tmp_path):
    (tmp_path / "spike_times.npy").write_bytes(content)
    with pytest.raises(DataFormatError, match=message):
        io.read_spikes(tmp_path / "spike_times.npy", 0.1)
    npz(tmp_path / "a.npz", {"spike_times.npy": content, "spike_units.npy": content})
    with pytest.raises(DataFormatError, match=message):
        io.read_spikes(tmp_path / "a.npz", 0.1)


def test_a_zip_bomb_is_not_inflated(tmp_path, monkeypatch):
    monkeypatch.setattr("neuromod.io.files.FREE_BYTES", 2**20)
    bomb = npy((2**23,), data=bytes(2**26))
    members = {"spike_times.npy": bomb, "spike_units.npy": npy((1,), data=bytes(8))}
    npz(tmp_path / "bomb.npz", members)
    tracemalloc.reset_peak()
    with pytest.raises(DataFormatError, match=r"announces 0.0625 GiB.*without compres"):
        io.read_spikes(tmp_path / "bomb.npz", 0.1)
    del bomb, members
    assert tracemalloc.get_traced_memory()[1] < 140e6  # all of it is the bomb itself


def test_an_archive_compressed_by_no_numpy(tmp_path):
    member = npy((1,), data=bytes(8))
    names = ("spike_times.npy", "spike_units.npy")
    npz(tmp_path / "a.npz", dict.fromkeys(names, member), zipfile.ZIP_LZMA)
    with pytest.raises(DataFormatError, match=r"an archive by numpy.savez"):
        io.read_spikes(tmp_path / "a.npz", 0.1)


def test_a_zip_that_is_no_archive_of_arrays(tmp_path):
    npz(tmp_path / "a.npz", {"readme.txt": b"hello"})
    with pytest.raises(DataFormatError, match="the variables nothing"):
        io.read_spikes(tmp_path / "a.npz", 0.1)


def element(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


def matrix(array_class: int, shape: tuple, content: bytes, name: bytes = b"") -> bytes:
    flags = element(6, struct.pack("<II", array_class, 0))
    dims = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, flags + dims + element(1, name) + content)


def mat(path, variable: bytes, compress: bool = False):
    if compress:
        packed = zlib.compress(variable, 9)
        variable = struct.pack("<II", 15, len(packed)) + packed
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path.write_bytes(header + variable)
    return path


def nested(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = matrix(1, (1, 1), inner or matrix(6, (0, 0), b""))
    return matrix(1, (1, 1), inner, b"spikes")


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (matrix(6, (2**30, 2**10), element(9, bytes(8)), b"spike_times"), "not parse"),
        (matrix(6, (-1, 1), element(9, bytes(8)), b"spikes"), "the shape"),
        (matrix(6, (1,) * 40, element(9, bytes(8)), b"spikes"), "the shape"),
        (matrix(1, (2**30, 1), b"", b"spikes"), "cells in"),
        (matrix(1, (1, 1), element(9, bytes(8)), b"spikes"), "type 9 for a cell"),
        (matrix(2, (1, 1), element(5, b"\0\0\0\0") + element(1, b"a"), b"spikes"),
         "names of 0 characters"),
        (nested(2000), "more than 16 levels"),
        (matrix(6, (1, 1), element(9, bytes(8)), b"spikes")[:-9], "cut off at the end"),
        (b"\0" * 5, "does not parse"),
        (element(15, b"this is no zlib stream"), "does not parse"),
    ],
)  # fmt: skip
def test_matlab_tags_that_promise_what_is_not_there(variable, message, tmp_path):
    with pytest.raises(DataFormatError, match=message):
        io.read_spikes(mat(tmp_path / "a.mat", variable), 0.1)


def test_a_matlab_variable_is_not_inflated_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("neuromod.io.files.FREE_BYTES", 2**20)
    content = element(9, bytes(2**23))
    variable = matrix(6, (2**20, 1), content, b"counts")
    path = mat(tmp_path / "bomb.mat", variable, compress=True)
    with pytest.raises(DataFormatError, match="a variable that announces"):
        io.read_spikes(path)


def test_many_empty_cells_are_not_walked_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("neuromod.io.mat5.MOST_CELLS", 1000)
    empty = struct.pack("<II", 14, 0)
    variable = matrix(1, (2000, 1), empty * 2000, b"spikes")
    with pytest.raises(DataFormatError, match="1000 cells"):
        io.read_spikes(mat(tmp_path / "a.mat", variable), 0.1)


def nwb(path):
    file = h5py.File(path, "w")
    file.attrs["nwb_version"] = "2.7.0"
    units = file.create_group("units")
    units["id"] = [0]
    units["spike_times_index"] = [1]
    return file, units


def test_hdf5_that_announces_more_than_it_holds(tmp_path):
    file, units = nwb(tmp_path / "a.nwb")
    units.create_dataset("spike_times", (TERABYTE,), "f8", chunks=(1024,))
    file.close()
    with pytest.raises(DataFormatError, match=r"announces 8\.19e\+03 GiB"):
        io.read_spikes(tmp_path / "a.nwb", 0.1)


def test_hdf5_links_to_other_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["times"] = [0.1]
    file, units = nwb(tmp_path / "a.nwb")
    units["spike_times"] = h5py.ExternalLink("other.h5", "/times")
    file.close()
    with pytest.raises(DataFormatError, match=r"another file or link.*h5repack"):
        io.read_spikes(tmp_path / "a.nwb", 0.1)


def test_hdf5_data_in_other_files_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(8))
    file, units = nwb(tmp_path / "a.nwb")
    units.create_dataset("spike_times", (1,), "f8", external=str(tmp_path / "secret"))
    file.close()
    with pytest.raises(DataFormatError, match="data of units/spike_times that leads"):
        io.read_spikes(tmp_path / "a.nwb", 0.1)


def test_virtual_hdf5_data_is_refused(tmp_path):
    layout = h5py.VirtualLayout((1,), "f8")
    layout[0] = h5py.VirtualSource(str(tmp_path / "other.h5"), "times", (1,))[0]
    file, units = nwb(tmp_path / "a.nwb")
    units.create_virtual_dataset("spike_times", layout)
    file.close()
    with pytest.raises(DataFormatError, match="data of units/spike_times that leads"):
        io.read_spikes(tmp_path / "a.nwb", 0.1)


def test_hdf5_links_are_followed_once_and_within_the_file(tmp_path):
    file, units = nwb(tmp_path / "a.nwb")
    file["flat"] = [0.15]
    units["spike_times"] = h5py.SoftLink("/flat")
    file.close()
    assert io.read_spikes(tmp_path / "a.nwb", 0.1).values.tolist() == [[1]]
    with h5py.File(tmp_path / "a.nwb", "a") as file:
        file["loop"] = h5py.SoftLink("/loop")
        del file["units/spike_times"]
        file["units/spike_times"] = h5py.SoftLink("/second")
        file["second"] = h5py.SoftLink("/flat")
    with pytest.raises(DataFormatError, match="a link to /second"):
        io.read_spikes(tmp_path / "a.nwb", 0.1)


def test_groups_that_hold_themselves(tmp_path):
    file, units = nwb(tmp_path / "a.nwb")
    behaviour = file.create_group("processing/behavior")
    behaviour["again"] = behaviour
    units["self"] = units
    file.close()
    with pytest.raises(InvalidInputError, match="nothing along time or trials"):
        io.read_behaviour(tmp_path / "a.nwb")


def test_references_that_turn_in_a_circle(tmp_path):
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        cells = file.create_dataset("spikes", (2, 1), h5py.ref_dtype)
        cells[:] = np.array([[cells.ref], [cells.ref]], dtype=h5py.ref_dtype)
    with pytest.raises(DataFormatError, match="cells within cells"):
        io.read_spikes(path, 0.1)


def test_no_node_is_asked_for_its_name(tmp_path, monkeypatch):
    """HDF5 searches for it without end in some damaged files."""

    def search(_):
        raise AssertionError("asked")

    writers = (written.mat_73, written.nwb)
    sources = [write(tmp_path, written.small()) for write in writers]
    monkeypatch.setattr(h5py.Dataset, "name", property(search))
    for source, keywords in sources:
        assert io.read_spikes(source, 0.3, **keywords).sizes["neuron"] == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("," * 30_000 + "\n1\n", "an endless first line"),
        ("time" + "x" * 2**21, "an endless first line"),
        ("time,unit\n0.1,1\n0.2,1,5,6,7,8\n", "does not parse"),
        ('time,unit\n0.1,"1\n', "does not parse"),
        ("time,unit\nabc,1\n", "expected numbers"),
        ("time,unit\n0.1,\n", "a missing label"),
        ("time,time\n0.1,1\n", "'time' twice"),
        ("time, time\n0.1,1\n", "'time' twice"),
        ("0.1,1\n0.2,1\n", "Has the file a header"),
        ("a,b\n1,2\n", "Rename the columns"),
        ("unit,b\n1,2\n", "Rename the columns"),
        ("time\n1\n", "Rename the columns"),
        ("\n", "does not parse|Rename the columns"),
    ],
)
def test_tables_that_are_none(text, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(NeuromodError, match=message):
        io.read_spikes(tmp_path / "a.csv", 0.1)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"time,unit\n\xff\xfe\x00,1\n")
    with pytest.raises(DataFormatError, match="does not parse"):
        io.read_spikes(tmp_path / "a.csv", 0.1)


def test_parquet_that_announces_more_than_it_holds(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"time": np.zeros(10**6), "unit": 1}).to_parquet(
        tmp_path / "a.parquet"
    )
    monkeypatch.setattr("neuromod.io.files.FREE_BYTES", 2**20)
    with pytest.raises(DataFormatError, match="a table that announces"):
        io.read_spikes(tmp_path / "a.parquet", 0.1)
    (tmp_path / "b.parquet").write_bytes(b"PAR1xxxx")
    with pytest.raises(DataFormatError, match="no Parquet signature"):
        io.read_spikes(tmp_path / "b.parquet", 0.1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("params.py", "sample_rate = __import__('os').getpid()", "never run"),
        ("params.py", "sample_rate = 1e999", "sample_rate = 1e999, expected"),
        ("params.py", "sample_rate = 0", "sample_rate = 0, expected"),
        ("params.py", "sample_rate = " + "1" * 10**6 + "x", "got sample_rate = 1111"),
        ("params.py", "rate = 30000", r"no sample_rate.*Say sample_rate="),
        ("params.py", "\xff\xfe", "does not parse|no sample_rate"),
        ("cluster_group.tsv", "a\tb\n1\t2\n", "cluster_id and group"),
        ("cluster_group.tsv", "", "cluster_id and group"),
        ("cluster_group.tsv", "cluster_id\tgroup\n4\tmua\n", "that was judged 'good'"),
    ],
)
def test_phy_texts_are_read_and_never_run(name, content, message, tmp_path):
    folder, _ = written.phy(tmp_path, written.small())
    (folder / name).write_bytes(content.encode("latin1"))
    with pytest.raises(NeuromodError, match=message):
        io.read_spikes(folder, 0.1)


def test_phy_folders_that_lack_something(tmp_path):
    folder, _ = written.phy(tmp_path, written.small())
    np.save(folder / "spike_clusters.npy", np.zeros(3, int))
    with pytest.raises(InvalidInputError, match="units: got 3 of them, expected 9"):
        io.read_spikes(folder, 0.1)
    np.save(folder / "spike_clusters.npy", np.zeros((3, 3)))
    with pytest.raises(DataFormatError, match="one whole number for each spike"):
        io.read_spikes(folder, 0.1)
    (folder / "spike_clusters.npy").unlink()
    with pytest.raises(DataFormatError, match=r"no spike_clusters.npy"):
        io.read_spikes(folder, 0.1)
    (folder / "params.py").unlink()
    np.save(folder / "spike_templates.npy", np.zeros(9, int))
    with pytest.raises(DataFormatError, match="no sample_rate"):
        io.read_spikes(folder, 0.1)
    assert io.read_spikes(folder, 0.3, sample_rate=1000.0).sizes["neuron"] == 1


def test_nothing_of_a_file_is_run(tmp_path):
    """A pickle in an archive stays a pickle."""
    code = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (open, (str(code), "w"))

    trap = np.empty(1, dtype=object)
    trap[0] = Trap()
    buffer = streams.BytesIO()
    np.save(buffer, trap)
    members = dict.fromkeys(("spike_times.npy", "spike_units.npy"), buffer.getvalue())
    npz(tmp_path / "a.npz", members)
    with pytest.raises(DataFormatError, match="pickled"):
        io.read_spikes(tmp_path / "a.npz", 0.1)
    assert not code.exists()


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        ("pyarrow", "io.read_spikes(path, 0.1)", "neuromod[tables]"),
        (
            "pynwb",
            "io.write_nwb('x.nwb', io.SpikeTrains.from_units([[0.1]]), "
            "session_description='', identifier='', session_start_time=None)",
            "neuromod[nwb]",
        ),
    ],
)
def test_a_missing_package_is_named_with_its_extra(package, call, extra, tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1PAR1")
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from neuromod import io\npath = {str(path)!r}\n"
        f"try:\n    {call}\nexcept io.errors.InvalidInputError as e:\n    print(e)\n"
    ).replace("io.errors", "__import__('neuromod').errors")
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert f"pip install '{extra}'" in finished.stdout, finished.stderr
