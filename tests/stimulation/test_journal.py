"""What is acknowledged is there, whatever happens, and nothing else is."""

import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from neuromod.core.errors import ChecksumError, DataFormatError, SessionError
from neuromod.stimulation import journal
from neuromod.stimulation.journal import Journal

CONTENTS = [{"point": [1, 2]}, {"response": 0.25}, {"reason": "artefact \u00b5V"}]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rat7.db"


@pytest.fixture
def written(path):
    with Journal(path) as opened:
        for content in CONTENTS:
            opened.append("tell", content)
    return path


def child(code, *arguments, **options):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, **pipes | options)


def test_events_come_back_in_order_with_their_hashes(written):
    events = journal.read(written)
    assert [event.content for event in events] == CONTENTS
    assert [event.number for event in events] == [1, 2, 3]
    assert abs(events[-1].time - time.time()) < 60
    assert len({event.hash for event in events}) == 3


def test_a_journal_is_one_file_and_goes_on(written):
    assert [entry.name for entry in written.parent.iterdir()] == [written.name]
    with Journal(written) as opened:
        assert opened.last.number == 3
        assert opened.append("stop", {}).number == 4
        assert [event.kind for event in opened] == ["tell"] * 3 + ["stop"]


def test_nothing_is_changed_or_deleted(written):
    with sqlite3.connect(written) as connection:
        for statement in ("UPDATE event SET kind = 'ask'", "DELETE FROM event"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "whole"),
    [
        ("UPDATE event SET content = CAST('{}' AS BLOB) WHERE number = 2", 1),
        ("UPDATE event SET time = time + 1 WHERE number = 3", 2),
        ("UPDATE event SET kind = 'ask' WHERE number = 1", 0),
        ("DELETE FROM event WHERE number = 2", 1),
    ],
)
def test_what_was_changed_behind_its_back_is_told(written, statement, whole):
    with sqlite3.connect(written) as connection:
        connection.execute("DROP TRIGGER no_change")
        connection.execute("DROP TRIGGER no_deletion")
        connection.execute(statement)
    connection.close()
    with pytest.raises(ChecksumError, match=f"the {whole} before it are whole"):
        journal.read(written)
    with pytest.raises(ChecksumError):
        Journal(written)


def test_a_second_owner_is_refused_and_a_reader_is_not(written):
    code = (
        "import sys; from neuromod.stimulation import journal\n"
        "print(len(journal.read(sys.argv[1])))\n"
        "try: journal.Journal(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    with Journal(written):
        told, _ = child(code, written).communicate(timeout=60)
        with pytest.raises(SessionError, match="another process owns"):
            Journal(written)
    assert told.startswith("3\nSessionError another process owns")
    told, _ = child(code, written).communicate(timeout=60)
    assert told == "3\n"


def test_files_of_other_kinds_are_refused(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no journal at all, but long enough to have a header " * 10)
    with pytest.raises(DataFormatError, match="no journal"):
        journal.read(text)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE event (number INTEGER)")
    connection.close()
    for opening in (journal.read, Journal):
        with pytest.raises(DataFormatError, match="no journal"):
            opening(other)
    with pytest.raises(DataFormatError, match="there is no journal"):
        journal.read(tmp_path / "absent.db")
    with pytest.raises(SessionError, match="no folder"):
        Journal(tmp_path / "absent" / "rat.db")


def test_a_damaged_file_is_told(written):
    whole = written.read_bytes()
    for place in (20, len(whole) // 2, len(whole) - 30):
        written.write_bytes(whole[:place] + b"\x00\xff" * 10 + whole[place + 20 :])
        try:
            found = journal.read(written)
        except (DataFormatError, ChecksumError):
            continue
        assert [event.content for event in found] == CONTENTS
    written.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((DataFormatError, ChecksumError)):
        journal.read(written)


def test_a_journal_of_a_later_version_is_refused(written):
    connection = sqlite3.connect(written)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DataFormatError, match="version 99, expected 1"):
        journal.read(written)


APPENDING = """
import sys
from neuromod.stimulation.journal import Journal
with Journal(sys.argv[1]) as journal:
    while True:
        print(journal.append("tell", {"response": "x" * 50}).number, flush=True)
"""


@pytest.mark.parametrize("wait", [0.05, 0.2, 0.5])
def test_what_was_acknowledged_survives_a_kill(path, wait):
    writing = child(APPENDING, path)
    assert writing.stdout.readline().strip() == "1"
    time.sleep(wait)
    writing.send_signal(signal.SIGKILL)
    rest = writing.communicate(timeout=60)[0].splitlines()
    acknowledged = int(rest[-1]) if rest else 1
    with Journal(path) as opened:  # which also rolls back what was half written
        stored = opened.last.number
        assert opened.append("stop", {}).number == stored + 1
    assert acknowledged <= stored <= acknowledged + 1


FULL = """
import resource, signal, sys
from neuromod.core.errors import SessionError
from neuromod.stimulation.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Journal(sys.argv[1]) as journal:
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
    number = 0
    try:
        while True:
            number = journal.append("tell", {"response": "x" * 1000}).number
    except SessionError as error:
        print(number, error)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    print(journal.append("stop", {}).number)
"""


def test_a_full_disk_is_told_and_what_was_before_is_safe(path):
    told, _ = child(FULL, path).communicate(timeout=60)
    first, second = told.splitlines()
    number = int(first.split()[0])
    assert number > 10
    assert "was not written" in first
    assert "make room" in first
    assert int(second) == number + 1
    assert len(journal.read(path)) == number + 1


UNPRIVILEGED = """
import os, sys
from neuromod.core.errors import SessionError
from neuromod.stimulation.journal import Journal
if os.geteuid() == 0:
    os.setuid(65534)
try:
    Journal(sys.argv[1])
except SessionError as error:
    print(error)
"""


def test_a_folder_that_is_not_ours_is_told(tmp_path):
    folder = tmp_path / "of_others"
    folder.mkdir(mode=0o555)
    told, _ = child(UNPRIVILEGED, folder / "rat.db").communicate(timeout=60)
    assert "cannot be written" in told
    assert not list(folder.iterdir())
