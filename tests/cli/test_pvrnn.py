"""From a file of signals to a network, what it makes up and what it foresees."""

import json
import re

import mne
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import neuromod as nm
from neuromod import pvrnn
from neuromod.cli.app import app
from neuromod.cli.pvrnn_options import trials_of
from tests.cli.drawn import assert_drawn

SMALL = ("--units", "8", "--latents", "1", "--time-constants", "2", "--steps", "30")


def run(*arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(
        app, ["pvrnn", *(str(a) for a in arguments)]
    )


def waves(n_trials=3, n_steps=24):
    phase = np.arange(n_trials)[:, None, None]
    shift = np.array([0.0, 1.5])
    return 40 * np.sin(np.arange(n_steps)[:, None] / 3 + phase + shift)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pvrnn")
    np.savez(folder / "waves.npz", waves=waves(), other=np.zeros(3))
    flat = waves().reshape(-1, 2)
    table = {"time": np.arange(len(flat)) / 10, "arm": flat[:, 0], "hand": flat[:, 1]}
    pd.DataFrame(table).to_csv(folder / "waves.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def network(folder):
    out = folder / "network"
    given = ("train", folder / "waves.csv", "--trial-steps", "24", "--factor", "0.02")
    done = run(*given, *SMALL, "--meta-prior", "0.05", "--seed", "3", "--out", out)
    assert done.exit_code == 0, done.output
    assert "3 trials of up to 24 steps, 2 channels" in done.stdout
    return out / "network.nc"


def test_a_network_is_trained_as_the_verb_would(network):
    found = nm.load(network)
    trials = [xr.DataArray(0.02 * w, dims=("time", "channel")) for w in waves()]

    def build(key):
        return pvrnn.hierarchy(key, [8], [1], [2], [pvrnn.tanh_head(2)])

    objective = pvrnn.Objective(0.05)
    again = pvrnn.train(
        trials, build, seed=3, n_steps=30, objective=objective, progress=False
    )
    loss = found.data["history"]["loss"]
    np.testing.assert_allclose(loss, again.data["history"]["loss"], rtol=1e-5)
    assert found.data["latent"]["channel"].values.tolist() == ["arm", "hand"]
    assert found.provenance["seed"] == 3
    pictures = ("free_energy.png", "reconstruction.png", "latents.png")
    for name in pictures:
        assert_drawn(network.parent / name)
    left = {path.name for path in network.parent.iterdir()}
    assert left == {"network.nc", *pictures}


def test_trials_of_an_array_and_several_seeds(folder):
    given = ("train", folder / "waves.npz", "--variable", "waves", "--factor", "0.02")
    out = folder / "seeds"
    done = run(*given, *SMALL, "--head", "gaussian", "--seeds", "2", "--out", out)
    assert done.exit_code == 0, done.output
    found = nm.load(out / "network.nc")
    assert found.data["history"]["loss"].sizes == {"seed": 2, "step": 30}
    assert type(found.sel(seed=0).model.heads[0]).__name__ == "GaussianHead"


def test_a_preset_learns_the_channels_of_an_eeg(folder):
    noise = 1e-5 * np.random.default_rng(0).normal(size=(3, 200))
    info = mne.create_info(["Fz", "Cz", "Pz"], 100.0, "eeg")
    raw = mne.io.RawArray(noise, info, verbose="error")
    raw.save(folder / "few_raw.fif", verbose="error")
    signals = ("--signal", "Fz", "--signal", "Pz", "--trial-steps", "50")
    given = ("train", folder / "few_raw.fif", *signals, "--preset", "sdd")
    done = run(*given, "--steps", "3", "--out", folder / "eeg")
    assert done.exit_code == 0, done.output
    factor = re.search(r"--factor ([^ ,]+)", done.output)
    assert factor is not None
    assert 0.8 / float(factor[1]) == pytest.approx(4e-5 / 2**0.5, rel=0.1)
    how = {"signals": ["Fz", "Pz"], "trial_steps": 50}
    scaled = [
        trials_of(folder / "few_raw.fif", how | given)
        for given in ({}, {"factor": float(factor[1])})
    ]
    np.testing.assert_allclose(*scaled, rtol=1e-4)
    network, recording = folder / "eeg" / "network.nc", folder / "few_raw.fif"
    again = run("regress", network, recording, *signals, "--out", folder / "none")
    assert again.exit_code == 2
    assert "the one that training printed" in again.stderr
    found = nm.load(folder / "eeg" / "network.nc")
    assert found.data["latent"]["channel"].values.tolist() == ["Fz", "Pz"]
    assert found.data["latent"].sizes["trial"] == 4
    told, meant = found.config["objective"], pvrnn.preset("sdd", 2).objective
    np.testing.assert_allclose(told["meta_prior"], meant.meta_prior)
    assert told["constants"] == meant.constants._asdict()


def test_what_a_network_makes_up_is_that_of_the_verb(network, folder):
    out = folder / "generated"
    given = ("generate", network, "--steps", "12", "--trials", "2", "--seed", "5")
    done = run(*given, "--out", out)
    assert done.exit_code == 0, done.output
    want = pvrnn.generate(nm.load(network), 12, seed=5, n_trials=2)["channel_value"]
    with xr.open_dataset(out / "generated.nc", engine="h5netcdf") as found:
        np.testing.assert_allclose(found["channel_value"], want, atol=1e-6)
    rows = pd.read_csv(out / "generated.csv")
    np.testing.assert_allclose(
        rows[["arm", "hand"]], want.values.reshape(-1, 2), atol=1e-6
    )
    assert_drawn(out / "generated.png")


def test_regressing_tells_what_was_foreseen(network, folder):
    out = folder / "regression"
    read = ("--trial-steps", "24", "--factor", "0.02")
    how = (
        "--window",
        "4",
        "--iterations",
        "5",
        "--predicted",
        "2",
        "--seed",
        "1",
        "--draws",
        "2",
    )
    given = ("regress", network, folder / "waves.csv", *read, *how)
    done = run(*given, "--meta-prior", "0.2", "--out", out)
    assert done.exit_code == 0, done.output
    trained = nm.load(network)
    objective = pvrnn.objective_of(trained).with_meta_prior(0.2, None)
    regression = pvrnn.ErrorRegression(
        trained.model,
        objective,
        seed=1,
        window=4,
        n_iterations=5,
        n_predicted=2,
        n_draws=2,
    )
    trials = [xr.DataArray(0.02 * w, dims=("time", "channel")) for w in waves()]
    followed = pvrnn.follow(regression, trials, progress=False)
    want = pvrnn.prediction_error(followed)["error_regression"].mean("trial")
    rows = pd.read_csv(out / "errors.csv")
    np.testing.assert_allclose(rows["error_regression"], want, rtol=1e-4)
    assert_drawn(out / "regression.png")
    assert "the prior alone" in (out / "report.html").read_text("utf-8")
    told = run(*given, "--json", "--out", folder / "again")
    assert len(json.loads(told.stdout)) == len(rows)
    assert json.loads(told.stdout)[0]["error_regression"] != want.values[0]


def test_what_cannot_be_done_is_said_in_one_line(network, folder):
    csv, npz, out = folder / "waves.csv", folder / "waves.npz", folder / "x"
    for arguments, words in (
        (("train", csv, "--out", out), "-1"),
        (("train", csv, "--trial-steps", "500", "--out", out), "--trial-steps"),
        (("train", csv, "--signal", "z", "--out", out), "z"),
        (("train", npz, "--variable", "wavs", "--out", out), "waves"),
        (("train", csv, "--head", "cosh", "--out", out), "--head"),
        (("train", csv, "--units", "a", "--out", out), "--units"),
        (("train", csv, "--preset", "sa", "--units", "8", "--out", out), "--preset"),
        (("train", csv, "--factor", "0.02", "--out", network.parent), "network.nc"),
        (("generate", csv, "--out", out), "waves.csv"),
        (("regress", network, csv, "--signal", "arm", "--out", out), "channel"),
    ):
        done = run(*arguments)
        assert done.exit_code in (2, 3), done.output
        assert words in done.stderr, (arguments, done.stderr)
    assert not list(out.glob("*"))
