import numpy as np
import pytest

from neuromod import errors, switching
from neuromod.switching.em import reorder
from tests.switching.models import as_recording, random_counts


@pytest.fixture(scope="module")
def spikes():
    return as_recording(random_counts(seed=5, n_steps=80)[0])


@pytest.fixture(scope="module")
def fit(spikes):
    return switching.fit(
        spikes, 3, seed=0, prior="ridge", n_restarts=1, tolerance=1e-3, progress=False
    )


@pytest.mark.parametrize("by", ["parameters", "probability"])
def test_shuffled_states_find_their_numbers_again(by, fit, spikes):
    order = np.array([2, 0, 1])
    shuffled = switching.align_states(fit, fit, by=by)
    np.testing.assert_array_equal(shuffled.model.bias, fit.model.bias)
    other = type(fit)(
        model=reorder(fit.model, order),
        data=fit.data.map_over_datasets(
            lambda d: d.isel({k: order for k in ("state", "state_to") if k in d.dims})
        ),
        config=fit.config,
        provenance=fit.provenance,
    )
    back = switching.align_states(other, fit, by=by)
    np.testing.assert_array_equal(back.model.bias, fit.model.bias)
    np.testing.assert_array_equal(
        back.data["parameters"]["transition_matrix"],
        fit.data["parameters"]["transition_matrix"],
    )
    np.testing.assert_array_equal(
        switching.smooth(back, spikes), switching.smooth(fit, spikes)
    )
    assert back.data["latent"]["state"].values.tolist() == [0, 1, 2]
    assert back.data.attrs == fit.data.attrs


def test_more_states_than_numbers(fit, spikes):
    few = switching.fit(
        spikes, 2, seed=0, prior="ridge", n_restarts=1, tolerance=1e-3, progress=False
    )
    found = switching.align_states(fit, few)
    assert found.model.n_states == 3
    distance = ((found.model.bias[:2] - few.model.bias) ** 2).sum()
    swapped = ((found.model.bias[[1, 0]] - few.model.bias) ** 2).sum()
    weight = ((found.model.weight[:2] - few.model.weight) ** 2).sum()
    other = ((found.model.weight[[1, 0]] - few.model.weight) ** 2).sum()
    assert distance + weight <= swapped + other
    assert switching.align_states(few, fit).model.n_states == 2


def test_what_cannot_be_compared_is_refused(fit, spikes):
    bare = switching.fit(
        spikes[:60], 3, seed=0, basis=None, n_restarts=1, tolerance=1e-3, progress=False
    )
    with pytest.raises(errors.InvalidInputError, match="by='probability'"):
        switching.align_states(fit, bare)
    with pytest.raises(errors.InvalidInputError, match="the same 80 bins"):
        switching.align_states(fit, bare, by="probability")
    with pytest.raises(errors.InvalidInputError, match="by: got 'time'"):
        switching.align_states(fit, fit, by="time")
