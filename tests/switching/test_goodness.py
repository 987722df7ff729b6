"""Checks of a fit: right models pass them, wrong ones do not."""

from dataclasses import replace

import numpy as np
import pytest

from neuromod import errors, switching
from neuromod.switching import goodness
from tests.switching.models import random_model

N_STEPS = 3000


@pytest.fixture(scope="module")
def recorded():
    model = random_model(seed=3, n_states=2, n_neurons=6, stay=0.97)
    return model, switching.simulate(model, N_STEPS, seed=1, bin_size=0.1)


@pytest.fixture(scope="module")
def right(recorded):
    """A fit whose parameters are the true ones."""
    model, tree = recorded
    fit = switching.fit(
        tree["recording"]["spikes"],
        2,
        seed=0,
        prior="ridge",
        basis=model.basis,
        n_restarts=1,
        tolerance=1.0,
        progress=False,
    )
    return replace(fit, model=model)


@pytest.fixture(scope="module")
def wrong(right):
    """The same without couplings, all states alike."""
    model = right.model
    bias = np.tile(model.bias.mean(0), (2, 1))
    nothing = switching.SwitchingGLM(
        model.initial, model.transition_matrix, bias, 0 * model.weight, model.basis
    )
    return replace(right, model=nothing)


def test_time_rescaling_tells_right_from_wrong(recorded, right, wrong):
    spikes = recorded[1]["recording"]["spikes"]
    good, bad = (switching.time_rescaling(f, spikes, seed=0) for f in (right, wrong))
    assert (good["statistic"] < good["bound"]).sum() >= 5
    assert (bad["statistic"] > bad["bound"]).sum() >= 5
    assert (good["p_value"] > bad["p_value"]).sum() >= 5
    diagonal = good["interval"] - good["quantile"]
    assert float(np.abs(diagonal).max()) < 1.5 * float(good["bound"].max())
    assert int(good["n_intervals"].sum()) == int(spikes.sum())
    again = switching.time_rescaling(right, spikes, seed=0)
    np.testing.assert_array_equal(again["statistic"], good["statistic"])


def test_co_smoothing_needs_states_that_neurons_share(recorded, right, wrong):
    spikes = recorded[1]["recording"]["spikes"]
    good, bad = (switching.co_smoothing(f, spikes, n_groups=3) for f in (right, wrong))
    assert float(good["bits_per_spike_total"]) > 0.02
    assert float(bad["bits_per_spike_total"]) < 0.005
    # What the held-out neuron itself did is not looked at.
    changed = spikes.copy(deep=True)
    changed[dict(neuron=0)] = np.roll(changed[dict(neuron=0)], 997)
    moved = switching.co_smoothing(right, changed, n_groups=6)
    same = switching.co_smoothing(right, spikes, n_groups=6)
    assert float(moved["bits_per_spike"][0]) < float(same["bits_per_spike"][0])


def test_made_up_recordings_look_like_the_real_one(recorded, right, wrong):
    spikes = recorded[1]["recording"]["spikes"]
    good, bad = (
        switching.posterior_predictive(f, spikes, seed=0, n_draws=99)
        for f in (right, wrong)
    )
    assert (good["p_value"] > 0.05).sum() >= 4
    assert float(bad["p_value"].sel(statistic="correlation")) < 0.05
    assert good["predicted"].sizes == {"statistic": 5, "draw": 99}


def test_a_model_that_explodes_is_told_not_raised(recorded, right):
    spikes = recorded[1]["recording"]["spikes"][:200]
    model = replace(right.model, weight=right.model.weight + 5.0, link="exp")
    check = switching.posterior_predictive(
        replace(right, model=model), spikes, seed=0, n_draws=9
    )
    assert check["diverged"].all()
    assert np.isposinf(check["predicted"]).all()
    np.testing.assert_allclose(check["p_value"], 0.2)


def test_drawing_in_parts_is_drawing(recorded, right, monkeypatch):
    spikes = recorded[1]["recording"]["spikes"][:300]
    monkeypatch.setattr(goodness, "LARGEST_DRAWING", 4 * spikes.size)
    check = switching.posterior_predictive(right, spikes, seed=0, n_draws=10)
    assert not check["diverged"].any()
    monkeypatch.undo()
    whole = switching.posterior_predictive(right, spikes, seed=1, n_draws=40)
    middle, spread = whole["predicted"].mean("draw"), whole["predicted"].std("draw")
    assert (abs(check["predicted"].mean("draw") - middle) < 1.5 * spread).all()
    assert len(np.unique(check["predicted"].sel(statistic="variance"))) == 10


def test_bad_input_is_refused(right, recorded):
    spikes = recorded[1]["recording"]["spikes"]
    with pytest.raises(errors.InvalidInputError, match="seed"):
        switching.time_rescaling(right, spikes, seed=-1)
    with pytest.raises(errors.InvalidInputError, match="n_draws"):
        switching.posterior_predictive(right, spikes, seed=0, n_draws=0)
    with pytest.raises(errors.InvalidInputError, match="n_groups"):
        switching.co_smoothing(right, spikes, n_groups=1)
