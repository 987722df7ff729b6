"""What the parity runners share: read a fixture, compare, report one line per case.

A runner is a script, ``python tests/parity/<family>.py FOLDER``. It reads every
``*.npz`` of the folder, calls the library's public functions on the inputs and
compares with the stored outputs. Each case gives one JSON line; the exit status is
zero only if none of them says ``fail``. The whole of a runner::

    import sys
    from pathlib import Path

    if __name__ == "__main__":  # a script's own folder must not shadow packages
        sys.path[0] = str(Path(__file__).resolve().parents[2])

    from tests.parity._format import Fixture, Report, run

    def check(fixture: Fixture, report: Report) -> None:
        with report.case(fixture.name, "smoother") as case:
            case.compare("gamma", smooth(fixture["ll"]), fixture["gamma"], 1e-10)

    if __name__ == "__main__":
        run(check)

Whatever goes wrong inside ``with report.case(...)`` is that case's failure, and so
is an array that no case has asked for: nothing in a folder is passed over.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

Verdict = Literal["pass", "fail", "data", "unbuilt"]


class Fixture:
    """The arrays of one file, which remembers those that were asked for."""

    def __init__(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        self.name = name
        self.arrays = arrays
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> np.ndarray:
        self.asked.add(key)
        if key not in self.arrays:
            raise KeyError(f"the array {key!r} is missing")
        return self.arrays[key]

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def unasked(self) -> list[str]:
        """Name the arrays that nobody has asked for."""
        return sorted(set(self.arrays) - self.asked)


def load(path: Path) -> Fixture:
    """Read every array of an ``.npz`` file; a damaged file raises."""
    # Opened here, because numpy leaves a damaged file open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return Fixture(path.name, {key: stored[key] for key in stored.files})


@dataclass
class Case:
    """The comparisons of one case; the worst of them decides."""

    file: str
    name: str
    verdict: Verdict = "pass"
    reason: str = ""
    compared: list[dict[str, Any]] = field(default_factory=list)

    def compare(self, quantity: str, got: Any, want: Any, tolerance: float) -> None:
        """Compare two arrays.

        Parameters
        ----------
        quantity
            What is compared, for the report.
        got, want
            The library's and the stored array; their shapes must agree.
        tolerance
            Largest deviation allowed, relative to the largest finite entry of
            ``want``; 0 demands equality.
        """
        got, want = np.asarray(got), np.asarray(want)
        if got.shape != want.shape:
            return self.fail(f"{quantity} has shape {got.shape}, not {want.shape}")
        same = got == want  # before the difference: equal infinities do not deviate
        with np.errstate(invalid="ignore"):
            difference = np.abs(got.astype(complex) - want.astype(complex))
        absolute = float(np.max(np.where(same, 0.0, difference), initial=0.0))
        scale = np.max(np.abs(want), initial=0.0, where=np.isfinite(want)) or 1.0
        relative = absolute / float(scale)
        self.compared.append(
            {
                "quantity": quantity,
                "absolute": absolute,
                "relative": relative,
                "tolerance": tolerance,
            }
        )
        if not relative <= tolerance:  # so that NaN fails
            self.fail(f"{quantity} deviates by {relative:.3g} of its largest entry")

    def fail(self, reason: str) -> None:
        """Make the case fail and say why."""
        self.verdict = "fail"
        self.reason = f"{self.reason}; {reason}" if self.reason else reason

    def state(self, verdict: Verdict, reason: str) -> None:
        """Set a verdict that needs no comparison: ``data`` or ``unbuilt``."""
        self.verdict, self.reason = verdict, reason

    def line(self) -> dict[str, Any]:
        """Return the report of the case, with its worst comparison."""
        line: dict[str, Any] = {
            "file": self.file,
            "case": self.name,
            "verdict": self.verdict,
        }
        if self.compared:
            worst = max(self.compared, key=_badness)
            line |= {k: _plain(v) for k, v in worst.items()}
            line["compared"] = [c["quantity"] for c in self.compared]
        return line | ({"reason": self.reason} if self.reason else {})


def _badness(comparison: dict[str, Any]) -> float:
    relative, tolerance = comparison["relative"], comparison["tolerance"]
    if np.isnan(relative):
        return np.inf
    return relative / tolerance if tolerance else relative * 1e300


def _plain(value: Any) -> Any:
    finite = not isinstance(value, float) or np.isfinite(value)
    return value if finite else str(value)


class Report:
    """The cases of a run, in the order in which they were checked."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    @contextmanager
    def case(self, file: str, name: str) -> Iterator[Case]:
        """Open a case; an exception inside it is its failure."""
        case = Case(file, name)
        try:
            yield case
            if case.verdict == "pass" and not case.compared:
                case.fail("nothing was compared")
        except Exception as error:
            case.fail(f"{type(error).__name__}: {error}")
        self.lines.append(case.line())

    @property
    def failed(self) -> bool:
        """Tell whether any case failed."""
        return any(line["verdict"] == "fail" for line in self.lines)


Check = Callable[[Fixture, Report], None]


def check_folder(folder: Path, check: Check) -> Report:
    """Check every ``*.npz`` of a folder; an empty folder is a failure."""
    report = Report()
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        with report.case(str(folder), "folder") as case:
            case.fail("no .npz file in this folder")
    for path in paths:
        _check_file(path, check, report)
    return report


def _check_file(path: Path, check: Check, report: Report) -> None:
    try:
        fixture = load(path)
        check(fixture, report)
        unasked = ", ".join(fixture.unasked())
        problem = f"arrays not understood: {unasked}" if unasked else ""
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        with report.case(path.name, "file") as case:
            case.fail(problem)


def run(check: Check, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a parity script: check the folder it was given, print, exit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        sys.exit(f"usage: python {sys.argv[0]} FOLDER")
    report = check_folder(Path(arguments[0]), check)
    for line in report.lines:
        print(json.dumps(line, allow_nan=False))
    sys.exit(1 if report.failed else 0)
