"""Choices: lapse states, chains that listen to the choices, starts from one GLM."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from neuromod import switching
from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.switching import SwitchingGLM

N_TRIALS = 4000


def engaged_and_guessing(n_trials=N_TRIALS, seed=0):
    """An animal that follows a stimulus, and at times guesses right."""
    model = SwitchingGLM(
        initial=np.array([0.5, 0.5]),
        transition_matrix=np.array([[0.98, 0.02], [0.04, 0.96]]),
        bias=np.array([[0.0], [1.0]]),
        weight=np.zeros((2, 1, 1, 0)),
        basis=np.zeros((0, 0)),
        input_weight=np.array([[[3.0]], [[0.0]]]),
        n_lapse_states=1,
        observation="bernoulli",
    )
    stimulus = np.random.default_rng(seed).normal(size=(n_trials, 1))
    time = np.arange(n_trials) + 0.5
    inputs = xr.DataArray(stimulus, dims=("time", "input"), coords={"time": time})
    tree = switching.simulate(model, n_trials, seed=seed, bin_size=1.0, inputs=inputs)
    return model, tree, inputs


@pytest.fixture(scope="module")
def lapsing():
    model, tree, inputs = engaged_and_guessing()
    fit = switching.fit(
        tree["recording"]["spikes"],
        2,
        seed=0,
        inputs=inputs,
        basis=None,
        observation="bernoulli",
        n_lapse_states=1,
        n_restarts=2,
        progress=False,
    )
    return model, tree, inputs, fit


def test_a_lapse_state_has_a_bias_alone_and_is_found(lapsing):
    model, _, _, fit = lapsing
    assert (fit.model.input_weight[1] == 0).all()
    np.testing.assert_allclose(fit.model.input_weight[0], 3.0, atol=0.35)
    np.testing.assert_allclose(fit.model.bias, model.bias, atol=0.25)
    np.testing.assert_allclose(
        fit.model.transition_matrix, model.transition_matrix, atol=0.02
    )
    error = fit.data["uncertainty"]["input_weight_standard_error"].values
    assert np.isinf(error[1]).all()
    assert 0.02 < error[0, 0, 0] < 0.5


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_unit_of_an_input_does_not_matter(lapsing, precision):
    _, tree, inputs, _ = lapsing
    few = {"time": slice(0, 1000)}
    fits = [
        switching.fit(
            tree["recording"]["spikes"].isel(few),
            2,
            seed=0,
            inputs=unit * inputs.isel(few),
            basis=None,
            observation="bernoulli",
            prior="none",
            n_restarts=1,
            precision=precision,
            progress=False,
        )
        for unit in (1.0, 1e-3, 1e9)
    ]
    weights = [
        unit * fit.model.input_weight
        for unit, fit in zip((1.0, 1e-3, 1e9), fits, strict=True)
    ]
    errors = [
        unit * np.asarray(fit.data["uncertainty"]["input_weight_standard_error"])
        for unit, fit in zip((1.0, 1e-3, 1e9), fits, strict=True)
    ]
    assert np.isfinite(errors[0]).all()
    for other in (1, 2):
        np.testing.assert_allclose(weights[other], weights[0], rtol=0.01)
        np.testing.assert_allclose(errors[other], errors[0], rtol=0.01)


def test_an_input_that_its_prior_leaves_nothing_of_is_named(lapsing):
    _, tree, inputs, _ = lapsing
    how = {"basis": None, "observation": "bernoulli", "progress": False}
    few = {"time": slice(0, 300)}
    small = inputs.isel(few).assign_coords(input=["volts"]) * 1e-3
    with pytest.warns(UserWarning, match=r"input\(s\) volts are .* Standardise them"):
        switching.fit(
            tree["recording"]["spikes"].isel(few), 1, seed=0, inputs=small, **how
        )


def test_rare_events_are_no_small_inputs(lapsing, recwarn):
    _, tree, inputs, _ = lapsing
    few = {"time": slice(0, 1000)}
    rare = xr.zeros_like(inputs.isel(few))
    rare[::100] = 1.0
    switching.fit(
        tree["recording"]["spikes"].isel(few),
        1,
        seed=0,
        inputs=rare,
        basis=None,
        observation="bernoulli",
        progress=False,
    )
    assert not [w for w in recwarn if "Standardise" in str(w.message)]


def test_each_animal_is_fitted_from_all(lapsing):
    """Own fits keep the states of the pooled one and come closer to their animal."""
    _, _, inputs, pooled = lapsing
    model = pooled.model
    own_weight = np.array([[[1.5]], [[0.0]]])
    animal = replace(model, input_weight=own_weight, bias=model.bias - 0.5)
    drive = inputs.isel(time=slice(0, 3000))
    made = switching.simulate(animal, 3000, seed=5, bin_size=1.0, inputs=drive)
    fit = switching.fit(
        made["recording"]["spikes"],
        2,
        seed=0,
        inputs=drive,
        basis=None,
        observation="bernoulli",
        n_lapse_states=1,
        init=pooled,
        progress=False,
    )
    np.testing.assert_allclose(fit.model.input_weight, own_weight, atol=0.3)
    np.testing.assert_allclose(fit.model.bias, animal.bias, atol=0.35)
    assert fit.config["warm_start"]


def test_sampled_paths_have_the_posterior_as_their_mean(lapsing):
    _, tree, inputs, fit = lapsing
    spikes = tree["recording"]["spikes"][:400]
    draws = switching.sample_states(
        fit, spikes, n_samples=400, seed=1, inputs=inputs[:400]
    )
    assert draws.dims == ("time", "sample")
    smoothed = switching.smooth(fit, spikes, inputs=inputs[:400])
    share = (draws == 1).mean("sample")
    assert np.abs(share - smoothed.sel(state=1)).max() < 0.11
    assert np.abs(share - smoothed.sel(state=1)).mean() < 0.02
    again = switching.sample_states(
        fit, spikes, n_samples=400, seed=1, inputs=inputs[:400]
    )
    assert draws.identical(again)


def test_looking_ahead_goes_from_filter_to_smoother(lapsing):
    _, tree, inputs, fit = lapsing
    spikes, inputs = tree["recording"]["spikes"][:300], inputs[:300]
    none = switching.smooth(fit, spikes, lag=0, inputs=inputs)
    np.testing.assert_allclose(
        none, switching.filter(fit, spikes, inputs=inputs), atol=1e-12
    )
    some = switching.smooth(fit, spikes, lag=20, inputs=inputs)
    whole = switching.smooth(fit, spikes, inputs=inputs)
    far = switching.smooth(fit, spikes, lag=299, inputs=inputs)
    np.testing.assert_allclose(far, whole, atol=1e-10)
    assert 0.001 < np.abs(some - whole).max() < np.abs(none - whole).max()
    # What lies further ahead is not looked at.
    other = spikes.copy()
    other[200:] = 1 - other[200:]
    changed = switching.smooth(fit, other, lag=20, inputs=inputs)
    np.testing.assert_allclose(changed[:180], some[:180], atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_lapse_states": 2}, "n_lapse_states: got 2, expected fewer than n_states"),
        ({"n_lapse_states": -1}, "n_lapse_states"),
        (
            {"n_lapse_states": 1, "basis": "exponential"},
            r"prior: got OneHot with lapse states.*prior='ridge'",
        ),
    ],
)
def test_lapses_that_cannot_be_are_refused(settings, words):
    _, tree, inputs = engaged_and_guessing(50)
    settings = {"basis": None, **settings}
    with pytest.raises(InvalidInputError, match=words):
        switching.fit(
            tree["recording"]["spikes"],
            2,
            seed=0,
            inputs=inputs,
            observation="bernoulli",
            **settings,
        )


def test_a_model_whose_lapse_states_have_weights_is_refused():
    with pytest.raises(InvalidInputError, match="none in lapse states"):
        SwitchingGLM(
            initial=np.ones(2) / 2,
            transition_matrix=np.eye(2),
            bias=np.zeros((2, 1)),
            weight=np.ones((2, 1, 1, 1)),
            basis=np.ones((1, 1)),
            n_lapse_states=1,
        )


def listening(strength=3.0):
    """Two neurons of which the first, when it fires, calls the second state."""
    tilt = np.zeros((2, 2, 2))
    tilt[:, 1, 0] = strength
    return SwitchingGLM(
        initial=np.array([0.5, 0.5]),
        transition_matrix=np.array([[0.97, 0.03], [0.1, 0.9]]),
        bias=np.array([[-2.5, -0.5], [-2.5, 1.0]]),
        weight=np.zeros((2, 2, 2, 1)),
        basis=np.ones((1, 1)),
        transition_weight=tilt,
        recurrent=True,
    )


@pytest.fixture(scope="module")
def recurring():
    tree = switching.simulate(listening(), 6000, seed=0)
    fit = switching.fit(
        tree["recording"]["spikes"],
        2,
        seed=0,
        basis=np.ones((1, 1)),
        prior="ridge",
        recurrent=True,
        n_restarts=1,
        progress=False,
    )
    return tree, fit


def test_a_recurrent_chain_finds_what_calls_a_state(recurring):
    _, fit = recurring
    tilt = np.asarray(fit.model.transition_weight)
    odds = tilt[:, 1] - tilt[:, 0]
    # States are numbered by the time spent in them, which are the true numbers here.
    np.testing.assert_allclose(odds[0, 0], 3.0, atol=0.8)
    assert abs(odds[0, 1]) < 0.5
    found = fit.data["parameters"]["transition_input"].values
    assert found.tolist() == ["0/0", "1/0"]


def test_a_recurrent_chain_streams_and_looks_only_back(recurring):
    tree, fit = recurring
    spikes = tree["recording"]["spikes"][:60]
    whole = switching.filter(fit, spikes).values
    stepper = switching.make_stepper(fit)
    state, found = stepper.start, []
    for counts in spikes.values:
        state, probability, _ = stepper.step(state, counts)
        found.append(probability)
    np.testing.assert_allclose(found, whole, atol=1e-12)
    other = spikes.copy()
    other[40:] = 1
    np.testing.assert_allclose(
        switching.filter(fit, other)[:40], whole[:40], atol=1e-12
    )


def test_a_recurrent_fit_wants_its_spikes_in_memory():
    spikes = switching.simulate(listening(), 200, seed=0)["recording"]["spikes"]
    with pytest.raises(InvalidInputError, match=r"recurrent.*spikes.load\(\)"):
        switching.fit(spikes.chunk(time=50), 2, seed=0, recurrent=True)


def test_a_recurrent_model_needs_weights_for_every_neuron():
    with pytest.raises(ShapeError, match="at least the 2 of a recurrent chain"):
        SwitchingGLM(
            initial=np.ones(2) / 2,
            transition_matrix=np.eye(2),
            bias=np.zeros((2, 2)),
            weight=np.zeros((2, 2, 2, 1)),
            basis=np.ones((1, 1)),
            recurrent=True,
        )


def test_a_lag_beyond_the_recording_is_the_whole(lapsing):
    _, tree, inputs, fit = lapsing
    spikes, inputs = tree["recording"]["spikes"][:50], inputs[:50]
    np.testing.assert_array_equal(
        switching.smooth(fit, spikes, lag=10**9, inputs=inputs),
        switching.smooth(fit, spikes, inputs=inputs),
    )
