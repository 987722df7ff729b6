"""Where the files of the data sets are: a local folder, the cache, the network.

A file is looked for in that order:

1. below the folder that ``NEUROMOD_DATA`` names, at any depth, by its name: a copy
   that stands in for the download (and the only way for a set without one);
2. in the cache: ``NEUROMOD_CACHE``, else the user's cache folder;
3. at its URL, only ever when a set is fetched or loaded.

A download is written under another name, checked, and renamed: a process that is
killed in the middle leaves the cache as it was, and the next fetch removes the
remains. Every file is checked each time it is asked for. Where nobody has published
its hash, the hash of the first copy in the cache is recorded beside it
(``FILE.sha256``, as the program sha256sum writes it) and holds from then on.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from neuromod.core.atomic import write_atomically
from neuromod.core.errors import ChecksumError, DatasetUnavailableError, invalid
from neuromod.datasets import registry
from neuromod.datasets.registry import UNVERIFIED, Entry

if TYPE_CHECKING:
    import pandas as pd

DATA = "NEUROMOD_DATA"


def fetch(name: str, *, download: bool = True) -> Path:
    """Return the path of a data set's file, downloading it if it is not here.

    Parameters
    ----------
    name
        One of `list`.
    download
        Whether the network may be used. Without it a set that is not on this
        machine raises.

    Returns
    -------
    Path
        The file, its content checked.

    Raises
    ------
    DatasetUnavailableError
        If it is not here and cannot be downloaded; tells the URL, the hash and the
        path at which to put the file by hand.
    ChecksumError
        If the file is not the one that was published or first downloaded.
    """
    return obtain(registry.describe(name), download=download)


def status() -> "pd.DataFrame":
    """Tell which data sets are on this machine; the network is not used.

    Returns
    -------
    pandas.DataFrame
        One row per data set: whether it is ``present``, ``where``, its size in
        ``bytes``, and against what its content is ``verified``: "published" or
        "recorded" hash, "unverified" if there is none, "changed" if it differs.
    """
    import pandas as pd

    rows = {}
    for name, entry in registry.entries().items():
        path = find(entry)
        rows[name] = {
            "present": path is not None,
            "where": str(path or ""),
            "bytes": path.stat().st_size if path else 0,
            "verified": _verdict(entry, path) if path else "",
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis("name")


def download_folder() -> Path:
    """Return the folder that downloads are kept in; it may not exist yet."""
    # Inside, so that importing the data sets does not load jax.
    from neuromod.core.info import cache_folder

    return cache_folder() / "datasets"


def obtain(entry: Entry, *, download: bool = True) -> Path:
    """Return the checked file of an entry; see `fetch`."""
    path = find(entry)
    if path is None:
        return _download(entry, allowed=download)
    if path.parent == download_folder():
        _check_cached(entry, path)
    else:
        _check(entry, path, f"Put the right file there, or unset {DATA}.")
    return path


def find(entry: Entry) -> Path | None:
    """Return where the file is on this machine, unchecked, or None."""
    candidates = [*_local_copies(entry.basename), download_folder() / entry.basename]
    return next((path for path in candidates if path.is_file()), None)


def _local_copies(file: str) -> list[Path]:
    """Return the files of that name below ``NEUROMOD_DATA``, the shallowest first."""
    if not os.environ.get(DATA):
        return []
    folder = Path(os.environ[DATA]).expanduser()
    if not folder.is_dir():
        remedy = f"Create it, or unset {DATA}."
        raise invalid(DATA, repr(str(folder)), "an existing folder", remedy)
    return sorted(folder.rglob(file), key=lambda path: (len(path.parts), path))


def _record(entry: Entry) -> Path:
    return download_folder() / f"{entry.basename}.sha256"


def _expected(entry: Entry) -> tuple[str, str]:
    """Return the hash that the file must have and who says so; empty if nobody."""
    if entry.sha256 != UNVERIFIED:
        return entry.sha256, f"published in {entry.hash_source}"
    record = _record(entry)
    if record.is_file():
        digest = record.read_text("utf-8", errors="replace").partition(" ")[0]
        return digest, f"recorded at the first download in {record}"
    return "", ""


def _digest(path: Path) -> str:
    import pooch

    return pooch.file_hash(str(path), alg="sha256")


def _verdict(entry: Entry, path: Path) -> str:
    try:
        _check(entry, path, "")
    except ChecksumError:
        return "changed"
    if entry.sha256 != UNVERIFIED:
        return "published"
    return "recorded" if _record(entry).is_file() else "unverified"


def _check(entry: Entry, path: Path, remedy: str) -> None:
    """Raise unless the content is the expected one."""
    size = path.stat().st_size
    if entry.bytes is not None and size != entry.bytes:
        got = f"it has {size} bytes instead of {entry.bytes}"
        raise ChecksumError(f"{path}: {got}. {remedy}")
    expected, source = _expected(entry)
    found = _digest(path) if expected else ""
    if found != expected:
        got = f"its SHA-256 is {found}, but {expected} was {source}"
        raise ChecksumError(f"{path}: {got}. {remedy}")


def _check_cached(entry: Entry, path: Path) -> None:
    remedy = f"Delete it and fetch {entry.name!r} again."
    if entry.sha256 == UNVERIFIED:
        remedy += f" If its new content is right, delete {_record(entry)} instead."
    _check(entry, path, remedy)
    # A cache that somebody else keeps may be read-only.
    with suppress(OSError):
        _record_first(entry, path)


def _record_first(entry: Entry, path: Path) -> None:
    """Write down the hash of the first copy where nobody has published it."""
    record = _record(entry)
    if entry.sha256 == UNVERIFIED and not record.is_file():
        line = f"{_digest(path)}  {entry.basename}\n"
        write_atomically(record, line.encode())


def _download(entry: Entry, *, allowed: bool) -> Path:
    if not entry.url:
        raise _unavailable(entry, "it has no public download")
    if not allowed:
        raise _unavailable(entry, "the network was not to be used (download=False)")
    target = download_folder() / entry.basename
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda file: _transfer(entry, file))
    except OSError as error:  # every error of requests is one
        raise _unavailable(entry, f"its download failed: {error}") from error
    _check_cached(entry, target)
    return target


def _transfer(entry: Entry, file: BinaryIO) -> None:
    """Write what the server sends, and refuse it while it is not yet in place."""
    import pooch
    import requests

    transfer = pooch.HTTPDownloader(progressbar=True, chunk_size=1 << 16)
    try:
        transfer(entry.url, file, None)
    except requests.HTTPError as error:
        if error.response is not None:
            error.response.close()  # pooch leaves it open
        raise
    file.flush()
    remedy = f"{entry.url} sent another file; nothing was kept."
    _check(entry, Path(file.name), remedy)


def _unavailable(entry: Entry, reason: str) -> DatasetUnavailableError:
    return DatasetUnavailableError(
        f"{entry.name!r} is not on this machine, and {reason}.\n"
        f"  url     {entry.url or 'none; it comes from ' + entry.source}\n"
        f"  sha256  {entry.hash_text}\n"
        f"Put the file by hand at\n"
        f"  {download_folder() / entry.basename}\n"
        f"or set {DATA} to a folder that holds {entry.basename} at any depth."
    )
