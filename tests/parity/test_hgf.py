import json
from pathlib import Path

import jax
import numpy as np
import pytest

from neuromod.hgf import inference
from tests.parity import hgf as runner
from tests.parity._format import check_folder
from tests.shared import shared


def verdicts(folder: Path) -> dict[str, str]:
    report = check_folder(folder, runner.check)
    return {f"{line['file']}:{line['case']}": line["verdict"] for line in report.lines}


@pytest.fixture
def some(tmp_path):
    """Return a folder with some of the files, one of each kind."""
    source = shared("reference/hgf")
    for pattern in (
        "two_branch*",
        "binary3_pyhgftest__unbounded__relaxed*",
        "continuous3_pyhgftest__eHGF__relaxed*",
        "binary3_irregular_time__eHGF__mf*",
        "input_noise_volatility__standard__relaxed*",
        "corrected*unbounded__mf*",
        "*canonical*",
        "response_models*",
        "categorical3_switch__unbounded*",
        "ef_mvn2*",
        "ef_normal_hgf2__unbounded*",
        "deep_2_4_2_tanh_standard*",
    ):
        found = list(source.glob(pattern))
        assert found, pattern
        for path in found:
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_stored_numbers_are_reproduced(some):
    found = verdicts(some)
    assert set(found.values()) == {"pass"}, found


def test_the_runner_sees_a_wrong_library(tmp_path, monkeypatch):
    name = "two_branch__standard__mf.npz"
    (tmp_path / name).symlink_to(shared(f"reference/hgf/{name}"))
    right = inference.run

    def wrong(network, series):
        found = right(network, series)
        moved = {n: b._replace(mean=b.mean * 1.0001) for n, b in found.beliefs.items()}
        return found._replace(beliefs=moved)

    monkeypatch.setattr(inference, "run", wrong)
    assert verdicts(tmp_path)[f"{name}:trajectories"] == "fail"


@pytest.mark.parametrize("change", ["missing", "unknown", "wrong"])
def test_what_is_not_right_fails(tmp_path, change):
    source = shared("reference/hgf/onestep_value_parent__eHGF__mf.npz")
    with np.load(source) as stored:
        arrays = {key: stored[key] for key in stored.files}
    if change == "missing":
        del arrays["precision"]
    if change == "unknown":
        arrays["novelty"] = np.zeros(3)
    if change == "wrong":
        arrays["mean"] = arrays["mean"] + 1e-5
    np.savez(tmp_path / "another.npz", **arrays)
    assert "fail" in verdicts(tmp_path).values()


def test_the_readme_totals_are_reproduced():
    """Totals that the peer's own tests assert, in single precision."""
    from neuromod import hgf

    with np.load(shared("reference/hgf/binary3_default__eHGF__mf.npz")) as stored:
        outcome, choice = stored["input"][:, 0], stored["response"]
        assert json.loads(str(stored["meta"]))["case"] == "binary3_default"
    two = hgf.Network(
        [
            hgf.BinaryInput("u"),
            hgf.ContinuousState("x2", mean=0.5, precision=1e4, tonic_volatility=-6.0),
        ],
        [hgf.probability("x2", "u")],
    )
    nats = hgf.filter(two, outcome)["surprise"].sel(node="u").sum()
    np.testing.assert_allclose(nats, 215.58821, rtol=1e-5)
    network = hgf.binary_two_level()
    with jax.enable_x64(True):
        series = inference.Series((jax.numpy.asarray(outcome, float),), (None,), None)
        found = inference.run(network, series)
        seen = hgf.responses.response.look(network, series, found)
        sigmoid = hgf.responses.unit_square_sigmoid(4.0)
        nats = -sigmoid.log_probability(seen, jax.numpy.asarray(choice, float)).sum()
    np.testing.assert_allclose(nats, 138.89925, rtol=1e-5)
