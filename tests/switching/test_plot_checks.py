import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from neuromod import errors, switching
from neuromod.core.style import PALETTE


def a_selection(numbers=(1, 2, 4), chosen=2) -> xr.Dataset:
    scores = np.array([[-5.0, -3.0, -4.0], [-4.0, -2.5, -3.0], [-4.1, -2.4, -2.9]])
    return xr.Dataset(
        {"log_likelihood_per_bin": (("n_states", "fold"), scores)},
        {"n_states": list(numbers), "fold": list("abc")},
        {"chosen": chosen},
    )


def a_check() -> xr.Dataset:
    """One neuron within its band, one outside, and one that is silent."""
    quantile = (np.arange(100) + 0.5) / 100
    curves = np.array([quantile, quantile**2, np.full(100, np.nan)])
    return xr.Dataset(
        {
            "statistic": ("neuron", [0.05, 0.25, np.nan]),
            "bound": ("neuron", [0.1, 0.2, np.nan]),
            "n_intervals": ("neuron", [180, 46, 0]),
            "interval": (("neuron", "quantile"), curves),
        },
        {"neuron": list("xyz"), "quantile": quantile},
    )


def test_selection_draws_the_gain_of_every_fold_and_their_mean():
    ax = switching.plot_selection(a_selection())
    gains = np.array([[0, 1.0, 0.9], [0, 0.5, 0.6], [0, 1.0, 1.1]])
    drawn = {tuple(np.round(line.get_ydata(), 9)) for line in ax.lines}
    assert {tuple(row) for row in gains} <= drawn
    container = ax.containers[0]
    np.testing.assert_allclose(container.lines[0].get_ydata(), gains.mean(0))
    segment = container.lines[2][0].get_segments()[1]
    error = gains[:, 1].std(ddof=1) / np.sqrt(3)
    assert np.ptp(segment[:, 1]) == pytest.approx(2 * error)
    assert ax.get_xticks().tolist() == [1, 2, 4]
    assert "gain over 1 state\n" in ax.get_ylabel()


def test_selection_marks_the_chosen_number():
    ax = switching.plot_selection(a_selection((2, 3, 5), chosen=5))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "chosen: 5" in labels
    mark = next(line for line in ax.lines if line.get_label() == "chosen: 5")
    assert mark.get_xdata() == [5]
    np.testing.assert_allclose(mark.get_ydata(), [2.6 / 3])
    assert "gain over 2 states\n" in ax.get_ylabel()


def test_time_rescaling_tells_who_leaves_the_band():
    ax = switching.plot_time_rescaling(a_check())
    check = a_check()
    colours = [to_hex(line.get_color()) for line in ax.lines[:2]]
    assert colours[1] == PALETTE[1].lower() != colours[0]
    for line, curve in zip(ax.lines[:2], check["interval"].values[:2], strict=True):
        np.testing.assert_allclose(line.get_ydata(), curve)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["within 95 % band (1)", "outside (1)"]


def test_time_rescaling_draws_the_widest_and_the_narrowest_band():
    ax = switching.plot_time_rescaling(a_check())
    for band, width in zip(ax.collections, (0.2, 0.1), strict=True):
        above = np.asarray(band.get_paths()[0].vertices)
        assert (above[:, 1] - above[:, 0]).max() == pytest.approx(width)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: switching.plot_selection(a_check()), "neuromod.switching.select"),
        (
            lambda: switching.plot_time_rescaling(a_selection()),
            "Pass neuromod.switching.time_rescaling",
        ),
        (
            lambda: switching.plot_time_rescaling(a_check().isel(neuron=[2])),
            "expected at least one that fires",
        ),
    ],
)
def test_bad_requests(call, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        call()
