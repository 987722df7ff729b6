"""Where the truth has structure, the prior that says so finds more of it."""

import numpy as np
import pytest

from neuromod import switching

N_STATES, N_NEURONS, N_STEPS = 2, 8, 6000


def population(types):
    """Neurons with one sign each, or pairs with one kind in all states."""
    generator = np.random.default_rng(3)
    shape = (N_STATES, N_NEURONS, N_NEURONS)
    signs = generator.choice([-1, 1], N_NEURONS)
    kinds = np.where(generator.random(shape) < 0.35, signs, 0)
    if types == "shared":
        kinds = generator.choice([-1, 0, 1], shape[1:], p=[0.2, 0.6, 0.2])
        kinds = np.broadcast_to(kinds, shape)
    strength = generator.uniform(0.3, 0.9, shape)
    model = switching.SwitchingGLM(
        initial=np.array([0.5, 0.5]),
        transition_matrix=np.array([[0.98, 0.02], [0.02, 0.98]]),
        bias=np.array([[-2.2] * N_NEURONS, [-1.2] * N_NEURONS]),
        weight=(kinds * strength)[..., None],
        basis=switching.exponential_basis(3),
        link="sigmoid",
    )
    return model, kinds


@pytest.fixture(scope="module", params=["source", "shared"])
def found(request):
    types = request.param
    model, kinds = population(types)
    spikes = switching.simulate(model, N_STEPS, seed=1)["recording"]["spikes"]
    fits = {
        name: switching.fit(
            spikes,
            N_STATES,
            seed=0,
            prior=switching.OneHot(types=name),
            basis=model.basis,
            link="sigmoid",
            n_restarts=1,
            progress=False,
        )
        for name in ("edge", types)
    }
    return types, kinds, fits


def kinds_of(fit):
    return fit.data["parameters"]["connection_probability"].values.argmax(-1) - 1


def test_the_right_structure_finds_more(found):
    types, kinds, fits = found
    right = {}
    for name, fit in fits.items():
        # The state that fires more is the second of the truth.
        order = np.argsort(fit.model.bias.mean(1))
        right[name] = (kinds_of(fit)[order] == kinds).mean()
    assert right[types] > right["edge"]
    assert right[types] > 0.85


def test_the_structure_holds(found):
    types, _, fits = found
    kinds = kinds_of(fits[types])
    if types == "shared":
        np.testing.assert_array_equal(kinds[0], kinds[1])
        return
    off = ~np.eye(N_NEURONS, dtype=bool)
    for source in range(N_NEURONS):
        from_one = kinds[:, off[:, source], source]
        assert not ((from_one > 0).any() and (from_one < 0).any())


def test_no_iteration_lowers_the_objective(found):
    types, _, fits = found
    history = fits[types].data["history"].to_dataset()
    objective = history["objective"].values[0]
    own = objective[history.attrs["prior_from_iteration"] :]
    assert len(own) > 3
    assert (np.diff(own) >= -1e-9 * np.abs(own[1:])).all()
