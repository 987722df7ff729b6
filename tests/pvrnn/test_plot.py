"""Figures show the numbers that they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from neuromod import pvrnn
from neuromod.core.errors import InvalidInputError, ShapeError
from tests.pvrnn.test_train import build, waves


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def swept():
    settings = {"seed": [0, 1], "n_steps": 5, "progress": False}
    return pvrnn.sweep(waves(), build, [0.1, 0.001], **settings)


@pytest.fixture(scope="module")
def told(swept):
    return pvrnn.reconstruct(swept[0.1].sel(seed=0), seed=0)


@pytest.fixture(scope="module")
def followed(swept):
    regression = pvrnn.ErrorRegression(
        swept[0.1].sel(seed=0).model,
        pvrnn.Objective(0.1),
        seed=0,
        window=3,
        n_iterations=2,
        n_predicted=2,
    )
    return pvrnn.follow(regression, waves(2, 8), progress=False)


def test_the_free_energy_is_drawn_for_each_seed(swept):
    ax = pvrnn.plot_loss(swept[0.1])
    loss = swept[0.1].data["history"]["loss"].values
    np.testing.assert_allclose(ax.lines[0].get_ydata(), loss[0])
    np.testing.assert_allclose(ax.lines[2].get_ydata(), loss[1])
    assert ax.get_ylabel() == "Free energy"


def test_what_is_told_lies_over_what_was_recorded(told):
    axes = pvrnn.plot_reconstruction(told, waves(), trial=2)
    assert len(axes) == 1
    recorded, mine = axes[0].lines
    np.testing.assert_allclose(recorded.get_ydata(), waves()[2, :, 0])
    np.testing.assert_allclose(mine.get_ydata(), told["channel_value"][2, :, 0])


def test_latents_are_drawn_layer_by_layer(told):
    axes = pvrnn.plot_latents(told, trial=1)
    assert [ax.get_ylabel() for ax in axes] == ["layer 0", "layer 1", "KL (nats)"]
    np.testing.assert_allclose(
        axes[1].lines[1].get_ydata(), told["posterior_mean"][1, :, 1]
    )
    np.testing.assert_allclose(
        axes[2].lines[0].get_ydata(), told["divergence"][1, :, 0], rtol=1e-6
    )


def test_the_raster_has_a_row_for_each_unit(told):
    ax = pvrnn.plot_activity(told)
    np.testing.assert_allclose(
        ax.images[0].get_array(), told["activity"][0].values.T, rtol=1e-6
    )
    assert [t.get_text() for t in ax.get_yticklabels()] == ["layer 0", "layer 1"]


def test_components_are_those_of_the_greatest_variance(told):
    ax = pvrnn.plot_components(told, "layer_0", colours=["a", "a", "b", "b"])
    mine = told["activity"][..., told["layer_of_unit"].values == "layer_0"].values
    flat = mine.reshape(-1, 10)
    values = np.linalg.eigvalsh(np.cov(flat.T))[::-1]
    drawn = np.concatenate([line.get_xydata() for line in ax.lines[:4]])
    np.testing.assert_allclose(drawn.var(axis=0, ddof=1), values[:2], rtol=1e-3)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]


def test_a_sweep_is_drawn_over_its_meta_priors(swept):
    further = {"legal": xr.DataArray([[0.5, 0.7], [0.1, 0.2]])}
    axes = pvrnn.plot_sweep(swept, further)
    assert len(axes) == 3
    for ax in axes:
        np.testing.assert_allclose(ax.lines[0].get_xdata(), [0.1, 0.001])
    np.testing.assert_allclose(axes[2].lines[0].get_ydata(), [0.6, 0.15])
    last = swept[0.001].data["history"]["divergence"].sum("layer").mean()
    np.testing.assert_allclose(axes[1].lines[0].get_ydata()[1], last, rtol=1e-5)


def test_a_traversal_is_a_line_for_each_value(swept):
    found = pvrnn.traverse(swept[0.1].sel(seed=0), "layer_1", [-1, 1], 6, seed=0)
    ax = pvrnn.plot_traverse(found)
    for line, row in zip(ax.lines, found["channel_value"].values, strict=True):
        np.testing.assert_allclose(line.get_ydata(), row[:, 0])


def test_predictions_stand_at_the_steps_that_they_were_made_of(followed):
    axes = pvrnn.plot_regression(followed, trial=1, lag=2)
    assert len(axes) == 3
    observed, foreseen = axes[0].lines
    np.testing.assert_allclose(observed.get_ydata(), followed["observation"][1, :, 0])
    np.testing.assert_allclose(foreseen.get_xdata(), np.arange(2, 8))
    np.testing.assert_allclose(
        foreseen.get_ydata(), followed["prediction"][1, :-2, 1, 0]
    )


def test_axes_of_the_user_are_drawn_on(told):
    _, ax = plt.subplots()
    assert pvrnn.plot_reconstruction(told, axes=ax)[0] is ax
    with pytest.raises(ShapeError, match="axes"):
        pvrnn.plot_latents(told, axes=ax)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda told: pvrnn.plot_reconstruction(told, trial=9), "4 trials"),
        (lambda told: pvrnn.plot_reconstruction(3), "reconstruct"),
        (lambda told: pvrnn.plot_components(told, "layer_7"), "layer_7"),
        (lambda told: pvrnn.plot_components(told, "layer_0", colours="ab"), "labels"),
        (
            lambda told: pvrnn.plot_latents(told.drop_vars("posterior_mean")),
            "posterior",
        ),
        (lambda told: pvrnn.plot_regression(told), "observation"),
        (lambda told: pvrnn.plot_sweep({}), "sweep"),
    ],
)
def test_what_cannot_be_drawn_is_named(told, call, words):
    with pytest.raises(InvalidInputError, match=words):
        call(told)
