"""From a file to states, figures and a report, by commands alone."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image
from typer.testing import CliRunner

import neuromod as nm
from neuromod.cli.app import app
from neuromod.cli.switching_section import FIGURES

OPTIONS = ("--states", "2", "--bin-size", "0.05", "--link", "sigmoid", "--seed", "3")


def run(*arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def recording(folder):
    """Counts of five neurons in two states, and of one that is all noise."""
    generator = np.random.default_rng(0)
    state = np.arange(800) // 20 % 2
    rates = np.array([[0.1, 0.1, 0.4, 0.8, 0.3], [0.6, 0.3, 0.1, 0.2, 0.3]])
    counts = generator.binomial(1, rates[state])
    noise = generator.poisson(5, (800, 1))
    np.savez(folder / "rat.npz", counts=np.c_[counts, noise], bin_size=0.05)
    return folder / "rat.npz"


@pytest.fixture(scope="module")
def fitted(folder, recording):
    out = folder / "fits"
    done = run(
        *("switching", "fit", recording, *OPTIONS, "--exclude", "5", "--out", out),
        *("--restarts", "2", "--max-iterations", "40", "--tolerance", "1e-4"),
    )
    assert done.exit_code == 0, done.output
    return out, done


def test_fit_says_what_it_read_and_wrote(fitted, recording):
    out, done = fitted
    assert f"read 800 bins of 0.05 s, 5 neurons: {recording}" in done.stdout
    written = re.findall(r"wrote (.*)", done.stdout)
    assert sorted(written) == sorted(str(path) for path in out.iterdir())


def test_fit_prints_the_summary_of_the_result(fitted):
    out, done = fitted
    assert nm.load(out / "result.nc").summary() in done.stdout


def test_fit_hands_every_option_to_the_model(fitted):
    result = nm.load(fitted[0] / "result.nc")
    wanted = {
        "n_states": 2,
        "bin_size": pytest.approx(0.05),
        "link": "sigmoid",
        "observation": "poisson",
        "prior": {"name": "OneHot", "types": "edge", "baseline_precision": 1.0},
        "stickiness": 0.0,
        "n_restarts": 2,
        "max_iterations": 40,
        "tolerance": 1e-4,
        "precision": "float64",
    }
    assert {name: result.config[name] for name in wanted} == wanted
    assert result.provenance["seed"] == 3
    assert result.data["parameters"]["neuron"].values.tolist() == [0, 1, 2, 3, 4]


def test_the_saved_fit_is_the_fit_of_the_library(fitted, recording):
    spikes = nm.io.read_spikes(recording, bin_size=0.05, exclude=[5])
    here = nm.switching.fit(
        spikes,
        2,
        seed=3,
        link="sigmoid",
        n_restarts=2,
        max_iterations=40,
        tolerance=1e-4,
        progress=False,
    )
    saved = nm.load(fitted[0] / "result.nc")
    assert np.array_equal(
        nm.switching.smooth(saved, spikes), nm.switching.smooth(here, spikes)
    )


def test_figures_are_drawn(fitted):
    out, _ = fitted
    for name in FIGURES:
        colours = Image.open(out / f"{name}.png").convert("L").getcolors()
        assert colours is not None
        assert len(colours) > 10


def test_the_report_tells_of_the_fit(fitted, recording):
    page = (fitted[0] / "report.html").read_text("utf-8")
    assert "<h1>Brain states of rat.npz</h1>" in page
    assert page.count("<img ") == len(FIGURES)
    spikes = nm.io.read_spikes(recording, bin_size=0.05, exclude=[5])
    result = nm.load(fitted[0] / "result.nc")
    gain = float(nm.switching.score(result, spikes)["bits_per_spike"])
    assert f"{gain:.4g}\u00a0bits per spike" in page
    assert "exclude=&#x27;5&#x27;" in page


def test_the_code_in_the_report_runs(fitted, recording):
    from html import unescape

    page = (fitted[0] / "report.html").read_text("utf-8")
    found = re.search(r"<code>(.*?)</code>", page, re.DOTALL)
    assert found is not None
    code = unescape(found[1]).replace("'result.nc'", repr(str(fitted[0] / "result.nc")))
    names: dict = {}
    exec(code, names)
    assert dict(names["spikes"].sizes) == {"time": 800, "neuron": 5}


def test_nothing_is_replaced_without_force(fitted, recording):
    out, _ = fitted
    before = (out / "result.nc").read_bytes()
    done = run("switching", "fit", recording, *OPTIONS, "--out", out)
    assert done.exit_code == 2
    assert "already holds result.nc, report.html" in done.stderr
    assert "--force" in done.stderr
    assert (out / "result.nc").read_bytes() == before


@pytest.mark.parametrize(
    ("verb", "columns"),
    [
        ("smooth", ["state 0", "state 1"]),
        ("filter", ["state 0", "state 1"]),
        ("decode", ["state_sequence"]),
        ("predict", [f"neuron {n}" for n in range(5)]),
    ],
)
def test_verbs_write_tables(verb, columns, fitted, recording, tmp_path):
    saved = fitted[0] / "result.nc"
    done = run("switching", verb, saved, recording, "--out", tmp_path / "x.csv")
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "x.csv", index_col="time")
    assert list(table.columns) == columns
    spikes = nm.io.read_spikes(recording, bin_size=0.05, exclude=[5])
    expected = getattr(nm.switching, verb)(nm.load(saved), spikes)
    assert np.allclose(table.values.squeeze(), expected.values, rtol=1e-12)
    assert np.allclose(table.index, expected["time"])


def test_verbs_write_netcdf(fitted, recording, tmp_path):
    saved, path = fitted[0] / "result.nc", tmp_path / "x.nc"
    done = run("switching", "smooth", saved, recording, "--out", path)
    assert done.exit_code == 0, done.output
    spikes = nm.io.read_spikes(recording, bin_size=0.05, exclude=[5])
    expected = nm.switching.smooth(nm.load(saved), spikes)
    with xr.open_dataset(path, engine="h5netcdf") as found:
        xr.testing.assert_equal(found["state_probability"].load(), expected)


def test_verbs_refuse_formats_they_cannot_write(fitted, recording, tmp_path):
    saved = fitted[0] / "result.nc"
    done = run("switching", "smooth", saved, recording, "--out", tmp_path / "x.xls")
    assert done.exit_code == 2
    assert ".nc (netCDF) or .csv" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_verbs_do_not_replace_a_file(fitted, recording, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("precious")
    saved = fitted[0] / "result.nc"
    done = run("switching", "decode", saved, recording, "--out", path)
    assert done.exit_code == 2
    assert path.read_text() == "precious"
    done = run("switching", "decode", saved, recording, "--out", path, "--force")
    assert done.exit_code == 0
    assert path.read_text().startswith("time,state_sequence\n")


def test_score_of_a_stretch(fitted, recording):
    saved = fitted[0] / "result.nc"
    done = run("switching", "score", saved, recording, "--start", "20", "--json")
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)
    spikes = nm.io.read_spikes(recording, bin_size=0.05, exclude=[5], start=20.0)
    assert spikes.sizes["time"] == 400
    expected = nm.switching.score(nm.load(saved), spikes)
    assert scores["bits_per_spike"] == float(expected["bits_per_spike"])


def test_score_as_a_table_has_units(fitted, recording):
    done = run("switching", "score", fitted[0] / "result.nc", recording)
    assert re.search(r"bits_per_spike +[\d.]+ bits/spike\n", done.stdout)


def test_plot_draws_a_saved_fit_again(fitted, recording, tmp_path):
    saved = fitted[0] / "result.nc"
    done = run("switching", "plot", saved, recording, "--out", tmp_path / "again")
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "again").iterdir()}
    assert names == {"report.html", *(f"{name}.png" for name in FIGURES)}


def test_an_unknown_unit_is_told(recording, tmp_path):
    done = run(
        "switching", "fit", recording, *OPTIONS, "--exclude", "77", "--out", tmp_path
    )
    assert done.exit_code == 2
    assert done.stderr.startswith("error: exclude: got the unit '77'")


def test_a_missing_file_is_told_before_anything_is_loaded(tmp_path):
    done = run("switching", "fit", tmp_path / "no.npz", "--states", "2")
    assert done.exit_code == 2
    assert "does not exist" in " ".join(done.stderr.replace("│", " ").split())


def test_a_damaged_recording_exits_with_3(tmp_path):
    path = tmp_path / "rat.npz"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    done = run("switching", "fit", path, *OPTIONS, "--out", tmp_path / "out")
    assert done.exit_code == 3
    assert "rat.npz" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_damaged_result_exits_with_3(fitted, recording, tmp_path):
    path = tmp_path / "result.nc"
    raw = bytearray((fitted[0] / "result.nc").read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    done = run("switching", "score", path, recording)
    assert done.exit_code == 3


def test_an_output_that_is_a_file_is_refused(recording, tmp_path):
    path = tmp_path / "fits"
    path.write_text("precious")
    done = run("switching", "fit", recording, *OPTIONS, "--out", path)
    assert done.exit_code == 2
    assert "expected a folder" in done.stderr
    assert path.read_text() == "precious"


def test_no_couplings_leave_out_their_figure(recording, tmp_path):
    done = run(
        *("switching", "fit", recording, *OPTIONS, "--exclude", "5", "--basis", "none"),
        *("--restarts", "1", "--max-iterations", "1", "--out", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output
    assert nm.load(tmp_path / "out" / "result.nc").model.n_lags == 0
    assert not (tmp_path / "out" / "connectivity.png").exists()
    assert "had not converged" in done.stderr  # one iteration does not suffice
