"""Check neuromod.pvrnn against stored numbers.

``python tests/parity/pvrnn.py FOLDER`` reads every ``*.npz`` of the folder in the
format that its README describes, and prints one JSON line per case.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # a script's own folder must not shadow packages
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import jax

from tests.parity import _pvrnn_adaptive, _pvrnn_modules, _pvrnn_tower
from tests.parity._format import Fixture, Report, run

KINDS = {
    "a2019_": _pvrnn_tower.check,
    "b2022_": _pvrnn_modules.check,
    "c2022_": _pvrnn_adaptive.check,
}


def check(fixture: Fixture, report: Report) -> None:
    """Tell the kind of file by its name, and check it."""
    with jax.enable_x64(True):
        for prefix, check_kind in KINDS.items():
            if fixture.name.startswith(prefix):
                return check_kind(fixture, report)
    raise ValueError("no kind of file that the README describes")


if __name__ == "__main__":
    run(check)
