"""Sleep: what a network does in silence, and what every option does to it."""

import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuromod.core.errors import InvalidInputError, NotFittedError
from neuromod.reactivation import presets
from neuromod.reactivation.navigator import Navigator
from neuromod.reactivation.sleep import sleep
from neuromod.reactivation.tasks import SpatialNavigation
from tests.parity import _reactivation_networks as parity
from tests.parity._format import load
from tests.shared import shared

WALKS = {"n_trials": 20, "seed": 3}


@pytest.fixture(scope="module")
def trained():
    """A network that was trained elsewhere, as one that was trained here."""
    fixture = load(Path(shared("reference/reactivation")) / "trained_small.npz")
    network, code, _ = parity.trained(fixture, "spatial_biased_noisy")
    task = SpatialNavigation(biased=True, code=code, n_steps=60)
    return Navigator(network, task)


def spread(dataset):
    """Mean variance of positions within a trial."""
    return float(dataset["position"].var("time").sum("space").mean())


def test_a_trained_network_visits_places_and_stays_on_its_code():
    path = Path(shared("reference/reactivation")) / "trained_small.npz"
    fixture = load(path)
    told = {name: parity.asleep(fixture, name) for name in (
        "hd_noisy", "spatial_biased_noisy", "spatial_biased_noiseless"
    )}  # fmt: skip
    assert told["hd_noisy"][0] == pytest.approx(0.95, abs=0.02)
    assert told["hd_noisy"][1] == pytest.approx(0.131, rel=0.15)
    assert told["spatial_biased_noisy"][0] == pytest.approx(0.99, abs=0.01)
    assert told["spatial_biased_noisy"][1] == pytest.approx(0.018, abs=0.0025)
    assert told["spatial_biased_noiseless"][0] == pytest.approx(0.90, abs=0.02)
    assert told["spatial_biased_noiseless"][1] == pytest.approx(0.068, abs=0.006)


def test_positions_are_labelled_and_the_same_for_the_same_seed(trained):
    found = sleep(trained, 1.0, record_every=5, burn_in=0.4, states=True, **WALKS)
    assert found["position"].dims == ("trial", "time", "space")
    assert dict(found.sizes) == {"trial": 20, "time": 10, "space": 2, "unit": 100}
    np.testing.assert_allclose(found["time"], 0.4 + 0.1 * np.arange(1, 11))
    assert found["position"].attrs["units"] == "m"
    again = sleep(trained, 1.0, record_every=5, burn_in=0.4, states=True, **WALKS)
    assert found.identical(again)
    other = sleep(trained, 1.0, record_every=5, n_trials=20, seed=4)
    assert not np.array_equal(found["position"], other["position"])


def test_thinner_records_are_some_of_all(trained):
    every = sleep(trained, 2.0, **WALKS)
    some = sleep(trained, 2.0, record_every=4, outputs=True, **WALKS)
    np.testing.assert_allclose(
        some["position"], every["position"].isel(time=slice(3, None, 4)), atol=1e-4
    )
    decoded = trained.task.code.decode(jnp.asarray(some["output"].values))
    np.testing.assert_allclose(decoded, some["position"], atol=1e-6)


def test_more_noise_wanders_farther_and_none_comes_to_rest(trained):
    found = {
        "zero": sleep(trained, 6.0, scheme="zero", **WALKS),
        "same": sleep(trained, 6.0, scheme="same", **WALKS),
        "root two": sleep(trained, 6.0, **WALKS),
        "twice": sleep(trained, 6.0, noise_scale=2.0, **WALKS),
    }
    steps = [
        float(abs(np.diff(each["position"][:, 200:], axis=1)).mean())
        for each in found.values()
    ]
    assert steps == sorted(steps)
    assert steps[0] < 0.1 * steps[1]
    absolute = sleep(trained, 6.0, scheme="absolute", noise_scale=0.04, **WALKS)
    np.testing.assert_allclose(absolute["position"], found["twice"]["position"])


def test_momentum_and_adaptation_go_farther(trained):
    base = spread(sleep(trained, 10.0, burn_in=1.0, **WALKS))
    moved = spread(sleep(trained, 10.0, burn_in=1.0, momentum=0.6, **WALKS))
    tired = spread(
        sleep(
            trained,
            10.0,
            burn_in=1.0,
            adaptation=0.03,
            adaptation_time_constant=0.16,
            **WALKS,
        )
    )
    # Variance .0185 -> .038 with momentum .6, -> .067 with adaptation .03.
    assert 1.4 * base < moved < 3 * base
    assert 2 * base < tired < 6 * base


def test_it_may_begin_awake_or_where_one_says(trained):
    awake = sleep(trained, 0.02, scheme="zero", initial="awake state", **WALKS)
    places = awake["position"].values[:, 0]
    # A biased walk is near its anchor after its 60 steps; codes are anywhere.
    anywhere = sleep(trained, 0.02, scheme="zero", **WALKS)["position"].values[:, 0]
    assert abs(places).mean() < 0.7 * abs(anywhere).mean()
    state = np.zeros((20, 100), np.float32)
    silent = sleep(trained, 0.1, scheme="zero", initial=state, states=True, **WALKS)
    assert not silent["state"].values.any()


def test_the_network_is_left_as_it_was(trained):
    before = jax.tree.map(np.array, trained)
    sleep(trained, 0.5, momentum=0.5, adaptation=0.1, adaptation_time_constant=1.0,
          **WALKS)  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, before, trained)


def test_noise_of_the_state_comes_with_a_warning(trained):
    with pytest.warns(UserWarning, match="does not sample the waking density"):
        found = sleep(trained, 6.0, state_noise=0.05, **WALKS)
    assert spread(found) > spread(sleep(trained, 6.0, **WALKS))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"duration": 0.0}, "duration"),
        ({"duration": 1.0, "noise_scale": -1.0}, "noise_scale"),
        ({"duration": 1.0, "scheme": "scale"}, "scaled"),
        ({"duration": 1.0, "momentum": 1.0}, "momentum"),
        ({"duration": 1.0, "adaptation": 0.1}, "adaptation_time_constant"),
        ({"duration": 1.0, "initial": "cod"}, "code"),
        ({"duration": 1.0, "initial": np.full((20, 100), np.nan)}, "finite"),
        ({"duration": 1.0, "decoder": "top"}, "top_k"),
        ({"duration": 0.02, "record_every": 5}, "duration"),
    ],
)
def test_bad_input_is_named(trained, options, words):
    with pytest.raises(InvalidInputError, match=words):
        sleep(trained, **options, **WALKS)


def test_what_was_never_trained_is_refused_or_needs_noise(trained):
    with pytest.raises(NotFittedError, match=r"reactivation\.train"):
        sleep(trained.network, 1.0, seed=0)
    still = presets.untrained("demo", 0, recurrent_noise=0.0, n_units=10)
    with pytest.raises(InvalidInputError, match="without recurrent noise"):
        sleep(still, 1.0, seed=0, scheme="absolute")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sleep(still, 1.0, seed=0, n_trials=2)
