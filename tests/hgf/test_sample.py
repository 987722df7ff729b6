"""Posteriors by sampling: references, groups, calibration, contents of the Result."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from numpyro.diagnostics import effective_sample_size

import neuromod as nm
from neuromod import hgf
from neuromod.core import calibration
from neuromod.core.errors import ConvergenceWarning, InvalidInputError, NotFittedError
from neuromod.core.precision import precision_context
from neuromod.hgf.parameters import space
from neuromod.hgf.participants import Given, gather
from neuromod.hgf.sample import posterior_of
from tests.benchmarks import hgf_calibration as study
from tests.shared import shared

CHOICE = hgf.responses.unit_square_sigmoid(1.0)
PRIORS = {
    "x2.tonic_volatility": hgf.Normal(-3, 2),
    "x3.tonic_volatility": hgf.Normal(-6, 2),
    "response.inverse_temperature": hgf.LogNormal(0, 1),
}


@pytest.fixture(scope="module")
def drawn():
    """The posterior of the reference's participant."""
    path = shared("reference/hgf") / "binary3_default__eHGF__mf.npz"
    with np.load(path) as arrays:
        outcomes, choices = arrays["input"][:, 0].astype(float), arrays["response"]
    with warnings.catch_warnings():
        # Where beliefs diverge the density ends in a cliff, which some paths hit.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return hgf.sample(
            hgf.binary_three_level(),
            outcomes,
            choices,
            response=CHOICE,
            priors=PRIORS,
            n_draws=1000,
            n_warmup=500,
            seed=0,
            progress=False,
        )


def test_the_posterior_of_the_reference(drawn):
    """Against a sum over a grid of all three, and what two other samplers found."""
    exact, found = by_grid(drawn), drawn.data["posterior"].to_dataset()
    for name, (_, _, edges, shares) in exact.items():
        values = found[name].values
        for share in (0.1, 0.25, 0.5, 0.75, 0.9):
            # Not variances: their own error hangs on a tail that few draws visit.
            place = int(np.argmin(np.abs(shares[:-1] - share)))
            below = (values < edges[place]).astype(float)
            error = below.std() / np.sqrt(float(effective_sample_size(below)))
            assert below.mean() == pytest.approx(shares[place], abs=4 * error)
    # Of some 600 effective draws: -1.16 (.18), -5.9 to -6.1 (2.0), 4.41 (.57).
    others = {"x2": (-1.16, 0.18), "x3": (-6.0, 2.0), "response": (4.41, 0.57)}
    for name, (mean, sd, *_) in exact.items():
        other, spread = others[name.split(".")[0]]
        assert mean == pytest.approx(other, abs=4 * sd / np.sqrt(600))
        assert sd == pytest.approx(spread, rel=0.1)
    # 0 to 27 by seed: so many end at the cliff where beliefs fail.
    assert int(drawn.data["sample_stats"]["diverging"].sum()) < 0.01 * 4000


def by_grid(result):
    """Mean, deviation and distribution of every parameter, by a sum over a grid."""
    names = ("x2.tonic_volatility", "x3.tonic_volatility")
    grid = np.linspace(-2.2, 1, 41), np.linspace(-13, 2, 41), np.linspace(0.6, 2.4, 17)
    z = np.stack(np.meshgrid(*grid, indexing="ij"), -1).reshape(-1, 3)
    path = shared("reference/hgf") / "binary3_default__eHGF__mf.npz"
    with np.load(path) as arrays:
        outcomes, choices = arrays["input"][:, 0].astype(float), arrays["response"]
    agent = hgf.Agent(hgf.binary_three_level(), CHOICE)
    free = space(agent, PRIORS)
    people = gather(agent, Given(outcomes, choices))
    order = [free.names.index(n) for n in (*names, "response.inverse_temperature")]
    with precision_context("float64"):
        model = posterior_of(agent, free, people, 1.0, "float64")
        standard = ((z - free.mean[order]) / free.sd[order])[:, np.argsort(order)]
        each = jax.jit(
            lambda all_of_it: jax.lax.map(
                lambda at: model.log_density({"standard": at}, *model.arguments),
                all_of_it,
                batch_size=2048,
            )
        )
        height = np.asarray(each(jnp.asarray(standard)))
    weight = np.exp(height - height.max())
    weight /= weight.sum()
    table = weight.reshape([len(axis) for axis in grid])
    found = {}
    for i, name in enumerate((*names, "response.inverse_temperature")):
        values = np.exp(grid[i]) if i == 2 else grid[i]
        each = table.sum(axis=tuple(j for j in range(3) if j != i))
        mean = each @ values
        edges = (grid[i][:-1] + grid[i][1:]) / 2
        edges = np.exp(edges) if i == 2 else edges
        found[name] = mean, np.sqrt(each @ (values - mean) ** 2), edges, each.cumsum()
    return found


def test_the_third_volatility_is_told_to_be_its_prior(drawn):
    told = drawn.data["identifiability"]
    assert told["identified"].to_series().to_dict() == {
        "x2.tonic_volatility": True,
        "x3.tonic_volatility": False,
        "response.inverse_temperature": True,
    }
    assert "x3.tonic_volatility: its posterior is its prior" in told.attrs["report"]


def test_draws_come_back_from_a_file(drawn, tmp_path):
    again = nm.load(drawn.save(tmp_path / "draws.nc"))
    assert again.data["posterior"].identical(drawn.data["posterior"])
    mean = float(drawn.data["posterior"]["x2.tonic_volatility"].mean())
    assert float(again.model.network["x2"].tonic_volatility) == pytest.approx(mean)


def test_left_out_choices_are_predicted_as_the_widely_applicable_criterion_says(drawn):
    loo = hgf.loo(drawn)
    with pytest.warns(UserWarning, match="Use loo"):
        waic = hgf.waic(drawn)
    assert float(loo["elpd"]) == pytest.approx(float(waic["elpd"]), abs=0.2)
    assert float(loo["elpd"]) < float(
        drawn.data["log_likelihood"]["log_likelihood"].sum("trial").max()
    )
    assert float(loo["p_effective"]) == pytest.approx(2, abs=1)


def table(n_subjects=5, n_trials=60, seed=0):
    """Participants around a known group mean, of two lengths."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(n_subjects):
        n = n_trials - 10 * (i % 2)
        outcomes = study.outcomes(n)
        agent = study.agent(-2 + 0.3 * random.normal(), 1.2)
        choices = hgf.respond(agent, outcomes, seed=i).values
        columns = {"subject": f"p{i}", "outcome": outcomes, "choice": choices}
        rows.append(pd.DataFrame(columns))
    return pd.concat(rows)


@pytest.fixture(scope="module")
def group():
    return study.sampled(
        table(),
        "choice",
        priors=study.PRIORS,
        n_chains=2,
        n_draws=300,
        n_warmup=300,
        seed=0,
        progress=False,
    )


def test_a_group_has_a_mean_and_members(group):
    posterior = group.data["posterior"].to_dataset()
    assert posterior["subject"].values.tolist() == [f"p{i}" for i in range(5)]
    assert posterior["x2.tonic_volatility"].dims == ("chain", "draw", "subject")
    mean = posterior["group_mean"].sel(parameter="x2.tonic_volatility")
    assert float(mean.mean()) == pytest.approx(-2, abs=3 * float(mean.std()))
    assert (posterior["group_sd"] > 0).all()
    agent = hgf.agent_of(group, subject="p3")
    assert float(agent.network["x2"].tonic_volatility) == pytest.approx(
        float(posterior["x2.tonic_volatility"].sel(subject="p3").mean())
    )


def test_the_density_of_a_group_is_the_sum_of_its_parts():
    """Against the definition: members by likelihood, the rest by their priors."""
    agent = hgf.Agent(study.network(), study.response())
    free = space(agent, study.PRIORS)
    people = gather(agent, Given(table(2, 30), "choice"))
    random = np.random.default_rng(1)
    mean, log_sd, offset = random.normal(size=(3, 2)) * np.array([[1], [0.3], [1]])
    offset = random.normal(size=(2, 2))
    with precision_context("float64"):
        model = posterior_of(agent, free, people, 0.7, "float64")
        at = {"mean": mean, "log_sd": log_sd, "offset": offset}
        at = jax.tree.map(jnp.asarray, at)
        found = float(model.log_density(at, *model.arguments))
    expected = 0.0
    for label, rows in table(2, 30).groupby("subject"):
        z = free.mean + free.sd * (mean + 0.7 * np.exp(log_sd) * offset[int(label[1:])])
        one = study.agent(*z)
        chance = hgf.filter(one.network, rows["outcome"].values)["expected_mean"]
        p = chance.sel(node="outcome").values ** np.exp(z[1])
        q = (1 - chance.sel(node="outcome").values) ** np.exp(z[1])
        expected += np.log(np.where(rows["choice"] == 1, p, q) / (p + q)).sum()

    def normal(x):
        return -(x**2 + np.log(2 * np.pi)).sum() / 2

    expected += normal(mean) + normal(offset)
    expected += (log_sd - np.exp(log_sd) ** 2 / 2).sum()
    assert found == pytest.approx(expected, rel=1e-9)


def test_calibrated_posteriors_pass_and_a_wrong_model_fails():
    """A small one; the long one is tests/benchmarks/hgf_calibration.py."""
    short = {"n_trials": 60, "n_draws": 150, "n_warmup": 150}
    p_values = []
    for wrong in (False, True):
        case = study.single(wrong=wrong, **short)
        found = study.ranks(case, 40, n_ranked=49, progress=False)
        p_values.append(float(calibration.calibrate(found)["p_ecdf"].min()))
    right, wrong = p_values
    assert right * 2 > 0.01
    assert wrong * 2 < 1e-3


def test_draws_are_asked_for_where_there_are_none():
    result = hgf.fit(
        study.network(),
        study.outcomes(60),
        study.outcomes(60),
        response=CHOICE,
        priors=study.PRIORS,
        n_restarts=1,
        seed=0,
    )
    with pytest.raises(NotFittedError, match=r"expected one of hgf\.sample"):
        hgf.loo(result)
    with pytest.raises(InvalidInputError, match="expected"):
        hgf.select_models({"one": result})
