"""The journal of a session: one file in which nothing is lost and nothing changed.

A journal is one SQLite file of events, each with the hash of the one before. An event
is on the disk before `append` returns (rollback journal, ``synchronous = EXTRA``), so
what has been acknowledged survives a crash of the program or the computer; what has not
is absent as a whole. Nothing is ever changed or deleted: a trigger forbids it, and the
chain of hashes tells if something else did it.

One process owns a journal for writing, for as long as it is open; any number may read.
"""

import hashlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from neuromod.core import plain
from neuromod.core.errors import ChecksumError, DataFormatError, SessionError

try:
    import fcntl
except ImportError:  # Windows: there SQLite alone keeps two writers apart
    fcntl = None

APPLICATION = 0x6E6D7373  # "nmss", by which the file is told from others
VERSION = 1
FIRST = "0" * 64  # what stands for the hash before the first event
COLUMNS = "number, time, kind, content, hash"
SCHEMA = """
CREATE TABLE event (
  number INTEGER PRIMARY KEY,
  time REAL NOT NULL,
  kind TEXT NOT NULL,
  content BLOB NOT NULL,
  hash TEXT NOT NULL
);
CREATE TRIGGER no_change BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER no_deletion BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;
"""


class Event(NamedTuple):
    """Something that happened.

    Parameters
    ----------
    number
        Counted from 1.
    time
        Seconds since 1970, by the clock of the computer.
    kind
        What it was.
    content
        Plain values.
    hash
        Of all this, and of the hash of the event before.
    """

    number: int
    time: float
    kind: str
    content: Any
    hash: str


class Journal:
    """An open journal, owned by this process.

    Parameters
    ----------
    path
        The file; it is made if it is not there.

    Raises
    ------
    SessionError
        If another process owns it, or it cannot be written.
    DataFormatError
        If it is a file of another kind, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._owner = _own(self.path)
        try:
            self._connection = _connect(self.path, "rwc")
            if self.path.stat().st_size == 0:
                self._begin()
            events = list(_checked(self._connection))
            self.last = events[-1] if events else None
        except BaseException:
            self.close()
            raise

    def append(self, kind: str, content: Any) -> Event:
        """Write an event; it is on the disk when this returns.

        Raises
        ------
        SessionError
            If it could not be written, as when the disk is full; then it is not there.
        """
        number = self.last.number + 1 if self.last else 1
        before = self.last.hash if self.last else FIRST
        packed = plain.dumps(plain.pack(content, kind)).encode("ascii")
        now = time.time()
        event = Event(
            number, now, kind, content, _hash(before, number, now, kind, packed)
        )
        row = number, now, kind, packed, event.hash
        try:
            with self._connection:
                self._connection.execute(
                    f"INSERT INTO event ({COLUMNS}) VALUES (?, ?, ?, ?, ?)", row
                )
        except sqlite3.Error as error:
            raise _unwritten(self.path, error) from error
        self.last = event
        return event

    def __iter__(self) -> Iterator[Event]:
        """Go through all events."""
        return _checked(self._connection)

    def close(self) -> None:
        """Give the journal back; further calls do nothing."""
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()
        # Last: closing any handle of a file drops the locks that SQLite has on it.
        self._owner.close()

    def __enter__(self) -> "Journal":
        """Return the journal itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self.close()

    def _begin(self) -> None:
        try:
            with self._connection:
                self._connection.executescript(
                    f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION};"
                    f"PRAGMA user_version = {VERSION}; COMMIT;"
                )
        except sqlite3.Error as error:
            raise _unwritten(self.path, error) from error


def read(path: str | os.PathLike[str]) -> list[Event]:
    """Return all events of a journal, whoever owns it.

    Raises
    ------
    DataFormatError
        If it is a file of another kind, or damaged.
    ChecksumError
        If an event is not what was written.
    """
    with _reader(Path(path)) as connection:
        return list(_checked(connection))


def salvage(path: str | os.PathLike[str]) -> list[Event]:
    """Return the events of a damaged journal that come before the damage.

    Each of them is what was written.

    Raises
    ------
    DataFormatError
        If it is a file of another kind, or so damaged that none can be read.
    """
    found = []
    with _reader(Path(path), damaged=True) as connection:
        try:
            for event in _checked(connection):
                found.append(event)
        except DataFormatError:
            return found
    return found


@contextmanager
def _reader(path: Path, *, damaged: bool = False) -> Iterator[sqlite3.Connection]:
    """Open a journal to look at it.

    An owner that died while it wrote leaves pages to be put back, which only an owner
    may do: then a copy is looked at.
    """
    if not path.is_file():
        raise DataFormatError(f"there is no journal {str(path)!r}")
    with ExitStack() as kept:
        try:
            connection = _connect(path, "ro", damaged=damaged)
        except DataFormatError as error:
            if not _was_interrupted(error):
                raise
            folder = kept.enter_context(tempfile.TemporaryDirectory())
            connection = _connect(_copied(path, Path(folder)), "rw", damaged=damaged)
        kept.callback(connection.close)
        yield connection


def _copied(path: Path, folder: Path) -> Path:
    for name in (f"{path.name}-journal", path.name):  # the one that may go away first
        if path.with_name(name).exists():
            shutil.copyfile(path.with_name(name), folder / name)
    return folder / path.name


def _was_interrupted(error: DataFormatError) -> bool:
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_READONLY_ROLLBACK


def _checked(connection: sqlite3.Connection) -> Iterator[Event]:
    """Go through events whose numbers and hashes follow one another."""
    before = FIRST
    for expected, row in enumerate(_rows(connection), start=1):
        number, now, kind, packed, digest = row
        if number != expected or digest != _hash(before, number, now, kind, packed):
            raise ChecksumError(
                f"event {expected} of the journal is not what was written, or events "
                f"are missing before it; the {expected - 1} before it are whole: "
                "`neuromod.stimulation.journal.salvage` returns them"
            )
        yield Event(number, now, kind, plain.unpack(plain.loads(packed)), digest)
        before = digest


def _rows(connection: sqlite3.Connection) -> Iterator[tuple]:
    query = f"SELECT {COLUMNS} FROM event ORDER BY number"
    try:
        for number, now, kind, packed, digest in connection.execute(query):
            yield int(number), float(now), str(kind), bytes(packed), str(digest)
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise DataFormatError(f"the journal is damaged: {error}") from error


def _hash(before: str, number: int, now: float, kind: str, packed: bytes) -> str:
    head = f"{before} {number} {now!r} {len(kind)} {kind} ".encode()
    return hashlib.sha256(head + packed).hexdigest()


def _own(path: Path) -> BinaryIO:
    """Return a handle that keeps other owners away for as long as it is open."""
    try:
        handle = open(path, "ab")
    except FileNotFoundError as error:
        raise SessionError(
            f"there is no folder {str(path.parent)!r}: make it"
        ) from error
    except OSError as error:
        raise SessionError(
            f"{str(path)!r} cannot be written ({error.strerror}): choose a folder that "
            "is yours"
        ) from error
    if fcntl is None:
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise SessionError(
            f"another process owns the session {str(path)!r}: close it there first; "
            "reading needs no ownership"
        ) from error
    return handle


def _connect(path: Path, mode: str, *, damaged: bool = False) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    try:
        connection = sqlite3.connect(
            uri, uri=True, check_same_thread=False, timeout=5.0
        )
        try:
            if damaged:  # or SQLite would not look at a file that was cut off
                connection.execute("PRAGMA writable_schema = ON")
            _require_ours(connection, path)
            if mode != "ro":
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("PRAGMA synchronous = EXTRA")
        except BaseException:
            connection.close()
            raise
    except sqlite3.DatabaseError as error:
        raise DataFormatError(
            f"{str(path)!r} is no journal, or damaged: {error}"
        ) from error
    return connection


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    application, version, n_tables = (
        connection.execute(query).fetchone()[0]
        for query in (
            "PRAGMA application_id",
            "PRAGMA user_version",
            "SELECT count(*) FROM sqlite_master",
        )
    )
    if n_tables and application != APPLICATION:
        raise DataFormatError(f"{str(path)!r} is a data base, but no journal")
    if n_tables and version != VERSION:
        raise DataFormatError(
            f"{str(path)!r} is a journal of version {version}, expected {VERSION}: "
            "open it with the neuromod that wrote it"
        )


def _unwritten(path: Path, error: sqlite3.Error) -> SessionError:
    return SessionError(
        f"the event was not written to {str(path)!r} ({error}): make room or mend the "
        "permissions, and say it again; all before it are safe"
    )
