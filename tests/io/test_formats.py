"""What is particular to one format: Phy, MATLAB, tables, archives, objects."""

import os

import h5py
import numpy as np
import pandas
import pytest
from scipy.io import savemat

from neuromod import io
from neuromod.core.errors import DataFormatError, InvalidInputError
from tests.io import written
from tests.io.written import small


@pytest.fixture
def phy(tmp_path):
    return written.phy(tmp_path, small())[0]


def groups(phy, name, *rows, column="group"):
    lines = [f"cluster_id\t{column}", *(f"{c}\t{g}" for c, g in rows)]
    (phy / name).write_text("\n".join(lines) + "\n")


def cells(*values):
    array = np.empty((1, len(values)), dtype=object)
    array[0] = values
    return array


def test_phy_keeps_what_a_person_called_good(phy):
    sorter = [(4, "good"), (7, "mua"), (12, "good")]
    groups(phy, "cluster_KSLabel.tsv", *sorter, column="KSLabel")
    assert io.read_spike_trains(phy).labels.tolist() == [4, 12]
    groups(phy, "cluster_group.tsv", (4, "noise"), (7, "good"), (99, "good"))
    trains = io.read_spike_trains(phy)
    assert trains.labels.tolist() == [7, 12]
    assert trains.notes["quality"] == "good: 2 of 3 units"
    assert io.read_spike_trains(phy, quality="all").labels.tolist() == [4, 7, 12]
    noise = io.read_spike_trains(phy, quality=("noise", "mua"))
    assert noise.labels.tolist() == [4]


def test_phy_reads_the_table_of_all_that_is_known(phy):
    text = "cluster_id,KSLabel,group,fr\n4,good,,1.0\n7,good,good,2.0\n"
    (phy / "cluster_info.tsv").write_text(text)
    assert io.read_spike_trains(phy).labels.tolist() == [7]
    (phy / "cluster_info.tsv").write_text("cluster_id\tdepth\n4\t1\n")
    assert io.read_spike_trains(phy).labels.tolist() == [4, 7, 12]


def test_phy_without_anything_good_says_what_there_is(phy):
    groups(phy, "cluster_group.tsv", (4, "mua"), (7, "mua"))
    with pytest.raises(InvalidInputError, match=r"2 'mua', 1 'unsorted'.*quality="):
        io.read_spikes(phy, 0.1)


def test_phy_knows_the_stop_from_the_size_of_the_raw_data(phy):
    assert io.read_spike_trains(phy).limits == (0.0, 3.0)
    (phy / "raw.dat").write_bytes(bytes(4 * 3500))
    assert io.read_spike_trains(phy).limits == (0.0, 3.5)
    counts = io.read_spikes(phy, 1.0)
    assert counts.sum("neuron").values.tolist() == [3, 3, 2]
    assert counts.attrs["dropped_duration"] == 0.5


def test_phy_rates_are_numbers_of_any_spelling(phy):
    for text in ("30000", "3e4", "30000.", " 30000.0  # Hz", "30_000"):
        (phy / "params.py").write_text(f"sample_rate = {text}\n")
        assert io.read_spike_trains(phy).rate == 30_000.0


def test_matlab_integers_in_doubles_are_not_taken_for_seconds(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"spikes": cells(np.arange(30.0))})
    with pytest.raises(InvalidInputError, match="samples or seconds"):
        io.read_spikes(path, 0.1)
    counts = io.read_spikes(path, 0.5, sample_rate=10.0)
    assert counts.values.ravel().tolist() == [5] * 6


def test_matlab_with_several_candidates_asks(tmp_path):
    path = tmp_path / "a.mat"
    cell = cells(np.array([0.5]))
    inner = {"pyramidal": cell, "basket": cell}
    savemat(path, {"session": inner, "notes": "hello", "n": 3.0})
    with pytest.raises(DataFormatError, match=r"the variables session, notes, n.*vari"):
        io.read_spikes(path, 0.1)
    with pytest.raises(InvalidInputError, match=r"several.*Say variable='pyramidal'"):
        io.read_spikes(path, 0.1, variable="session")
    assert io.read_spikes(path, 0.1, variable="session.basket").sizes["neuron"] == 1
    with pytest.raises(InvalidInputError, match="Did you mean 'basket'"):
        io.read_spikes(path, 0.1, variable="session.baskets")
    with pytest.raises(InvalidInputError, match="Did you mean 'session'"):
        io.read_spikes(path, 0.1, variable="sesion")


def test_matlab_structs_without_times_are_told(tmp_path):
    path = tmp_path / "a.mat"
    units = np.zeros(2, dtype=[("name", object), ("waveform", object)])
    savemat(path, {"units": units})
    with pytest.raises(InvalidInputError, match="fields name, waveform, expected a fi"):
        io.read_spikes(path, 0.1)


def test_matlab_texts_and_numbers_of_all_types(tmp_path):
    from neuromod.io.matlab import read_mat

    values = {
        "double": np.array([[1.5, 2.5]]),
        "single": np.array([[1.5]], np.float32),
        "bytes": np.array([[200]], np.uint8),
        "long": np.array([[2**40]], np.int64),
        "text": "théta",
        "rows": np.array(["ab", "cde"]),
        "flag": np.array([[True]]),
        "empty": np.zeros((0, 3)),
        "cell": cells("a", np.array([[1.0]])),
        "struct": {"x": np.array([[1.0]]), "y": {"z": "deep"}},
        "complex": np.array([[1j]]),
    }
    for compress in (False, True):
        path = tmp_path / f"{compress}.mat"
        savemat(path, values, do_compression=compress)
        read = read_mat(path)
        assert set(read) == set(values)
        for name in ("double", "single", "bytes", "long", "flag", "empty"):
            np.testing.assert_array_equal(read[name], values[name])
        assert read["text"] == "théta"
        assert read["rows"].tolist() == ["ab", "cde"]
        assert read["cell"][0] == "a"
        assert read["cell"][1].tolist() == [[1.0]]
        assert read["struct"]["y"] == {"z": "deep"}
        assert read["complex"] is None


def test_only_the_wanted_variable_is_read(tmp_path):
    path = tmp_path / "a.mat"
    cell = cells(np.array([0.5]))
    savemat(path, {"lfp": np.ones((1000, 100)), "spikes": cell})
    content = path.read_bytes()
    where = content.index(b"lfp") + 100
    path.write_bytes(content[:where] + b"\xff" * 8 + content[where + 8 :])
    assert io.read_spikes(path, 0.1).sizes["neuron"] == 1


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_wide_tables_are_counts(suffix, tmp_path):
    table = pandas.DataFrame(
        {"time": [0.05, 0.15, 0.25], "CA1-1": [0, 2, 1], "7": [1, 0, 0]}
    )
    path = tmp_path / f"wide.{suffix}"
    if suffix == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    counts = io.read_spikes(path)
    assert counts.neuron.values.tolist() == ["CA1-1", "7"]
    assert counts.values.tolist() == [[0, 1], [2, 0], [1, 0]]
    assert counts.attrs["bin_size"] == pytest.approx(0.1)


def test_wide_tables_may_count_from_edges_and_have_sessions():
    table = pandas.DataFrame(
        {"bin_start": [0.0, 0.1, 5.0, 5.1], "session": ["a", "a", "b", "b"], "3": 1}
    )
    counts = io.read_spikes(table)
    np.testing.assert_allclose(counts.time, [0.05, 0.15, 5.05, 5.15])
    assert counts.session.values.tolist() == ["a", "a", "b", "b"]
    assert counts.neuron.values.tolist() == [3]


def test_two_clocks_in_a_wide_table_are_refused():
    table = pandas.DataFrame({"time": [0.0, 0.1, 5.0, 5.1], "3": 1})
    with pytest.raises(InvalidInputError, match=r"Two clocks, or a gap\?"):
        io.read_spikes(table)


def test_tables_of_samples_need_the_rate():
    table = pandas.DataFrame({"sample": [1, 2], "unit": [0, 0]})
    with pytest.raises(InvalidInputError, match="Say sample_rate="):
        io.read_spikes(table, 0.1)
    unnamed = pandas.DataFrame([[0.1, 1]], columns=["time", "time"])
    with pytest.raises(InvalidInputError, match="'time' twice"):
        io.read_spikes(unnamed, 0.1)


def test_semicolons_separate_as_well(tmp_path):
    (tmp_path / "a.txt").write_text("time;unit\n0.15;a\n0.35;b\n")
    assert io.read_spikes(tmp_path / "a.txt", 0.1).values.tolist() == [
        [1, 0], [0, 0], [0, 1],
    ]  # fmt: skip


def test_archives_say_what_their_indices_mean(tmp_path):
    path = tmp_path / "a.npz"
    arrays = {"spike_times": [0.1, 0.2], "unit_ids": [5, 6, 8]}
    np.savez(path, spike_clusters=[8, 5], **arrays)
    assert io.read_spike_trains(path).n_spikes.values.tolist() == [1, 0, 1]
    np.savez(path, spike_unit=[2, 0], unit_depth=[1.0, 2.0, 3.0], **arrays)
    trains = io.read_spike_trains(path)
    assert trains.labels.tolist() == [5, 6, 8]
    assert trains.n_spikes.values.tolist() == [1, 0, 1]
    assert trains.annotations["depth"].tolist() == [1.0, 2.0, 3.0]
    np.savez(path, spike_clusters=[7, 5], **arrays)
    with pytest.raises(InvalidInputError, match="the unit '7', which does not exist"):
        io.read_spikes(path, 0.1)
    np.savez(path, spike_unit=[0, 0], unit_depth=[1.0], **arrays)
    with pytest.raises(InvalidInputError, match="arrays of lengths"):
        io.read_spikes(path, 0.1)


def test_archives_that_contradict_themselves_are_refused(tmp_path):
    path, _ = written.npz_ticks(tmp_path, small())
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "unit_n_spikes": arrays["unit_n_spikes"] + 1})
    with pytest.raises(DataFormatError, match="Are the arrays of one recording"):
        io.read_spikes(path, 0.1)
    del arrays["tick_rate_hz"]
    np.savez(path, **arrays)
    with pytest.raises(InvalidInputError, match=r"tick_rate_hz.*Say sample_rate="):
        io.read_spikes(path, 0.1)
    assert io.read_spike_trains(path, sample_rate=1000.0).equals(small())


def test_archives_of_counts(tmp_path):
    path = tmp_path / "a.npz"
    values = np.array([[1, 0], [0, 300]])
    np.savez(path, counts=values, bin_size=0.1, unit_labels=["a", "b"])
    counts = io.read_spikes(path)
    assert counts.dtype == np.uint16
    np.testing.assert_allclose(counts.time, [0.05, 0.15])
    np.savez(path, counts=values, bin_start_s=[3.0, 3.5], block=[0, 0])
    counts = io.read_spikes(path)
    np.testing.assert_allclose(counts.time, [3.25, 3.75])
    assert counts.attrs["bin_size"] == 0.5
    np.savez(path, counts=values)
    with pytest.raises(InvalidInputError, match="the width of the bins"):
        io.read_spikes(path)
    np.savez(path, counts=values, bin_size=[0.1, 0.2])
    with pytest.raises(InvalidInputError, match="2 values, expected one number"):
        io.read_spikes(path)


def test_archives_of_something_else_list_the_layouts(tmp_path):
    np.savez(tmp_path / "a.npz", lfp=np.ones(3))
    with pytest.raises(DataFormatError, match=r"the variables lfp, expected spike_"):
        io.read_spikes(tmp_path / "a.npz", 0.1)


def test_object_arrays_and_nested_lists_are_units():
    units = cells(np.array([[0.1], [0.2]]), np.array([]))
    trains = io.read_spike_trains(units)
    assert trains.n_spikes.values.tolist() == [2, 0]
    assert io.read_spike_trains([0.1, 0.2]).n_neurons == 1
    assert io.read_spike_trains(np.array([0.1, 0.2])).n_neurons == 1
    assert io.read_spike_trains([[0.1], (0.2,)]).n_neurons == 2
    with pytest.raises(InvalidInputError, match="a flat list"):
        io.read_spikes([np.ones((2, 2))], 0.1)
    with pytest.raises(InvalidInputError, match="spike times of 0: got"):
        io.read_spikes([["a"]], 0.1)


def test_counts_of_pynapple():
    nap = pytest.importorskip("pynapple")
    group, _ = written.pynapple(None, small())
    counted = group.count(0.3)
    counts = io.read_spikes(counted)
    np.testing.assert_array_equal(counts.values, small().bin(0.3).values)
    np.testing.assert_allclose(counts.time, small().bin(0.3).time)
    assert counts.neuron.values.tolist() == [4, 7, 9, 12]
    parts = nap.IntervalSet([0.3, 2.1], [1.2, 3.0])
    counts = io.read_spikes(group.count(0.3, ep=parts))
    assert counts.session.values.tolist() == ["0"] * 3 + ["1"] * 3
    single = io.read_spikes(group[4].count(0.3))
    assert single.neuron.values.tolist() == [0]
    with pytest.raises(InvalidInputError, match="fractional count"):
        io.read_spikes(counted / 2)


def test_pynapple_keeps_what_it_knows_of_units():
    nap = pytest.importorskip("pynapple")
    support = nap.IntervalSet(0, 1)
    units = {3: nap.Ts([0.1, 0.3], time_support=support),
             5: nap.Ts([0.25], time_support=support)}  # fmt: skip
    area = {"area": ["CA1", "CA3"]}
    group = nap.TsGroup(units, time_support=support, metadata=area)
    counts = io.read_spikes(group, 0.1)
    assert counts.area.values.tolist() == ["CA1", "CA3"]
    assert counts.sizes["time"] == 10
    one = io.read_spikes(units[3], 0.1, start=0.0, stop=0.4)
    assert one.values.ravel().tolist() == [0, 1, 0, 1]
    with pytest.raises(InvalidInputError, match="neither: the times in pynapple"):
        io.read_spikes(group, 0.1, time_unit="ms")


def test_matlab_7_3_structs_texts_and_arrays_of_structs(tmp_path):
    from neuromod.io.matlab import read_mat

    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        times = [file.create_dataset(f"#refs#/{i}", data=[[0.1 + i]]) for i in (0, 1)]
        text = file.create_dataset("#refs#/text", data=np.array([[67], [65]], "u2"))
        text.attrs["MATLAB_class"] = np.bytes_("char")
        array = file.create_group("spikes")
        for name, nodes in (("times", times), ("name", [text, text])):
            field = array.create_dataset(name, (2, 1), h5py.ref_dtype)
            for i, node in enumerate(nodes):
                field[i, 0] = node.ref
        file["scalar/depth"] = [[1.0, 2.0], [3.0, 4.0]]
    variables = read_mat(path)
    assert set(variables) == {"spikes", "scalar"}
    assert variables["spikes"][1]["name"] == "CA"
    assert variables["scalar"]["depth"].tolist() == [[1.0, 3.0], [2.0, 4.0]]
    with pytest.raises(KeyError):
        variables["#refs#"]
    with pytest.raises(InvalidInputError, match="'CA' twice"):
        io.read_spikes(path, 0.1)
    with h5py.File(path, "a") as file:
        del file["spikes/name"]
    assert io.read_spikes(path, 0.5).sum("time").values.tolist() == [1, 1]


def test_matlab_stores_empty_structs_and_missing_numbers(tmp_path):
    from neuromod.io.matlab import read_mat

    savemat(tmp_path / "a.mat", {"none": {}, "grid": np.zeros((2, 0))})
    assert read_mat(tmp_path / "a.mat")["grid"].shape == (2, 0)


def test_counts_say_what_was_left_out():
    counts = io.read_spikes(small().bin(0.3), exclude=[4, "9"])
    assert counts.attrs["excluded"] == "4, 9"


def test_what_is_no_regular_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InvalidInputError, match="no regular file"):
        io.read_spikes(tmp_path / "pipe.npz", 0.1)
    with pytest.raises(InvalidInputError, match="a readable path"):
        io.read_spikes(tmp_path / ("long" * 100), 0.1)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path, _ = written.npz_ticks(tmp_path, small())

    def refuse(*_, **__):
        raise PermissionError("not yours")

    monkeypatch.setattr("zipfile.ZipFile", refuse)
    with pytest.raises(InvalidInputError, match="which may not be read"):
        io.read_spikes(path, 0.1)


def test_the_index_of_pandas_is_no_neuron(tmp_path):
    table = pandas.DataFrame({"time": [0.05, 0.15, 0.25], "u1": [1, 0, 2], "u2": 3})
    table.to_csv(tmp_path / "x.csv")
    sources = [tmp_path / "x.csv", table.reset_index()]
    for source, name in zip(sources, ["'Unnamed: 0'", "'index'"], strict=True):
        counts = io.read_spikes(source)
        assert counts.neuron.values.tolist() == ["u1", "u2"]
        assert counts.attrs["left_out"] == name
    counted = io.read_spikes(table.assign(index=[5, 1, 2]))
    assert counted.neuron.values.tolist() == ["u1", "u2", "index"]


@pytest.mark.parametrize(
    ("times", "units", "factor"),
    [
        ("spike_times_s", "cluster_id", 1),
        ("Time (s)", "Unit", 1),
        ("spike_times_ms", "unit", 1000),
        ("Time (ms)", "Cluster ID", 1000),
    ],
)
def test_tables_name_the_unit_of_their_times(times, units, factor, tmp_path):
    path = tmp_path / "x.csv"
    table = pandas.DataFrame({times: np.array([1, 2, 3]) * factor, units: [7, 8, 7]})
    table.to_csv(path, index=False)
    trains = io.read_spike_trains(path)
    assert trains.train(7).tolist() == [1.0, 3.0]
    assert trains.train(8).tolist() == [2.0]


@pytest.mark.parametrize("units", ["cluster_ids", "unit_ids", "spike_clusters"])
@pytest.mark.parametrize(
    ("times", "factor"), [("spike_times", 1), ("spike_times_ms", 1e3)]
)
def test_archives_may_name_a_unit_for_each_spike(units, times, factor, tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **{times: np.array([0.5, 1.0, 1.5]) * factor, units: [7, 8, 7]})
    trains = io.read_spike_trains(path)
    assert trains.labels.tolist() == [7, 8]
    assert trains.train(7).tolist() == [0.5, 1.5]


def test_blocks_that_repeat_are_no_sessions(tmp_path):
    blocks = ["run", "rest", "run", "rest"]
    path = tmp_path / "x.npz"
    np.savez(path, counts=np.eye(4), bin_size_ms=500, block=blocks)
    counts = io.read_spikes(path)
    assert "session" not in counts.coords
    assert counts.block.values.tolist() == blocks
    assert counts.attrs["bin_size"] == 0.5
    paused = {"time": [0.5, 1.0, 9.5, 10.0], "u": [1, 2, 3, 4], "block": list("aabb")}
    counts = io.read_spikes(pandas.DataFrame(paused))
    assert counts.session.values.tolist() == ["0", "0", "1", "1"]
    assert counts.neuron.values.tolist() == ["u"]


def test_neo_segments_and_blocks_of_one_are_read():
    neo = pytest.importorskip("neo")
    segment = neo.Segment()
    segment.spiketrains.append(
        neo.SpikeTrain([100.0, 200.0], t_stop=500.0, units="ms", name="a")
    )
    block = neo.Block()
    block.segments.append(segment)
    for source in (segment, block, [block]):
        trains = io.read_spike_trains(source)
        assert trains.train("a").tolist() == [0.1, 0.2]
    block.segments.append(neo.Segment())
    with pytest.raises(
        InvalidInputError, match=r"a neo Block of 2 Segments.*block.segments\[0\]"
    ):
        io.read_spikes(block, 0.1)
