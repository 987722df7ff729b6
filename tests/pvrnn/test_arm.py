"""The arm: its geometry, its controller, and a network that moves it."""

import jax
import numpy as np
import pytest
import xarray as xr

from neuromod.core.errors import InvalidInputError, ShapeError
from neuromod.pvrnn import (
    Arm,
    ErrorRegression,
    Objective,
    follow,
    hierarchy,
    prediction_error,
    run_closed_loop,
    simulate_arm,
    tanh_head,
)
from neuromod.pvrnn.arm import hand_of
from tests.shared import shared


def regression_of(**options):
    network = hierarchy(jax.random.key(0), [12], [1], [2], [tanh_head(5)])
    given = {"seed": 0, "window": 4, "n_iterations": 5, "n_predicted": 3}
    return ErrorRegression(network, Objective(0.01), **given | options)


def test_the_hand_is_where_the_published_one_is():
    path = shared("data/pvrnn") / "sensory_attenuation_3link.npz"
    with np.load(path) as stored:
        values = stored["train"].astype(float)
    found = hand_of(values[:24, :, :3])
    np.testing.assert_allclose(found, values[:24, :, 3:], atol=2e-7)
    assert np.abs(hand_of(values[24:, :, :3]) - values[24:, :, 3:]).mean() > 0.2


def test_simulated_movements_look_like_the_published_ones():
    path = shared("data/pvrnn") / "sensory_attenuation_3link.npz"
    with np.load(path) as stored:
        real = stored["train"][..., :3].astype(float)
    made = simulate_arm(48, 200, seed=0).values[..., :3]
    for one, tolerance in (
        (lambda m: np.abs(np.diff(m, axis=1)).mean(), 0.02),
        (np.std, 0.02),
        (np.mean, 0.04),
        (lambda m: correlation(m, 1), 0.04),
        (lambda m: correlation(m, 2), 0.05),
        # They leave a posture and come back to it.
        (lambda m: correlation(m, 10), 0.07),
        (lambda m: correlation(m, 20), 0.05),
    ):
        assert one(made) == pytest.approx(one(real), abs=tolerance)
    cycles = [m.reshape(-1, 20, 3).mean(axis=0) for m in (made, real)]
    assert np.corrcoef(cycles[0].ravel(), cycles[1].ravel())[0, 1] > 0.95
    many = simulate_arm(200, 200, seed=1).values[..., :3]
    np.testing.assert_allclose(memory(many), memory(real), atol=0.08)


def memory(joints):
    """Return correlations with the joints of 1 and 2 steps before, without rhythm."""
    cycles = joints.reshape(-1, 20, 3)
    around = (joints.reshape(-1, 10, 20, 3) - cycles.mean(axis=0)).reshape(-1, 200, 3)
    around /= around.std(axis=(0, 1))
    return [
        np.einsum("nti,ntj->ij", around[:, lag:], around[:, :-lag])
        / around[:, lag:, 0].size
        for lag in (1, 2)
    ]


def correlation(values, lag):
    centred = values - values.mean()
    return (centred[:, lag:] * centred[:, :-lag]).mean() / centred.var()


def test_an_external_hand_is_not_its_own():
    made = simulate_arm(3, 40, seed=1, context=["self", "external", "self"])
    own = np.abs(hand_of(made[..., :3]) - made[..., 3:]).max(axis=(1, 2))
    assert own[0] < 1e-12 < 0.1 < own[1]
    assert made["context"].values.tolist() == ["self", "external", "self"]
    assert simulate_arm(3, 40, seed=1).equals(simulate_arm(3, 40, seed=1))


def test_an_arm_of_two_links_has_two_joints():
    made = simulate_arm(1, 10, seed=0, links=(0.4, 0.4))
    assert made["channel"].values.tolist() == ["joint1", "joint2", "hand_x", "hand_y"]
    assert np.hypot(*made.values[0, :, 2:].T).max() <= 0.8 + 1e-12


def test_the_controller_brings_joints_where_they_should_be():
    arm = Arm()
    arm.act([0.5, -0.6, 2.0])
    np.testing.assert_allclose(arm.joints, [0.5, -0.6, 0.8], atol=2e-3)
    np.testing.assert_allclose(arm.observe()[3:], hand_of(arm.joints))
    slow = Arm(gains=(0.02, 0.0, 0.0))
    slow.act([0.5, 0, 0])
    assert slow.joints[0] == pytest.approx(0.5 * (1 - 0.98**50))


def test_the_hand_seen_switches_to_the_one_shown():
    shown = np.full((6, 2), 0.3)
    arm = Arm(shown, switch=2)
    for t in range(6):
        assert arm.context == ("self" if t < 2 else "external")
        hand = arm.observe()[3:]
        assert np.array_equal(hand, [0.3, 0.3]) == (t >= 2)
        arm.act([0.1 * t, 0, 0])
    with pytest.raises(InvalidInputError, match="6 of `shown`"):
        arm.observe()


def test_a_closed_loop_goes_where_the_network_foresees():
    run = run_closed_loop(regression_of(), Arm(), 12, progress=False).isel(trial=0)
    joints = run["observation"][:, :3].values
    np.testing.assert_array_equal(joints[0], 0)
    commanded = run["prediction"].isel(lag=0)[:-1, :3].values.clip(-0.8, 0.8)
    np.testing.assert_allclose(joints[1:], commanded, atol=5e-3)
    hand = run["observation"][:, 3:].values
    np.testing.assert_allclose(hand, hand_of(joints), atol=1e-6)
    again = run_closed_loop(regression_of(), Arm(), 12, progress=False).isel(trial=0)
    assert run.equals(again)


def test_nothing_of_the_future_enters_a_prediction():
    made = simulate_arm(1, 12, seed=0)
    other = made.copy()
    other[:, 8:] = 0.0
    one, two = (follow(regression_of(), data, progress=False) for data in (made, other))
    np.testing.assert_array_equal(one["prediction"][0, :8], two["prediction"][0, :8])
    assert not np.array_equal(one["prediction"][0, 8:], two["prediction"][0, 8:])


def test_trials_are_followed_one_after_the_other_from_the_beginning():
    made = simulate_arm(2, 9, seed=0)
    both = follow(regression_of(), [made[0, :5], made[1]], progress=False)
    alone = follow(regression_of(), made[1], progress=False)
    np.testing.assert_array_equal(both["prediction"][1], alone["prediction"][0])
    assert np.isnan(both["prediction"][0, 5:]).all()
    assert both["observation"].sizes == {"trial": 2, "time": 9, "channel": 5}


def test_prediction_errors_are_those_of_the_same_steps():
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(2, 8, 1))
    observed[0, 3] = np.nan
    followed = xr.Dataset(
        {
            "observation": (("trial", "time", "channel"), observed),
            "prediction": (("trial", "time", "lag", "channel"), np.zeros((2, 8, 2, 1))),
        },
        {"lag": [1, 3]},
    )
    constant = xr.DataArray(np.ones((8, 1)), dims=("time", "channel"))
    found = prediction_error(followed, {"one": constant})
    for k, lag in enumerate((1, 3)):
        for trial in range(2):
            pairs = [
                (observed[trial, t, 0], observed[trial, t + lag, 0])
                for t in range(8 - lag)
                if np.isfinite(observed[trial, [t, t + lag], 0]).all()
            ]
            seen, came = np.array(pairs).T
            mean = np.nanmean(observed)
            for name, told in (
                ("error_regression", 0),
                ("last_value", seen),
                ("channel_mean", mean),
                ("one", 1),
            ):
                want = np.square(came - told).mean()
                assert float(found[name][trial, k]) == pytest.approx(want)
    with pytest.raises(ShapeError, match="one"):
        prediction_error(followed, {"one": constant[:5]})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hand_of([0.1, 0.2]), "3 joints"),
        (lambda: Arm(links=[]), "links"),
        (lambda: Arm(np.zeros((4, 3))), "shown"),
        (lambda: Arm().act([np.nan, 0, 0]), "command"),
        (lambda: simulate_arm(2, 5, seed=0, context="mine"), "external"),
        (lambda: simulate_arm(2, 5, seed=0, context=["self"]), "context"),
        (lambda: follow(regression_of(), simulate_arm(1, 5, seed=0)[..., :4]), "5"),
        (
            lambda: follow(regression_of(n_trials=2), simulate_arm(1, 5, seed=0)),
            "trial",
        ),
        (lambda: run_closed_loop(regression_of(), Arm(), 0), "n_steps"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InvalidInputError, match=words):
        call()
