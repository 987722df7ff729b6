"""The paper's own procedure, as `fit` follows it."""

import jax
import numpy as np
import pytest

from neuromod import datasets, errors, switching
from neuromod.switching import reference

KINDS = ["inhibitory", "none", "excitatory"]


@pytest.fixture(scope="module")
def spikes():
    tree = datasets.simulate_switching(
        seed=0, n_states=2, n_neurons=4, n_sessions=2, n_steps=200
    )
    return tree["recording"]["spikes"]


@pytest.mark.parametrize("prior", ["gaussian", "one_hot"])
def test_the_procedure_climbs_and_tells_what_it_found(prior, spikes, monkeypatch):
    monkeypatch.setattr(reference, "N_EPOCHS", 3)
    settings = {"seed": 0, "link": "sigmoid", "progress": False}
    with jax.numpy_dtype_promotion("standard"):  # optax counts its steps in integers
        fit = switching.fit(spikes, 2, prior=prior, reference=True, **settings)
    assert fit.config["reference"]
    climbed = fit.data["history"]["log_likelihood"].values[0]
    assert climbed.shape == (3,)
    assert climbed[-1] > climbed[0] + 10
    # Its biases are shared by the states.
    np.testing.assert_array_equal(fit.model.bias[0], fit.model.bias[1])
    parameters = fit.data["parameters"].to_dataset()
    if prior == "one_hot":
        kinds = parameters["connection_probability"]
        assert kinds["connection"].values.tolist() == KINDS
        sign = kinds.values.argmax(-1) - 1
        np.testing.assert_array_equal(np.sign(fit.model.weight[..., 0]), sign)


def test_what_the_paper_does_not_have_is_refused(spikes):
    with pytest.raises(errors.InvalidInputError, match="without reference=True"):
        switching.fit(spikes, 2, seed=0, basis="lags", reference=True)
