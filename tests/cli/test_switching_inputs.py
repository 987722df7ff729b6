"""Inputs from a file, through every command that takes a recording."""

import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import neuromod as nm
from neuromod.cli.app import app
from neuromod.cli.reading import read_inputs
from neuromod.core.errors import InvalidInputError

QUICK = ("--basis", "none", "--prior", "ridge", "--restarts", "1")


def run(*arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording in bins of 0.1 s, and inputs in samples of 0.05 s."""
    folder = tmp_path_factory.mktemp("inputs")
    generator = np.random.default_rng(0)
    time = np.round(0.025 + 0.05 * np.arange(800), 6)
    light = np.repeat(generator.integers(0, 2, 100), 8).astype(float)
    speed = generator.normal(5, 1, 800)
    table = pd.DataFrame({"time": time, "speed_cm_s": speed, "light": light})
    table.to_csv(folder / "inputs.csv", index=False)
    table[["time", "light", "speed_cm_s"]].to_csv(folder / "other.csv", index=False)
    table[["time", "light"]].to_csv(folder / "light.csv", index=False)
    rates = 0.3 + 1.5 * light.reshape(-1, 2).mean(1)[:, None] * [1, 0, 1]
    np.savez(folder / "rat.npz", counts=generator.poisson(rates), bin_size=0.1)
    return folder


@pytest.fixture(scope="module")
def fitted(folder):
    done = run(
        *("switching", "fit", folder / "rat.npz", "--states", "2", *QUICK),
        *("--inputs", folder / "inputs.csv", "--out", folder / "fits"),
        *("--transition-inputs", folder / "light.csv", "--tolerance", "1e-4"),
    )
    assert done.exit_code == 0, done.output
    return folder / "fits" / "result.nc"


@pytest.fixture(scope="module")
def given(folder):
    return (
        *("--inputs", folder / "inputs.csv"),
        *("--transition-inputs", folder / "light.csv"),
    )


@pytest.fixture(scope="module")
def data(folder):
    spikes = nm.io.read_spikes(folder / "rat.npz")
    return {
        "spikes": spikes,
        "inputs": read_inputs(folder / "inputs.csv", spikes),
        "transition_inputs": read_inputs(folder / "light.csv", spikes),
    }


def test_a_bin_gets_the_mean_of_its_samples(folder, data):
    table = pd.read_csv(folder / "inputs.csv")
    inputs = data["inputs"]
    assert inputs.dims == ("time", "input")
    assert inputs["input"].values.tolist() == ["speed", "light"]
    expected = table[["speed_cm_s", "light"]].values.reshape(400, 2, 2).mean(1)
    np.testing.assert_allclose(inputs, expected)
    np.testing.assert_array_equal(inputs["time"], data["spikes"]["time"])


def test_columns_of_a_signal_are_inputs_of_their_own(tmp_path):
    time = 0.05 + 0.1 * np.arange(20)
    counts = nm.io.read_spikes({"counts": np.ones((20, 2), int), "bin_size": 0.1})
    table = pd.DataFrame({"time": time, "x": time, "y": -time, "session": "a"})
    table.to_csv(tmp_path / "position.csv", index=False)
    inputs = read_inputs(tmp_path / "position.csv", counts)
    assert inputs["input"].values.tolist() == ["position x", "position y"]
    np.testing.assert_allclose(inputs, np.c_[time, -time])


def test_the_fit_knows_its_inputs(fitted):
    found = nm.load(fitted).data["parameters"]
    assert found["input"].values.tolist() == ["speed", "light"]
    assert found["transition_input"].values.tolist() == ["light"]
    weight = found["input_weight"].sel(input="light").mean("state")
    assert weight[0] > 1
    assert abs(weight[1]) < 0.5


def test_the_report_and_its_code(fitted, given):
    page = (fitted.parent / "report.html").read_text("utf-8")
    drawn = {path.stem for path in fitted.parent.glob("*.png")}
    assert {"states", "dwell_times", "time_rescaling"} <= drawn
    assert not drawn & {"connectivity", "edges", "preferences"}
    found = re.search(r"<code>(.*?)</code>", page, re.DOTALL)
    assert found is not None
    names: dict = {}
    exec(unescape(found[1]).replace("'result.nc'", repr(str(fitted))), names)
    assert names["inputs"].sizes == {"time": 400, "input": 2}
    assert names["transition_inputs"].sizes == {"time": 400, "input": 1}


@pytest.mark.parametrize("verb", ["smooth", "filter", "decode", "predict"])
def test_verbs_take_them(verb, fitted, given, folder, data, tmp_path):
    out = tmp_path / "x.nc"
    done = run("switching", verb, fitted, folder / "rat.npz", *given, "--out", out)
    assert done.exit_code == 0, done.output
    expected = getattr(nm.switching, verb)(nm.load(fitted), **data)
    with xr.open_dataset(out, engine="h5netcdf") as found:
        np.testing.assert_array_equal(found[expected.name], expected)


def test_score_and_plot_take_them(fitted, given, folder, data, tmp_path):
    done = run("switching", "score", fitted, folder / "rat.npz", *given, "--json")
    assert done.exit_code == 0, done.output
    expected = nm.switching.score(nm.load(fitted), **data)["bits_per_spike"].item()
    assert f'"bits_per_spike": {expected}' in done.stdout
    out = tmp_path / "out"
    done = run("switching", "plot", fitted, folder / "rat.npz", *given, "--out", out)
    assert done.exit_code == 0, done.output
    assert (out / "report.html").exists()


def test_inputs_are_brought_into_the_order_of_the_fit(fitted, given, folder):
    wanted = run("switching", "score", fitted, folder / "rat.npz", *given, "--json")
    other = ("--inputs", folder / "other.csv", *given[2:])
    done = run("switching", "score", fitted, folder / "rat.npz", *other, "--json")
    assert done.stdout == wanted.stdout


def test_inputs_that_lack_are_told(fitted, given, folder):
    short = ("--inputs", folder / "light.csv", *given[2:])
    done = run("switching", "score", fitted, folder / "rat.npz", *short)
    assert done.exit_code == 2
    assert "light.csv' with light, expected speed, light" in done.stderr
    done = run("switching", "score", fitted, folder / "rat.npz")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: inputs.input: got none")


def test_selection_takes_them(folder, given, monkeypatch, tmp_path, data):
    caught = []

    def select(**handed):
        caught.append(handed)
        raise InvalidInputError("caught")

    monkeypatch.setattr(nm.switching, "select", select)
    run("switching", "select", folder / "rat.npz", *given, "--out", tmp_path / "out")
    for name in ("inputs", "transition_inputs"):
        xr.testing.assert_identical(caught[0][name], data[name])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"time": [0.05, 0.15]}, "a table needs a column `time`|nothing along time"),
        ({"time": [900.0, 901.0], "u": [1.0, 2.0]}, "some overlap"),
        ({"time": [0.05, 0.15], "u": [1.0, 2.0]}, "only 0.5% have a sample"),
        ({"time": [0.05, 0.15], "u": ["on", "off"]}, "expected numbers"),
    ],
)
def test_files_without_an_input_for_every_bin(columns, message, folder, tmp_path):
    path = tmp_path / "bad.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    done = run(
        *("switching", "fit", folder / "rat.npz", "--states", "1", *QUICK),
        *("--inputs", path, "--out", tmp_path / "out"),
    )
    assert done.exit_code == 2
    assert re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "out").exists()
