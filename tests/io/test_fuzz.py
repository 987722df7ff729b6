"""Damaged files of every format raise our errors, and nothing else comes out.

python -m tests.io.test_fuzz 10000    reads so many damaged files of each format
"""

import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from neuromod import io
from neuromod.core.errors import NeuromodError
from tests.io import written


def damaged(original: bytes, rng: np.random.Generator) -> bytes:
    """Cut a file, flip bits in it, or put tell-tale numbers into it."""
    content = bytearray(original)
    kind = rng.integers(3)
    if kind == 0:
        return bytes(content[: rng.integers(len(content))])
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(len(content)))
        if kind == 1:
            content[place] ^= 1 << int(rng.integers(8))
        else:
            numbers = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\1\0\0\0")
            content[place : place + 4] = numbers[rng.integers(4)]
    return bytes(content)


def fuzz(write, folder, n_files: int, seed: int) -> dict[str, int]:
    """Read damaged files; return how often each outcome came. Raises what is not ours.

    A damaged file may still be read, and its numbers may be wrong: these formats carry
    no checksum.
    """
    rng = np.random.default_rng(seed)
    source, keywords = write(folder, written.small())
    paths = sorted(source.iterdir()) if source.is_dir() else [source]
    originals = {path: path.read_bytes() for path in paths}
    outcomes: dict[str, int] = {}
    for _ in range(n_files):
        path = paths[rng.integers(len(paths))]
        path.write_bytes(damaged(originals[path], rng))
        for read in (lambda: io.read_spikes(source, 0.3, **keywords),
                     lambda: io.read_behaviour(source)):  # fmt: skip
            try:
                read()
                outcome = "read"
            except NeuromodError as error:
                outcome = type(error).__name__
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        path.write_bytes(originals[path])
    return outcomes


@pytest.mark.parametrize("write", written.FILES, ids=lambda w: w.__name__)
def test_damaged_files_raise_our_errors_only(write, tmp_path):
    outcomes = fuzz(write, tmp_path, n_files=40, seed=1)
    assert sum(outcomes.values()) == 80
    assert outcomes["DataFormatError"] > 15


def main(n_files: int) -> None:
    """Print how the damaged files of each format were received, and how fast."""
    warnings.simplefilter("ignore")
    for write in written.FILES:
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            outcomes = fuzz(write, Path(folder), n_files, seed=0)
            seconds = time.perf_counter() - begin
            print(f"{write.__name__:20} {seconds:6.1f} s  {outcomes}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
