import matplotlib.pyplot as plt
import numpy as np
import pytest

from neuromod import errors, switching
from tests.switching.models import as_recording, random_counts


@pytest.fixture(scope="module")
def spikes():
    return as_recording(random_counts(seed=5, n_steps=80)[0])


@pytest.fixture(scope="module")
def fit(spikes):
    return switching.fit(spikes, 2, seed=0, n_restarts=2, progress=False)


def test_every_plot_takes_and_returns_axes(fit, spikes):
    calls = {
        "plot_states": (fit, spikes),
        "plot_connectivity": (fit,),
        "plot_convergence": (fit,),
        "plot_dwell_times": (fit, spikes),
        "plot_filters": (fit, "n0"),
        "plot_rates": (fit,),
        "plot_transitions": (fit,),
    }
    assert set(calls) == {n for n in switching.__all__ if n.startswith("plot_")}
    for name, arguments in calls.items():
        own = getattr(switching, name)(*arguments)
        assert own.get_xlabel(), name
        assert own.get_ylabel(), name
        ax = plt.figure().add_subplot()
        assert getattr(switching, name)(*arguments, ax=ax) is ax


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


def test_dwell_times_and_their_law_are_the_same_fraction(fit, spikes):
    ax = switching.plot_dwell_times(fit, spikes)
    durations = switching.dwell_times(switching.decode(fit, spikes), 0.1)
    data, law = ax.lines[0], ax.lines[1]
    first = np.sort(durations[0])
    for x, y in zip(data.get_xdata(), data.get_ydata(), strict=True):
        assert y >= (first > x + 1e-9).mean() - 1e-12
    stay = fit.model.transition_matrix[0, 0]
    np.testing.assert_allclose(law.get_ydata()[0], stay)


def test_connectivity_shows_the_summed_weights(fit):
    ax = switching.plot_connectivity(fit, state=1)
    np.testing.assert_allclose(ax.images[0].get_array(), fit.model.weight[1].sum(-1))
    low, high = ax.images[0].get_clim()
    assert low == -high


def test_convergence_marks_the_kept_restart(fit):
    ax = switching.plot_convergence(fit)
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    history = fit.data["history"]["objective"].max("iteration")
    assert labels == [f"restart {int(history.values.argmax())} (kept)"]


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


def test_dwell_times_in_every_form(fit, spikes):
    one = switching.plot_dwell_times(fit, spikes)
    many = switching.plot_dwell_times(fit, [spikes, spikes])
    np.testing.assert_allclose(
        np.unique(one.lines[0].get_xdata()), np.unique(many.lines[0].get_xdata())
    )


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
