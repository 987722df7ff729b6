"""Fits to behaviour: references, recovery, what stands in the Result, bad input."""

import importlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import neuromod as nm
from neuromod import hgf
from neuromod.core import cohort
from neuromod.core.errors import InvalidInputError, ShapeError
from tests.shared import shared

CHOICE = hgf.responses.unit_square_sigmoid(1.0)
TWO = {
    "x2.tonic_volatility": hgf.Normal(-3, 2),
    "response.inverse_temperature": hgf.LogNormal(0, 1),
}
THREE = {**TWO, "x3.tonic_volatility": hgf.Normal(-6, 2)}


@pytest.fixture(scope="module")
def bundled():
    """Outcomes and choices of the participant of the reference fits."""
    path = shared("reference/hgf") / "binary3_default__eHGF__mf.npz"
    with np.load(path) as arrays:
        return arrays["input"][:, 0].astype(float), arrays["response"].astype(float)


@pytest.fixture(scope="module")
def made_up():
    """Outcomes, and the choices of an agent that is known."""
    rng = np.random.default_rng(3)
    outcomes = (rng.random(160) < np.repeat([0.8, 0.2, 0.7, 0.3], 40)).astype(float)
    agent = hgf.Agent(
        hgf.binary_two_level(-2.0), hgf.responses.unit_square_sigmoid(4.0)
    )
    return outcomes, hgf.respond(agent, outcomes, seed=1).values


def fitted(outcomes, choices, **settings):
    settings = {"priors": TWO, "n_restarts": 3, "seed": 0, **settings}
    network = settings.pop("network", hgf.binary_two_level())
    return hgf.fit(network, outcomes, choices, response=CHOICE, **settings)


def test_maximum_likelihood_of_the_reference(bundled):
    result = fitted(*bundled, method="maximum_likelihood")
    found = result.data["parameters"]
    assert float(found["x2.tonic_volatility"]) == pytest.approx(-1.24631, abs=5e-6)
    assert float(found["response.inverse_temperature"]) == pytest.approx(
        4.55166, abs=5e-6
    )
    assert -float(result.data["scores"]["log_likelihood"]) == pytest.approx(
        57.21262, abs=5e-6
    )


def test_maximum_of_the_posterior_of_the_reference(bundled):
    result = fitted(*bundled, network=hgf.binary_three_level(), priors=THREE)
    found = result.data["parameters"]
    assert float(found["x2.tonic_volatility"]) == pytest.approx(-1.17019, abs=5e-6)
    assert float(found["x3.tonic_volatility"]) == pytest.approx(-6.0863, abs=5e-5)
    assert float(found["response.inverse_temperature"]) == pytest.approx(
        4.41237, abs=5e-6
    )
    assert -float(result.data["scores"]["log_likelihood"]) == pytest.approx(
        57.36033, abs=5e-6
    )
    told = result.data["identifiability"]
    identified = told["identified"].to_series()
    assert identified.to_dict() == {
        "x2.tonic_volatility": True,
        "response.inverse_temperature": True,
        "x3.tonic_volatility": False,
    }
    assert "x3.tonic_volatility: its posterior is its prior" in told.attrs["report"]


def test_the_log_model_evidence_is_that_of_a_grid(made_up):
    """Laplace's approximation beside a sum over a grid of both parameters."""
    outcomes, choices = made_up
    result = fitted(outcomes, choices)
    mean = result.data["uncertainty"]["native_mean"].values
    sd = np.sqrt(np.diag(result.data["uncertainty"]["native_covariance"].values))
    grid = [m + s * np.linspace(-5, 5, 21) for m, s in zip(mean, sd, strict=True)]
    log_joint = np.array(
        [
            [
                likelihood_at(outcomes, choices, volatility, np.exp(log_temperature))
                - ((volatility + 3) / 2) ** 2 / 2
                - log_temperature**2 / 2
                - np.log(2 * np.pi * 2)
                for log_temperature in grid[1]
            ]
            for volatility in grid[0]
        ]
    )
    cell = np.prod([g[1] - g[0] for g in grid])
    largest = log_joint.max()
    exact = largest + np.log(np.exp(log_joint - largest).sum() * cell)
    found = float(result.data["scores"]["log_model_evidence"])
    assert found == pytest.approx(exact, abs=0.05)


def likelihood_at(outcomes, choices, volatility, temperature):
    """The likelihood by a loop of the update equations in plain numbers."""
    mean, precision, total = 0.0, 1.0, 0.0
    for outcome, choice in zip(outcomes, choices, strict=True):
        expected = np.clip(1 / (1 + np.exp(-mean)), 1e-6, 1 - 1e-6)
        odds = (expected / (1 - expected)) ** temperature
        total += np.log(odds / (1 + odds) if choice == 1 else 1 / (1 + odds))
        precision = 1 / (1 / precision + np.exp(volatility))
        precision += expected * (1 - expected)
        mean += (outcome - expected) / precision
    return total


def test_trials_scores_and_intervals_agree(made_up):
    outcomes, choices = made_up
    result = fitted(outcomes, choices)
    parameters = result.data["parameters"]
    volatility = float(parameters["x2.tonic_volatility"])
    temperature = float(parameters["response.inverse_temperature"])
    slow = likelihood_at(outcomes, choices, volatility, temperature)
    scores = result.data["scores"]
    assert float(scores["log_likelihood"]) == pytest.approx(slow, rel=1e-10)
    assert float(result.data["log_likelihood"]["log_likelihood"].sum()) == (
        pytest.approx(slow, rel=1e-10)
    )
    assert float(scores["bic"]) == pytest.approx(2 * np.log(160) - 2 * slow)
    assert float(scores["aic"]) == pytest.approx(4 - 2 * slow)
    bounds = result.data["uncertainty"].to_dataset()
    low, high = bounds["response.inverse_temperature"].values
    assert low < temperature < high
    assert low < 4.0 < high


def test_the_maximum_is_one(made_up):
    outcomes, choices = made_up
    parameters = fitted(outcomes, choices, method="maximum_likelihood").data[
        "parameters"
    ]
    at = [float(parameters[name]) for name in TWO]
    best = likelihood_at(outcomes, choices, *at)
    for step in ((0.05, 0), (-0.05, 0), (0, 0.1), (0, -0.1)):
        beside = [a + s for a, s in zip(at, step, strict=True)]
        assert likelihood_at(outcomes, choices, *beside) < best


def test_a_result_comes_back_from_a_file_and_predicts_the_same(made_up, tmp_path):
    result = fitted(*made_up)
    again = nm.load(result.save(tmp_path / "fit.nc"))
    one, other = (hgf.filter(r.model.network, made_up[0]) for r in (result, again))
    xr.testing.assert_identical(one, other)
    xr.testing.assert_identical(one, result.data["latent"].to_dataset())
    assert again.data["parameters"].identical(result.data["parameters"])


def test_missing_responses_and_outcomes_leave_the_likelihood(made_up):
    outcomes, choices = (values.copy() for values in made_up)
    choices[::4] = np.nan
    outcomes[5] = np.nan
    result = fitted(outcomes, choices)
    nats = result.data["log_likelihood"]["log_likelihood"].values
    assert (nats[::4] == 0).all()
    assert (nats[1::4] < 0).all()
    assert int(result.data["scores"]["n_responses"]) == 120


def tables(made_up, lengths=(160, 100, 130)):
    outcomes, choices = made_up
    return {
        f"p{i}": pd.DataFrame({"outcome": outcomes[:n], "choice": choices[:n]})
        for i, n in enumerate(lengths)
    }


def test_subjects_of_unequal_length_are_fitted_each_as_alone(made_up):
    together = fitted(tables(made_up), "choice")
    assert together.data["parameters"]["subject"].values.tolist() == ["p0", "p1", "p2"]
    for label, table in tables(made_up).items():
        alone = fitted(table["outcome"], table["choice"])
        for name in TWO:
            np.testing.assert_allclose(
                together.data["parameters"][name].sel(subject=label),
                alone.data["parameters"][name],
                rtol=1e-6,
            )
        assert float(together.data["scores"]["log_likelihood"].sel(subject=label)) == (
            pytest.approx(float(alone.data["scores"]["log_likelihood"]), rel=1e-10)
        )
    agent = hgf.agent_of(together, subject="p1")
    assert float(agent.network["x2"].tonic_volatility) == float(
        together.data["parameters"]["x2.tonic_volatility"].sel(subject="p1")
    )


def test_descents_that_are_late_arrive_where_they_would_have(made_up, monkeypatch):
    module = importlib.import_module("neuromod.hgf.fit")
    together = fitted(tables(made_up), "choice")
    monkeypatch.setattr(module, "MANY", 1)
    monkeypatch.setattr(module, "PATIENCE", 3)
    apart = fitted(tables(made_up), "choice")
    for group in ("parameters", "scores", "history", "log_likelihood"):
        found, expected = apart.data[group], together.data[group]
        xr.testing.assert_allclose(found.to_dataset(), expected.to_dataset(), rtol=1e-9)
    assert int(apart.data["history"]["n_iterations"].max()) > 3


def fit_table(table):
    return fitted(table["outcome"], table["choice"])


def test_a_cohort_is_fitted_subject_by_subject_and_kept(made_up, tmp_path):
    people, store = tables(made_up), tmp_path / "fits"
    with ThreadPoolExecutor(2) as executor:
        found = cohort.map(
            fit_table, people, store=store, executor=executor, progress=False
        )
    together = fitted(people, "choice").data["parameters"]
    for label, result in found.items():
        for name in TWO:
            one = together[name].sel(subject=label)
            np.testing.assert_allclose(result.data["parameters"][name], one, rtol=1e-6)
    again = cohort.map(fit_table, people, store=store, progress=False)
    assert again.n_reused == 3
    assert again["p1"].data.identical(found["p1"].data)


def test_a_long_table_a_list_and_a_tree_are_one(made_up):
    by_label = tables(made_up)
    long = pd.concat([t.assign(subject=label) for label, t in by_label.items()])
    tree = xr.DataTree.from_dict(
        {label: t.to_xarray().rename(index="trial") for label, t in by_label.items()}
    )
    expected = fitted(by_label, "choice").data["parameters"].to_dataset()
    for form in (long, tree, list(by_label.values())):
        found = fitted(form, "choice").data["parameters"].to_dataset()
        np.testing.assert_array_equal(
            found["x2.tonic_volatility"], expected["x2.tonic_volatility"]
        )


def test_beliefs_begin_anew_with_a_session(made_up):
    outcomes, choices = made_up
    twice = np.concatenate([outcomes, outcomes]), np.concatenate([choices, choices])
    sessions = ["a"] * 160 + ["b"] * 160
    result = fitted(*twice, sessions=sessions)
    nats = result.data["log_likelihood"]["log_likelihood"].values
    np.testing.assert_allclose(nats[:160], nats[160:], rtol=1e-12)
    held = fitted(*twice).data["log_likelihood"]["log_likelihood"].values
    assert abs(held[:160] - held[160:]).max() > 1e-3


def test_a_shared_parameter_is_one_number_in_two_places(made_up):
    network = hgf.binary_three_level()
    both = ("x2.tonic_volatility", "x3.tonic_volatility")
    result = fitted(*made_up, network=network, priors={both: hgf.Normal(-3, 2)})
    assert list(result.data["parameters"].data_vars) == ["x2.tonic_volatility"]
    found = result.model.network
    assert float(found["x2"].tonic_volatility) == float(found["x3"].tonic_volatility)


def test_the_strength_of_an_edge_is_fitted(made_up):
    name = "x3->x2.volatility"
    result = fitted(
        *made_up,
        network=hgf.binary_three_level(),
        priors={name: hgf.LogNormal(0, 0.5)},
    )
    value = float(result.data["parameters"][name])
    assert value > 0
    assert float(result.model.network.edges[1].strength) == value


def test_outcomes_alone_have_most_likely_parameters(made_up):
    result = hgf.fit(
        hgf.binary_two_level(),
        made_up[0],
        response=hgf.responses.bayes_optimal(),
        priors={"x2.tonic_volatility": hgf.Normal(-3, 2)},
        seed=0,
    )
    at = float(result.data["parameters"]["x2.tonic_volatility"])
    nats = [
        float(
            hgf.filter(hgf.binary_two_level(at + step), made_up[0])["surprise"]
            .sel(node="outcome")
            .sum()
        )
        + ((at + step + 3) / 2) ** 2 / 2
        for step in (-0.1, 0.0, 0.1)
    ]
    assert nats[1] < min(nats[0], nats[2])


def test_divergence_is_penalised_and_left_again(bundled):
    """Half of this prior's starts diverge under the standard update."""
    network = hgf.binary_three_level(update="standard")
    wide = {
        "x2.tonic_volatility": hgf.Normal(1, 3),
        "x3.tonic_volatility": hgf.Normal(1, 3),
    }
    result = fitted(*bundled, network=network, priors=wide, n_restarts=6)
    assert np.isfinite(result.data["scores"]["log_likelihood"])
    assert np.isfinite(result.data["history"]["log_joint"]).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {"priors": {"x2.tonic_volatilty": hgf.Normal(0, 1)}},
            InvalidInputError,
            "mean 'x2.tonic_volatility'",
        ),
        (
            {"priors": {"x2.tonic_drift": hgf.Normal(0, 1)}},
            InvalidInputError,
            "Give it one",
        ),
        (
            {"priors": {"x2.precision": hgf.Normal(0, 1)}},
            InvalidInputError,
            "LogNormal",
        ),
        ({"priors": {}}, InvalidInputError, "such as"),
        ({"method": "mle"}, InvalidInputError, "maximum_likelihood"),
        ({"choices": [1.0, 0.0]}, ShapeError, "one number per trial"),
        ({"choices": None}, InvalidInputError, "bayes_optimal"),
        ({"sessions": [1, 2]}, ShapeError, "session"),
        ({"n_restarts": 0}, InvalidInputError, "n_restarts"),
    ],
)
def test_bad_input_is_named(made_up, change, error, words):
    outcomes, choices = made_up
    choices = change.pop("choices", choices)
    with pytest.raises(error, match=words):
        fitted(outcomes, choices, **change)


def test_a_missing_column_is_named(made_up):
    with pytest.raises(InvalidInputError, match=r"'choise'.*[Dd]id you mean 'choice'"):
        fitted(tables(made_up), "choise")


@pytest.mark.parametrize(("mean", "sd"), [(np.nan, 1), (0, 0), (0, -1), ("x", 1)])
def test_a_prior_is_checked(mean, sd):
    with pytest.raises(InvalidInputError):
        hgf.Normal(mean, sd)


def test_a_baseline_is_fitted_and_filtered_by_the_same_calls(made_up):
    outcomes, choices = made_up
    result = hgf.fit(
        hgf.RescorlaWagner(),
        outcomes,
        choices,
        response=CHOICE,
        priors={"learner.learning_rate": hgf.LogitNormal(0, 1)},
        n_restarts=3,
        seed=0,
    )
    rate = float(result.data["parameters"]["learner.learning_rate"])
    assert 0 < rate < 1
    value, expected = 0.5, []
    for outcome in outcomes:
        expected.append(value)
        value += rate * (outcome - value)
    found = result.data["latent"]["expected_mean"].sel(node="outcome")
    np.testing.assert_allclose(found, np.clip(expected, 1e-6, 1 - 1e-6), rtol=1e-10)
    again = hgf.filter(result.model.network, outcomes)
    assert again.identical(result.data["latent"].to_dataset())
