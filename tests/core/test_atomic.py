"""A file is whole or not there: errors, kills, several writers."""

import os
import signal
import subprocess
import sys
import time

import pytest

from neuromod.core import atomic
from neuromod.core.atomic import write_atomically
from neuromod.core.errors import InvalidInputError

# Writes blocks of one repeated byte for ever; a torn file would mix two of them.
WRITER = """
import sys
from neuromod.core.atomic import write_atomically
path, first = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
i = first
while True:
    write_atomically(path, bytes([i % 256]) * (20_000 + 997 * (i % 7)))
    i += 2
"""

# Writes half a file, says so, and waits to be killed.
STUCK = """
import sys, time
from neuromod.core.atomic import write_atomically
def content(file):
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    time.sleep(60)
write_atomically(sys.argv[1], content)
"""


def start(script, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def stop(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def is_whole(content):
    lengths = {20_000 + 997 * (i % 7) for i in range(7)}
    return len(set(content)) == 1 and len(content) in lengths


def test_writes_bytes_and_functions(tmp_path):
    path = tmp_path / "a.bin"
    assert write_atomically(path, b"one") == path
    assert path.read_bytes() == b"one"
    write_atomically(str(path), lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_has_the_permissions_of_an_ordinary_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"")
    modes = [(tmp_path / name).stat().st_mode for name in ("plain", "ours")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")

    def content(file):
        file.write(b"half of the new")
        raise error

    with pytest.raises(error):
        write_atomically(path, content)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_refuses_folders(tmp_path):
    with pytest.raises(InvalidInputError, match="Add a file name"):
        write_atomically(tmp_path, b"")
    with pytest.raises(InvalidInputError, match=r"mkdir\(parents=True\)"):
        write_atomically(tmp_path / "absent" / "a.bin", b"")
    assert os.listdir(tmp_path) == []


def test_removes_leftovers_of_dead_writers_only(tmp_path):
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")
    dead, alive = start(STUCK, path), start(STUCK, path)
    try:
        stop(dead)
        assert len(os.listdir(tmp_path)) == 3
        write_atomically(path, b"new")
        assert len(os.listdir(tmp_path)) == 2
    finally:
        stop(alive)
    write_atomically(path, b"newer")
    assert os.listdir(tmp_path) == ["a.bin"]
    assert path.read_bytes() == b"newer"


def test_removes_no_file_that_only_looks_alike(tmp_path):
    others = [
        ".a.bin.tmp",
        ".a.bin.mine.tmp",
        ".aXbin.0123456789abcdef.tmp",
        ".b.a.bin.0123456789abcdef.tmp",
        "a.bin.0123456789abcdef.tmp",
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".a.bin.0123456789abcdef.tmp").write_bytes(b"")
    write_atomically(tmp_path / "a.bin", b"")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "a.bin"])


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9")
def test_two_writers_and_kills_never_leave_a_torn_file(tmp_path):
    path = tmp_path / "a.bin"
    for trial in range(6):
        writers = [start(WRITER, path, 0), start(WRITER, path, 1)]
        until = time.monotonic() + 0.05 + 0.021 * trial
        while time.monotonic() < until or not path.exists():
            if path.exists():
                assert is_whole(path.read_bytes())
        for writer in writers:
            assert writer.poll() is None, "the writer itself failed"
            stop(writer)
        assert is_whole(path.read_bytes())
    write_atomically(path, b"end")
    assert os.listdir(tmp_path) == ["a.bin"]


def test_starts_again_when_swept_away_before_it_holds_the_lock(tmp_path, monkeypatch):
    path, swept, lock = tmp_path / "a.bin", [], atomic._lock

    def sweep_first(file, wait):
        if not swept:
            swept.append(file.name)
            os.unlink(file.name)
        return lock(file, wait)

    monkeypatch.setattr(atomic, "_lock", sweep_first)
    write_atomically(path, b"whole")
    assert len(swept) == 1
    assert path.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["a.bin"]
