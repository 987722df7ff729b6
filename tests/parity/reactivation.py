"""Check neuromod.reactivation against stored numbers.

``python tests/parity/reactivation.py FOLDER`` reads every ``*.npz`` of the folder in
the format that its README describes, and prints one JSON line per case.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder must not shadow packages
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax

from tests.parity import _reactivation_networks, _reactivation_tasks
from tests.parity._format import Fixture, Report, run


def check(fixture: Fixture, report: Report) -> None:
    """Tell the kind of file by its arrays, and check it."""
    keys = {key.partition("/")[2] for key in fixture.arrays}
    with jax.enable_x64(True):
        if any(key.startswith("param/") for key in keys):
            return _reactivation_networks.check(fixture, report)
        if any(key.startswith("draw/") for key in keys):
            return _reactivation_tasks.check(fixture, report)
        if any(key.startswith("kde") for key in keys):
            return _reactivation_tasks.check_measures(fixture, report)
        if any(key.endswith("/wrec") for key in keys | set(fixture.arrays)):
            return _reactivation_networks.check_trained(fixture, report)
    raise ValueError("no kind of file that the README describes")


if __name__ == "__main__":
    run(check)
