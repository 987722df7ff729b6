"""Of a damaged journal, what is whole is read, and nothing else taken for it."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest

from neuromod.core.errors import DataFormatError
from neuromod.stimulation import journal
from neuromod.stimulation.journal import Journal
from tests.stimulation.rights import as_somebody_else, readable_folder


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rat7.db"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a journal of several pages, and its events."""
    path = tmp_path_factory.mktemp("written") / "rat7.db"
    with Journal(path) as opened:
        for k in range(60):
            opened.append("tell", {"id": f"rat7-{k:05d}", "reason": "a" * 300})
    return path.read_bytes(), journal.read(path)


def assert_whole_or_told(path, events):
    """See that what is read is what was written, or else that the damage is told."""
    try:
        found = journal.read(path)
    except DataFormatError:
        with pytest.raises(DataFormatError), Journal(path):
            pass
        with contextlib.suppress(DataFormatError):
            found = journal.salvage(path)
            assert found == events[: len(found)]
            return len(found)
        return 0
    assert found == events
    return len(found)


def test_no_damage_is_taken_for_an_event(path, written):
    whole, events = written
    rng = np.random.default_rng(0)
    places = [*range(0, 112, 2), *rng.integers(0, len(whole), 80).tolist()]
    read = []
    for place in places:
        damaged = bytearray(whole)
        for k in range(place, min(place + int(rng.integers(1, 9)), len(whole))):
            damaged[k] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        read.append(assert_whole_or_told(path, events))
    assert 0 < sum(n == len(events) for n in read) < len(places) / 2
    assert sum(0 < n < len(events) for n in read) > 20


def test_of_a_journal_that_was_cut_off_the_beginning_is_read(path, written):
    whole, events = written
    read = []
    for n_bytes in range(len(whole) - 1, 0, -len(whole) // 30):
        path.write_bytes(whole[:n_bytes])
        read.append(assert_whole_or_told(path, events))
    assert max(read) < len(events)
    assert read == sorted(read, reverse=True)
    assert len(set(read)) > 3


DYING = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
for k in range(100):
    row = 1000 + k, 0.0, "tell", b"x" * 3000, "no hash"
    connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?)", row)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_an_owner_left_half_written_is_no_damage_to_a_reader(written):
    with readable_folder() as folder:
        path = folder / "rat7.db"
        path.write_bytes(written[0])
        subprocess.run([sys.executable, "-c", DYING, str(path)])
        half = path.read_bytes()
        assert len(half) > len(written[0])
        assert journal.read(path) == written[1]
        with as_somebody_else():
            assert journal.salvage(path) == written[1]
        assert path.read_bytes() == half  # it is for the next owner to mend
        with Journal(path) as opened:
            assert list(opened) == written[1]
        assert not path.with_name("rat7.db-journal").exists()
        assert journal.read(path) == written[1]
