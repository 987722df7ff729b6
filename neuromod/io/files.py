"""A file is hostile until it is parsed: the door through which every reader goes.

Three rules hold for whatever comes from outside. The path is looked at first, so
that a misspelt name, a folder or an empty file is called by its name. What a header
announces is compared with what the file can hold before anything is allocated: a
kilobyte that declares a terabyte is refused. And what a parser raises over damaged
bytes leaves as one error, `DataFormatError`, that names the file.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuromod.core.errors import (
    DataFormatError,
    InvalidInputError,
    NeuromodError,
    did_you_mean,
    invalid,
)

FREE_BYTES = 2**30
MAXIMUM_RATIO = 100


def existing(path: str | os.PathLike[str]) -> Path:
    """Return a path that exists, or name the nearest one that does."""
    found = Path(path)
    try:
        if found.exists():
            return found
        names = os.listdir(found.parent) if found.parent.is_dir() else []
    except (OSError, ValueError) as error:
        raise invalid("path", repr(str(path)), "a readable path", str(error)) from error
    remedy = "Check the spelling, or pass an absolute path."
    if not found.parent.is_dir():
        remedy = f"The folder {str(found.parent)!r} does not exist either."
    elif "Did you mean" in (nearest := did_you_mean(found.name, names)):
        remedy = nearest
    raise invalid("path", f"{str(path)!r}, which does not exist", "a file", remedy)


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a regular file with something in it, or raise."""
    found = existing(path)
    if not found.is_file():
        raise invalid("path", f"{str(path)!r}, which is no regular file", "a file")
    if found.stat().st_size == 0:
        raise DataFormatError(
            f"{found}: got an empty file (0 bytes), expected a recording. Was it "
            "copied or written to the end?"
        )
    return found


def malformed(path: object, got: object, expected: str, remedy: str = "") -> Exception:
    """Build the error for a file that is not what its format promises."""
    return DataFormatError(str(invalid(str(path), got, expected, remedy)))


@contextmanager
def parsing(path: object, what: str) -> Iterator[None]:
    """Turn whatever a parser raises over a file into a `DataFormatError`."""
    try:
        yield
    except NeuromodError:
        raise
    except PermissionError as error:
        raise InvalidInputError(
            f"path: got {str(path)!r}, which may not be read, expected a readable file."
        ) from error
    # The parsers behind this door are other people's, and so are the classes of what
    # they raise over a flipped bit.
    except Exception as error:
        cause = str(error).partition("\n")[0][:200] or "no further reason given"
        raise malformed(
            path,
            f"something that does not parse ({type(error).__name__}: {cause})",
            what,
            "Is the file complete? Copy or export it again.",
        ) from error


class Budget:
    """What all the arrays of one file may take in memory together.

    A compressed file may be larger in memory than on disk, but not without end:
    1 GiB is always granted, past that 100 times the file's own size.
    """

    def __init__(self, path: Path):
        self.path = path
        self.left = max(FREE_BYTES, MAXIMUM_RATIO * path.stat().st_size)

    def spend(self, n_bytes: int, what: str) -> None:
        """Take the bytes of an array from the budget, or refuse to read it."""
        self.left -= n_bytes
        if self.left < 0:
            raise malformed(
                self.path,
                f"{what} that announces {n_bytes / 2**30:.3g} GiB in a file of "
                f"{self.path.stat().st_size / 2**20:.3g} MiB",
                f"at most {MAXIMUM_RATIO} times what the file holds",
                "If that is meant, store it without compression.",
            )
