"""Somebody who may not write."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534


@contextlib.contextmanager
def as_somebody_else() -> Iterator[None]:
    """Be somebody without rights for a while."""
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def readable_folder() -> Iterator[Path]:
    """Return a folder that somebody else may look into, but not write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
