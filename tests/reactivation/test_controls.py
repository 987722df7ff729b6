"""Measuring a network beside its controls: what is compared with what."""

import numpy as np
import pytest
from scipy import stats

from neuromod.core.errors import InvalidInputError, NotFittedError
from neuromod.reactivation import measures, sleep, train, wake
from neuromod.reactivation.controls import CONTROLS, measure
from neuromod.reactivation.measures import MisleadingWarning
from neuromod.reactivation.tasks import HeadDirection

RECIPE = {
    "n_units": 24,
    "leak": 0.5,
    "n_trials": 32,
    "n_steps": 400,
    "learning_rate": 5e-3,
    "loss_factor": "n_cells",
    "progress": False,
}
TASK = HeadDirection(n_cells=16, n_steps=12)
NIGHT = {"seed": 3, "n_trials": 12, "duration": 1.0, "burn_in": 0.2}


@pytest.fixture(scope="module")
def trained():
    return train(TASK, seed=[4, 7], recurrent_noise=0.05, **RECIPE)


@pytest.fixture(scope="module")
def noiseless():
    return train(TASK, seed=[4, 7], recurrent_noise=0.0, **RECIPE)


@pytest.fixture(scope="module")
def measured(trained, noiseless):
    with pytest.warns(MisleadingWarning, match="this number alone does not show"):
        return measure(trained, noiseless=noiseless, **NIGHT)


def test_every_condition_has_every_measure_of_every_seed(measured):
    assert list(measured["condition"].values) == ["awake", "asleep", *CONTROLS]
    assert list(measured["seed"].values) == [4, 7]
    told = [name for name in measured.data_vars if not name.endswith("_interval")]
    networks = measured[told].drop_sel(condition="uniform").drop_vars("kl_kde")
    for name, values in networks.data_vars.items():
        assert np.isfinite(values).all(), name
        assert values.attrs["units"], name
        assert values.attrs["long_name"], name
    chance = measured.sel(condition="uniform")
    assert np.isfinite(chance["kl_histogram"]).all()
    assert np.isnan(chance["cosine"]).all()


def test_the_numbers_are_those_of_nights_that_a_user_sleeps(measured, trained):
    night = {k: v for k, v in NIGHT.items() if k != "seed"}
    asleep = sleep(trained, seed=3, **night)["position"]
    awake = wake(trained, seed=4, n_trials=12, n_steps=50)["position"]
    for label in (4, 7):
        one = asleep.sel(seed=label).values
        found = measured.sel(condition="asleep", seed=label)
        np.testing.assert_allclose(
            found["kl_histogram"],
            measures.kl_histogram(one, awake.sel(seed=label).values, measures.CIRCLE),
        )
        np.testing.assert_allclose(
            found["step_length"], measures.step_length(one, periodic=True).mean()
        )


def test_trained_networks_are_told_from_their_controls(measured):
    mean = measured.mean("seed")

    def of(name, condition):
        return float(mean[name].sel(condition=condition))

    assert of("cosine", "asleep") > 0.85 > 0.7 > of("cosine", "untrained")
    assert of("cosine", "shuffled decoder") < of("cosine", "asleep") - 0.1
    assert of("step_length", "noiseless") < 0.2 * of("step_length", "asleep")
    assert of("step_length", "noiseless + noise") > 1.2 * of("step_length", "asleep")
    assert of("step_length", "same noise") < of("step_length", "asleep")
    assert of("kl_histogram", "awake") < of("kl_histogram", "noiseless")


def test_intervals_are_those_of_the_mean_over_seeds(measured):
    values = measured["cosine"].sel(condition="asleep").values
    reach = stats.t.ppf(0.975, 1) * values.std(ddof=1) / np.sqrt(2)
    expected = values.mean() + reach * np.array([-1, 1])
    found = measured["cosine_interval"].sel(condition="asleep")
    np.testing.assert_allclose(found, expected)
    assert list(found["quantile"].values) == [0.025, 0.975]


def test_what_would_mislead_is_kept_with_the_numbers(measured):
    (text,) = measured.attrs["cautions"]
    assert "an untrained network reaches a divergence" in text


def test_one_seed_tells_nothing_of_others(trained):
    found = measure(trained.sel(seed=4), controls=("same noise",), **NIGHT)
    assert list(found["condition"].values) == ["awake", "asleep", "same noise"]
    assert list(found["seed"].values) == [4]
    assert np.isinf(found["cosine_interval"]).all()
    assert found.attrs["cautions"] == []


@pytest.fixture(scope="module")
def with_own_twin():
    """Of a network that hardly learned: measured with a twin made there, and given."""
    short = RECIPE | {"n_steps": 2}
    one = train(TASK, seed=[1], recurrent_noise=0.05, **short)
    twin = train(TASK, seed=[1], recurrent_noise=0.0, **short)
    found = []
    for noiseless in (None, twin):
        with pytest.warns(MisleadingWarning, match="cosine|amplitude"):
            found.append(
                measure(
                    one,
                    controls=("noiseless",),
                    noiseless=noiseless,
                    progress=False,
                    **NIGHT,
                )
            )
    return found


def test_noiseless_networks_are_trained_if_none_are_given(with_own_twin):
    made, given = with_own_twin
    assert list(made["condition"].values) == ["awake", "asleep", "noiseless"]
    np.testing.assert_allclose(made["cosine"], given["cosine"], rtol=1e-4)


def test_bad_input_is_named(trained, noiseless):
    with pytest.raises(InvalidInputError, match="shuffled decoder"):
        measure(trained, controls=("shuffled",), **NIGHT)
    with pytest.raises(InvalidInputError, match="with noise"):
        measure(trained, noiseless=trained, **NIGHT)
    with pytest.raises(InvalidInputError, match=r"the seeds \[4\]"):
        measure(trained.sel(seed=4), noiseless=noiseless, **NIGHT)
    with pytest.raises(NotFittedError, match=r"reactivation\.train"):
        measure(trained.sel(seed=4).model, **NIGHT)
