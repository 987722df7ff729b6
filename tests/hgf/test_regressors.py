import jax
import numpy as np
import pytest
import xarray as xr

from neuromod import hgf
from neuromod.core.errors import DivergedError, InvalidInputError
from neuromod.hgf.regressors import tapas_trajectories

N_TRIALS = 40
STANDARD = {"update": "standard"}


def slow_continuous(u, t, omega, kappa, precision):
    """The toolbox's quantities for three levels that start at 0 and 1, in a loop.

    Mathys et al. 2014, with the original update.
    """
    mu, pi, found = np.zeros(3), np.ones(3), []
    for k in range(len(u)):
        volatility = [
            t[k] * np.exp(kappa[0] * mu[1] + omega[0]),
            t[k] * np.exp(kappa[1] * mu[2] + omega[1]),
            t[k] * np.exp(omega[2]),
        ]
        muhat, pihat = mu.copy(), 1 / (1 / pi + volatility)
        row = {f"v{j + 1}": volatility[j] for j in range(3)}
        row |= {f"muhat{j + 1}": muhat[j] for j in range(3)}
        row |= {f"sahat{j + 1}": 1 / pihat[j] for j in range(3)}
        row["dau"] = u[k] - muhat[0]
        pi[0] = pihat[0] + precision
        mu[0] = muhat[0] + precision / pi[0] * row["dau"]
        row["psi1"] = row["wt1"] = precision / pi[0]
        row["epsi1"] = row["psi1"] * row["dau"]
        for j in range(3):
            if j:
                w, error = row[f"w{j}"], row[f"da{j}"]
                bend = kappa[j - 1] ** 2 * w * (w + (2 * w - 1) * error)
                pi[j] = pihat[j] + bend / 2
                mu[j] = muhat[j] + kappa[j - 1] * w * error / (2 * pi[j])
                psi = pihat[j - 1] / pi[j]
                row[f"psi{j + 1}"], row[f"epsi{j + 1}"] = psi, psi * error
                row[f"wt{j + 1}"] = kappa[j - 1] * volatility[j - 1] * psi / 2
            if j < 2:
                row[f"w{j + 1}"] = volatility[j] * pihat[j]
            error = (1 / pi[j] + (mu[j] - muhat[j]) ** 2) * pihat[j] - 1
            row[f"da{j + 1}"], row[f"ud{j + 1}"] = error, mu[j] - muhat[j]
            row[f"mu{j + 1}"], row[f"sa{j + 1}"] = mu[j], 1 / pi[j]
        found.append(row)
    return {name: np.array([row[name] for row in found]) for name in found[0]}


def test_levels_over_a_continuous_input_follow_the_toolbox():
    generator = np.random.default_rng(0)
    u = generator.normal(0, 0.4, N_TRIALS).cumsum()
    t = generator.uniform(0.5, 1.5, N_TRIALS)
    omega, kappa = (-2.0, -3.0, -4.0), (0.8, 0.6)
    network = hgf.continuous_three_level(
        omega, 5.0, volatility_coupling=kappa, **STANDARD
    )
    found = tapas_trajectories(network, u, time_steps=t)
    want = slow_continuous(u, t, omega, kappa, 5.0) | {"u": u}
    assert set(found.data_vars) == set(want)
    for name, column in want.items():
        np.testing.assert_allclose(
            found[name], column, rtol=1e-9, atol=1e-12, err_msg=name
        )
    for k in (1, 2, 3):
        error = found["dau"] if k == 1 else found[f"da{k - 1}"]
        np.testing.assert_allclose(found[f"wt{k}"] * error, found[f"ud{k}"], rtol=1e-8)


def binary_data(n_trials=200):
    """Outcomes of which some were not observed."""
    u = np.random.default_rng(0).integers(0, 2, n_trials).astype(float)
    u[[5, 17]] = np.nan
    return xr.DataArray(u, dims="trial", coords={"trial": np.arange(n_trials) + 100})


def test_levels_over_a_binary_input_and_trials_without_observation():
    data = binary_data()
    found = tapas_trajectories(hgf.binary_three_level((-2.0, -4.0), **STANDARD), data)
    u, missing = data.values, np.isnan(data.values)
    np.testing.assert_array_equal(found.trial, data.trial)
    np.testing.assert_array_equal(np.isnan(found["u"]), missing)
    np.testing.assert_array_equal(found["mu1"], np.where(missing, found["muhat1"], u))
    np.testing.assert_array_equal(found["sa1"] == 0, ~missing)
    for name in ("da1", "ud1", "wt1", "psi2", "epsi2", "wt2", "ud2"):
        np.testing.assert_array_equal(found[name] == 0, missing, err_msg=name)
    np.testing.assert_allclose(found["ud2"], found["wt2"] * found["da1"], atol=1e-15)
    after = np.concatenate([[0.0], found["mu2"]])
    probability = 1 / (1 + np.exp(-after))
    np.testing.assert_allclose(found["muhat1"], probability[:-1], rtol=1e-12)
    share = np.diff(probability) / (u - probability[1:])
    np.testing.assert_allclose(found["wt1"], np.where(missing, 0, share), rtol=1e-9)
    np.testing.assert_allclose(
        found["ud3"][~missing], (found["wt3"] * found["da2"])[~missing], rtol=1e-8
    )
    assert not {"v1", "w1", "psi1", "epsi1", "w3", "dau"} & set(found.data_vars)


def test_an_outcome_seen_through_noise_is_believed_in_part():
    noisy = hgf.Network(
        [hgf.BinaryInput("u", noise_variance=0.5), hgf.ContinuousState("x")],
        [hgf.probability("x", "u")],
    )
    u = np.array([0.9, 0.2, np.nan])
    found = tapas_trajectories(noisy, u)
    prior = found["muhat1"].values
    odds = prior / (1 - prior) * np.exp((u**2 - (u - 1) ** 2) / (2 * 0.5))
    want = np.where(np.isnan(u), prior, odds / (1 + odds))
    np.testing.assert_allclose(found["mu1"], want, rtol=1e-12)
    np.testing.assert_allclose(found["sa1"], want * (1 - want), rtol=1e-12)
    np.testing.assert_allclose(found["ud2"], found["epsi2"], atol=1e-15)
    after = 1 / (1 + np.exp(-found["mu2"].values))
    moved = found["wt1"] * (want - after)
    np.testing.assert_allclose(moved, np.diff(after, prepend=0.5), atol=1e-12)


def test_columns_have_long_names_and_the_precision_asked_for():
    found = tapas_trajectories(hgf.binary_two_level(), [1, 0, 1], precision="float32")
    assert found["wt2"].long_name == "learning rate, level 2"
    assert found["u"].long_name == "what was observed"
    assert all(column.dtype == np.float32 for column in found.values())
    assert found["mu2"].dims == ("trial",)
    assert not jax.config.jax_enable_x64


def test_a_coupled_input_is_weighted_by_its_strength():
    network = hgf.Network(
        [hgf.ContinuousInput("y", precision=3.0), hgf.ContinuousState("x")],
        [hgf.observation("x", "y", 0.5)],
    )
    found = tapas_trajectories(network, [1.0, np.nan, 2.0])
    np.testing.assert_allclose(found["ud1"], found["epsi1"], rtol=1e-12)
    assert found["psi1"][1] == found["dau"][1] == 0
    curved = hgf.Network(network.nodes, [hgf.observation("x", "y", coupling="tanh")])
    with pytest.raises(InvalidInputError, match="'tanh' coupling"):
        tapas_trajectories(curved, [1.0])


def test_divergence_is_told_by_trial_and_node():
    network = hgf.binary_three_level((1.5, 1.0), **STANDARD)
    with pytest.raises(DivergedError, match=r"tapas.*'x[23]' .* trial \d+"):
        tapas_trajectories(network, binary_data())


def test_a_session_begins_as_the_first_did():
    network = hgf.binary_three_level()
    outcomes = [1, 1, 0, 1, 0, 0]
    once = hgf.tapas_trajectories(network, outcomes)
    sessions = ["a"] * 6 + ["b"] * 6
    twice = hgf.tapas_trajectories(network, outcomes * 2, sessions=sessions)
    for name in once:
        np.testing.assert_allclose(twice[name][6:], once[name], rtol=1e-12)
    held = hgf.tapas_trajectories(network, outcomes * 2)
    assert abs(held["wt1"][6] - once["wt1"][0]) > 1e-3
