import pytest

from neuromod.pvrnn import energy
from tests.parity import pvrnn as runner
from tests.parity._format import check_folder
from tests.shared import shared

SMALLEST = "a2019_softmax_nohidden_topdown.npz"


def verdicts(folder) -> dict[str, str]:
    report = check_folder(folder, runner.check)
    return {f"{line['file']}:{line['case']}": line["verdict"] for line in report.lines}


def test_stored_numbers_are_reproduced():
    found = verdicts(shared("reference/pvrnn"))
    assert set(found.values()) == {"pass"}, found


@pytest.mark.parametrize("name", [SMALLEST])
def test_the_runner_sees_a_wrong_library(name, tmp_path, monkeypatch):
    (tmp_path / name).symlink_to(shared(f"reference/pvrnn/{name}"))
    right = energy.divergence

    def wrong(posterior, prior, constants):
        return 1.0001 * right(posterior, prior, constants)

    monkeypatch.setattr(energy, "divergence", wrong)
    found = verdicts(tmp_path)
    assert found.pop(f"{name}:prior") == "pass"
    assert set(found.values()) == {"fail"}
