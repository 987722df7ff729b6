"""From a table of behaviour to beliefs, parameters and a report, by commands alone."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import neuromod as nm
from neuromod import hgf
from neuromod.cli.app import app
from tests.cli.drawn import assert_drawn

COLUMNS = ("--outcome", "u", "--responses", "y", "--subject", "who", "--session", "run")
TWO = ("--model", "binary_two_level")
PRIORS = ("--prior", "x2.tonic_volatility=normal(-2, 1.5)")


def run(*arguments):
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def trials():
    """Three participants who mostly do what paid last; one misses a trial."""
    generator = np.random.default_rng(0)
    outcome = (generator.random((3, 40)) < np.repeat([0.8, 0.2], 20)).astype(float)
    last = np.concatenate([np.zeros((3, 1)), outcome[:, :-1]], axis=1)
    response = np.where(generator.random((3, 40)) < 0.8, last, 1 - last)
    response[1, 5] = np.nan
    return pd.DataFrame(
        {
            "subject": np.repeat(["ann", "bob", "cy"], 40),
            "session": np.tile(np.repeat(["a", "b"], 20), 3),
            "outcome": outcome.ravel(),
            "response": response.ravel(),
        }
    )


@pytest.fixture(scope="module")
def table(folder, trials):
    names = {"subject": "who", "session": "run", "outcome": "u", "response": "y"}
    trials.rename(columns=names).to_csv(folder / "study.csv", index=False)
    return folder / "study.csv"


@pytest.fixture(scope="module")
def alone(folder, trials):
    """One participant under the names that need no options."""
    own = trials[trials["subject"] == "ann"].drop(columns="subject")
    own.to_csv(folder / "ann.tsv", index=False, sep="\t")
    return folder / "ann.tsv"


@pytest.fixture(scope="module")
def fitted(folder, table):
    out = folder / "fits"
    done = run(
        *("hgf", "fit", table, *COLUMNS, *TWO, *PRIORS, "--restarts", "2"),
        *("--seed", "3", "--out", out),
    )
    assert done.exit_code == 0, done.output
    return out, done.stdout


def test_filter_writes_the_beliefs_of_the_library(folder, table, trials):
    out = folder / "filtered"
    done = run(
        *("hgf", "filter", table, *COLUMNS, "--update", "unbounded"),
        *("--set", "x2.tonic_volatility=-3", "--set", "x3->x2.volatility=0.5"),
        *("--out", out),
    )
    assert done.exit_code == 0, done.output
    assert f"read 120 trials of 3 subjects: {table}" in done.stdout
    assert re.findall(r"wrote (.*)", done.stdout) == [
        str(out / name) for name in ("beliefs.nc", "beliefs.csv", "trajectories.png")
    ]
    network = hgf.binary_three_level((-3, -6), 0.5, update="unbounded")
    bob = trials[trials["subject"] == "bob"]
    here = hgf.filter(
        network, bob["outcome"].to_numpy(), sessions=bob["session"].to_numpy()
    )
    saved = xr.load_dataset(out / "beliefs.nc")
    assert dict(saved.sizes) == {"subject": 3, "trial": 40, "node": 3}
    assert saved.attrs["update"] == "unbounded"
    xr.testing.assert_equal(saved.sel(subject="bob", drop=True), here)
    flat = pd.read_csv(out / "beliefs.csv")
    own = flat[flat["subject"] == "bob"]
    np.testing.assert_allclose(own["x2 mean"], here["mean"].sel(node="x2"), rtol=1e-12)
    assert own["session"].tolist() == ["a"] * 20 + ["b"] * 20
    assert own["outcome expected_mean"].iloc[[0, 20]].tolist() == [0.5, 0.5]
    assert_drawn(out / "trajectories.png")


def test_columns_of_the_usual_names_need_no_options(folder, alone):
    done = run("hgf", "filter", alone, *TWO, "--out", folder / "usual")
    assert done.exit_code == 0, done.output
    assert f"read 40 trials: {alone}" in done.stdout
    saved = xr.load_dataset(folder / "usual" / "beliefs.nc")
    assert dict(saved.sizes) == {"trial": 40, "node": 2}
    assert "subject" not in pd.read_csv(folder / "usual" / "beliefs.csv")
    # Beliefs begin anew with the session.
    assert saved["expected_mean"].sel(node="outcome")[20] == 0.5


def test_time_steps_are_read(folder, trials):
    own = trials[trials["subject"] == "ann"].assign(gap=[3.0] * 40)
    own.to_csv(folder / "gaps.csv", index=False)
    out = folder / "gaps"
    done = run(
        *("hgf", "filter", folder / "gaps.csv", *TWO, "--time-steps", "gap"),
        *("--out", out),
    )
    assert done.exit_code == 0, done.output
    here = hgf.filter(
        hgf.binary_two_level(),
        own["outcome"].to_numpy(),
        time_steps=own["gap"].to_numpy(),
        sessions=own["session"].to_numpy(),
    )
    saved = xr.load_dataset(out / "beliefs.nc").isel(subject=0, drop=True)
    xr.testing.assert_equal(saved, here)


def test_fit_says_what_it_found_and_wrote(fitted, table):
    out, told = fitted
    assert f"read 120 trials of 3 subjects: {table}" in told
    result = nm.load(out / "result.nc")
    assert result.summary() in told
    assert result.data["identifiability"].attrs["report"] in told
    nats = float(result.data["scores"]["log_likelihood"].sum())
    assert f"{nats / 119:.4g} for each of 119 responses" in told
    written = re.findall(r"wrote (.*)", told)
    assert sorted(written) == sorted(str(path) for path in out.iterdir())


def test_the_saved_fit_is_the_fit_of_the_library(fitted, trials):
    here = hgf.fit(
        hgf.binary_two_level(),
        trials,
        response=hgf.responses.unit_square_sigmoid(),
        priors={"x2.tonic_volatility": hgf.Normal(-2, 1.5)},
        n_restarts=2,
        seed=3,
    )
    saved = nm.load(fitted[0] / "result.nc")
    assert saved.config == here.config
    assert saved.provenance["seed"] == 3
    xr.testing.assert_identical(
        saved.data["parameters"].to_dataset(), here.data["parameters"].to_dataset()
    )


def test_a_row_of_parameters_for_each_subject(fitted):
    out, _ = fitted
    rows = pd.read_csv(out / "parameters.csv").set_index("subject")
    result = nm.load(out / "result.nc")
    name = "x2.tonic_volatility"
    assert rows.index.tolist() == ["ann", "bob", "cy"]
    np.testing.assert_allclose(rows[name], result.data["parameters"][name])
    assert np.all(rows[f"{name} lower"] < rows[name])
    assert np.all(rows[name] < rows[f"{name} upper"])
    assert rows["n_responses"].tolist() == [40, 39, 40]


def test_the_report_tells_of_the_fit(fitted):
    page = (fitted[0] / "report.html").read_text("utf-8")
    assert "<h1>Beliefs behind study.csv</h1>" in page
    assert page.count("<img ") == 1
    assert "What did 3 participants believe" in page
    assert "x2.tonic_volatility: median and range of participants" in page
    assert_drawn(fitted[0] / "trajectories.png")


def test_the_code_in_the_report_runs(fitted):
    from html import unescape

    page = (fitted[0] / "report.html").read_text("utf-8")
    found = re.search(r"<code>(.*?)</code>", page, re.DOTALL)
    assert found is not None
    code = unescape(found[1]).replace("'result.nc'", repr(str(fitted[0] / "result.nc")))
    names: dict = {}
    exec(code, names)
    assert names["subject"] == "cy"
    assert dict(names["beliefs"].sizes) == {"trial": 40, "node": 2}


def test_a_saved_fit_filters_with_each_subjects_own_parameters(fitted, folder, table):
    out = folder / "again"
    model = fitted[0] / "result.nc"
    done = run("hgf", "filter", table, *COLUMNS, "--model", model, "--out", out)
    assert done.exit_code == 0, done.output
    network = hgf.agent_of(nm.load(model), subject="cy").network
    trials = pd.read_csv(table).query("who == 'cy'")
    here = hgf.filter(
        network, trials["u"].to_numpy(), sessions=trials["run"].to_numpy()
    )
    saved = xr.load_dataset(out / "beliefs.nc").sel(subject="cy", drop=True)
    xr.testing.assert_equal(saved, here)
    done = run(
        *("hgf", "filter", table, *COLUMNS, "--model", model, "--update", "ehgf"),
        *("--out", folder / "never"),
    )
    assert done.exit_code == 2
    assert "--update: got 'ehgf' beside a saved model" in done.stderr


def test_one_participant_has_one_row_and_json_is_all_that_is_printed(alone, folder):
    done = run(
        *("hgf", "fit", alone, *TWO, *PRIORS, "--restarts", "1", "--json"),
        *("--response-model", "softmax", "--set", "response.inverse_temperature=2"),
        *("--method", "maximum_likelihood", "--out", folder / "one"),
    )
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    result = nm.load(folder / "one" / "result.nc")
    assert row["x2.tonic_volatility"] == pytest.approx(
        float(result.data["parameters"]["x2.tonic_volatility"])
    )
    assert "subject" not in row
    assert type(result.model.response).__name__ == "Softmax"
    assert float(result.model.response.inverse_temperature) == 2
    assert result.config["method"] == "maximum_likelihood"
    assert "identifiability" not in result.data.children
    page = (folder / "one" / "report.html").read_text("utf-8")
    assert "What did a participant believe" in page


def test_group_tells_of_convergence(folder, table):
    out = folder / "group"
    done = run(
        *("hgf", "group", table, *COLUMNS, *TWO, *PRIORS, "--chains", "2"),
        *("--draws", "25", "--warmup", "25", "--out", out),
    )
    assert done.exit_code == 0, done.output
    result = nm.load(out / "result.nc")
    posterior = result.data["posterior"]
    assert dict(posterior.sizes) == {
        "chain": 2, "draw": 25, "subject": 3, "parameter": 1
    }  # fmt: skip
    rows = pd.read_csv(out / "summary.csv").set_index("parameter")
    assert rows.index.tolist() == [
        "mean of x2.tonic_volatility",
        "sd of x2.tonic_volatility",
    ]
    told = result.data["diagnostics"]
    for moment in ("mean", "sd"):
        row = rows.loc[f"{moment} of x2.tonic_volatility"]
        draws = posterior[f"group_{moment}"]
        assert row["mean"] == pytest.approx(float(draws.mean()))
        expected = told["r_hat"].sel(parameter=f"group_{moment}[0]")
        assert row["r_hat"] == pytest.approx(float(expected))
    assert f"R-hat at most {float(told['r_hat'].max()):.3f}" in done.stdout
    assert result.data["identifiability"].attrs["report"] in done.stdout
    for name in ("posterior.png", "group.png"):
        assert f"wrote {out / name}" in done.stdout
        assert_drawn(out / name)


def test_recover_compares_with_the_truth(folder, table):
    out = folder / "recovery"
    arguments = (
        *("hgf", "recover", table, *COLUMNS, *TWO, *PRIORS, "--simulated", "3"),
        *("--restarts", "2", "--seed", "1", "--out", out),
    )
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    saved = xr.load_dataset(out / "recovery.nc")
    assert dict(saved.sizes) == {"parameter": 1, "subject": 3}
    correlation = np.corrcoef(saved["true"][0], saved["estimate"][0])[0, 1]
    assert f"{correlation:.4g}" in done.stdout
    assert "coverage" in done.stdout
    assert_drawn(out / "recovery.png")
    again = run(*arguments, "--json", "--force")
    (row,) = json.loads(again.stdout)
    assert row["correlation"] == pytest.approx(correlation)
    (row,) = pd.read_csv(out / "recovery.csv").to_dict("records")
    assert row["parameter"] == "x2.tonic_volatility"


def test_nothing_is_replaced_without_force(fitted, table):
    out, _ = fitted
    before = (out / "result.nc").read_bytes()
    done = run("hgf", "fit", table, *COLUMNS, "--out", out)
    assert done.exit_code == 2
    assert "already holds result.nc" in done.stderr
    assert "--force" in done.stderr
    assert (out / "result.nc").read_bytes() == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--model", "binary"), "--model: got 'binary'"),
        (("--outcome", "v"), "--outcome: got the column 'v', which the table does not"),
        (("--responses", "z"), "--responses: got the column 'z'"),
        (("--subject", "whom"), "Did you mean 'who'?"),
        (("--time-steps", "dt"), "--time-steps: got the column 'dt'"),
        (("--covariate", "cue"), "--covariate: got the column 'cue'"),
        (("--response-model", "sigmoid"), "--response-model: got 'sigmoid'"),
        (("--set", "x2.tonic=1"), "--set: got 'x2.tonic'"),
        (("--set", "x2.tonic_volatility"), "a name and its value"),
        (("--set", "x2.tonic_volatility=low"), "--set: got 'low', expected a number"),
        (("--set", "x2.precision=-1"), "--set: got x2.precision=-1"),
        (("--set", "x2.tonic_drift=1"), "--set: got the parameter 'x2.tonic_drift'"),
        (("--set", "x2.mean=1", "--set", "x2.mean=2"), "--set: got 'x2.mean' twice"),
        (("--prior", "x2.mean=uniform(0,1)"), "--prior: got 'x2.mean=uniform(0,1)'"),
        (("--prior", "x9.mean=normal(0,1)"), "--prior: got the parameter 'x9.mean'"),
        (("--prior", "x2.mean=normal(0,-1)"), "sd: got"),
        (("--update", "newton"), "update: got 'newton'"),
        (("--method", "bayes"), "method: got 'bayes'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_told_in_one_line(folder, table, wrong, message):
    done = run("hgf", "fit", table, *COLUMNS, *wrong, "--out", folder / "never")
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "never").exists()


def test_a_file_that_is_no_fit_is_no_model(folder, table):
    data = xr.DataTree.from_dict({"latent": xr.Dataset({"x": ("time", [1.0])})})
    path = nm.Result(None, data, {}, {}).save(folder / "other.nc")
    done = run("hgf", "fit", table, "--model", path, "--out", folder / "never")
    assert done.exit_code == 2
    assert "--model: got a NoneType" in done.stderr
