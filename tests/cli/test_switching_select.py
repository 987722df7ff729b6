"""The number of states, chosen by a command."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image
from typer.testing import CliRunner

import neuromod as nm
from neuromod.cli.app import app
from neuromod.core.errors import InvalidInputError

QUICK = ("--basis", "none", "--prior", "ridge", "--restarts", "1", "--gap", "0.5")
FILES = ["selection.csv", "selection.nc", "selection.png"]


def run(*arguments, columns="80"):
    return CliRunner(env={"COLUMNS": columns}).invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Counts of four neurons that change their rates every two seconds."""
    generator = np.random.default_rng(1)
    rates = np.array([[0.2, 0.2, 1.5, 1.5], [1.5, 1.5, 0.2, 0.2]])
    path = tmp_path_factory.mktemp("select") / "rat.npz"
    counts = generator.poisson(rates[np.arange(400) // 20 % 2])
    np.savez(path, counts=counts, bin_size=0.1)
    return path


@pytest.fixture(scope="module")
def selected(recording):
    out = recording.parent / "out"
    done = run(
        *("switching", "select", recording, "--states", "2,1", "--folds", "2"),
        *(*QUICK, "--tolerance", "1e-4", "--seed", "3", "--out", out),
        *("--store", recording.parent / "store"),
    )
    assert done.exit_code == 0, done.output
    return out, done


def test_files_are_written(selected):
    out, done = selected
    assert sorted(path.name for path in out.iterdir()) == FILES
    for name in FILES:
        assert f"wrote {out / name}" in done.stdout
    colours = Image.open(out / "selection.png").convert("L").getcolors()
    assert colours is not None
    assert len(colours) > 10


def test_they_hold_what_the_library_finds(selected, recording):
    out, _ = selected
    found = nm.switching.select(
        nm.io.read_spikes(recording),
        (1, 2),
        seed=3,
        n_folds=2,
        gap=0.5,
        basis=None,
        prior="ridge",
        n_restarts=1,
        tolerance=1e-4,
        # Only what was handed on right is found there.
        store=recording.parent / "store",
        progress=False,
    )
    assert len([*(recording.parent / "store").iterdir()]) == 6
    with xr.open_dataset(out / "selection.nc", engine="h5netcdf") as written:
        xr.testing.assert_identical(written.load(), found)
    table = pd.read_csv(out / "selection.csv", index_col="n_states")
    for name in ("log_likelihood_per_bin", "bits_per_spike"):
        np.testing.assert_allclose(table[name], found[name].mean("fold"))
    for name in ("difference_standard_error", "stability", "bic", "n_parameters"):
        np.testing.assert_allclose(table[name], found[name])
    assert table["chosen"].to_dict() == {1: False, 2: True}


def test_the_choice_is_printed(selected):
    out, done = selected
    table = pd.read_csv(out / "selection.csv", index_col="n_states")
    row = re.search(r"^ +2\* (.*)$", done.stdout, re.MULTILINE)
    assert row is not None
    cells = row[1].split()
    assert cells[0] == f"{table['log_likelihood_per_bin'][2]:.4f}"
    assert cells[5] == f"{table['smallest_occupancy'][2]:.1%}"
    assert cells[6] == f"{table['bic'][2]:.0f}"
    assert "chosen: 2, the fewest states within one standard error" in done.stdout
    assert "This is the most that were tried" in done.stdout


def test_nothing_is_replaced_without_force(selected, recording):
    out, _ = selected
    done = run("switching", "select", recording, *QUICK, "--out", out)
    assert done.exit_code == 2
    assert "already holds selection.nc" in done.stderr


@pytest.fixture
def handed(monkeypatch):
    """Catch what the commands hand to the library, which then fits nothing."""
    calls = []

    def caught(*_, **given):
        calls.append(given)
        raise InvalidInputError("caught")

    monkeypatch.setattr(nm.switching, "select", caught)
    monkeypatch.setattr(nm.switching, "fit", caught)
    return calls


SETTINGS = {
    ("--basis", "b_spline"): {"basis": "b_spline"},
    ("--basis", "none"): {"basis": None},
    ("--self-basis", "lags"): {"self_basis": "lags"},
    ("--observation", "negative_binomial"): {"observation": "negative_binomial"},
    ("--link", "exp"): {"link": "exp"},
    ("--prior", "lasso"): {"prior": "lasso"},
    ("--types", "source"): {"prior": nm.switching.OneHot(types="source")},
    ("--restarts", "7"): {"n_restarts": 7},
    ("--max-iterations", "9"): {"max_iterations": 9},
    ("--tolerance", "0.5"): {"tolerance": 0.5},
    ("--precision", "float32"): {"precision": "float32"},
    (): {},
}


@pytest.mark.parametrize("options", SETTINGS, ids=lambda o: " ".join(o) or "none")
@pytest.mark.parametrize("verb", ["fit", "select"])
def test_settings_of_the_model_are_handed_on(
    handed, recording, tmp_path, verb, options
):
    states = "1" if verb == "fit" else "1,3"
    out = tmp_path / "out"
    run("switching", verb, recording, "-k", states, *options, "--out", out)
    given = handed[0]
    del given["spikes"]
    rest = {"n_states": 1, "seed": 0}
    if verb == "select":
        rest = {"n_states": [1, 3], "seed": 0, "n_folds": 5, "gap": 5.0, "store": None}
    assert given == {**rest, **SETTINGS[options]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--states", "1,b"), "--states: got '1,b', expected whole numbers"),
        (("--types", "pair"), "--types: got 'pair'"),
        (("--prior", "ridge", "--types", "edge"), "Leave --types out"),
        (("--self-basis", "lag"), "--self-basis: got 'lag'"),
        (("--observation", "poison"), "Did you mean 'poisson'?"),
        (("--states", "2,2"), "expected different numbers of states"),
    ],
)
def test_bad_requests_leave_nothing(recording, tmp_path, options, message):
    out = tmp_path / "out"
    done = run("switching", "select", recording, *options, "--out", out)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not out.exists()


def test_help_names_everything_there_is_to_choose():
    from neuromod.switching.basis import BASES
    from neuromod.switching.observations import LINKS, OBSERVATIONS
    from neuromod.switching.settings import PRIORS

    for verb in ("fit", "select"):
        shown = run("switching", verb, "--help", columns="200").stdout
        for name in (*BASES, *OBSERVATIONS, *LINKS, *PRIORS):
            assert re.search(rf"\b{name}\b", shown), name
