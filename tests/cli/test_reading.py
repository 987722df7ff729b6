"""Every way of reading that an error proposes can be taken from the shell."""

import inspect
from html import unescape

import numpy as np
import pytest
from typer.testing import CliRunner

import neuromod as nm
from neuromod.cli.app import app
from neuromod.cli.reading import READING, read
from neuromod.core.errors import InvalidInputError


def run(*arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(a) for a in arguments])


def fit(path, out, *options):
    quick = ("--states", "1", "--basis", "none", "--restarts", "1", "--out", out)
    return run("switching", "fit", path, *quick, "--max-iterations", "3", *options)


@pytest.fixture
def handed(monkeypatch):
    """Catch what `fit` hands to the model, which is then not fitted."""
    handed = []

    def caught(*, spikes, **__):
        handed.append(spikes)
        raise InvalidInputError("caught")

    monkeypatch.setattr(nm.switching, "fit", caught)
    return handed


@pytest.fixture
def times(tmp_path):
    """Write spike times of three units, those of the last not in order."""
    rows = [f"{t:.3f},{unit}" for unit in "ab" for t in np.arange(0.005, 2, 0.1)]
    path = tmp_path / "times.csv"
    path.write_text("\n".join(["time,unit", *rows, "1.500,c", "0.500,c"]))
    return path


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "counts.npz"
    drawn = np.random.default_rng(0).poisson(0.5, (60, 2))
    np.savez(path, counts=drawn, bin_size=0.05)
    return path


@pytest.fixture
def phy(tmp_path):
    """Write a folder as phy does: a good cluster, a mua, and noise."""
    folder = tmp_path / "phy"
    folder.mkdir()
    np.save(folder / "spike_times.npy", np.arange(1, 301) * 100)
    np.save(folder / "spike_clusters.npy", np.arange(300) % 3)
    (folder / "params.py").write_text("sample_rate = 30000.0")
    judged = "cluster_id\tgroup\n0\tgood\n1\tmua\n2\tnoise\n"
    (folder / "cluster_group.tsv").write_text(judged)
    return folder


def test_the_options_are_arguments_of_the_reader():
    assert set(READING) <= set(inspect.signature(nm.io.read_spikes).parameters)


def test_counts_keep_their_bins(handed, counts, tmp_path):
    done = fit(counts, tmp_path / "out")
    assert "read 60 bins of 0.05 s, 2 neurons" in done.stdout
    assert handed[0].attrs["bin_size"] == 0.05


def test_no_error_speaks_of_a_width_that_was_not_typed(counts):
    assert read(counts).attrs["bin_size"] == 0.05
    with pytest.raises(InvalidInputError, match="exclude: got the unit '7'") as error:
        read(counts, exclude=["7"])
    assert "bin_size" not in str(error.value)
    with pytest.raises(InvalidInputError, match=r"bin_size: got 0\.02 s"):
        read(counts, bin_size=0.02)


def test_spike_times_come_in_the_default_bins(times, tmp_path):
    done = fit(times, tmp_path / "out", "--sort")
    assert done.exit_code == 0, done.output
    assert " bins of 0.02 s, 3 neurons" in done.stdout
    page = unescape((tmp_path / "out" / "report.html").read_text("utf-8"))
    assert f"read_spikes('{times}', bin_size=0.02, sort=True)" in page


def test_times_that_do_not_ascend_need_the_option(times, tmp_path):
    done = fit(times, tmp_path / "out")
    assert done.exit_code == 2
    assert "sort=True" in done.stderr
    assert not (tmp_path / "out").exists()


def test_units_to_keep(handed, times, tmp_path):
    fit(times, tmp_path / "out", "--sort", "--include", "c", "--include", "a")
    assert handed[0]["neuron"].values.tolist() == ["c", "a"]


@pytest.mark.parametrize(
    ("options", "clusters"),
    [
        ((), [0]),
        (("--quality", "mua"), [1]),
        (("--quality", "good", "--quality", "mua"), [0, 1]),
        (("--quality", "all"), [0, 1, 2]),
    ],
)
def test_judgements_may_be_several(handed, phy, tmp_path, options, clusters):
    fit(phy, tmp_path / "out", *options)
    assert handed[0]["neuron"].values.tolist() == clusters


def test_an_unknown_basis_names_all_that_there_are(counts, tmp_path):
    done = fit(counts, tmp_path / "out", "--basis", "non")
    assert done.exit_code == 2
    known = "one of 'exponential', 'raised_cosine', 'b_spline', 'lags', 'none'"
    assert f"--basis: got 'non', expected {known}. Did you mean 'none'?" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", [("--exclude", "77"), ("--link", "probit")])
def test_a_failure_leaves_no_folder(counts, tmp_path, bad):
    done = fit(counts, tmp_path / "a" / "out", *bad)
    assert done.exit_code == 2
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_made_is_told_before_the_work(counts, tmp_path):
    (tmp_path / "file").write_text("precious")
    done = fit(counts, tmp_path / "file" / "out")
    assert done.exit_code == 2
    assert f"the file '{tmp_path / 'file'}', expected a folder" in done.stderr
    assert "read 60 bins" not in done.stdout
