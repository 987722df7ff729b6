"""Where the shared recordings and reference numbers are, for tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1].parent / "shared"


def shared(relative: str) -> Path:
    """Return a path below the shared folder, or skip the test if it is not there.

    Where ``CI=true`` its absence is a failure: an integration run that skips the
    recordings proves nothing.
    """
    path = ROOT / relative
    if not path.exists():
        reason = f"{relative} is not in the shared folder beside the checkout"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
