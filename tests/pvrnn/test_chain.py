"""One chain on a real file: read, train, foresee, keep, load, draw, report."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import neuromod as nm
from neuromod import pvrnn
from neuromod.cli.app import app
from tests.shared import shared

FEW = {"trial": slice(0, 12), "time": slice(0, 96)}


def build(key):
    return pvrnn.hierarchy(key, [15, 8], [2, 1], [2, 8], [pvrnn.tanh_head(2)])


def foretell(network, unseen):
    """Return errors along unseen trials, beside what knows nothing of them."""
    regression = pvrnn.ErrorRegression(
        network.model,
        pvrnn.objective_of(network),
        seed=0,
        n_iterations=30,
        n_predicted=3,
        n_draws=16,
    )
    followed = pvrnn.follow(regression, unseen, progress=False)
    made_up = pvrnn.generate(network, unseen.sizes["time"], seed=0, n_trials=200)
    prior_only = made_up["channel_value"].mean("trial")
    return followed, pvrnn.prediction_error(followed, {"prior_only": prior_only})


@pytest.fixture(scope="module")
def reversal():
    folder = shared("data/pvrnn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROMOD_DATA", str(folder))
        tree = nm.datasets.load("reversal_task", download=False)
    parts = (tree[part].to_dataset()["movement"] for part in ("training", "unseen"))
    learned, unseen = (part.isel(FEW) for part in parts)
    return learned, unseen[:3]


def test_from_a_file_to_a_report(reversal, tmp_path):
    learned, unseen = reversal
    network = pvrnn.train(
        learned,
        build,
        seed=0,
        n_steps=500,
        learning_rate=1e-2,
        objective=pvrnn.Objective(0.01),
        progress=False,
    )
    followed, error = foretell(network, unseen)
    mean = error.mean("trial")
    for other in ("prior_only", "last_value", "channel_mean"):
        assert (mean["error_regression"] < 0.7 * mean[other]).all()

    again = nm.load(network.save(tmp_path / "network.nc"))
    same, _ = foretell(again, unseen)
    xr.testing.assert_identical(same, followed)

    axes = pvrnn.plot_regression(followed)
    drawn = [np.asarray(line.get_ydata()) for line in axes[0].get_lines()]
    seen = followed["observation"][0, :, 0].values
    assert any(np.array_equal(line, seen) for line in drawn)

    unseen.to_dataset(name="movement").to_netcdf(
        tmp_path / "unseen.nc", engine="h5netcdf"
    )
    given = ("pvrnn", "regress", "network.nc", "unseen.nc", "--predicted", "3")
    out = tmp_path / "regression"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        done = CliRunner().invoke(
            app, [*given, "--iterations", "30", "--out", out.name]
        )
    assert done.exit_code == 0, done.output
    rows = pd.read_csv(out / "errors.csv")
    np.testing.assert_allclose(
        rows["error_regression"], mean["error_regression"], rtol=1e-4
    )
    assert "nm.pvrnn.follow(" in (out / "report.html").read_text("utf-8")
