import numpy as np
import pytest

from neuromod.reactivation import inference
from tests.parity import reactivation as runner
from tests.parity._format import check_folder
from tests.shared import shared


def verdicts(folder) -> dict[str, str]:
    report = check_folder(folder, runner.check)
    return {f"{line['file']}:{line['case']}": line["verdict"] for line in report.lines}


def test_stored_numbers_are_reproduced():
    found = verdicts(shared("reference/reactivation"))
    assert set(found.values()) == {"pass", "data"}, found
    data = {key for key, verdict in found.items() if verdict == "data"}
    assert {key.split(":")[0] for key in data} == {"trained_small.npz"}


@pytest.mark.parametrize("name", ["rnn_vanilla.npz", "rnn_gru.npz"])
def test_the_runner_sees_a_wrong_library(name, tmp_path, monkeypatch):
    (tmp_path / name).symlink_to(shared(f"reference/reactivation/{name}"))
    right = inference.step

    def wrong(network, conditions, carry, inputs, drawn):
        after = right(network, conditions, carry, inputs, drawn)
        return after._replace(state=after.state * np.float64(1.0001))

    monkeypatch.setattr(inference, "step", wrong)
    assert set(verdicts(tmp_path).values()) == {"fail"}
