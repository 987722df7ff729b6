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


def test_edges_show_probability_and_sign(fit):
    ax = switching.plot_edges(fit, state=1)
    kinds = fit.data["parameters"]["connection_probability"].sel(state=1)
    drawn = np.asarray(ax.images[0].get_array())
    for target in range(3):
        for source in range(3):
            inhibits, absent, excites = kinds.values[target, source]
            expected = (1 - absent) * (1 if excites >= inhibits else -1)
            assert drawn[target, source] == pytest.approx(expected)
    assert len({*np.sign(drawn.ravel())}) == 2
    assert ax.images[0].get_clim() == (-1, 1)
    assert ax.get_title(loc="left") == "State 1"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["n0", "n1", "n2"]


def test_preferences_show_each_kind_in_its_own_matrix(fit):
    ax = switching.plot_preferences(fit)
    preference = fit.data["parameters"]["connection_preference"]
    drawn = np.ma.filled(ax.images[0].get_array(), np.nan)
    for i, kind in enumerate(("inhibitory", "none", "excitatory")):
        part = drawn[:, 4 * i : 4 * i + 3]
        np.testing.assert_allclose(part, preference.sel(connection=kind))
    assert np.isnan(drawn[:, [3, 7]]).all()
    assert [t.get_text() for t in ax.texts] == ["Inhibitory", "None", "Excitatory"]
    ticks = [t.get_text() for t in ax.get_xticklabels()]
    assert ticks == ["n0", "n1", "n2"] * 3


def test_other_priors_and_models_know_no_kinds(fit, spikes):
    how = {"basis": None, "progress": False}
    plain = switching.fit(spikes, 1, seed=0, prior="ridge", **how)
    for plot in (switching.plot_edges, switching.plot_preferences):
        with pytest.raises(errors.InvalidInputError, match=r"Ridge.*prior='one_hot'"):
            plot(plain)
    with pytest.raises(errors.InvalidInputError, match="state: got 2"):
        switching.plot_edges(fit, state=2)
    with pytest.raises(errors.NotFittedError):
        switching.plot_edges("fit")
