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
    how = {"prior": "ridge", "basis": None, "n_restarts": 1}
    return switching.fit(spikes, 2, seed=0, **how, progress=False)


def test_dwell_times_and_their_law_are_the_same_fraction(fit, spikes):
    ax = switching.plot_dwell_times(fit, spikes)
    durations = switching.dwell_times(switching.decode(fit, spikes), 0.1)
    data, law = ax.lines[0], ax.lines[1]
    first = np.sort(durations[0])
    for x, y in zip(data.get_xdata(), data.get_ydata(), strict=True):
        assert y >= (first > x + 1e-9).mean() - 1e-12
    stay = fit.model.transition_matrix[0, 0]
    np.testing.assert_allclose(law.get_ydata()[0], stay)


def test_dwell_times_in_every_form(fit, spikes):
    one = switching.plot_dwell_times(fit, spikes)
    many = switching.plot_dwell_times(fit, [spikes, spikes])
    np.testing.assert_allclose(
        np.unique(one.lines[0].get_xdata()), np.unique(many.lines[0].get_xdata())
    )


def test_axes_are_in_the_unit_of_time(fit, spikes):
    trials = spikes.copy()
    trials["time"] = trials["time"].assign_attrs(units="trial")
    for array, unit in ((spikes, "s"), (trials, "trial")):
        assert switching.plot_dwell_times(fit, array).get_xlabel() == (
            f"Duration ({unit})"
        )
        assert switching.plot_states(fit, array).get_xlabel() == f"Time ({unit})"
        ax = switching.plot_peri_event(fit, array, [2.5, 4.0], window=(-0.5, 1.0))
        assert ax.get_xlabel() == f"Time from event ({unit})"


def test_peri_event_draws_the_mean_and_its_standard_error(fit, spikes):
    events = [0.1, 2.5, 3.5, 4.0, 7.9]
    ax = switching.plot_peri_event(fit, spikes, events, window=(-0.5, 1.0))
    found = switching.peri_event(
        switching.smooth(fit, spikes), events, window=(-0.5, 1.0)
    )
    for state in range(2):
        one = found.isel(state=state)
        line, band = ax.lines[state], ax.collections[state].get_paths()[0].vertices
        np.testing.assert_allclose(line.get_xdata(), found["time"])
        np.testing.assert_allclose(line.get_ydata(), one["state_probability"])
        highest = (one["state_probability"] + one["standard_error"]).max()
        assert band[:, 1].max() == pytest.approx(float(highest))
    assert ax.get_title(loc="left") == "3 events, 2 left out at the edges"


def test_peri_event_says_nothing_of_none_left_out(fit, spikes):
    ax = plt.figure().add_subplot()
    switching.plot_peri_event(fit, spikes, [3.0, 3.5], window=(-1.0, 1.0), ax=ax)
    assert "2 events" in {ax.get_title(), ax.get_title(loc="left")}


def test_no_event_with_a_whole_window_is_told(fit, spikes):
    with pytest.raises(errors.InvalidInputError, match="Shorten the window"):
        switching.plot_peri_event(fit, spikes, [0.1, 7.9])
