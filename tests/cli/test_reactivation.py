"""From a task or an animal's path to a network, its sleep and a report, by commands."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image
from typer.testing import CliRunner

import neuromod as nm
from neuromod.cli.app import app
from tests.cli.drawn import assert_drawn

SMALL = ("--units", "16", "--steps", "30", "--trials", "8")
NIGHT = ("--duration", "0.6", "--burn-in", "0.2", "--trials", "6")


def run(*arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(
        app, ["reactivation", *(str(a) for a in arguments)]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reactivation")


@pytest.fixture(scope="module")
def network(folder):
    done = run("train", "demo", *SMALL, "--seed", "3", "--out", folder / "network")
    assert done.exit_code == 0, done.output
    return folder / "network" / "network.nc"


def test_a_network_is_trained_by_the_recipe_that_was_asked_for(network):
    found = nm.load(network)
    assert found.model.network.n_units == 16
    assert found.data["history"]["loss"].sizes == {"step": 30}
    assert found.provenance["seed"] == 3
    assert_drawn(network.parent / "loss.png")
    assert {p.name for p in network.parent.iterdir()} == {"network.nc", "loss.png"}


def test_a_night_is_written_as_numbers_pictures_and_a_film(network, folder):
    out = folder / "sleep"
    done = run(
        *("sleep", network, *NIGHT, "--seed", "5", "--momentum", "0.3"),
        *("--film", "night.gif", "--out", out),
    )
    assert done.exit_code == 0, done.output
    with xr.open_dataset(out / "sleep.nc") as found:
        again = nm.reactivation.sleep(
            nm.load(network), 0.6, burn_in=0.2, n_trials=6, seed=5, momentum=0.3
        )
        np.testing.assert_allclose(found["position"], again["position"], atol=1e-6)
    assert_drawn(out / "trajectories.png")
    assert_drawn(out / "occupancy.png")
    with Image.open(out / "night.gif") as film:
        film.seek(5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_measures_come_as_table_pictures_and_page(network, folder):
    out = folder / "measures"
    done = run("measure", network, *NIGHT, "--out", out)
    assert done.exit_code == 0, done.output
    assert "shuffled decoder" in done.stdout
    rows = pd.read_csv(out / "measures.csv")
    with xr.open_dataset(out / "measures.nc") as found:
        one = rows[(rows["condition"] == "asleep") & (rows["measure"] == "cosine")]
        cosine = found["cosine"].sel(condition="asleep").item()
        assert one["mean"].item() == pytest.approx(cosine)
    assert_drawn(out / "controls.png")
    assert_drawn(out / "displacement.png")
    page = (out / "report.html").read_text("utf-8")
    assert "nm.reactivation.measure(" in page
    told = run("measure", network, *NIGHT, "--json", "--out", folder / "again")
    assert len(json.loads(told.stdout)) == len(rows)


def test_a_network_learns_the_way_of_an_animal(folder):
    time = np.arange(0, 30, 0.03)
    track = 100 + 90 * np.sin(time)
    table = pd.DataFrame({"time": time, "x": track, "y": 0.5 * track})
    table.to_csv(folder / "rat.csv", index=False)
    out = folder / "rat"
    given = ("train", folder / "rat.csv", *SMALL, "--trial-steps", "12", "--seeds", "2")
    refused = run(*given, "--out", out)
    assert refused.exit_code == 2
    assert "--scale" in refused.stderr
    done = run(*given, "--scale", "0.01", "--out", out)
    assert done.exit_code == 0, done.output
    found = nm.load(out / "network.nc")
    assert found.data["history"]["loss"].sizes["seed"] == 2
    (low, high), _ = found.sel(seed=0).model.task.bounds
    assert (low, high) == pytest.approx((0.1, 1.9), abs=0.01)


def test_what_cannot_be_done_is_said_in_one_line(network, folder):
    for arguments, words in (
        (("train", "dmo", "--out", folder / "x"), "demo"),
        (("train", "demo", "--scale", "0.1", "--out", folder / "x"), "--scale"),
        (("train", "demo", "--out", network.parent), "network.nc"),
        (("sleep", network, "--duration", "0", "--out", folder / "x"), "duration"),
        (("sleep", network, "--film", "night.avi", "--out", folder / "x"), "gif"),
    ):
        done = run(*arguments)
        assert done.exit_code == 2, done.output
        assert words in done.stderr
    assert not (folder / "x").exists()
