import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from neuromod import errors, switching
from tests.switching.models import as_recording, random_counts
from tests.switching.test_plot_checks import a_selection


@pytest.fixture(scope="module")
def spikes():
    return as_recording(random_counts(seed=5, n_steps=80)[0])


@pytest.fixture(scope="module")
def fit(spikes):
    return switching.fit(spikes, 2, seed=0, n_restarts=2, progress=False)


def test_every_plot_takes_and_returns_axes(fit, spikes):
    check = switching.time_rescaling(fit, spikes, seed=0)
    calls = {
        "plot_states": (fit, spikes),
        "plot_connectivity": (fit,),
        "plot_convergence": (fit,),
        "plot_dwell_times": (fit, spikes),
        "plot_edges": (fit,),
        "plot_filters": (fit, "n0"),
        "plot_peri_event": (fit, spikes, [2.3, 2.8]),
        "plot_preferences": (fit,),
        "plot_rates": (fit,),
        "plot_selection": (a_selection(),),
        "plot_time_rescaling": (check,),
        "plot_transitions": (fit,),
    }
    assert set(calls) == {n for n in switching.__all__ if n.startswith("plot_")}
    for name, arguments in calls.items():
        own = getattr(switching, name)(*arguments)
        assert own.get_xlabel(), name
        assert own.get_ylabel(), name
        ax = plt.figure().add_subplot()
        assert getattr(switching, name)(*arguments, ax=ax) is ax
        plt.close("all")


def test_states_show_spikes_and_certainty(fit, spikes):
    ax = switching.plot_states(fit, spikes, start=2.0, stop=6.0)
    window = spikes.sel(time=slice(2.0, 6.0))
    marks = ax.collections[0].get_offsets()
    bins, neurons = np.nonzero(window.values)
    np.testing.assert_allclose(marks[:, 0], window.time.values[bins])
    np.testing.assert_array_equal(marks[:, 1], neurons)
    ground = ax.images[0].get_array()
    smoothed = switching.smooth(fit, spikes).sel(time=slice(2.0, 6.0))
    np.testing.assert_allclose(ground[0, :, 3], 0.45 * smoothed.max("state"))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["n0", "n1", "n2"]


def test_missing_bins_are_not_drawn_as_silence(fit, spikes):
    missing = spikes.where((spikes.time < 2) | (spikes.time > 5))
    ax = switching.plot_states(fit, missing)
    smoothed = switching.smooth(fit, missing).max("state")
    np.testing.assert_allclose(ax.images[0].get_array()[0, :, 3], 0.45 * smoothed)


def test_connectivity_shows_the_summed_weights(fit):
    ax = switching.plot_connectivity(fit, state=1)
    np.testing.assert_allclose(ax.images[0].get_array(), fit.model.weight[1].sum(-1))
    low, high = ax.images[0].get_clim()
    assert low == -high


def test_convergence_marks_the_kept_restart(fit):
    ax = switching.plot_convergence(fit)
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    history = fit.data["history"]["objective"].max("iteration")
    assert labels[0] == f"restart {int(history.values.argmax())} (kept)"


def test_convergence_breaks_where_the_prior_takes_over(fit):
    history = fit.data["history"].to_dataset()
    taken_over = history.attrs["prior_from_iteration"]
    assert 0 < taken_over <= history.attrs["n_iterations"]
    ax = switching.plot_convergence(fit)
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels[-1] == "from here with its own prior"
    kept = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) > 2]
    assert any(x[0] == taken_over for x in kept)
    assert any(x[-1] == taken_over - 1 for x in kept)


def test_transitions_are_written_in(fit):
    ax = switching.plot_transitions(fit)
    written = [float(t.get_text()) for t in ax.texts]
    np.testing.assert_allclose(written, fit.model.transition_matrix.ravel(), atol=6e-4)


def test_filters_are_weights_times_basis(fit):
    ax = switching.plot_filters(fit, "n2", state=1)
    lines = {tuple(np.round(line.get_ydata(), 9)) for line in ax.lines}
    for source in range(3):
        expected = fit.model.weight[1, 2, source] @ fit.model.basis
        assert tuple(np.round(expected, 9)) in lines


def test_rates_are_in_hertz(fit):
    ax = switching.plot_rates(fit)
    expected = np.log1p(np.exp(fit.model.bias)) / fit.config["bin_size"]
    drawn = [line.get_ydata() for line in ax.lines]
    np.testing.assert_allclose(drawn, expected, rtol=1e-5)


def test_choices_are_drawn_as_probabilities():
    trials = as_recording(np.minimum(random_counts(seed=5, n_steps=80)[0], 1))
    how = {"observation": "bernoulli", "basis": None, "prior": "ridge"}
    fit = switching.fit(trials, 1, seed=0, **how, progress=False)
    ax = switching.plot_rates(fit)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), trials.mean("time"), rtol=0.05)
    assert ax.get_yscale() == "linear"
    assert "Hz" not in ax.get_ylabel()


def test_a_session_is_drawn_with_its_own_inputs(spikes):
    """The state of each bin follows an input that differs between sessions."""
    drive = xr.DataArray(
        (np.arange(80) % 20 < 10).astype(float)[:, None],
        {"time": spikes["time"], "input": ["u"]},
        ("time", "input"),
    )
    inputs = [drive, 1 - drive]
    how = {"basis": None, "prior": "ridge", "n_restarts": 1, "progress": False}
    fit = switching.fit([spikes, spikes], 2, seed=0, inputs=inputs, **how)
    ax = switching.plot_states(fit, [spikes, spikes], session="1", inputs=inputs)
    smoothed = switching.smooth(fit, [spikes, spikes], inputs=inputs)[1]
    drawn = ax.images[0].get_array()[0, :, 3]
    np.testing.assert_allclose(drawn, 0.45 * smoothed.max("state"))
    ax = switching.plot_dwell_times(fit, [spikes, spikes], inputs=inputs)
    assert ax.lines
    ax = switching.plot_peri_event(
        fit, [spikes, spikes], [[3.0], [3.0]], inputs=inputs, window=(0.0, 1.0)
    )
    mean = (smoothed + switching.smooth(fit, [spikes] * 2, inputs=inputs)[0]) / 2
    np.testing.assert_allclose(ax.lines[0].get_ydata(), mean[30:41, 0])


def _uncoupled(spikes):
    return switching.fit(spikes, 1, seed=0, basis=None, progress=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, s: switching.plot_connectivity(f, state=2), "from 0 to 1"),
        (
            lambda f, s: switching.plot_connectivity(_uncoupled(s)),
            "basis='exponential'",
        ),
        (lambda f, s: switching.plot_filters(f, "n9"), "neuron: got 'n9'"),
        (lambda f, s: switching.plot_states(f, s, start=99.0), "at least one bin"),
        (lambda f, s: switching.plot_states(f, s, session="x"), "session: got 'x'"),
    ],
)
def test_bad_requests(fit, spikes, call, message):
    with pytest.raises(errors.InvalidInputError, match=message):
        call(fit, spikes)
