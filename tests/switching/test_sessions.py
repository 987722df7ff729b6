"""Sessions with partly different neurons are one fit."""

import numpy as np
import pytest
import xarray as xr

from neuromod import errors, switching
from tests.switching.models import random_model


@pytest.fixture(scope="module")
def recorded():
    model = random_model(seed=3, n_states=2, n_neurons=8, stay=0.97)
    tree = switching.simulate(model, 1500, seed=2, n_sessions=2, bin_size=0.1)
    spikes = tree["recording"]["spikes"]
    sessions = [spikes.where(spikes["session"] == s, drop=True) for s in ("0", "1")]
    parts = [part.drop_vars("session").astype(int) for part in sessions]
    return tree, [parts[0].isel(neuron=slice(0, 6)), parts[1].isel(neuron=slice(2, 8))]


@pytest.fixture(scope="module")
def fit(recorded):
    return switching.fit(
        recorded[1], 2, seed=0, prior="ridge", n_restarts=2, progress=False
    )


def test_all_neurons_are_in_the_fit_and_states_are_shared(fit, recorded):
    assert fit.data["parameters"]["neuron"].values.tolist() == list(range(8))
    assert fit.config["neurons_differ"]
    found = np.concatenate([d.values for d in switching.decode(fit, recorded[1])])
    truth = recorded[0]["truth"]["state_sequence"].values
    assert switching.state_accuracy(found, truth) > 0.85


def test_other_forms_give_the_same_fit(fit, recorded):
    parts = recorded[1]
    long = xr.concat(
        [
            p.assign_coords(session=("time", [s] * 1500))
            for p, s in zip(parts, "ab", strict=True)
        ],
        dim="time",
        join="outer",
    )
    again = switching.fit(long, 2, seed=0, prior="ridge", n_restarts=2, progress=False)
    np.testing.assert_allclose(again.model.weight, fit.model.weight, atol=1e-8)


def test_a_neuron_learns_from_the_sessions_that_have_it(fit, recorded):
    """Half the bins tell half as much."""
    errors_ = fit.data["uncertainty"]["bias_standard_error"].mean("state").values
    assert errors_[[0, 1, 6, 7]].mean() > 1.1 * errors_[2:6].mean()


def test_a_neuron_may_be_lost_after_the_fit(recorded):
    """Lacking or NaN throughout, it gives no evidence; the others keep their labels."""
    whole = recorded[1][0].isel(time=slice(0, 300))
    fit = switching.fit(whole, 2, seed=0, prior="ridge", n_restarts=1, progress=False)
    assert not fit.config["neurons_differ"]
    neurons = whole["neuron"].values
    left = whole.isel(neuron=[4, 0, 1, 3, 5])
    nan = whole.where(whole["neuron"] != neurons[2])
    log_likelihood, again, of_all, turned = (
        float(switching.score(fit, part)["log_likelihood"])
        for part in (left, nan, whole, whole[:, ::-1])
    )
    assert log_likelihood == pytest.approx(again, rel=1e-12)
    assert turned == of_all < log_likelihood
    predicted = switching.predict(fit, left)
    assert predicted["neuron"].values.tolist() == neurons.tolist()
    mean = fit.data["parameters"]["baseline_rate"] * fit.config["bin_size"]
    found = switching.predict(fit, left.copy(data=np.zeros(left.shape)))
    assert found[:, 2].mean() < 2 * mean[2]
    with pytest.raises(errors.ShapeError, match=r"differ from the fit's, such as 99"):
        switching.score(fit, left.assign_coords(neuron=[4, 0, 1, 3, 99]))
    plain = left.drop_vars("neuron")
    with pytest.raises(errors.ShapeError, match="5 labels that differ"):
        switching.score(fit, plain)


def test_some_of_the_neurons_can_be_scored(fit, recorded):
    few = recorded[1][0].isel(neuron=[5, 0, 3])
    other = few.isel(neuron=[1, 2, 0])
    scores = [float(switching.score(fit, s)["log_likelihood"]) for s in (few, other)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-12)
    assert switching.smooth(fit, few).sizes["time"] == 1500
    with pytest.raises(errors.ShapeError, match="differ from the fit's"):
        switching.smooth(fit, few.assign_coords(neuron=[0, 1, 99]))
