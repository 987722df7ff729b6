import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from neuromod import datasets
from neuromod.core.errors import (
    ChecksumError,
    DatasetUnavailableError,
    InvalidInputError,
)
from neuromod.datasets import registry, store
from tests.datasets.conftest import CONTENT

DIGEST = hashlib.sha256(CONTENT).hexdigest()
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def entry(server):
    """Give a set whose hash nobody has published, on the server of this machine."""
    known = registry.describe("mouse_head_direction")
    return replace(
        known,
        name="test",
        basename="test.bin",
        url=server.url("/file"),
        sha256="unverified",
        hash_source="",
    )


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download_is_kept_and_its_hash_recorded(entry, server, cache):
    path = store.obtain(entry)
    assert path == cache / "test.bin"
    assert path.read_bytes() == CONTENT
    assert (cache / "test.bin.sha256").read_text() == f"{DIGEST}  test.bin\n"
    assert contents(cache) == ["test.bin", "test.bin.sha256"]
    assert store.obtain(entry) == path
    assert server.requests == ["/file"]  # the second time from the cache


def test_later_download_must_match_the_first(entry, server, cache):
    store.obtain(entry).unlink()
    server.content = CONTENT[::-1]
    changed = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(ChecksumError, match="sent another file; nothing was") as error:
        store.obtain(entry)
    assert changed in str(error.value)
    assert DIGEST in str(error.value)
    assert contents(cache) == ["test.bin.sha256"]


def test_changed_file_in_the_cache_is_refused(entry, cache):
    path = store.obtain(entry)
    path.write_bytes(CONTENT[:-1] + b"x")
    changed = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ChecksumError) as error:
        store.obtain(entry)
    assert changed in str(error.value)
    assert DIGEST in str(error.value)
    assert "Delete it and fetch 'test' again" in str(error.value)
    record = cache / "test.bin.sha256"
    assert f"delete {record} instead" in str(error.value)
    record.unlink()  # as the error says
    assert store.obtain(entry) == path


def test_published_hash_decides(entry, server, cache):
    published = replace(entry, sha256=DIGEST, hash_source="a list")
    assert store.obtain(published).read_bytes() == CONTENT
    assert contents(cache) == ["test.bin"]  # nothing to record
    other = replace(published, basename="other.bin", sha256="0" * 64)
    with pytest.raises(ChecksumError, match=f"{'0' * 64} was published in a list"):
        store.obtain(other)
    assert contents(cache) == ["test.bin"]


def test_wrong_size_is_refused_before_it_is_recorded(entry, cache):
    with pytest.raises(ChecksumError, match="has 262144 bytes instead of 5"):
        store.obtain(replace(entry, bytes=5))
    assert contents(cache) == []


@pytest.mark.parametrize(
    ("path", "reason"), [("/missing", "404"), ("/short", "IncompleteRead|broken")]
)
def test_failed_download_leaves_nothing_and_says_what_to_do(
    entry, server, cache, path, reason
):
    failing = replace(entry, url=server.url(path))
    with pytest.raises(DatasetUnavailableError, match=reason) as error:
        store.obtain(failing)
    assert failing.url in str(error.value)
    assert str(cache / "test.bin") in str(error.value)
    assert contents(cache) == []


def test_unreachable_server_is_told(entry, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(DatasetUnavailableError, match="its download failed") as error:
        store.obtain(entry)
    assert "unverified: nobody published one" in str(error.value)
    assert "or set NEUROMOD_DATA to a folder that holds test.bin" in str(error.value)


def test_cache_that_cannot_be_made_is_told(entry, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NEUROMOD_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetUnavailableError, match="Not a directory"):
        store.obtain(entry)


def test_nothing_but_fetch_and_load_uses_the_network(offline):
    datasets.list()
    datasets.describe("mouse_head_direction")
    assert not datasets.status().present.any()
    with pytest.raises(DatasetUnavailableError, match="download=False"):
        datasets.fetch("mouse_head_direction", download=False)
    with pytest.raises(DatasetUnavailableError, match="download=False"):
        datasets.load("mouse_head_direction", download=False)
    with pytest.raises(AssertionError, match="the network was touched"):
        socket.getaddrinfo("localhost", 80)  # the guard itself works


def test_import_uses_no_network():
    code = """
import sys
asked = []
sys.addaudithook(lambda event, _: asked.append(event)
                 if event in ("socket.connect", "socket.getaddrinfo") else None)
import neuromod.datasets as datasets
datasets.list(), datasets.describe("rat_ca1_wmaze")
assert not asked, asked
for heavy in ("requests", "pooch", "pynwb", "matplotlib"):
    assert heavy not in sys.modules, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_set_without_download_names_its_source_and_place(offline, cache):
    with pytest.raises(DatasetUnavailableError) as error:
        datasets.fetch("rat_ca1_wmaze")
    text = str(error.value)
    assert "it has no public download" in text
    assert "github.com/nelpy/example-data" in text
    assert str(cache / "rat_ca1_wmaze_run_rest.npz") in text


def test_file_put_by_hand_where_the_error_says_is_found(offline, entry, cache):
    cache.mkdir(parents=True)
    (cache / "test.bin").write_bytes(CONTENT)
    assert store.obtain(entry, download=False) == cache / "test.bin"
    assert (cache / "test.bin.sha256").read_text().startswith(DIGEST)


def test_local_folder_stands_in_at_any_depth(
    offline, entry, cache, tmp_path, monkeypatch
):
    deep = tmp_path / "mine" / "a" / "b" / "test.bin"
    deep.parent.mkdir(parents=True)
    deep.write_bytes(CONTENT)
    monkeypatch.setenv("NEUROMOD_DATA", str(tmp_path / "mine"))
    assert store.obtain(entry) == deep
    assert not cache.exists()  # nothing is written for a file of the user's own
    shallow = tmp_path / "mine" / "test.bin"
    shallow.write_bytes(CONTENT)
    assert store.obtain(entry) == shallow
    published = replace(entry, sha256="1" * 64, hash_source="a list")
    with pytest.raises(ChecksumError, match="Put the right file there, or unset"):
        store.obtain(published)


def test_local_folder_that_does_not_exist_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROMOD_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInputError, match=r"NEUROMOD_DATA.*an existing folder"):
        datasets.status()


def test_status_tells_where_and_how_sure(entry, server, cache, monkeypatch):
    published = replace(
        entry, name="sure", basename="sure.bin", sha256=DIGEST, hash_source="a list"
    )
    absent = replace(entry, name="absent", basename="absent.bin")
    known = {e.name: e for e in (entry, published, absent)}
    monkeypatch.setattr(registry, "entries", lambda: known)
    path = datasets.fetch("test")
    datasets.fetch("sure")
    table = datasets.status()
    assert dict(table.verified) == {
        "test": "recorded",
        "sure": "published",
        "absent": "",
    }
    assert table.present.tolist() == [True, True, False]
    assert table.loc["test", "where"] == str(path)
    assert table.loc["test", "bytes"] == len(CONTENT)
    path.write_bytes(b"changed")
    assert datasets.status().verified["test"] == "changed"
    (cache / "test.bin.sha256").unlink()
    assert datasets.status().verified["test"] == "unverified"
    assert not (cache / "test.bin.sha256").exists()  # looking records nothing


def child(entry, cache):
    """Start a process that fetches ``entry`` into the same cache."""
    code = (
        "from neuromod.datasets import store\n"
        "from neuromod.datasets.registry import Entry\n"
        f"store.obtain(Entry(**{vars(entry)!r}))"
    )
    environment = {**os.environ, "NEUROMOD_CACHE": str(cache.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=subprocess.PIPE
    )


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_kill_in_a_download_damages_nothing(entry, server, cache):
    process = child(replace(entry, url=server.url("/drip")), cache)
    wait_for(lambda: cache.exists() and any(f.stat().st_size for f in cache.iterdir()))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (leftover,) = contents(cache)  # no file, no record
    assert leftover.startswith(".test.bin.")
    assert store.find(entry) is None
    path = store.obtain(entry)
    assert path.read_bytes() == CONTENT
    assert contents(cache) == ["test.bin", "test.bin.sha256"]


def test_two_processes_do_not_disturb_each_other(entry, server, cache):
    slow = child(replace(entry, url=server.url("/drip")), cache)
    wait_for(lambda: cache.exists() and any(f.stat().st_size for f in cache.iterdir()))
    path = store.obtain(entry)  # leaves alone what the other one is still writing
    assert len(contents(cache)) == 3
    server.released.set()
    _, errors = slow.communicate(timeout=30)
    assert slow.returncode == 0, errors.decode()
    assert path.read_bytes() == CONTENT
    assert contents(cache) == ["test.bin", "test.bin.sha256"]
